"""Enumerate cascades, check a search, and compute the outcomes of prefixes once.

Models run in order of rising cost, and models of equal cost in both orders.
"""

import time
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import wraps
from itertools import count, tee
from math import perm
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy import ndarray as Array

from ..checks import (
    POSITIVE,
    as_real_array,
    brief,
    check_costs,
    check_count,
    check_number,
    items_of,
    refuse_masked,
)
from ..methods.thresholds import LARGEST
from ..stages import StageFunction, stage_of
from .kernels.sorting import falling_order, groups_in
from .kernels.state import MAX_MODELS

MOST_CASCADES = 5_000_000  # of a search without a time limit
MOST_LISTED = 50_000_000  # of a search with a time limit
# Weight of an equal number of boundaries, relative to samples, in the bins of a root.
BOUNDARY_WEIGHT = 0.5


def extensions(cost: Array, prefix: tuple, length: int) -> Iterator[tuple[int, ...]]:
    """Yield all cascades of `length` models that begin with a prefix, cheapest models first.

    Parameters
    ----------
    cost : float array of shape (n_models,)
        Cost of each model.
    prefix : tuple of int
        First models.
    length : int
        Number of models of a cascade.
    """
    if len(prefix) == length:
        yield prefix
        return
    for m in np.argsort(cost, kind="stable").tolist():
        if m not in prefix and (not prefix or cost[m] >= cost[prefix[-1]]):
            yield from extensions(cost, (*prefix, m), length)


def cascades_of(cost: Array, lengths: Iterable[int]) -> Iterator[tuple[int, ...]]:
    """Yield all cascades of each length, for models with these costs (n_models,)."""
    return (cascade for n in lengths for cascade in extensions(cost, (), n))


def check_lengths(n_models: Any, n_candidates: int) -> tuple[int, ...]:
    """Return the lengths of cascades as a sorted tuple.

    Raises
    ------
    ValueError
        If a length is not from 1 to 8, or exceeds the number of models.
    """
    lengths = items_of(n_models)
    most = min(n_candidates, MAX_MODELS)
    for n in lengths:
        such = tuple(range(1, min(most, 3) + 1))
        check_count(n, f"n_models (of {n_candidates} models, or a tuple such as {such})", 1, most)
    if not lengths:
        raise ValueError("n_models is empty: give a length or a tuple of lengths")
    return tuple(sorted({int(n) for n in lengths}))


def number_of_cascades(cost: Array, length: int) -> int:
    """Return the number of cascades of `length` models without listing them."""
    ways = np.ones(1, object)  # by number of models, python integers of any size
    for same in np.unique(cost, return_counts=True)[1].tolist():
        orders = [perm(same, n) for n in range(length + 1)]
        ways = np.convolve(ways, np.array(orders, object))[: length + 1]
    return ways[length]


def check_work(cost: Array, lengths: Sequence[int], time_limit: float | None) -> None:
    """Raise a ValueError with a remedy if there are too many cascades to search or to list."""
    total = sum(number_of_cascades(cost, n) for n in lengths)
    most = MOST_CASCADES if time_limit is None else MOST_LISTED
    if total <= most:
        return
    remedy = "Search fewer models (models='pareto' or a list) or fewer stages"
    if total <= MOST_LISTED:
        remedy += ", or set time_limit= for a certified front of the searched cascades"
    wanted = " or ".join(map(str, lengths))
    raise ValueError(
        f"{len(cost)} models make {total:,} cascades of {wanted}: more than {most:,}. {remedy}"
    )


class Cascades:
    """Number all cascades of one length.

    Attributes
    ----------
    heads : list of (tuple of int, list of (int, int))
        A head is a cascade without its last model. Each head has the (number, last model) of its
        cascades.
    end : int
        One more than the last number.
    """

    def __init__(self, cost: Array, length: int, first: int = 0) -> None:
        self.length = length
        self.heads: list[tuple[tuple, list[tuple[int, int]]]] = []
        number = count(first)
        for head in extensions(cost, (), length - 1):
            lasts = [(next(number), cascade[-1]) for cascade in extensions(cost, head, length)]
            if lasts:
                self.heads.append((head, lasts))
        self.end = next(number)
        self.starts = [lasts[0][0] for _, lasts in self.heads]

    def cascade(self, number: int) -> tuple[int, ...]:
        """Return the models of a cascade by its number."""
        head, lasts = self.heads[bisect(self.starts, number) - 1]
        _, last = lasts[number - lasts[0][0]]
        return (*head, last)


@dataclass(frozen=True, eq=False)
class RootStage:
    """Hold one stage of the root, the grid of thresholds that a search of a cascade starts with.

    Parameters
    ----------
    code : uint8 array of shape (k,)
        2 · slot + correctness of each sample.
    number : int32 array of shape (k,)
        Number of the last boundary at or before the sample's group, −1 before the first boundary.
    boundaries : array of shape (B,)
        Boundaries that can matter: before each group with a wrong sample, and after the last group.
    edges : array of shape (slots − 1,)
        Number of the first boundary of each slot but the first.
    """

    code: Array
    number: Array
    boundaries: Array
    edges: Array

    def write_to(self, workspace: Any, i: int) -> None:
        """Make this the root's stage i, see :func:`cascadelib.fronts.kernels.state.workspace`."""
        levels = workspace.parts.levels
        workspace.parts.root.code[i] = self.code
        workspace.parts.root.number[i] = self.number
        levels.maps[0, i, : len(self.boundaries)] = self.boundaries
        levels.edges[0, i, 1 : len(self.edges) + 1] = self.edges
        levels.top[0, i] = len(self.boundaries) - 1
        levels.slots[0, i] = len(self.edges) + 1


def root_of(group: Array, correct: Array, bins: int) -> RootStage:
    """Return the :class:`RootStage` of one stage.

    A correct sample exits without loss, so only boundaries before wrong samples matter.

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
    # exits[e]: samples that exit at boundary e, in addition to those that exit at every boundary
    exits = np.append(0, np.cumsum(np.bincount(group)))[boundaries]
    weights = exits + BOUNDARY_WEIGHT * exits[-1] * np.linspace(0, 1, len(exits))
    edges = np.unique(np.searchsorted(weights, np.linspace(weights[0], weights[-1], bins + 1)))
    if len(edges) == 1:  # no wrong sample: a single empty bin
        edges = np.zeros(2, int)
    slot = np.searchsorted(edges, number, side="right").astype(np.uint8)
    return RootStage(2 * slot[group] + correct, number.astype(np.int32)[group], boundaries, edges)


def refuse_prefix(prefix: tuple) -> tuple:
    """Raise a KeyError, as the stage function of a copy that has all outcomes it needs."""
    raise KeyError(prefix)


def cache_single_models(compute: Callable) -> Any:
    """Cache the results of a method of :class:`Outcomes` for single models, which are few."""

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
    """Check the outcomes of a stage function, compute each once, and store them compactly.

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
        self.kept_correct: dict[tuple, Any] = {}
        self.kept_groups: dict[tuple, Array] = {}
        self.kept_exits: tuple[tuple, Any] = ((), None)

    def key(self, prefix: tuple) -> tuple:
        """Return the key that prefixes with the same outcomes share."""
        return prefix[-1:] if self.last_only else prefix

    def prepare(self, cascades: Iterable[tuple]) -> None:
        """Announce all cascades to a stage that computes many prefixes together."""
        full, deferring = tee(cascades)  # not read by a plain stage
        self.stage.prepare(
            correct=(cascade[: i + 1] for cascade in full for i in range(len(cascade))),
            confidence=(cascade[:i] for cascade in deferring for i in range(1, len(cascade))),
        )

    def correct(self, prefix: tuple) -> Array:
        """Return the correctness after a prefix, uint8 (k,).

        Longer prefixes are stored as bits.

        Raises
        ------
        ValueError
            If the correctness is graded.
        """
        key = self.key(prefix)
        if key not in self.kept_correct:
            values = self.stage.correct(prefix)  # without the confidence, which may cost more
            correct = np.asarray(refuse_masked(values, f"correctness after models {prefix}"))
            if correct.dtype != bool and not np.isin(correct, (0, 1)).all():
                raise ValueError(
                    f"correctness after models {prefix} is not boolean: the exact search counts "
                    "samples"
                )
            correct = correct.astype(bool).view(np.uint8)
            self.kept_correct[key] = correct
            if len(key) > 1:
                self.kept_correct[key] = len(correct), np.packbits(correct)
        kept = self.kept_correct[key]
        return kept if len(key) == 1 else np.unpackbits(kept[1], count=kept[0])

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
        if key not in self.kept_groups:
            confidence = self.confidence(prefix) + 0.0  # without −0.0, and one type for the kernel
            order = falling_order(confidence)
            group = groups_in(order, confidence, LARGEST)
            if len(key) == 1:
                self.results["order", key] = order
            self.kept_groups[key] = group.astype(np.min_scalar_type(group[order[-1]]))
        return self.kept_groups[key].astype(np.int32)

    @cache_single_models
    def all_exit(self, prefix: tuple) -> int:
        """Return the boundary at which all samples exit after a prefix: the number of groups."""
        return int(self.groups(prefix).max()) + 1

    @cache_single_models
    def root(self, prefix: tuple, bins: int) -> RootStage:
        """Return the stage of a root after a prefix, with at most this number of bins."""
        return root_of(self.groups(prefix), self.correct(prefix), bins)

    @cache_single_models
    def order(self, prefix: tuple) -> Array:
        """Return the samples by falling confidence, int64 (k,)."""
        return np.argsort(self.groups(prefix), kind="stable")

    def exits(self, head: tuple) -> tuple[Array, Array, Array, Array]:
        """Return the arrays that determine exits after each of the d models of a head.

        These are :meth:`groups` (d, k), :meth:`order` (d, k), :meth:`confidence` (d, k), and the
        position in the order at which each group starts, int64 (d, k + 1), k beyond the last group.
        Those of the last head are stored.
        """
        if self.kept_exits[0] != head:
            prefixes = [head[: i + 1] for i in range(len(head))]
            group = np.stack([self.groups(prefix) for prefix in prefixes])
            order = np.stack([self.order(prefix) for prefix in prefixes])
            confidence = np.stack([self.confidence(prefix) for prefix in prefixes])
            starts = np.full((len(head), group.shape[1] + 1), group.shape[1])
            for own, groups in zip(starts, group, strict=True):
                sizes = np.bincount(groups)
                own[: len(sizes)] = np.cumsum(sizes) - sizes
            self.kept_exits = head, (group, order, confidence, starts)
        return self.kept_exits[1]

    def copy_for(self, heads: Iterable[tuple]) -> "Outcomes":
        """Return a copy that can be pickled, with the outcomes of some heads of Cascades."""
        copy = Outcomes(refuse_prefix, self.last_only)
        full = {(*head, m) for head, lasts in heads for _, m in lasts}
        prefixes = {cascade[:i] for cascade in full for i in range(1, len(cascade))}
        for prefix in prefixes:
            self.groups(prefix)
            copy.kept_groups[self.key(prefix)] = self.kept_groups[self.key(prefix)]
        for prefix in prefixes | full:
            self.correct(prefix)
            copy.kept_correct[self.key(prefix)] = self.kept_correct[self.key(prefix)]
        return copy


class Search(NamedTuple):
    """Hold a prepared search. Its arguments are checked, and all its steps share it.

    Parameters
    ----------
    outcomes : Outcomes
        Outcomes of the candidates.
    cost : float array of shape (n_models,) or (n_models, k)
        Cost of each model, or price per sample.
    lengths : tuple of int
        Lengths of cascades.
    tolerance : float or float array of shape (k + 1,)
        Share of the cost, also by number of correct samples.
    deadline : float
        Value of time.monotonic(), inf without a limit.
    executor : Executor or None
        Runs tasks. None uses threads.
    coarse : bool
        Whether roots have few bins, to bound all cascades soon.
    """

    outcomes: Any
    cost: Array
    lengths: tuple[int, ...] = ()
    tolerance: float | Array = 0.0
    deadline: float = np.inf
    executor: Executor | None = None
    coarse: bool = False


def prepare_search(
    stage: StageFunction,
    cost: Any,
    n_models: Any,
    last_only: bool = False,
    *,
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
    deadline = time.monotonic()
    if time_limit is None:
        deadline = np.inf
    else:
        deadline += check_number(time_limit, "time_limit", "seconds, more than 0", POSITIVE[0])
    if executor is not None and (isinstance(executor, type) or not hasattr(executor, "submit")):
        raise ValueError(f"executor must be a concurrent.futures.Executor, not {brief(executor)}")
    cost = check_costs(cost)
    lengths = check_lengths(n_models, len(cost))
    check_work(cost if cost.ndim == 1 else cost.mean(axis=1), lengths, time_limit)
    return Search(Outcomes(stage, last_only), cost, lengths, tolerance, deadline, executor)
