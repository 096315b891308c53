"""Branch and bound over boxes of thresholds, for cascades of any number of models.

The search is exact if it runs to the end. The root of a cascade (:func:`open_head`) is a grid over
all its boundaries. The corners are recorded. A box is dropped if its largest number of correct
samples is already reached at no more than its least cost. Every other box is opened:

1. *Gather* the samples whose exit depends on thresholds within the box. All others are settled.
2. *Drop useless boundaries*. Moving a boundary past some groups makes the cascade cheaper. If the
   move cannot lose a correct sample (in the sum over these groups, for all other thresholds), the
   boundary before these groups is dominated.
3. Lay a new, finer grid over the remaining boundaries, and open its boxes, if a bin has more than
   one group.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import inner, kernel
from .bounds import cannot_improve, gather_open
from .grid import lay_out, walk_grid
from .state import LEAST_BOXES, MOST_BOXES, Best, Workspace, copy, must_search


@inner
def sort_by_cell(w: Workspace, level: int, m: int, n_cells: int) -> None:
    """Turn counts per cell (in ``all``) into the end of each cell's samples.

    Filling the cells backwards turns these ends into starts.
    """
    running = 0
    for c in range(n_cells):
        running += w.walk.all[c]
        w.levels.start[level, c] = running
    w.levels.start[level, n_cells] = m


@inner
def set_grid(w: Workspace, level: int, most_bins: int) -> None:
    """Divide each stage's boundaries into at most `most_bins` bins of equal numbers of groups."""
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
    """Add to ``gains`` the least gain of exits of samples that are open at several stages."""
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
        # The first open stage is ``first``. The sample exits at ``end`` at the latest.
        most = (bits >> end) & 1
        for i in range(end - 1, first - 1, -1):
            # most: whether it is correct at a stage after i that it may reach.
            g = levels.group[level, i, s] - box.low[i]
            if g < box.span[i]:
                correct = (bits >> i) & 1
                if i == first or correct < most:
                    # The least gain of an exit here. Later stages count losses only.
                    box.gains[i, g] += correct - most
                most |= correct


@inner
def drop_useless(w: Workspace, level: int, i: int) -> None:
    """Renumber the boundaries of stage i that can matter.

    ``w.box.label`` gets the new groups of the samples.
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
        # gain: the least gain if the groups from e on exit. A boundary matters only if this gain is
        # less than from all later boundaries. Otherwise one of those is cheaper and no worse.
        label[e] = gain < least
        least = min(least, gain)
    # Number the marked boundaries, and each group by the boundary at or before it.
    new = -1
    for e in range(span + 1):
        if label[e]:
            new += 1
            levels.maps[level + 1, i, new] = levels.maps[level, i, low + e]
        label[e] = new
    levels.top[level + 1, i] = new


@inner
def most_bins_for(top: Array, budget: int) -> int:
    """Return the largest number of bins per stage that keeps a grid within about `budget` boxes.

    `top` int64 (d,) has the last boundary of each stage, which may need fewer bins.
    """
    bins = 0
    boxes = 0
    full = False
    while not full and (boxes <= budget or bins < 2):
        bins += 1
        boxes = 1
        full = True
        for i in range(len(top)):
            # boxes: their number with one more bin per stage.
            boxes *= min(max(top[i], 1), bins + 1)
            full &= top[i] <= bins
    return bins


@inner
def count_by_slot(w: Workspace, level: int, m: int) -> None:
    """Count the gathered samples by slot of the new grid, and store the cell of each."""
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
        # A group before the first kept boundary exits at every edge, so its slot is 0.
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
    """Copy the gathered samples to the next level, in its cells' order, with their new groups."""
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
        # the sample's place on the next level
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
    """Make a box the next level of the search.

    Returns
    -------
    int
        0 if the box cannot improve, 1 if the corners of its grid cover it, 2 if there are boxes.
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
    # With open and settled samples separated, the sharp bound applies.
    if cannot_improve(w, level, b, costs, k, best, tolerance):
        return 0
    # The box may improve. Its grid covers the boundaries that can matter.
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
        # A bin has boundaries inside, so its box needs the samples.
        carry_over(w, level, m)
    return 1 + more


@kernel(_nrt=False, inline="always")
def search_boxes(
    w: Workspace, costs: Array, k: int, cascade: int, best: Best, tolerance: Array
) -> None:
    """Open the root's boxes, depth first and cheapest first, until none may improve."""
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
        # cost: the least cost in the box. An equally good cascade may have been found since.
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
        # Record the corners of the next level. Its boxes come before those of this level.
        walk_grid(w, level + 1, True, costs, k, cascade, best, tolerance)
        if kind == 2:
            walk_grid(w, level + 1, False, costs, k, cascade, best, tolerance)
            level += 1


@kernel(_nrt=False)
def open_head(w: Workspace) -> None:
    """Prepare the root of all cascades of a head.

    Each stage was entered by :meth:`cascadelib.fronts.cascades.RootStage.write_to`.
    """
    levels = w.levels
    root = w.root
    d, k = root.code.shape
    lay_out(w, 0)
    index = root.index
    index[:] = 0
    for i in range(d):
        # Without the last model, whose correctness is the innermost bit.
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
    # Count them by slot: remove the correctness of one stage after another, the last first.
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
    """Sort the samples of an opened head by its cells, so that boxes can be opened."""
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
    # Place the samples at the end of each cell, from the last one backwards.
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
    """Search one cascade of an opened head, see :func:`open_head`.

    Parameters
    ----------
    w : Workspace
        Arrays of the thread.
    wrong : int32 array
        Samples that the last model has wrong.
    costs : float64 array of shape (n,)
        Costs of the models.
    cascade : int
        Number of the cascade.
    best : Best
        Where cascades are recorded.
    tolerance : float64 array of shape (k + 1,)
        See :func:`cascadelib.fronts.kernels.state.must_search`.
    corners : bool
        Whether the corners of the root are recorded, which start the pruning.
    boxes : bool
        Whether all other thresholds are searched.
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
    # Start with a last model that is always correct, and move the samples that it has wrong.
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
        # A box may improve. Its samples need their order, and the correctness of all models.
        if root.ordered[0] == 0:
            order_root(w)
        bits = levels.bits[0]
        copy(bits, root.bits, k)
        for x in range(len(wrong)):
            bits[root.place[wrong[x]]] ^= 1 << d
        search_boxes(w, costs, k, cascade, best, tolerance)
