"""Fronts, methods and calibrations as the notebooks show them."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from cascadelib import LogitStore, Method, Point, bootstrap, confidence, search
from cascadelib.analysis import (
    claims_of,
    front_on,
    mean_cost_ratio,
    resampled_cost_ratio,
)
from cascadelib.analysis.uncertainty import sample_counts
from cascadelib.evaluation.run import evaluate
from cascadelib.methods.confidence_metrics import METRICS, sums
from cascadelib.methods.method import cached_temperature
from cascadelib.methods.temperature import bounds_of, find_root
from cascadelib.methods.thresholds import sort_exits

METRICS_OF_MEANS = ("max_softmax", "softmax_margin")
"""Metrics for mean ensembles in the table of temperature scaling."""
METRICS_OF_OTHERS = (*METRICS_OF_MEANS, "entropy", "logits_margin")
ENSEMBLES = ("none", "most_confident", "mean_logits", "mean_softmax")
RESAMPLES = 20 if os.environ.get("CASCADELIB_QUICK") else 300


def scaling_table(store: Any, other: Any) -> pd.DataFrame:
    """Test whether temperature scaling changes a front, a row per metric and ensemble.

    Fronts of Pareto models, with and without, are selected (and temperatures fitted) on one split.
    They are evaluated on the other, point by point. Columns: cost_ratio, with ÷ without
    (:func:`cascadelib.analysis.mean_cost_ratio`), and its standard error, that of the logarithm in
    the bootstrap.
    """
    kinds = []
    for ensemble in ENSEMBLES:
        metrics = METRICS_OF_MEANS if ensemble.startswith("mean") else METRICS_OF_OTHERS
        kinds += [(metric, ensemble) for metric in metrics]
    counts = sample_counts(len(other), RESAMPLES)
    rows = {}
    for kind in kinds:
        methods = [Method(*kind, is_scaled) for is_scaled in (False, True)]
        fronts = [search(store, 2, method, cost="macs", models="pareto") for method in methods]
        ratio = mean_cost_ratio(*(front_on(other, front, ranges=False) for front in fronts))
        drawn = [bootstrap(other, front, counts) for front in fronts]
        error = ratio * np.log(resampled_cost_ratio(*drawn)).std(ddof=1)
        rows[", ".join(kind)] = {"cost_ratio": ratio, "error": error}
    return pd.DataFrame.from_dict(rows, orient="index")


def above_below(confidence: Array, correct: Array) -> pd.DataFrame:
    """Return the accuracy of the samples above and below each threshold (paper, figure 14).

    confidence float [k], any metric. correct [k], bool or an assumed probability. The DataFrame has
    a row for each threshold that separates samples of different confidence, rising in exit_rate. A
    sample exits if its confidence ≥ the threshold. Columns: threshold (the least confidence that
    exits), exit_rate, accuracy_above, accuracy_below (nan if no sample is left).
    """
    confidence = np.asarray(confidence, np.float64)
    correct = np.asarray(correct, np.float64)
    k = len(confidence)
    order, ends = sort_exits(confidence)
    exits = ends[1:]
    correct_so_far = np.cumsum(correct[order])
    inside = correct_so_far[exits - 1]
    columns = {"threshold": confidence[order[exits - 1]], "exit_rate": exits / k}
    columns["accuracy_above"] = inside / exits
    with np.errstate(invalid="ignore"):
        columns["accuracy_below"] = (correct_so_far[-1] - inside) / (k - exits)
    return pd.DataFrame(columns)


def ideal_above_below(accuracy: float) -> pd.DataFrame:
    """Return figure 14's ideal for this accuracy: a threshold separates correct from wrong
    answers."""
    rate = np.linspace(1 / 201, 1, 201)
    columns = {"exit_rate": rate, "accuracy_above": np.minimum(1, accuracy / rate)}
    with np.errstate(invalid="ignore"):
        columns["accuracy_below"] = np.maximum(accuracy - rate, 0) / (1 - rate)
    return pd.DataFrame(columns)


def excess_confidence(log_t: float, logits: Array, correct: Array) -> tuple[float, float]:
    """Return the mean max softmax minus the mean of ``correct``, and its derivative in log T."""
    parts = sums(logits, np.exp(log_t))
    confidence = METRICS["max_softmax"].of_sums(parts)
    slope = np.mean(parts.weighted * confidence**2)
    return float(np.mean(confidence) - np.mean(correct)), float(slope)


def perfect_temperature(logits: Array, correct: Array, name: str) -> float:
    """Return the temperature, between :func:`bounds_of` logits, at which mean max softmax is the
    accuracy, the mean of correct [k].

    Paper, appendix E and figure 14, *assumed perfect calibration*. The mean max softmax falls as T
    grows, so there is at most one. A model that is never wrong, or hardly better than chance, has
    none. The result is then T = 1, with a RuntimeWarning.
    """
    low, high = bounds_of(logits)
    root = find_root(excess_confidence, logits, correct, low, high)
    if root in (low, high):
        text = (
            f"temperature of model {name!r} left at 1: no mean max softmax equals its accuracy of "
            f"{np.mean(correct):.4f}"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return 1.0
    return float(np.exp(root))


def assumed(store: LogitStore, name: str) -> Array:
    """Return max softmax [k] of a model at its :func:`perfect_temperature`."""
    logits = store.logits(name)
    return confidence(logits, temperature=perfect_temperature(logits, store.ranks(name) == 0, name))


def threshold_curves(
    store: LogitStore, name: str, fitted_on: LogitStore
) -> dict[str, pd.DataFrame]:
    """Return figure 14 of one model, {label: :func:`above_below`}, with the temperature of
    ``fitted_on``."""
    correct = store.ranks(name) == 0
    perfect = assumed(store, name)
    at = {"uncalibrated": 1.0, "temperature scaled": cached_temperature(fitted_on, name)}
    curves = {}
    for label, temperature in at.items():
        claim = claims_of(store, name, temperature)
        curves[label] = above_below(*claim)
    curves["assumed perfect calibration"] = above_below(perfect, perfect)
    return curves | {"ideal": ideal_above_below(correct.mean())}


def threshold_table(store: LogitStore, fitted_on: LogitStore) -> pd.DataFrame:
    """Summarize figure 14, a row per model, cheapest first.

    The columns are the difference in accuracy above (and below) a threshold from the uncalibrated
    one. It is taken at the same early exit rate, as a signed mean over the rates. above_scaled,
    below_scaled: with temperature scaling. above_perfect, below_perfect: with perfect calibration.
    above_scaled_size: the mean size of the difference above a threshold with temperature scaling.
    """
    kinds = {"scaled": "temperature scaled", "perfect": "assumed perfect calibration"}
    rows = {}
    for name in store.models.index:
        curves = threshold_curves(store, name, fitted_on)
        row = {}
        for kind, label in kinds.items():
            for side in ("above", "below"):
                change = _at_rates(curves[label], side) - _at_rates(curves["uncalibrated"], side)
                row[f"{side}_{kind}"] = change.mean()
                if (side, kind) == ("above", "scaled"):
                    row["above_scaled_size"] = np.abs(change).mean()
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _at_rates(curve: pd.DataFrame, side: str) -> Array:
    """Return accuracy above (or below) the threshold at 199 evenly spaced exit rates: float64
    [199]."""
    rates = np.arange(1, 200) / 200
    is_defined = curve["accuracy_below"].notna().to_numpy()
    columns = (curve[name].to_numpy()[is_defined] for name in ("exit_rate", f"accuracy_{side}"))
    return np.interp(rates, *columns)


def on_both_splits(store: Any, held_out: Any, points: Sequence[Point]) -> pd.DataFrame:
    """Return Table 1 as numbers, a row per point on its selection split and, unchanged, on another.

    Columns: models, thresholds, accuracy, cost, saving and improvement, also with the suffix
    ``_held_out``.
    """
    rows = []
    runs = zip(evaluate(store, points), evaluate(held_out, points))
    for point, (here, there) in zip(points, runs):
        row = {"models": point.models, "thresholds": point.thresholds}
        for column in ("accuracy", "cost", "saving", "improvement"):
            row |= {column: getattr(here, column), f"{column}_held_out": getattr(there, column)}
        rows.append(row)
    return pd.DataFrame(rows)
