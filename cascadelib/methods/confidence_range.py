"""Confidences unlike those that thresholds were chosen on, as 93 for 0.93. Takes numpy only."""

from collections.abc import Callable

import numpy as np
from numpy import ndarray as Array

from .confidence_metrics import metric_of

ROUNDING = 1e-3  # by which sums of rounded probabilities leave [0, 1]
LEVEL = 1e-9  # probability with which the median of sound confidences is refused, in each batch


def impossible(values: Array, metric: str | Callable | None) -> Array:
    """Return which values a metric never has, bool [k]; infinite ones mean always or never.

    Examples
    --------
    >>> impossible(np.array([0.93, 93.0]), "max_softmax")
    array([False,  True])
    """
    least, most = (-np.inf, np.inf) if metric is None else metric_of(metric).bounds
    outside = (values < least - ROUNDING) | (values > most + ROUNDING)
    return outside & np.isfinite(values)


def has_power(seen: int, here: int, level: float = LEVEL) -> bool:
    """Return whether a median of ``here`` values lies outside the range of ``seen`` values of the
    same distribution with a probability of at most ``level``.

    It lies above the range if the upper half of ``here``, h values, are the h largest of all, with
    a probability of C(here, h) / C(seen + here, h).
    """
    upper = np.arange((here + 1) // 2)
    log_probability = np.sum(np.log(here - upper) - np.log(seen + here - upper))
    return bool(here and seen) and log_probability <= np.log(level / 2)


def median_outside(values: Array, least: float, most: float, seen: int) -> bool:
    """Return whether the median of finite values [k] leaves the range of ``seen`` others, which
    chance does not do. Single values outside of it are normal.

    Examples
    --------
    >>> median_outside(np.array([93.0, 71.0] * 20), 0.21, 0.99, seen=300)
    True
    """
    finite = values[np.isfinite(values)]
    return has_power(seen, len(finite)) and not least <= np.median(finite) <= most
