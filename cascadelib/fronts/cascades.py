"""Which cascades there are, how much work they are, and the outcomes of their prefixes: what a
search prepares, once.

Models run by rising cost, those of equal cost in both orders.
"""

import time
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import count, tee
from math import comb, factorial
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy import ndarray as Array

from ..checks import (
    POSITIVE,
    brief,
    check_costs,
    check_count,
    check_number,
    items_of,
    reals,
    unmasked,
)
from ..methods.thresholds import LARGEST
from ..stages import StageFunction, stage_of
from .kernels.sorting import falling_order, groups_in
from .kernels.state import MAX_MODELS

MOST_CASCADES = 5_000_000
MOST_LISTED = 50_000_000
# What an equal number of boundaries counts, beside one of samples, in the bins of a root.
BOUNDARIES = 0.5


def extensions(cost: Array, prefix: tuple, length: int) -> Iterator[tuple[int, ...]]:
    """Every cascade of ``length`` models that begins with ``prefix``, the cheapest models first.

    cost: of the models, float [M].
    """
    if len(prefix) == length:
        yield prefix
        return
    for m in np.argsort(cost, kind="stable").tolist():
        if m not in prefix and (not prefix or cost[m] >= cost[prefix[-1]]):
            yield from extensions(cost, (*prefix, m), length)


def cascades_of(cost: Array, lengths: Iterable[int]) -> Iterator[tuple[int, ...]]:
    """Every cascade of each of some ``lengths``, of models of cost [M]."""
    return (cascade for n in lengths for cascade in extensions(cost, (), n))


def check_lengths(n_models: Any, n_candidates: int) -> tuple[int, ...]:
    """The asked cascade lengths as a sorted tuple.

    ValueError unless each is 1 … 8 and ≤ the number of models.
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
    """How many cascades of ``length`` models there are, without listing them."""
    ways = [1] + [0] * length  # by number of models, of those of the costs so far
    for same in np.unique(cost, return_counts=True)[1].tolist():
        orders = [comb(same, j) * factorial(j) for j in range(length + 1)]
        before = ways
        ways = []
        for n in range(length + 1):
            ways.append(sum(before[i] * orders[n - i] for i in range(n + 1)))
    return ways[length]


def check_work(cost: Array, lengths: Sequence[int], time_limit: float | None) -> None:
    """Refuse a search of more cascades than patience or memory allow, with the remedy.

    Patience counts where there is no time limit.
    """
    total = sum(number_of_cascades(cost, n) for n in lengths)
    most = MOST_CASCADES if time_limit is None else MOST_LISTED
    if total <= most:
        return
    remedy = "Search fewer models (models='pareto' or a list) or fewer stages"
    if total <= MOST_LISTED:
        remedy += ", or set time_limit= for a certified front of what was reached"
    asked = " or ".join(map(str, lengths))
    raise ValueError(
        f"{len(cost)} models make {total:,} cascades of {asked}: more than {most:,}. {remedy}"
    )


class Cascades:
    """All cascades of one length, numbered.

    ``heads``: [(all models but the last, its [(number, last model)])].
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
        """The models of a numbered cascade."""
        head, lasts = self.heads[bisect(self.starts, number) - 1]
        _, last = lasts[number - lasts[0][0]]
        return (*head, last)


@dataclass(frozen=True, eq=False)
class RootStage:
    """A stage of the grid that the search of a cascade begins with (its *root*).

    Parameters
    ----------
    code : uint8 array of shape (k,)
        2 · slot + whether correct, of each sample.
    number : int32 array of shape (k,)
        The boundary at or before the sample's group, −1 before the first.
    boundaries : array of shape (B,)
        Those that can matter: before a group in which some sample is wrong, and after the last.
    edges : array of shape (slots − 1,)
        The first of the boundaries (by number) of each slot but the first.
    """

    code: Array
    number: Array
    boundaries: Array
    edges: Array

    def enter(self, room: Any, i: int) -> None:
        """Make this stage i of the root in a :func:`cascadelib.fronts.kernels.state.workspace`."""
        levels = room.parts.levels
        room.parts.root.code[i] = self.code
        room.parts.root.number[i] = self.number
        levels.maps[0, i, : len(self.boundaries)] = self.boundaries
        levels.edges[0, i, 1 : len(self.edges) + 1] = self.edges
        levels.top[0, i] = len(self.boundaries) - 1
        levels.slots[0, i] = len(self.edges) + 1


def root_of(group: Array, correct: Array, bins: int) -> RootStage:
    """The :class:`RootStage` of one stage, of at most so many bins of about equal numbers of
    samples.

    group int32 [k]; correct uint8 [k]. What is correct exits at no loss, so that no other boundary
    matters.
    """
    has_error = np.zeros(group.max() + 1, bool)
    has_error[group[correct == 0]] = True
    boundaries = np.append(np.flatnonzero(has_error), len(has_error))
    number = np.cumsum(has_error) - 1
    samples = np.bincount(group)
    # before[e]: samples that exit at boundary e, beyond those that exit at every one
    before = np.append(0, np.cumsum(samples))[boundaries]
    weights = before + BOUNDARIES * before[-1] * np.linspace(0, 1, len(before))
    edges = np.unique(np.searchsorted(weights, np.linspace(weights[0], weights[-1], bins + 1)))
    if len(edges) == 1:  # never wrong: one bin, in which there is nothing
        edges = np.zeros(2, int)
    slot = np.searchsorted(edges, number, side="right").astype(np.uint8)
    return RootStage(2 * slot[group] + correct, number.astype(np.int32)[group], boundaries, edges)


def nothing_more(prefix: tuple) -> tuple:
    """The stage function of a copy that knows all that it will be asked for."""
    raise KeyError(prefix)


class Outcomes:
    """A stage function's outcomes, checked, computed once and kept compact.

    :meth:`only` gives a copy that can be pickled.

    stage(prefix) → (correct [k], confidence [k]); last_only: whether only the last model of a
    prefix counts.
    """

    def __init__(self, stage: StageFunction, last_only: bool) -> None:
        self.stage = stage_of(stage)
        self.last_only = last_only
        self.name = uuid4().hex  # of no other search's
        self.kept_correct: dict[tuple, Any] = {}
        self.kept_wrong: dict[tuple, Array] = {}
        self.kept_groups: dict[tuple, Array] = {}
        self.kept_counts: dict[tuple, int] = {}
        self.kept_order: dict[tuple, Array] = {}
        self.kept_roots: dict[tuple, RootStage] = {}
        self.kept_exits: tuple[tuple, Any] = ((), None)

    def key(self, prefix: tuple) -> tuple:
        """What prefixes with the same outcomes share."""
        return prefix[-1:] if self.last_only else prefix

    def prepare(self, cascades: Iterable[tuple]) -> None:
        """Let a stage that computes many prefixes together do so for all ``cascades``."""
        whole, begun = tee(cascades)  # only read by a stage that prepares anything
        self.stage.prepare(
            correct=(cascade[: i + 1] for cascade in whole for i in range(len(cascade))),
            confidence=(cascade[:i] for cascade in begun for i in range(1, len(cascade))),
        )

    def correct(self, prefix: tuple) -> Array:
        """uint8 [k]: whether the cascade's output after ``prefix`` is correct; ValueError where
        that is graded.

        Kept as bits for longer prefixes.
        """
        key = self.key(prefix)
        if key not in self.kept_correct:
            given = self.stage.correct(prefix)  # without a confidence, which may cost more
            correct = np.asarray(unmasked(given, f"correctness after models {prefix}"))
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

    def wrong(self, prefix: tuple) -> Array:
        """int32: the samples that :meth:`correct` has as wrong."""
        key = self.key(prefix)
        if key in self.kept_wrong:
            return self.kept_wrong[key]
        wrong = np.flatnonzero(self.correct(prefix) == 0).astype(np.int32)
        if len(key) == 1:
            self.kept_wrong[key] = wrong
        return wrong

    def confidence(self, prefix: tuple) -> Array:
        """float64 [k]: confidence after ``prefix``; nan is refused."""
        confidence = reals(self.stage(prefix)[1], f"confidence after models {prefix}")
        missing = np.isnan(confidence)
        if missing.any():
            raise ValueError(
                f"confidence after models {prefix} is nan at sample {int(np.argmax(missing))}"
            )
        return confidence

    def groups(self, prefix: tuple) -> Array:
        """int32 [k]: each sample's group of equal confidence, the most confident first."""
        key = self.key(prefix)
        if key not in self.kept_groups:
            confidence = self.confidence(prefix) + 0.0  # without −0.0; one type for the kernel
            order = falling_order(confidence)
            group = groups_in(order, confidence, LARGEST)
            if len(key) == 1:
                self.kept_order[key] = order
            self.kept_groups[key] = group.astype(np.min_scalar_type(group[order[-1]]))
        return self.kept_groups[key].astype(np.int32)

    def all_exit(self, prefix: tuple) -> int:
        """The boundary at which all samples exit after ``prefix``: how many groups there are."""
        key = self.key(prefix)
        if key not in self.kept_counts:
            self.kept_counts[key] = int(self.groups(prefix).max()) + 1
        return self.kept_counts[key]

    def root(self, prefix: tuple, bins: int) -> RootStage:
        """The stage after ``prefix`` of a search's root, of at most so many bins."""
        key = self.key(prefix)
        if (*key, bins) in self.kept_roots:
            return self.kept_roots[*key, bins]
        root = root_of(self.groups(prefix), self.correct(prefix), bins)
        if len(key) == 1:
            self.kept_roots[*key, bins] = root
        return root

    def order(self, prefix: tuple) -> Array:
        """int64 [k]: samples by falling confidence."""
        group = self.groups(prefix)
        kept = self.kept_order.get(self.key(prefix))
        return np.argsort(group, kind="stable") if kept is None else kept

    def exits(self, head: tuple) -> tuple[Array, Array, Array, Array]:
        """How samples exit after each of the d models of ``head``: :meth:`groups` int32 [d, k],
        :meth:`order` int64 [d, k], :meth:`confidence` float64 [d, k], and the place in that order
        at which each group starts, int64 [d, k + 1]: k beyond the last.

        Those of the last head are kept.
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

    def only(self, heads: Iterable[tuple]) -> "Outcomes":
        """A copy that knows what a search of some ``heads`` of :class:`Cascades` needs."""
        copy = Outcomes(nothing_more, self.last_only)
        whole = {(*head, m) for head, lasts in heads for _, m in lasts}
        prefixes = {cascade[:i] for cascade in whole for i in range(1, len(cascade))}
        for prefix in prefixes:
            self.groups(prefix)
            copy.kept_groups[self.key(prefix)] = self.kept_groups[self.key(prefix)]
        for prefix in prefixes | whole:
            self.correct(prefix)
            copy.kept_correct[self.key(prefix)] = self.kept_correct[self.key(prefix)]
        return copy


class Search(NamedTuple):
    """A search that is prepared: its arguments are checked, and all its steps share it.

    cost: of the models, float [M], or [M, k] where prices differ by sample; lengths: of cascades;
    tolerance: a share of the cost, also by correct samples, float [k + 1]; deadline: of
    time.monotonic(), infinite without one; executor: of tasks, None for threads; coarse: with few
    bins, to bound all cascades soon.
    """

    outcomes: Any
    cost: Array
    lengths: tuple[int, ...] = ()
    tolerance: float | Array = 0.0
    deadline: float = np.inf
    executor: Executor | None = None
    coarse: bool = False


class Limits(NamedTuple):
    """How exact a search has to be, how long it may take, and who works for it."""

    tolerance: float = 0.0
    time_limit: float | None = None
    executor: Executor | None = None


def check_limits(tolerance: Any, time_limit: Any, executor: Any) -> Limits:
    """The limits of a search as numbers; ValueError names what is wrong."""
    share = "a share of the cost, 0 or more"
    tolerance = check_number(tolerance, "tolerance", share, 0, POSITIVE[1])
    if time_limit is not None:
        time_limit = check_number(time_limit, "time_limit", "seconds, more than 0", POSITIVE[0])
    if executor is not None and (isinstance(executor, type) or not hasattr(executor, "submit")):
        raise ValueError(f"executor must be a concurrent.futures.Executor, not {brief(executor)}")
    return Limits(tolerance, time_limit, executor)


def prepare_search(
    stage: StageFunction, cost: Any, n_models: Any, limits: Limits, last_only: bool = False
) -> Search:
    """Check what a search is of, and start its clock; ValueError names what is wrong."""
    cost = check_costs(cost)
    lengths = check_lengths(n_models, len(cost))
    check_work(cost if cost.ndim == 1 else cost.mean(axis=1), lengths, limits.time_limit)
    wait = np.inf if limits.time_limit is None else limits.time_limit
    deadline = time.monotonic() + wait
    outcomes = Outcomes(stage, last_only)
    return Search(outcomes, cost, lengths, limits.tolerance, deadline, limits.executor)
