"""Evidence of a split for a claim: a value, and the same value of each of many resamples.

The cascades of a front are fixed and run on resamples of the front's split. No search is repeated.
All fronts share the resamples of a split, so comparisons between fronts are paired.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from cascadelib import Front, bootstrap
from cascadelib.analysis.uncertainty import sample_counts
from cascadelib.evaluation.pareto import Baseline, pareto_front

IS_QUICK = bool(os.environ.get("CASCADELIB_QUICK"))
RESAMPLES = 5 if IS_QUICK else 40
MOST_POINTS = 50 if IS_QUICK else 200  # points of a front that are resampled
LEAST_PAIRS = 16  # of a rank correlation with an interval
FEWEST = 0.8  # share of the resamples that must have a value


@dataclass(frozen=True)
class Evidence:
    """The measurement of a claim by a run.

    value: a number, a text, a sequence of these, or a Series by name. draws: the same of each
    resample, of the samples or of the models (empty: no interval). samples: the number of samples
    or models that were resampled (0: more of them would not narrow the interval). dataset, cost:
    the data and the kind of cost ("": any). kinds: the same measurement by kind of training. If
    there are kinds, they decide about the claim.
    """

    value: Any
    draws: Sequence[Any] = ()
    samples: int = 0
    dataset: str = ""
    cost: str = ""
    kinds: "Mapping[str, Evidence]" = field(default_factory=dict)


EvidenceByClaim = dict[str, Evidence]  # by the claim's id
ValueByClaim = dict[str, Any]
Fronts = dict[str, Front]  # by method, task, split or model


def is_known(value: Any) -> bool:
    """Return whether a value exists and no part of it is missing."""
    parts = np.asarray(value, object).ravel()
    return bool(len(parts)) and not pd.isna(parts).any()


def known_draws(found: Evidence, function: Callable[[Any], Any]) -> list[Any]:
    """Return a function of each draw, without missing ones. Return [] if too many are missing."""
    values = [function(draw) for draw in found.draws if is_known(draw)]
    known = [value for value in values if is_known(value)]
    return known if len(known) >= max(2, FEWEST * len(found.draws)) else []


def fisher_z(correlation: Any) -> np.ndarray:
    """Return Fisher's z of correlations, finite at 1 and −1."""
    return np.arctanh(np.clip(correlation, -0.999, 0.999))


def normal_draws(values: Any, errors: Any) -> np.ndarray:
    """Return draws [R, …] around values with normal errors, for values that are not resampled.

    The standard deviation of the draws is exactly the error.
    """
    values = np.asarray(values, float)
    noise = np.random.default_rng(0).standard_normal((RESAMPLES, *values.shape))
    noise = (noise - noise.mean(axis=0)) / noise.std(axis=0, ddof=1)
    return values + noise * np.asarray(errors)


def correlations(values: Any, pairs: int, samples: int = 0) -> Evidence:
    """Return the Evidence of rank correlations of a number of pairs each.

    They are corrected by :func:`unbiased_correlation`. The error of Fisher's z is that of Bonett
    and Wright (2000). It is too small for few pairs, so that these have no interval.
    """
    if pairs < LEAST_PAIRS:
        return Evidence(values)
    values = unbiased_correlation(values, pairs)
    errors = np.sqrt((1 + np.square(values) / 2) / (pairs - 3))
    return Evidence(values, list(np.tanh(normal_draws(fisher_z(values), errors))), samples)


def unbiased_correlation(found: Any, pairs: int) -> np.ndarray:
    """Return the rank correlation of a population from that of a sample of pairs.

    That of a sample is too small on average, by the formula of Moran (1948) for normal variables.
    Near 1 this bias is as large as the standard error.
    """
    pearson = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 20_001))
    half = np.arcsin(pearson / 2)
    expected = 6 / np.pi / (pairs + 1) * (np.arcsin(pearson) + (pairs - 2) * half)
    return np.interp(found, expected, 6 / np.pi * half)


def evidence_on_split(values: np.ndarray, split: Any, cost: str) -> Evidence:
    """Return the Evidence of a split from a value and then its draws, [1 + R, …]."""
    return Evidence(values[0], list(values[1:]), len(split), split.origin.dataset, cost)


def over_models(
    function: Callable[..., ValueByClaim], table: pd.DataFrame, *others: Any
) -> EvidenceByClaim:
    """Return {id of a claim: Evidence} of a function of a table about models, or about pairs of
    them.

    Models are drawn with replacement. A pair (columns first, second) remains as often as both of
    its models are drawn. The intervals hold for models like these, not only for these models.
    """
    rng = np.random.default_rng(0)
    is_of_pairs = {"first", "second"} <= set(table)
    names = pd.unique(table[["first", "second"]].to_numpy().ravel()) if is_of_pairs else table.index
    draws = []
    for _ in range(RESAMPLES if len(names) else 0):
        times = pd.Series(rng.multinomial(len(names), np.full(len(names), 1 / len(names))), names)
        if is_of_pairs:
            repeats = table["first"].map(times) * table["second"].map(times)
        else:
            repeats = times[table.index]
        rows = table.loc[table.index.repeat(repeats)].reset_index(drop=True)
        draws.append(function(rows, *others))
    values = function(table, *others)
    return {
        name: Evidence(value, [draw[name] for draw in draws], len(names))
        for name, value in values.items()
    }


def folds_of(split: Any) -> np.ndarray | None:
    """Return the fold of each sample, None if one network per model computed all outputs.

    The fold is the number in the sample's id, modulo the number of folds
    (``data/fashion-mnist/folds.py``).
    """
    if "folds" not in split.models:
        return None
    numbers = [int(name.rpartition("/")[2]) for name in split.origin.sample_ids]
    return np.array(numbers) % int(split.models["folds"].max())


shared_counts = lru_cache(maxsize=8)(sample_counts)  # equal for all splits of one size


def counts_of(split: Any) -> np.ndarray:
    """Return the resamples of a split: int32 [k, R], equal for all splits of one size.

    Out-of-fold outputs are resampled within their folds, because the networks of a fold are fixed.
    """
    folds = folds_of(split)
    if folds is None:
        return shared_counts(len(split), RESAMPLES)
    counts = np.empty((len(split), RESAMPLES), np.int32)
    for fold in np.unique(folds):
        rows = folds == fold
        counts[rows] = sample_counts(int(rows.sum()), RESAMPLES, seed=int(fold))
    return counts


RESAMPLED: WeakKeyDictionary[Front, list[Front]] = WeakKeyDictionary()


def resampled_front(front: Front) -> list[Front]:
    """Evaluate the fixed cascades of a front on each resample of its split: R fronts.

    A long front is thinned to evenly spaced points, because only its variation counts. The result
    is cached, since several functions of claims have the same fronts.
    """
    if front in RESAMPLED:
        return RESAMPLED[front]
    rows = np.unique(np.linspace(0, len(front) - 1, MOST_POINTS).astype(int))
    points = [front.point(row) for row in rows]
    found = bootstrap(front.store, points, counts_of(front.store))
    models = front.table["models"].to_numpy()[rows]
    thresholds = front.table["thresholds"].to_numpy()[rows]
    names = front.store.models.index
    fronts = []
    for row, baseline in enumerate(found.baselines):
        cost = found.cost[row]
        accuracy = found.accuracy[row]
        rows_kept = pareto_front(cost, accuracy)
        reached = np.minimum(accuracy[rows_kept], baseline.best)
        columns = {
            "accuracy": accuracy[rows_kept],
            "cost": cost[rows_kept],
            "models": models[rows_kept],
            "thresholds": thresholds[rows_kept],
            "exit_rates": list(map(tuple, found.exit_rates[row, rows_kept])),
            "improvement": baseline.cost_at(reached) / cost[rows_kept],
            "saving": baseline.saving(cost[rows_kept]),
        }
        own_baseline = Baseline(baseline.cost, baseline.accuracy, names)
        fronts.append(
            replace(front, replayed=pd.DataFrame(columns), baseline=own_baseline, points=None)
        )
    RESAMPLED[front] = fronts
    return fronts


def map_fronts(function: Callable[[Front], Any], argument: Any) -> Any:
    """Replace each front by a function of it in an argument: a front, or a dictionary with fronts.

    Other arguments are unchanged.
    """
    if isinstance(argument, Front):
        return function(argument)
    if isinstance(argument, dict):
        return {name: map_fronts(function, part) for name, part in argument.items()}
    return argument


def fronts_in(arguments: Sequence[Any]) -> list[Front]:
    """Return the fronts in arguments, see :func:`map_fronts`."""
    fronts: list[Front] = []
    for argument in arguments:
        map_fronts(fronts.append, argument)
    return fronts


def resampled(function: Callable[..., ValueByClaim]) -> Callable[..., EvidenceByClaim]:
    """Turn a function of fronts with {id of a claim: value} into one with Evidence for each value.

    Every front is evaluated on the same resamples of its split. Other arguments are unchanged.
    """

    @wraps(function)
    def measured(*arguments: Any) -> EvidenceByClaim:
        fronts = fronts_in(arguments)
        draws = []
        for row in range(RESAMPLES):

            def on_resample(front: Front, row: int = row) -> Front:
                return resampled_front(front)[row]

            draws.append(function(*(map_fronts(on_resample, each) for each in arguments)))
        samples = min(front.samples for front in fronts)
        dataset = fronts[0].store.origin.dataset
        evidence = {}
        for name, value in function(*arguments).items():
            values = [draw[name] for draw in draws]
            evidence[name] = Evidence(value, values, samples, dataset, fronts[0].cost_kind)
        return evidence

    return measured


def without_intervals(function: Callable[..., EvidenceByClaim], *arguments: Any) -> EvidenceByClaim:
    """Return the values of a :func:`resampled` function as Evidence without intervals."""
    values = function.__wrapped__(*arguments)  # type: ignore[attr-defined]
    cost = fronts_in(arguments)[0].cost_kind
    return {name: Evidence(value, cost=cost) for name, value in values.items()}
