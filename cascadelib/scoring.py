"""What counts as good: top-k accuracy, and F1 of the positive class 1 of two (paper, section 4.2:
MRPC and QQP); and which of several answers of a model counts."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import eq
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .checks import known

F1 = "f1"


@dataclass(frozen=True)
class Score:
    """A score: its name, how many best classes count as correct (``rank``), and the ``title`` of an
    axis. F1 is made of what is correct, as under top-1:
    :func:`cascadelib.evaluation.evaluation.quality`."""

    name: str
    rank: int
    title: str


SCORES = {score.name: score for score in (Score("top1", 1, "accuracy"), Score(F1, 1, "F1"))}


def score_of(name: str) -> Score:
    """The :class:`Score` of a name, "top<k>" for any k among them; ValueError, naming the nearest,
    for other names."""
    if isinstance(name, str) and name not in SCORES:
        top = re.fullmatch("top([1-9][0-9]{0,8})", name)
        if top:
            return Score(name, int(top[1]), f"{name} accuracy")
    return SCORES[known(name, [*SCORES, "top2", "top5"], "score")]


def f1_of(true_positives: Any, wrong: Any) -> Any:
    """2 TP ÷ (2 TP + FP + FN), from counts (numbers or arrays); FP + FN are all that is wrong. 0
    where TP = 0."""
    hits = 2 * np.asarray(true_positives, np.float64)
    return np.divide(hits, hits + wrong, out=np.zeros_like(hits), where=hits > 0)[()]


def f1(correct: Array, positive: Array) -> float:
    """F1 of predictions of which correct bool [k] is known, with positive bool [k] the samples of
    class 1."""
    return float(f1_of(np.count_nonzero(correct & positive), np.count_nonzero(~correct)))


def pull_of(correct: Array, positive: Array) -> Array:
    """By how much each sample pulls at F1, float64 [k]: the standard error of F1 is that of their
    mean, and of a difference of two F1 that of the mean difference (delta method)."""
    hits = 2 * np.mean(correct & positive)
    wrong = np.mean(~correct)
    total = hits + wrong or 1.0
    return (2 * wrong * (correct & positive) - hits * ~correct) / total**2


ROWS_AT_ONCE = 8192  # bounds the memory that the ranks of a large memory-mapped tensor take


def log_of(p: Array) -> Array:
    """Logarithms of probabilities, float64; zeros count as the smallest positive float."""
    return np.log(np.maximum(np.asarray(p, np.float64), np.finfo(np.float64).tiny))


def ranks_of(logits: Array, labels: Array) -> Array:
    """Place of the labelled class in each row, int64 [k]; equal logits rank by class index."""
    ranks = np.empty(len(labels), np.int64)
    for start in range(0, len(labels), ROWS_AT_ONCE):
        z = np.asarray(logits[start : start + ROWS_AT_ONCE])
        y = labels[start : start + ROWS_AT_ONCE, None]
        own = np.take_along_axis(z, y, 1)  # the logit of the label
        before = (z > own) | (z == own) & (np.arange(z.shape[1]) < y)
        ranks[start : start + len(z)] = before.sum(1)
    return ranks


def accuracies(ranks: Array, classes: int) -> tuple[float, float]:
    """(top1, top5) of ``ranks``; top5 is nan with five classes or fewer, where it says nothing."""
    top5 = float((ranks < 5).mean()) if classes > 5 else math.nan
    return float((ranks < 1).mean()), top5


def most_given(
    answers: Sequence, equal: Callable[[Any, Any], bool] = eq, costs: Any = 0.0
) -> tuple[Any, float, float]:
    """Several answers of a model to one input as one: the answer that most others equal.

    Parameters
    ----------
    answers : list [k]
    equal : callable
        Whether two answers agree.
    costs : float or list of float
        Of all of them.

    Returns
    -------
    (answer, share, cost)
        The first of those that most answers equal, the share of answers that do, a confidence, and
        the sum of costs.

    Raises
    ------
    ValueError
        For no answers.
    """
    if not len(answers):
        raise ValueError("answers are needed, one or more")
    votes = [sum(bool(equal(answer, other)) for other in answers) for answer in answers]
    most = max(votes)
    return answers[votes.index(most)], most / len(answers), float(np.sum(costs))
