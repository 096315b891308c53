"""Cascades with one threshold for all stages: cheaper to search but worse than separate thresholds.

Paper, section 3.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy import ndarray as Array
from numpy.typing import ArrayLike

from cascadelib.checks import check_count
from cascadelib.evaluation.pareto import pareto_front
from cascadelib.evaluation.run import resampled_cascade
from cascadelib.fronts.cascades import Cascades, Outcomes, cascades_of
from cascadelib.fronts.exact import SearchTask
from cascadelib.fronts.front import Front, Points
from cascadelib.fronts.graded import merge_fronts
from cascadelib.labels import check_costs
from cascadelib.methods.method import Method
from cascadelib.methods.thresholds import threshold_for
from cascadelib.scoring import F1
from cascadelib.stages import Outcome, StageFunction
from cascadelib.store.protocol import Store


def sum_deferred(slots: list[Array], sizes: list[int], weights: Array) -> Array:
    """Sum the weights [k] of the samples that all stages defer, for each combination of thresholds.

    slots: for each stage an int [k], the number of thresholds that defer each sample. The axes of
    later stages have length 1, so that the result broadcasts to ``sizes``.
    """
    shape = [n + 1 for n in sizes[: len(slots)]]
    cells = np.ravel_multi_index(slots, shape) if slots else np.zeros(len(weights), np.int64)
    table = np.flip(np.bincount(cells, weights, minlength=int(np.prod(shape))).reshape(shape))
    for axis in range(len(shape)):
        table = table.cumsum(axis)
    passed = np.flip(table[(slice(-1),) * len(shape)])
    return passed.reshape(passed.shape + (1,) * (len(sizes) - len(slots)))


def count_outcomes(
    outcomes: Sequence[Outcome], costs: Array, thresholds: Array
) -> tuple[Array, Array, Array]:
    """Return :func:`resampled_cascade` of the unchanged samples: accuracy and cost (P,), and exit
    rates (P, n).

    They equal those of :func:`evaluate` if the correctness is bool.
    """
    once = np.ones((len(outcomes[0][0]), 1), np.int32)  # as sample_counts, so compiled once
    accuracy, cost, rates = resampled_cascade(outcomes, costs, thresholds, once)
    return accuracy[0], cost[0], rates[0]


def shared_levels(outcomes: Outcomes, head: tuple) -> tuple[Array, Array]:
    """Return the thresholds that the stages of a prefix can share, and how many of them defer a
    sample.

    These are all occurring confidences, falling float64 [V], and the counts int [n − 1, k].
    """
    confidence = np.stack([outcomes.confidence(head[: i + 1]) for i in range(len(head))])
    rising = np.unique(confidence)
    # A sample exits at the first stage that is confident enough.
    reached = np.maximum.accumulate(confidence)
    return rising[::-1], len(rising) - np.searchsorted(rising, reached)


def search_shared_threshold(stage: StageFunction, cost: ArrayLike, n_models: int) -> Points:
    """Search :func:`shared_threshold_front` of the inputs of :func:`search_outcomes`."""
    if np.ndim(cost) != 1:
        raise ValueError("a shared threshold needs one cost per model")
    check_count(n_models, "n_models (how many models share a threshold)", 2, np.size(cost))
    cost = check_costs(cost)
    outcomes = Outcomes(stage, False)
    outcomes.prepare(cascades_of(cost, (n_models,)))
    found = np.empty((4, 0))  # cost, accuracy, number of the cascade and boundary of each point
    cascades: list[tuple] = []
    models = Cascades(cost)
    for head in models.extensions((), n_models - 1):
        falling, slots = shared_levels(outcomes, head)
        before = [outcomes.correct(head[: i + 1]).view(np.int8) for i in range(len(head))]
        k = len(before[0])
        sizes = [len(falling) + 1]
        passing = [sum_deferred([slot], sizes, np.ones(k)) / k for slot in slots]
        for m in models.followers(head).tolist():
            cascade = (*head, m)
            steps = np.diff([*before, outcomes.correct(cascade).view(np.int8)], axis=0)
            correct: Any = before[0].sum()
            total = cost[head[0]]
            for i, slot in enumerate(slots):
                correct = correct + sum_deferred([slot], sizes, steps[i])
                total = total + cost[cascade[i + 1]] * passing[i]
            # The cost falls with the boundary. A point must be better than all later ones.
            best_after = np.maximum.accumulate(correct[::-1])[::-1]
            rows = np.flatnonzero(np.diff(best_after, append=-1))
            number = np.full(len(rows), len(cascades))
            found = merge_fronts(found, np.stack([total[rows], correct[rows] / k, number, rows]))
            cascades.append(cascade)
    parts = []
    for number in np.unique(found[2]):
        cascade = cascades[int(number)]
        falling, _ = shared_levels(outcomes, cascade[:-1])
        levels = threshold_for(falling, found[3, found[2] == number].astype(int))
        thresholds = np.repeat(levels[:, None], n_models - 1, axis=1)
        stages = [outcomes.stage(cascade[: i + 1]) for i in range(n_models - 1)]
        stages.append((outcomes.correct(cascade), stages[-1][1]))  # the last model exits always
        measured = count_outcomes(stages, cost[list(cascade)], thresholds)
        parts.append((np.tile(cascade, (len(levels), 1)), thresholds, *measured))
    models_of, thresholds, accuracy, total, rates = map(np.concatenate, zip(*parts))
    keep = pareto_front(total, accuracy)
    points = Points(accuracy[keep], total[keep], models_of[keep], thresholds[keep], rates[keep])
    return replace(points, samples=k)


def shared_threshold_front(
    store: Store,
    n_models: int = 2,
    method: str | Method | None = None,
    *,
    score: str | None = None,
    cost: str | None = None,
    models: Any = "all",
) -> Front:
    """Return the exact front of cascades with one threshold for all stages.

    Parameters
    ----------
    store, method, score, cost, models
        As for :func:`search`, without F1. The metric must mean the same at every stage.
    n_models : int
        One length, 2 or more.

    Returns
    -------
    Front
        The non-dominated cascades, rising in cost and accuracy.

    Raises
    ------
    ValueError
        If the score is F1, if costs are per sample, or if :func:`search` refuses the inputs.

    References
    ----------
    Lebovitz et al., TMLR 2023, section 3.
    """
    if score == F1:
        raise ValueError("F1 needs a threshold per stage: use cascadelib.search, or score='top1'")
    task = SearchTask(store, method, score, cost, models)
    return task.front(search_shared_threshold(task.stage, task.costs, n_models))
