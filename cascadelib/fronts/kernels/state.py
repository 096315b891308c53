"""The best cascades found so far, by number of correct samples; what pruning compares with.

``Best`` is a tuple of four arrays over n = 0 … k correct samples:

* ``reach`` float64 [k + 1]: least cost found so far with *at least* n correct, shared by threads without locks;
* ``exact`` float64 [k + 1]: cost of the cascade noted at exactly n (a thread's own);
* ``where`` int64 [k + 1, 1 + 2D]: that cascade: its number, its D boundaries, and how many samples reach stages
  2 … D + 1 (shorter cascades end in zeros);
* ``floor`` float64 [k + 1]: least cost of any box that a tolerance skipped, at its most optimistic n.

A boundary e counts groups of equal confidence, surest first: samples in groups 0 … e − 1 exit. So ties exit
together, e = 0 never exits, and e = number of groups always does.

**What may be stale, and why no result depends on it.** Only ``reach`` is shared (and the tolerance, which can only
grow, and leaves what it skips in ``floor``). Between a thread's look at ``reach[n]`` and its write another thread may
have written less: the entry then *rises*, above what that other thread itself has noted, or stays above its
neighbours. But every value ever written is the cost of a cascade that some thread has noted with at least n correct.
So ``reach`` may only say that a cascade or a box is not worth looking at (a stale value says so later, never wrongly),
or be the slope of a line (any slope gives a bound); what is written is decided by the thread's own entry alone, in the
total order of :func:`comes_first`, in which an entry can only fall. A point of the front is undercut by nothing, so
that no value of ``reach`` holds it back, and :func:`merge_best` takes the first of all threads by the same order:
the same cascade at the same thresholds, whatever threads, processes and rounds did when.
"""

from collections import namedtuple

import numpy as np

from ..._kernels import kernel


def new_best(n_samples, stages):
    """An empty ``Best`` for cascades of up to ``stages`` models: nothing found, every cost infinite."""
    infinite = np.full(n_samples + 1, np.inf)
    where = np.full((n_samples + 1, 1 + 2 * (stages - 1)), -1, np.int64)
    return infinite, infinite.copy(), where, infinite.copy()


def same_reach(best):
    """An empty ``Best`` that shares the ``reach`` of another: what a thread writes to."""
    reach, exact, where, floor = best
    return reach, np.full_like(exact, np.inf), np.full_like(where, -1), np.full_like(floor, np.inf)


def merge_best(best, others):
    """The first of several at each n by :func:`comes_first`, in place, whoever found it first."""
    reach, exact, _, floor = best
    for other in others:
        merge_entries(best, other)
        np.minimum(floor, other[3], out=floor)
    np.minimum(reach, np.minimum.accumulate(exact[::-1])[::-1], out=reach)


@kernel
def merge_entries(best, other):
    """Take over the cascades of another Best that come before this one's."""
    most = best[2].shape[1] // 2
    for n in range(len(best[1])):
        if comes_first(best, n, other[1][n], other[2][n, 0], other[2][n, 1 + most :]):
            best[1][n], best[2][n] = other[1][n], other[2][n]


@kernel(_nrt=False)
def comes_first(best, n, cost, cascade, at):
    """Whether a cascade comes before the one noted at n: by cost, then number, then the samples ``at`` stages 2, 3, ….

    The cost, the number and these counts settle which samples exit where, so that no two different ones are equal.
    """
    exact, where = best[1], best[2]
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
    reach = best[0]
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


@kernel(_nrt=False)
def worth(best, n, cost, cascade, at, tolerance):
    """Whether a box whose cascades have at most n correct, cost at least this and pass at least so many on must be
    searched.

    One that only the tolerance (float64 [1], read anew each time: infinite once time is up) skips leaves its cost in
    ``floor``.
    """
    if not improves(best, n, cost, cascade, at):
        return False
    reach, floor = best[0], best[3]
    if tolerance[0] > 0 and reach[n] <= (1 + tolerance[0]) * cost:
        floor[n] = min(floor[n], cost)
        return False
    return True


LINES = 3  # see most_along

MAX_MODELS = 8
ROOT_BINS = {2: 80, 3: 22, 4: 10, 5: 6, 6: 4, 7: 3}
LEVELS = 24
LEAST_BOXES, MOST_BOXES = 32, 2048

Workspace = namedtuple(
    "Workspace",
    # a level of the search: samples in cell order, the grid over them, the boxes yet to open
    "group bits start maps base slots width top inner cells boxes state found opened "
    # the grid that is walked, and the state of the walk
    "right all right_at all_at ones passing j gain fixed through cost boundaries "
    # a box that is opened: its samples, low ends, groups, what exiting each group gains, their new numbers and slots
    "kept cell low span gains label slot_of "
    # for its bound: what exiting each group saves, samples open at several stages, costs of each exit, lines
    "saved several price lines sums "
    # the root of all cascades that share all models but the last
    "index order root_right root_all",
)


def root_bins(d):
    """Bins a stage of the root's grid for d boundaries."""
    return ROOT_BINS[d]


def workspace(k, d):
    """Room for a thread to search cascades of d + 1 models on k samples; pages are only used when touched."""
    slots = root_bins(d) + 2
    cells = max(slots**d, MOST_BOXES * 3**d if d < 4 else 0, 4**d)
    rights, alls = 2 * (2**d) * cells, cells
    most_boxes = max(root_bins(d) ** d, MOST_BOXES)
    i32, i64 = np.int32, np.int64
    return Workspace(
        np.empty((LEVELS, d, k), i32),
        np.empty((LEVELS, k), i32),
        np.empty((LEVELS, cells + 1), i32),
        np.empty((LEVELS, d, k + 2), i32),
        np.zeros((LEVELS, 1 + d), i64),
        *(np.empty((LEVELS, d), i64) for _ in range(5)),
        np.empty((LEVELS, most_boxes, d), i32),
        np.empty((LEVELS, most_boxes, 1 + d), i64),
        *(np.zeros(LEVELS, i64) for _ in range(2)),
        np.empty(2 * rights, i32),
        np.empty(2 * alls, i32),
        *(np.empty(d, i64) for _ in range(2)),
        *(np.empty((d, max(slots, k + 3)), i64) for _ in range(2)),
        *(np.zeros(d, i64) for _ in range(4)),
        np.zeros(d),
        np.zeros(d, i64),
        *(np.empty(k, i32) for _ in range(2)),
        *(np.empty(d, i64) for _ in range(2)),
        *(np.zeros((d, k + 1), i32) for _ in range(3)),
        np.zeros((d, k + 1)),
        np.empty(k, i32),
        np.zeros(d + 1),
        np.zeros((LINES, 2)),
        np.zeros(3),
        *(np.empty(k, i32) for _ in range(2)),
        np.empty(rights // 2, i32),
        np.empty(cells, i32),
    )
