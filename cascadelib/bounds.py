"""A sharp bound on all cascades within one box of thresholds: lines under their costs (Lagrangian duality).

The samples of a box whose exit is open fall in two kinds. One *open at a single stage* exits there or at one later
stage that is settled: what all of them gain and save depends on that stage's boundary alone, as a prefix sum over its
groups. One *open at several stages* (few, in a small box) is given its best exit. So for any price λ of a correct
sample, the least of cost − λ · correct over the box is bounded by a sum of one maximum prefix sum a stage; and with it
the cost of every cascade of the box with n correct samples, by a line in n. Optimism that is linear in the size of the
box cancels, as the loosest count (each sample goes wherever it is right) does not have it.
"""

import numpy as np
from numba import njit

LINES = 3
SAFE = 1 - 1e-11  # sums of costs round; a bound may not


@njit(nogil=True, cache=True, _nrt=False, inline="always")
def settle(w, level, m):
    """Sort a box's gathered samples by kind.

    Singles add to ``w.gains`` and ``w.saved`` (what exiting their group gains and saves); the rest are listed in
    ``w.several``. Leaves in the next level's ``base`` what the settled samples amount to. Returns (how many are
    listed, correct samples of the singles if all pass on, their cost and that of getting the others there).
    """
    d, base = len(w.j), w.base[level + 1]
    several = passed_right = 0
    cost = 0.0
    for x in range(m):
        s = w.kept[x]
        bits, end, first, stages = w.bits[level, s], d, d, 0
        most = 0
        for i in range(d):
            g = w.group[level, i, s] - w.low[i]
            if g < 0:
                end = i
                break
            if g < w.span[i]:
                if stages == 0:
                    first = i
                stages += 1
                most |= (bits >> i) & 1
        right = (bits >> end) & 1
        base[0] -= most | right
        for i in range(first):
            base[1 + i] -= 1
        if stages == 1:
            g = w.group[level, first, s] - w.low[first]
            w.gains[first, g] += ((bits >> first) & 1) - right
            w.saved[first, g] += w.price[end] - w.price[first]
            passed_right += right
            cost += w.price[end]
        else:
            w.several[several] = s
            several += 1
    return several, passed_right, cost


@njit(nogil=True, cache=True, _nrt=False, inline="always")
def range_of_several(w, level, several):
    """(least, most) correct samples among those open at several stages."""
    d, least, most = len(w.j), 0, 0
    for x in range(several):
        s = w.several[x]
        bits, any_right, all_right, right = w.bits[level, s], 0, 1, 0
        for i in range(d + 1):
            right = (bits >> i) & 1
            g = w.group[level, i, s] - w.low[i] if i < d else -1
            if g < 0:
                any_right |= right
                all_right &= right
                break
            if g < w.span[i]:
                any_right |= right
                all_right &= right
        least += all_right
        most += any_right
    return least, most


@njit(nogil=True, cache=True, _nrt=False, inline="always")
def least_of_several(w, level, several, value):
    """Least total of cost − ``value`` · correct of the samples open at several stages, each at its best exit."""
    d, total = len(w.j), 0.0
    for x in range(several):
        s = w.several[x]
        bits, best = w.bits[level, s], np.inf
        for i in range(d + 1):
            g = w.group[level, i, s] - w.low[i] if i < d else -1
            if i == d or g < w.span[i]:
                best = min(best, w.price[i] - value * ((bits >> i) & 1))
            if g < 0:
                break
        total += best
    return total


@njit(nogil=True, cache=True, _nrt=False, inline="always")
def most_along(w, i, value):
    """The greatest of what exiting 0, 1, … groups of stage i saves + ``value`` · gains."""
    most = here = 0.0
    for g in range(w.span[i]):
        here += w.saved[i, g] + value * w.gains[i, g]
        most = max(most, here)
    return most


@njit(nogil=True, cache=True, _nrt=False, inline="always")
def range_of_singles(w):
    """(least, most) that exits of the samples open at a single stage gain, over all boundaries of the box."""
    least = most = 0
    for i in range(len(w.j)):
        low = high = here = 0
        for g in range(w.span[i]):
            here += w.gains[i, g]
            low, high = min(low, here), max(high, here)
        least += low
        most += high
    return least, most


@njit(nogil=True, cache=True, _nrt=False, inline="always")
def set_lines(w, level, several, low, high, fixed, reach):
    """Lines (offset, slope) below cost against correct samples for all of the box; slopes as the front's there.

    low … high: correct samples beside the settled ones; fixed: (settled correct samples, settled cost).
    """
    while high > low and reach[fixed[0] + high] == np.inf:
        high -= 1
    for line in range(LINES):
        a, b = low + (high - low) * line // LINES, low + (high - low) * (line + 1) // LINES
        from_cost, to_cost = reach[fixed[0] + a], reach[fixed[0] + b]
        value = (to_cost - from_cost) / (b - a) if b > a and to_cost < np.inf else 0.0
        offset = fixed[1] + least_of_several(w, level, several, value)
        for i in range(len(w.j)):
            offset -= most_along(w, i, value)
        w.lines[line, 0], w.lines[line, 1] = offset - value * fixed[0], value


@njit(nogil=True, cache=True, _nrt=False, inline="always")
def covered(w, low, high, least, best, tolerance):
    """Whether what has been found is as good as all that lines and least cost leave for low … high correct samples.

    What only the tolerance covers is left in ``floor`` (see :func:`cascadelib.best.worth`).
    """
    reach, floor, slack = best[0], best[3], 1 + tolerance[0]
    for leaving in range(2):
        for n in range(high, low - 1, -1):
            bound = least
            for line in range(LINES):
                bound = max(bound, w.lines[line, 0] + w.lines[line, 1] * n)
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


@njit(nogil=True, cache=True, _nrt=False, inline="always")
def nothing_new(w, level, m, costs, k, best, tolerance):
    """Whether a box, its samples gathered, holds no cascade worth finding; leaves how many are open at several
    stages, listed, and what the singles gain."""
    d, up = len(w.j), level + 1
    w.price[0] = 0.0
    for i in range(d):
        w.price[i + 1] = w.price[i] + costs[i + 1] / k
    several, passed_right, cost = settle(w, level, m)
    settled, least = costs[0] + cost, costs[0]
    for i in range(d):
        settled += costs[1 + i] * (w.base[up, 1 + i] / k)
        least += costs[1 + i] * (w.state[level, w.opened[level] - 1, 1 + i] / k)
    low, high = range_of_singles(w)
    least_several, most_several = range_of_several(w, level, several)
    correct = w.base[up, 0] + passed_right
    low, high = low + least_several, high + most_several
    set_lines(w, level, several, low, high, (correct, settled), best[0])
    return several, covered(w, correct + low, correct + high, least, best, tolerance)
