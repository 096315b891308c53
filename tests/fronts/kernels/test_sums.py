"""Boxes of real gains and costs, against loops over all of their boundaries."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib.fronts.graded import GrowingFront
from cascadelib.fronts.kernels import sums

SCALES = (1.0, 0.0, 1e8, 1e16)


def drawn(seed, d, k, scale):
    """Draw (samples, ends of a box, rows that it may move, totals of the others)."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, rng.integers(2, 6, d)[:, None], (d, k)).astype(np.int32)
    gains = rng.integers(0, 5, (d + 1, k)) / 4 / k
    costs = rng.uniform(0.1, 1, (d, k)) * rng.choice([1.0, scale], (d, 1)) / k
    ends = np.sort(rng.integers(0, groups.max(axis=1) + 2, (2, d)).T, axis=1)
    ends[:, 1] += ends[:, 1] == ends[:, 0]
    samples = groups, gains, costs
    rows, fixed = sums.settle_rows(
        samples, np.arange(k, dtype=np.int32), ends, np.array([0.0, 3.0])
    )
    return samples, ends, rows, fixed


def every_cascade(samples, ends):
    """Return (gain, cost) of all boundaries of a box, sample by sample."""
    groups, gains, costs = samples
    points = []
    for cut in product(*[range(low, high + 1) for low, high in ends.tolist()]):
        gain = 0.0
        cost = 3.0
        for s in range(groups.shape[1]):
            i = 0
            while i < len(cut) and groups[i, s] >= cut[i]:
                cost += costs[i, s]
                i += 1
            gain += gains[i, s]
        points.append((gain, cost))
    return np.array(points)


def front_of(points, share, seed):
    """Return a front of some of these points at higher costs."""
    rng = np.random.default_rng(seed)
    some = points[rng.random(len(points)) < share]
    found = GrowingFront(2)
    found.add_points(some[:, 1] * rng.uniform(1, 1.5, len(some)), some[:, 0], (0, 1), [])
    return found


BOXES = [st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 12), st.sampled_from(SCALES)]


@settings(max_examples=60, deadline=None)
@given(*BOXES, st.floats(0, 1), st.sampled_from([1e-12, 0.1]))
def test_lines_lie_below_every_cascade_of_a_box(seed, d, k, scale, share, tolerance):
    samples, ends, rows, fixed = drawn(seed, d, k, scale)
    points = every_cascade(samples, ends)
    front = front_of(points, share, seed)
    bound = sums.lines_below(samples, rows, ends, fixed, 2.0, front.steps, tolerance)
    lines, most, cuts, worth = bound
    for gain, cost in points:
        assert gain <= most * (1 + 1e-12) + 1e-15
        assert (lines[:, 0] + lines[:, 1] * gain <= cost * (1 + 1e-12)).all()
    for cut, own in zip(cuts, worth):
        assert own == pytest.approx(every_cascade(samples, np.stack([cut, cut]).T)[0])


def test_a_box_of_one_stage_is_priced_to_its_hull():
    """Without another stage nothing is relaxed: no front above the hull leaves an excess."""
    samples, ends, rows, fixed = drawn(5, 1, 12, 1.0)
    points = every_cascade(samples, ends)
    front = GrowingFront(2)
    front.add_points(points[:, 1], points[:, 0], (0, 1), [])
    lines, most, *_ = sums.lines_below(samples, rows, ends, fixed, 2.0, front.steps, 0.5)
    cheapest = points[:, 1].min()
    assert most == pytest.approx(points[:, 0].max())
    assert sums.excess_of(most, cheapest, lines, front.steps, 1e-12) <= 0.5


@settings(max_examples=60, deadline=None)
@given(*BOXES, st.floats(0, 1), st.sampled_from([1, 2, 3, 7]))
def test_a_box_is_divided_without_loss(seed, d, k, scale, share, bins):
    """What is better than the front is a corner, or lies in a part within its limits."""
    samples, ends, rows, fixed = drawn(seed, d, k, scale)
    everything = every_cascade(samples, ends)
    front = front_of(everything, share, seed)
    lines = np.zeros((sums.LINES, 2))
    cuts, worth, inside, most, least = sums.divide_box(
        samples, rows, ends, fixed, lines, front.steps, bins
    )
    for cut, own in zip(cuts, worth):
        assert own == pytest.approx(every_cascade(samples, np.stack([cut, cut]).T)[0])
    found = [(gain, cost) for gain, cost in worth]
    for own, highest, lowest in zip(inside, most, least):
        parts = every_cascade(samples, own)
        assert (parts[:, 0] <= highest + 1e-12).all()
        assert (parts[:, 1] >= lowest * (1 - 1e-12)).all()
        found += parts.tolist()
    front.add_points(*np.array(found).reshape(-1, 2).T[::-1], (0, 1), [])
    for gain, cost in everything:
        place = np.searchsorted(front.above[1:], gain * (1 - 1e-9))
        assert front.cost[place] <= cost * (1 + 1e-9)
    if bins == 7:
        assert not len(inside)


@settings(max_examples=40, deadline=None)
@given(*BOXES)
def test_what_is_settled_is_added_once(seed, d, k, scale):
    samples, ends, rows, fixed = drawn(seed, d, k, scale)
    expected = every_cascade(samples, ends[:, 1:].repeat(2, axis=1))[0]
    assert sums.run_cascade(samples, rows, fixed, ends[:, 1].copy()) == pytest.approx(
        tuple(expected)
    )


@given(st.lists(st.integers(0, 9), max_size=9, unique=True), st.integers(0, 10))
def test_a_place_in_a_front_equals_a_search(accuracies, accuracy):
    above = np.array([-1.0, *sorted(accuracies)])
    expected = np.searchsorted(above[1:], accuracy * (1 - 1e-12))
    assert sums.point_at.py_func(above, float(accuracy)) == expected


def test_the_floor_is_the_least_of_all_boxes():
    above = np.array([-1.0, 0.2, 0.4, 0.6])
    lines = np.zeros((sums.LINES, 2))
    lines[0] = 1.0, 10.0
    floor = np.full(4, np.inf)
    sums.lower_floor(floor, above, np.array([0.5, 0.3]), np.array([4.0, 2.0]), lines)
    assert floor.tolist() == [2.0, 3.0, 5.0, np.inf]
