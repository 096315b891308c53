"""Thresholds: their units, where they lie between confidences, and which samples leave at one:
those of equal confidence together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .confidence_metrics import metric_of

# When a stage exits, as inside thresholds (higher = more confident).
WORDS = {"always": -np.inf, "never": np.inf}
LARGEST = np.finfo(np.float64).max


def leaves(confidence: Array, threshold: float) -> Array:
    """Whether samples leave, bool [k]: confidence ≥ threshold; at −inf (always) all do but nan, at
    inf (never) none, not even those of infinite confidence."""
    return confidence >= (threshold if threshold < np.inf else np.nan)


def exit_stages(confidences: Sequence[Array], thresholds: Any) -> Array:
    """Stage at which each sample leaves (paper, algorithm 1): the first that it :func:`leaves`,
    else the last.

    confidences: of n stages, or of all but the last, arrays [k] (higher = more confident);
    thresholds: n − 1, inf: never, whatever the confidence. Returns int64 [k] in 0 … n − 1.
    """
    stages = np.full(len(confidences[0]), len(thresholds), np.int64)
    for stage in reversed(range(len(thresholds))):
        stages[leaves(confidences[stage], thresholds[stage])] = stage
    return stages


def exits_of(confidence: Array) -> tuple[Array, Array]:
    """(order int64 [k]: samples by falling confidence; :func:`ends_of` them)."""
    order = np.argsort(-confidence)
    return order, ends_of(confidence[order])


def ends_of(falling: Array) -> Array:
    """How many samples of falling confidences [k] leave at each threshold, ties together: int64
    [E], from 0 to k. The largest of all floats ties with inf: no finite threshold parts them."""
    parted = (falling[1:] != falling[:-1]) & (falling[1:] < LARGEST)
    return np.concatenate([[0], np.flatnonzero(parted) + 1, [len(falling)]])


def exiting(falling: Array, threshold: float) -> int:
    """How many of the falling confidences [k] leave at a threshold."""
    if threshold == np.inf:
        return 0
    return len(falling) - int(np.searchsorted(falling[::-1], threshold, side="left"))


def between_ties(falling: Array, count: Any) -> Any:
    """The number of exits nearest to ``count``, or to each of several, that parts no equal ones of
    the falling confidences [k]."""
    counts = ends_of(falling)
    return counts[np.searchsorted((counts[1:] + counts[:-1]) / 2, count, side="right")]


def midway(exits: Any, passes: Any) -> Any:
    """Thresholds midway between the least confidence that exits and the largest that passes on
    (exits > passes).

    ``exits`` itself where the midpoint rounds to ``passes``, and above −inf; below inf the next
    float above ``passes``. Only the two ends are infinite: inf (never) where none exits, −inf
    (always) where none passes on, both told by nan.
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
    """Thresholds at which ``count`` (int, or [E]; none parts equal ones) of the falling confidences
    [k] exit."""
    padded = np.concatenate([[np.nan], falling, [np.nan]])
    return midway(padded[count], padded[np.add(count, 1)])


def sum_passed_on(slots: list[Array], sizes: list[int], weights: Array) -> Array:
    """Sum of the weights [k] of the samples that pass on at all stages of ``slots``, at every
    combination of edges.

    slots: an int [k] per stage, at how many of its edges each sample passes on. Axes of later
    stages have length 1, so that the result spreads over ``sizes``.
    """
    shape = [n + 1 for n in sizes[: len(slots)]]
    cells = np.ravel_multi_index(slots, shape) if slots else np.zeros(len(weights), np.int64)
    table = np.flip(np.bincount(cells, weights, minlength=int(np.prod(shape))).reshape(shape))
    for axis in range(len(shape)):
        table = table.cumsum(axis)
    passed = np.flip(table[(slice(-1),) * len(shape)])
    return passed.reshape(passed.shape + (1,) * (len(sizes) - len(slots)))


def own_units(metric: str | Callable | None, values: Any) -> Any:
    """Inside values to the metric's own units or back; metric None: of a ScoreTable, whose own
    units they are."""
    return np.asarray(values) if metric is None else metric_of(metric).own(values)
