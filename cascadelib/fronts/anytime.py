"""Search within a time limit, in rounds of falling tolerance.

A *prefix* is here a cascade without its last model. A search within a time limit is as good as its
largest certified gap, and the bound of a single prefix determines this gap. The first round
therefore bounds all prefixes. Each later round has a tolerance. The excess of a prefix is the share
by which the known costs exceed its bound. A round searches the prefixes whose excess is at least
the tolerance, the largest excess first.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .cascades import Search
from .kernels.state import Best, least_onwards
from .parallel import on_workers

# Tolerances of all rounds but the last. In each pair, the first applies at the accuracies of most
# points of the front, the second at higher accuracies. The first round opens no box.
COARSE_ROUNDS = (
    (1e300, 1e300),
    (0.45, 0.45),
    (0.045, 0.45),
    (0.045, 0.2),
    (0.02, 0.1),
    (0.01, 0.05),
    (0.01, 0.02),
    (0.01, 0.01),
)
MOST_POINTS = 0.6  # "most points" are this share of the front, cheapest points first
MARGIN = 1.5  # cascades up to this multiple of the largest cost are included
MOST_STEPS = 1024  # largest number of steps per prefix, each in accuracy and in log cost
MOST_BOUNDS = 2**23  # largest number of bounds of all prefixes together
SMALL = 1e-200  # added to costs, which may be zero
ROUNDING = 1e-13  # relative error of a bound
UPDATE_SECONDS = 1.0  # between two updates of the progress bar


class Floors:
    """Hold a lower bound on the cost of the unsearched cascades of each prefix, by accuracy.

    The numbers of correct samples are divided into steps. Within a step, neither the accuracy nor
    the known least cost changes much. Each step has one bound. It holds for all cascades that have
    at least as many correct samples as the start of the step.

    Parameters
    ----------
    prefixes : sequence of (prefix, [(number, last model)])
        See :class:`cascadelib.fronts.cascades.Cascades`.
    cost : float array of shape (n_models,)
        Cost of each model.
    reach : float array of shape (k + 1,)
        Least known cost of a cascade with at least n correct samples, for n = 0, …, k.
    """

    def __init__(self, prefixes: Sequence, cost: Array, reach: Array) -> None:
        self.prefixes = prefixes
        self.last_update = 0.0  # of the progress bar
        self.row = {prefix: row for row, (prefix, _) in enumerate(prefixes)}
        known = reach[np.isfinite(reach)]
        steps = max(min(MOST_STEPS, MOST_BOUNDS // len(prefixes)), 2)
        lowest = max(known[0], 1e-9 * known[-1]) + SMALL
        within = np.searchsorted(known, np.geomspace(lowest, known[-1] + SMALL, steps))
        # The search will find points between and beyond the known ones.
        evenly = np.linspace(np.searchsorted(known, known[0], "right"), len(reach), steps)
        self.starts = np.unique(np.concatenate([[0], within, evenly.astype(int)]))
        self.starts = self.starts[self.starts < len(reach)]
        self.last = np.append(self.starts[1:], len(reach)) - 1
        firsts = np.array([cost[prefix[0]] for prefix, _ in prefixes])
        # Before the search of a prefix, its bound is the cost of its first model.
        self.least = np.repeat(firsts[:, None], len(self.starts), axis=1)

    def update(self, prefixes: Sequence, floor: Array) -> None:
        """Raise the bounds of some prefixes to `floor`, float (k + 1,), and reset `floor` to inf.

        floor[n] is the least cost of the skipped boxes in which n is the largest number of correct
        samples.
        """
        least = least_onwards(np.minimum.reduceat(floor, self.starts))
        for prefix, _ in prefixes:
            bound = self.least[self.row[prefix]]
            np.maximum(bound, least, out=bound)
        floor[:] = np.inf

    def worst_first(self, known: Array, tolerance: Array) -> list:
        """Return the prefixes whose excess is at least the tolerance, the largest excess first.

        Known costs and tolerance are float (k + 1,). A prefix whose excess equals the tolerance is
        included, since a tie is decided by the numbers of the cascades.
        """
        with np.errstate(invalid="ignore"):
            excess = (known[self.last] + SMALL) / (self.least + SMALL) - 1
        excess[np.isinf(self.least)] = -1  # completely searched
        allowed = tolerance[self.last]
        ratio = (excess / np.maximum(allowed, 1e-6)).max(axis=1)
        order = np.argsort(-ratio, kind="stable")
        exceeds = (excess >= allowed).any(axis=1)
        return [self.prefixes[row] for row in order[exceeds[order]]]

    def show_progress(self, bar: Any, reach: Array) -> None:
        """Show the number of points and their certified gaps in a progress bar, once a second."""
        now = time.monotonic()
        if bar.disable or now < self.last_update + UPDATE_SECONDS:
            return
        self.last_update = now
        points = np.flatnonzero(np.isfinite(reach) & (reach < np.append(reach[1:], np.inf)))
        floor = least_onwards(self.total())[np.append(0, points[:-1] + 1)]
        gap = np.maximum((reach[points] + SMALL) / (floor + SMALL) - 1, 0)
        certified = f"median gap {np.median(gap):.2%}, largest {gap.max():.3%}"
        bar.set_postfix_str(f"{len(points)} points, {certified}")

    def total(self) -> Array:
        """Return the bound of all prefixes in the form of ``Best.floor``, float (k + 1,)."""
        floor = np.full(self.last[-1] + 1, np.inf)
        floor[self.last] = self.least.min(axis=0)
        return floor


def search_rounds(search: Search, prefixes: Sequence, best: Best) -> None:
    """Search cascades of three or more models until the deadline, or completely without one.

    Afterwards ``best.floor`` bounds the cascades that were not searched. It is inf if the search
    was exact.
    """
    floors = Floors(prefixes, search.cost, best.reach)
    certain = np.zeros(len(best.reach))  # bound that the completed rounds imply
    complete = True
    rounds = COARSE_ROUNDS if search.deadline < np.inf else COARSE_ROUNDS[:1]
    for pair in (*rounds, (0, 0)):
        # The first tolerance holds at the accuracies of most points, the second at higher ones.
        rises = best.reach[:-1] < best.reach[1:]
        last = np.searchsorted(np.cumsum(rises), MOST_POINTS * rises.sum())
        most, beyond = pair
        tolerance = np.where(best.reach <= MARGIN * best.reach[last], most, beyond)
        tolerance = np.maximum(tolerance, search.tolerance)
        # Only the last round searches more expensive cascades beyond the best known accuracy.
        highest = MARGIN * best.reach[np.isfinite(best.reach)][-1] if max(pair) else np.inf
        bounding = pair == COARSE_ROUNDS[0]
        known = np.minimum(best.reach, highest)
        worst = prefixes if bounding else floors.worst_first(known, tolerance)
        if worst and complete:
            this_round = search._replace(tolerance=tolerance, coarse=bounding)
            complete = on_workers(this_round, worst, best, floors)
        if complete:
            bound = np.minimum(best.reach, highest) / ((1 + tolerance) * (1 + ROUNDING))
            certain = np.maximum(certain, least_onwards(bound))
    best.floor[:] = np.maximum(least_onwards(floors.total()), certain)
    if complete and search.tolerance == 0:
        best.floor[:] = np.inf
