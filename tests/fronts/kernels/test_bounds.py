"""Parts of the bounds of a box, against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import COMPILED, assert_front_of_all, synthetic, uncompiled

from cascadelib.fronts import workers
from cascadelib.fronts.kernels import bounds
from cascadelib.fronts.kernels.bounds import SAFETY, best_boundary, is_closed, open_between
from cascadelib.fronts.kernels.state import new_best

GROUPS = st.lists(st.tuples(*[st.integers(-4, 4)] * 3), max_size=11)


@given(GROUPS, st.integers(0, 3))
def test_the_most_that_exiting_groups_saves_equals_a_loop(groups, value):
    saved, gains, extra = np.array(groups, float).reshape(-1, 3).T
    sums = [0.0]
    for g in range(len(groups)):
        sums.append(sums[-1] + saved[g] + extra[g] + value * gains[g])
    most, at = uncompiled(best_boundary)(saved, gains, extra, float(value))
    assert most == max(sums)
    assert sums[at] == most


@pytest.mark.parametrize(
    ("bound", "tolerance", "closes"),
    [
        (2.0, 0.0, False),
        (10.0, 0.0, False),
        (10.1, 0.0, True),
        (9.6, 0.05, True),
        (9.0, 0.05, False),
    ],
)
def test_a_bound_above_the_known_cost_closes_a_box(bound, tolerance, closes):
    best = new_best(3, 2)
    best.reach[2] = 10.0
    assert uncompiled(is_closed)(best, 2, bound, np.full(4, tolerance)) == closes
    # Only bounds that the tolerance skips are below the known cost.
    is_skipped = closes and bound < 10.0
    assert best.floor[2] == (bound * SAFETY if is_skipped else np.inf)


@given(st.lists(st.integers(1, 9), min_size=9, max_size=9), st.data())
def test_the_open_part_of_a_stretch_is_that_of_a_loop(costs, data):
    a, b = sorted(data.draw(st.lists(st.integers(-1, 8), min_size=2, max_size=2, unique=True)))
    at = data.draw(st.integers(0, 8))
    offset, value, least = (data.draw(st.integers(0, 4)) for _ in range(3))
    best = new_best(8, 2)
    best.reach[:9] = costs
    exact = np.zeros(9)
    stretch = np.array([a, 0.0, b, 0.0, 3.0, 0.5])
    bounds_at = {n: max(least, offset + value * n, 3 + n / 2) for n in range(a + 1, b + 1)}
    still_open = [n for n, bound in bounds_at.items() if not costs[n] < bound * SAFETY]
    found = uncompiled(open_between)(stretch, offset, value, at, least, best, exact)
    if at in still_open:
        assert found == (at, at)
    elif still_open:
        assert found == (still_open[0], still_open[-1])
    else:
        assert found[0] > found[1]


@pytest.mark.skipif(COMPILED, reason="the number of lines is a constant of compiled kernels")
@pytest.mark.parametrize("lines", [0, 1, 2])
def test_a_box_that_few_lines_do_not_cover_is_opened(monkeypatch, lines):
    monkeypatch.setattr(bounds, "LINES", lines)
    for bins in ("COARSE_BINS", "ROOT_BINS"):
        monkeypatch.setattr(workers, bins, {2: 2})
    for seed in range(4):
        assert_front_of_all(synthetic(4, 15, seed), 3)
