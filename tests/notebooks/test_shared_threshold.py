"""One threshold for all stages: against a loop over everything, and against separate thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from references import last_of, shared_front, slow_stages
from tables_of_scores import NOISY, RELAXED, assert_same_front, tables

from cascadelib import METHODS, evaluate, search
from cascadelib.stages import Stage
from tools.claims.shared_threshold import search_shared_threshold, shared_threshold_front

ENDS = np.array([-np.inf, 0.0, 1.0, np.inf])


@RELAXED
@given(tables(models=(2, 4), samples=(1, 8)), st.integers(2, 4), st.booleans())
def test_one_shared_threshold_equals_a_loop(table, n, is_infinite):
    correct, levels, cost = table
    n = min(n, len(cost))
    k = correct.shape[1]
    confidence = ENDS[np.rint(3 * levels).astype(int)] if is_infinite else levels
    points = search_shared_threshold(last_of(correct, confidence), cost, n)
    assert_same_front(points, shared_front(last_of(correct, levels), cost, n), k)
    for row, models in enumerate(points.models):
        stages = slow_stages(confidence[models[:-1]], points.thresholds[row])
        assert points.accuracy[row] == correct[models, :][stages, np.arange(k)].mean()
        assert points.exit_rates[row] == pytest.approx(np.bincount(stages, minlength=n) / k)
        assert points.cost[row] == pytest.approx(cost[models].cumsum()[stages].mean(), rel=1e-12)


def test_a_shared_threshold_is_never_better_than_separate_ones():
    shared = shared_threshold_front(NOISY, 3)
    free = search(NOISY, 3)
    assert (free.cost_at(shared.table["accuracy"]) <= shared.table["cost"]).all()
    point = shared.point(len(shared) // 2)
    assert len(set(point.thresholds)) == 1
    assert evaluate(NOISY, point).accuracy == point.accuracy


def test_the_last_model_needs_no_confidence():
    """A mean ensemble computes it at a high price: minutes for triples of 1,000 classes."""
    stage = NOISY.outcome(list(NOISY.models.index), METHODS["max_softmax"], "top1")
    cost = NOISY.costs("macs")

    class WithoutLast(Stage):
        def __call__(self, prefix):
            assert len(prefix) < 3
            return stage(prefix)

        def correct(self, prefix):
            return stage(prefix)[0]

    points = search_shared_threshold(WithoutLast(stage), cost, 3)
    expected = search_shared_threshold(stage, cost, 3)
    for field in ("accuracy", "cost", "models", "thresholds"):
        np.testing.assert_array_equal(getattr(points, field), getattr(expected, field))
