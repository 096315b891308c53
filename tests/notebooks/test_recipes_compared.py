"""Recipes relative to the exact front on a held-out split, against slow reference
implementations."""

import numpy as np
import pandas as pd
import pytest
from recipe_stores import assert_front_equals, eased_store, make_store
from references import brute_front

from cascadelib import METHODS, search
from cascadelib.analysis.uncertainty import sample_counts
from tools import recipes
from tools.recipes_compared import (
    EXACT,
    ORACLE,
    Recipe,
    all_recipes,
    compare_recipes,
    resampled,
    resampled_singles,
    simultaneous_intervals,
)


@pytest.mark.parametrize(
    ("label", "method", "lengths"),
    [
        ("Park 2015: pairs, softmax margin", METHODS["softmax_margin"], (2,)),
        ("Wang 2022: mean logits", METHODS["max_softmax_mean_logits"], (2, 3)),
    ],
)
def test_recipes_that_search_equal_a_loop(label, method, lengths):
    store = eased_store(k=12, models=3)
    brute = brute_front(method.stage(store, list(store.models.index)), store.costs("macs"), lengths)
    points = all_recipes(store)[label].points
    assert_front_equals(points, [(n / 12, cost) for n, cost in brute.items()])


@pytest.mark.parametrize(("seed", "step"), [(0, 0.01), (1, 0.5)])
def test_replaying_a_recipe_on_its_selection_split_reproduces_its_numbers(seed, step):
    store = make_store(seed, 60, 4, step)
    for label, recipe in all_recipes(store).items():
        if label == ORACLE:
            continue
        moved = recipes.replay_points(recipe.points, store, recipe.rule)
        np.testing.assert_allclose(
            moved["accuracy_replayed"], recipe.points["accuracy"], atol=1e-12, err_msg=label
        )
        np.testing.assert_allclose(
            moved["cost_replayed"], recipe.points["cost"], rtol=1e-12, err_msg=label
        )


def slow_cost_ratio(exact, points, low, best):
    """Geometric mean over accuracies of the least cost of points ÷ that of the exact ones."""
    high = min(best, exact["accuracy_replayed"].max(), points["accuracy_replayed"].max())
    at = np.linspace(low, high, 2001)[1:, None]
    least = []
    for table in (points, exact):
        reaches = table["accuracy_replayed"].to_numpy() >= at - 1e-12
        least.append(np.where(reaches, table["cost_replayed"].to_numpy(), np.inf).min(axis=1))
    return float(np.exp(np.mean(np.log(least[0] / least[1]))))


def test_recipes_are_compared_at_equal_accuracy_on_the_other_split():
    store = make_store(0, 300, 4, 0.01)
    other = make_store(1, 300, 4, 0.01)
    front = search(store, (1, 2, 3))
    chosen = all_recipes(store)
    table = compare_recipes(chosen, front, other, loss=0.02, resamples=40)
    assert list(table.index) == list(chosen)
    best = store.models["top1"].max()
    there = other.models["top1"]
    exact = recipes.replay_points(chosen[EXACT].points, other)
    for label, recipe in chosen.items():
        if label == ORACLE:
            continue
        moved = recipes.replay_points(recipe.points, other, recipe.rule)
        reached = moved[recipe.points["accuracy"] >= best - 0.02]
        row = reached.iloc[0] if len(reached) else moved.iloc[-1]
        assert table.loc[label, "accuracy_held_out"] == pytest.approx(row["accuracy_replayed"])
        assert table.loc[label, "cost_held_out"] == pytest.approx(row["cost_replayed"])
        slow = slow_cost_ratio(exact, moved, there.iloc[0], there.max())
        assert table.loc[label, "cost_ratio"] == pytest.approx(slow, rel=0.01), label
    assert table.loc[EXACT, ["cost_ratio", "cost_ratio_where_chosen"]].tolist() == [1, 1]
    assert table.loc[ORACLE, "cost_ratio_where_chosen"] < 1
    assert table.loc[ORACLE, ["accuracy_held_out", "cost_ratio"]].isna().all()
    ends = table.drop(index=ORACLE)
    assert (ends["cost_ratio_low"] <= ends["cost_ratio"]).all()
    assert (ends["cost_ratio"] <= ends["cost_ratio_high"]).all()


def test_a_resample_is_the_split_with_some_samples_twice():
    store = make_store(0, 80, 4, 0.01)
    other = make_store(1, 80, 4, 0.01)
    front = search(store, (1, 2, 3))
    counts = sample_counts(80, 3)
    singles = resampled_singles(other, front, counts)
    for recipe in all_recipes(store).values():
        if recipe.rule == "oracle" or callable(recipe.rule):
            continue  # a stream has no sample twice; rules are as methods are
        found = resampled(other, recipe, front, counts, singles)
        for r in range(3):
            drawn = other.take(np.repeat(np.arange(80), counts[:, r]))
            moved = recipes.replay_points(recipe.points, drawn, recipe.rule)
            np.testing.assert_allclose(found.accuracy[r], moved["accuracy_replayed"], atol=1e-12)
            np.testing.assert_allclose(found.cost[r], moved["cost_replayed"], rtol=1e-9)
            np.testing.assert_allclose(found.single_accuracy[r], drawn.models["top1"], atol=1e-12)


def test_equal_recipes_are_called_more_expensive_or_cheaper_in_few_families():
    """At the boundary: all ratios are 1, columns share their noise as recipes share samples."""
    rng = np.random.default_rng(0)
    families = 400
    wrong = 0
    spread = np.linspace(0.02, 0.3, 12)
    for _ in range(families):
        noise = rng.normal(size=(201, 12)) + rng.normal(size=(201, 1))
        logs = noise * spread
        logs[1:] += logs[0]
        ratios = pd.DataFrame(np.exp(np.column_stack([np.zeros(201), logs]))).add_prefix("recipe ")
        wrong += (simultaneous_intervals(ratios)["verdict"] != "–").any()
    assert wrong / families <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / families)


def test_one_model_has_no_range():
    store = eased_store(models=1)
    front = search(store, 1)
    table = compare_recipes({EXACT: Recipe(front.table)}, front, store, resamples=5)
    assert np.isnan(table.loc[EXACT, "cost_ratio"])
    assert table.loc[EXACT, "verdict"] == "–"
