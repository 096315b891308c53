"""A cascade as a file stores it, and comparisons of points."""

from functools import partial

import numpy as np
from tiny_stores import noisy_store

from cascadelib import Method, Point
from cascadelib.methods.fitted import Fits

make_store = partial(noisy_store, k=300, models=3, dataset="made up")
STORE = make_store()
POINT = Point(
    ("m0", "m1"),
    (0.55,),
    (0.4, 0.6),
    0.73,
    70.0,
    1.25,
    Method("max_softmax", "mean_logits", True, {"m0": 0.8, "m1": 1.1}, fitted=Fits(STORE.origin)),
    selected_on=STORE.origin,
)


def same(a, b):
    """Return whether two points are equal bit by bit. nan equals nan.

    Temperatures are compared for the models of the points only.
    """
    numbers = [(x.accuracy, x.cost, x.improvement, *x.thresholds, *x.exit_rates) for x in (a, b)]
    method = [
        x.method
        and (x.method.metric, x.method.ensemble, [x.method.temperature_of(m) for m in x.models])
        for x in (a, b)
    ]
    rest = [(x.models, x.score, x.cost_kind) for x in (a, b)]
    return (
        np.array_equal(*numbers, equal_nan=True) and method[0] == method[1] and rest[0] == rest[1]
    )
