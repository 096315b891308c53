"""Compare confidences with accuracy: calibration error, gaps and averages.

Figures 13 and 14 of the paper as tables.
"""

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import norm

from ..checks import check_count
from ..evaluation.intervals import LEVEL, with_ends
from ..methods.method import cached_confidence, cached_temperature
from ..store.logit_store import LogitStore


def check_confidences_and_outcomes(confidence: Array, correct: Array) -> tuple[Array, Array]:
    """Return both arrays as float64 (n_samples,).

    Raises
    ------
    ValueError
        If shapes differ, if there is no sample, or if a confidence is outside [0, 1].
    """
    confidence = np.asarray(confidence, np.float64)
    correct = np.asarray(correct, np.float64)
    if confidence.ndim != 1 or confidence.shape != correct.shape or not len(confidence):
        raise ValueError(
            f"confidence {confidence.shape} and correct {correct.shape} must have one shape "
            "(n_samples,), with at least one sample"
        )
    outside = np.flatnonzero(~((confidence >= -1e-9) & (confidence <= 1 + 1e-9)))
    if len(outside):
        row = outside[0]
        raise ValueError(
            f"confidence {confidence[row]} of sample {row} is outside [0, 1]: not a probability"
        )
    return confidence, correct


def bin_numbers(confidence: Array, bins: int = 15) -> Array:
    """Return the bin of each confidence in [0, 1], int64 (n_samples,) in 0 … bins − 1.

    Bins are (i / bins, (i + 1) / bins], and the first contains 0.
    """
    return np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)


def expected_calibration_error(confidence: Array, correct: Array, bins: int = 15) -> float:
    """Return the mean |accuracy − confidence| of bins of equal width, weighted by samples.

    Parameters
    ----------
    confidence : float array of shape (n_samples,)
        Confidences in [0, 1].
    correct : bool array of shape (n_samples,)
        Whether each answer is correct.
    bins : int, default=15
        Number of bins.

    Returns
    -------
    float
        The expected calibration error.

    Raises
    ------
    ValueError
        If shapes differ, if there is no sample, or if a confidence is outside [0, 1].

    References
    ----------
    .. [1] Naeini et al., 2015. Guo et al., 2017.
    """
    confidence, correct = check_confidences_and_outcomes(confidence, correct)
    excess = np.bincount(bin_numbers(confidence, bins), correct - confidence)
    return float(np.abs(excess).sum() / len(confidence))


def ideal_calibration_error(confidence: Array, bins: int = 15) -> float:
    """Return the mean :func:`expected_calibration_error` of a perfectly calibrated model.

    Parameters
    ----------
    confidence, bins
        As for :func:`expected_calibration_error`.

    Returns
    -------
    float
        The error that chance alone causes.

    Raises
    ------
    ValueError
        As for :func:`expected_calibration_error`.

    Notes
    -----
    For a bin, v = Σ p (1 − p) is the variance of its number of correct answers. The mean absolute
    error of this number is √(2 v / π) in a normal approximation. It is at most 2 v, and this bound
    is used for small v. The result is the sum over bins ÷ the number of samples.
    """
    confidence, _ = check_confidences_and_outcomes(confidence, confidence)
    v = np.bincount(bin_numbers(confidence, bins), confidence * (1 - confidence))
    return float(np.minimum(np.sqrt(2 * np.maximum(v, 0) / np.pi), 2 * v).sum() / len(confidence))


def moving_average(confidence: Array, correct: Array, window: int | None = None) -> pd.DataFrame:
    """Return means over neighbouring samples in the order of their confidence.

    Parameters
    ----------
    confidence, correct
        As for :func:`expected_calibration_error`.
    window : int, optional
        Number of samples per mean. Defaults to n_samples / 50. The paper uses 1,000 of 50,000.

    Returns
    -------
    DataFrame
        One row per window: position (of its middle, as a share of the samples), confidence and
        accuracy.

    Raises
    ------
    ValueError
        If the window is larger than the number of samples, or as for
        :func:`expected_calibration_error`.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, figure 13.
    """
    confidence, correct = check_confidences_and_outcomes(confidence, correct)
    k = len(confidence)
    window = check_count(max(1, k // 50) if window is None else window, "window", 1, k)
    table = pd.DataFrame({"confidence": confidence, "accuracy": correct}).sort_values("confidence")
    # The result must not depend on the order of samples with equal confidences.
    table["accuracy"] = table.groupby("confidence")["accuracy"].transform("mean")
    means = table.rolling(window).mean().iloc[window - 1 :].reset_index(drop=True)
    means.insert(0, "position", (np.arange(k - window + 1) + window / 2) / k)
    return means


def confidence_gap(confidence: Array, correct: Array) -> tuple[float, float, float]:
    """Return the mean confidence − accuracy and its 95% interval. Positive means overconfident.

    Parameters
    ----------
    confidence : float array of shape (n_samples,)
        Confidences.
    correct : bool array of shape (n_samples,)
        Whether each answer is correct.

    Returns
    -------
    tuple of float
        (gap, low, high). The interval is normal and paired by sample.
    """
    excess = np.asarray(confidence, np.float64) - correct
    half = norm.isf((1 - LEVEL) / 2) * excess.std() / np.sqrt(len(excess))
    return float(excess.mean()), float(excess.mean() - half), float(excess.mean() + half)


def claims_of(store: LogitStore, name: str, temperature: float = 1.0) -> tuple[Array, Array]:
    """Return the max softmax of a model at a temperature, and whether each answer is correct.

    Parameters
    ----------
    store : LogitStore
        Labelled samples.
    name : str
        Name of the model.
    temperature : float, default=1.0
        Temperature.

    Returns
    -------
    tuple of float64 array and bool array of shape (n_samples,)
        (confidence, correct).
    """
    return cached_confidence(store, name, "max_softmax", temperature), store.ranks(name) == 0


def calibration_table(store: LogitStore, fitted_on: LogitStore, bins: int = 15) -> pd.DataFrame:
    """Return the calibration of the max softmax of all models of a store.

    Parameters
    ----------
    store : LogitStore
        Labelled samples.
    fitted_on : LogitStore
        Samples on which temperatures are fitted.
    bins : int, default=15
        Number of bins of calibration errors.

    Returns
    -------
    DataFrame
        One row per model, cheapest first. The columns are accuracy, confidence (mean), gap
        (confidence − accuracy) with its 95% interval, temperature, and ece and ece_null, the
        results of :func:`expected_calibration_error` and :func:`ideal_calibration_error`. Columns
        …_scaled have the gap and the errors at the fitted temperature.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, figures 13 and 14.
    """
    rows = {}
    for name in store.models.index:
        confidence, correct = claims_of(store, name)
        temperature = cached_temperature(fitted_on, name)
        gap, low, high = confidence_gap(confidence, correct)
        row = {
            "accuracy": correct.mean(),
            "confidence": confidence.mean(),
            **with_ends(gap, (low, high), "gap"),
            "temperature": temperature,
        }
        for suffix, t in (("", 1.0), ("_scaled", temperature)):
            confidence, _ = claims_of(store, name, t)
            row[f"gap{suffix}"] = confidence.mean() - correct.mean()
            row[f"ece{suffix}"] = expected_calibration_error(confidence, correct, bins)
            row[f"ece_null{suffix}"] = ideal_calibration_error(confidence, bins)
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
