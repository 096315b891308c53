"""Search exact fronts of samples that are correct or wrong, with one cost per model."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .anytime import search_rounds
from .cascades import Search, cascades_of
from .front import Points, points_from
from .kernels.state import Best, improves, new_best, record
from .parallel import Part, in_threads, number_of_cores, numbered, sweep_part


def search_counted(search: Search) -> Points:
    """Return the front of all cascades of a search's lengths at all thresholds."""
    outcomes = search.outcomes
    models = range(len(search.cost))
    k = len(outcomes.correct((0,)))
    if k == 0:
        raise ValueError("no samples: the split is empty")
    outcomes.prepare(cascades_of(search.cost, search.lengths))
    if search.lengths[-1] > 1:
        with ThreadPoolExecutor(number_of_cores()) as pool:  # sorts run without the GIL
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
