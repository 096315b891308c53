"""Search exact fronts of samples that are correct or wrong, with one cost per model."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .anytime import search_rounds
from .cascades import Cascades, Search, cascades_of
from .front import Points, points_from
from .kernels.state import Best, improves, new_best, record
from .parallel import in_threads


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
        record_first_models(search, cascades, best)
        if length == 2:
            in_threads(search, cascades.prefixes, best)
        elif length > 2:
            search_rounds(search, cascades.prefixes, best)
        np.minimum(floor, best.floor, out=floor)
        best.floor[:] = np.inf
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
