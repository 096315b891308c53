"""One pair of models at every threshold (paper, section 3, *Evaluation*): the curve behind figures 1 and 2."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from ..evaluation.evaluation import asked, exits_of, single_models
from ..evaluation.pareto import Baseline, improvement_at, mean_improvement, pareto_front
from ..methods.thresholds import midway, own_units
from ..scoring import F1, f1_of


@dataclass(frozen=True, eq=False)
class Curve:
    """All achievable points of one two-model cascade, from never to always exiting, as arrays [E].

    threshold: inside (higher = surer), inf first and −inf last; exit_rate: share that leaves after the first model.
    """

    threshold: np.ndarray
    exit_rate: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray


def right_at(order, ends, gain_1, gain_2):
    """Sum [E] of the gains at each threshold: gain_1 [k] of the samples that leave, gain_2 [k] of the others."""
    exact = np.int64 if gain_1.dtype == bool else np.float64
    first, second = (np.concatenate([[0], np.cumsum(g[order], dtype=exact)])[ends] for g in (gain_1, gain_2))
    return first + (np.sum(gain_2, dtype=exact) - second)


def two_model_curve(sure, gain_1, gain_2, cost_1, cost_2, positive=None):
    """The :class:`Curve` of one pair.

    sure float [k]: confidence of the first model (higher = surer); gain_1, gain_2 [k]: correct (bool, or graded in
    [0, 1]) at each stage; cost_1, cost_2: a number, or float [k] where every sample has its own; positive bool [k]:
    F1 in place of accuracy (true positives and errors accumulate along the sweep).
    """
    k, (order, ends) = len(sure), exits_of(sure)
    right = right_at(order, ends, gain_1, gain_2)
    if positive is None:
        accuracy = right / k
    else:
        accuracy = f1_of(right_at(order, ends, gain_1 & positive, gain_2 & positive), k - right)
    if np.ndim(cost_2) == 0:
        added = cost_2 * ((k - ends) / k)
    else:
        added = np.concatenate([np.cumsum(cost_2[order][::-1])[::-1], [0]])[ends] / k
    falling = sure[order]
    threshold = midway(np.append(np.nan, falling[ends[1:] - 1]), np.append(falling[ends[:-1]], np.nan))
    return Curve(threshold, ends / k, accuracy, np.mean(cost_1) + added)


def curve_of(store, score):
    """:func:`two_model_curve` under a score of a store."""
    return partial(two_model_curve, positive=store.positives() if score == F1 else None)


def pair_curve(store, first, second, method=None, score=None, cost=None):
    """One pair at every threshold as a DataFrame: threshold (own units), exit_rate, accuracy (or F1), cost."""
    (method, score, cost), names = asked(store, method, score, cost), list(store.models.index)
    costs = store.sample_costs(cost)
    stage = store.outcome([first, second], method, score)
    gain_1, sure = stage((0,))
    costs = costs[names.index(first)], costs[names.index(second)]
    curve = curve_of(store, score)(sure, gain_1, stage((0, 1))[0], *costs)
    metric = None if method is None else method.metric
    return pd.DataFrame({**vars(curve), "threshold": own_units(metric, curve.threshold)})


def plateau(curve, accuracy_1, accuracy_2, drop=0.05):
    """Largest exit rate before accuracy falls by ``drop`` × the pair's difference below the better model.

    Paper, figure 2, middle: walking from never exiting, the last point before the first one that is lower.
    """
    better, difference = max(accuracy_1, accuracy_2), abs(accuracy_2 - accuracy_1)
    below = curve.accuracy < better - drop * difference - 1e-12
    return float(curve.exit_rate[max(int(np.argmax(below)) - 1, 0)] if below.any() else curve.exit_rate[-1])


def own_range_improvement(baseline, cost, accuracy, accuracy_1, accuracy_2):
    """Mean improvement of one pair's front over its own accuracies, from its less to its more accurate model (paper,
    figure 2, right); where they are equally accurate, the improvement there."""
    low, high = sorted((accuracy_1, accuracy_2))
    if low == high:
        return float(improvement_at(baseline, cost, accuracy, high))
    return mean_improvement(baseline, cost, accuracy, low, high)


def pair_table(store, method=None, score=None, cost=None, models="pareto"):
    """Figure 2 as numbers, a row a pair: first, second, accuracy_difference (second − first), cost_ratio, plateau
    (largest exit rate, see :func:`plateau`), mean_improvement of this single pair over its own accuracy range (see
    :func:`own_range_improvement`), whole_range_improvement: over the baseline's range, zero where the pair does not
    reach, which makes wide pairs look good.
    """
    (method, score, cost), all_names = asked(store, method, score, cost), list(store.models.index)
    accuracy, costs = single_models(store, score, cost)
    baseline = Baseline(costs, accuracy)
    chosen = baseline.front if models == "pareto" else np.argsort(costs, kind="stable")
    names = [all_names[i] for i in chosen]
    stage, rows = store.outcome(names, method, score), []
    drawn = curve_of(store, score)
    for i, a in enumerate(chosen):
        for j, b in list(enumerate(chosen))[i + 1 :]:
            gain_1, sure = stage((i,))
            curve = drawn(sure, gain_1, stage((i, j))[0], costs[a], costs[b])
            keep = pareto_front(curve.cost, curve.accuracy)
            front = curve.cost[keep], curve.accuracy[keep]
            own = own_range_improvement(baseline, *front, accuracy[a], accuracy[b])
            means = own, mean_improvement(baseline, *front)
            limit = plateau(curve, accuracy[a], accuracy[b])
            rows.append((names[i], names[j], accuracy[b] - accuracy[a], costs[b] / costs[a], limit, *means))
    columns = ["first", "second", "accuracy_difference", "cost_ratio", "plateau", "mean_improvement"]
    return pd.DataFrame(rows, columns=[*columns, "whole_range_improvement"])


def partial_ranks(table, given):
    """Spearman's rank correlations of the columns of a table at equal ``given`` (a column too): a square DataFrame.

    Partial correlation of the ranks, (r_xy − r_xz r_yz) ÷ √((1 − r_xz²)(1 − r_yz²)): of :func:`pair_table`, what the
    size of a pair tells of its improvement that the accuracy difference does not.
    """
    ranks = table.corr("spearman")
    z = ranks[given].drop(given)
    left = ranks.loc[z.index, z.index] - np.outer(z, z)
    scale = np.sqrt(np.diag(left))
    return left / np.outer(scale, scale)
