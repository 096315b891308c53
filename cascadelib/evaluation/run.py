"""Evaluate a cascade on a store: exit stages, correctness and costs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..methods.thresholds import exit_stages
from ..origin import join_origins
from ..stages import F1, Outcome, f1_of, influence_on_f1
from ..store.protocol import Store
from .evaluation import (
    baseline_of,
    check_store,
    costs_by_model,
    mean_cost,
    paid_by,
    quality,
    stages_of,
)
from .pareto import Baseline, improvement_factor
from .point import Point, measured_text, points_of


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """Hold the result of :func:`evaluate` for one cascade of n models on k samples.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The evaluated samples.
    point : Point
        The cascade.
    outcomes : list of (correct, confidence)
        Arrays of shape (k,) after each model, with confidence higher = more confident.
    costs : list of float or float64 array of shape (k,)
        Cost of each model.
    """

    store: Store
    point: Point
    outcomes: Sequence[Outcome]
    costs: Sequence[Any]

    def __repr__(self) -> str:
        subject = f"{self.point.chain} on {len(self.exit_stage)} samples"
        return f"<Run: {subject}{measured_text(self.measured_point)}>"

    @cached_property
    def exit_stage(self) -> Array:
        """Return the stage at which each sample exits, int64 (k,), 0 = first model."""
        return exit_stages([confidence for _, confidence in self.outcomes], self.point.inside)

    @cached_property
    def correct(self) -> Array:
        """Return whether each answer is correct, bool (k,), or its score in [0, 1]."""
        return np.choose(self.exit_stage, [correct for correct, _ in self.outcomes])

    @property
    def confidences(self) -> list[Array]:
        """Return the confidences after each stage, n float64 arrays (k,)."""
        return [np.asarray(confidence, np.float64) for _, confidence in self.outcomes]

    @property
    def stage_confidences(self) -> list[Array]:
        """Return the confidences of the samples that reach each stage, n float64 arrays."""
        return [values[self.exit_stage >= stage] for stage, values in enumerate(self.confidences)]

    @cached_property
    def accuracy(self) -> float:
        """Return the accuracy, or F1 under that score."""
        return quality(self.store, self.correct, self.point.score)

    @cached_property
    def cost(self) -> float:
        """Return the mean cost per sample."""
        return mean_cost(self.costs, self.exit_stage)

    @property
    def sample_costs(self) -> Array:
        """Return the cost of each sample, float64 (k,)."""
        return paid_by(self.exit_stage, self.costs)

    @property
    def influence(self) -> Array:
        """Return the influence of each sample on the accuracy or F1, float64 (k,).

        The standard error of the accuracy or F1 is that of the mean influence. For the accuracy,
        the influence is the correctness of the sample.
        """
        if self.point.score != F1:
            return np.asarray(self.correct, np.float64)
        return influence_on_f1(self.correct, self.store.positives())

    @property
    def exit_rates(self) -> tuple[float, ...]:
        """Return the share of all samples that exit at each stage, n numbers."""
        exits = np.bincount(self.exit_stage, minlength=len(self.costs))
        return tuple((exits / len(self.exit_stage)).tolist())

    @cached_property
    def baseline(self) -> Baseline:
        """Return the baseline of the store's single models."""
        return baseline_of(self.store, self.point.score, self.point.cost_kind)

    @property
    def baseline_cost(self) -> float:
        """Return the baseline's cost at equal accuracy, nan above the best single model."""
        return float(self.baseline.cost_at(self.accuracy))

    @property
    def improvement(self) -> float:
        """Return ``baseline_cost`` ÷ cost (paper, section 3), nan above the best single model."""
        return float(improvement_factor(self.baseline_cost, self.cost))

    @property
    def saving(self) -> float:
        """Return the cost of the store's most accurate single model ÷ cost."""
        return float(self.baseline.saving(self.cost))

    @property
    def difference(self) -> float:
        """Return the accuracy minus that of the most accurate single model."""
        return self.accuracy - self.baseline.best

    @property
    def measured_point(self) -> Point:
        """Return the cascade with its values on this store.

        Its ``selected_on`` includes the samples of this store, since a choice between cascades by
        their measured values is a selection on these samples.
        """
        return replace(
            self.point,
            selected_on=join_origins(self.point.selected_on, self.store.origin),
            exit_rates=self.exit_rates,
            accuracy=self.accuracy,
            cost=self.cost,
            improvement=self.improvement,
            saving=self.saving,
            difference=self.difference,
            expected_accuracy=np.nan,
        )


def evaluate(store: Store, cascades: Any) -> Any:
    """Evaluate fixed cascades on a store.

    Nothing is refitted, neither thresholds nor temperatures. On the split that selected a point,
    its accuracy and cost are reproduced exactly.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Labelled samples, with all models of the cascades. The baseline is that of this store.
    cascades : Point, Policy, Cascade, Front, Certificate or list of these
        Cascades to evaluate.

    Returns
    -------
    Run or list of Run
        One Run for a single Point, Policy or Cascade, otherwise a list in the order of the
        cascades. A Run has ``accuracy``, ``cost``, ``exit_rates``, ``exit_stage``, ``correct``,
        ``baseline_cost``, ``saving`` and ``improvement``.

    Raises
    ------
    TypeError
        If `store` is not a store, or if `cascades` contains no cascade.
    ValueError
        If the store lacks a model of a cascade.

    See Also
    --------
    replay : Evaluate a full front on another split.
    certify : Guarantee the loss of a cascade.

    Examples
    --------
    >>> import cascadelib as cl
    >>> table = cl.ScoreTable([[1, 0, 1], [1, 1, 1]], [[0.9, 0.2, 0.7], [1, 1, 1]], [1.0, 10.0])
    >>> result = cl.evaluate(table, cl.search(table).point(-1))
    >>> result.accuracy, round(result.cost, 3), result.exit_stage.tolist()
    (1.0, 4.333, [0, 1, 0])
    """
    check_store(store)
    runs = [run for _, run in sorted(runs_of(store, points_of(cascades)))]
    return runs[0] if hasattr(cascades, "thresholds") else runs


def runs_of(store: Store, points: Sequence[Point]) -> Iterator[tuple[int, Run]]:
    """Yield (position, :class:`Run`) of each Point on a store, grouped by cascade.

    The outcomes of each cascade are computed once.

    Raises
    ------
    ValueError
        If the store lacks a model.
    """
    groups: dict[tuple, dict[tuple, list[int]]] = {}
    for position, point in enumerate(points):
        cascades = groups.setdefault((point.score, point.cost_kind, id(point.method)), {})
        cascades.setdefault(tuple(point.models), []).append(position)
    for cascades in groups.values():
        first = points[next(iter(cascades.values()))[0]]
        outcomes = stages_of(store, list(cascades), first.method, first.score)
        cost_of = costs_by_model(store, first.cost_kind)
        for (models, positions), stages in zip(cascades.items(), outcomes):
            costs = [cost_of[name] for name in models]
            for position in positions:
                yield position, Run(store, points[position], stages, costs)


SUMS_AT_ONCE = 2**24  # sums of a grid of thresholds, which limit the memory


def sums_of_reached(
    confidences: Sequence[Array], thresholds: Array, values: Sequence[Array], counts: Array
) -> list[Array]:
    """Sum values over the samples that reach each stage, for many thresholds and resamples.

    The thresholds of a stage divide the samples into cells. Cumulative sums over the cells of all
    stages give the sums of many tuples of thresholds simultaneously. Stages with equal thresholds
    are one dimension, that of the highest confidence so far.

    Parameters
    ----------
    confidences : sequence of float arrays of shape (k,)
        Confidences of n − 1 stages (higher = more confident).
    thresholds : float array of shape (P, n - 1)
        Thresholds for these confidences.
    values : sequence of arrays of shape (n, k)
        What each sample adds to the sums of the stages that it reaches. There is a result for each
        array.
    counts : int array of shape (k, R)
        Number of draws of each sample in each resample.

    Returns
    -------
    list of arrays of shape (n, P, R)
        The sums, int64 if the values are bool or int.
    """
    # This imports numba. The import is late, since a policy runs without numba.
    from ..methods.kernels import add_by_cell, count_reached

    k, resamples = counts.shape
    # nan sorts after all confidences, so no sample exits at the threshold "never", even at inf.
    columns = np.where(thresholds < np.inf, thresholds, np.nan).T
    dimension_of: dict[bytes, int] = {}
    dimensions = [dimension_of.setdefault(one.tobytes(), len(dimension_of)) for one in columns]
    sums = []
    for parts in values:
        dtype = np.result_type(parts, np.int64)
        found = np.empty((len(parts), len(thresholds), resamples), dtype)
        first = np.zeros((1, resamples), dtype)
        add_by_cell(np.zeros(k, np.int64), parts[0], counts, first)
        found[0] = first
        sums.append(found)
    cells_at_once = min(k, SUMS_AT_ONCE // resamples)
    tuples = max(1, int(cells_at_once ** (1 / max(1, len(dimension_of)))))
    for start in range(0, len(thresholds), tuples):
        block = slice(start, start + tuples)
        highest: dict[int, Array] = {}
        cells: dict[int, Array] = {}
        last: dict[int, Array] = {}  # the last cell that does not exit
        sizes: dict[int, int] = {}
        for stage, (at, confidence) in enumerate(zip(dimensions, confidences), 1):
            column = columns[stage - 1, block]
            levels = np.unique(column)
            highest[at] = np.fmax(highest.get(at, confidence), confidence)
            cells[at] = count_reached(levels, highest[at])  # 0 for nan, which exits at no threshold
            last[at] = np.searchsorted(levels, column)
            sizes[at] = len(levels) + 1
            grid = tuple(sizes.values())
            cell = np.ravel_multi_index(tuple(cells.values()), grid)
            for parts, found in zip(values, sums):
                totals = np.zeros((int(np.prod(grid)), resamples), found.dtype)
                add_by_cell(cell, parts[stage], counts, totals)
                totals = totals.reshape(*grid, resamples)
                for axis in range(len(grid)):
                    totals = totals.cumsum(axis)
                found[stage, block] = totals[tuple(last.values())]
    return sums


def resampled_cascade(
    outcomes: Sequence[Outcome],
    costs: Sequence[Any] | Array,
    thresholds: Array,
    counts: Array,
    positive: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Evaluate one cascade at P tuples of thresholds on each resample.

    Parameters
    ----------
    outcomes : sequence of (correct, confidence)
        Arrays of shape (k,) after each of n models.
    costs : sequence of float or float array of shape (k,)
        Cost of each model.
    thresholds : float array of shape (P, n - 1)
        Thresholds for confidences where higher = more confident.
    counts : int array of shape (k, R)
        Number of draws of each sample in each resample.
    positive : bool array of shape (k,), optional
        Samples of the positive class. If it is given, the score is F1.

    Returns
    -------
    accuracy, cost : float64 arrays of shape (R, P)
        Accuracy (or F1) and mean cost.
    exit_rates : float64 array of shape (R, P, n)
        Share of the samples that exit at each stage.
    """
    k = len(counts)
    correct = np.stack([correct for correct, _ in outcomes])
    if correct.dtype == bool:
        correct = correct.astype(np.int8)  # these can be subtracted
    confidences = [np.asarray(confidence, np.float64) for _, confidence in outcomes[:-1]]
    changes = np.diff(correct, axis=0, prepend=0)
    values = [np.ones(correct.shape, np.int8), changes]
    if positive is not None:
        values.append(changes * positive)
    has_sample_costs = any(np.ndim(cost) for cost in costs)
    if has_sample_costs:
        values.append(np.stack([np.broadcast_to(cost, k) for cost in costs]))
    found = sums_of_reached(confidences, thresholds, values, counts)
    reached = found[0] / k
    n_correct, *others = (sums.sum(axis=0) for sums in found[1:])
    accuracy = n_correct / k if positive is None else f1_of(others[0], k - n_correct)
    if has_sample_costs:
        cost = others[-1] / k
    else:
        cost = sum(price * share for price, share in zip(costs, reached))
    rates = -np.diff(found[0], axis=0, append=0) / k
    return accuracy.T, cost.T, rates.T
