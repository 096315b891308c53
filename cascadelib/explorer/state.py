"""A cascade on a split as the screen shows it, in plain arrays: its curve over a grid of thresholds, its numbers at
the present ones."""

from dataclasses import dataclass

import numpy as np

from ..evaluation.evaluation import baseline_of, costs_of, exit_stages, outcomes_of, right_alone, run_outcomes
from ..evaluation.pareto import Baseline, pareto_front
from ..methods.thresholds import midway, own_units
from ..scoring import F1, f1, f1_of

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


BINS = 40


@dataclass(frozen=True, eq=False)
class CascadeOnSplit:
    """A cascade of n models on the k samples of one split.

    right: n arrays [k], bool or graded in [0, 1], correctness of the output after each stage; sure: n − 1 arrays
    float64 [k]; costs: n numbers, or arrays [k]; order: n − 1 arrays int [k], samples by falling confidence;
    single: [k], correctness of the single model that cascades are compared with; positive: bool [k], the samples of
    class 1 where F1 counts in place of accuracy, else None.
    """

    right: tuple[np.ndarray, ...]
    sure: tuple[np.ndarray, ...]
    costs: tuple
    order: tuple[np.ndarray, ...]
    single: np.ndarray
    baseline: Baseline
    positive: np.ndarray | None = None

    def __len__(self):
        return len(self.single)

    @property
    def stages(self):
        """How many models the cascade has."""
        return len(self.right)


@dataclass(frozen=True, eq=False)
class Reading:
    """A cascade at fixed thresholds on one split: what :func:`cascadelib.evaluate` measures, and counts of samples.

    exit_stage int [k], correct [k]; exits, exits_right: [n], samples (exits_right: the sum of their scores) that leave
    at each stage; difference: accuracy − that of the single model compared with. Under F1, accuracy is F1.
    """

    accuracy: float
    cost: float
    improvement: float
    difference: float
    exit_stage: np.ndarray
    correct: np.ndarray
    exits: np.ndarray
    exits_right: np.ndarray

    @property
    def exit_rates(self):
        """Share of all samples that leave at each stage, n numbers that sum to 1."""
        return tuple((self.exits / len(self.correct)).tolist())


def on_split(store, models, method, score, cost_kind, single, baseline=None):
    """The :class:`CascadeOnSplit` of ``models`` (names, in the order they run) on a LogitStore or ScoreTable.

    single: name of the model to compare with; baseline: the split's :class:`Baseline` where it is known already.
    ValueError for models that the store lacks, naming the nearest.
    """
    outcomes = outcomes_of(store, models, method, score)
    sure = tuple(sure for _, sure in outcomes[:-1])
    return CascadeOnSplit(
        right=tuple(right for right, _ in outcomes),
        sure=sure,
        costs=tuple(costs_of(store, models, cost_kind)),
        order=tuple(np.argsort(-s, kind="stable") for s in sure),
        single=right_alone(store, single, score),
        baseline=baseline or baseline_of(store, score, cost_kind),
        positive=store.positives() if score == F1 else None,
    )


def quality_on(cascade, correct):
    """What outcomes correct [k] on the split of a cascade come to: accuracy, or F1."""
    return float(np.mean(correct)) if cascade.positive is None else f1(correct, cascade.positive)


def reading_at(cascade, thresholds):
    """The cascade at n − 1 thresholds: a :class:`Reading`, its accuracy and cost equal to those of ``evaluate``."""
    outcomes = list(zip(cascade.right, (*cascade.sure, None)))
    stage, correct, cost = run_outcomes(outcomes, thresholds, cascade.costs)
    accuracy = quality_on(cascade, correct)
    return Reading(
        accuracy=accuracy,
        cost=cost,
        improvement=float(cascade.baseline.cost_at(accuracy)) / cost,
        difference=accuracy - quality_on(cascade, cascade.single),
        exit_stage=stage,
        correct=correct,
        exits=np.bincount(stage, minlength=cascade.stages),
        exits_right=np.bincount(stage, correct, minlength=cascade.stages),
    )


def arriving(cascade, thresholds, stage):
    """bool [k]: the samples that earlier stages pass on to ``stage``; that stage's threshold does not matter."""
    return exit_stages(cascade.sure[:stage], thresholds[:stage]) == stage if stage else np.ones(len(cascade), bool)


def falling(cascade, thresholds, stage):
    """Confidences at ``stage`` of the samples that arrive there, falling: float64 [r]."""
    order = cascade.order[stage]
    return cascade.sure[stage][order[arriving(cascade, thresholds, stage)[order]] if stage else order]


def exiting(sure, threshold):
    """How many of the falling confidences [r] leave at the threshold."""
    return 0 if threshold == np.inf else len(sure) - int(np.searchsorted(sure[::-1], threshold, side="left"))


def between_ties(sure, count):
    """The number of exits nearest to ``count`` that parts no equal confidences; sure: falling [r]."""
    count = min(max(int(count), 0), len(sure))
    if count in (0, len(sure)) or sure[count - 1] != sure[count]:
        return count
    before, after = tie(sure, count)
    return before if count - before < after - count else after


def tie(sure, count):
    """(first, end) of the run of equal confidences that holds position ``count`` of the falling ones."""
    rising, value = sure[::-1], sure[count]
    return tuple(len(sure) - int(np.searchsorted(rising, value, side=side)) for side in ("right", "left"))


def next_exits(sure, count, step):
    """The next achievable number of exits above (step 1) or below (step −1) the achievable ``count``."""
    if step > 0:
        return count if count == len(sure) else tie(sure, count)[1]
    return count if count == 0 else tie(sure, count - 1)[0]


def threshold_for(sure, count):
    """The threshold at which ``count`` (achievable) of the falling confidences exit: midway, or an end."""
    return float(midway(sure[count - 1] if count else np.nan, sure[count] if count < len(sure) else np.nan))


def threshold_text(sure, threshold, metric):
    """The threshold as text in own units: as few digits, at least four, as part the same samples; "always", "never"."""
    count = exiting(sure, threshold)
    if np.isinf(threshold):
        return "always" if threshold < 0 else "never"
    exits = sure[count - 1] if count else np.inf
    passes = sure[count] if count < len(sure) else -np.inf
    for digits in range(4, 17):
        text = f"{float(own_units(metric, threshold)):.{digits}g}"
        if passes < own_units(metric, float(text)) <= exits:
            return text
    return repr(float(own_units(metric, threshold)))


def bin_of(sure, edges):
    """Bin int16 [k] of each confidence among ``edges`` float [BINS + 1]; those outside count in the outermost."""
    return np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, len(edges) - 2).astype(np.int16)


def edges_of(cascade, stage):
    """Edges of evenly wide bins over a stage's confidences, float64 [BINS + 1], rising."""
    low, high = float(cascade.sure[stage].min()), float(cascade.sure[stage].max())
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def histogram(cascade, thresholds, stage, bins):
    """(right, wrong) float64 [BINS] each: scores of the samples that arrive at ``stage``, by bin of confidence."""
    here = arriving(cascade, thresholds, stage)
    at, right = bins[here], np.asarray(cascade.right[stage], np.float64)[here]
    total, good = np.bincount(at, minlength=BINS), np.bincount(at, right, minlength=BINS)
    return good, total - good
