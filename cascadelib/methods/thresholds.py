"""Decide which samples exit, compute thresholds between confidences, and convert units."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .confidence_metrics import metric_of

# Words for infinite thresholds on confidences (higher = more confident).
WORDS = {"always": -np.inf, "never": np.inf}
LARGEST = np.finfo(np.float64).max


def does_exit(confidence: Array, threshold: float) -> Array:
    """Return whether each sample exits, bool (k,). It exits if its confidence is ≥ threshold.

    At −inf ("always"), all samples exit, except those with confidence nan. At inf ("never"), no
    sample exits, not even one with confidence inf.
    """
    return confidence >= (threshold if threshold < np.inf else np.nan)


def exit_stages(confidences: Sequence[Array], thresholds: Any) -> Array:
    """Return the stage at which each sample exits, int64 (k,), from 0 to n − 1.

    This is algorithm 1 of the paper.

    Parameters
    ----------
    confidences : sequence of float arrays of shape (k,)
        Confidences of the n stages, or of all but the last (higher = more confident).
    thresholds : sequence of float
        n − 1 thresholds. Samples that exit at none of them reach the last stage.
    """
    stages = np.zeros(len(confidences[0]), np.int64)
    defers = np.ones(len(stages), bool)
    for confidence, threshold in zip(confidences, thresholds):
        defers &= ~does_exit(np.asarray(confidence, np.float64), threshold)
        stages += defers
    return stages


def sort_exits(confidence: Array) -> tuple[Array, Array]:
    """Return the samples by falling confidence, int64 (k,), and their :func:`exit_counts`."""
    order = np.argsort(-confidence)
    return order, exit_counts(confidence[order])


def exit_counts(falling: Array) -> Array:
    """Return all possible numbers of exiting samples, rising from 0 to k, int64 (E,).

    `falling` has confidences (k,), the largest first. Samples of equal confidence exit together.
    The largest float counts as equal to inf, since no finite threshold separates the two.
    """
    separable = (falling[1:] != falling[:-1]) & (falling[1:] < LARGEST)
    return np.concatenate([[0], np.flatnonzero(separable) + 1, [len(falling)]])


def count_exiting(falling: Array, threshold: float) -> int:
    """Return the number of samples that exit at a threshold, from their falling confidences."""
    if threshold == np.inf:
        return 0
    return len(falling) - int(np.searchsorted(falling[::-1], threshold, side="left"))


def nearest_exit_count(falling: Array, count: Any) -> Any:
    """Return the :func:`exit_counts` that are nearest to an int or an int array."""
    counts = exit_counts(falling)
    return counts[np.searchsorted((counts[1:] + counts[:-1]) / 2, count, side="right")]


def midway(exiting: Any, deferred: Any) -> Any:
    """Return thresholds midway between the least exiting and the largest deferred confidence.

    If the midpoint rounds to `deferred`, the threshold is `exiting`, or the next float above
    `deferred` if `exiting` is inf.

    Parameters
    ----------
    exiting : float or float array
        Least confidence that exits. If it is nan, no sample exits, and the threshold is inf
        ("never").
    deferred : float or float array
        Largest confidence that is deferred. If it is nan, no sample is deferred, and the threshold
        is −inf ("always").
    """
    exiting = np.asarray(exiting, np.float64)
    deferred = np.asarray(deferred, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        middle = deferred + (exiting - deferred) / 2
        middle = np.where(np.isfinite(middle), middle, deferred / 2 + exiting / 2)
        middle = np.where(middle > deferred, middle, exiting)
        middle = np.where(np.isposinf(exiting), np.nextafter(deferred, np.inf), middle)
    return np.where(np.isnan(deferred), -np.inf, np.where(np.isnan(exiting), np.inf, middle))[()]


def threshold_for(falling: Array, count: Any) -> Any:
    """Return the thresholds at which `count` samples exit, from their falling confidences (k,).

    `count` is one or several of the :func:`exit_counts`, an int or an int array.
    """
    padded = np.concatenate([[np.nan], falling, [np.nan]])
    return midway(padded[count], padded[np.add(count, 1)])


def convert_units(metric: str | Callable | None, values: Any) -> Any:
    """Convert confidences (higher = more confident) to the native units of a metric, or back.

    `metric` is None for a ScoreTable, whose confidences are not converted.
    """
    return np.asarray(values) if metric is None else metric_of(metric).convert(values)
