"""Confidence metrics, one object each (paper, section 3), and blocks of samples on all cores."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array

from ..checks import known
from ..scoring import log_of

CHUNK = 4096  # samples per block where numpy takes all classes at once
FEW = 32  # classes up to which a loop over rows is faster than numpy
ELEMENTS = 2**16  # of a block in float64: what a core's cache holds


def over_blocks(k: int, size: int, block: Callable[[slice], Any]) -> list:
    """[block(rows), …] over k samples, ``size`` at a time, in their order.

    A single block needs no threads.
    """
    blocks = [slice(start, min(start + size, k)) for start in range(0, k, size)]
    if len(blocks) == 1:
        return [block(blocks[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(block, blocks))


def blockwise(block: Callable[[Array], Any], values: Array) -> Array:
    """block(float64 [n, classes]) of all rows of values [k, classes], CHUNK at a time.

    Returns float64 [k].
    """

    def confidence_of(rows: slice) -> Array:
        return np.asarray(block(np.asarray(values[rows], np.float64)), np.float64)

    return np.concatenate(over_blocks(len(values), CHUNK, confidence_of))


class Sums(NamedTuple):
    """What several metrics need of rows z = logits / T, float64 [n] each.

    largest: of z; the others are of z less that: second, the second largest (−inf with one class);
    over all classes but the largest, rest, the sum of exp(z), and weighted, that of exp(z) · z.
    """

    largest: Array
    second: Array
    rest: Array
    weighted: Array


@dataclass(frozen=True)
class Metric:
    """All that differs between confidence metrics.

    Functions return float64 [n], higher = more confident.

    of_softmax: p [n, classes] → [n] (None: it needs logits, and no ensemble of softmax can have
    it); of_sums: the same from the :class:`Sums` of logits / T, which is faster and keeps apart
    what softmax rounds to 1; of_logits: the same from logits / T [n, classes], where that is no
    function of their softmax; negated: whether its own units are minus the confidence;
    largest_share: whether it is the largest softmax, for which mean ensembles have a kernel;
    bounds: of possible values in its own units.
    """

    name: str
    of_softmax: Any = None
    of_sums: Callable | None = None
    of_logits: Callable | None = None
    negated: bool = False
    largest_share: bool = False
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def from_logits(self, logits: Array, temperature: float = 1.0) -> Array:
        """Confidence of each row of logits [k, classes]: float64 [k]."""
        if self.of_sums is not None:
            return self.of_sums(sums(logits, temperature))
        if self.of_logits is not None:
            of_logits = self.of_logits
            return blockwise(lambda z: of_logits(z / temperature), logits)
        return blockwise(lambda z: self.of_softmax(softmax(z, temperature)), logits)

    def from_probabilities(self, p: Array) -> Array:
        """Confidence of each row of a model's own probabilities [k, classes]: float64 [k].

        What is a function of softmax is read from p itself, so that equal rows have equal
        confidence.
        """
        if self.of_logits is None:
            return blockwise(self.of_softmax, p)
        return blockwise(lambda rows: self.from_logits(log_of(rows)), p)

    def own(self, values: Array) -> Array:
        """Confidences in the metric's own units, or back."""
        return -np.asarray(values) if self.negated else np.asarray(values)


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Softmax over the last axis of logits / temperature.

    Parameters
    ----------
    logits : array [..., classes]
        Finite logits.
    temperature : float
        What they are divided by.

    Returns
    -------
    array of float64 [..., classes]
        Probabilities.

    References
    ----------
    Lebovitz et al., TMLR 2023, equations 1 and 3.
    """
    z = np.asarray(logits, np.float64) / temperature
    z = np.exp(z - z.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def largest(values: Array, count: int) -> Array:
    """The ``count`` largest values of each row of [k, classes], rising: [k, count]."""
    count = min(count, values.shape[1])
    return np.sort(np.partition(values, -count, axis=1)[:, -count:], axis=1)


def margin(values: Array) -> Array:
    """Largest minus second largest of each row of [k, classes].

    With one class, the largest itself.
    """
    if values.shape[1] == 1:
        return values[:, 0].copy()
    top = largest(values, 2)
    return top[:, 1] - top[:, 0]


def negative_entropy(p: Array) -> Array:
    """Minus the Shannon entropy of each row of p [k, classes] in nats (paper, eq. 2): [k].

    The terms p log p (0 log 0 = 0) are summed from the least, so that the order of the classes does
    not count.
    """
    terms = p * np.log(np.where(p > 0, p, 1.0))
    return np.sum(np.sort(terms, axis=1), axis=1)


MAX_SOFTMAX = Metric(
    "max_softmax",
    of_softmax=lambda p: p.max(axis=1),
    of_sums=lambda s: 1 / (1 + s.rest),
    largest_share=True,
    bounds=(0, 1),
)
SOFTMAX_MARGIN = Metric(
    "softmax_margin",
    of_softmax=margin,
    of_sums=lambda s: (1 - np.exp(s.second)) / (1 + s.rest),
    bounds=(0, 1),
)
ENTROPY = Metric(
    "entropy",
    of_softmax=negative_entropy,
    of_sums=lambda s: s.weighted / (1 + s.rest) - np.log1p(s.rest),
    negated=True,
    bounds=(0, np.inf),
)
LOGITS_MARGIN = Metric(
    "logits_margin",
    of_sums=lambda s: np.where(np.isneginf(s.second), s.largest, -s.second),
    of_logits=margin,
)
METRICS = {metric.name: metric for metric in (MAX_SOFTMAX, SOFTMAX_MARGIN, ENTROPY, LOGITS_MARGIN)}
"""Confidence metrics by name: one object each, with all that differs between them."""


@cache
def top_sum(count: int) -> Metric:
    """The metric top<count>_softmax_sum."""
    return Metric(f"top{count}_softmax_sum", lambda p: largest(p, count).sum(axis=1), bounds=(0, 1))


def metric_of(metric: str | Callable | Metric) -> Metric:
    """The :class:`Metric` of a name or of a user's own function; ValueError for other names."""
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        return Metric(getattr(metric, "__name__", "own"), of_softmax=metric, of_logits=metric)
    if isinstance(metric, str):
        if metric in METRICS:
            return METRICS[metric]
        top = re.fullmatch("top([1-9][0-9]{0,8})_softmax_sum", metric)
        if top:
            return top_sum(int(top[1]))
    return METRICS[known(metric, [*METRICS, "top5_softmax_sum"], "metric")]


def confidence(
    logits: Array, metric: str | Callable = "max_softmax", temperature: float = 1.0
) -> Array:
    """Compute the confidence of each row of logits.

    Parameters
    ----------
    logits : array of shape (n_samples, n_classes)
        Finite logits of one model.
    metric : str or callable, default="max_softmax"
        A key of ``METRICS``, "top<k>_softmax_sum", or a function from float64 logits / temperature,
        shape (n, n_classes), to an array of shape (n,).
    temperature : float, default=1.0
        Divisor of the logits.

    Returns
    -------
    float64 array of shape (n_samples,)
        Higher means more confident. Entropy is negated.

    Raises
    ------
    ValueError
        If the metric is unknown. The message names the nearest valid names.

    See Also
    --------
    Method : A metric with ensemble and temperature scaling.
    fit_temperature : Fit the temperature of a model.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> logits = np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    >>> cl.confidence(logits, "softmax_margin").round(3).tolist()
    [0.68, 0.0]
    """
    return metric_of(metric).from_logits(logits, temperature)


def as_compiled(logits: Array) -> Array:
    """Logits as the compiled loops take them: floats of another width than theirs are converted.

    float16 and bfloat16 (whose kind numpy does not know) fit float32 without a change of value.
    """
    if logits.dtype in (np.float32, np.float64) or logits.dtype.kind in "iu":
        return logits
    return logits.astype(np.float32 if logits.dtype.itemsize < 4 else np.float64)


def sums(logits: Array, temperature: float = 1.0) -> Sums:
    """The :class:`Sums` of logits [k, classes] / T from one walk on all cores."""
    from .kernels import sums_of_rows  # numba, which a policy does without

    k, classes = logits.shape
    of_block = sums_of_rows if classes <= FEW else sums_of_block

    def block(rows: slice) -> Array:
        return of_block(as_compiled(np.asarray(logits[rows])), temperature)[0]

    parts = over_blocks(k, max(64, ELEMENTS // classes), block)
    return Sums(*np.concatenate(parts, axis=1))


def sums_of_block(logits: Array, temperature: float) -> tuple[Array, Array]:
    """The :class:`Sums` of a block of rows, float64 [4, n], and their largest classes, int64 [n].

    It is for many classes, as ``sums_of_rows`` of the kernels is for few.
    """
    z = np.asarray(logits, np.float64) / temperature
    rows = np.arange(len(z))
    top = z.argmax(axis=1)
    largest = z[rows, top]
    z -= largest[:, None]
    e = np.exp(z)
    weighted = np.einsum("ij,ij->i", e, z)
    # the largest class is no part of the rest
    e[rows, top] = 0.0
    z[rows, top] = -np.inf
    return np.stack([largest, z.max(axis=1), e.sum(axis=1), weighted]), top


def answers(
    logits: Array, metric: Metric, temperature: float = 1.0, guesses: int = 1
) -> tuple[Array, Array]:
    """What a model says by itself of a small batch of finite logits [N, classes].

    Returns its ``guesses`` best classes, best first, int64 [N, guesses], and its confidence,
    float64 [N].
    """
    from .kernels import sums_of_rows

    if metric.of_sums is None:
        return ranked(logits, guesses), metric.from_logits(logits, temperature)
    out, top = sums_of_rows(as_compiled(logits), float(temperature))
    best = top[:, None] if guesses == 1 else ranked(logits, guesses)
    return best, metric.of_sums(Sums(*out))


def ranked(scores: Array, guesses: int) -> Array:
    """The best classes of each row of scores [N, classes], best first, equal ones by class.

    Returns int64 [N, guesses].
    """
    if guesses == 1:
        return scores.argmax(axis=1)[:, None]
    return np.argsort(-np.asarray(scores, np.float64), axis=1, kind="stable")[:, :guesses]
