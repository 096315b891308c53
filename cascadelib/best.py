"""The best cascades found so far, by number of correct samples; what pruning compares with.

``Best`` is a tuple of four arrays over n = 0 … k correct samples:

* ``reach`` float64 [k + 1]: least cost found so far with *at least* n correct. Threads share it: every value ever
  written is the cost of a real cascade, so that a lost update only delays pruning;
* ``exact`` float64 [k + 1]: cost of the cascade noted at exactly n (a thread's own);
* ``where`` int64 [k + 1, 1 + 2D]: that cascade: its number, its D boundaries, and how many samples reach stages
  2 … D + 1 (shorter cascades end in zeros);
* ``floor`` float64 [k + 1]: least cost of any box that a tolerance skipped, at its most optimistic n.

A boundary e counts groups of equal confidence, surest first: samples in groups 0 … e − 1 exit. So ties exit
together, e = 0 never exits, and e = number of groups always does.
"""

import numpy as np
from numba import njit


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
    """The best of several, in place: at equal cost the cascade of the lowest number, whoever found it first."""
    reach, exact, where, floor = best
    for _, other_exact, other_where, other_floor in others:
        lower = (other_exact == exact) & (other_where[:, 0] < where[:, 0])
        better = (other_exact < exact) | (lower & np.isfinite(exact))
        exact[better], where[better] = other_exact[better], other_where[better]
        np.minimum(floor, other_floor, out=floor)
    np.minimum(reach, np.minimum.accumulate(exact[::-1])[::-1], out=reach)


@njit(nogil=True, cache=True, _nrt=False)
def improves(best, n, cost, cascade):
    """Whether a cascade with n correct samples at this cost would be noted; ties go to the lowest number."""
    reach, exact, where, _ = best
    if cost != reach[n]:
        return cost < reach[n]
    if n + 1 < len(reach) and reach[n + 1] <= cost:
        return False
    return exact[n] > cost or where[n, 0] > cascade


@njit(nogil=True, cache=True, _nrt=False)
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


@njit(nogil=True, cache=True, _nrt=False)
def worth(best, n, cost, cascade, tolerance):
    """Whether a box whose cascades have at most n correct and cost at least this must be searched.

    One that only the tolerance (float64 [1], read anew each time: infinite once time is up) skips leaves its cost in
    ``floor``.
    """
    if not improves(best, n, cost, cascade):
        return False
    reach, floor = best[0], best[3]
    if tolerance[0] > 0 and reach[n] <= (1 + tolerance[0]) * cost:
        floor[n] = min(floor[n], cost)
        return False
    return True
