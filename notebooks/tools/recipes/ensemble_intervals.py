"""Exit from an ensemble once the intervals of its mean probabilities separate (Inoue, 2019)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.special import stdtr

from cascadelib.methods.confidence_metrics import BLOCK_ROWS, map_blocks, softmax
from cascadelib.methods.method import Method
from cascadelib.scoring import ranks_of, score_of
from cascadelib.store.logit_store import LogitStore

from .chains import best_of_points, pool

DOUBTS = np.geomspace(1, 1e-6, 31)
"""1 − the confidence levels to try."""


def inoue_2019(
    store: LogitStore,
    n_models: int = 10,
    **candidates: Any,
) -> pd.DataFrame:
    """Average probabilities until Student's interval of the largest is above those of the others.

    Equal to the original: softmax is averaged over the models run so far, at least two. A sample
    exits once the intervals separate, at one confidence level for all stages. Different: the
    original runs 10 or 20 networks of one size in arbitrary order. Here an ensemble is any sequence
    of candidates that are neighbours in cost, cheapest first, including a single model.

    Parameters
    ----------
    store : LogitStore
    n_models : int
        The most models of an ensemble.
    **candidates
        score, cost and models, as in :func:`cascadelib.search`.

    Returns
    -------
    DataFrame
        One row per Pareto point: accuracy, cost, models, thresholds (the level − 1, per stage).

    References
    ----------
    Inoue, 2019: Adaptive ensemble prediction for deep neural networks based on confidence level,
    AISTATS.
    """
    names, _, _ = pool(store, Method(), **candidates)
    longest = {first: names[at : at + n_models] for at, first in enumerate(names)}

    @lru_cache(maxsize=1)  # ensembles with the same first model are consecutive
    def outcomes_from(first: str, score: str) -> list[tuple[Array, Array]]:
        return interval_outcomes(store, longest[first], score)

    def rule(_store: LogitStore, models: Sequence[str], score: str) -> list[tuple[Array, Array]]:
        return outcomes_from(models[0], score)[: len(models)]

    tried = []
    for start in range(len(names)):
        for end in range(start + 1, min(start + n_models, len(names)) + 1):
            models = tuple(names[start:end])
            for doubt in DOUBTS:
                tried.append({"models": models, "thresholds": (-doubt,) * (len(models) - 1)})
    return best_of_points(store, rule, tried, **candidates)


def interval_outcomes(
    store: LogitStore,
    models: Sequence[str],
    score: str,
) -> list[tuple[Array, Array]]:
    """Apply the rule of :func:`inoue_2019`: confidence is the level at which the intervals touch,
    minus 1.

    Returns (correct [k], confidence [k]) of each stage. The first stage is never confident.
    """
    rank = score_of(score).rank

    def block(rows: slice) -> Array:
        """Return [stages, (correct, confidence), samples] of some samples."""
        stages = []
        total: Any = 0.0
        squares: Any = 0.0  # sum of squared deviations from the mean so far
        for n, name in enumerate(models, 1):
            p = softmax(store.logits(name)[rows])
            before = total / max(n - 1, 1)
            total = total + p
            mean = total / n
            level = np.full(len(mean), -np.inf)
            if n > 1:
                squares = squares + (p - before) * (p - mean)
                level = -interval_doubt(mean, np.sqrt(squares / (n - 1) / n), n - 1)
            stages.append((ranks_of(mean, store.origin.required_labels[rows]) < rank, level))
        return np.array(stages)

    found = np.concatenate(map_blocks(len(store), BLOCK_ROWS, block), axis=2)
    return [(correct.astype(bool), confidence) for correct, confidence in found]


def interval_doubt(
    mean: Array,
    error: Array,
    freedom: int,
) -> Array:
    """Return 1 − the level at which the interval of the largest mean touches another: float64 [k].

    mean, error [k, classes]: means and their standard errors. freedom: degrees of freedom.
    """
    top = mean.argmax(axis=1)[:, None]
    gap = np.take_along_axis(mean, top, axis=1) - mean
    width = np.take_along_axis(error, top, axis=1) + error
    certain = np.where(gap > 0, np.inf, 0.0)
    apart = np.divide(gap, width, out=certain, where=width > 0)
    np.put_along_axis(apart, top, np.inf, axis=1)
    return 2 * stdtr(freedom, -apart.min(axis=1))
