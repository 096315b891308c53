"""Graded correctness and costs per sample, against loops over all cascades."""

from itertools import count
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import every_exit
from tables_of_scores import bound_at

from cascadelib import ScoreTable, evaluate, pareto_front, search, search_arrays
from cascadelib.fronts import curves
from cascadelib.fronts.curves import copies_of_grades, merge_fronts

LENGTHS = [1, 2, (1, 2), 3, (2, 3), (1, 2, 3)]


def every_cascade(gain, confidence, cost, lengths):
    """Return (cost, accuracy) of all cascades at all thresholds."""
    at = np.arange(gain.shape[1])
    points = []
    for models, stages in every_exit(confidence, cost.mean(axis=1), lengths):
        paid = cost[models].cumsum(axis=0)[stages, at]
        points.append((paid.mean(), gain[models][stages, at].mean()))
    return np.array(points).T


def drawn(seed, k, grades=4, per_sample=False, scale=8.0):
    """Draw a table of three models: scores that are multiples of 1 / grades, or any if it is 0."""
    rng = np.random.default_rng(seed)
    gain = rng.integers(0, grades + 1, (3, k)) / grades if grades else rng.random((3, k))
    confidence = rng.integers(0, 4, (3, k)) / 4
    spread = rng.uniform(0.5, 1.5, (3, k if per_sample else 1))
    return gain, confidence, np.array([[1.0], [3.0], [scale]]) * spread


SEEDS = st.integers(0, 10_000)


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 7), st.sampled_from(LENGTHS), st.sampled_from([8.0, 1e12, 1e20]))
def test_the_front_equals_a_loop_over_all_cascades(seed, k, lengths, scale):
    per_sample = lengths in LENGTHS[:3]
    gain, confidence, cost = drawn(seed, k, 4, per_sample, scale)
    scores = ScoreTable(gain, confidence, cost if per_sample else cost[:, 0])
    front = search(scores, lengths)
    c, a = every_cascade(gain, confidence, np.broadcast_to(cost, gain.shape), lengths)
    table = front.table
    for point, run in zip(front.cascades, evaluate(scores, front)):
        assert (run.accuracy, run.cost) == (point.accuracy, point.cost)
        assert run.exit_rates == pytest.approx(point.exit_rates)
    for accuracy in np.unique(a):
        reached = table["cost"][table["accuracy"] >= accuracy - 1e-9]
        assert reached.min() == pytest.approx(c[a >= accuracy - 1e-9].min(), rel=1e-12)
    assert len(pareto_front(table["cost"], table["accuracy"])) == len(table)
    assert front.exact and front.error == 0 and (front.gap == 0).all()


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 7), st.sampled_from([3, (2, 3)]), st.sampled_from([4, 64]))
def test_no_cascade_exceeds_a_rounded_front_by_more_than_its_error(seed, k, lengths, most):
    gain, confidence, cost = drawn(seed, k, grades=0)
    with patch.object(curves, "MOST_COPIES", most):
        front = search(ScoreTable(gain, confidence, cost[:, 0]), lengths)
    assert front.error == 1 / most and not front.exact
    c, a = every_cascade(gain, confidence, np.broadcast_to(cost, gain.shape), lengths)
    for total, accuracy in zip(c, a):
        reached = front.table["accuracy"][front.table["cost"] <= total * (1 + 1e-9)].max()
        assert reached >= accuracy - front.error
    assert f"may be up to {front.error:.2g} more accurate" in repr(front)


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 7), st.sampled_from([0, 1, 4]), st.sampled_from([3, (1, 2, 3)]))
def test_longer_cascades_with_costs_per_sample_have_true_costs_of_a_search_by_means(
    seed, k, grades, lengths
):
    gain, confidence, cost = drawn(seed, k, grades, per_sample=True)
    table = ScoreTable(gain, confidence, cost)
    front = search(table, lengths)
    assert not front.exact and np.isnan(front.gap).all()
    assert "mean cost of each model" in repr(front)
    for point, run in zip(front.cascades, evaluate(table, front)):
        assert (run.accuracy, run.cost) == (point.accuracy, point.cost)
    by_means = search(ScoreTable(gain, confidence, cost.mean(axis=1)), lengths)
    found = {evaluate(table, point).cost for point in by_means.cascades}
    assert set(front.table["cost"]) <= found


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 7), st.sampled_from([1, 2, (1, 2)]), st.integers(1, 10))
def test_the_bound_of_pairs_is_valid_whenever_time_is_up(seed, k, lengths, checks):
    """The clock advances when it is read."""
    gain, confidence, cost = drawn(seed, k, 2, per_sample=True)
    clock = count()
    with (
        patch("cascadelib.fronts.cascades.time.monotonic", lambda: 0),
        patch.object(curves, "monotonic", lambda: next(clock)),
    ):
        front = search(ScoreTable(gain, confidence, cost), lengths, time_limit=checks)
    assert len(front) > 0
    c, a = every_cascade(gain, confidence, cost, lengths)
    for accuracy in np.unique(a):
        least = c[a >= accuracy - 1e-9].min()
        assert bound_at(front.points, accuracy) <= least * (1 + 1e-9)


def test_a_tiny_time_limit_gives_a_front_with_valid_bounds_that_states_its_gap():
    rng = np.random.default_rng(0)
    scores = ScoreTable(
        rng.binomial(2, np.linspace(0.5, 0.9, 5)[:, None], (5, 3_000)) / 2,
        rng.random((5, 3_000)),
        [0.0, 1.0, 4.0, 9.0, 30.0],
    )
    exact = search(scores, 2)  # every pair is part of a triple
    hurried = search(scores, 3, time_limit=1e-9)
    assert len(hurried) > 0 and hurried.gap.max() > 0
    at = exact.table["accuracy"].to_numpy()
    assert (bound_at(hurried.points, at) <= exact.cost_at(at)).all()
    certified = f"at most {100 * hurried.gap.max():.3g}% above the least possible cost"
    for shown in (repr(hurried), hurried._repr_html_()):
        assert "not exact" in shown and certified in shown
    assert "not exact" not in repr(exact)


@pytest.mark.parametrize(("models", "k"), [(5, 12), (8, 4)])
def test_scores_of_0_and_1_have_the_front_of_booleans(models, k):
    rng = np.random.default_rng(models)
    cost = np.geomspace(1, 50, models)
    correct = rng.random((models, k)) < np.linspace(0.4, 0.9, models)[:, None]
    confidence = np.round(rng.random((models, k)), 1)
    counted = search_arrays(correct, confidence, cost, models)
    table = search(ScoreTable(correct.astype(float), confidence, cost), models).table
    np.testing.assert_allclose(table["accuracy"], counted.accuracy, rtol=1e-12)
    np.testing.assert_allclose(table["cost"], counted.cost, rtol=1e-12)


@pytest.mark.parametrize(
    ("grades", "copies"),
    [([0, 1], 1), ([0, 0.5], 2), ([0.1, 0.25], 20), ([1 / 3, 0.5], 6), ([0.123], None)],
)
def test_grades_have_the_fewest_copies_that_represent_them(grades, copies):
    assert copies_of_grades(np.array(grades)) == copies


def test_the_first_of_equal_points_stays_in_a_merged_front():
    front = np.array([[1.0, 2.0], [0.5, 0.6], [0, 1]])
    points = np.array([[1.0, 1.5, 3.0], [0.5, 0.6, 0.6], [2, 3, 4]])
    assert merge_fronts(front, points).tolist() == [[1.0, 1.5], [0.5, 0.6], [0, 3]]
