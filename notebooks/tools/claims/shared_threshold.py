"""Cascades with one threshold for all stages: cheaper to search but worse than separate thresholds.

Paper, section 3.
"""

from typing import Any

import numpy as np
from numpy import ndarray as Array
from numpy.typing import ArrayLike

from cascadelib.checks import check_count
from cascadelib.fronts.cascades import Cascades, Outcomes, cascades_of
from cascadelib.fronts.curves import merge_fronts
from cascadelib.fronts.exact import SearchTask
from cascadelib.fronts.front import Front, Points
from cascadelib.labels import check_costs
from cascadelib.methods.thresholds import threshold_for
from cascadelib.stages import StageFunction
from cascadelib.store.protocol import Store


def sum_deferred(slot: Array, weights: Array, thresholds: int) -> Array:
    """Sum the weights [k] of the deferred samples, for 0 … V thresholds that let samples exit.

    slot: the number of thresholds that defer each sample, int [k].
    """
    exiting = np.bincount(slot, weights, minlength=thresholds + 1).cumsum()
    return exiting[-1] - exiting


def prefixes_of(head: tuple) -> list[tuple]:
    """Return the first model, the first two, and so on."""
    return [head[: i + 1] for i in range(len(head))]


def shared_levels(outcomes: Outcomes, head: tuple) -> tuple[Array, Array]:
    """Return the thresholds that the stages of a prefix can share, and how many of them defer a
    sample.

    These are all occurring confidences, falling float64 [V], and the counts int [n − 1, k].
    """
    confidence = [outcomes.confidence(prefix) for prefix in prefixes_of(head)]
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
    cascades: list[tuple] = []
    # A column for each point: cost, accuracy, number of the cascade, threshold, and what passes on.
    found = np.empty((n_models + 3, 0))
    models = Cascades(cost)
    for head in models.extensions((), n_models - 1):
        falling, slots = shared_levels(outcomes, head)
        levels = threshold_for(falling, np.arange(len(falling) + 1))
        hits = [outcomes.correct(prefix).view(np.int8) for prefix in prefixes_of(head)]
        k = len(hits[0])
        ones = np.ones(k)
        passing = [sum_deferred(slot, ones, len(falling)) / k for slot in slots]
        for m in models.followers(head).tolist():
            cascade = (*head, m)
            last = outcomes.correct(cascade).view(np.int8)
            steps = np.diff([*hits, last], axis=0)
            gains = [sum_deferred(*pair, len(falling)) for pair in zip(slots, steps)]
            correct = hits[0].sum() + sum(gains)
            first, *later = cost[list(cascade)]
            total = first + np.dot(later, passing)
            # The cost falls with the boundary. A point must be better than all later ones.
            best_after = np.maximum.accumulate(correct[::-1])[::-1]
            rows = np.flatnonzero(np.diff(best_after, append=-1))
            number = np.full(len(total), len(cascades))
            points = np.stack([total, correct / k, number, levels, *passing])
            found = merge_fronts(found, points[:, rows])
            cascades.append(cascade)
    total, accuracy, number, levels, *passing = found
    shares = [np.ones_like(total), *passing, np.zeros_like(total)]
    thresholds = np.repeat(levels[:, None], n_models - 1, axis=1)
    models_of = np.array(cascades)[number.astype(int)]
    exit_rates = -np.diff(shares, axis=0).T
    return Points(accuracy, total, models_of, thresholds, exit_rates, samples=k)


def shared_threshold_front(
    store: Store,
    n_models: int,
    cost: str | None = None,
    models: Any = "all",
) -> Front:
    """Return the exact front of cascades by max softmax with one threshold for all stages.

    Parameters
    ----------
    store, cost, models
        As for :func:`search`.
    n_models : int
        One length, 2 or more.

    Returns
    -------
    Front
        The non-dominated cascades, rising in cost and accuracy.

    Raises
    ------
    ValueError
        If costs are per sample, or if :func:`search` refuses the inputs.

    References
    ----------
    Lebovitz et al., TMLR 2023, section 3.
    """
    task = SearchTask(store, None, None, cost, models)
    return task.front(search_shared_threshold(task.stage, task.costs, n_models))
