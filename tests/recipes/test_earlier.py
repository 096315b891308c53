"""Earlier recipes against slow twins, at the degenerate ends, and between the oracle and the exact
front.
"""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import brute_front, single_cascade

from cascadelib import METHODS, LogitStore, Method, Point, ScoreTable, evaluate, recipes, search
from cascadelib.evaluation.pareto import least_cost, pareto_front
from cascadelib.methods.thresholds import own_units
from tools.recipes_compared import all_recipes, compare_recipes


def make_store(seed=0, k=40, models=4, classes=4, step=0.5, costs=None):
    """Logits on a grid of ``step``, so that confidences tie; the costlier the model, the stronger
    the signal.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, k)
    ease = rng.normal(size=(k, 1))
    logits = {}
    for i in range(models):
        z = (0.8 + i) * np.eye(classes)[labels] * (1 + ease) + rng.normal(size=(k, classes))
        logits[f"m{i}"] = np.round(z / step) * step
    costs = [3.0**i for i in range(models)] if costs is None else costs
    return LogitStore.from_arrays(labels, logits, macs=dict(zip(logits, costs)))


def outcomes_of(store, metric):
    names = list(store.models.index)
    return names, list(store.costs("macs")), Method(metric).stage(store, names)


def chains_of(costs, most):
    for n in range(1, most + 1):
        for chain in permutations(range(len(costs)), n):
            if all(costs[a] <= costs[b] for a, b in zip(chain, chain[1:])):
                yield chain


def same_front(table, points):
    """Whether a table holds just the non-dominated of points (accuracy, cost)."""
    accuracy, cost = np.array(points).T
    cost = np.round(cost, 9)
    keep = pareto_front(cost, accuracy)
    np.testing.assert_allclose(table["accuracy"], accuracy[keep], atol=1e-12)
    np.testing.assert_allclose(table["cost"], cost[keep], atol=1e-8)


def replayed(store, table, metric):
    """Each row evaluated anew gives its own accuracy and cost."""
    for row in table.itertuples():
        point = Point(
            row.models, row.thresholds, (), row.accuracy, row.cost, np.nan, Method(metric)
        )
        again = evaluate(store, point)
        assert again.accuracy == row.accuracy
        assert again.cost == pytest.approx(row.cost, rel=1e-12)


@pytest.mark.parametrize(
    ("label", "method", "lengths"),
    [
        ("Park 2015, softmax margin, 2 models", METHODS["softmax_margin"], (2,)),
        ("Wang 2022, mean logits", METHODS["max_softmax_mean_logits"], (2, 3)),
    ],
)
def test_recipes_that_search_equal_a_loop(label, method, lengths):
    store = make_store(k=12, models=3)
    brute = brute_front(method.stage(store, list(store.models.index)), store.costs("macs"), lengths)
    same_front(all_recipes(store)[label], [(n / 12, cost) for n, cost in brute.items()])


@pytest.mark.parametrize("metric", ["entropy", "max_softmax"])
@pytest.mark.parametrize("cost_aware", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_wang_2018_equals_a_loop_over_the_grid(metric, cost_aware, seed):
    store = make_store(seed, models=3, step=2.0, costs=[[3, 5, 6], [4, 4, 5]][seed % 2])
    names, costs, stage = outcomes_of(store, metric)
    k = len(store)
    cheap = []
    dear = []
    for chain in chains_of(costs, 3):
        outcomes = [stage((m,)) for m in chain]
        points = []
        for thresholds in product(
            *(np.linspace(sure.min(), sure.max(), 5) for _, sure in outcomes[:-1])
        ):
            right, cost, stages = single_cascade(outcomes, thresholds, [costs[m] for m in chain])
            points.append((round(cost, 9) if cost_aware else sum(stages), -right, cost))
        for target in range(max(-p[1] for p in points) + 1):
            best = min(p[:2] for p in points if -p[1] >= target)
            alike = [
                p[2] for p in points if p[:2] == best
            ]  # as many models run, as accurate: either may be taken
            cheap.append((-best[1] / k, min(alike)))
            dear.append((-best[1] / k, max(alike)))
    table = recipes.wang_2018(store, metric, cost_aware=cost_aware, grid=5)
    replayed(store, table, metric)
    if cost_aware:
        same_front(table, cheap)
        return
    for target in np.arange(max(a for a, _ in cheap) * k + 1) / k:
        low, high = (min(c for a, c in points if a >= target) for points in (cheap, dear))
        assert low - 1e-9 <= table.loc[table["accuracy"] >= target, "cost"].min() <= high + 1e-9


def test_cost_oblivious_exits_most_samples_early_whatever_they_cost():
    store = make_store(k=400, models=3, step=0.01, costs=[1, 2, 1000])
    aware, oblivious = (
        recipes.wang_2018(store, "max_softmax", cost_aware=aware) for aware in (True, False)
    )
    cheapest = least_cost(
        aware["cost"].to_numpy(), aware["accuracy"].to_numpy(), oblivious["accuracy"].to_numpy()
    )
    assert (cheapest <= oblivious["cost"] + 1e-9).all()
    assert (cheapest < oblivious["cost"] - 1e-3).any()
    pairs = [
        recipes.wang_2018(store, "entropy", n_models=2, cost_aware=aware) for aware in (True, False)
    ]
    pd.testing.assert_frame_equal(*pairs)  # with two models the fewest models run is the least cost


def test_the_oracle_refuses_graded_scores():
    """0.25 and 0.5 were right answers to it: accuracy 1 at cost 1."""
    with pytest.raises(ValueError, match="graded"):
        recipes.oracle(ScoreTable([[0.25, 0.5], [0.5, 1.0]], np.zeros((2, 2)), [1, 4]))
    ones = recipes.oracle(ScoreTable([[0.0, 1.0], [1.0, 1.0]], np.zeros((2, 2)), [1, 4]))
    assert ones["accuracy"].tolist() == [0.5, 1.0] and ones["cost"].tolist() == [1, 3]


def test_oracle_equals_trying_every_exit_of_every_sample():
    rng = np.random.default_rng(5)
    for costs in ([1, 4, 9], [2, 2, 5]):
        right = rng.random((3, 6)) < [[0.4], [0.5], [0.7]]
        points = []
        for chain in chains_of(costs, 3):
            for exits in product(range(len(chain)), repeat=6):
                n = sum(right[chain[e]][j] for j, e in enumerate(exits))
                points.append((n / 6, sum(costs[m] for e in exits for m in chain[: e + 1]) / 6))
        table = recipes.oracle(ScoreTable(right, np.zeros((3, 6)), costs))
        same_front(table, points)


def some_recipes(store):
    return {
        "wang 2018, entropy": recipes.wang_2018(store, grid=6),
        "wang 2018, max softmax": recipes.wang_2018(store, "max_softmax", grid=6),
        "wang 2018, oblivious": recipes.wang_2018(store, cost_aware=False, grid=6),
        "oracle": recipes.oracle(store),
    }


def assert_rising(table):
    assert len(table)
    assert (np.diff(table["cost"]) > 0).all()
    assert (np.diff(table["accuracy"]) > 0).all()


def test_one_model_is_what_every_recipe_gives():
    store = make_store(models=1)
    for table in some_recipes(store).values():
        assert table[["accuracy", "cost"]].to_numpy().tolist() == [
            [store.models["top1"].iloc[0], 1.0]
        ]
        assert table["models"].tolist() == [("m0",)]


def test_ties_everywhere_leave_only_whole_models():
    labels = np.array([0, 0, 0, 1, 1, 2])
    flat = {
        f"m{i}": np.eye(3)[np.where(np.arange(6) < right, labels, (labels + 1) % 3)]
        for i, right in enumerate((2, 4))
    }
    store = LogitStore.from_arrays(labels, flat, macs={"m0": 1, "m1": 10})
    for label, table in some_recipes(store).items():
        assert_rising(table)
        if label != "oracle":
            np.testing.assert_allclose(table["accuracy"], [2 / 6, 4 / 6])
            assert table["cost"].tolist() == [1.0, 10.0]


def test_a_perfect_first_model_needs_no_other():
    labels = np.arange(20) % 4
    logits = {"m0": 5 * np.eye(4)[labels], "m1": make_store(k=20).logits("m1")}
    store = LogitStore.from_arrays(labels, logits, macs={"m0": 1, "m1": 10})
    for table in some_recipes(store).values():
        assert table[["accuracy", "cost"]].to_numpy().tolist() == [[1.0, 1.0]]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.25, 1.0, 3.0]),
    st.sampled_from([None, [1, 1, 1, 1], [1, 2, 2, 4]]),
)
def test_no_recipe_beats_the_exact_front_and_it_never_beats_the_oracle(seed, step, costs):
    store = make_store(seed, step=step, costs=costs)
    floor = recipes.oracle(store)
    assert_rising(floor)
    for metric in ("entropy", "max_softmax", "softmax_margin", "logits_margin"):
        front = search(store, (1, 2, 3), metric)
        own = [
            recipes.wang_2018(store, metric, grid=5, cost_aware=aware) for aware in (True, False)
        ]
        for table in own:
            assert (
                front.cost_at(table["accuracy"].to_numpy()) <= table["cost"] * (1 + 1e-12)
            ).all()
        least = least_cost(
            floor["cost"].to_numpy(),
            floor["accuracy"].to_numpy(),
            front.table["accuracy"].to_numpy(),
        )
        assert (least <= front.table["cost"] * (1 + 1e-12)).all()


def test_candidates_are_chosen_as_in_search():
    store = make_store(k=100)
    chosen = ["m2", "m0"]
    for recipe in (
        recipes.wang_2018,
        recipes.oracle,
    ):
        assert {m for row in recipe(store, models=chosen)["models"] for m in row} <= set(chosen)
        assert_rising(recipe(store, models="pareto"))
        with pytest.raises(ValueError, match="m0"):
            recipe(store, models=["m00"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: recipes.wang_2018(s, "entropi"), "entropy"),
        (lambda s: recipes.wang_2018(s, grid=0), "grid"),
        (lambda s: recipes.oracle(s, cost="mac"), "macs"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(make_store())


def test_compare_equals_a_fine_sum():
    store = make_store(k=400, step=0.01)
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


def test_compare_of_one_model_has_no_range():
    store = make_store(models=1)
    row = compare_recipes(search(store, 1), {"oracle": recipes.oracle(store)}).loc["oracle"]
    assert np.isnan(row["mean_improvement"])
    assert np.isnan(row["excess_cost"])


def test_entropy_thresholds_are_in_nats():
    store = make_store(k=200)
    table = recipes.wang_2018(store)
    values = [t for row in table["thresholds"] for t in row]
    assert min(values) >= own_units("entropy", 0.0)
    assert max(values) <= np.log(4) + 1e-12
