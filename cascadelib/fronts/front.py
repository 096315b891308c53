"""Define the result of a search: Points as arrays with their certificate, and a Front."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..evaluation.pareto import (
    Baseline,
    improvement_at,
    improvement_factor,
    least_cost,
    mean_improvement,
)
from ..evaluation.point import Point
from ..figures.tables import fraction, number, readable
from ..methods.method import Method
from ..methods.thresholds import convert_units, midway
from ..origin import Origins
from ..stages import F1
from ..store.protocol import Store
from .cascades import Cascades
from .kernels.sorting import neighbours
from .kernels.state import least_onwards

# Measured by the benchmark "choosing", in standard errors. The keys are `Front.expected`: whether
# accuracies are estimated. The first value of a pair is for searches of at most two models, the
# second for searches of longer cascades.
CAUTION = {False: (1.25, 1.85), True: (0.65, 1.05)}  # margin of `pick` at FEWEST_SAMPLES
OPTIMISM = {False: (0.95, 1.4), True: (0.6, 0.85)}  # accuracy minus the mean accuracy on new data
FEWEST_SAMPLES = 500  # smallest size of the splits on which the margins were measured
MOST_SAMPLES = 2000  # largest size of these splits
SHRINKAGE = 0.2  # exponent of the number of samples in the margin
Steps = tuple[Array, Array]
"""Cost and accuracy of the points of a front, both rising, float64 (n_points,)."""


@dataclass(frozen=True)
class Points:
    """Hold a Pareto front as arrays, with rising cost and accuracy.

    If a cascade is shorter than the longest one, its rows are filled: models with −1, thresholds
    with nan, exit rates with 0.

    Parameters
    ----------
    accuracy, cost : float64 arrays of shape (n_points,)
        Accuracy and mean cost per sample.
    models : int64 array of shape (n_points, n_models)
        Rows of the input.
    thresholds : float64 array of shape (n_points, n_models - 1)
        A sample exits if its confidence (higher = more confident) is at least the threshold. −inf
        means "always", inf means "never".
    exit_rates : float64 array of shape (n_points, n_models)
        Share of all samples that exit at each stage.
    floor, above : float64 arrays of shape (n_bounds,) or None
        floor[i] is a lower bound on the cost of unsearched cascades with an accuracy above
        above[i]. `above` rises. None if the search was exact.
    samples : int
        Number of samples of the search, 0 if unknown.
    error : float
        Error of accuracy. No cascade of the same cost is more accurate than the front by more than
        this. It is 0 unless scores were rounded.
    has_mean_costs : bool
        Whether the search used the mean cost of each model instead of its costs per sample.
    """

    accuracy: Array
    cost: Array
    models: Array
    thresholds: Array
    exit_rates: Array
    floor: Array | None = None
    above: Array | None = None
    samples: int = 0
    error: float = 0.0
    has_mean_costs: bool = False

    @property
    def exact(self) -> bool:
        """Return whether no cascade is better than these points."""
        return self.floor is None and self.error == 0 and not self.has_mean_costs

    def floor_above(self, accuracy: Any) -> Any:
        """Return the least possible cost of unsearched cascades above an accuracy."""
        if self.floor is None or self.above is None:
            return np.inf
        return self.floor[np.maximum(np.searchsorted(self.above, accuracy, "right") - 1, 0)]

    @property
    def gap(self) -> Array:
        """Return the possible excess cost of each point, shape (n_points,).

        The bound is the least possible cost of a cascade that is more accurate than the previous
        point. The gap is cost ÷ bound − 1. It is 0 if the search was exact, and nan if it used mean
        costs. If scores were rounded, it refers to the rounded scores.
        """
        if self.has_mean_costs:
            return np.full(len(self.cost), np.nan)
        least = np.minimum(self.cost, self.floor_above(np.append(-1, self.accuracy[:-1]) + 1e-12))
        return improvement_factor(self.cost, least) - 1


def confidences_around(outcomes: Any, cascade: tuple, boundaries: Array, reached: int) -> Array:
    """Return the confidences on both sides of each boundary of a cascade, float64 (2, P, n − 1).

    These are the arguments of :func:`cascadelib.methods.thresholds.midway`. Only samples that reach
    the stage are considered. `reached` is the number of stages that samples reach. All samples exit
    at the last of these stages, so the confidences of later boundaries are nan.
    """
    around = np.full((2, *boundaries.shape), np.nan)
    if reached > 1:
        group, orders, confidences = outcomes.exits(cascade[:-1])
        for i in range(reached - 1):
            samples = neighbours(group, orders[i], boundaries, i)
            around[:, :, i] = np.where(samples < 0, np.nan, confidences[i][samples])
    return around


def points_from(outcomes: Any, best: Any, cascades: Cascades) -> Points:
    """Return the non-dominated entries of a `kernels.state.Best` as Points.

    If no sample reaches a model, it is replaced by the cheapest possible model.
    """
    reach = best.reach
    k = len(reach) - 1
    d = best.where.shape[1] // 2
    is_better = (best.exact == reach) & (reach < np.append(reach[1:], np.inf))
    correct = np.flatnonzero(is_better & np.isfinite(reach))
    numbers, boundaries, at = np.split(best.where[correct], [1, 1 + d], axis=1)
    models = np.full((len(correct), d + 1), -1, np.int64)
    around = np.full((2, len(correct), d), np.nan)
    stages = 1 + np.count_nonzero(at, axis=1)
    rows_of: dict[tuple[int, int], list[int]] = {}
    for row, entry in enumerate(zip(numbers[:, 0].tolist(), stages.tolist())):
        rows_of.setdefault(entry, []).append(row)
    # Cascades with the same prefix, whose exits are cached, have adjacent numbers.
    for (cascade_number, reached), rows in sorted(rows_of.items()):
        cascade = cascades.cascade(cascade_number)
        n = len(cascade)
        cascade = next(cascades.extensions(cascade[:reached], n))
        models[rows, :n] = cascade
        around[:, rows, : n - 1] = confidences_around(
            outcomes, cascade, boundaries[rows, : n - 1], reached
        )
    thresholds = np.where(models[:, 1:] < 0, np.nan, midway(*around))
    rates = -np.diff(at, prepend=k, append=0) / k
    floor: Any = least_onwards(best.floor)
    above: Any = (np.arange(k + 1) - 1) / k
    if np.isinf(floor[0]):
        floor = above = None
    return Points(correct / k, best.exact[correct], models, thresholds, rates, floor, above, k)


@dataclass(frozen=True, eq=False)
class Front:
    """Hold a Pareto front of cascades and the baseline of single models.

    Parameters
    ----------
    points : Points or None
        Result of the search. None for a front that was evaluated on another split.
    baseline : Baseline
        Single models of the store on the same samples.
    candidates : tuple of str
        Candidate models.
    method : Method or None
        Method of the cascades. None if the store has confidences instead of model outputs.
    score, cost_kind : str
        Name of the score, such as "top1", and name of the kind of cost.
    selected_on : Origin, tuple of Origin, or None
        Samples whose labels were used to search the front or to fit its method.
    store : Store or None
        The searched store. None in a pickled copy, which has no outcomes.
    expected : bool, default=False
        Whether the accuracies are estimated with ``search(…, expected=True)``.
    replayed : DataFrame or None
        Table of a front that was evaluated on another split.
    best_model : str, optional
        The reference. Defaults to the most accurate single model, the cheapest at a tie.

    See Also
    --------
    search : Compute a front.
    pick : Select one of its points.
    replay : Evaluate it on another split.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> front = cl.search(table)
    >>> front.point(-1).models
    ('llama-3.1-8b', 'llama-3.3-70b')
    >>> front.reference.models
    ('llama-3.3-70b',)
    """

    points: Points | None
    baseline: Baseline
    candidates: tuple[str, ...]
    method: Method | None
    score: str
    cost_kind: str
    selected_on: Origins = None
    store: Store | None = None
    expected: bool = False
    replayed: pd.DataFrame | None = None
    best_model: str | None = None

    def __getstate__(self) -> dict:
        return vars(self) | {"store": None}

    @cached_property
    def table(self) -> pd.DataFrame:
        """Return one row per point, with rising cost and accuracy.

        The columns are accuracy, cost, models, thresholds (native units), exit_rates, improvement
        and saving (cost of the most accurate single model ÷ cost).
        """
        if self.replayed is not None:
            return self.replayed
        points = self._certified
        lengths = np.count_nonzero(points.models >= 0, axis=1).tolist()
        name_of = self.candidates.__getitem__
        units = None if self.method is None else self.method.units
        native = convert_units(units, points.thresholds).tolist()
        rates = points.exit_rates.tolist()
        rows = [tuple(map(name_of, row[:n])) for row, n in zip(points.models.tolist(), lengths)]
        columns = {
            "accuracy": points.accuracy,
            "cost": points.cost,
            "models": rows,
            "thresholds": [tuple(row[: n - 1]) for row, n in zip(native, lengths)],
            "exit_rates": [tuple(row[:n]) for row, n in zip(rates, lengths)],
            "saving": self.baseline.saving(points.cost),
            "improvement": improvement_factor(self.baseline.cost_at(points.accuracy), points.cost),
        }
        return pd.DataFrame(columns)

    @property
    def singles(self) -> pd.DataFrame:
        """Return one row per model, cheapest first: accuracy, cost, on_front, on_hull."""
        return self.baseline.table

    def __len__(self) -> int:
        return len(self.steps[0])

    def __repr__(self) -> str:
        rows = self._shown.to_string()
        what = f"{len(self)} points of {len(self.candidates)} models{self._inexact}"
        return f"<Front: {what}>\n{rows}"

    def _repr_html_(self) -> str:
        note = f"{len(self)} Pareto points of {len(self.candidates)} models{self._inexact}"
        note += f"; accuracy {self.baseline.best:.2%} of the best single model"
        if (self.steps[1] >= self.baseline.best).any():
            cost = self.cost_at(self.baseline.best)
            note += f" at a saving of {number(self.baseline.saving(cost))}×"
        return f"<p>{note}; 12 of them:</p>{self._shown._repr_html_()}"

    @property
    def _shown(self) -> pd.DataFrame:
        """Return twelve readable rows, with differences of accuracy and expected accuracies."""
        shown = readable(self.table, 12, self.cost_kind)
        difference = self.steps[1] - self.baseline.best
        points = [f"{100 * difference[row]:+.2f}" for row in shown.index]
        shown.insert(list(shown).index("saving") + 1, "difference in points", points)
        expected = map(fraction, self.expected_accuracy_at(self.table["accuracy"][shown.index]))
        shown.insert(list(shown).index("accuracy") + 1, "expected accuracy", list(expected))
        return shown

    @property
    def samples(self) -> int:
        """Return the number of samples of the search, or 0 if it is unknown."""
        if self.store is not None:
            return len(self.store)
        return 0 if self.points is None else self.points.samples

    @property
    def caution(self) -> float:
        """Return the default safety margin of :func:`cascadelib.pick`, in standard errors.

        The margin is larger if the cascades are longer, since more of them are compared. It is also
        larger if there are fewer samples.
        """
        samples = min(max(1, self.samples), MOST_SAMPLES)
        margin = CAUTION[self.expected][self._is_long] * (FEWEST_SAMPLES / samples) ** SHRINKAGE
        return float(round(margin, 2))

    @property
    def _is_long(self) -> bool:
        """Return whether cascades of three models or more were searched."""
        return self.points is not None and self.points.models.shape[1] > 2

    def expected_accuracy_at(self, accuracy: Any) -> Any:
        """Return the expected accuracy on new data of a point with this accuracy on the samples.

        The result is the accuracy minus a number of its standard errors. In a benchmark, picked
        points lost this number of standard errors on new data on average. The result is nan for F1,
        and if the number of samples is unknown.
        """
        if not self.samples or self.score == F1:
            return np.full(np.shape(accuracy), np.nan)[()]
        optimism = OPTIMISM[self.expected][self._is_long]
        return accuracy - optimism * np.sqrt(accuracy * (1 - accuracy) / self.samples)

    @property
    def exact(self) -> bool:
        """Return whether the search was exact. A front of another split was not searched."""
        return self.points is not None and self.points.exact

    @property
    def error(self) -> float:
        """Return the largest error of accuracy that the rounding of scores may cause."""
        return 0.0 if self.points is None else self.points.error

    @property
    def _inexact(self) -> str:
        """Return in words why the search was not exact, or "" for an exact one."""
        if self.points is None or self.points.exact:
            return ""
        reasons = []
        gap = self.points.gap
        if self.points.has_mean_costs:
            reasons.append("searched with the mean cost of each model, costs are those per sample")
        elif len(gap) and gap.max() > 0:
            largest = 100 * gap.max()
            median = 100 * np.median(gap)
            reasons.append(
                f"at most {largest:.3g}% above the least possible cost (median {median:.3g}%)"
            )
        if self.error:
            reasons.append(
                f"scores were rounded, so a cascade of the same cost may be up to {self.error:.2g} "
                "more accurate"
            )
        return f", not exact: {'; '.join(reasons)}" if reasons else ""

    def point(self, row: int) -> Point:
        """Return a row of the table, by position, as a Point."""
        return self.cascades[row]

    def _measured(self, accuracy: float, **values: Any) -> Point:
        """Return a Point with the values of this front."""
        return Point(
            **values,
            accuracy=accuracy,
            difference=accuracy - self.baseline.best,
            expected_accuracy=float(self.expected_accuracy_at(accuracy)),
            method=self.method,
            score=self.score,
            cost_kind=self.cost_kind,
            selected_on=self.selected_on,
        )

    @property
    def reference(self) -> Point:
        """Return the reference, a single model, as a Point."""
        name = self.best_model or self.singles["accuracy"].idxmax()
        accuracy, cost = self.singles.loc[name, ["accuracy", "cost"]]
        return self._measured(
            float(accuracy),
            cost=float(cost),
            models=(name,),
            thresholds=(),
            exit_rates=(1.0,),
            improvement=1.0,
            saving=1.0,
        )

    @cached_property
    def cascades(self) -> tuple[Point, ...]:
        """Return all points."""
        return tuple(self._measured(**row) for row in self.table.to_dict("records"))

    def cost_at(self, accuracy: Any) -> Any:
        """Return the least cost of a point with at least this accuracy, inf if there is none."""
        return least_cost(*self.steps, accuracy)

    @property
    def gap(self) -> Any:
        """Return the possible excess cost of each point as a share of the least possible cost.

        It is 0 for an exact search.
        """
        return self._certified.gap

    @property
    def _certified(self) -> Points:
        if self.points is None:
            raise ValueError(
                "this front was evaluated on another split and has no certified gap: use the front "
                "of the search"
            )
        return self.points

    def improvement_at(self, accuracy: Any) -> Any:
        """Return the improvement factor at an accuracy.

        It is the cost of the baseline at this accuracy divided by :meth:`cost_at`. If only the
        baseline reaches the accuracy, it is 0. Above the accuracy of the best single model, it is
        nan.
        """
        return improvement_at(self.baseline, *self.steps, accuracy)

    def mean_improvement(self, low: float | None = None, high: float | None = None) -> float:
        """Return the mean improvement factor over accuracies `low` to `high`, an exact integral.

        The default range is that of the baseline.
        """
        return mean_improvement(self.baseline, *self.steps, low, high)

    @cached_property
    def steps(self) -> Steps:
        """Return the cost and the accuracy of the points."""
        points: Any = self._certified if self.replayed is None else self.replayed
        return np.asarray(points.cost), np.asarray(points.accuracy)

    def improvement_curve(self, low: float | None = None, points: int = 801) -> pd.DataFrame:
        """Return the improvement factor at evenly spaced accuracies.

        They range from `low` (default: the accuracy of the cheapest model) to the accuracy of the
        best single model. The columns are accuracy and improvement.
        """
        low = float(self.baseline.accuracy[self.baseline.front[0]]) if low is None else low
        at = np.linspace(low, self.baseline.best, points)
        return pd.DataFrame({"accuracy": at, "improvement": self.improvement_at(at)})
