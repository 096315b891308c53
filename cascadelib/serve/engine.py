"""The engine of a service: inputs wait at a stage, models are asked about batches of them, and each
is decided, and perhaps audited, when its own answer is there. Takes numpy alone."""

import asyncio
import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..evaluation.point import Point
from ..policy.batches import enqueue, next_batch
from ..policy.calls import add_note, failed_answer, failure_of
from ..policy.decisions import DRAWN, MALFORMED, Answer, Decisions, empty_decisions
from .asking import Functions, Members
from .monitor import Monitor


@dataclass(frozen=True)
class CallOptions:
    """How models are asked: one value of each list per model, and last of the audit's reference.

    Parameters
    ----------
    batch_sizes, concurrency : list of int
        Inputs in one call, and calls under way simultaneously, at most.
    timeouts : list of float or None
        Seconds that a call may take.
    max_wait : float
        Seconds for which an input waits for others, if more can come.
    stops : bool
        Whether a failure ends the wait of its caller.
    most : float
        Calls of all models under way simultaneously.
    """

    batch_sizes: Sequence[int]
    concurrency: Sequence[int]
    timeouts: Sequence[float | None]
    max_wait: float
    stops: bool
    most: float = math.inf


@dataclass(eq=False)
class Queue:
    """What waits for the model of one stage: in batches of ``size`` inputs at most, ``most`` calls
    at once; since when the first waits, and calls under way. ``retried`` are asked about before all
    others, each as it is."""

    size: int
    most: int
    batches: deque[Any] = field(default_factory=deque)
    retried: deque[Any] = field(default_factory=deque)
    since: float = math.inf
    calls: int = 0

    def enqueue(self, batch: Any) -> None:
        """Let a batch wait."""
        if not self.batches:
            self.since = time.monotonic()
        enqueue(self.batches, batch, self.size)

    @property
    def is_ready(self) -> bool:
        """Whether something waits and may be asked about."""
        return bool(self.batches or self.retried) and self.calls < self.most

    def is_due(self, max_wait: float) -> bool:
        """Whether the model is to be asked although more inputs may come."""
        is_late = time.monotonic() >= self.since + max_wait
        return is_late or bool(self.retried) or sum(map(len, self.batches)) >= self.size

    def part(self) -> Any:
        """At most ``size`` inputs from the head, which wait no longer."""
        if self.retried:
            return self.retried.popleft()
        self.since = time.monotonic()
        return next_batch(self.batches, self.size)


@dataclass(eq=False)
class Caller:
    """Who waits for decisions: its key, the numbers of its inputs, how many are undecided and how
    many are yet to be audited, what stopped it, and whether it has its answer."""

    key: int
    answered: asyncio.Future
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    undecided: int = 0
    audits: int = 0
    error: BaseException | None = None
    is_answered: bool = False

    def stop(self, error: BaseException) -> None:
        """An error ends the wait, the first one."""
        self.error = self.error or error
        self.answer()

    def answer(self) -> None:
        """The wait is over."""
        if not self.answered.done():
            self.answered.set_result(None)


class Engine:
    """Decides the inputs of many callers on one loop: what waits at each stage, and what was
    decided.

    A stage's model is asked when a batch is full, when its first input has waited for ``max_wait``
    seconds, or when no more can come. Stage n is the audit.
    """

    def __init__(
        self, point: Point, models: Functions | Members, monitor: Monitor, options: CallOptions
    ) -> None:
        self.point = point
        self.models = models
        self.monitor = monitor
        self.options = options
        self.last = len(point.models) - 1
        # What is known of inputs, by their numbers, which are used again: their decisions, the keys
        # of their callers, and what monitoring makes of them (DRAWN, REPEATED, 0).
        self.blank = empty_decisions(1, point.models, models.unknown)
        self.free = np.arange(0)
        self.decisions = self.blank.take(self.free)
        self.owners = np.zeros(0, np.int64)
        self.kinds = np.zeros(0, np.int8)
        self.queues = [Queue(*sizes) for sizes in zip(options.batch_sizes, options.concurrency)]
        self.callers: dict[int, Caller] = {}
        self.keys = itertools.count()  # of callers
        self.calls: set[asyncio.Task] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.may_come: Callable[[], bool] = lambda: True  # whether more inputs may

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

    async def decide_batch(self, inputs: Any, ids: Sequence | None, audit: float) -> Decisions:
        """Decide inputs together with those of other callers; raise what stopped it, with what was
        decided until then as ``error.decided``."""
        caller = Caller(next(self.keys), asyncio.get_running_loop().create_future())
        self.callers[caller.key] = caller
        try:
            batch = self.models.batch_of(inputs)
            count = len(batch)
            names, kinds = self.monitor.enter(count, ids, inputs, audit)
            batch.rows = caller.numbers = self.numbers_for(count)
            self.decisions.ids[batch.rows] = names
            self.owners[batch.rows] = caller.key
            self.kinds[batch.rows] = kinds
            caller.undecided = count
            caller.audits = int(np.count_nonzero(kinds == DRAWN))
            if count:
                self.queues[0].enqueue(batch)
            self.settle(caller)
            self.dispatch_due_batches()
            await caller.answered
        except BaseException as error:
            caller.stop(error)
        caller.is_answered = True
        decisions = self.decisions.take(caller.numbers)
        decisions.undecide()  # what is under way
        self.settle(caller)
        if caller.error is None:
            return decisions
        with suppress(Exception):  # a class may refuse attributes: the error itself goes on
            caller.error.decided = decisions  # type: ignore[attr-defined]
        raise caller.error

    @property
    def undecided(self) -> int:
        """Inputs under way."""
        return sum(caller.undecided for caller in self.callers.values())

    def dispatch_due_batches(self) -> None:
        """Ask about what is due, and look again when a call ends or something becomes due."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        while len(self.calls) < self.options.most and (stage := self.due_stage()) is not None:
            self.queues[stage].calls += 1
            call = asyncio.create_task(self.ask(stage, self.queues[stage].part()))
            self.calls.add(call)
            call.add_done_callback(self.end_call)
        since = min((queue.since for queue in self.queues if queue.is_ready), default=math.inf)
        due = since + self.options.max_wait
        if due < math.inf and len(self.calls) < self.options.most:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(due - time.monotonic(), self.dispatch_due_batches)

    def end_call(self, call: asyncio.Task) -> None:
        """A call has ended."""
        self.calls.discard(call)
        self.dispatch_due_batches()

    def due_stage(self) -> int | None:
        """The last stage whose model is to be asked now, so that none starves while inputs come."""
        more = self.may_come()
        found = None
        for stage, queue in enumerate(self.queues):
            if queue.is_ready and (not more or queue.is_due(self.options.max_wait)):
                found = stage
            more = more or bool(queue.batches) or queue.calls > 0
        return found

    async def ask(self, stage: int, batch: Any) -> None:
        """Ask the model of a stage about a batch; its inputs exit, are deferred, or failed."""
        begun = time.perf_counter()
        ended = None
        try:
            try:
                async with asyncio.timeout(self.options.timeouts[stage]):
                    answer = await self.models.ask(stage, batch)
                ended = time.perf_counter()
                read, fault = self.models.read(stage, batch, answer, self.decisions)
                if fault is not None and self.stops_at(stage):
                    raise fault
            except (Exception, asyncio.CancelledError) as error:
                kind = MALFORMED if ended else failure_of(error)
                self.fail(stage, batch, error, kind, begun)
            else:
                self.record(stage, batch, read, begun, ended)
        except BaseException as error:
            self.stop(stage, batch, error)
        finally:
            self.queues[stage].calls -= 1

    def stops_at(self, stage: int) -> bool:
        """Whether a failure at a stage ends the wait of its caller; that of an audit does not."""
        return self.options.stops and stage <= self.last

    def stop(self, stage: int, batch: Any, error: BaseException) -> None:
        """An error ends the wait of a batch's callers; in an audit it stops nothing."""
        numbers = batch.rows
        if stage <= self.last:
            for key in set(self.owners[numbers].tolist()):
                self.callers[key].stop(error)
            self.release(numbers)
            numbers = numbers[self.kinds[numbers] == DRAWN]
        self.release(numbers, audited=True)

    def fail(self, stage: int, batch: Any, error: BaseException, kind: int, begun: float) -> None:
        """A call raised, or its answer fits no batch: ask again, if errors stop caller by caller,
        else input by input, so that a failure is that of one alone."""
        add_note(error, self.models.names[stage], len(batch))
        numbers = batch.rows
        keys = (self.owners[numbers] if self.stops_at(stage) else numbers).tolist()
        if len(set(keys)) > 1:
            alone = [batch.take(np.flatnonzero(np.equal(keys, one))) for one in dict.fromkeys(keys)]
            self.queues[stage].retried.extendleft(reversed(alone))
            return
        if self.stops_at(stage):
            raise error
        self.record(stage, batch, failed_answer(kind), begun, time.perf_counter())

    def record(self, stage: int, batch: Any, answer: Answer, begun: float, ended: float) -> None:
        """Decide a batch by an answer: the one place where inputs exit, are deferred and
        counted."""
        seconds = ended - begun
        rows = batch.rows
        if stage > self.last:
            self.monitor.resolve(self.decisions.ids[rows], answer, seconds)
            self.release(rows, audited=True)
            return
        self.decisions.seconds[rows, stage] = seconds
        left = self.decisions.write(self.point, stage, rows, answer)
        is_broken = (answer.failures > 0) & self.models.skips
        for after, chosen in (
            (self.last, ~left & is_broken),
            (stage + 1, ~left & ~is_broken),
            (self.last + 1, left & (self.kinds[rows] == DRAWN)),
        ):
            if chosen.any():
                self.queues[after].enqueue(batch.take(np.flatnonzero(chosen)))
        spent = (seconds, time.perf_counter() - ended)
        self.monitor.add(stage, self.decisions, rows, left, spent, self.kinds[rows])
        self.release(rows[left])

    def release(self, numbers: np.ndarray, audited: bool = False) -> None:
        """Inputs are decided; or ``audited``."""
        for key, count in Counter(self.owners[numbers].tolist()).items():
            caller = self.callers[key]
            if audited:
                caller.audits -= count
            else:
                caller.undecided -= count
            self.settle(caller)

    def settle(self, caller: Caller) -> None:
        """Answer a caller whose inputs are decided; forget it when it has its answer and no audit
        is under way."""
        if caller.undecided > 0:
            return
        caller.answer()
        if not caller.audits and caller.is_answered:
            del self.callers[caller.key]
            for name, values in self.blank.arrays.items():
                self.decisions.arrays[name][caller.numbers] = values
            self.free = np.concatenate([self.free, caller.numbers])
