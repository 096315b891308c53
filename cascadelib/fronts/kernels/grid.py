"""All corners and boxes of a grid of thresholds at once, from one count of samples (any depth).

A cascade of n models has d = n − 1 boundaries. A grid cuts the boundaries of each stage at edges;
between two edges lies a *bin* of groups. With S − 2 bins per stage, a sample's *slot* there is 0
(exits at every edge), 1 … S − 2 (its bin) or S − 1 (passes at every edge). The grid holds

* **corners**, j in 1 … S − 1 per stage: the cascade at edge j, in which slots < j exit and
  slots ≥ j pass on;
* **boxes**, j in 1 … S − 2 per stage: all cascades between edges j and j + 1, in which slot j is
  undecided. Optimistic count: an undecided sample is correct if it is correct here or anywhere
  later that it may get to. Least cost: it exits.

``correct`` counts samples by slot and correctness, laid out [S_1, 2, S_2, 2, …, S_d, 2, 2] (slot at
stage i, correct at stage i, …, correct at stage n); ``all`` counts them by slot [S_1, …, S_d].
Walking stage 1 from its last slot to its first adds one slice at a time to a *tail* of the same
layout without stage 1: what gets to stage 2, or (in ``correct``) is undecided and wrong here, so
that only later stages can help it. So a grid of n stages becomes S grids of n − 1.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner, kernel
from .state import Best, Workspace, improves, note, worth

BLOCK = 64  # samples of a pair that are looked at together


@inner
def lay_out(w: Workspace, level: int) -> None:
    """Set the strides and tail offsets of a level's grid from its slots."""
    levels = w.levels
    walk = w.walk
    slots = levels.slots[level]
    inner = levels.inner[level]
    cells = levels.cells[level]
    d = len(slots)
    # The last stage lies innermost: one cell, and two counts (last model wrong, correct), per slot.
    inner[d - 1] = 2
    cells[d - 1] = 1
    for i in range(d - 1, 0, -1):
        inner[i - 1] = inner[i] * 2 * slots[i]
        cells[i - 1] = cells[i] * slots[i]
    # The strides are known; the tail of each stage follows that of the stage before.
    walk.correct_at[0] = 0
    walk.all_at[0] = 0
    for i in range(1, d):
        walk.correct_at[i] = walk.correct_at[i - 1] + slots[i - 1] * 2 * inner[i - 1]
        walk.all_at[i] = walk.all_at[i - 1] + slots[i - 1] * cells[i - 1]


@inner
def add(target: Array, source: Array) -> None:
    """target += source, in place: counts of one length."""
    for x in range(len(source)):
        target[x] += source[x]


@inner
def total(counts: Array) -> int:
    """The sum of counts."""
    n = 0
    for x in range(len(counts)):
        n += counts[x]
    return n


@inner
def add_correct(w: Workspace, level: int, i: int, slot: int, correct: int) -> None:
    """Add a slice of stage i (those correct, 1, or wrong, 0, there) to the tail of ``correct``."""
    walk = w.walk
    size = w.levels.inner[level, i]
    source = walk.correct_at[i] + (2 * slot + correct) * size
    target = walk.correct_at[i + 1]
    add(walk.correct[target : target + size], walk.correct[source : source + size])


@inner
def add_all(w: Workspace, level: int, i: int, slot: int) -> None:
    """Let a slice of stage i pass on: into the tail of all samples.

    Its samples that are correct at stage i no longer count there.
    """
    walk = w.walk
    size = w.levels.cells[level, i]
    source = walk.all_at[i] + slot * size
    target = walk.all_at[i + 1]
    add(walk.all[target : target + size], walk.all[source : source + size])
    walk.fixed[i] -= walk.ones[i, slot]
    walk.through[i] += walk.passing[i, slot]


@inner
def enter(w: Workspace, level: int, i: int, corners: bool) -> None:
    """Begin the walk over the slots of stage i: totals of every slice, an empty tail."""
    levels = w.levels
    walk = w.walk
    slots = levels.slots[level, i]
    size = levels.inner[level, i]
    cells = levels.cells[level, i]
    # As if everybody exited here: all that are correct here count, only settled samples pass on.
    walk.fixed[i] = walk.gain[i]
    walk.through[i] = levels.base[level, 1 + i]
    for slot in range(slots):
        at = walk.correct_at[i] + (2 * slot + 1) * size
        here = walk.all_at[i] + slot * cells
        walk.ones[i, slot] = total(walk.correct[at : at + size])
        walk.passing[i, slot] = total(walk.all[here : here + cells])
        walk.fixed[i] += walk.ones[i, slot]
    walk.correct[walk.correct_at[i + 1] : walk.correct_at[i + 1] + size] = 0
    walk.all[walk.all_at[i + 1] : walk.all_at[i + 1] + cells] = 0
    walk.j[i] = slots
    if not corners:
        # The last slot passes on in every box: the first step is to the last bin.
        walk.j[i] = slots - 1
        add_correct(w, level, i, slots - 1, 0)
        add_correct(w, level, i, slots - 1, 1)
        add_all(w, level, i, slots - 1)


@inner
def step(w: Workspace, level: int, i: int, corners: bool, costs: Array, k: int) -> None:
    """Move stage i to its next lower edge or bin; hand what gets past it to the next stage."""
    walk = w.walk
    slot = walk.j[i]
    if corners:
        # The slot at the edge passes on as a whole.
        add_correct(w, level, i, slot, 0)
        add_correct(w, level, i, slot, 1)
        add_all(w, level, i, slot)
    else:
        if slot < w.levels.slots[level, i] - 2:
            # The bin above is no longer undecided; its wrong samples have been handed on already.
            add_correct(w, level, i, slot + 1, 1)
            add_all(w, level, i, slot + 1)
        # Of the undecided bin only the samples that are wrong here can gain later.
        add_correct(w, level, i, slot, 0)
    # The tail is complete: the next stage starts from what is settled up to here.
    walk.gain[i + 1] = walk.fixed[i]
    walk.cost[i + 1] = walk.cost[i] + costs[i + 1] * (walk.through[i] / k)


@inner
def note_corner(w: Workspace, level: int, n: int, cost: float, cascade: int, best: Best) -> None:
    """Note the cascade at the present corner, in the boundaries of the whole search."""
    levels = w.levels
    walk = w.walk
    for i in range(len(walk.j)):
        walk.boundaries[i] = levels.maps[level, i, levels.edges[level, i, walk.j[i]]]
    note(best, n, cost, cascade, walk.boundaries, walk.through)


@inner
def last_stage(w: Workspace, level: int) -> tuple[Array, Array, int, int]:
    """(counts, samples, correct, passed) of the last stage with a threshold.

    counts: int32 [4 · slots], by slot and correctness (see ``correct``); samples: int32 [slots], by
    slot; correct, passed: the correct samples, and those that pass on, if all its slots exit.
    """
    walk = w.walk
    last = len(walk.j) - 1
    slots = w.levels.slots[level, last]
    n = walk.gain[last]
    at = walk.correct_at[last]
    here = walk.all_at[last]
    counts = walk.correct[at : at + 4 * slots]
    for slot in range(slots):
        # Of a slot's four counts those of samples that are correct at this stage.
        n += counts[4 * slot + 2] + counts[4 * slot + 3]
    return counts, walk.all[here : here + slots], n, w.levels.base[level, 1 + last]


@inner
def corner_row(w: Workspace, level: int, costs: Array, k: int, cascade: int, best: Best) -> None:
    """Every edge of the last stage, the earlier ones fixed.

    Cost rises along the way (see :func:`sweep_pair`).
    """
    walk = w.walk
    last = len(walk.j) - 1
    counts, passes, n, at = last_stage(w, level)
    for slot in range(len(passes) - 1, 0, -1):
        # The slot passes on: it gains what only the last model has, and loses what only it had.
        n += counts[4 * slot + 1] - counts[4 * slot + 2]
        at += passes[slot]
        cost = walk.cost[last] + costs[last + 1] * (at / k)
        if cost > best.reach[n]:
            continue
        # Nothing cheaper is known with n correct samples.
        walk.j[last] = slot
        walk.through[last] = at
        if improves(best, n, cost, cascade, walk.through):
            note_corner(w, level, n, cost, cascade, best)


@inner
def keep_box(w: Workspace, level: int, n: int) -> None:
    """Append the present box to those to be opened, unless its corners are all that it holds."""
    levels = w.levels
    walk = w.walk
    inside = False
    for i in range(len(walk.j)):
        edges = levels.edges[level, i]
        inside |= edges[walk.j[i] + 1] - edges[walk.j[i]] > 1
    if inside:
        # Some stage has a boundary between its two edges.
        b = levels.found[level]
        levels.state[level, b, 0] = n
        for i in range(len(walk.j)):
            levels.boxes[level, b, i] = walk.j[i]
            levels.state[level, b, 1 + i] = walk.through[i]
        levels.found[level] = b + 1


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
    """Every bin of the last stage, the earlier ones within theirs: keep what may hold better."""
    walk = w.walk
    last = len(walk.j) - 1
    counts, passes, n, at = last_stage(w, level)
    for slot in range(len(passes) - 1, 0, -1):
        # Optimism: the slot keeps its correct samples, and gains those of the last model alone.
        most = n + counts[4 * slot + 1]
        cost = walk.cost[last] + costs[last + 1] * (at / k)
        if slot < len(passes) - 1 and cost <= best.reach[most]:
            # A bin, and nothing cheaper is known with as many correct samples as it may have.
            walk.j[last] = slot
            walk.through[last] = at
            if worth(best, most, cost, cascade, walk.through, tolerance):
                keep_box(w, level, most)
        # For the bins below the slot passes on: what only this stage had is lost.
        n = most - counts[4 * slot + 2]
        at += passes[slot]


@inner
def walk(
    w: Workspace,
    level: int,
    corners: bool,
    costs: Array,
    k: int,
    cascade: int,
    best: Best,
    tolerance: Array,
) -> None:
    """Note every corner of a level's grid (``corners``), or list its boxes that may hold better."""
    walk = w.walk
    last = len(walk.j) - 1
    i = 0
    walk.gain[0] = w.levels.base[level, 0]
    walk.cost[0] = costs[0]
    if last > 0:
        enter(w, level, 0, corners)
    while i >= 0:
        if i == last:
            # All earlier stages have a slot: one row holds what the last stage can do.
            if corners:
                corner_row(w, level, costs, k, cascade, best)
            else:
                box_row(w, level, costs, k, cascade, best, tolerance)
            i -= 1
            continue
        walk.j[i] -= 1
        if walk.j[i] < 1:
            # The slots of this stage are done with.
            i -= 1
            continue
        step(w, level, i, corners, costs, k)
        i += 1
        if i < last:
            enter(w, level, i, corners)


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
    """Note every boundary of one pair, without a grid.

    order uint32 [k]: samples by falling confidence of model 1; group int32 [k] and correct_1 uint8
    [k]: of the samples in that order; correct_2 uint8 [k]: by sample. From always to never exiting,
    so that cost rises: then noting a cascade lowers ``reach`` only where nothing cheaper has been,
    and all of them together touch each n about once. A block of samples that can't gain enough is
    only counted.
    """
    k = len(order)
    n = np.int64(0)
    for p in range(k):
        n += correct_1[p]
    # n: correct samples if all exit.
    at = np.zeros(1, np.int64)
    boundary = np.array([group[k - 1] + 1])
    if improves(best, n, cost_1, cascade, at):
        note(best, n, cost_1, cascade, boundary, at)
    end = k
    while end > 0:
        start = max(end - BLOCK, 0)
        here = np.uint64(0)
        later = np.uint64(0)
        for p in range(np.uint64(start), np.uint64(end)):  # without a sign to check
            here += correct_1[p]
            later += correct_2[order[p]]
        correct_here = np.int64(here)
        # At most model 2 is correct wherever model 1 is not.
        most = n + end - start - correct_here
        if best.reach[most] < cost_1 + cost_2 * ((k - end + 1) / k):
            n += np.int64(later) - correct_here
            end = start
            continue
        for first in range(end - 1, start - 1, -1):
            # first: the first sample that passes on
            n += np.int64(correct_2[order[first]]) - np.int64(correct_1[first])
            cost = cost_1 + cost_2 * ((k - first) / k)
            if cost > best.reach[n] or (first > 0 and group[first] == group[first - 1]):
                continue
            # Nothing cheaper is known with n correct, and no tie is split.
            at[0] = k - first
            if improves(best, n, cost, cascade, at):
                boundary[0] = group[first]
                note(best, n, cost, cascade, boundary, at)
        end = start
