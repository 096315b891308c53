"""Batching scheduler of a service.

Inputs queue per stage, and models are called on batches. Each input is decided, and audited if it
was drawn, as soon as its answer arrives. Depends only on NumPy.
"""

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
    """Options of the calls: one value of each list per model, and one for the audit's reference.

    Parameters
    ----------
    batch_sizes, concurrency : list of int
        Maximum number of inputs per call, and of simultaneous calls.
    timeouts : list of float or None
        Seconds that a call may take.
    max_wait : float
        Seconds for which an input waits for others, if more can arrive.
    stops : bool
        Whether a failure ends the wait of its caller.
    most : float
        Maximum number of simultaneous calls of all models.
    """

    batch_sizes: Sequence[int]
    concurrency: Sequence[int]
    timeouts: Sequence[float | None]
    max_wait: float
    stops: bool
    most: float = math.inf


@dataclass(eq=False)
class Queue:
    """The queue of one stage: batches of at most ``size`` inputs, at most ``most`` calls.

    ``since`` is the time since which the first input waits. Batches in ``retried`` run before all
    others, and are not joined.
    """

    size: int
    most: int
    batches: deque[Any] = field(default_factory=deque)
    retried: deque[Any] = field(default_factory=deque)
    since: float = math.inf
    calls: int = 0

    def enqueue(self, batch: Any) -> None:
        """Append a batch."""
        if not self.batches:
            self.since = time.monotonic()
        enqueue(self.batches, batch, self.size)

    @property
    def is_ready(self) -> bool:
        """Whether a batch waits and a call may start."""
        return bool(self.batches or self.retried) and self.calls < self.most

    def is_due(self, max_wait: float) -> bool:
        """Whether to call the model although more inputs may arrive."""
        is_late = time.monotonic() >= self.since + max_wait
        return is_late or bool(self.retried) or sum(map(len, self.batches)) >= self.size

    def part(self) -> Any:
        """Remove and return at most ``size`` inputs from the head."""
        if self.retried:
            return self.retried.popleft()
        self.since = time.monotonic()
        return next_batch(self.batches, self.size)


@dataclass(eq=False)
class Caller:
    """A caller that waits for decisions.

    It has a key, the numbers of its inputs, and the numbers of undecided inputs and of pending
    audits. ``error`` stopped it, and ``is_answered`` is set when it has its answer.
    """

    key: int
    answered: asyncio.Future
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    undecided: int = 0
    audits: int = 0
    error: BaseException | None = None
    is_answered: bool = False

    def stop(self, error: BaseException) -> None:
        """End the wait by an error. The first error counts."""
        self.error = self.error or error
        self.answer()

    def answer(self) -> None:
        """End the wait."""
        if not self.answered.done():
            self.answered.set_result(None)


class Engine:
    """Decide the inputs of many callers on one event loop.

    A model is called when a batch is full, when its first input has waited for ``max_wait``
    seconds, or when no more inputs can arrive. Stage n is the audit.
    """

    def __init__(
        self, point: Point, models: Functions | Members, monitor: Monitor, options: CallOptions
    ) -> None:
        self.point = point
        self.models = models
        self.monitor = monitor
        self.options = options
        self.last = len(point.models) - 1
        # Arrays over the numbers of inputs, which are reused: decisions, keys of the callers, and
        # kinds (DRAWN, REPEATED or 0).
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
        self.may_come: Callable[[], bool] = lambda: True  # whether more inputs may arrive

    def numbers_for(self, count: int) -> np.ndarray:
        """Return unused numbers of inputs, int64 [count]."""
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
        """Decide inputs together with those of other callers.

        An error that stops the caller is raised, with the decisions so far as ``error.decided``.
        """
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
        decisions.undecide()  # inputs under way
        self.settle(caller)
        if caller.error is None:
            return decisions
        with suppress(Exception):  # a class may refuse attributes
            caller.error.decided = decisions  # type: ignore[attr-defined]
        raise caller.error

    @property
    def undecided(self) -> int:
        """Return the number of inputs under way."""
        return sum(caller.undecided for caller in self.callers.values())

    def dispatch_due_batches(self) -> None:
        """Dispatch all due batches, and reschedule for the next call that ends or deadline."""
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
        """Remove a finished call, and dispatch due batches."""
        self.calls.discard(call)
        self.dispatch_due_batches()

    def due_stage(self) -> int | None:
        """Return the last stage with a due batch, so that no stage starves while inputs arrive."""
        more = self.may_come()
        found = None
        for stage, queue in enumerate(self.queues):
            if queue.is_ready and (not more or queue.is_due(self.options.max_wait)):
                found = stage
            more = more or bool(queue.batches) or queue.calls > 0
        return found

    async def ask(self, stage: int, batch: Any) -> None:
        """Call the model of a stage on a batch. Its inputs exit, are deferred or fail."""
        started = time.perf_counter()
        finished = None
        try:
            try:
                async with asyncio.timeout(self.options.timeouts[stage]):
                    answer = await self.models.ask(stage, batch)
                finished = time.perf_counter()
                read, fault = self.models.read(stage, batch, answer, self.decisions)
                if fault is not None and self.stops_at(stage):
                    raise fault
            except (Exception, asyncio.CancelledError) as error:
                kind = MALFORMED if finished else failure_of(error)
                self.fail(stage, batch, error, kind, started)
            else:
                self.record(stage, batch, read, started, finished)
        except BaseException as error:
            self.stop(stage, batch, error)
        finally:
            self.queues[stage].calls -= 1

    def stops_at(self, stage: int) -> bool:
        """Whether a failure at a stage ends the wait of its caller. A failed audit does not."""
        return self.options.stops and stage <= self.last

    def stop(self, stage: int, batch: Any, error: BaseException) -> None:
        """Propagate an error to the callers of a batch. Errors of audits are not raised."""
        numbers = batch.rows
        if stage <= self.last:
            for key in set(self.owners[numbers].tolist()):
                self.callers[key].stop(error)
            self.release(numbers)
            numbers = numbers[self.kinds[numbers] == DRAWN]
        self.release(numbers, audited=True)

    def fail(self, stage: int, batch: Any, error: BaseException, kind: int, started: float) -> None:
        """Handle a call that raised or returned a malformed answer.

        The call is repeated for each caller if errors stop callers, else for each input, so that
        other callers or inputs are not affected.
        """
        add_note(error, self.models.names[stage], len(batch))
        numbers = batch.rows
        keys = (self.owners[numbers] if self.stops_at(stage) else numbers).tolist()
        if len(set(keys)) > 1:
            parts = [batch.take(np.flatnonzero(np.equal(keys, one))) for one in dict.fromkeys(keys)]
            self.queues[stage].retried.extendleft(reversed(parts))
            return
        if self.stops_at(stage):
            raise error
        self.record(stage, batch, failed_answer(kind), started, time.perf_counter())

    def record(
        self, stage: int, batch: Any, answer: Answer, started: float, finished: float
    ) -> None:
        """Decide a batch by an answer. Its inputs exit or are deferred, and are counted."""
        seconds = finished - started
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
        spent = (seconds, time.perf_counter() - finished)
        self.monitor.add(stage, self.decisions, rows, left, spent, self.kinds[rows])
        self.release(rows[left])

    def release(self, numbers: np.ndarray, audited: bool = False) -> None:
        """Mark inputs as decided, or as audited."""
        for key, count in Counter(self.owners[numbers].tolist()).items():
            caller = self.callers[key]
            if audited:
                caller.audits -= count
            else:
                caller.undecided -= count
            self.settle(caller)

    def settle(self, caller: Caller) -> None:
        """Answer a caller whose inputs are decided.

        Remove the caller when it has its answer and none of its audits is under way.
        """
        if caller.undecided > 0:
            return
        caller.answer()
        if not caller.audits and caller.is_answered:
            del self.callers[caller.key]
            for name, values in self.blank.arrays.items():
                self.decisions.arrays[name][caller.numbers] = values
            self.free = np.concatenate([self.free, caller.numbers])
