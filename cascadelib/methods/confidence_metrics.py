"""Confidence metrics, one object each (paper, section 3), and blocks of samples on all cores."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..checks import known
from ..scoring import log_of


def over_blocks(k, size, block):
    """[block(rows: slice), …] over k samples, ``size`` at a time, in their order; a single one without threads."""
    blocks = [slice(start, min(start + size, k)) for start in range(0, k, size)]
    if len(blocks) == 1:
        return [block(blocks[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(block, blocks))


CHUNK = 4096
FEW = 32  # classes up to which a loop over rows is faster than numpy
ELEMENTS = 2**16  # of a block in float64: what a core's cache holds


class Sums(NamedTuple):
    """What several metrics need of rows z = logits / T, float64 [n] each: the largest; with that subtracted, the second
    largest (−inf with one class), and over all other classes the sum of exp(z) and of exp(z) · z."""

    largest: np.ndarray
    second: np.ndarray
    rest: np.ndarray
    weighted: np.ndarray


@dataclass(frozen=True)
class Metric:
    """All that differs between confidence metrics; every function returns float64 [n], higher = surer.

    of_softmax: p [n, classes] → [n] (None: it needs logits, and no ensemble of softmax can have it); of_sums: the same
    from the :class:`Sums` of logits / T, which is faster and keeps apart what softmax rounds to 1; of_logits: the same
    from logits / T [n, classes], where that is no function of their softmax; negated: whether its own units are minus
    the confidence; largest_share: whether it is the largest softmax, for which mean ensembles have a kernel.
    """

    name: str
    of_softmax: Any = None
    of_sums: Callable | None = None
    of_logits: Callable | None = None
    negated: bool = False
    largest_share: bool = False

    def from_logits(self, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Confidence of each row of logits [k, classes]."""
        if self.of_sums is not None:
            return self.of_sums(sums(logits, temperature))
        own = self.of_logits or (lambda z: self.of_softmax(softmax(z)))
        return blockwise(
            lambda rows: own(np.asarray(logits[rows], np.float64) / temperature), len(logits), CHUNK
        )

    def from_probabilities(self, p: np.ndarray) -> np.ndarray:
        """Confidence of each row of probabilities [k, classes] that are a model's own output: what is a function of
        softmax is read from p itself, so that equal rows have equal confidence."""
        own = self.of_softmax if self.of_logits is None else lambda p: self.from_logits(log_of(p))
        return blockwise(lambda rows: own(np.asarray(p[rows], np.float64)), len(p), CHUNK)

    def own(self, values: np.ndarray) -> np.ndarray:
        """Confidences in the metric's own units, or back."""
        return -np.asarray(values) if self.negated else np.asarray(values)


def blockwise(block, k, size):
    """block(rows) of all k samples, a block at a time, as one array float64 [k]."""
    return np.concatenate([np.asarray(part, np.float64) for part in over_blocks(k, size, block)])


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax over the last axis of logits / temperature, float64 (paper, eq. 1 and 3)."""
    z = np.asarray(logits, np.float64) / temperature
    z = np.exp(z - z.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def largest(values, count):
    """The ``count`` largest values of each row, rising: [k, count]."""
    count = min(count, values.shape[1])
    return np.sort(np.partition(values, -count, axis=1)[:, -count:], axis=1)


def margin(values):
    """Largest minus second largest of each row of [k, classes]; with one class, the largest itself."""
    if values.shape[1] == 1:
        return values[:, 0].copy()
    top = largest(values, 2)
    return top[:, 1] - top[:, 0]


def negative_entropy(p):
    """Sum of p log p of each row (0 log 0 = 0), from the least, whatever the order of the classes: minus the Shannon
    entropy in nats (paper, eq. 2)."""
    return np.sum(np.sort(p * np.log(np.where(p > 0, p, 1.0)), axis=1), axis=1)


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "max_softmax", lambda p: p.max(axis=1), lambda s: 1 / (1 + s.rest), largest_share=True
        ),
        Metric("softmax_margin", margin, lambda s: (1 - np.exp(s.second)) / (1 + s.rest)),
        Metric(
            "entropy",
            negative_entropy,
            lambda s: s.weighted / (1 + s.rest) - np.log1p(s.rest),
            negated=True,
        ),
        Metric(
            "logits_margin",
            None,
            lambda s: np.where(np.isneginf(s.second), s.largest, -s.second),
            margin,
        ),
    )
}
"""Confidence metrics by name: one object each, with all that differs between them."""


@cache
def top_sum(count):
    """The metric top<count>_softmax_sum."""
    return Metric(f"top{count}_softmax_sum", lambda p: largest(p, count).sum(axis=1))


def metric_of(metric: str | Callable) -> Metric:
    """The :class:`Metric` of a name or of a user's own function; ValueError, naming the nearest, for other names."""
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        return Metric(getattr(metric, "__name__", "own"), metric, None, metric)
    if isinstance(metric, str) and (
        top := re.fullmatch("top([1-9][0-9]{0,8})_softmax_sum", metric)
    ):
        return top_sum(int(top[1]))
    return METRICS[known(metric, [*METRICS, "top5_softmax_sum"], "metric")]


def confidence(
    logits: np.ndarray, metric: str | Callable = "max_softmax", temperature: float = 1.0
) -> np.ndarray:
    """Confidence of each row of logits [k, classes] (softmax at ``temperature``): float64 [k], higher = surer."""
    return metric_of(metric).from_logits(logits, temperature)


def as_compiled(logits: np.ndarray) -> np.ndarray:
    """Logits as the compiled loops take them: floats of another width than theirs are converted.

    float16 and bfloat16 (whose kind numpy does not know) fit float32 without a change of value.
    """
    if logits.dtype in (np.float32, np.float64) or logits.dtype.kind in "iu":
        return logits
    return logits.astype(np.float32 if logits.dtype.itemsize < 4 else np.float64)


def sums(logits, temperature=1.0):
    """The :class:`Sums` of logits [k, classes] / T from one walk on all cores."""
    from .kernels import sums_of_rows  # numba, which a policy does without

    k, classes = logits.shape
    of_block, size = sums_of_rows if classes <= FEW else sums_of_block, max(64, ELEMENTS // classes)
    parts = over_blocks(
        k, size, lambda rows: of_block(as_compiled(np.asarray(logits[rows])), temperature)[0]
    )
    return Sums(*np.concatenate(parts, axis=1))


def sums_of_block(logits, temperature):
    """The :class:`Sums` of a block of rows, float64 [4, n], and their largest classes, int64 [n]: for many classes."""
    z = np.asarray(logits, np.float64) / temperature
    rows, top = np.arange(len(z)), z.argmax(axis=1)
    largest = z[rows, top]
    z -= largest[:, None]
    e = np.exp(z)
    weighted = np.einsum("ij,ij->i", e, z)
    e[rows, top], z[rows, top] = 0.0, -np.inf
    return np.stack([largest, z.max(axis=1), e.sum(axis=1), weighted]), top


def answers(logits, metric, temperature=1.0, guesses=1):
    """What a model says by itself of a small batch of finite logits [N, classes]: its ``guesses`` best classes, best
    first, int64 [N, guesses], and its confidence under a :class:`Metric`, float64 [N]."""
    from .kernels import sums_of_rows

    if metric.of_sums is None:
        return ranked(logits, guesses), metric.from_logits(logits, temperature)
    out, top = sums_of_rows(as_compiled(logits), float(temperature))
    return top[:, None] if guesses == 1 else ranked(logits, guesses), metric.of_sums(Sums(*out))


def ranked(scores, guesses):
    """The best classes of each row of scores [N, classes], best first, equal ones by class: int64 [N, guesses]."""
    if guesses == 1:
        return scores.argmax(axis=1)[:, None]
    return np.argsort(-np.asarray(scores, np.float64), axis=1, kind="stable")[:, :guesses]
