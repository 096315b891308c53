"""Evidence for a claim: its value on samples or models, and its values on resamples of these."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import zscore

from cascadelib.analysis.uncertainty import sample_counts

RESAMPLES = 5 if os.environ.get("CASCADELIB_QUICK") else 40
LEAST_PAIRS = 16  # of a rank correlation with an interval
FEWEST = 0.8  # share of the resamples that must have a value


@dataclass(frozen=True)
class Evidence:
    """The measurement of a claim.

    Parameters
    ----------
    value : number, sequence of numbers, or Series by name
        The value on the samples or models themselves.
    draws : sequence, optional
        The same on each resample. An interval needs draws.
    samples : int, default=0
        Number of resampled samples or models.
    data : str, default=""
        The name of the data if they are not those of the study.
    """

    value: Any
    draws: Sequence[Any] = ()
    samples: int = 0
    data: str = ""


EvidenceByClaim = dict[str, Evidence]  # by the claim's id


def is_known(value: Any) -> bool:
    """Return whether a value exists and no part of it is missing."""
    parts = np.asarray(value, object).ravel()
    return bool(len(parts)) and not pd.isna(parts).any()


def known_draws(found: Evidence, function: Callable[[Any], Any]) -> list[Any]:
    """Return a function of each draw, without missing ones. Return [] if too many are missing."""
    values = [function(draw) for draw in found.draws if is_known(draw)]
    known = [value for value in values if is_known(value)]
    least = max(2, FEWEST * len(found.draws))
    return known if len(known) >= least else []


def fisher_z(correlation: Any) -> Array:
    """Return Fisher's z of correlations, finite at 1 and −1."""
    return np.arctanh(np.clip(correlation, -0.999, 0.999))


def normal_draws(values: Any, errors: Any) -> Array:
    """Return draws [R, …] around values with normal errors, for values that are not resampled.

    The standard deviation of the draws is exactly the error.
    """
    values = np.asarray(values, float)
    noise = np.random.default_rng(0).standard_normal((RESAMPLES, *values.shape))
    noise = zscore(noise, ddof=1)
    return values + noise * np.asarray(errors)


def correlations(values: Any, pairs: int, samples: int = 0) -> Evidence:
    """Return the Evidence of rank correlations of a number of pairs each.

    The error of Fisher's z is that of Bonett and Wright (2000). It is too small for few pairs, so
    that these have no interval.
    """
    if pairs < LEAST_PAIRS:
        return Evidence(values)
    variance = (1 + np.square(values) / 2) / (pairs - 3)
    drawn = normal_draws(fisher_z(values), np.sqrt(variance))
    return Evidence(values, list(np.tanh(drawn)), samples)


def draw_models(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return a table of models or of pairs, then the same of models drawn with replacement.

    A pair (columns first, second) remains as often as both of its models are drawn. Intervals over
    models hold for models like these, not only for these models.
    """
    is_of_pairs = {"first", "second"} <= set(table)
    names = models_of_pairs(table) if is_of_pairs else table.index
    rng = np.random.default_rng(0)
    tables = [table]
    for _ in range(RESAMPLES if len(names) else 0):
        shares = np.full(len(names), 1 / len(names))
        weight = pd.Series(rng.multinomial(len(names), shares), names)
        if is_of_pairs:
            repeats = table["first"].map(weight) * table["second"].map(weight)
        else:
            repeats = weight[table.index]
        rows = table.index.repeat(repeats)
        tables.append(table.loc[rows].reset_index(drop=True))
    return tables


def models_of_pairs(pairs: pd.DataFrame) -> Array:
    """Return the names of the models of a table of pairs."""
    return pd.unique(pairs[["first", "second"]].to_numpy().ravel())


shared_counts = lru_cache(maxsize=8)(sample_counts)


def counts_of(split: Any) -> Array:
    """Return the resamples of a split: int32 [k, R], equal for all splits of one size."""
    return shared_counts(len(split), RESAMPLES)
