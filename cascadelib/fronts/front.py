"""The result of a search: points as plain arrays with what they certify, and a Front for people."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from .._kernels import kernel
from ..evaluation.pareto import (
    Baseline,
    improvement_at,
    improvement_factor,
    least_cost,
    mean_improvement,
)
from ..evaluation.point import Point
from ..labels import Origin
from ..methods.method import Method
from ..methods.thresholds import midway, own_units
from ..scoring import F1
from ..store.protocol import Store
from ..tables import fraction, number, readable
from .cascades import extensions
from .kernels.state import MAX_MODELS, least_onwards

# Standard errors inside a goal, as the benchmark "choosing" bears out.
CAUTION = 1.0
CAUTION_EXPECTED = 0.5
Steps = tuple[Array, Array]
"""Cost and accuracy of the P points of a front, both rising: float64 [P] each."""


@dataclass(frozen=True)
class Points:
    """A Pareto front as arrays, rising in cost and accuracy.

    P points of cascades of up to n models; rows of shorter cascades end in −1, nan and 0.

    Parameters
    ----------
    accuracy, cost : float64 arrays of shape (P,)
    models : int64 array of shape (P, n)
        Rows of the input.
    thresholds : float64 array of shape (P, n − 1)
        Exit when confidence (higher = more confident) ≥ threshold; −inf "always", inf "never".
    exit_rates : float64 array of shape (P, n)
        Share of all samples that leave at each stage.
    floor, above : float64 arrays of shape (F,), or None where the search ran to its end
        No cascade of more than the accuracy above[i] (rising) that was not searched costs less than
        floor[i].
    samples : int
        On which the cascades were run; 0: not known.
    """

    accuracy: Array
    cost: Array
    models: Array
    thresholds: Array
    exit_rates: Array
    floor: Array | None = None
    above: Array | None = None
    samples: int = 0

    def floor_above(self, accuracy: Any) -> Any:
        """No cascade of more than this accuracy that was not searched costs less."""
        if self.floor is None or self.above is None:
            return np.inf
        return self.floor[np.maximum(np.searchsorted(self.above, accuracy, "right") - 1, 0)]

    def lower_bound_at(self, accuracy: Any) -> Any:
        """No cascade of the lengths asked for, searched or not, reaches this accuracy for less."""
        found = least_cost(self.cost, self.accuracy, accuracy)
        return np.minimum(found, self.floor_above(np.asarray(accuracy) - 1e-12))

    @property
    def gap(self) -> Array:
        """float64 [P]: by how much of the least possible cost a point may be too dear, over the
        accuracies that it serves (above the previous point's, up to its own): 0 where the search
        was exact."""
        least = np.minimum(self.cost, self.floor_above(np.append(-1, self.accuracy[:-1]) + 1e-12))
        return improvement_factor(self.cost, least) - 1


@kernel
def neighbours(
    group: Array,
    order: Array,
    confidence: Array,
    boundaries: Array,
    starts: Array,
    reached: Array,
) -> Array:
    """For the thresholds of one cascade's points: the least confidence that exits and the largest
    that passes on among the samples that get there, nan where there is none: float64 [2, P, d].

    group int32 [d, k], order int64 [d, k] (by falling confidence), confidence float64 [d, k],
    boundaries int64 [P, d]; starts int64 [d, k + 1]: the first place in ``order`` of each group;
    reached [P]: stages that anybody gets to.
    """
    d, k = group.shape
    out = np.full((2, *boundaries.shape), np.nan)
    for i in range(d):
        for p in np.flatnonzero(reached > i):
            # from the boundary upwards for the least that exits, downwards for the largest that
            # passes on: the first sample on the way that no earlier stage has taken
            start = starts[i, boundaries[p, i]]
            for side, x, move in ((0, start - 1, -1), (1, start, 1)):
                while 0 <= x < k and np.isnan(out[side, p, i]):
                    s = order[i, x]
                    here = True
                    for earlier in range(i):
                        here &= group[earlier, s] >= boundaries[p, earlier]
                    if here:
                        out[side, p, i] = confidence[i, s]
                    x += move
    return out


def thresholds_of(
    outcomes: Any, cascade: tuple, boundaries: Array, reached: Any = MAX_MODELS
) -> Array:
    """Thresholds float64 [P, n − 1] of a cascade's boundaries int [P, n − 1], midway between those
    that get there; reached: the stages that anybody gets to, an int or [P]. The others have nan."""
    if len(cascade) == 1:
        return np.empty(boundaries.shape)
    stages = np.full(len(boundaries), reached)
    group, order, confidence, starts = outcomes.exits(cascade[:-1])
    return midway(*neighbours(group, order, confidence, boundaries, starts, stages))


def points_from(outcomes: Any, best: Any, cascade_of: Callable, cost: Array) -> Points:
    """The non-dominated entries of a Best as Points; cascade_of: number → models. Where no sample
    reaches a model, the cheapest that fits is named in its place."""
    completed = cache(lambda reached, length: next(extensions(cost, reached, length)))
    reach = best.reach
    k = len(reach) - 1
    d = best.where.shape[1] // 2
    is_better = (best.exact == reach) & (reach < np.append(reach[1:], np.inf))
    correct = np.flatnonzero(is_better & np.isfinite(reach))
    numbers, boundaries, at = np.split(best.where[correct], [1, 1 + d], axis=1)
    models = np.full((len(correct), d + 1), -1, np.int64)
    thresholds = np.full((len(correct), d), np.nan)
    # points of one cascade that end at the same stage go together
    kinds = numbers[:, 0] * (d + 1) + np.count_nonzero(at, axis=1)
    order = np.argsort(kinds, kind="stable")
    of_cascade: dict[tuple, list[Array]] = {}
    for rows in np.split(order, 1 + np.flatnonzero(np.diff(kinds[order]))) if len(order) else ():
        number, later = divmod(int(kinds[rows[0]]), d + 1)
        cascade = cascade_of(number)
        cascade = completed(cascade[: 1 + later], len(cascade))
        models[rows, : len(cascade)] = cascade
        of_cascade.setdefault(cascade, []).append(rows)
    for cascade, parts in sorted(of_cascade.items()):  # of one head in a row: it has their exits
        n = len(cascade)
        rows = np.concatenate(parts)
        stages = 1 + np.count_nonzero(at[rows], axis=1)
        thresholds[rows, : n - 1] = thresholds_of(
            outcomes, cascade, boundaries[rows, : n - 1], stages
        )
    floor = least_onwards(best.floor)
    certified = (floor, (np.arange(k + 1) - 1) / k) if np.isfinite(floor[0]) else ()
    rates = -np.diff(at, prepend=k, append=0) / k
    found = Points(correct / k, best.exact[correct], models, thresholds, rates, *certified)
    return replace(found, samples=k)


@dataclass(frozen=True, eq=False)
class Front:
    """A Pareto front of cascades, and the single models' :class:`Baseline`.

    One row as a :class:`Point`: ``front.point(row)``, or :func:`cascadelib.pick`.

    Parameters
    ----------
    points : Points or None
        What the search found; None for a front that was moved to another split.
    baseline : Baseline
        The single models of the store on the same samples.
    candidates : tuple of str
        The models that were combined.
    method : Method or None
    score, cost_kind : str
    found_on : Origin
        The samples seen, as of a Point.
    store : Store or None
        That was searched; None of a copy that was pickled, which does without outcomes.
    expected : bool
        Whether accuracies are expected ones (``search(…, expected=True)``), not those observed.
    moved : DataFrame or None
        The table of a front that was moved to another split.
    """

    points: Points | None
    baseline: Baseline
    candidates: tuple[str, ...]
    method: Method | None
    score: str
    cost_kind: str
    found_on: Origin = None
    store: Store | None = None
    expected: bool = False
    moved: pd.DataFrame | None = None

    def __getstate__(self) -> dict:
        return vars(self) | {"store": None}

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per Pareto point, rising in cost and accuracy: accuracy, cost, models, thresholds
        (own units), exit_rates, improvement, and saving: cost of the most accurate single model ÷
        cost."""
        if self.moved is not None:
            return self.moved
        points = self._certified
        lengths = np.count_nonzero(points.models >= 0, axis=1).tolist()
        name_of = self.candidates.__getitem__
        units = None if self.method is None else self.method.units
        own = own_units(units, points.thresholds).tolist()
        rates = points.exit_rates.tolist()
        rows = [tuple(map(name_of, row[:n])) for row, n in zip(points.models.tolist(), lengths)]
        columns = {
            "accuracy": points.accuracy,
            "cost": points.cost,
            "models": rows,
            "thresholds": [tuple(row[: n - 1]) for row, n in zip(own, lengths)],
            "exit_rates": [tuple(row[:n]) for row, n in zip(rates, lengths)],
            "saving": self.baseline.saving(points.cost),
            "improvement": improvement_factor(self.baseline.cost_at(points.accuracy), points.cost),
        }
        return pd.DataFrame(columns)

    @property
    def singles(self) -> pd.DataFrame:
        """A row per model of the store, cheapest first: accuracy, cost, on_front, on_hull."""
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
        if (self.table["accuracy"] >= self.baseline.best).any():
            cost = self.cost_at(self.baseline.best)
            note += f" at a saving of {number(self.baseline.saving(cost))} ×"
        return f"<p>{note}; 12 of them:</p>{self._shown._repr_html_()}"

    @property
    def _shown(self) -> pd.DataFrame:
        """Twelve rows as they are read: beside the saving the difference of accuracy."""
        shown = readable(self.table, 12, self.cost_kind)
        difference = self.table["accuracy"] - self.baseline.best
        points = [f"{100 * difference[row]:+.2f}" for row in shown.index]
        shown.insert(list(shown).index("saving") + 1, "difference in points", points)
        kept = map(fraction, self.kept_at(self.table["accuracy"][shown.index]))
        shown.insert(list(shown).index("accuracy") + 1, "kept", list(kept))
        return shown

    @property
    def samples(self) -> int:
        """How many samples were searched; 0: not known."""
        if self.store is not None:
            return len(self.store)
        return 0 if self.points is None else self.points.samples

    @property
    def caution(self) -> float:
        """How many standard errors inside a goal :func:`cascadelib.pick` stays by default."""
        return CAUTION_EXPECTED if self.expected else CAUTION

    def kept_at(self, accuracy: Any) -> Any:
        """The accuracy to count on with other samples where this one is promised: so many standard
        errors less; nan of F1, and where the number of samples is not known."""
        if not self.samples or self.score == F1:
            return np.full(np.shape(accuracy), np.nan)[()]
        return accuracy - self.caution * np.sqrt(accuracy * (1 - accuracy) / self.samples)

    @property
    def _inexact(self) -> str:
        """What a search that was cut short certifies; empty of an exact one."""
        gap = np.zeros(1) if self.points is None else self.points.gap
        if not len(gap) or gap.max() <= 0:
            return ""
        largest = 100 * gap.max()
        median = 100 * np.median(gap)
        certified = f"at most {largest:.3g}% above the least possible cost (median {median:.3g}%)"
        return f", not exact: {certified}"

    def point(self, row: int) -> Point:
        """Row of the table (its position) as a Point."""
        return self._measured(**{name: values[row] for name, values in self._columns.items()})

    def _measured(self, accuracy: float, **values: Any) -> Point:
        """A Point with what was measured of it here."""
        return Point(
            **values,
            accuracy=accuracy,
            difference=accuracy - self.baseline.best,
            kept=float(self.kept_at(accuracy)),
            method=self.method,
            score=self.score,
            cost_kind=self.cost_kind,
            found_on=self.found_on,
        )

    @property
    def reference(self) -> Point:
        """The most accurate single model, the cheapest such, as a Point."""
        name = self.singles["accuracy"].idxmax()
        accuracy, cost = self.singles.loc[name, ["accuracy", "cost"]]
        return self._measured(
            models=(name,),
            thresholds=(),
            exit_rates=(1.0,),
            accuracy=float(accuracy),
            cost=float(cost),
            improvement=1.0,
            saving=1.0,
        )

    @property
    def cascades(self) -> tuple[Point, ...]:
        """All its points: what :func:`points_of` asks for."""
        return tuple(self.point(row) for row in range(len(self)))

    @cached_property
    def _columns(self) -> dict[str, list]:
        return self.table.to_dict("list")

    def cost_at(self, accuracy: Any) -> Any:
        """Least cost of a cascade of the front with at least this accuracy; infinite without
        one."""
        return least_cost(*self.steps, accuracy)

    @property
    def gap(self) -> Any:
        """By how much of the least possible cost each point may be too dear: float64 [P].

        0 for an exact search.
        """
        return self._certified.gap

    def lower_bound_at(self, accuracy: Any) -> Any:
        """No cascade of the kinds searched, also if left unsearched, reaches this accuracy for
        less."""
        return self._certified.lower_bound_at(accuracy)

    @property
    def _certified(self) -> Points:
        if self.points is None:
            raise ValueError(
                "a front moved to another split certifies nothing: ask the front that was searched"
            )
        return self.points

    def improvement_at(self, accuracy: Any) -> Any:
        """Improvement factor at this accuracy.

        0 where only the baseline reaches it, nan above the best model.
        """
        return improvement_at(self.baseline, *self.steps, accuracy)

    def mean_improvement(self, low: float | None = None, high: float | None = None) -> float:
        """Mean improvement factor over accuracies low … high (default: the baseline's): an
        integral."""
        return mean_improvement(self.baseline, *self.steps, low, high)

    @property
    def steps(self) -> Steps:
        """Cost and accuracy of its points."""
        found: Any = self._certified if self.moved is None else self.moved
        return np.asarray(found.cost), np.asarray(found.accuracy)

    def improvement_curve(self, low: float | None = None, points: int = 801) -> pd.DataFrame:
        """Improvement factor at evenly spaced accuracies, from ``low`` (default: the cheapest
        model's) to that of the best single model.

        Columns: accuracy, improvement.
        """
        low = float(self.baseline.accuracy[self.baseline.front[0]]) if low is None else low
        at = np.linspace(low, self.baseline.best, points)
        return pd.DataFrame({"accuracy": at, "improvement": self.improvement_at(at)})

    def members(self) -> pd.DataFrame:
        """Which models the front's cascades use: a row per point and model.

        Columns: accuracy, cost, model, stage (1 = first).
        """
        rows = self.table[["accuracy", "cost", "models", "exit_rates"]].copy()
        rows["stage"] = [list(range(1, len(m) + 1)) for m in rows["models"]]
        rows["reached"] = [1 - np.cumsum([0, *rates[:-1]]) for rates in rows["exit_rates"]]
        rows = rows.explode(["models", "stage", "reached"]).rename(columns={"models": "model"})
        used = rows[rows["reached"] > 1e-12]
        return used[["accuracy", "cost", "model", "stage"]].reset_index(drop=True)
