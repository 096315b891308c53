"""Figures of intervals, each from plain tables."""

import pandas as pd

from . import style


def band_figure(
    curve: pd.DataFrame,
    band: pd.DataFrame,
    title: str = "Improvement factor with its 95% bootstrap band",
    label: str = "front",
) -> style.Figure:
    """An improvement curve (accuracy, improvement) over its band (accuracy, low, high)."""
    fig = style.figure(title, xaxis=style.per_cent_axis(title="accuracy"), yaxis={"title": style.GAIN})
    style.add_interval(fig, band["accuracy"], band["low"], band["high"], "95% band")
    style.add_line(fig, curve["accuracy"], curve["improvement"], style.BLACK, name=label)
    style.add_break_even(fig)
    return fig.update_layout(hovermode="x")


def front_band_figure(
    table: pd.DataFrame,
    ends: pd.DataFrame,
    singles: pd.DataFrame,
    cost: str = "macs",
    title: str = "The front with the 95% intervals of its cascades",
) -> style.Figure:
    """Cascades by cost and accuracy, with the interval of each accuracy. ends: ``point_intervals`` of the same."""
    fig = style.figure(title, xaxis=style.cost_axis(cost), yaxis=style.per_cent_axis(title="accuracy"))
    style.add_singles(fig, singles)
    style.add_interval(fig, table["cost"], ends["accuracy_low"], ends["accuracy_high"], "95% interval")
    style.add_line(fig, table["cost"], table["accuracy"], style.PALETTE[0], shape="hv", name="front")
    low, high = ends["accuracy_low"].min(), ends["accuracy_high"].max()
    return fig.update_yaxes(range=[low - 0.01 * (high - low), high + 0.02 * (high - low)])
