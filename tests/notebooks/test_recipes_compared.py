"""Recipes beside the exact front, here and on another split, against fine sums."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from recipe_stores import eased_store, make_store, same_front
from twins import brute_front

from cascadelib import METHODS, recipes, search
from cascadelib.evaluation.pareto import Baseline, least_cost
from tools.recipes_compared import all_recipes, compare_recipes


@pytest.mark.parametrize(
    ("label", "method", "lengths"),
    [
        ("Park 2015, softmax margin, 2 models", METHODS["softmax_margin"], (2,)),
        ("Wang 2022, mean logits", METHODS["max_softmax_mean_logits"], (2, 3)),
    ],
)
def test_recipes_that_search_equal_a_loop(
    label: str, method: Any, lengths: tuple[int, ...]
) -> None:
    store = eased_store(k=12, models=3)
    brute = brute_front(method.stage(store, list(store.models.index)), store.costs("macs"), lengths)
    same_front(all_recipes(store)[label], [(n / 12, cost) for n, cost in brute.items()])


def test_compare_equals_a_fine_sum() -> None:
    store = eased_store(k=400, step=0.01)
    front = search(store, (1, 2, 3))
    points = search(store, 2, "softmax_margin").table
    low = store.models["top1"].iloc[0]
    best = store.models["top1"].max()
    table = compare_recipes(
        front, {"park": points, "oracle": recipes.oracle(store)}, above=(low, best)
    )
    assert list(table.index) == ["exact", "park", "oracle"]
    at = np.linspace(low, best, 200_001)[1:]
    park = least_cost(points["cost"].to_numpy(), points["accuracy"].to_numpy(), at)
    row = table.loc["park"]
    assert row["excess_cost"] == pytest.approx(
        np.mean(park / front.cost_at(at) - 1), rel=1e-3, abs=1e-4
    )
    assert row["mean_improvement"] == pytest.approx(
        np.mean(front.baseline.cost_at(at) / park), rel=1e-3
    )
    assert row["mean_improvement"] == row[f"improvement above {low:.1%}"]
    assert np.isnan(row[f"improvement above {best:.1%}"])
    assert row["best_accuracy"] == points["accuracy"].max()
    assert table.loc["exact", "excess_cost"] == 0
    assert table.loc["oracle", "excess_cost"] < 0


def test_compare_of_one_model_has_no_range() -> None:
    store = eased_store(models=1)
    row = compare_recipes(search(store, 1), {"oracle": recipes.oracle(store)}).loc["oracle"]
    assert np.isnan(row["mean_improvement"])
    assert np.isnan(row["excess_cost"])


@pytest.mark.parametrize(("seed", "step"), [(0, 0.01), (1, 0.5)])
def test_all_recipes_on_the_split_that_chose_are_as_they_were(seed: int, step: float) -> None:
    store = make_store(seed, 60, 4, step)
    plain = all_recipes(store)
    moved = all_recipes(store, held_out=store)
    assert list(plain) == list(moved)
    for label, table in moved.items():
        pd.testing.assert_frame_equal(table[plain[label].columns], plain[label])
        if label != "oracle":
            np.testing.assert_allclose(
                table["accuracy_moved"], table["accuracy"], atol=1e-12, err_msg=label
            )
            np.testing.assert_allclose(
                table["cost_moved"], table["cost"], rtol=1e-12, err_msg=label
            )
    assert "accuracy_moved" not in moved["oracle"]


def slow_excess_moved(front: Any, points: Any, other: Any, at: Any) -> Any:
    """Mean over accuracies asked for of the chosen points' relative costs, − 1."""
    there = Baseline(other.costs("macs"), other.models["top1"])
    relative = []
    for table in (points, front):
        own = table["cost_moved"] / [
            there.cost_at(min(a, there.best)) for a in table["accuracy_moved"]
        ]
        relative.append([own.iloc[int(np.argmax(table["accuracy"] >= a))] for a in at])
    return np.mean(np.divide(*relative) - 1)


def test_compare_judges_on_the_other_split_what_was_chosen_here() -> None:
    store = make_store(0, 300, 4, 0.01)
    other = make_store(1, 300, 4, 0.01)
    front = search(store, (1, 2, 3))
    chosen = all_recipes(store, held_out=other)
    one = chosen["Wang 2018, max-softmax grid"].iloc[[3]]
    table = compare_recipes(front, {**chosen, "one point": one}, held_out=other, loss=0.02)
    assert list(table.columns[:5]) == [
        "accuracy_moved",
        "cost_moved",
        "excess_cost_moved",
        "accuracy",
        "cost",
    ]
    pd.testing.assert_frame_equal(
        table.iloc[:, 5:], compare_recipes(front, {**chosen, "one point": one})
    )
    exact = recipes.replay_points(front.table, other)
    best = front.baseline.best
    for label in (
        "Huang 2018, budgeted batch",
        "Park 2015, dynamic threshold",
        "Zhou 2020, patience",
    ):
        points = chosen[label]
        reached = points[points["accuracy"] >= best - 0.02]
        row = reached.iloc[0] if len(reached) else points.iloc[-1]
        for column in ("accuracy_moved", "cost_moved", "accuracy", "cost"):
            assert table.loc[label, column] == row[column]
        high = min(best, points["accuracy"].max(), front.table["accuracy"].max())
        at = np.linspace(front.baseline.accuracy[front.baseline.front[0]], high, 5001)[1:]
        slow = slow_excess_moved(exact, points, other, at)
        assert table.loc[label, "excess_cost_moved"] == pytest.approx(slow, abs=5e-3)
    assert table.loc["exact", "excess_cost_moved"] == 0
    assert np.isnan(table.loc[["one point", "oracle"], "excess_cost_moved"]).all()
    assert table.loc["one point", "accuracy_moved"] == one["accuracy_moved"].item()
