"""Confidences that differ from those of the selection split are detected."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import comb

from cascadelib.methods import confidence_range
from cascadelib.methods.confidence_range import has_power, impossible, median_outside


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("max_softmax", [93.0, 1.01, -0.01]),
        ("softmax_margin", [93.0, -0.5]),
        ("top2_softmax_sum", [1.5]),
        ("entropy", [-0.2]),
    ],
)
def test_impossible_values_of_a_metric_are_found(metric, values):
    assert impossible(np.array(values), metric).all()
    sound = [0.0, 0.5, 1.0, 1.0005, np.inf, -np.inf, np.nan]
    assert not impossible(np.array(sound), metric).any()


def test_custom_and_unbounded_confidences_may_have_any_value():
    assert not impossible(np.array([93.0, -5.0]), None).any()
    assert not impossible(np.array([93.0]), "logits_margin").any()


@given(st.integers(1, 6), st.integers(1, 6))
def test_power_is_the_probability_of_a_median_above_all_others(seen, here):
    """The probability is counted over all ways to draw the ranks."""
    ways = list(combinations(range(seen + here), here))
    upper = (here + 1) // 2
    above = sum(
        min(way[-upper:]) > max(set(range(seen + here)) - set(way), default=-1) for way in ways
    )
    probability = above / len(ways)
    assert probability == pytest.approx(comb(here, upper) / comb(seen + here, upper))
    assert has_power(seen, here, 2 * probability * 1.0001)
    assert not has_power(seen, here, 2 * probability * 0.9999)


def test_a_median_is_refused_only_if_the_test_has_power():
    values = np.full(40, 93.0)
    assert median_outside(values, 0.2, 1.0, 300)
    assert not median_outside(values[:3], 0.2, 1.0, 300)
    assert not median_outside(np.append(np.full(40, 0.5), values[:39]), 0.2, 1.0, 300)
    assert not median_outside(np.full(40, -np.inf), 0.2, 1.0, 300)
    assert confidence_range.LEVEL == 1e-9
