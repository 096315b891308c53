"""Branch and bound over boxes of thresholds, for cascades of any number of models.

The search is exact if it runs to the end. :mod:`cascadelib.fronts.kernels.grid` defines boundaries,
grids, bins, slots, corners and boxes. The search of a cascade starts with its root, a grid over all
boundaries of all stages (:func:`open_prefix`). The cascades at the corners of the grid are
recorded. Each box of the grid has an upper bound on the number of correct samples and a lower bound
on the cost. If a recorded cascade is at least as good as both bounds, the box is dropped. Every
other box is opened:

1. *Gather* the samples whose exit depends on thresholds within the box. These samples are *open*.
   All others are *settled*.
2. *Drop useless boundaries*. If a boundary moves past some groups, these groups exit at its stage,
   so the cascade costs less. The boundary before the groups is dominated if this move never lowers
   the number of correct samples, whatever the other thresholds are.
3. Divide the remaining boundaries by a new, finer grid. If a bin has more than one group, open the
   boxes of this grid in the same way.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner, kernel
from .bounds import cannot_improve, gather_open
from .grid import lay_out, walk_grid
from .state import LEAST_BOXES, MOST_BOXES, Best, Workspace, copy, must_search


@inner
def sort_by_cell(w: Workspace, level: int, m: int, n_cells: int) -> None:
    """Compute the position after the last sample of each cell from the counts in ``all``.

    The caller decrements these positions as it fills the cells, so they become the first positions.
    """
    running = 0
    for c in range(n_cells):
        running += w.walk.all[c]
        w.levels.start[level, c] = running
    w.levels.start[level, n_cells] = m


@inner
def set_grid(w: Workspace, level: int, most_bins: int) -> None:
    """Divide each stage's groups into at most `most_bins` bins of equal size."""
    levels = w.levels
    for i in range(len(w.walk.j)):
        top = levels.top[level, i]
        width = max((top + most_bins - 1) // most_bins, 1)
        bins = max((top + width - 1) // width, 1)
        levels.slots[level, i] = 2 + bins
        for j in range(bins + 1):
            levels.edges[level, i, 1 + j] = min(j * width, top)
    lay_out(w, level)


@inner
def assess_several(w: Workspace, level: int, several: int) -> None:
    """Add lower bounds on the gains of the samples that are open at several stages to ``gains``.

    A gain is a change of the number of correct samples.
    """
    levels = w.levels
    box = w.box
    d = len(w.walk.j)
    for x in range(several):
        s = box.several[x]
        bits = levels.bits[level, s]
        end = d
        first = d
        for i in range(d):
            g = levels.group[level, i, s] - box.low[i]
            if g < 0:
                end = i
                break
            if first == d and g < box.span[i]:
                first = i
        # ``first`` is the first stage at which the sample is open. ``end`` is the last at which it
        # may exit.
        most = (bits >> end) & 1
        for i in range(end - 1, first - 1, -1):
            # most: 1 if the sample is correct at a stage after i that it may reach, else 0.
            g = levels.group[level, i, s] - box.low[i]
            if g < box.span[i]:
                correct = (bits >> i) & 1
                if i == first or correct < most:
                    # The least gain if the sample exits at stage i. At later stages than ``first``,
                    # gains count as 0, and only losses are added.
                    box.gains[i, g] += correct - most
                most |= correct


@inner
def drop_useless(w: Workspace, level: int, i: int) -> None:
    """Drop the dominated boundaries of stage i, and number the others from 0.

    The new number of each boundary and of each group is written to ``w.box.label``.
    """
    levels = w.levels
    box = w.box
    span = box.span[i]
    low = box.low[i]
    gains = box.gains[i]
    label = box.label[i]
    gain = 0
    least = 0
    label[span] = 1
    for e in range(span - 1, -1, -1):
        gain += gains[e]
        # gain: a lower bound on the gain if groups e, e + 1, … all exit. Boundary e stays only if
        # this bound is less than that of every later boundary. Otherwise a later boundary costs
        # less and has at least as many correct samples.
        label[e] = gain < least
        least = min(least, gain)
    # Number the boundaries that stay. Group e gets the number of the last of them that is at most
    # e.
    new = -1
    for e in range(span + 1):
        if label[e]:
            new += 1
            levels.maps[level + 1, i, new] = levels.maps[level, i, low + e]
        label[e] = new
    levels.top[level + 1, i] = new


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
            # boxes: the number of boxes of a grid with bins + 1 bins per stage.
            boxes *= min(max(top[i], 1), bins + 1)
            full &= top[i] <= bins
    return bins


@inner
def count_by_slot(w: Workspace, level: int, m: int) -> None:
    """Count the gathered samples by their slots in the new grid, and store the cell of each."""
    levels = w.levels
    walk = w.walk
    box = w.box
    d = len(walk.j)
    up = level + 1
    slots = levels.slots[up]
    inner = levels.inner[up]
    cells = levels.cells[up]
    walk.correct[: 2 * inner[0] * slots[0]] = 0
    walk.all[: cells[0] * slots[0]] = 0
    for i in range(d):
        # A group before the first remaining boundary exits at every edge, so its slot is 0.
        slot = 0
        box.slot_of[i, 0] = 0
        for g in range(box.span[i]):
            while levels.edges[up, i, slot + 1] <= box.label[i, g]:
                slot += 1
            box.slot_of[i, g + 1] = slot
        box.slot_of[i, box.span[i] + 1] = slots[i] - 1
    # Count each sample once, by its slots and correctness.
    kept = box.kept
    cell = box.cell
    at = box.at
    bits = levels.bits[level]
    for x in range(m):
        at[x] = bits[kept[x]] >> d
        cell[x] = 0
    for i in range(d):
        group = levels.group[level, i]
        slot_of = box.slot_of[i]
        before = np.int32(box.low[i] - 1)
        after = np.int32(box.span[i] + 1)
        half = np.int32(inner[i])
        stride = np.int32(cells[i])
        for x in range(m):
            s = kept[x]
            slot = slot_of[min(max(group[s] - before, 0), after)]
            at[x] += (2 * slot + ((bits[s] >> i) & 1)) * half
            cell[x] += slot * stride
    correct = walk.correct
    every = walk.all
    for x in range(m):
        correct[at[x]] += 1
        every[cell[x]] += 1


@inner
def carry_over(w: Workspace, level: int, m: int) -> None:
    """Copy the gathered samples to the next level, sorted by cell, with their new groups."""
    levels = w.levels
    box = w.box
    d = len(w.walk.j)
    up = level + 1
    sort_by_cell(w, up, m, levels.cells[up, 0] * levels.slots[up, 0])
    kept = box.kept
    cell = box.cell
    at = box.at
    start = levels.start[up]
    bits = levels.bits[level]
    bits_up = levels.bits[up]
    for x in range(m - 1, -1, -1):
        start[cell[x]] -= 1
        # at[x] is the position of the sample on the next level.
        at[x] = start[cell[x]]
        bits_up[at[x]] = bits[kept[x]]
    for i in range(d):
        group = levels.group[level, i]
        group_up = levels.group[up, i]
        label = box.label[i]
        low = np.int32(box.low[i])
        span = np.int32(box.span[i])
        for x in range(m):
            g = group[kept[x]] - low
            new = label[min(max(g, 0), span)]
            group_up[at[x]] = -1 if g < 0 else new


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
    """Build the next level of the search from a box.

    Returns
    -------
    int
        0 if no cascade of the box can improve the front. 1 if the corners of its new grid are all
        its cascades. 2 if the grid also has boxes to search.
    """
    levels = w.levels
    box = w.box
    d = len(w.walk.j)
    up = level + 1
    for i in range(d):
        slot = levels.boxes[level, b, i]
        box.low[i] = levels.edges[level, i, slot]
        span = levels.edges[level, i, slot + 1] - box.low[i]
        box.span[i] = span
        box.gains[i, :span] = 0
        box.saved[i, :span] = 0
    copy(levels.base[up], levels.state[level, b], 1 + d)
    m = gather_open(w, level, levels.boxes[level, b])
    # The open samples are now separate from the settled ones, as the sharper bound requires.
    if cannot_improve(w, level, b, costs, k, best, tolerance):
        return 0
    # A cascade of the box may improve the front. The new grid covers all boundaries that are not
    # dominated.
    assess_several(w, level, box.several_count[0])
    for i in range(d):
        drop_useless(w, level, i)
    room = len(w.walk.all) // (2 * 3 ** (d - 1)) - 2
    budget = min(max(m // 4, LEAST_BOXES), MOST_BOXES, room)
    set_grid(w, up, most_bins_for(levels.top[up], budget))
    count_by_slot(w, level, m)
    levels.found[up] = 0
    levels.opened[up] = 0
    more = False
    for i in range(d):
        more |= levels.slots[up, i] - 2 < levels.top[up, i]
    if more:
        # A bin has boundaries inside, so the search of its boxes needs the samples.
        carry_over(w, level, m)
    return 1 + more


@kernel(_nrt=False, inline="always")
def search_boxes(
    w: Workspace, costs: Array, k: int, cascade: int, best: Best, tolerance: Array
) -> None:
    """Search the boxes of the root, depth first and cheapest first, until none may improve."""
    levels = w.levels
    box = w.box
    level = 0
    box.price[0] = 0.0
    for i in range(len(w.walk.j)):
        box.price[i + 1] = box.price[i] + costs[i + 1] / k
    while level >= 0:
        b = levels.opened[level]
        if b == levels.found[level]:
            # All boxes of this level are done.
            level -= 1
            continue
        levels.opened[level] = b + 1
        cost = costs[0]
        for i in range(len(w.walk.j)):
            cost += costs[1 + i] * (levels.state[level, b, 1 + i] / k)
        # cost: a lower bound for the box. Since the box was listed, a cascade may have been found
        # that is as good.
        if not must_search(
            best,
            levels.state[level, b, 0],
            cost,
            cascade,
            levels.state[level, b, 1:],
            tolerance,
        ):
            continue
        kind = open_box(w, level, b, costs, k, best, tolerance)
        if kind == 0:
            continue
        # Record the corners of the next level. Its boxes are searched before the rest of this
        # level.
        walk_grid(w, level + 1, True, costs, k, cascade, best, tolerance)
        if kind == 2:
            walk_grid(w, level + 1, False, costs, k, cascade, best, tolerance)
            level += 1


@kernel(_nrt=False)
def open_prefix(w: Workspace) -> None:
    """Prepare the root that all cascades with the same prefix share.

    A prefix is a cascade without its last model. Each of its stages must have been written to ``w``
    by :meth:`cascadelib.fronts.cascades.RootStage.write_to`.
    """
    levels = w.levels
    root = w.root
    d, k = root.code.shape
    lay_out(w, 0)
    index = root.index
    index[:] = 0
    for i in range(d):
        # Half the stride of ``correct``, since these counts are not divided by the last model's
        # correctness.
        stride = np.int32(levels.inner[0, i] // 2)
        code = root.code[i]
        for s in range(k):
            index[s] += code[s] * stride
    # Count samples by slot and correctness.
    size = levels.inner[0, 0] * levels.slots[0, 0]
    correct = root.correct
    correct[:size] = 0
    for s in range(k):
        correct[index[s]] += 1
    # Count samples by slot alone: add the counts of wrong and correct samples, the last stage
    # first.
    counts = w.walk.correct
    copy(counts, correct, size)
    for i in range(d - 1, -1, -1):
        block = levels.cells[0, i]
        size //= 2
        for x in range(size // block):
            for y in range(block):
                counts[x * block + y] = counts[2 * x * block + y] + counts[(2 * x + 1) * block + y]
    copy(root.all, counts, size)
    root.ordered[0] = 0


@inner
def order_root(w: Workspace) -> None:
    """Sort the samples by cell of the root's grid, so that its boxes can be opened."""
    levels = w.levels
    box = w.box
    root = w.root
    d, k = root.code.shape
    n_cells = levels.cells[0, 0] * levels.slots[0, 0]
    root.ordered[0] = 1
    cell = box.cell
    cell[:] = 0
    for i in range(d):
        cells = np.int32(levels.cells[0, i])
        code = root.code[i]
        for s in range(k):
            cell[s] += (code[s] >> 1) * cells
    copy(w.walk.all, root.all, n_cells)
    sort_by_cell(w, 0, k, n_cells)
    # Fill each cell from its end, from the last sample to the first.
    for s in range(k - 1, -1, -1):
        levels.start[0, box.cell[s]] -= 1
        x = levels.start[0, box.cell[s]]
        root.order[x] = s
        root.place[s] = x
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


@kernel(_nrt=False)
def search_root(
    w: Workspace,
    wrong: Array,
    costs: Array,
    cascade: int,
    best: Best,
    tolerance: Array,
    corners: bool,
    boxes: bool,
) -> None:
    """Search one cascade of an opened prefix, see :func:`open_prefix`.

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
        See :func:`cascadelib.fronts.kernels.state.must_search`.
    corners : bool
        Whether to record the corners of the root. Boxes are then pruned by comparison with them.
    boxes : bool
        Whether to search all other thresholds.
    """
    levels = w.levels
    root = w.root
    d, k = root.code.shape
    lay_out(w, 0)
    half = levels.inner[0, 0] * levels.slots[0, 0]
    n_cells = levels.cells[0, 0] * levels.slots[0, 0]
    counts = w.walk.correct
    either = root.correct
    for x in range(half):
        counts[2 * x] = 0
        counts[2 * x + 1] = either[x]
    # Count the last model as correct on all samples, and then move the samples on which it is
    # wrong.
    index = root.index
    for x in range(len(wrong)):
        at = 2 * index[wrong[x]]
        counts[at] += 1
        counts[at + 1] -= 1
    copy(w.walk.all, root.all, n_cells)
    levels.base[0, :] = 0
    levels.found[0] = 0
    levels.opened[0] = 0
    if corners:
        walk_grid(w, 0, True, costs, k, cascade, best, tolerance)
    if boxes:
        walk_grid(w, 0, False, costs, k, cascade, best, tolerance)
    if levels.found[0] > 0:
        # The search of boxes needs the samples in the order of cells, and the correctness of all
        # models.
        if root.ordered[0] == 0:
            order_root(w)
        bits = levels.bits[0]
        copy(bits, root.bits, k)
        for x in range(len(wrong)):
            bits[root.place[wrong[x]]] ^= 1 << d
        search_boxes(w, costs, k, cascade, best, tolerance)
