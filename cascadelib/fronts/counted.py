"""Search exact fronts of counted outcomes: correct or not, at one cost per model."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .anytime import search_in_time
from .cascades import Cascades, Search, cascades_of
from .front import Points, points_from
from .kernels.state import Best, improves, new_best, record
from .parallel import BOXES, CORNERS, in_threads, on_workers

SEEDING = 0.25  # share of the time limit for a first front, which prunes the search


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
    kinds: list[Cascades] = []
    for length in search.lengths:
        cascades = Cascades(search.cost, length, kinds[-1].end if kinds else 0)
        kinds.append(cascades)
        if length == 1 or search.deadline < np.inf or search.executor is not None:
            record_first_models(search, cascades, best)
        if length == 2:
            in_threads(Search(outcomes, search.cost), cascades.heads, best)
        elif length > 2:
            search_long(search, cascades, best)
            np.minimum(floor, best.floor, out=floor)
    best.floor[:] = floor

    def cascade_of(number: int) -> tuple:
        return next(kind for kind in kinds if number < kind.end).cascade(number)

    return points_from(outcomes, best, cascade_of, search.cost)


def record_first_models(search: Search, cascades: Cascades, best: Best) -> None:
    """Record, for each first model, a cascade in which all samples exit there.

    So all single models are on the front, and longer cascades have one, however short the time is.
    """
    firsts: dict[int, int] = {}
    for head, lasts in cascades.heads:
        for number, m in lasts[:1] if head else lasts:
            firsts.setdefault((*head, m)[0], number)
    nobody = np.zeros(cascades.length - 1, np.int64)
    for first, number in firsts.items():
        n = int(search.outcomes.correct((first,)).sum())
        if improves(best, n, search.cost[first], number, nobody):
            record(best, n, search.cost[first], number, nobody, nobody)


def seed(search: Search, cascades: Cascades, length: int, best: Best) -> None:
    """Record the front of the first `length` models of the cascades.

    These are longer cascades in which no sample reaches the later stages.
    """
    d = length - 1
    numbers: dict[tuple, int] = {}
    for head, lasts in cascades.heads:
        numbers.setdefault(head[:length], lasts[0][0])
    heads: dict[tuple, list[tuple[int, int]]] = {}
    for short, number in numbers.items():
        heads.setdefault(short[:-1], []).append((number, short[-1]))
    own = new_best(len(best.reach) - 1, length)
    for parts in (CORNERS, BOXES) if d > 1 else (BOXES,):
        # pairs and triples take little time relative to longer cascades
        run = on_workers if d > 2 else in_threads
        run(search, list(heads.items()), own, parts)
    for n in np.flatnonzero(np.isfinite(own.exact)):
        number = own.where[n, 0]
        boundaries, at = np.zeros((2, cascades.length - 1), np.int64)
        boundaries[:d], at[:d] = np.split(own.where[n, 1:], 2)
        if improves(best, n, own.exact[n], number, at):
            record(best, n, own.exact[n], number, boundaries, at)


def search_long(search: Search, cascades: Cascades, best: Best) -> None:
    """Search cascades of three models or more, after a first front of shorter ones, which prunes.

    The first front is omitted if shorter cascades were searched anyway.
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
        if shorter not in search.lengths and (shorter == first or in_time):
            seed(start, cascades, shorter, best)
    if search.deadline < np.inf:
        search_in_time(search, cascades.heads, best)
        return
    started = on_workers(search, cascades.heads, best, CORNERS)
    best.floor[:] = np.inf
    on_workers(search, cascades.heads, best, BOXES if started else CORNERS + BOXES)
