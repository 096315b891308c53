"""Range dominance against a fine grid; a replayed front against evaluate; what the paper says of the ranking."""

import numpy as np
import pytest

from cascadelib import METHODS, LogitStore, evaluate, search
from cascadelib.analysis.shift import mean_improvement_moved, replay
from tools.side_by_side import (
    class_tasks,
    compare,
    curves_of,
    fronts_of,
    range_dominance,
    ranking,
    select_classes,
)


def make(seed, k=400):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, k)
    ease = rng.normal(size=(k, 1))
    logits = {
        f"m{i}": (1 + i) * np.eye(4)[labels] * (1 + ease) + rng.normal(size=(k, 4))
        for i in range(4)
    }
    return LogitStore.from_arrays(labels, logits, macs={f"m{i}": 10.0 ** (i + 1) for i in range(4)})


STORE, OTHER = make(0), make(1)
FRONTS = fronts_of(STORE, ["max_softmax", "entropy", "max_softmax_mean_logits"], 2)


def test_dominance_equals_a_fine_grid():
    table = range_dominance(FRONTS)
    baseline = FRONTS["entropy"].baseline
    low, high = baseline.accuracy[baseline.front[[0, -1]]]
    grid = low + (np.arange(50000) + 0.5) / 50000 * (high - low)
    cost = np.stack([f.cost_at(grid) for f in FRONTS.values()])
    best = cost == cost.min(axis=0)
    np.testing.assert_allclose(table["accuracy_dominance"], (best / best.sum(0)).mean(1), atol=1e-3)
    low, high = np.log(baseline.cost[baseline.front[[0, -1]]])
    grid = np.exp(low + (np.arange(50000) + 0.5) / 50000 * (high - low))
    fronts = [(f.table["cost"].to_numpy(), f.table["accuracy"].to_numpy()) for f in FRONTS.values()]
    reached = np.stack([np.where(c <= grid[:, None], a, -np.inf).max(axis=1) for c, a in fronts])
    best = reached == reached.max(axis=0)
    np.testing.assert_allclose(table["cost_dominance"], (best / best.sum(0)).mean(1), atol=1e-3)


def test_dominance_adds_up_to_one_and_ties_are_shared():
    twice = range_dominance({"a": FRONTS["entropy"], "b": FRONTS["entropy"]})
    np.testing.assert_allclose(twice, 0.5)
    np.testing.assert_allclose(range_dominance(FRONTS).sum(), 1)


def test_compare_ranks_by_mean_improvement():
    table = compare(FRONTS, lows=[0.6])
    assert table["mean_improvement"].is_monotonic_decreasing
    assert table.loc["entropy", "improvement above 60.0%"] == FRONTS["entropy"].mean_improvement(
        0.6
    )
    assert table.loc["entropy", "top_accuracy"] == FRONTS["entropy"].table["accuracy"].max()


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("method", ["entropy", "max_softmax_mean_logits_ts"])
def test_a_replayed_front_is_each_point_evaluated(n, method):
    front = search(STORE, n, method)
    moved = replay(OTHER, front, ranges=False)
    for row in range(0, len(front), 7):
        there = evaluate(OTHER, front.point(row))
        assert moved["accuracy_moved"].iloc[row] == there.accuracy
        assert moved["cost_moved"].iloc[row] == there.cost
    assert moved.groupby("segment")["models"].nunique().max() == 1


def test_a_front_replayed_where_it_was_found_keeps_its_improvement():
    front = FRONTS["max_softmax"]
    assert mean_improvement_moved(STORE, front) == pytest.approx(front.mean_improvement())
    assert mean_improvement_moved(OTHER, front) != pytest.approx(front.mean_improvement())


def test_ranking_judges_each_split_by_the_fronts_of_the_other():
    table = ranking({"a": (STORE, OTHER)}, 2, upper=0.5, cost="macs")
    assert len(table) == 2 * len(METHODS)
    for row in table.itertuples():
        here, there = (STORE, OTHER) if row.fold == 0 else (OTHER, STORE)
        front = search(here, 2, row.method)
        single = search(there, 1).baseline
        low = (single.accuracy[single.front[0]] + single.best) / 2
        assert row.mean_improvement == mean_improvement_moved(there, front)
        assert row.upper_improvement == pytest.approx(mean_improvement_moved(there, front, low))
        assert row.top_accuracy == replay(there, front)["accuracy_moved"].max()
        assert row.accuracy_of_best_model == there.models["top1"].max()
        others = table.loc[table["fold"] == row.fold, "mean_improvement"]
        assert (
            row.place
            == (others > row.mean_improvement).sum()
            + ((others == row.mean_improvement).sum() + 1) / 2
        )


def test_two_classes_and_two_models_have_one_ensemble():
    """The sign of a sum is that of its larger term: with temperatures, all ensembles of a pair are one."""
    pair = select_classes(STORE, [0, 1]), select_classes(OTHER, [0, 1])
    table = ranking({"two": pair})
    table = table[table["fold"] == 0].set_index("method")["mean_improvement"]
    alike = [n for n in METHODS if n.endswith("_ts") and "entropy" not in n]
    np.testing.assert_allclose(
        table[["softmax_margin", "logits_margin"]], table["max_softmax"], rtol=1e-9
    )
    np.testing.assert_allclose(table[alike], table["max_softmax_mean_logits_ts"], rtol=1e-9)


def test_compare_on_held_out_data_and_curves():
    table, curves = compare(FRONTS, held_out=OTHER), curves_of(FRONTS, 0.6)
    for label, front in FRONTS.items():
        assert table.loc[label, "held_out_improvement"] == mean_improvement_moved(OTHER, front)
        assert curves[label].equals(front.improvement_curve(0.6))


def test_tasks_are_the_hardest_and_the_easiest_classes():
    tasks = class_tasks(STORE, OTHER, (0.5,))
    assert list(tasks) == ["all 4", "2 hardest", "2 easiest"]
    assert [len(pair[0]) for pair in tasks.values()] == [
        400,
        len(tasks["2 hardest"][0]),
        400 - len(tasks["2 hardest"][0]),
    ]
    right = STORE.ranks(STORE.models["top1"].idxmax()) == 0
    recall = [right[STORE.labels == c].mean() for c in range(4)]
    worst = np.isin(STORE.labels, np.argsort(recall)[:2])
    assert len(tasks["2 hardest"][0]) == worst.sum() and all(
        len(a) and len(b) for a, b in tasks.values()
    )
