"""The root of a cascade in the search over boxes: a grid over all its thresholds.

Cascades that share all models but the last share most of it: :func:`open_head` counts once where their samples lie, and
each last model adds which of them it gets right.
"""

import numpy as np
from numba import njit

from .boxes import copy, search_boxes, set_grid, sort_by_cell
from .grid import lay_out, walk


@njit(nogil=True, cache=True, _nrt=False)
def open_head(w, group, bits, bins):
    """Prepare the root of all cascades that share all models but the last.

    group int32 [d, k]: each sample's group at stages 1 … d; bits int32 [k]: bit i set where stage i + 1 is right.
    """
    d, k = group.shape
    for i in range(d):
        w.top[0, i] = 0
        for s in range(k):
            w.top[0, i] = max(w.top[0, i], group[i, s] + 1)
        for e in range(w.top[0, i] + 1):
            w.maps[0, i, e] = e
    set_grid(w, 0, bins)
    slots, inner, cells, width = w.slots[0], w.inner[0], w.cells[0], w.width[0]
    n_cells = cells[0] * slots[0]
    w.root_right[: inner[0] * slots[0]] = 0
    w.all[:n_cells] = 0
    for s in range(k):
        at = cell = 0
        for i in range(d):
            slot = 1 + group[i, s] // width[i]
            cell += slot * cells[i]
            at += (2 * slot + ((bits[s] >> i) & 1)) * inner[i]
        w.index[s], w.cell[s] = at // 2, cell
        w.root_right[at // 2] += 1
        w.all[cell] += 1
    copy(w.root_all, w.all, n_cells)
    sort_by_cell(w, 0, k, n_cells)
    for s in range(k - 1, -1, -1):
        w.start[0, w.cell[s]] -= 1
        x = w.start[0, w.cell[s]]
        w.order[x] = s
        for i in range(d):
            w.group[0, i, x] = group[i, s]


@njit(nogil=True, cache=True, _nrt=False)
def count_root(w, wrong):
    """Count a cascade's samples by slot and correctness; ``wrong`` int32: the samples its last model gets wrong."""
    lay_out(w, 0)
    half, n_cells = w.inner[0, 0] * w.slots[0, 0], w.cells[0, 0] * w.slots[0, 0]
    w.right[: 2 * half] = 0
    for x in range(len(wrong)):
        w.right[2 * w.index[wrong[x]]] += 1
    for x in range(half):
        w.right[2 * x + 1] = w.root_right[x] - w.right[2 * x]
    copy(w.all, w.root_all, n_cells)
    w.base[0, :] = 0
    w.found[0] = w.opened[0] = 0


@njit(nogil=True, cache=True, _nrt=False)
def note_root(w, wrong, costs, cascade, best, tolerance):
    """Note the corners of one cascade's root: real cascades, a start for pruning."""
    count_root(w, wrong)
    walk(w, 0, True, costs, len(w.index), cascade, best, tolerance)


@njit(nogil=True, cache=True, _nrt=False)
def search_root(w, head_bits, right, wrong, costs, cascade, best, tolerance):
    """Search all thresholds of one cascade of the head that was opened (see :func:`open_head`).

    right uint8 [k]: whether the last model is right; wrong int32: the samples where it is not; costs float64 [n].
    """
    k, d = len(right), len(w.j)
    count_root(w, wrong)
    walk(w, 0, False, costs, k, cascade, best, tolerance)
    if w.found[0] > 0:
        for x in range(k):
            s = w.order[x]
            w.bits[0, x] = head_bits[s] | (np.int32(right[s]) << d)
        search_boxes(w, costs, k, cascade, best, tolerance)
