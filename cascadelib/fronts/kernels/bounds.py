"""A sharp bound on all cascades within one box of thresholds: lines under their costs.

This is Lagrangian duality. The samples of a box whose exit is open fall in two kinds. One *open at
a single stage* exits there or at one later stage that is settled: what all of them gain and save
depends on that stage's boundary alone, as a prefix sum over its groups. One *open at several
stages* (few, in a small box) counts at the first of them, and has its best exit once past that. So
for any price λ of a correct sample, the least of cost − λ · correct over the box is bounded by a
sum of one maximum prefix sum per stage; and with it the cost of every cascade of the box with n
correct samples, by a line in n.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner
from .state import LINES, Best, Workspace

SAFE = 1 - 1e-11  # sums of costs round; a bound may not


@inner
def gather_singles(
    w: Workspace, level: int, first: int, end: int, low: int, high: int, m: int
) -> int:
    """Gather the samples at low … high, open at stage ``first`` alone and settled at ``end``.

    Noted is what exiting their group gains and saves; ``passing_correct`` and ``passing_cost`` add
    up what passing them all on means. Returns the number gathered in all, of which there were ``m``
    before.
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
    # The box's optimism counted them where either exit is correct, and as exiting at ``first``.
    base = levels.base[level + 1]
    base[0] -= either
    for i in range(first):
        base[1 + i] -= high - low
    return m


@inner
def gather_several(w: Workspace, level: int, first: int, low: int, high: int, m: int) -> int:
    """Gather and list the samples at low … high, open at stage ``first`` and at others.

    Returns the number gathered in all, of which there were ``m`` before.
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
    # Their correctness is taken out of ``base`` later, see correct_of_several.
    for i in range(first):
        w.levels.base[level + 1, 1 + i] -= high - low
    return m


@inner
def gather(w: Workspace, level: int, target: Array) -> int:
    """Gather the samples of a level whose exit depends on a box; returns how many.

    target: int32 [d], the box's slot at each stage; the samples' places are left in ``kept``.
    Samples lie in the order of grid cells, so each kind is a few contiguous stretches. The next
    level's ``base`` loses what is gathered, down to what the settled samples amount to.
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
        # A sample gets to stage i with these slots before it, and is open first at ``first`` (d:
        # at none of them); prefix: the first of their cells.
        here = prefix + j[i] * cells[i]
        if j[i] == slots[i]:
            # The slots of stage i are done with: back to the stage before.
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
            # One stage further in. In its target slot samples are open there; in those below they
            # exit, which settles those that are open before; those above pass on.
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
                    # The last stage with a threshold: what passes it is settled at the last model.
                    m = gather_singles(
                        w, level, first, d, high, start[prefix + slots[i] * cells[i]], m
                    )
            elif i + 1 == d:
                # Open at the last stage with a threshold alone.
                m = gather_singles(w, level, i, d, low, high, m)
    return m


@inner
def pass_several(w: Workspace, level: int, value: float) -> tuple[float, int]:
    """What the samples open at several stages come to, if all pass their first such stage.

    Returns the least total of price − value · correct, and the correct ones: each exits at its best
    after that stage. What exiting at that stage changes is left in ``extra``.
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
                leaves = box.price[i] - value * ((levels.bits[level, s] >> i) & 1)
                if first == d:
                    first = i
                    at = g
                    exits = leaves
                elif leaves < passes:
                    passes = leaves
                    correct_there = (levels.bits[level, s] >> i) & 1
            if g < 0:
                break
        # Its first open stage, its group there, and its best exit after it are known.
        box.extra[first, at] += passes - exits
        box.extra_gains[first, at] += ((levels.bits[level, s] >> first) & 1) - correct_there
        least += passes
        correct += correct_there
    return least, correct


@inner
def most_along(saved: Array, gains: Array, extra: Array, value: float) -> tuple[float, int]:
    """(the most that exiting 0, 1, … groups of a stage saves; how many exit there).

    A group saves saved + extra + value · gains, each [groups]. Summed over two stretches side by
    side: each sum waits for the one before.
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
    # The most within each stretch is known; those of a later one count on top of all before it.
    if most + here_2 > most_2:
        most += here_2
    else:
        most = most_2
        at = at_2
    if most + here_1 > most_1:
        return most + here_1, at
    return most_1, at_1


@inner
def support(w: Workspace, level: int, fixed: tuple[int, float], value: float) -> tuple[float, int]:
    """(offset, correct): offset + value · n is the cost of n correct samples or less.

    It is met at ``correct``. fixed: (correct, cost) of the settled samples.
    """
    box = w.box
    least, correct = pass_several(w, level, value)
    for i in range(len(w.walk.j)):
        span = box.span[i]
        most, at = most_along(box.saved[i, :span], box.gains[i, :span], box.extra[i, :span], value)
        # The best boundary of this stage: ``at`` groups exit, whatever the other stages do.
        least -= most
        for g in range(at):
            correct += box.gains[i, g] + box.extra_gains[i, g]
    # A sum of as many as all samples rounds: the line lies lower by more than that.
    slack = 1e-14 * value * len(w.root.index)
    return least + fixed[1] - value * fixed[0] - slack, correct + fixed[0]


@inner
def closes(best: Best, n: int, bound: float, tolerance: Array) -> bool:
    """Whether what has been found is as good as n correct samples at a cost of ``bound`` or more.

    Where that is due to the tolerance, the bound is left in ``floor`` (see
    :func:`cascadelib.fronts.kernels.state.worth`).
    """
    bound *= SAFE
    if best.reach[n] < bound:
        return True
    # At n correct samples the bound leaves room for something better, or as good.
    if tolerance[n] > 0 and best.reach[n] <= (1 + tolerance[n]) * bound:
        best.floor[n] = min(best.floor[n], bound)
        return True
    return False


@inner
def put(
    row: Array, a: float, cost_a: float, b: float, cost_b: float, offset: float, value: float
) -> None:
    """Fill a row of the stack of :func:`covered`: two points, and a line below what is between."""
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
    """(first, last) of the n of a stretch (see :func:`put`) that nothing closes.

    first > last where there are none. The line offset + value · n meets the hull at ``at``: where
    that is open, it is given alone.
    """
    a, _, b, _, offset_0, value_0 = stretch
    low = int(b) + 1
    high = int(a)
    for n in range(int(a) + 1, int(b) + 1):
        bound = max(least, offset + value * n, offset_0 + value_0 * n)
        if not closes(best, n, bound, tolerance):
            if n == at:
                return n, n
            low = min(low, n)
            high = n
    return low, high


@inner
def covered(
    w: Workspace,
    level: int,
    correct: tuple[int, int],
    fixed: tuple[int, float],
    least: float,
    steep: float,
    best: Best,
    tolerance: Array,
) -> bool:
    """Whether what has been found is as good as all that the box leaves.

    correct: samples of the box's cheapest cascade, and the most of any; fixed: (correct, cost) of
    the settled samples; least: cost of any cascade of the box; steep: a price of a correct sample
    at which nothing else counts. The lower hull of cost against correct samples is approached from
    above: a line with the slope between two of its points touches it at a third, or shows that
    nothing lies below the two. Until it is known where the hull ends, what has been found with the
    most correct samples stands for that end. A point of the hull that is not covered ends the
    search.
    """
    first, last = correct
    stack = w.box.stack
    top = 0
    ends = False  # whether ``last`` is where the hull ends
    # The hull's cheapest point is the corner at which every stage exits all it can. It was noted,
    # and comes before all with as many correct samples or fewer: some stage of theirs passes on
    # more. Of the stretch after it, nothing but ``least`` is known.
    put(stack[0], first, least, last, best.reach[last], least, 0.0)
    for _ in range(LINES):
        stretch = stack[top]
        a, cost_a, b, cost_b = stretch[:4]
        top -= 1
        value = min(max(cost_b - cost_a, 0.0) / max(b - a, 1), steep)
        offset, at = support(w, level, fixed, value)
        cost = offset + value * at
        # The line meets the hull at ``at``: every n of the stretch after ``a``, which is covered,
        # has a second bound.
        low, high = open_between(stretch, offset, value, at, least, best, tolerance)
        if low == high == at:
            return False
        # Open are at most the n from ``low`` to ``high``.
        if low <= high:
            if not a < at < b:
                if ends or b < last:
                    return False
                ends = True
                if at < b:
                    offset_end, at = support(w, level, fixed, steep)
                    cost = offset_end + steep * at
                last = at
                high = at
            # A point of the hull parts the stretch in two, of which those with an open n go on.
            if low <= at:
                top += 1
                put(stack[top], a, cost_a, at, cost, offset, value)
            if high > at:
                top += 1
                put(stack[top], at, cost, b, cost_b, offset, value)
        if top < 0:
            return True
    return False


@inner
def correct_of_several(w: Workspace, level: int) -> tuple[int, int]:
    """The most correct of the samples open at several stages, and those if all exit at the first of
    these stages."""
    box = w.box
    d = len(w.walk.j)
    most = 0
    exiting = 0
    for x in range(box.several_count[0]):
        s = box.several[x]
        bits = w.levels.bits[level, s]
        first = d
        correct = 0
        for i in range(d + 1):
            g = -1
            if i < d:
                g = w.levels.group[level, i, s] - box.low[i]
            if i == d or g < box.span[i]:
                correct |= (bits >> i) & 1
                first = min(first, i)
            if g < 0:
                break
        # correct: whether any stage at which the sample may exit is.
        most += correct
        exiting += (bits >> first) & 1
    return most, exiting


@inner
def nothing_new(
    w: Workspace,
    level: int,
    b: int,
    costs: Array,
    k: int,
    best: Best,
    tolerance: Array,
) -> bool:
    """Whether a box, its samples gathered, holds no cascade worth finding."""
    levels = w.levels
    box = w.box
    base = levels.base[level + 1]
    d = len(w.walk.j)
    most, exiting = correct_of_several(w, level)
    base[0] -= most
    # ``base`` is what the settled samples alone amount to.
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
        # The stage gains so much if all exit there, and at most so much.
        first += gain
        last += best_gain
    steep = 4 * k * box.price[d]
    if steep == 0:
        steep = 1.0  # free models: what is correct is worth more than nothing
    fixed = passing, settled
    return covered(w, level, (first, last), fixed, least, steep, best, tolerance)
