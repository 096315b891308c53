"""A sharp bound on all cascades within one box of thresholds: lines under their costs (Lagrangian duality).

The samples of a box whose exit is open fall in two kinds. One *open at a single stage* exits there or at one later
stage that is settled: what all of them gain and save depends on that stage's boundary alone, as a prefix sum over its
groups. One *open at several stages* (few, in a small box) is given its best exit. So for any price λ of a correct
sample, the least of cost − λ · correct over the box is bounded by a sum of one maximum prefix sum a stage; and with it
the cost of every cascade of the box with n correct samples, by a line in n.
"""

import numpy as np

from ..._kernels import inner
from .state import LINES

SAFE = 1 - 1e-11  # sums of costs round; a bound may not


@inner
def gather_singles(w, level, first, end, low, high, m):
    """Gather the samples at low … high, open at stage ``first`` alone and settled at ``end``: what exiting their
    group gains and saves. Returns the number gathered in all; ``w.box.sums`` adds up what passing them all on means."""
    gains, saved, group, lowest = w.box.gains[first], w.box.saved[first], w.levels.group[level, first], w.box.low[first]
    saves, right, either = w.box.price[end] - w.box.price[first], 0, 0
    for s in range(low, high):
        here, there = (w.levels.bits[level, s] >> first) & 1, (w.levels.bits[level, s] >> end) & 1
        g = group[s] - lowest
        gains[g] += here - there
        saved[g] += saves
        right += there
        either += here | there
        w.box.kept[m] = s
        m += 1
    w.box.sums[0] += right
    w.box.sums[1] += (high - low) * w.box.price[end]
    base = w.levels.base[level + 1]
    base[0] -= either
    for i in range(first):
        base[1 + i] -= high - low
    return m


@inner
def gather_several(w, level, first, low, high, m):
    """Gather and list the samples at low … high, open at stage ``first`` and at others."""
    several = int(w.box.sums[2])
    for s in range(low, high):
        w.box.kept[m] = w.box.several[several] = s
        m += 1
        several += 1
    w.box.sums[2] = several
    for i in range(first):
        w.levels.base[level + 1, 1 + i] -= high - low
    return m


@inner
def gather(w, level, target):
    """Gather the samples of a level whose exit depends on the box ``target``; returns how many, places in ``kept``.

    Samples lie in the order of grid cells, so each kind is a few contiguous stretches. The next level's ``base`` loses
    what is gathered, down to what the settled samples amount to.
    """
    d, m, i, prefix, first = len(target), 0, 0, 0, len(target)
    slots, cells, start = w.levels.slots[level], w.levels.cells[level], w.levels.start[level]
    w.box.sums[:] = 0
    w.walk.j[0] = target[0]
    while i >= 0:
        here = prefix + w.walk.j[i] * cells[i]
        if w.walk.j[i] == slots[i]:
            i -= 1
            if i >= 0:
                prefix -= w.walk.j[i] * cells[i]
                first = d if first == i else first
                w.walk.j[i] += 1
        elif start[here] == start[here + cells[i]]:
            w.walk.j[i] += 1
        else:
            first = i if first == d and w.walk.j[i] == target[i] else first
            prefix, i = here, i + 1
            here = prefix + target[i] * cells[i]
            low, high = start[here], start[here + cells[i]]
            w.walk.j[i] = slots[i] if i + 1 == d else target[i] + (first < d)
            if first < d:
                m = gather_singles(w, level, first, i, start[prefix], low, m)
                m = gather_several(w, level, first, low, high, m)
                if i + 1 == d:
                    m = gather_singles(w, level, first, d, high, start[prefix + slots[i] * cells[i]], m)
            elif i + 1 == d:
                m = gather_singles(w, level, i, d, low, high, m)
    return m


@inner
def least_of_several(w, level, price, first, second, third):
    """Least total of price − value · correct of the samples open at several stages, each at its best exit, for three
    values at once; price [d + 1]: of a sample that exits at each stage."""
    d, total_1, total_2, total_3 = len(w.walk.j), 0.0, 0.0, 0.0
    for x in range(int(w.box.sums[2])):
        s = w.box.several[x]
        best_1 = best_2 = best_3 = np.inf
        for i in range(d + 1):
            g = w.levels.group[level, i, s] - w.box.low[i] if i < d else -1
            if i == d or g < w.box.span[i]:
                right = (w.levels.bits[level, s] >> i) & 1
                best_1 = min(best_1, price[i] - first * right)
                best_2 = min(best_2, price[i] - second * right)
                best_3 = min(best_3, price[i] - third * right)
            if g < 0:
                break
        total_1, total_2, total_3 = total_1 + best_1, total_2 + best_2, total_3 + best_3
    return total_1, total_2, total_3


@inner
def most_along(saved, gains, first, second, third):
    """The greatest of what exiting 0, 1, … groups of a stage saves + value · gains, for three values at once."""
    most_1 = here_1 = most_2 = here_2 = most_3 = here_3 = 0.0
    for g in range(len(saved)):
        save, gain = saved[g], gains[g]
        here_1 += save + first * gain
        here_2 += save + second * gain
        here_3 += save + third * gain
        most_1, most_2, most_3 = max(most_1, here_1), max(most_2, here_2), max(most_3, here_3)
    return most_1, most_2, most_3


@inner
def range_of_singles(w):
    """(least, most) that exits of the samples open at a single stage gain, over all boundaries of the box."""
    least = most = 0
    for i in range(len(w.walk.j)):
        low = high = here = 0
        for g in range(w.box.span[i]):
            here += w.box.gains[i, g]
            low, high = min(low, here), max(high, here)
        least += low
        most += high
    return least, most


@inner
def set_lines(w, level, low, high, fixed, reach):
    """Lines (offset, slope) below cost against correct samples for all of the box; slopes as the front's there.

    low … high: correct samples beside the settled ones; fixed: (settled correct samples, settled cost).
    """
    while high > low and reach[fixed[0] + high] == np.inf:
        high -= 1
    for line in range(LINES):
        a, b = low + (high - low) * line // LINES, low + (high - low) * (line + 1) // LINES
        from_cost, to_cost = reach[fixed[0] + a], reach[fixed[0] + b]
        known = b > a and from_cost < np.inf and to_cost < np.inf  # while another thread writes, either may be unknown
        w.box.lines[line, 1] = (to_cost - from_cost) / (b - a) if known else 0.0
    values = w.box.lines[:, 1]
    least = least_of_several(w, level, w.box.price, values[0], values[1], values[2])
    for line in range(LINES):
        w.box.lines[line, 0] = fixed[1] + least[line] - values[line] * fixed[0]
    for i in range(len(w.walk.j)):
        span = w.box.span[i]
        most = most_along(w.box.saved[i, :span], w.box.gains[i, :span], values[0], values[1], values[2])
        for line in range(LINES):
            w.box.lines[line, 0] -= most[line]


@inner
def covered(w, low, high, least, best, tolerance):
    """Whether what has been found is as good as all that lines and least cost leave for low … high correct samples.

    What only the tolerance covers is left in ``floor`` (see :func:`cascadelib.fronts.kernels.state.worth`).
    """
    reach, floor, slack = best.reach, best.floor, 1 + tolerance[0]
    for leaving in range(2):
        for n in range(high, low - 1, -1):
            bound = least
            for line in range(LINES):
                bound = max(bound, w.box.lines[line, 0] + w.box.lines[line, 1] * n)
            bound *= SAFE
            if reach[n] < bound:
                continue
            if leaving:
                floor[n] = min(floor[n], bound)
            elif not (tolerance[0] > 0 and reach[n] <= slack * bound):
                return False
        if tolerance[0] == 0:
            break
    return True


@inner
def nothing_new(w, level, b, costs, k, best, tolerance):
    """Whether a box, its samples gathered, holds no cascade worth finding."""
    up = level + 1
    settled, least = costs[0] + w.box.sums[1], costs[0]
    low, high = range_of_singles(w)
    least_several, less_most, _ = least_of_several(w, level, w.box.free, -1.0, 1.0, 0.0)
    w.levels.base[up, 0] += int(less_most)
    for i in range(len(w.walk.j)):
        settled += costs[1 + i] * (w.levels.base[up, 1 + i] / k)
        least += costs[1 + i] * (w.levels.state[level, b, 1 + i] / k)
    correct = w.levels.base[up, 0] + int(w.box.sums[0])
    low, high = low + int(least_several), high - int(less_most)
    set_lines(w, level, low, high, (correct, settled), best.reach)
    return covered(w, correct + low, correct + high, least, best, tolerance)
