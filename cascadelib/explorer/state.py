"""A cascade on a split as the screen shows it, in plain arrays: its curve over a grid, its numbers at thresholds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.evaluation import (
    Evaluation,
    ends_of,
    exit_stages,
    quality,
    run_outcomes,
    sum_passed_on,
)
from ..evaluation.pareto import improvement_factor
from ..fronts.exact import SearchTask
from ..methods.thresholds import own_units, threshold_for
from ..scoring import f1_of
from ..store.protocol import Store

Metric = str | Callable | None  # None: of a ScoreTable
Thresholds = Sequence[float]  # inside, one a stage that has one: higher = surer
BINS = 40  # of a histogram
EDGES = {
    1: 400,
    2: 64,
    3: 24,
}  # thresholds a stage, by the number of stages that have one; with more stages: FEWEST
FEWEST = 10


@dataclass(frozen=True)
class Choice:
    """A cascade without its thresholds: names in the order they run, and names of method, cost and score."""

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

    task: of all models; right: n arrays [k], bool or graded in [0, 1], correctness of the output after each stage;
    sure: n − 1 arrays float64 [k]; order: n − 1 arrays int [k], samples by falling confidence; costs: [n], or [n, k];
    single: [k], correctness of the single model that cascades are compared with.
    """

    store: Store
    task: SearchTask
    models: tuple[str, ...]
    right: tuple[np.ndarray, ...]
    sure: tuple[np.ndarray, ...]
    order: tuple[np.ndarray, ...]
    costs: np.ndarray
    single: np.ndarray

    def __len__(self) -> int:
        return len(self.single)

    @property
    def stages(self) -> int:
        """How many models the cascade has."""
        return len(self.right)


def on_split(store: Store, task: SearchTask, models: Sequence[str], single: str) -> CascadeOnSplit:
    """The cascade of ``models`` (names, in running order) on a store, beside the model ``single``; task: of all."""
    rows = [task.names.index(name) for name in models]
    right, confidences = zip(*(task.stage(tuple(rows[: i + 1])) for i in range(len(rows))))
    sure = confidences[:-1]
    order = tuple(np.argsort(-s, kind="stable") for s in sure)
    alone, _ = task.stage((task.names.index(single),))
    return CascadeOnSplit(store, task, tuple(models), right, sure, order, task.costs[rows], alone)


@dataclass(frozen=True, eq=False)
class Reading(Evaluation):
    """What :func:`cascadelib.evaluate` measures, and difference: accuracy − that of the single model compared with;
    exits, exits_right: [n], samples (exits_right: the sum of their scores) that leave at each stage."""

    difference: float
    exits: np.ndarray
    exits_right: np.ndarray


def reading_at(cascade: CascadeOnSplit, thresholds: Thresholds) -> Reading:
    """The cascade at n − 1 thresholds: a :class:`Reading`, its accuracy and cost equal to those of ``evaluate``."""
    outcomes = list(
        zip(cascade.right, (*cascade.sure, cascade.single))
    )  # the last confidence decides nothing
    stage, correct, cost = run_outcomes(outcomes, thresholds, cascade.costs)
    accuracy, single = (
        quality(cascade.store, part, cascade.task.score) for part in (correct, cascade.single)
    )
    baseline_cost = float(cascade.task.baseline.cost_at(accuracy))
    exits, exits_right = (
        np.bincount(stage, part, minlength=cascade.stages) for part in (None, correct)
    )
    rates = tuple((exits / len(stage)).tolist())
    measured = (
        accuracy,
        cost,
        rates,
        stage,
        correct,
        baseline_cost,
        float(improvement_factor(baseline_cost, cost)),
    )
    return Reading(*measured, accuracy - single, exits, exits_right)


def grid_edges(cascade: CascadeOnSplit) -> list[np.ndarray]:
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
        edges.append(threshold_for(fall, np.unique(between_ties(fall, k - passing))))
    return edges


def grid_curve(cascade: CascadeOnSplit, edges: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(accuracy, or F1 where that counts; cost) of the cascade at every combination of its stages' edges: float64
    [E1, …, Ed] each. Sums run in another order than those of ``evaluate``, so costs may differ in the last bits."""
    k, sizes = len(cascade), [len(e) for e in edges]
    slots = [  # at an edge of inf (never) even infinite confidences pass on
        np.maximum(
            len(e) - np.searchsorted(e[::-1], s, side="right"), np.count_nonzero(e == np.inf)
        )
        for e, s in zip(edges, cascade.sure)
    ]

    def total(values: np.ndarray) -> np.ndarray:
        return sum(
            (sum_passed_on(slots[:i], sizes, part) for i, part in enumerate(values)),
            np.zeros(sizes),
        )

    right = np.array(cascade.right, np.float64)
    correct = total(
        np.diff(right, axis=0, prepend=0)
    )  # what each stage adds for the samples that reach it
    cost = total(np.broadcast_to(cascade.costs.reshape(len(right), -1), right.shape)) / k
    if cascade.task.positive is None:
        return correct / k, cost
    return f1_of(
        total(np.diff(right * cascade.task.positive, axis=0, prepend=0)), k - correct
    ), cost


def arriving(cascade: CascadeOnSplit, thresholds: Thresholds, stage: int) -> np.ndarray:
    """bool [k]: the samples that earlier stages pass on to ``stage``; that stage's threshold does not matter."""
    return exit_stages((*cascade.sure, cascade.single), thresholds[:stage]) == stage


def falling(cascade: CascadeOnSplit, thresholds: Thresholds, stage: int) -> np.ndarray:
    """Confidences at ``stage`` of the samples that arrive there, falling: float64 [r]."""
    order = cascade.order[stage]
    return cascade.sure[stage][
        order[arriving(cascade, thresholds, stage)[order]] if stage else order
    ]


def exiting(sure: np.ndarray, threshold: float) -> int:
    """How many of the falling confidences [r] leave at the threshold."""
    return (
        0
        if threshold == np.inf
        else len(sure) - int(np.searchsorted(sure[::-1], threshold, side="left"))
    )


def between_ties(sure: np.ndarray, count: Any) -> Any:
    """The number of exits nearest to ``count``, or to each of several, that parts no equal ones of the falling [r]."""
    counts = ends_of(sure)
    return counts[np.searchsorted((counts[1:] + counts[:-1]) / 2, count, side="right")]


def next_exits(sure: np.ndarray, count: int, step: int) -> int:
    """The next achievable number of exits above (step 1) or below (step −1) the achievable ``count``."""
    counts = ends_of(sure)
    return int(counts[np.clip(np.searchsorted(counts, count) + step, 0, len(counts) - 1)])


def threshold_text(sure: np.ndarray, threshold: float, metric: Metric) -> str:
    """The threshold as text in own units: as few digits, at least four, as part the same samples; "always", "never"."""
    if np.isinf(threshold):
        return "always" if threshold < 0 else "never"
    count, own = exiting(sure, threshold), float(own_units(metric, threshold))
    texts = (f"{own:.{digits}g}" for digits in range(4, 18))  # 17 tell every float from the next
    return next(text for text in texts if exiting(sure, own_units(metric, float(text))) == count)


def bin_of(sure: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bin int16 [k] of each confidence among ``edges`` float [BINS + 1]; those outside count in the outermost."""
    return np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, len(edges) - 2).astype(
        np.int16
    )


def edges_of(cascade: CascadeOnSplit, stage: int) -> np.ndarray:
    """Edges of evenly wide bins over a stage's confidences, float64 [BINS + 1], rising."""
    low, high = float(cascade.sure[stage].min()), float(cascade.sure[stage].max())
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def histogram(
    cascade: CascadeOnSplit, thresholds: Thresholds, stage: int, bins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(right, wrong) float64 [BINS] each: scores of the samples that arrive at ``stage``, by bin of confidence."""
    here = arriving(cascade, thresholds, stage)
    at, right = bins[here], np.asarray(cascade.right[stage], np.float64)[here]
    total, good = np.bincount(at, minlength=BINS), np.bincount(at, right, minlength=BINS)
    return good, total - good
