"""Are confidences what they say? Calibration error, gaps and averages.

Figures 13 and 14 of the paper as tables.
"""

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import norm, rankdata

from ..checks import check_count, known
from ..evaluation.intervals import LEVEL, with_ends
from ..methods.confidence_metrics import BLOCK_ROWS, softmax
from ..methods.method import cached_confidence, cached_temperature
from ..store.logit_store import LogitStore

VERDICTS = ("underconfident", "neither", "overconfident")
"""What a model may be, in the order of rising mean confidence − accuracy."""


def checked(confidence: Array, correct: Array) -> tuple[Array, Array]:
    """(confidence, correct) as float64 [k], or ValueError: other shapes, no sample, a confidence
    outside [0, 1]."""
    confidence = np.asarray(confidence, np.float64)
    correct = np.asarray(correct, np.float64)
    if confidence.ndim != 1 or confidence.shape != correct.shape or not len(confidence):
        raise ValueError(
            f"confidence {confidence.shape} and correct {correct.shape} must be [samples], "
            "at least one"
        )
    outside = np.flatnonzero(~((confidence >= -1e-9) & (confidence <= 1 + 1e-9)))
    if len(outside):
        row = outside[0]
        raise ValueError(
            f"confidence {confidence[row]} of sample {row} is outside [0, 1]: not a probability"
        )
    return confidence, correct


def bin_numbers(confidence: Array, bins: int = 15, binning: str = "equal_width") -> Array:
    """Bin of each confidence in [0, 1]: int64 [k] in 0 … bins − 1.

    equal_width: ((i / bins), (i + 1) / bins], the first with 0, the last with exactly 1.0.
    equal_mass: by rank, about k / bins samples each; equal confidences share their mean rank, so
    that they are never parted.
    """
    if known(binning, ("equal_width", "equal_mass"), "binning") == "equal_width":
        return np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    shares = (rankdata(confidence) - 0.5) / len(confidence)
    return np.minimum((shares * bins).astype(np.int64), bins - 1)


def calibration_bins(
    confidence: Array, correct: Array, bins: int = 15, binning: str = "equal_width"
) -> pd.DataFrame:
    """Mean confidence and accuracy in bins of confidence.

    Parameters
    ----------
    confidence : float array of shape (k,)
        In [0, 1].
    correct : bool array of shape (k,)
    bins : int
    binning : str
        "equal_width", or "equal_mass": bins of about as many samples each.

    Returns
    -------
    DataFrame
        A row per bin that holds samples: confidence and accuracy (means), samples (how many).

    Raises
    ------
    ValueError
        For other shapes, no sample, a confidence outside of [0, 1] and an unknown binning.
    """
    confidence, correct = checked(confidence, correct)
    table = pd.DataFrame(
        {
            "bin": bin_numbers(confidence, bins, binning),
            "confidence": confidence,
            "accuracy": correct,
        }
    )
    grouped = table.groupby("bin")
    return grouped.mean().assign(samples=grouped.size())


def expected_calibration_error(
    confidence: Array, correct: Array, bins: int = 15, binning: str = "equal_width"
) -> float:
    """Mean of |accuracy − confidence| over :func:`calibration_bins`, weighted by their samples.

    Parameters
    ----------
    confidence, correct, bins, binning
        As for :func:`calibration_bins`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As :func:`calibration_bins`.

    References
    ----------
    Naeini et al., 2015; Guo et al., 2017.
    """
    table = calibration_bins(confidence, correct, bins, binning)
    errors = (table["accuracy"] - table["confidence"]).abs()
    return float(np.average(errors, weights=table["samples"]))


def ideal_calibration_error(
    confidence: Array, bins: int = 15, binning: str = "equal_width"
) -> float:
    """Mean :func:`expected_calibration_error` of a model that is correct as often as it claims.

    The mean |accuracy − confidence| of a bin is √(2 v / π), at most 2 v, where v = Σ p (1 − p) of
    its samples (normal approximation; the bound holds where v is small).

    Parameters
    ----------
    confidence, bins, binning
        As for :func:`calibration_bins`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As :func:`calibration_bins`.
    """
    confidence, _ = checked(confidence, confidence)
    v = np.bincount(bin_numbers(confidence, bins, binning), confidence * (1 - confidence))
    return float(np.minimum(np.sqrt(2 * np.maximum(v, 0) / np.pi), 2 * v).sum() / len(confidence))


def brier_score(logits: Array, labels: Array, temperature: float = 1.0) -> float:
    """Mean of Σ_c (p_c − [c is the label])² over samples, at p = softmax(logits / T).

    Parameters
    ----------
    logits : float array of shape (k, classes)
    labels : int array of shape (k,)
    temperature : float
        T.

    Returns
    -------
    float
        In [0, 2].

    References
    ----------
    Brier, 1950.
    """
    total = 0.0
    for start in range(0, len(logits), BLOCK_ROWS):
        p = softmax(logits[start : start + BLOCK_ROWS], temperature)
        of_label = p[np.arange(len(p)), labels[start : start + BLOCK_ROWS]]
        total += np.sum(p**2) - 2 * of_label.sum() + len(p)
    return float(total / len(logits))


def moving_average(confidence: Array, correct: Array, window: int | None = None) -> pd.DataFrame:
    """Reliability without bins: means over neighbouring samples in the order of their confidence.

    Parameters
    ----------
    confidence, correct
        As for :func:`calibration_bins`.
    window : int, optional
        Over how many samples; k / 50 by default, as the paper's 1,000 of 50,000.

    Returns
    -------
    DataFrame
        A row for each of the k − window + 1 windows: position (of its middle, as a share of the
        samples), confidence, accuracy.

    Raises
    ------
    ValueError
        For a window of more than k samples, and as :func:`calibration_bins`.

    References
    ----------
    Lebovitz et al., TMLR 2023, figure 13.
    """
    confidence, correct = checked(confidence, correct)
    k = len(confidence)
    window = check_count(max(1, k // 50) if window is None else window, "window", 1, k)
    table = pd.DataFrame({"confidence": confidence, "accuracy": correct}).sort_values("confidence")
    # whatever the order of equal ones
    table["accuracy"] = table.groupby("confidence")["accuracy"].transform("mean")
    means = table.rolling(window).mean().iloc[window - 1 :].reset_index(drop=True)
    means.insert(0, "position", (np.arange(k - window + 1) + window / 2) / k)
    return means


def confidence_gap(confidence: Array, correct: Array) -> tuple[float, float, float]:
    """Mean confidence − accuracy (positive: overconfident), with its interval.

    Parameters
    ----------
    confidence : float array of shape (k,)
    correct : bool array of shape (k,)

    Returns
    -------
    tuple of float
        (gap, low, high); the interval is normal, of 95%, paired by sample.
    """
    excess = np.asarray(confidence, np.float64) - correct
    half = norm.isf((1 - LEVEL) / 2) * excess.std() / np.sqrt(len(excess))
    return float(excess.mean()), float(excess.mean() - half), float(excess.mean() + half)


def claims_of(store: LogitStore, name: str, temperature: float = 1.0) -> tuple[Array, Array]:
    """What a model claims, and whether it is correct.

    Parameters
    ----------
    store : LogitStore
        Labelled, of k samples.
    name : str
        The model.
    temperature : float

    Returns
    -------
    (float64 array of shape (k,), bool array of shape (k,))
        Max softmax at the temperature, and whether each answer is correct.
    """
    return cached_confidence(store, name, "max_softmax", temperature), store.ranks(name) == 0


def verdict_of(low: float, high: float) -> str:
    """The verdict that an interval of the mean confidence − accuracy allows."""
    underconfident, neither, overconfident = VERDICTS
    if low > 0:
        return overconfident
    return underconfident if high < 0 else neither


def calibration_table(store: LogitStore, fitted_on: LogitStore, bins: int = 15) -> pd.DataFrame:
    """Calibration of the max softmax of every model of a LogitStore.

    Parameters
    ----------
    store : LogitStore
        Labelled.
    fitted_on : LogitStore
        On which temperatures are fitted.
    bins : int
        Of calibration errors.

    Returns
    -------
    DataFrame
        A row per model, cheapest first: accuracy; confidence (mean); gap (confidence − accuracy)
        with its 95% interval, and the verdict that it allows; ece and ece_equal_mass, each beside
        its …_null (:func:`ideal_calibration_error`); brier; temperature; and with that
        (…_scaled) gap and all errors on ``store``.

    References
    ----------
    Lebovitz et al., TMLR 2023, figures 13 and 14.
    """
    rows = {}
    for name in store.models.index:
        confidence, correct = claims_of(store, name)
        temperature = cached_temperature(fitted_on, name)
        gap, *ends = confidence_gap(confidence, correct)
        row = {"accuracy": correct.mean(), "confidence": confidence.mean()}
        row |= with_ends(gap, ends, "gap")
        row["verdict"] = verdict_of(*ends)
        row["temperature"] = temperature
        for suffix, t in (("", 1.0), ("_scaled", temperature)):
            confidence, _ = claims_of(store, name, t)
            row[f"gap{suffix}"] = confidence.mean() - correct.mean()
            for error, binning in (("ece", "equal_width"), ("ece_equal_mass", "equal_mass")):
                found = expected_calibration_error(confidence, correct, bins, binning)
                row[f"{error}{suffix}"] = found
                row[f"{error}_null{suffix}"] = ideal_calibration_error(confidence, bins, binning)
            row[f"brier{suffix}"] = brier_score(store.logits(name), store.origin.required_labels, t)
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
