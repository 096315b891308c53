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
    total = np.zeros_like(probabilities[0])
    squares = np.zeros_like(total)  # sums of squared deviations from the mean
    for n, p in enumerate(probabilities, 1):
        ranks, ratio = add_model(p, n, labels, total, squares)
        level = -2 * stdtr(n - 1, -ratio) if n > 1 else np.full(len(p), -np.inf)
        stages.append((ranks < rank, level))
    return stages


@njit(cache=True, nogil=True, error_model="numpy")  # divisions without checks for 0
def add_model(p: Array, n: int, labels: Array, total: Array, squares: Array) -> tuple[Array, Array]:
    """Add the n-th model to the sums, and return the ranks of the labels and the least ratios.

    A ratio is (difference ÷ sum of standard errors) of the largest mean and another mean. The
    intervals of the largest mean and of the others touch at the least ratio of a row. Without
    errors, a ratio is infinite if the means differ, and 0 if they are equal. Equal means rank by
    class. One pass over each row does all this, since ImageNet has 1,000 classes.

    Parameters
    ----------
    p : float64 [rows, classes]
        Probabilities of the model.
    total, squares : float64 [rows, classes]
        Sum of the probabilities, and sum of their squared deviations from the mean. Both are
        updated.
    """
    rows, classes = p.shape
    ranks = np.zeros(rows, np.int64)
    ratios = np.full(rows, np.inf)
    mean = np.empty(classes)
    error = np.empty(classes)
    ratio = np.empty(classes)
    for row in range(rows):
        for c in range(classes):
            before = total[row, c] / max(n - 1, 1)
            total[row, c] += p[row, c]
            mean[c] = total[row, c] / n
            squares[row, c] += (p[row, c] - before) * (p[row, c] - mean[c])
        label = labels[row]
        rank = 0
        for c in range(classes):
            rank += (mean[c] > mean[label]) | ((mean[c] == mean[label]) & (c < label))
        ranks[row] = rank
        if n == 1:
            continue
        for c in range(classes):
            error[c] = np.sqrt(squares[row, c] / (n - 1) / n)
        top = np.argmax(mean)
        for c in range(classes):
            gap = mean[top] - mean[c]
            width = error[top] + error[c]
            ratio[c] = gap / width if width > 0 else (np.inf if gap > 0 else 0.0)
        ratio[top] = np.inf
        ratios[row] = ratio.min()
    return ranks, ratios
