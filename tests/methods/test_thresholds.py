"""Thresholds are between two confidences and separate them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import RELAXED

from cascadelib.fronts.exact import search_arrays
from cascadelib.methods.thresholds import midway


def test_thresholds_are_midway_between_neighbours():
    correct = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool)
    confidence = np.array([[0.9, 0.7, 0.4, 0.1], [0.5] * 4])
    points = search_arrays(correct, confidence, [1.0, 10.0], 2)
    best = points.accuracy.argmax()
    assert points.accuracy[best] == 1.0
    assert points.thresholds[best, 0] == pytest.approx(0.55)


def test_a_threshold_between_adjacent_floats_is_the_upper_one():
    high = np.nextafter(0.5, 1)
    assert midway(high, 0.5) == high


LARGEST = np.finfo(np.float64).max


@RELAXED
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=9, unique=True))
def test_a_threshold_is_finite_and_separates_any_two_floats(values):
    """Only the largest float and inf cannot be separated."""
    falling = np.sort(np.array(values))[::-1]
    for high, low in zip(falling[:-1], falling[1:], strict=True):
        if low < LARGEST:
            threshold = midway(high, low)
            assert np.isfinite(threshold) and low < threshold <= high
    assert midway(falling[0], np.nan) == -np.inf and midway(np.nan, falling[0]) == np.inf
