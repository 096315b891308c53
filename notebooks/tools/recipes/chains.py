"""Functions that all recipes share: candidate models, selected points, points on another split."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascadelib.evaluation.evaluation import (
    costs_of,
    mean_cost,
    outcomes_of,
    resolve_options,
)
from cascadelib.evaluation.pareto import pareto_front
from cascadelib.fronts.cascades import cascades_of, check_lengths
from cascadelib.fronts.exact import search
from cascadelib.methods.method import Method, method_named
from cascadelib.methods.thresholds import convert_units, exit_stages
from cascadelib.scoring import F1
from cascadelib.stages import StageFunction
from cascadelib.store.protocol import Store

Rule = Callable[[Any, Sequence[str], str], Any]
"""rule(store, models, score) → outcomes of each stage or a function of a row (replay_points)."""


def pool(
    store: Store, method: Method | None, **candidates: Any
) -> tuple[list[str], np.ndarray, StageFunction]:
    """Return the candidate models of a store, cheapest first.

    Returns names, costs float64 [M] and the stage function over ``names``. candidates: score, cost
    and models, as in :func:`cascadelib.search`.
    """
    if candidates.get("score") == F1:
        raise ValueError(
            "recipes do not take score='f1': use score='top1', or cascadelib.search with two models"
        )
    front = search(store, 1, method, **candidates)
    names = [name for name in front.singles.index if name in front.candidates]
    costs = front.singles.loc[names, "cost"].to_numpy(np.float64)
    return names, costs, store.outcome(names, front.method, front.score)


def replay_points(
    points: pd.DataFrame,
    store: Store,
    rule: str | Method | Rule | None = "max_softmax",
    *,
    score: str = "top1",
    cost: str | None = None,
) -> pd.DataFrame:
    """Replay the points of a recipe, unchanged, on another split.

    Parameters
    ----------
    points : DataFrame
        One row per point: models, thresholds, and the other columns that the rule reads.
    store : LogitStore or ScoreTable
        The other split.
    rule : str, Method, callable or None
        A :class:`cascadelib.Method` or its name. None uses the confidences of a ScoreTable. A
        callable is called as rule(store, models, score). It returns
        [(correct [k], confidence [k]), …], one pair per stage, to compare with the row's
        thresholds. Or it returns a function from the row to (exit_stage int [k], correct [k]).
    score, cost : str
        As in :func:`cascadelib.search`.

    Returns
    -------
    DataFrame
        The same table with ``accuracy_replayed`` and ``cost_replayed``.
    """
    moved = np.empty((len(points), 2))
    for at, costs, stage, correct in point_runs(points, store, rule, score, cost):
        moved[at] = np.mean(correct), mean_cost(costs, stage)
    return points.assign(accuracy_replayed=moved[:, 0], cost_replayed=moved[:, 1])


def point_runs(
    points: pd.DataFrame,
    store: Store,
    rule: str | Method | Rule | None,
    score: str,
    cost: str | None,
) -> Iterator[tuple[int, list[Any], np.ndarray, np.ndarray]]:
    """Yield (row, costs of the stages, exit_stage [k], correct [k]) of each point on a split.

    The arguments are those of :func:`replay_points`. Points of the same models are consecutive.
    """
    kind = resolve_options(store, cost=cost)[2]
    method = None if rule is None or callable(rule) else method_named(rule)
    for models, rows in points.reset_index(drop=True).groupby("models", sort=False):
        if callable(rule):
            stages = rule(store, models, score)
        else:
            stages = outcomes_of(store, models, method, score)
        costs = costs_of(store, models, kind)
        for at, row in rows.iterrows():
            if callable(stages):
                stage, correct = stages(row)
            else:
                thresholds = np.array(row["thresholds"], np.float64)
                inside = convert_units(None if method is None else method.units, thresholds)
                stage = exit_stages([confidence for _, confidence in stages], inside)
                correct = np.choose(stage, [correct for correct, _ in stages])
            yield at, costs, stage, correct


def best_of_chains(
    store: Store,
    rule: str | Method | Rule,
    lengths: tuple[int, int],
    settings: Callable[[tuple[str, ...]], Iterable[Mapping[str, Any]]],
    **candidates: Any,
) -> pd.DataFrame:
    """Return the non-dominated points of chains of models.

    lengths: the fewest and the most models of a chain. settings(chain): the thresholds of each
    point to try, and the other columns that the rule reads. candidates: as for :func:`pool`.
    """
    names, costs, _ = pool(store, Method(), **candidates)
    least, most = lengths
    longest = max(least, min(most, len(names)))
    tried = []
    for positions in cascades_of(costs, check_lengths(range(least, longest + 1), len(names))):
        chain = tuple(names[m] for m in positions)
        tried += [{"models": chain, **setting} for setting in settings(chain)]
    return best_of_points(store, rule, tried, **candidates)


def best_of_points(
    store: Store,
    rule: str | Method | Rule,
    tried: Sequence[Mapping[str, Any]],
    **candidates: Any,
) -> pd.DataFrame:
    """Return the non-dominated points with accuracy and cost, from rows of
    :func:`replay_points`."""
    score = candidates.get("score") or "top1"
    run = replay_points(pd.DataFrame(tried), store, rule, score=score, cost=candidates.get("cost"))
    measured = {"accuracy": run.pop("accuracy_replayed"), "cost": run.pop("cost_replayed")}
    points = pd.DataFrame(measured | dict(run.items()))
    return points.iloc[pareto_front(points["cost"], points["accuracy"])].reset_index(drop=True)
