"""Branch and bound over boxes of thresholds, for cascades of any number of models.

The search is exact if it is not stopped early. :mod:`cascadelib.fronts.kernels.grid` defines
grids, bins, slots, corners and boxes. The search of a cascade starts with its root, a grid over all
boundaries of all stages (:func:`open_prefix`). The cascades at the corners of the grid are
recorded. Each box of the grid has an upper bound on the number of correct samples and a lower bound
on the cost. If a recorded cascade is at least as good as both bounds, the box is dropped. Every
other box is opened:

1. *Gather* the samples whose exit depends on thresholds within the box. These samples are *open*.
   All others are *settled*.
2. *Drop dominated boundaries*. If a boundary moves to a later one, the groups between the two exit
   at its stage, and the cascade costs less. The earlier boundary is dominated if this move never
   lowers the number of correct samples, whatever the other thresholds are.
3. *Divide* the remaining boundaries by a new, finer grid. If a bin has more than one group, open
   the boxes of this grid in the same way.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import entry, inner
from .bounds import cannot_improve, first_exit, gather_open
from .grid import set_strides, walk_grid
from .state import LEAST_BOXES, MOST_BOXES, Best, Workspace, copy, must_search


@inner
def sort_by_cell(w: Workspace, level: int, m: int, n_cells: int) -> None:
    """Compute the position after the last sample of each cell from the counts in ``by_slot``.

    The caller decrements these positions as it fills the cells, so they become the first positions.
    """
    end = 0
    for c in range(n_cells):
        end += w.walk.by_slot[c]
        w.levels.start[level, c] = end
    w.levels.start[level, n_cells] = m


@inner
def set_grid(w: Workspace, level: int, most_bins: int) -> None:
    """Divide each stage's groups into at most `most_bins` bins of equal size."""
    levels = w.levels
    for i in range(len(w.walk.slot)):
        top = levels.last_boundary[level, i]
        width = max((top + most_bins - 1) // most_bins, 1)
        bins = max((top + width - 1) // width, 1)
        levels.slots[level, i] = 2 + bins
        for j in range(bins + 1):
            levels.edges[level, i, 1 + j] = min(j * width, top)
    set_strides(w, level)


@inner
def bound_multi_stage_gains(w: Workspace, level: int) -> None:
    """Add lower bounds on the gains of the samples that are open at several stages to ``gains``.

    A gain is a change of the number of correct samples.
    """
    box = w.box
    for x in range(box.n_multi_open[0]):
        s = box.multi_open[x]
        exits = box.multi_exits[x]
        bits = w.levels.bits[level, s]
        first = first_exit(exits)
        most = 0  # 1 if the sample is correct at a later stage at which it may exit
        for i in range(len(w.walk.slot), first - 1, -1):
            if (exits >> i) & 1:
                correct = (bits >> i) & 1
                if i == first or correct < most:
                    # This is the least gain if the sample exits at stage i. After stage ``first``,
                    # only losses are added, and gains count as 0.
                    g = w.levels.group[level, i, s] - box.first_group[i]
                    box.gains[i, g] += correct - most
                most |= correct


@inner
def drop_dominated(w: Workspace, level: int, i: int) -> None:
    """Drop the dominated boundaries of stage i, and number the others from 0.

    The new number of each boundary and of each group is written to ``w.box.new_number``.
    """
    levels = w.levels
    box = w.box
    n_groups = box.n_groups[i]
    low = box.first_group[i]
    gains = box.gains[i]
    new_number = box.new_number[i]
    gain = 0
    least = 0
    new_number[n_groups] = 1
    for e in range(n_groups - 1, -1, -1):
        gain += gains[e]
        # ``gain`` is a lower bound on the gain if groups e, e + 1, … all exit. Boundary e is kept
        # only if this bound is less than that of every later boundary. Otherwise a later boundary
        # costs less and has at least as many correct samples.
        new_number[e] = gain < least
        least = min(least, gain)
    # Number the kept boundaries. Group e gets the number of the last kept boundary up to e.
    new = -1
    for e in range(n_groups + 1):
        if new_number[e]:
            new += 1
            levels.boundary_of[level + 1, i, new] = levels.boundary_of[level, i, low + e]
        new_number[e] = new
    levels.last_boundary[level + 1, i] = new


@inner
def most_bins_for(top: Array, budget: int) -> int:
    """Return the largest number of bins per stage for a grid of about `budget` boxes.

    `top`, int64 (d,), is the last boundary of each stage. A stage has at most as many bins as this.
    """
    bins = 0
    boxes = 0
    full = False
    while not full and (boxes <= budget or bins < 2):
        bins += 1
        boxes = 1
        full = True
        for i in range(len(top)):
            # ``boxes`` is the number of boxes of a grid with bins + 1 bins per stage.
            boxes *= min(max(top[i], 1), bins + 1)
            full &= top[i] <= bins
    return bins


@inner
def count_in_grid(w: Workspace, level: int, m: int) -> None:
    """Count the m gathered samples by their slots in the new grid, and store the cell of each."""
    levels = w.levels
    walk = w.walk
    box = w.box
    d = len(walk.slot)
    below = level + 1
    slots = levels.slots[below]
    correct_stride = levels.correct_stride[below]
    slot_stride = levels.slot_stride[below]
    walk.by_correctness[: 2 * correct_stride[0] * slots[0]] = 0
    walk.by_slot[: slot_stride[0] * slots[0]] = 0
    for i in range(d):
        # A group before the first kept boundary exits at every edge, so its slot is 0.
        slot = 0
        box.slot_of[i, 0] = 0
        for g in range(box.n_groups[i]):
            while levels.edges[below, i, slot + 1] <= box.new_number[i, g]:
                slot += 1
            box.slot_of[i, g + 1] = slot
        box.slot_of[i, box.n_groups[i] + 1] = slots[i] - 1
    # Count each sample once, by its slots and correctness.
    gathered = box.gathered
    cell = box.cell
    index = box.index
    bits = levels.bits[level]
    for x in range(m):
        index[x] = bits[gathered[x]] >> d
        cell[x] = 0
    for i in range(d):
        group = levels.group[level, i]
        slot_of = box.slot_of[i]
        before = np.int32(box.first_group[i] - 1)
        after = np.int32(box.n_groups[i] + 1)
        half = np.int32(correct_stride[i])
        stride = np.int32(slot_stride[i])
        for x in range(m):
            s = gathered[x]
            slot = slot_of[min(max(group[s] - before, 0), after)]
            index[x] += (2 * slot + ((bits[s] >> i) & 1)) * half
            cell[x] += slot * stride
    by_correctness = walk.by_correctness
    by_slot = walk.by_slot
    for x in range(m):
        by_correctness[index[x]] += 1
        by_slot[cell[x]] += 1


@inner
def copy_to_next_level(w: Workspace, level: int, m: int) -> None:
    """Copy the m gathered samples to the next level, sorted by cell, with their new groups."""
    levels = w.levels
    box = w.box
    d = len(w.walk.slot)
    below = level + 1
    sort_by_cell(w, below, m, levels.slot_stride[below, 0] * levels.slots[below, 0])
    gathered = box.gathered
    cell = box.cell
    index = box.index
    start = levels.start[below]
    bits = levels.bits[level]
    bits_below = levels.bits[below]
    for x in range(m - 1, -1, -1):
        start[cell[x]] -= 1
        # index[x] is now the position of the sample on the next level.
        index[x] = start[cell[x]]
        bits_below[index[x]] = bits[gathered[x]]
    for i in range(d):
        group = levels.group[level, i]
        group_below = levels.group[below, i]
        new_number = box.new_number[i]
        low = np.int32(box.first_group[i])
        n_groups = np.int32(box.n_groups[i])
        for x in range(m):
            g = group[gathered[x]] - low
            new = new_number[min(max(g, 0), n_groups)]
            group_below[index[x]] = -1 if g < 0 else new


@inner
def open_box(
    w: Workspace,
    level: int,
    b: int,
    costs: Array,
    k: int,
    best: Best,
    tolerance: Array,
) -> int:
    """Build the next level of the search from box `b` of a level.

    Returns
    -------
    int
        0 if no cascade of the box can improve the front. 1 if the corners of its new grid are all
        of its cascades. 2 if the grid also has boxes to search.
    """
    levels = w.levels
    box = w.box
    d = len(w.walk.slot)
    below = level + 1
    for i in range(d):
        slot = levels.boxes[level, b, i]
        box.first_group[i] = levels.edges[level, i, slot]
        n_groups = levels.edges[level, i, slot + 1] - box.first_group[i]
        box.n_groups[i] = n_groups
        box.gains[i, :n_groups] = 0
        box.saved[i, :n_groups] = 0
    copy(levels.settled[below], levels.bounds[level, b], 1 + d)
    m = gather_open(w, level, levels.boxes[level, b])
    # Open and settled samples are now separate, so the sharper bound can be computed.
    if cannot_improve(w, level, b, costs, k, best, tolerance):
        return 0
    # A cascade of the box may improve the front. The new grid has all boundaries that are not
    # dominated.
    bound_multi_stage_gains(w, level)
    for i in range(d):
        drop_dominated(w, level, i)
    room = len(w.walk.by_slot) // (2 * 3 ** (d - 1)) - 2
    budget = min(max(m // 4, LEAST_BOXES), MOST_BOXES, room)
    set_grid(w, below, most_bins_for(levels.last_boundary[below], budget))
    count_in_grid(w, level, m)
    levels.n_boxes[below] = 0
    levels.n_processed[below] = 0
    more = False
    for i in range(d):
        more |= levels.slots[below, i] - 2 < levels.last_boundary[below, i]
    if more:
        # A bin has boundaries inside, so the next level needs the samples.
        copy_to_next_level(w, level, m)
    return 1 + more


@entry
def search_boxes(
    w: Workspace, costs: Array, k: int, cascade: int, best: Best, tolerance: Array
) -> None:
    """Search the boxes of the root, depth first, until no box may improve the front."""
    levels = w.levels
    box = w.box
    level = 0
    box.price[0] = 0.0
    for i in range(len(w.walk.slot)):
        box.price[i + 1] = box.price[i] + costs[i + 1] / k
    while level >= 0:
        b = levels.n_processed[level]
        if b == levels.n_boxes[level]:
            # All boxes of this level are done.
            level -= 1
            continue
        levels.n_processed[level] = b + 1
        cost = costs[0]
        for i in range(len(w.walk.slot)):
            cost += costs[1 + i] * (levels.bounds[level, b, 1 + i] / k)
        # ``cost`` is a lower bound for the box. A cascade that is as good may have been recorded
        # since the box was listed.
        if not must_search(
            best,
            levels.bounds[level, b, 0],
            cost,
            cascade,
            levels.bounds[level, b, 1:],
            tolerance,
        ):
            continue
        kind = open_box(w, level, b, costs, k, best, tolerance)
        if kind == 0:
            continue
        # Record the corners of the next level. Its boxes are searched before the other boxes of
        # this level.
        for corners in (True, False):
            if corners or kind == 2:
                walk_grid(w, level + 1, corners, costs, k, cascade, best, tolerance)
        level += kind == 2


@entry
def open_prefix(w: Workspace) -> None:
    """Prepare the root for all cascades that differ only in their last model.

    :meth:`cascadelib.fronts.cascades.RootStage.write_to` must have written each stage to ``w``.
    """
    levels = w.levels
    root = w.root
    d, k = root.code.shape
    set_strides(w, np.int64(0))
    index = root.index
    index[:] = 0
    for i in range(d):
        # These counts are not divided by the correctness of the last model, so the stride is half
        # that of ``walk.by_correctness``.
        stride = np.int32(levels.correct_stride[0, i] // 2)
        code = root.code[i]
        for s in range(k):
            index[s] += code[s] * stride
    # Count samples by slot and correctness.
    size = levels.correct_stride[0, 0] * levels.slots[0, 0]
    by_correctness = root.by_correctness
    by_correctness[:size] = 0
    for s in range(k):
        by_correctness[index[s]] += 1
    # Count samples by slot only: add the counts of wrong and correct samples, from the last stage
    # to the first.
    counts = w.walk.by_correctness
    copy(counts, by_correctness, size)
    for i in range(d - 1, -1, -1):
        block = levels.slot_stride[0, i]
        size //= 2
        for x in range(size // block):
            for y in range(block):
                counts[x * block + y] = counts[2 * x * block + y] + counts[(2 * x + 1) * block + y]
    copy(root.by_slot, counts, size)
    root.is_ordered[0] = 0


@inner
def sort_root(w: Workspace) -> None:
    """Sort the samples by cell of the root's grid, so that its boxes can be opened."""
    levels = w.levels
    box = w.box
    root = w.root
    d, k = root.code.shape
    n_cells = levels.slot_stride[0, 0] * levels.slots[0, 0]
    root.is_ordered[0] = 1
    cell = box.cell
    cell[:] = 0
    for i in range(d):
        stride = np.int32(levels.slot_stride[0, i])
        code = root.code[i]
        for s in range(k):
            cell[s] += (code[s] >> 1) * stride
    copy(w.walk.by_slot, root.by_slot, n_cells)
    sort_by_cell(w, 0, k, n_cells)
    # Fill each cell from its end, from the last sample to the first.
    for s in range(k - 1, -1, -1):
        levels.start[0, box.cell[s]] -= 1
        x = levels.start[0, box.cell[s]]
        root.order[x] = s
        root.position[s] = x
    for x in range(k):
        root.bits[x] = 1 << d
    for i in range(d):
        code = root.code[i]
        number = root.number[i]
        group = levels.group[0, i]
        for x in range(k):
            s = root.order[x]
            group[x] = number[s]
            root.bits[x] |= np.int32(code[s] & 1) << i


@entry
def search_root(
    w: Workspace,
    wrong: Array,
    costs: Array,
    cascade: int,
    best: Best,
    tolerance: Array,
) -> None:
    """Search one cascade, after :func:`open_prefix` prepared its root.

    Parameters
    ----------
    w : Workspace
        Arrays of the thread.
    wrong : int32 array
        Samples on which the last model is wrong.
    costs : float64 array of shape (n,)
        Costs of the models.
    cascade : int
        Number of the cascade.
    best : Best
        The best cascades so far. It is updated.
    tolerance : float64 array of shape (k + 1,)
        See :func:`cascadelib.fronts.kernels.state.is_skipped`.
    """
    levels = w.levels
    root = w.root
    d, k = root.code.shape
    set_strides(w, np.int64(0))
    half = levels.correct_stride[0, 0] * levels.slots[0, 0]
    n_cells = levels.slot_stride[0, 0] * levels.slots[0, 0]
    counts = w.walk.by_correctness
    by_correctness = root.by_correctness
    # First count the last model as correct on all samples. Then move the samples on which it is
    # wrong.
    for x in range(half):
        counts[2 * x] = 0
        counts[2 * x + 1] = by_correctness[x]
    index = root.index
    for x in range(len(wrong)):
        at = 2 * index[wrong[x]]
        counts[at] += 1
        counts[at + 1] -= 1
    copy(w.walk.by_slot, root.by_slot, n_cells)
    levels.settled[0, :] = 0
    levels.n_boxes[0] = 0
    levels.n_processed[0] = 0
    for corners in (True, False):
        walk_grid(w, np.int64(0), corners, costs, k, cascade, best, tolerance)
    if levels.n_boxes[0] > 0:
        # The boxes need the samples sorted by cell, and the correctness of all models.
        if root.is_ordered[0] == 0:
            sort_root(w)
        bits = levels.bits[0]
        copy(bits, root.bits, k)
        for x in range(len(wrong)):
            bits[root.position[wrong[x]]] ^= 1 << d
        search_boxes(w, costs, k, cascade, best, tolerance)
