"""The explorer's figure before it shows anything: its empty traces, each with its name as ``meta``,
and where its charts stand on a page of any width."""

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from ..figures import style

WIDE = 960  # pixels from which front and flow stand side by side
HISTOGRAM = 290  # pixels that one needs beside others
LEFT = 58  # pixels of ticks and a title
EDGE = 26  # pixels that stay free at the other side
UNDER = 46  # pixels of ticks and a title
LEGEND = 20  # pixels of a line of a legend
BAR = 26  # pixels of plotly's toolbar
CLEAR = "rgba(0,0,0,0)"
INK = "#111111"  # on bars, which are bright on any page
# Of the split that cascades are chosen on, and of the held-out one.
SPLIT_COLOURS = (style.PALETTE[0], style.PALETTE[3])
HATCHED = {"shape": "/", "size": 6, "solidity": 0.15, "fillmode": "overlay", "fgcolor": "#603C00"}
BARS = {
    "correct": {"color": style.PALETTE[5], "line": {"width": 0}},
    "incorrect": {"color": style.PALETTE[4], "line": {"width": 0}, "pattern": HATCHED},
    "sent on": {"color": style.REST, "line": {"width": 0}},
}


class Rectangle(NamedTuple):
    """Where a chart stands: pixels from the figure's upper left corner."""

    start: float
    end: float
    top: float
    bottom: float


def explorer_figure(splits: Sequence[str], stages: int) -> go.Figure:
    """The figure, with empty traces. splits: one or two names; stages: the most thresholds that a
    cascade may have."""
    fig = style.figure(
        "", barmode="overlay", bargap=0, font_size=11, margin=dict.fromkeys("lrtb", 0)
    )
    legend = {
        "orientation": "h",
        "yanchor": "bottom",
        "font": {"size": 11},
        "itemclick": False,
        "bgcolor": CLEAR,
    }
    modebar = {"remove": "zoom in out select lasso autoscale".split(), "bgcolor": CLEAR}
    fig.update_layout(legend=legend, legend2=legend, legend3=legend, margin_autoexpand=False)
    fig.update_layout(uniformtext={"minsize": 9, "mode": "hide"})
    fig.update_layout(modebar=modebar)
    fig.update_layout(template_layout_xaxis_title_standoff=4)
    add_curves(fig, splits)
    add_flow(fig)
    for stage in range(stages):
        add_histogram(fig, stage)
    return fig


def add_flow(fig: go.Figure) -> None:
    """Bars of what leaves at each stage, correct and incorrect, and of what is sent on."""
    for name, marker in BARS.items():
        fig.add_bar(
            meta=name,
            name=name,
            orientation="h",
            marker=marker,
            xaxis="x2",
            yaxis="y2",
            legend="legend2",
            insidetextfont={"color": INK},
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            hovertemplate="%{x:.2%}<extra>" + name + "</extra>",
        )


def add_histogram(fig: go.Figure, stage: int) -> None:
    """Bars and lines of one stage's confidences (0 = first), on both splits."""
    number = stage + 1
    place: dict = {"xaxis": f"x{stage + 3}", "yaxis": f"y{stage + 3}", "legend": "legend3"}
    for kind in ("correct", "incorrect"):
        hover = f"%{{value:.1%}} {kind}<extra></extra>"
        bar: dict = {"marker": BARS[kind], "showlegend": False, "hovertemplate": hover}
        fig.add_bar(meta=f"{kind} {number}", **bar, **place)
    place["showlegend"] = stage == 0
    below: dict = {
        "name": "sent on by a threshold here",
        "hovertemplate": "%{y:.1%} sent on at %{x:.4g}<extra></extra>",
    }
    style.add_line(fig, None, None, style.BLACK, 1.5, meta=f"below {number}", **below, **place)
    place["hoverinfo"] = "skip"
    held: dict = {"meta": f"held-out correct {number}", "name": "correct, held-out"}
    style.add_line(fig, None, None, SPLIT_COLOURS[1], 2, line_shape="hvh", **held, **place)
    held = {"meta": f"held-out below {number}", "name": "sent on, held-out"}
    style.add_line(fig, None, None, SPLIT_COLOURS[1], 1.5, "dash", **held, **place)
    place["showlegend"] = False
    style.add_line(fig, [0, 0], [0, 1], style.BLACK, 3, meta=f"threshold {number}", **place)


def places(width: int, stages: int) -> tuple[int, dict[str, Rectangle], float]:
    """Where the charts of a cascade of ``stages`` thresholds stand in a figure of that width:
    (height, {"front", "flow" and numbers of histograms: their boxes}, top of the histograms'
    legend)."""
    end = width - EDGE
    lines = 1 if width > 560 else 3
    top = BAR + LEGEND * lines
    boxes: dict[str, Rectangle] = {}
    if width >= WIDE:
        middle = round(0.57 * width)
        bottom: float = top + 310
        boxes["front"] = Rectangle(LEFT, middle, top, bottom)
        boxes["flow"] = Rectangle(middle + 56, end, top, bottom)
    else:
        flow = top + 290 + UNDER + LEGEND
        bottom = flow + 40 + 45 * stages
        boxes["front"] = Rectangle(LEFT, end, top, top + 290)
        boxes["flow"] = Rectangle(LEFT, end, flow, bottom)
    legend = bottom + UNDER + LEGEND * lines
    top_row = legend + LEGEND // 2  # room for a tick's label that stands beside the legend
    columns = max(1, min(stages, width // HISTOGRAM))
    step = (width - LEFT - EDGE + 44) / columns
    for stage in range(stages):
        left = LEFT + stage % columns * step
        above = top_row + stage // columns * (130 + UNDER + LEGEND)
        bottom = above + 130
        boxes[str(stage)] = Rectangle(left, left + step - 44, above, bottom)
    return round(bottom + UNDER + LEGEND), boxes, legend


def add_curves(fig: go.Figure, splits: Sequence[str]) -> None:
    """Traces of the front, single models, the cascade's curve and its point on each split."""
    hidden: dict = {"hoverinfo": "skip", "showlegend": False}
    for split, colour in zip(splits, (style.GREY, SPLIT_COLOURS[1])):
        name: dict = {"meta": f"hull, {split}", "name": "hull", "showlegend": split == splits[0]}
        style.add_line(fig, None, None, colour, 1.5, "dot", hoverinfo="skip", **name)
    fig.add_scatter(
        meta="singles",
        name="single models",
        mode="markers",
        marker={"color": style.GREY, "size": 7},
        hovertemplate=style.HOVER,
    )
    front: dict = {
        "meta": "front",
        "name": "front (click a point)",
        "mode": "lines+markers",
        "marker": {"size": 4},
        "hovertemplate": style.HOVER,
    }
    style.add_line(fig, None, None, style.BLACK, 1, line_shape="hv", **front)
    for split, colour, dash in zip(splits, SPLIT_COLOURS, ("solid", "dash")):
        name = {"meta": f"curve, {split}", "name": "this cascade" if split == splits[0] else split}
        style.add_line(fig, None, None, colour, 2.5, dash, hoverinfo="skip", opacity=0.75, **name)
    arrow = {
        "symbol": "arrow",
        "angleref": "previous",
        "size": [0, 9],
        "standoff": [0, 7],
        "color": SPLIT_COLOURS[1],
    }
    change: dict = {"meta": "change", "mode": "lines+markers", "marker": arrow, **hidden}
    style.add_line(fig, None, None, SPLIT_COLOURS[1], 1.5, **change)
    points = list(zip(splits, SPLIT_COLOURS, ("circle", "diamond")))
    for split, colour, symbol in reversed(points):  # the first one on top
        edge = {"color": "white", "width": 1.5}
        fig.add_scatter(
            meta=f"now, {split}",
            mode="markers",
            marker={"color": colour, "size": 13, "symbol": symbol, "line": edge},
            hovertemplate=f"%{{y:.2%}} at %{{x}}<extra>{split}</extra>",
            showlegend=False,
        )
    font = {"color": style.BLACK, "size": 13, "weight": "bold"}
    fig.add_scatter(meta="told", mode="text", textfont=font, textposition="top left", **hidden)


def across(box: Rectangle, width: float) -> list[float]:
    """The domain of a box's x axis in a figure of that width."""
    return [box.start / width, box.end / width]


def up(box: Rectangle, height: float) -> list[float]:
    """The domain of a box's y axis in a figure of that height."""
    return [1 - box.bottom / height, 1 - box.top / height]
