"""Invalid arguments of the analysis are refused, and the message names them."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
from tiny_stores import noisy_store, three_models

from cascadelib import (
    LogitStore,
    Point,
    ScoreTable,
    bootstrap,
    mean_improvement_moved,
    replay,
    search,
)
from cascadelib.analysis import (
    accuracy_drops,
    expected_calibration_error,
    front_on,
    mean_cost_ratio,
    moving_average,
    range_dominance,
)
from cascadelib.analysis.uncertainty import sample_counts

STORE = three_models()
OTHER = three_models(1, noise=1.5)


@cache
def a_front():
    return search(STORE, 2)


@cache
def a_point():
    return a_front().point(0)


SECONDS = Point(("m0", "m1"), (0.5,), cost_kind="seconds")
UNNAMED = LogitStore.from_arrays([0, 1], dict.fromkeys(("m0", "m1", "m2"), np.eye(7)[:2]))
RENAMED = three_models(1, classes=("a", "b", "x", "d", "e"))
TWO = noisy_store(1, models=2)
SCORES = ScoreTable(np.ones((2, 5), bool), np.ones((2, 5)), [1.0, 2.0])
EVEN = np.linspace(0, 1, 500)

REFUSED = [
    (partial(range_dominance, {}), "no front to compare"),
    (lambda: range_dominance({"a": a_point()}), "'a' is a Point"),
    (
        lambda: range_dominance({"a": a_front(), "b": replace(a_front(), cost_kind="seconds")}),
        "differ in",
    ),
    (
        lambda: mean_cost_ratio(a_front(), front_on(OTHER, a_front())),
        "different single models",
    ),
    (lambda: bootstrap(STORE, [a_point(), SECONDS]), "differ in score or kind of cost"),
    (lambda: replay(OTHER, [a_point(), SECONDS]), "differ in score or kind of cost"),
    (partial(bootstrap, STORE, []), "no cascades"),
    (
        lambda: replay(OTHER.select(["m0", "m1"]), a_front()),
        "unknown model of this store 'm2'",
    ),
    (partial(accuracy_drops, STORE, {}), "no split to compare with"),
    (partial(accuracy_drops, STORE, {"b": RENAMED}), "first difference at class 2"),
    (partial(accuracy_drops, STORE, {"b": UNNAMED}), "5 classes on one split and 7"),
    (partial(accuracy_drops, STORE, {"b": TWO}), "unknown model of the other split 'm2'"),
    (partial(accuracy_drops, SCORES, {"again": SCORES}), "compared with itself"),
    (partial(moving_average, EVEN, EVEN > 0.5, 501), "window must be .* from 1 to 500, not 501"),
    (partial(moving_average, [0.5, 1.5], [True, True]), r"sample 1 is outside \[0, 1\]"),
    (partial(expected_calibration_error, [], []), "at least one"),
]
for wrong in (1.5, 0):
    REFUSED.append((partial(sample_counts, 10, wrong), "resamples must be a whole number of 1"))
for wrong in (1.5, -3):
    REFUSED.append((partial(sample_counts, 10, 3, wrong), "seed must be a whole number of 0"))
OF_ANOTHER_TYPE = [
    *[
        (lambda call=call: call(a_front(), OTHER), "the store comes first")
        for call in (replay, front_on)
    ],
    (lambda: mean_improvement_moved(a_front(), OTHER), "the store comes first"),
    (lambda: replay("some/folder", a_front()), "LogitStore.path."),
    (lambda: front_on(STORE, a_point()), "a Front is needed here .*replay.* not Point"),
    (lambda: mean_improvement_moved(STORE, a_point()), "a Front is needed here"),
    (lambda: bootstrap(a_front(), STORE), "is needed here"),
    (partial(bootstrap, STORE, STORE), "is needed here"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED + OF_ANOTHER_TYPE)
def test_an_invalid_argument_is_refused_by_name(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
