"""Fronts, hull and improvement factors against their definitions, point by point."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadelib import Baseline, pareto_front
from cascadelib.evaluation.pareto import improvement_at, mean_improvement

points = st.lists(
    st.tuples(
        st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0]), st.sampled_from([0.1, 0.2, 0.5, 0.6, 0.9])
    ),
    min_size=1,
    max_size=12,
)


@given(points)
def test_the_front_is_the_set_of_non_dominated_points(rows):
    cost, accuracy = np.array(rows).T
    front = pareto_front(cost, accuracy)

    def is_dominated(c, a):
        return any(c2 <= c and a2 >= a and (c2, a2) != (c, a) for c2, a2 in rows)

    kept = {(c, a) for c, a in rows if not is_dominated(c, a)}
    assert [(cost[i], accuracy[i]) for i in front] == sorted(kept)


@given(points, st.floats(0, 1))
def test_baseline_is_the_best_random_routing(rows, at):
    """cost_at is the least expected cost of mixes of two models with this expected accuracy."""
    cost, accuracy = np.array(rows).T
    baseline = Baseline(cost, accuracy)
    got = baseline.cost_at(at)
    if at > accuracy.max():
        assert np.isnan(got)
        return
    best = np.inf
    for c1, a1 in rows:
        for c2, a2 in rows:
            if a1 >= at:
                best = min(best, c1)
            elif a2 >= at:
                w = (at - a1) / (a2 - a1)
                best = min(best, c1 * (1 - w) + c2 * w)
    assert got == pytest.approx(best)


@given(points, points, st.floats(0.05, 0.6), st.floats(0.1, 0.5))
def test_mean_improvement_equals_a_fine_sum(singles, cascades, low, width):
    cost, accuracy = np.array(singles).T
    baseline = Baseline(cost, accuracy)
    c, a = np.array(cascades).T
    keep = pareto_front(c, a)
    high = min(low + width, baseline.best)
    if high - low < 0.01:
        return
    grid = low + (np.arange(20000) + 0.5) / 20000 * (high - low)
    expected = np.mean(improvement_at(baseline, c[keep], a[keep], grid))
    assert mean_improvement(baseline, c[keep], a[keep], low, high) == pytest.approx(
        expected, rel=2e-3, abs=1e-4
    )


def test_the_improvement_is_0_without_a_point_and_nan_above_the_best_model():
    baseline = Baseline([1.0, 10.0], [0.5, 0.9])
    at = partial(improvement_at, baseline, np.array([1.0, 4.0]), np.array([0.5, 0.8]))
    assert at(0.3) == 1.0
    assert at(0.7) == pytest.approx(5.5 / 4)
    assert at(0.85) == 0
    assert np.isnan(at(0.95))
    assert np.isnan(mean_improvement(baseline, np.array([1.0]), np.array([0.5]), 0.5, 0.95))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_costs_must_be_finite_and_not_negative(bad):
    with pytest.raises(ValueError, match="model 1"):
        Baseline([1.0, bad], [0.5, 0.6])


@pytest.mark.parametrize(("cost", "accuracy"), [(np.nan, 0.6), (2.0, np.nan), (np.nan, np.nan)])
def test_a_front_of_points_with_a_single_nan_is_refused(cost, accuracy):
    with pytest.raises(ValueError, match="must not be nan"):
        pareto_front(np.array([1.0, cost, 3.0]), np.array([0.5, accuracy, 0.7]))
