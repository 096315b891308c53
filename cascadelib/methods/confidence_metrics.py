"""Compute confidence metrics (paper, section 3) in blocks of samples on all cores."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import validate_choice
from ..stages import Sums, log_of, sums_of_block

BLOCK_ROWS = 4096  # samples per block
MAX_CLASSES_OF_LOOP = 32  # up to this number, a compiled loop over rows is faster than NumPy
BLOCK_ELEMENTS = 2**17  # float64 elements per block, which fit into a core's cache


def map_blocks(k: int, size: int, block: Callable[[slice], Any]) -> list:
    """Return [block(rows), …] for slices of `size` of k samples, computed in several threads."""
    blocks = [slice(start, min(start + size, k)) for start in range(0, k, size)]
    if len(blocks) == 1:
        return [block(blocks[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(block, blocks))


def blockwise(block: Callable[[Array], Any], values: Array) -> Array:
    """Apply a function to blocks of rows of values (k, n_classes), and join the results (k,)."""

    def confidence_of(rows: slice) -> Array:
        return np.asarray(block(np.asarray(values[rows], np.float64)), np.float64)

    return np.concatenate(map_blocks(len(values), BLOCK_ROWS, confidence_of))


@dataclass(frozen=True)
class Metric:
    """Define a confidence metric. Its functions return float64 (n,), higher = more confident.

    Parameters
    ----------
    name : str
        Key of ``METRICS``.
    of_softmax : callable or None
        Function of the softmax (n, n_classes). None if the metric needs logits. It then cannot be
        used with ensembles of softmax.
    of_sums : callable or None
        Function of the :class:`Sums` of logits / T. It is faster, and distinguishes confidences
        whose softmax rounds to 1.
    of_logits : callable or None
        Function of logits / T (n, n_classes). Needed if the metric is not a function of their
        softmax.
    negated : bool
        Whether values in native units are minus the confidence.
    bounds : tuple of float
        Least and largest possible value in native units.
    """

    name: str
    of_softmax: Any = None
    of_sums: Any = None
    of_logits: Any = None
    negated: bool = False
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def from_logits(self, logits: Array, temperature: float = 1.0) -> Array:
        """Return the confidence of each row of logits (k, n_classes), float64 (k,)."""
        if self.of_sums is not None:
            return self.of_sums(sums(logits, temperature))
        if self.of_logits is not None:
            return blockwise(lambda z: self.of_logits(z / temperature), logits)
        return blockwise(lambda z: self.of_softmax(softmax(z, temperature)), logits)

    def from_probabilities(self, p: Array) -> Array:
        """Return the confidence of each row of probabilities (k, n_classes), float64 (k,).

        A metric of softmax is computed from `p` without taking logarithms. Equal rows therefore
        have equal confidences.
        """
        if self.of_logits is None:
            return blockwise(self.of_softmax, p)
        return blockwise(lambda rows: self.from_logits(log_of(rows)), p)

    def convert(self, values: Array) -> Array:
        """Convert confidences to native units, or back."""
        return -np.asarray(values) if self.negated else np.asarray(values)


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Return the softmax over the last axis of logits / temperature (paper, eq. 1 and 3)."""
    return softmax_in_place(np.asarray(logits, np.float64) / temperature)


def softmax_in_place(z: Array) -> Array:
    """Replace float64 logits by their softmax over the last axis, and return it."""
    z -= z.max(axis=-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=-1, keepdims=True)
    return z


def largest(values: Array, count: int) -> Array:
    """Return the `count` largest values of each row, in rising order, shape (k, count)."""
    count = min(count, values.shape[1])
    return np.sort(np.partition(values, -count, axis=1)[:, -count:], axis=1)


def margin(values: Array) -> Array:
    """Return largest − second largest of each row (k, n_classes). One class: return its value."""
    if values.shape[1] == 1:
        return values[:, 0].copy()
    top = largest(values, 2)
    return top[:, 1] - top[:, 0]


def negative_entropy(p: Array) -> Array:
    """Return minus the Shannon entropy of each row of p (k, n_classes) in nats (paper, eq. 2).

    The terms p log p (0 log 0 = 0) are sorted before they are summed. The result therefore does not
    depend on the order of the classes.
    """
    terms = p * np.log(np.where(p > 0, p, 1.0))
    return np.sum(np.sort(terms, axis=1), axis=1)


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "max_softmax",
            of_softmax=lambda p: p.max(axis=1),
            of_sums=lambda s: 1 / (1 + s.rest),
            bounds=(0, 1),
        ),
        Metric(
            "softmax_margin",
            of_softmax=margin,
            of_sums=lambda s: (1 - np.exp(s.second)) / (1 + s.rest),
            bounds=(0, 1),
        ),
        Metric(
            "entropy",
            of_softmax=negative_entropy,
            of_sums=lambda s: s.weighted / (1 + s.rest) - np.log1p(s.rest),
            negated=True,
            bounds=(0, np.inf),
        ),
        Metric(
            "logits_margin",
            of_sums=lambda s: np.where(np.isneginf(s.second), s.largest, -s.second),
            of_logits=margin,
        ),
    )
}
"""Confidence metrics by name."""


@cache
def top_sum(count: int) -> Metric:
    """Return the metric top<count>_softmax_sum."""
    return Metric(f"top{count}_softmax_sum", lambda p: largest(p, count).sum(axis=1), bounds=(0, 1))


def metric_of(metric: str | Callable | Metric) -> Metric:
    """Return the :class:`Metric` of a name or of a user's function."""
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        return Metric(getattr(metric, "__name__", "custom"), of_softmax=metric, of_logits=metric)
    top = re.fullmatch("top([1-9][0-9]{0,8})_softmax_sum", str(metric))
    if top:
        return top_sum(int(top[1]))
    names = [*METRICS, "top5_softmax_sum"]
    return METRICS[validate_choice(metric, names, "metric")]


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
    """Convert logits to a type that compiled loops accept, without a change of value.

    Floats of two bytes, float16 and bfloat16, become float32.
    """
    if logits.dtype in (np.float32, np.float64) or logits.dtype.kind in "iu":
        return logits
    return logits.astype(np.float32 if logits.dtype.itemsize < 4 else np.float64)


def sums(logits: Array, temperature: float = 1.0) -> Sums:
    """Return the :class:`Sums` of logits (k, n_classes) ÷ temperature."""
    from .kernels import sums_of_rows  # late, since this imports numba

    logits = np.asarray(logits)  # indexing a memmap is slow
    k, classes = logits.shape
    of_block = sums_of_rows if classes <= MAX_CLASSES_OF_LOOP else sums_of_block

    def block(rows: slice) -> Array:
        return of_block(as_compiled(logits[rows]), temperature)[0]

    parts = map_blocks(k, max(64, BLOCK_ELEMENTS // classes), block)
    return Sums(*np.concatenate(parts, axis=1))


def predict_rows(logits: Array, metric: Metric, temperature: float = 1.0) -> tuple[Array, Array]:
    """Return the best class, int64 (N,), and the confidence, float64 (N,), of each row.

    `logits` are the finite logits (N, n_classes) of one model. If logits are equal, the lower class
    is the best.
    """
    from .kernels import sums_of_rows

    if metric.of_sums is None:
        return logits.argmax(axis=1), metric.from_logits(logits, temperature)
    out, best = sums_of_rows(as_compiled(logits), float(temperature))
    return best, metric.of_sums(Sums(*out))
