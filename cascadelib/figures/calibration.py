"""Figures of calibration (paper, figures 13 and 14), each from plain tables."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from . import style

Tables = dict[str, pd.DataFrame]
COLOURS = {
    "uncalibrated": style.PALETTE[0],
    "temperature scaled": style.PALETTE[1],
    "assumed perfect calibration": style.PALETTE[2],
    "ideal": style.BLACK,
}


def reliability_figure(averages: Tables) -> style.Figure:
    """Figure 13: {model: ``moving_average``}, a small panel a model; samples by rising confidence on the x axis."""
    space = {"horizontal_spacing": 0.02, "vertical_spacing": 0.44 / -(-len(averages) // 4), "shared_yaxes": True}
    fig, places = style.panels(averages, min(4, len(averages)), 130, **space)
    lines = {"confidence": (style.PALETTE[1], 1.6), "accuracy": (style.PALETTE[0], 1.2)}
    for number, ((row, col), table) in enumerate(zip(places, averages.values())):
        shown = style.decimated(table, 250)
        for name, line in lines.items():
            at: dict = {"legendgroup": name, "showlegend": number == 0, "row": row, "col": col}
            hover = "%{y:.2%} at %{x:.0%}<extra>" + name + "</extra>"
            style.add_line(fig, shown["position"], shown[name], *line, name=name, hovertemplate=hover, **at)
    lowest = min(table[["confidence", "accuracy"]].min().min() for table in averages.values())
    fig.update_yaxes(range=[lowest - 0.03, 1.03], dtick=0.2, tickfont_size=10, **style.per_cent_axis())
    fig.update_xaxes(range=[0, 1], tickvals=[0.25, 0.5, 0.75], tickfont_size=10, **style.per_cent_axis())
    fig.update_annotations(font_size=11)
    note = {"text": "share of samples, least confident first", "showarrow": False, "xref": "paper", "yref": "paper"}
    fig.add_annotation(x=0.5, y=-0.02, yshift=-28, font_size=12, **note)
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.09}
    title = "Accuracy and confidence along the samples, moving averages"
    return fig.titled(title, margin={"b": 60}, legend=legend)


def threshold_figure(curves: dict[str, Tables], points: Iterable[Any] = ()) -> style.Figure:
    """Figure 14: {model: {label: table}}, a panel a model. Tables: exit_rate (the x axis), accuracy_above and
    accuracy_below a threshold, and where there is one threshold; labels: those of ``COLOURS``.

    points: cascades (max softmax), each marked in its first model's panel where the uncalibrated curve has its first
    threshold.
    """
    fig, places = style.panels(curves, min(2, len(curves)), 330, horizontal_spacing=0.08, vertical_spacing=0.12)
    for number, ((row, col), (model, lines)) in enumerate(zip(places, curves.items())):
        for label, table in lines.items():
            _draw(fig, label, style.decimated(table, 500), number == 0, row=row, col=col)
        for threshold in [point.thresholds[0] for point in points if point.models[0] == model]:
            table = lines["uncalibrated"]
            rate = float((table["exit_rate"][table["threshold"] >= threshold]).max())
            fig.add_vline(x=rate, line={"color": style.GREY, "dash": "dash"}, row=row, col=col)
            note = {"y": 0.02, "yref": "y domain", "showarrow": False, "xanchor": "right", "row": row, "col": col}
            fig.add_annotation(x=rate, text=f"t = {threshold:.4g}", **note)
    fig.update_xaxes(title="early exit rate", range=[0, 1], **style.per_cent_axis())
    fig.update_yaxes(range=[0, 1.02], **style.per_cent_axis())
    fig.update_yaxes(title="accuracy, threshold", col=1)
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.17}
    return fig.titled("Above (solid), below (dashed), threshold (dotted)", legend=legend)


def _draw(fig: style.Figure, label: str, table: pd.DataFrame, in_legend: bool, **at: Any) -> None:
    """The lines of one label: above solid, below dashed, the threshold itself dotted where there is one."""
    kinds = {"accuracy_above": "solid", "accuracy_below": "dash", "threshold": "dot"}
    for kind in [k for k in kinds if k in table]:
        at |= {"name": label, "legendgroup": label, "showlegend": in_legend and kind == "accuracy_above"}
        hover = "%{y:.2%} at exit rate %{x:.1%}<extra>" + f"{label}, {kind.replace('_', ' ')}</extra>"
        line = (COLOURS[label], 1.0 if kind == "threshold" else 1.6, kinds[kind])
        style.add_line(fig, table["exit_rate"], table[kind], *line, hovertemplate=hover, **at)
