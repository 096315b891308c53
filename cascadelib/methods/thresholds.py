"""Thresholds: their units, where they lie between confidences, and which samples leave at one. This
file alone says how samples of equal confidence leave: together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .confidence_metrics import metric_of

# When a stage exits, as inside thresholds (higher = more confident).
WORDS = {"always": -np.inf, "never": np.inf}
LARGEST = np.finfo(np.float64).max


def leaves(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Whether samples leave, bool [k]: confidence ≥ threshold; at −inf (always) all do but nan, at
    inf (never) none, not even those of infinite confidence."""
    return (confidence >= threshold) & (threshold < np.inf)


def exit_stages(confidences: Sequence[np.ndarray], thresholds: Any) -> np.ndarray:
    """Stage at which each sample leaves (paper, algorithm 1): the first that it :func:`leaves`, else
    the last.

    confidences: of n stages, or of all but the last, arrays [k] (higher = more confident);
    thresholds: n − 1, inf: never, whatever the confidence. Returns int64 [k] in 0 … n − 1.
    """
    stages = np.full(len(confidences[0]), len(thresholds), np.int64)
    for stage in reversed(range(len(thresholds))):
        stages[leaves(confidences[stage], thresholds[stage])] = stage
    return stages


def reaching(confidences: Sequence[np.ndarray], thresholds: Any) -> list[np.ndarray]:
    """Of confidences [k] after each of n stages, those of the samples that reach the stage: n
    arrays; thresholds: n − 1."""
    stages = exit_stages(confidences, thresholds)
    return [values[stages >= stage] for stage, values in enumerate(confidences)]


def exits_of(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(order int64 [k]: samples by falling confidence; :func:`ends_of` them)."""
    order = np.argsort(-confidence)
    return order, ends_of(confidence[order])


def ends_of(falling: np.ndarray) -> np.ndarray:
    """How many samples of falling confidences [k] leave at each threshold, ties together: int64 [E],
    from 0 to k. The largest of all floats ties with inf: no finite threshold parts them."""
    parted = (falling[1:] != falling[:-1]) & (falling[1:] < LARGEST)
    return np.concatenate([[0], np.flatnonzero(parted) + 1, [len(falling)]])


def exiting(falling: np.ndarray, threshold: float) -> int:
    """How many of the falling confidences [k] leave at a threshold."""
    if threshold == np.inf:
        return 0
    return len(falling) - int(np.searchsorted(falling[::-1], threshold, side="left"))


def between_ties(falling: np.ndarray, count: Any) -> Any:
    """The number of exits nearest to ``count``, or to each of several, that parts no equal ones of
    the falling confidences [k]."""
    counts = ends_of(falling)
    return counts[np.searchsorted((counts[1:] + counts[:-1]) / 2, count, side="right")]


def next_exits(falling: np.ndarray, count: int, step: int) -> int:
    """The next achievable number of exits above (step 1) or below (step −1) the achievable
    ``count``, of the falling confidences [k]."""
    counts = ends_of(falling)
    position = np.searchsorted(counts, count) + step
    return int(counts[np.clip(position, 0, len(counts) - 1)])


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


def threshold_for(falling: np.ndarray, count: Any) -> Any:
    """Thresholds at which ``count`` (int, or [E]; none parts equal ones) of the falling confidences
    [k] exit."""
    padded = np.concatenate([[np.nan], falling, [np.nan]])
    return midway(padded[count], padded[np.add(count, 1)])


def threshold_above(rising: np.ndarray, count: int) -> float:
    """The threshold that passes on the ``count`` lowest of the rising confidences [k], and of those
    that tie with the next one none: inf (never) where that are all. It is finite elsewhere, so that
    infinite confidences exit."""
    return min(rising[count], LARGEST) if count < len(rising) else np.inf


def passing_edges(edges: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """At how many of the falling edges [E] each sample of confidence [k] passes on, int [k]; at
    one of inf (never) even infinite confidences do."""
    passing = len(edges) - np.searchsorted(edges[::-1], confidence, side="right")
    return np.maximum(passing, np.count_nonzero(edges == np.inf))


def sum_passed_on(slots: list[np.ndarray], sizes: list[int], weights: np.ndarray) -> np.ndarray:
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
    """Inside values to the metric's own units or back; metric None: of a ScoreTable, whose own units
    they are."""
    return np.asarray(values) if metric is None else metric_of(metric).own(values)
