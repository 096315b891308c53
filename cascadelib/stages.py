"""Define scores of answers, sums over logits, and the outcomes of a cascade after each model.

The positive class of F1 is class 1 of two (paper, section 4.2: MRPC and QQP).
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array

from .checks import validate_choice

F1 = "f1"
ELEMENTS_AT_ONCE = 2**18  # outputs whose comparisons fit into a core's cache
Outcome = tuple[Array, Array]
"""Outcome of k samples after some models: correctness (k,), and confidence float64 (k,), higher =
more confident."""
StageFunction = Callable[[tuple[int, ...]], Outcome]
"""Function from a prefix of a cascade (positions of models) to its :data:`Outcome`."""


def prefixes_of(cascade: tuple) -> list[tuple]:
    """Return the prefixes of a cascade, the shortest first. The last is the whole cascade."""
    return [cascade[: i + 1] for i in range(len(cascade))]


class Stage:
    """Wrap a stage function.

    A subclass that can compute many prefixes together overrides :meth:`prepare`. If the correctness
    is cheaper without the confidence, it is a :class:`DelayingStage`.
    """

    def __init__(self, function: StageFunction) -> None:
        self.function = function

    def __call__(self, prefix: tuple[int, ...]) -> Outcome:
        """Return the outcome after `prefix`."""
        return self.function(prefix)

    def correct(self, prefix: tuple[int, ...]) -> Array:
        """Return only the correctness. The last stage of a cascade needs no confidence."""
        return self(prefix)[0]

    def last(self, prefix: tuple[int, ...]) -> Outcome:
        """Return the outcome after a whole cascade."""
        return self(prefix)

    def prepare(self, correct: Iterable[tuple], confidence: Iterable[tuple]) -> None:
        """Announce the prefixes whose correctness, and those whose confidence, is needed later."""


@dataclass(frozen=True, eq=False)
class DelayedConfidence:
    """Hold the confidence (k,) after a prefix. It is computed when it is read as an array."""

    stage: Stage
    prefix: tuple

    def __len__(self) -> int:
        return len(self.stage.correct(self.prefix))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.stage(self.prefix)[1], dtype)


class DelayingStage(Stage):
    """Delay the confidence after a whole cascade, which decides nothing.

    Subclasses define ``correct`` without computing the confidence.
    """

    def last(self, prefix: tuple[int, ...]) -> Outcome:
        """Return the correctness, and a confidence that is computed when it is read."""
        return self.correct(prefix), DelayedConfidence(self, prefix)  # type: ignore[return-value]


def stage_of(function: StageFunction) -> Stage:
    """Return a stage function as a :class:`Stage`."""
    return function if isinstance(function, Stage) else Stage(function)


@dataclass(frozen=True)
class Score:
    """Define a score.

    An answer is correct if the true class is among the `rank` best classes. `title` names the
    mean. F1 is computed from top-1 correctness, see
    :func:`cascadelib.evaluation.evaluation.quality`.
    """

    name: str
    rank: int
    title: str


SCORES = {score.name: score for score in (Score("top1", 1, "accuracy"), Score(F1, 1, "F1"))}


def score_of(name: str) -> Score:
    """Return the :class:`Score` of a name, including "top<k>" for any k.

    Raises
    ------
    ValueError
        If the name is unknown. The message lists the nearest names.
    """
    if isinstance(name, str) and name not in SCORES:
        top = re.fullmatch("top([1-9][0-9]{0,8})", name)
        if top:
            return Score(name, int(top[1]), f"top-{top[1]} accuracy")
    return SCORES[validate_choice(name, [*SCORES, "top2", "top5"], "score")]


def f1_of(true_positives: Any, wrong: Any) -> Any:
    """Compute F1 = 2 TP ÷ (2 TP + FP + FN) from counts, with FP + FN = `wrong`. 0 if TP = 0."""
    hits = 2 * np.asarray(true_positives, np.float64)
    return np.divide(hits, hits + wrong, out=np.zeros_like(hits), where=hits > 0)[()]


def f1(correct: Array, positive: Array) -> float:
    """Compute F1 from correctness and membership in class 1, bool arrays of shape (n_samples,)."""
    return float(f1_of(np.count_nonzero(correct & positive), np.count_nonzero(~correct)))


def influence_on_f1(correct: Array, positive: Array) -> Array:
    """Compute the influence of each sample on F1, float64 array of shape (n_samples,).

    The standard error of F1 is that of the mean influence, and the standard error of a difference
    of two F1 is that of the mean difference (delta method).
    """
    hits = 2 * np.mean(correct & positive)
    wrong = np.mean(~correct)
    total = hits + wrong or 1.0
    return (2 * wrong * (correct & positive) - hits * ~correct) / total**2


def log_of(p: Array) -> Array:
    """Compute the logarithms of probabilities. A zero counts as the smallest positive float."""
    return np.log(np.maximum(np.asarray(p, np.float64), np.finfo(np.float64).tiny))


def ranks_of(logits: Array, labels: Array) -> Array:
    """Return the rank of the true class in each row, int64. Equal logits rank by class index."""
    ranks = np.empty(len(labels), np.int64)
    tensor = np.asarray(logits)  # indexing a memmap is slow
    rows = max(1, ELEMENTS_AT_ONCE // tensor.shape[1])
    for start in range(0, len(labels), rows):
        z = tensor[start : start + rows]
        if z.dtype.itemsize < 4:  # comparisons of float16 and bfloat16 are slow
            z = z.astype(np.float32)
        y = labels[start : start + rows]
        true = z[np.arange(len(z)), y][:, None]  # the logit of the true class
        before = np.count_nonzero(z > true, axis=1)
        tied = np.flatnonzero(np.count_nonzero(z == true, axis=1) > 1)
        earlier = np.arange(z.shape[1]) < y[tied, None]
        before[tied] += np.count_nonzero((z[tied] == true[tied]) & earlier, axis=1)
        ranks[start : start + rows] = before
    return ranks


def accuracies(ranks: Array, classes: int) -> dict[str, float]:
    """Return top1 and top5 from ranks. top5 is nan with five classes or fewer."""
    top5 = float((ranks < 5).mean()) if classes > 5 else math.nan
    return {"top1": float((ranks < 1).mean()), "top5": top5}


def most_given(answers: Sequence, costs: Any = 0.0) -> tuple[Any, float, float]:
    """Combine several answers to one input by a plurality vote.

    Parameters
    ----------
    answers : list
        One or more answers.
    costs : float or list of float, default=0.0
        Costs of the answers.

    Returns
    -------
    object
        The first of the answers that agree with the most answers.
    share : float
        Share of the answers that agree with it, which serves as a confidence.
    cost : float
        Sum of the costs.

    Raises
    ------
    ValueError
        If there are no answers.

    Examples
    --------
    >>> most_given(["yes", "no", "yes"], costs=[1, 1, 1])
    ('yes', 0.6666666666666666, 3.0)
    """
    if not len(answers):
        raise ValueError("answers are needed, one or more")
    answers = list(answers)
    votes = [answers.count(answer) for answer in answers]
    most = max(votes)
    return answers[votes.index(most)], most / len(answers), float(np.sum(costs))


class Sums(NamedTuple):
    """Hold sums over each row z = logits / T, from which several metrics are computed.

    Parameters
    ----------
    largest : float64 array of shape (n,)
        The largest z. The other arrays are computed from z − largest.
    second : float64 array of shape (n,)
        The second largest, −inf if there is one class.
    rest : float64 array of shape (n,)
        Sum of exp(z) over all classes except the largest.
    weighted : float64 array of shape (n,)
        Sum of exp(z) · z over all classes except the largest.
    """

    largest: Array
    second: Array
    rest: Array
    weighted: Array


def sums_of_block(logits: Array, temperature: float) -> tuple[Array, Array]:
    """Return the :class:`Sums` of a block, float64 (4, n), and its predicted classes, int64 (n,).

    It is fast for many classes, and the compiled loop of the methods is fast for few.
    """
    z = np.asarray(logits, np.float64) / temperature
    rows = np.arange(len(z))
    top = z.argmax(axis=1)
    largest = z[rows, top]
    z -= largest[:, None]
    e = np.exp(z)
    weighted = np.einsum("ij,ij->i", e, z)
    e[rows, top] = 0.0
    z[rows, top] = -np.inf
    return np.stack([largest, z.max(axis=1), e.sum(axis=1), weighted]), top
