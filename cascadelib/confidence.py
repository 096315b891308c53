"""Confidence metrics (paper, section 3): one number a sample, higher = surer, computed in float64.

``max_softmax`` (eq. 1), ``softmax_margin`` (Park et al., 2015), ``logits_margin`` (Streeter, 2018), ``entropy``
(eq. 2; negated inside, so that higher is surer, and shown in its own units by :func:`own_units`) and
``top<k>_softmax_sum`` (appendix B), e.g. ``top5_softmax_sum``. A callable that takes an array [k, classes] of
logits (of mean softmax under that ensemble) and returns float [k], higher = surer, is a metric too.
"""

import re

import numpy as np

from .blocks import over_blocks
from .logit_arrays import log_of
from .names import known

CHUNK = 4096
ELEMENTS = 2**18  # of a block in float64: what a core's cache holds


def softmax(logits, temperature=1.0):
    """Softmax over the last axis of logits / temperature, float64 (paper, eq. 1 and 3)."""
    z = np.asarray(logits, np.float64) / temperature
    z = np.exp(z - z.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def largest(values, count):
    """The ``count`` largest values of each row, unsorted but for the largest ones of two: [k, count]."""
    count = min(count, values.shape[1])
    return np.partition(values, -count, axis=1)[:, -count:]


def margin(values):
    """Largest minus second largest of each row of [k, classes]; with one class, the largest itself."""
    if values.shape[1] == 1:
        return values[:, 0].copy()
    top = largest(values, 2)
    return top[:, 1] - top[:, 0]


def negative_entropy(p):
    """Sum of p log p of each row (0 log 0 = 0): minus the Shannon entropy in nats (paper, eq. 2)."""
    return np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1)


SOFTMAX_METRICS = {"max_softmax": lambda p: p.max(axis=1), "softmax_margin": margin, "entropy": negative_entropy}
METRICS = (*SOFTMAX_METRICS, "logits_margin")  # in the order of of_block


def metric_of_probabilities(metric):
    """The function p [k, classes] → confidence [k] behind the name of a metric based on softmax."""
    top = re.fullmatch(r"top(\d+)_softmax_sum", str(metric))
    if top and int(top[1]) > 0:
        return lambda p: np.sort(largest(p, int(top[1])), axis=1).sum(axis=1)
    return SOFTMAX_METRICS[known(metric, [*METRICS, "top5_softmax_sum"], "metric")]


def confidence_of_softmax(p, metric):
    """Confidence of each row of probabilities p [k, classes], the mean softmax of several models: float64 [k]."""
    return (metric if callable(metric) else metric_of_probabilities(metric))(p)


def check_metric(metric):
    """Raise ValueError, naming the nearest metrics, unless ``metric`` is one or is callable."""
    if not callable(metric) and metric != "logits_margin":
        metric_of_probabilities(metric)


def confidence(logits, metric="max_softmax", temperature=1.0):
    """Confidence of each row of logits [k, classes] (softmax at ``temperature``): float64 [k], higher = surer."""
    check_metric(metric)
    if metric in METRICS:
        return confidences(logits, temperature)[metric]
    of_rows = metric if callable(metric) else metric_of_probabilities(metric)
    parts = []
    for start in range(0, len(logits), CHUNK):
        z = np.asarray(logits[start : start + CHUNK], np.float64) / temperature
        parts.append(np.asarray(of_rows(z if callable(metric) else softmax(z)), np.float64))
    return np.concatenate(parts)


def confidences(logits, temperature=1.0):
    """All of METRICS from one walk over logits [k, classes], on all cores: {metric: float64 [k]}."""
    k, classes = logits.shape
    out = {metric: np.empty(k) for metric in METRICS}

    def block(rows):
        for metric, values in zip(METRICS, of_block(logits[rows], temperature)):
            out[metric][rows] = values

    over_blocks(k, max(64, ELEMENTS // classes), block)
    return out


def confidence_of_probabilities(p, metric):
    """Confidence of each row of probabilities [k, classes] that are a model's own output: float64 [k].

    All but the margin of logits and a user's own metric, which take logarithms, are read from p itself: rows that are
    equal there have equal confidence, as they would have in any other table of p.
    """
    own = callable(metric) or metric == "logits_margin"

    def block(rows):
        values = np.asarray(p[rows], np.float64)
        return confidence(log_of(values), metric) if own else confidence_of_softmax(values, metric)

    return np.concatenate(over_blocks(len(p), max(64, ELEMENTS // p.shape[1]), block))


def of_block(logits, temperature):
    """Max softmax, softmax margin, negative entropy and logits margin of a block of rows.

    With z shifted so that the largest is 0 and r the sum of exp(z) over the other classes: max softmax is 1 / (1 + r),
    and log(1 + r) keeps entropies apart where 1 / (1 + r) rounds to 1.
    """
    z = np.asarray(logits, np.float64) / temperature
    rows, top = np.arange(len(z)), z.argmax(axis=1)
    largest = z[rows, top]
    z -= largest[:, None]
    e = np.exp(z)
    weighted = np.einsum("ij,ij->i", e, z)
    e[rows, top], z[rows, top] = 0.0, -np.inf
    rest, second = e.sum(axis=1), z.max(axis=1)
    alone = np.isneginf(second)
    margin_of_logits = np.where(alone, largest, -np.where(alone, 0.0, second))
    return 1 / (1 + rest), (1 - np.exp(second)) / (1 + rest), weighted / (1 + rest) - np.log1p(rest), margin_of_logits


def midway(exits, passes):
    """Thresholds midway between the least confidence that exits and the largest that passes on (exits > passes).

    ``exits`` itself where the midpoint rounds to ``passes``, and above −inf; below inf the next float above ``passes``.
    Only the two ends are infinite: inf (never) where none exits, −inf (always) where none passes on, both told by nan.
    """
    exits, passes = np.asarray(exits, np.float64), np.asarray(passes, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        middle = passes + (exits - passes) / 2
        middle = np.where(np.isfinite(middle), middle, passes / 2 + exits / 2)
        middle = np.where(middle > passes, middle, exits)
        middle = np.where(np.isposinf(exits), np.nextafter(passes, np.inf), middle)
    return np.where(np.isnan(passes), -np.inf, np.where(np.isnan(exits), np.inf, middle))[()]


def own_units(metric, values):
    """Inside values to the metric's own units or back: entropy changes its sign, all others stay."""
    return -np.asarray(values) if metric == "entropy" else np.asarray(values)
