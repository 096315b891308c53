"""All corners and boxes of a grid of thresholds at once, from one count of samples (any number of stages).

A cascade of n models has d = n − 1 boundaries. A grid cuts the boundaries of each stage at edges; between two edges
lies a *bin* of groups. With S − 2 bins a stage, a sample's *slot* there is 0 (exits at every edge), 1 … S − 2 (its
bin) or S − 1 (passes at every edge). The grid holds

* **corners**, j in 1 … S − 1 a stage: the cascade at edge j, in which slots < j exit and slots ≥ j pass on;
* **boxes**, j in 1 … S − 2 a stage: all cascades between edges j and j + 1, in which slot j is undecided. Optimistic
  count: an undecided sample is right if it is right here or anywhere later that it may get to. Least cost: it exits.

``right`` counts samples by slot and correctness, laid out [S_1, 2, S_2, 2, …, S_d, 2, 2] (slot at stage i, right at
stage i, …, right at stage n); ``all`` counts them by slot [S_1, …, S_d]. Walking stage 1 from its last slot to its
first adds one slice at a time to a *tail* of the same layout without stage 1: what gets to stage 2, or (in ``right``)
is undecided and wrong here, so that only later stages can help it. So a grid of n stages becomes S grids of n − 1.
"""

import numpy as np

from ..._kernels import inner, kernel
from .state import improves, note, worth


@inner
def lay_out(w, level):
    """Set the strides and tail offsets of a level's grid from its slots."""
    slots, inner, cells = w.levels.slots[level], w.levels.inner[level], w.levels.cells[level]
    d = len(slots)
    inner[d - 1], cells[d - 1] = 2, 1
    for i in range(d - 1, 0, -1):
        inner[i - 1], cells[i - 1] = inner[i] * 2 * slots[i], cells[i] * slots[i]
    w.walk.right_at[0] = w.walk.all_at[0] = 0
    for i in range(1, d):
        w.walk.right_at[i] = w.walk.right_at[i - 1] + slots[i - 1] * 2 * inner[i - 1]
        w.walk.all_at[i] = w.walk.all_at[i - 1] + slots[i - 1] * cells[i - 1]


@inner
def add(target, source):
    """target += source, in place: counts of one length."""
    for x in range(len(source)):
        target[x] += source[x]


@inner
def total(counts):
    """The sum of counts."""
    n = 0
    for x in range(len(counts)):
        n += counts[x]
    return n


@inner
def add_right(w, level, i, slot, right):
    """Add a slice of stage i (those right or wrong there) to the tail of correct samples."""
    size = w.levels.inner[level, i]
    source, target = w.walk.right_at[i] + (2 * slot + right) * size, w.walk.right_at[i + 1]
    add(w.walk.right[target : target + size], w.walk.right[source : source + size])


@inner
def add_all(w, level, i, slot):
    """Let a slice of stage i pass on: into the tail of all samples; its right ones no longer count here."""
    size = w.levels.cells[level, i]
    source, target = w.walk.all_at[i] + slot * size, w.walk.all_at[i + 1]
    add(w.walk.all[target : target + size], w.walk.all[source : source + size])
    w.walk.fixed[i] -= w.walk.ones[i, slot]
    w.walk.through[i] += w.walk.passing[i, slot]


@inner
def enter(w, level, i, corners):
    """Begin the walk over the slots of stage i: totals of every slice, an empty tail."""
    slots, size, cells = (
        w.levels.slots[level, i],
        w.levels.inner[level, i],
        w.levels.cells[level, i],
    )
    w.walk.fixed[i], w.walk.through[i] = w.walk.gain[i], w.levels.base[level, 1 + i]
    for slot in range(slots):
        at, here = w.walk.right_at[i] + (2 * slot + 1) * size, w.walk.all_at[i] + slot * cells
        w.walk.ones[i, slot] = total(w.walk.right[at : at + size])
        w.walk.passing[i, slot] = total(w.walk.all[here : here + cells])
        w.walk.fixed[i] += w.walk.ones[i, slot]
    w.walk.right[w.walk.right_at[i + 1] : w.walk.right_at[i + 1] + size] = 0
    w.walk.all[w.walk.all_at[i + 1] : w.walk.all_at[i + 1] + cells] = 0
    w.walk.j[i] = slots
    if not corners:
        w.walk.j[i] = slots - 1
        add_right(w, level, i, slots - 1, 0)
        add_right(w, level, i, slots - 1, 1)
        add_all(w, level, i, slots - 1)


@inner
def step(w, level, i, corners, costs, k):
    """Move stage i to its next lower edge or bin, and hand what gets past it to the next stage."""
    slot = w.walk.j[i]
    if corners:
        add_right(w, level, i, slot, 0)
        add_right(w, level, i, slot, 1)
        add_all(w, level, i, slot)
    else:
        if slot < w.levels.slots[level, i] - 2:
            add_right(w, level, i, slot + 1, 1)
            add_all(w, level, i, slot + 1)
        add_right(w, level, i, slot, 0)
    w.walk.gain[i + 1] = w.walk.fixed[i]
    w.walk.cost[i + 1] = w.walk.cost[i] + costs[i + 1] * (w.walk.through[i] / k)


@inner
def note_corner(w, level, n, cost, cascade, best):
    """Note the cascade at the present corner, in the boundaries of the whole search."""
    for i in range(len(w.walk.j)):
        edge = min((w.walk.j[i] - 1) * w.levels.width[level, i], w.levels.top[level, i])
        w.walk.boundaries[i] = w.levels.maps[level, i, edge]
    note(best, n, cost, cascade, w.walk.boundaries, w.walk.through)


@inner
def last_stage(w, level):
    """(counts, samples) by slot of the last stage with a threshold: int32 [4 · slots] (see ``right``), [slots]; and, if
    all its slots exit, the correct samples, and those that pass on."""
    last = len(w.walk.j) - 1
    slots, n = w.levels.slots[level, last], w.walk.gain[last]
    at, here = w.walk.right_at[last], w.walk.all_at[last]
    right = w.walk.right[at : at + 4 * slots]
    for slot in range(slots):
        n += right[4 * slot + 2] + right[4 * slot + 3]
    return right, w.walk.all[here : here + slots], n, w.levels.base[level, 1 + last]


@inner
def corner_row(w, level, costs, k, cascade, best):
    """Every edge of the last stage, the earlier ones fixed; cost rises along the way (see ``sweep_pair``)."""
    last = len(w.walk.j) - 1
    right, passes, n, at = last_stage(w, level)
    for slot in range(len(passes) - 1, 0, -1):
        n += right[4 * slot + 1] - right[4 * slot + 2]
        at += passes[slot]
        cost = w.walk.cost[last] + costs[last + 1] * (at / k)
        if cost > best.reach[n]:
            continue
        w.walk.j[last], w.walk.through[last] = slot, at
        if improves(best, n, cost, cascade, w.walk.through):
            note_corner(w, level, n, cost, cascade, best)


@inner
def keep_box(w, level, n):
    """Append the present box to those to be opened, unless its corners are all that it holds."""
    inside = False
    for i in range(len(w.walk.j)):
        low = (w.walk.j[i] - 1) * w.levels.width[level, i]
        inside |= min(low + w.levels.width[level, i], w.levels.top[level, i]) - low > 1
    if inside:
        b = w.levels.found[level]
        w.levels.state[level, b, 0] = n
        for i in range(len(w.walk.j)):
            w.levels.boxes[level, b, i], w.levels.state[level, b, 1 + i] = (
                w.walk.j[i],
                w.walk.through[i],
            )
        w.levels.found[level] = b + 1


@inner
def box_row(w, level, costs, k, cascade, best, tolerance):
    """Every bin of the last stage, the earlier ones within theirs: keep the boxes that may hold better."""
    last = len(w.walk.j) - 1
    right, passes, n, at = last_stage(w, level)
    for slot in range(len(passes) - 1, 0, -1):
        most = n + right[4 * slot + 1]
        cost = w.walk.cost[last] + costs[last + 1] * (at / k)
        if slot < len(passes) - 1 and cost <= best.reach[most]:
            w.walk.j[last], w.walk.through[last] = slot, at
            if worth(best, most, cost, cascade, w.walk.through, tolerance):
                keep_box(w, level, most)
        n = most - right[4 * slot + 2]
        at += passes[slot]


@inner
def walk(w, level, corners, costs, k, cascade, best, tolerance):
    """Note every corner of a level's grid (``corners``), or list every box of it that may hold better."""
    last, i = len(w.walk.j) - 1, 0
    w.walk.gain[0], w.walk.cost[0] = w.levels.base[level, 0], costs[0]
    if last > 0:
        enter(w, level, 0, corners)
    while i >= 0:
        if i == last:
            if corners:
                corner_row(w, level, costs, k, cascade, best)
            else:
                box_row(w, level, costs, k, cascade, best, tolerance)
            i -= 1
            continue
        w.walk.j[i] -= 1
        if w.walk.j[i] < 1:
            i -= 1
            continue
        step(w, level, i, corners, costs, k)
        i += 1
        if i < last:
            enter(w, level, i, corners)


@kernel
def sweep_pair(group, right_1, right_2, cost_1, cost_2, cascade, best):
    """Note every boundary of one pair, without a grid; samples in falling confidence of the first model.

    group int32 [k]; right_1, right_2 uint8 [k]. From always to never exiting, so that cost rises: then noting a
    cascade lowers ``reach`` only where nothing cheaper has been, and all of them together touch each n about once.
    """
    k, n = len(group), 0
    at, boundary = np.empty(1, np.int64), np.zeros(1, np.int64)
    for p in range(k):
        n += right_1[p]
    for passed in range(k + 1):
        first = k - passed  # the first sample that passes on
        if passed > 0:
            n += np.int64(right_2[first]) - np.int64(right_1[first])
        cost = cost_1 + cost_2 * (passed / k)
        if cost > best.reach[n] or (0 < passed < k and group[first] == group[first - 1]):
            continue
        at[0] = passed
        if improves(best, n, cost, cascade, at):
            boundary[0] = group[k - 1] + 1 if passed == 0 else group[first]
            note(best, n, cost, cascade, boundary, at)
