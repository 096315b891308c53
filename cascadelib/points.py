"""The result of an exact search as plain arrays: points, their thresholds, and what the search certifies."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from .cascades import extensions
from .confidence import midway


@dataclass(frozen=True)
class Points:
    """A Pareto front as arrays, rising in cost and accuracy. P points of cascades of up to n models.

    accuracy, cost float64 [P]; models int64 [P, n]: rows of the input; thresholds float64 [P, n − 1]: exit when
    confidence (higher = surer) ≥ threshold, −inf "always", inf "never"; exit_rates float64 [P, n]: share of all
    samples that leave at each stage. Rows of shorter cascades end in −1, nan and 0.
    floor float64 [k + 1], or None where the search ran to its end: no cascade with at least n of k samples right
    that was not searched costs less than floor[n].
    """

    accuracy: np.ndarray
    cost: np.ndarray
    models: np.ndarray
    thresholds: np.ndarray
    exit_rates: np.ndarray
    floor: np.ndarray | None = None

    def lower_bound_at(self, accuracy):
        """No cascade of the lengths asked for reaches this accuracy at a lower cost, searched or not."""
        at = np.asarray(accuracy, np.float64)
        found = np.append(self.cost, np.inf)[np.searchsorted(self.accuracy, at, side="left")]
        if self.floor is None:
            return found[()]
        k = len(self.floor) - 1
        n = np.clip(np.ceil(at * k - 1e-9), 0, k + 1).astype(np.int64)
        return np.minimum(found, np.append(self.floor, np.inf)[n])[()]

    @property
    def gap(self):
        """float64 [P]: by how much of the least possible cost a point may be too dear, over the accuracies that it
        serves (above the previous point's, up to its own): 0 where the search was exact."""
        if self.floor is None:
            return np.zeros(len(self.cost))
        k = len(self.floor) - 1
        n = np.concatenate([[0], np.rint(self.accuracy[:-1] * k).astype(np.int64) + 1])
        return self.cost / np.minimum(self.cost, self.floor[n]) - 1


@njit(nogil=True, cache=True)
def neighbours(group, order, sure, boundaries):
    """For the thresholds of one cascade's points: the least confidence that exits and the largest that passes on among
    the samples that get there, nan where there is none: float64 [2, P, d].

    group int32 [d, k], order int64 [d, k] (by falling confidence), sure float64 [d, k], boundaries int64 [P, d].
    """
    d, k = group.shape
    out = np.full((2, *boundaries.shape), np.nan)
    for p in range(len(boundaries)):
        e = boundaries[p]
        for i in range(d):
            low, high = 0, k  # first position whose group is not below the boundary
            while low < high:
                middle = (low + high) // 2
                if group[i, order[i, middle]] < e[i]:
                    low = middle + 1
                else:
                    high = middle
            for side, x, move in ((0, low - 1, -1), (1, low, 1)):
                while 0 <= x < k and np.isnan(out[side, p, i]):
                    s = order[i, x]
                    here = True
                    for earlier in range(i):
                        here &= group[earlier, s] >= e[earlier]
                    if here:
                        out[side, p, i] = sure[i, s]
                    x += move
    return out


def front_rows(best):
    """The numbers of correct samples at which a Best holds a non-dominated cascade."""
    reach, exact = best[:2]
    return np.flatnonzero((exact == reach) & (reach < np.append(reach[1:], np.inf)) & np.isfinite(reach))


def naming(cost):
    """A function that replaces the models of a cascade that no sample reaches (arbitrary) by the cheapest that fit."""

    @cache
    def completed(reached, length):
        return next(extensions(cost, reached, length))

    return lambda cascade, at: completed(cascade[: 1 + np.count_nonzero(at[: len(cascade) - 1])], len(cascade))


def points_of(outcomes, best, cascade_of, cost):
    """The non-dominated entries of a Best as Points; cascade_of: number → models."""
    named = naming(cost)
    where, k, correct = best[2], len(best[0]) - 1, front_rows(best)
    d = where.shape[1] // 2
    boundaries, at = where[correct, 1 : 1 + d], where[correct, 1 + d :]
    models, thresholds = np.full((len(correct), d + 1), -1, np.int64), np.full((len(correct), d), np.nan)
    rates, rows_of = np.zeros((len(correct), d + 1)), {}
    for row, number in enumerate(where[correct, 0].tolist()):
        cascade = named(cascade_of(number), at[row])
        n = len(cascade)
        models[row, :n] = cascade
        rates[row, :n] = -np.diff([k, *at[row, : n - 1], 0]) / k
        rows_of.setdefault(cascade, []).append(row)
    for cascade, rows in rows_of.items():
        heads = [cascade[: i + 1] for i in range(len(cascade) - 1)]
        if heads:
            parts = (np.stack([f(h) for h in heads]) for f in (outcomes.groups, outcomes.order, outcomes.sure))
            thresholds[rows, : len(heads)] = midway(*neighbours(*parts, boundaries[rows, : len(heads)]))
    floor = np.minimum.accumulate(best[3][::-1])[::-1]
    floor = floor if np.isfinite(floor[0]) else None
    return Points(correct / k, best[1][correct], models, thresholds, rates, floor)
