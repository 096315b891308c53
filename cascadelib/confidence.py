"""Confidence metrics (paper, section 3): one number a sample, higher = surer, computed in float64.

``max_softmax`` (eq. 1), ``softmax_margin`` (Park et al., 2015), ``logits_margin`` (Streeter, 2018), ``entropy``
(eq. 2; negated inside, so that higher is surer, and shown in its own units by :func:`own_units`) and
``top<k>_softmax_sum`` (appendix B), e.g. ``top5_softmax_sum``. A callable that takes an array [k, classes] of
logits (of mean softmax under that ensemble) and returns float [k], higher = surer, is a metric too.
"""

import re

import numpy as np

from .names import known

CHUNK = 4096


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


SOFTMAX_METRICS = {
    "max_softmax": lambda p: p.max(axis=1),
    "softmax_margin": margin,
    "entropy": negative_entropy,
}
METRICS = (*SOFTMAX_METRICS, "logits_margin")


def metric_of_probabilities(metric):
    """The function p [k, classes] → confidence [k] behind the name of a metric based on softmax."""
    top = re.fullmatch(r"top(\d+)_softmax_sum", str(metric))
    if top and int(top[1]) > 0:
        return lambda p: largest(p, int(top[1])).sum(axis=1)
    return SOFTMAX_METRICS[known(metric, [*METRICS, "top5_softmax_sum"], "metric")]


def check_metric(metric):
    """Raise ValueError, naming the nearest metrics, unless ``metric`` is one or is callable."""
    if not callable(metric) and metric != "logits_margin":
        metric_of_probabilities(metric)


def confidence(logits, metric="max_softmax", temperature=1.0):
    """Confidence of each row of logits [k, classes] (softmax at ``temperature``): float64 [k], higher = surer."""
    check_metric(metric)
    parts = []
    for start in range(0, len(logits), CHUNK):
        z = np.asarray(logits[start : start + CHUNK], np.float64)
        if callable(metric):
            parts.append(np.asarray(metric(z / temperature), np.float64))
        elif metric == "logits_margin":
            parts.append(margin(z / temperature))
        else:
            parts.append(metric_of_probabilities(metric)(softmax(z, temperature)))
    return np.concatenate(parts)


def own_units(metric, values):
    """Inside values to the metric's own units or back: entropy changes its sign, all others stay."""
    return -np.asarray(values) if metric == "entropy" else np.asarray(values)
