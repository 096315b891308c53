"""One engine for all that runs: inputs wait at a stage, models are asked about batches of them, and
each is decided, and perhaps audited, when its own answer is there. Takes numpy alone."""

import asyncio
import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..evaluation.point import Point
from .decisions import (
    ANY,
    DRAWN,
    ERROR,
    MALFORMED,
    TIMEOUT,
    Answer,
    Decisions,
    nothing,
    objects,
)


@dataclass(eq=False)
class Group:
    """Inputs on their way, and their numbers int64 [N] in a run; output: that of the models so far,
    where those to come read it; alone: a model is asked about them without others; kind: only groups
    of one kind are joined."""

    numbers: np.ndarray
    inputs: Any
    output: Any = None
    kind: Any = None
    alone: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def some(self, rows: Any) -> Any:
        """The inputs at some rows: a slice, or int64 [n]."""
        if isinstance(rows, slice):
            return self.inputs[rows]
        return [self.inputs[row] for row in rows.tolist()]

    @staticmethod
    def whole(parts: Sequence, /) -> Any:
        """The inputs of several groups."""
        return [each for part in parts for each in part]

    def take(self, rows: Any) -> "Group":
        """A group of some of the inputs: a slice, or int64 [n]."""
        output = self.output and self.output.take(rows)
        return type(self)(self.numbers[rows], self.some(rows), output, self.kind)

    def joined(self, others: Sequence["Group"]) -> "Group":
        """This group, and others that wait for the same model, as one."""
        groups = (self, *others)
        numbers = np.concatenate([group.numbers for group in groups])
        inputs = self.whole([group.inputs for group in groups])
        output = self.output and self.output.joined([group.output for group in groups])
        return type(self)(numbers, inputs, output, self.kind)

    def joins(self, other: "Group") -> bool:
        """Whether a model may be asked about both at once."""
        return not (self.alone or other.alone) and self.kind == other.kind


@dataclass(frozen=True)
class Terms:
    """How models are asked: one value of each list per model, and last of the audit's reference.

    Parameters
    ----------
    batch_sizes, concurrency : list of int
        Inputs in one call, and calls under way at once, at most.
    timeouts : list of float or None
        Seconds that a call may take.
    max_wait : float
        Seconds for which an input waits for others, where more can come.
    stops : bool
        Whether a failure ends the run of its caller.
    labels : frozenset or None
        The answers that may come.
    bounds : (float, float)
        The confidences that may come.
    """

    batch_sizes: Sequence[int]
    concurrency: Sequence[int]
    timeouts: Sequence[float | None] = ()
    max_wait: float = math.inf
    stops: bool = True
    labels: frozenset | None = None
    bounds: tuple[float, float] = ANY


@dataclass(eq=False)
class Queue:
    """What waits for the model of one stage: a batch of ``size`` inputs at most, ``most`` calls at
    once; since when the first waits, calls under way, and the first error."""

    size: int
    most: int
    groups: deque[Group] = field(default_factory=deque)
    since: float = math.inf
    calls: int = 0
    error: BaseException | None = None

    def push(self, group: Group, first: bool = False) -> None:
        """Let a group wait, in pieces that are no larger than a batch; or before all others."""
        if not self.groups:
            self.since = time.monotonic()
        if first:
            self.groups.appendleft(group)
        elif len(group) <= self.size:
            self.groups.append(group)
        else:
            starts = range(0, len(group), self.size)
            self.groups.extend(group.take(slice(at, at + self.size)) for at in starts)

    @property
    def is_ready(self) -> bool:
        """Whether something waits and may be asked about."""
        return bool(self.groups) and self.calls < self.most

    def is_due(self, max_wait: float) -> bool:
        """Whether the model is to be asked although more inputs may come."""
        is_late = time.monotonic() >= self.since + max_wait
        return is_late or self.groups[0].alone or sum(map(len, self.groups)) >= self.size

    def part(self) -> Group:
        """At most ``size`` inputs from the head, which wait no longer."""
        group = self.groups.popleft()
        others = []
        room = self.size - len(group)
        while self.groups and room > 0 and group.joins(self.groups[0]):
            others.append(self.groups.popleft())
            room -= len(others[-1])
        if others:
            group = group.joined(others)
        if room < 0:
            self.groups.appendleft(group.take(slice(self.size, None)))
            group = group.take(slice(self.size))
        self.since = time.monotonic()
        return group


@dataclass(eq=False)
class Caller:
    """Who waits for decisions: its key, the numbers of its inputs in parts, int64 each, how many are
    undecided, how many are yet to be audited, whether it waits for those as well, what stopped it,
    and whether it has its answer."""

    key: int
    parts: list[np.ndarray] = field(default_factory=list)
    undecided: int = 0
    audits: int = 0
    waits_for_audits: bool = False
    error: BaseException | None = None
    answered: asyncio.Future | None = None
    is_through: bool = False

    @property
    def numbers(self) -> np.ndarray:
        """Those of its inputs, in their order, int64 [N]."""
        return np.concatenate([np.zeros(0, np.int64), *self.parts])

    def stop(self, error: BaseException) -> None:
        """An error ends the wait, the first one."""
        self.error = self.error or error
        self.answer()

    def answer(self) -> None:
        """The wait is over."""
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(None)


class Engine:
    """Runs of a cascade of n models, on the loop of their callers: what waits where, and what was
    decided.

    A stage's model is asked when a batch is full, when its first input has waited for ``max_wait``
    seconds, or when no more can come. Stage n is the audit. Subclasses say how a model is asked
    (:meth:`answer`) and what its answer means (:meth:`read`).
    """

    answer: Callable[[int, Any], Coroutine]  # what the model of a stage says of a group
    read: Callable[[int, Any, Any], Answer]  # the same, checked; an error where it does not fit
    skips = False  # whether inputs for which a model failed go to the last one
    most = math.inf  # calls of all models under way at once, on a loop

    def __init__(self, point: Point, running: Any, terms: Terms, **blank: Any) -> None:
        self.point = point
        self.running = running
        self.terms = terms
        self.last = len(point.models) - 1
        # What is known of inputs, by their numbers, which are used again: their decisions, the keys
        # of their callers, and what monitoring makes of them (DRAWN, REPEATED, 0).
        self.blank = nothing(1, point.models, **blank)
        self.free = np.arange(0)
        self.decisions = self.blank.take(self.free)
        self.owners = np.zeros(0, np.int64)
        self.kinds = np.zeros(0, np.int8)
        self.queues = [Queue(*sizes) for sizes in zip(terms.batch_sizes, terms.concurrency)]
        self.callers: dict[int, Caller] = {}
        self.keys = itertools.count()  # of callers
        self.may_come: Callable[[], bool] = lambda: True  # whether more inputs may
        self.calls: set[asyncio.Task] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.is_closed = False
        self.answers: list[list[tuple]] = [[] for _ in point.models]  # that are yet to be counted
        self.counts_after = 1  # so many of a model

    def group_of(self, inputs: Any) -> Group:
        """Inputs as a caller brings them, numbered from 0."""
        return Group(np.arange(len(inputs)), inputs)

    def caller(self) -> Caller:
        """A further caller."""
        caller = Caller(next(self.keys))
        self.callers[caller.key] = caller
        return caller

    def enter(self, caller: Caller, inputs: Any, ids: Any = None) -> None:
        """Let further inputs of a caller wait for the first model."""
        group = self.group_of(inputs)
        count = len(group)
        names, kinds = self.running.enter(count, ids, inputs)
        numbers = group.numbers = self.numbers_for(count)
        self.decisions.ids[numbers] = names
        self.owners[numbers] = caller.key
        self.kinds[numbers] = kinds
        caller.parts.append(numbers)
        caller.undecided += count
        caller.audits += int(np.count_nonzero(kinds == DRAWN))
        if count:
            self.queues[0].push(group)

    def numbers_for(self, count: int) -> np.ndarray:
        """Numbers int64 [count] that no input has."""
        if len(self.free) < count:
            size = len(self.owners)
            more = max(count, size)
            self.free = np.concatenate([self.free, np.arange(size, size + more)])
            self.decisions = self.decisions.joined(self.blank.take(np.zeros(more, np.int64)))
            self.owners = np.resize(self.owners, size + more)
            self.kinds = np.resize(self.kinds, size + more)
        numbers = self.free[:count]
        self.free = self.free[count:]
        return numbers

    async def decide(
        self, inputs: Any, ids: Sequence | None = None, audited: bool = False
    ) -> Decisions:
        """Decide inputs together with those of other callers.

        Parameters
        ----------
        inputs : batch of N inputs
        ids : list, optional
            What each input is called; by default a number.
        audited : bool
            Whether to wait for their audits as well.

        Returns
        -------
        Decisions
            In the order of the inputs, when all are decided.

        Raises
        ------
        BaseException
            What stopped it, with what was decided until then as ``error.decided``.
        """
        caller = self.caller()
        caller.waits_for_audits = audited
        try:
            self.enter(caller, inputs, ids)
            caller.answered = asyncio.get_running_loop().create_future()
            self.settle(caller)
            self.go()
            await caller.answered
        except BaseException as error:
            caller.stop(error)
        caller.is_through = True
        try:
            return self.result(caller)
        finally:
            self.settle(caller)

    def result(self, caller: Caller) -> Decisions:
        """What was decided for a caller; raises what stopped it, with that as ``error.decided``."""
        self.count_answers()
        decisions = self.decisions.take(caller.numbers)
        decisions.undecide()  # what is under way
        if caller.error is not None:
            with suppress(Exception):  # a class may refuse attributes: the error itself goes on
                caller.error.decided = decisions  # type: ignore[attr-defined]
            raise caller.error
        return decisions

    @property
    def undecided(self) -> int:
        """Inputs under way."""
        return sum(caller.undecided for caller in self.callers.values())

    def go(self) -> None:
        """Ask about what is due, and look again when a call ends or something becomes due."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        while (part := self.next_part()) is not None:
            call = asyncio.create_task(self.ask(*part))
            self.calls.add(call)
            call.add_done_callback(self.ended)
        since = min((queue.since for queue in self.queues if queue.is_ready), default=math.inf)
        due = since + self.terms.max_wait
        if due < math.inf and len(self.calls) < self.most:
            left = due - time.monotonic()
            self.timer = asyncio.get_running_loop().call_later(left, self.go)

    def ended(self, call: asyncio.Task) -> None:
        """A call has ended."""
        self.calls.discard(call)
        if not self.is_closed:
            self.go()

    def go_here(self, caller: Caller) -> None:
        """Ask in this thread, one call after another, as long as a batch is full or no more inputs
        come; for models whose :meth:`answer` waits for nothing."""
        while caller.error is None and (part := self.next_part()) is not None:
            with suppress(StopIteration):
                self.ask(*part).send(None)

    def next_part(self) -> tuple[int, Group] | None:
        """A stage and the group to be asked about next, if any is to be asked about now: of the last
        stage that is due, so that none starves while inputs come."""
        more = self.may_come()
        found = None
        for stage, queue in enumerate(self.queues):
            if queue.is_ready and (not more or queue.is_due(self.terms.max_wait)):
                found = stage
            more = more or bool(queue.groups) or queue.calls > 0
        if found is None or len(self.calls) >= self.most:
            return None
        queue = self.queues[found]
        queue.calls += 1
        return found, queue.part()

    async def end(self) -> None:
        """Decide what waits, and return when nothing is under way any more, audits included."""
        self.may_come = lambda: False
        self.go()
        while self.calls:
            await asyncio.wait(self.calls)

    def close(self) -> None:
        """Give up what is under way."""
        self.is_closed = True
        if self.timer is not None:
            self.timer.cancel()
        for call in self.calls:
            call.cancel()

    async def ask(self, stage: int, group: Group) -> None:
        """Ask the model of a stage about a group; its inputs leave, move on, or failed."""
        begun = time.perf_counter()
        ended = None
        try:
            try:
                answer = await self.answer(stage, group)
                ended = time.perf_counter()
                read = self.read(stage, group, answer)
            except (Exception, asyncio.CancelledError) as error:
                if not self.is_closed:  # else it is close that cancels
                    kind = MALFORMED if ended else failure_of(error)
                    self.fail(stage, group, error, kind, begun)
            else:
                self.note(stage, group, read, begun, ended)
        except BaseException as error:
            self.stop(stage, group, error)
        finally:
            self.queues[stage].calls -= 1

    def stop(self, stage: int, group: Group, error: BaseException) -> None:
        """An error ends the runs of a group's callers; in an audit it stops nothing."""
        self.remember(stage, error)
        numbers = group.numbers
        is_audit = stage > self.last
        if not is_audit or not isinstance(error, Exception):
            for key in set(self.owners[numbers].tolist()):
                self.callers[key].stop(error)
        if not is_audit:
            self.leave(numbers)
            numbers = numbers[self.kinds[numbers] == DRAWN]
        self.leave(numbers, audited=True)

    def fail(self, stage: int, group: Group, error: BaseException, kind: int, begun: float) -> None:
        """A call raised, or its answer fits no batch: ask again, where errors stop caller by caller,
        else input by input, so that a failure is that of one alone."""
        with suppress(Exception):  # a class may refuse attributes
            error.add_note(f"in the call of model {self.name_of(stage)!r} for {len(group)} inputs")
        if not isinstance(error, Exception | asyncio.CancelledError):
            raise error
        stops = self.terms.stops and stage <= self.last
        numbers = group.numbers
        whose = (self.owners[numbers] if stops else numbers).tolist()
        if len(set(whose)) > 1:
            for one in reversed(dict.fromkeys(whose)):
                alone = group.take(np.flatnonzero(np.equal(whose, one)))
                alone.alone = True
                self.queues[stage].push(alone, first=True)
            return
        if stops:
            raise error
        self.remember(stage, error)
        failed = Answer(objects([None])[:, None], np.array([np.nan]), np.array([kind]))
        self.note(stage, group, failed, begun, time.perf_counter())

    def remember(self, stage: int, error: BaseException) -> None:
        """Keep the first error of a stage."""
        self.queues[stage].error = self.queues[stage].error or error

    def name_of(self, stage: int) -> str:
        """The model of a stage; of the audit, the reference."""
        return self.point.models[stage] if stage <= self.last else self.running.reference

    def note(self, stage: int, group: Group, answer: Answer, begun: float, ended: float) -> None:
        """Decide a group by an answer: the one place where inputs leave, move on and are counted."""
        seconds = ended - begun
        rows = group.numbers
        if stage > self.last:
            self.count_answers()  # so that these inputs are in doubt
            self.running.resolve(self.decisions.ids[rows], answer, seconds)
            self.leave(rows, audited=True)
            return
        self.decisions.seconds[rows, stage] = seconds
        left = self.decisions.write(self.point, stage, rows, answer)
        if not left.all():
            is_broken = answer.failures > 0
            self.push(self.last if self.skips else stage + 1, group, ~left & is_broken)
            self.push(stage + 1, group, ~left & ~is_broken)
        self.push(self.last + 1, group, left & (self.kinds[rows] == DRAWN))
        self.answers[stage].append((rows, left, seconds, time.perf_counter() - ended))
        if len(self.answers[stage]) >= self.counts_after:
            self.count_answers()

    def count_answers(self) -> None:
        """Count what models answered since this was done last."""
        for stage, answers in enumerate(self.answers):
            if answers:
                all_rows, all_left, *seconds = zip(*answers)
                answers.clear()
                rows = np.concatenate(all_rows)
                left = np.concatenate(all_left)
                spent = [sum(each) for each in seconds]
                kinds = self.kinds[rows]
                self.running.add(stage, self.decisions, rows, left, spent, kinds)
                self.leave(rows[left])

    def push(self, stage: int, group: Group, chosen: np.ndarray) -> None:
        """Let those of a group that are ``chosen``, bool [s], wait at a stage."""
        rows = np.flatnonzero(chosen)
        if len(rows):
            self.queues[stage].push(group if len(rows) == len(group) else group.take(rows))

    def leave(self, numbers: np.ndarray, audited: bool = False) -> None:
        """Inputs are decided; or ``audited``."""
        for key, count in Counter(self.owners[numbers].tolist()).items():
            caller = self.callers[key]
            if audited:
                caller.audits -= count
            else:
                caller.undecided -= count
            self.settle(caller)

    def settle(self, caller: Caller) -> None:
        """Answer a caller whose inputs are decided; forget it when it has its answer and no audit is
        under way."""
        if caller.undecided > 0:
            return
        if not caller.audits or not caller.waits_for_audits:
            caller.answer()
        if not caller.audits and caller.is_through:
            del self.callers[caller.key]
            for name, values in self.blank.arrays.items():
                self.decisions.arrays[name][caller.numbers] = values
            self.free = np.concatenate([self.free, caller.numbers])


def failure_of(error: BaseException) -> int:
    """The failure that an exception is: a timeout by its type or the name of that, else an error."""
    is_timeout = isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
    return TIMEOUT if is_timeout else ERROR
