"""Evaluate all corners and boxes of a grid of thresholds from one count of samples.

A cascade of n models has d = n − 1 boundaries. A grid divides the boundaries of each stage at
edges. A *bin* is the groups between two edges. With S − 2 bins per stage, the *slot* of a sample is
0 (it exits at every edge), 1 … S − 2 (its bin) or S − 1 (it is deferred at every edge). A grid has

* **corners**, with a j in 1 … S − 1 per stage. A corner is the cascade at the edges j: samples in
  slots below j exit, and samples in slots from j on are deferred.
* **boxes**, with a j in 1 … S − 2 per stage. A box is all cascades between the edges j and j + 1.
  The samples in slot j are undecided. For the upper bound on correct samples, an undecided sample
  counts as correct if it is correct here or at a later stage that it may reach. For the lower bound
  on the cost, it exits here.

``by_correctness`` counts samples by slot and correctness, with the layout [S_1, 2, S_2, 2, …, S_d,
2, 2] (slot at stage i, correct at stage i, …, correct at stage n). ``by_slot`` counts them by slot,
[S_1, …, S_d]. The walk over stage 1, from its last slot to its first, adds one slice at a time to a
*tail* of the same layout without stage 1. The tail counts the samples that reach stage 2. In
``by_correctness`` it also counts the undecided samples that are wrong at stage 1, since a later
stage may be correct on them. So a grid of n stages becomes S grids of n − 1.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner, kernel
from .state import Best, Workspace, improves, must_search, record

BLOCK = 64  # samples of a pair that are bounded together
TINY = 1e-300  # least divisor, since costs may be 0


@inner
def set_strides(w: Workspace, level: int) -> None:
    """Compute the strides and the tail offsets of a level's grid from its slots."""
    levels = w.levels
    walk = w.walk
    slots = levels.slots[level]
    correct = levels.correct_stride[level]
    cells = levels.slot_stride[level]
    d = len(slots)
    # The last stage is innermost. It has one cell per slot, and two counts (last model wrong,
    # correct).
    correct[d - 1] = 2
    cells[d - 1] = 1
    for i in range(d - 1, 0, -1):
        correct[i - 1] = correct[i] * 2 * slots[i]
        cells[i - 1] = cells[i] * slots[i]
    # The tail of each stage follows that of the previous stage.
    walk.correctness_tail[0] = 0
    walk.slot_tail[0] = 0
    for i in range(1, d):
        walk.correctness_tail[i] = walk.correctness_tail[i - 1] + slots[i - 1] * 2 * correct[i - 1]
        walk.slot_tail[i] = walk.slot_tail[i - 1] + slots[i - 1] * cells[i - 1]


@inner
def add_counts(target: Array, source: Array) -> None:
    """Add the counts of source to those of target, in place."""
    for x in range(len(source)):
        target[x] += source[x]


@inner
def sum_counts(counts: Array) -> int:
    """Return the sum of counts."""
    n = 0
    for x in range(len(counts)):
        n += counts[x]
    return n


@inner
def add_slice(w: Workspace, level: int, i: int, slot: int, correct: int) -> None:
    """Add the correct (1) or wrong (0) samples of a slot of stage i to the next stage's tail."""
    walk = w.walk
    size = w.levels.correct_stride[level, i]
    source = walk.correctness_tail[i] + (2 * slot + correct) * size
    target = walk.correctness_tail[i + 1]
    add_counts(
        walk.by_correctness[target : target + size], walk.by_correctness[source : source + size]
    )


@inner
def defer_slice(w: Workspace, level: int, i: int, slot: int) -> None:
    """Count the samples of a slot of stage i as deferred, and no longer as correct at stage i."""
    walk = w.walk
    size = w.levels.slot_stride[level, i]
    source = walk.slot_tail[i] + slot * size
    target = walk.slot_tail[i + 1]
    add_counts(walk.by_slot[target : target + size], walk.by_slot[source : source + size])
    walk.correct_through[i] -= walk.slot_correct[i, slot]
    walk.deferred[i] += walk.slot_samples[i, slot]


@inner
def start_stage(w: Workspace, level: int, i: int, corners: bool) -> None:
    """Start the walk over the slots of stage i: compute totals of its slots, and empty its tail."""
    levels = w.levels
    walk = w.walk
    slots = levels.slots[level, i]
    size = levels.correct_stride[level, i]
    cells = levels.slot_stride[level, i]
    # At first all samples exit here, so only settled samples are deferred.
    walk.correct_through[i] = walk.correct_before[i]
    walk.deferred[i] = levels.settled[level, 1 + i]
    for slot in range(slots):
        at = walk.correctness_tail[i] + (2 * slot + 1) * size
        here = walk.slot_tail[i] + slot * cells
        walk.slot_correct[i, slot] = sum_counts(walk.by_correctness[at : at + size])
        walk.slot_samples[i, slot] = sum_counts(walk.by_slot[here : here + cells])
        walk.correct_through[i] += walk.slot_correct[i, slot]
    walk.by_correctness[walk.correctness_tail[i + 1] : walk.correctness_tail[i + 1] + size] = 0
    walk.by_slot[walk.slot_tail[i + 1] : walk.slot_tail[i + 1] + cells] = 0
    walk.slot[i] = slots
    if not corners:
        # In every box the last slot is deferred, so the walk starts at the last bin.
        walk.slot[i] = slots - 1
        add_slice(w, level, i, slots - 1, 0)
        add_slice(w, level, i, slots - 1, 1)
        defer_slice(w, level, i, slots - 1)


@inner
def move_stage(w: Workspace, level: int, i: int, corners: bool, costs: Array, k: int) -> None:
    """Update the tail and the totals of stage i for its current slot, before the next stage."""
    walk = w.walk
    slot = walk.slot[i]
    if corners:
        # All samples of the slot are deferred.
        add_slice(w, level, i, slot, 0)
        add_slice(w, level, i, slot, 1)
        defer_slice(w, level, i, slot)
    else:
        if slot < w.levels.slots[level, i] - 2:
            # The previous bin is now deferred. Its wrong samples are in the tail already.
            add_slice(w, level, i, slot + 1, 1)
            defer_slice(w, level, i, slot + 1)
        # A later stage may be correct on the wrong samples of the undecided bin.
        add_slice(w, level, i, slot, 0)
    # The tail is complete.
    walk.correct_before[i + 1] = walk.correct_through[i]
    walk.cost[i + 1] = walk.cost[i] + costs[i + 1] * (walk.deferred[i] / k)


@inner
def last_stage(w: Workspace, level: int) -> tuple[Array, Array, int, int]:
    """Return the counts and totals of the last stage with a threshold.

    These are the counts by slot and correctness, int32 (4 · slots,), the counts by slot, int32
    (slots,), and the numbers of correct and of deferred samples if all samples exit at this stage.
    """
    walk = w.walk
    last = len(walk.slot) - 1
    slots = w.levels.slots[level, last]
    n = walk.correct_before[last]
    at = walk.correctness_tail[last]
    here = walk.slot_tail[last]
    counts = walk.by_correctness[at : at + 4 * slots]
    for slot in range(slots):
        # Of the four counts of a slot, these two are of samples that are correct at this stage.
        n += counts[4 * slot + 2] + counts[4 * slot + 3]
    return counts, walk.by_slot[here : here + slots], n, w.levels.settled[level, 1 + last]


@inner
def corner_row(w: Workspace, level: int, costs: Array, k: int, cascade: int, best: Best) -> None:
    """Record the corners at every edge of the last stage, with fixed edges of earlier stages.

    The cost rises from corner to corner, see :func:`sweep_pair`.
    """
    levels = w.levels
    walk = w.walk
    last = len(walk.slot) - 1
    counts, samples, n, at = last_stage(w, level)
    for slot in range(len(samples) - 1, 0, -1):
        # Defer the slot. Only its samples on which exactly one of the two models is correct change.
        n += counts[4 * slot + 1] - counts[4 * slot + 2]
        at += samples[slot]
        cost = walk.cost[last] + costs[last + 1] * (at / k)
        if cost > best.reach[n]:
            continue
        # No cheaper cascade is known with n correct samples.
        walk.slot[last] = slot
        walk.deferred[last] = at
        if improves(best, n, cost, cascade, walk.deferred):
            for i in range(last + 1):
                walk.boundaries[i] = levels.boundary_of[
                    level, i, levels.edges[level, i, walk.slot[i]]
                ]
            record(best, n, cost, cascade, walk.boundaries, walk.deferred)


@inner
def box_row(
    w: Workspace,
    level: int,
    costs: Array,
    k: int,
    cascade: int,
    best: Best,
    tolerance: Array,
) -> None:
    """List the boxes at every bin of the last stage that may improve, with fixed bins before."""
    levels = w.levels
    edges = levels.edges[level]
    walk = w.walk
    last = len(walk.slot) - 1
    counts, samples, n, at = last_stage(w, level)
    for slot in range(len(samples) - 1, 0, -1):
        # Upper bound: a sample of the slot is correct if one of the two models is correct.
        most = n + counts[4 * slot + 1]
        cost = walk.cost[last] + costs[last + 1] * (at / k)
        if slot < len(samples) - 1 and cost <= best.reach[most]:
            # No known cascade has as many correct samples at this cost or less.
            walk.slot[last] = slot
            walk.deferred[last] = at
            if must_search(best, most, cost, cascade, walk.deferred, tolerance):
                # List the box if a stage has a boundary between its two edges.
                b = levels.n_boxes[level]
                levels.bounds[level, b, 0] = most
                inside = False
                for i in range(last + 1):
                    levels.boxes[level, b, i] = walk.slot[i]
                    levels.bounds[level, b, 1 + i] = walk.deferred[i]
                    inside |= edges[i, walk.slot[i] + 1] - edges[i, walk.slot[i]] > 1
                levels.n_boxes[level] = b + inside
        # For lower bins the slot is deferred. Only the last model counts for its samples.
        n = most - counts[4 * slot + 2]
        at += samples[slot]


@inner
def walk_grid(
    w: Workspace,
    level: int,
    corners: bool,
    costs: Array,
    k: int,
    cascade: int,
    best: Best,
    tolerance: Array,
) -> None:
    """Record all corners of a level's grid if `corners`, else list its boxes that may improve."""
    walk = w.walk
    last = len(walk.slot) - 1
    i = 0
    walk.correct_before[0] = w.levels.settled[level, 0]
    walk.cost[0] = costs[0]
    if last > 0:
        start_stage(w, level, 0, corners)
    while i >= 0:
        if i == last:
            # The slots of all earlier stages are fixed.
            if corners:
                corner_row(w, level, costs, k, cascade, best)
            else:
                box_row(w, level, costs, k, cascade, best, tolerance)
            i -= 1
            continue
        walk.slot[i] -= 1
        if walk.slot[i] < 1:
            # All slots of this stage are done.
            i -= 1
            continue
        move_stage(w, level, i, corners, costs, k)
        i += 1
        if i < last:
            start_stage(w, level, i, corners)


@kernel
def sweep_pair(
    order: Array,
    group: Array,
    correct_1: Array,
    correct_2: Array,
    cost_1: float,
    cost_2: float,
    cascade: int,
    best: Best,
) -> float:
    """Record the cascades of one pair at all boundaries, without a grid.

    The sweep goes from "always" to "never", so the cost rises. A recorded cascade therefore lowers
    only those entries of ``reach`` that no previous cascade of the pair has lowered. Each entry is
    lowered about once. A block of samples that cannot gain enough is only counted.

    Parameters
    ----------
    order : uint32 array of shape (k,)
        Samples by falling confidence of model 1.
    group : int32 array of shape (k,)
        Group of the samples in that order.
    correct_1 : uint8 array of shape (k,)
        Correctness of model 1 in that order.
    correct_2 : uint8 array of shape (k,)
        Correctness of model 2 by sample.
    cost_1, cost_2 : float
        Costs.
    cascade : int
        Number of the cascade.
    best : Best
        The best cascades so far. It is updated.

    Returns
    -------
    float
        The largest known cost ÷ cost of the pair at the same number of correct samples, at most 1.
        It is 1 if the pair is on the front. Only one of BLOCK boundaries counts.
    """
    k = len(order)
    closeness = 0.0
    n = np.int64(0)  # correct samples if all exit
    for p in range(k):
        n += correct_1[p]
    at = np.zeros(1, np.int64)
    boundary = np.array([group[k - 1] + 1])
    if improves(best, n, cost_1, cascade, at):
        record(best, n, cost_1, cascade, boundary, at)
    end = k
    while end > 0:
        start = max(end - BLOCK, 0)
        here = np.uint64(0)
        later = np.uint64(0)
        # An unsigned index needs no check of its sign. With a signed one, all pairs of 27 models on
        # 50,000 samples take 0.095 s of processor time instead of 0.070 s.
        for p in range(np.uint64(start), np.uint64(end)):
            here += correct_1[p]
            later += correct_2[order[p]]
        correct_here = np.int64(here)
        # Upper bound: model 2 is correct on all samples of the block on which model 1 is wrong.
        most = n + end - start - correct_here
        if best.reach[most] < cost_1 + cost_2 * ((k - end + 1) / k):
            n += np.int64(later) - correct_here
            end = start
            closeness = max(closeness, best.reach[n] / max(cost_1 + cost_2 * ((k - end) / k), TINY))
            continue
        for first in range(end - 1, start - 1, -1):
            # ``first`` is the first deferred sample.
            n += np.int64(correct_2[order[first]]) - np.int64(correct_1[first])
            cost = cost_1 + cost_2 * ((k - first) / k)
            if cost > best.reach[n] or (first > 0 and group[first] == group[first - 1]):
                continue
            # No cheaper cascade with n correct samples is known, and no tie is split.
            at[0] = k - first
            if improves(best, n, cost, cascade, at):
                boundary[0] = group[first]
                record(best, n, cost, cascade, boundary, at)
        end = start
        closeness = max(closeness, best.reach[n] / max(cost_1 + cost_2 * ((k - end) / k), TINY))
    return min(closeness, 1.0)
