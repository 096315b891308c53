"""Search exact fronts of samples that are correct or wrong, with one cost per model."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .anytime import search_in_time
from .cascades import Cascades, Search, cascades_of
from .front import Points, points_from
from .kernels.state import Best, improves, new_best, record
from .parallel import BOXES, CORNERS, in_threads, on_workers

SEEDING = 0.25  # share of the time limit for the front of shorter cascades


def search_counted(search: Search) -> Points:
    """Return the front of all cascades of a search's lengths at all thresholds."""
    outcomes = search.outcomes
    k = len(outcomes.correct((0,)))
    if k == 0:
        raise ValueError("no samples: the split is empty")
    outcomes.prepare(cascades_of(search.cost, search.lengths))
    if search.lengths[-1] > 1:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # sorts run without the GIL
            list(pool.map(outcomes.groups, [(m,) for m in range(len(search.cost))]))
    best = new_best(k, search.lengths[-1])
    floor = np.full(k + 1, np.inf)
    numberings: list[Cascades] = []
    for length in search.lengths:
        cascades = Cascades(search.cost, length, numberings[-1].end if numberings else 0)
        numberings.append(cascades)
        if length == 1 or search.deadline < np.inf or search.executor is not None:
            record_first_models(search, cascades, best)
        if length == 2:
            in_threads(Search(outcomes, search.cost), cascades.prefixes, best)
        elif length > 2:
            search_long(search, cascades, best)
            np.minimum(floor, best.floor, out=floor)
    best.floor[:] = floor

    def cascade_of(number: int) -> tuple:
        return next(each for each in numberings if number < each.end).cascade(number)

    return points_from(outcomes, best, cascade_of, search.cost)


def record_first_models(search: Search, cascades: Cascades, best: Best) -> None:
    """Record a cascade for each first model. All samples exit at this model.

    The front then has a point for each single model, however short the time limit is.
    """
    firsts: dict[int, int] = {}
    for prefix, lasts in cascades.prefixes:
        for number, m in lasts[:1] if prefix else lasts:
            firsts.setdefault((*prefix, m)[0], number)
    zeros = np.zeros(cascades.length - 1, np.int64)  # samples that reach the later stages
    for first, number in firsts.items():
        n = int(search.outcomes.correct((first,)).sum())
        if improves(best, n, search.cost[first], number, zeros):
            record(best, n, search.cost[first], number, zeros, zeros)


def search_long(search: Search, cascades: Cascades, best: Best) -> None:
    """Search cascades of three or more models.

    A front of shorter cascades is recorded first, unless these have been searched already. Boxes
    that cannot improve this front are then skipped. Each recorded cascade has its full length, but
    no sample reaches the later stages.
    """
    length = cascades.length
    end_of_start = np.inf
    first = length - 1
    if search.deadline < np.inf:
        now = time.monotonic()
        end_of_start = now + SEEDING * (search.deadline - now)
        first = min(3, length - 1)
    start = search._replace(deadline=end_of_start)
    for shorter in range(first, length):
        in_time = time.monotonic() < end_of_start
        if shorter in search.lengths or not (shorter == first or in_time):
            continue
        d = shorter - 1
        numbers: dict[tuple, int] = {}
        for prefix, lasts in cascades.prefixes:
            numbers.setdefault(prefix[:shorter], lasts[0][0])
        prefixes: dict[tuple, list[tuple[int, int]]] = {}
        for short, number in numbers.items():
            prefixes.setdefault(short[:-1], []).append((number, short[-1]))
        found = new_best(len(best.reach) - 1, shorter)
        for parts in (CORNERS, BOXES) if d > 1 else (BOXES,):
            # Pairs and triples run in threads, since they take little time.
            run = on_workers if d > 2 else in_threads
            run(start, list(prefixes.items()), found, parts)
        for n in np.flatnonzero(np.isfinite(found.exact)):
            cost = found.exact[n]
            number = found.where[n, 0]
            boundaries, at = np.zeros((2, length - 1), np.int64)
            boundaries[:d], at[:d] = np.split(found.where[n, 1:], 2)
            if improves(best, n, cost, number, at):
                record(best, n, cost, number, boundaries, at)
    if search.deadline < np.inf:
        search_in_time(search, cascades.prefixes, best)
        return
    has_corners = on_workers(search, cascades.prefixes, best, CORNERS)
    best.floor[:] = np.inf
    on_workers(search, cascades.prefixes, best, BOXES if has_corners else CORNERS + BOXES)
