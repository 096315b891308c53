"""evaluate, pick, peaks and curves on small stores and score tables."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from tables_of_scores import noisy_store

from cascadelib import Method, ScoreTable, evaluate, peaks, pick, search, search_arrays
from cascadelib.evaluation.pareto import pareto_front

STORE = noisy_store()
OTHER = noisy_store(1)


def test_pick_goals() -> None:
    front = search(STORE, 2)
    table = front.table
    assert pick(front, "max_improvement").improvement == table["improvement"].max()
    best = STORE.models["top1"].max()
    match = pick(front, "match_best")
    assert match.accuracy >= best
    assert match.cost == table.loc[table["accuracy"] >= best, "cost"].min()
    assert pick(front, accuracy=0.7).accuracy >= 0.7
    assert pick(front, budget=500).cost <= 500
    assert pick(front, budget=500).accuracy == table.loc[table["cost"] <= 500, "accuracy"].max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accuracy": 1.1}, "no cascade reaches"),
        ({"budget": 1}, "the cheapest costs"),
        ({}, "give exactly one of"),
        ({"goal": "max_improvment"}, "max_improvement"),
    ],
)
def test_pick_refuses_what_the_front_does_not_have(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pick(search(STORE, 2), **arguments)


def test_candidates_pareto_and_all() -> None:
    front = search(STORE, 2, models="pareto")
    on_front = [STORE.models.index[i] for i in front.baseline.front]
    assert list(front.candidates) == on_front
    assert list(search(STORE, 2).candidates) == list(STORE.models.index)


def test_peaks_stand_out() -> None:
    points = peaks(search(STORE, 2), prominence=0.01)
    assert points
    assert [run.accuracy for run in evaluate(STORE, points)] == [p.accuracy for p in points]
    assert [run.accuracy for run in evaluate(OTHER, points)] != [p.accuracy for p in points]


def test_score_table_equals_the_store_it_came_from() -> None:
    stage = Method().stage(STORE, names := list(STORE.models.index))
    correct, confidence = (
        np.stack(part) for part in zip(*(stage((m,)) for m in range(4)), strict=True)
    )
    scores = ScoreTable(correct, confidence, STORE.costs("macs"), names)
    here = search(STORE, (1, 2, 3))
    there = search(scores, (1, 2, 3))
    assert here.table.equals(there.table)
    point = pick(there, "max_improvement")
    assert evaluate(scores, point).accuracy == point.accuracy
    assert evaluate(scores.take(np.arange(100)), point).correct.shape == (100,)


def test_graded_scores_and_costs_a_sample_equal_a_loop() -> None:
    rng = np.random.default_rng(3)
    gain = rng.random((2, 40))
    confidence = rng.integers(0, 8, (2, 40)) / 8
    cost = np.stack([rng.uniform(1, 2, 40), rng.uniform(5, 30, 40)])
    front = search(ScoreTable(gain, confidence, cost), 2)
    best = []
    for t in [*np.unique(confidence[0]), np.inf]:
        exits = confidence[0] >= t
        best.append(
            (cost[0].mean() + (cost[1] * ~exits).mean(), np.where(exits, gain[0], gain[1]).mean())
        )
    c, a = np.array(best).T
    keep = pareto_front(c, a)
    np.testing.assert_allclose(front.table["cost"], c[keep])
    np.testing.assert_allclose(front.table["accuracy"], a[keep])
    result = evaluate(ScoreTable(gain, confidence, cost), front.point(0))
    assert (result.accuracy, result.cost) == (front.table["accuracy"][0], front.table["cost"][0])


FRONT = search(STORE, 2)


@pytest.mark.parametrize(
    "value", [np.nan, "x", 1j, [1], True, 10**400, torch.tensor(1.0)], ids=repr
)
def test_what_is_no_number_is_no_goal(value: Any) -> None:
    for name in ("budget", "accuracy"):
        with pytest.raises(ValueError, match=f"{name} must be a number, not "):
            pick(FRONT, **{name: value})
    if not isinstance(value, float | list | bool | torch.Tensor):
        for at in (
            FRONT.cost_at,
            FRONT.improvement_at,
            FRONT.lower_bound_at,
            FRONT.baseline.cost_at,
        ):
            with pytest.raises(ValueError, match="accuracy must be real numbers"):
                at(value)


WRONG = {
    "tolerance": [None, 1j, [1], 10**400, np.True_, np.nan, -1, np.inf, "0", torch.tensor(0.0)],
    "time_limit": [torch.tensor(1.0), np.True_, 1j, [1], 10**400, 0, -1, np.nan, "1"],
    "n_models": [
        None,
        5.0,
        "2",
        10**400,
        np.array(2),
        torch.tensor(2.0),
        (2, None),
        True,
        0,
        9,
        {},
    ],
    "models": [5, None, [5], [[1]], [np.arange(2)], 1j, b"m0"],
    "executor": [5, "threads", ThreadPoolExecutor],
    "score": ["top²", "top0", "top" + "9" * 5000, 5, ["top1"], np.array(["top1", "f1"]), ""],
    "cost": [5, "", ["macs"]],
    "method": [5, "", ["entropy"], "top²_softmax_sum"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in WRONG.items() for v in values], ids=repr
)
def test_options_of_a_wrong_kind_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name.removesuffix("s")):
        search(STORE, **{name: value})


def test_arrays_of_a_wrong_kind_are_refused_by_name() -> None:
    given = {
        "correct": np.ones((2, 2), bool),
        "confidence": np.ones((2, 2)),
        "cost": [1.0, 2.0],
        "n_models": 2,
    }
    for name, value in (
        ("cost", None),
        ("cost", 5),
        ("cost", ["1", "2"]),
        ("confidence", np.full((2, 2), "1")),
    ):
        with pytest.raises(ValueError, match=name):
            search_arrays(**given | {name: value})
