"""Search fronts of graded correctness, of a cost per sample, or of F1.

Pairs are swept at all thresholds. In longer cascades, each sample with a graded correctness is
replaced by copies that are correct or wrong, and a cost per sample by its mean. Then
:mod:`cascadelib.fronts.rounds` searches the copies.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from time import monotonic
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..evaluation.evaluation import mean_cost
from ..evaluation.pareto import pareto_front
from ..methods.thresholds import exit_stages, sort_exits, threshold_for
from ..stages import Outcome, f1, f1_of, prefixes_of
from .cascades import Outcomes, Search
from .front import Points
from .rounds import search_counted

MOST_COPIES = 64  # largest number of copies of a sample
ALL_COPIES = 2**23  # of all samples and models together, about, if grades have to be rounded
RUN_SECONDS = 2e-8  # per point and sample, to evaluate the points found
GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are evenly spread over [0, 1)


@dataclass(frozen=True, eq=False)
class Curve:
    """Hold all achievable points of a two-model cascade, from "never" to "always".

    Parameters
    ----------
    threshold : float array of shape (E,)
        Thresholds of confidences (higher = more confident), inf first and −inf last.
    exit_rate : float array of shape (E,)
        Share of all samples that exit at the first model.
    accuracy, cost : float arrays of shape (E,)
        Accuracy or F1, and mean cost.
    """

    threshold: Array
    exit_rate: Array
    accuracy: Array
    cost: Array


def correct_at(order: Array, ends: Array, gain_1: Array, gain_2: Array) -> Array:
    """Return the sum of gains at each threshold, (E,): gain_1 if a sample exits, else gain_2."""
    kind = np.int64 if gain_1.dtype == bool else np.float64
    exiting_1, exiting_2 = (
        np.concatenate([[0], np.cumsum(gain[order], dtype=kind)])[ends] for gain in (gain_1, gain_2)
    )
    return exiting_1 + (np.sum(gain_2, dtype=kind) - exiting_2)


def two_model_curve(
    confidence: Array,
    gain_1: Array,
    gain_2: Array,
    cost_1: Any,
    cost_2: Any,
    positive: Array | None,
) -> Curve:
    """Return the :class:`Curve` of one pair on k samples.

    Parameters
    ----------
    confidence : float array of shape (k,)
        Confidence of the first model, higher = more confident.
    gain_1, gain_2 : arrays of shape (k,)
        Correctness at each stage, bool or graded in [0, 1].
    cost_1, cost_2 : float or float array of shape (k,)
        Cost of each model.
    positive : bool array of shape (k,), optional
        Membership in class 1. The accuracy of the result is then F1. It is computed from cumulative
        numbers of true positives and of errors.
    """
    k = len(confidence)
    order, ends = sort_exits(confidence)
    correct = correct_at(order, ends, gain_1, gain_2)
    if positive is None:
        accuracy = correct / k
    else:
        true_positives = correct_at(order, ends, gain_1 & positive, gain_2 & positive)
        accuracy = f1_of(true_positives, k - correct)
    if np.ndim(cost_2) == 0:
        added = cost_2 * ((k - ends) / k)
    else:
        deferred = np.cumsum(cost_2[order][::-1])[::-1]
        added = np.concatenate([deferred, [0]])[ends] / k
    threshold = threshold_for(confidence[order], ends)
    return Curve(threshold, ends / k, accuracy, np.mean(cost_1) + added)


def merge_fronts(front: Array, points: Array) -> Array:
    """Return the non-dominated columns of two arrays, whose first rows are cost and accuracy."""
    columns = np.concatenate([front, points], axis=1)
    return columns[:, pareto_front(columns[0], columns[1])]


def first_cascades(search: Search) -> Iterator[tuple[int, ...]]:
    """Yield the first cascade of each length that begins with each model or pair of models."""
    for n in search.lengths:
        for pair in search.cascades.extensions((), min(n, 2)):
            cascade = search.cascades.first(pair, n)
            if cascade is not None:
                yield cascade


def curve_of(search: Search, cascade: tuple, positive: Array | None) -> Curve:
    """Return the :class:`Curve` of the first two models of a cascade, or of its only one."""
    stage = search.outcomes.stage
    first, *later = cascade
    gain_1, confidence = stage((first,))
    # A single model is a pair with itself, and the second call is free.
    gain_2 = stage.correct((first, later[0])) if later else gain_1
    cost_2 = search.cost[later[0]] if later else 0.0
    return two_model_curve(confidence, gain_1, gain_2, search.cost[first], cost_2, positive)


def search_pairs(
    search: Search,
    positive: Array | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> Points:
    """Return the front of all single models and pairs of a search at all thresholds.

    Outcomes are graded in [0, 1] or bool, and costs may differ by sample. With `positive`, a bool
    array (k,), the accuracy is F1. In a search of longer cascades, a pair is the first cascade that
    begins with it, in which no sample reaches the later models. No kernel is called. The search
    stops at its deadline or if `is_late` returns True.

    Raises
    ------
    ValueError
        If F1 is requested for three models or more.
    """
    width = search.lengths[-1]
    if positive is not None and width > 2:
        raise ValueError(f"n_models={search.lengths}: F1 is exact for one and two models only")
    run_seconds = RUN_SECONDS * len(search.outcomes.stage.correct((0,)))
    searched: list[tuple[int, ...]] = []
    found = np.empty((4, 0))  # cost, accuracy, position of the cascade, threshold
    skipped = None
    for cascade in first_cascades(search):
        is_time_up = monotonic() + run_seconds * found.shape[1] > search.deadline
        if searched and (is_time_up or is_late()):
            skipped = cascade
            break
        curve = curve_of(search, cascade, positive)
        number = np.full(len(curve.cost), len(searched))
        found = merge_fronts(found, np.stack([curve.cost, curve.accuracy, number, curve.threshold]))
        searched.append(cascade)
    rows = []
    for number, threshold in found[2:].T:
        cascade = searched[int(number)]
        rows.append((cascade, (threshold, *[-np.inf] * len(cascade))[: len(cascade) - 1]))
    points = points_by_running(search, rows, positive)
    if skipped is None and width <= 2:
        return points
    # Pairs are sorted by the cost of their first model. The least cost bounds other cascades.
    cheapest = skipped[0] if skipped and search.lengths == (2,) else search.cascades.order[0]
    floor = search.cascades.cost[cheapest]
    return replace(points, floor=np.array([floor]), above=np.array([-1.0]))


def copies_of_grades(grades: Array) -> int | None:
    """Return the least number of copies that represent all grades exactly, or None."""
    distinct = np.unique(grades)
    for copies in range(1, MOST_COPIES + 1):
        if np.allclose(distinct * copies, np.round(distinct * copies), rtol=0, atol=1e-9):
            return copies
    return None


def search_copies(search: Search) -> Points:
    """Return the front of graded outcomes, from a search of copies of the samples.

    Each sample has R copies, and the share of correct copies is its grade. If grades are no
    multiples of 1/R for a small R, they are rounded to such multiples, and the result has an
    :attr:`Points.error`. If costs differ by sample, the search uses their means. The accuracy and
    the cost of each point are exact: they are computed from the grades and costs of its samples.
    """
    stage = search.outcomes.stage
    grades = np.stack([stage.correct((m,)) for m in range(len(search.cost))])
    k = grades.shape[1]
    copies = copies_of_grades(grades) if search.outcomes.last_only else None
    if grades.dtype == bool:
        copies = 1
    is_rounded = copies is None
    offset = np.full(k, 0.5)
    if copies is None:
        copies = int(np.clip(ALL_COPIES // grades.size, 4, MOST_COPIES))
        # The rounding errors of samples with similar confidence cancel.
        offset[np.argsort(stage((0,))[1], kind="stable")] = np.arange(k) * GOLDEN % 1
    limits = (np.arange(copies)[:, None] + offset) / copies

    def outcome(prefix: tuple) -> Outcome:
        grade, confidence = stage(prefix)
        return (grade > limits).ravel(), np.tile(confidence, copies)

    outcomes = Outcomes(outcome, search.outcomes.last_only)
    found = search_counted(search._replace(outcomes=outcomes, cost=search.cascades.cost))
    rows = []
    for models, thresholds in zip(found.models.tolist(), found.thresholds):
        n = sum(model >= 0 for model in models)
        rows.append((tuple(models[:n]), thresholds[: n - 1]))
    points = points_by_running(search, rows)
    return replace(
        points,
        floor=found.floor,
        above=found.above,
        # A sample's rounded grade exceeds its grade by at most (1 − offset) / R, and is less by at
        # most offset / R, so the accuracies of two cascades differ by at most 1 / R more.
        error=1 / copies if is_rounded else 0.0,
        has_mean_costs=search.cost.ndim == 2,
    )


def reached_models(cascade: tuple, limits: Sequence[float]) -> tuple:
    """Return the models of a cascade up to the first threshold −inf, at which all samples exit."""
    return cascade[: 1 + [*limits, -np.inf].index(-np.inf)]


def points_by_running(search: Search, rows: list[tuple], positive: Array | None = None) -> Points:
    """Evaluate cascades, given as (models, thresholds), and return the non-dominated ones."""
    search.outcomes.prepare(reached_models(*row) for row in rows)
    stage = search.outcomes.stage
    outcome = lru_cache(32)(stage)
    last_outcome = lru_cache(32)(stage.last)
    width = search.lengths[-1]
    models = np.full((len(rows), width), -1)
    thresholds = np.full((len(rows), width - 1), np.nan)
    rates = np.zeros((len(rows), width))
    accuracy = np.empty(len(rows))
    total = np.empty(len(rows))
    for row, (cascade, limits) in enumerate(rows):
        models[row, : len(cascade)] = cascade
        thresholds[row, : len(cascade) - 1] = limits
        reached = reached_models(cascade, limits)
        n = len(reached)
        *deciding, last = prefixes_of(reached)
        gains, confidences = zip(*map(outcome, deciding), last_outcome(last))
        exits = exit_stages(confidences, limits[: n - 1])
        gain = np.choose(exits, gains)
        total[row] = mean_cost([search.cost[m] for m in reached], exits)
        accuracy[row] = np.mean(gain) if positive is None else f1(gain > 0, positive)
        rates[row, :n] = np.bincount(exits, minlength=n) / len(exits)
    keep = pareto_front(total, accuracy)
    return Points(
        accuracy[keep],
        total[keep],
        models[keep],
        thresholds[keep],
        rates[keep],
        samples=len(stage.correct((0,))),
    )
