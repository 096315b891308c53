"""The best cascades found so far, by number of correct samples; what pruning compares with.

``Best`` is a tuple of four arrays over n = 0 … k correct samples:

* ``reach`` float64 [k + 1]: least cost found so far with *at least* n correct, shared by threads
  without locks;
* ``exact`` float64 [k + 1]: cost of the cascade noted at exactly n (a thread's own);
* ``where`` int64 [k + 1, 1 + 2D]: that cascade: its number, its D boundaries, and how many samples
  reach stages 2 … D + 1 (shorter cascades end in zeros);
* ``floor`` float64 [k + 1]: least cost of any box that a tolerance skipped, at its most optimistic
  n.

A boundary e counts groups of equal confidence, the most confident first: samples in groups
0 … e − 1 exit. So ties exit together, e = 0 never exits, and e = number of groups always does.

Why no result depends on how threads race for ``reach``: docs/architecture.md, *Threads*.
"""

from collections import namedtuple
from collections.abc import Iterable

import numpy as np
from numpy import ndarray as Array

from ..._kernels import Room, inner, kernel

Best = namedtuple("Best", "reach exact where floor")


def new_best(n_samples: int, stages: int) -> Best:
    """An empty ``Best`` for cascades of up to ``stages`` models: every cost is infinite."""
    reach, exact, floor = np.full((3, n_samples + 1), np.inf)
    where = np.full((n_samples + 1, 1 + 2 * (stages - 1)), -1, np.int64)
    return Best(reach, exact, where, floor)


def same_reach(best: Best) -> Best:
    """An empty ``Best`` that shares the ``reach`` of another: what a thread writes to."""
    n_samples = len(best.reach) - 1
    stages = best.where.shape[1] // 2 + 1
    return new_best(n_samples, stages)._replace(reach=best.reach)


def least_onwards(costs: Array) -> Array:
    """The least of each cost and all after it, float64 [k + 1]: a cascade with n correct has at
    least n − 1, n − 2, …"""
    return np.minimum.accumulate(costs[::-1])[::-1]


def merge_best(best: Best, others: Iterable[Best]) -> None:
    """The first of several at each n by :func:`comes_first`, in place, whoever found it first."""
    for other in others:
        merge_entries(best, other)
        np.minimum(best.floor, other.floor, out=best.floor)
    np.minimum(best.reach, least_onwards(best.exact), out=best.reach)


@inner
def copy(target: Array, source: Array, size: int) -> None:
    """target[:size] = source[:size], without the checks and copies of numba's slices."""
    for x in range(size):
        target[x] = source[x]


@kernel
def merge_entries(best: Best, other: Best) -> None:
    """Take over the cascades of another Best that come before this one's."""
    most = best.where.shape[1] // 2
    for n in range(len(best.exact)):
        if comes_first(best, n, other.exact[n], other.where[n, 0], other.where[n, 1 + most :]):
            # The other's entry is the first at n: its cost, number, boundaries and samples move.
            best.exact[n] = other.exact[n]
            copy(best.where[n], other.where[n], 1 + 2 * most)


@inner
def comes_first(best: Best, n: int, cost: float, cascade: int, at: Array) -> bool:
    """Whether a cascade comes before the one noted at n.

    Compared are the cost, then the number, then the samples ``at`` stages 2, 3, … [d], which settle
    who exits where: no two different cascades are equal.
    """
    exact = best.exact
    where = best.where
    if cost != exact[n]:
        return cost < exact[n]
    # Equal costs: an empty entry (inf) is not one of them.
    if cascade != where[n, 0]:
        return cascade < where[n, 0]
    # The same cascade: other thresholds of it that come to the same cost.
    most = where.shape[1] // 2
    for i in range(len(at)):
        if at[i] != where[n, 1 + most + i]:
            return at[i] < where[n, 1 + most + i]
    # The very entry that is noted.
    return False


@kernel(_nrt=False)
def improves(best: Best, n: int, cost: float, cascade: int, at: Array) -> bool:
    """Whether a cascade with n correct samples at this cost would be noted.

    at: int64 [d], the samples that reach stages 2, 3, …
    """
    reach = best.reach
    if reach[n] < cost or (n + 1 < len(reach) and reach[n + 1] <= cost):
        return False
    # Nothing that any thread found is cheaper at n, or as cheap with more correct. A stale
    # ``reach`` may let through too much: the thread's own entry decides.
    return comes_first(best, n, cost, cascade, at)


@kernel(_nrt=False)
def note(best: Best, n: int, cost: float, cascade: int, boundaries: Array, at: Array) -> None:
    """Enter a cascade that :func:`improves`.

    boundaries, at: int64 [d], its boundaries and the samples that reach stages 2 … d + 1.
    """
    reach, exact, where, _ = best
    most = where.shape[1] // 2
    exact[n] = cost
    where[n, 0] = cascade
    where[n, 1:] = 0
    for i in range(len(boundaries)):
        where[n, 1 + i] = boundaries[i]
        where[n, 1 + most + i] = at[i]
    # The entry stands; with fewer correct samples nothing need cost more than it does.
    while n >= 0 and reach[n] > cost:
        reach[n] = cost
        n -= 1


@inner
def worth(best: Best, n: int, cost: float, cascade: int, at: Array, tolerance: Array) -> bool:
    """Whether a box must be searched.

    Its cascades have at most n correct, cost at least ``cost`` and pass on at least ``at`` samples,
    int64 [d]. A box that only the tolerance (float64 [k + 1], by correct samples, read anew each
    time: infinite once time is up) skips leaves its cost in ``floor``.
    """
    if not improves(best, n, cost, cascade, at):
        return False
    # At its most optimistic the box would be noted.
    if tolerance[n] > 0 and best.reach[n] <= (1 + tolerance[n]) * cost:
        best.floor[n] = min(best.floor[n], cost)
        return False
    # And it could be better by more than the tolerance.
    return True


LINES = 12  # below the costs of a box, at most: see covered in cascadelib.fronts.kernels.bounds

MAX_MODELS = 8
# Bins per stage of the root's grid, by its number of boundaries d; and where it only is to bound
# all cascades soon.
ROOT_BINS = {2: 64, 3: 22, 4: 6, 5: 3, 6: 3, 7: 2}
COARSE_BINS = {2: 40, 3: 16, 4: 6, 5: 2, 6: 2, 7: 2}
LEVELS = 24
LEAST_BOXES = 32
MOST_BOXES = 2048

# What the kernels for cascades of d + 1 models on k samples write to, one per thread; every field
# is explained where it is made.
Workspace = namedtuple("Workspace", "levels walk box root")
Levels = namedtuple(
    "Levels",
    "group bits start maps base slots edges top inner cells boxes state found opened",
)
Walk = namedtuple(
    "Walk",
    "correct all correct_at all_at ones passing j gain fixed through cost boundaries",
)
Box = namedtuple(
    "Box",
    "kept cell at low span gains saved extra extra_gains label slot_of several several_count price "
    "stack passing_correct passing_cost",
)
Root = namedtuple("Root", "code number index order place bits ordered correct all")


def workspace(k: int, d: int) -> Room:
    """Room for a thread to search cascades of d + 1 models on k samples.

    Pages of memory are only used when they are touched.
    """
    slots = ROOT_BINS[d] + 2
    # Of all grids of so many boxes that of one stage with all its bins has the most cells.
    most_boxes = MOST_BOXES if d < 6 else MOST_BOXES // 8
    n_cells = max(slots**d, 4**d, (most_boxes + 2) * 3 ** (d - 1))
    n_boxes = max(ROOT_BINS[d] ** d, MOST_BOXES)
    n_correct = 2 ** (d + 1) * n_cells
    n_slots = max(slots, k + 3)
    levels = new_levels(k, d, n_cells, n_boxes)
    root = new_root(k, d, n_cells, n_correct)
    walk = new_walk(d, n_cells, n_correct, n_slots)
    return Room(Workspace(levels, walk, new_box(k, d), root))


def new_levels(k: int, d: int, n_cells: int, n_boxes: int) -> Levels:
    """The levels of the depth-first search; samples lie in the order of a level's cells."""
    stages = (LEVELS, d)
    return Levels(
        # Group of a sample at each stage, −1 before the box.
        group=np.empty((LEVELS, d, k), np.int32),
        # Of a sample: bit i set where stage i + 1 is correct.
        bits=np.empty((LEVELS, k), np.int32),
        # First place of a cell.
        start=np.empty((LEVELS, n_cells + 1), np.int32),
        # Boundary of the level → boundary of the whole search.
        maps=np.empty((LEVELS, d, k + 2), np.int32),
        # Settled samples: the correct ones, those at stages 2 … d + 1.
        base=np.zeros((LEVELS, 1 + d), np.int64),
        # Of each stage's grid.
        slots=np.empty(stages, np.int64),
        # Boundary at which each slot but the first begins; that of slot 1 is 0.
        edges=np.empty((LEVELS, d, n_boxes + 3), np.int32),
        # The last boundary.
        top=np.empty(stages, np.int64),
        # Stride of a half slot of each stage in ``walk.correct``.
        inner=np.empty(stages, np.int64),
        # Stride of a slot of each stage in ``walk.all``.
        cells=np.empty(stages, np.int64),
        # Boxes to be opened: slot at each stage.
        boxes=np.empty((LEVELS, n_boxes, d), np.int32),
        # Theirs: most correct samples, fewest at stages 2 … d + 1.
        state=np.empty((LEVELS, n_boxes, 1 + d), np.int64),
        # Number of boxes listed.
        found=np.zeros(LEVELS, np.int64),
        # Number of them done with.
        opened=np.zeros(LEVELS, np.int64),
    )


def new_walk(d: int, n_cells: int, n_correct: int, n_slots: int) -> Walk:
    """The walk over the grid of one level (see :mod:`cascadelib.fronts.kernels.grid`)."""
    return Walk(
        # Samples by slot and correctness, then the tails of stages 2 … d.
        correct=np.empty(2 * n_correct, np.int32),
        # Samples by slot, then the tails of stages 2 … d.
        all=np.empty(2 * n_cells, np.int32),
        # Where each stage begins in ``correct``.
        correct_at=np.empty(d, np.int64),
        # Where each stage begins in ``all``.
        all_at=np.empty(d, np.int64),
        # Samples of each slot that are correct at the stage.
        ones=np.empty((d, n_slots), np.int64),
        # Samples of each slot.
        passing=np.empty((d, n_slots), np.int64),
        # Present slot of each stage.
        j=np.zeros(d, np.int64),
        # Correct samples settled before each stage.
        gain=np.zeros(d, np.int64),
        # Correct samples settled once the stage is at its present slot.
        fixed=np.zeros(d, np.int64),
        # Samples that each stage passes on.
        through=np.zeros(d, np.int64),
        # Of the stages up to each.
        cost=np.zeros(d),
        # Of the corner that is noted, in those of the whole search.
        boundaries=np.zeros(d, np.int64),
    )


def new_box(k: int, d: int) -> Box:
    """The box that is opened (see :mod:`cascadelib.fronts.kernels.bounds`)."""
    groups = (d, k + 1)
    return Box(
        # Places of the samples gathered.
        kept=np.empty(k, np.int32),
        # Cell of each of them in the new grid.
        cell=np.empty(k, np.int32),
        # Its count in ``walk.correct``, then its place on the next level.
        at=np.empty(k, np.int32),
        # First boundary at each stage.
        low=np.empty(d, np.int64),
        # Groups at each stage.
        span=np.empty(d, np.int64),
        # Correct samples that exiting a group gains.
        gains=np.zeros(groups, np.int32),
        # Cost that exiting a group saves.
        saved=np.zeros(groups),
        # The same of samples open at several stages, less their value where correct.
        extra=np.zeros(groups),
        # Correct samples that those gain.
        extra_gains=np.zeros(groups, np.int32),
        # New number of a group or boundary.
        label=np.zeros(groups, np.int32),
        # Slot in the new grid of what is before the box, of each group, and of what is after it.
        slot_of=np.zeros((d, k + 2), np.int32),
        # Places of the samples open at several stages.
        several=np.empty(k, np.int32),
        # The number of them.
        several_count=np.zeros(1, np.int64),
        # Of a sample that exits at each stage, beyond the first model: a share of k samples.
        price=np.zeros(d + 1),
        # Stretches of correct samples, one per row (see ``covered``).
        stack=np.zeros((LINES + 1, 6)),
        # If all that are open at a single stage pass it: the correct ones, and what they cost.
        passing_correct=np.zeros(1, np.int64),
        passing_cost=np.zeros(1),
    )


def new_root(k: int, d: int, n_cells: int, n_correct: int) -> Root:
    """What all cascades that share all models but the last have in common."""
    return Root(
        # Of each stage's samples: 2 · slot + correct, and the boundary at or before their group
        # (see :func:`cascadelib.fronts.cascades.root_of`).
        code=np.empty((d, k), np.uint8),
        number=np.empty((d, k), np.int32),
        # Index of a sample in ``correct``.
        index=np.empty(k, np.int32),
        # The sample at each place.
        order=np.empty(k, np.int32),
        # The place of each sample.
        place=np.empty(k, np.int32),
        # The bits of the sample at each place, the last model correct.
        bits=np.empty(k, np.int32),
        # Whether these, and the samples' groups by place, are there.
        ordered=np.zeros(1, np.int64),
        # As ``walk.correct``, without the last model.
        correct=np.empty(n_correct // 2, np.int32),
        # As ``walk.all``.
        all=np.empty(n_cells, np.int32),
    )
