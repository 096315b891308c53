"""Detect confidences that differ from those of the selection split, such as 93 for 0.93."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy import ndarray as Array

from .confidence_metrics import metric_of

ROUNDING = 1e-3  # by which a sum of rounded probabilities may leave [0, 1]
LEVEL = 1e-9  # probability with which the median of unchanged confidences is refused, per batch


def impossible(values: Array, metric: str | Callable | None) -> Array:
    """Return which values a metric cannot have, bool [k]. Infinite values are possible.

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
    """Return whether samples suffice to test if a median is outside a range.

    Both samples have the same distribution. The median of ``here`` values must be outside the range
    of ``seen`` values with a probability of at most ``level``. It is above the range if the upper
    half of ``here``, h values, are the h largest of all. The probability of this is
    C(here, h) / C(seen + here, h).
    """
    upper = np.arange((here + 1) // 2)
    log_probability = np.sum(np.log(here - upper) - np.log(seen + here - upper))
    return bool(here and seen) and log_probability <= np.log(level / 2)


def median_outside(values: Array, least: float, most: float, seen: int) -> bool:
    """Return whether the median of the finite values is significantly outside a range.

    least, most: range of ``seen`` other values. Single values outside it are normal.

    Examples
    --------
    >>> median_outside(np.array([93.0, 71.0] * 20), 0.21, 0.99, seen=300)
    True
    """
    finite = values[np.isfinite(values)]
    return has_power(seen, len(finite)) and not least <= np.median(finite) <= most
