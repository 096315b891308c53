"""Compute Pareto fronts, baselines of single models, and improvement factors (paper, section 3)."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..labels import align_values, as_real_array, check_costs


def pareto_front(cost: Array, accuracy: Array) -> Array:
    """Return the indices of the non-dominated points, cheapest first.

    A point is dominated if another point has at most its cost and at least its accuracy. Of equal
    points the first is kept. Cost and accuracy both rise along the result.

    Parameters
    ----------
    cost : array of shape (n_points,)
        Cost of each point, in any unit.
    accuracy : array of shape (n_points,)
        Accuracy of each point.

    Returns
    -------
    int64 array of shape (n_front,)
        Positions of the non-dominated points.

    Raises
    ------
    ValueError
        If a cost or an accuracy is nan.

    See Also
    --------
    Baseline : The front and the hull of single models.
    search : The front of cascades.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.pareto_front([1.0, 5.0, 8.0, 3.0], [0.80, 0.85, 0.92, 0.90]).tolist()
    [0, 3, 2]
    """
    accuracy = np.asarray(
        align_values(accuracy, "accuracy", *getattr(cost, "axes", ())), np.float64
    )
    cost = np.asarray(cost, np.float64)
    if np.isnan(cost).any() or np.isnan(accuracy).any():
        raise ValueError("cost and accuracy must not be nan")
    order = np.lexsort((np.arange(len(cost)), -accuracy, cost))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy[order])[:-1]])
    return order[accuracy[order] > best_before]


def lower_hull(x: Array, y: Array) -> Array:
    """Return the positions of the lower convex hull of points with rising x (Andrew, 1979)."""
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1:
            before, last = hull[-2:]
            rise = (y[last] - y[before]) * (x[i] - x[before])
            if rise < (y[i] - y[before]) * (x[last] - x[before]):
                break  # the last point is below the line between its neighbours
            hull.pop()
        hull.append(i)
    return np.array(hull, np.int64)


@dataclass(eq=False, repr=False)
class Baseline:
    """Hold the Pareto front and the convex hull of single models.

    Parameters
    ----------
    cost : array of shape (n_models,)
        Cost of each model, in any unit.
    accuracy : array of shape (n_models,)
        Accuracy of each model, in [0, 1].
    names : sequence of str, optional
        Name of each model. Defaults to its position.

    Attributes
    ----------
    front : int64 array
        Positions of the non-dominated models, cheapest first.
    hull : int64 array
        Positions of the models on the lower convex hull of the front, cheapest first. A point on
        the hull between two models is reached by routing each sample randomly to one of them.

    See Also
    --------
    pareto_front : The non-dominated points of any set.
    Front.baseline : The baseline on the samples of a search.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, section 3, "Pareto optimal linear interpolation".

    Examples
    --------
    >>> import cascadelib as cl
    >>> baseline = cl.Baseline([1.0, 4.0, 10.0], [0.80, 0.85, 0.92])
    >>> baseline.hull.tolist()
    [0, 1, 2]
    >>> float(baseline.cost_at(0.86).round(3))
    4.857
    """

    cost: Any
    accuracy: Any
    names: Any = None
    front: Array = field(init=False)
    hull: Array = field(init=False)

    def __post_init__(self) -> None:
        accuracy = align_values(self.accuracy, "accuracy", *getattr(self.cost, "axes", ()))
        self.accuracy = np.asarray(accuracy, np.float64)
        self.cost = check_costs(self.cost)
        if self.names is None:
            self.names = range(len(self.cost))
        self.front = pareto_front(self.cost, self.accuracy)
        self.hull = self.front[lower_hull(self.accuracy[self.front], self.cost[self.front])]

    def cost_at(self, accuracy: Any) -> Any:
        """Return the cost of an accuracy on the hull.

        For an accuracy at or below that of the cheapest model, it is the cost of this model. Above
        the accuracy of the best model, it is nan.
        """
        at = as_real_array(accuracy, "accuracy")
        cost = np.interp(at, self.accuracy[self.hull], self.cost[self.hull])
        return np.where(at <= self.best, cost, np.nan)[()]

    @cached_property
    def table(self) -> pd.DataFrame:
        """Return one row per model, cheapest first: accuracy, cost, on_front, on_hull."""
        position = np.arange(len(self.cost))
        columns = {
            "accuracy": self.accuracy,
            "cost": self.cost,
            "on_front": np.isin(position, self.front),
            "on_hull": np.isin(position, self.hull),
        }
        table = pd.DataFrame(columns, index=pd.Index(self.names, name="model"))
        return table.sort_values("cost", kind="stable")

    @property
    def best(self) -> float:
        """Return the accuracy of the best single model."""
        return float(self.accuracy[self.hull[-1]])

    def saving(self, cost: Any) -> Any:
        """Return the cost of the most accurate single model divided by ``cost``."""
        return improvement_factor(self.cost[self.hull[-1]], cost)


def least_cost(cost: Array, accuracy: Array, at: Any) -> Any:
    """Return the least cost of a front's points with accuracy ≥ `at`, inf if there is none.

    Cost and accuracy both rise along the front.
    """
    return np.append(cost, np.inf)[
        np.searchsorted(accuracy, as_real_array(at, "accuracy"), side="left")
    ]


def improvement_factor(baseline_cost: Any, cost: Any) -> Any:
    """Return baseline_cost ÷ cost. It is 1 if both are 0, and inf if only the cost is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.equal(baseline_cost, cost), 1.0, np.divide(baseline_cost, cost))[()]


def improvement_at(baseline: Baseline, cost: Array, accuracy: Array, at: Any) -> Any:
    """Return the improvement factor of a front at an accuracy.

    It is the baseline's cost at `at` divided by the least cost of a point with accuracy ≥ `at`. The
    front is not interpolated.

    Parameters
    ----------
    baseline : Baseline
        Single models.
    cost, accuracy : arrays of shape (n_points,)
        A front, with rising cost and accuracy.
    at : float or array
        Accuracy.

    Returns
    -------
    float or array
        0 if only the baseline reaches `at`, and nan above the best single model.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, section 3: I = C_b / C.
    """
    return improvement_factor(baseline.cost_at(at), least_cost(cost, accuracy, at))


def breakpoints(low: float, high: float, *values: Array) -> Array:
    """Return `low`, `high` and the distinct values between them, rising."""
    return np.unique(np.clip(np.concatenate([[low, high], *values]), low, high))


def mean_improvement(
    baseline: Baseline,
    cost: Array,
    accuracy: Array,
    low: float | None = None,
    high: float | None = None,
) -> float:
    """Return the mean improvement factor over the accuracies `low` to `high`.

    It is the exact integral ÷ (high − low). Between breakpoints, the baseline is linear and the
    front is constant, so each piece is integrated in closed form.

    Parameters
    ----------
    baseline : Baseline
        Single models.
    cost, accuracy : arrays of shape (n_points,)
        A front, with rising cost and accuracy.
    low, high : float, optional
        Range of accuracies. Defaults to the accuracies of the cheapest and of the best model of the
        baseline's front.

    Returns
    -------
    float
        The mean, nan if `high` is above the best model.

    Raises
    ------
    ValueError
        If the range is empty.
    """
    low = float(baseline.accuracy[baseline.front[0]]) if low is None else low
    high = baseline.best if high is None else high
    if not low < high:
        raise ValueError(f"empty accuracy range {low} … {high}")
    x = breakpoints(low, high, accuracy, baseline.accuracy[baseline.hull])
    base = baseline.cost_at(x)
    middle = (base[:-1] + base[1:]) / 2
    pieces = np.diff(x) * improvement_factor(middle, least_cost(cost, accuracy, x[1:]))
    return float(pieces.sum() / (high - low))
