"""Exact fronts where correctness is graded or every sample has its own cost: sums, where the search counts samples."""

import numpy as np

from ..evaluation.evaluation import exits_of, run_outcomes
from ..evaluation.pareto import pareto_front
from ..methods.thresholds import midway
from .cascades import extensions, number_of_cascades
from .front import Points
from .pairs import two_model_curve

MOST_STEPS = 2_000_000_000  # samples looked at; a minute or two


def search_graded(stage, cost, n_models):
    """The :class:`Points` of all cascades of ``n_models`` models (a length or a tuple of lengths) at every threshold.

    stage(prefix) → (correct [k], graded in [0, 1] or bool; confidence [k]); cost [M], or [M, k] where every sample has
    its own. Sums are taken in float64, so equal accuracies may differ in the last bit: points are kept by
    :func:`pareto_front`, and the front is exact up to that rounding. n models take k^(n − 1) steps a cascade;
    ValueError, naming what to reduce, where that is more than MOST_STEPS.
    """
    lengths = (n_models,) if np.ndim(n_models) == 0 else tuple(n_models)
    mean, samples = cost if cost.ndim == 1 else cost.mean(axis=1), len(stage((0,))[0])
    check_steps(mean, lengths, samples)
    rows, ends = [], []
    for cascade in (c for n in lengths for c in extensions(mean, (), n)):
        outcomes = [stage(cascade[: i + 1]) for i in range(len(cascade))]
        thresholds, gain, spent = swept(outcomes, [cost[m] for m in cascade])
        rows += [(cascade, t) for t in thresholds]
        ends.append(np.stack([spent, gain]))
    rows = [rows[i] for i in pareto_front(*np.concatenate(ends, axis=1))]
    return points_by_running(stage, cost, rows, max(lengths))


def check_steps(cost, lengths, samples):
    """Raise ValueError where a search would take too long, or has a length that there is not."""
    for n in lengths:
        if not 1 <= n <= len(cost):
            raise ValueError(f"only {len(cost)} models for cascades of {n}")
    steps = sum(number_of_cascades(cost, n) * samples ** max(1, n - 1) for n in lengths)
    if steps > MOST_STEPS:
        raise ValueError(
            f"graded correctness and costs a sample are searched exactly up to about {MOST_STEPS:.0e} steps; these "
            f"{len(cost)} models, {samples} samples and lengths {lengths} take {steps:.0e}. Use n_models=2, fewer "
            "models, or part of the samples"
        )


def swept(outcomes, costs):
    """All non-dominated thresholds of one cascade: (thresholds [P, n − 1], mean gain [P], mean cost [P]).

    outcomes: a stage's (correct [k], confidence [k]) each; costs: a number each, or [k].
    """
    if len(outcomes) == 1:
        return np.empty((1, 0)), np.array([np.mean(outcomes[0][0])]), np.array([np.mean(costs[0])])
    (gain_1, sure), (gain_2, _) = outcomes[:2]
    if len(outcomes) == 2:
        curve = two_model_curve(sure, gain_1, gain_2, *costs)
        keep = pareto_front(curve.cost, curve.accuracy)
        return curve.threshold[keep, None], curve.accuracy[keep], curve.cost[keep]
    k, (order, ends), parts = len(sure), exits_of(sure), []
    for end in ends:
        threshold = midway(sure[order[end - 1]] if end else np.nan, sure[order[end]] if end < k else np.nan)
        left, rest = np.sum(gain_1[order[:end]]) / k, order[end:]
        first = np.mean(costs[0])
        if end == k:
            parts.append((np.full((1, len(outcomes) - 1), -np.inf), np.array([left]), np.array([first])))
            continue
        later = [(g[rest], s[rest]) for g, s in outcomes[1:]]
        thresholds, gain, spent = swept(later, [c if np.ndim(c) == 0 else c[rest] for c in costs[1:]])
        share = len(rest) / k
        thresholds = np.column_stack([np.full(len(thresholds), threshold), thresholds])
        parts.append((thresholds, left + share * gain, first + share * spent))
    thresholds, gain, spent = (np.concatenate(part) for part in zip(*parts))
    keep = pareto_front(spent, gain)
    return thresholds[keep], gain[keep], spent[keep]


def points_by_running(stage, cost, rows, width):
    """Cascades (models, thresholds) run as the evaluator runs them, the non-dominated ones as Points."""
    models, rates = np.full((len(rows), width), -1, np.int64), np.zeros((len(rows), width))
    thresholds, accuracy, total = np.full((len(rows), width - 1), np.nan), np.empty(len(rows)), np.empty(len(rows))
    for row, (cascade, limits) in enumerate(rows):
        n = len(cascade)
        outcomes = [stage(cascade[: i + 1]) for i in range(n)]
        exits, gain, total[row] = run_outcomes(outcomes, limits, [cost[m] for m in cascade])
        models[row, :n], thresholds[row, : n - 1], accuracy[row] = cascade, limits, np.mean(gain)
        rates[row, :n] = np.bincount(exits, minlength=n) / len(exits)
    keep = pareto_front(total, accuracy)
    return Points(accuracy[keep], total[keep], models[keep], thresholds[keep], rates[keep])
