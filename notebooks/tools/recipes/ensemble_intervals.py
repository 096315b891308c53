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
from cascadelib.scoring import score_of
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
    for models in longest:
        for later in range(len(models)):
            chain = tuple(models[: later + 1])
            tried += [{"models": chain, "thresholds": (-doubt,) * later} for doubt in DOUBTS]
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

    members = np.full((len(ensembles), max(map(len, ensembles))), -1)
    for row, models in zip(members, ensembles):
        row[: len(models)] = [names.index(name) for name in models]
    sizes = np.concatenate([np.arange(1, len(models) + 1) for models in ensembles])

    def block(rows: slice) -> tuple[Array, Array]:
        """Return (correct, confidence) of all ensembles on some samples, each [stages, samples]."""
        p = np.stack([softmax(store.logits(name)[rows]) for name in names])
        correct, ratios = run_ensembles(p, store.origin.required_labels[rows], members, rank)
        return correct, -doubt_of(ratios, sizes[:, None])

    rows_in_cache = max(1, BLOCK_ELEMENTS // classes)
    blocks = map_blocks(len(store), rows_in_cache, block)
    correct, confidence = (np.concatenate(parts, axis=1) for parts in zip(*blocks))
    stages = list(zip(correct, confidence))
    ends = np.cumsum([len(models) for models in ensembles])
    return [stages[end - len(models) : end] for models, end in zip(ensembles, ends)]


@njit(cache=True, nogil=True)
def run_ensembles(p: Array, labels: Array, members: Array, rank: int) -> tuple[Array, Array]:
    """Return whether each ensemble is correct after each of its models, and :func:`least_ratio`.

    p [M, rows, classes]: probabilities. members [E, n]: models of each ensemble, −1 past its end.
    The results are bool and float64 [stages of all ensembles, rows].
    """
    _, rows, classes = p.shape
    stages = np.count_nonzero(members >= 0)
    correct = np.empty((stages, rows), np.bool_)
    ratios = np.empty((stages, rows))
    total = np.empty(classes)
    squares = np.empty(classes)
    mean = np.empty(classes)
    for row in range(rows):
        label = labels[row]
        stage = 0
        for models in members:
            total[:] = 0
            squares[:] = 0
            mean[:] = 0
            for n in range(1, len(models) + 1):
                if models[n - 1] < 0:
                    break
                new = p[models[n - 1], row]
                for c in range(classes):
                    before = mean[c]
                    total[c] += new[c]
                    mean[c] = total[c] / n
                    squares[c] += (new[c] - before) * (new[c] - mean[c])
                ahead = 0  # classes that rank before the label
                for c in range(label):
                    ahead += mean[c] >= mean[label]
                for c in range(label + 1, classes):
                    ahead += mean[c] > mean[label]
                correct[stage, row] = ahead < rank
                ratios[stage, row] = least_ratio(mean, squares, n)
                stage += 1
    return correct, ratios


def doubt_of(ratios: Array, n: Array) -> Array:
    """Return 1 − the level at which the interval of the largest mean of n members touches another.

    ratios: :func:`least_ratio`. One member has no interval, and an infinite doubt.
    """
    return np.where(n > 1, 2 * stdtr(np.maximum(n - 1, 1), -ratios), np.inf)


MARGIN = 1e-5  # of a comparison that leaves out classes without rounding errors


@njit(cache=True, nogil=True)
def least_ratio(mean: Array, squares: Array, n: int) -> float:
    """Return the least (difference ÷ sum of errors) of the largest mean and another.

    mean, squares [classes]: means of n members, and the sums of their squared deviations. Without
    errors, the ratio is infinite if the means differ, and 0 if they are equal. A class whose ratio
    is larger than the least one so far, by a comparison of squares, needs no square root.
    """
    if n == 1:
        return np.inf
    top = np.argmax(mean)
    error = np.sqrt(squares[top] / (n - 1) / n)
    least = np.inf
    for other in range(len(mean)):
        if other == top:
            continue
        gap = mean[top] - mean[other]
        rest = gap - least * error
        variance = squares[other] / ((n - 1) * n)
        if rest > MARGIN**2 * gap and rest**2 > (1 + MARGIN) * least**2 * variance:
            continue
        width = error + np.sqrt(squares[other] / (n - 1) / n)
        ratio = np.inf if gap > 0 else 0.0
        if width > 0:
            ratio = gap / width
        least = min(least, ratio)
    return least
