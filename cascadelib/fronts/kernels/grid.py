"""Evaluate all corners and boxes of a grid of thresholds from one count of samples, at any depth.

A cascade of n models has d = n − 1 boundaries. A grid divides the boundaries of each stage at
edges. A *bin* is the groups between two edges. With S − 2 bins per stage, the *slot* of a sample is
0 (it exits at every edge), 1 … S − 2 (its bin) or S − 1 (it is deferred at every edge). A grid has

* **corners**, j in 1 … S − 1 per stage: the cascade at edge j, at which slots < j exit and
  slots ≥ j are deferred.
* **boxes**, j in 1 … S − 2 per stage: all cascades between edges j and j + 1, in which slot j is
  undecided. For the upper bound on correct samples, an undecided sample is correct if it is correct
  here or at a later stage that it may reach. For the lower bound on the cost, it exits.

``correct`` counts samples by slot and correctness, with the layout
[S_1, 2, S_2, 2, …, S_d, 2, 2] (slot at stage i, correct at stage i, …, correct at stage n). ``all``
counts them by slot, [S_1, …, S_d]. The walk over stage 1, from its last slot to its first, adds one
slice at a time to a *tail* of the same layout without stage 1. The tail contains the samples that
reach stage 2, and in ``correct`` also the undecided samples that are wrong at stage 1, since only
later stages can improve them. So a grid of n stages becomes S grids of n − 1.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner, kernel
from .state import Best, Workspace, improves, must_search, record

BLOCK = 64  # samples of a pair that are bounded together


@inner
def lay_out(w: Workspace, level: int) -> None:
    """Set the strides and tail offsets of a level's grid from its slots."""
    levels = w.levels
    walk = w.walk
    slots = levels.slots[level]
    inner = levels.inner[level]
    cells = levels.cells[level]
    d = len(slots)
    # The last stage is innermost: per slot one cell, and two counts (last model wrong, correct).
    inner[d - 1] = 2
    cells[d - 1] = 1
    for i in range(d - 1, 0, -1):
        inner[i - 1] = inner[i] * 2 * slots[i]
        cells[i - 1] = cells[i] * slots[i]
    # The tail of each stage follows that of the previous stage.
    walk.correct_at[0] = 0
    walk.all_at[0] = 0
    for i in range(1, d):
        walk.correct_at[i] = walk.correct_at[i - 1] + slots[i - 1] * 2 * inner[i - 1]
        walk.all_at[i] = walk.all_at[i - 1] + slots[i - 1] * cells[i - 1]


@inner
def add_counts(target: Array, source: Array) -> None:
    """Add source to target, counts of one length, in place."""
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
def add_correct(w: Workspace, level: int, i: int, slot: int, correct: int) -> None:
    """Add a slice of stage i, of correct (1) or wrong (0) samples, to the tail of ``correct``."""
    walk = w.walk
    size = w.levels.inner[level, i]
    source = walk.correct_at[i] + (2 * slot + correct) * size
    target = walk.correct_at[i + 1]
    add_counts(walk.correct[target : target + size], walk.correct[source : source + size])


@inner
def add_all(w: Workspace, level: int, i: int, slot: int) -> None:
    """Add a slice of stage i, which is deferred, to the tail of all samples.

    Its samples that are correct at stage i no longer count there.
    """
    walk = w.walk
    size = w.levels.cells[level, i]
    source = walk.all_at[i] + slot * size
    target = walk.all_at[i + 1]
    add_counts(walk.all[target : target + size], walk.all[source : source + size])
    walk.fixed[i] -= walk.ones[i, slot]
    walk.through[i] += walk.passing[i, slot]


@inner
def enter_stage(w: Workspace, level: int, i: int, corners: bool) -> None:
    """Start the walk over the slots of stage i, with totals of every slice and an empty tail."""
    levels = w.levels
    walk = w.walk
    slots = levels.slots[level, i]
    size = levels.inner[level, i]
    cells = levels.cells[level, i]
    # At first all samples exit here, so that only settled samples are deferred.
    walk.fixed[i] = walk.gain[i]
    walk.through[i] = levels.base[level, 1 + i]
    for slot in range(slots):
        at = walk.correct_at[i] + (2 * slot + 1) * size
        here = walk.all_at[i] + slot * cells
        walk.ones[i, slot] = sum_counts(walk.correct[at : at + size])
        walk.passing[i, slot] = sum_counts(walk.all[here : here + cells])
        walk.fixed[i] += walk.ones[i, slot]
    walk.correct[walk.correct_at[i + 1] : walk.correct_at[i + 1] + size] = 0
    walk.all[walk.all_at[i + 1] : walk.all_at[i + 1] + cells] = 0
    walk.j[i] = slots
    if not corners:
        # The last slot is deferred in every box. The first step is to the last bin.
        walk.j[i] = slots - 1
        add_correct(w, level, i, slots - 1, 0)
        add_correct(w, level, i, slots - 1, 1)
        add_all(w, level, i, slots - 1)


@inner
def move_stage(w: Workspace, level: int, i: int, corners: bool, costs: Array, k: int) -> None:
    """Move stage i to its next lower edge or bin, and add what it defers to the next stage."""
    walk = w.walk
    slot = walk.j[i]
    if corners:
        # The full slot at the edge is deferred.
        add_correct(w, level, i, slot, 0)
        add_correct(w, level, i, slot, 1)
        add_all(w, level, i, slot)
    else:
        if slot < w.levels.slots[level, i] - 2:
            # The previous bin is decided now. Its wrong samples were added before.
            add_correct(w, level, i, slot + 1, 1)
            add_all(w, level, i, slot + 1)
        # Only wrong samples of the undecided bin can become correct later.
        add_correct(w, level, i, slot, 0)
    # The tail is complete. The next stage starts from the samples settled so far.
    walk.gain[i + 1] = walk.fixed[i]
    walk.cost[i + 1] = walk.cost[i] + costs[i + 1] * (walk.through[i] / k)


@inner
def last_stage(w: Workspace, level: int) -> tuple[Array, Array, int, int]:
    """Return (counts, samples, correct, deferred) of the last stage with a threshold.

    counts int32 (4 · slots,) are by slot and correctness, see ``correct``, and samples int32
    (slots,) by slot. correct and deferred are the numbers of correct and deferred samples if all
    slots exit.
    """
    walk = w.walk
    last = len(walk.j) - 1
    slots = w.levels.slots[level, last]
    n = walk.gain[last]
    at = walk.correct_at[last]
    here = walk.all_at[last]
    counts = walk.correct[at : at + 4 * slots]
    for slot in range(slots):
        # Add the two of four counts of samples that are correct at this stage.
        n += counts[4 * slot + 2] + counts[4 * slot + 3]
    return counts, walk.all[here : here + slots], n, w.levels.base[level, 1 + last]


@inner
def corner_row(w: Workspace, level: int, costs: Array, k: int, cascade: int, best: Best) -> None:
    """Record the corners at every edge of the last stage, with fixed earlier stages.

    Cost rises along the way, see :func:`sweep_pair`.
    """
    levels = w.levels
    walk = w.walk
    last = len(walk.j) - 1
    counts, passes, n, at = last_stage(w, level)
    for slot in range(len(passes) - 1, 0, -1):
        # The slot is deferred: it gains the samples that only the last model has correct.
        n += counts[4 * slot + 1] - counts[4 * slot + 2]
        at += passes[slot]
        cost = walk.cost[last] + costs[last + 1] * (at / k)
        if cost > best.reach[n]:
            continue
        # No cheaper cascade is known with n correct samples.
        walk.j[last] = slot
        walk.through[last] = at
        if improves(best, n, cost, cascade, walk.through):
            for i in range(last + 1):
                walk.boundaries[i] = levels.maps[level, i, levels.edges[level, i, walk.j[i]]]
            record(best, n, cost, cascade, walk.boundaries, walk.through)


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
    """List the boxes at every bin of the last stage that may improve, with fixed earlier bins."""
    levels = w.levels
    edges = levels.edges[level]
    walk = w.walk
    last = len(walk.j) - 1
    counts, passes, n, at = last_stage(w, level)
    for slot in range(len(passes) - 1, 0, -1):
        # Upper bound: the slot keeps its correct samples, and gains those of the last model.
        most = n + counts[4 * slot + 1]
        cost = walk.cost[last] + costs[last + 1] * (at / k)
        if slot < len(passes) - 1 and cost <= best.reach[most]:
            # No cheaper cascade is known with the largest number of correct samples of this bin.
            walk.j[last] = slot
            walk.through[last] = at
            if must_search(best, most, cost, cascade, walk.through, tolerance):
                # List it if a stage has a boundary between its two edges.
                b = levels.found[level]
                levels.state[level, b, 0] = most
                inside = False
                for i in range(last + 1):
                    levels.boxes[level, b, i] = walk.j[i]
                    levels.state[level, b, 1 + i] = walk.through[i]
                    inside |= edges[i, walk.j[i] + 1] - edges[i, walk.j[i]] > 1
                levels.found[level] = b + inside
        # For lower bins the slot is deferred, and loses the samples that only this stage has.
        n = most - counts[4 * slot + 2]
        at += passes[slot]


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
    """Record all corners of a level's grid (``corners``), or list its boxes that may improve."""
    walk = w.walk
    last = len(walk.j) - 1
    i = 0
    walk.gain[0] = w.levels.base[level, 0]
    walk.cost[0] = costs[0]
    if last > 0:
        enter_stage(w, level, 0, corners)
    while i >= 0:
        if i == last:
            # All earlier stages have a slot. One row covers the last stage.
            if corners:
                corner_row(w, level, costs, k, cascade, best)
            else:
                box_row(w, level, costs, k, cascade, best, tolerance)
            i -= 1
            continue
        walk.j[i] -= 1
        if walk.j[i] < 1:
            # All slots of this stage are done.
            i -= 1
            continue
        move_stage(w, level, i, corners, costs, k)
        i += 1
        if i < last:
            enter_stage(w, level, i, corners)


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
) -> None:
    """Record all boundaries of one pair, without a grid.

    The sweep goes from always to never exiting, so cost rises. So recording a cascade lowers
    ``reach`` only if no cheaper one was recorded, and each n is visited about once in total. A
    block of samples that cannot gain enough is only counted.

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
        Where cascades are recorded.
    """
    k = len(order)
    n = np.int64(0)
    for p in range(k):
        n += correct_1[p]
    # n is the number of correct samples if all exit.
    at = np.zeros(1, np.int64)
    boundary = np.array([group[k - 1] + 1])
    if improves(best, n, cost_1, cascade, at):
        record(best, n, cost_1, cascade, boundary, at)
    end = k
    while end > 0:
        start = max(end - BLOCK, 0)
        here = np.uint64(0)
        later = np.uint64(0)
        for p in range(np.uint64(start), np.uint64(end)):  # unsigned, without a check of the sign
            here += correct_1[p]
            later += correct_2[order[p]]
        correct_here = np.int64(here)
        # Upper bound: model 2 is correct on all samples that model 1 has wrong.
        most = n + end - start - correct_here
        if best.reach[most] < cost_1 + cost_2 * ((k - end + 1) / k):
            n += np.int64(later) - correct_here
            end = start
            continue
        for first in range(end - 1, start - 1, -1):
            # first is the first deferred sample
            n += np.int64(correct_2[order[first]]) - np.int64(correct_1[first])
            cost = cost_1 + cost_2 * ((k - first) / k)
            if cost > best.reach[n] or (first > 0 and group[first] == group[first - 1]):
                continue
            # No cheaper cascade is known with n correct samples, and no tie is split.
            at[0] = k - first
            if improves(best, n, cost, cascade, at):
                boundary[0] = group[first]
                record(best, n, cost, cascade, boundary, at)
        end = start
