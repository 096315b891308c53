"""Curves of accuracy along confidence (paper, figures 13 and 14): moving averages, and above and below a threshold."""

import numpy as np
import pandas as pd

from .calibration_error import checked


def tied_means(confidence, correct):
    """Samples by rising confidence: (confidence [k], correct [k]), the latter averaged over equal confidences.

    So nothing depends on the order in which the samples came.
    """
    order = np.argsort(confidence, kind="stable")
    sure, group = np.unique(confidence[order], return_inverse=True)
    means = np.bincount(group, weights=correct[order]) / np.bincount(group)
    return sure[group], means[group]


def moving_average(confidence, correct, window=None):
    """Reliability without bins: means over ``window`` neighbouring samples in the order of their confidence.

    Paper, figure 13: window 1,000 of 50,000 samples, so k / 50 by default. Returns a DataFrame, a row for each of the
    k − window + 1 windows: position (of its middle, as a share of the samples), confidence, accuracy. Raises
    ValueError for a window longer than the data.
    """
    confidence, correct = checked(confidence, correct)
    k = len(confidence)
    window = max(1, k // 50) if window is None else window
    if not 1 <= window <= k:
        raise ValueError(f"a window of {window} samples does not fit into the {k} samples there are")
    columns = {}
    for name, values in zip(("confidence", "accuracy"), tied_means(confidence, correct)):
        sums = np.concatenate([[0.0], np.cumsum(values)])
        columns[name] = (sums[window:] - sums[:-window]) / window
    return pd.DataFrame({"position": (np.arange(k - window + 1) + window / 2) / k, **columns})


def above_below(confidence, correct):
    """Accuracy of the samples above and of those below each threshold (paper, figure 14).

    confidence float [k], any metric; correct [k], bool or an assumed probability. Returns a DataFrame, a row for each
    threshold that parts samples of different confidence (exit: confidence ≥ threshold), rising in exit_rate:
    threshold (the least confidence that exits), exit_rate, accuracy_above, accuracy_below (nan where nobody is left).
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    order = np.argsort(-confidence, kind="stable")
    sure, right = confidence[order], np.cumsum(correct[order])
    k, ends = len(sure), np.append(np.flatnonzero(np.diff(sure)), len(sure) - 1)
    exits, inside = ends + 1, right[ends]
    with np.errstate(invalid="ignore"):
        below = (right[-1] - inside) / (k - exits)
    return pd.DataFrame(
        {"threshold": sure[ends], "exit_rate": exits / k, "accuracy_above": inside / exits, "accuracy_below": below}
    )


def ideal_above_below(accuracy, points=201):
    """Figure 14's ideal for a model of this accuracy: some threshold parts all right answers from all wrong ones."""
    rate = np.linspace(1 / points, 1, points)
    with np.errstate(invalid="ignore"):
        below = np.maximum(accuracy - rate, 0) / (1 - rate)
    return pd.DataFrame({"exit_rate": rate, "accuracy_above": np.minimum(1, accuracy / rate), "accuracy_below": below})
