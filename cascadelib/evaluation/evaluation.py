"""Compute outcomes, costs and baselines of cascades and single models on one store."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import validate_choice
from ..methods.method import Method, method_named
from ..stages import F1, Outcome, f1, prefixes_of, score_of, stage_of
from ..store.protocol import Store
from .pareto import Baseline

STORE_TYPES: set[type] = set()  # checked types, since isinstance of a protocol is slow


def check_store(store: Any) -> None:
    """Raise a TypeError unless `store` is a store, and a ValueError if it has no models."""
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


def resolve_options(
    store: Store,
    method: str | Method | None = None,
    score: str | None = None,
    cost: str | None = None,
) -> tuple[Method | None, str, str]:
    """Return (method, score, kind of cost), in which None is replaced by the store's default.

    Raises
    ------
    ValueError
        If the store does not support an option.
    """
    named = None if method is None else method_named(method)
    chosen, score, cost = store.resolve_options(named, score, cost)
    return None if chosen is None else method_named(chosen), score_of(score).name, cost


def outcomes_of(
    store: Store, models: Sequence[str], method: Method | None, score: str
) -> list[Outcome]:
    """Return the outcome of a cascade after each of its models on a store.

    Raises
    ------
    ValueError
        If the store lacks a model.
    """
    return next(stages_of(store, [models], method, score))


def stages_of(
    store: Store, cascades: Sequence, method: Method | None, score: str
) -> Iterator[list[Outcome]]:
    """Yield :func:`outcomes_of` of several cascades, computed in one pass over the samples."""
    check_store(store)
    index = store.models.index
    names = [
        validate_choice(name, index, "model of this store")
        for models in cascades
        for name in models
    ]
    names = list(dict.fromkeys(names))
    if method is None:
        method = method_of_unnamed(store, cascades)
    stage = stage_of(store.outcome(names, method, score))
    prefixes = [prefixes_of(tuple(map(names.index, models))) for models in cascades]
    all_prefixes = [prefix for of_cascade in prefixes for prefix in of_cascade]
    deciding = [prefix for of_cascade in prefixes for prefix in of_cascade[:-1]]
    stage.prepare(correct=all_prefixes, confidence=deciding)
    return ([*map(stage, earlier), stage.last(last)] for *earlier, last in prefixes)


def method_of_unnamed(store: Store, cascades: Sequence) -> Method | None:
    """Return the method of cascades that name none: None for a store with given confidences.

    On logits, a single model decides nothing, so any method gives its outcome.

    Raises
    ------
    ValueError
        If thresholds would be compared with the confidences of an unknown method.
    """
    if store.resolve_options(None, None, None)[0] is None:
        return None
    for models in cascades:
        if len(models) > 1:
            raise ValueError(
                f"the cascade {' → '.join(models)} has no method, so its thresholds are for given "
                "confidences, but this store has logits: pass Point(method=), such as "
                "'max_softmax'"
            )
    return Method()


def mean_cost(costs: Sequence[Any], stage: Array) -> float:
    """Return the mean cost per sample of a cascade.

    Parameters
    ----------
    costs : sequence of float or float array of shape (n_samples,)
        Cost of each model.
    stage : int64 array of shape (n_samples,)
        Stage at which each sample exits.
    """
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
    """Return the cost of each sample, float64 (n_samples,).

    `exits` has the stage at which each sample exits. `costs` are those of :func:`mean_cost`.
    """
    return np.sum([cost * (exits >= stage) for stage, cost in enumerate(costs)], axis=0)


def correct_alone(store: Store, model: str, score: str) -> Array:
    """Return whether a single model is correct on each sample, array of shape (n_samples,)."""
    return outcomes_of(store, [model], Method(), score)[0][0]


def costs_by_model(store: Store, cost: str) -> dict[str, Any]:
    """Return the cost of each model by name, a number or a float array of shape (n_samples,)."""
    return dict(zip(store.models.index, store.sample_costs(cost)))


def quality(store: Store, correct: Array, score: str) -> float:
    """Return the accuracy of outcomes on the samples of a store. If the score is F1, return F1."""
    return f1(correct, store.positives()) if score == F1 else float(np.mean(correct))


def singles_correct(store: Store, score: str) -> list[Array]:
    """Return :func:`correct_alone` of each model of a store, in the order of its ``models``."""
    names = list(store.models.index)
    stage = store.outcome(names, Method(), score)
    return [stage((model,))[0] for model in range(len(names))]


def baseline_of(store: Store, score: str, cost: str) -> Baseline:
    """Return the :class:`Baseline` of a store, with its models in order of rising cost."""
    table = store.models
    accuracy = table["top1"].to_numpy(np.float64)
    # Without labels, the accuracy is nan, and the outcome then raises an error.
    if score != "top1" or np.isnan(accuracy).any():
        each = singles_correct(store, score)
        accuracy = np.array([quality(store, correct, score) for correct in each])
    costs = store.costs(cost)
    rising = np.argsort(costs, kind="stable")
    return Baseline(costs[rising], accuracy[rising], table.index[rising])
