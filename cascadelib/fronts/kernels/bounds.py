"""Bound all cascades within one box of thresholds by lines under their costs.

This is Lagrangian duality. The open samples of a box, whose exit is not settled, are of two kinds.
A sample *open at a single stage* exits there or at one settled later stage. The gain and the saving
of all such samples depend only on that stage's boundary, as a prefix sum over its groups. A sample
*open at several stages* (few, in a small box) counts at the first of them, and takes its best exit
after that stage. So for any price λ of a correct sample, the least of cost − λ · correct over the
box is bounded by a sum of one maximum prefix sum per stage. This bounds the cost of each cascade of
the box with n correct samples by a line in n.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner
from .state import LINES, Best, Workspace

SAFE = 1 - 1e-11  # keeps a bound valid although sums of costs round


@inner
def gather_singles(
    w: Workspace, level: int, first: int, end: int, low: int, high: int, m: int
) -> int:
    """Gather the samples at low … high, which are open at stage `first` only and settled at `end`.

    The gain and the saving of an exit are added to their group. ``passing_correct`` and
    ``passing_cost`` are the totals if all of them are deferred. Returns the number of gathered
    samples, with the `m` previous ones.
    """
    levels = w.levels
    box = w.box
    gains = box.gains[first]
    saved = box.saved[first]
    group = levels.group[level, first]
    bits = levels.bits[level]
    kept = box.kept
    lowest = box.low[first]
    saves = box.price[end] - box.price[first]
    correct = 0
    either = 0
    for s in range(low, high):
        here = (bits[s] >> first) & 1
        there = (bits[s] >> end) & 1
        g = group[s] - lowest
        gains[g] += here - there
        saved[g] += saves
        correct += there
        either += here | there
        kept[m] = s
        m += 1
    box.passing_correct[0] += correct
    box.passing_cost[0] += (high - low) * box.price[end]
    # The bounds of the box counted them as correct if either exit is, and as exits at ``first``.
    base = levels.base[level + 1]
    base[0] -= either
    for i in range(first):
        base[1 + i] -= high - low
    return m


@inner
def gather_several(w: Workspace, level: int, first: int, low: int, high: int, m: int) -> int:
    """Gather and list the samples at low … high, which are open at stage `first` and at others.

    Returns the number of gathered samples, with the `m` previous ones.
    """
    kept = w.box.kept
    listed = w.box.several
    several = w.box.several_count[0]
    for s in range(low, high):
        kept[m] = s
        listed[several] = s
        m += 1
        several += 1
    w.box.several_count[0] = several
    # ``cannot_improve`` removes their correctness from ``base``.
    for i in range(first):
        w.levels.base[level + 1, 1 + i] -= high - low
    return m


@inner
def gather_open(w: Workspace, level: int, target: Array) -> int:
    """Gather the samples of a level whose exit depends on a box, and return their number.

    `target` int32 (d,) is the box's slot at each stage. ``kept`` gets the places of the samples.
    Samples are in the order of grid cells, so each kind is a few contiguous stretches. The gathered
    samples are removed from the next level's ``base``, which then has the settled ones.
    """
    levels = w.levels
    j = w.walk.j
    d = len(target)
    m = 0
    i = 0
    prefix = 0
    first = d
    slots = levels.slots[level]
    cells = levels.cells[level]
    start = levels.start[level]
    w.box.passing_correct[0] = 0
    w.box.passing_cost[0] = 0.0
    w.box.several_count[0] = 0
    j[0] = target[0]
    while i >= 0:
        # Samples that reach stage i with these slots, and are first open at ``first`` (d: at none
        # of them). prefix is the first of their cells.
        here = prefix + j[i] * cells[i]
        if j[i] == slots[i]:
            # All slots of stage i are done: back to the previous stage.
            i -= 1
            if i >= 0:
                prefix -= j[i] * cells[i]
                if first == i:
                    first = d
                j[i] += 1
        elif start[here] == start[here + cells[i]]:
            # No sample is in this slot.
            j[i] += 1
        else:
            if first == d and j[i] == target[i]:
                first = i
            prefix = here
            i += 1
            # One stage further. Samples in its target slot are open there. Samples in lower slots
            # exit, which settles those that were open before. Samples in higher slots are deferred.
            here = prefix + target[i] * cells[i]
            low = start[here]
            high = start[here + cells[i]]
            if i + 1 == d:
                j[i] = slots[i]
            else:
                j[i] = target[i] + (first < d)
            if first < d:
                m = gather_singles(w, level, first, i, start[prefix], low, m)
                m = gather_several(w, level, first, low, high, m)
                if i + 1 == d:
                    # Samples that the last threshold defers are settled at the last model.
                    m = gather_singles(
                        w, level, first, d, high, start[prefix + slots[i] * cells[i]], m
                    )
            elif i + 1 == d:
                # Open at the last stage with a threshold only.
                m = gather_singles(w, level, i, d, low, high, m)
    return m


@inner
def pass_several(w: Workspace, level: int, value: float) -> tuple[float, int]:
    """Defer all samples that are open at several stages at their first open stage.

    Returns the least total of price − value · correct, and the number of correct samples, if each
    takes its best exit after that stage. ``extra`` gets the changes if they exit at that stage.
    """
    levels = w.levels
    box = w.box
    d = len(w.walk.j)
    least = 0.0
    correct = 0
    for i in range(d):
        box.extra[i, : box.span[i]] = 0
        box.extra_gains[i, : box.span[i]] = 0
    for x in range(box.several_count[0]):
        s = box.several[x]
        first = d
        at = 0
        exits = 0.0
        passes = np.inf
        correct_there = 0
        for i in range(d + 1):
            g = -1
            if i < d:
                g = levels.group[level, i, s] - box.low[i]
            if i == d or g < box.span[i]:
                # The sample may exit here.
                total = box.price[i] - value * ((levels.bits[level, s] >> i) & 1)
                if first == d:
                    first = i
                    at = g
                    exits = total
                elif total < passes:
                    passes = total
                    correct_there = (levels.bits[level, s] >> i) & 1
            if g < 0:
                break
        box.extra[first, at] += passes - exits
        box.extra_gains[first, at] += ((levels.bits[level, s] >> first) & 1) - correct_there
        least += passes
        correct += correct_there
    return least, correct


@inner
def most_along(saved: Array, gains: Array, extra: Array, value: float) -> tuple[float, int]:
    """Return (the largest saving of a stage, the number of groups that exit for it).

    A group saves saved + extra + value · gains, arrays (groups,). Two stretches are summed side by
    side, since each sum waits for the previous one.
    """
    size = len(saved) // 2
    at_1 = 0
    at_2 = 0
    at = 0
    most_1 = 0.0
    here_1 = 0.0
    most_2 = 0.0
    here_2 = 0.0
    most = 0.0
    here = 0.0
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
    # Savings of a later stretch are added to all earlier ones.
    if most + here_2 > most_2:
        most += here_2
    else:
        most = most_2
        at = at_2
    if most + here_1 > most_1:
        return most + here_1, at
    return most_1, at_1


@inner
def support_line(
    w: Workspace, level: int, fixed: tuple[int, float], value: float
) -> tuple[float, int]:
    """Return (offset, correct) of the line offset + value · n, a lower bound on the cost at n.

    The bound is attained at `correct`. `fixed` is (correct, cost) of the settled samples.
    """
    box = w.box
    least, correct = pass_several(w, level, value)
    for i in range(len(w.walk.j)):
        span = box.span[i]
        most, at = most_along(box.saved[i, :span], box.gains[i, :span], box.extra[i, :span], value)
        # The best boundary of this stage, ``at``, does not depend on the other stages.
        least -= most
        for g in range(at):
            correct += box.gains[i, g] + box.extra_gains[i, g]
    # Lower the line by more than the rounding of a sum over all samples.
    slack = 1e-14 * value * len(w.root.index)
    return least + fixed[1] - value * fixed[0] - slack, correct + fixed[0]


@inner
def is_closed(best: Best, n: int, bound: float, tolerance: Array) -> bool:
    """Return whether a known cascade is as good as n correct samples at a cost of at least `bound`.

    If only the tolerance makes it so, the bound is recorded in ``floor``, see
    :func:`cascadelib.fronts.kernels.state.must_search`.
    """
    bound *= SAFE
    if best.reach[n] < bound:
        return True
    if tolerance[n] > 0 and best.reach[n] <= (1 + tolerance[n]) * bound:
        best.floor[n] = min(best.floor[n], bound)
        return True
    return False


@inner
def fill_stretch(
    row: Array, a: float, cost_a: float, b: float, cost_b: float, offset: float, value: float
) -> None:
    """Fill a row of the stack of :func:`is_covered`: two points, and a line below the stretch."""
    row[0] = a
    row[1] = cost_a
    row[2] = b
    row[3] = cost_b
    row[4] = offset
    row[5] = value


@inner
def open_between(
    stretch: Array,
    offset: float,
    value: float,
    at: int,
    least: float,
    best: Best,
    tolerance: Array,
) -> tuple[int, int]:
    """Return the (first, last) n of a stretch, see :func:`fill_stretch`, that nothing closes.

    first > last if there are none. The line offset + value · n touches the hull at `at`. If that n
    is open, it is returned alone.
    """
    a, _, b, _, offset_0, value_0 = stretch
    low = int(b) + 1
    high = int(a)
    for n in range(int(a) + 1, int(b) + 1):
        bound = max(least, offset + value * n, offset_0 + value_0 * n)
        if not is_closed(best, n, bound, tolerance):
            if n == at:
                return n, n
            low = min(low, n)
            high = n
    return low, high


@inner
def is_covered(
    w: Workspace,
    level: int,
    correct: tuple[int, int],
    fixed: tuple[int, float],
    least: float,
    steep: float,
    best: Best,
    tolerance: Array,
) -> bool:
    """Return whether known cascades are as good as all that a box contains.

    The lower hull of cost over correct samples is approached from above. A line with the slope
    between two of its points either touches it at a third point, or shows that nothing is below the
    two. Until the end of the hull is known, the known cascade with the most correct samples
    replaces it. The search ends at a point of the hull that is not covered.

    Parameters
    ----------
    w : Workspace
        Arrays of the thread.
    level : int
        Level of the box.
    correct : tuple of int
        Correct samples of the box's cheapest cascade, and an upper bound of all.
    fixed : tuple of int and float
        (correct, cost) of the settled samples.
    least : float
        Lower bound on the cost.
    steep : float
        A price of a correct sample at which costs do not matter.
    best : Best
        Known cascades.
    tolerance : float64 array of shape (k + 1,)
        See :func:`is_closed`.
    """
    first, last = correct
    stack = w.box.stack
    top = 0
    ends = False  # whether the hull ends at ``last``
    # The hull's cheapest point is the corner at which every stage exits all its samples. It is
    # recorded, and comes before all cascades with at most its correct samples, since those defer
    # more. The only bound on the stretch after it is ``least``.
    fill_stretch(stack[0], first, least, last, best.reach[last], least, 0.0)
    for _ in range(LINES):
        stretch = stack[top]
        a, cost_a, b, cost_b = stretch[:4]
        top -= 1
        value = min(max(cost_b - cost_a, 0.0) / max(b - a, 1), steep)
        offset, at = support_line(w, level, fixed, value)
        cost = offset + value * at
        # The line touches the hull at ``at``. It is a second bound for all n after ``a``.
        low, high = open_between(stretch, offset, value, at, least, best, tolerance)
        if low == high == at:
            return False
        if low <= high:
            if not a < at < b:
                if ends or b < last:
                    return False
                ends = True
                if at < b:
                    offset_end, at = support_line(w, level, fixed, steep)
                    cost = offset_end + steep * at
                last = at
                high = at
            # A point of the hull divides the stretch. The parts with an open n continue.
            if low <= at:
                top += 1
                fill_stretch(stack[top], a, cost_a, at, cost, offset, value)
            if high > at:
                top += 1
                fill_stretch(stack[top], at, cost, b, cost_b, offset, value)
        if top < 0:
            return True
    return False


@inner
def cannot_improve(
    w: Workspace,
    level: int,
    b: int,
    costs: Array,
    k: int,
    best: Best,
    tolerance: Array,
) -> bool:
    """Return whether a box, with its samples gathered, has no cascade that improves."""
    levels = w.levels
    box = w.box
    base = levels.base[level + 1]
    d = len(w.walk.j)
    # Of the samples open at several stages: the correct ones at most, and if all exit at the first.
    most = 0
    exiting = 0
    for x in range(box.several_count[0]):
        s = box.several[x]
        bits = levels.bits[level, s]
        open_at = d
        correct = 0
        for i in range(d + 1):
            g = -1
            if i < d:
                g = levels.group[level, i, s] - box.low[i]
            if i == d or g < box.span[i]:
                correct |= (bits >> i) & 1
                open_at = min(open_at, i)
            if g < 0:
                break
        most += correct
        exiting += (bits >> open_at) & 1
    base[0] -= most
    # ``base`` has the settled samples only.
    passing = base[0] + box.passing_correct[0]
    settled = costs[0] + box.passing_cost[0]
    least = costs[0]
    first = passing + exiting
    last = passing + most
    for i in range(d):
        settled += costs[1 + i] * (base[1 + i] / k)
        least += costs[1 + i] * (levels.state[level, b, 1 + i] / k)
        gain = np.int64(0)
        best_gain = np.int64(0)
        for g in range(box.span[i]):
            gain += box.gains[i, g]
            best_gain = max(best_gain, gain)
        # The gain of the stage if all exit there, and its upper bound.
        first += gain
        last += best_gain
    steep = 4 * k * box.price[d]
    if steep == 0:
        steep = 1.0  # free models: a correct sample still has a price
    fixed = passing, settled
    return is_covered(w, level, (first, last), fixed, least, steep, best, tolerance)
