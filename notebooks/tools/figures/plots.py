"""The paper's figures and the other figures of these notebooks, each from plain tables."""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain, cycle, islice, product
from math import ceil
from typing import Any

import pandas as pd
import plotly.express as px
from plotly.subplots import make_subplots

from cascadelib import Front
from cascadelib.figures import style
from cascadelib.figures.tables import in_words

Tables = dict[str, pd.DataFrame]
BELOW = {"orientation": "h", "x": 0, "y": -0.26, "yanchor": "top"}  # legends, below the toolbar
# Alternating colours distinguish neighbours.
TURNS = {"a segment": style.PALETTE[0], "the next segment": style.PALETTE[4]}
KINDS = {"no ensembling": "", "most confident": "_most_confident", "mean ensembles": "_mean_"}
LOOKS = {  # start of a method's name: its colour (the last match counts)
    "entropy": style.PALETTE[0],
    "softmax_margin": style.PALETTE[1],
    "logits_margin": style.PALETTE[2],
    "max_softmax": style.BLACK,
    "max_softmax_most_confident": style.PALETTE[4],
    "max_softmax_mean_logits": style.PALETTE[3],
    "max_softmax_mean_softmax": style.PALETTE[5],
}
COLOURS_OF_CURVES = {
    "uncalibrated": style.PALETTE[0],
    "temperature scaled": style.PALETTE[1],
    "assumed perfect calibration": style.PALETTE[2],
    "ideal": style.BLACK,
}
SIDES = {  # of figure 14: column and panel
    "accuracy_above": "accuracy above the threshold",
    "accuracy_below": "accuracy below",
    "threshold": "threshold of max softmax",
}
AVERAGES = {"confidence": style.PALETTE[1], "accuracy": style.PALETTE[0]}
PANELS_IN_A_ROW = 4
WIDTH = 1150


def methods_figure(curves: Tables, title: str, kinds: Mapping[str, str] = KINDS) -> style.Figure:
    """Draw figures 3, 8, 9 and 11: improvement factors, in panels by a part of the methods' names.

    kinds: {panel: part}, the last part in a method's name decides. A method has its colour
    (:func:`look_of`) in every panel and figure. The black max softmax, or its form with the panel's
    part, is in each panel.
    """
    fig, places = panels(kinds, len(kinds), 400, shared_yaxes=True, horizontal_spacing=0.03)
    for (row, col), kind in zip(places, kinds.values()):
        at = {"row": row, "col": col}
        legend = f"legend{col}"
        for name, curve in curves.items():
            last_part = [part for part in kinds.values() if part in name][-1]
            if name == "max_softmax" or last_part == kind:
                colour, dash = look_of(name)
                width = 1.2 if colour == style.BLACK else 1.8
                look = {"legend": legend, "dash": dash}
                style.add_improvement(fig, curve, in_words(name), colour, width, **look, **at)
        fig.add_hline(y=1, line=style.DOTTED, **at)
        start, _ = fig.layout[f"xaxis{col}"].domain
        fig.update_layout({legend: {"x": start, "y": -0.2, "yanchor": "top"}})
    fig.update_xaxes(title="accuracy", **style.per_cent_axis())
    fig.update_yaxes(**style.GAIN_AXIS).update_yaxes(title=style.GAIN, col=1)
    return fig.titled(title, width=WIDTH, height=560, margin={"b": 150})


def look_of(method: str) -> tuple[str, str]:
    """Return (colour, dash) of a method: that of its metric, or of a mean or most confident max
    softmax.

    A method with temperature scaling is dashed if there is the same method without.
    """
    colours = [colour for part, colour in LOOKS.items() if method.startswith(part)]
    dashed = method.endswith("_ts") and "_mean_" in method
    return colours[-1] if colours else style.PALETTE[6], "dash" if dashed else "solid"


def replayed_improvement_figure(curves: dict[str, Tables], title: str) -> style.Figure:
    """Draw figure 6: small multiples with a log axis of the factor.

    curves: {panel: {label: table with accuracy and improvement}}. All panels have one range of
    accuracies. A label has the same colour in all panels, and the first is black.
    """
    space: dict = {"horizontal_spacing": 0.03, "vertical_spacing": 0.16, "shared_yaxes": True}
    fig, places = panels(curves, min(3, len(curves)), **space)
    labels = dict.fromkeys(chain.from_iterable(curves.values()))
    colours = dict(zip(labels, [style.BLACK, *style.PALETTE]))
    for (row, col), lines in zip(places, curves.values()):
        for label, curve in lines.items():
            colour = colours[label]
            width = 1.2 if colour == style.BLACK else 2
            at = once(fig, label, row=row, col=col)
            style.add_improvement(fig, curve, label, colour, width, **at)
        fig.add_hline(y=1, line=style.DOTTED, row=row, col=col)
    fig.update_xaxes(matches="x", showticklabels=True, **style.per_cent_axis())
    fig.update_xaxes(title="accuracy", row=places[-1][0])
    fig.update_yaxes(matches="y", **style.GAIN_AXIS)
    fig.update_yaxes(title="baseline ÷ cascade cost", col=1)
    below = BELOW | {"y": -0.32 / places[-1][0]}
    return fig.titled(title, width=WIDTH, legend=below, margin={"b": 100})


def segments_figure(moved: pd.DataFrame, searched: Front, title: str) -> style.Figure:
    """Draw figure 12: the segments of a front on another split, and the front of that split.

    moved: ``replay`` on the new split. searched: the front that a search finds on that split. A
    line per segment (one cascade and its range of thresholds, or its points), in two alternating
    colours.
    """
    fig = style.figure(title, width=WIDTH, height=520, legend=BELOW)
    axes: dict = {"x": "cost_replayed", "y": "accuracy_replayed"}
    look: dict = {"mode": "lines+markers", "marker": {"size": 3}}
    for (_, rows), (turn, colour) in zip(moved.groupby("segment"), cycle(TURNS.items())):
        at = once(fig, turn)
        style.add_cascades(fig, style.select_evenly(rows, 300), colour, **axes, **look, **at)
    steps: dict = {"name": "front searched on this split", "line_shape": "hv"}
    cost, accuracy = searched.steps
    style.add_line(fig, cost, accuracy, style.BLACK, 1.2, **steps)
    style.add_singles(fig, searched.singles)
    fig.update_xaxes(**style.cost_axis(searched.cost_kind, searched.singles["cost"]))
    return fig.update_yaxes(**style.per_cent_axis(title="accuracy"))


def once(fig: style.Figure, name: str, **panel: int) -> dict[str, Any]:
    """Return a trace's name and panel. Its first trace is in the legend, for all of this name."""
    is_new = all(trace.legendgroup != name for trace in fig.data)
    return {"name": name, "legendgroup": name, "showlegend": is_new, **panel}


def threshold_figure(curves: dict[str, Tables], points: Iterable[Any], title: str) -> style.Figure:
    """Draw figure 14: accuracy above and below a threshold, and the threshold, a row of panels per
    model.

    curves: {model: {label: table}}. Tables: exit_rate (the x axis), accuracy_above, accuracy_below
    and, if there is one, threshold. Labels: those of ``COLOURS_OF_CURVES``. points: cascades by max
    softmax. Each is marked in its first model's panels at its first threshold on the uncalibrated
    curve.
    """
    parts = {}
    for model, lines in curves.items():
        for label, table in lines.items():
            shown = style.select_evenly(table, 400).rename(columns=SIDES)
            columns = [side for side in SIDES.values() if side in shown]
            parts[style.escape_text(model), label] = shown.melt("exit_rate", columns, "panel")
    about: dict = {"color": "curve", "color_discrete_map": COLOURS_OF_CURVES}
    about |= {"facet_row": "model", "facet_col": "panel", "facet_row_spacing": 0.3 / len(curves)}
    fig = small_multiples(parts, ["model", "curve"], "exit_rate", 230 * len(curves), **about)
    for row, (model, lines) in enumerate(reversed(curves.items()), 1):  # the last row is row 1
        table = lines["uncalibrated"]
        for point in points:
            if point.models[0] == model:
                exits = table["threshold"] >= point.thresholds[0]
                rate = float(table["exit_rate"][exits].max())
                fig.add_vline(x=rate, line={"color": style.GREY, "dash": "dash"}, row=row)
    return fig.update_xaxes(title="early exit rate", row=1).titled(title, margin={"r": 200})


def reliability_figure(averages: Tables, title: str) -> style.Figure:
    """Draw figure 13: accuracy and confidence along the samples, one small panel per model.

    averages: {model: ``moving_average``} with position (share of samples, by rising confidence),
    confidence and accuracy, all fractions.
    """
    rows = ceil(len(averages) / PANELS_IN_A_ROW)
    parts = {}
    for name, table in averages.items():
        shown = style.select_evenly(table, 250)
        parts[style.escape_text(name)] = shown.melt("position", AVERAGES, "curve")
    about: dict = {"color": "curve", "color_discrete_map": AVERAGES, "facet_col": "model"}
    about |= {"facet_col_wrap": PANELS_IN_A_ROW, "facet_row_spacing": 0.4 / rows}
    fig = small_multiples(parts, ["model"], "position", 130 * rows, **about)
    return fig.update_xaxes(title="samples, by confidence", row=1).titled(title)


def small_multiples(
    parts: Mapping[Any, pd.DataFrame], names: list[str], x: str, inside: int, **about: Any
) -> style.Figure:
    """Return lines of shares ("value") over ``x`` in panels that are named by their facets.

    names: what distinguishes the parts. inside: pixels of all panels. about: of ``px.line``.
    """
    table = pd.concat(parts, names=names).reset_index(names)
    options = {"template": style.TEMPLATE, "render_mode": "svg", "height": 180 + inside}
    fig = style.Figure(px.line(table, x=x, y="value", **options, **about))
    fig.for_each_annotation(lambda note: note.update(text=note.text.partition("=")[2]))
    fig.update_layout(width=WIDTH, legend=BELOW | {"y": -75 / inside, "title": None})
    return fig.update_xaxes(**style.per_cent_axis()).update_yaxes(**style.per_cent_axis(title=""))


def panels(
    titles: Collection[str], columns: int, height: int = 250, **spacing: Any
) -> tuple[style.Figure, list[tuple[int, int]]]:
    """Return a grid of subplots in the project's template, and the (row, column) of each title."""
    rows = ceil(len(titles) / columns)
    fig = style.Figure(
        make_subplots(rows, columns, subplot_titles=style.escape_text(list(titles)), **spacing)
    )
    fig.update_annotations(font_size=12)
    fig.update_layout(template=style.TEMPLATE, height=90 + height * rows, margin={"t": 80})
    places = product(range(1, rows + 1), range(1, columns + 1))
    return fig, list(islice(places, len(titles)))
