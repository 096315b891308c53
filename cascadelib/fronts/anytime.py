"""Search within a time limit, in rounds of falling tolerance, the worst heads of each first.

A *head* is a cascade without its last model. The result of a search within a time limit is as good
as its largest certified gap, which one head determines. So all heads are bounded first. Then each
round has a tolerance, and searches the heads whose bounds exceed it, the largest excess first.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .cascades import Search
from .kernels.state import Best, least_onwards
from .parallel import BOXES, CORNERS, on_workers

# Tolerances of the rounds before the last, at the accuracies of most points of the front and at
# higher ones. The first round opens no box and bounds every cascade.
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
MOST_POINTS = 0.6  # share of the points that counts as most points
MARGIN = 1.5  # ratio of costs up to which more expensive cascades count as well
MOST_STEPS = 1024  # largest number of steps of accuracy, and of ratios of cost, per head
MOST_BOUNDS = 2**23  # largest number of bounds of all heads together
SMALL = 1e-200  # added to costs, which may be zero
ROUNDING = 1e-9
SHOW_SECONDS = 1.0  # between two updates of a progress bar


class Floors:
    """Hold a lower bound on the cost of the unsearched cascades of each head, by accuracy.

    Accuracies are divided into G steps, narrow in accuracy and in known least costs. A bound holds
    for cascades with at least the first number of correct samples of a step.

    Parameters
    ----------
    heads : sequence of (head, [(number, last model)])
        See :class:`cascadelib.fronts.cascades.Cascades`.
    cost : float array of shape (n_models,)
        Cost of each model.
    reach : float array of shape (k + 1,)
        Known least cost by the least number of correct samples.
    """

    def __init__(self, heads: Sequence, cost: Array, reach: Array) -> None:
        self.heads = heads
        self.shown = 0.0
        self.row = {head: row for row, (head, _) in enumerate(heads)}
        known = reach[np.isfinite(reach)]
        steps = max(min(MOST_STEPS, MOST_BOUNDS // len(heads)), 2)
        lowest = max(known[0], 1e-9 * known[-1]) + SMALL
        within = np.searchsorted(known, np.geomspace(lowest, known[-1] + SMALL, steps))
        # the front will get points between and beyond the known ones
        evenly = np.linspace(np.searchsorted(known, known[0], "right"), len(reach), steps)
        self.starts = np.unique(np.concatenate([[0], within, evenly.astype(int)]))
        self.starts = self.starts[self.starts < len(reach)]
        self.last = np.append(self.starts[1:], len(reach)) - 1
        firsts = np.array([cost[head[0]] for head, _ in heads])
        # the bound of a head that was never searched is the cost of its first model
        self.least = np.repeat(firsts[:, None], len(self.starts), axis=1)

    def update(self, heads: Sequence, floor: Array) -> None:
        """Raise the bounds of some heads to `floor`, float (k + 1,), and reset it.

        `floor` is the least cost of skipped cascades by their largest number of correct samples.
        """
        least = least_onwards(np.minimum.reduceat(floor, self.starts))
        for head, _ in heads:
            own = self.least[self.row[head]]
            np.maximum(own, least, out=own)
        floor[:] = np.inf

    def worst_first(self, known: Array, tolerance: Array) -> list:
        """Return the heads whose excess is at least the tolerance, largest excess first.

        Known costs and tolerance are float (k + 1,). Ties count, since the first of equally cheap
        cascades must be found.
        """
        with np.errstate(invalid="ignore"):
            excess = (known[self.last] + SMALL) / (self.least + SMALL) - 1
        excess[np.isinf(self.least)] = -1  # it is fully searched
        allowed = tolerance[self.last]
        ratio = (excess / np.maximum(allowed, 1e-6)).max(axis=1)
        order = np.argsort(-ratio, kind="stable")
        exceeds = (excess >= allowed).any(axis=1)
        return [self.heads[row] for row in order[exceeds[order]]]

    def show(self, bar: Any, reach: Array) -> None:
        """Show the number of points and their certified gaps in a progress bar, once a second."""
        now = time.monotonic()
        if bar.disable or now < self.shown + SHOW_SECONDS:
            return
        self.shown = now
        points = np.flatnonzero(np.isfinite(reach) & (reach < np.append(reach[1:], np.inf)))
        floor = least_onwards(self.total())[np.append(0, points[:-1] + 1)]
        gap = np.maximum((reach[points] + SMALL) / (floor + SMALL) - 1, 0)
        certified = f"median gap {np.median(gap):.2%}, largest {gap.max():.3%}"
        bar.set_postfix_str(f"{len(points)} points, {certified}")

    def total(self) -> Array:
        """Return the bound of all heads, as the ``floor`` of a :class:`.kernels.state.Best`."""
        floor = np.full(self.last[-1] + 1, np.inf)
        floor[self.last] = self.least.min(axis=0)
        return floor


def tolerance_of(reach: Array, most: float, beyond: float) -> Array:
    """Return the tolerance at each number of correct samples, float (k + 1,).

    It is `most` at the accuracies of most points of the front.
    """
    rises = reach[:-1] < reach[1:]
    last = np.searchsorted(np.cumsum(rises), MOST_POINTS * rises.sum())
    return np.where(reach <= MARGIN * reach[last], most, beyond)


def search_in_time(search: Search, heads: Sequence, best: Best) -> None:
    """Search cascades of three models and more until time is up.

    ``best.floor`` bounds the cascades that were not searched. It is inf if all were searched.
    """
    floors = Floors(heads, search.cost, best.reach)
    certain = np.zeros(len(best.reach))  # bound that the completed rounds imply
    complete = True
    for pair in (*COARSER, (0, 0)):
        tolerance = np.maximum(tolerance_of(best.reach, *pair), search.tolerance)
        # More expensive cascades beyond the best known accuracy wait for the last round.
        highest = MARGIN * best.reach[np.isfinite(best.reach)][-1] if max(pair) else np.inf
        bounding = pair == COARSER[0]
        known = np.minimum(best.reach, highest)
        worst = heads if bounding else floors.worst_first(known, tolerance)
        if worst and complete:
            now = search._replace(tolerance=tolerance, coarse=bounding)
            complete = on_workers(now, worst, best, CORNERS + BOXES, floors)
        if complete:
            bound = np.minimum(best.reach, highest) / ((1 + tolerance) * (1 + ROUNDING))
            certain = np.maximum(certain, least_onwards(bound))
    best.floor[:] = np.maximum(least_onwards(floors.total()), certain)
    if complete and search.tolerance == 0:
        best.floor[:] = np.inf
