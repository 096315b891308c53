"""Functions that all recipes share: candidate models, selected points, points on another split."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascadelib.evaluation.evaluation import Outcome, mean_cost, resolve_options, stages_of
from cascadelib.evaluation.pareto import pareto_front
from cascadelib.evaluation.run import resampled_cascade
from cascadelib.fronts.cascades import cascades_of, check_lengths
from cascadelib.fronts.exact import search
from cascadelib.methods.method import Method, method_named
from cascadelib.methods.thresholds import convert_units, exit_stages
from cascadelib.scoring import F1
from cascadelib.stages import StageFunction
from cascadelib.store.protocol import Store

Rule = Callable[[Any, Sequence[str], str], Any]
"""rule(store, models, score) → outcomes of each stage or a function of a row (replay_points)."""
ScoredRule = str | Method | Rule | None
"""A rule, or the method whose confidences are compared with thresholds."""


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
    rule: ScoredRule = "max_softmax",
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
    for rows, costs, stages in chains_of(points, store, rule, score, cost):
        if callable(stages) or np.ndim(costs) > 1:
            for at, stage, correct in runs_of_chain(rows, stages, rule):
                moved[at] = np.mean(correct), mean_cost(costs, stage)
        else:
            accuracy, cost_of_rows, _ = count_outcomes(stages, costs, inside_thresholds(rows, rule))
            moved[rows.index] = np.column_stack([accuracy, cost_of_rows])
    return points.assign(accuracy_replayed=moved[:, 0], cost_replayed=moved[:, 1])


def chains_of(
    points: pd.DataFrame,
    store: Store,
    rule: ScoredRule,
    score: str,
    cost: str | None,
) -> Iterator[tuple[pd.DataFrame, list[Any], Any]]:
    """Yield (points, costs of the stages, outcomes of the rule) of each chain of models."""
    kind = resolve_options(store, cost=cost)[2]
    method = None if rule is None or callable(rule) else method_named(rule)
    cost_of = dict(zip(store.models.index, store.sample_costs(kind)))
    chains = list(points.reset_index(drop=True).groupby("models", sort=False))
    names = [models for models, _ in chains]
    if callable(rule):
        outcomes: Iterator[Any] = (rule(store, models, score) for models in names)
    else:
        outcomes = stages_of(store, names, method, score)
    for (models, rows), stages in zip(chains, outcomes):
        yield rows, [cost_of[name] for name in models], stages


def inside_thresholds(rows: pd.DataFrame, rule: ScoredRule) -> np.ndarray:
    """Return the internal thresholds of a chain's points: float64 [P, n - 1]."""
    units = None if rule is None or callable(rule) else method_named(rule).units
    return convert_units(units, np.array(rows["thresholds"].tolist(), np.float64))


def runs_of_chain(
    rows: pd.DataFrame, stages: Any, rule: ScoredRule
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (row, exit_stage [k], correct [k]) of each point of one chain."""
    if callable(stages):
        for at, row in zip(rows.index, rows.to_dict("records")):
            yield (at, *stages(row))
        return
    for at, inside in zip(rows.index, inside_thresholds(rows, rule)):
        stage = exit_stages([confidence for _, confidence in stages], inside)
        yield at, stage, np.choose(stage, [correct for correct, _ in stages])


def count_outcomes(
    outcomes: Sequence[Outcome], costs: Sequence[float] | np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return :func:`resampled_cascade` of the unchanged samples: accuracy and cost (P,), and exit
    rates (P, n).

    They equal those of :func:`evaluate` if the correctness is bool.
    """
    once = np.ones((len(outcomes[0][0]), 1), np.int32)  # as sample_counts, so compiled once
    accuracy, cost, rates = resampled_cascade(outcomes, costs, thresholds, once)
    return accuracy[0], cost[0], rates[0]


def best_of_chains(
    store: Store,
    rule: ScoredRule,
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
    rule: ScoredRule,
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
