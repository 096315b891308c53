"""evaluate, pick, peaks and curves on small stores and score tables."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tables_of_scores import noisy_store

from cascadelib import (
    LogitStore,
    Method,
    ScoreTable,
    evaluate,
    pair_table,
    peaks,
    pick,
    search,
    search_arrays,
)
from cascadelib.evaluation.pareto import Baseline, pareto_front
from cascadelib.fronts.graded import Curve
from cascadelib.fronts.pairs import pair_curve, plateau

STORE, OTHER = noisy_store(), noisy_store(1)


@pytest.mark.parametrize(
    "method",
    ["max_softmax", "entropy", "max_softmax_mean_logits_ts", "softmax_margin_most_confident_ts"],
)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_front_point_evaluated_again_gives_its_own_numbers_exactly(method, n):
    front = search(STORE, n, method)
    for row in range(0, len(front), max(1, len(front) // 25)):
        point = front.point(row)
        result = evaluate(STORE, point)
        assert (result.accuracy, result.cost) == (point.accuracy, point.cost)
        assert result.exit_rates == pytest.approx(point.exit_rates)
        assert result.improvement == pytest.approx(point.improvement, nan_ok=True)


def test_evaluate_elsewhere_equals_a_loop():
    point = pick(search(STORE, 2, "entropy"), "max_improvement")
    result = evaluate(OTHER, point)
    first, second = (OTHER.logits(m).astype(float) for m in point.models)
    p = np.exp(first) / np.exp(first).sum(1, keepdims=True)
    exits = -(p * np.log(p)).sum(1) <= point.thresholds[0]
    right = np.where(exits, first.argmax(1), second.argmax(1)) == OTHER.labels
    np.testing.assert_array_equal(result.correct, right)
    np.testing.assert_array_equal(result.exit_stage, np.where(exits, 0, 1))
    costs = OTHER.models["macs"]
    assert result.cost == pytest.approx(
        costs[point.models[0]] + costs[point.models[1]] * (~exits).mean()
    )


def test_pick_goals():
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
        ({}, "give one of"),
        ({"goal": "max_improvment"}, "max_improvement"),
    ],
)
def test_pick_refuses_what_the_front_does_not_have(arguments, message):
    with pytest.raises(ValueError, match=message):
        pick(search(STORE, 2), **arguments)


def test_evaluate_names_a_missing_model():
    point = pick(search(STORE, 2), "max_improvement")
    with pytest.raises(ValueError, match="unknown model"):
        evaluate(OTHER.select([m for m in OTHER.models.index if m != point.models[1]]), point)


def test_candidates_pareto_and_all():
    front = search(STORE, 2, models="pareto")
    on_front = [STORE.models.index[i] for i in front.baseline.front]
    assert list(front.candidates) == on_front
    assert list(search(STORE, 2).candidates) == list(STORE.models.index)


def test_pair_curve_holds_every_boundary():
    curve = pair_curve(STORE, "m0", "m2")
    sure = Method().stage(STORE, ["m0"])((0,))[1]
    assert len(curve) == len(np.unique(sure)) + 1
    for row in curve.iloc[:: len(curve) // 9].itertuples():
        exits = sure >= row.threshold
        assert exits.mean() == pytest.approx(row.exit_rate)


def test_the_front_of_one_pair_lies_on_its_curve():
    front = search(STORE, 2, models=["m0", "m2"])
    curve = pair_curve(STORE, "m0", "m2")
    keep = pareto_front(curve["cost"], curve["accuracy"])
    np.testing.assert_allclose(curve["cost"].to_numpy()[keep], front.table["cost"])
    np.testing.assert_array_equal(curve["accuracy"].to_numpy()[keep], front.table["accuracy"])


def test_plateau_ends_where_accuracy_first_falls():
    curve = Curve(
        np.zeros(5),
        np.array([0, 0.2, 0.4, 0.6, 1.0]),
        np.array([0.8, 0.81, 0.79, 0.8, 0.6]),
        np.zeros(5),
    )
    assert plateau(curve, 0.6, 0.8) == 0.6  # 5% of 0.2 below 0.8 is 0.79
    assert plateau(curve, 0.6, 0.8, drop=0.01) == 0.2
    assert plateau(curve, 0.6, 0.8, drop=2) == 1.0


def test_pair_table_has_a_row_a_pair():
    table = pair_table(STORE, models="all")
    assert len(table) == 6
    assert (table["cost_ratio"] > 1).all()


def slow_mean(store, first, second, low, high, steps=4000):
    """Mean improvement of one pair over accuracies low … high: every threshold by a loop, midpoints of many steps."""
    names, costs = list(store.models.index), store.costs("macs")
    right = {m: store.logits(m).argmax(1) == store.labels for m in names}
    sure, places = (
        Method().stage(store, [first])((0,))[1],
        [names.index(first), names.index(second)],
    )
    points = []
    for t in [-np.inf, *np.unique(sure), np.inf]:
        exits = sure >= t if t < np.inf else np.zeros(len(store), bool)
        cost = costs[places[0]] + costs[places[1]] * (~exits).mean()
        points.append((cost, np.where(exits, right[first], right[second]).mean()))
    cost, accuracy = np.array(points).T
    single = Baseline(costs, [right[m].mean() for m in names])
    at = low + (high - low) * (np.arange(steps) + 0.5) / steps
    least = [cost[accuracy >= a - 1e-12].min(initial=np.inf) for a in at]
    return float(np.mean(single.cost_at(at) / least))


@pytest.mark.parametrize("tied", [False, True])
def test_pair_table_averages_over_the_pairs_own_range(tied):
    """Beside slow integration; m1 is more accurate than m2 here, and with ties few confidences are distinct."""
    logits = {m: STORE.logits("m3" if m == "m1" else m)[:300] for m in STORE.models.index}
    logits = {m: np.round(z) for m, z in logits.items()} if tied else logits
    store = LogitStore.from_arrays(STORE.labels[:300], logits, macs=STORE.models["macs"].to_dict())
    top1, table = store.models["top1"], pair_table(store, models="all")
    whole = top1.iloc[0], top1.max()
    assert (table["accuracy_difference"] < 0).any()
    for row in table.itertuples():
        own = sorted(top1[[row.first, row.second]])
        assert row.whole_range_improvement == pytest.approx(
            slow_mean(store, row.first, row.second, *whole), rel=0.01
        )
        if own[0] < own[1]:
            assert row.mean_improvement == pytest.approx(
                slow_mean(store, row.first, row.second, *own), rel=0.01
            )
    # m1 and m3 have the same logits: equally accurate, so m1 alone reaches the range
    same = table.query("first == 'm1' and second == 'm3'").iloc[0]
    assert same["accuracy_difference"] == 0 and same["mean_improvement"] >= 1


def test_peaks_stand_out():
    points = peaks(search(STORE, 2), prominence=0.01)
    assert points
    assert [run.accuracy for run in evaluate(STORE, points)] == [p.accuracy for p in points]
    assert [run.accuracy for run in evaluate(OTHER, points)] != [p.accuracy for p in points]


def test_score_table_equals_the_store_it_came_from():
    stage = Method().stage(STORE, names := list(STORE.models.index))
    correct, sure = (np.stack(part) for part in zip(*(stage((m,)) for m in range(4)), strict=True))
    scores = ScoreTable(correct, sure, STORE.costs("macs"), names)
    here, there = search(STORE, (1, 2, 3)), search(scores, (1, 2, 3))
    assert here.table.equals(there.table)
    point = pick(there, "max_improvement")
    assert evaluate(scores, point).accuracy == point.accuracy
    assert evaluate(scores.take(np.arange(100)), point).correct.shape == (100,)


def test_a_point_prints_plain_numbers_and_says_which_cost():
    scores = ScoreTable(np.eye(2, 9) > 0, np.random.default_rng(0).random((2, 9)), [1.0, 2.0])
    point = search(scores, 2).point(0)
    assert "np." not in repr(point)
    assert point.cost_kind == "cost"


def test_graded_scores_and_costs_a_sample_equal_a_loop():
    rng = np.random.default_rng(3)
    gain, sure = rng.random((2, 40)), rng.integers(0, 8, (2, 40)) / 8
    cost = np.stack([rng.uniform(1, 2, 40), rng.uniform(5, 30, 40)])
    front = search(ScoreTable(gain, sure, cost), 2)
    best = []
    for t in [*np.unique(sure[0]), np.inf]:
        exits = sure[0] >= t
        best.append(
            (cost[0].mean() + (cost[1] * ~exits).mean(), np.where(exits, gain[0], gain[1]).mean())
        )
    c, a = np.array(best).T
    keep = pareto_front(c, a)
    np.testing.assert_allclose(front.table["cost"], c[keep])
    np.testing.assert_allclose(front.table["accuracy"], a[keep])
    result = evaluate(ScoreTable(gain, sure, cost), front.point(0))
    assert (result.accuracy, result.cost) == (front.table["accuracy"][0], front.table["cost"][0])


def test_one_model_and_one_sample():
    store = LogitStore.from_arrays([0], {"a": np.array([[1.0, 0.0]])}, macs={"a": 5})
    front = search(store, 1)
    assert front.table[["accuracy", "cost"]].to_numpy().tolist() == [[1.0, 5.0]]
    assert front.point(0).thresholds == ()
    assert evaluate(store, front.point(0)).accuracy == 1.0
    with pytest.raises(ValueError, match="n_models .* from 1 to 1"):
        search(store, 2)


def test_what_is_no_store_and_no_point_is_named(tmp_path):
    store = noisy_store()
    front = search(store)
    with pytest.raises(TypeError, match="LogitStore\\(path\\)"):
        search(str(tmp_path))
    with pytest.raises(TypeError, match="not Point"):
        evaluate(front.point(0), store)
    with pytest.raises(TypeError, match="pick"):
        evaluate(store, front)
    with pytest.raises(ValueError, match="n_models .*from 1 to 4, not 'entropy'"):
        search(store, "entropy")
    with pytest.raises(ValueError, match="only 5 classes"):
        search(store, score="top6")


FRONT = search(STORE, 2)


@pytest.mark.parametrize(
    "value", [np.nan, "x", 1j, [1], True, 10**400, torch.tensor(1.0)], ids=repr
)
def test_what_is_no_number_is_no_goal(value):
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
def test_options_of_a_wrong_kind_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name.removesuffix("s")):
        search(STORE, **{name: value})


def test_arrays_of_a_wrong_kind_are_refused_by_name():
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


def test_near_best_and_labelled_points():
    front = search(STORE, 2)
    near = pick(front, "near_best")
    reached = front.table["accuracy"].iloc[-1] >= front.baseline.best
    assert near == (pick(front, "match_best") if reached else front.point(len(front) - 1))
    low = search(STORE, 2, models=list(STORE.models.index[:2]))
    assert pick(low, "near_best") == low.point(len(low) - 1)
