"""Resample the samples of a store (bootstrap), and compute intervals of resampled values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy import ndarray as Array
from scipy.sparse import csr_array

from ..checks import check_count
from ..evaluation.evaluation import check_store, singles_correct
from ..evaluation.intervals import LEVEL
from ..evaluation.pareto import (
    Baseline,
    improvement_factor,
    mean_improvement,
    pareto_front,
)
from ..evaluation.point import Point, kinds_of, points_of
from ..evaluation.run import Run, resampled_cascade, runs_of
from ..stages import F1, f1_of
from ..store.protocol import Store


@dataclass(frozen=True, eq=False)
class Resampled:
    """Hold the values of P fixed cascades and M single models on R resamples of one split.

    Two results from the same store and seed are paired, so their rows can be subtracted.

    Parameters
    ----------
    accuracy, cost : float64 arrays of shape (R, P)
        Values of each cascade on each resample.
    exit_rates : float64 array of shape (R, P, n)
        Early exit rates, 0 past the end of a shorter cascade.
    single_accuracy, single_cost : float64 arrays of shape (R, M)
        Values of each single model.
    """

    accuracy: Array
    cost: Array
    exit_rates: Array
    single_accuracy: Array
    single_cost: Array

    def __repr__(self) -> str:
        resamples, cascades = self.accuracy.shape
        singles = self.single_cost.shape[1]
        return f"<Resampled: {cascades} cascades, {singles} single models, {resamples} resamples>"

    @cached_property
    def baselines(self) -> list[Baseline]:
        """Return the :class:`Baseline` of each resample."""
        return [Baseline(*pair) for pair in zip(self.single_cost, self.single_accuracy)]

    @property
    def improvement(self) -> Array:
        """Return the improvement factor of each cascade, float64 (R, P).

        The factor is undefined above the best single model of a resample. There, the cost of that
        model is used, which is a lower bound.
        """
        rows = zip(self.baselines, self.accuracy, self.cost)
        return np.stack(
            [
                improvement_factor(base.cost_at(np.minimum(accuracy, base.best)), cost)
                for base, accuracy, cost in rows
            ]
        )

    @cached_property
    def fronts(self) -> list[tuple[Array, Array]]:
        """Return rising costs and accuracies of the non-dominated cascades of each resample."""
        keep = [pareto_front(*pair) for pair in zip(self.cost, self.accuracy)]
        return [(cost[k], accuracy[k]) for cost, accuracy, k in zip(self.cost, self.accuracy, keep)]

    def mean_improvement(self, low: float | None = None) -> Array:
        """Return the mean improvement over the accuracy range of each resample, float64 (R,).

        The range starts at `low` if it is given.
        """
        return np.array(
            [mean_improvement(b, *front, low) for b, front in zip(self.baselines, self.fronts)]
        )


def sample_counts(k: int, resamples: int, seed: int = 0) -> Array:
    """Return the number of draws of each of k samples in each of R resamples, int32 (k, R).

    Each column sums to k.
    """
    rng = np.random.default_rng(check_count(seed, "seed", 0))
    counts = np.empty((check_count(resamples, "resamples"), k), np.int32)
    for row in counts:
        row[:] = np.bincount(rng.integers(k, size=k), minlength=k)
    return np.ascontiguousarray(counts.T)


def resampled_means(counts: Array, values: Array) -> Array:
    """Return the mean of each row of values (P, k) in each resample, float64 (R, P)."""
    return (csr_array(values) @ counts / len(counts)).T


def bootstrap(
    store: Store, cascades: Any, resamples: int | Array = 1000, seed: int = 0
) -> Resampled:
    """Resample the samples of a store and evaluate fixed cascades on each resample.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Labelled samples.
    cascades : Point, Policy, Cascade, Front, Certificate or list of these
        Cascades with the same score and kind of cost.
    resamples : int or int32 array of shape (n_samples, n_resamples), default=1000
        Number of resamples, or the counts of :func:`sample_counts`, which several calls can share.
    seed : int, default=0
        Seed of the resamples.

    Returns
    -------
    Resampled
        Accuracy, cost and improvement per resample and cascade. Its method ``mean_improvement``
        treats all cascades together as one front.

    Raises
    ------
    TypeError
        If `store` is not a store, or if `cascades` contains no cascade.
    ValueError
        If the cascades have different scores or kinds of cost.

    See Also
    --------
    evaluate : Evaluate cascades on the samples themselves.
    certify : A guarantee instead of an interval.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> resampled = cl.bootstrap(table, cl.search(table), resamples=200)
    >>> resampled.accuracy.shape
    (200, 68)
    """
    check_store(store)
    points = points_of(cascades)
    counts = resamples
    if not isinstance(counts, Array):
        counts = sample_counts(len(store), counts, seed)
    return resampled_runs(store, runs_of(store, points), points, counts)


def resampled_runs(
    store: Store,
    runs: Iterable[tuple[int, Run]],
    points: Sequence[Point],
    counts: Array,
    singles: Sequence[Array] | None = None,
) -> Resampled:
    """Compute :func:`bootstrap` from the runs of the points.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Labelled samples.
    runs : iterable of (int, Run)
        Position and :class:`Run` of each point.
    points : sequence of Point
        The cascades.
    counts : int32 array of shape (n_samples, n_resamples)
        See :func:`sample_counts`.
    singles : sequence of bool arrays of shape (n_samples,), optional
        Correctness of each single model, if it was computed before.
    """
    score, cost_kind = kinds_of(points)
    positive = store.positives() if score == F1 else None
    resamples = counts.shape[1]
    accuracy = np.empty((resamples, len(points)))
    cost = np.empty((resamples, len(points)))
    rates = np.zeros((resamples, len(points), max(len(point.models) for point in points)))
    # Neighbours with equal models and one method differ in thresholds only.
    for _, same in groupby(runs, lambda found: (found[1].point.models, id(found[1].point.method))):
        at, of_cascade = zip(*same)
        run = of_cascade[0]
        n = len(run.outcomes)
        thresholds = np.reshape([other.point.inside for other in of_cascade], (len(at), n - 1))
        values = resampled_cascade(run.outcomes, run.costs, thresholds, counts, positive)
        accuracy[:, at], cost[:, at], rates[:, at, :n] = values
    correct = np.stack(singles_correct(store, score) if singles is None else singles)
    single_accuracy = resampled_means(counts, correct)
    if positive is not None:
        single_accuracy = f1_of(resampled_means(counts, correct & positive), 1 - single_accuracy)
    costs = store.sample_costs(cost_kind)
    if costs.ndim == 2:
        single_cost = resampled_means(counts, costs)
    else:
        single_cost = np.broadcast_to(costs, single_accuracy.shape)
    return Resampled(accuracy, cost, rates, single_accuracy, single_cost)


def interval(values: Array, level: float = LEVEL) -> tuple:
    """Return percentiles of resampled values.

    Parameters
    ----------
    values : float array of shape (n_resamples, ...)
        Resampled values.
    level : float, default=0.95
        Coverage.

    Returns
    -------
    tuple of float or array
        (low, high), of the shape of the other axes.

    Notes
    -----
    Percentiles fail in three cases.

    - Rare events. If 0.2% of 500 samples are deferred, a third of all splits contains none, and
      neither do their resamples. :func:`cost_interval` and ``share_interval`` are valid.
    - The improvement factor near the accuracy of the best single model, where 95% percentiles
      covered 86% to 88%. :func:`holds` omits them there, and reports ``saving``.
    - The mean improvement of a set of cascades. At each accuracy only the best one counts, so
      resampled values exceed the estimate about as much as the estimate exceeds the true value.
      Mirror the percentiles at the estimate.
    """
    return tuple(np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0))
