"""Exact fronts of what is a sum, where the search counts samples: graded correctness, a cost for every sample, F1."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..evaluation.evaluation import exit_rates_of, exits_of, run_outcomes
from ..evaluation.pareto import pareto_front
from ..methods.thresholds import threshold_for
from ..scoring import f1, f1_of
from .cascades import cascades_of, check_lengths, number_of_cascades
from .front import Points

MOST_STEPS = 2_000_000_000  # samples looked at; a minute or two


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
    return Curve(threshold_for(sure[order], ends), ends / k, accuracy, np.mean(cost_1) + added)


def search_graded(stage, cost, n_models, positive=None) -> Points:
    """The :class:`Points` of all cascades of ``n_models`` models (a length or a tuple of lengths) at every threshold.

    stage(prefix) → (correct [k], graded in [0, 1] or bool; confidence [k]); cost [M], or [M, k] where every sample has
    its own; positive bool [k]: F1 in place of accuracy, for one and two models (correct samples do not say what F1 of
    more becomes). Sums are taken in float64, so equal accuracies may differ in the last bit: points are kept by
    :func:`pareto_front`, and the front is exact up to that rounding. n models take k^(n − 1) steps a cascade;
    ValueError, naming what to reduce, where that is more than MOST_STEPS.
    """
    lengths = check_lengths(n_models, len(cost))
    mean = cost if cost.ndim == 1 else cost.mean(axis=1)
    if positive is None:
        check_steps(mean, lengths, len(stage((0,))[0]))
    elif lengths[-1] > 2:
        raise ValueError(f"n_models={n_models}: F1 is exact for one and two models only")
    rows, ends = [], []
    for cascade in cascades_of(mean, lengths):
        outcomes = [stage(cascade[: i + 1]) for i in range(len(cascade))]
        thresholds, gain, spent = swept(outcomes, [cost[m] for m in cascade], positive)
        rows += [(cascade, t) for t in thresholds]
        ends.append(np.stack([spent, gain]))
    rows = [rows[i] for i in pareto_front(*np.concatenate(ends, axis=1))]
    return points_by_running(stage, cost, rows, lengths[-1], positive)


def check_steps(cost, lengths, samples):
    """Raise ValueError where a search would take too long."""
    steps = sum(number_of_cascades(cost, n) * samples ** max(1, n - 1) for n in lengths)
    if steps > MOST_STEPS:
        raise ValueError(
            f"graded correctness and costs a sample are searched exactly up to about {MOST_STEPS:.0e} steps; these "
            f"{len(cost)} models, {samples} samples and lengths {lengths} take {steps:.0e}. Use n_models=2, fewer "
            "models, or part of the samples"
        )


def gained(correct, positive):
    """Mean of correct [k], or F1 where ``positive`` bool [k] is given."""
    return np.mean(correct) if positive is None else f1(correct, positive)


def swept(outcomes, costs, positive=None):
    """All non-dominated thresholds of one cascade: (thresholds [P, n − 1], mean gain [P], mean cost [P]).

    outcomes: a stage's (correct [k], confidence [k]) each; costs: a number each, or [k]; positive: F1, of two at most.
    """
    if len(outcomes) == 1:
        return np.empty((1, 0)), np.array([gained(outcomes[0][0], positive)]), np.array([np.mean(costs[0])])
    (gain_1, sure), (gain_2, _) = outcomes[:2]
    if len(outcomes) == 2:
        curve = two_model_curve(sure, gain_1, gain_2, *costs, positive)
        keep = pareto_front(curve.cost, curve.accuracy)
        return curve.threshold[keep, None], curve.accuracy[keep], curve.cost[keep]
    k, (order, ends), first = len(sure), exits_of(sure), np.mean(costs[0])
    parts = [(np.full((1, len(outcomes) - 1), -np.inf), np.array([np.sum(gain_1[order]) / k]), np.array([first]))]
    for end, threshold in zip(ends[:-1], threshold_for(sure[order], ends[:-1])):
        left, rest = np.sum(gain_1[order[:end]]) / k, order[end:]
        later = [(g[rest], s[rest]) for g, s in outcomes[1:]]
        thresholds, gain, spent = swept(later, [c if np.ndim(c) == 0 else c[rest] for c in costs[1:]])
        share = len(rest) / k
        thresholds = np.column_stack([np.full(len(thresholds), threshold), thresholds])
        parts.append((thresholds, left + share * gain, first + share * spent))
    thresholds, gain, spent = (np.concatenate(part) for part in zip(*parts))
    keep = pareto_front(spent, gain)
    return thresholds[keep], gain[keep], spent[keep]


def points_by_running(stage, cost, rows, width, positive=None):
    """Cascades (models, thresholds) run as the evaluator runs them, the non-dominated ones as Points."""
    outcomes_of = cache(lambda models: [stage(models[: i + 1]) for i in range(len(models))])
    models, rates = np.full((len(rows), width), -1, np.int64), np.zeros((len(rows), width))
    thresholds, accuracy, total = np.full((len(rows), width - 1), np.nan), np.empty(len(rows)), np.empty(len(rows))
    for row, (cascade, limits) in enumerate(rows):
        n = len(cascade)
        exits, gain, total[row] = run_outcomes(outcomes_of(cascade), limits, [cost[m] for m in cascade])
        models[row, :n], thresholds[row, : n - 1], accuracy[row] = cascade, limits, gained(gain, positive)
        rates[row, :n] = exit_rates_of(exits, n)
    if positive is not None:  # two stages at most: the shares that leave sum to 1 to the last bit
        rates[:, 1:] = 1 - rates[:, :1]
    keep = pareto_front(total, accuracy)
    return Points(accuracy[keep], total[keep], models[keep], thresholds[keep], rates[keep])
