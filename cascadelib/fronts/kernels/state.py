"""The best cascades found so far, by number of correct samples; what pruning compares with.

``Best`` is a tuple of four arrays over n = 0 … k correct samples:

* ``reach`` float64 [k + 1]: least cost found so far with *at least* n correct, shared by threads without locks;
* ``exact`` float64 [k + 1]: cost of the cascade noted at exactly n (a thread's own);
* ``where`` int64 [k + 1, 1 + 2D]: that cascade: its number, its D boundaries, and how many samples reach stages
  2 … D + 1 (shorter cascades end in zeros);
* ``floor`` float64 [k + 1]: least cost of any box that a tolerance skipped, at its most optimistic n.

A boundary e counts groups of equal confidence, surest first: samples in groups 0 … e − 1 exit. So ties exit
together, e = 0 never exits, and e = number of groups always does.

Why no result depends on how threads race for ``reach``: docs/architecture.md, *Threads*.
"""

from collections import namedtuple

import numpy as np

from ..._kernels import Room, inner, kernel

Best = namedtuple("Best", "reach exact where floor")


def new_best(n_samples, stages):
    """An empty ``Best`` for cascades of up to ``stages`` models: nothing found, every cost infinite."""
    reach, exact, floor = np.full((3, n_samples + 1), np.inf)
    where = np.full((n_samples + 1, 1 + 2 * (stages - 1)), -1, np.int64)
    return Best(reach, exact, where, floor)


def same_reach(best):
    """An empty ``Best`` that shares the ``reach`` of another: what a thread writes to."""
    return new_best(len(best.reach) - 1, best.where.shape[1] // 2 + 1)._replace(reach=best.reach)


def merge_best(best, others):
    """The first of several at each n by :func:`comes_first`, in place, whoever found it first."""
    for other in others:
        merge_entries(best, other)
        np.minimum(best.floor, other.floor, out=best.floor)
    np.minimum(best.reach, np.minimum.accumulate(best.exact[::-1])[::-1], out=best.reach)


@inner
def copy(target, source, size):
    """target[:size] = source[:size], without the checks and copies of numba's slices."""
    for x in range(size):
        target[x] = source[x]


@kernel
def merge_entries(best, other):
    """Take over the cascades of another Best that come before this one's."""
    most = best.where.shape[1] // 2
    for n in range(len(best.exact)):
        if comes_first(best, n, other.exact[n], other.where[n, 0], other.where[n, 1 + most :]):
            best.exact[n] = other.exact[n]
            copy(best.where[n], other.where[n], 1 + 2 * most)


@inner
def comes_first(best, n, cost, cascade, at):
    """Whether a cascade comes before the one noted at n: by cost, then number, then the samples ``at`` stages 2, 3, …,
    which settle who exits where: no two different ones are equal."""
    exact, where = best.exact, best.where
    if cost != exact[n]:
        return cost < exact[n]
    if cascade != where[n, 0]:
        return cascade < where[n, 0]
    most = where.shape[1] // 2
    for i in range(len(at)):
        if at[i] != where[n, 1 + most + i]:
            return at[i] < where[n, 1 + most + i]
    return False


@kernel(_nrt=False)
def improves(best, n, cost, cascade, at):
    """Whether a cascade with n correct samples at this cost, and so many ``at`` stages 2, 3, …, would be noted."""
    reach = best.reach
    if reach[n] < cost or (n + 1 < len(reach) and reach[n + 1] <= cost):
        return False
    return comes_first(best, n, cost, cascade, at)


@kernel(_nrt=False)
def note(best, n, cost, cascade, boundaries, at):
    """Enter a cascade that :func:`improves`: its boundaries [d] and the samples at stages 2 … d + 1 [d]."""
    reach, exact, where, _ = best
    most = where.shape[1] // 2
    exact[n] = cost
    where[n, 0], where[n, 1:] = cascade, 0
    for i in range(len(boundaries)):
        where[n, 1 + i], where[n, 1 + most + i] = boundaries[i], at[i]
    while n >= 0 and reach[n] > cost:
        reach[n] = cost
        n -= 1


@inner
def worth(best, n, cost, cascade, at, tolerance):
    """Whether a box whose cascades have at most n correct, cost at least this and pass on at least ``at`` must be
    searched. One that only the tolerance (float64 [1], read anew each time: infinite once time is up) skips leaves its
    cost in ``floor``."""
    if not improves(best, n, cost, cascade, at):
        return False
    if tolerance[0] > 0 and best.reach[n] <= (1 + tolerance[0]) * cost:
        best.floor[n] = min(best.floor[n], cost)
        return False
    return True


LINES = 12  # below the costs of a box, at most: see covered in cascadelib.fronts.kernels.bounds

MAX_MODELS = 8
ROOT_BINS = {
    2: 80,
    3: 22,
    4: 10,
    5: 6,
    6: 4,
    7: 3,
}  # bins a stage of the root's grid, by its number of boundaries d
LEVELS = 24
LEAST_BOXES, MOST_BOXES = 32, 2048

# What the kernels for cascades of d + 1 models on k samples write to, a thread each; see workspace for every field.
Workspace = namedtuple("Workspace", "levels walk box root")
Levels = namedtuple(
    "Levels", "group bits start maps base slots width top inner cells boxes state found opened"
)
Walk = namedtuple(
    "Walk", "right all right_at all_at ones passing j gain fixed through cost boundaries"
)
Box = namedtuple(
    "Box", "kept cell low span gains saved extra extra_gains label slot_of several price stack sums"
)
Root = namedtuple("Root", "index order right all")


def workspace(k, d):
    """Room for a thread to search cascades of d + 1 models on k samples; pages are only used when touched."""
    slots = ROOT_BINS[d] + 2
    n_cells = max(slots**d, MOST_BOXES * 3**d if d < 4 else 0, 4**d)
    n_boxes, n_right, n_slots = (
        max(ROOT_BINS[d] ** d, MOST_BOXES),
        2 ** (d + 1) * n_cells,
        max(slots, k + 3),
    )
    i32, i64 = np.int32, np.int64
    levels = Levels(  # of the depth-first search; a sample's place is that in the order of the level's cells
        group=np.empty((LEVELS, d, k), i32),  # of a sample at each stage, −1 before the box
        bits=np.empty((LEVELS, k), i32),  # of a sample: bit i set where stage i + 1 is right
        start=np.empty((LEVELS, n_cells + 1), i32),  # first place of a cell
        maps=np.empty(
            (LEVELS, d, k + 2), i32
        ),  # boundary of the level → boundary of the whole search
        base=np.zeros(
            (LEVELS, 1 + d), i64
        ),  # settled samples: the correct ones, those at stages 2 … d + 1
        slots=np.empty((LEVELS, d), i64),  # of each stage's grid
        width=np.empty((LEVELS, d), i64),  # groups a bin
        top=np.empty((LEVELS, d), i64),  # the last boundary
        inner=np.empty((LEVELS, d), i64),  # stride of a half slot of each stage in ``walk.right``
        cells=np.empty((LEVELS, d), i64),  # stride of a slot of each stage in ``walk.all``
        boxes=np.empty((LEVELS, n_boxes, d), i32),  # to be opened: slot at each stage
        state=np.empty(
            (LEVELS, n_boxes, 1 + d), i64
        ),  # theirs: most correct samples, fewest at stages 2 … d + 1
        found=np.zeros(LEVELS, i64),  # number of boxes listed
        opened=np.zeros(LEVELS, i64),  # number of them done with
    )
    walk = Walk(  # over the grid of one level (see cascadelib.fronts.kernels.grid)
        right=np.empty(
            2 * n_right, i32
        ),  # samples by slot and correctness, then the tails of stages 2 … d
        all=np.empty(2 * n_cells, i32),  # samples by slot, then the tails of stages 2 … d
        right_at=np.empty(d, i64),  # where each stage begins in ``right``
        all_at=np.empty(d, i64),  # where each stage begins in ``all``
        ones=np.empty((d, n_slots), i64),  # samples of each slot that are right at the stage
        passing=np.empty((d, n_slots), i64),  # samples of each slot
        j=np.zeros(d, i64),  # present slot of each stage
        gain=np.zeros(d, i64),  # correct samples settled before each stage
        fixed=np.zeros(d, i64),  # correct samples settled once the stage is at its present slot
        through=np.zeros(d, i64),  # samples that each stage passes on
        cost=np.zeros(d),  # of the stages up to each
        boundaries=np.zeros(d, i64),  # of the corner that is noted, in those of the whole search
    )
    box = Box(  # that is opened (see cascadelib.fronts.kernels.bounds)
        kept=np.empty(k, i32),  # places of the samples gathered
        cell=np.empty(k, i32),  # of each of them in the new grid
        low=np.empty(d, i64),  # first boundary at each stage
        span=np.empty(d, i64),  # groups at each stage
        gains=np.zeros((d, k + 1), i32),  # correct samples that exiting a group gains
        saved=np.zeros((d, k + 1)),  # cost that exiting a group saves
        extra=np.zeros(
            (d, k + 1)
        ),  # the same of samples open at several stages, less their value where correct
        extra_gains=np.zeros((d, k + 1), i32),  # correct samples that those gain
        label=np.zeros((d, k + 1), i32),  # new number of a group or boundary
        slot_of=np.zeros((d, k + 1), i32),  # slot of a group in the new grid
        several=np.empty(k, i32),  # places of the samples open at several stages
        price=np.zeros(
            d + 1
        ),  # of a sample that exits at each stage, beyond the first model: a share of k samples
        stack=np.zeros(
            (LINES + 1, 6)
        ),  # stretches of correct samples, a row each (see ``covered``)
        sums=np.zeros(
            3
        ),  # if all singles pass on: correct, their cost; number of samples in ``several``
    )
    root = Root(  # of all cascades that share all models but the last
        index=np.empty(k, i32),  # of a sample in ``right``
        order=np.empty(k, i32),  # the sample at each place
        right=np.empty(n_right // 2, i32),  # as ``walk.right``, without the last model
        all=np.empty(n_cells, i32),  # as ``walk.all``
    )
    return Room(Workspace(levels, walk, box, root))
