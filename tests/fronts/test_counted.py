"""The counting search against all cascades and thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import brute_front

from cascadelib.fronts.cascades import prepare_search
from cascadelib.fronts.counted import search_counted


def stage_of(correct, confidence):
    return lambda prefix: (correct[prefix[-1]], confidence[prefix[-1]])


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(0, 1000), st.sampled_from([(1,), (2,), (1, 2, 3)]))
def test_a_prepared_search_finds_the_front_of_all_thresholds(samples, seed, lengths):
    rng = np.random.default_rng(seed)
    correct = rng.random((3, samples)) < 0.6
    confidence = rng.integers(0, 3, (3, samples)) / 2  # ties
    cost = np.array([1.0, 2.0, 5.0])
    stage = stage_of(correct, confidence)
    points = search_counted(prepare_search(stage, cost, lengths))
    found = dict(zip(np.round(points.accuracy * samples).astype(int).tolist(), points.cost))
    assert found == pytest.approx(brute_front(stage, cost, lengths))
