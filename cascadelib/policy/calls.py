"""The calls of a policy: a function per model, from a list of inputs to its answers. What is read
of an answer, and what is refused. Takes numpy alone."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import eq
from typing import Any

import numpy as np

from ..checks import brief, items_of, reals
from ..evaluation.point import Point
from .decisions import (
    ANY,
    ERROR,
    MALFORMED,
    TIMEOUT,
    UNKNOWN,
    Answer,
    answer_of,
    by_model,
    complaint,
    objects,
)


@dataclass(frozen=True)
class Expectation:
    """The answers that may come.

    Parameters
    ----------
    labels : frozenset or None
        The predictions; None: any.
    bounds : (float, float)
        The least and the largest confidence.
    """

    labels: frozenset | None = None
    bounds: tuple[float, float] = ANY

    @classmethod
    def of(cls, labels: Iterable | None, confidence_range: Sequence[float] | None) -> "Expectation":
        """Check what a caller expects."""
        bounds = ANY
        if confidence_range is not None:
            values = reals(confidence_range, "confidence_range")
            if values.shape != (2,) or not values[0] < values[1]:
                raise ValueError(
                    f"confidence_range must be (least, most), not {brief(confidence_range)}"
                )
            bounds = (float(values[0]), float(values[1]))
        return cls(labels if labels is None else frozenset(labels), bounds)

    def failure_in(self, prediction: Any) -> int:
        """Return what is wrong with a prediction, as a position in ``FAILURES``."""
        if isinstance(prediction, BaseException):
            return failure_of(prediction)
        if prediction is None:
            return MALFORMED
        with suppress(TypeError):  # an unhashable prediction is not a label
            return 0 if self.labels is None or prediction in self.labels else UNKNOWN
        return UNKNOWN


def checked_calls(point: Point, calls: Any) -> list[Callable]:
    """Return one function per model, in their order; raise ValueError if one is missing or the
    cascade has an ensemble."""
    functions = by_model(point.models, calls, "calls")
    for name, call in zip(point.models, functions):
        if not callable(call):
            raise ValueError(
                f"model {name!r}: a function that asks it is needed, not {brief(call)}; the "
                f"policy's models are {list(point.models)}, given is {brief(items_of(calls))}"
            )
    ensemble = "none" if point.method is None else point.method.ensemble
    if ensemble != "none":
        raise ValueError(
            "this policy decides by the outputs of all models so far "
            f"(ensemble={ensemble!r}), which no single model's call knows: run it as a "
            "cascadelib.Cascade, or give decide() the confidences of the combined outputs"
        )
    return functions


def read_answer(
    point: Point,
    stage: int,
    answer: Any,
    count: int,
    before: np.ndarray | None,
    expectation: Expectation,
    equal: Callable[[Any, Any], Any] = eq,
) -> Answer:
    """Check what the call of a stage's model returned for ``count`` inputs, input by input.

    An exception among the predictions is the failure of its input.

    Parameters
    ----------
    point : Point
    stage : int
        If there is no such stage, the answer is that of an audit: without confidences.
    answer : tuple
        (predictions, confidences) or (predictions, confidences, cost).
    count : int
    before : array of objects of shape (count,), optional
        The predictions before this stage.
    expectation : Expectation
    equal : callable, default=operator.eq
        Whether two predictions agree.

    Raises
    ------
    ValueError
        If the answer as a whole is malformed.
    """
    if not (isinstance(answer, tuple | list) and len(answer) in (2, 3)) or answer[0] is None:
        raise ValueError(
            "its call must return (predictions, confidences) or (predictions, confidences, cost), "
            f"not {brief(answer)}"
        )
    predictions, confidences, *costs = answer
    said = objects(predictions)
    if len(said) != count:
        raise ValueError(f"{len(said)} predictions for {count} inputs")
    failures = np.array([expectation.failure_in(prediction) for prediction in said], np.int8)
    if stage < len(point.models):
        bounds = expectation.bounds
        if before is not None and equal is not eq:  # those that agree, written as they are here
            pairs = zip(before, said)
            before = objects([b if b is None or not equal(b, s) else s for b, s in pairs])
        read = answer_of(point, stage, said, confidences, before, failures, bounds)
    else:
        read = Answer(said[:, None], np.full(count, np.nan), failures)
    if costs and costs[0] is not None:
        paid = reals(costs[0], "costs")
        if paid.shape not in ((), (count,)) or not (paid >= 0).all():
            raise ValueError(
                f"costs must be one number, or one for each of {count} inputs, 0 or more"
            )
        read.costs = paid if paid.ndim else np.full(count, paid / count)
    return read


def first_fault(point: Point, read: Answer, ids: Sequence, name: str) -> BaseException | None:
    """Return what is wrong with the first input for which the model ``name`` failed, as an
    exception."""
    for row in np.flatnonzero(read.failures)[:1]:
        said = read.guesses[row, 0]
        if isinstance(said, BaseException):
            return said
        return ValueError(f"model {name!r}: {complaint(point, ids[row], read, row)}")
    return None


def failed_answer(failure: int) -> Answer:
    """Return the answer of a call about one input that failed."""
    return Answer(objects([None])[:, None], np.array([np.nan]), np.array([failure]))


def failure_of(error: BaseException) -> int:
    """Return the failure that an exception is: a timeout by its type or its name, else an error."""
    is_timeout = isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
    return TIMEOUT if is_timeout else ERROR


def add_note(error: BaseException, name: str, inputs: int) -> None:
    """Say in the traceback of an exception in which call it was raised."""
    with suppress(Exception):  # a class may refuse attributes
        error.add_note(f"in the call of model {name!r} for {inputs} inputs")
