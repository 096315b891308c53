"""Exact fronts of what is a sum, where the search counts samples: graded correctness, a cost for every sample, F1."""

from dataclasses import dataclass, replace
from functools import cache
from heapq import heappop, heappush
from itertools import count
from time import monotonic

import numpy as np

from ..evaluation.evaluation import exit_rates_of, exits_of, run_outcomes, sum_passed_on
from ..evaluation.pareto import pareto_front
from ..methods.thresholds import threshold_for
from ..scoring import f1, f1_of
from .cascades import Outcomes, cascades_of, check_lengths, check_work
from .front import Points, thresholds_of

GRID = 4096  # boxes that a cascade, or one of its boxes, is parted into


@dataclass(frozen=True, eq=False)
class Curve:
    """All achievable points of one two-model cascade, from never to always exiting, as arrays [E].

    threshold: inside (higher = surer), inf first and −inf last; exit_rate: share that leaves after the first model.
    """

    threshold: np.ndarray
    exit_rate: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray


def right_at(order, ends, gain_1, gain_2):
    """Sum [E] of the gains at each threshold: gain_1 [k] of the samples that leave, gain_2 [k] of the others."""
    exact = np.int64 if gain_1.dtype == bool else np.float64
    first, second = (
        np.concatenate([[0], np.cumsum(g[order], dtype=exact)])[ends] for g in (gain_1, gain_2)
    )
    return first + (np.sum(gain_2, dtype=exact) - second)


def two_model_curve(sure, gain_1, gain_2, cost_1, cost_2, positive=None):
    """The :class:`Curve` of one pair.

    sure float [k]: confidence of the first model (higher = surer); gain_1, gain_2 [k]: correct (bool, or graded in
    [0, 1]) at each stage; cost_1, cost_2: a number, or float [k] where every sample has its own; positive bool [k]:
    F1 in place of accuracy (true positives and errors accumulate along the sweep).
    """
    k, (order, ends) = len(sure), exits_of(sure)
    right = right_at(order, ends, gain_1, gain_2)
    if positive is None:
        accuracy = right / k
    else:
        accuracy = f1_of(right_at(order, ends, gain_1 & positive, gain_2 & positive), k - right)
    if np.ndim(cost_2) == 0:
        added = cost_2 * ((k - ends) / k)
    else:
        added = np.concatenate([np.cumsum(cost_2[order][::-1])[::-1], [0]])[ends] / k
    return Curve(threshold_for(sure[order], ends), ends / k, accuracy, np.mean(cost_1) + added)


class Found:
    """A front so far: cost [P + 1], the last infinite; above [P + 1], the accuracies after −1; rows [P, 2, n]: models
    and boundaries of each (how many groups of equal confidence exit at a stage), −1 where there are fewer."""

    def __init__(self, length):
        self.cost, self.above, self.rows = (
            np.array([np.inf]),
            np.array([-1.0]),
            np.empty((0, 2, length), int),
        )

    def place(self, accuracy):
        """Which of the front has this accuracy, up to rounding, at the least cost; P where none has."""
        return np.searchsorted(self.above[1:], accuracy * (1 - 1e-12))

    def add(self, cost, accuracy, cascade, boundaries):
        """Add what is cheaper: a cascade at boundaries int [p, n − 1]."""
        better = np.flatnonzero(cost < self.cost[self.place(accuracy)])
        if len(better):
            rows = np.full((len(better), *self.rows.shape[1:]), -1)
            rows[:, 0, : len(cascade)], rows[:, 1, : len(cascade) - 1] = cascade, boundaries[better]
            cost = np.concatenate([self.cost[:-1], cost[better]])
            accuracy = np.concatenate([self.above[1:], accuracy[better]])
            keep = pareto_front(cost, accuracy)
            self.cost, self.above = np.append(cost[keep], np.inf), np.append(-1.0, accuracy[keep])
            self.rows = np.concatenate([self.rows, rows])[keep]

    def by_cascade(self):
        """(models, boundaries int [p, n − 1]) of the front, a cascade at a time."""
        for models in np.unique(self.rows[:, 0], axis=0):
            n, own = np.count_nonzero(models >= 0), (self.rows[:, 0] == models).all(axis=1)
            yield tuple(models[:n].tolist()), self.rows[own, 1, : n - 1]


def search_graded(
    stage, cost, n_models, positive=None, *, last_only=False, tolerance=0.0, time_limit=None
) -> Points:
    """The :class:`Points` of all cascades of ``n_models`` models (a length or a tuple of lengths) at every threshold.

    stage(prefix) → (correct [k], graded in [0, 1] or bool; confidence [k]); cost [M], or [M, k] where every sample has
    its own; positive bool [k]: F1 in place of accuracy, for one and two models (correct samples do not say what F1 of
    more becomes; ValueError). last_only, tolerance, time_limit: as :func:`cascadelib.search_outcomes` takes them. Sums
    are taken in float64, so equal accuracies may differ in the last bit: points are kept by :func:`pareto_front`, and
    the front is exact, or certified, up to that rounding.
    """
    deadline = np.inf if time_limit is None else monotonic() + time_limit
    lengths, mean = (
        check_lengths(n_models, len(cost)),
        cost if cost.ndim == 1 else cost.mean(axis=1),
    )
    check_work(mean, lengths, time_limit)
    if positive is not None and lengths[-1] > 2:
        raise ValueError(f"n_models={n_models}: F1 is exact for one and two models only")
    outcomes, found = Outcomes(stage, last_only), Found(lengths[-1])
    boxes: list[tuple] = []
    for cascade in cascades_of(mean, lengths):
        (first, sure), (last, _) = stage(cascade[:1]), stage(cascade)
        if len(cascade) > 2:
            ends = [(0, outcomes.groups(cascade[:i]).max() + 1) for i in range(1, len(cascade))]
            whole = cascade, ends, (np.mean(last), mean[list(cascade)].sum())
            boxes.append((-np.inf, len(boxes), np.inf, mean[cascade[0]], whole))
            continue
        second = (
            cost[cascade[1]] if len(cascade) > 1 else 0.0
        )  # one model: a pair of itself, of which that is free
        curve = two_model_curve(sure, first, last, cost[cascade[0]], second, positive)
        found.add(
            curve.cost,
            curve.accuracy,
            cascade,
            np.arange(len(curve.cost))[:, None][:, : len(cascade) - 1],
        )
    left = close_boxes(boxes, outcomes, cost, len(first), found, tolerance, deadline)
    rows = [
        (c, limits) for c, own in found.by_cascade() for limits in thresholds_of(outcomes, c, own)
    ]
    points = points_by_running(stage, cost, rows, lengths[-1], positive)
    if not left:
        return points
    floor, (most, least) = np.full(len(found.cost), np.inf), np.transpose(left)
    np.minimum.at(floor, found.place(most), least)
    return replace(points, floor=np.minimum.accumulate(floor[::-1])[::-1], above=found.above)


def close_boxes(heap, outcomes, cost, k, found, tolerance, deadline):
    """Add the front of cascades of three models and more to what is ``found``. Boxes of boundaries
    (docs/architecture.md) are opened, that which might be cheaper by most first, as long as there are: a heap of
    (−excess, number, most accuracy, least cost, box). Returns (most accuracy, least cost) of those that were left."""
    left, number = [], count(len(heap))

    def excess(most, least):
        return found.cost[found.place(most)] / max(least, 1e-300) - 1

    while heap:
        _, _, most, least, box = heappop(heap)
        if excess(most, least) > tolerance and (monotonic() < deadline or len(found.rows) == 0):
            for part in boxes_within(*box, outcomes, cost, k, found):
                heappush(heap, (-excess(*part[:2]), next(number), *part))
        elif excess(most, least) > 1e-12:
            left.append((most, least))
    return left


def boxes_within(cascade, ends, corner, outcomes, cost, k, found):
    """Add the corners of a grid over a box, ``ends`` int [d, 2] of its boundaries, to the front; yield (most accuracy,
    least cost, box) of the boxes between that may hold something better. In these bounds a sample that may pass on does
    so where it gains, at no cost. corner: accuracy and cost at the lower ends; what no boundary moves is in there."""
    d, there, moved = len(cascade) - 1, np.ones(k, bool), np.zeros(k, bool)
    groups = [outcomes.groups(cascade[: i + 1]) for i in range(d)]
    for group, (low, high) in zip(groups, ends):
        moved |= there & (low <= group) & (group < high)
        there &= group >= low
    edges = [np.unique(np.linspace(*own, round(GRID ** (1 / d)) + 1).astype(int)) for own in ends]
    slots = [np.searchsorted(own, group[moved], side="right") for own, group in zip(edges, groups)]
    gains = [np.asarray(outcomes.stage(cascade[: i + 1])[0])[moved] / k for i in range(d + 1)]
    sizes, (gain, most, paid) = [len(own) for own in edges], np.zeros((3, *[1] * d))
    for i, step in enumerate(np.diff(gains, axis=0)):
        parts = (
            np.maximum(step, 0),
            np.maximum(-step, 0),
            np.broadcast_to(cost[cascade[i + 1]], k)[moved] / k,
        )
        up, down, more = (sum_passed_on(slots[: i + 1], sizes, part) for part in parts)
        may, must = (slice(-1),) * (i + 1), (slice(1, None),) * (i + 1)
        gain, most, paid = gain + up - down, most + up[may] - down[must], paid + more
    others = corner[0] - gain[(0,) * d], corner[1] - paid[(0,) * d]
    gain, most, paid = gain + others[0], most + others[0], paid + others[1]
    least = paid[(slice(1, None),) * d]
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*edges, indexing="ij")], axis=1)
    found.add(paid.ravel(), gain.ravel(), cascade, corners)
    wide = np.any(np.meshgrid(*(np.diff(own) > 1 for own in edges), indexing="ij"), axis=0)
    for at in map(tuple, np.argwhere(wide & (found.cost[found.place(most)] > least * (1 + 1e-12)))):
        yield (
            most[at],
            least[at],
            (cascade, [own[i : i + 2] for own, i in zip(edges, at)], (gain[at], paid[at])),
        )


def points_by_running(stage, cost, rows, width, positive=None):
    """Cascades (models, thresholds) run as the evaluator runs them, the non-dominated ones as Points."""
    outcomes_of = cache(lambda models: [stage(models[: i + 1]) for i in range(len(models))])
    models, rates = np.full((len(rows), width), -1, np.int64), np.zeros((len(rows), width))
    thresholds, accuracy, total = (
        np.full((len(rows), width - 1), np.nan),
        np.empty(len(rows)),
        np.empty(len(rows)),
    )
    for row, (cascade, limits) in enumerate(rows):
        n = len(cascade)
        exits, gain, total[row] = run_outcomes(
            outcomes_of(cascade), limits, [cost[m] for m in cascade]
        )
        models[row, :n], thresholds[row, : n - 1] = cascade, limits
        accuracy[row] = np.mean(gain) if positive is None else f1(gain, positive)
        rates[row, :n] = exit_rates_of(exits, n)
    if positive is not None:  # two stages at most: the shares that leave sum to 1 to the last bit
        rates[:, 1:] = 1 - rates[:, :1]
    keep = pareto_front(total, accuracy)
    return Points(accuracy[keep], total[keep], models[keep], thresholds[keep], rates[keep])
