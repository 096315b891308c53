"""Figures of intervals, each from plain tables."""

import pandas as pd

from .style import (
    BLACK,
    GAIN,
    PALETTE,
    Figure,
    add_break_even,
    add_interval,
    add_line,
    add_singles,
    cost_axis,
    figure,
    per_cent_axis,
)


def band_figure(
    curve: pd.DataFrame,
    band: pd.DataFrame,
    title: str = "Improvement factor with its 95% bootstrap band",
    label: str = "front",
) -> Figure:
    """An improvement curve (accuracy, improvement) over its band (accuracy, low, high)."""
    fig = figure(title, xaxis=per_cent_axis(title="accuracy"), yaxis={"title": GAIN})
    add_interval(fig, band["accuracy"], band["low"], band["high"], "95% band")
    add_line(fig, curve["accuracy"], curve["improvement"], BLACK, name=label)
    add_break_even(fig)
    return fig.update_layout(hovermode="x")


def front_band_figure(
    table: pd.DataFrame,
    ends: pd.DataFrame,
    singles: pd.DataFrame,
    cost: str = "macs",
    title: str = "The front with the 95% intervals of its cascades",
) -> Figure:
    """Cascades by cost and accuracy, with the interval of each accuracy. ends: ``point_intervals`` of the same."""
    fig = figure(title, xaxis=cost_axis(cost), yaxis=per_cent_axis(title="accuracy"))
    add_singles(fig, singles)
    add_interval(fig, table["cost"], ends["accuracy_low"], ends["accuracy_high"], "95% interval")
    add_line(fig, table["cost"], table["accuracy"], PALETTE[0], shape="hv", name="front")
    low, high = ends["accuracy_low"].min(), ends["accuracy_high"].max()
    return fig.update_yaxes(range=[low - 0.01 * (high - low), high + 0.02 * (high - low)])
