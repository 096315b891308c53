"""Thresholds: their units, where they lie between confidences, and who leaves at one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .confidence_metrics import metric_of

WORDS = {
    "always": -np.inf,
    "never": np.inf,
}  # when a stage exits, as inside thresholds (higher = surer)


def leaves(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """Whether samples leave, bool [k]: confidence ≥ threshold; at −inf (always) all do but nan, at inf (never) none,
    not even those of infinite confidence."""
    return (confidence >= threshold) & (threshold < np.inf)


def midway(exits: Any, passes: Any) -> Any:
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


def threshold_for(falling: np.ndarray, count: Any) -> Any:
    """Thresholds at which ``count`` (int, or [E]; none parts equal ones) of the falling confidences [k] exit."""
    padded = np.concatenate([[np.nan], falling, [np.nan]])
    return midway(padded[count], padded[np.add(count, 1)])


def own_units(metric: str | Callable | None, values: Any) -> Any:
    """Inside values to the metric's own units or back; metric None: of a ScoreTable, whose own units they are."""
    return np.asarray(values) if metric is None else metric_of(metric).own(values)
