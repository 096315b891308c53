"""Boxes of boundaries where gains and costs are sums of real numbers, one per sample and stage.

``samples`` of a cascade of d + 1 models on k samples are groups int32 [d, k], gains float64
[d + 1, k] and costs of later models float64 [d, k], each ÷ k. A box is ``ends`` int64 [d, 2]: per
stage its first boundary and its last; ``rows`` int32 [r] are samples, among them all that a
boundary of the box moves; ``fixed`` float64 [2] is what the others come to: gain and cost. Costs
are only added, never subtracted: a difference would be off by the rounding of the larger, which is
more than the smaller where costs differ by 16 orders of magnitude. Bounds hold up to the rounding
of sums of k numbers.

The price bound is that of :mod:`cascadelib.fronts.kernels.bounds`: at a price of accuracy each
sample, once past the first stage at which it is open, takes its best exit, and each stage its best
boundary. ``lines`` float64 [LINES, 2], offset and price, lie below the cost of every cascade of a
box, by accuracy. A ``front`` is that of :class:`cascadelib.fronts.graded.Found`: accuracies after
−1 float64 [P + 1], and costs float64 [P + 1], the last infinite: it leaves costs below cost[i] to
accuracies above above[i].
"""

from collections import namedtuple

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner, kernel

LINES = 8  # at most, below the costs of a box
ROUNDING = 1e-12  # relative, of sums

# Exits of r samples after the first stage at which each is open: its bucket (stage and group there)
# int64 [r]; its first later exit int64 [r + 1]; cost and gain of each exit beyond the first one;
# first bucket of each stage int64 [d + 1].
Exits = namedtuple("Exits", "bucket start cost gain first")


@inner
def point_at(above: Array, accuracy: float) -> int:
    """The first point of a front with this accuracy, up to rounding: P where none has."""
    return int(np.searchsorted(above, accuracy * (1 - ROUNDING))) - 1


@kernel
def settle(samples: tuple, rows: Array, ends: Array, fixed: Array) -> tuple[Array, Array]:
    """(rows that a boundary of the box moves, what all others come to)."""
    groups, gains, costs = samples
    d = len(ends)
    inside = np.empty_like(rows)
    total = fixed.copy()
    n = 0
    for s in rows:
        i = 0
        while i < d and groups[i, s] >= ends[i, 1]:
            i += 1
        if i < d and groups[i, s] >= ends[i, 0]:
            inside[n] = s
            n += 1
            continue
        # Its exit is settled: it passed the stages before i.
        total[0] += gains[i, s]
        for j in range(i):
            total[1] += costs[j, s]
    return inside[:n].copy(), total


@kernel
def later_exits(samples: tuple, rows: Array, ends: Array) -> tuple[Exits, Array]:
    """(:class:`Exits` of the rows that a box moves, what they come to if all leave at the first:
    gain and cost)."""
    groups, gains, costs = samples
    d = len(ends)
    r = len(rows)
    first = np.zeros(d + 1, np.int64)
    for i in range(d):
        first[i + 1] = first[i] + ends[i, 1] - ends[i, 0]
    exits = Exits(
        np.empty(r, np.int64), np.zeros(r + 1, np.int64), np.empty(r * d), np.empty(r * d), first
    )
    earliest = np.zeros(2)
    m = 0
    for x in range(r):
        s = rows[x]
        i = 0
        while groups[i, s] >= ends[i, 1]:
            earliest[1] += costs[i, s]
            i += 1
        # Open at i, where it leaves at the earliest.
        exits.bucket[x] = first[i] + groups[i, s] - ends[i, 0]
        leaving = gains[i, s]
        earliest[0] += leaving
        paid = 0.0
        passes = True
        while passes:
            paid += costs[i, s]
            i += 1
            if i == d or groups[i, s] < ends[i, 1]:
                exits.cost[m] = paid
                exits.gain[m] = gains[i, s] - leaving
                m += 1
            passes = i < d and groups[i, s] >= ends[i, 0]
        exits.start[x + 1] = m
    return exits, earliest


@kernel
def support_at(
    exits: Exits, ends: Array, earliest: Array, weight: float, price: float
) -> tuple[float, float, Array]:
    """The least of weight · cost − price · gain over what the bound allows: (gain, cost,
    boundaries int64 [d]).

    earliest: gain and cost where every sample leaves as early as it may.
    """
    passing = np.zeros((exits.first[-1], 2))
    for x in range(len(exits.bucket)):
        best = np.inf
        choice = 0
        for j in range(exits.start[x], exits.start[x + 1]):
            own = weight * exits.cost[j] - price * exits.gain[j]
            if own < best:
                best = own
                choice = j
        passing[exits.bucket[x], 0] += exits.gain[choice]
        passing[exits.bucket[x], 1] += exits.cost[choice]
    gain = earliest[0]
    cost = earliest[1]
    cut = ends[:, 1].copy()
    for i in range(len(ends)):
        # The boundary moves down from where all leave: what passes on is added group by group.
        least = 0.0
        gained = 0.0
        paid = 0.0
        gained_there = 0.0
        paid_there = 0.0
        for g in range(ends[i, 1] - ends[i, 0] - 1, -1, -1):
            gained += passing[exits.first[i] + g, 0]
            paid += passing[exits.first[i] + g, 1]
            if weight * paid - price * gained < least:
                least = weight * paid - price * gained
                cut[i] = ends[i, 0] + g
                gained_there = gained
                paid_there = paid
        gain += gained_there
        cost += paid_there
    return gain, cost, cut


@kernel
def run(samples: tuple, rows: Array, fixed: Array, cut: Array) -> tuple[float, float]:
    """(gain, cost) of the cascade with boundaries ``cut`` int64 [d]."""
    groups, gains, costs = samples
    gain = fixed[0]
    cost = fixed[1]
    for s in rows:
        i = 0
        while i < len(cut) and groups[i, s] >= cut[i]:
            cost += costs[i, s]
            i += 1
        gain += gains[i, s]
    return gain, cost


@inner
def next_price(supports: Array, accuracy: float, guess: float) -> tuple[float, float]:
    """(price, offset) of the line through the supports (gain, cost) float64 [n, 2] on both sides of
    an accuracy; first a guess; a price below 0 where nothing lies beyond."""
    below = -1
    beyond = -1
    for x in range(len(supports)):
        gain = supports[x, 0]
        if gain > accuracy:
            if beyond < 0 or gain < supports[beyond, 0]:
                beyond = x
        elif below < 0 or gain > supports[below, 0]:
            below = x
    if below >= 0 and beyond >= 0:
        rise = max(supports[beyond, 1] - supports[below, 1], 0.0)
        price = rise / (supports[beyond, 0] - supports[below, 0])
        return price, supports[below, 1] - price * supports[below, 0]
    return (guess if len(supports) == 1 else -1.0), np.inf


@inner
def bound_at(lines: Array, least: float, accuracy: float) -> float:
    """The least cost of a cascade with more than this accuracy that lies above some lines and costs
    ``least`` or more."""
    bound = least
    for x in range(len(lines)):
        bound = max(bound, lines[x, 0] + lines[x, 1] * accuracy)
    return bound


@kernel
def lines_below(
    samples: tuple,
    rows: Array,
    ends: Array,
    fixed: Array,
    most: float,
    front: tuple,
    tolerance: float,
) -> tuple[Array, float, Array, Array]:
    """Price a box, all of whose ``rows`` its boundaries move.

    Each line is drawn for that point of the front which could be undercut by most: at the price
    that leads from the nearest support before it to the nearest after it (first a guess, as steep
    as the front). most: accuracy that no cascade of the box exceeds. Returns (lines; most, now
    sharper; boundaries int64 [n, d] of cascades met on the way that the front lacks; their (gain,
    cost) float64 [n, 2]).
    """
    above, costs = front
    lines = np.zeros((LINES, 2))
    cuts = np.empty((LINES, len(ends)), np.int64)
    worth = np.empty((LINES, 2))
    n = 0
    exits, earliest = later_exits(samples, rows, ends)
    earliest += fixed
    supports = np.empty((LINES + 1, 2))
    supports[0] = earliest
    first = np.searchsorted(costs, earliest[1])
    last = min(point_at(above, most), len(costs) - 2)
    guess = (costs[last] - earliest[1]) / max(most - earliest[0], 1e-9)
    reaches_on = most > above[-1]
    for known in range(1, LINES + 1):
        worst = 1 + tolerance
        price = -1.0
        offset = np.inf
        for i in range(first, last + 1):
            ratio = costs[i] / max(bound_at(lines, earliest[1], above[i]), 1e-300)
            if ratio > worst:
                worst = ratio
                price, offset = next_price(supports[:known], above[i], guess)
        if price < 0 and not reaches_on:
            break
        weight = 1.0
        if price < 0:
            # The most accurate of all, once: nothing else counts.
            weight = 0.0
            price = 1.0
        gain, cost, cut = support_at(exits, ends, earliest, weight, price)
        supports[known] = gain, cost
        real_gain, real_cost = run(samples, rows, fixed, cut)
        if real_cost < costs[point_at(above, real_gain)]:
            cuts[n] = cut
            worth[n] = real_gain, real_cost
            n += 1
        if weight == 0:
            reaches_on = False
            most = min(most, gain)
            last = min(point_at(above, most), last)
            continue
        is_straight = cost - price * gain >= offset - ROUNDING * price
        offset = cost - price * gain - ROUNDING * price
        lines[known - 1] = offset, price
        if is_straight:
            # No line is higher between the two supports.
            break
    return lines, most, cuts[:n], worth[:n]


@kernel
def excess_of(most: float, least: float, lines: Array, front: tuple, tolerance: float) -> float:
    """By what share a front might be undercut by a box of at most this accuracy, and at least this
    cost; more than the tolerance where the box might be more accurate than all of the front."""
    above, costs = front
    end = point_at(above, most)
    worst = 0.0
    for i in range(np.searchsorted(costs, least), min(end + 1, len(costs) - 1)):
        worst = max(worst, costs[i] / max(bound_at(lines, least, above[i]), 1e-300))
    if end == len(costs) - 1:
        return max(worst - 1, 2 * tolerance)
    return worst - 1


@kernel
def excesses(most: Array, least: Array, lines: Array, front: tuple, tolerance: float) -> Array:
    """:func:`excess_of` boxes with some lines in common, [B]."""
    excess = np.empty(len(most))
    for b in range(len(most)):
        excess[b] = excess_of(most[b], least[b], lines, front, tolerance)
    return excess


@kernel
def lower(floor: Array, above: Array, most: Array, least: Array, lines: Array) -> None:
    """Enter into ``floor`` [P + 1] what boxes that were left may come to above each accuracy."""
    for b in range(len(most)):
        for i in range(point_at(above, most[b]) + 1):
            floor[i] = min(floor[i], bound_at(lines, least[b], above[i]))


@kernel
def passed_on(samples: tuple, rows: Array, edges: Array) -> tuple[Array, float]:
    """(at every corner of a grid, what passing on costs, gains and loses float64 [cells, 3]; gain
    where all leave at once).

    edges: int64 [d, n], boundaries of each stage. The corner with edge e of a stage passes on
    samples of slot e + 1 and later there: it lies in the cell of those.
    """
    groups, gains, costs = samples
    d, n = edges.shape
    slots = n + 1
    table = np.zeros((slots**d, 3))
    first = 0.0
    for s in rows:
        first += gains[0, s]
        cell = 0
        for i in range(d):
            slot = np.searchsorted(edges[i], groups[i, s], side="right")
            if slot == 0:
                break
            # In the last slot of all later stages: they pass on what gets there.
            cell = cell * slots + slot
            at = (cell + 1) * slots ** (d - 1 - i) - 1
            step = gains[i + 1, s] - gains[i, s]
            table[at, 0] += costs[i, s]
            table[at, 1] += max(step, 0.0)
            table[at, 2] += max(-step, 0.0)
    # From those in a slot to those in it or a later one, stage by stage.
    for i in range(d):
        stride = slots**i
        for cell in range(len(table) - stride - 1, -1, -1):
            if cell // stride % slots < n:
                for c in range(3):
                    table[cell, c] += table[cell + stride, c]
    return table, first


@kernel
def divide(
    samples: tuple,
    rows: Array,
    ends: Array,
    fixed: Array,
    lines: Array,
    front: tuple,
    bins: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """Try the corners of a grid over a box, and list the boxes between them.

    Returns (boundaries int64 [m, d] of what the front lacks; their (gain, cost) float64 [m, 2];
    ends int64 [B, d, 2] of boxes that may hold something better; their most accuracy and their
    least cost [B]). In these bounds a sample that may pass on does so where it gains, at no cost.
    """
    above, costs = front
    d = len(ends)
    n = bins + 1
    edges = np.empty((d, n), np.int64)
    for e in range(n):
        edges[:, e] = ends[:, 0] + e * (ends[:, 1] - ends[:, 0]) // bins
    table, first = passed_on(samples, rows, edges)
    cuts = np.empty((n**d, d), np.int64)
    worth = np.empty((n**d, 2))
    inside = np.empty((n**d, d, 2), np.int64)
    most = np.empty(n**d)
    least = np.empty(n**d)
    m = 0
    boxes = 0
    for corner in range(n**d):
        rest = corner
        cell = 0
        beside = 0
        # A box begins here unless at a last edge; it is wide where boundaries lie within it.
        begins = True
        wide = False
        for i in range(d - 1, -1, -1):
            e = rest % n
            rest //= n
            stride = (n + 1) ** (d - 1 - i)
            cell += (e + 1) * stride
            beside += stride
            cuts[m, i] = edges[i, e]
            begins &= e < bins
            if begins:
                inside[boxes, i] = edges[i, e : e + 2]
                begins = edges[i, e + 1] > edges[i, e]
                wide |= edges[i, e + 1] > edges[i, e] + 1
        worth[m, 0] = fixed[0] + first + table[cell, 1] - table[cell, 2]
        worth[m, 1] = fixed[1] + table[cell, 0]
        if begins and wide:
            most[boxes] = fixed[0] + first + table[cell, 1] - table[cell + beside, 2]
            least[boxes] = fixed[1] + table[cell + beside, 0]
            if excess_of(most[boxes], least[boxes], lines, front, ROUNDING) > ROUNDING:
                boxes += 1
        if worth[m, 1] < costs[point_at(above, worth[m, 0])]:
            m += 1
    return cuts[:m], worth[:m], inside[:boxes], most[:boxes], least[:boxes]


@kernel
def exits_at(confidence: Array, limits: Array, gains: Array, costs: Array) -> tuple:
    """A cascade as the evaluator runs it: (how many samples leave at each of n stages int64 [n],
    gain of each sample [k], costs of those that reach each stage, side by side [n, k]).

    confidence float64 [n − 1, k]; limits: thresholds float64 [n − 1]; gains, costs float64 [n, k].
    """
    n, k = gains.shape
    left = np.zeros(n, np.int64)
    reached = np.zeros(n, np.int64)
    got = np.empty(k)
    paid = np.empty((n, k))
    for s in range(k):
        i = 0
        while True:
            paid[i, reached[i]] = costs[i, s]
            reached[i] += 1
            if i == n - 1 or (confidence[i, s] >= limits[i] and limits[i] < np.inf):
                break
            i += 1
        left[i] += 1
        got[s] = gains[i, s]
    return left, got, paid
