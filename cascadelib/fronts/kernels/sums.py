"""Bound boxes of boundaries if gains and costs are real numbers, one per sample and stage.

These arrays are passed to most functions. A cascade has d + 1 models, and there are k samples.

* ``samples``: groups int32 (d, k), gains ÷ k float64 (d + 1, k), and costs of later models ÷ k
  float64 (d, k). A gain is the correctness at a stage.
* ``ends`` int64 (d, 2): first and last boundary of each stage of a box.
* ``rows`` int32 (r,): samples that include all open ones, whose exit depends on the box.
* ``fixed`` float64 (2,): total gain and total cost of all other samples.
* ``lines`` float64 (LINES, 2): offset and price of lines offset + price · accuracy. They are below
  the cost of every cascade of a box.
* ``front``: a :class:`cascadelib.fronts.graded.GrowingFront` as (above, cost), float64 (P + 1,)
  each. A cascade improves the front if it costs less than cost[i] at an accuracy above above[i].

The bound is that of :mod:`cascadelib.fronts.kernels.bounds`. At a price of accuracy, each sample
takes its best exit after the first stage at which it is open, and each stage its best boundary.
Costs are only added, never subtracted. A difference would have the rounding error of the larger
cost, which exceeds the smaller cost if they differ by 16 orders of magnitude. Bounds hold up to the
rounding of sums of k numbers.
"""

from collections import namedtuple

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner, kernel

LINES = 8  # largest number of lines below the costs of a box
ROUNDING = 1e-12  # relative error of sums

# Exits of r open samples after the first stage at which each is open:
# bucket int64 (r,): number of the (stage, group) of a sample at its first open stage
# start int64 (r + 1,): position of the first later exit of a sample in cost and gain
# cost, gain float64: those of a later exit, relative to an exit at the first open stage
# first int64 (d + 1,): first bucket of each stage
Exits = namedtuple("Exits", "bucket start cost gain first")


@inner
def point_at(above: Array, accuracy: float) -> int:
    """Return the first point of a front with this accuracy, up to rounding, or P without one."""
    return int(np.searchsorted(above, accuracy * (1 - ROUNDING))) - 1


@kernel
def settle_rows(samples: tuple, rows: Array, ends: Array, fixed: Array) -> tuple[Array, Array]:
    """Return the open rows of a box, and the total gain and cost of all other samples."""
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
        # The sample exits at stage i in the full box.
        total[0] += gains[i, s]
        for j in range(i):
            total[1] += costs[j, s]
    return inside[:n].copy(), total


@kernel
def later_exits(samples: tuple, rows: Array, ends: Array) -> tuple[Exits, Array]:
    """Return the :class:`Exits` of open rows, and the gain and cost if each exits first."""
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
        # The first open stage is i.
        exits.bucket[x] = first[i] + groups[i, s] - ends[i, 0]
        first_gain = gains[i, s]
        earliest[0] += first_gain
        paid = 0.0
        passes = True
        while passes:
            paid += costs[i, s]
            i += 1
            if i == d or groups[i, s] < ends[i, 1]:
                exits.cost[m] = paid
                exits.gain[m] = gains[i, s] - first_gain
                m += 1
            passes = i < d and groups[i, s] >= ends[i, 0]
        exits.start[x + 1] = m
    return exits, earliest


@kernel
def support_at(
    exits: Exits, ends: Array, earliest: Array, weight: float, price: float
) -> tuple[float, float, Array]:
    """Minimize weight · cost − price · gain, where samples choose their later exits freely.

    `earliest` is the gain and the cost if every sample exits at its first open stage. Returns
    (gain, cost, boundaries int64 (d,)) at the minimum, which bounds all cascades of the box.
    """
    deferred = np.zeros((exits.first[-1], 2))  # gain and cost of the best later exits, by bucket
    for x in range(len(exits.bucket)):
        best = np.inf
        choice = 0
        for j in range(exits.start[x], exits.start[x + 1]):
            value = weight * exits.cost[j] - price * exits.gain[j]
            if value < best:
                best = value
                choice = j
        deferred[exits.bucket[x], 0] += exits.gain[choice]
        deferred[exits.bucket[x], 1] += exits.cost[choice]
    gain = earliest[0]
    cost = earliest[1]
    cut = ends[:, 1].copy()
    for i in range(len(ends)):
        # Move the boundary down from the last one, and add the deferred groups one by one.
        least = 0.0
        gained = 0.0
        paid = 0.0
        best_gained = 0.0
        best_paid = 0.0
        for g in range(ends[i, 1] - ends[i, 0] - 1, -1, -1):
            gained += deferred[exits.first[i] + g, 0]
            paid += deferred[exits.first[i] + g, 1]
            if weight * paid - price * gained < least:
                least = weight * paid - price * gained
                cut[i] = ends[i, 0] + g
                best_gained = gained
                best_paid = paid
        gain += best_gained
        cost += best_paid
    return gain, cost, cut


@kernel
def run_cascade(samples: tuple, rows: Array, fixed: Array, cut: Array) -> tuple[float, float]:
    """Return (gain, cost) of the cascade with boundaries `cut` int64 (d,)."""
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
    """Return (price, offset) of the line through the nearest supports on both sides of an accuracy.

    Supports are (gain, cost) float64 (n, 2). If there is a single support, the price is `guess`. If
    no support has a larger gain than the accuracy, the price is negative.
    """
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
    """Return the largest of `least` and of some lines at an accuracy."""
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
    """Compute lines below the costs of a box, all of whose `rows` are open.

    Each line is computed for the point of the front with the largest excess. Its price is the slope
    between the nearest supports on both sides. The first price is the slope of the front. `most`
    bounds the accuracy of all cascades of the box. Returns the lines, a smaller `most`, and the n
    cascades that improve the front: boundaries int64 (n, d), and gain and cost float64 (n, 2).
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
            # Find the largest accuracy at any cost, which is needed only once.
            weight = 0.0
            price = 1.0
        gain, cost, cut = support_at(exits, ends, earliest, weight, price)
        supports[known] = gain, cost
        real_gain, real_cost = run_cascade(samples, rows, fixed, cut)
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
            # There is no higher line between the two supports.
            break
    return lines, most, cuts[:n], worth[:n]


@kernel
def excess_of(most: float, least: float, lines: Array, front: tuple, tolerance: float) -> float:
    """Return the largest possible excess cost of a front over the cascades of a box, as a share.

    `most` bounds their accuracy and `least` their cost. If the box may be more accurate than the
    front, the result exceeds the tolerance.
    """
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
    """Return :func:`excess_of` each of B boxes with common lines, (B,)."""
    excess = np.empty(len(most))
    for b in range(len(most)):
        excess[b] = excess_of(most[b], least[b], lines, front, tolerance)
    return excess


@kernel
def lower_floor(floor: Array, above: Array, most: Array, least: Array, lines: Array) -> None:
    """Lower `floor` (P + 1,), a bound on the cost above each accuracy, for skipped boxes."""
    for b in range(len(most)):
        for i in range(point_at(above, most[b]) + 1):
            floor[i] = min(floor[i], bound_at(lines, least[b], above[i]))


@kernel
def deferred_sums(samples: tuple, rows: Array, edges: Array) -> tuple[Array, float]:
    """Return the costs, gains and losses of deferred samples at each corner of a grid.

    `edges` int64 (d, n) has boundaries of each stage. The corner at edge e of a stage defers the
    samples in slots from e + 1 on. Its row in the table, float64 (cells, 3), is the cell of slots
    e + 1 of all stages. The second result is the total gain if all samples exit at the first stage.
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
            # The cell has the last slot of all later stages, in which samples are always deferred.
            cell = cell * slots + slot
            at = (cell + 1) * slots ** (d - 1 - i) - 1
            step = gains[i + 1, s] - gains[i, s]
            table[at, 0] += costs[i, s]
            table[at, 1] += max(step, 0.0)
            table[at, 2] += max(-step, 0.0)
    # Sum over each slot and all later slots, stage by stage.
    for i in range(d):
        stride = slots**i
        for cell in range(len(table) - stride - 1, -1, -1):
            if cell // stride % slots < n:
                for c in range(3):
                    table[cell, c] += table[cell + stride, c]
    return table, first


@kernel
def divide_box(
    samples: tuple,
    rows: Array,
    ends: Array,
    fixed: Array,
    lines: Array,
    front: tuple,
    bins: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """Evaluate the corners of a grid over a box, and list the boxes between them.

    In the bounds of a box, an undecided sample is deferred if that gains accuracy, and pays nothing
    for it. The first results are the m corners that improve the front: boundaries int64 (m, d), and
    gain and cost float64 (m, 2). The other results are the B boxes that may improve it: ends int64
    (B, d, 2), bound on the accuracy (B,) and bound on the cost (B,).
    """
    above, costs = front
    d = len(ends)
    n = bins + 1
    edges = np.empty((d, n), np.int64)
    for e in range(n):
        edges[:, e] = ends[:, 0] + e * (ends[:, 1] - ends[:, 0]) // bins
    table, first = deferred_sums(samples, rows, edges)
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
        diagonal = 0
        # A box begins at this corner, unless an edge is the last one. It is wide if it has
        # boundaries inside.
        begins = True
        wide = False
        for i in range(d - 1, -1, -1):
            e = rest % n
            rest //= n
            stride = (n + 1) ** (d - 1 - i)
            cell += (e + 1) * stride
            diagonal += stride
            cuts[m, i] = edges[i, e]
            begins &= e < bins
            if begins:
                inside[boxes, i] = edges[i, e : e + 2]
                begins = edges[i, e + 1] > edges[i, e]
                wide |= edges[i, e + 1] > edges[i, e] + 1
        worth[m, 0] = fixed[0] + first + table[cell, 1] - table[cell, 2]
        worth[m, 1] = fixed[1] + table[cell, 0]
        if begins and wide:
            most[boxes] = fixed[0] + first + table[cell, 1] - table[cell + diagonal, 2]
            least[boxes] = fixed[1] + table[cell + diagonal, 0]
            if excess_of(most[boxes], least[boxes], lines, front, ROUNDING) > ROUNDING:
                boxes += 1
        if worth[m, 1] < costs[point_at(above, worth[m, 0])]:
            m += 1
    return cuts[:m], worth[:m], inside[:boxes], most[:boxes], least[:boxes]
