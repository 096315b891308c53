"""Call the models of a service: the functions of a policy, or the members of a cascade."""

import asyncio
import contextvars
import inspect
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..checks import error_context
from ..evaluation.point import Point
from ..methods.thresholds import convert_units, does_exit
from ..policy.calls import Expectation, faults_of, plain_columns, read_answer, validate_calls
from ..policy.decisions import MALFORMED, Answer, find_exits, objects
from .stages import QueuedInput

if TYPE_CHECKING:
    from ..policy.cascade import Batch, Cascade


class Reply(NamedTuple):
    """A model's answer for one input, or its failure as a position in ``FAILURES``."""

    prediction: Any = None
    confidence: float | None = None
    cost: float | None = None
    does_exit: bool = False
    failure: int = 0
    error: BaseException | None = None


class Functions:
    """The functions of a policy's models. Their answers are checked input by input."""

    unknown = None  # the prediction if no model has answered
    input_errors: tuple = ()  # exceptions of a call that mean that its inputs are invalid

    def __init__(self, point: Point, calls: Any, reference: str, expectation: Expectation) -> None:
        self.expectation = expectation
        self.names = [*point.models, reference]
        functions = validate_calls(point, calls)
        self.functions = [*functions, functions[point.models.index(reference)]]
        self.are_async = list(map(inspect.iscoroutinefunction, self.functions))

    def split(self, inputs: Any) -> tuple[Any, list]:
        """Return the kind of a caller's inputs, here None, and the inputs as a list."""
        return None, list(inputs)

    async def call(self, stage: int, sources: list) -> Any:
        """Return the answer of a call, which runs in a new thread unless it is async."""
        function = self.functions[stage]
        if self.are_async[stage]:
            return await function(sources)
        answer = await in_thread(function, sources)
        return await answer if inspect.isawaitable(answer) else answer

    def read(
        self, point: Point, stage: int, items: list[QueuedInput], answer: Any, equal: Callable
    ) -> list[Reply]:
        """Return the checked reply for each input."""
        columns = plain_columns(point, stage, answer, len(items), self.expectation)
        if columns is not None:
            predictions, confidences, costs = columns
            is_last = stage >= len(point.inside)
            threshold = -math.inf if is_last else float(point.inside[stage])
            exits = [bool(does_exit(confidence, threshold)) for confidence in confidences]
            return list(map(Reply, predictions, confidences, costs, exits))
        name = self.names[stage]
        before = None
        if stage and point.fitted:
            before = objects([item.record.prediction for item in items])
        with error_context(f"model {name!r}"):
            read = read_answer(point, stage, answer, len(items), before, self.expectation, equal)
        ids = [item.record.id for item in items]
        return replies_of(point, stage, read, faults_of(point, read, ids, name))


def replies_of(point: Point, stage: int, answer: Answer, errors: Sequence) -> list[Reply]:
    """Return the reply for each input of a checked answer."""
    stage = min(stage, len(point.inside))
    exits = find_exits(point, stage, convert_units(point.metric, answer.confidence))
    costs = np.full(len(exits), None) if answer.costs is None else answer.costs
    columns = (answer.guesses[:, 0], answer.confidence, costs, exits, answer.failures)
    replies = map(Reply, *[column.tolist() for column in columns], errors)
    return [r._replace(prediction=None, confidence=None) if r.failure else r for r in replies]


class Members:
    """The members of a cascade. Their calls run in a thread pool and share the threads of torch.

    The reference may be any model of the zoo. A sample's source is its batch and its row there.
    """

    unknown = -1
    input_errors = (ValueError,)

    def __init__(
        self, cascade: "Cascade", reference: str, sizes: Sequence[int], threads: int
    ) -> None:
        import torch

        from ..policy.members import Member, member_named

        self.torch = torch
        self.cascade = cascade
        self.sizes = sizes
        self.threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(threads)
        self.calls = 0
        named = {member.name: member for member in cascade.members}
        if reference not in named:
            model = member_named(reference, {})
            named[reference] = Member(reference, model.module.eval(), model.transform)
        self.members = [*cascade.members, named[reference]]
        self.names = [member.name for member in self.members]

    def split(self, inputs: Any) -> tuple[Any, list]:
        """Return the kind of a caller's batch, and a source for each sample."""
        batch = self.cascade.batch_of(inputs)
        return batch.kind, [(batch, row) for row in range(len(batch))]

    async def call(self, stage: int, sources: list) -> tuple["Batch", np.ndarray]:
        """Return the samples as one batch, and the logits [N, classes] of a stage's model."""
        parts = [
            batch.take(np.array([row for _, row in group]))
            for batch, group in groupby(sources, key=lambda source: source[0])
        ]
        batch = parts[0].joined(parts[1:]) if len(parts) > 1 else parts[0]
        self.calls += 1
        try:
            loop = asyncio.get_running_loop()
            return batch, await loop.run_in_executor(self.pool, self.logits, stage, batch)
        finally:
            self.calls -= 1

    def logits(self, stage: int, batch: "Batch") -> np.ndarray:
        """Compute the logits in a thread of the pool."""
        # The setting applies to this thread and to new threads until this call ends.
        self.torch.set_num_threads(max(1, self.threads // (self.calls or 1)))
        try:
            with self.torch.inference_mode():
                return batch.logits(self.members[stage], self.sizes[stage])
        finally:
            self.torch.set_num_threads(self.threads)

    def read(
        self, point: Point, stage: int, items: list[QueuedInput], answer: Any, equal: Any
    ) -> list[Reply]:
        """Return the replies of a model. Samples with nan or inf keep the previous output."""
        batch, logits = answer
        for row, item in enumerate(items):
            item.source = (batch, row)
        if stage < len(self.cascade.members):
            read = self.cascade.answer_after(stage, logits, batch, 1)
        else:
            broken = ~np.isfinite(logits).all(axis=1)
            best = logits.argmax(axis=1)
            read = Answer(best[:, None], np.full(len(best), np.nan), broken * MALFORMED)
        return replies_of(point, stage, read, [None] * len(items))


async def in_thread(function: Callable, inputs: list) -> Any:
    """Call a function in a daemon thread, which does not delay the end of the process."""
    done: Future = Future()
    context = contextvars.copy_context()

    def work() -> None:
        answer = error = None
        try:
            answer = context.run(function, inputs)
        except BaseException as raised:
            error = raised
        with suppress(InvalidStateError):  # the caller has given up
            done.set_result((answer, error))

    threading.Thread(target=work, daemon=True).start()
    answer, error = await asyncio.wrap_future(done)
    if error is not None:
        raise error
    return answer
