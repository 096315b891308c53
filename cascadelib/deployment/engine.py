"""One engine for all that runs: inputs wait at a stage, models are asked about batches of them, and
each is decided, and perhaps audited, when its own answer is there. Takes numpy alone."""

import asyncio
import contextvars
import inspect
import math
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..checks import about, brief, check_count, check_number, items_of, known, reals
from ..evaluation.point import Point
from .decisions import (
    ANY,
    ERROR,
    MALFORMED,
    TIMEOUT,
    UNKNOWN,
    Answer,
    Decisions,
    answer_of,
    by_model,
    complaint,
    nothing,
    objects,
)

LOOP_LOCK = threading.Lock()


class Group:
    """Inputs on their way, by their numbers int64 [N] in a run; alone: a model is asked about them
    without others."""

    alone = False

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Any) -> "Group":
        """Some of the inputs: a slice, or int64 [n]."""
        return Group(self.numbers[rows])

    def joined(self, others: Sequence["Group"]) -> "Group":
        """This group, and others that wait for the same model, as one."""
        return Group(np.concatenate([group.numbers for group in (self, *others)]))


class Engine:
    """One run of a cascade of n models: what waits where, and what was decided.

    A stage's model is asked when ``batch_sizes[stage]`` inputs wait, when the first has waited for
    ``max_wait`` seconds, or when no more can come; at most ``concurrency[stage]`` times at once.
    Stage n is the audit.

    Subclasses say how a model is asked (:meth:`answer`) and what its answer means (:meth:`read`).
    """

    def __init__(
        self,
        point: Point,
        running: Any,
        batch_sizes: Sequence[int],
        concurrency: Sequence[int],
        max_wait: float = math.inf,
        stops: bool = True,
        unknown: Any = None,
    ) -> None:
        self.point = point
        self.running = running
        self.batch_sizes = batch_sizes
        self.concurrency = concurrency
        self.max_wait = max_wait
        self.stops = stops
        self.last = len(point.models) - 1
        self.decisions = nothing(0, point.models, unknown)
        self.unknown = unknown
        self.count = 0
        self.is_open = True  # more inputs may come
        self.over = threading.Event()
        self.stopped: BaseException | None = None
        self.errors: dict[int, BaseException] = {}  # the first of each stage
        self.queues: list[deque[Group]] = [deque() for _ in batch_sizes]
        self.since = [math.inf] * len(batch_sizes)  # when the first that waits came
        self.flying = [0] * len(batch_sizes)  # calls under way
        self.drawn: set[int] = set()  # to be audited
        self.repeats: set[int] = set()  # of which monitoring takes no note

    async def answer(self, stage: int, group: Group) -> Any:
        """What the model of a stage says of a group."""
        raise NotImplementedError

    def read(self, stage: int, group: Group, answer: Any) -> Answer:
        """The same, checked; ValueError where it does not fit."""
        raise NotImplementedError

    def enter(self, count: int, ids: Any = None, inputs: Sequence | None = None) -> np.ndarray:
        """Numbers int64 [count] of further inputs."""
        known_ids, drawn, repeats = self.running.enter(count, ids, inputs)
        first = self.count
        numbers = np.arange(first, first + count)
        self.count += count
        if self.count > len(self.decisions):
            more = nothing(max(count, first), self.point.models, self.unknown)
            self.decisions = self.decisions.joined(more)
        self.decisions.ids[numbers] = known_ids
        self.drawn.update(numbers[drawn].tolist())
        self.repeats.update(numbers[repeats].tolist())
        return numbers

    def push(self, stage: int, group: Group, first: bool = False) -> None:
        """Let a group wait at a stage, or leave at once where that is the last one."""
        if len(group):
            queue = self.queues[stage]
            if not queue:
                self.since[stage] = time.monotonic()
            queue.appendleft(group) if first else queue.append(group)

    def next_part(self) -> tuple[int, Group] | None:
        """A stage and the group to be asked about next, if any is to be asked about now."""
        more = self.is_open
        now = time.monotonic()
        for stage, queue in enumerate(self.queues):
            if queue and self.flying[stage] < self.concurrency[stage] and not self.stopped:
                size = self.batch_sizes[stage]
                is_due = queue[0].alone or not more or now >= self.since[stage] + self.max_wait
                if is_due or sum(map(len, queue)) >= size:
                    self.flying[stage] += 1
                    self.since[stage] = now
                    return stage, self.part_of(stage, size)
            more = more or bool(queue) or self.flying[stage] > 0
        return None

    def part_of(self, stage: int, size: int) -> Group:
        """At most ``size`` inputs from the head of a stage's queue."""
        queue = self.queues[stage]
        group = queue.popleft()
        others = []
        room = size - len(group)
        while queue and room > 0 and not (group.alone or queue[0].alone):
            others.append(queue.popleft())
            room -= len(others[-1])
        if others:
            group = group.joined(others)
        if room < 0:
            queue.appendleft(group.take(slice(size, None)))
            group = group.take(slice(size))
        return group

    def patience(self) -> float | None:
        """Seconds until a stage is due whose inputs wait for others; None: none is."""
        due = [
            since
            for since, queue, flying, most in zip(
                self.since, self.queues, self.flying, self.concurrency
            )
            if queue and flying < most
        ]
        left = min(due, default=math.inf) + self.max_wait - time.monotonic()
        return None if math.isinf(left) else max(0.0, left)

    async def go(self) -> None:
        """Ask until nothing waits, as many calls at once as may be; what stops it is kept."""
        calls: set[asyncio.Task] = set()
        try:
            while not self.stopped:
                while (part := self.next_part()) is not None:
                    calls.add(asyncio.create_task(self.ask(*part)))
                if not calls:
                    break
                first = asyncio.FIRST_COMPLETED
                _, calls = await asyncio.wait(calls, timeout=self.patience(), return_when=first)
        except BaseException as error:
            self.stopped = error
        finally:
            for call in calls:
                call.cancel()
            self.over.set()

    def go_here(self) -> None:
        """Ask in this thread, one call after another, as long as a batch is full or no more inputs
        come; for models whose :meth:`answer` waits for nothing."""
        while (part := self.next_part()) is not None:
            with suppress(StopIteration):
                self.ask(*part).send(None)

    async def ask(self, stage: int, group: Group) -> None:
        """Ask the model of a stage about a group; its inputs leave, move on, or failed."""
        begun = time.perf_counter()
        try:
            try:
                answer = await self.answer(stage, group)
            except (Exception, asyncio.CancelledError) as error:
                if self.over.is_set():  # it is go that cancels
                    return
                self.fail(stage, group, error, failure_of(error), begun)
                return
            ended = time.perf_counter()
            try:
                read = self.read(stage, group, answer)
            except ValueError as error:
                self.fail(stage, group, error, MALFORMED, begun)
                return
            self.note(stage, group, read, begun, ended)
        except BaseException as error:
            if stage <= self.last or not isinstance(error, Exception):
                self.stopped = self.stopped or error
            self.errors.setdefault(stage, error)  # an audit stops nothing
        finally:
            self.flying[stage] -= 1

    def fail(self, stage: int, group: Group, error: BaseException, kind: int, begun: float) -> None:
        """A call raised, or its answer fits no batch: stop, or ask again one by one, so that the
        failure of one input is that input's alone."""
        with suppress(Exception):  # a class may refuse attributes
            error.add_note(f"in the call of model {self.name_of(stage)!r} for {len(group)} inputs")
        is_over = not isinstance(error, Exception | asyncio.CancelledError)
        if is_over or self.stops and stage <= self.last:
            raise error
        self.errors.setdefault(stage, error)
        if len(group) > 1:
            for row in reversed(range(len(group))):
                alone = group.take(slice(row, row + 1))
                alone.alone = True
                self.push(stage, alone, first=True)
            return
        failed = Answer(objects([None]), np.array([np.nan]), np.array([kind]))
        self.note(stage, group, failed, begun, time.perf_counter())

    def name_of(self, stage: int) -> str:
        """The model of a stage; of the audit, the reference."""
        return self.point.models[stage] if stage <= self.last else self.running.reference

    def note(self, stage: int, group: Group, answer: Answer, begun: float, ended: float) -> None:
        """Decide a group by an answer: the one place where inputs leave, move on and are counted."""
        seconds = ended - begun
        if stage > self.last:
            ids = self.decisions.ids[group.numbers]
            self.running.resolve(ids, answer, seconds)
            return
        rows = group.numbers
        decisions = self.decisions
        decisions.seconds[rows, stage] = seconds
        left = decisions.write(self.point, stage, rows, answer)
        going = ~left & (answer.failures == 0)
        broken = ~left & (answer.failures > 0)
        self.push(self.after_failure(stage), group.take(np.flatnonzero(broken)))
        self.push(stage + 1, group.take(np.flatnonzero(going)))
        audited = among(rows, self.drawn) & left
        self.push(self.last + 1, group.take(np.flatnonzero(audited)))
        spent = seconds, time.perf_counter() - ended
        self.running.add(stage, decisions.take(rows), spent, among(rows, self.repeats), audited)

    def after_failure(self, stage: int) -> int:
        """Where inputs go for which the model of a stage failed."""
        return stage + 1

    def decided(self) -> Decisions:
        """What was decided so far; what is under way is undecided."""
        decisions = self.decisions.take(np.arange(self.count))
        decisions.undecide()
        return replace(decisions, guesses=decisions.predictions[:, None])

    def result(self) -> Decisions:
        """What was decided; raises what stopped the run, with it as ``error.decided``."""
        decisions = self.decided()
        if self.stopped is not None:
            with suppress(Exception):  # a class may refuse attributes: the error itself goes on
                self.stopped.decided = decisions  # type: ignore[attr-defined]
            raise self.stopped
        return decisions


def among(rows: np.ndarray, some: set[int]) -> np.ndarray:
    """Which of ``rows`` int64 [s] are among ``some``, bool [s]."""
    if not some:
        return np.zeros(len(rows), bool)
    return np.array([row in some for row in rows.tolist()], bool)


class Asking(Engine):
    """One run of a policy: models are functions of lists of inputs; the last is the reference."""

    def __init__(
        self,
        point: Point,
        running: Any,
        calls: Any,
        inputs: Iterable,
        ids: Sequence | None,
        batch_size: Any,
        concurrency: Any,
        max_wait: float,
        timeout: Any,
        on_error: str,
        labels: Iterable | None,
        confidence_range: Sequence[float] | None,
    ) -> None:
        names = point.models
        functions = checked_calls(point, calls)
        reference = names.index(known(running.reference, names, "model of this policy"))

        def per_stage(values: Any, what: str, check: Callable) -> list:
            """One value per model, and that of the reference once more."""
            if values is not None and not isinstance(values, Sequence | Mapping):
                values = [values] * len(names)
            each = [check(value, what) for value in by_model(names, values, what)]
            return [*each, each[reference]]

        if isinstance(inputs, str | bytes | Mapping) or hasattr(inputs, "columns"):
            raise ValueError(f"a list of inputs is needed, not {brief(inputs)}")
        stops = known(on_error, ["stop", "next"], "on_error") == "stop"
        sizes = per_stage(batch_size, "batch_size", check_count)
        most = per_stage(concurrency, "concurrency", check_count)
        max_wait = check_number(max_wait, "max_wait", "seconds, 0 or more", 0)
        super().__init__(point, running, sizes, most, max_wait, stops)
        self.calls = [*functions, functions[reference]]
        self.timeouts = per_stage(timeout, "timeout", check_timeout)
        self.labels = labels if labels is None else frozenset(labels)
        self.bounds = checked_bounds(confidence_range)
        self.inputs = list(inputs)
        self.push(0, Group(self.enter(len(self.inputs), ids, self.inputs)))
        self.is_open = False

    async def answer(self, stage: int, group: Group) -> Any:
        """What a call returns, in a thread of its own unless it is async."""
        call = self.calls[stage]
        inputs = [self.inputs[row] for row in group.numbers.tolist()]
        async with asyncio.timeout(self.timeouts[stage]):
            if inspect.iscoroutinefunction(call):
                return await call(inputs)
            answer = await in_thread(call, inputs)
            return await answer if inspect.isawaitable(answer) else answer

    def read(self, stage: int, group: Group, answer: Any) -> Answer:
        """What a call returned, checked input by input; an exception among the predictions is the
        failure of its input."""
        name = self.name_of(stage)
        predictions, confidences, costs = answer_in(answer, name)
        with about(f"model {name!r}"):
            said = objects(predictions)
            failures = np.array([self.kind_in(prediction) for prediction in said], np.int8)
            if stage <= self.last:
                before = self.decisions.predictions[group.numbers] if stage else None
                before = self.running.alike(before, said)
                failures = np.resize(failures, len(group))
                read = answer_of(
                    self.point, stage, said, confidences, before, failures, self.bounds
                )
            elif len(said) == len(group):
                read = Answer(said, np.full(len(said), np.nan), failures)
            else:
                raise ValueError(f"{len(said)} predictions for {len(group)} inputs")
            read.costs = costs_in(costs, len(group))
            self.complain(stage, group, read)
        return read

    def kind_in(self, prediction: Any) -> int:
        """What is wrong with one prediction, as a place in FAILURES."""
        if isinstance(prediction, BaseException):
            return failure_of(prediction)
        if prediction is None:
            return MALFORMED
        if self.labels is None:
            return 0
        try:
            return 0 if prediction in self.labels else UNKNOWN
        except TypeError:  # no label is unhashable
            return UNKNOWN

    def complain(self, stage: int, group: Group, read: Answer) -> None:
        """Keep what is wrong with the first input that failed, or raise it where errors stop."""
        for row in np.flatnonzero(read.failures)[:1]:
            said = read.predictions[row]
            error = said
            if not isinstance(said, BaseException):
                name = self.decisions.ids[group.numbers[row]]
                error = ValueError(complaint(name, said, read.failures[row]))
            if self.stops and stage <= self.last:
                raise error
            self.errors.setdefault(stage, error)

    def result(self) -> Decisions:
        """What was decided, with a warning for each model that failed."""
        decisions = super().result()
        for stage, failure in sorted(self.errors.items()):
            name = repr(self.name_of(stage))
            what = f"the reference {name} failed: inputs stay in doubt"
            if stage <= self.last:
                what = (
                    f"{name} failed for {decisions.broken[stage]} inputs: they went on to the next"
                )
                what += " model, or kept their answer"
            text = f"{what} ({type(failure).__name__}: {failure})"
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        return decisions


def failure_of(error: BaseException) -> int:
    """The failure that an exception is: a timeout by its type or the name of that, else an error."""
    is_timeout = isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
    return TIMEOUT if is_timeout else ERROR


def check_timeout(value: Any, what: str) -> float | None:
    """Seconds, more than 0; None: no end."""
    return value if value is None else check_number(value, what, "seconds, or None", 1e-9)


def checked_bounds(bounds: Sequence[float] | None) -> tuple[float, float]:
    """(least, most) that a confidence may be."""
    if bounds is None:
        return ANY
    values = reals(bounds, "confidence_range")
    if values.shape != (2,) or not values[0] < values[1]:
        raise ValueError(f"confidence_range must be (least, most), not {brief(bounds)}")
    return float(values[0]), float(values[1])


def answer_in(answer: Any, name: str) -> tuple[Any, Any, Any]:
    """(predictions, confidences, cost) that the call of the model ``name`` returned; the cost is
    None where it says nothing of it. Else ValueError."""
    is_answer = isinstance(answer, tuple | list) and len(answer) in (2, 3)
    if not is_answer or answer[0] is None:
        what = f"model {name!r}: its call"
        raise ValueError(
            f"{what} must return (predictions, confidences) or (predictions, confidences, cost), "
            f"not {brief(answer)}"
        )
    predictions, confidences, *cost = answer
    return predictions, confidences, cost[0] if cost else None


def costs_in(cost: Any, inputs: int) -> Any:
    """Cost of each input, from one each, or from one for all of them."""
    if cost is None:
        return np.nan
    costs = reals(cost, "costs")
    if costs.shape not in ((), (inputs,)) or not (costs >= 0).all():
        raise ValueError(f"costs must be one number, or one for each of {inputs} inputs, 0 or more")
    return costs if costs.ndim else np.full(inputs, costs / inputs)


def checked_calls(point: Point, calls: Any) -> list[Callable]:
    """One function per model, in their order. ValueError where one is missing or none can do."""
    functions = by_model(point.models, calls, "calls")
    for name, call in zip(point.models, functions):
        if not callable(call):
            raise ValueError(
                f"model {name!r}: a function that asks it is needed, not {brief(call)}; the policy's "
                f"models are {list(point.models)}, given is {brief(items_of(calls))}"
            )
    ensemble = "none" if point.method is None else point.method.ensemble
    if ensemble != "none":
        raise ValueError(
            "this policy decides by the outputs of all models so far "
            f"(ensemble={ensemble!r}), which no single model's call knows: run it as a "
            "cascadelib.Cascade, or give decide() the confidences of the combined outputs"
        )
    return functions


async def in_thread(function: Callable, inputs: list) -> Any:
    """What a function returns, asked in a thread that nothing waits for at the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(outcome: tuple) -> None:
        if not done.done():
            done.set_result(outcome)

    def work() -> None:
        try:
            outcome: tuple = context.run(function, inputs), None
        except BaseException as error:
            outcome = None, error
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=work, daemon=True).start()
    answer, error = await done
    if error is not None:
        raise error
    return answer


@lru_cache(1)
def loop_of(process: int) -> asyncio.AbstractEventLoop:
    """A loop that runs in a thread for as long as the process does; a fork needs one of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name=f"cascadelib-{process}").start()
    return loop


def from_synchronous(coroutine: Coroutine) -> Any:
    """What a coroutine returns or raises, on one loop of all callers, so that clients may outlive a
    run. An interrupt of this thread cancels it, and has what was decided until then."""
    outcome: list = []
    over = threading.Event()

    async def noted() -> None:
        try:
            outcome.append((await coroutine, None))
        except BaseException as error:  # even an interrupt: the loop lives on
            outcome.append((None, error))
        finally:
            over.set()

    with LOOP_LOCK:
        loop = loop_of(os.getpid())
    if asyncio._get_running_loop() is loop:
        coroutine.close()
        raise ValueError("an async call that asks a policy in turn must await its arun")
    future = asyncio.run_coroutine_threadsafe(noted(), loop)
    try:
        future.result()
    except BaseException as interrupt:
        future.cancel()
        over.wait(1)
        for _, error in outcome:
            interrupt.decided = getattr(error, "decided", None)  # type: ignore[attr-defined]
        raise
    (value, error) = outcome[0]
    if error is not None:
        raise error
    return value
