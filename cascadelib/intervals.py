"""Intervals in closed form: an accuracy, the difference of two accuracies on the same samples or on others.

For anything that is not a share of samples (costs, improvement factors, fronts) see :mod:`cascadelib.bootstrap`.
"""

import numpy as np
from scipy.stats import binomtest, norm


def _counted(correct, name):
    """correct as bool [k], or ValueError: these intervals count samples."""
    correct = np.asarray(correct)
    if correct.ndim != 1 or not correct.size:
        raise ValueError(f"{name} must be [samples] with at least one, not {correct.shape}")
    if correct.dtype != bool and not np.isin(correct, (0, 1)).all():
        raise ValueError(f"{name} must be bool: these intervals count samples; for graded scores use the bootstrap")
    return correct.astype(bool)


def share_interval(correct, level=0.95):
    """(low, high) of the share of true entries of bool [k]: an accuracy, an exit rate (Wilson, 1927; by scipy)."""
    correct = _counted(correct, "correct")
    found = binomtest(int(correct.sum()), len(correct)).proportion_ci(level, "wilson")
    return float(found.low), float(found.high)


def paired_difference_interval(first, second, level=0.95):
    """(low, high) of accuracy(second) − accuracy(first) on the same samples: bool [k] each, paired by row.

    Wald's interval of the discordant pairs with half a sample added to each of the four cells (Agresti and Min,
    2005), which covers as promised where few samples or none are discordant.
    """
    first, second = _counted(first, "first"), _counted(second, "second")
    if len(first) != len(second):
        raise ValueError(f"first has {len(first)} samples, second {len(second)}: a paired interval needs the same")
    k = len(first) + 2
    gained, lost = np.count_nonzero(second & ~first) + 0.5, np.count_nonzero(first & ~second) + 0.5
    difference = (gained - lost) / k
    half = norm.isf((1 - level) / 2) * np.sqrt((gained + lost) / k - difference**2) / np.sqrt(k)
    return float(max(-1, difference - half)), float(min(1, difference + half))


def difference_interval(first, second, level=0.95):
    """(low, high) of accuracy(second) − accuracy(first) on different samples: bool [k1] and bool [k2].

    From the two Wilson intervals (Newcombe, 1998, *Interval estimation for the difference between independent
    proportions*, method 10).
    """
    first, second = _counted(first, "first"), _counted(second, "second")
    (low_1, high_1), (low_2, high_2) = share_interval(first, level), share_interval(second, level)
    a, b = first.mean(), second.mean()
    return float(b - a - np.hypot(b - low_2, high_1 - a)), float(b - a + np.hypot(high_2 - b, a - low_1))
