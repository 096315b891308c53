"""How far confidences are from accuracies: expected calibration error, its bins, and the Brier score."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .confidence import CHUNK, softmax
from .names import known

BINNINGS = ("equal_width", "equal_mass")


def checked(confidence, correct):
    """(confidence, correct) as float64 [k], or ValueError: other shapes, no sample, a confidence outside [0, 1]."""
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if confidence.ndim != 1 or confidence.shape != correct.shape or not len(confidence):
        raise ValueError(f"confidence {confidence.shape} and correct {correct.shape} must be [samples], at least one")
    outside = np.flatnonzero(~((confidence >= -1e-9) & (confidence <= 1 + 1e-9)))
    if len(outside):
        row = outside[0]
        raise ValueError(
            f"confidence {confidence[row]} of sample {row} is outside [0, 1]: calibration is defined "
            "for max softmax and other probabilities"
        )
    return confidence, correct


def bin_numbers(confidence, bins=15, binning="equal_width"):
    """Bin of each confidence in [0, 1]: int64 [k] in 0 … bins − 1.

    equal_width: ((i / bins), (i + 1) / bins], the first with 0, the last with exactly 1.0. equal_mass: by rank, about
    k / bins samples each; equal confidences share their mean rank, so that they are never parted.
    """
    if known(binning, BINNINGS, "binning") == "equal_width":
        edges = np.linspace(0, 1, bins + 1)
        return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return np.minimum(((rankdata(confidence) - 0.5) / len(confidence) * bins).astype(np.int64), bins - 1)


def calibration_bins(confidence, correct, bins=15, binning="equal_width"):
    """A row a bin that holds samples: confidence and accuracy (means), samples (how many)."""
    confidence, correct = checked(confidence, correct)
    table = pd.DataFrame({"bin": bin_numbers(confidence, bins, binning), "confidence": confidence, "accuracy": correct})
    grouped = table.groupby("bin")
    return grouped.mean().assign(samples=grouped.size())


def expected_calibration_error(confidence, correct, bins=15, binning="equal_width"):
    """Mean of |accuracy − confidence| over bins, weighted by their samples (Naeini et al., 2015; Guo et al., 2017).

    confidence float [k] in [0, 1], correct bool [k]. A confidence of exactly 1.0 counts in the last bin.
    """
    table = calibration_bins(confidence, correct, bins, binning)
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["samples"]))


def brier_score(logits, labels, temperature=1.0):
    """Mean of Σ_c (p_c − [c is the label])² over samples, in [0, 2] (Brier, 1950), at p = softmax(logits / T)."""
    total = 0.0
    for start in range(0, len(logits), CHUNK):
        p = softmax(logits[start : start + CHUNK], temperature)
        right = p[np.arange(len(p)), labels[start : start + CHUNK]]
        total += np.sum(p**2) - 2 * right.sum() + len(p)
    return float(total / len(logits))
