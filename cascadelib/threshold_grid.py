"""A cascade's whole curve as a screen shows it: every combination of a grid of thresholds, in one count of samples."""

import numpy as np

from .f1 import f1_of
from .pareto import pareto_front
from .threshold_state import between_ties, threshold_for

EDGES = {1: 400, 2: 64, 3: 24}  # thresholds a stage, by the number of stages that have one; with more stages: FEWEST
FEWEST = 10


def grid_edges(cascade):
    """For each stage with a threshold, the thresholds of the grid, falling from never (inf) to always (−inf) exiting.

    Half of them pass on evenly spread shares of the samples, half shares that are evenly spread on a log axis, as a
    cost axis shows them. None parts equal confidences.
    """
    d, k = cascade.stages - 1, len(cascade)
    half = EDGES.get(d, FEWEST) // 2
    passing = np.concatenate([[0], np.linspace(0, k, half), np.geomspace(1, k, half)]).astype(int)
    edges = []
    for sure, order in zip(cascade.sure, cascade.order):
        fall = sure[order]
        counts = sorted({between_ties(fall, k - p) for p in passing})
        edges.append(np.array([threshold_for(fall, count) for count in counts]))
    return edges


def grid_curve(cascade, edges):
    """(accuracy, cost) of the cascade at every combination of its stages' edges: float64 [E1, …, Ed] each.

    accuracy is F1 where that counts. Sums run in another order than those of ``evaluate``, so costs may differ in the
    last bits.
    """
    k, sizes = len(cascade), [len(e) for e in edges]
    slots = [  # at an edge of inf (never) even infinite confidences pass on
        np.maximum(len(e) - np.searchsorted(e[::-1], s, side="right"), np.count_nonzero(e == np.inf))
        for e, s in zip(edges, cascade.sure)
    ]
    right, cost = answered(slots, sizes, cascade.right), np.zeros(sizes)
    for i in range(cascade.stages):
        cost = cost + counted(slots[:i], sizes, np.broadcast_to(cascade.costs[i], k), exits=False)
    if cascade.positive is None:
        return right / k, cost / k
    hits = answered(slots, sizes, [correct & cascade.positive for correct in cascade.right])
    return f1_of(hits, k - right), cost / k


def answered(slots, sizes, weights):
    """Sum of each sample's weight at the stage where it leaves, at every combination of edges."""
    total = np.zeros(sizes)
    for i, weight in enumerate(weights):
        total = total + counted(slots[: i + 1], sizes, weight, exits=i < len(slots))
    return total


def counted(slots, sizes, weights, exits):
    """Sum of the weights [k] of the samples that pass on at all stages of ``slots``, at every combination of edges.

    slots: an int [k] a stage, at how many of its edges each sample passes on; exits: at the last of these stages they
    leave instead. Axes of later stages have length 1, so that the result spreads over ``sizes``.
    """
    shape = [n + 1 for n in sizes[: len(slots)]]
    cells = np.ravel_multi_index(slots, shape) if slots else np.zeros(len(weights), np.int64)
    table = np.bincount(cells, weights, minlength=int(np.prod(shape))).reshape(shape)
    for axis in range(len(shape)):
        along = np.moveaxis(table, axis, 0)
        leaves = exits and axis == len(shape) - 1
        along = np.cumsum(along, axis=0)[:-1] if leaves else np.cumsum(along[::-1], axis=0)[::-1][1:]
        table = np.moveaxis(along, 0, axis)
    return table.reshape(table.shape + (1,) * (len(sizes) - len(slots)))


def worth_showing(accuracy, cost):
    """Cells (positions in the flat grid) of a curve: all of them with one threshold, with more the non-dominated ones.

    The ends of a single threshold are never and always exiting; a line through its cells is the pair's whole curve.
    """
    return np.arange(accuracy.size) if accuracy.ndim <= 1 else pareto_front(cost.ravel(), accuracy.ravel())
