"""Numba kernels of the exact search: thresholds of two- and three-model cascades against the best so far.

``Best`` is three arrays over the number n of correct samples, 0 … k:

* ``reach`` [k + 1]: least cost found so far with *at least* n correct, never rising towards smaller n;
* ``exact`` [k + 1]: cost of the cascade noted at exactly n;
* ``where`` int64 [k + 1, 5]: that cascade: its number, the boundaries after the first two stages, and how many
  samples reach stages 2 and 3.

A boundary e counts groups of equal confidence, surest first: samples in groups 0 … e − 1 exit. So ties exit
together, e = 0 never exits, and e = number of groups always does.
"""

import numpy as np
from numba import njit

RIGHT_1, RIGHT_2, RIGHT_3 = np.uint8(1), np.uint8(2), np.uint8(4)
ROOT_CHILDREN, CHILDREN = 64, 16


def new_best(n_samples):
    """An empty ``Best``: nothing found, every cost infinite."""
    exact = np.full(n_samples + 1, np.inf)
    return exact.copy(), exact, np.full((n_samples + 1, 5), -1, np.int64)


def merge_best(bests):
    """The best of several (in place, into the first): on equal cost the earlier one stays."""
    reach, exact, where = bests[0]
    for other_reach, other_exact, other_where in bests[1:]:
        better = other_exact < exact
        exact[better], where[better] = other_exact[better], other_where[better]
        np.minimum(reach, other_reach, out=reach)
    return bests[0]


@njit(nogil=True, cache=True)
def note(best, n, cost, cascade, e1, e2, at_2, at_3):
    """Enter a cascade with n correct samples at this cost, if nothing at least as good is known."""
    reach, exact, where = best
    if cost < reach[n]:
        exact[n] = cost
        where[n, 0], where[n, 1], where[n, 2], where[n, 3], where[n, 4] = cascade, e1, e2, at_2, at_3
        while n >= 0 and reach[n] > cost:
            reach[n] = cost
            n -= 1


@njit(nogil=True, cache=True)
def sweep_pairs(group, right_1, right_2, cost_1, cost_2, first_id, best):
    """Every boundary of one first model before each of B second stages; samples in falling confidence.

    group int32 [k]; right_1 uint8 [k]; right_2 uint8 [B, k]; cost_2 float64 [B].
    """
    k = len(group)
    reach = best[0]
    for b in range(len(right_2)):
        n = 0
        for p in range(k):
            n += right_2[b, p]
        note(best, n, cost_1 + cost_2[b], first_id + b, 0, 0, k, 0)
        for p in range(k):
            n += np.int64(right_1[p]) - np.int64(right_2[b, p])
            cost = cost_1 + cost_2[b] * ((k - p - 1) / k)
            if cost < reach[n] and (p + 1 == k or group[p + 1] != group[p]):
                note(best, n, cost, first_id + b, group[p] + 1, 0, k - p - 1, 0)


@njit(nogil=True, cache=True)
def corner_costs(stage_costs, reach_2, reach_3, k):
    """Mean cost of a cascade when so many of k samples reach stages 2 and 3 (paper, section 3)."""
    return stage_costs[0] + stage_costs[1] * (reach_2 / k) + stage_costs[2] * (reach_3 / k)


@njit(nogil=True, cache=True)
def shift_for(boundaries, children):
    """Least s such that blocks of 2**s boundaries number at most ``children``."""
    s = 0
    while (boundaries - 1) >> s >= children:
        s += 1
    return s


@njit(nogil=True, cache=True)
def slot(group, low, high, shift, slots):
    """Where a group lies among the child blocks of boundaries low … high: 0 before all (exits in each),
    1 + 2b within block b (undecided there), 2 + 2b between blocks b and b + 1, slots + 1 after all (passes on)."""
    d = group - low
    if d < 0:
        return 0
    if group >= high:
        return slots + 1
    width = 1 << shift
    return 1 + 2 * (d >> shift) + ((d & (width - 1)) == width - 1)


@njit(nogil=True, cache=True)
def join(tail, t, bits):
    """Let a sample into stage 2: tail int64 [4, slots + 2] counts per slot of stage 2 all samples (row 0, kept by
    the caller) and those right at stage 2, at stage 3, at either."""
    tail[1, t] += (bits >> 1) & 1
    tail[2, t] += bits >> 2
    tail[3, t] += bits > 1


@njit(nogil=True, cache=True)
def note_corners(tail, n, at_2, at_3, box, row, shift, stage_costs, k, cascade, best):
    """Note the cascade at the lower corner of each block of a row: all undecided samples pass on."""
    low2, high2 = box[2], box[3]
    slots = tail.shape[1] - 2
    n += tail[1, 0] + tail[2, 1:].sum()
    at_3 += tail[0, 1:].sum()
    for e2 in range(low2, high2 + 1, 1 << shift):
        cost = corner_costs(stage_costs, at_2, at_3, k)
        if cost < best[0][n]:
            note(best, n, cost, cascade, row, e2, at_2, at_3)
        t = 1 + 2 * ((e2 - low2) >> shift)
        for u in range(t, min(t + 2, slots + 1)):
            n += tail[1, u] - tail[2, u]
            at_3 -= tail[0, u]


@njit(nogil=True, cache=True)
def bound_blocks(tail, n, at_2, at_3, box, row, shift, stage_costs, k, best, found, least, c):
    """Append the blocks of a row of which a relaxation still beats the best so far; returns their number."""
    low1, high1, low2, high2 = row[0], row[1], box[2], box[3]
    slots = tail.shape[1] - 2
    n += tail[1, 0] + tail[2, 1:].sum()
    at_3 += tail[0, 1:].sum()
    for e2 in range(low2, high2 + 1, 1 << shift):
        t = 1 + 2 * ((e2 - low2) >> shift)
        n += tail[3, t] - tail[2, t]
        at_3 -= tail[0, t]
        cost = corner_costs(stage_costs, at_2, at_3, k)
        end2 = min(e2 + (1 << shift) - 1, high2)
        if cost < best[0][n] and (low1 < high1 or e2 < end2):
            found[c, 0], found[c, 1], found[c, 2], found[c, 3], found[c, 4] = low1, high1, e2, end2, n
            least[c] = cost
            c += 1
        n += tail[1, t] - tail[3, t]
        if t < slots:
            n += tail[1, t + 1] - tail[2, t + 1]
            at_3 -= tail[0, t + 1]
    return c


@njit(nogil=True, cache=True)
def split_box(g1, g2, right, box, base, stage_costs, k, children, cascade, best, bound):
    """Split a box of thresholds into blocks; note the corner of each and return those that may hold better.

    g1, g2 int32 [m]: groups of the undecided samples at stages 1 and 2, sorted by g1; right uint8 [m]: bits of
    the stages that get a sample right; box (low1, high1, low2, high2): boundaries, inclusive; base: correct
    samples, samples at stage 2 and samples at stage 3 among those already decided.
    In a block each undecided sample is taken to be right if any of its stages is, and to leave as early as it
    can: an optimistic accuracy and a least cost (exact where the block is a single cascade).
    Returns int64 [c, 5]: the blocks as boxes and their optimistic number correct; and their least costs [c].
    """
    low1, high1, low2, high2 = box
    s1, s2 = shift_for(high1 - low1 + 1, children), shift_for(high2 - low2 + 1, children)
    n2 = ((high2 - low2) >> s2) + 1
    slots = 2 * n2 - 1
    tail = np.zeros((4, slots + 2), np.int64)
    most = (((high1 - low1) >> s1) + 1) * n2 if bound else 0
    found, least, c = np.empty((most, 5), np.int64), np.empty(most), 0
    at_2, one = base[1], base[0]
    for i in range(len(g1)):
        if g1[i] < high1:
            one += right[i] & 1
    j = len(g1) - 1
    for start in range(low1 + (((high1 - low1) >> s1) << s1), low1 - 1, -(1 << s1)):
        end = min(start + (1 << s1) - 1, high1)
        while j >= 0 and g1[j] >= end:  # passes stage 1 at every boundary of this row
            t = slot(g2[j], low2, high2, s2, slots)
            tail[0, t] += 1
            at_2 += 1
            join(tail, t, right[j])
            if g1[j] < high1:
                one -= right[j] & 1
            j -= 1
        i = j
        while i >= 0 and g1[i] >= start:  # undecided and wrong at stage 1: at best right later
            if right[i] & 1 == 0:
                join(tail, slot(g2[i], low2, high2, s2, slots), right[i])
            i -= 1
        if bound:
            c = bound_blocks(tail, one, at_2, base[2], box, (start, end), s2, stage_costs, k, best, found, least, c)
        while j > i:
            t = slot(g2[j], low2, high2, s2, slots)
            tail[0, t] += 1
            at_2 += 1
            if right[j] & 1:
                join(tail, t, right[j])
                one -= 1
            j -= 1
        note_corners(tail, one, at_2, base[2], box, start, s2, stage_costs, k, cascade, best)
    return found[:c], least[:c]


@njit(nogil=True, cache=True)
def undecided(g1, g2, right, box, base):
    """The samples whose exit still depends on the thresholds of a box; the others are settled into the base."""
    low1, high1, low2, high2 = box
    n, at_2, at_3 = base
    keep, c = np.empty(len(g1), np.int64), 0
    for i in range(len(g1)):
        if g1[i] < low1:
            n += right[i] & 1
        elif g1[i] >= high1 and g2[i] < low2:
            n += (right[i] >> 1) & 1
            at_2 += 1
        elif g1[i] >= high1 and g2[i] >= high2:
            n += right[i] >> 2
            at_2 += 1
            at_3 += 1
        else:
            keep[c] = i
            c += 1
    keep = keep[:c]
    return g1[keep], g2[keep], right[keep], (n, at_2, at_3)


@njit(nogil=True, cache=True)
def search_box(g1, g2, right, box, stage_costs, k, cascade, best):
    """Branch and bound, depth first: every cascade in a box of thresholds that beats the best so far is noted."""
    base = (np.int64(0), np.int64(0), np.int64(0))
    found, least = split_box(g1, g2, right, box, base, stage_costs, k, ROOT_CHILDREN, cascade, best, True)
    stack = [(g1, g2, right, base, found[c], least[c]) for c in range(len(found))]
    while stack:
        h1, h2, bits, settled, block, cost = stack.pop()
        if cost < best[0][block[4]]:
            inner = (block[0], block[1], block[2], block[3])
            h1, h2, bits, settled = undecided(h1, h2, bits, inner, settled)
            found, least = split_box(h1, h2, bits, inner, settled, stage_costs, k, CHILDREN, cascade, best, True)
            for c in range(len(found)):
                stack.append((h1, h2, bits, settled, found[c], least[c]))


@njit(nogil=True, cache=True)
def sweep_triples(g1, g2, right_12, right_3, stage_costs, first_id, best, exact):
    """Every pair of boundaries of one two-model prefix before each of B third stages.

    g1, g2 int32 [k]: groups at stages 1 and 2; right_12 uint8 [k]: bit 0 right at stage 1, bit 1 at stage 2;
    right_3 uint8 [B, k]; all in the order of g1. stage_costs float64 [B, 3]. ``exact`` False only looks at the
    corners of the root's blocks (real cascades that make a good start), True searches everything.
    """
    k = len(g1)
    box = (0, g1.max() + 1, 0, g2.max() + 1)
    right = np.empty(k, np.uint8)
    for b in range(len(right_3)):
        for i in range(k):
            right[i] = right_12[i] | (right_3[b, i] << 2)
        if exact:
            search_box(g1, g2, right, box, stage_costs[b], k, first_id + b, best)
        else:
            split_box(g1, g2, right, box, (0, 0, 0), stage_costs[b], k, ROOT_CHILDREN, first_id + b, best, False)


@njit(nogil=True, cache=True)
def neighbours(sure, exits, passes):
    """Least confidence among the samples that exit and largest among those that pass on: inf, −inf if none does."""
    low, high = np.inf, -np.inf
    for i in range(len(sure)):
        if exits[i]:
            low = min(low, sure[i])
        elif passes[i]:
            high = max(high, sure[i])
    return low, high
