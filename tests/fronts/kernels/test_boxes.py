"""How many bins a grid of boxes gets."""

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.fronts.kernels.boxes import most_bins_for

TOPS = st.lists(st.integers(0, 40), min_size=1, max_size=4)


def boxes_of(tops: list[int], bins: int) -> int:
    """Boxes of a grid whose stages have at most so many bins: one a boundary, where there are
    fewer."""
    return prod(min(max(top, 1), bins) for top in tops)


@given(TOPS, st.integers(1, 3000))
def test_a_grid_has_as_many_bins_as_the_budget_allows(tops: list[int], budget: int) -> None:
    bins = most_bins_for.py_func(np.array(tops), budget)
    all_of_them = max(tops) <= bins
    assert all_of_them or boxes_of(tops, bins + 1) > budget
    # Two bins at least: with one, a box would be opened into itself.
    assert bins <= 2 or boxes_of(tops, bins) <= budget
