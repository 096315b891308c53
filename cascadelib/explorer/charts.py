"""The explorer's views in one figure, from plain arrays and tables; a drag changes a few arrays of its traces.

:func:`explorer_figure` has empty traces, each with its name as ``meta``; :data:`Traces` are what :func:`changed` puts
there. Arrays are float32: that is what goes over the wire.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from ..evaluation.pareto import pareto_front
from ..figures import style
from ..fronts.front import Front
from ..methods.thresholds import own_units
from . import state

Traces = dict[str, dict]  # {name: {property: value}}
Readings = Mapping[str, state.Reading]  # {split: …}
WIDTH, HEIGHT = 1080, 600
FRONT, FLOW_AT, ROWS = [0, 0.54], [0.6, 1], ([0.41, 0.94], [0, 0.26])  # shares of the figure
CORNER = [0, 0.001]  # for axes out of use, which would lie above the others and keep the mouse from them
SPLIT_COLOURS = (style.PALETTE[0], style.PALETTE[3])  # the split that cascades are chosen on, the held-out one
HATCHED = {"shape": "/", "size": 6, "solidity": 0.2, "fillmode": "overlay", "fgcolor": "#7A4B00"}
BARS = {
    "right": {"color": style.PALETTE[5], "line": {"width": 0}},
    "wrong": {"color": style.PALETTE[4], "line": {"width": 0}, "pattern": HATCHED},
    "sent on": {"color": "#D9D9D9", "line": {"width": 0}},
}
COUNTS = ("right", "wrong", "held-out right", "held-out wrong")  # what a histogram shows
NO_FRONT = pd.DataFrame({"cost": [], "accuracy": [], "models": []})
MOST = 300  # points of a curve: what a screen shows


def wire(values: ArrayLike) -> np.ndarray:
    """Numbers as float32."""
    return np.asarray(values, np.float32)


def changed(fig: go.Figure, layout: dict, *parts: Traces) -> None:
    """Put traces and a layout into a FigureWidget, in one message."""
    of = {trace.meta: trace for trace in fig.data}
    with fig.batch_update():
        for traces in parts:
            for name, properties in traces.items():
                for key, value in properties.items():
                    of[name][key] = style.plain(value) if key == "text" else value
        fig.update_layout(layout)


def explorer_figure(splits: Sequence[str], stages: int) -> go.Figure:
    """The figure, with empty traces. splits: one or two names; stages: the most thresholds that a cascade may have."""
    fig = style.figure("", width=WIDTH, height=HEIGHT, barmode="overlay", bargap=0)
    fig.update_layout(annotations=[stage_title(i, "", 0) for i in range(stages)])
    legend = {"orientation": "h", "yanchor": "bottom", "y": 0.95, "font": {"size": 11}}
    fig.update_layout(legend={**legend, "x": FRONT[0]}, legend2={**legend, "x": FLOW_AT[0]}, font_size=11)
    fig.update_layout(margin={"l": 58, "r": 20, "t": 8, "b": 40}, uniformtext={"minsize": 9, "mode": "hide"})
    add_curves(fig, splits)
    for name, marker in BARS.items():
        hover = "%{x:.2%}<extra>" + name + "</extra>"
        text = {"textposition": "inside", "insidetextanchor": "middle", "textangle": 0, "hovertemplate": hover}
        at = {"xaxis": "x2", "yaxis": "y2", "legend": "legend2", "insidetextfont": {"color": style.BLACK}, **text}
        fig.add_bar(meta=name, name=name, orientation="h", marker=marker, **at)
    for i in range(stages):
        place: dict = {"xaxis": f"x{i + 3}", "yaxis": f"y{i + 3}", "showlegend": False}
        # from the start: plotly.js takes the range of an axis whose type changes for one of the type before
        fig.update_layout({f"yaxis{i + 3}": {"type": "log", "dtick": 1}})
        for kind, dash in (("right", "solid"), ("wrong", "dot")):
            fig.add_bar(meta=f"{kind} {i + 1}", name=kind, marker=BARS[kind], hoverinfo="y+name", **place)
            named = {"meta": f"held-out {kind} {i + 1}", "name": f"{kind}, held-out", "hoverinfo": "y+name"}
            style.add_line(fig, None, None, SPLIT_COLOURS[1], 1.5, dash, line_shape="hvh", **named, **place)
        style.add_line(fig, None, None, style.BLACK, 2, meta=f"threshold {i + 1}", hoverinfo="skip", **place)
    return fig


def add_curves(fig: go.Figure, splits: Sequence[str]) -> None:
    """Traces of the front, single models, the cascade's curve and its point on each split."""
    for split, colour in zip(splits, (style.GREY, SPLIT_COLOURS[1])):
        name: dict = {"meta": f"hull, {split}", "name": "hull", "showlegend": split == splits[0]}
        style.add_line(fig, None, None, colour, 1.5, "dot", hoverinfo="skip", **name)
    marker = {"color": style.GREY, "size": 7}
    fig.add_scatter(meta="singles", name="single models", mode="markers", marker=marker, hovertemplate=style.HOVER)
    look: dict = {"mode": "lines+markers", "marker": {"size": 4}, "hovertemplate": style.HOVER}
    style.add_line(fig, None, None, style.BLACK, 1, line_shape="hv", meta="front", name="front (click a point)", **look)
    for split, colour, dash in zip(splits, SPLIT_COLOURS, ("solid", "dash")):
        name = {"meta": f"curve, {split}", "name": "this cascade" if split == splits[0] else split}
        style.add_line(fig, None, None, colour, 2.5, dash, hoverinfo="skip", opacity=0.75, **name)
    for split, colour, symbol in list(zip(splits, SPLIT_COLOURS, ("circle", "diamond")))[::-1]:
        marker = {"color": colour, "size": 13, "symbol": symbol, "line": {"color": "white", "width": 1.5}}
        hover = f"%{{y:.2%}} at %{{x:.4s}}<extra>{split}</extra>"
        fig.add_scatter(meta=f"now, {split}", mode="markers", marker=marker, hovertemplate=hover, showlegend=False)


def stage_title(stage: int, name: str, left: float) -> dict:
    """The name of a stage's model above its histogram, which begins at ``left``. There are always as many such:
    plotly.js refuses a list of annotations that grows and moves in one message."""
    place = {"xref": "paper", "yref": "paper", "x": left, "y": ROWS[1][1], "yanchor": "bottom", "xanchor": "left"}
    return {**place, "showarrow": False, "text": f"<b>{stage + 1}</b> {style.plain(name)}" if name else " "}


def baselines(singles: Mapping[str, pd.DataFrame]) -> Traces:
    """Hulls, and single models of the first split. singles: {split: ``front.singles`` there}."""
    traces = {f"hull, {split}": dict(zip("xy", map(wire, style.hull_line(table)))) for split, table in singles.items()}
    first = next(iter(singles.values()))
    faint = wire(np.where(first["on_front"], 1, 0.4))
    shown = {"x": wire(first["cost"]), "y": wire(first["accuracy"]), "text": list(first.index), "marker.opacity": faint}
    return traces | {"singles": shown}


def front_axes(singles: Mapping[str, pd.DataFrame], front: pd.DataFrame, cost: str, score: str) -> dict:
    """Fixed axes around the hulls of all splits, {split: singles}, and the front's table; score: a title."""
    low = min(table.loc[table["on_hull"], "accuracy"].iloc[0] for table in singles.values())
    high = np.nanmax([table["accuracy"].max() for table in (*singles.values(), front)])
    room, cost_of = 0.05 * max(high - low, 1e-3), np.concatenate([table["cost"] for table in singles.values()])
    paid = cost_of[cost_of > 0] if cost_of.any() else np.ones(1)  # what is free has no place on a log axis
    ends = np.log10([paid.min() * 0.8, paid.max() * 2]).tolist()
    x = {**style.cost_axis(cost), "domain": FRONT, "range": ends}
    return {"xaxis": x, "yaxis": style.per_cent_axis(title=score, domain=ROWS[0], range=[low - room, high + room])}


def front_points(table: pd.DataFrame) -> tuple[Traces, np.ndarray]:
    """(traces, rows): the front decimated, and the rows of the table that its points stand for."""
    shown = style.decimated(table.assign(row=np.arange(len(table))), MOST)
    points = {"x": wire(shown["cost"]), "y": wire(shown["accuracy"]), "text": style.cascade_hover(shown)}
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
    return {name: {"x": wire(x[i]), "base": wire(base[i]), "text": text[i].tolist()} for i, name in enumerate(BARS)}


class Charts:
    """Front and curve, flow, histograms of confidence in one ``figure``, which changes once an event. splits, stages:
    as for :func:`explorer_figure`; clicked(row): called with a point of the front."""

    def __init__(self, splits: Collection[str], stages: int, clicked: Callable[[int], None]) -> None:
        self.stages, self.clicked, self.rows = stages, clicked, np.empty(0, int)
        self.figure = explorer_figure(list(splits), stages)

    def live(self) -> go.FigureWidget:
        """The figure as a widget from now on; drawn before, so that Voilà, which looks at it later, sees it drawn."""
        self.figure = go.FigureWidget(self.figure)
        front = next(trace for trace in self.figure.data if trace.meta == "front")
        front.on_click(lambda trace, points, _: [self.clicked(int(self.rows[i])) for i in points.point_inds[:1]])
        return self.figure

    def rest(self) -> None:
        """Let a page that opens the figure from now on (reloaded, or a second view) see it as it is: a FigureWidget
        tells open pages what changes, and keeps for others the state of when it was last displayed."""
        if isinstance(self.figure, go.FigureWidget):
            self.figure._repr_mimebundle_()

    def show_front(self, singles: Mapping[str, pd.DataFrame], cost: str, score: str, front: Front | None) -> None:
        """Single models {split: table}, and a front, or None while there is none; cost: its kind, score: its title."""
        table = NO_FRONT if front is None else front.table
        points, self.rows = front_points(table)
        changed(self.figure, front_axes(singles, table, cost, score), baselines(singles), points)

    def show_cascade(
        self, cascades: dict[str, state.CascadeOnSplit], thresholds: state.Thresholds, readings: Readings
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
        self.bins = {s: [state.bin_of(*pair) for pair in zip(c.sure, self.edges)] for s, c in cascades.items()}
        self.tops = [float(np.bincount(bins, minlength=state.BINS).max()) for bins in next(iter(self.bins.values()))]
        changed(self.figure, self.axes(self.first.models), curves, self.frames(d + 1), self.at(thresholds, readings))

    def axes(self, models: Sequence[str]) -> dict:
        """Layout of the flow and the histograms of a cascade of ``models``."""
        d, titles = len(models) - 1, [stage_title(i, "", 0) for i in range(self.stages)]
        ticks = {"tickvals": [-i for i in range(d + 1)], "ticktext": [str(i + 1) for i in range(d + 1)]}
        y: dict = {"range": [0.4 - len(models), 0.5], "title": "stage", "ticks": "", "domain": ROWS[0], "anchor": "x2"}
        x = style.per_cent_axis(title="share of all inputs", range=[0, 1], domain=FLOW_AT, anchor="y2")
        layout: dict = {"xaxis2": x, "yaxis2": {**ticks, **y}, "annotations": titles}
        for i in range(d, self.stages):
            layout[f"xaxis{i + 3}"] = layout[f"yaxis{i + 3}"] = {"visible": False, "domain": CORNER}
        for i, (name, edge, top) in enumerate(zip(models, self.edges, self.tops)):
            left, right = i / d + (0.04 if i else 0), (i + 1) / d
            own = sorted(own_units(self.metric, [edge[0], edge[-1]]).tolist())
            counts, title = [-0.2, np.log10(max(top, 1)) + 0.15], "inputs that arrive" if i == 0 else ""
            x = {"visible": True, "domain": [left, right], "anchor": f"y{i + 3}", "range": own}
            y = {"visible": True, "domain": ROWS[1], "anchor": f"x{i + 3}", "range": counts}
            layout[f"xaxis{i + 3}"] = {**x, "title": style.plain(str(self.metric or "confidence"))}
            layout[f"yaxis{i + 3}"] = {**y, "title": title}
            titles[i] = stage_title(i, name, left)
        return layout

    def frames(self, stages: int) -> Traces:
        """What of the bars and lines stays as long as a cascade of so many stages does."""
        splits = len(self.cascades)
        rows = [(-i - 0.36 * thin, 0.16 if thin else 0.5) for thin in range(splits) for i in range(stages)]
        y, width = (wire(values) for values in zip(*rows))
        traces: Traces = {name: {"y": y, "width": width} for name in BARS}
        for i, (edge, top) in enumerate(zip(self.edges, self.tops)):
            x, wide = wire(own_units(self.metric, (edge[1:] + edge[:-1]) / 2)), float(edge[1] - edge[0])
            for kind in ("right", "wrong"):
                traces[f"{kind} {i + 1}"] = {"x": x, "width": wide, "visible": True}
                traces[f"held-out {kind} {i + 1}"] = {"x": x, "visible": splits > 1}
            traces[f"threshold {i + 1}"] = {"y": wire([0.5, top * 1.4]), "visible": True}
        for i in range(stages - 1, self.stages):
            traces |= {f"{kind} {i + 1}": {"visible": False} for kind in (*COUNTS, "threshold")}
        return traces

    def show_thresholds(self, thresholds: state.Thresholds, readings: Readings, stage: int) -> None:
        """The same cascade with another threshold of ``stage``."""
        changed(self.figure, {}, self.at(thresholds, readings, stage))

    def at(self, thresholds: state.Thresholds, readings: Readings, moved: int = -1) -> Traces:
        """Traces at thresholds: all, or what changes with that of stage ``moved``: its histogram and those before it
        stay. The lines of always and never stand at the edge of the picture."""
        points = {f"now, {split}": {"x": wire([r.cost]), "y": wire([r.accuracy])} for split, r in readings.items()}
        traces = points | flow(readings)
        for i in range(max(moved, 0), len(thresholds)):
            at = float(own_units(self.metric, np.clip(thresholds[i], self.edges[i][0], self.edges[i][-1])))
            traces[f"threshold {i + 1}"] = {"x": wire([at, at])}
        for i in range(moved + 1, len(thresholds)):
            traces |= self.bars(i, thresholds)
        return traces

    def bars(self, stage: int, thresholds: state.Thresholds) -> Traces:
        """Histograms of a stage, as if all splits had as many samples as the first."""
        counts: list[np.ndarray] = []
        for split, cascade in self.cascades.items():
            counted = state.histogram(cascade, thresholds, stage, self.bins[split][stage])
            counts += [wire(count * (len(self.first) / len(cascade))) for count in counted]
        return {f"{kind} {stage + 1}": {"y": count} for kind, count in zip(COUNTS, counts)}
