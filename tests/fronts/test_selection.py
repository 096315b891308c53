"""The points that pick and peaks select, against loops and exact cases."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_of_scores import COMPILED, noisy_store, tables
from tiny_stores import three_scores

from cascadelib import Method, ScoreTable, evaluate, peaks, pick, search
from cascadelib.analysis.shift import front_on
from cascadelib.fronts.selection import cost_bound
from cascadelib.methods.expected import expected_outcomes

STORE = noisy_store()
OTHER = noisy_store(1)


def test_named_goals_are_reached():
    front = search(STORE, 2)
    assert pick(front, "max_improvement").improvement == front.table["improvement"].max()
    for goal in ("match_best", "near_best"):
        assert pick(front, goal, caution=0) == pick(front, loss=0, caution=0)
    low = search(STORE, 2, models=["m0", "m1"])
    assert low.table["accuracy"].iloc[-1] < low.baseline.best
    for caution in (0, 1):
        assert pick(low, "near_best", caution=caution) == low.point(-1)


def test_cascades_of_front_models_are_no_longer_than_the_front():
    table = ScoreTable([[True, True], [True, False]], np.ones((2, 2)), [1, 2])
    for n in (2, (1, 2)):
        assert search(table, n, models="pareto").table["models"].tolist() == [("model 0",)]


def test_pareto_candidates_are_the_models_of_the_single_model_front():
    front = search(STORE, 2, models="pareto")
    on_front = [STORE.models.index[i] for i in front.baseline.front]
    assert list(front.candidates) == on_front


def test_peaks_are_points_of_the_front():
    points = peaks(search(STORE, 2), prominence=0.01)
    assert points
    assert [run.accuracy for run in evaluate(STORE, points)] == [p.accuracy for p in points]
    assert [run.accuracy for run in evaluate(OTHER, points)] != [p.accuracy for p in points]


def test_the_front_of_a_score_table_is_that_of_its_store():
    stage = Method().stage(STORE, names := list(STORE.models.index))
    correct, confidence = (
        np.stack(part) for part in zip(*(stage((m,)) for m in range(4)), strict=True)
    )
    scores = ScoreTable(correct, confidence, STORE.costs("macs"), names)
    here = search(STORE, (1, 2, 3))
    there = search(scores, (1, 2, 3))
    assert here.table.equals(there.table)


def slow_pick(front, table, goal, value, caution):
    """Return (models, thresholds) by a loop over all points of a front, or None."""
    k = len(table)
    best = front.singles["accuracy"].idxmax()
    alone = table.correct[table.names.index(best)] * 1.0
    costs = dict(zip(table.models.index, table.costs()))
    found = None
    for row in range(len(front)):
        point = front.point(row)
        run = evaluate(table, point)
        correct = np.array(run.correct, float)
        if goal == "loss":
            margin = point.accuracy - front.baseline.best + value
            each = correct - alone
        elif goal == "accuracy":
            margin = point.accuracy - value
            each = correct
        else:
            margin = value - point.cost
            each = np.array([sum(costs[m] for m in point.models[: s + 1]) for s in run.exit_stage])
        error = np.sqrt(np.mean((each - each.mean()) ** 2) / k)
        if margin >= caution * error - 1e-9:
            alike = front.reference
            is_more_accurate = point.accuracy > alike.accuracy + 1e-8
            is_better = point.cost < alike.cost
            if goal == "loss":
                is_better |= point.cost == alike.cost and is_more_accurate
            else:
                is_better |= is_more_accurate or not caution
            if goal != "budget" and not is_better:
                return alike.models, alike.thresholds
            if goal != "budget":
                return point.models, point.thresholds
            found = point.models, point.thresholds
    return found


@settings(max_examples=60)
@given(
    tables(models=(1, 3), samples=(2, 30)),
    st.sampled_from(["loss", "accuracy", "budget"]),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 3.0, 20.0]),
    st.sampled_from([0.0, 0.5, 1.25, 3.0]),
    st.booleans() if COMPILED else st.just(False),
)
def test_pick_equals_a_loop_over_all_points(given_, goal, value, caution, expected):
    table = ScoreTable(*given_)
    front = search(table, tuple(range(1, len(table.models) + 1)), expected=expected)
    wanted = slow_pick(front, table, goal, value, caution)
    arguments = {goal: value, "caution": caution}
    if goal != "budget" and value > 0.9:
        with pytest.raises(ValueError, match=f"{goal} must be a fraction"):
            pick(front, **arguments)
        return
    if wanted is not None:
        point = pick(front, **arguments)
        assert (point.models, point.thresholds) == wanted
        assert goal != "loss" or point.cost <= front.reference.cost
    elif goal == "budget" or front.baseline.best < (value if goal == "accuracy" else 0):
        with pytest.raises(ValueError, match="no cascade"):
            pick(front, **arguments)
    else:
        point = pick(front, **arguments)
        assert point.models == front.reference.models and "single model" in point.chosen_by


def test_caution_moves_the_point_inside_the_bound_and_chosen_by_states_it():
    front = search(STORE, 2)
    raw = pick(front, loss=0.02, caution=0)
    cautious = pick(front, loss=0.02, caution=0.5)
    assert cautious.cost > raw.cost and cautious.accuracy > raw.accuracy
    assert cautious.chosen_by == "0.5 standard errors inside loss=0.02"
    assert cautious.chosen_by in repr(cautious) and raw.chosen_by == ""
    alone = pick(front, "match_best", caution=1000)
    assert alone.models == (STORE.models["top1"].idxmax(),)
    assert alone.chosen_by == (
        "no cascade is 1000 standard errors inside match_best: the most accurate single model"
    )
    assert evaluate(STORE, alone).accuracy == alone.accuracy


@pytest.mark.parametrize("expected", [False, True])
def test_a_cascade_without_a_saving_is_not_selected(expected):
    """With a useless cheap model, "cheap never → expensive" costs more than "expensive"."""
    rng = np.random.default_rng(0)
    correct = np.stack([np.zeros(200, bool), rng.random(200) < 0.9])
    front = search(ScoreTable(correct, rng.random((2, 200)), [1, 30]), 2, expected=expected)
    assert front.table["cost"].iloc[-1] == 31
    best = front.reference
    for goal in ({"loss": 0}, {"goal": "match_best"}, {"accuracy": 0.8 * best.accuracy}):
        point = pick(front, **goal, caution=0.5)
        assert point.cost < 30 or point.models == best.models
    assert pick(front, accuracy=best.accuracy, caution=0).cost == 31  # the raw front
    for goal in ({"loss": 0}, {"goal": "match_best"}):
        point = pick(front, **goal, caution=0)
        assert point == best and point.chosen_by.startswith("no cascade is within ")
    assert pick(front, "near_best", caution=0).cost == 31  # what the explorer follows
    point = pick(front, loss=0)
    assert point == best and "the most accurate single model" in point.chosen_by


@pytest.mark.parametrize(
    ("expected", "lengths", "samples", "caution", "optimism"),
    [
        (False, (1, 2), 500, 1.25, 0.95),
        (False, (1, 2, 3), 500, 1.85, 1.4),
        (True, (1, 2), 500, 0.65, 0.6),
        (True, (1, 2, 3), 500, 1.05, 0.85),
        (False, (1, 2), 2000, 1.25 / 4**0.2, 0.95),
        (False, (1, 2), 8000, 1.25 / 4**0.2, 0.95),
        (True, (1, 2, 3), 125, 1.05 * 4**0.2, 0.85),
    ],
)
def test_the_default_caution_grows_with_the_length_and_falls_with_the_samples(
    expected, lengths, samples, caution, optimism
):
    rng = np.random.default_rng(0)
    ease = rng.random(samples)
    correct = rng.random((3, samples)) < np.array([[0.6], [0.7], [0.8]]) + 0.2 * ease
    table = ScoreTable(correct, np.tile(ease, (3, 1)), [1, 4, 9])
    front = search(table, lengths, expected=expected)
    assert front.caution == round(caution, 2)
    point = pick(front, loss=0.1)
    assert point == pick(front, loss=0.1, caution=front.caution)
    error = np.sqrt(point.accuracy * (1 - point.accuracy) / samples)
    assert point.expected_accuracy == pytest.approx(point.accuracy - optimism * error)
    assert f"expected accuracy {point.expected_accuracy:.2%}" in repr(point)
    assert "expected accuracy" in repr(front)


def test_a_pickled_front_has_no_outcomes_and_needs_caution_0():
    front = search(STORE, (1, 2, 3))
    copied = pickle.loads(pickle.dumps(front))
    assert copied.store is None and copied.samples == len(STORE)
    assert replace(copied, points=None).samples == 0
    assert pick(copied, "match_best", caution=0) == pick(front, "match_best", caution=0)
    with pytest.raises(ValueError, match="give caution=0 or search again"):
        pick(copied, "match_best")


def test_the_variance_of_costs_is_exact():
    front = search(STORE, (1, 2, 3))
    for point, run in zip(front.cascades, evaluate(STORE, front)):
        assert cost_bound(front, point) == pytest.approx(np.var(run.sample_costs))


def test_pick_uses_the_outcomes_of_the_split_of_the_front():
    moved = front_on(OTHER, search(STORE, 2, expected=True))
    assert moved.store is OTHER and not moved.expected
    assert pick(moved, "match_best").cost > pick(moved, "match_best", caution=0).cost


def test_costs_per_sample_and_f1_have_standard_errors():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    margin = np.where(labels, 1, -1) * [[0.7], [1.2]] + rng.normal(size=(2, 400))
    frame = ScoreTable(
        None,
        abs(margin),
        rng.uniform([[1], [5]], [[2], [30]], (2, 400)),
        predictions=(margin > 0).astype(int).astype(str),
    ).labelled(labels.astype(str))
    front = search(frame, 2, score="f1")
    point = pick(front, "match_best", caution=0.5)
    assert point.accuracy > front.baseline.best or "single model" in point.chosen_by
    within = pick(front, budget=8.0, caution=2)
    run = evaluate(frame, within)
    assert run.sample_costs.mean() == pytest.approx(run.cost)
    assert run.cost + 2 * np.std(run.sample_costs) / 20 <= 8


def test_of_perfect_or_useless_models_the_cheapest_is_selected():
    rng = np.random.default_rng(1)
    for correct in (np.ones((3, 20), bool), np.zeros((3, 20), bool)):
        table = ScoreTable(correct, rng.random((3, 20)), [1.0, 2.0, 3.0])
        for expected in (False, True):
            point = pick(search(table, (1, 2, 3), expected=expected), "match_best")
            assert point.models == ("model 0",) and point.accuracy == correct.mean()


@pytest.mark.parametrize("lengths", [2, (1, 2, 3)])
def test_the_accuracy_of_an_expected_point_is_the_mean_of_its_expected_outcomes(lengths):
    table = three_scores()
    front = search(table, lengths, expected=True)
    stage = expected_outcomes(table.outcome(table.names, None, "top1"), 3, True)
    runs = evaluate(table, front)
    for point, run in zip(front.cascades, runs):
        outcomes = [stage((table.names.index(name),))[0] for name in point.models]
        assert point.accuracy == pytest.approx(np.choose(run.exit_stage, outcomes).mean())
    assert any(abs(p.accuracy - run.accuracy) > 0.001 for p, run in zip(front.cascades, runs))
