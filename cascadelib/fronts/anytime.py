"""The search under a time limit: rounds of falling tolerance, the worst heads of each first.

A *head* is all of a cascade but its last model. Under a time limit a search is worth its largest
certified gap, which one head sets. So all heads are bounded first; then each round searches, to a
tolerance, those whose bounds leave more than that, the one that leaves most first.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .cascades import Search
from .kernels.state import Best, least_onwards
from .parallel import BOXES, CORNERS, on_workers

# Tolerances of the rounds before the last: at the accuracies where most points of the front lie,
# and at those beyond. The first opens nothing, and bounds every cascade.
COARSER = (
    (1e300, 1e300),
    (0.45, 0.45),
    (0.045, 0.45),
    (0.045, 0.2),
    (0.02, 0.1),
    (0.01, 0.05),
    (0.01, 0.02),
    (0.01, 0.01),
)
MOST_POINTS = 0.6  # the share of the points that "most" means …
MARGIN = 1.5  # … and how much dearer the bound is looked after, since dearer cascades count, too
MOST_STEPS = 1024  # of equal accuracy, and as many of equal ratios of cost, for each head …
MOST_BOUNDS = 2**23  # … and for all heads together
SMALL = 1e-200  # costs may be zero
ROUNDING = 1e-9
SHOWN_EVERY = 1.0  # seconds, and a bar is up to date


class Floors:
    """What no cascade of each head costs less than, by accuracy, where it was not searched.

    Accuracies lie in G steps, narrow in accuracy and in the least costs that are known; a bound
    holds for the cascades of its head with at least the step's first number of correct samples.

    Parameters
    ----------
    heads : sequence of (head, [(number, last model)])
        See :class:`cascadelib.fronts.cascades.Cascades`.
    cost : float array of shape (M,)
    reach : float array of shape (k + 1,)
        Least cost known of at least so many correct samples.
    """

    def __init__(self, heads: Sequence, cost: Array, reach: Array) -> None:
        self.heads = heads
        self.shown = 0.0
        self.row = {head: row for row, (head, _) in enumerate(heads)}
        known = reach[np.isfinite(reach)]
        steps = max(min(MOST_STEPS, MOST_BOUNDS // len(heads)), 2)
        lowest = max(known[0], 1e-9 * known[-1]) + SMALL
        within = np.searchsorted(known, np.geomspace(lowest, known[-1] + SMALL, steps))
        # the front will have points where there are none yet, and grow beyond what is reached
        evenly = np.linspace(np.searchsorted(known, known[0], "right"), len(reach), steps)
        self.starts = np.unique(np.concatenate([[0], within, evenly.astype(int)]))
        self.starts = self.starts[self.starts < len(reach)]
        self.last = np.append(self.starts[1:], len(reach)) - 1
        firsts = np.array([cost[head[0]] for head, _ in heads])
        # a head that was not even bounded costs no less than its first model
        self.least = np.repeat(firsts[:, None], len(self.starts), axis=1)

    def note(self, heads: Sequence, floor: Array) -> None:
        """Note that cascades of some heads that were not searched cost no less than ``floor``,
        float [k + 1], by the most correct samples that they may have; it is emptied."""
        least = least_onwards(np.minimum.reduceat(floor, self.starts))
        for head, _ in heads:
            own = self.least[self.row[head]]
            np.maximum(own, least, out=own)
        floor[:] = np.inf

    def worst_first(self, known: Array, tolerance: Array) -> list:
        """The heads that leave the tolerance or more below the costs that are known, the one that
        leaves most first; both float [k + 1]. Ties count: of cascades as cheap one comes first."""
        with np.errstate(invalid="ignore"):
            excess = (known[self.last] + SMALL) / (self.least + SMALL) - 1
        excess[np.isinf(self.least)] = -1  # nothing of it is left
        allowed = tolerance[self.last]
        times = (excess / np.maximum(allowed, 1e-6)).max(axis=1)
        order = np.argsort(-times, kind="stable")
        leaves = (excess >= allowed).any(axis=1)
        return [self.heads[row] for row in order[leaves[order]]]

    def show(self, bar: Any, reach: Array) -> None:
        """Say in a progress bar, now and then, how many points there are, and what is certified."""
        now = time.monotonic()
        if bar.disable or now < self.shown + SHOWN_EVERY:
            return
        self.shown = now
        points = np.flatnonzero(np.isfinite(reach) & (reach < np.append(reach[1:], np.inf)))
        floor = least_onwards(self.total())[np.append(0, points[:-1] + 1)]
        gap = np.maximum((reach[points] + SMALL) / (floor + SMALL) - 1, 0)
        certified = f"median gap {np.median(gap):.2%}, largest {gap.max():.3%}"
        bar.set_postfix_str(f"{len(points)} points, {certified}")

    def total(self) -> Array:
        """The bound over all heads, as the ``floor`` of a :class:`.kernels.state.Best`."""
        floor = np.full(self.last[-1] + 1, np.inf)
        floor[self.last] = self.least.min(axis=0)
        return floor


def tolerance_of(reach: Array, most: float, beyond: float) -> Array:
    """The tolerance at each number of correct samples, float [k + 1]: ``most`` where most points of
    the front lie."""
    rises = reach[:-1] < reach[1:]
    last = np.searchsorted(np.cumsum(rises), MOST_POINTS * rises.sum())
    return np.where(reach <= MARGIN * reach[last], most, beyond)


def search_in_time(search: Search, heads: Sequence, best: Best) -> None:
    """Note every threshold of cascades of three models and more, until time is up.

    What was not searched by then is bounded by ``floor``, which is infinite if all was.
    """
    floors = Floors(heads, search.cost, best.reach)
    certain = np.zeros(len(best.reach))  # by the rounds that were in time: what they left is dearer
    complete = True
    for pair in (*COARSER, (0, 0)):
        tolerance = np.maximum(tolerance_of(best.reach, *pair), search.tolerance)
        # What is more accurate than anything known, and dearer, has time until the last round.
        dearest = MARGIN * best.reach[np.isfinite(best.reach)][-1] if max(pair) else np.inf
        bounding = pair == COARSER[0]
        known = np.minimum(best.reach, dearest)
        worst = heads if bounding else floors.worst_first(known, tolerance)
        if worst and complete:
            now = search._replace(tolerance=tolerance, coarse=bounding)
            complete = on_workers(now, worst, best, CORNERS + BOXES, floors)
        if complete:
            left = np.minimum(best.reach, dearest) / ((1 + tolerance) * (1 + ROUNDING))
            certain = np.maximum(certain, least_onwards(left))
    best.floor[:] = np.maximum(least_onwards(floors.total()), certain)
    if complete and search.tolerance == 0:
        best.floor[:] = np.inf
