"""Points as files have them."""

import json

import numpy as np

from cascadelib import LogitStore, pick, search
from cascadelib.policy.cascade_file import point_for_file
from cascadelib.policy.form import text_of


def make_store(seed=0, k=300):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, k)
    ease = rng.normal(size=(k, 1))
    logits = {
        f"m{i}": (1.0 + i) * np.eye(5)[labels] * (1 + ease) + rng.normal(size=(k, 5))
        for i in range(3)
    }
    return LogitStore.from_arrays(
        labels, logits, macs={f"m{i}": 10.0 ** (i + 1) for i in range(3)}, dataset="made up"
    )


STORE = make_store()
POINT = pick(search(STORE, 2, "max_softmax_mean_logits_ts"), "max_improvement")


def same(a, b):
    """Whether two points are the same to the last bit; nan is nan, temperatures count for their own
    models only."""
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


def edited(change):
    content = json.loads(text_of(point_for_file(POINT, STORE)))
    change(content)
    return json.dumps(content)
