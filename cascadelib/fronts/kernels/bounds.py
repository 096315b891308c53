"""A sharp bound on all cascades within one box of thresholds: lines under their costs (Lagrangian duality).

The samples of a box whose exit is open fall in two kinds. One *open at a single stage* exits there or at one later
stage that is settled: what all of them gain and save depends on that stage's boundary alone, as a prefix sum over its
groups. One *open at several stages* (few, in a small box) counts at the first of them, and has its best exit once past
that. So for any price λ of a correct sample, the least of cost − λ · correct over the box is bounded by a sum of one
maximum prefix sum a stage; and with it the cost of every cascade of the box with n correct samples, by a line in n.
"""

import numpy as np

from ..._kernels import inner
from .state import LINES

SAFE = 1 - 1e-11  # sums of costs round; a bound may not


@inner
def gather_singles(w, level, first, end, low, high, m):
    """Gather the samples at low … high, open at stage ``first`` alone and settled at ``end``: what exiting their
    group gains and saves. Returns the number gathered in all; ``w.box.sums`` adds up what passing them all on means."""
    gains, saved, group, lowest = (
        w.box.gains[first],
        w.box.saved[first],
        w.levels.group[level, first],
        w.box.low[first],
    )
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
                    m = gather_singles(
                        w, level, first, d, high, start[prefix + slots[i] * cells[i]], m
                    )
            elif i + 1 == d:
                m = gather_singles(w, level, i, d, low, high, m)
    return m


@inner
def pass_several(w, level, value):
    """Least total of price − value · correct of the samples open at several stages, and the correct ones, if all pass
    their first such stage and each then leaves at its best; what exiting that stage changes is left in ``extra``."""
    d, least, correct = len(w.walk.j), 0.0, 0
    for i in range(d):
        w.box.extra[i, : w.box.span[i]] = 0
        w.box.extra_gains[i, : w.box.span[i]] = 0
    for x in range(int(w.box.sums[2])):
        s, first, at, exits, passes, right = w.box.several[x], d, 0, 0.0, np.inf, 0
        for i in range(d + 1):
            g = w.levels.group[level, i, s] - w.box.low[i] if i < d else -1
            if i == d or g < w.box.span[i]:
                leaves = w.box.price[i] - value * ((w.levels.bits[level, s] >> i) & 1)
                if first == d:
                    first, at, exits = i, g, leaves
                elif leaves < passes:
                    passes, right = leaves, (w.levels.bits[level, s] >> i) & 1
            if g < 0:
                break
        w.box.extra[first, at] += passes - exits
        w.box.extra_gains[first, at] += ((w.levels.bits[level, s] >> first) & 1) - right
        least += passes
        correct += right
    return least, correct


@inner
def most_along(saved, gains, extra, value):
    """(the greatest of what exiting 0, 1, … groups of a stage saves, by saved + extra + value · gains; how many exit
    there), summed over two stretches side by side: each sum waits for the one before."""
    size, at_1, at_2, at = len(saved) // 2, 0, 0, 0
    most_1 = here_1 = most_2 = here_2 = most = here = 0.0
    for g in range(size):
        here_1 += saved[g] + extra[g] + value * gains[g]
        at_1 = g + 1 if here_1 > most_1 else at_1
        most_1 = max(most_1, here_1)
        here_2 += saved[size + g] + extra[size + g] + value * gains[size + g]
        at_2 = size + g + 1 if here_2 > most_2 else at_2
        most_2 = max(most_2, here_2)
    for g in range(2 * size, len(saved)):
        here += saved[g] + extra[g] + value * gains[g]
        at = g + 1 if here > most else at
        most = max(most, here)
    most, at = (most + here_2, at) if most + here_2 > most_2 else (most_2, at_2)
    return (most + here_1, at) if most + here_1 > most_1 else (most_1, at_1)


@inner
def support(w, level, fixed, value):
    """(offset, correct): offset + value · n is the cost of n correct samples or less, and is met at ``correct``;
    fixed: (correct, cost) of the settled samples."""
    least, correct = pass_several(w, level, value)
    for i in range(len(w.walk.j)):
        span = w.box.span[i]
        most, at = most_along(
            w.box.saved[i, :span], w.box.gains[i, :span], w.box.extra[i, :span], value
        )
        least -= most
        for g in range(at):
            correct += w.box.gains[i, g] + w.box.extra_gains[i, g]
    return least + fixed[1] - value * fixed[0], correct + fixed[0]


@inner
def closes(best, n, bound, tolerance):
    """Whether what has been found is as good as n correct samples at a cost of ``bound`` or more. Where that is due to
    the tolerance, the bound is left in ``floor`` (see :func:`cascadelib.fronts.kernels.state.worth`)."""
    bound *= SAFE
    if best.reach[n] < bound:
        return True
    if tolerance[0] > 0 and best.reach[n] <= (1 + tolerance[0]) * bound:
        best.floor[n] = min(best.floor[n], bound)
        return True
    return False


@inner
def put(row, a, cost_a, b, cost_b, offset, value):
    """Fill a row of the stack of :func:`covered`: two points, and a line below what lies between them."""
    row[0], row[1], row[2], row[3], row[4], row[5] = a, cost_a, b, cost_b, offset, value


@inner
def covered(w, level, most, fixed, least, steep, best, tolerance):
    """Whether what has been found is as good as all that the box leaves, for at most ``most`` correct samples.

    fixed: (correct, cost) of the settled samples; least: cost of any cascade of the box; steep: a price of a correct
    sample at which nothing else counts. After a guess, as steep as ``reach``, the lower hull of cost against correct
    samples is approached from above: the line as steep as that through two points of it meets a third, or is the
    hull. A point of it that is not covered ends the search.
    """
    first, stack, top = support(w, level, fixed, 0.0)[1], w.box.stack, 0
    if not closes(best, first, least, tolerance):
        return False
    value = (best.reach[most] - least) / max(most - first, 1)
    if value < np.inf:
        offset, n = support(w, level, fixed, value)[0], first
        while n <= most and closes(best, n, max(least, offset + value * n), tolerance):
            n += 1
        if n > most:
            return True
    offset, last = support(w, level, fixed, steep)
    put(stack[0], first, least, last, offset + steep * last, least, 0.0)
    for _ in range(LINES):
        a, cost_a, b, cost_b, offset_0, value_0 = stack[top]
        top -= 1
        value = max(cost_b - cost_a, 0.0) / max(b - a, 1)
        offset, at = support(w, level, fixed, value)
        low, high, cost = b + 1, a - 1, offset + value * at
        for n in range(int(a), int(b) + 1):
            if not closes(
                best, n, max(least, offset + value * n, offset_0 + value_0 * n), tolerance
            ):
                low, high = min(low, n), n
                if n == at:
                    return False
        if low <= high and not a < at < b:
            return False
        if low < at:
            top += 1
            put(stack[top], a, cost_a, at, cost, offset, value)
        if high > at:
            top += 1
            put(stack[top], at, cost, b, cost_b, offset, value)
        if top < 0:
            return True
    return False


@inner
def most_of_several(w, level):
    """The most correct of the samples open at several stages."""
    d, most = len(w.walk.j), 0
    for x in range(int(w.box.sums[2])):
        s, right = w.box.several[x], 0
        for i in range(d + 1):
            g = w.levels.group[level, i, s] - w.box.low[i] if i < d else -1
            if i == d or g < w.box.span[i]:
                right |= (w.levels.bits[level, s] >> i) & 1
            if g < 0:
                break
        most += right
    return most


@inner
def nothing_new(w, level, b, costs, k, best, tolerance):
    """Whether a box, its samples gathered, holds no cascade worth finding."""
    up = level + 1
    settled, least = costs[0] + w.box.sums[1], costs[0]
    w.levels.base[up, 0] -= most_of_several(w, level)
    for i in range(len(w.walk.j)):
        settled += costs[1 + i] * (w.levels.base[up, 1 + i] / k)
        least += costs[1 + i] * (w.levels.state[level, b, 1 + i] / k)
    fixed = w.levels.base[up, 0] + int(w.box.sums[0]), settled
    steep = 4 * k * w.box.price[len(w.walk.j)]
    return covered(w, level, w.levels.state[level, b, 0], fixed, least, steep, best, tolerance)
