"""Run a cascade of fixed thresholds over known outcomes: who leaves where, is it right, what does it cost."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..checks import known
from ..methods.method import Method, method_named
from ..methods.thresholds import leaves
from ..scoring import F1, f1, score_of
from ..stages import stage_of
from ..store.protocol import Store
from .pareto import Baseline, improvement_factor

if TYPE_CHECKING:
    from ..fronts.front import Point

F = TypeVar("F", bound=Callable)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A cascade on one split: accuracy, cost a sample, exit_rates [n], exit_stage int [k] (0 = first model),
    correct [k], and against that split's own single models baseline_cost (nan above the best) and improvement."""

    accuracy: float
    cost: float
    exit_rates: tuple[float, ...]
    exit_stage: np.ndarray
    correct: np.ndarray
    baseline_cost: float
    improvement: float


def exit_stages(confidences: Sequence[np.ndarray], thresholds: Any) -> np.ndarray:
    """Stage at which each sample leaves (paper, algorithm 1): the first that it :func:`leaves`, else the last.

    confidences: of n stages, or of all but the last, arrays [k] (higher = surer); thresholds: n − 1, inf: never,
    whatever the confidence. Returns int64 [k] in 0 … n − 1.
    """
    stage = np.full(len(confidences[0]), len(thresholds), np.int64)
    for i in reversed(range(len(thresholds))):
        stage[leaves(confidences[i], thresholds[i])] = i
    return stage


def mean_cost(costs: list, stage: np.ndarray) -> float:
    """Mean cost a sample: each stage's cost (a number, or float [k]) over the samples that reach it."""
    k, total = len(stage), 0.0
    for i, cost in enumerate(costs):
        reached = stage >= i
        total += (
            cost * (np.count_nonzero(reached) / k)
            if np.ndim(cost) == 0
            else np.sum(cost[reached]) / k
        )
    return float(total)


def run_outcomes(outcomes, thresholds, costs):
    """(exit_stage int [k], correct [k], cost) of a cascade. outcomes: a stage's (correct [k], confidence [k]) each;
    thresholds inside (higher = surer), one fewer."""
    stage = exit_stages([sure for _, sure in outcomes], thresholds)
    correct = np.choose(stage, [right for right, _ in outcomes])
    return stage, correct, mean_cost(costs, stage)


def check_store(store: Any) -> None:
    """Refuse what is no table of models and samples: a path, a front, a point."""
    if not isinstance(store, Store):
        raise TypeError(
            f"a LogitStore or a ScoreTable is needed here, not {type(store).__name__}"
            + (
                ": open the folder with cascadelib.LogitStore(path)"
                if isinstance(store, str | os.PathLike)
                else ""
            )
        )


def check_models(store: Store) -> None:
    """ValueError for a store that has no models yet."""
    if not len(store.models):
        raise ValueError(
            "the store has no models yet: store.add(name, logits) or cl.extract adds one"
        )


def store_first(function: F) -> F:
    """A function of a store and what was found elsewhere, which takes them in the older order too, with a warning."""

    @wraps(function)
    def either(*given, **named):
        if len(given) > 1 and isinstance(given[1], Store) and not isinstance(given[0], Store):
            text = f"{function.__name__}(store, …): the store comes first; the other order goes in a later version"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            given = given[1], given[0], *given[2:]
        return function(*given, **named)

    return either  # type: ignore[return-value]


def check_point(point: Any) -> None:
    """Refuse what is no operating point, a whole front above all."""
    if not (hasattr(point, "thresholds") and hasattr(point, "models")):
        raise TypeError(
            f"a Point is needed here, not {type(point).__name__}"
            + (
                ": choose one with cascadelib.pick, or replay them all"
                if hasattr(point, "table")
                else ""
            )
            + (
                ": where it is a certificate's, nothing was certified (print it)"
                if point is None
                else ""
            )
        )


def asked(store, method=None, score=None, cost=None):
    """(Method or None, score, kind of cost) that a search of a store was asked for; None: not asked, the default.

    Raises ValueError for what a ScoreTable cannot honour: its confidences, correctness and costs are given.
    """
    if store.has_outputs:
        method = method_named("max_softmax" if method is None else method)
        return (
            method,
            score_of("top1" if score is None else score).name,
            store.default_cost if cost is None else cost,
        )
    fitted = isinstance(method, Method) and method.confidence is not None
    given = {"method": None if fitted else method, "cost": None if cost == "cost" else cost}
    given |= {"score": None if score in ("top1", F1) else score}
    given |= {"metric": method.metric if fitted and method.metric != Method.metric else None}
    refused = [f"{option}={value!r}" for option, value in given.items() if value is not None]
    if refused:
        raise ValueError(
            f"{', '.join(refused)}: a ScoreTable has its own confidences, correctness and cost, so nothing else can be "
            "asked of it but score='f1' and Method(confidence=…); leave this out, or use a LogitStore"
        )
    return method, score or "top1", "cost"


def outcomes_of(
    store: Store, models: Sequence[str], method: Method | None, score: str
) -> list[tuple]:
    """What a cascade of ``models`` (names) puts out after each of them on a store: [(correct [k], confidence [k]), …].
    TypeError for what is no store, ValueError naming a model that it lacks."""
    return next(stages_of(store, [models], method, score))


def stages_of(
    store: Store, cascades: Sequence, method: Method | None, score: str
) -> Iterator[list[tuple]]:
    """:func:`outcomes_of` each of several cascades: a mean ensemble computes them in one walk over the samples."""
    check_store(store)
    index = store.models.index
    names = list(
        dict.fromkeys(
            known(name, index, "model of this store") for models in cascades for name in models
        )
    )
    stage = stage_of(store.outcome(names, method, score))
    prefixes = [
        [tuple(map(names.index, models[: i + 1])) for i in range(len(models))]
        for models in cascades
    ]
    wanted = list(chain(*prefixes))
    stage.prepare(correct=wanted, confidence=wanted)
    return ([stage(prefix) for prefix in each] for each in prefixes)


def right_alone(store: Store, model: str, score: str) -> np.ndarray:
    """Whether one model by itself is right, [k]. Raises as :func:`outcomes_of`."""
    return outcomes_of(store, [model], Method(), score)[0][0]


def costs_of(store: Store, models: Sequence[str], kind: str) -> list:
    """Costs of some models of a store: numbers, or float [k] from a ScoreTable with an own cost for every sample."""
    costs = dict(zip(store.models.index, store.sample_costs(kind)))
    return [costs[name] for name in models]


def quality(store: Store, correct: np.ndarray, score: str) -> float:
    """What outcomes correct [k] of a store come to: accuracy, or F1 under that score."""
    return f1(correct, store.positives()) if score == F1 else float(np.mean(correct))


def single_models(store: Store, score: str, cost_kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and cost of every model of a store under a score: two arrays [M] in the order of its ``models``."""
    names, costs = list(store.models.index), store.sample_costs(cost_kind)
    stage = store.outcome(names, Method(), score)
    if score == "top1":
        accuracy = store.models["top1"].to_numpy(np.float64)
        if np.isnan(accuracy).any():
            right_alone(store, names[0], score)  # refused: it has no labels
    else:
        accuracy = np.array([quality(store, stage((m,))[0], score) for m in range(len(names))])
    return accuracy, costs if costs.ndim == 1 else costs.mean(axis=1)


def baseline_of(store: Store, point: Any) -> Baseline:
    """The :class:`Baseline` of a store under the score and kind of cost of a Point, or of a Front."""
    accuracy, cost = single_models(store, point.score, point.cost_kind)
    return Baseline(cost, accuracy)


def evaluate(store: Store, point: "Point") -> Evaluation:
    """The very same cascade (models, thresholds, method with its temperatures) on a store: an :class:`Evaluation`.

    store: LogitStore or ScoreTable with all models of ``point``; the baseline is that store's own. Unknown models
    are refused by name; ``accuracy`` is F1 where the point was found under it. On the split that a point was found
    on, its own accuracy and cost come out exactly.
    """
    check_store(store)
    check_point(point)
    _, exits, correct, costs = next(run_cascades(store, [point]))
    accuracy, cost = quality(store, correct, point.score), mean_cost(costs, exits)
    baseline_cost = float(baseline_of(store, point).cost_at(accuracy))
    rates, improvement = (
        exit_rates_of(exits, len(costs)),
        float(improvement_factor(baseline_cost, cost)),
    )
    return Evaluation(accuracy, cost, rates, exits, correct, baseline_cost, improvement)


def exit_rates_of(exits: np.ndarray, stages: int) -> tuple[float, ...]:
    """Share of the samples that leaves at each stage, of exit_stage int [k]."""
    return tuple((np.bincount(exits, minlength=stages) / len(exits)).tolist())


def point_list(points: Any) -> list["Point"]:
    """A Front's points, a single Point or a sequence of Points, as a list."""
    if hasattr(points, "table"):
        return [points.point(row) for row in range(len(points))]
    points = list(points) if isinstance(points, (list, tuple)) else [points]
    if not points:
        raise ValueError("no cascades: give a Front, a Point or a list of Points")
    for point in points:
        check_point(point)
    return points


def run_cascades(
    store: Store, points: Sequence["Point"]
) -> Iterator[tuple[int, np.ndarray, np.ndarray, list]]:
    """Yield (position, exit_stage int [k], correct [k], costs of its models, numbers or float [k]) of each Point on a
    store, cascade by cascade. Models that the store lacks are refused by name."""
    groups: dict[tuple, dict[tuple, list[int]]] = {}
    for position, point in enumerate(points):
        cascades = groups.setdefault((point.score, point.cost_kind, id(point.method)), {})
        cascades.setdefault(tuple(point.models), []).append(position)
    for cascades in groups.values():
        first = points[next(iter(cascades.values()))[0]]
        outcomes = stages_of(store, list(cascades), first.method, first.score)
        costs = dict(zip(store.models.index, store.sample_costs(first.cost_kind)))
        for (models, positions), stages in zip(cascades.items(), outcomes):
            own = [costs[name] for name in models]
            for position in positions:
                exits, correct, _ = run_outcomes(stages, points[position].inside, own)
                yield position, exits, correct, own


def all_confidences(store: Store, point: "Point") -> tuple[list[np.ndarray], np.ndarray]:
    """(n arrays [k] of confidences after each stage, n − 1 thresholds), both inside (higher = surer)."""
    outcomes = outcomes_of(store, point.models, point.method, point.score)
    return [np.asarray(sure, np.float64) for _, sure in outcomes], point.inside


def reaching(sure: list[np.ndarray], thresholds: np.ndarray) -> list[np.ndarray]:
    """Of confidences [k] after each of n stages, those of the samples that reach the stage: n arrays."""
    stage = exit_stages(sure, thresholds)
    return [values[stage >= i] for i, values in enumerate(sure)]


def stage_confidences(store: Store, point: "Point") -> list[np.ndarray]:
    """Confidences at each stage of the samples that reach it: n arrays, higher = surer, of which the last decides
    nothing; labels do not count."""
    return reaching(*all_confidences(store, point))


def exits_of(sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(order int64 [k]: samples by falling confidence; :func:`ends_of` them)."""
    order = np.argsort(-sure)
    return order, ends_of(sure[order])


def ends_of(falling: np.ndarray) -> np.ndarray:
    """How many samples of falling confidences [k] leave at each threshold, ties together: int64 [E], from 0 to k. The
    largest of all floats ties with inf: no finite threshold parts them."""
    parted = (falling[1:] != falling[:-1]) & (falling[1:] < np.finfo(np.float64).max)
    return np.concatenate([[0], np.flatnonzero(parted) + 1, [len(falling)]])


def sum_passed_on(slots: list[np.ndarray], sizes: list[int], weights: np.ndarray) -> np.ndarray:
    """Sum of the weights [k] of the samples that pass on at all stages of ``slots``, at every combination of edges.

    slots: an int [k] a stage, at how many of its edges each sample passes on. Axes of later stages have length 1, so
    that the result spreads over ``sizes``.
    """
    shape = [n + 1 for n in sizes[: len(slots)]]
    cells = np.ravel_multi_index(slots, shape) if slots else np.zeros(len(weights), np.int64)
    table = np.flip(np.bincount(cells, weights, minlength=int(np.prod(shape))).reshape(shape))
    for axis in range(len(shape)):
        table = table.cumsum(axis)
    passed = np.flip(table[(slice(-1),) * len(shape)])
    return passed.reshape(passed.shape + (1,) * (len(sizes) - len(slots)))
