"""The explorer's live figure: what of it changes with the kind of cost, the cascade, a threshold."""

import numpy as np
import plotly.graph_objects as go

from . import explorer_figures as figures
from .threshold_grid import grid_curve, grid_edges, worth_showing
from .threshold_state import BINS, bin_of, edges_of, histogram


class Charts:
    """Front and curve, flow, histograms of confidence in one ``figure``, which changes once an event.

    splits: names; stages: the most thresholds that a cascade may have; clicked(row): a point of the front.
    """

    def __init__(self, splits, stages, clicked):
        self.splits, self.stages, self.clicked, self.rows = list(splits), stages, clicked, np.empty(0, int)
        self.figure = figures.explorer_figure(self.splits, stages)

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
        points, self.rows = (
            (figures.no_front(), np.empty(0, int)) if front is None else figures.front_points(front.table)
        )
        most = 0.0 if front is None else float(front.table["accuracy"].iloc[-1])
        traces = figures.baselines(self.splits, singles) | points
        figures.changed(self.figure, traces, figures.front_axes(singles, cost, score, most))

    def show_cascade(self, models, metric, cascades, thresholds, readings):
        """Another cascade, {split: CascadeOnSplit}: its curve at the first split's thresholds, and all the rest."""
        first, self.metric, self.cascades = cascades[self.splits[0]], metric, cascades
        edges, cells, traces = grid_edges(first), None, figures.out_of_use(len(models) - 1, self.stages)
        for split, cascade in cascades.items():
            accuracy, cost = grid_curve(cascade, edges)
            cells = worth_showing(accuracy, cost) if cells is None else cells
            traces |= figures.curve(split, cost.ravel()[cells], accuracy.ravel()[cells])
        self.edges = [edges_of(first, i) for i in range(len(models) - 1)]
        self.bins = {s: [bin_of(*pair) for pair in zip(c.sure, self.edges)] for s, c in cascades.items()}
        self.tops = [float(np.bincount(bins, minlength=BINS).max()) for bins in self.bins[self.splits[0]]]
        layout = figures.cascade_axes(models, metric, self.edges, self.tops, self.stages)
        traces |= figures.frames(len(models), len(cascades), self.edges, metric, self.tops)
        figures.changed(self.figure, merged(traces, self.at(thresholds, readings)), layout)

    def show_thresholds(self, thresholds, readings, stage):
        """The same cascade with another threshold of ``stage``: the histograms up to that stage stay."""
        figures.changed(self.figure, self.at(thresholds, readings, stage, stage + 1))

    def at(self, thresholds, readings, first_line=0, first_bars=0):
        """Traces at thresholds (inside) and {split: Reading}; of the histograms those from the given stages on."""
        traces = figures.now(readings) | figures.flow(readings)
        for i in range(first_line, len(thresholds)):
            traces |= figures.threshold_line(i, thresholds[i], self.edges[i], self.metric)
        for i in range(first_bars, len(thresholds)):
            traces |= figures.bars(i, *self.counts(thresholds, i))
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
