"""Check the calls of a policy, one function per model, and the answers that they return.

This module needs only NumPy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import brief, error_context, items_of
from ..evaluation.point import Point
from ..labels import as_real_array
from .decisions import (
    ERROR,
    MALFORMED,
    TIMEOUT,
    UNBOUNDED,
    UNKNOWN,
    Answer,
    align_by_model,
    check_answer,
    describe_failure,
    objects,
)


class Expectation:
    """Hold the answers that are valid.

    Parameters
    ----------
    labels : iterable or None
        The valid predictions. None means that all are valid.
    confidence_range : (float, float) or None
        The least and the largest valid confidence. None means that all are valid.

    Raises
    ------
    ValueError
        If a bound is invalid.
    """

    def __init__(self, labels: Iterable | None, confidence_range: Sequence[float] | None) -> None:
        self.bounds = UNBOUNDED
        if confidence_range is not None:
            values = as_real_array(confidence_range, "confidence_range")
            if values.shape != (2,) or not values[0] < values[1]:
                raise ValueError(
                    f"confidence_range must be (least, most), not {brief(confidence_range)}"
                )
            self.bounds = (float(values[0]), float(values[1]))
        self.labels = None if labels is None else frozenset(labels)

    def failure_in(self, prediction: Any) -> int:
        """Return the failure of a prediction as a position in ``FAILURES``, 0 if there is none."""
        if isinstance(prediction, BaseException):
            return failure_of(prediction)
        if prediction is None:
            return MALFORMED
        try:
            return 0 if self.labels is None or prediction in self.labels else UNKNOWN
        except TypeError:  # an unhashable prediction is not a label
            return UNKNOWN


def validate_calls(point: Point, calls: Any) -> list[Callable]:
    """Return one function per model, in their order.

    Raises ValueError if a function is missing, or the cascade has an ensemble.
    """
    functions = align_by_model(point.models, calls, "calls")
    for name, call in zip(point.models, functions):
        if not callable(call):
            raise ValueError(
                f"model {name!r}: a function that calls it is needed, not {brief(call)}. The "
                f"policy's models are {list(point.models)}. The calls are {brief(items_of(calls))}"
            )
    ensemble = "none" if point.method is None else point.method.ensemble
    if ensemble != "none":
        raise ValueError(
            "this policy decides by the combined outputs of the models so far "
            f"(ensemble={ensemble!r}), and a call returns those of one model. Run it as a "
            "cascadelib.Cascade, or pass the confidences of the combined outputs to decide()"
        )
    return functions


def list_inputs(inputs: Iterable) -> list:
    """Return inputs as a list, or raise ValueError for a text, a mapping or a frame."""
    if isinstance(inputs, str | bytes | Mapping) or hasattr(inputs, "columns"):
        raise ValueError(f"a list of inputs is needed, not {brief(inputs)}")
    return list(inputs)


def call_model(
    point: Point,
    stage: int,
    call: Callable,
    inputs: list,
    ids: np.ndarray,
    expectation: Expectation,
) -> tuple[Answer, BaseException | None]:
    """Call the model of a stage once, and check its answer to each input.

    The parameters are those of :func:`read_answer`, with the function ``call`` and the ``ids`` of
    the inputs. The second result is an exception for the first input for which the model failed.
    """
    count = len(inputs)
    failure = 0
    try:
        answer = call(inputs)
        failure = MALFORMED
        with error_context(f"model {point.models[stage]!r}"):
            read = read_answer(point, stage, answer, count, expectation)
    except Exception as error:
        failures = np.full(count, failure or failure_of(error), np.int8)
        return Answer(objects([None] * count), np.full(count, np.nan), failures), error
    return read, first_fault(point, stage, read, ids)


def read_answer(
    point: Point,
    stage: int,
    answer: Any,
    count: int,
    expectation: Expectation,
) -> Answer:
    """Check what the call of a stage's model returned for ``count`` inputs, input by input.

    An exception among the predictions is the failure of its input.

    Parameters
    ----------
    point : Point
    stage : int
        Position of the model, 0 = first.
    answer : tuple
        (predictions, confidences) or (predictions, confidences, cost).
    count : int
    expectation : Expectation

    Raises
    ------
    ValueError
        If the answer as a whole is malformed.
    """
    if not (isinstance(answer, tuple | list) and len(answer) in (2, 3)) or answer[0] is None:
        raise ValueError(
            "its call must return (predictions, confidences) or (predictions, confidences, cost), "
            f"and must not be async. It returned {brief(answer)}"
        )
    predictions, confidences, *costs = answer
    if any(hasattr(values, "keys") for values in answer):  # a dict or a Series
        raise ValueError(
            "the answers have keys, but a call returns one value per input, in the order of the "
            "inputs: sort them so, and return a list or .to_numpy()"
        )
    predictions = objects(predictions)
    if len(predictions) != count:
        raise ValueError(f"{len(predictions)} predictions for {count} inputs")
    failures = np.array([expectation.failure_in(each) for each in predictions], np.int8)
    read = check_answer(point, stage, predictions, confidences, failures, expectation.bounds)
    if costs and costs[0] is not None:
        read.costs = cost_per_input(costs[0], count)
    return read


def cost_per_input(costs: Any, count: int) -> np.ndarray:
    """Return the cost of each input, from one number per input or one for the whole call."""
    paid = as_real_array(costs, "costs")
    if paid.shape not in ((), (count,)) or not (paid >= 0).all():
        raise ValueError(f"costs must be one number, or one for each of {count} inputs, 0 or more")
    return paid if paid.ndim else np.full(count, paid / count)


def first_fault(point: Point, stage: int, answer: Answer, ids: np.ndarray) -> BaseException | None:
    """Return an exception for the first input for which the model of a stage failed."""
    for row in np.flatnonzero(answer.failures)[:1]:
        fault = answer.predictions[row]
        if isinstance(fault, BaseException):
            return fault
        reason = describe_failure(point, ids[row], answer, row)
        return ValueError(f"model {point.models[stage]!r}: {reason}")
    return None


def failure_of(error: BaseException) -> int:
    """Return TIMEOUT if the type or name of an exception is that of a timeout, else ERROR."""
    is_timeout = isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
    return TIMEOUT if is_timeout else ERROR
