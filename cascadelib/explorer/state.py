"""A cascade on a split as the screen shows it, in plain arrays: its curve over a grid, its numbers
at thresholds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..evaluation.evaluation import quality
from ..evaluation.point import Point
from ..evaluation.run import Run
from ..fronts.exact import SearchTask
from ..methods.thresholds import (
    between_ties,
    exit_stages,
    exiting,
    own_units,
    passing_edges,
    sum_passed_on,
    threshold_for,
)
from ..scoring import f1_of
from ..store.protocol import Store

Metric = str | Callable | None  # None: of a ScoreTable
Thresholds = Sequence[float]  # inside (higher = more confident), one per stage that has one
BINS = 40  # of a histogram
EDGES = {1: 400, 2: 64, 3: 24}  # thresholds per stage, by the number of stages that have one
FEWEST = 10  # thresholds per stage where more stages have one


@dataclass(frozen=True)
class Choice:
    """A cascade without its thresholds: names of its models in the order they run, of its method,
    cost and score."""

    models: tuple[str, ...]
    method: str
    cost: str
    score: str

    @property
    def kind(self) -> tuple[str, str, str, int]:
        """What the front is searched by: cost, score, method, how many models."""
        return self.cost, self.score, self.method, len(self.models)


@dataclass(frozen=True, eq=False)
class CascadeOnSplit:
    """A cascade of n ``models`` (names) on the k samples of one split.

    task: of all models; correct: n arrays [k], bool or graded in [0, 1], of the output after each
    stage; confidences: n − 1 arrays float64 [k]; order: n − 1 arrays int [k], samples by falling
    confidence; costs: [n], or [n, k]; single: [k], correctness of the single model that cascades
    are compared with.
    """

    store: Store
    task: SearchTask
    models: tuple[str, ...]
    correct: tuple[np.ndarray, ...]
    confidences: tuple[np.ndarray, ...]
    order: tuple[np.ndarray, ...]
    costs: np.ndarray
    single: np.ndarray

    def __len__(self) -> int:
        return len(self.single)

    @property
    def stages(self) -> int:
        """How many models the cascade has."""
        return len(self.correct)


def on_split(store: Store, task: SearchTask, models: Sequence[str], single: str) -> CascadeOnSplit:
    """The cascade of ``models`` (names, in running order) on a store, beside the model ``single``;
    task: of all models."""
    rows = [task.names.index(name) for name in models]
    outcomes = [task.stage(tuple(rows[: stage + 1])) for stage in range(len(rows))]
    confidences = tuple(confidence for _, confidence in outcomes[:-1])
    alone, _ = task.stage((task.names.index(single),))
    return CascadeOnSplit(
        store,
        task,
        tuple(models),
        correct=tuple(correct for correct, _ in outcomes),
        confidences=confidences,
        order=tuple(np.argsort(-confidence, kind="stable") for confidence in confidences),
        costs=task.costs[rows],
        single=alone,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Reading(Run):
    """What :func:`cascadelib.evaluate` measures, and more.

    single: [k], correctness of the single model that cascades are compared with.
    """

    single: np.ndarray = field(default_factory=lambda: np.empty(0))

    @cached_property
    def difference(self) -> float:
        """Accuracy − that of the single model."""
        return self.accuracy - quality(self.store, self.single, self.point.score)

    @cached_property
    def exits(self) -> np.ndarray:
        """How many samples leave at each stage, int [n]."""
        return np.bincount(self.exit_stage, minlength=len(self.costs))

    @cached_property
    def exits_correct(self) -> np.ndarray:
        """Sums of their scores, float64 [n]."""
        return np.bincount(self.exit_stage, self.correct, minlength=len(self.costs))


def reading_at(cascade: CascadeOnSplit, thresholds: Thresholds) -> Reading:
    """The cascade at n − 1 thresholds (inside); accuracy and cost are exactly those of
    ``evaluate``."""
    task = cascade.task
    point = Point(
        cascade.models,
        tuple(own_units(task.metric, thresholds).tolist()),
        method=task.method,
        score=task.score,
        cost_kind=task.cost_kind,
        found_on=task.found_on,
    )
    confidences = (*cascade.confidences, cascade.single)  # the last one decides nothing
    outcomes = list(zip(cascade.correct, confidences))
    return Reading(
        cascade.store, point, outcomes, list(cascade.costs), task.baseline, single=cascade.single
    )


def grid_edges(cascade: CascadeOnSplit) -> list[np.ndarray]:
    """For each stage with a threshold, the thresholds of the grid, falling from never (inf) to
    always (−inf) exiting.

    Half of them pass on evenly spread shares of the samples, half shares that are evenly spread on
    a log axis, as a cost axis shows them. None parts equal confidences.
    """
    k = len(cascade)
    half = EDGES.get(cascade.stages - 1, FEWEST) // 2
    passing = np.concatenate([[0], np.linspace(0, k, half), np.geomspace(1, k, half)]).astype(int)
    edges = []
    for confidence, order in zip(cascade.confidences, cascade.order):
        fall = confidence[order]
        edges.append(threshold_for(fall, np.unique(between_ties(fall, k - passing))))
    return edges


def grid_curve(cascade: CascadeOnSplit, edges: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(accuracy, or F1 where that counts; cost) of the cascade at every combination of its stages'
    edges: float64 [E1, …, Ed] each. Sums run in another order than those of ``evaluate``, so costs
    may differ in the last bits."""
    k = len(cascade)
    sizes = [len(edge) for edge in edges]
    slots = [passing_edges(*pair) for pair in zip(edges, cascade.confidences)]

    def total(values: np.ndarray) -> np.ndarray:
        """Sum over the samples of what each stage adds for those that reach it, [n, k]."""
        parts = (sum_passed_on(slots[:i], sizes, part) for i, part in enumerate(values))
        return sum(parts, np.zeros(sizes))

    graded = np.array(cascade.correct, np.float64)
    correct = total(np.diff(graded, axis=0, prepend=0))
    costs = cascade.costs.reshape(len(graded), -1)
    cost = total(np.broadcast_to(costs, graded.shape)) / k
    if cascade.task.positive is None:
        return correct / k, cost
    true_positives = total(np.diff(graded * cascade.task.positive, axis=0, prepend=0))
    return f1_of(true_positives, k - correct), cost


def arriving(cascade: CascadeOnSplit, thresholds: Thresholds, stage: int) -> np.ndarray:
    """bool [k]: the samples that earlier stages pass on to ``stage``; that stage's threshold does
    not matter."""
    confidences = (*cascade.confidences, cascade.single)
    return exit_stages(confidences, thresholds[:stage]) == stage


def falling(cascade: CascadeOnSplit, thresholds: Thresholds, stage: int) -> np.ndarray:
    """Confidences at ``stage`` of the samples that arrive there, falling: float64 [r]."""
    order = cascade.order[stage]
    if stage:
        order = order[arriving(cascade, thresholds, stage)[order]]
    return cascade.confidences[stage][order]


def threshold_text(confidences: np.ndarray, threshold: float, metric: Metric) -> str:
    """The threshold as text in the metric's own units: "always", "never", or with as few digits, at
    least four, as part the same samples of the falling confidences [r]."""
    if np.isinf(threshold):
        return "always" if threshold < 0 else "never"
    count = exiting(confidences, threshold)
    own = float(own_units(metric, threshold))
    for digits in range(4, 17):
        text = f"{own:.{digits}g}"
        if exiting(confidences, own_units(metric, float(text))) == count:
            return text
    return f"{own:.17g}"  # which tells every float from the next


def bin_of(confidence: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bin int16 [k] of each confidence [k] among ``edges`` float [BINS + 1]; those outside count in
    the outermost."""
    bins = np.searchsorted(edges, confidence, side="right") - 1
    return np.clip(bins, 0, len(edges) - 2).astype(np.int16)


def edges_of(cascade: CascadeOnSplit, stage: int) -> np.ndarray:
    """Edges of evenly wide bins over a stage's confidences, float64 [BINS + 1], rising."""
    low = float(cascade.confidences[stage].min())
    high = float(cascade.confidences[stage].max())
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def histogram(
    cascade: CascadeOnSplit, thresholds: Thresholds, stage: int, bins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(correct, incorrect) float64 [BINS] each: scores of the samples that arrive at ``stage``, by
    bin of confidence; bins: int [k]."""
    here = arriving(cascade, thresholds, stage)
    scores = np.asarray(cascade.correct[stage], np.float64)[here]
    total = np.bincount(bins[here], minlength=BINS)
    correct = np.bincount(bins[here], scores, minlength=BINS)
    return correct, total - correct
