"""Draw fronts from tables, with costs on a log axis and accuracies as per cent."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from . import style

Tables = dict[str, pd.DataFrame]


def singles_figure(
    singles: pd.DataFrame,
    cost: str = "macs",
    title: str = "Single models (faint: dominated)",
    named: Iterable[str] = (),
) -> style.Figure:
    """Draw single models by cost and accuracy.

    Parameters
    ----------
    singles : DataFrame
        ``front.singles``.
    cost : str
        Kind of cost: a key of COSTS, or the title of the axis.
    title : str
    named : iterable of str, optional
        Models whose names are shown. Defaults to the ends of the hull.

    Returns
    -------
    Figure
    """
    fig = style.figure(
        f"{title}\n{style.KEY}",
        xaxis=style.cost_axis(cost, singles["cost"]),
        yaxis=style.per_cent_axis(title="accuracy"),
        showlegend=False,
    )
    style.add_singles(fig, singles)
    hull = singles[singles["on_hull"]]
    shown = singles.loc[list(named) or hull.index[[0, -1]]]
    marker = {"size": 9, "color": style.BLACK}
    style.add_models(fig, shown, mode="markers", marker=marker, showlegend=False)
    for name, (cost_here, accuracy) in shown[["cost", "accuracy"]].iterrows():
        # No model is cheaper and more accurate, so the place above and left is free.
        place: dict[str, Any] = {"xanchor": "right", "yshift": 14}
        if name == hull.index[0]:
            place = {"xanchor": "left", "xshift": 8, "yshift": -6}
        style.label(fig, cost_here, accuracy, str(name), **place)
    return fig


def front_figure(
    tables: Tables,
    singles: pd.DataFrame,
    cost: str = "macs",
    title: str = "Cascades against single models",
) -> style.Figure:
    """Draw fronts over single models.

    The accuracy axis starts slightly below the cheapest model on the hull.

    Parameters
    ----------
    tables : dict of str to DataFrame
        Label → ``front.table``. Fronts that coincide are drawn once, under all their labels.
    singles : DataFrame
        ``front.singles``.
    cost : str
        Kind of cost: a key of COSTS, or the title of the axis.
    title : str

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        As for :func:`singles_figure`.

    References
    ----------
    Paper, figure 1, top.
    """
    fig = singles_figure(singles, cost).titled(title)
    at = np.unique(np.concatenate([table["accuracy"] for table in tables.values()]))
    costs = {label: least_cost_at(table, at) for label, table in tables.items()}
    for i, (label, name) in enumerate(merge_coinciding(costs).items()):
        style.add_cascades(
            fig,
            tables[label],
            style.colour(i),
            name=name,
            line_shape="hv",
            dash=style.dash(i),
            mode="lines+markers",
            marker={"size": 3},
        )
    low = singles.loc[singles["on_hull"], "accuracy"].iloc[0]
    high = max(singles["accuracy"].max(), at[-1])
    margin = high - low
    return fig.update_yaxes(range=[low - 0.02 * margin, high + 0.03 * margin])


def least_cost_at(table: pd.DataFrame, at: np.ndarray) -> pd.Series:
    """Return the least cost of a front at or above each accuracy in ``at`` [n]."""
    cost = table.groupby("accuracy")["cost"].min()
    return cost[::-1].cummin()[::-1].reindex(at, method="bfill")


def merge_coinciding(curves: dict[str, pd.Series]) -> dict[str, str]:
    """Return a legend name for each curve to draw, with the labels of those that coincide with it.

    Curves over the same index coincide if their values are equal ("=") or differ by at most 2%
    ("≈").
    """
    names: dict[str, str] = {}
    for label, curve in curves.items():
        near = next((first for first in names if are_close(curve, curves[first], 0.02)), None)
        if near is None:
            names[label] = label
        elif are_close(curve, curves[near], 1e-9):
            names[near] += f" = {label}"
        else:
            names[near] += f"\n≈ {label} (within 2%)"
    return names


def are_close(curve: pd.Series, other: pd.Series, share: float) -> bool:
    """Return whether curves over the same index differ by at most a share of the other."""
    return curve.index.equals(other.index) and np.allclose(curve, other, share, 0, equal_nan=True)
