"""Detect confidences that differ from those of the selection split, such as 93 for 0.93."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy import ndarray as Array

from .confidence_metrics import metric_of

ROUNDING = 1e-3  # largest distance of a sum of rounded probabilities from [0, 1]
LEVEL = 1e-9  # probability that a batch of unchanged confidences is refused


def impossible(values: Array, metric: str | Callable | None) -> Array:
    """Return whether each value is outside the metric's range, bool (k,). ±inf is never outside.

    Examples
    --------
    >>> impossible(np.array([0.93, 93.0]), "max_softmax")
    array([False,  True])
    """
    least, most = (-np.inf, np.inf) if metric is None else metric_of(metric).bounds
    outside = (values < least - ROUNDING) | (values > most + ROUNDING)
    return outside & np.isfinite(values)


@lru_cache(maxsize=4096)
def has_power(seen: int, here: int, level: float = LEVEL) -> bool:
    """Return whether there are enough values to test if their median is outside a range.

    The range is that of `seen` earlier values, and the median is that of `here` new values. If all
    are draws from the same distribution, the test must fail with a probability of at most `level`.
    The median is above the range only if the h values of the upper half of the new ones are the h
    largest of all. The probability of this is C(here, h) / C(seen + here, h).
    """
    upper = np.arange((here + 1) // 2)
    log_probability = np.sum(np.log(here - upper) - np.log(seen + here - upper))
    return bool(here and seen) and log_probability <= np.log(level / 2)


def median_outside(values: Array, least: float, most: float, seen: int) -> bool:
    """Return whether the median of the finite values is significantly outside a range.

    The range, from `least` to `most`, is that of `seen` earlier values. A few values outside it are
    normal, but the median must be inside.

    Examples
    --------
    >>> median_outside(np.array([93.0, 71.0] * 20), 0.21, 0.99, seen=300)
    True
    """
    finite = values[np.isfinite(values)]
    return has_power(seen, len(finite)) and not least <= np.median(finite) <= most
