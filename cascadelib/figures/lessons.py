"""Draw one panel that names its lines and points in the plot, without a legend."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from plotly.colors import sample_colorscale

from . import style
from .cost_kinds import cost_of
from .tables import arrow

LABEL_ROOM = 0.16  # above the plot of a saving, as a share of the height of the figure
LABEL_HEIGHT = 0.07  # of a line of a label, as a share of the height of the plot
LABEL_LETTERS = 12  # of a line of a label in the margin, which leaves room for the plot on a phone
LETTER_WIDTH = 7  # pixels of a letter of a label
# Viridis without its light end, which a white page hides, as a dark page hides its inversion.
SHADES = sample_colorscale("Viridis", np.linspace(0, 0.7, 8))
ROW_HEIGHT = 28  # pixels of a row of intervals


def saving_figure(front: Any, finding: Any, note: str = "") -> style.Figure:
    """Draw a front over single models, and an arrow from the large model to one cascade.

    Parameters
    ----------
    front : Front
        A front on the split of the finding, see :func:`cascadelib.analysis.front_on`.
    finding : Finding
        What the cascade saves there, see :func:`cascadelib.analysis.finding`.
    note : str, default=""
        More about the data, as sentences below the finding.

    Returns
    -------
    Figure
        The figure. Its title is the finding.
    """
    singles = front.singles
    fig = style.figure(
        f"{finding} {note}".strip() + f"\n{style.KEY}",
        showlegend=False,
        xaxis=style.cost_axis(front.cost_kind, singles["cost"]),
        yaxis=style.per_cent_axis(title=finding.measure, domain=[0, 1 - LABEL_ROOM]),
        margin={"r": LETTER_WIDTH * len("large ")},
    )
    style.add_singles(fig, singles)
    affordable = front.table[front.table["cost"] <= singles["cost"].max()]
    style.add_cascades(fig, affordable, style.HELD_OUT, line_shape="hv")
    low = singles.loc[singles["on_hull"], "accuracy"].iloc[0]
    high = max(singles["accuracy"].max(), affordable["accuracy"].max())
    fig.update_yaxes(range=[low - 0.06 * (high - low), high + 0.03 * (high - low)])
    costs = np.log10(singles["cost"][singles["cost"] > 0])
    room = 0.05 * np.ptp(costs) or 0.1  # plotly would also make room for the labels
    fig.update_xaxes(range=[costs.min() - room, costs.max() + room])
    _add_arrow(fig, front.cost_kind, finding, high)
    _add_limit(fig, finding, singles["cost"].min())
    _label_groups(fig, singles, affordable, low + 0.6 * (high - low))
    return fig


def _add_arrow(fig: style.Figure, cost_kind: str, finding: Any, high: float) -> None:
    """Mark the last model and the cascade, and draw an arrow above them."""
    names = [arrow(finding.models), finding.models[-1]]
    costs = np.array([finding.cost, finding.cost * finding.saving])
    accuracies = np.array([finding.accuracy, finding.last_accuracy])
    ends = pd.DataFrame({"cost": costs, "accuracy": accuracies}, names)
    marker = {"size": 11, "color": [style.HELD_OUT, style.BLACK]}
    style.add_models(fig, ends, mode="markers", marker=marker)
    tip, start = np.log10(costs)
    fig.add_annotation(
        x=tip,
        y=high,
        ax=start,
        ay=0,
        text="",
        axref="x",
        yshift=26,
        arrowcolor=style.BLACK,
        arrowwidth=2,
        arrowhead=2,
    )
    factor = f"{finding.saving:.2f}× {cost_of(cost_kind).less}"
    style.label(fig, costs[1], high, factor, xanchor="right", xshift=12, yshift=42, font_size=16)
    style.label(fig, costs[1], accuracies[1], "large\nmodel", xanchor="left", xshift=8)
    if len(finding.models) > 1:
        place = {"xanchor": "right", "xshift": -2, "yshift": 14}
        style.label(fig, costs[0], accuracies[0], "cascade", style.HELD_OUT, **place)


def _add_limit(fig: style.Figure, finding: Any, left: float) -> None:
    """Draw the least accuracy that the guarantee of the finding allows."""
    if finding.guarantee is None or finding.guarantee.epsilon is None:
        return
    limit = finding.last_accuracy - finding.guarantee.epsilon
    fig.add_hline(y=limit, line={"color": style.HELD_OUT, "dash": "dash", "width": 1})
    text = f"limit: −{100 * finding.guarantee.epsilon:.4g} points"
    style.label(fig, left, limit, text, style.HELD_OUT, xanchor="left", yshift=9)


def _label_groups(
    fig: style.Figure, singles: pd.DataFrame, table: pd.DataFrame, middle: float
) -> None:
    """Name the front and the single models, each where the plot has room."""
    above = table[table["accuracy"] >= middle]
    first = (above if len(above) else table).iloc[0]
    x, y = first[["cost", "accuracy"]]
    style.label(fig, x, y, "cascades", style.HELD_OUT, xanchor="right", xshift=-6, yshift=8)
    cheap = singles[singles["on_front"]].sort_values("cost").iloc[:2]
    second = cheap.iloc[-1] if singles["on_front"].sum() > 2 else cheap.iloc[0]
    x, y = second[["cost", "accuracy"]]
    style.label(fig, x, y, "single models", style.LINE, xanchor="left", xshift=8, yshift=-8)


def lines_figure(tables: Mapping[str, pd.DataFrame], x: str, y: str, title: str) -> style.Figure:
    """Draw a line for each table, named in the right margin at the height of its end.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Label → table with the columns `x` and `y`. The second one has the colour of held-out data,
        and so has a single one.
    x, y : str
        Columns, see :func:`style.axis_of`. On a log axis only positive values are drawn.
    title : str
        What the figure shows, then a line feed and a description.

    Returns
    -------
    Figure
        The figure.

    Raises
    ------
    KeyError
        If a table lacks one of the columns.
    """
    fig = style.figure(title, showlegend=False, xaxis=style.axis_of(x), yaxis=style.axis_of(y))
    is_log = fig.layout.yaxis.type == "log"
    lines = {name: drawn_rows(table, x, y, is_log) for name, table in tables.items()}
    lines = {name: table for name, table in lines.items() if len(table)}
    heights = spread_labels({name: table[y] for name, table in lines.items()}, is_log)
    end = max((table[x].iloc[-1] for table in lines.values()), default=0)
    first = len(tables) == 1
    for i, (name, table) in enumerate(lines.items(), first):
        width = 2 if i else 4  # a line below another one stays visible
        colour = style.colour(i)
        # Without a mode, plotly marks the points of short lines.
        style.add_line(fig, table[x], table[y], colour, width, style.dash(i), name=name, mode=None)
        place = {"xanchor": "left", "xshift": 4, "align": "left"}
        style.label(fig, end, heights[name], "\n".join(wrapped(name)), colour, **place)
    if lines:
        start = min(table[x].iloc[0] for table in lines.values())
        ends = np.array([start, end])  # the labels are in the margin
        fig.update_xaxes(range=np.log10(ends) if fig.layout.xaxis.type == "log" else ends)
    letters = [len(line) for name in lines for line in wrapped(name)]
    return fig.update_layout(margin={"r": 12 + LETTER_WIDTH * max([0, *letters])})


def drawn_rows(table: pd.DataFrame, x: str, y: str, is_log: bool) -> pd.DataFrame:
    """Return the rows of a line by rising x. A log axis shows positive values only."""
    shown = table[table[y] > 0] if is_log else table
    return style.in_points(style.select_evenly(shown.sort_values(x), 400))


def wrapped(name: str) -> list[str]:
    """Return the lines of a label in the margin. A long word is not broken."""
    return textwrap.wrap(name, LABEL_LETTERS, break_long_words=False)


def spread_labels(lines: Mapping[str, pd.Series], is_log: bool) -> dict[str, float]:
    """Return heights near the ends of lines at which labels do not cover one another."""
    scale = np.log10 if is_log else np.asarray
    if not lines:
        return {}
    height = LABEL_HEIGHT * np.ptp(scale(pd.concat(lines.values())))
    order = sorted(lines, key=lambda name: lines[name].iloc[-1])
    ends = np.array([scale(lines[name].iloc[-1]) for name in order], float)
    sizes = height * np.array([len(wrapped(name)) for name in order])
    steps = np.cumsum((sizes + np.roll(sizes, 1)) / 2)
    steps -= steps[0]  # from the middle of the lowest label to that of each
    heights = np.maximum.accumulate(ends - steps) + steps
    highest = max(ends[-1], ends[0] + steps[-1])
    heights = np.minimum(heights, highest - steps[::-1])
    return dict(zip(order, (10**heights if is_log else heights).tolist()))


def points_figure(table: pd.DataFrame, x: str, y: str, colour: str, title: str) -> style.Figure:
    """Draw a point for each row, coloured by a positive column on a log scale.

    Parameters
    ----------
    table : DataFrame
        Its index names the points.
    x, y, colour : str
        Columns, see :func:`style.axis_of`.
    title : str
        What the figure shows, then a line feed and a description.

    Returns
    -------
    Figure
        The figure.

    Raises
    ------
    KeyError
        If the table lacks one of the columns.
    """
    table = style.in_points(table)
    shades = np.log10(table[colour])
    ticks = np.unique([np.ceil(shades.min()), np.floor(shades.max())])  # narrow scales fit two
    bar = {
        "title": {"text": colour.replace("_", " "), "side": "top"},
        "thickness": 8,
        "orientation": "h",
        "x": 1,
        "xanchor": "right",
        "y": 1,
        "yanchor": "bottom",
        "tickvals": ticks,
        "ticktext": [f"{10**tick:,.0f}×" for tick in ticks],
    }
    fig = style.figure(title, xaxis=style.axis_of(x), yaxis=style.axis_of(y))
    return fig.add_scatter(
        x=table[x],
        y=table[y],
        text=table.index,
        mode="markers",
        marker={"color": shades, "colorscale": SHADES, "size": 8, "colorbar": bar},
        hovertemplate="%{text}<br>%{x:.4~g}, %{y:.4~g}<extra></extra>",
    )


def intervals_figure(
    table: pd.DataFrame, column: str, title: str, line: float = 0, axis: str = ""
) -> style.Figure:
    """Draw a column with its intervals, a named row each, on held-out data.

    Parameters
    ----------
    table : DataFrame
        Its index names the rows. It has `column`, and the ends `column` + "_low" and "_high".
    column : str
        The column, see :func:`style.axis_of`.
    title : str
        What the figure shows, then a line feed and a description.
    line : float, default=0
        Where to draw a vertical line, the value without a difference.
    axis : str, default=""
        Title of the axis, instead of the name of the column.

    Returns
    -------
    Figure
        The figure.

    Raises
    ------
    KeyError
        If the table lacks one of the columns.
    """
    table = style.in_points(table)
    names = [str(name) for name in table.index]
    across = style.axis_of(column)
    if axis:
        across["title"] = style.escape_text(axis)
    fig = style.figure(title, xaxis=across, height=100 + ROW_HEIGHT * len(names))
    if across.get("type") == "log" and table[column].max() > 100 * table[column].min():
        fig.update_xaxes(style.factor_ticks(10.0 ** np.arange(-4, 4)))
    fig.add_vline(x=line, line=style.DOTTED)
    fig.add_scatter(
        x=table[column],
        y=names,
        error_x={
            "array": table[f"{column}_high"] - table[column],
            "arrayminus": table[column] - table[f"{column}_low"],
        },
        mode="markers",
        marker={"color": style.HELD_OUT, "size": 9},
        hovertemplate="%{y}: %{x:.4~g}<extra></extra>",
    )
    return fig.update_yaxes(autorange="reversed", categoryorder="array")
