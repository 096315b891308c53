"""Hold the decisions of a cascade: predictions, exit stages and failures of samples.

This module needs only NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import brief, check_count, items_of, validate_choice
from ..evaluation.point import Point
from ..labels import align_values, as_real_array
from ..methods.confidence_metrics import metric_of
from ..methods.confidence_range import impossible, median_outside
from ..methods.thresholds import convert_units, does_exit
from ..scoring import most_given as most_given

FAILURES = ("none", "timeout", "error", "malformed", "unknown label")
"""Kinds of failures of a model, by the numbers that :meth:`Policy.step` returns."""
TIMEOUT, ERROR, MALFORMED, UNKNOWN = range(1, 5)
UNBOUNDED = (-np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class Decisions:
    """The decisions of a cascade of n models for N samples.

    Parameters
    ----------
    guesses : array [N, g]
        The g best classes, best first. ``predictions`` [N] are the first. A :class:`Cascade`
        returns int64, with −1 if no model had a finite output. A :class:`Policy` returns the
        predictions that it received: int arrays as int64, with −1 for a missing prediction, and all
        others as objects, with None.
    exit_stage : int64 [N]
        Stage at which each sample exits, 0 = first model, as in a :class:`Run`. It is −1 if an
        error came before the decision.
    confidence : float64 [N]
        Confidence of the prediction, in the metric's native units.
    confidences : float64 [N, n]
        Confidence at each stage, nan if a sample did not reach it or the model failed.
    failures : int8 [N, n]
        Failure of each sample at each stage, as a position in ``FAILURES``: none, timeout, error,
        malformed (also nan or infinite logits), unknown label.
    answered : int64 [N]
        Stage whose model gave the prediction. It is the exit stage, unless that model failed. It
        is −1 if no model answered.
    answers : array [N, n]
        Prediction of the cascade after each stage, of the type of the predictions. None or −1 if a
        sample did not reach it or the model failed.
    costs : float64 [N, n]
        Cost of the answers, nan if a call did not return it.
    ids : array [N]
        The caller's ids. By default, the positions of the inputs.
    models : tuple of str
        Names of the models.

    See Also
    --------
    Policy.decide : Decide samples.

    Examples
    --------
    >>> import cascadelib as cl
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
    >>> decisions = policy.decide([[0.9, 0.1]], [["yes", "no"], ["yes", "yes"]])
    >>> decisions
    <Decisions: 2 samples; samples that exited at each stage: [1, 1]>
    >>> decisions.predictions.tolist(), decisions.model.tolist()
    (['yes', 'yes'], ['small', 'large'])
    """

    guesses: np.ndarray
    exit_stage: np.ndarray
    confidence: np.ndarray
    confidences: np.ndarray
    failures: np.ndarray
    answered: np.ndarray = None  # type: ignore[assignment]
    answers: np.ndarray = None  # type: ignore[assignment]
    costs: np.ndarray = None  # type: ignore[assignment]
    ids: np.ndarray = None  # type: ignore[assignment]
    models: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.guesses)

    def __repr__(self) -> str:
        stages = range(self.confidences.shape[1])
        exits = [int(np.count_nonzero(self.exit_stage == stage)) for stage in stages]
        return f"<Decisions: {len(self)} samples; samples that exited at each stage: {exits}>"

    @property
    def predictions(self) -> np.ndarray:
        """Return the best of the ``guesses`` of each sample, [N]."""
        return self.guesses[:, 0]

    @property
    def arrays(self) -> dict[str, Any]:
        """Return all arrays by name."""
        return {name: values for name, values in vars(self).items() if name != "models"}

    @property
    def failure_counts(self) -> np.ndarray:
        """Return the number of samples for which each model failed, int64 [n]."""
        return np.count_nonzero(self.failures, axis=0)

    @property
    def model(self) -> np.ndarray:
        """Return the name of the model that gave each prediction, [N], or None."""
        return np.array([*self.models, None], object)[self.answered]

    @property
    def status(self) -> np.ndarray:
        """Return the last failure of each sample, [N]: one of ``FAILURES``, or "undecided"."""
        last = self.failures.shape[1] - 1 - np.argmax(self.failures[:, ::-1] > 0, axis=1)
        kinds = np.array(FAILURES, object)[self.failures[np.arange(len(self)), last]]
        return np.where(self.exit_stage < 0, "undecided", kinds)

    def take(self, rows: Any) -> "Decisions":
        """Return the decisions of some samples, by a slice, int64 [s] or bool [N]."""
        return replace(self, **{name: values[rows] for name, values in self.arrays.items()})

    def joined(self, *others: "Decisions") -> "Decisions":
        """Return these decisions, followed by others."""
        arrays: dict[str, Any] = {}
        for name in self.arrays:
            arrays[name] = np.concatenate([getattr(each, name) for each in (self, *others)])
        return replace(self, **arrays)

    def write(self, point: Point, stage: int, rows: np.ndarray, answer: "Answer") -> np.ndarray:
        """Write a model's answer for the undecided samples ``rows`` (int64 [s], or a slice).

        Return which of them exit, bool [s]. After the last stage, all exit.
        """
        exits = exits_of(point, stage, answer)
        answered_rows = rows
        is_valid = slice(None)
        if answer.failures.any():
            is_valid = answer.failures == 0
            answered_rows = rows[is_valid]
            self.failures[rows, stage] = answer.failures
        if answer.costs is not None:
            self.costs[rows, stage] = answer.costs
        self.guesses[answered_rows] = answer.guesses[is_valid]
        self.confidence[answered_rows] = answer.confidence[is_valid]
        self.confidences[answered_rows, stage] = answer.confidence[is_valid]
        self.answered[answered_rows] = stage
        self.answers[answered_rows, stage] = answer.guesses[is_valid, 0]
        self.exit_stage[rows] = exits * (stage + 1) - 1  # stage, or −1
        return exits

    def undecide(self) -> None:
        """Remove the predictions of samples that have not exited."""
        is_undecided = self.exit_stage < 0
        self.guesses[is_undecided] = None if self.guesses.dtype == object else -1
        self.confidence[is_undecided] = np.nan
        self.answered[is_undecided] = -1


@dataclass(eq=False)
class Answer:
    """A model's answer for s samples.

    It has guesses [s, g], best first, confidence float64 [s] in the metric's native units,
    failures int8 [s], and costs float64 [s] or None. ``fault`` describes a malformed answer.
    """

    guesses: np.ndarray
    confidence: np.ndarray
    failures: np.ndarray
    costs: np.ndarray | None = None
    fault: str = ""


def empty_decisions(
    samples: int, models: Sequence[str], unknown: Any = None, guesses: int = 1
) -> Decisions:
    """Return :class:`Decisions` of samples that no model has seen, with predictions ``unknown``.

    Costs and ids are read-only. ``take`` returns a copy in which they are writable.
    """
    shape = len(models), samples  # the values of a stage are contiguous
    return Decisions(
        np.full((samples, guesses), unknown),
        exit_stage=np.full(samples, -1),
        confidence=np.full(samples, np.nan),
        confidences=np.full(shape, np.nan).T,
        failures=np.zeros(shape, np.int8).T,
        answered=np.full(samples, -1),
        answers=np.full(shape, unknown).T,
        costs=np.broadcast_to(np.nan, (samples, len(models))),
        ids=np.broadcast_to(np.array(None), samples),
        models=tuple(models),
    )


def align_inputs(point: Point, confidences: Any, predictions: Any) -> tuple[list, list]:
    """Return the confidences and the predictions of each model, or None if it has none.

    All samples are in the order of the first pandas index.
    """
    columns = align_by_model(point.models, confidences, "confidences")
    answers = align_by_model(point.models, predictions, "predictions")
    both = (*columns, *answers)
    order = next((values.axes[0] for values in both if hasattr(values, "axes")), None)
    for stage, values in enumerate(columns):
        values = align_values(values, "confidences", order)
        columns[stage] = None if values is None else read_confidences(values)
    return columns, [align_values(values, "predictions", order) for values in answers]


def is_int_array(values: Any) -> bool:
    """Return whether values are an int array of one axis."""
    return isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind == "i"


def refuse_failures(point: Point, ids: np.ndarray, answer: Answer) -> None:
    """Raise ValueError for the first sample for which a model failed."""
    for row in np.flatnonzero(answer.failures)[:1]:
        raise ValueError(describe_failure(point, ids[row], answer, row))


def validate_ids(ids: Sequence | None, count: int) -> np.ndarray:
    """Return the ids of ``count`` inputs, texts or whole numbers, by default their positions."""
    names = np.arange(count) if ids is None else objects(ids)
    if len(names) != count or not all(isinstance(name, str | int) for name in ids or ()):
        raise ValueError(f"{count} ids are needed, texts or whole numbers, not {brief(ids)}")
    return names


def find_exits(point: Point, stage: int, confidence: np.ndarray) -> np.ndarray:
    """Return which samples exit after a stage (0 = first model), bool [N].

    After the last stage, all exit. confidence is float64 [N], higher = more confident. A sample
    with nan is deferred.
    """
    stage = check_count(stage, "stage", 0, len(point.inside))
    if stage == len(point.inside):
        return np.ones(confidence.shape, bool)
    return does_exit(confidence, point.inside[stage])


def exits_of(point: Point, stage: int, answer: Answer) -> np.ndarray:
    """Return which samples exit after a model's answer, bool [s].

    A sample whose model has failed does not exit before the last stage.
    """
    exits = find_exits(point, stage, convert_units(point.metric, answer.confidence))
    return exits if stage == len(point.inside) else exits & (answer.failures == 0)


def check_answer(
    point: Point,
    stage: int,
    predictions: np.ndarray,
    confidences: Any,
    failures: np.ndarray,
    bounds: tuple[float, float] = UNBOUNDED,
) -> Answer:
    """Check a model's predictions and confidences of s samples.

    A sample is malformed if its confidence is out of bounds, or missing (nan) and needed.

    Parameters
    ----------
    point : Point
    stage : int
    predictions : array of objects of shape (s,)
    confidences : array of shape (s,) or None
    failures : int8 array of shape (s,)
        Failures that are known already.
    bounds : (float, float)
        Bounds of the confidences. The value that always defers is accepted as well.

    Raises
    ------
    ValueError
        If the number of confidences is wrong, or they are not numbers.
    """
    count = len(failures)
    values = np.full(count, np.nan)
    if confidences is not None:
        values = read_confidences(confidences)
    if values.shape != (count,):
        raise ValueError(f"confidences of shape {list(values.shape)} for {count} samples")
    is_malformed = find_malformed(point, stage, values, bounds)
    failures = np.where((failures == 0) & is_malformed, MALFORMED, failures)
    lowest = convert_units(point.metric, np.array(-np.inf))  # always defers
    is_missing = np.isnan(values)
    if point.fitted:
        confidence = np.full(count, lowest)
        rows = np.flatnonzero(~is_missing & (failures == 0))
        if not is_missing.all():
            confidence[rows] = fitted_confidence(point, stage, values, predictions, rows)
    else:
        confidence = np.where(is_missing, lowest, values)
    fault = describe_shift(point, stage, confidence[failures == 0])
    if fault:
        failures = np.where(failures == 0, MALFORMED, failures)
    return Answer(predictions[:, None], confidence, failures, fault=fault)


def find_malformed(
    point: Point, stage: int, values: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """Return which samples have a confidence out of bounds, or lack a needed one, bool [s]."""
    is_malformed: Any = np.zeros(values.shape, bool)
    if bounds != UNBOUNDED:
        lowest = convert_units(point.metric, np.array(-np.inf))
        is_malformed = ((values < bounds[0]) | (values > bounds[1])) & (values != lowest)
    if stage < len(point.inside) and point.inside[stage] > -np.inf:
        is_malformed = is_malformed | np.isnan(values)
    if point.metric is not None:
        is_malformed = is_malformed | impossible(values, point.metric)
    return is_malformed


def fitted_confidence(
    point: Point,
    stage: int,
    values: np.ndarray,
    predictions: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """Return the fitted confidences of the samples ``rows``. The arguments are those of
    :func:`check_answer`."""
    chosen = predictions[rows]
    if any(prediction is None for prediction in chosen):
        raise ValueError("predictions are needed, since its confidence is fitted")
    return point.fitted[stage](values[rows], chosen)


def describe_shift(point: Point, stage: int, confidence: np.ndarray) -> str:
    """Describe confidences [s] whose median is outside the range seen at selection.

    Return "" if the median is inside, or the range is not known.
    """
    seen = point.expected and point.expected.confidences[stage]
    if point.metric is not None or stage == len(point.inside) or not seen or not seen.values:
        return ""
    least = seen.values[0]
    most = seen.values[-1]
    count = sum(seen.counts)
    if not median_outside(confidence, least, most, count):
        return ""
    return (
        f"the median of {len(confidence)} confidences is {np.nanmedian(confidence):.4g}, and all "
        f"{count} seen when the cascade was chosen are from {least:.4g} to {most:.4g}. Pass "
        "confidences of one kind, such as 0.93 or 93"
    )


def read_confidences(confidences: Any) -> np.ndarray:
    """Return confidences as float64 [s]."""
    return np.atleast_1d(as_real_array(confidences, "confidences"))


def describe_failure(point: Point, name: Any, answer: Answer, row: int) -> str:
    """Describe the failure in a row of an answer, which is about the input ``name``."""
    if answer.failures[row] == UNKNOWN:
        prediction = brief(answer.guesses[row, 0])
        return f"sample {name} has the prediction {prediction}, which is not one of the labels"
    if answer.fault:
        return answer.fault
    confidence = answer.confidence[row : row + 1]
    if impossible(confidence, point.metric)[0]:
        least, most = metric_of(point.metric).bounds
        return (
            f"sample {name} has confidence {confidence[0]:.4g}, but {point.metric} is from "
            f"{least:g} to {most:g}. Pass it in the units of selection, not in percent"
        )
    return (
        f"sample {name} has no confidence (nan), one that is out of range, or no prediction. "
        "To defer it, pass −inf"
    )


def objects(values: Any) -> np.ndarray:
    """Return the items of ``values`` as an array of objects [N]."""
    values = items_of(values.tolist() if hasattr(values, "tolist") else values)
    return np.fromiter(values, object, len(values))


def align_by_model(names: Sequence[str], values: Any, what: str) -> list:
    """Return one value per model, in their order, from a list or {name: value}.

    The last value, or all of them, may be missing and are then None.
    """
    if hasattr(values, "keys"):
        if len(values) and not any(name in values for name in names):
            validate_choice(next(iter(values)), names, "model of this cascade")
        return [values.get(name) for name in names]  # other keys are ignored
    values = [None] * len(names) if values is None else items_of(values)
    if not len(names) - 1 <= len(values) <= len(names):
        raise ValueError(
            f"{what} of {len(names)} models are needed ({', '.join(names)}), not of {len(values)}"
        )
    return values + [None] * (len(names) - len(values))
