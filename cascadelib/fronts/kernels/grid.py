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

from ..._kernels import kernel
from .state import improves, note, worth


@kernel(_nrt=False, inline="always")
def lay_out(w, level):
    """Set the strides and tail offsets of a level's grid from its slots."""
    slots, inner, cells = w.slots[level], w.inner[level], w.cells[level]
    d = len(slots)
    inner[d - 1], cells[d - 1] = 2, 1
    for i in range(d - 1, 0, -1):
        inner[i - 1], cells[i - 1] = inner[i] * 2 * slots[i], cells[i] * slots[i]
    w.right_at[0] = w.all_at[0] = 0
    for i in range(1, d):
        w.right_at[i] = w.right_at[i - 1] + slots[i - 1] * 2 * inner[i - 1]
        w.all_at[i] = w.all_at[i - 1] + slots[i - 1] * cells[i - 1]


@kernel(_nrt=False)
def add(target, source):
    """target += source, in place: counts of one length."""
    for x in range(len(source)):
        target[x] += source[x]


@kernel(_nrt=False)
def total(counts):
    """The sum of counts."""
    n = 0
    for x in range(len(counts)):
        n += counts[x]
    return n


@kernel(_nrt=False, inline="always")
def add_right(w, level, i, slot, right):
    """Add a slice of stage i (those right or wrong there) to the tail of correct samples."""
    size = w.inner[level, i]
    source, target = w.right_at[i] + (2 * slot + right) * size, w.right_at[i + 1]
    add(w.right[target : target + size], w.right[source : source + size])


@kernel(_nrt=False, inline="always")
def add_all(w, level, i, slot):
    """Let a slice of stage i pass on: into the tail of all samples; its right ones no longer count here."""
    size = w.cells[level, i]
    source, target = w.all_at[i] + slot * size, w.all_at[i + 1]
    add(w.all[target : target + size], w.all[source : source + size])
    w.fixed[i] -= w.ones[i, slot]
    w.through[i] += w.passing[i, slot]


@kernel(_nrt=False, inline="always")
def enter(w, level, i, corners):
    """Begin the walk over the slots of stage i: totals of every slice, an empty tail."""
    slots, size, cells = w.slots[level, i], w.inner[level, i], w.cells[level, i]
    w.fixed[i], w.through[i] = w.gain[i], w.base[level, 1 + i]
    for slot in range(slots):
        at, here = w.right_at[i] + (2 * slot + 1) * size, w.all_at[i] + slot * cells
        w.ones[i, slot] = total(w.right[at : at + size])
        w.passing[i, slot] = total(w.all[here : here + cells])
        w.fixed[i] += w.ones[i, slot]
    w.right[w.right_at[i + 1] : w.right_at[i + 1] + size] = 0
    w.all[w.all_at[i + 1] : w.all_at[i + 1] + cells] = 0
    w.j[i] = slots
    if not corners:
        w.j[i] = slots - 1
        add_right(w, level, i, slots - 1, 0)
        add_right(w, level, i, slots - 1, 1)
        add_all(w, level, i, slots - 1)


@kernel(_nrt=False, inline="always")
def step(w, level, i, corners, costs, k):
    """Move stage i to its next lower edge or bin, and hand what gets past it to the next stage."""
    slot = w.j[i]
    if corners:
        add_right(w, level, i, slot, 0)
        add_right(w, level, i, slot, 1)
        add_all(w, level, i, slot)
    else:
        if slot < w.slots[level, i] - 2:
            add_right(w, level, i, slot + 1, 1)
            add_all(w, level, i, slot + 1)
        add_right(w, level, i, slot, 0)
    w.gain[i + 1] = w.fixed[i]
    w.cost[i + 1] = w.cost[i] + costs[i + 1] * (w.through[i] / k)


@kernel(_nrt=False)
def note_corner(w, level, n, cost, cascade, best):
    """Note the cascade at the present corner, in the boundaries of the whole search."""
    for i in range(len(w.j)):
        edge = min((w.j[i] - 1) * w.width[level, i], w.top[level, i])
        w.boundaries[i] = w.maps[level, i, edge]
    note(best, n, cost, cascade, w.boundaries, w.through)


@kernel(_nrt=False, inline="always")
def last_stage(w, level):
    """(counts, samples) by slot of the last stage with a threshold: int32 [4 · slots] (see ``right``), [slots]."""
    last = len(w.j) - 1
    slots = w.slots[level, last]
    at, here = w.right_at[last], w.all_at[last]
    return w.right[at : at + 4 * slots], w.all[here : here + slots]


@kernel(_nrt=False, inline="always")
def corner_row(w, level, costs, k, cascade, best):
    """Every edge of the last stage, the earlier ones fixed; cost rises along the way (see ``sweep_pair``)."""
    last = len(w.j) - 1
    right, passes = last_stage(w, level)
    n, at = w.gain[last], w.base[level, 1 + last]
    for slot in range(len(passes)):
        n += right[4 * slot + 2] + right[4 * slot + 3]
    for slot in range(len(passes) - 1, 0, -1):
        n += right[4 * slot + 1] - right[4 * slot + 2]
        at += passes[slot]
        cost = w.cost[last] + costs[last + 1] * (at / k)
        if cost > best[0][n]:
            continue
        w.j[last], w.through[last] = slot, at
        if improves(best, n, cost, cascade, w.through):
            note_corner(w, level, n, cost, cascade, best)


@kernel(_nrt=False, inline="always")
def keep_box(w, level, n):
    """Append the present box to those to be opened, unless its corners are all that it holds."""
    inside = False
    for i in range(len(w.j)):
        low = (w.j[i] - 1) * w.width[level, i]
        inside |= min(low + w.width[level, i], w.top[level, i]) - low > 1
    if inside:
        b = w.found[level]
        w.state[level, b, 0] = n
        for i in range(len(w.j)):
            w.boxes[level, b, i], w.state[level, b, 1 + i] = w.j[i], w.through[i]
        w.found[level] = b + 1


@kernel(_nrt=False, inline="always")
def box_row(w, level, costs, k, cascade, best, tolerance):
    """Every bin of the last stage, the earlier ones within theirs: keep the boxes that may hold better."""
    last = len(w.j) - 1
    right, passes = last_stage(w, level)
    n, at = w.gain[last], w.base[level, 1 + last]
    for slot in range(len(passes)):
        n += right[4 * slot + 2] + right[4 * slot + 3]
    for slot in range(len(passes) - 1, 0, -1):
        most = n + right[4 * slot + 1]
        cost = w.cost[last] + costs[last + 1] * (at / k)
        if slot < len(passes) - 1 and cost <= best[0][most]:
            w.j[last], w.through[last] = slot, at
            if worth(best, most, cost, cascade, w.through, tolerance):
                keep_box(w, level, most)
        n = most - right[4 * slot + 2]
        at += passes[slot]


@kernel(_nrt=False)
def walk(w, level, corners, costs, k, cascade, best, tolerance):
    """Note every corner of a level's grid (``corners``), or list every box of it that may hold better."""
    last, i = len(w.j) - 1, 0
    w.gain[0], w.cost[0] = w.base[level, 0], costs[0]
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
        w.j[i] -= 1
        if w.j[i] < 1:
            i -= 1
            continue
        step(w, level, i, corners, costs, k)
        i += 1
        if i < last:
            enter(w, level, i, corners)
