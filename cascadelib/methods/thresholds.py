"""Apply thresholds: which samples exit, thresholds between two confidences, and units."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .confidence_metrics import metric_of

# Words for infinite thresholds. They are internal thresholds: a higher value is more confident.
WORDS = {"always": -np.inf, "never": np.inf}
LARGEST = np.finfo(np.float64).max


def does_exit(confidence: Array, threshold: float) -> Array:
    """Return whether each sample exits, bool [k]: whether its confidence is ≥ threshold.

    At −inf ("always"), all samples exit except those with confidence nan. At inf ("never"), none
    exits, not even samples with confidence inf.
    """
    return confidence >= (threshold if threshold < np.inf else np.nan)


def exit_stages(confidences: Sequence[Array], thresholds: Any) -> Array:
    """Return the stage at which each sample exits (paper, algorithm 1), int64 [k] in 0 … n − 1.

    confidences: arrays [k] of the n stages, or of all but the last (higher = more confident).
    thresholds: n − 1 numbers. Samples that exit at none of them reach the last stage.
    """
    stages = np.full(len(confidences[0]), len(thresholds), np.int64)
    for stage in reversed(range(len(thresholds))):
        stages[does_exit(confidences[stage], thresholds[stage])] = stage
    return stages


def sort_exits(confidence: Array) -> tuple[Array, Array]:
    """Return (samples by falling confidence, their :func:`exit_counts`), int64 [k] and [E]."""
    order = np.argsort(-confidence)
    return order, exit_counts(confidence[order])


def exit_counts(falling: Array) -> Array:
    """Return all possible numbers of exiting samples, int64 [E], from 0 to k.

    falling: confidences [k], the largest first. Samples of equal confidence exit together. The
    largest float counts as equal to inf, since no finite threshold separates the two.
    """
    separable = (falling[1:] != falling[:-1]) & (falling[1:] < LARGEST)
    return np.concatenate([[0], np.flatnonzero(separable) + 1, [len(falling)]])


def count_exiting(falling: Array, threshold: float) -> int:
    """Count the samples of falling confidences [k] that exit at a threshold."""
    if threshold == np.inf:
        return 0
    return len(falling) - int(np.searchsorted(falling[::-1], threshold, side="left"))


def nearest_exit_count(falling: Array, count: Any) -> Any:
    """Return the possible number of exiting samples (:func:`exit_counts`) nearest to each count."""
    counts = exit_counts(falling)
    return counts[np.searchsorted((counts[1:] + counts[:-1]) / 2, count, side="right")]


def midway(exits: Any, passes: Any) -> Any:
    """Return thresholds midway between the least exiting and the largest deferred confidence.

    ``exits`` is the least confidence that exits. It is nan if no sample exits, and the threshold is
    then inf ("never"). ``passes`` is the largest confidence that is deferred. It is nan if no
    sample is deferred, and the threshold is then −inf ("always"). All other thresholds are finite.
    If the midpoint rounds to ``passes``, the threshold is ``exits``, or the next float above
    ``passes`` if ``exits`` is inf.
    """
    exits = np.asarray(exits, np.float64)
    passes = np.asarray(passes, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        middle = passes + (exits - passes) / 2
        middle = np.where(np.isfinite(middle), middle, passes / 2 + exits / 2)
        middle = np.where(middle > passes, middle, exits)
        middle = np.where(np.isposinf(exits), np.nextafter(passes, np.inf), middle)
    return np.where(np.isnan(passes), -np.inf, np.where(np.isnan(exits), np.inf, middle))[()]


def threshold_for(falling: Array, count: Any) -> Any:
    """Return the thresholds at which ``count`` samples of the falling confidences [k] exit.

    count: one or several of the :func:`exit_counts`, int or int array.
    """
    padded = np.concatenate([[np.nan], falling, [np.nan]])
    return midway(padded[count], padded[np.add(count, 1)])


def convert_units(metric: str | Callable | None, values: Any) -> Any:
    """Convert internal confidences to the metric's native units, or back.

    metric: None for a ScoreTable. Its confidences are internal ones already.
    """
    return np.asarray(values) if metric is None else metric_of(metric).convert(values)
