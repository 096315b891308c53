"""Invalid arguments of searches and of pick are refused, and the message names them."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from tiny_stores import noisy_store

from cascadelib import ScoreTable, pick, search, search_arrays
from cascadelib.fronts.cascades import prepare_search
from cascadelib.fronts.rounds import search_counted

STORE = noisy_store(k=60)
TABLE = ScoreTable(np.full((2, 10), 0.5), np.zeros((2, 10)), [1, 2])
PRICED = ScoreTable(np.ones((2, 5), bool), np.ones((2, 5)), [1.0, 2.0])
LABELLED = noisy_store(k=60, classes=2)
ARRAYS = {
    "correct": np.ones((2, 2), bool),
    "confidence": np.array([[0.1, 0.2], [0, 0]]),
    "cost": [1.0, 2.0],
    "n_models": 2,
}
SIXTY = np.ones((60, 2), bool), np.ones((60, 2)), np.arange(1.0, 61)
MANY = np.ones((400, 2), bool), np.ones((400, 2)), np.arange(1.0, 401)
LIMITS = {
    "tolerance": [None, 1j, [1], 10**400, np.True_, np.nan, -1, np.inf, "0"],
    "time_limit": [np.True_, 1j, [1], 10**400, 0, -1, np.nan, "1"],
}
OPTIONS = LIMITS | {
    "n_models": [None, 5.0, "2", 10**400, np.array(2), (2, None), True, 0, 9, {}],
    "models": [5, None, [5], [np.arange(2)], b"m0"],
    "executor": [5, "threads", ThreadPoolExecutor],
    "score": ["top²", "top0", "top" + "9" * 5000, 5, ["top1"], np.array(["top1", "f1"]), ""],
    "cost": [5, "", ["macs"]],
    "method": [5, "", ["entropy"], "top²_softmax_sum"],
}


def without_samples():
    stage = lambda prefix: (np.zeros(0, bool), np.zeros(0))  # noqa: E731
    return search_counted(prepare_search(stage, np.array([1.0, 2.0]), 2))


# (arguments of pick, message)
PICKS = [
    ({"accuracy": 1}, "no cascade reaches"),
    ({"accuracy": 93}, r"in \[0, 1\], 0.93 for 93%, not 93"),
    ({"loss": 3}, r"loss must be .* \[0, 1\), 0.03 for 3 points, not 3"),
    ({"loss": 1}, r"loss must be a fraction in \[0, 1\)"),
    ({"loss": -0.01}, r"loss must be a fraction in \[0, 1\)"),
    ({"budget": 1}, "the cheapest costs"),
    ({}, "give exactly one of"),
    ({"goal": "match_best", "loss": 0}, "give exactly one of"),
    ({"goal": "max_improvment"}, "max_improvement"),
    ({"goal": "max_improvement", "caution": 1}, "'max_improvement' has no bound"),
    ({"goal": "match_best", "caution": -1}, "caution must be .*0 or more, not -1"),
]
for value in [np.nan, "x", 1j, [1], True, 10**400]:
    PICKS.append(({"budget": value}, "budget must be a number"))
    PICKS.append(({"accuracy": value}, "accuracy must be a fraction"))
REFUSED = [
    (partial(search, STORE, (1, 5)), r"of 4 models, or a tuple such as \(1, 2, 3\)"),
    (partial(search, STORE.select(["m0"]), (1, 2)), r"of 1 models, or a tuple such as \(1,\)"),
    (partial(search, STORE, "two", models="pareto"), "n_models"),
    (partial(search, TABLE, ()), "n_models is empty"),
    (partial(search, TABLE, 3), "to 2, not 3"),
    (partial(search_arrays, *MANY, 8), "cascades of 8 of 400 models have no 64-bit numbers"),
    (partial(search_arrays, *SIXTY, 9), "from 1 to 8, not 9"),
    (partial(search_arrays, **ARRAYS | {"cost": None}), "cost"),
    (partial(search_arrays, **ARRAYS | {"cost": ["1", "2"]}), "cost"),
    (partial(search_arrays, **ARRAYS | {"cost": 5}), "shapes differ"),
    (partial(search_arrays, **ARRAYS | {"cost": [1.0, -0.5]}), "cost of model 1 is -0.5"),
    (partial(search_arrays, **ARRAYS | {"cost": [1.0, np.nan]}), "cost of model 1 is nan"),
    (partial(search_arrays, **ARRAYS | {"confidence": np.full((2, 2), "1")}), "confidence"),
    (partial(search_arrays, **ARRAYS | {"confidence": [[0.1, np.nan], [0, 0]]}), "nan at sample 1"),
    (partial(search_arrays, **ARRAYS | {"correct": np.array([[0.5, 1], [1, 1]])}), "not boolean"),
    (without_samples, "no samples: the split is empty"),
    (partial(search, LABELLED, 3, score="f1"), "F1 is exact for one and two models only"),
    (partial(search, LABELLED, 2, score="f2"), "unknown score"),
    (partial(search, LABELLED, 2, score="f1", expected=True), "F1 is not a mean"),
    (
        partial(search, noisy_store(k=60, classes=3), 2, score="f1"),
        "needs two classes, and this store has 3",
    ),
    (partial(search, PRICED, 2, score="f1"), "labels and predictions"),
]
for name, values in OPTIONS.items():
    REFUSED += [(partial(search, STORE, **{name: v}), name.removesuffix("s")) for v in values]
for name, values in LIMITS.items():
    REFUSED += [(partial(search_arrays, *SIXTY, 2, **{name: v}), name) for v in values]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_an_invalid_argument_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def front():
    return search(STORE)


@pytest.mark.parametrize(("arguments", "message"), PICKS)
def test_an_invalid_goal_is_refused_by_name(arguments, message, front):
    with pytest.raises(ValueError, match=message):
        pick(front, **arguments)


def test_a_front_refuses_what_it_does_not_reach_and_what_is_no_accuracy(front):
    with pytest.raises(ValueError, match="by 1000 standard errors"):
        pick(front, accuracy=front.table["accuracy"].iloc[-1], caution=1000)
    for value in ("x", 1j):
        for read in (front.cost_at, front.improvement_at):
            with pytest.raises(ValueError, match="accuracy must be real"):
                read(value)


def test_a_tensor_is_not_a_number(front):
    tensor = pytest.importorskip("torch").tensor(2.0)
    for name in ("budget", "accuracy"):
        with pytest.raises(ValueError, match=f"{name} must be a (number|fraction)"):
            pick(front, **{name: tensor})
    for name in ("tolerance", "time_limit", "n_models"):
        with pytest.raises(ValueError, match=name.removesuffix("s")):
            search(STORE, **{name: tensor})


def test_pick_takes_a_front_only():
    with pytest.raises(TypeError, match="a Front is needed here, not Points: .*ScoreTable"):
        pick(search_arrays([[True]], [[0.5]], [1.0], 1), accuracy=0.5)
