"""Samples by falling confidence, against numpy's stable sort, for all kinds of floats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.fronts.kernels.sorting import FEW, falling_order, groups_in
from cascadelib.methods.thresholds import LARGEST, exit_counts

ANY = st.floats() | st.sampled_from([0.5, 0.5 + 2**-40, 1.0, -0.0, 0.0, 1e-300, 1e300, np.inf])


def by_numpy(confidence):
    return np.argsort(-confidence, kind="stable")


@given(st.lists(ANY, max_size=3 * FEW))
def test_the_order_is_that_of_a_stable_sort(values):
    confidence = np.array(values, float) + 0.0  # without −0.0
    np.testing.assert_array_equal(falling_order(confidence), by_numpy(confidence))


@pytest.mark.parametrize("spread", [0, 1e-12, 1e-7, 1, 1e30])
def test_samples_with_equal_keys_are_sorted_by_float64(spread):
    """float32 rounds all of them to one key, to some keys, or to none."""
    rng = np.random.default_rng(0)
    for values in (rng.standard_normal(5000), rng.integers(0, 7, 5000)):
        confidence = 1 - spread * values
        np.testing.assert_array_equal(falling_order(confidence), by_numpy(confidence))


@given(
    st.lists(st.sampled_from([-np.inf, 0.0, 0.5, LARGEST, np.inf]) | st.floats(0, 1), min_size=1)
)
def test_groups_are_those_that_thresholds_separate(values):
    confidence = np.array(values, float) + 0.0
    order = falling_order(confidence)
    group = groups_in(order, confidence, LARGEST)
    sizes = np.diff(exit_counts(confidence[order]))
    np.testing.assert_array_equal(group[order], np.repeat(np.arange(len(sizes)), sizes))
