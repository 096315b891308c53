"""Views of a study: fixed cascades on held-out samples, and on resamples of these samples.

A claim is a function of one view. Its value is that of the first view, which has the samples
themselves. The values of the other views give its standard error. Cascades and thresholds are
selected on one split. A front on other samples has the non-dominated of them, so that these samples
also choose points, which is slightly optimistic. ``Runs`` keep all their cascades. If a study has
no held-out split of the same distribution, the selection split replaces it, as in the paper, and
all values are optimistic.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

import cascadelib as cl
from cascadelib import Baseline, Front, Point
from cascadelib.evaluation.pareto import pareto_front
from cascadelib.store.protocol import Store
from tools.claims.catalogue import ids_in_scope
from tools.claims.evidence import Evidence, EvidenceByClaim, counts_of
from tools.figures.ranges import mean_in, range_of, ratio
from tools.paper import Paper

Fronts = dict[str, Front]  # by name
MOST_POINTS = 200  # points of a front that are resampled


@dataclass(frozen=True)
class Runs:
    """Some cascades on one draw of samples: arrays with an entry for each, and single models."""

    accuracy: Array
    cost: Array
    last_accuracy: Array
    improvement: Array
    baseline: Baseline


@dataclass(frozen=True)
class View:
    """One draw of samples.

    Parameters
    ----------
    fronts : dict of str to Front
        The cascades of each search on held-out samples.
    held, chosen : dict of str to Runs
        Groups of cascades on held-out samples, and on the samples that selected them.
    """

    fronts: Fronts = field(default_factory=dict)
    held: Mapping[str, Runs] = field(default_factory=dict)
    chosen: Mapping[str, Runs] = field(default_factory=dict)

    def group(self, kind: str) -> Fronts:
        """Return the fronts whose names begin with a kind and a colon, without that beginning."""
        start = f"{kind}: "
        return {
            name.removeprefix(start): front
            for name, front in self.fronts.items()
            if name.startswith(start)
        }


@dataclass(frozen=True)
class Claim:
    """A function of a view (or of a table of models), the needed parts of the study, and the
    function's other arguments."""

    function: Callable[..., Any]
    needs: tuple[str, ...]
    arguments: Sequence[Any] = ()


class Claims(dict[str, Claim]):
    """Claims by id, of one kind of view."""

    def add(self, *needs: str) -> Callable:
        """Register a function under its name. needs: keys of :data:`tools.designs.TOPICS`."""

        def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
            self[function.__name__.replace("_", "-")] = Claim(function, needs)
            return function

        return register

    def vary(
        self, function: Callable[..., Any], rows: Mapping[str, Sequence[Any]], *needs: str
    ) -> None:
        """Register a function once per row, {id: its arguments after the view}."""
        for name, arguments in rows.items():
            self[name] = Claim(function, needs, arguments)

    def in_scope(self, paper: Paper) -> Collection[str]:
        """Return the ids of the claims that a study can test."""
        tested = ids_in_scope(paper)
        return [
            name
            for name, claim in self.items()
            if name in tested and all(map(paper.has, claim.needs))
        ]

    def measure(
        self, views: Sequence[Any], samples: int, names: Collection[str] | None = None
    ) -> EvidenceByClaim:
        """Return the evidence of all claims, or of those with some names.

        samples: the number of samples, or of models, that were resampled.
        """
        found = {}
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # means of few models are nan
            for name, claim in self.items():
                if names is None or name in names:
                    value, *draws = [claim.function(view, *claim.arguments) for view in views]
                    found[name] = Evidence(value, draws, samples)
        return found


def make_views(
    fronts: Fronts,
    groups: Mapping[str, Sequence[Point]],
    store: Store,
    other: Store,
    points: Sequence[str] = (),
) -> list[View]:
    """Return the view of the samples, then one per resample.

    Parameters
    ----------
    fronts : dict of str to Front
        Searches on ``store``.
    groups : dict of str to list of Point
        Cascades that were picked from them.
    store, other : Store
        The selection split, and the split that evaluates.
    points : sequence of str
        Fronts of which pairs are not swept over ranges of thresholds.
    """
    moved = dict(fronts)  # unchanged on the split that selected them
    if other is not store:
        for name, front in fronts.items():
            moved[name] = cl.analysis.front_on(other, front, name not in points)
    return views_of_fronts(moved, groups, store, other)


def views_of_fronts(
    moved: Fronts,
    groups: Mapping[str, Sequence[Point]],
    store: Store,
    other: Store,
) -> list[View]:
    """Return the views of fronts that were already evaluated on their split."""
    draws = {name: draw_front(front) for name, front in moved.items()}
    held = {name: draw_runs(other, points) for name, points in groups.items()}
    chosen = held
    if other is not store:
        chosen = {name: draw_runs(store, points) for name, points in groups.items()}
    views = []
    for row in range(1 + counts_of(other).shape[1]):
        fronts = {name: each[row] for name, each in draws.items()}
        held_here = {name: each[row] for name, each in held.items()}
        chosen_here = {name: each[row] for name, each in chosen.items()}
        views.append(View(fronts, held_here, chosen_here))
    return views


def mean_of(view: View, name: str, *ends: float | None) -> float:
    """Return the mean factor of a front between two of the paper's accuracies."""
    return mean_in(view.fronts[name], *ends)


def compared(view: View, one: str, other: str, *ends: float | None) -> float:
    """Return the mean factor of a front ÷ that of another between two of the paper's accuracies."""
    return ratio(mean_of(view, one, *ends), mean_of(view, other, *ends))


def with_samples(split: Store) -> Array:
    """Return the weights of the samples themselves, then of the resamples: int32 [k, 1 + R]."""
    counts = counts_of(split)
    ones = np.ones(len(counts), np.int32)
    return np.column_stack([ones, counts])


def draw_runs(split: Store, points: Sequence[Point]) -> list[Runs]:
    """Evaluate cascades on a split and on its resamples."""
    columns, distinct = pd.factorize(np.array(points, object))  # a point may be listed often
    found = cl.bootstrap(split, list(distinct), with_samples(split))
    names = [point.active_models[-1] for point in points]
    lasts = split.models.index.get_indexer(names)
    improvement = found.improvement
    return [
        Runs(
            found.accuracy[row, columns],
            found.cost[row, columns],
            found.single_accuracy[row, lasts],
            improvement[row, columns],
            baseline,
        )
        for row, baseline in enumerate(found.baselines)
    ]


def draw_front(front: Front) -> list[Front]:
    """Return a front on its split, and its fixed cascades on each resample of the split."""
    spaced = np.linspace(0, len(front) - 1, MOST_POINTS)
    rows = np.unique(spaced.astype(int))
    points = [front.point(row) for row in rows]
    found = cl.bootstrap(front.store, points, counts_of(front.store))
    models = front.table["models"].to_numpy()[rows]
    names = front.store.models.index
    fronts = [front]
    for row, baseline in enumerate(found.baselines):
        kept = pareto_front(found.cost[row], found.accuracy[row])
        accuracy = found.accuracy[row, kept]
        cost = found.cost[row, kept]
        reached = np.minimum(accuracy, baseline.best)
        columns = {
            "accuracy": accuracy,
            "cost": cost,
            "models": models[kept],
            "exit_rates": list(map(tuple, found.exit_rates[row, kept])),
            "improvement": baseline.cost_at(reached) / cost,
        }
        table = pd.DataFrame(columns)
        named = Baseline(baseline.cost, baseline.accuracy, names)
        fronts.append(replace(front, replayed=table, baseline=named, points=None))
    return fronts


def points_at_accuracies(front: Front, count: int = MOST_POINTS) -> list[Point]:
    """Return the cheapest cascades at evenly spaced accuracies of the range of single models.

    A cascade at several accuracies is one object.
    """
    accuracies = np.linspace(*range_of(front), count) - 1e-12
    rows = np.searchsorted(front.table["accuracy"], accuracies)
    rows = np.minimum(rows, len(front) - 1)
    points = {row: front.point(row) for row in np.unique(rows)}
    return [points[row] for row in rows]
