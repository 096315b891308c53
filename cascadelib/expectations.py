"""What a cascade is expected to do: accuracy, cost, exit rates and confidences on one split, with intervals."""

import numpy as np

from .bootstrap import bootstrap, interval
from .confidence import own_units
from .evaluation import mean_cost, quality
from .f1 import F1
from .fixed_cascades import run_cascades, stage_confidences
from .intervals import LEVEL, betting_interval, cost_interval, share_interval

SHARES = np.linspace(0, 1, 51)  # of the samples that reach a stage: where quantiles of its confidence are kept


def expected(point, store):
    """{"accuracy", "cost", "exit_rates", "confidences"} of a cascade's point on a store, as plain numbers.

    accuracy (F1 under that score), cost and each exit rate: {"value", "low", "high"}, a 95% interval over the draw of
    the samples for a cascade that was not chosen on them: Wilson's, :func:`cost_interval`, and exact ones.
    confidences: for each stage, of the samples that reach it, what :func:`summary` keeps of their confidences in the
    metric's own units.
    """
    _, exits, correct, costs = next(run_cascades(store, [point]))
    return {
        "accuracy": f1_with_interval(point, store, correct) if point.score == F1 else with_interval(correct),
        "cost": described(mean_cost(costs, exits), cost_interval(exits, costs)),
        "exit_rates": [with_interval(exits == i, "exact") for i in range(len(costs))],
        "confidences": [summary(own_units(point.metric, sure)) for sure in stage_confidences(store, point)],
    }


def described(value, ends):
    """A number and the two ends of its interval as {"value", "low", "high"}."""
    return {"value": float(value), "low": float(ends[0]), "high": float(ends[1])}


def with_interval(values, kind="wilson"):
    """Mean of one value a sample [k], with its 95% interval: of a share (bool; kind: see :func:`share_interval`), or of
    graded scores in [0, 1], by :func:`betting_interval`."""
    share = np.asarray(values).dtype == bool
    return described(np.mean(values), share_interval(values, LEVEL, kind) if share else betting_interval(values, 0, 1))


def f1_with_interval(point, store, correct):
    """F1 of a point's outcomes bool [k] on a store as {"value", "low", "high"}: percentiles of 500 resamples."""
    return described(quality(store, correct, F1), interval(bootstrap(store, point, 500).accuracy[:, 0], LEVEL))


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
