"""Rows are selected as NumPy does, and values are written as text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.labels import as_text, select_rows


@given(st.lists(st.integers(-5, 4), min_size=1, max_size=9))
def test_rows_are_selected_as_numpy_does(indices):
    np.testing.assert_array_equal(select_rows(indices, 5), np.arange(5)[indices])


def test_masks_and_slices_select_rows():
    assert select_rows([True, False, True], 3).tolist() == [0, 2]
    assert select_rows(slice(None, None, -2), 5).tolist() == [4, 2, 0]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0.5], "a list of rows, a bool mask or a slice, not float64"),
        ([[0]], "a list of rows, a bool mask or a slice"),
        ([True], "the mask has 1 entries for 3 samples"),
        ([3], "there are 3 samples"),
        ([], "no sample is selected"),
        (slice(3, None), "no sample is selected"),
    ],
)
def test_rows_that_do_not_exist_are_refused(indices, message):
    with pytest.raises(ValueError, match=message):
        select_rows(indices, 3)


def test_values_are_written_as_text():
    values = np.array([1.0, 2.5, None, float("nan"), "x", 3], object)
    assert as_text(values).tolist() == ["1", "2.5", "", "", "x", "3"]
    assert as_text([[1.0], [np.nan]]).tolist() == [["1"], [""]]
    assert as_text([1, 2]).tolist() == ["1", "2"]
