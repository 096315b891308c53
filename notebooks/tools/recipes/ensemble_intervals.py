"""Exit from an ensemble once the intervals of its mean probabilities separate (Inoue, 2019)."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy import ndarray as Array
from scipy.special import stdtr

from cascadelib.methods.confidence_metrics import BLOCK_ELEMENTS, map_blocks, softmax
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
    longest = [names[at : at + n_models] for at in range(len(names))]
    outcomes = outcomes_of_ensembles(store, longest, candidates.get("score") or "top1")

    def rule(_store: LogitStore, models: Sequence[str], _score: str) -> list[tuple[Array, Array]]:
        return outcomes[names.index(models[0])][: len(models)]

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
    return outcomes_of_ensembles(store, [models], score)[0]


def outcomes_of_ensembles(
    store: LogitStore, ensembles: Sequence[Sequence[str]], score: str
) -> list[list[tuple[Array, Array]]]:
    """Return :func:`interval_outcomes` of several ensembles, in one pass over the samples."""
    rank = score_of(score).rank
    names = list(dict.fromkeys(chain.from_iterable(ensembles)))
    classes = store.logits(names[0]).shape[1]

    def block(rows: slice) -> Array:
        """Return [stages of all ensembles, (correct, confidence), samples] of some samples."""
        probabilities = {name: softmax(store.logits(name)[rows]) for name in names}
        labels = store.origin.required_labels[rows]
        found = []
        for models in ensembles:
            found += stages_of_block([probabilities[name] for name in models], labels, rank)
        return np.array(found)

    rows_in_cache = max(1, BLOCK_ELEMENTS // classes)
    stages = np.concatenate(map_blocks(len(store), rows_in_cache, block), axis=2)
    pairs = [(correct.astype(bool), confidence) for correct, confidence in stages]
    ends = np.cumsum([len(models) for models in ensembles])
    return [pairs[end - len(models) : end] for models, end in zip(ensembles, ends)]


def stages_of_block(probabilities: Sequence[Array], labels: Array, rank: int) -> list[tuple]:
    """Return (correct, confidence) of each stage of one ensemble, from arrays [rows, classes]."""
    stages = []
    total, squares, mean = np.zeros((3, *probabilities[0].shape))
    for n, p in enumerate(probabilities, 1):
        add_member(p, n, total, squares, mean)
        level = np.full(len(mean), -np.inf)
        if n > 1:
            level = -interval_doubt(mean, squares, n)
        stages.append((ranks_of(mean, labels) < rank, level))
    return stages


@njit(cache=True, nogil=True)
def add_member(p: Array, n: int, total: Array, squares: Array, mean: Array) -> None:
    """Add the n-th array of probabilities to its sum, its squared deviations and its mean, in
    place."""
    for row in range(len(p)):
        for c in range(p.shape[1]):
            before = mean[row, c]
            total[row, c] += p[row, c]
            mean[row, c] = total[row, c] / n
            squares[row, c] += (p[row, c] - before) * (p[row, c] - mean[row, c])


def interval_doubt(mean: Array, squares: Array, n: int) -> Array:
    """Return 1 − the level at which the interval of the largest mean touches another: float64 [k].

    mean, squares [k, classes]: means of n members, and the sums of their squared deviations.
    """
    return 2 * stdtr(n - 1, -least_ratio(mean, squares, n))


MARGIN = 1e-5  # of a comparison that leaves out classes without rounding errors


@njit(cache=True, nogil=True)
def least_ratio(mean: Array, squares: Array, n: int) -> Array:
    """Return the least (difference ÷ sum of errors) of the largest mean and another: float64 [k].

    Without errors, the ratio is infinite if the means differ, and 0 if they are equal. A class
    whose ratio is larger than the least one so far, by a comparison of squares, needs no square
    root.
    """
    found = np.full(len(mean), np.inf)
    for row in range(len(mean)):
        top = np.argmax(mean[row])
        error = np.sqrt(squares[row, top] / (n - 1) / n)
        least = np.inf
        for other in range(mean.shape[1]):
            if other == top:
                continue
            gap = mean[row, top] - mean[row, other]
            rest = gap - least * error
            variance = squares[row, other] / ((n - 1) * n)
            if rest > MARGIN**2 * gap and rest**2 > (1 + MARGIN) * least**2 * variance:
                continue
            width = error + np.sqrt(squares[row, other] / (n - 1) / n)
            ratio = np.inf if gap > 0 else 0.0
            if width > 0:
                ratio = gap / width
            least = min(least, ratio)
        found[row] = least
    return found
