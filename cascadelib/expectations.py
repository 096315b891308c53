"""What a cascade is expected to do: accuracy, cost, exit rates and confidences on one split, with intervals."""

import numpy as np
from scipy.stats import norm

from .bootstrap import bootstrap, interval
from .confidence import own_units
from .evaluation import quality
from .f1 import F1
from .fixed_cascades import run_cascades, stage_confidences
from .intervals import share_interval

LEVEL = 0.95
SHARES = np.linspace(0, 1, 51)  # of the samples that reach a stage: where quantiles of its confidence are kept


def expected(point, store):
    """{"accuracy", "cost", "exit_rates", "confidences"} of a cascade's point on a store, as plain numbers.

    accuracy (F1 under that score), cost and each exit rate: {"value", "low", "high"}, see :func:`with_interval`.
    confidences: for each stage, of the samples that reach it, what :func:`summary` keeps of their confidences in the
    metric's own units.
    """
    _, exits, correct, costs = next(run_cascades(store, [point]))
    return {
        "accuracy": f1_with_interval(point, store, correct) if point.score == F1 else with_interval(correct),
        "cost": with_interval(sum(cost * (exits >= i) for i, cost in enumerate(costs))),
        "exit_rates": [with_interval(exits == i) for i in range(len(costs))],
        "confidences": [summary(own_units(point.metric, sure)) for sure in stage_confidences(store, point)],
    }


def with_interval(values):
    """Mean of one value a sample [k] as {"value", "low", "high"}: a 95% interval over the draw of the samples.

    Wilson's for bool; the normal approximation, mean ± 1.96 s / √k, for costs and graded scores.
    """
    values = np.asarray(values)
    mean = float(np.mean(values))
    if values.dtype == bool:
        low, high = share_interval(values, LEVEL)
    else:
        margin = norm.ppf(0.5 + LEVEL / 2) * np.std(values) / np.sqrt(len(values))
        low, high = float(mean - margin), float(mean + margin)
    return {"value": mean, "low": low, "high": high}


def f1_with_interval(point, store, correct):
    """F1 of a point's outcomes bool [k] on a store as {"value", "low", "high"}: percentiles of 500 resamples."""
    low, high = interval(bootstrap(store, point, 500).accuracy[:, 0], LEVEL)
    return {"value": quality(store, correct, F1), "low": float(low), "high": float(high)}


def summary(values):
    """A sample of numbers in short: {"values", "counts"}, at most 51 of its quantiles (numbers that occur in it) and
    how many of the sample lie at or below each and above the one before."""
    if not len(values):
        return {"values": [], "counts": []}
    edges = np.unique(np.quantile(values, SHARES, method="inverted_cdf"))
    below = np.searchsorted(np.sort(values), edges, side="right")
    return {"values": edges.tolist(), "counts": np.diff(below, prepend=0).tolist()}


def rounded_up(values, edges):
    """Each value as the first of the rising ``edges`` that is no smaller; infinite above the last."""
    return np.append(edges, np.inf)[np.searchsorted(edges, values, side="left")]
