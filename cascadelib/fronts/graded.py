"""Exact fronts of what is a sum, where the search counts samples.

That is graded correctness, a cost for every sample, or F1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array

from ..evaluation.pareto import pareto_front
from ..methods.thresholds import sort_exits, threshold_for
from ..scoring import f1, f1_of
from ..stages import Outcome, StageFunction
from .cascades import Outcomes, Search, cascades_of
from .front import Points, thresholds_of
from .kernels.state import least_onwards
from .kernels.sums import (
    LINES,
    ROUNDING,
    divide,
    excesses,
    exits_at,
    lines_below,
    lower,
    settle,
)

GRID = 16  # about as many boxes is a cascade, or one of its boxes, divided into …
FEW = 1024  # … unless it has about as few corners as these, all of which are tried
NEAR = 0.9  # of the largest excess: a box of as much is opened as if it had that
KEPT = 2**21  # samples of the cascades of which groups, gains and costs are kept
SOME = 128  # points of a curve of two models with which longer cascades begin
FINISH = 1e-8  # seconds per sample and point that running a front takes
ENTRY = 8e-6  # seconds that boxes which are left, as they were listed, take
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
    order, ends = sort_exits(confidence)
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

    @property
    def steps(self) -> tuple[Array, Array]:
        """(above, cost), as kernels take a front."""
        return self.above, self.cost

    def add(self, cost: Array, accuracy: Array, cascade: tuple, edges: list[Array]) -> None:
        """Add what is cheaper of a cascade: cost and accuracy at a grid of boundaries.

        edges: a list of boundaries per axis of the grid, a stage with a threshold each.
        """
        place = np.searchsorted(self.above[1:], accuracy * (1 - ROUNDING))
        better = cost < self.cost[place]
        at = np.nonzero(better)
        boundaries = [own[i] for own, i in zip(edges, at)]
        self.enter(cost[better], accuracy[better], cascade, boundaries)

    def enter(self, cost: Array, accuracy: Array, cascade: tuple, boundaries: Any) -> None:
        """Add c points of a cascade: cost and accuracy [c], boundaries of each stage [d, c]."""
        if not len(cost):
            return
        rows = np.full((len(cost), *self.rows.shape[1:]), -1)
        rows[:, 0, : len(cascade)] = cascade
        for i, own in enumerate(boundaries):
            rows[:, 1, i] = own
        cost = np.concatenate([self.cost[:-1], cost])
        accuracy = np.concatenate([self.above[1:], accuracy])
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


def search_graded(prepared: Search, positive: Array | None = None) -> Points:
    """The :class:`Points` of all cascades of a search's lengths at every threshold.

    Outcomes are graded in [0, 1] or bool; costs [M], or [M, k] where every sample has its own;
    positive bool [k]: F1 in place of accuracy, for one and two models (correct samples do not say
    what F1 of more becomes; ValueError). Sums are taken in float64, so equal accuracies may differ
    in the last bit: points are kept by :func:`pareto_front`, and the front is exact, or certified,
    up to that rounding.
    """
    outcomes, cost, lengths, *_ = prepared
    mean = cost if cost.ndim == 1 else cost.mean(axis=1)
    if positive is not None and lengths[-1] > 2:
        raise ValueError(f"n_models={lengths}: F1 is exact for one and two models only")
    tolerance = max(float(prepared.tolerance), ROUNDING)
    search = BoxSearch(outcomes, cost, Found(lengths[-1]), tolerance, prepared.deadline)
    for cascade in cascades_of(mean, lengths):
        if positive is None and search.is_late():
            # Of the cascades that are not even listed no more is known than this.
            search.left.append((np.array([np.inf]), np.array([mean.min()]), NO_LINES))
            break
        search.begin(cascade, mean[cascade[0]], positive)
    search.close_boxes()
    found = search.found
    rows = [
        (cascade, limits)
        for cascade, boundaries in found.by_cascade()
        for limits in thresholds_of(outcomes, cascade, boundaries)
    ]
    points = points_by_running(outcomes.stage, cost, rows, lengths[-1], positive)
    if not search.left:
        return points
    floor = np.full(len(found.cost), np.inf)
    for left in search.left:
        lower(floor, found.above, *left)
    return replace(points, floor=least_onwards(floor), above=found.above)


NO_LINES = np.zeros((LINES, 2))  # costs are 0 or more


class Boxes(NamedTuple):
    """B boxes of boundaries of one cascade (see :mod:`cascadelib.fronts.kernels.sums`).

    rows, fixed, lines: of the box that they are parts of; its own once a single box is settled
    (``is_settled``). ends int64 [B, d, 2]; most [B]: no cascade of a box is more accurate;
    least [B]: none costs less; excess [B], falling: by what share the front might be too dear.
    """

    cascade: tuple[int, ...]
    rows: Array
    fixed: Array
    lines: Array
    is_settled: bool
    ends: Array
    most: Array
    least: Array
    excess: Array


def some_of(boxes: Boxes, which: Any) -> Boxes:
    """Some of the boxes, by a slice or their positions."""
    return boxes._replace(
        ends=boxes.ends[which],
        most=boxes.most[which],
        least=boxes.least[which],
        excess=boxes.excess[which],
    )


class BoxSearch:
    """A search of the boxes of cascades of three models and more (docs/architecture.md).

    The box that might be cheaper by most than what is ``found`` is opened first, as long as there
    is one, so that the largest certified gap is small by the time that is up. Last come boxes that
    may only be more accurate than all that is found. left: (most accuracy, least
    cost, lines) of boxes that were closed by the tolerance or the deadline alone.
    """

    def __init__(
        self, outcomes: Outcomes, cost: Array, found: Found, tolerance: float, deadline: float
    ) -> None:
        self.outcomes = outcomes
        self.cost = cost
        self.found = found
        self.tolerance = tolerance
        self.deadline = deadline
        self.everything = np.arange(len(outcomes.stage((0,))[0]), dtype=np.int32)
        self.left: list[tuple[Array, Array, Array]] = []
        self.heap: list[tuple] = []
        self.number = count()
        self.swept: set[tuple] = set()
        self.samples_of = lru_cache(KEPT // len(self.everything) + 1)(self.samples)

    def is_late(self) -> bool:
        """Whether time is up, but for what it takes to run the front and to enter what is left."""
        finish = FINISH * len(self.found.rows) * len(self.everything)
        finish += ENTRY * (len(self.heap) + len(self.left))
        return len(self.found.rows) > 0 and monotonic() + finish > self.deadline

    def samples(self, cascade: tuple) -> tuple[Array, Array, Array]:
        """Groups int32 [d, k], gains ÷ k [d + 1, k] and costs of later models ÷ k [d, k]."""
        k = len(self.everything)
        prefixes = [cascade[: i + 1] for i in range(len(cascade))]
        groups = np.stack([self.outcomes.groups(prefix) for prefix in prefixes[:-1]])
        gains = np.stack([self.outcomes.stage(prefix)[0] for prefix in prefixes])
        costs = np.stack([np.broadcast_to(self.cost[m], k) for m in cascade[1:]])
        return groups, gains / k, costs / k

    def begin(self, cascade: tuple, least: float, positive: Array | None) -> None:
        """Add the curve of a cascade's first two models, unless it is there, and list the box of
        all its thresholds where it has more. least: mean cost of the first model."""
        ends = np.zeros((len(cascade) - 1, 2), np.int64)
        for i in range(1, len(cascade)):
            ends[i - 1, 1] = self.outcomes.all_exit(cascade[:i])
        pair = cascade[:2]
        if pair not in self.swept or len(cascade) < 3:
            self.swept.add(pair)
            first, confidence = self.outcomes.stage(cascade[:1])
            last, _ = self.outcomes.stage(pair)
            # A single model is a pair of itself, of which the second is free.
            second = self.cost[cascade[1]] if len(cascade) > 1 else 0.0
            curve = two_model_curve(
                confidence, first, last, self.cost[cascade[0]], second, positive
            )
            # All leave at the later stages of a longer cascade, of which some points will do.
            step = 1 if len(cascade) < 3 else 1 + len(curve.cost) // SOME
            edges = [np.arange(0, len(curve.cost), step), *ends[1:, 1:]][: len(cascade) - 1]
            shape = (-1, *[1] * (len(cascade) - 2))
            paid = curve.cost[::step].reshape(shape)
            self.found.add(paid, curve.accuracy[::step].reshape(shape), cascade, edges)
        if len(cascade) > 2:
            fixed = np.array([0.0, least])
            most = np.array([np.inf])
            whole = (cascade, self.everything, fixed, NO_LINES, True, ends[None], most)
            self.push(Boxes(*whole, fixed[1:], most))

    def push(self, boxes: Boxes, at: int = 0) -> None:
        """List boxes from a position on, as one entry."""
        if at < len(boxes.excess):
            heappush(self.heap, (-boxes.excess[at], next(self.number), boxes, at))

    def ranked(self, boxes: Boxes) -> Boxes:
        """Boxes by what is found now, that first which might be cheaper by most."""
        steps = self.found.steps
        excess = excesses(boxes.most, boxes.least, boxes.lines, steps, self.tolerance)
        boxes = boxes._replace(excess=excess)
        if len(excess) < 2:
            return boxes
        return some_of(boxes, np.argsort(-excess))

    def close_boxes(self) -> None:
        """Add the front of all boxes that are listed to what is ``found``."""
        top = self.found.above[-1]
        since = 0
        while self.heap and not self.is_late():
            since += 1
            if self.found.above[-1] > top and since > len(self.heap):
                # Boxes more accurate than all that was found may undercut what is new.
                top = self.found.above[-1]
                since = 0
                listed = self.heap
                self.heap = []
                for _, _, boxes, at in listed:
                    self.push(self.ranked(some_of(boxes, slice(at, None))))
            _, _, boxes, at = heappop(self.heap)
            if boxes.excess[at] <= self.tolerance:
                self.leave(boxes, at)
                continue
            self.push(boxes, at + 1)
            self.open_box(some_of(boxes, slice(at, at + 1)))
        for _, _, boxes, at in self.heap:
            self.leave(boxes, at)

    def leave(self, boxes: Boxes, at: int) -> None:
        """Leave boxes from a position on."""
        if boxes.excess[at] > ROUNDING:
            self.left.append((boxes.most[at:], boxes.least[at:], boxes.lines))

    def open_box(self, box: Boxes) -> None:
        """Price a box, unless that is done, and divide it if it is still the one to be opened."""
        samples = self.samples_of(box.cascade)
        d = len(box.ends[0])
        bins = (box.ends[0, :, 1] - box.ends[0, :, 0]).max()
        is_small = (bins + 1.0) ** d <= FEW
        if not box.is_settled:
            rows, fixed = settle(samples, box.rows, box.ends[0], box.fixed)
            box = box._replace(rows=rows, fixed=fixed, is_settled=True)
            if not is_small:  # it gets its own lines, and what they meet on the way is added
                lines, most, cuts, worth = lines_below(
                    samples,
                    rows,
                    box.ends[0],
                    fixed,
                    box.most[0],
                    self.found.steps,
                    self.tolerance,
                )
                self.found.enter(worth[:, 1], worth[:, 0], box.cascade, cuts.T)
                box = box._replace(lines=lines, most=np.array([most]))
        box = self.ranked(box)
        first = -self.heap[0][0] if self.heap else 0.0
        if box.excess[0] <= self.tolerance or box.excess[0] < first * NEAR:
            self.push(box)
            return
        if not is_small:
            bins = min(bins, max(2, round(GRID ** (1 / d))))
        cuts, worth, ends, most, least = divide(
            samples, box.rows, box.ends[0], box.fixed, box.lines, self.found.steps, bins
        )
        self.found.enter(worth[:, 1], worth[:, 0], box.cascade, cuts.T)
        most = np.minimum(most, box.most)
        parts = box._replace(is_settled=False, ends=ends, most=most, least=least)
        self.push(self.ranked(parts))


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

    @lru_cache(32)
    def outcomes_of(models: tuple) -> tuple[Array, Array, Array]:
        outcomes = [stage(models[: i + 1]) for i in range(len(models))]
        gains = np.stack([gain for gain, _ in outcomes]).astype(np.float64)
        confidence = np.stack([own for _, own in outcomes]).astype(np.float64)
        return confidence, gains, np.stack([np.broadcast_to(cost[m], k) for m in models])

    k = len(stage((0,))[0])
    models = np.full((len(rows), width), -1, np.int64)
    rates = np.zeros((len(rows), width))
    thresholds = np.full((len(rows), width - 1), np.nan)
    accuracy = np.empty(len(rows))
    total = np.zeros(len(rows))
    for row, (cascade, limits) in enumerate(rows):
        n = len(cascade)
        confidence, gains, costs = outcomes_of(cascade)
        left, gain, paid = exits_at(confidence, limits, gains, costs)
        reached = k - np.cumsum(left) + left
        for m, own, many in zip(cascade, paid, reached):
            # As the evaluator adds.
            total[row] += np.sum(own[:many]) / k if cost.ndim == 2 else cost[m] * (many / k)
        models[row, :n] = cascade
        thresholds[row, : n - 1] = limits
        accuracy[row] = np.mean(gain) if positive is None else f1(gain > 0, positive)
        rates[row, :n] = left / k
    if positive is not None:  # two stages at most: the shares that leave sum to 1 to the last bit
        rates[:, 1:] = 1 - rates[:, :1]
    keep = pareto_front(total, accuracy)
    found = Points(accuracy[keep], total[keep], models[keep], thresholds[keep], rates[keep])
    return replace(found, samples=k)
