"""The explorer's views in one figure, from plain arrays and tables; a drag changes a few arrays of its traces.

:func:`explorer_figure` has empty traces, each with its name as ``meta``; :data:`Traces` are what :func:`changed` puts
there. Arrays are float32: that is what goes over the wire.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from traitlets import Int

from ..evaluation.pareto import pareto_front
from ..figures import style
from ..fronts.front import Front
from ..methods.thresholds import own_units
from . import state
from .readout import per_cent_text

HERE = Path(__file__).parent
DARK_JUPYTER = "body[data-jp-theme-light='false']"
Traces = dict[str, dict]  # {name: {property: value}}
Readings = Mapping[str, state.Reading]  # {split: …}
Box = tuple[
    float, float, float, float
]  # left, right, top, bottom: pixels from the figure's upper left corner
STILL = 1000  # pixels: the width of a figure that no page has asked for
WIDE = 960  # pixels from which front and flow stand side by side
HISTOGRAM = 290  # pixels that one needs beside others
LEFT, RIGHT, UNDER = 58, 26, 46  # pixels of ticks and titles
LEGEND, BAR = 20, 26  # pixels: a line of a legend, plotly's toolbar
CORNER = [
    0,
    0.001,
]  # for axes out of use, which would lie above the others and keep the mouse from them
CLEAR, INK = "rgba(0,0,0,0)", "#111111"  # ink: on bars, which are bright on any page
SPLIT_COLOURS = (
    style.PALETTE[0],
    style.PALETTE[3],
)  # the split that cascades are chosen on, the held-out one
HATCHED = {"shape": "/", "size": 6, "solidity": 0.15, "fillmode": "overlay", "fgcolor": "#603C00"}
BARS = {
    "right": {"color": style.PALETTE[5], "line": {"width": 0}},
    "wrong": {"color": style.PALETTE[4], "line": {"width": 0}, "pattern": HATCHED},
    "sent on": {"color": style.REST, "line": {"width": 0}},
}
OF_STAGE = (
    "right",
    "wrong",
    "below",
    "held-out right",
    "held-out below",
    "threshold",
)  # a histogram's traces
ALIVE = "The explorer at rest. To drag its thresholds: make lab, and run this cell; or make app."
NO_FRONT = pd.DataFrame({"cost": [], "accuracy": [], "models": []})
MANY = 30  # inputs of a bin whose shares count for full: of fewer it is faint
MOST = 300  # points of a curve: what a screen shows


def wire(values: ArrayLike) -> np.ndarray:
    """Numbers as float32."""
    return np.asarray(values, np.float32)


def changed(fig: go.Figure, layout: dict, *parts: Traces) -> None:
    """Put traces and a layout into a FigureWidget, in one message; of two values for one property the later."""
    of: dict = {trace.meta: trace for trace in fig.data}
    values: dict = {}
    for traces in parts:
        for name, properties in traces.items():
            values |= {(name, key): value for key, value in properties.items()}
    with (
        fig.batch_update()
    ):  # which drops a value that the figure has, also where another one was set before it
        for (name, key), value in values.items():
            of[name][key] = style.plain(value) if key == "text" else value
        fig.update_layout(layout)


def explorer_figure(splits: Sequence[str], stages: int) -> go.Figure:
    """The figure, with empty traces. splits: one or two names; stages: the most thresholds that a cascade may have."""
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
    fig.update_layout(legend=legend, legend2=legend, legend3=legend, margin_autoexpand=False)
    fig.update_layout(uniformtext={"minsize": 9, "mode": "hide"})
    fig.update_layout(
        modebar={"remove": "zoom in out select lasso autoscale".split(), "bgcolor": CLEAR}
    )
    fig.update_layout(template_layout_xaxis_title_standoff=4)
    add_curves(fig, splits)
    for name, marker in BARS.items():
        hover = "%{x:.2%}<extra>" + name + "</extra>"
        text = {
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "hovertemplate": hover,
        }
        at = {
            "xaxis": "x2",
            "yaxis": "y2",
            "legend": "legend2",
            "insidetextfont": {"color": INK},
            **text,
        }
        fig.add_bar(meta=name, name=name, orientation="h", marker=marker, **at)
    for i in range(stages):
        place: dict = {"xaxis": f"x{i + 3}", "yaxis": f"y{i + 3}", "legend": "legend3"}
        for kind in ("right", "wrong"):
            bar = {
                "marker": BARS[kind],
                "showlegend": False,
                "hovertemplate": f"%{{value:.1%}} {kind}<extra></extra>",
            }
            fig.add_bar(meta=f"{kind} {i + 1}", **bar, **place)
        place["showlegend"] = i == 0
        sent = "%{y:.1%} sent on at %{x:.4g}<extra></extra>"
        below: dict = {"name": "sent on by a threshold here", "hovertemplate": sent, **place}
        style.add_line(fig, None, None, style.BLACK, 1.5, meta=f"below {i + 1}", **below)
        held: dict = {
            "meta": f"held-out right {i + 1}",
            "name": "right, held-out",
            "hoverinfo": "skip",
            **place,
        }
        style.add_line(fig, None, None, SPLIT_COLOURS[1], 2, line_shape="hvh", **held)
        held |= {"meta": f"held-out below {i + 1}", "name": "sent on, held-out"}
        style.add_line(fig, None, None, SPLIT_COLOURS[1], 1.5, "dash", **held)
        place |= {"hoverinfo": "skip", "showlegend": False}
        style.add_line(fig, [0, 0], [0, 1], style.BLACK, 3, meta=f"threshold {i + 1}", **place)
    return fig


def places(width: int, stages: int) -> tuple[int, dict[str, Box], float]:
    """Where the charts of a cascade of ``stages`` thresholds stand in a figure of that width: (height, {"front", "flow"
    and numbers of histograms: their boxes}, top of the histograms' legend)."""
    right, lines = width - RIGHT, 1 if width > 560 else 3
    top = BAR + LEGEND * lines
    if width >= WIDE:
        middle, bottom = round(0.57 * width), top + 310
        boxes: dict[str, Box] = {
            "front": (LEFT, middle, top, bottom),
            "flow": (middle + 56, right, top, bottom),
        }
    else:
        flow = top + 290 + UNDER + LEGEND
        bottom = flow + 40 + 45 * stages
        boxes = {"front": (LEFT, right, top, top + 290), "flow": (LEFT, right, flow, bottom)}
    legend = bottom + UNDER + LEGEND * lines
    top = legend + LEGEND // 2  # of a tick's label that stands beside the legend
    columns = max(1, min(stages, width // HISTOGRAM))
    step = (width - LEFT - RIGHT + 44) / columns
    for i in range(stages):
        left, above = LEFT + i % columns * step, top + i // columns * (130 + UNDER + LEGEND)
        boxes[str(i)] = (left, left + step - 44, above, above + 130)
        bottom = above + 130
    return round(bottom + UNDER + LEGEND), boxes, legend


def add_curves(fig: go.Figure, splits: Sequence[str]) -> None:
    """Traces of the front, single models, the cascade's curve and its point on each split."""
    for split, colour in zip(splits, (style.GREY, SPLIT_COLOURS[1])):
        name: dict = {"meta": f"hull, {split}", "name": "hull", "showlegend": split == splits[0]}
        style.add_line(fig, None, None, colour, 1.5, "dot", hoverinfo="skip", **name)
    marker = {"color": style.GREY, "size": 7}
    fig.add_scatter(
        meta="singles",
        name="single models",
        mode="markers",
        marker=marker,
        hovertemplate=style.HOVER,
    )
    look: dict = {"mode": "lines+markers", "marker": {"size": 4}, "hovertemplate": style.HOVER}
    style.add_line(
        fig,
        None,
        None,
        style.BLACK,
        1,
        line_shape="hv",
        meta="front",
        name="front (click a point)",
        **look,
    )
    for split, colour, dash in zip(splits, SPLIT_COLOURS, ("solid", "dash")):
        name = {"meta": f"curve, {split}", "name": "this cascade" if split == splits[0] else split}
        style.add_line(fig, None, None, colour, 2.5, dash, hoverinfo="skip", opacity=0.75, **name)
    marker = {
        "symbol": "arrow",
        "angleref": "previous",
        "size": [0, 9],
        "standoff": [0, 7],
        "color": SPLIT_COLOURS[1],
    }
    move: dict = {
        "mode": "lines+markers",
        "marker": marker,
        "hoverinfo": "skip",
        "showlegend": False,
    }
    style.add_line(fig, None, None, SPLIT_COLOURS[1], 1.5, meta="change", **move)
    for split, colour, symbol in list(zip(splits, SPLIT_COLOURS, ("circle", "diamond")))[::-1]:
        marker = {
            "color": colour,
            "size": 13,
            "symbol": symbol,
            "line": {"color": "white", "width": 1.5},
        }
        hover = f"%{{y:.2%}} at %{{x}}<extra>{split}</extra>"
        fig.add_scatter(
            meta=f"now, {split}",
            mode="markers",
            marker=marker,
            hovertemplate=hover,
            showlegend=False,
        )
    text = {
        "textfont": {"color": style.BLACK, "size": 13, "weight": "bold"},
        "textposition": "top left",
    }
    fig.add_scatter(meta="told", mode="text", hoverinfo="skip", showlegend=False, **text)


def baselines(singles: Mapping[str, pd.DataFrame]) -> Traces:
    """Hulls, and single models of the first split. singles: {split: ``front.singles`` there}."""
    traces = {
        f"hull, {split}": dict(zip("xy", map(wire, style.hull_line(table))))
        for split, table in singles.items()
    }
    first = next(iter(singles.values()))
    faint = wire(np.where(first["on_front"], 1, 0.4))
    shown = {
        "x": wire(first["cost"]),
        "y": wire(first["accuracy"]),
        "text": list(first.index),
        "marker.opacity": faint,
    }
    return traces | {"singles": shown}


def front_axes(
    singles: Mapping[str, pd.DataFrame], front: pd.DataFrame, cost: str, score: str
) -> dict:
    """Fixed axes around the hulls of all splits, {split: singles}, and the front's table; score: a title."""
    low = min(table.loc[table["on_hull"], "accuracy"].iloc[0] for table in singles.values())
    high = np.nanmax([table["accuracy"].max() for table in (*singles.values(), front)])
    room, cost_of = (
        0.05 * max(high - low, 1e-3),
        np.concatenate([table["cost"] for table in singles.values()]),
    )
    paid = (
        cost_of[cost_of > 0] if cost_of.any() else np.ones(1)
    )  # what is free has no place on a log axis
    ends = np.log10([paid.min() * 0.8, paid.max() * 2]).tolist()
    y = style.per_cent_axis(
        title=score, range=[low - 2 * room, high + room]
    )  # below: room for the change
    return {"xaxis": {**style.cost_axis(cost), "range": ends}, "yaxis": y}


def front_points(table: pd.DataFrame) -> tuple[Traces, np.ndarray]:
    """(traces, rows): the front decimated, and the rows of the table that its points stand for."""
    shown = style.decimated(table.assign(row=np.arange(len(table))), MOST)
    points = {
        "x": wire(shown["cost"]),
        "y": wire(shown["accuracy"]),
        "text": style.cascade_hover(shown),
    }
    return {"front": points}, shown["row"].to_numpy()


def flow(readings: Readings) -> Traces:
    """Where the inputs go on each split, the first with counts as text."""
    parts = []
    for thin, reading in enumerate(readings.values()):
        k, left = len(reading.correct), np.cumsum(reading.exits)
        counts = np.array([reading.exits_right, reading.exits - reading.exits_right, k - left])
        starts = left - reading.exits + np.array([0 * left, reading.exits_right, reading.exits])
        texts = [["" if thin or not n else f"{n:,.0f}" for n in row] for row in counts.tolist()]
        parts.append((counts / k, starts / k, texts))
    x, base, text = (np.concatenate(part, axis=1) for part in zip(*parts))
    return {
        name: {"x": wire(x[i]), "base": wire(base[i]), "text": text[i].tolist()}
        for i, name in enumerate(BARS)
    }


class PageScript(anywidget.AnyWidget):
    """A line without height that tells how many pixels ``width`` the page leaves, and brings the style sheet along."""

    _esm, _css = (
        HERE / "page.js",
        (HERE / "page.css").read_text(encoding="utf-8") + style.dark_css(DARK_JUPYTER),
    )
    width = Int(STILL).tag(sync=True)


class Charts:
    """Front and curve, flow, histograms of confidence in one ``figure``, which changes once an event. splits, stages:
    as for :func:`explorer_figure`; clicked(row): called with a point of the front."""

    def __init__(
        self, splits: Collection[str], stages: int, clicked: Callable[[int], None]
    ) -> None:
        self.page, self.figure = PageScript(), explorer_figure(list(splits), stages)
        self.page.add_class("cascadelib-page").observe(
            lambda _: changed(self.figure, self.axes()), "width"
        )
        self.stages, self.clicked, self.rows = stages, clicked, np.empty(0, int)

    def live(self) -> widgets.VBox:
        """The figure as a widget from now on; drawn before, so that Voilà, which looks at it later, sees it drawn."""
        self.figure = go.FigureWidget(self.figure)
        front = next(trace for trace in self.figure.data if trace.meta == "front")
        front.on_click(
            lambda trace, points, _: [
                self.clicked(int(self.rows[i])) for i in points.point_inds[:1]
            ]
        )
        self.figure._config = {**self.figure._config, "displaylogo": False}
        return widgets.VBox([self.page, self.figure])

    def still(self) -> dict:
        """The figure at rest as plotly's JSON, and how to bring it to life."""
        title = {
            "text": ALIVE,
            "font": {"size": 13},
            "x": 0,
            "y": 1,
            "pad": {"l": 4, "t": 6},
            "yanchor": "top",
        }
        return json.loads(go.Figure(self.figure).update_layout(title=title).to_json())

    def rest(self) -> None:
        """Let a page that opens the figure from now on (reloaded, or a second view) see it as it is: a FigureWidget
        tells open pages what changes, and keeps for others the state of when it was last displayed."""
        if isinstance(self.figure, go.FigureWidget):
            self.figure._repr_mimebundle_()

    def show_front(
        self, singles: Mapping[str, pd.DataFrame], cost: str, score: str, front: Front | None
    ) -> None:
        """Single models {split: table}, and a front, or None while there is none; cost: its kind, score: its title."""
        table = NO_FRONT if front is None else front.table
        points, self.rows = front_points(table)
        axes = front_axes(singles, table, cost, score)
        (_, right), (low, high) = axes["xaxis"]["range"], axes["yaxis"]["range"]
        corner = {"x": wire([10 ** (right - 0.02)]), "y": wire([low + 0.01 * (high - low)])}
        changed(self.figure, axes, baselines(singles), points, {"told": corner})

    def show_cascade(
        self,
        cascades: dict[str, state.CascadeOnSplit],
        thresholds: state.Thresholds,
        readings: Readings,
    ) -> None:
        """Another cascade, on each split: its curve at the first split's thresholds, and all the rest."""
        self.cascades, self.first = cascades, next(iter(cascades.values()))
        self.metric = self.first.task.metric
        d, curves, edges = self.first.stages - 1, {}, state.grid_edges(self.first)
        for split, cascade in cascades.items():
            accuracy, cost = (values.ravel() for values in state.grid_curve(cascade, edges))
            if cascade is self.first:  # all of one threshold; of more, what is not dominated there
                cells = pareto_front(cost, accuracy) if d > 1 else np.arange(cost.size)
            shown = style.decimated(pd.DataFrame({"x": cost[cells], "y": accuracy[cells]}), MOST)
            curves[f"curve, {split}"] = {axis: wire(values) for axis, values in shown.items()}
        self.edges = [state.edges_of(self.first, i) for i in range(d)]
        self.bins = {
            s: [state.bin_of(*pair) for pair in zip(c.sure, self.edges)]
            for s, c in cascades.items()
        }
        changed(self.figure, self.axes(), curves, self.frames(d + 1), self.at(thresholds, readings))

    def axes(self) -> dict:
        """Layout of all charts of the present cascade, as wide as the page."""
        models, metric = self.first.models, style.plain(str(self.metric or "confidence"))
        width, d = self.page.width, len(models) - 1
        height, boxes, legend = places(width, d)
        domains = {
            name: ([left / width, right / width], [1 - bottom / height, 1 - top / height])
            for name, (left, right, top, bottom) in boxes.items()
        }
        ticks = {
            "tickvals": [-i for i in range(d + 1)],
            "ticktext": [str(i + 1) for i in range(d + 1)],
        }
        y: dict = {"range": [0.4 - len(models), 0.5], "title": "stage", "ticks": "", "anchor": "x2"}
        layout: dict = {"width": width, "height": height, "yaxis2": {**ticks, **y}}
        layout["xaxis2"] = style.per_cent_axis(
            title="share of all inputs", range=[0, 1], anchor="y2"
        )
        for name, axis in (("front", ""), ("flow", "2")):
            for side, domain in zip("xy", domains[name]):
                layout[f"{side}axis{axis}"] = {
                    **layout.get(f"{side}axis{axis}", {}),
                    "domain": domain,
                }
        starts = {
            "legend": boxes["front"],
            "legend2": boxes["flow"],
            "legend3": (LEFT, 0, legend, 0),
        }
        for name, (left, _, top, _) in starts.items():
            layout[name] = {"x": (left if width >= WIDE else 4) / width, "y": 1 - top / height}
        for i in range(d, self.stages):
            layout[f"xaxis{i + 3}"] = layout[f"yaxis{i + 3}"] = {"visible": False, "domain": CORNER}
        for i, (name, edge) in enumerate(zip(models, self.edges)):
            across, up = domains[str(i)]
            own = sorted(own_units(self.metric, [edge[0], edge[-1]]).tolist())
            title = f"<b>{i + 1}</b> {style.plain(name)}<br>{metric}"
            at: dict = {
                "visible": True,
                "domain": across,
                "anchor": f"y{i + 3}",
                "range": own,
                "title": title,
            }
            layout[f"xaxis{i + 3}"] = at
            at = at | {"domain": up, "anchor": f"x{i + 3}", "range": [0, 1], "title": "share"}
            layout[f"yaxis{i + 3}"] = style.per_cent_axis(**at)
        return layout

    def frames(self, stages: int) -> Traces:
        """What of the bars and lines stays as long as a cascade of so many stages does."""
        splits = len(self.cascades)
        rows = [
            (-i - 0.36 * thin, 0.16 if thin else 0.5)
            for thin in range(splits)
            for i in range(stages)
        ]
        y, width = (wire(values) for values in zip(*rows))
        traces: Traces = {name: {"y": y, "width": width} for name in BARS}
        for i, edge in enumerate(self.edges):
            ends = wire(own_units(self.metric, edge))
            x = wire(own_units(self.metric, (edge[1:] + edge[:-1]) / 2))
            for kind in OF_STAGE:
                there = splits > 1 or not kind.startswith("held-out")
                traces[f"{kind} {i + 1}"] = {"x": ends if "below" in kind else x, "visible": there}
        for i in range(stages - 1, self.stages):
            traces |= {f"{kind} {i + 1}": {"visible": False} for kind in OF_STAGE}
        return traces

    def show_thresholds(self, thresholds: state.Thresholds, readings: Readings, stage: int) -> None:
        """The same cascade with another threshold of ``stage``."""
        changed(self.figure, {}, self.at(thresholds, readings, stage))

    def at(self, thresholds: state.Thresholds, readings: Readings, moved: int = -1) -> Traces:
        """Traces at thresholds: all, or what changes with that of stage ``moved``: its histogram and those before it
        stay. The lines of always and never stand at the edge of the picture."""
        traces = self.points(readings) | flow(readings)
        for i in range(max(moved, 0), len(thresholds)):
            at = float(
                own_units(self.metric, np.clip(thresholds[i], self.edges[i][0], self.edges[i][-1]))
            )
            traces[f"threshold {i + 1}"] = {"x": wire([at, at])}
        for i in range(moved + 1, len(thresholds)):
            traces |= self.histograms(i, thresholds)
        return traces

    def points(self, readings: Readings) -> Traces:
        """The cascade on each split; of two, an arrow from the first to the second, and the change in accuracy."""
        points: Traces = {
            f"now, {split}": {"x": wire([r.cost]), "y": wire([r.accuracy])}
            for split, r in readings.items()
        }
        if len(points) == 2:
            (_, here), (split, there) = readings.items()
            k, change = len(there.correct), there.accuracy - here.accuracy
            told = f"{split} {per_cent_text(there.accuracy, k)} ({per_cent_text(change, k, '+')})"
            ends = {
                axis: np.concatenate([point[axis] for point in points.values()]) for axis in "xy"
            }
            points |= {"change": ends, "told": {"text": [told]}}
        return points

    def histograms(self, stage: int, thresholds: state.Thresholds) -> Traces:
        """A stage's shares of right and wrong among the inputs in each bin, and of those that arrive with less."""
        traces: Traces = {}
        for split, cascade in self.cascades.items():
            right, wrong = state.histogram(cascade, thresholds, stage, self.bins[split][stage])
            total, prefix = right + wrong, "" if cascade is self.first else "held-out "
            shares = np.divide(
                [right, wrong], total, out=np.zeros((2, state.BINS)), where=total > 0
            )
            if prefix and total.any():  # a line, which goes straight through bins without inputs
                shares[0] = np.interp(
                    np.arange(state.BINS), np.flatnonzero(total), shares[0][total > 0]
                )
            below = np.append(0, np.cumsum(total)) / max(total.sum(), 1)
            of_split = {"right": {"y": wire(shares[0])}, "below": {"y": wire(below)}}
            if cascade is self.first:
                sure = wire(np.clip(total / MANY, 0.2, 1))
                of_split["right"]["marker.opacity"] = sure
                of_split["wrong"] = {
                    "y": wire(shares[1]),
                    "base": wire(shares[0]),
                    "marker.opacity": sure,
                }
            traces |= {f"{prefix}{kind} {stage + 1}": values for kind, values in of_split.items()}
        return traces
