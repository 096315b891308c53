"""Figures of a running cascade: a guarantee's cost, a stream, what MACs become in seconds. Each from a plain table."""

from collections.abc import Mapping

import pandas as pd

from ..tables import arrow, number
from . import style

PROMISE = {
    "accuracy_loss_allowed": "certified: at most ε",
    "accuracy_loss_held_out": "measured on held-out data",
}


def guarantee_figure(
    table: pd.DataFrame,
    reference_cost: float,
    cost: str = "macs",
    title: str = "What a promise costs (dotted: the reference model alone)",
    lines: Mapping[str, str] = PROMISE,
    axis: str = "accuracy loss against the reference",
) -> style.Figure:
    """Least certified cost against the loss that is allowed, or another share.

    table: models, cost and the columns of ``lines`` {column: what it is}, a row an allowed loss. reference_cost: of the
    reference model.
    """
    shown = table.dropna(subset=["cost"])
    above = {"autorangeoptions": {"include": 1.3 * reference_cost}}  # the dotted line is within
    costs = style.cost_axis(cost, [*shown["cost"], reference_cost]) | above
    fig = style.figure(title, xaxis=style.per_cent_axis(title=axis), yaxis=costs)
    fig.add_hline(y=reference_cost, line=style.DOTTED)
    for (column, label), colour, symbol in zip(lines.items(), style.PALETTE, ("circle", "diamond")):
        marks = {
            "mode": "lines+markers",
            "marker": {"symbol": symbol, "size": 9},
            "text": shown["models"].map(arrow),
        }
        hover = "%{text}<br>%{x:.2%} at %{y:.4s}<extra></extra>"
        style.add_line(
            fig, shown[column], shown["cost"], colour, name=label, hovertemplate=hover, **marks
        )
    return fig


def stream_figure(
    table: pd.DataFrame, level: float, title: str, yaxis: str, **axis: str
) -> style.Figure:
    """Lines over a stream. table: a column a line, the index: inputs so far; level: of the alarm (dotted); yaxis: what
    they are; axis: more of that axis, as type="log"."""
    fig = style.figure(title, xaxis={"title": "inputs"}, yaxis={"title": yaxis, **axis})
    fig.add_hline(y=level, line=style.DOTTED)
    for i, (name, values) in enumerate(table.items()):
        style.add_line(fig, table.index, values, style.colour(i), name=str(name))
    return fig


def savings_figure(
    table: pd.DataFrame, title: str = "The cascade against the best single model, at equal accuracy"
) -> style.Figure:
    """Bars of cost ÷ the single model's. table: :func:`cascadelib.deployment.timing.savings`, a row a kind of cost."""
    ratio = style.per_cent_axis(title="cost ÷ the single model's")
    fig = style.figure(title, barmode="stack", xaxis=ratio, margin={"l": 190})
    parts, totals = table.drop(columns="total"), table["total"]
    colours = [*style.PALETTE[: len(parts.columns) - 2], style.BLACK, style.GREY]
    names = list(table.index)
    bar = {"orientation": "h", "hovertemplate": "%{y}: %{x:.1%}<extra>%{fullData.name}</extra>"}
    for (part, values), colour in zip(parts.items(), colours):
        fig.add_bar(x=values, y=names, name=part, marker_color=colour, **bar)
    text = {"text": [f" {number(1 / t)} × less" for t in totals], "textposition": "middle right"}
    fig.add_scatter(x=parts.sum(axis=1), y=names, mode="text", showlegend=False, **text)
    fig.add_vline(x=1, line=style.DOTTED)
    return fig.update_xaxes(range=[0, max(1.1, 1.25 * totals.max())]).update_yaxes(
        autorange="reversed"
    )
