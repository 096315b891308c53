"""F1 at every threshold of every two-model cascade, exactly (DESIGN §4); three models and more are refused."""

import numpy as np

from .cascades import extensions
from .curves import f1_curve
from .f1 import f1
from .pareto import check_costs, pareto_front
from .points import Points


def search_f1(stage, cost, n_models, positive) -> Points:
    """The exact front of F1 (in ``accuracy``) against cost over single models and cascades of two.

    stage, cost, n_models as :func:`search_outcomes` takes them; positive bool [k]. Raises ValueError for three models
    and more: correct samples do not say what F1 becomes, so their search does not apply.
    """
    lengths = sorted({n_models} if np.isscalar(n_models) else set(n_models))
    cost = check_costs(cost)
    if not lengths or not set(lengths) <= {1, 2} or lengths[-1] > len(cost):
        raise ValueError(f"n_models={n_models}: F1 is exact for one and two models only")
    parts = [_single(stage, cost, m, positive) for m in range(len(cost))] if 1 in lengths else []
    parts += [_pair(stage, cost, a, b, positive) for a, b in extensions(cost, (), 2)] if 2 in lengths else []
    score, total, exits, threshold, models = (np.concatenate(column) for column in zip(*parts))
    keep = pareto_front(total, score)
    n, models, left = lengths[-1], models[keep], exits[keep]
    rates = np.stack([left, 1 - left], axis=1)
    return Points(score[keep], total[keep], models[:, :n], threshold[keep, None][:, : n - 1], rates[:, :n])


def _single(stage, cost, m, positive):
    """F1, cost, exit rate, threshold (none: nan) and models (the second: −1) of one model, as arrays of one row."""
    score = f1(stage((m,))[0], positive)
    return np.array([score]), cost[[m]], np.ones(1), np.full(1, np.nan), np.array([[m, -1]])


def _pair(stage, cost, a, b, positive):
    """The same for the front of one pair, a row a point."""
    correct_1, sure = stage((a,))
    curve = f1_curve(sure, correct_1, stage((a, b))[0], cost[a], cost[b], positive)
    keep = pareto_front(curve.cost, curve.accuracy)
    models = np.full((len(keep), 2), (a, b), np.int64)
    return curve.accuracy[keep], curve.cost[keep], curve.exit_rate[keep], curve.threshold[keep], models
