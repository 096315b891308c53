"""The explorer's views in one figure, each from plain arrays and tables; a drag changes a few arrays of its traces.

:func:`explorer_figure` has empty traces, each with its name as ``meta``. The other functions return ``{name: {property:
array}}`` or a layout for :func:`changed`. Arrays are float32: that is what goes over the wire.
"""

from itertools import chain

import numpy as np
import plotly.graph_objects as go

from ..figures.style import (
    BLACK,
    GREY,
    HOVER,
    PALETTE,
    cascade_hover,
    cost_axis,
    decimated,
    figure,
    hull_line,
    per_cent_axis,
)
from ..methods.thresholds import own_units
from .state import BINS, bin_of, edges_of, grid_curve, grid_edges, histogram, worth_showing

WIDTH, HEIGHT = 1080, 600
FRONT, FLOW_AT, ROWS = [0, 0.54], [0.6, 1], ([0.41, 0.94], [0, 0.26])  # shares of the figure
CORNER = [0, 0.001]  # for axes out of use, which would lie above the others and keep the mouse from them
SPLIT_COLOURS = (PALETTE[0], PALETTE[3])  # the split that cascades are chosen on, the held-out one
HATCHED = {"shape": "/", "size": 6, "solidity": 0.2, "fillmode": "overlay", "fgcolor": "#7A4B00"}
BARS = {
    "right": {"color": PALETTE[5], "line": {"width": 0}},
    "wrong": {"color": PALETTE[4], "line": {"width": 0}, "pattern": HATCHED},
    "sent on": {"color": "#D9D9D9", "line": {"width": 0}},
}
COUNTS = ("right", "wrong", "held-out right", "held-out wrong")  # what a histogram shows
MOST = 300  # points of a curve: what a screen shows


def wire(values):
    """Numbers as float32."""
    return np.asarray(values, np.float32)


def changed(fig, traces, layout=None):
    """Put {name: {property: value}} and a dict of layout into a FigureWidget, in one message."""
    of = {trace.meta: trace for trace in fig.data}
    with fig.batch_update():
        for name, properties in traces.items():
            for key, value in properties.items():
                of[name][key] = value
        if layout:
            fig.update_layout(layout)
    return fig


def explorer_figure(splits, stages):
    """The figure, with empty traces. splits: one or two names; stages: the most thresholds that a cascade may have."""
    fig = figure("", width=WIDTH, height=HEIGHT, barmode="overlay", bargap=0)
    fig.update_layout(annotations=[stage_title(i, "", 0) for i in range(stages)])
    legend = {"orientation": "h", "yanchor": "bottom", "y": 0.95, "font": {"size": 11}}
    fig.update_layout(legend={**legend, "x": FRONT[0]}, legend2={**legend, "x": FLOW_AT[0]}, font_size=11)
    fig.update_layout(margin={"l": 58, "r": 20, "t": 8, "b": 40}, uniformtext={"minsize": 9, "mode": "hide"})
    add_curves(fig, splits)
    for name, marker in BARS.items():
        hover = "%{x:.2%}<extra>" + name + "</extra>"
        text = {"textposition": "inside", "insidetextanchor": "middle", "textangle": 0, "hovertemplate": hover}
        at = {"xaxis": "x2", "yaxis": "y2", "legend": "legend2", "insidetextfont": {"color": BLACK}, **text}
        fig.add_bar(meta=name, name=name, orientation="h", marker=marker, **at)
    for i in range(stages):
        at = {"xaxis": f"x{i + 3}", "yaxis": f"y{i + 3}", "showlegend": False}
        # from the start: plotly.js takes the range of an axis whose type changes for one of the type before
        fig.update_layout({f"yaxis{i + 3}": {"type": "log", "dtick": 1}})
        for kind in ("right", "wrong"):
            fig.add_bar(meta=f"{kind} {i + 1}", name=kind, marker=BARS[kind], hoverinfo="y+name", **at)
        for kind, dash in (("right", "solid"), ("wrong", "dot")):
            line = {"color": SPLIT_COLOURS[1], "width": 1.5, "dash": dash, "shape": "hvh"}
            style = {"mode": "lines", "line": line, "hoverinfo": "y+name"}
            fig.add_scatter(meta=f"held-out {kind} {i + 1}", name=f"{kind}, held-out", **style, **at)
        style = {"mode": "lines", "line": {"color": BLACK, "width": 2}, "hoverinfo": "skip"}
        fig.add_scatter(meta=f"threshold {i + 1}", **style, **at)
    return fig


def add_curves(fig, splits):
    """Traces of the front, single models, the cascade's curve and its point on each split."""
    for split, colour in zip(splits, (GREY, SPLIT_COLOURS[1])):
        line = {"color": colour, "dash": "dot", "width": 1.5}
        style = {"line": line, "hoverinfo": "skip", "showlegend": split == splits[0]}
        fig.add_scatter(meta=f"hull, {split}", name="hull", mode="lines", **style)
    marker = {"color": GREY, "size": 7}
    fig.add_scatter(meta="singles", name="single models", mode="markers", marker=marker, hovertemplate=HOVER)
    style = {"line": {"color": BLACK, "width": 1, "shape": "hv"}, "marker": {"size": 4}, "hovertemplate": HOVER}
    fig.add_scatter(meta="front", name="front (click a point)", mode="lines+markers", **style)
    for split, colour, dash in zip(splits, SPLIT_COLOURS, ("solid", "dash")):
        line = {"color": colour, "width": 2.5, "dash": dash}
        style = {"line": line, "hoverinfo": "skip", "opacity": 0.75}
        fig.add_scatter(
            meta=f"curve, {split}", name="this cascade" if split == splits[0] else split, mode="lines", **style
        )
    for split, colour, symbol in list(zip(splits, SPLIT_COLOURS, ("circle", "diamond")))[::-1]:
        marker = {"color": colour, "size": 13, "symbol": symbol, "line": {"color": "white", "width": 1.5}}
        hover = f"%{{y:.2%}} at %{{x:.4s}}<extra>{split}</extra>"
        style = {"marker": marker, "hovertemplate": hover, "showlegend": False}
        fig.add_scatter(meta=f"now, {split}", mode="markers", **style)


def baselines(splits, singles):
    """Hulls, and single models of the first split. singles: {split: ``front.singles`` there}."""
    traces = {}
    for split in splits:
        traces[f"hull, {split}"] = dict(zip("xy", map(wire, hull_line(singles[split]))))
    first = singles[splits[0]]
    faint = wire(np.where(first["on_front"], 1, 0.4))
    shown = {"x": wire(first["cost"]), "y": wire(first["accuracy"]), "text": list(first.index), "marker.opacity": faint}
    return traces | {"singles": shown}


def front_axes(singles, cost, score, most=0.0):
    """Fixed axes around the hulls of all splits, {split: singles}, and ``most``, the front's best; score: a title."""
    low = min(table.loc[table["on_hull"], "accuracy"].iloc[0] for table in singles.values())
    high = max(most, *(table["accuracy"].max() for table in singles.values()))
    room, cost_of = 0.05 * max(high - low, 1e-3), np.concatenate([table["cost"] for table in singles.values()])
    ends = np.log10([cost_of.min() * 0.8, cost_of.max() * 2]).tolist()
    x = {**cost_axis(cost), "domain": FRONT, "range": ends}
    return {"xaxis": x, "yaxis": per_cent_axis(title=score, domain=ROWS[0], range=[low - room, high + room])}


def front_points(table):
    """(traces, rows): the front decimated, and the rows of the table that its points stand for."""
    shown = decimated(table.assign(row=np.arange(len(table))), MOST)
    points = {"x": wire(shown["cost"]), "y": wire(shown["accuracy"]), "text": cascade_hover(shown)}
    return {"front": points}, shown["row"].to_numpy()


def no_front():
    """The front's trace while there is none."""
    return {"front": {"x": wire([]), "y": wire([]), "text": []}}


def curve(split, cost, accuracy):
    """The cascade's whole curve on a split."""
    rows = np.unique(np.linspace(0, len(cost) - 1, min(MOST, len(cost))).astype(int))
    return {f"curve, {split}": {"x": wire(cost[rows]), "y": wire(accuracy[rows])}}


def now(readings):
    """The current point on each split. readings: {split: Reading}."""
    return {f"now, {split}": {"x": wire([r.cost]), "y": wire([r.accuracy])} for split, r in readings.items()}


def stage_title(stage, name, left):
    """The name of a stage's model above its histogram, which begins at ``left``.

    There are always as many such: plotly.js refuses a list of annotations that grows and moves in one message.
    """
    place = {"xref": "paper", "yref": "paper", "x": left, "y": ROWS[1][1], "yanchor": "bottom", "xanchor": "left"}
    return {**place, "showarrow": False, "text": f"<b>{stage + 1}</b> {name}" if name else " "}


def cascade_axes(models, metric, edges, most, stages):
    """Layout of the flow and the histograms of a cascade of ``models``.

    edges: inside, [BINS + 1] each, and most: the largest count to show, one for each stage with a threshold; stages:
    how many histograms the figure has.
    """
    ticks = {"tickvals": [-i for i in range(len(models))], "ticktext": [str(i + 1) for i in range(len(models))]}
    y = {**ticks, "range": [0.4 - len(models), 0.5], "title": "stage", "ticks": "", "domain": ROWS[0], "anchor": "x2"}
    x = per_cent_axis(title="share of all inputs", range=[0, 1], domain=FLOW_AT, anchor="y2")
    layout, d = {"xaxis2": x, "yaxis2": y, "annotations": []}, len(models) - 1
    for i in range(d, stages):
        layout[f"xaxis{i + 3}"] = layout[f"yaxis{i + 3}"] = {"visible": False, "domain": CORNER}
    for i, (name, edge, top) in enumerate(zip(models, edges, most)):
        left, right = i / d + (0.04 if i else 0), (i + 1) / d
        own = sorted(own_units(metric, [edge[0], edge[-1]]).tolist())
        counts, title = [-0.2, np.log10(max(top, 1)) + 0.15], "inputs that arrive" if i == 0 else ""
        x = {"visible": True, "domain": [left, right], "anchor": f"y{i + 3}", "range": own}
        y = {"visible": True, "domain": ROWS[1], "anchor": f"x{i + 3}", "range": counts}
        layout[f"xaxis{i + 3}"] = {**x, "title": str(metric or "confidence")}
        layout[f"yaxis{i + 3}"] = {**y, "title": title}
        layout["annotations"].append(stage_title(i, name, left))
    layout["annotations"] += [stage_title(i, "", 0) for i in range(d, stages)]
    return layout


def out_of_use(first, stages):
    """Histograms of the stages ``first`` … ``stages`` − 1 out of sight."""
    return {f"{kind} {i + 1}": {"visible": False} for kind in (*COUNTS, "threshold") for i in range(first, stages)}


def frames(stages, splits, edges, metric, most):
    """What of the bars and lines stays as long as the cascade does. stages, splits: how many; edges, most: as above."""
    rows = [(-i - 0.36 * thin, 0.16 if thin else 0.5) for thin in range(splits) for i in range(stages)]
    y, width = (wire(values) for values in zip(*rows))
    traces = {name: {"y": y, "width": width} for name in BARS}
    for i, (edge, top) in enumerate(zip(edges, most)):
        x, wide = wire(own_units(metric, (edge[1:] + edge[:-1]) / 2)), float(edge[1] - edge[0])
        for kind in ("right", "wrong"):
            traces[f"{kind} {i + 1}"] = {"x": x, "width": wide, "visible": True}
            traces[f"held-out {kind} {i + 1}"] = {"x": x, "visible": splits > 1}
        traces[f"threshold {i + 1}"] = {"y": wire([0.5, top * 1.4]), "visible": True}
    return traces


def bars(stage, *counts):
    """(right, wrong) counts of one stage's histogram, and those of the held-out split as lines, to the same total."""
    return {f"{kind} {stage + 1}": {"y": wire(count)} for kind, count in zip(COUNTS, chain(*counts))}


def threshold_line(stage, threshold, edges, metric):
    """The threshold of a stage, kept at the edge of the picture for always and never."""
    at = float(own_units(metric, np.clip(threshold, edges[0], edges[-1])))
    return {f"threshold {stage + 1}": {"x": wire([at, at])}}


def flow(readings):
    """Where the inputs go on each split, the first with counts as text."""
    parts = {name: {"x": [], "base": [], "text": []} for name in BARS}
    for thin, reading in enumerate(readings.values()):
        k = len(reading.correct)
        before = np.cumsum(reading.exits) - reading.exits
        counts = (reading.exits_right, reading.exits - reading.exits_right, k - before - reading.exits)
        starts = (before, before + reading.exits_right, before + reading.exits)
        for part, start, count in zip(parts.values(), starts, counts):
            part["x"] += (count / k).tolist()
            part["base"] += (start / k).tolist()
            part["text"] += ["" if thin or not n else f"{n:,.0f}" for n in count.tolist()]
    return {name: {"x": wire(p["x"]), "base": wire(p["base"]), "text": p["text"]} for name, p in parts.items()}


class Charts:
    """Front and curve, flow, histograms of confidence in one ``figure``, which changes once an event.

    splits: names; stages: the most thresholds that a cascade may have; clicked(row): a point of the front.
    """

    def __init__(self, splits, stages, clicked):
        self.splits, self.stages, self.clicked, self.rows = list(splits), stages, clicked, np.empty(0, int)
        self.figure = explorer_figure(self.splits, stages)

    def live(self):
        """The figure as a widget from now on; drawn before, so that Voilà, which looks at it later, sees it drawn."""
        self.figure = go.FigureWidget(self.figure)
        front = next(trace for trace in self.figure.data if trace.meta == "front")
        front.on_click(lambda trace, points, state: [self.clicked(int(self.rows[i])) for i in points.point_inds[:1]])
        return self.figure

    def rest(self):
        """Let a page that opens the figure from now on (reloaded, or a second view) see it as it is.

        A FigureWidget tells open pages what changes, and keeps for others the state of when it was last displayed.
        """
        if isinstance(self.figure, go.FigureWidget):
            self.figure._repr_mimebundle_()

    def show_front(self, singles, cost, score, front):
        """Single models {split: table}, and a front, or None while there is none; cost: its kind, score: its title."""
        points, self.rows = (no_front(), np.empty(0, int)) if front is None else front_points(front.table)
        most = 0.0 if front is None else float(front.table["accuracy"].iloc[-1])
        traces = baselines(self.splits, singles) | points
        changed(self.figure, traces, front_axes(singles, cost, score, most))

    def show_cascade(self, models, metric, cascades, thresholds, readings):
        """Another cascade, {split: CascadeOnSplit}: its curve at the first split's thresholds, and all the rest."""
        first, self.metric, self.cascades = cascades[self.splits[0]], metric, cascades
        edges, cells, traces = grid_edges(first), None, out_of_use(len(models) - 1, self.stages)
        for split, cascade in cascades.items():
            accuracy, cost = grid_curve(cascade, edges)
            cells = worth_showing(accuracy, cost) if cells is None else cells
            traces |= curve(split, cost.ravel()[cells], accuracy.ravel()[cells])
        self.edges = [edges_of(first, i) for i in range(len(models) - 1)]
        self.bins = {s: [bin_of(*pair) for pair in zip(c.sure, self.edges)] for s, c in cascades.items()}
        self.tops = [float(np.bincount(bins, minlength=BINS).max()) for bins in self.bins[self.splits[0]]]
        layout = cascade_axes(models, metric, self.edges, self.tops, self.stages)
        traces |= frames(len(models), len(cascades), self.edges, metric, self.tops)
        changed(self.figure, merged(traces, self.at(thresholds, readings)), layout)

    def show_thresholds(self, thresholds, readings, stage):
        """The same cascade with another threshold of ``stage``: the histograms up to that stage stay."""
        changed(self.figure, self.at(thresholds, readings, stage, stage + 1))

    def at(self, thresholds, readings, first_line=0, first_bars=0):
        """Traces at thresholds (inside) and {split: Reading}; of the histograms those from the given stages on."""
        traces = now(readings) | flow(readings)
        for i in range(first_line, len(thresholds)):
            traces |= threshold_line(i, thresholds[i], self.edges[i], self.metric)
        for i in range(first_bars, len(thresholds)):
            traces |= bars(i, *self.counts(thresholds, i))
        return traces

    def counts(self, thresholds, stage):
        """(right, wrong) of a stage's histogram on each split, as if all splits had as many samples as the first."""
        k = len(self.cascades[self.splits[0]])
        for split, cascade in self.cascades.items():
            found = histogram(cascade, thresholds, stage, self.bins[split][stage])
            yield [count * (k / len(cascade)) for count in found]


def merged(first, second):
    """Two {name: {property: value}} as one."""
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in {**first, **second}}
