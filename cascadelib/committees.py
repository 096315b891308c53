"""A committee that the paper cites: exit from an ensemble by confidence interval (section 2)."""

import numpy as np
import pandas as pd
from scipy.special import stdtr

from .confidence import CHUNK
from .f1 import score_of
from .logit_arrays import ranks_of
from .methods import Method, ModelsOnSplit
from .oracle import frontier, pool

LEVELS = tuple(1 - np.geomspace(1, 1e-9, 181))


def inoue_2019(store, *, levels=LEVELS, starts=None, score="top1", cost=None, models="all"):
    """Exit from an ensemble once its confidence intervals part; at least two models run.

    Inoue, 2019: Adaptive ensemble prediction for deep neural networks based on confidence level, AISTATS. Models run
    in order of cost and their softmax is averaged. A sample leaves when, at the confidence level, Student's interval
    of the top class's mean probability lies above that of the runner-up. Kept: the averaging and this condition, one
    level for all stages. Different: the original runs 10 or 20 equally large networks; here an ensemble is any run of
    candidates that are neighbours in cost, beginning at one of the ``starts`` cheapest (None: at any; the time grows
    with the square of the number of models).

    levels: confidence levels in [0, 1). Returns accuracy, cost, models (the whole ensemble), level.
    """
    names, costs, _ = pool(store, None, score, cost, models)
    doubts, parts = np.sort(1 - np.asarray(levels, np.float64)), []
    for start in range(max(1, len(names) - 1))[:starts]:
        right, doubt = interval_outcomes(store, names[start:], score_of(score).rank)
        for size, accuracy, total in interval_points(right, doubt, doubts, costs[start:]):
            points = pd.DataFrame({"accuracy": accuracy, "cost": total, "level": 1 - doubts})
            points.insert(2, "models", [tuple(names[start : start + size])] * len(doubts))
            parts.append(frontier(points))
    return frontier(pd.concat(parts, ignore_index=True))


def interval_outcomes(store, names, rank=1):
    """Mean softmax of the first 1 … n of some models: right bool [n, k], doubt float64 [n, k].

    Doubt is 1 − the confidence level at which the intervals of top class and runner-up touch: a sample leaves at
    levels below 1 − doubt. It is 1 after the first model, whose spread is unknown.
    """
    split = ModelsOnSplit(store, names, [1.0] * len(names), Method().rule, rank)
    right, doubt = np.empty((len(names), len(store)), bool), np.ones((len(names), len(store)))
    for first in range(0, len(store), CHUNK):
        rows, mean, squares = slice(first, first + CHUNK), 0.0, 0.0
        for i in range(len(names)):
            p = split.softmax(i, rows)
            step = p - mean
            mean = mean + step / (i + 1)
            squares = squares + step * (p - mean)
            right[i, rows] = ranks_of(mean, store.labels[rows]) < rank
            if i:
                doubt[i, rows] = interval_doubt(mean, squares, i + 1)
    return right, doubt


def interval_doubt(mean, squares, n):
    """Two-sided error probability at which Student's intervals of the two largest means touch: float64 [k].

    mean, squares [k, classes]: mean and sum of squared deviations of n values.
    """
    if mean.shape[1] == 1:
        return np.zeros(len(mean))
    rows, others = np.arange(len(mean)), mean.copy()
    top = mean.argmax(axis=1)
    others[rows, top] = -np.inf
    second = others.argmax(axis=1)
    gap = mean[rows, top] - mean[rows, second]
    error = sum(np.sqrt(squares[rows, c] / (n - 1) / n) for c in (top, second))
    apart = np.divide(gap, error, out=np.where(gap > 0, np.inf, 0.0), where=error > 0)
    return 2 * stdtr(n - 1, -apart)


def interval_points(right, doubt, doubts, costs):
    """For the ensembles of the first 2, 3 … n models: (size, accuracy [L], cost [L]) at each of ``doubts``, rising [L].

    right, doubt [n, k]: see :func:`interval_outcomes`; a sample leaves after the first stage with doubt < doubts[j].
    """
    n, k = right.shape
    size = len(doubts) + 1
    gone_from = np.searchsorted(doubts, np.minimum.accumulate(doubt, axis=0), side="right")

    def gone(stage, rows):
        return np.cumsum(np.bincount(gone_from[stage][rows], minlength=size))[:-1]

    everyone, answered, total = np.ones(k, bool), np.zeros(size - 1), np.full(size - 1, float(costs[0]))
    if n == 1:
        yield 1, answered + right[0].mean(), total
    for i in range(1, n):
        total = total + costs[i] * ((k - gone(i - 1, everyone)) / k)
        unanswered = np.count_nonzero(right[i]) - gone(i - 1, right[i])
        yield i + 1, (answered + unanswered) / k, total
        answered = answered + gone(i, right[i]) - gone(i - 1, right[i])
