"""What a split says of a claim: a value, and the same of each of many resamples of its samples.

The cascades of a front are fixed, and run on resamples of the split that the front lies on; nothing
is searched anew. Resamples of one split are the same for all fronts, so that what is said of
several of them is paired.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Front, bootstrap
from cascadelib.analysis.uncertainty import sample_counts
from cascadelib.evaluation.pareto import Baseline, pareto_front

RESAMPLES = 5 if os.environ.get("CASCADELIB_QUICK") else 40
MOST_POINTS = 50 if os.environ.get("CASCADELIB_QUICK") else 200  # of a front that is resampled


@dataclass(frozen=True)
class Evidence:
    """What a run has of a claim.

    value: a number, a text, a sequence of these, or a Series by name; draws: the same of each
    resample, of the samples or of the models (empty: it has no interval); samples: how many there
    are; dataset, cost: of which data, and by which kind of cost ("": any).
    """

    value: Any
    draws: Sequence[Any] = ()
    samples: int = 0
    dataset: str = ""
    cost: str = ""


def drawn(values: Any, errors: Any, seed: int = 0) -> np.ndarray:
    """Draws [R, …] around values with normal errors, where nothing is resampled."""
    values = np.asarray(values, float)
    noise = np.random.default_rng(seed).standard_normal((RESAMPLES, *values.shape))
    return values + noise * np.asarray(errors)


def sampled(value: Any, draws: np.ndarray, split: Any, cost: str) -> Evidence:
    """Evidence of a split, given a value and its draws [R, …]."""
    return Evidence(value, list(draws), len(split), split.origin.dataset, cost)


def over_models(
    function: Callable[..., dict[str, Any]], table: pd.DataFrame, *others: Any
) -> dict[str, Evidence]:
    """{id of a claim: Evidence} of a function of a table about models, or about pairs of them.

    Models are drawn with replacement; of pairs (columns first, second) those remain, as often as
    both of them are drawn. What is said so holds for models like these, not for these alone.
    """
    rng = np.random.default_rng(0)
    is_of_pairs = {"first", "second"} <= set(table)
    names = pd.unique(table[["first", "second"]].to_numpy().ravel()) if is_of_pairs else table.index
    draws = []
    for _ in range(RESAMPLES):
        times = pd.Series(rng.multinomial(len(names), np.full(len(names), 1 / len(names))), names)
        if is_of_pairs:
            repeats = table["first"].map(times) * table["second"].map(times)
        else:
            repeats = times[table.index]
        rows = table.loc[table.index.repeat(repeats)].reset_index(drop=True)
        draws.append(function(rows, *others))
    values = function(table, *others)
    return {name: Evidence(value, [draw[name] for draw in draws]) for name, value in values.items()}


def evidence_of(value: Any) -> Evidence:
    """A value as Evidence without an interval; Evidence as it is."""
    return value if isinstance(value, Evidence) else Evidence(value)


@lru_cache(maxsize=8)
def counts_of(samples: int) -> np.ndarray:
    """The resamples of a split of so many samples: int32 [k, R], the same for all such splits."""
    return sample_counts(samples, RESAMPLES)


def resampled_front(front: Front, counts: np.ndarray) -> list[Front]:
    """The fixed cascades of a front on each resample of its split, int32 [k, R]: R fronts.

    Of a long front evenly spaced points alone, since what is looked at is how much it moves.
    """
    rows = np.unique(np.linspace(0, len(front) - 1, MOST_POINTS).astype(int))
    found = bootstrap(front.store, [front.point(row) for row in rows], counts)
    models = as_objects(front.table["models"].iloc[rows])
    thresholds = as_objects(front.table["thresholds"].iloc[rows])
    names = front.store.models.index
    fronts = []
    for row, baseline in enumerate(found.baselines):
        cost = found.cost[row]
        accuracy = found.accuracy[row]
        kept = pareto_front(cost, accuracy)
        reached = np.minimum(accuracy[kept], baseline.best)
        columns = {
            "accuracy": accuracy[kept],
            "cost": cost[kept],
            "models": models[kept],
            "thresholds": thresholds[kept],
            "exit_rates": list(map(tuple, found.exit_rates[row, kept])),
            "improvement": baseline.cost_at(reached) / cost[kept],
            "saving": baseline.saving(cost[kept]),
        }
        named = Baseline(baseline.cost, baseline.accuracy, names)
        fronts.append(replace(front, moved=pd.DataFrame(columns), baseline=named, points=None))
    return fronts


def as_objects(column: pd.Series) -> np.ndarray:
    """A column of tuples as an array of objects [P]."""
    array = np.empty(len(column), object)
    array[:] = column.to_list()
    return array


def fronts_in(argument: Any) -> list[Front]:
    """The fronts that an argument is, or holds by name."""
    if isinstance(argument, Front):
        return [argument]
    if isinstance(argument, dict):
        return [front for part in argument.values() for front in fronts_in(part)]
    return []


def replaced(argument: Any, others: dict[int, Front]) -> Any:
    """An argument with others in place of its fronts, by their ids."""
    if isinstance(argument, Front):
        return others[id(argument)]
    if isinstance(argument, dict):
        return {name: replaced(part, others) for name, part in argument.items()}
    return argument


def resampled(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Evidence]]:
    """A function of fronts that gives {id of a claim: value}, with Evidence for each value.

    Every front is taken on the same resamples of the split that it lies on; other arguments stay.
    """

    @wraps(function)
    def measured(*arguments: Any) -> dict[str, Evidence]:
        fronts = [front for argument in arguments for front in fronts_in(argument)]
        on_resamples = {id(f): resampled_front(f, counts_of(f.samples)) for f in fronts}
        draws = []
        for row in range(RESAMPLES):
            others = {name: many[row] for name, many in on_resamples.items()}
            draws.append(function(*(replaced(argument, others) for argument in arguments)))
        samples = min(front.samples for front in fronts)
        dataset = fronts[0].store.origin.dataset
        evidence = {}
        for name, value in function(*arguments).items():
            own = [draw[name] for draw in draws]
            evidence[name] = Evidence(value, own, samples, dataset, fronts[0].cost_kind)
        return evidence

    return measured


def plain(function: Callable[..., dict[str, Evidence]], *arguments: Any) -> dict[str, Evidence]:
    """What a :func:`resampled` function finds, without its intervals."""
    cost = next(front.cost_kind for argument in arguments for front in fronts_in(argument))
    values = function.__wrapped__(*arguments)  # type: ignore[attr-defined]
    return {name: Evidence(value, cost=cost) for name, value in values.items()}
