"""Search exact fronts of samples that are correct or wrong, with one cost per model.

Pairs are swept. Cascades of three or more models are searched in rounds of falling tolerance. The
work is divided into parts, which threads or the tasks of an executor search. A search within a time
limit is as good as its largest certified gap, and the bound of a single part determines this gap.
The first round therefore bounds all parts. Each later round has a tolerance. The excess of a part
is the share by which the known costs exceed its bound. A round searches the parts whose excess is
at least the tolerance, the largest excess first.
"""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from math import comb

import numpy as np
from numpy import ndarray as Array

from .cascades import Search, cascades_of
from .front import Points, points_from
from .kernels.state import Best, improves, least_onwards, new_best, record
from .workers import Part, in_threads, numbered, on_workers, sweep_part

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
MOST_STEPS = 1024  # largest number of steps per part, each in accuracy and in log cost
MOST_BOUNDS = 2**22  # largest number of bounds of all parts together
MOST_PARTS = 2**17
SMALL = 1e-200  # added to costs, which may be zero
ROUNDING = 1e-13  # relative error of a bound
LARGE = 2e9  # cascades × samples from which promising cascades are searched first
# The first cascades are those with the largest product of closeness over their pairs. Each pass
# goes down to the next of these values.
CLOSENESS = (np.inf, 0.9, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06)


def search_counted(search: Search) -> Points:
    """Return the front of all cascades of a search's lengths at all thresholds."""
    outcomes = search.outcomes
    models = range(len(search.cost))
    k = len(outcomes.correct((0,)))
    if k == 0:
        raise ValueError("no samples: the split is empty")
    outcomes.prepare(cascades_of(search.cost, search.lengths))
    if search.lengths[-1] > 1:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # sorts run without the GIL
            list(pool.map(outcomes.groups, [(m,) for m in models]))
    best = new_best(k, search.lengths[-1])
    floor = np.full(k + 1, np.inf)
    for length in search.lengths:
        search = search._replace(length=length)
        record_first_models(search, best)
        if length == 2:
            in_threads(search, [Part((m,)) for m in models], best, run=sweep_part)
        elif length > 2:
            search_rounds(search, best)
        np.minimum(floor, best.floor, out=floor)
        best.floor[:] = np.inf
    best.floor[:] = floor
    return points_from(outcomes, best, search.cascades)


def record_first_models(search: Search, best: Best) -> None:
    """Record a cascade for each first model. All samples exit at this model.

    The front then has a point for each single model, however short the time limit is.
    """
    zeros = np.zeros(search.length - 1, np.int64)  # samples that reach the later stages
    singles = search._replace(length=1, full_length=search.length)
    for number, first in numbered(singles, (), np.arange(len(search.cost))):
        n = int(search.outcomes.correct((first,)).sum())
        if improves(best, n, search.cost[first], number, zeros):
            record(best, n, search.cost[first], number, zeros, zeros)


class Floors:
    """Hold a lower bound on the cost of the unsearched cascades of each part, by accuracy.

    The numbers of correct samples are divided into steps. Within a step, neither the accuracy nor
    the known least cost changes much. Each step has one bound. It holds for all cascades that have
    at least as many correct samples as the start of the step.

    Parameters
    ----------
    parts : sequence of Part
        The parts, each with another head.
    cost : float array of shape (n_models,)
        Cost of each model.
    reach : float array of shape (k + 1,)
        Least known cost of a cascade with at least n correct samples, for n = 0, …, k.
    """

    def __init__(self, parts: Sequence[Part], cost: Array, reach: Array) -> None:
        self.parts = parts
        self.row = {part.head: row for row, part in enumerate(parts)}
        known = reach[np.isfinite(reach)]
        steps = max(min(MOST_STEPS, MOST_BOUNDS // len(parts)), 2)
        lowest = max(known[0], 1e-9 * known[-1]) + SMALL
        within = np.searchsorted(known, np.geomspace(lowest, known[-1] + SMALL, steps))
        # The search will find points between and beyond the known ones.
        evenly = np.linspace(np.searchsorted(known, known[0], "right"), len(reach), steps)
        self.starts = np.unique(np.concatenate([[0], within, evenly.astype(int)]))
        self.starts = self.starts[self.starts < len(reach)]
        self.last = np.append(self.starts[1:], len(reach)) - 1
        firsts = cost[[part.head[0] for part in parts]]
        # Before the search of a part, its bound is the cost of its first model.
        self.least = np.repeat(firsts[:, None], len(self.starts), axis=1)

    def update(self, parts: Sequence[Part], floor: Array) -> None:
        """Raise the bounds of some parts to `floor`, float (k + 1,), and reset `floor` to inf.

        floor[n] is the least cost of the skipped boxes in which n is the largest number of correct
        samples.
        """
        least = least_onwards(np.minimum.reduceat(floor, self.starts))
        for part in parts:
            bound = self.least[self.row[part.head]]
            np.maximum(bound, least, out=bound)
        floor[:] = np.inf

    def worst_first(self, known: Array, tolerance: Array) -> list[Part]:
        """Return the parts whose excess is at least the tolerance, the largest excess first.

        Known costs and tolerance are float (k + 1,). A part whose excess equals the tolerance is
        included, since a tie is decided by the numbers of the cascades.
        """
        with np.errstate(invalid="ignore"):
            excess = (known[self.last] + SMALL) / (self.least + SMALL) - 1
        excess[np.isinf(self.least)] = -1  # completely searched
        allowed = tolerance[self.last]
        ratio = (excess / np.maximum(allowed, 1e-6)).max(axis=1)
        order = np.argsort(-ratio, kind="stable")
        exceeds = (excess >= allowed).any(axis=1)
        return [self.parts[row] for row in order[exceeds[order]]]

    def total(self) -> Array:
        """Return the bound of all parts in the form of ``Best.floor``, float (k + 1,)."""
        floor = np.full(self.last[-1] + 1, np.inf)
        floor[self.last] = self.least.min(axis=0)
        return floor


def divide_search(search: Search) -> list[Part]:
    """Return the parts of a search. Their heads are as long as their number allows."""
    length = search.length - 1
    while length > 1 and comb(len(search.cost), length) > MOST_PARTS:
        length -= 1
    heads = search.cascades.extensions((), length)
    return [Part(head) for head in heads if len(search.cascades.followers(head))]


def promising_parts(search: Search, closeness: Array, low: float, high: float) -> Iterator[Part]:
    """Yield the cascades with a product of closeness in [low, high), by prefix.

    The product is over all pairs of models of a cascade. `closeness`, float64 (n_models, n_models),
    is the result of :func:`sweep_part`.
    """

    def extend(prefix: tuple, product: float, to_next: Array) -> Iterator[Part]:
        models = search.cascades.followers(prefix)
        products = product * to_next[models]
        if len(prefix) == search.length - 1:
            lasts = models[(products >= low) & (products < high)]
            if len(lasts):
                yield Part(prefix, lasts)
            return
        for i in np.flatnonzero(products >= low).tolist():
            m = int(models[i])
            yield from extend((*prefix, m), products[i], to_next * closeness[m])

    yield from extend((), 1.0, np.ones(len(closeness)))


def search_promising(search: Search, best: Best) -> None:
    """Search the most promising cascades for at most half of the remaining time.

    A cascade is promising if all of its pairs are nearly on the front of pairs. On models like
    those of timm, 2% of the triples include the full front.
    """
    now = time.monotonic()
    limited = search._replace(deadline=now + (search.deadline - now) / 2)
    closeness = np.zeros((len(search.cost), len(search.cost)))
    sweep = partial(sweep_part, closeness=closeness)
    firsts = [Part((m,)) for m in range(len(search.cost))]
    pairs = limited._replace(length=2, full_length=search.length)
    complete = True
    for run in (sweep_part, sweep):  # the closeness needs the costs of all pairs
        complete = complete and in_threads(pairs, firsts, best, run=run)
    for high, low in pairwise(CLOSENESS):
        parts = promising_parts(limited, closeness, low, high)
        complete = complete and in_threads(limited, parts, best)
    best.floor[:] = np.inf


def search_triples(search: Search, best: Best) -> None:
    """Search all triples, each as the first longer cascade that begins with it.

    Most known costs are then nearly final. After 15 s of processor time, the median gap of 17,550
    quadruples of 50,000 samples is 15%, without triples 41%. The time of an exact search is equal.
    """
    parts = [Part((m,)) for m in range(len(search.cost))]
    triples = search._replace(length=3, full_length=search.length)
    in_threads(triples._replace(tolerance=1e300, coarse=True), parts, best)
    in_threads(triples, parts, best)
    best.floor[:] = np.inf


def search_rounds(search: Search, best: Best) -> None:
    """Search cascades of three or more models until the deadline, or completely without one.

    Afterwards ``best.floor`` bounds the cascades that were not searched. It is inf if the search
    was exact.
    """
    models = len(search.cost)
    k = len(best.reach)
    if search.length > 3 and comb(models, 3) * k < LARGE:
        search_triples(search, best)
    if search.deadline < np.inf and comb(models, search.length) * k > LARGE:
        search_promising(search, best)
    if time.monotonic() >= search.deadline:
        best.floor[-1] = search.cost.min()
        return
    parts = divide_search(search)
    floors = Floors(parts, search.cost, best.reach)
    certain = np.zeros(len(best.reach))  # bound that the completed rounds imply
    complete = True
    for pair in rounds_until(search.deadline):
        tolerance = np.maximum(tolerance_of_round(best, pair), search.tolerance)
        highest = highest_cost(best, pair)
        bounding = pair == COARSE_ROUNDS[0]
        known = np.minimum(best.reach, highest)
        worst = parts if bounding else floors.worst_first(known, tolerance)
        if worst:
            this_round = search._replace(tolerance=tolerance, coarse=bounding)
            complete = on_workers(this_round, worst, best, floors)
        if not complete:
            break
        bound = np.minimum(best.reach, highest) / ((1 + tolerance) * (1 + ROUNDING))
        certain = np.maximum(certain, least_onwards(bound))
    best.floor[:] = np.maximum(least_onwards(floors.total()), certain)
    if complete and search.tolerance == 0:
        best.floor[:] = np.inf


def rounds_until(deadline: float) -> list[tuple[float, float]]:
    """Return the pairs of tolerances of the rounds. The last round is exact."""
    rounds = COARSE_ROUNDS if deadline < np.inf else COARSE_ROUNDS[:1]
    return [*rounds, (0, 0)]


def tolerance_of_round(best: Best, pair: tuple[float, float]) -> Array:
    """Return the tolerance at each number of correct samples.

    The first of the pair holds at the accuracies of most points, the second at higher ones.
    """
    rises = best.reach[:-1] < best.reach[1:]
    last = np.searchsorted(np.cumsum(rises), MOST_POINTS * rises.sum())
    most, beyond = pair
    return np.where(best.reach <= MARGIN * best.reach[last], most, beyond)


def highest_cost(best: Best, pair: tuple[float, float]) -> float:
    """Return the cost above which a round searches no cascade.

    Only the last round searches more expensive cascades beyond the best known accuracy.
    """
    return MARGIN * best.reach[np.isfinite(best.reach)][-1] if max(pair) else np.inf
