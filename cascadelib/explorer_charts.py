"""The explorer's three live charts: what of them changes with the kind of cost, the cascade, a threshold."""

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from . import explorer_figures as figures
from .threshold_grid import grid_curve, grid_edges, worth_showing
from .threshold_state import BINS, bin_of, edges_of, histogram


class Charts(widgets.VBox):
    """Front and curve, flow, histograms of confidence; ``beside`` stands to the right of the front, over the flow.

    splits: names; stages: the most thresholds that a cascade may have; clicked(row): a point of the front.
    """

    def __init__(self, splits, stages, clicked, beside):
        self.splits, self.stages, self.rows = splits, stages, np.empty(0, int)
        self.curves = go.FigureWidget(figures.curve_figure(splits))
        self.flow = go.FigureWidget(figures.flow_figure())
        self.confidences = go.FigureWidget(figures.confidence_figure(stages))
        self.confidences.layout.height = 220 if stages else 1
        front = next(trace for trace in self.curves.data if trace.meta == "front")
        front.on_click(lambda trace, points, state: [clicked(int(self.rows[i])) for i in points.point_inds[:1]])
        right = widgets.VBox([beside, self.flow])
        line = widgets.Layout(flex_flow="row wrap", align_items="flex-start")
        super().__init__([widgets.HBox([self.curves, right], layout=line), self.confidences])

    def show_front(self, singles, cost, front):
        """Single models {split: table} on a cost axis, and a front, or None while there is none."""
        table = None if front is None else front.table
        traces, most = figures.baselines(self.splits, singles), 0.0
        if table is None:
            self.rows = np.empty(0, int)
            traces["front"] = {"x": figures.wire([]), "y": figures.wire([])}
        else:
            points, self.rows = figures.front_points(table)
            traces, most = traces | points, float(table["accuracy"].iloc[-1])
        figures.changed(self.curves, traces, figures.axes_of(singles[self.splits[0]], cost, most))

    def show_cascade(self, models, metric, cascades):
        """A cascade on every split: its whole curve at the first split's thresholds, empty histograms, no point yet."""
        first, self.metric, self.cascades = cascades[self.splits[0]], metric, cascades
        edges, traces, cells = grid_edges(first), {}, None
        for split, cascade in cascades.items():
            accuracy, cost = grid_curve(cascade, edges)
            cells = worth_showing(accuracy, cost) if cells is None else cells
            traces |= figures.curve_of(split, cost.ravel()[cells], accuracy.ravel()[cells])
        figures.changed(self.curves, traces)
        figures.changed(self.flow, {}, figures.flow_axes(len(models)))
        self.edges = [edges_of(first, i) for i in range(len(models) - 1)]
        self.bins = [bin_of(sure, edge) for sure, edge in zip(first.sure, self.edges)]
        self.tops = [float(np.bincount(bins, minlength=BINS).max()) for bins in self.bins]
        layout = figures.confidence_axes(models[:-1], metric, self.edges, self.tops, self.stages)
        figures.changed(self.confidences, figures.hidden(self.confidences), layout)

    def show_thresholds(self, thresholds, readings, since=0):
        """The cascade at thresholds (inside); since: the stage whose threshold moved, earlier histograms stay."""
        figures.changed(self.curves, figures.now(readings))
        figures.changed(self.flow, figures.flow(readings))
        first, traces = self.cascades[self.splits[0]], {}
        for i in range(since, len(thresholds)):
            edges, at = self.edges[i], (self.metric, self.tops[i])
            traces |= figures.threshold_line(i, thresholds[i], edges, *at)
            if i > since or since == 0:
                counts = histogram(first, thresholds, i, self.bins[i])
                traces |= figures.bars(i, *counts, edges, self.metric)
        figures.changed(self.confidences, traces)
