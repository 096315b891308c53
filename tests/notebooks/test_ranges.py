"""Measures of fronts at the paper's accuracies."""

from types import SimpleNamespace

import numpy as np
import pytest

from cascadelib.evaluation.pareto import Baseline
from tools.figures import ranges


def test_ranges_are_shares_of_the_runs_range():
    asked = SimpleNamespace(
        baseline=Baseline([1, 2], [ranges.LOW, ranges.BEST]), mean_improvement=lambda *ends: ends
    )
    assert ranges.mean_in(asked, 0.8, 0.86) == pytest.approx((0.8, 0.86))
    asked.baseline = Baseline([1, 2], [0.2, 0.7])
    middle = ranges.mean_in(asked, None, (ranges.LOW + ranges.BEST) / 2)
    assert middle == (None, pytest.approx(0.45))


def test_a_few_large_differences_do_not_decide_across_most_of_the_front(monkeypatch):
    """A front that does not reach an accuracy has the factor 0 there."""
    monkeypatch.setattr(ranges, "factors", np.array)
    first = [2.1, 2.2, 2.0, 2.3, 2.2, 2.1, 0.0, 1.0]
    second = [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 9.0, 9.0]
    expected = (0 + 0.1 + 0.1 + 0.2) / 4, 5.5 / 8  # a tie is half a lead
    assert ranges.lead_across(first, second) == pytest.approx(expected)
    assert ranges.lead_across(second, first) == pytest.approx((-0.1, 2.5 / 8))
