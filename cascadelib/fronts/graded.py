"""Search exact fronts of graded correctness, of a cost per sample, or of F1.

Their accuracies or costs are sums of real numbers. The search of
:mod:`cascadelib.fronts.counted` counts correct samples instead.
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

from ..evaluation.evaluation import mean_cost
from ..evaluation.pareto import pareto_front
from ..methods.thresholds import exit_stages, midway, sort_exits, threshold_for
from ..scoring import f1, f1_of
from ..stages import Outcome, StageFunction, prefixes_of
from .cascades import Outcomes, Search, cascades_of
from .front import Points, confidences_around
from .kernels.state import least_onwards
from .kernels.sums import (
    LINES,
    ROUNDING,
    divide_box,
    excesses,
    lines_below,
    lower_floor,
    settle_rows,
)

GRID_BOXES = 16  # approximate number of boxes into which a box is divided
FEW_CORNERS = 1024  # largest number of corners of a box that are all evaluated
NEAR = 0.9  # a box is divided immediately if its excess is at least this share of the largest
CACHED_SAMPLES = 2**21  # largest total number of samples of the cached cascades
CURVE_POINTS = 128  # approximate number of points of each two-model curve at the start of a search
RUN_SECONDS = 1e-8  # per sample and point, to run the cascades of a front
BOUND_SECONDS = 8e-6  # per list of boxes, to include it in the bound
COPIES = 2**15  # approximate number of copies of samples that replace graded outcomes
GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are evenly spread over [0, 1)


@dataclass(frozen=True, eq=False)
class Curve:
    """Hold all achievable points of a two-model cascade, from "never" to "always".

    Parameters
    ----------
    threshold : float array of shape (E,)
        Thresholds of confidences (higher = more confident), inf first and −inf last.
    exit_rate : float array of shape (E,)
        Share of all samples that exit at the first model.
    accuracy, cost : float arrays of shape (E,)
        Accuracy or F1, and mean cost.
    """

    threshold: Array
    exit_rate: Array
    accuracy: Array
    cost: Array


def correct_at(order: Array, ends: Array, gain_1: Array, gain_2: Array) -> Array:
    """Return the sum of gains at each threshold, (E,): gain_1 if a sample exits, else gain_2."""
    kind = np.int64 if gain_1.dtype == bool else np.float64
    exiting_1, exiting_2 = (
        np.concatenate([[0], np.cumsum(gain[order], dtype=kind)])[ends] for gain in (gain_1, gain_2)
    )
    return exiting_1 + (np.sum(gain_2, dtype=kind) - exiting_2)


def two_model_curve(
    confidence: Array,
    gain_1: Array,
    gain_2: Array,
    cost_1: Any,
    cost_2: Any,
    positive: Array | None = None,
) -> Curve:
    """Return the :class:`Curve` of one pair on k samples.

    Parameters
    ----------
    confidence : float array of shape (k,)
        Confidence of the first model, higher = more confident.
    gain_1, gain_2 : arrays of shape (k,)
        Correctness at each stage, bool or graded in [0, 1].
    cost_1, cost_2 : float or float array of shape (k,)
        Cost of each model.
    positive : bool array of shape (k,), optional
        Membership in class 1. The accuracy of the result is then F1. It is computed from cumulative
        numbers of true positives and of errors.
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
        deferred = np.cumsum(cost_2[order][::-1])[::-1]
        added = np.concatenate([deferred, [0]])[ends] / k
    threshold = threshold_for(confidence[order], ends)
    return Curve(threshold, ends / k, accuracy, np.mean(cost_1) + added)


class GrowingFront:
    """Collect the non-dominated cascades that a search has found so far, P points.

    Attributes
    ----------
    cost : float array of shape (P + 1,)
        Costs of the points, rising, with inf at the end.
    above : float array of shape (P + 1,)
        Accuracies of the points, rising, with −1 at the start.
    rows : int array of shape (P, 2, n)
        Models and boundaries (number of groups that exit at a stage) of each point, −1 beyond its
        end.
    """

    def __init__(self, length: int) -> None:
        self.cost = np.array([np.inf])
        self.above = np.array([-1.0])
        self.rows = np.empty((0, 2, length), int)

    @property
    def steps(self) -> tuple[Array, Array]:
        """Return (above, cost), the argument `front` of kernels."""
        return self.above, self.cost

    def add_improving(
        self, cost: Array, accuracy: Array, cascade: tuple, boundaries: list[Array]
    ) -> None:
        """Add those of c points of a cascade that improve the front.

        A stage has c boundaries, or a common one.
        """
        place = np.searchsorted(self.above[1:], accuracy * (1 - ROUNDING))
        improves = cost < self.cost[place]
        kept = [np.broadcast_to(each, len(cost))[improves] for each in boundaries]
        self.add_points(cost[improves], accuracy[improves], cascade, kept)

    def add_points(self, cost: Array, accuracy: Array, cascade: tuple, boundaries: Any) -> None:
        """Add c points of a cascade: cost (c,), accuracy (c,), boundaries of each stage (d, c)."""
        if not len(cost):
            return
        rows = np.full((len(cost), *self.rows.shape[1:]), -1)
        rows[:, 0, : len(cascade)] = cascade
        for i, boundary in enumerate(boundaries):
            rows[:, 1, i] = boundary
        cost = np.concatenate([self.cost[:-1], cost])
        accuracy = np.concatenate([self.above[1:], accuracy])
        keep = pareto_front(cost, accuracy)
        self.cost = np.append(cost[keep], np.inf)
        self.above = np.append(-1.0, accuracy[keep])
        self.rows = np.concatenate([self.rows, rows])[keep]

    def by_cascade(self) -> Iterator[tuple[tuple, Array]]:
        """Yield the models and boundaries, int (p, n − 1), of each cascade of the front."""
        for models in np.unique(self.rows[:, 0], axis=0):
            n = np.count_nonzero(models >= 0)
            is_of_cascade = (self.rows[:, 0] == models).all(axis=1)
            yield tuple(models[:n].tolist()), self.rows[is_of_cascade, 1, : n - 1]


def search_graded(prepared: Search, positive: Array | None = None) -> Points:
    """Return the front of all cascades of a search's lengths at all thresholds.

    Outcomes are graded in [0, 1] or bool, and costs may differ by sample. With `positive`, a bool
    array (k,), the accuracy is F1, which is exact for one and two models only.

    Sums are computed in float64, so equal accuracies may differ in the last bit. The front, or its
    certified gap, is exact up to that rounding.

    Raises
    ------
    ValueError
        If F1 is requested for three models or more.
    """
    outcomes, cost, lengths, *_ = prepared
    mean = cost if cost.ndim == 1 else cost.mean(axis=1)
    if positive is not None and lengths[-1] > 2:
        raise ValueError(f"n_models={lengths}: F1 is exact for one and two models only")
    search = BoxSearch(prepared)
    for cascade in cascades_of(mean, lengths):
        if positive is None and search.is_late():
            # Each remaining cascade costs at least as much as the cheapest model.
            search.skipped.append((np.array([np.inf]), np.array([mean.min()]), NO_LINES))
            break
        search.add_cascade(cascade, mean[cascade[0]], positive)
    search.close_boxes()
    found = search.found
    rows = [
        (cascade, limits)
        for cascade, boundaries in found.by_cascade()
        for limits in midway(*confidences_around(outcomes, cascade, boundaries))
    ]
    points = points_by_running(outcomes.stage, cost, rows, lengths[-1], positive)
    if not search.skipped:
        return points
    floor = np.full(len(found.cost), np.inf)
    for skipped in search.skipped:
        lower_floor(floor, found.above, *skipped)
    return replace(points, floor=least_onwards(floor), above=found.above)


NO_LINES = np.zeros((LINES, 2))  # before lines are computed: costs are bounded by 0 only


class Boxes(NamedTuple):
    """Hold B boxes of boundaries of one cascade, see :mod:`cascadelib.fronts.kernels.sums`.

    Parameters
    ----------
    cascade : tuple of int
        Models.
    rows, fixed, lines : arrays
        Arrays of the parent box, whose division resulted in these boxes. If `is_settled`, arrays of
        the single box itself.
    is_settled : bool
        Whether this is a single box whose `rows` and `fixed` have been computed.
    ends : int64 array of shape (B, d, 2)
        First and last boundary of each stage.
    most, least : float arrays of shape (B,)
        Upper bound on the accuracy and lower bound on the cost of the cascades in each box.
    excess : float array of shape (B,)
        Largest possible excess cost of the front over the cascades of each box, as a share. Boxes
        are sorted by it, the largest first.
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


def select_boxes(boxes: Boxes, which: Any) -> Boxes:
    """Return the boxes of a slice or of positions."""
    return boxes._replace(
        ends=boxes.ends[which],
        most=boxes.most[which],
        least=boxes.least[which],
        excess=boxes.excess[which],
    )


class BoxSearch:
    """Search the boxes of cascades of three or more models (docs/architecture.md).

    The box with the largest excess is opened first, so that the largest certified gap is small at
    the deadline. Boxes that can only be more accurate than the front come last.

    Attributes
    ----------
    found : GrowingFront
        The front so far.
    skipped : list of (most accuracy, least cost, lines)
        Boxes that were not opened because of the tolerance or the deadline.
    """

    def __init__(self, prepared: Search) -> None:
        self.outcomes: Outcomes = prepared.outcomes
        self.cost = prepared.cost
        self.found = GrowingFront(prepared.lengths[-1])
        self.tolerance = max(float(prepared.tolerance), ROUNDING)
        self.deadline = prepared.deadline
        self.all_rows = np.arange(len(self.outcomes.stage((0,))[0]), dtype=np.int32)
        self.skipped: list[tuple[Array, Array, Array]] = []
        self.heap: list[tuple] = []
        self.number = count()
        self.swept: set[tuple] = set()  # pairs whose curve was added
        self.samples_of = lru_cache(CACHED_SAMPLES // len(self.all_rows) + 1)(self.samples)

    def is_late(self) -> bool:
        """Return whether the remaining time is needed to run the front and to compute its bound."""
        seconds = RUN_SECONDS * len(self.found.rows) * len(self.all_rows)
        seconds += BOUND_SECONDS * (len(self.heap) + len(self.skipped))
        return len(self.found.rows) > 0 and monotonic() + seconds > self.deadline

    def samples(self, cascade: tuple) -> tuple[Array, Array, Array]:
        """Return groups int32 (d, k), gains ÷ k (d + 1, k) and costs of later models ÷ k (d, k)."""
        k = len(self.all_rows)
        prefixes = prefixes_of(cascade)
        groups = np.stack([self.outcomes.groups(prefix) for prefix in prefixes[:-1]])
        gains = np.stack([self.outcomes.stage(prefix)[0] for prefix in prefixes])
        costs = np.stack([np.broadcast_to(self.cost[m], k) for m in cascade[1:]])
        return groups, gains / k, costs / k

    def add_cascade(self, cascade: tuple, least: float, positive: Array | None) -> None:
        """Add the curve of a cascade's first two models once, and push the box of the cascade.

        The box contains all thresholds. Cascades of one or two models have no box, since the curve
        has all of their points. `least` is the mean cost of the first model.
        """
        ends = np.zeros((len(cascade) - 1, 2), np.int64)
        for i in range(1, len(cascade)):
            ends[i - 1, 1] = self.outcomes.all_exit(cascade[:i])
        pair = cascade[:2]
        if pair not in self.swept or len(cascade) < 3:
            self.swept.add(pair)
            first, confidence = self.outcomes.stage(cascade[:1])
            last, _ = self.outcomes.stage(pair)
            # A single model is treated as a pair with itself, and the second call is free.
            second = self.cost[cascade[1]] if len(cascade) > 1 else 0.0
            curve = two_model_curve(
                confidence, first, last, self.cost[cascade[0]], second, positive
            )
            # A longer cascade has the points of the curve if all samples exit at its later stages.
            # Some of these points suffice as a start.
            step = 1 if len(cascade) < 3 else 1 + len(curve.cost) // CURVE_POINTS
            boundaries = [np.arange(0, len(curve.cost), step), *ends[1:, 1]][: len(cascade) - 1]
            self.found.add_improving(
                curve.cost[::step], curve.accuracy[::step], cascade, boundaries
            )
        if len(cascade) > 2:
            fixed = np.array([0.0, least])
            most = np.array([np.inf])
            box = (cascade, self.all_rows, fixed, NO_LINES, True, ends[None], most)
            self.push(Boxes(*box, fixed[1:], most))

    def push(self, boxes: Boxes, at: int = 0) -> None:
        """Add boxes[at:] to the heap as one entry."""
        if at < len(boxes.excess):
            heappush(self.heap, (-boxes.excess[at], next(self.number), boxes, at))

    def rank_boxes(self, boxes: Boxes) -> Boxes:
        """Compute the excess of boxes over the current front, and sort them, largest first."""
        steps = self.found.steps
        excess = excesses(boxes.most, boxes.least, boxes.lines, steps, self.tolerance)
        boxes = boxes._replace(excess=excess)
        return boxes if len(excess) < 2 else select_boxes(boxes, np.argsort(-excess))

    def close_boxes(self) -> None:
        """Open all listed boxes, and add their front to ``found``."""
        top = self.found.above[-1]
        since = 0
        while self.heap and not self.is_late():
            since += 1
            if self.found.above[-1] > top and since > len(self.heap):
                # The front got more accurate points, so the excess of all boxes may have changed.
                top = self.found.above[-1]
                since = 0
                listed = self.heap
                self.heap = []
                for _, _, boxes, at in listed:
                    self.push(self.rank_boxes(select_boxes(boxes, slice(at, None))))
            _, _, boxes, at = heappop(self.heap)
            if boxes.excess[at] <= self.tolerance:
                self.skip(boxes, at)
                continue
            self.push(boxes, at + 1)
            self.open_box(select_boxes(boxes, slice(at, at + 1)))
        for _, _, boxes, at in self.heap:
            self.skip(boxes, at)

    def skip(self, boxes: Boxes, at: int) -> None:
        """Record boxes[at:] as not opened."""
        if boxes.excess[at] > ROUNDING:
            self.skipped.append((boxes.most[at:], boxes.least[at:], boxes.lines))

    def open_box(self, box: Boxes) -> None:
        """Compute the lines of a box, unless they exist, and divide it if its excess is large."""
        samples = self.samples_of(box.cascade)
        d = len(box.ends[0])
        bins = (box.ends[0, :, 1] - box.ends[0, :, 0]).max()
        is_small = (bins + 1.0) ** d <= FEW_CORNERS
        if not box.is_settled:
            rows, fixed = settle_rows(samples, box.rows, box.ends[0], box.fixed)
            box = box._replace(rows=rows, fixed=fixed, is_settled=True)
            if not is_small:
                lines, most, cuts, accuracy_and_cost = lines_below(
                    samples,
                    rows,
                    box.ends[0],
                    fixed,
                    box.most[0],
                    self.found.steps,
                    self.tolerance,
                )
                accuracy, cost = accuracy_and_cost.T
                self.found.add_points(cost, accuracy, box.cascade, cuts.T)
                box = box._replace(lines=lines, most=np.array([most]))
        box = self.rank_boxes(box)
        first = -self.heap[0][0] if self.heap else 0.0
        if box.excess[0] <= self.tolerance or box.excess[0] < first * NEAR:
            self.push(box)
            return
        if not is_small:
            bins = min(bins, max(2, round(GRID_BOXES ** (1 / d))))
        cuts, accuracy_and_cost, ends, most, least = divide_box(
            samples, box.rows, box.ends[0], box.fixed, box.lines, self.found.steps, bins
        )
        accuracy, cost = accuracy_and_cost.T
        self.found.add_points(cost, accuracy, box.cascade, cuts.T)
        most = np.minimum(most, box.most)
        parts = box._replace(is_settled=False, ends=ends, most=most, least=least)
        self.push(self.rank_boxes(parts))


def copies_of(stage: StageFunction) -> StageFunction:
    """Return a stage function that replaces graded outcomes by boolean outcomes of copies.

    Each sample has R copies. The share of correct copies is the rounded grade of the sample. The
    rounding errors of samples with similar confidence cancel. R · k is about ``COPIES``, and R is
    at least 4. Copies of a sample have equal confidences, so they exit together.
    """
    _, confidence = stage((0,))
    k = len(confidence)
    copies = max(4, -(-COPIES // k))
    offset = np.empty(k)
    offset[np.argsort(confidence, kind="stable")] = np.arange(k) * GOLDEN % 1
    limits = (np.arange(copies)[:, None] + offset) / copies

    def outcome(prefix: tuple) -> Outcome:
        correct, confidence = stage(prefix)
        return (correct > limits).ravel(), np.tile(confidence, copies)

    return outcome


def run_again(points: Points, stage: StageFunction, cost: Array) -> Points:
    """Evaluate points on a stage function, after a search that used its :func:`copies_of`."""
    rows = []
    for models, thresholds in zip(points.models.tolist(), points.thresholds):
        n = sum(model >= 0 for model in models)
        rows.append((tuple(models[:n]), thresholds[: n - 1]))
    exact = points_by_running(stage, cost, rows, points.models.shape[1])
    return replace(exact, floor=points.floor, above=points.above)


def points_by_running(
    stage: StageFunction,
    cost: Array,
    rows: list[tuple],
    width: int,
    positive: Array | None = None,
) -> Points:
    """Evaluate cascades, given as (models, thresholds), and return the non-dominated ones.

    `width` is the number of models of the longest cascade.
    """
    outcomes = Outcomes(stage, last_only=False)
    outcomes.prepare(cascade for cascade, _ in rows)
    outcome = lru_cache(32)(outcomes.stage)
    last_outcome = lru_cache(32)(outcomes.stage.last)
    models = np.full((len(rows), width), -1, np.int64)
    rates = np.zeros((len(rows), width))
    thresholds = np.full((len(rows), width - 1), np.nan)
    accuracy = np.empty(len(rows))
    total = np.empty(len(rows))
    for row, (cascade, limits) in enumerate(rows):
        n = len(cascade)
        *deciding, last = prefixes_of(cascade)
        gains, confidences = zip(*map(outcome, deciding), last_outcome(last))
        exits = exit_stages(confidences, limits)
        gain = np.choose(exits, gains)
        models[row, :n] = cascade
        thresholds[row, : n - 1] = limits
        total[row] = mean_cost([cost[m] for m in cascade], exits)
        accuracy[row] = np.mean(gain) if positive is None else f1(gain > 0, positive)
        rates[row, :n] = np.bincount(exits, minlength=n) / len(exits)
    keep = pareto_front(total, accuracy)
    points = Points(accuracy[keep], total[keep], models[keep], thresholds[keep], rates[keep])
    return replace(points, samples=len(exits))
