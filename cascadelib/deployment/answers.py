"""The answers of models, given or asked for by functions, and who leaves where: numpy alone."""

import asyncio
import inspect
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from ..checks import about, brief, check_count, items_of, known, reals
from ..evaluation.point import Point
from ..methods.thresholds import leaves, own_units
from .decisions import Decisions, nothing


def exits_after(point: Point, stage: int, confidence: np.ndarray) -> np.ndarray:
    """Which samples leave after a stage (0 = first model) of a cascade, bool [N]: all after the last
    one. confidence: float64 [N], higher = more confident; nan passes on."""
    stage = check_count(stage, "stage", 0, len(point.inside))
    if stage == len(point.inside):
        return np.ones(confidence.shape, bool)
    return leaves(confidence, point.inside[stage])


def write_answer(
    point: Point,
    decisions: Decisions,
    stage: int,
    rows: np.ndarray,
    predictions: Any,
    confidences: Any,
) -> None:
    """Write what a model says of the samples ``rows`` int64 [s], as :meth:`Policy.decide` takes it,
    into ``decisions``, and who leaves. ValueError naming the model where it does not fit."""
    before = decisions.predictions[rows] if stage else None
    with about(f"model {point.models[stage]!r}"):
        said = objects([None] * len(rows) if predictions is None else predictions)
        values = checked_confidences(point, stage, rows, len(said), confidences)
        absent = np.atleast_2d((values != values).T).any(axis=0)  # nan
        if point.fitted and confidences is not None:
            if any(prediction is None for prediction in said):
                raise ValueError("predictions are needed, since its confidence is fitted")
            values = point.fitted[stage](values, said, before)
        confidence = np.where(absent, lowest(point), values)
        decisions.predictions[rows] = said
        decisions.confidence[rows] = confidence
        decisions.confidences[rows, stage] = confidence
        decisions.exit_stage[
            rows[exits_after(point, stage, own_units(point.metric, confidence))]
        ] = stage


def columns_read(point: Point, stage: int, confidences: Any) -> np.ndarray:
    """Confidences as float64 [s] or [s, c]; of objects where a fitted confidence also reads
    text."""
    if point.fitted and point.fitted[stage].categories:
        return np.atleast_1d(np.asarray(confidences, object))
    return np.atleast_1d(reals(confidences, "confidences"))


def lowest(point: Point) -> np.ndarray:
    """The confidence at which nobody leaves, in the metric's own units: float64 [1]."""
    return own_units(point.metric, np.array([-np.inf]))


def checked_confidences(
    point: Point, stage: int, rows: np.ndarray, predictions: int, confidences: Any
) -> np.ndarray:
    """Confidences of the samples ``rows`` int64 [s]: float64 [s] or [s, c], nan where None.
    ValueError unless there are as many as predictions and rows, and each that decides is there."""
    if confidences is None:
        values = np.full(len(rows), np.nan)
    else:
        values = columns_read(point, stage, confidences)
    if not predictions == len(values) == len(rows) or values.ndim > 1 and not point.fitted:
        raise ValueError(
            f"{predictions} predictions and confidences of shape {list(values.shape)} "
            f"for {len(rows)} samples; one of each per sample is needed"
        )
    absent = np.atleast_2d((values != values).T).any(axis=0)
    if absent.any() and not exits_after(point, stage, np.array([-np.inf]))[0]:
        raise ValueError(
            f"sample {rows[absent.argmax()]} has no confidence (nan); give −inf to pass it on"
        )
    return values


def objects(values: Any) -> np.ndarray:
    """What ``values`` holds, one by one, as an array of objects [N]."""
    values = items_of(values.tolist() if hasattr(values, "tolist") else values)
    return np.fromiter(values, object, len(values))


def by_model(point: Point, values: Any, what: str) -> list:
    """One value per model, in their order, from a list or {name: value}; None where one is missing:
    the last one, or all."""
    names = point.models
    if isinstance(values, Mapping):
        if not any(name in values for name in names):
            known(next(iter(values), ""), names, "model of this policy")
        return [values.get(name) for name in names]  # values for other models may stand there, too
    values = [None] * len(names) if values is None else items_of(values)
    if not len(names) - 1 <= len(values) <= len(names):
        raise ValueError(
            f"{what} of {len(names)} models are needed ({', '.join(names)}), not of {len(values)}"
        )
    return values + [None] * (len(names) - len(values))


class Asking:
    """One run of a policy: calls, inputs, and what the models have said so far, of all threads."""

    def __init__(
        self, point: Point, calls: Sequence[Callable], inputs: Sequence, stops: bool
    ) -> None:
        self.point = point
        self.calls = calls
        self.inputs = inputs
        self.stops = stops
        self.decisions = nothing(len(inputs), len(calls))
        self.seconds = np.zeros((len(calls), 2))  # in the model, and in the exit decision
        self.stopped: list[BaseException] = []
        self.failures: dict[int, BaseException] = {}
        self.lock = threading.Lock()
        self.loop = asyncio.new_event_loop()  # of all calls that are async
        self.looping = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.looping.start()

    def ask(self, stage: int, rows: np.ndarray) -> None:
        """Ask a stage's model about the samples ``rows`` int64 [s], and note its answer."""
        if self.stopped:
            return
        begun = time.perf_counter()
        try:
            answer = self.calls[stage]([self.inputs[row] for row in rows])
            if inspect.iscoroutine(answer):
                answer = asyncio.run_coroutine_threadsafe(answer, self.loop).result()
        except BaseException as error:
            self.note_failure(stage, len(rows), error)
            return
        ended = time.perf_counter()
        with self.lock:
            try:
                name = self.point.models[stage]
                predictions, confidences = answer_in(answer, name)
                write_answer(self.point, self.decisions, stage, rows, predictions, confidences)
            except ValueError as error:
                self.stopped.append(error)
            self.seconds[stage] += ended - begun, time.perf_counter() - ended

    def note_failure(self, stage: int, inputs: int, error: BaseException) -> None:
        """A call raised: count its inputs, and stop where that is asked for, or on an interrupt."""
        error.add_note(f"in the call of model {self.point.models[stage]!r} for {inputs} inputs")
        with self.lock:
            self.decisions.broken[stage] += inputs
            self.failures.setdefault(stage, error)
        if self.stops or not isinstance(error, Exception):
            self.stopped.append(error)

    def ask_all(self, batch_size: int, concurrency: int) -> None:
        """Ask each model about the samples that are undecided by then; raises what stopped it."""
        exit_stage = self.decisions.exit_stage
        with ThreadPoolExecutor(concurrency) as pool:
            for stage in range(len(self.calls)):
                waiting = np.flatnonzero(exit_stage < 0)
                starts = range(0, len(waiting), batch_size)
                parts = [waiting[start : start + batch_size] for start in starts]
                list(pool.map(self.ask, [stage] * len(parts), parts))
                if self.stopped:
                    raise self.stopped[0]
        exit_stage[exit_stage < 0] = len(self.calls) - 1  # where the last model failed

    def close(self) -> None:
        """End the event loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.looping.join()
        self.loop.close()


def answer_in(answer: Any, name: str) -> tuple[Any, Any]:
    """(predictions, confidences) that the call of the model ``name`` returned; else ValueError."""
    pair = isinstance(answer, tuple | list) and len(answer) == 2
    if not pair or answer[0] is None:
        what = f"model {name!r}: its call"
        raise ValueError(f"{what} must return (predictions, confidences), not {brief(answer)}")
    predictions, confidences = answer
    return predictions, confidences


def checked_calls(point: Point, calls: Any) -> list[Callable]:
    """One function per model, in their order. ValueError where one is missing or none can do."""
    functions = by_model(point, calls, "calls")
    for name, call in zip(point.models, functions):
        if not callable(call):
            raise ValueError(
                f"model {name!r}: a function that asks it is needed, not {brief(call)}"
            )
    ensemble = "none" if point.method is None else point.method.ensemble
    if ensemble != "none":
        raise ValueError(
            "this policy decides by the outputs of all models so far "
            f"(ensemble={ensemble!r}), which no single model's call knows: run it as a "
            "cascadelib.Cascade, or give decide() the confidences of the combined outputs"
        )
    return functions


def ask_models(
    point: Point,
    calls: Any,
    inputs: Iterable,
    batch_size: int,
    concurrency: int,
    on_error: str,
    running: Any = None,
) -> Decisions:
    """:class:`Decisions` by functions that ask the models, see :meth:`Policy.run`; running: the
    :class:`Running` that counts them, None: nobody does."""
    functions = checked_calls(point, calls)
    if isinstance(inputs, str | bytes | Mapping) or hasattr(inputs, "columns"):
        raise ValueError(f"a list of inputs is needed, not {brief(inputs)}")
    listed = list(inputs)
    stops = known(on_error, ["stop", "next"], "on_error") == "stop"
    batch_size = check_count(batch_size, "batch_size")
    concurrency = check_count(concurrency, "concurrency")
    asking = Asking(point, functions, listed, stops)
    decisions = asking.decisions
    audit = None
    try:
        asking.ask_all(batch_size, concurrency)
        rows = np.empty(0, np.int64) if running is None else running.drawn(len(listed))
        if len(rows):
            alone = only_model(point, running.reference)
            call = functions[point.models.index(running.reference)]
            begun = time.perf_counter()
            answers = ask_models(
                alone, [call], [listed[row] for row in rows], batch_size, concurrency, on_error
            ).predictions
            # where the reference failed, nothing is known
            kept = np.array([answer is not None for answer in answers])
            audit = rows[kept], answers[kept], time.perf_counter() - begun
    except BaseException as error:
        decisions.predictions[decisions.exit_stage < 0] = None
        with suppress(Exception):  # a class may refuse attributes: the error itself goes on
            error.decided = decisions  # type: ignore[attr-defined]
        raise
    finally:
        asking.close()
        if running is not None:
            running.add(decisions, asking.seconds, audit)
    for stage, failure in asking.failures.items():
        warnings.warn(
            f"{point.models[stage]!r} failed for {decisions.broken[stage]} inputs: they went on "
            f"to the next model, or kept their answer ({type(failure).__name__}: {failure})",
            RuntimeWarning,
            stacklevel=3,
        )
    return decisions


def only_model(point: Point, name: str) -> Point:
    """One model of a cascade by itself, as an audit asks it."""
    known(name, point.models, "model of this policy")
    return Point((name,), (), score=point.score, cost_kind=point.cost_kind)
