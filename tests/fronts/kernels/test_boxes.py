"""The number of bins of a grid of boxes."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import uncompiled

from cascadelib.fronts.kernels.boxes import most_bins_for
from cascadelib.fronts.kernels.state import LEAST_BOXES, MOST_BOXES, workspace

TOPS = st.lists(st.integers(0, 40), min_size=1, max_size=4)


def boxes_of(tops, bins):
    """Return the number of boxes of a grid, with one bin per boundary at most."""
    return prod(min(max(top, 1), bins) for top in tops)


@given(TOPS, st.integers(1, 3000))
def test_a_grid_has_as_many_bins_as_the_budget_allows(tops, budget):
    bins = uncompiled(most_bins_for)(np.array(tops), budget)
    all_of_them = max(tops) <= bins
    assert all_of_them or boxes_of(tops, bins + 1) > budget
    # With less than two bins, a box would be opened into itself.
    assert bins <= 2 or boxes_of(tops, bins) <= budget
    assert bins <= max(1, *tops), "more bins than boundaries"


@pytest.mark.parametrize("d", range(2, 8))
def test_a_workspace_has_room_for_every_grid(d):
    levels, walk, *_ = workspace(10, d).parts
    room = len(walk.by_slot) // (2 * 3 ** (d - 1)) - 2
    assert room >= LEAST_BOXES
    for tops in ([1] * (d - 1) + [5000], [40] * d, [1] + [5000] * (d - 1)):
        bins = uncompiled(most_bins_for)(np.array(tops), min(MOST_BOXES, room))
        cells = prod(min(top, bins) + 2 for top in tops)
        assert 2 * cells <= len(walk.by_slot)
        assert 2 * cells * 2 ** (d + 1) <= len(walk.by_correctness)
        assert bins + 2 <= levels.edges.shape[2]
        assert boxes_of(tops, bins) <= levels.boxes.shape[1]
