"""Evidence for the paper's claims from figures that timm published of the paper's models.

These figures decide all claims on single models, in MACs and in time (figures 1 and 5).
"""

from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Baseline, published
from tools.claims.evidence import RESAMPLES, Evidence, EvidenceByClaim, correlations
from tools.claims.published_models import singles
from tools.claims.shift import spread_of

THIRD_POINT = (0.8732, 14.39e9)  # of Table 1: accuracy and cost
IMAGES = 50_000  # of ImageNet's validation set
IMAGES_V2 = 10_000
CHANGED_IN_TIME = {
    "time-families": ("levit", "convnext"),
    "macs-families": ("efficientnet", "tinynet"),
}


def evidence() -> EvidenceByClaim:
    """Return the evidence on fronts, on the baseline at the paper's accuracies, and on ImageNetV2.

    Compared accuracies have binomial draws, independent from model to model. Their intervals are
    wider than those on shared images.
    """
    table = published.models()
    in_macs = singles(table)
    in_time = singles(table, "seconds")
    macs, time = (rows[rows["on_front"]] for rows in (in_macs, in_time))
    found = counted(in_macs, in_time) | singles_in_time(in_macs, in_time)
    for name, families in CHANGED_IN_TIME.items():
        added = []
        for family in families:
            counts = [rows.index.str.contains(family).sum() for rows in (time, macs)]
            added.append(counts[0] - counts[1])
        found[name] = Evidence(added)
    return found | of_front(macs) | with_binomial_draws(macs, table)


def of_front(macs: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence without an interval that follows from the front in MACs."""
    cost = macs["cost"]
    accuracy = macs["accuracy"]
    baseline = Baseline(cost, accuracy)
    top1, cost_there = THIRD_POINT
    at_78 = float(baseline.cost_at(0.78))
    at, first, last = np.log([at_78, *cost.iloc[[0, -1]]])
    values = {
        "pairs-most": float(baseline.cost_at(top1)) / cost_there,
        "low-range": [
            (0.78 - accuracy.iloc[0]) / np.ptp(accuracy),
            (at - first) / (last - first),
        ],
    }
    return {name: Evidence(value) for name, value in values.items()}


def with_binomial_draws(macs: pd.DataFrame, table: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence on accuracies of the front's models, with binomial draws."""
    rng = np.random.default_rng(0)
    drawn = []  # of each kind of accuracy: as published, then drawn, float64 [1 + R, M]
    for column, images in (("top1", IMAGES), ("top5", IMAGES), ("imagenetv2_top1", IMAGES_V2)):
        accuracy = table.loc[macs.index, column].to_numpy()
        draws = rng.binomial(images, accuracy, (RESAMPLES, len(accuracy))) / images
        drawn.append(np.vstack([accuracy, draws]))
    top1, top5, moved = drawn
    gains = [size_diminishes(macs["cost"], row) for row in top1]
    lost = top1 - moved
    spans = [np.ptp(part, axis=1) for part in (top1, top5)]
    values = {
        "size-diminishes": np.array(gains),
        "topk-difference": np.column_stack(spans),
        "shift-range": spread_of(moved) - spread_of(top1),
        "shift-lose": lost,
    }
    found = {}
    for name, (value, *draws) in values.items():
        found[name] = Evidence(value, draws, IMAGES_V2)
    span = np.ptp(moved[0]) - np.ptp(top1[0])  # two figures of one table, compared as printed
    return found | {
        "shift-drops": Evidence([lost[0].min(), lost[0].max()]),
        "shift-span": Evidence(span),
    }


def counted(in_macs: pd.DataFrame, in_time: pd.DataFrame) -> EvidenceByClaim:
    """Count the models on fronts. The tables have the columns cost and on_front."""
    macs, time = (rows.index[rows["on_front"]] for rows in (in_macs, in_time))
    found = {
        "candidates": len(in_macs),
        "front-models": len(macs),
        "time-front-models": len(time),
        "models": len(macs.union(time)),
    }
    return {name: Evidence(value) for name, value in found.items()}


def singles_in_time(in_macs: pd.DataFrame, in_time: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence on single models in time, from tables with cost and on_front."""
    costs = pd.DataFrame({"macs": in_macs["cost"], "time": in_time["cost"]}).dropna()
    fronts = [table[table["on_front"]] for table in (in_macs, in_time)]
    spans = [float(np.ptp(np.log10(rows["cost"]))) for rows in fronts]
    correlation = costs["macs"].corr(costs["time"], "spearman")
    return {
        "macs-time": correlations(correlation, len(costs), len(costs)),
        "time-orders": Evidence(spans),
    }


def size_diminishes(cost: Any, accuracy: Any) -> tuple[float, float]:
    """Return the gains of accuracy along the lower and the upper half of a front's log costs."""
    logs = np.log10(cost)
    middle = (logs.iloc[0] + logs.iloc[-1]) / 2
    half = np.interp(middle, logs, accuracy)
    return half - accuracy[0], accuracy[-1] - half
