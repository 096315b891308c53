"""A grid of thresholds for chains of models: a recipe for cascades that came before."""

from functools import cache

import numpy as np
import pandas as pd

from ..checks import check_count
from ..evaluation.evaluation import sum_passed_on
from ..evaluation.pareto import pareto_front
from ..fronts.cascades import cascades_of
from ..methods.method import Method
from ..methods.thresholds import own_units
from .exits import pool


def wang_2018(
    store,
    metric="entropy",
    *,
    cost_aware=True,
    grid=32,
    n_models=3,
    score=None,
    cost=None,
    models="all",
):
    """IDK cascades: grid search over the thresholds of chains of up to ``n_models`` models.

    Wang, Luo et al., 2018a: IDK cascades: fast deep learning by learning not to overthink, UAI. Kept: the search over
    thresholds on entropy or max softmax for a least accuracy. ``cost_aware`` takes the grid point of least cost;
    cost-oblivious takes, chain by chain, the point that exits most samples early (fewest models run a sample),
    whatever these cost. Not kept: their IDK classifiers trained on features, and the learned cost-aware objective;
    chains are all those of the candidates rather than one that was given.

    metric: "entropy", "max_softmax" or any other; grid: thresholds a stage, evenly spaced from the model's least to
    its largest confidence, or the thresholds themselves. Returns accuracy, cost, models, thresholds (own units).
    """
    given = np.sort(own_units(metric, grid)) if np.ndim(grid) else None
    check_count(grid if given is None else len(given), "grid")
    names, costs, stage = pool(store, Method(metric), score, cost, models)
    right, sure = zip(*(stage((m,)) for m in range(len(names))))
    k, longest, parts = len(right[0]), min(n_models, len(costs)), []
    grids = [np.linspace(s.min(), s.max(), grid) if given is None else given for s in sure]
    slots = [len(g) - np.searchsorted(g, s, side="right") for g, s in zip(grids, sure)]

    @cache
    def passed(prefix, m=None):
        """Samples (that model m gets right) whose confidence is below the thresholds of all models of ``prefix``, at
        each grid point: an axis for each of these models."""
        weights = np.ones(k) if m is None else right[m]
        return np.flip(
            sum_passed_on([slots[i] for i in prefix], [len(grids[0])] * (longest - 1), weights)
        )

    chains = list(cascades_of(costs, range(1, longest + 1)))
    for number, chain in enumerate(chains):
        correct = passed(chain[:-1], chain[-1])
        for i, m in enumerate(chain[:-1]):
            correct = correct + passed(chain[:i], m) - passed(chain[: i + 1], m)
        reach = [np.broadcast_to(passed(chain[:i]), correct.shape) for i in range(len(chain))]
        accuracy = correct.ravel() / k
        total = sum(costs[m] * (r / k) for m, r in zip(chain, reach)).ravel()
        keep = pareto_front(total if cost_aware else sum(reach).ravel(), accuracy)
        parts.append((np.full(len(keep), number), keep, accuracy[keep], total[keep]))
    number, place, accuracy, total = (np.concatenate(part) for part in zip(*parts))
    rows = []
    for i in pareto_front(total, accuracy):
        chain = chains[number[i]]
        at = np.unravel_index(place[i], (len(grids[0]),) * (len(chain) - 1))
        thresholds = tuple(float(own_units(metric, grids[m][j])) for m, j in zip(chain, at))
        rows.append((accuracy[i], total[i], tuple(names[m] for m in chain), thresholds))
    return pd.DataFrame(rows, columns=["accuracy", "cost", "models", "thresholds"])
