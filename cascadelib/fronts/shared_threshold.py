"""One threshold shared by all stages: the paper's way around the growth with more stages (section 3), a baseline."""

import numpy as np

from ..checks import check_costs
from ..methods.thresholds import midway
from .cascades import Cascades, Outcomes, check_work
from .front import Points, front_rows
from .kernels.state import new_best
from .kernels.sweep import sweep_shared


def threshold_of(sure, order, levels):
    """Midway between the least confidence that lets exit at any stage and the largest that does not; ±inf at ends."""
    k = len(sure[0])
    low = min((s[o[x - 1]] for s, o, x in zip(sure, order, levels) if x > 0), default=np.nan)
    high = max((s[o[x]] for s, o, x in zip(sure, order, levels) if x < k), default=np.nan)
    return midway(low, high)


def search_shared_threshold(stage, cost, n_models) -> Points:
    """The exact front over all cascades of exactly ``n_models`` ≥ 2 models with one threshold for all stages.

    stage and cost as :func:`search_outcomes` takes them; O(n·k) a cascade. Thresholds of a point
    are equal, so the metric must mean the same at every stage.
    """
    cost = check_costs(cost)
    if cost.ndim != 1:
        raise ValueError("one cost a model is needed for a shared threshold")
    if not 2 <= n_models <= len(cost):
        raise ValueError(f"n_models={n_models}: 2 … {len(cost)} models can share a threshold here")
    check_work(cost, (n_models,), None)
    outcomes, cascades, d = Outcomes(stage, False), Cascades(cost, n_models), n_models - 1
    best = new_best(k := len(outcomes.right((0,))), n_models)
    for head, lasts in cascades.heads:
        heads = [head[: i + 1] for i in range(d)]
        order, sure = np.stack([outcomes.order(h) for h in heads]), np.stack([outcomes.sure(h) for h in heads])
        for number, m in lasts:
            right = np.stack([outcomes.right(h) for h in (*heads, (*head, m))])
            sweep_shared(order, sure, right, cost[[*head, m]], number, best, np.empty(d, np.int64))
    rows = front_rows(best)
    models, thresholds = np.empty((len(rows), n_models), np.int64), np.empty((len(rows), d))
    for row, (number, *rest) in enumerate(best.where[rows].tolist()):
        models[row] = cascade = cascades.cascade(number)
        heads = [cascade[: i + 1] for i in range(d)]
        sures, orders = [outcomes.sure(h) for h in heads], [outcomes.order(h) for h in heads]
        thresholds[row] = threshold_of(sures, orders, rest[:d])
    at = best.where[rows, 1 + d :]
    rates = -np.diff(np.column_stack([np.full(len(rows), k), at, np.zeros(len(rows), np.int64)]), axis=1) / k
    return Points(rows / k, best.exact[rows], models, thresholds, rates)
