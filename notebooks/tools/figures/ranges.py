"""Measures of fronts at the paper's accuracies.

An accuracy of the paper ("above 86%") becomes a share of a range. The range goes from the cheapest
to the best single model on the front. A run is measured at that share of its range. On the paper's
models that is the paper's accuracy.
"""

from typing import Any

import numpy as np
from scipy.stats import trim_mean

LOW = 0.59856  # top-1 of the cheapest model on the paper's front in MACs
BEST = 0.88602  # top-1 of the best model
CHEAPEST = 2.575e7  # MACs of the cheapest model
MOST_EXPENSIVE = 3.622e11  # MACs of the best model
RESNET = 4.111e9  # MACs of the ResNet-50 of section 4.1
MIDDLE = (LOW + BEST) / 2
UPPER = LOW + 0.75 * (BEST - LOW)  # the upper limit of figure 10's range begins here


def range_of(front: Any) -> tuple[float, float]:
    """Return the accuracies of the cheapest and of the best single model on the front."""
    return float(front.baseline.accuracy[front.baseline.front[0]]), front.baseline.best


def accuracy_at(front: Any, accuracy: float) -> float:
    """Return the accuracy at the share of a front's range that one of the paper's accuracies has in
    the paper's range."""
    low, best = range_of(front)
    return low + (accuracy - LOW) / (BEST - LOW) * (best - low)


def mean_in(front: Any, low: float | None = None, high: float | None = None) -> float:
    """Return the mean improvement between two of the paper's accuracies (default: the full range).

    The result is nan if the front has a single model.
    """
    start, best = range_of(front)
    if not start < best:
        return np.nan
    ends = [end if end is None else accuracy_at(front, end) for end in (low, high)]
    return front.mean_improvement(*ends)


def ratio(above: float, below: float) -> float:
    """Return a ratio of factors, nan if a front does not reach the range of the second."""
    return above / below if below else np.nan


def factors(front: Any) -> np.ndarray:
    """Return the improvement at evenly spaced accuracies, nan if the front has a single model."""
    start, best = range_of(front)
    if not start < best:
        return np.array([np.nan])
    return front.improvement_curve()["improvement"].to_numpy()


def lead_across(front: Any, other: Any) -> tuple[float, float]:
    """Return by how much the factors of a front exceed another's, and at which share of the
    accuracies.

    Both fronts have the same baseline. The first number is the mean of the central half of the
    differences. It can be positive although the front leads at fewer than half of the accuracies.
    The second number depends on the order of nearly equal factors, which is noise. A claim on most
    of the front needs both. Equal factors are half a lead.
    """
    differences = factors(front) - factors(other)
    share = np.mean(np.sign(differences) + 1) / 2
    return trim_mean(differences, 0.25), share
