"""The calibration of a store's models: a table of all, figure 14's curves of one, cascades of assumed perfection.

Temperatures come from one store and are applied to another (or to the same, as the paper does, which flatters them).
"""

import numpy as np
import pandas as pd
from scipy.stats import norm

from .calibration import perfect_temperature
from .calibration_error import brier_score, expected_calibration_error
from .curves import pair_curve
from .methods import kept_confidence, kept_temperature
from .reliability import above_below, ideal_above_below
from .scores import ScoreTable

VERDICTS = ("underconfident", "neither", "overconfident")


def confidence_gap(confidence, correct, level=0.95):
    """Mean confidence − accuracy (positive: overconfident) and the ends of its normal interval, paired by sample."""
    excess = np.asarray(confidence, np.float64) - correct
    half = norm.isf((1 - level) / 2) * excess.std() / np.sqrt(len(excess))
    return float(excess.mean()), float(excess.mean() - half), float(excess.mean() + half)


def calibration_table(store, fitted_on, bins=15):
    """Max softmax of every model of a LogitStore, a row a model, cheapest first.

    accuracy; confidence (mean); gap (confidence − accuracy) with its 95% interval, and the verdict that it allows; ece
    and ece_equal_mass in so many bins, brier; temperature, fitted on the store ``fitted_on``, and with it gap_scaled,
    ece_scaled, ece_equal_mass_scaled and brier_scaled here.
    """
    rows = {}
    for name in store.models.index:
        right, temperature = store.ranks(name) == 0, kept_temperature(fitted_on, name)
        sure = kept_confidence(store, name, "max_softmax", 1.0)
        gap, low, high = confidence_gap(sure, right)
        row = {"accuracy": right.mean(), "confidence": sure.mean(), "gap": gap, "gap_low": low, "gap_high": high}
        row |= {"verdict": VERDICTS[1 + int(low > 0) - int(high < 0)], "temperature": temperature}
        for suffix, t in (("", 1.0), ("_scaled", temperature)):
            sure = kept_confidence(store, name, "max_softmax", t)
            row[f"gap{suffix}"] = sure.mean() - right.mean()
            row[f"ece{suffix}"] = expected_calibration_error(sure, right, bins)
            row[f"ece_equal_mass{suffix}"] = expected_calibration_error(sure, right, bins, "equal_mass")
            row[f"brier{suffix}"] = brier_score(store.logits(name), store.labels, t)
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def threshold_curves(store, name, fitted_on):
    """Figure 14 of one model: {label: accuracy above and below each threshold}, see :func:`above_below`.

    Labels: uncalibrated, temperature scaled (fitted on ``fitted_on``), ideal, and assumed perfect calibration.
    """
    right = store.ranks(name) == 0
    perfect = kept_confidence(store, name, "max_softmax", perfect_temperature(store.logits(name), right.mean(), name))
    return {
        "uncalibrated": above_below(kept_confidence(store, name, "max_softmax", 1.0), right),
        "temperature scaled": above_below(
            kept_confidence(store, name, "max_softmax", kept_temperature(fitted_on, name)), right
        ),
        "assumed perfect calibration": above_below(perfect, perfect),
        "ideal": ideal_above_below(right.mean()),
    }


def assumed_perfect(store, cost="macs"):
    """A ScoreTable in which every answer is right with the probability that its max softmax claims.

    Each model's temperature makes its mean max softmax equal its accuracy (see :func:`perfect_temperature`), so single
    models keep their accuracies; what changes is which answers count as right. Search it, or draw its pair curves, to
    see the cascades that perfect calibration would promise.
    """
    names, sure = list(store.models.index), []
    for name in names:
        temperature = perfect_temperature(store.logits(name), float(np.mean(store.ranks(name) == 0)), name)
        sure.append(kept_confidence(store, name, "max_softmax", temperature))
    return ScoreTable(np.stack(sure), np.stack(sure), store.costs(cost), names, store.origin)


def predicted_pair(store, first, second, cost="macs"):
    """A pair at every exit rate: exit_rate, cost, accuracy, and accuracy_predicted by assumed perfect calibration."""
    real = pair_curve(store, first, second, cost=cost)
    promised = pair_curve(assumed_perfect(store.select([first, second]), cost), first, second)
    predicted = np.interp(real["exit_rate"], promised["exit_rate"], promised["accuracy"])
    return real[["exit_rate", "cost", "accuracy"]].assign(accuracy_predicted=predicted)
