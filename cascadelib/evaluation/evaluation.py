"""What is asked of a store: outcomes of cascades and of single models, costs, what both come to."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import known
from ..methods.method import Method, method_named
from ..scoring import F1, f1, score_of
from ..stages import Outcome, stage_of
from ..store.protocol import Store
from .pareto import Baseline

STORE_TYPES: set[type] = set()  # known stores: on Python 3.11 isinstance evaluates each property


def check_store(store: Any) -> None:
    """Raise a TypeError for what is not a store, a ValueError for a store without models."""
    if type(store) not in STORE_TYPES and not isinstance(store, Store):
        remedy = ""
        if isinstance(store, str | os.PathLike):
            remedy = ": open the folder with cascadelib.LogitStore(path)"
        elif hasattr(store, "cascades"):
            remedy = ": the store comes first, then the cascades"
        raise TypeError(
            f"a LogitStore or a ScoreTable is needed here, not {type(store).__name__}{remedy}"
        )
    STORE_TYPES.add(type(store))
    if not len(store.models):
        raise ValueError(
            "the store has no models yet: store.add(name, logits) or cl.extract adds one"
        )


def asked(
    store: Store,
    method: str | Method | None = None,
    score: str | None = None,
    cost: str | None = None,
) -> tuple[Method | None, str, str]:
    """(method, score, kind of cost) that a search of a store was asked for; None: the default.

    Raises ValueError for what the store cannot honour.
    """
    chosen, score, cost = store.asked(method, score, cost)
    return None if chosen is None else method_named(chosen), score_of(score).name, cost


def outcomes_of(
    store: Store, models: Sequence[str], method: Method | None, score: str
) -> list[Outcome]:
    """What a cascade of ``models`` (names) puts out after each of them on a store.

    TypeError for what is no store, ValueError naming a model that it lacks.
    """
    return next(stages_of(store, [models], method, score))


def stages_of(
    store: Store, cascades: Sequence, method: Method | None, score: str
) -> Iterator[list[Outcome]]:
    """:func:`outcomes_of` each of several cascades: a mean ensemble computes them in one walk over
    the samples."""
    check_store(store)
    index = store.models.index
    every = (known(name, index, "model of this store") for models in cascades for name in models)
    names = list(dict.fromkeys(every))
    place = {name: position for position, name in enumerate(names)}
    stage = stage_of(store.outcome(names, method, score))
    prefixes = []
    for models in cascades:
        row = tuple(place[name] for name in models)
        prefixes.append([row[: length + 1] for length in range(len(row))])
    wanted = [prefix for each in prefixes for prefix in each]
    stage.prepare(correct=wanted, confidence=wanted)
    return ([stage(prefix) for prefix in each] for each in prefixes)


def mean_cost(costs: Sequence[Any], stage: Array) -> float:
    """Mean cost per sample: each stage's cost (a number, or float [k]) over the samples that reach
    it; stage: exit stages int64 [k]."""
    k = len(stage)
    total = 0.0
    for position, cost in enumerate(costs):
        reached = stage >= position
        if np.ndim(cost) == 0:
            total += cost * (np.count_nonzero(reached) / k)
        else:
            total += np.sum(cost[reached]) / k
    return float(total)


def paid_by(exits: Array, costs: Sequence[Any]) -> Array:
    """What each sample paid, float64 [k], from exit stages int [k] and the costs of stages, numbers
    or float [k]."""
    return np.sum([cost * (exits >= stage) for stage, cost in enumerate(costs)], axis=0)


def correct_alone(store: Store, model: str, score: str) -> Array:
    """Whether one model by itself is correct, [k]. Raises as :func:`outcomes_of`."""
    return outcomes_of(store, [model], Method(), score)[0][0]


def costs_of(store: Store, models: Sequence[str], cost: str) -> list[Any]:
    """Costs of some models of a store: numbers, or float [k] from a ScoreTable with an own cost for
    every sample."""
    costs = dict(zip(store.models.index, store.sample_costs(cost)))
    return [costs[name] for name in models]


def quality(store: Store, correct: Array, score: str) -> float:
    """What outcomes correct [k] of a store come to: accuracy, or F1 under that score."""
    return f1(correct, store.positives()) if score == F1 else float(np.mean(correct))


def singles_correct(store: Store, score: str) -> list[Array]:
    """Whether each model of a store by itself is correct: M arrays [k], in the order of its
    ``models``."""
    names = list(store.models.index)
    stage = store.outcome(names, Method(), score)
    return [stage((model,))[0] for model in range(len(names))]


def baseline_of(store: Store, score: str, cost: str) -> Baseline:
    """Return the :class:`Baseline` of a store under a score and a kind of cost, its models by
    rising cost."""
    table = store.models
    accuracy = table["top1"].to_numpy(np.float64)
    if score != "top1" or np.isnan(accuracy).any():  # without labels an outcome raises
        each = singles_correct(store, score)
        accuracy = np.array([quality(store, correct, score) for correct in each])
    costs = store.costs(cost)
    rising = np.argsort(costs, kind="stable")
    return Baseline(costs[rising], accuracy[rising], table.index[rising])
