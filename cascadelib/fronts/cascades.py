"""Number cascades, check the arguments of a search, and cache the outcomes of prefixes.

Models run in order of rising cost, and models of equal cost in both orders.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import wraps
from itertools import tee
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy import ndarray as Array

from ..checks import POSITIVE, brief, check_count, check_number, items_of
from ..labels import as_real_array, check_costs, refuse_masked
from ..methods.thresholds import LARGEST
from ..stages import StageFunction, prefixes_of, stage_of
from .kernels.sorting import falling_order, groups_in
from .kernels.state import MAX_MODELS

LARGEST_NUMBER = 2**63 - 1  # of a cascade
# Bins of a root have about equal weights. A sample has weight 1. All boundaries together have this
# weight times the number of samples.
BOUNDARY_WEIGHT = 0.5


class Cascades:
    """Enumerate and number the cascades of some models, and store none of them.

    Shorter cascades have lower numbers. Cascades of equal length are sorted by their models, the
    cheapest first. The number of (a, b, c) is (a · M + b) · M + c for M models, where each model
    counts as its place in the order of cost, from 1.

    Parameters
    ----------
    cost : float array of shape (n_models,)
        Mean cost of each model.
    """

    def __init__(self, cost: Array) -> None:
        self.cost = cost
        self.order = np.argsort(cost, kind="stable")
        self.place = np.argsort(self.order).tolist()  # of each model in the order
        # Places at which the models of each model's cost begin and end.
        self.begin, self.end = (
            np.searchsorted(cost[self.order], cost, side).tolist() for side in ("left", "right")
        )

    def followers(self, prefix: tuple) -> Array:
        """Return the models that may follow a prefix, int64, the cheapest first."""
        if not prefix:
            return self.order
        begin = self.begin[prefix[-1]]
        end = self.end[prefix[-1]]
        more_expensive = self.order[end:]
        if end == begin + 1:
            return more_expensive
        equal = [m for m in self.order[begin:end].tolist() if m not in prefix]
        return np.concatenate([np.array(equal, int), more_expensive])

    def extensions(self, prefix: tuple, length: int) -> Iterator[tuple[int, ...]]:
        """Yield all cascades of a length that begin with a prefix, in the order of their numbers.

        A prefix to which no model can be added is not extended.
        """
        if len(prefix) == length:
            yield prefix
            return
        for m in self.followers(prefix).tolist():
            yield from self.extensions((*prefix, m), length)

    def first(self, prefix: tuple, length: int) -> tuple[int, ...] | None:
        """Return the first cascade of a length that begins with a prefix, None without one."""
        return next(self.extensions(prefix, length), None)

    def number(self, cascade: tuple) -> int:
        """Return the number of a cascade."""
        number = 0
        for m in cascade:
            number = number * len(self.cost) + self.place[m] + 1
        return number

    def cascade(self, number: int) -> tuple[int, ...]:
        """Return the models of a cascade by its number."""
        models: tuple[int, ...] = ()
        while number > 0:
            place = (number - 1) % len(self.cost)
            number = (number - 1 - place) // len(self.cost)
            models = (int(self.order[place]), *models)
        return models


def cascades_of(cost: Array, lengths: Iterable[int]) -> Iterator[tuple[int, ...]]:
    """Yield all cascades of each length, for models with these costs (n_models,)."""
    cascades = Cascades(cost)
    return (cascade for n in lengths for cascade in cascades.extensions((), n))


def check_lengths(n_models: Any, n_candidates: int) -> tuple[int, ...]:
    """Return the distinct lengths of cascades as a sorted tuple.

    Raises
    ------
    ValueError
        If a length is not from 1 to 8, or exceeds the number of models.
    """
    lengths = items_of(n_models)
    most = min(n_candidates, MAX_MODELS)
    for n in lengths:
        example = tuple(range(1, min(most, 3) + 1))
        name = f"n_models (of {n_candidates} models, or a tuple such as {example})"
        check_count(n, name, 1, most)
    if not lengths:
        raise ValueError("n_models is empty: give a length or a tuple of lengths")
    return tuple(sorted({int(n) for n in lengths}))


@dataclass(frozen=True, eq=False)
class RootStage:
    """Hold one stage of the root: the first grid of thresholds in the search of a cascade.

    Parameters
    ----------
    code : uint8 array of shape (k,)
        2 · slot + correctness of each sample. A slot is a range of `boundaries`, see `edges`.
    number : int32 array of shape (k,)
        Position in `boundaries` of the last boundary at or before the sample's group. −1 if the
        group is before the first boundary.
    boundaries : array of shape (B,)
        Boundaries of the stage: before each group with a wrong sample, and after the last group.
    edges : array of shape (slots − 1,)
        Position in `boundaries` at which slots 1, 2, … begin.
    """

    code: Array
    number: Array
    boundaries: Array
    edges: Array

    def write_to(self, workspace: Any, i: int) -> None:
        """Write stage i of the root to a :func:`cascadelib.fronts.kernels.state.workspace`."""
        levels = workspace.parts.levels
        workspace.parts.root.code[i] = self.code
        workspace.parts.root.number[i] = self.number
        levels.boundary_of[0, i, : len(self.boundaries)] = self.boundaries
        levels.edges[0, i, 1 : len(self.edges) + 1] = self.edges
        levels.last_boundary[0, i] = len(self.boundaries) - 1
        levels.slots[0, i] = len(self.edges) + 1


def root_of(group: Array, correct: Array, bins: int) -> RootStage:
    """Return the :class:`RootStage` of one stage.

    An exit of a correct sample never lowers the accuracy. A boundary before a group without a wrong
    sample is therefore never needed.

    Parameters
    ----------
    group : int32 array of shape (k,)
        Group of equal confidence of each sample.
    correct : uint8 array of shape (k,)
        Correctness at this stage.
    bins : int
        Largest number of bins, which have about equal numbers of samples.
    """
    has_error = np.zeros(group.max() + 1, bool)
    has_error[group[correct == 0]] = True
    boundaries = np.append(np.flatnonzero(has_error), len(has_error))
    number = np.cumsum(has_error) - 1
    exits = np.append(0, np.cumsum(np.bincount(group)))[boundaries]
    weights = exits + BOUNDARY_WEIGHT * exits[-1] * np.linspace(0, 1, len(exits))
    edges = np.unique(np.searchsorted(weights, np.linspace(weights[0], weights[-1], bins + 1)))
    if len(edges) == 1:  # no sample is wrong, so there is a single empty bin
        edges = np.zeros(2, int)
    slot = np.searchsorted(edges, number, side="right").astype(np.uint8)
    return RootStage(2 * slot[group] + correct, number.astype(np.int32)[group], boundaries, edges)


def cache_single_models(compute: Callable) -> Any:
    """Cache the results of a method of :class:`Outcomes` for single models.

    Results for longer prefixes are not cached, since there are too many prefixes.
    """

    @wraps(compute)
    def method(self: "Outcomes", prefix: tuple, *arguments: Any) -> Any:
        key = (compute.__name__, self.key(prefix), *arguments)
        if key in self.results:
            return self.results[key]
        result = compute(self, prefix, *arguments)
        if len(self.key(prefix)) == 1:
            self.results[key] = result
        return result

    return method


class Outcomes:
    """Compute each outcome of a stage function once, check it, and store it compactly.

    Parameters
    ----------
    stage : callable
        Prefix → (correct, confidence), arrays of shape (k,).
    last_only : bool
        Whether outcomes depend only on the last model of a prefix.
    """

    def __init__(self, stage: StageFunction, last_only: bool) -> None:
        self.stage = stage_of(stage)
        self.last_only = last_only
        self.name = uuid4().hex  # unique among searches
        self.results: dict[tuple, Any] = {}
        self.correct_by_key: dict[tuple, Any] = {}
        self.groups_by_key: dict[tuple, Array] = {}
        self.last_exits: tuple[tuple, Any] = ((), None)

    def key(self, prefix: tuple) -> tuple:
        """Return the key that prefixes with the same outcomes share."""
        return prefix[-1:] if self.last_only else prefix

    def prepare(self, cascades: Iterable[tuple]) -> None:
        """Announce all cascades to a stage, which may compute many prefixes together."""
        full, deferring = tee(cascades)  # iterators, since a plain stage does not read them
        self.stage.prepare(
            correct=(prefix for cascade in full for prefix in prefixes_of(cascade)),
            confidence=(prefix for cascade in deferring for prefix in prefixes_of(cascade)[:-1]),
        )

    def correct(self, prefix: tuple) -> Array:
        """Return the correctness after a prefix, uint8 (k,).

        It is stored as bits for prefixes of several models.

        Raises
        ------
        ValueError
            If the correctness is graded.
        """
        key = self.key(prefix)
        if key not in self.correct_by_key:
            values = self.stage.correct(prefix)  # without the confidence, which may cost more
            correct = np.asarray(refuse_masked(values, f"correctness after models {prefix}"))
            if correct.dtype != bool and not np.isin(correct, (0, 1)).all():
                raise ValueError(
                    f"correctness after models {prefix} is not boolean. For graded scores call "
                    "`search` on a ScoreTable"
                )
            result: Any = correct.astype(bool).view(np.uint8)
            if len(key) > 1:
                result = len(correct), np.packbits(result)
            self.correct_by_key[key] = result
        stored = self.correct_by_key[key]
        return stored if len(key) == 1 else np.unpackbits(stored[1], count=stored[0])

    @cache_single_models
    def wrong(self, prefix: tuple) -> Array:
        """Return the samples that are wrong after a prefix, int32."""
        return np.flatnonzero(self.correct(prefix) == 0).astype(np.int32)

    def confidence(self, prefix: tuple) -> Array:
        """Return the confidence after a prefix, float64 (k,), or raise a ValueError for nan."""
        confidence = as_real_array(self.stage(prefix)[1], f"confidence after models {prefix}")
        missing = np.isnan(confidence)
        if missing.any():
            raise ValueError(
                f"confidence after models {prefix} is nan at sample {int(np.argmax(missing))}"
            )
        return confidence

    def groups(self, prefix: tuple) -> Array:
        """Return the group of equal confidence of each sample, int32 (k,), most confident first."""
        key = self.key(prefix)
        if key not in self.groups_by_key:
            # Adding 0.0 makes a contiguous array, in which −0.0 is replaced by 0.0.
            confidence = self.confidence(prefix) + 0.0
            order = falling_order(confidence)
            group = groups_in(order, confidence, LARGEST)
            if len(key) == 1:
                self.results["order", key] = order.astype(np.uint32)
            self.groups_by_key[key] = group.astype(np.min_scalar_type(group[order[-1]]))
        return self.groups_by_key[key].astype(np.int32)

    @cache_single_models
    def root(self, prefix: tuple, bins: int) -> RootStage:
        """Return the stage of a root after a prefix, with at most this number of bins."""
        return root_of(self.groups(prefix), self.correct(prefix), bins)

    @cache_single_models
    def order(self, prefix: tuple) -> Array:
        """Return the samples by falling confidence, uint32 (k,)."""
        return np.argsort(self.groups(prefix), kind="stable").astype(np.uint32)

    def exits(self, prefix: tuple) -> tuple[Array, list[Array], list[Array]]:
        """Return the :meth:`groups` (d, k), orders and confidences after each model of a prefix.

        The result for the last prefix is cached.
        """
        if self.last_exits[0] != prefix:
            stages = prefixes_of(prefix)
            group = np.stack([self.groups(stage) for stage in stages])
            orders = [self.order(stage) for stage in stages]
            confidences = [self.confidence(stage) for stage in stages]
            self.last_exits = prefix, (group, orders, confidences)
        return self.last_exits[1]

    def fill(self, cascades: Iterable[tuple]) -> None:
        """Compute the outcomes of cascades, which a pickled copy has instead of a stage."""
        for *deciding, last in map(prefixes_of, cascades):
            for prefix in deciding:
                self.correct(prefix)
                self.groups(prefix)
            self.correct(last)

    def __getstate__(self) -> dict:
        return vars(self) | {"stage": None, "results": {}, "last_exits": ((), None)}


class Search(NamedTuple):
    """Hold a prepared search, whose arguments are checked.

    Parameters
    ----------
    outcomes : Outcomes
        Outcomes of the candidates.
    cost : float array of shape (n_models,) or (n_models, k)
        Cost of each model, or its price for each sample.
    cascades : Cascades
        All cascades of the candidates.
    lengths : tuple of int
        Lengths of cascades.
    tolerance : float or float array of shape (k + 1,)
        Cascades that would lower the cost by at most this share are skipped. An array has one share
        per number of correct samples.
    deadline : float
        Value of time.monotonic() at which the search stops, inf without a limit.
    executor : Executor or None
        Executor of tasks. None means threads.
    coarse : bool
        Whether the roots have few bins. The search then computes a bound for every cascade early.
    length : int
        Length of the cascades that are being searched.
    full_length : int
        If it exceeds `length`, each cascade stands for the first one of this length that begins
        with it. No sample reaches the later models.
    """

    outcomes: Any
    cost: Array
    cascades: Cascades
    lengths: tuple[int, ...]
    tolerance: float | Array = 0.0
    deadline: float = np.inf
    executor: Executor | None = None
    coarse: bool = False
    length: int = 0
    full_length: int = 0


def prepare_search(
    stage: StageFunction,
    cost: Any,
    n_models: Any,
    last_only: bool = False,
    tolerance: Any = 0.0,
    time_limit: Any = None,
    executor: Any = None,
) -> Search:
    """Check the arguments of a search and start its clock.

    Raises
    ------
    ValueError
        If an argument is invalid. The message names it.
    """
    share = "a share of the cost, 0 or more"
    tolerance = check_number(tolerance, "tolerance", share, 0, POSITIVE[1])
    deadline = np.inf
    if time_limit is not None:
        seconds = check_number(time_limit, "time_limit", "seconds, more than 0", POSITIVE[0])
        deadline = time.monotonic() + seconds
    if executor is not None and (isinstance(executor, type) or not hasattr(executor, "submit")):
        raise ValueError(f"executor must be a concurrent.futures.Executor, not {brief(executor)}")
    cost = check_costs(cost)
    lengths = check_lengths(n_models, len(cost))
    if executor is not None and lengths[-1] < 3:
        warnings.warn(
            f"executor= is not used: cascades of {lengths[-1]} models are searched by threads",
            UserWarning,
            stacklevel=3,
        )
    cascades = Cascades(cost if cost.ndim == 1 else cost.mean(axis=1))
    if len(cost) ** lengths[-1] * 2 > LARGEST_NUMBER:
        raise ValueError(
            f"cascades of {lengths[-1]} of {len(cost)} models have no 64-bit numbers: search fewer "
            "models (models='pareto' or a list) or fewer stages"
        )
    outcomes = Outcomes(stage, last_only)
    return Search(outcomes, cost, cascades, lengths, tolerance, deadline, executor)
