"""Graded correctness and prices per sample: exact fronts against loops over all cascades."""

from itertools import count, permutations, product
from time import process_time
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_of_scores import bound_at

from cascadelib import (
    ScoreTable,
    evaluate,
    pareto_front,
    search,
    search_arrays,
    search_outcomes,
)
from cascadelib.evaluation.pareto import least_cost
from cascadelib.fronts.cascades import prepare_search
from cascadelib.fronts.graded import COPIES, copies_of, run_again, search_graded


def every_cascade(gain, confidence, cost, lengths):
    """Return (cost, accuracy) of all cascades at all thresholds, sample by sample."""
    mean = cost.mean(axis=1)
    points = []
    for n in lengths:
        for models in permutations(range(len(gain)), n):
            if any(mean[a] > mean[b] for a, b in zip(models, models[1:], strict=False)):
                continue
            for limits in product(*([*np.unique(confidence[m]), np.inf] for m in models[:-1])):
                paid = 0.0
                got = 0.0
                for j in range(gain.shape[1]):
                    for i, m in enumerate(models):
                        paid += cost[m, j]
                        if i == n - 1 or confidence[m, j] >= limits[i]:
                            got += gain[m, j]
                            break
                points.append((paid / gain.shape[1], got / gain.shape[1]))
    return np.array(points).T


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 7),
    st.sampled_from([1, 2, 3, (1, 2), (2, 3), (1, 2, 3)]),
    st.sampled_from([4, 64]),
    st.sampled_from([8.0, 1e6, 1e12, 1e20]),
)
def test_the_front_equals_a_loop_over_all_cascades(seed, k, lengths, grid, dearest):
    rng = np.random.default_rng(seed)
    gain = rng.integers(0, 5, (3, k)) / 4
    confidence = rng.integers(0, 4, (3, k)) / 4
    cost = np.array([[1.0], [3.0], [dearest]]) * rng.uniform(0.5, 1.5, (3, k))
    with patch.multiple(
        "cascadelib.fronts.graded", GRID_BOXES=grid, FEW_CORNERS=4
    ):  # boxes within boxes
        table = search(ScoreTable(gain, confidence, cost), lengths).table
    c, a = every_cascade(
        gain, confidence, cost, (lengths,) if isinstance(lengths, int) else lengths
    )
    for accuracy in np.unique(a):
        reached = table["cost"][table["accuracy"] >= accuracy - 1e-9]
        assert reached.min() == pytest.approx(c[a >= accuracy - 1e-9].min(), rel=1e-12)
    assert len(pareto_front(table["cost"], table["accuracy"])) == len(table)


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("middle", [2.0, 1e10, 1e19])
def test_costs_that_differ_by_twenty_orders_of_magnitude(graded, middle):
    """All thresholds of one triple by sums of counts, against both searches."""
    rng = np.random.default_rng(0)
    k = 300
    cost = np.array([1.0, middle, 1e20])
    correct = rng.random((3, k)) < [[0.5], [0.7], [0.9]]
    confidence = rng.random((3, k))
    least = np.full(k + 2, np.inf)
    for limit_1 in [*confidence[0], np.inf]:
        goes_on = np.flatnonzero(confidence[0] < limit_1)
        goes_on = goes_on[np.argsort(-confidence[1, goes_on])]
        leaving = correct[0].sum() - correct[0, goes_on].sum()
        second = np.append(0, np.cumsum(correct[1, goes_on]))
        third = correct[2, goes_on].sum() - np.append(0, np.cumsum(correct[2, goes_on]))
        reached = len(goes_on) - np.arange(len(goes_on) + 1)
        paid = cost[0] + cost[1] * (len(goes_on) / k) + cost[2] * (reached / k)
        np.minimum.at(least, leaving + second + third, paid)
    least = np.minimum.accumulate(least[::-1])[::-1][: k + 1]
    gain = correct.astype(float) if graded else correct
    sample_costs = np.repeat(cost[:, None], k, axis=1) if graded else cost
    front = search(ScoreTable(gain, confidence, sample_costs), 3)
    np.testing.assert_allclose(front.cost_at((np.arange(k + 1) - 0.5) / k), least, rtol=1e-12)


def test_points_reproduce_the_values_of_evaluate():
    rng = np.random.default_rng(0)
    scores = ScoreTable(
        rng.random((3, 60)), rng.random((3, 60)), rng.uniform(1, 9, (3, 60)) * [[1], [5], [30]]
    )
    front = search(scores, (1, 2, 3))
    for row in range(len(front)):
        point = front.point(row)
        result = evaluate(scores, front.point(row))
        assert (result.accuracy, result.cost) == (point.accuracy, point.cost)
        assert result.exit_rates == pytest.approx(point.exit_rates)
    assert any(len(models) == 3 for models in front.table["models"])


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(8, 24),
    st.sampled_from([3, 4, (2, 3)]),
    st.sampled_from([0.03, 0.3]),
)
def test_the_gap_of_a_graded_search_is_within_the_tolerance(seed, k, lengths, tolerance):
    rng = np.random.default_rng(seed)
    table = ScoreTable(
        rng.random((4, k)), rng.random((4, k)), rng.uniform(1, 9, (4, k)) * [[1], [5], [30], [80]]
    )
    with patch.multiple("cascadelib.fronts.graded", GRID_BOXES=8, FEW_CORNERS=12):
        exact = search(table, lengths)
        loose = search(table, lengths, tolerance=tolerance)
    at = exact.table["accuracy"].to_numpy()
    assert exact.gap.max() == 0 and loose.gap.max() <= tolerance + 1e-9
    assert (bound_at(loose.points, at) <= exact.cost_at(at) * (1 + 1e-9)).all()
    assert (loose.cost_at(at) <= exact.cost_at(at) * (1 + tolerance + 1e-9)).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 7),
    st.sampled_from([3, (1, 2, 3), (2, 3)]),
    st.sampled_from([0.0, 1.0, 1e16]),
    st.sampled_from([0.0, 0.2]),
    st.integers(1, 40),
)
def test_the_bound_is_valid_whenever_time_is_up(seed, k, lengths, dearest, tolerance, checks):
    """The clock advances when it is read. Costs may be 0."""
    rng = np.random.default_rng(seed)
    gain = rng.integers(0, 3, (4, k)) / 2
    confidence = rng.integers(0, 3, (4, k)) / 2
    cost = np.array([[0.0], [1.0], [4.0], [dearest]]) * rng.uniform(0.5, 1.5, (4, k))
    clock = count()
    with patch.multiple(
        "cascadelib.fronts.graded",
        GRID_BOXES=8,
        FEW_CORNERS=4,
        RUN_SECONDS=0,
        monotonic=lambda: next(clock),
    ):
        front = search(
            ScoreTable(gain, confidence, cost), lengths, tolerance=tolerance, time_limit=checks
        )
    c, a = every_cascade(
        gain, confidence, cost, (lengths,) if isinstance(lengths, int) else lengths
    )
    for accuracy in np.unique(a):
        least = c[a >= accuracy - 1e-9].min()
        assert bound_at(front.points, accuracy) <= least * (1 + 1e-9)


def test_a_graded_search_stops_at_its_time_limit():
    rng = np.random.default_rng(0)
    scores = ScoreTable(rng.random((8, 5_000)), rng.random((8, 5_000)), np.geomspace(1, 100, 8))
    search(scores.take(np.arange(50)), 4)  # compiles the kernels
    before = process_time()
    front = search(scores, 4, time_limit=1.0)
    assert process_time() - before < 2.5
    assert front.gap.max() > 0


def test_a_tiny_time_limit_gives_a_front_with_valid_bounds_that_states_its_gap():
    rng = np.random.default_rng(0)
    scores = ScoreTable(rng.random((5, 3_000)), rng.random((5, 3_000)), [0.0, 1.0, 4.0, 9.0, 30.0])
    hurried = search(scores, 3, time_limit=1e-9)
    exact = search(scores, 2)  # every pair is part of a triple
    assert len(hurried) > 0 and hurried.gap.max() > 0
    at = exact.table["accuracy"].to_numpy()
    assert (bound_at(hurried.points, at) <= exact.cost_at(at)).all()
    certified = f"at most {100 * hurried.gap.max():.3g}% above the least possible cost"
    for shown in (repr(hurried), hurried._repr_html_()):
        assert "not exact" in shown and certified in shown
    for shown in (repr(exact), exact._repr_html_()):
        assert "not exact" not in shown


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 4), st.integers(2, 12))
def test_copies_of_samples_approximate_graded_outcomes(seed, models, k):
    """The front of copies costs no more than the exact front at a slightly higher accuracy."""
    rng = np.random.default_rng(seed)
    gain = rng.random((models, k))
    confidence = rng.integers(0, 5, (models, k)) / 5
    cost = np.sort(rng.uniform(1, 50, models))

    def stage(prefix):
        return gain[prefix[-1]], confidence[prefix[-1]]

    exact = search_graded(prepare_search(stage, cost, (1, 2, 3), last_only=True))
    copied = search_outcomes(copies_of(stage), cost, (1, 2, 3), last_only=True)
    again = run_again(copied, stage, cost)
    off = 2 * k / COPIES
    for accuracy, least in zip(again.accuracy, again.cost):
        assert least >= least_cost(exact.cost, exact.accuracy, accuracy) * (1 - 1e-9)
    for accuracy, least in zip(exact.accuracy, exact.cost):
        assert least_cost(again.cost, again.accuracy, accuracy - off) <= least * (1 + 1e-9)
    assert again.samples == k


@pytest.mark.parametrize(("models", "k"), [(5, 12), (8, 4)])
def test_the_graded_search_equals_the_counting_search_for_scores_of_0_and_1(models, k):
    rng = np.random.default_rng(models)
    cost = np.geomspace(1, 50, models)
    correct = rng.random((models, k)) < np.linspace(0.4, 0.9, models)[:, None]
    confidence = np.round(rng.random((models, k)), 1)
    counted = search_arrays(correct, confidence, cost, models)
    summed = search(ScoreTable(correct.astype(float), confidence, cost), models).table
    np.testing.assert_allclose(summed["accuracy"], counted.accuracy, rtol=1e-12)
    np.testing.assert_allclose(summed["cost"], counted.cost, rtol=1e-12)
