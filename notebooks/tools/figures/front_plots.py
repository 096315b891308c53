"""The paper's figures of fronts and of single pairs: 1, 2, 4, 5, 7 and 10."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cascadelib import Front, Point
from cascadelib.figures import style
from cascadelib.figures.tables import arrow
from tools.figures.plots import BELOW, WIDTH, Tables, panels

SIZES = {  # the ratio of a pair's costs: its colour
    "up to 10 ×": style.PALETTE[4],
    "10 to 100 ×": style.PALETTE[2],
    "100 to 1,000 ×": style.PALETTE[0],
    "over 1,000 ×": style.BLACK,
}


def front_and_improvement(
    fronts: Mapping[str, Front],
    title: str,
    points: Mapping[str, Point] | None = None,
) -> style.Figure:
    """Draw figures 1, 4, 5, 7 and 10: accuracy against cost, improvement factor against accuracy.

    fronts: of one store, with the same colour in both panels. points: {letter: point}, stars (Table
    1). Rings are single models on the hull, at which cascades gain least.
    """
    first = next(iter(fronts.values()))
    singles = first.singles
    titles = ("accuracy against cost", "improvement factor at equal accuracy")
    fig, _ = panels(titles, 2, 480, horizontal_spacing=0.09)
    style.add_singles(fig, singles, row=1, col=1)
    for i, (label, front) in enumerate(fronts.items()):
        at: dict = {"legendgroup": label, "row": 1}
        colour = style.colour(i)
        style.add_cascades(fig, front.table, colour, line_shape="hv", name=label, col=1, **at)
        at |= {"showlegend": False, "col": 2}
        style.add_improvement(fig, front.improvement_curve(), label, colour, 1.8, **at)
    _add_vertices(fig, first)
    for letter, point in (points or {}).items():  # a star in both panels, its models in the legend
        against_cost = (point.cost, point.accuracy)
        against_accuracy = (point.accuracy, point.improvement)
        for col, (x, y) in enumerate((against_cost, against_accuracy), 1):
            fig.add_scatter(
                x=[x],
                y=[y],
                mode="markers+text",
                text=[letter],
                textposition="top left",
                marker={"color": style.BLACK, "symbol": "star", "size": 11},
                name=f"{letter}: {arrow(point.models)}",
                legendgroup=letter,
                showlegend=col == 1,
                hovertemplate="%{fullData.name}<extra></extra>",
                row=1,
                col=col,
            )
    low = singles.loc[singles["on_hull"], "accuracy"].iloc[0]
    high = max(front.table["accuracy"].max() for front in fronts.values())
    margin = high - low
    ends = [low - 0.04 * margin, high + 0.09 * margin]
    score = style.per_cent_axis(title="F1" if first.score == "f1" else "accuracy")
    fig.add_hline(y=1, line=style.DOTTED, row=1, col=2)
    fig.update_xaxes(row=1, col=1, **style.cost_axis(first.cost_kind, singles["cost"]))
    fig.update_yaxes(range=ends, row=1, col=1, **score)
    fig.update_xaxes(row=1, col=2, **score)
    fig.update_yaxes(title=style.GAIN, row=1, col=2, **style.GAIN_AXIS)
    return fig.titled(title, width=WIDTH, legend=BELOW, margin={"b": 130})


def _add_vertices(fig: style.Figure, front: Front) -> None:
    """Add rings at the improvement over the single models on the hull."""
    hull = front.singles[front.singles["on_hull"]]
    gain = front.improvement_at(hull["accuracy"].to_numpy())
    ring = {"color": style.GREY, "symbol": "circle-open", "size": 8, "line": {"width": 1.5}}
    fig.add_scatter(
        x=hull["accuracy"],
        y=np.where(gain > 0, gain, np.nan),
        mode="markers",
        marker=ring,
        text=list(hull.index),
        hovertemplate="single model %{text}: %{y:.2f} ×<extra></extra>",
        name="at a single model of the hull",
        row=1,
        col=2,
    )


def pairs_figure(pairs: pd.DataFrame, curves: Tables, title: str) -> style.Figure:
    """Draw figure 2: a pair's accuracy against its exit rate (left), a point per pair (middle,
    right).

    pairs: ``pair_table``. curves: {"first → second": ``pair_curve``} of some of them. The colour
    shows how much more the second model costs.
    """
    titles = (
        "accuracy − accuracy of the second model",
        "plateau: exit rate without a loss",
        "mean improvement over the pair's range",
    )
    fig, _ = panels(titles, 3, 400, horizontal_spacing=0.08)
    names = pairs["first"] + " → " + pairs["second"]
    places = np.searchsorted([10, 100, 1000], pairs["cost_ratio"])
    kinds = np.array(list(SIZES))[places]
    size = pd.Series(kinds, names)
    for label, curve in curves.items():
        shown = style.select_evenly(curve, 300)
        y = shown["accuracy"] - curve["accuracy"].iloc[0]
        colour = SIZES[size[label]]
        at: dict = {"name": label, "showlegend": False, "row": 1, "col": 1}
        at["hovertemplate"] = "%{y:.2%} at exit rate %{x:.1%}<extra>%{fullData.name}</extra>"
        style.add_line(fig, shown["exit_rate"], y, colour, **at)
    fig.add_hline(y=0, line=style.DOTTED, row=1, col=1)
    hover = "%{text}<br>difference %{x:.2%}, size × %{customdata:.4s}<br>%{y:.4~g}<extra></extra>"
    for kind, colour in SIZES.items():
        rows = pairs[kinds == kind]
        for col, column in ((2, "plateau"), (3, "mean_improvement")):
            fig.add_scatter(
                x=rows["accuracy_difference"],
                y=rows[column],
                mode="markers",
                marker={"color": colour, "size": 7, "opacity": 0.8},
                text=names[rows.index],
                customdata=rows["cost_ratio"],
                hovertemplate=hover,
                name=kind,
                legendgroup=kind,
                showlegend=col == 2 and len(rows) > 0,
                row=1,
                col=col,
            )
    fig.update_xaxes(title="accuracy difference of the pair", **style.per_cent_axis())
    fig.update_xaxes(title="early exit rate of the first model", row=1, col=1)
    for col in (1, 2):
        fig.update_yaxes(**style.per_cent_axis(), row=1, col=col)
    fig.update_yaxes(title=style.GAIN, row=1, col=3, **style.GAIN_AXIS)
    legend = BELOW | {"title": {"text": "cost of the second model ÷ cost of the first"}}
    return fig.titled(title, width=WIDTH, legend=legend, margin={"b": 110})
