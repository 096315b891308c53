"""Bound the costs of all cascades within one box of thresholds from below, by lines.

The bound is a Lagrangian dual. A sample is *open* in a box if its exit depends on the thresholds
within the box. A sample that is open at a single stage exits either there or at one later stage,
which is the same in the full box. Such exits change the number of correct samples and the cost.
Both changes depend only on the boundary of that stage. They are prefix sums over the groups of the
stage. A sample that is open at several stages counts at the first of them. If it does not exit
there, the bound assumes the best of its later exits. Small boxes have few such samples.

Let λ be the price of a correct sample. The minimum of cost − λ · correct over the box then has a
lower bound that is a sum over stages. The term of each stage is a maximum prefix sum over its
groups, and does not depend on the other stages. So for each λ, the cost of a cascade with n correct
samples is at least a linear function of n with slope λ.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner
from .state import LINES, Best, Workspace, is_skipped

SAFETY = 1 - 1e-11  # factor of a bound, so that rounding errors do not invalidate it


@inner
def gather_single_stage(
    w: Workspace, level: int, first: int, end: int, low: int, high: int, m: int
) -> int:
    """Gather samples low … high − 1, each of which exits at stage `first` or at stage `end`.

    An exit at `first` gains correct samples and saves cost relative to an exit at `end`. Both are
    added to those of the sample's group. The correct samples and the cost of exits at `end` are
    added to ``deferred_correct`` and ``deferred_cost``. Returns the number of gathered samples,
    including the `m` previous ones.
    """
    levels = w.levels
    box = w.box
    gains = box.gains[first]
    saved = box.saved[first]
    group = levels.group[level, first]
    bits = levels.bits[level]
    gathered = box.gathered
    lowest = box.first_group[first]
    saves = box.price[end] - box.price[first]
    correct = 0
    either = 0
    for s in range(low, high):
        at_first = (bits[s] >> first) & 1
        at_end = (bits[s] >> end) & 1
        g = group[s] - lowest
        gains[g] += at_first - at_end
        saved[g] += saves
        correct += at_end
        either += at_first | at_end
        gathered[m] = s
        m += 1
    box.deferred_correct[0] += correct
    box.deferred_cost[0] += (high - low) * box.price[end]
    # ``settled`` counted these samples as exits at ``first``, and as correct if either exit is.
    # Remove them.
    settled = levels.settled[level + 1]
    settled[0] -= either
    for i in range(first):
        settled[1 + i] -= high - low
    return m


@inner
def possible_exits(w: Workspace, level: int, s: int) -> int:
    """Return the stages at which a sample may exit in a box: bit i is set for stage i + 1."""
    box = w.box
    exits = 0
    for i in range(len(w.walk.slot)):
        g = w.levels.group[level, i, s] - box.first_group[i]
        if g < box.n_groups[i]:
            exits |= 1 << i
        if g < 0:
            return exits
    return exits | 1 << len(w.walk.slot)


@inner
def first_exit(exits: int) -> int:
    """Return the first of the :func:`possible_exits`, where the sample is open."""
    i = 0
    while (exits >> i) & 1 == 0:
        i += 1
    return i


@inner
def gather_multi_stage(w: Workspace, level: int, first: int, low: int, high: int, m: int) -> int:
    """Gather samples low … high − 1, which are open at stage `first` and at later stages.

    They are also listed in ``multi_open``. Returns the number of gathered samples, including the
    `m` previous ones.
    """
    box = w.box
    settled = w.levels.settled[level + 1]
    several = box.n_multi_open[0]
    for s in range(low, high):
        exits = possible_exits(w, level, s)
        box.gathered[m] = s
        box.multi_open[several] = s
        box.multi_exits[several] = exits
        m += 1
        several += 1
        # ``settled`` counted the sample as correct if one of its exits is.
        settled[0] -= w.levels.bits[level, s] & exits != 0
    box.n_multi_open[0] = several
    for i in range(first):
        settled[1 + i] -= high - low
    return m


@inner
def gather_open(w: Workspace, level: int, target: Array) -> int:
    """Gather the samples of a level that are open in a box, and return their number.

    `target` int32 (d,) is the box's slot at each stage. The positions of the samples are written to
    ``gathered``. Samples are sorted by grid cell, so the samples to gather are a few contiguous
    ranges. They are removed from the next level's ``settled``.
    """
    levels = w.levels
    j = w.walk.slot
    d = len(target)
    m = 0
    i = 0
    prefix = 0
    first = d
    slots = levels.slots[level]
    cells = levels.slot_stride[level]
    start = levels.start[level]
    w.box.deferred_correct[0] = 0
    w.box.deferred_cost[0] = 0.0
    w.box.n_multi_open[0] = 0
    j[0] = target[0]
    while i >= 0:
        # The current samples have slots j at stages 0 … i − 1. ``first`` is the first of these
        # stages at which they are open, or d if there is none. ``prefix`` is their first cell.
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
            # Go to the next stage. Samples in its target slot are open there. Samples in lower
            # slots exit there. If they are open at an earlier stage, it is a single one. Samples in
            # higher slots are deferred.
            here = prefix + target[i] * cells[i]
            low = start[here]
            high = start[here + cells[i]]
            if i + 1 == d:
                j[i] = slots[i]
            else:
                j[i] = target[i] + (first < d)
            if first < d:
                m = gather_single_stage(w, level, first, i, start[prefix], low, m)
                m = gather_multi_stage(w, level, first, low, high, m)
                if i + 1 == d:
                    # Samples in higher slots exit at the last model.
                    m = gather_single_stage(
                        w, level, first, d, high, start[prefix + slots[i] * cells[i]], m
                    )
            elif i + 1 == d:
                # These samples are open only at the last stage with a threshold.
                m = gather_single_stage(w, level, i, d, low, high, m)
    return m


@inner
def defer_multi_stage(w: Workspace, level: int, value: float) -> tuple[float, int]:
    """Bound the exits of samples that are open at several stages.

    Each sample is deferred at its first open stage, and takes its best later exit. Returns the sum
    of price − value · correct over these exits, and the number of correct ones. The savings and
    gains of exits at the first open stage instead are written to ``extra_saved`` and
    ``extra_gains``, by group.
    """
    levels = w.levels
    box = w.box
    d = len(w.walk.slot)
    least = 0.0
    correct = 0
    for i in range(d):
        box.extra_saved[i, : box.n_groups[i]] = 0
        box.extra_gains[i, : box.n_groups[i]] = 0
    for x in range(box.n_multi_open[0]):
        s = box.multi_open[x]
        exits = box.multi_exits[x]
        bits = levels.bits[level, s]
        first = first_exit(exits)
        passes = np.inf
        correct_there = 0
        for i in range(first + 1, d + 1):
            total = box.price[i] - value * ((bits >> i) & 1)
            if (exits >> i) & 1 and total < passes:
                passes = total
                correct_there = (bits >> i) & 1
        at = levels.group[level, first, s] - box.first_group[first]
        correct_here = (bits >> first) & 1
        box.extra_saved[first, at] += passes - (box.price[first] - value * correct_here)
        box.extra_gains[first, at] += correct_here - correct_there
        least += passes
        correct += correct_there
    return least, correct


@inner
def best_boundary(saved: Array, gains: Array, extra: Array, value: float) -> tuple[float, int]:
    """Return the largest saving of a stage, and the boundary that attains it.

    Group g saves saved[g] + extra[g] + value · gains[g] if it exits.
    """
    at = 0
    most = 0.0
    here = 0.0
    for g in range(len(saved)):
        here += saved[g] + extra[g] + value * gains[g]
        at = g + 1 if here > most else at
        most = max(most, here)
    return most, at


@inner
def support_line(
    w: Workspace, level: int, fixed: tuple[int, float], value: float
) -> tuple[float, int]:
    """Return the offset of a line, and the number of correct samples at which it is attained.

    The line offset + value · n is a lower bound on the cost with n correct samples. `fixed` is the
    number of correct samples and the cost of the settled samples.
    """
    box = w.box
    least, correct = defer_multi_stage(w, level, value)
    for i in range(len(w.walk.slot)):
        span = box.n_groups[i]
        most, at = best_boundary(
            box.saved[i, :span], box.gains[i, :span], box.extra_saved[i, :span], value
        )
        # ``at`` is the best boundary of this stage, whatever the boundaries of other stages are.
        least -= most
        for g in range(at):
            correct += box.gains[i, g] + box.extra_gains[i, g]
    # Lower the line by more than the rounding error of a sum over all samples.
    slack = 1e-14 * value * len(w.root.index)
    return least + fixed[1] - value * fixed[0] - slack, correct + fixed[0]


@inner
def is_closed(best: Best, n: int, bound: float, tolerance: Array) -> bool:
    """Return whether a known cascade is as good as all with n correct samples and cost ≥ `bound`.

    For `tolerance` see :func:`cascadelib.fronts.kernels.state.is_skipped`.
    """
    bound *= SAFETY
    return best.reach[n] < bound or is_skipped(best, n, bound, tolerance)


@inner
def write_stretch(
    row: Array, a: float, cost_a: float, b: float, cost_b: float, offset: float, value: float
) -> None:
    """Write a stretch of the hull to a row of the stack of :func:`is_covered`.

    A stretch is two points of the hull, (a, cost_a) and (b, cost_b), and a line offset + value · n
    below the hull between them.
    """
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
    """Return the first and the last n in a stretch that no known cascade closes.

    See :func:`write_stretch` and :func:`is_closed`. If there is none, the first is greater than the
    last. The line offset + value · n touches the hull at `at`. If no cascade closes `at`, the
    result is (at, at).
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
    """Return whether known cascades are as good as all cascades of a box.

    The lower convex hull of cost over correct samples is computed point by point. Take two points
    of the hull, and the line of the same slope that touches the hull from below. It either touches
    the hull at a third point, or shows that the hull is straight between the two. At first the last
    point of the hull is unknown. The least known cost of the most correct samples is used instead.
    The computation ends at the first point of the hull that no known cascade covers.

    Parameters
    ----------
    w : Workspace
        Arrays of the thread.
    level : int
        Level of the box.
    correct : tuple of int
        Correct samples of the cheapest cascade of the box, and an upper bound for all its cascades.
    fixed : tuple of int and float
        (correct, cost) of the settled samples.
    least : float
        Lower bound on the cost.
    steep : float
        A price of a correct sample so high that costs do not matter.
    best : Best
        Known cascades.
    tolerance : float64 array of shape (k + 1,)
        See :func:`is_closed`.
    """
    first, last = correct
    stack = w.box.stack
    top = 0
    ends = False  # whether the hull ends at ``last``
    # The cheapest point of the hull is the corner at which all open samples exit at their first
    # open stage. This corner was recorded. All other cascades of the box cost more, so only those
    # with more correct samples matter. For these, ``least`` is the only bound so far.
    write_stretch(stack[0], first, least, last, best.reach[last], least, 0.0)
    for _ in range(LINES):
        stretch = stack[top]
        a, cost_a, b, cost_b = stretch[:4]
        top -= 1
        value = min(max(cost_b - cost_a, 0.0) / max(b - a, 1), steep)
        offset, at = support_line(w, level, fixed, value)
        cost = offset + value * at
        # The line touches the hull at ``at``, and is another lower bound for all n above ``a``.
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
            # The new point divides the stretch. Put the parts with an open n on the stack.
            if low <= at:
                top += 1
                write_stretch(stack[top], a, cost_a, at, cost, offset, value)
            if high > at:
                top += 1
                write_stretch(stack[top], at, cost, b, cost_b, offset, value)
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
    """Return whether no cascade of a box, whose open samples are gathered, improves the front."""
    levels = w.levels
    box = w.box
    settled = levels.settled[level + 1]
    d = len(w.walk.slot)
    # Count samples that are open at several stages: ``most`` those that are correct at one of their
    # possible exits, ``exiting`` those that are correct at the first of these exits.
    most = 0
    exiting = 0
    for x in range(box.n_multi_open[0]):
        bits = levels.bits[level, box.multi_open[x]]
        exits = box.multi_exits[x]
        most += bits & exits != 0
        exiting += (bits >> first_exit(exits)) & 1
    fixed_correct = settled[0] + box.deferred_correct[0]
    fixed_cost = costs[0] + box.deferred_cost[0]
    least = costs[0]
    first = fixed_correct + exiting
    last = fixed_correct + most
    for i in range(d):
        fixed_cost += costs[1 + i] * (settled[1 + i] / k)
        least += costs[1 + i] * (levels.bounds[level, b, 1 + i] / k)
        gain = np.int64(0)
        best_gain = np.int64(0)
        for g in range(box.n_groups[i]):
            gain += box.gains[i, g]
            best_gain = max(best_gain, gain)
        # The gain if all samples exit at this stage, and an upper bound on the gain.
        first += gain
        last += best_gain
    steep = 4 * k * box.price[d]
    if steep == 0:
        steep = 1.0  # all models are free, and a price must be positive
    fixed = fixed_correct, fixed_cost
    return is_covered(w, level, (first, last), fixed, least, steep, best, tolerance)
