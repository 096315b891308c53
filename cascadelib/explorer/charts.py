"""The explorer's views in one figure, from plain arrays and tables; a drag changes a few arrays of
its traces.

:data:`Traces` are what :func:`changed` puts into the empty traces of :func:`explorer_figure`.
Arrays are float32: that is what goes over the wire.
"""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

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
from ..tables import in_words
from . import state
from .canvas import BARS, LEFT, WIDE, Rectangle, across, explorer_figure, places, up
from .readout import per_cent_text, points_text

HERE = Path(__file__).parent
DARK_JUPYTER = "body[data-jp-theme-light='false']"
Traces = dict[str, dict]  # {name: {property: value}}
Readings = Mapping[str, state.Reading]  # {split: …}
STILL = 1000  # pixels: the width of a figure that no page has asked for
# For axes out of use, which would lie above the others and keep the mouse from them.
CORNER = [0, 0.001]
# Traces of a histogram.
OF_STAGE = ("correct", "incorrect", "below", "held-out correct", "held-out below", "threshold")
ALIVE = "The explorer at rest. To drag its thresholds: make lab, and run this cell; or make app."
NO_FRONT = pd.DataFrame(
    {
        "cost": [],
        "accuracy": [],
        "models": [],
    }
)
MANY = 30  # inputs of a bin whose shares count in full: with fewer it is faint
MOST = 300  # points of a curve: what a screen shows


def wire(values: ArrayLike) -> np.ndarray:
    """Numbers as float32."""
    return np.asarray(values, np.float32)


def changed(fig: go.Figure, layout: dict, *parts: Traces) -> None:
    """Put traces and a layout into a FigureWidget, in one message; of two values for one property
    the later."""
    of: dict = {trace.meta: trace for trace in fig.data}
    values: dict = {}
    for traces in parts:
        for name, properties in traces.items():
            for key, value in properties.items():
                values[name, key] = value
    # A batch drops a value that the figure has, also where another one was set before it: so each
    # property is set once.
    with fig.batch_update():
        for (name, key), value in values.items():
            of[name][key] = style.plain(value) if key == "text" else value
        fig.update_layout(layout)


def baselines(singles: Mapping[str, pd.DataFrame]) -> Traces:
    """Hulls, and single models of the first split. singles: {split: ``front.singles`` there}."""
    traces: Traces = {}
    for split, table in singles.items():
        x, y = style.hull_line(table)
        traces[f"hull, {split}"] = {"x": wire(x), "y": wire(y)}
    first = next(iter(singles.values()))
    traces["singles"] = {
        "x": wire(first["cost"]),
        "y": wire(first["accuracy"]),
        "text": list(first.index),
        "marker.opacity": wire(np.where(first["on_front"], 1, 0.4)),
    }
    return traces


def front_axes(
    singles: Mapping[str, pd.DataFrame], front: pd.DataFrame, cost: str, score: str
) -> dict:
    """Fixed axes around the hulls of all splits, {split: singles}, and the front's table; score: a
    title."""
    tables = list(singles.values())
    low = min(table.loc[table["on_hull"], "accuracy"].iloc[0] for table in tables)
    high = np.nanmax([table["accuracy"].max() for table in (*tables, front)])
    room = 0.05 * max(high - low, 1e-3)
    costs = np.concatenate([table["cost"] for table in tables])
    # What is free has no place on a log axis.
    paid = costs[costs > 0] if costs.any() else np.ones(1)
    ends = np.log10([paid.min() * 0.8, paid.max() * 2]).tolist()
    # Below is room for the change between splits.
    y = style.per_cent_axis(title=score, range=[low - 2 * room, high + room])
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
    """Where the inputs go on each split: bars from the first split's stages to the second's, those
    of the first with counts as text."""
    traces: Traces = {}
    for name in BARS:
        shares: list[float] = []
        starts: list[float] = []
        texts: list[str] = []
        for split, reading in enumerate(readings.values()):
            counts, begins = bars_of(reading)[name]
            k = len(reading.correct)
            shares.extend(counts / k)
            starts.extend(begins / k)
            texts.extend("" if split or not count else f"{count:,.0f}" for count in counts)
        traces[name] = {
            "x": wire(shares),
            "base": wire(starts),
            "text": texts,
        }
    return traces


def bars_of(reading: state.Reading) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{kind of a bar: (counts [n], where they begin [n])} of the n stages, in samples."""
    left = np.cumsum(reading.exits)
    before = left - reading.exits
    return {
        "correct": (reading.exits_correct, before),
        "incorrect": (reading.exits - reading.exits_correct, before + reading.exits_correct),
        "sent on": (len(reading.correct) - left, before + reading.exits),
    }


class PageScript(anywidget.AnyWidget):
    """A line without height that tells how many pixels ``width`` the page leaves, and brings the
    style sheet along."""

    _esm = HERE / "page.js"
    _css = (HERE / "page.css").read_text(encoding="utf-8") + style.dark_css(DARK_JUPYTER)
    width = Int(STILL).tag(sync=True)


class Charts:
    """Front and curve, flow, histograms of confidence in one ``figure``, which changes once per
    event. splits, stages: as for :func:`explorer_figure`; clicked(row): called with a point of the
    front."""

    def __init__(
        self, splits: Collection[str], stages: int, clicked: Callable[[int], None]
    ) -> None:
        self.page = PageScript()
        self.figure = explorer_figure(list(splits), stages)
        self.stages = stages
        self.clicked = clicked
        self.rows = np.empty(0, int)
        self.page.add_class("cascadelib-page")
        self.page.observe(lambda _: changed(self.figure, self.axes()), "width")

    def live(self) -> widgets.VBox:
        """The figure as a widget from now on; drawn before, so that Voilà, which looks at it later,
        sees it drawn."""
        self.figure = go.FigureWidget(self.figure)
        front = next(trace for trace in self.figure.data if trace.meta == "front")
        front.on_click(self._click)
        self.figure._config = {**self.figure._config, "displaylogo": False}
        return widgets.VBox([self.page, self.figure])

    def _click(self, trace: Any, points: Any, keys: Any) -> None:
        """A point of the front was clicked."""
        for point in points.point_inds[:1]:
            self.clicked(int(self.rows[point]))

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
        """Let a page that opens the figure from now on (reloaded, or a second view) see it as it
        is: a FigureWidget tells open pages what changes, and keeps for others the state of when it
        was last displayed."""
        if isinstance(self.figure, go.FigureWidget):
            self.figure._repr_mimebundle_()

    def show_front(
        self, singles: Mapping[str, pd.DataFrame], cost: str, score: str, front: Front | None
    ) -> None:
        """Single models {split: table}, and a front, or None while there is none; cost: its kind,
        score: its title."""
        table = NO_FRONT if front is None else front.table
        points, self.rows = front_points(table)
        axes = front_axes(singles, table, cost, score)
        most = axes["xaxis"]["range"][1]
        low, high = axes["yaxis"]["range"]
        corner = {"x": wire([10 ** (most - 0.02)]), "y": wire([low + 0.01 * (high - low)])}
        changed(
            self.figure,
            axes,
            baselines(singles),
            points,
            {"told": corner},
        )

    def show_cascade(
        self,
        cascades: dict[str, state.CascadeOnSplit],
        thresholds: state.Thresholds,
        readings: Readings,
    ) -> None:
        """Another cascade, on each split: its curve at the first split's thresholds, and all the
        rest."""
        self.cascades = cascades
        self.first = next(iter(cascades.values()))
        self.metric = self.first.task.metric
        stages = self.first.stages - 1
        self.edges = [state.edges_of(self.first, stage) for stage in range(stages)]
        self.bins = {
            split: list(map(state.bin_of, cascade.confidences, self.edges))
            for split, cascade in cascades.items()
        }
        changed(
            self.figure,
            self.axes(),
            self.curves(),
            self.frames(stages + 1),
            self.at(thresholds, readings),
        )

    def curves(self) -> Traces:
        """The cascade's curve on each split: all of one threshold; of more, what is not dominated
        on the first split."""
        edges = state.grid_edges(self.first)
        curves: Traces = {}
        for split, cascade in self.cascades.items():
            accuracy, cost = (values.ravel() for values in state.grid_curve(cascade, edges))
            if cascade is self.first:
                cells = pareto_front(cost, accuracy) if len(edges) > 1 else np.arange(cost.size)
            shown = style.decimated(pd.DataFrame({"x": cost[cells], "y": accuracy[cells]}), MOST)
            curves[f"curve, {split}"] = {axis: wire(values) for axis, values in shown.items()}
        return curves

    def axes(self) -> dict:
        """Layout of all charts of the present cascade, as wide as the page."""
        width = self.page.width
        stages = len(self.first.models) - 1
        height, boxes, legend = places(width, stages)
        layout: dict = {"width": width, "height": height}
        layout["xaxis"] = {"domain": across(boxes["front"], width)}
        layout["yaxis"] = {"domain": up(boxes["front"], height)}
        layout["xaxis2"] = style.per_cent_axis(
            title="share of all inputs",
            range=[0, 1],
            anchor="y2",
            domain=across(boxes["flow"], width),
        )
        layout["yaxis2"] = {
            "tickvals": [-stage for stage in range(stages + 1)],
            "ticktext": [str(stage + 1) for stage in range(stages + 1)],
            "range": [0.4 - len(self.first.models), 0.5],
            "title": "stage",
            "ticks": "",
            "anchor": "x2",
            "domain": up(boxes["flow"], height),
        }
        starts = {
            "legend": boxes["front"],
            "legend2": boxes["flow"],
            "legend3": Rectangle(LEFT, 0, legend, 0),
        }
        for name, box in starts.items():
            left = box.start if width >= WIDE else 4
            layout[name] = {"x": left / width, "y": 1 - box.top / height}
        for stage in range(stages):
            box = boxes[str(stage)]
            layout |= self.histogram_axes(stage, across(box, width), up(box, height))
        for stage in range(stages, self.stages):
            unused = {"visible": False, "domain": CORNER}
            layout |= {f"xaxis{stage + 3}": unused, f"yaxis{stage + 3}": unused}
        return layout

    def histogram_axes(self, stage: int, across: list[float], up: list[float]) -> dict:
        """Axes of a stage's histogram, with their domains in the figure."""
        edges = self.edges[stage]
        metric = style.plain(in_words(str(self.metric or "confidence")))
        name = style.plain(self.first.models[stage])
        x = {
            "visible": True,
            "domain": across,
            "anchor": f"y{stage + 3}",
            "range": sorted(own_units(self.metric, [edges[0], edges[-1]]).tolist()),
            "title": f"<b>{stage + 1}</b> {name}<br>{metric}",
        }
        y = {
            "visible": True,
            "domain": up,
            "anchor": f"x{stage + 3}",
            "range": [0, 1],
            "title": "share",
        }
        return {f"xaxis{stage + 3}": x, f"yaxis{stage + 3}": style.per_cent_axis(**y)}

    def frames(self, stages: int) -> Traces:
        """What of the bars and lines stays as long as a cascade of so many stages does."""
        splits = len(self.cascades)
        # The held-out split's bars are thin and stand below those of the first.
        heights = np.concatenate([-np.arange(stages), -np.arange(stages) - 0.36][:splits])
        widths = np.repeat([0.5, 0.16][:splits], stages)
        traces: Traces = {name: {"y": wire(heights), "width": wire(widths)} for name in BARS}
        for stage, edges in enumerate(self.edges):
            ends = wire(own_units(self.metric, edges))
            middles = wire(own_units(self.metric, (edges[1:] + edges[:-1]) / 2))
            for kind in OF_STAGE:
                x = ends if "below" in kind else middles
                visible = splits > 1 or not kind.startswith("held-out")
                traces[f"{kind} {stage + 1}"] = {"x": x, "visible": visible}
        for stage in range(stages - 1, self.stages):
            for kind in OF_STAGE:
                traces[f"{kind} {stage + 1}"] = {"visible": False}
        return traces

    def show_thresholds(self, thresholds: state.Thresholds, readings: Readings, stage: int) -> None:
        """The same cascade with another threshold of ``stage``."""
        changed(self.figure, {}, self.at(thresholds, readings, stage))

    def at(self, thresholds: state.Thresholds, readings: Readings, moved: int = -1) -> Traces:
        """Traces at thresholds: all, or what changes with that of stage ``moved``: its histogram
        and those before it stay. The lines of always and never stand at the edge of the picture."""
        traces = self.points(readings) | flow(readings)
        for stage in range(max(moved, 0), len(thresholds)):
            edges = self.edges[stage]
            line = float(own_units(self.metric, np.clip(thresholds[stage], edges[0], edges[-1])))
            traces[f"threshold {stage + 1}"] = {"x": wire([line, line])}
        for stage in range(moved + 1, len(thresholds)):
            traces |= self.histograms(stage, thresholds)
        return traces

    def points(self, readings: Readings) -> Traces:
        """The cascade on each split; of two, an arrow from the first to the second, and the change
        in accuracy."""
        points: Traces = {
            f"now, {split}": {"x": wire([reading.cost]), "y": wire([reading.accuracy])}
            for split, reading in readings.items()
        }
        if len(readings) == 2:
            here = readings["validation"]
            there = readings["held-out"]
            k = len(there.correct)
            change = points_text(there.accuracy - here.accuracy, k)
            points["change"] = {
                "x": wire([here.cost, there.cost]),
                "y": wire([here.accuracy, there.accuracy]),
            }
            points["told"] = {"text": [f"held-out {per_cent_text(there.accuracy, k)} ({change})"]}
        return points

    def histograms(self, stage: int, thresholds: state.Thresholds) -> Traces:
        """A stage's shares of correct and incorrect among the inputs in each bin, and of those that
        arrive with less confidence."""
        traces: Traces = {}
        for split, cascade in self.cascades.items():
            counts = state.histogram(
                cascade,
                thresholds,
                stage,
                self.bins[split][stage],
            )
            total = counts[0] + counts[1]
            correct, incorrect = np.divide(
                counts, total, out=np.zeros((2, state.BINS)), where=total > 0
            )
            below = np.append(0, np.cumsum(total)) / max(total.sum(), 1)
            if cascade is self.first:
                opacity = wire(np.clip(total / MANY, 0.2, 1))
                traces |= {
                    f"correct {stage + 1}": {"y": wire(correct), "marker.opacity": opacity},
                    f"incorrect {stage + 1}": {
                        "y": wire(incorrect),
                        "base": wire(correct),
                        "marker.opacity": opacity,
                    },
                    f"below {stage + 1}": {"y": wire(below)},
                }
            else:
                if total.any():  # a line, which goes straight through bins without inputs
                    there = np.flatnonzero(total)
                    correct = np.interp(np.arange(state.BINS), there, correct[there])
                traces |= {
                    f"held-out correct {stage + 1}": {"y": wire(correct)},
                    f"held-out below {stage + 1}": {"y": wire(below)},
                }
        return traces
