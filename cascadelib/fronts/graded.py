"""Exact fronts of what is a sum, where the search counts samples.

That is graded correctness, a cost for every sample, or F1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, reduce
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..evaluation.evaluation import exit_rates_of, run_outcomes
from ..evaluation.pareto import pareto_front
from ..methods.thresholds import exits_of, sum_passed_on, threshold_for
from ..scoring import f1, f1_of
from ..stages import Outcome, StageFunction
from .cascades import Outcomes, cascades_of, check_lengths, check_work
from .front import Points, thresholds_of
from .kernels.state import least_onwards

GRID = 4096  # boxes that a cascade, or one of its boxes, is divided into
COPIES = 2**15  # about as many copies of samples stand for graded outcomes
GOLDEN = (5**0.5 - 1) / 2  # its multiples spread evenly over [0, 1) modulo 1


@dataclass(frozen=True, eq=False)
class Curve:
    """All achievable points of one two-model cascade, from never to always exiting, as arrays [E].

    threshold: inside (higher = more confident), inf first and −inf last; exit_rate: share of all
    samples that leaves after the first model.
    """

    threshold: Array
    exit_rate: Array
    accuracy: Array
    cost: Array


def correct_at(order: Array, ends: Array, gain_1: Array, gain_2: Array) -> Array:
    """Sum [E] of the gains at each threshold.

    gain_1, gain_2 [k]: of samples that leave, and of the others.
    """
    exact = np.int64 if gain_1.dtype == bool else np.float64

    def sum_of_leaving(gain: Array) -> Array:
        return np.concatenate([[0], np.cumsum(gain[order], dtype=exact)])[ends]

    passed_on = np.sum(gain_2, dtype=exact) - sum_of_leaving(gain_2)
    return sum_of_leaving(gain_1) + passed_on


def two_model_curve(
    confidence: Array,
    gain_1: Array,
    gain_2: Array,
    cost_1: Any,
    cost_2: Any,
    positive: Array | None = None,
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
        """Which of the front has this accuracy, up to rounding, at the least cost.

        It is P where none has.
        """
        return np.searchsorted(self.above[1:], accuracy * (1 - 1e-12))

    def add(self, cost: Array, accuracy: Array, cascade: tuple, edges: list[Array]) -> None:
        """Add what is cheaper of a cascade: cost and accuracy at a grid of boundaries.

        edges: a list of boundaries per axis of the grid, a stage with a threshold each.
        """
        better = cost < self.cost[self.place(accuracy)]
        at = np.nonzero(better)
        if not len(at[0]):
            return
        rows = np.full((len(at[0]), *self.rows.shape[1:]), -1)
        rows[:, 0, : len(cascade)] = cascade
        for i, own in enumerate(edges):
            rows[:, 1, i] = own[at[i]]
        cost = np.concatenate([self.cost[:-1], cost[better]])
        accuracy = np.concatenate([self.above[1:], accuracy[better]])
        keep = pareto_front(cost, accuracy)
        self.cost = np.append(cost[keep], np.inf)
        self.above = np.append(-1.0, accuracy[keep])
        self.rows = np.concatenate([self.rows, rows])[keep]

    def by_cascade(self) -> Iterator[tuple[tuple, Array]]:
        """(models, boundaries int [p, n − 1]) of the front, a cascade at a time."""
        for models in np.unique(self.rows[:, 0], axis=0):
            n = np.count_nonzero(models >= 0)
            own = (self.rows[:, 0] == models).all(axis=1)
            yield tuple(models[:n].tolist()), self.rows[own, 1, : n - 1]


def search_graded(
    stage: StageFunction,
    cost: Array,
    n_models: Any,
    positive: Array | None = None,
    *,
    last_only: bool = False,
    tolerance: float = 0.0,
    time_limit: float | None = None,
) -> Points:
    """The :class:`Points` of all cascades of ``n_models`` models at every threshold.

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
    everything = np.arange(len(stage((0,))[0]))
    boxes: list[tuple] = []
    for cascade in cascades_of(mean, lengths):
        first, confidence = stage(cascade[:1])
        if len(cascade) > 2:
            ends = [(0, outcomes.groups(cascade[:i]).max() + 1) for i in range(1, len(cascade))]
            least = mean[cascade[0]]
            whole = Box(cascade, ends, everything, 0.0, least)
            boxes.append((-np.inf, len(boxes), np.inf, least, whole))
            continue
        last, _ = stage(cascade)
        # a single model is a pair of itself, of which the second is free
        second = cost[cascade[1]] if len(cascade) > 1 else 0.0
        curve = two_model_curve(confidence, first, last, cost[cascade[0]], second, positive)
        edges = [np.arange(len(curve.cost))] * (len(cascade) - 1)
        found.add(curve.cost, curve.accuracy, cascade, edges)
    left = close_boxes(boxes, outcomes, cost, found, tolerance, deadline)
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
    return replace(points, floor=least_onwards(floor), above=found.above)


@dataclass(frozen=True, eq=False)
class Box:
    """All thresholds of one cascade whose boundaries lie within ``ends``, int [d, 2].

    rows: positions of samples, among them all that a boundary of the box moves; gain, cost: what
    the others come to, each ÷ k. These sums only grow, from a box to those within it: a difference
    of two costs would be off by the rounding of the larger, which is more than the smaller where
    costs differ by 16 orders of magnitude.
    """

    cascade: tuple[int, ...]
    ends: list
    rows: Array
    gain: float
    cost: float


def close_boxes(
    heap: list[tuple],
    outcomes: Outcomes,
    cost: Array,
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

    @lru_cache(32)
    def samples_of(cascade: tuple) -> Sequence[Array]:
        """Groups [d, k], gains ÷ k [d + 1, k] and costs of later models ÷ k [d, k]."""
        prefixes = [cascade[: i + 1] for i in range(len(cascade))]
        groups = np.stack([outcomes.groups(prefix) for prefix in prefixes[:-1]])
        gains = np.stack([outcomes.stage(prefix)[0] for prefix in prefixes])
        k = groups.shape[1]
        costs = np.stack([np.broadcast_to(cost[m], k) for m in cascade[1:]])
        return groups, gains / k, costs / k

    def excess(most: float, least: float) -> float:
        return found.cost[found.place(most)] / max(least, 1e-300) - 1

    while heap:
        _, _, most, least, box = heappop(heap)
        if excess(most, least) > tolerance and (monotonic() < deadline or len(found.rows) == 0):
            for part in boxes_within(box, samples_of(box.cascade), found):
                heappush(heap, (-excess(*part[:2]), next(number), *part))
        elif excess(most, least) > 1e-12:
            left.append((most, least))
    return left


def boxes_within(
    box: Box, samples: Sequence[Array], found: Found
) -> Iterator[tuple[float, float, Box]]:
    """Add the corners of a grid over a box to the front, and yield the boxes between them.

    samples: groups, gains and costs of the cascade, see :func:`close_boxes`. Yields (most accuracy,
    least cost, box) of what may hold something better. In these bounds a sample that may pass on
    does so where it gains, at no cost.
    """
    d = len(box.ends)
    if len(box.rows) < len(samples[0][0]):
        samples = [part[:, box.rows] for part in samples]
    groups, gains, costs = samples
    low, high = np.transpose(box.ends)[..., None]
    passed = np.logical_and.accumulate(groups >= low)
    moved = (passed & (groups < high)).any(axis=0)
    # the others get to the stages that they pass on to, and exit at the last of them
    settled = np.vstack([~moved, passed & ~moved])
    settled_cost = box.cost + np.sum(costs * settled[1:])
    settled[:-1] &= ~passed
    settled_gain = box.gain + np.sum(gains * settled)
    rows = box.rows if moved.all() else box.rows[moved]
    gains = gains[:, moved]
    costs = costs[:, moved]

    bins = round(GRID ** (1 / d))
    edges = [np.unique(np.linspace(low, high, bins + 1).astype(int)) for low, high in box.ends]
    slots = [np.searchsorted(own, g, side="right") for own, g in zip(edges, groups[:, moved])]
    sizes = [len(own) for own in edges]
    gain, most, paid = np.zeros((3, *[1] * d))
    for i, step in enumerate(gains[1:] - gains[:-1]):
        up = sum_passed_on(slots[: i + 1], sizes, np.maximum(step, 0))
        down = sum_passed_on(slots[: i + 1], sizes, np.maximum(-step, 0))
        may = (slice(-1),) * (i + 1)
        must = (slice(1, None),) * (i + 1)
        gain = gain + up - down
        most = most + up[may] - down[must]
        paid = paid + sum_passed_on(slots[: i + 1], sizes, costs[i])
    # those that exit first have their gain without passing on
    first = settled_gain + gains[0].sum()
    gain = gain + first
    most = most + first
    paid = paid + settled_cost

    least = paid[(slice(1, None),) * d]
    found.add(paid, gain, box.cascade, edges)
    wide = reduce(np.logical_or.outer, [np.diff(own) > 1 for own in edges])
    better = found.cost[found.place(most)] > least * (1 + 1e-12)
    for at in np.argwhere(wide & better).tolist():
        ends = [own[i : i + 2] for own, i in zip(edges, at)]
        inside = Box(box.cascade, ends, rows, settled_gain, settled_cost)
        yield most[tuple(at)], least[tuple(at)], inside


def copies_of(stage: StageFunction) -> StageFunction:
    """Graded outcomes as the counting search takes them: every sample is there R times, and as many
    of its copies are correct as its share, rounded up or down so that roundings of samples of like
    confidence cancel: R · k is about ``COPIES``, and R at least 4. Copies leave together."""
    _, confidence = stage((0,))
    k = len(confidence)
    copies = max(4, -(-COPIES // k))
    offset = np.empty(k)
    offset[np.argsort(confidence, kind="stable")] = np.arange(k) * GOLDEN % 1
    limits = (np.arange(copies)[:, None] + offset) / copies

    def copied(prefix: tuple) -> Outcome:
        correct, confidence = stage(prefix)
        return (correct > limits).ravel(), np.tile(confidence, copies)

    return copied


def run_again(points: Points, stage: StageFunction, cost: Array) -> Points:
    """Points of :func:`copies_of` a stage, with the outcomes of the stage itself."""
    rows = []
    for models, thresholds in zip(points.models.tolist(), points.thresholds):
        n = sum(model >= 0 for model in models)
        rows.append((tuple(models[:n]), thresholds[: n - 1]))
    found = points_by_running(stage, cost, rows, points.models.shape[1])
    return replace(found, floor=points.floor, above=points.above)


def points_by_running(
    stage: StageFunction,
    cost: Array,
    rows: list[tuple],
    width: int,
    positive: Array | None = None,
) -> Points:
    """The non-dominated of cascades (models, thresholds), run as the evaluator runs them."""

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
    found = Points(accuracy[keep], total[keep], models[keep], thresholds[keep], rates[keep])
    return replace(found, samples=len(stage((0,))[0]))
