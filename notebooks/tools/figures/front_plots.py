"""The paper's figures of fronts and of single pairs: 1, 2, 4, 5 and 10."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cascadelib import Front, Point
from cascadelib.figures import style
from cascadelib.figures.fronts import least_cost_at, merge_coinciding
from cascadelib.figures.tables import arrow
from tools.figures.plots import BELOW, Tables, add_front, label_row, panels

WIDTH = 1150
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
    """Draw figures 1, 4 and 5: accuracy against cost, and the improvement factor against accuracy.

    fronts: of one store, with the same colour in both panels. Coinciding fronts are drawn once,
    under all names. points: {letter: point}, stars (Table 1). Rings are single
    models on the hull, at which cascades gain least. The ring of the lowest factor is named.
    """
    first = next(iter(fronts.values()))
    singles = first.singles
    titles = ("accuracy against cost", "improvement factor at equal accuracy")
    fig, _ = panels(titles, 2, 480, horizontal_spacing=0.09)
    style.add_singles(fig, singles, row=1, col=1)
    tables = [front.table for front in fronts.values()]
    accuracies = np.unique(pd.concat(tables)["accuracy"])
    costs = {label: least_cost_at(front.table, accuracies) for label, front in fronts.items()}
    shown = merge_coinciding(costs)
    for i, (label, name) in enumerate(shown.items()):
        at: dict = {"name": name, "legendgroup": label, "row": 1, "col": 1}
        colour = style.colour(i)
        add_front(fig, fronts[label], name, colour, 1.8, **at)
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
    high = max(singles["accuracy"].max(), accuracies[-1])
    margin = high - low
    ends = [low - 0.04 * margin, high + 0.09 * margin]
    axis = style.cost_axis(first.cost_kind, singles["cost"])
    label_row(fig, 1, axis, "accuracy", ends)
    return fig.titled(title, width=WIDTH, legend=BELOW, margin={"b": 130})


def _add_vertices(fig: style.Figure, front: Front) -> None:
    """Add rings at the improvement over the single models on the hull, and name the least inner
    one."""
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
    inner = gain[1:-1]
    if len(inner):
        least = 1 + int(np.argmin(inner))
        name = style.escape_text(hull.index[least])
        fig.add_annotation(
            x=hull["accuracy"].iloc[least],
            y=np.log10(gain[least]),
            xref="x2",
            yref="y2",
            ax=0,
            ay=42,
            showarrow=True,
            arrowwidth=1,
            arrowhead=0,
            text=f"least at a strong model:<br>{name}",
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
