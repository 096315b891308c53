"""Methods side by side (paper, figures 3, 8, 9 and 11): mean improvement, range dominance, top accuracy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.pareto import least_cost
from ..fronts.exact import search
from ..fronts.front import Front
from .shift import mean_improvement_moved


def fronts_of(
    store: Any, methods: Sequence[str] | dict, n_models: int | tuple[int, ...] = 2, **options
) -> dict[str, Front]:
    """{label: Front}: one search a method. methods: names of METHODS, or {label: method}; options as for `search`."""
    methods = methods if isinstance(methods, dict) else {name: name for name in methods}
    return {label: search(store, n_models, method, **options) for label, method in methods.items()}


def range_dominance(fronts: dict[str, Front]) -> pd.DataFrame:
    """Share of the accuracy range, and of the log-cost range, in which each front is the best; ties are shared equally.

    Ranges are those of the single-model front; steps are compared exactly, between all their breakpoints (paper,
    section 4.1). Returns a DataFrame, a row a label: accuracy_dominance, cost_dominance.
    """
    curves = [(f.table["cost"].to_numpy(), f.table["accuracy"].to_numpy()) for f in fronts.values()]
    baseline = next(iter(fronts.values())).baseline
    ends = baseline.front[[0, -1]]
    columns = {}
    for column, axis in (("accuracy_dominance", 1), ("cost_dominance", 0)):
        low, high = (baseline.accuracy if axis else baseline.cost)[ends]
        breaks = np.concatenate([curve[axis] for curve in curves])
        x = np.unique(np.concatenate([[low, high], breaks[(breaks > low) & (breaks < high)]]))
        if axis:  # the least cost at accuracy ≥ a is constant on (x0, x1]
            scores, widths = np.stack([-least_cost(*curve, x[1:]) for curve in curves]), np.diff(x)
        else:  # the highest accuracy at cost ≤ c is constant on [x0, x1)
            reached = [
                np.append(-np.inf, accuracy)[np.searchsorted(cost, x[:-1], "right")] for cost, accuracy in curves
            ]
            scores, widths = np.stack(reached), np.diff(np.log(x))
        best = (scores == scores.max(axis=0)) & np.isfinite(scores)
        columns[column] = (best / np.maximum(best.sum(axis=0), 1) * widths).sum(axis=1) / widths.sum()
    return pd.DataFrame(columns, index=pd.Index(fronts, name="method"))


def curves_of(fronts: dict[str, Front], low: float | None = None) -> dict[str, pd.DataFrame]:
    """{label: improvement_curve} of {label: Front}, from the accuracy ``low`` on."""
    return {label: front.improvement_curve(low) for label, front in fronts.items()}


def compare(fronts: dict[str, Front], lows: Sequence[float] = (), held_out: Any = None, ranges=True) -> pd.DataFrame:
    """A row a method, best mean improvement first: mean_improvement, the same above each accuracy of ``lows`` (up to
    the best single model), accuracy_dominance, cost_dominance, top_accuracy; held_out_improvement, that of the
    identical cascades on the split ``held_out`` (ranges: see :func:`mean_improvement_moved`)."""
    table = pd.DataFrame({"mean_improvement": {label: f.mean_improvement() for label, f in fronts.items()}})
    for low in lows:
        table[f"improvement above {low:.1%}"] = {label: f.mean_improvement(low) for label, f in fronts.items()}
    table = table.join(range_dominance(fronts))
    table["top_accuracy"] = {label: f.table["accuracy"].iloc[-1] for label, f in fronts.items()}
    if held_out is not None:
        moved = {label: mean_improvement_moved(held_out, f, ranges=ranges) for label, f in fronts.items()}
        table.insert(0, "held_out_improvement", moved)
    return table.rename_axis("method").sort_values("mean_improvement", ascending=False)
