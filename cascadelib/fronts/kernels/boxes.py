"""Branch and bound over boxes of thresholds, for cascades of any number of models (exact when it runs to the end).

The root of a cascade (:func:`open_head`) is a grid over all its boundaries. Its corners are noted; a box whose
optimistic accuracy is already reached at no more than its least cost holds nothing new; every other box is opened:

1. *Gather* the samples whose exit still depends on thresholds within the box; all others are settled.
2. *Drop useless boundaries*: moving a boundary past some groups makes the cascade cheaper. Where it also cannot cost
   a correct sample (summed over these groups, whatever the other thresholds), the boundary before them is dominated.
3. Lay a new, finer grid over what is left, and go on with its boxes, if a bin has more than one group.
"""

import numpy as np

from ..._kernels import inner, kernel
from .bounds import gather, nothing_new
from .grid import lay_out, walk
from .state import LEAST_BOXES, MOST_BOXES, copy, worth


@inner
def sort_by_cell(w, level, m, n_cells):
    """Turn counts a cell (in ``all``) into where its samples end; filling backwards makes them where they start."""
    running = 0
    for c in range(n_cells):
        running += w.walk.all[c]
        w.levels.start[level, c] = running
    w.levels.start[level, n_cells] = m


@inner
def set_grid(w, level, most_bins):
    """Cut each stage's boundaries into at most ``most_bins`` bins of equal numbers of groups."""
    for i in range(len(w.walk.j)):
        top = w.levels.top[level, i]
        width = max((top + most_bins - 1) // most_bins, 1)
        w.levels.width[level, i] = width
        w.levels.slots[level, i] = 2 + max((top + width - 1) // width, 1)
    lay_out(w, level)


@inner
def assess_several(w, level, several):
    """Add to ``w.box.gains`` the least that exits gain among the samples open at several stages."""
    d = len(w.walk.j)
    for x in range(several):
        s = w.box.several[x]
        bits, end, first = w.levels.bits[level, s], d, d
        for i in range(d):
            g = w.levels.group[level, i, s] - w.box.low[i]
            if g < 0:
                end = i
                break
            if first == d and g < w.box.span[i]:
                first = i
        most = (bits >> end) & 1
        for i in range(end - 1, first - 1, -1):
            g = w.levels.group[level, i, s] - w.box.low[i]
            if g < w.box.span[i]:
                right = (bits >> i) & 1
                if i == first or right < most:
                    w.box.gains[i, g] += right - most
                most |= right


@inner
def drop_useless(w, level, i):
    """Renumber the boundaries of stage i that can matter; the samples' new groups are in ``w.box.label``."""
    span, low = w.box.span[i], w.box.low[i]
    gains, label = w.box.gains[i], w.box.label[i]
    gain = least = 0
    label[span] = 1
    for e in range(span - 1, -1, -1):
        gain += gains[e]
        label[e] = gain < least
        least = min(least, gain)
    new = -1
    for e in range(span + 1):
        if label[e]:
            new += 1
            w.levels.maps[level + 1, i, new] = w.levels.maps[level, i, low + e]
        label[e] = new
    w.levels.top[level + 1, i] = new


@inner
def most_bins_for(top, budget):
    """The most bins a stage that keep a grid within about ``budget`` boxes, where a stage may need fewer."""
    bins, boxes, full = 0, 0, False
    while not full and (boxes <= budget or bins < 2):
        bins, boxes, full = bins + 1, 1, True
        for i in range(len(top)):
            boxes *= min(max(top[i], 1), bins + 1)
            full &= top[i] <= bins
    return bins


@inner
def place(w, level, m):
    """Count the gathered samples by slot of the new grid, and note the cell of each."""
    d, up = len(w.walk.j), level + 1
    slots, inner, cells, width = (
        w.levels.slots[up],
        w.levels.inner[up],
        w.levels.cells[up],
        w.levels.width[up],
    )
    w.walk.right[: 2 * inner[0] * slots[0]] = 0
    w.walk.all[: cells[0] * slots[0]] = 0
    for i in range(d):
        for g in range(w.box.span[i]):
            w.box.slot_of[i, g] = 0 if w.box.label[i, g] < 0 else 1 + w.box.label[i, g] // width[i]
    for x in range(m):
        s = w.box.kept[x]
        bits = w.levels.bits[level, s]
        at, cell = bits >> d, 0
        for i in range(d):
            g = w.levels.group[level, i, s] - w.box.low[i]
            slot = 0 if g < 0 else slots[i] - 1 if g >= w.box.span[i] else w.box.slot_of[i, g]
            at += (2 * slot + ((bits >> i) & 1)) * inner[i]
            cell += slot * cells[i]
        w.walk.right[at] += 1
        w.walk.all[cell] += 1
        w.box.cell[x] = cell


@inner
def carry_over(w, level, m):
    """Copy the gathered samples to the next level, in the order of its cells, with their new groups."""
    d, up = len(w.walk.j), level + 1
    sort_by_cell(w, up, m, w.levels.cells[up, 0] * w.levels.slots[up, 0])
    for x in range(m - 1, -1, -1):
        s = w.box.kept[x]
        w.levels.start[up, w.box.cell[x]] -= 1
        y = w.levels.start[up, w.box.cell[x]]
        w.levels.bits[up, y] = w.levels.bits[level, s]
        for i in range(d):
            g = w.levels.group[level, i, s] - w.box.low[i]
            w.levels.group[up, i, y] = (
                -1 if g < 0 else w.levels.top[up, i] if g >= w.box.span[i] else w.box.label[i, g]
            )


@inner
def open_box(w, level, b, costs, k, best, tolerance):
    """Make a box the next level of the search: 0 where it holds nothing new, 1 where its grid's corners are all that
    it holds, 2 where there are boxes as well."""
    d, up = len(w.walk.j), level + 1
    for i in range(d):
        w.box.low[i] = (w.levels.boxes[level, b, i] - 1) * w.levels.width[level, i]
        span = w.box.span[i] = min(w.levels.width[level, i], w.levels.top[level, i] - w.box.low[i])
        w.box.gains[i, :span] = 0
        w.box.saved[i, :span] = 0
    copy(w.levels.base[up], w.levels.state[level, b], 1 + d)
    m = gather(w, level, w.levels.boxes[level, b])
    if nothing_new(w, level, b, costs, k, best, tolerance):
        return 0
    assess_several(w, level, int(w.box.sums[2]))
    for i in range(d):
        drop_useless(w, level, i)
    set_grid(w, up, most_bins_for(w.levels.top[up], min(max(m // 4, LEAST_BOXES), MOST_BOXES)))
    place(w, level, m)
    w.levels.found[up] = w.levels.opened[up] = 0
    more = False
    for i in range(d):
        more |= w.levels.width[up, i] > 1
    if more:
        carry_over(w, level, m)
    return 1 + more


@kernel(_nrt=False, inline="always")
def search_boxes(w, costs, k, cascade, best, tolerance):
    """Open the root's boxes, depth first and the cheapest first, until none is left that may hold better."""
    level = 0
    w.box.price[0] = 0.0
    for i in range(len(w.walk.j)):
        w.box.price[i + 1] = w.box.price[i] + costs[i + 1] / k
    while level >= 0:
        b = w.levels.opened[level]
        if b == w.levels.found[level]:
            level -= 1
            continue
        w.levels.opened[level] = b + 1
        cost = costs[0]
        for i in range(len(w.walk.j)):
            cost += costs[1 + i] * (w.levels.state[level, b, 1 + i] / k)
        if not worth(
            best,
            w.levels.state[level, b, 0],
            cost,
            cascade,
            w.levels.state[level, b, 1:],
            tolerance,
        ):
            continue
        kind = open_box(w, level, b, costs, k, best, tolerance)
        if kind == 0:
            continue
        walk(w, level + 1, True, costs, k, cascade, best, tolerance)
        if kind == 2:
            walk(w, level + 1, False, costs, k, cascade, best, tolerance)
            level += 1


@kernel(_nrt=False)
def open_head(w, group, bits, bins):
    """Prepare the root of all cascades that share all models but the last.

    group int32 [d, k]: each sample's group at stages 1 … d; bits int32 [k]: bit i set where stage i + 1 is right. A
    boundary matters only before a group in which some sample is wrong: what is right leaves at no loss.
    """
    d, k = group.shape
    for i in range(d):
        label, boundaries, groups, new = w.box.label[i], w.levels.maps[0, i], 0, 0
        label[:] = 0
        for s in range(k):
            groups = max(groups, group[i, s] + 1)
            label[group[i, s]] |= ((bits[s] >> i) & 1) == 0
        for g in range(groups):
            boundaries[new] = g
            new += label[g]
            label[g] = new - 1
        boundaries[new] = groups
        w.levels.top[0, i] = new
    set_grid(w, 0, bins)
    slots, inner, cells, width = (
        w.levels.slots[0],
        w.levels.inner[0],
        w.levels.cells[0],
        w.levels.width[0],
    )
    n_cells = cells[0] * slots[0]
    w.root.right[: inner[0] * slots[0]] = 0
    w.walk.all[:n_cells] = 0
    for s in range(k):
        at = cell = 0
        for i in range(d):
            slot = 1 + w.box.label[i, group[i, s]] // width[i]
            cell += slot * cells[i]
            at += (2 * slot + ((bits[s] >> i) & 1)) * inner[i]
        w.root.index[s], w.box.cell[s] = at // 2, cell
        w.root.right[at // 2] += 1
        w.walk.all[cell] += 1
    copy(w.root.all, w.walk.all, n_cells)
    sort_by_cell(w, 0, k, n_cells)
    for s in range(k - 1, -1, -1):
        w.levels.start[0, w.box.cell[s]] -= 1
        x = w.levels.start[0, w.box.cell[s]]
        w.root.order[x] = s
        for i in range(d):
            w.levels.group[0, i, x] = w.box.label[i, group[i, s]]


@kernel(_nrt=False)
def search_root(w, head_bits, right, wrong, costs, cascade, best, tolerance, corners, boxes):
    """Search one cascade of the head that was opened (see :func:`open_head`): the ``corners`` of its root (real
    cascades, a start for pruning), all other thresholds (``boxes``), or both.

    right uint8 [k]: whether the last model is right; wrong int32: the samples where it is not; costs float64 [n].
    """
    k, d = len(right), len(w.walk.j)
    lay_out(w, 0)
    half, n_cells = (
        w.levels.inner[0, 0] * w.levels.slots[0, 0],
        w.levels.cells[0, 0] * w.levels.slots[0, 0],
    )
    w.walk.right[: 2 * half] = 0
    for x in range(len(wrong)):
        w.walk.right[2 * w.root.index[wrong[x]]] += 1
    for x in range(half):
        w.walk.right[2 * x + 1] = w.root.right[x] - w.walk.right[2 * x]
    copy(w.walk.all, w.root.all, n_cells)
    w.levels.base[0, :] = 0
    w.levels.found[0] = w.levels.opened[0] = 0
    if corners:
        walk(w, 0, True, costs, k, cascade, best, tolerance)
    if boxes:
        walk(w, 0, False, costs, k, cascade, best, tolerance)
    if w.levels.found[0] > 0:
        for x in range(k):
            s = w.root.order[x]
            w.levels.bits[0, x] = head_bits[s] | (np.int32(right[s]) << d)
        search_boxes(w, costs, k, cascade, best, tolerance)
