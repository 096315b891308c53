"""Exact fronts of what is a sum, where the search counts samples: graded correctness, a cost for every sample, F1."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

import numpy as np

from ..evaluation.evaluation import exit_rates_of, exits_of, run_outcomes, sum_passed_on
from ..evaluation.pareto import pareto_front
from ..methods.thresholds import threshold_for
from ..scoring import f1, f1_of
from ..store.protocol import Stage
from .cascades import Outcomes, cascades_of, check_lengths, check_work
from .front import Points, thresholds_of

GRID = 4096  # boxes that a cascade, or one of its boxes, is divided into


@dataclass(frozen=True, eq=False)
class Curve:
    """All achievable points of one two-model cascade, from never to always exiting, as arrays [E].

    threshold: inside (higher = more confident), inf first and −inf last; exit_rate: share of all
    samples that leaves after the first model.
    """

    threshold: np.ndarray
    exit_rate: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray


def correct_at(
    order: np.ndarray, ends: np.ndarray, gain_1: np.ndarray, gain_2: np.ndarray
) -> np.ndarray:
    """Sum [E] of the gains at each threshold: gain_1 [k] of the samples that leave, gain_2 [k] of the others."""
    exact = np.int64 if gain_1.dtype == bool else np.float64

    def sum_of_leaving(gain: np.ndarray) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(gain[order], dtype=exact)])[ends]

    passed_on = np.sum(gain_2, dtype=exact) - sum_of_leaving(gain_2)
    return sum_of_leaving(gain_1) + passed_on


def two_model_curve(
    confidence: np.ndarray,
    gain_1: np.ndarray,
    gain_2: np.ndarray,
    cost_1: Any,
    cost_2: Any,
    positive: np.ndarray | None = None,
) -> Curve:
    """The :class:`Curve` of one pair.

    confidence float [k]: of the first model (higher = more confident); gain_1, gain_2 [k]: correct
    (bool, or graded in [0, 1]) at each stage; cost_1, cost_2: a number, or float [k] where every
    sample has its own; positive bool [k]: F1 in place of accuracy (true positives and errors
    accumulate along the sweep).
    """
    k = len(confidence)
    order, ends = exits_of(confidence)
    correct = correct_at(order, ends, gain_1, gain_2)
    if positive is None:
        accuracy = correct / k
    else:
        true_positives = correct_at(order, ends, gain_1 & positive, gain_2 & positive)
        accuracy = f1_of(true_positives, k - correct)
    if np.ndim(cost_2) == 0:
        added = cost_2 * ((k - ends) / k)
    else:
        from_last = np.cumsum(cost_2[order][::-1])[::-1]
        added = np.concatenate([from_last, [0]])[ends] / k
    threshold = threshold_for(confidence[order], ends)
    return Curve(threshold, ends / k, accuracy, np.mean(cost_1) + added)


class Found:
    """A front so far, of P points.

    cost [P + 1], the last infinite; above [P + 1], the accuracies after −1; rows [P, 2, n]: models
    and boundaries of each (how many groups of equal confidence exit at a stage), −1 where there
    are fewer.
    """

    def __init__(self, length: int) -> None:
        self.cost = np.array([np.inf])
        self.above = np.array([-1.0])
        self.rows = np.empty((0, 2, length), int)

    def place(self, accuracy: Any) -> Any:
        """Which of the front has this accuracy, up to rounding, at the least cost; P where none has."""
        return np.searchsorted(self.above[1:], accuracy * (1 - 1e-12))

    def add(
        self, cost: np.ndarray, accuracy: np.ndarray, cascade: tuple, boundaries: np.ndarray
    ) -> None:
        """Add what is cheaper: cost [p] and accuracy [p] of a cascade at boundaries int [p, n − 1]."""
        better = np.flatnonzero(cost < self.cost[self.place(accuracy)])
        if not len(better):
            return
        rows = np.full((len(better), *self.rows.shape[1:]), -1)
        rows[:, 0, : len(cascade)] = cascade
        rows[:, 1, : len(cascade) - 1] = boundaries[better]
        cost = np.concatenate([self.cost[:-1], cost[better]])
        accuracy = np.concatenate([self.above[1:], accuracy[better]])
        keep = pareto_front(cost, accuracy)
        self.cost = np.append(cost[keep], np.inf)
        self.above = np.append(-1.0, accuracy[keep])
        self.rows = np.concatenate([self.rows, rows])[keep]

    def by_cascade(self) -> Iterator[tuple[tuple, np.ndarray]]:
        """(models, boundaries int [p, n − 1]) of the front, a cascade at a time."""
        for models in np.unique(self.rows[:, 0], axis=0):
            n = np.count_nonzero(models >= 0)
            own = (self.rows[:, 0] == models).all(axis=1)
            yield tuple(models[:n].tolist()), self.rows[own, 1, : n - 1]


def search_graded(
    stage: Stage,
    cost: np.ndarray,
    n_models: Any,
    positive: np.ndarray | None = None,
    *,
    last_only: bool = False,
    tolerance: float = 0.0,
    time_limit: float | None = None,
) -> Points:
    """The :class:`Points` of all cascades of ``n_models`` models (a length or a tuple) at every threshold.

    stage(prefix) → (correct [k], graded in [0, 1] or bool; confidence [k]); cost [M], or [M, k]
    where every sample has its own; positive bool [k]: F1 in place of accuracy, for one and two
    models (correct samples do not say what F1 of more becomes; ValueError). last_only, tolerance,
    time_limit: as :func:`cascadelib.search_outcomes` takes them. Sums are taken in float64, so
    equal accuracies may differ in the last bit: points are kept by :func:`pareto_front`, and the
    front is exact, or certified, up to that rounding.
    """
    deadline = np.inf if time_limit is None else monotonic() + time_limit
    lengths = check_lengths(n_models, len(cost))
    mean = cost if cost.ndim == 1 else cost.mean(axis=1)
    check_work(mean, lengths, time_limit)
    if positive is not None and lengths[-1] > 2:
        raise ValueError(f"n_models={n_models}: F1 is exact for one and two models only")
    outcomes = Outcomes(stage, last_only)
    found = Found(lengths[-1])
    boxes: list[tuple] = []
    for cascade in cascades_of(mean, lengths):
        first, confidence = stage(cascade[:1])
        if len(cascade) > 2:
            ends = [(0, outcomes.groups(cascade[:i]).max() + 1) for i in range(1, len(cascade))]
            boxes.append((-np.inf, len(boxes), np.inf, mean[cascade[0]], (cascade, ends)))
            continue
        last, _ = stage(cascade)
        # a single model is a pair of itself, of which the second is free
        second = cost[cascade[1]] if len(cascade) > 1 else 0.0
        curve = two_model_curve(confidence, first, last, cost[cascade[0]], second, positive)
        boundaries = np.arange(len(curve.cost))[:, None]
        found.add(curve.cost, curve.accuracy, cascade, boundaries[:, : len(cascade) - 1])
    left = close_boxes(boxes, outcomes, cost, len(first), found, tolerance, deadline)
    rows = [
        (cascade, limits)
        for cascade, boundaries in found.by_cascade()
        for limits in thresholds_of(outcomes, cascade, boundaries)
    ]
    points = points_by_running(stage, cost, rows, lengths[-1], positive)
    if not left:
        return points
    floor = np.full(len(found.cost), np.inf)
    most, least = np.transpose(left)
    np.minimum.at(floor, found.place(most), least)
    return replace(points, floor=np.minimum.accumulate(floor[::-1])[::-1], above=found.above)


def close_boxes(
    heap: list[tuple],
    outcomes: Outcomes,
    cost: np.ndarray,
    k: int,
    found: Found,
    tolerance: float,
    deadline: float,
) -> list[tuple[float, float]]:
    """Add the front of cascades of three models and more to what is ``found``.

    heap: (−excess, number, most accuracy, least cost, box); of the boxes of boundaries
    (docs/architecture.md) that which might be cheaper by most is opened first, as long as there is
    one. Returns (most accuracy, least cost) of those that were left.
    """
    left = []
    number = count(len(heap))

    def excess(most: float, least: float) -> float:
        return found.cost[found.place(most)] / max(least, 1e-300) - 1

    while heap:
        _, _, most, least, (cascade, ends) = heappop(heap)
        if excess(most, least) > tolerance and (monotonic() < deadline or len(found.rows) == 0):
            for part in boxes_within(cascade, ends, outcomes, cost, k, found):
                heappush(heap, (-excess(*part[:2]), next(number), *part))
        elif excess(most, least) > 1e-12:
            left.append((most, least))
    return left


def boxes_within(
    cascade: tuple,
    ends: list,
    outcomes: Outcomes,
    cost: np.ndarray,
    k: int,
    found: Found,
) -> Iterator[tuple[float, float, tuple]]:
    """Add the corners of a grid over a box to the front, and yield the boxes between them.

    ends: int [d, 2], the box's boundaries. Yields (most accuracy, least cost, box) of what may hold
    something better. In these bounds a sample that may pass on does so where it gains, at no cost.
    Costs are only ever added up: a difference of two of them would be off by the rounding of the
    larger, which is more than the smaller where costs differ by 16 orders of magnitude.
    """
    d = len(cascade) - 1
    groups = [outcomes.groups(cascade[: i + 1]) for i in range(d)]
    gains = [np.asarray(outcomes.stage(cascade[: i + 1])[0]) / k for i in range(d + 1)]
    costs = [np.broadcast_to(cost[m], k) / k for m in cascade]
    there = np.ones(k, bool)
    moved = np.zeros(k, bool)  # by a boundary of the box: it exits here or goes on
    passed = []
    for group, (low, high) in zip(groups, ends):
        moved |= there & (low <= group) & (group < high)
        there = there & (group >= low)
        passed.append(there)
    settled_gain = np.sum(gains[0][moved | ~passed[0]])
    settled_cost = np.mean(cost[cascade[0]])
    for i in range(d):
        goes_on = ~moved & passed[i]
        exits = goes_on if i + 1 == d else goes_on & ~passed[i + 1]
        settled_gain += np.sum(gains[i + 1][exits])
        settled_cost += np.sum(costs[i + 1][goes_on])

    bins = round(GRID ** (1 / d))
    edges = [np.unique(np.linspace(low, high, bins + 1).astype(int)) for low, high in ends]
    slots = [np.searchsorted(own, group[moved], side="right") for own, group in zip(edges, groups)]
    sizes = [len(own) for own in edges]
    gain, most, paid = np.zeros((3, *[1] * d))
    for i in range(d):
        step = gains[i + 1][moved] - gains[i][moved]
        up = sum_passed_on(slots[: i + 1], sizes, np.maximum(step, 0))
        down = sum_passed_on(slots[: i + 1], sizes, np.maximum(-step, 0))
        may = (slice(-1),) * (i + 1)
        must = (slice(1, None),) * (i + 1)
        gain = gain + up - down
        most = most + up[may] - down[must]
        paid = paid + sum_passed_on(slots[: i + 1], sizes, costs[i + 1][moved])
    gain = gain + settled_gain
    most = most + settled_gain
    paid = paid + settled_cost

    least = paid[(slice(1, None),) * d]
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*edges, indexing="ij")], axis=1)
    found.add(paid.ravel(), gain.ravel(), cascade, corners)
    wide = np.any(np.meshgrid(*(np.diff(own) > 1 for own in edges), indexing="ij"), axis=0)
    better = found.cost[found.place(most)] > least * (1 + 1e-12)
    for at in map(tuple, np.argwhere(wide & better)):
        inside = [own[i : i + 2] for own, i in zip(edges, at)]
        yield most[at], least[at], (cascade, inside)


def points_by_running(
    stage: Callable,
    cost: np.ndarray,
    rows: list[tuple],
    width: int,
    positive: np.ndarray | None = None,
) -> Points:
    """Cascades (models, thresholds) run as the evaluator runs them, the non-dominated ones as Points."""

    @cache
    def outcomes_of(models: tuple) -> list:
        return [stage(models[: i + 1]) for i in range(len(models))]

    models = np.full((len(rows), width), -1, np.int64)
    rates = np.zeros((len(rows), width))
    thresholds = np.full((len(rows), width - 1), np.nan)
    accuracy = np.empty(len(rows))
    total = np.empty(len(rows))
    for row, (cascade, limits) in enumerate(rows):
        n = len(cascade)
        costs = [cost[m] for m in cascade]
        exits, gain, total[row] = run_outcomes(outcomes_of(cascade), limits, costs)
        models[row, :n] = cascade
        thresholds[row, : n - 1] = limits
        accuracy[row] = np.mean(gain) if positive is None else f1(gain, positive)
        rates[row, :n] = exit_rates_of(exits, n)
    if positive is not None:  # two stages at most: the shares that leave sum to 1 to the last bit
        rates[:, 1:] = 1 - rates[:, :1]
    keep = pareto_front(total, accuracy)
    return Points(accuracy[keep], total[keep], models[keep], thresholds[keep], rates[keep])
