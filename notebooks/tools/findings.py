"""Compute the findings in the titles of figures.

Each function returns one short sentence about the data of a figure.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cascadelib.tables import in_words

Tables = Mapping[str, pd.DataFrame]


def titled(finding: str, title: str) -> str:
    """Return a title of two lines: the finding, and a description of the figure."""
    return f"{finding}\n{title}"


def describe_factors(means: Mapping[str, float]) -> str:
    """Name the largest mean improvement factors of {label: mean}, and the least one."""
    known = pd.Series(dict(means), dtype=float).dropna().sort_values(ascending=False)
    if known.empty:
        return "No range of accuracies is shared"
    texts = [f"{in_words(label)} {mean:.2f}" for label, mean in known.items()]
    if len(texts) > 3:
        texts = [*texts[:2], f"…, {texts[-1]}"]
    return f"Single models cost more by these mean factors: {', '.join(texts)}"


def describe_curves(curves: Tables) -> str:
    """Name the improvement curve with the largest mean, of curves over one range."""
    return describe_factors({label: curve["improvement"].mean() for label, curve in curves.items()})


def describe_pairs(pairs: pd.DataFrame) -> str:
    """Compare the gains of pairs with the differences of their accuracies."""
    ranks = pairs[["mean_improvement", "accuracy_difference"]].rank()
    correlation = ranks["mean_improvement"].corr(ranks["accuracy_difference"])
    if np.isnan(correlation):
        return "There are too few pairs for a trend"
    kind = "similar" if correlation < 0 else "different"
    trend = f"rank correlation with the difference {correlation:+.2f}"
    return f"Pairs of {kind} accuracy gain most ({trend})"


def describe_panels(panels: Mapping[str, Tables]) -> str:
    """Count the splits on which a front's mean factor is above 1, and name the least. The first
    curve of a panel is the selection split."""
    means = {}
    for panel, curves in panels.items():
        for label, curve in list(curves.items())[1:]:
            means[f"{panel}, {label}"] = curve["improvement"].mean()
    values = pd.Series(means, dtype=float)
    return (
        f"The mean factor stays above 1 on {(values > 1).sum()} of {len(values)} other splits, and "
        f"is {values.min():.2f} on {values.idxmin()}"
    )


def describe_segments(moved: pd.DataFrame, own: pd.DataFrame) -> str:
    """Compare the highest accuracy of a replayed front with that of the split's front."""
    reached = moved["accuracy_replayed"].max()
    best = own["accuracy"].max()
    return f"Replayed cascades reach {reached:.1%}, a search on this split {best:.1%}"


def describe_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the mean improvement factors of the first front of each task."""
    means = {}
    for label, fronts in tasks.items():
        front = next(iter(fronts.values()))
        if len(front.baseline.front) > 1:
            means[label] = f"{front.mean_improvement():.2f} ({label})"
    return f"Mean factor of pairs: {', '.join(means.values())}"


def describe_thresholds(curves: Mapping[str, Tables]) -> str:
    """Return the largest mean change of accuracy above a threshold by temperature scaling."""
    rates = np.arange(1, 200) / 200
    changes = []
    for lines in curves.values():
        plain, scaled = (
            np.interp(rates, lines[label]["exit_rate"], lines[label]["accuracy_above"])
            for label in ("uncalibrated", "temperature scaled")
        )
        changes.append(np.abs(scaled - plain).mean())
    return (
        "Temperature scaling changes the accuracy above a threshold by at most "
        f"{100 * max(changes):.2f} points"
    )


def describe_reliability(averages: Tables) -> str:
    """Count the models whose mean confidence is below their accuracy."""
    below = sum(t["confidence"].mean() < t["accuracy"].mean() for t in averages.values())
    return f"{below} of {len(averages)} models are less confident than accurate"


def describe_verdicts(counts: pd.DataFrame) -> str:
    """Count the claims by verdict, from a table of verdicts by notebook."""
    totals = counts["all"]
    testable = totals.drop(index=[name for name in totals.index if name.startswith("not ")]).sum()
    return (
        f"{totals.get('supported', 0)} of {testable} testable claims hold, "
        f"{totals.get('contradicted', 0)} are contradicted, {totals.get('undetermined', 0)} are "
        "undetermined"
    )
