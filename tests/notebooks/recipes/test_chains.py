"""All recipes at the degenerate ends, between oracle and exact front, and on another split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_stores import assert_replay_equals, assert_rising, eased_store

from cascadelib import METHODS, LogitStore, ScoreTable, search
from cascadelib.evaluation.evaluation import mean_cost
from cascadelib.evaluation.pareto import least_cost
from tools import recipes
from tools.recipes.chains import chains_of, runs_of_chain
from tools.recipes_compared import Recipe, compare_recipes


def some_recipes(store):
    return {
        "wang 2018, entropy": recipes.wang_2018(store, grid=6),
        "wang 2018, max softmax": recipes.wang_2018(store, "max_softmax", grid=6),
        "wang 2018, oblivious": recipes.wang_2018(store, cost_aware=False, grid=6),
        "streeter 2018": recipes.streeter_2018(store),
        "inoue 2019": recipes.inoue_2019(store),
        "oracle": recipes.oracle(store),
    }


def test_every_recipe_returns_a_single_candidate():
    store = eased_store(models=1)
    for table in some_recipes(store).values():
        assert table[["accuracy", "cost"]].to_numpy().tolist() == [
            [store.models["top1"].iloc[0], 1.0]
        ]
        assert table["models"].tolist() == [("m0",)]


def test_ties_everywhere_leave_only_single_models():
    labels = np.array([0, 0, 0, 1, 1, 2])
    flat = {
        f"m{i}": np.eye(3)[np.where(np.arange(6) < correct, labels, (labels + 1) % 3)]
        for i, correct in enumerate((2, 4))
    }
    store = LogitStore.from_arrays(labels, flat, macs={"m0": 1, "m1": 10})
    for label, table in some_recipes(store).items():
        assert_rising(table)
        if label not in ("oracle", "inoue 2019"):  # an ensemble of both models is another model
            np.testing.assert_allclose(table["accuracy"], [2 / 6, 4 / 6])
            assert table["cost"].tolist() == [1.0, 10.0]


def test_a_perfect_first_model_needs_no_other():
    labels = np.arange(20) % 4
    logits = {"m0": 5 * np.eye(4)[labels], "m1": eased_store(k=20).logits("m1")}
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
    store = eased_store(seed, step=step, costs=costs)
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


def test_candidates_are_the_same_as_in_search():
    store = eased_store(k=100)
    chosen = ["m2", "m0"]
    for recipe in (
        recipes.wang_2018,
        recipes.streeter_2018,
        recipes.inoue_2019,
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
        call(eased_store())


def test_a_table_of_scores_is_replayed_by_its_own_confidences():
    rng = np.random.default_rng(0)
    one, two = (
        ScoreTable(rng.random((3, 50)) < [[0.5], [0.7], [0.9]], rng.random((3, 50)), [1, 4, 9])
        for _ in "ab"
    )
    front = search(one, (1, 2, 3))
    assert_replay_equals(one, front.table, None)
    points = Recipe(front.table, None)
    table = compare_recipes({"exact": points, "itself": points}, front, two, resamples=5)
    assert table.loc["itself", "cost_ratio"] == 1
    with pytest.raises(ValueError, match="model 2"):
        recipes.replay_points(front.table, two.select(["model 0", "model 1"]), None)


def test_agreement_streams_and_scores_need_outputs():
    table = ScoreTable([[True, False], [True, True]], np.zeros((2, 2)), [1, 2])
    needs_outputs = (
        recipes.zhou_2020,
        recipes.park_2015_dynamic,
        recipes.huang_2018,
        recipes.inoue_2019,
    )
    for recipe in needs_outputs:
        with pytest.raises(ValueError, match="LogitStore"):
            recipe(table)


@pytest.mark.parametrize("costs", [None, "per sample"])
def test_replayed_points_equal_those_sample_by_sample(costs):
    """With numbers as costs a compiled loop counts the exits."""
    store = eased_store(k=50, step=0.25)
    names = list(store.models.index)
    if costs:
        stages = [store.outcome(names, METHODS["max_softmax"], "top1")((m,)) for m in range(4)]
        correct, confidence = (np.array(part) for part in zip(*stages))
        per_sample = np.random.default_rng(0).random((4, 50)) + np.arange(4)[:, None]
        store = ScoreTable(correct, confidence, per_sample, names)
    rng = np.random.default_rng(1)
    rows = [
        {"models": tuple(names[:n]), "thresholds": tuple(rng.choice([0, 0.3, 0.6, np.inf], n - 1))}
        for n in (1, 2, 3, 4, 4, 3)
    ]
    rule = None if costs else "max_softmax"
    points = pd.DataFrame(rows)
    replayed = recipes.replay_points(points, store, rule)
    for same, stage_costs, stages in chains_of(points, store, rule, "top1", None):
        for at, stage, correct in runs_of_chain(same, stages, rule):
            assert replayed["accuracy_replayed"][at] == np.mean(correct)
            assert replayed["cost_replayed"][at] == mean_cost(stage_costs, stage)
