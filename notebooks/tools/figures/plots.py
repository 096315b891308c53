"""The paper's figures and the other figures of these notebooks, each from plain tables."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, cycle, islice, product
from math import ceil
from typing import Any

import pandas as pd
from plotly.subplots import make_subplots

from cascadelib import Front
from cascadelib.figures import style
from cascadelib.figures.fronts import merge_coinciding
from cascadelib.figures.tables import in_words

Tables = dict[str, pd.DataFrame]
BELOW = {"orientation": "h", "x": 0, "y": -0.26, "yanchor": "top"}  # legends, below the toolbar
# Alternating colours distinguish neighbours.
TURNS = {"a segment": style.PALETTE[0], "the next segment": style.PALETTE[4]}
REPLAYED = {"range": "ranges of thresholds", "point": "single points"}
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
LOOKS_OF_CURVES = {  # both of the first lines stay visible if they overlap
    "uncalibrated": {"color": style.PALETTE[0], "width": 5.0, "opacity": 0.45},
    "temperature scaled": {"color": style.PALETTE[1], "width": 1.5},
    "assumed perfect calibration": {"color": style.PALETTE[2], "width": 1.5},
    "ideal": {"color": style.BLACK, "width": 1.5, "dash": "dot"},
}


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
        shown = {}
        factors = {}
        for name, curve in curves.items():
            last_part = [part for part in kinds.values() if part in name][-1]
            if name == "max_softmax" or last_part == kind:
                words = in_words(name)
                shown[words] = name
                factors[words] = curve.set_index("accuracy")["improvement"]
        for words, text in merge_coinciding(factors).items():
            colour, dash = look_of(shown[words])
            width = 1.2 if colour == style.BLACK else 1.8
            look = {"legend": legend, "dash": dash}
            style.add_improvement(fig, curves[shown[words]], text, colour, width, **look, **at)
        fig.add_hline(y=1, line=style.DOTTED, **at)
        start, _ = fig.layout[f"xaxis{col}"].domain
        fig.update_layout({legend: {"x": start, "y": -0.2, "yanchor": "top"}})
    fig.update_xaxes(title="accuracy", **style.per_cent_axis())
    fig.update_yaxes(**style.GAIN_AXIS).update_yaxes(title=style.GAIN, col=1)
    return fig.titled(title, width=1150, height=560, margin={"b": 150})


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
            at = once(fig, label, row, col)
            style.add_improvement(fig, curve, label, colour, width, **at)
        fig.add_hline(y=1, line=style.DOTTED, row=row, col=col)
    fig.update_xaxes(matches="x", showticklabels=True, **style.per_cent_axis())
    fig.update_xaxes(title="accuracy", row=places[-1][0])
    fig.update_yaxes(matches="y", **style.GAIN_AXIS)
    fig.update_yaxes(title="baseline ÷ cascade cost", col=1)
    below = BELOW | {"y": -0.32 / places[-1][0]}
    return fig.titled(title, width=1150, legend=below, margin={"b": 100})


def segments_figure(moved: pd.DataFrame, own: Front, title: str) -> style.Figure:
    """Draw figure 12: a front on another split, as segments and as its Pareto-optimal part.

    moved: ``replay`` on the new split. own: the front that a search finds on that split. Left: a
    line per segment (one cascade and its range of thresholds, or its points), in two alternating
    colours. Right: the non-dominated points. The title states which of the two was replayed.
    """
    titles = ("segments, each one cascade", "the Pareto-optimal part")
    fig, places = panels(titles, 2, 400, horizontal_spacing=0.08)
    look: dict = {"mode": "lines+markers", "marker": {"size": 3}}
    axes: dict = {"x": "cost_replayed", "y": "accuracy_replayed"}
    turns = cycle(TURNS.items())
    for (_, rows), (turn, colour) in zip(moved.groupby("segment"), turns):
        shown = style.select_evenly(rows, 300)
        at = once(fig, turn, 1, 1)
        style.add_cascades(fig, shown, colour, **axes, **look, **at)
    best = moved[moved["on_front"]].sort_values("cost_replayed")
    x, y = (best[column] for column in axes.values())
    steps: dict = {"line_shape": "hv"}
    at = {"name": "replayed front", "row": 1, "col": 2}
    colour = style.PALETTE[1]
    style.add_line(fig, x, y, colour, 2, **at, **steps)
    cost, accuracy = own.steps
    for row, col in places:
        at = {"name": "front searched on this split", "row": row, "col": col}
        at["showlegend"] = col == 2
        style.add_line(fig, cost, accuracy, style.BLACK, 1.2, **at, **steps)
    style.add_singles(fig, own.singles, row=1, col=2)
    costs = style.cost_axis(own.cost_kind, own.singles["cost"])
    fig.update_xaxes(matches="x", **costs)
    low = min(accuracy.min(), moved["accuracy_replayed"].min())
    high = max(accuracy.max(), y.max())
    margin = 0.05 * (high - low)
    ends = [low - margin, high + margin]
    fig.update_yaxes(range=ends, **style.per_cent_axis())
    fig.update_yaxes(title="accuracy", col=1)
    title = f"{title}; replayed: {REPLAYED[moved['replayed'].iloc[0]]}"
    return fig.titled(title, width=1150, legend=BELOW, margin={"b": 110})


def tasks_figure(tasks: dict[str, Front], cost: str, title: str) -> style.Figure:
    """Draw figure 7: a row per task and score, with its fronts (left) and improvement factors
    (right).

    tasks: {label: :class:`cascadelib.Front` of pairs}.
    """
    between = 85  # pixels: axis titles of one row and the title of the next
    inside = 240 * len(tasks) + between * (len(tasks) - 1)
    titles = [f"{label}{what}" for label in tasks for what in ("", ": improvement")]
    fig, _ = panels(titles, 2, horizontal_spacing=0.11, vertical_spacing=between / inside)
    fig.update_annotations(font_size=13)
    fig.update_layout(height=inside + 190, margin={"t": 80, "b": 110})
    for row, front in enumerate(tasks.values(), 1):
        singles = front.singles
        style.add_singles(fig, singles, row=row, col=1, showlegend=row == 1)
        at = once(fig, "pairs", row, 1)
        add_front(fig, front, "pairs", style.PALETTE[0], 2, **at)
        score = "F1" if front.score == "f1" else "accuracy"
        high = front.table["accuracy"].max()
        cheapest = singles.loc[singles["on_hull"], "accuracy"].iloc[0]
        # All models are in range, except those far below.
        low = max(singles["accuracy"].min(), 1.5 * cheapest - 0.5 * high)
        margin = 0.04 * max(high - low, 0.01)
        costs = style.cost_axis(cost, singles["cost"])
        label_row(fig, row, costs, score, [low - margin, high + margin])
    legend = BELOW | {"y": -75 / inside}
    return fig.titled(title, width=1150, legend=legend)


def once(fig: style.Figure, name: str, row: int, col: int) -> dict[str, Any]:
    """Return a trace's name and panel. Its first trace is in the legend, for all of this name."""
    is_new = all(trace.legendgroup != name for trace in fig.data)
    return {"name": name, "legendgroup": name, "showlegend": is_new, "row": row, "col": col}


def add_front(
    fig: style.Figure, front: Front, label: str, colour: str, width: float, **trace: Any
) -> None:
    """Add a front to both panels of a row: its cascades, and its improvement factor."""
    style.add_cascades(fig, front.table, colour, line_shape="hv", **trace)
    trace |= {"showlegend": False, "col": 2}
    style.add_improvement(fig, front.improvement_curve(), label, colour, width, **trace)


def label_row(fig: style.Figure, row: int, cost: dict, score: str, ends: Sequence[float]) -> None:
    """Label two panels of fronts: score against cost (left), improvement factor (right).

    cost: an axis. ends: of the scores on the left.
    """
    costs_panel = {"row": row, "col": 1}
    factors_panel = {"row": row, "col": 2}
    scores = style.per_cent_axis(title=score)
    fig.add_hline(y=1, line=style.DOTTED, **factors_panel)
    fig.update_xaxes(**costs_panel, **cost)
    fig.update_yaxes(range=ends, **costs_panel, **scores)
    fig.update_xaxes(**factors_panel, **scores)
    fig.update_yaxes(title=style.GAIN, **factors_panel, **style.GAIN_AXIS)


def threshold_figure(curves: dict[str, Tables], points: Iterable[Any], title: str) -> style.Figure:
    """Draw figure 14: accuracy above and below a threshold, and the threshold, a row of panels per
    model.

    curves: {model: {label: table}}. Tables: exit_rate (the x axis), accuracy_above, accuracy_below
    and, if there is one, threshold. Labels: those of ``LOOKS_OF_CURVES``. points: cascades by max
    softmax. Each is marked (t) in its first model's panels at its first threshold on the
    uncalibrated curve.
    """
    titles = [f"{what}{model}" for model in curves for what in SIDES]
    space = {"horizontal_spacing": 0.06, "vertical_spacing": 0.3 / len(curves)}
    fig, _ = panels(titles, len(SIDES), 230, **space)
    for row, (model, lines) in enumerate(curves.items(), 1):
        for col, column in enumerate(SIDES.values(), 1):
            for label, table in lines.items():
                if column not in table:
                    continue
                shown = style.select_evenly(table, 400)
                look: dict = dict(LOOKS_OF_CURVES[label])
                look["hovertemplate"] = f"%{{y:.2%}} at exit rate %{{x:.1%}}<extra>{label}</extra>"
                at = once(fig, label, row, col)
                style.add_line(fig, shown["exit_rate"], shown[column], **look, **at)
        firsts = [point.thresholds[0] for point in points if point.models[0] == model]
        for threshold in firsts:
            table = lines["uncalibrated"]
            exits = table["threshold"] >= threshold
            rate = float(table["exit_rate"][exits].max())
            dashes = {"color": style.GREY, "dash": "dash"}
            for col in range(1, len(SIDES) + 1):
                fig.add_vline(x=rate, line=dashes, row=row, col=col)
            note = {"y": 0.02, "yref": "y domain", "showarrow": False, "xanchor": "right"}
            fig.add_annotation(x=rate, text=f"t = {threshold:.4g}", row=row, col=3, **note)
    fig.update_xaxes(range=[0, 1], **style.per_cent_axis())
    fig.update_xaxes(title="early exit rate", row=len(curves))
    fig.update_yaxes(**style.per_cent_axis())
    fig.update_yaxes(title="accuracy", col=1).update_yaxes(title="max softmax", col=3)
    legend = BELOW | {"y": -70 / (230 * len(curves))}
    return fig.titled(title, width=1150, legend=legend, margin={"b": 105})


SIDES = {  # the panels of a model: title and column
    "above the threshold: ": "accuracy_above",
    "below: ": "accuracy_below",
    "the threshold: ": "threshold",
}


PANELS_IN_A_ROW = 4
AVERAGES = {
    "confidence": (style.PALETTE[1], 1.6),
    "accuracy": (style.PALETTE[0], 1.2),
}


def reliability_figure(averages: Tables, title: str) -> style.Figure:
    """Draw figure 13: accuracy and confidence along the samples, one small panel per model.

    averages: {model: ``moving_average``} with position (share of samples, by rising confidence),
    confidence and accuracy, all fractions.
    """
    rows = ceil(len(averages) / PANELS_IN_A_ROW)
    fig, places = panels(
        averages,
        min(PANELS_IN_A_ROW, len(averages)),
        130,
        horizontal_spacing=0.02,
        vertical_spacing=0.44 / rows,
        shared_yaxes=True,
    )
    for (row, col), table in zip(places, averages.values()):
        shown = style.select_evenly(table, 250)
        for name, line in AVERAGES.items():
            at = once(fig, name, row, col)
            at["hovertemplate"] = f"%{{y:.2%}} at %{{x:.0%}}<extra>{name}</extra>"
            style.add_line(fig, shown["position"], shown[name], *line, **at)
    both = pd.concat(averages.values())[list(AVERAGES)]
    lowest = both.min(axis=None)
    shares = style.per_cent_axis(tickfont_size=10)
    fig.update_yaxes(range=[lowest - 0.03, 1.03], dtick=0.2, **shares)
    quarters = [0.25, 0.5, 0.75]
    fig.update_xaxes(range=[0, 1], tickvals=quarters, **shares)
    fig.update_annotations(font_size=11)
    fig.add_annotation(
        text="share of samples, least confident first",
        x=0.5,
        y=-0.02,
        yshift=-28,
        xref="paper",
        yref="paper",
        showarrow=False,
        font_size=12,
    )
    inside = 130 * rows  # pixels
    legend = BELOW | {"y": -75 / inside}
    return fig.titled(title, height=180 + inside, margin={"b": 100}, legend=legend)


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
