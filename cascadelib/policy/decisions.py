"""Hold the decisions of a cascade: predictions, exit stages and failures of samples.

This module needs only NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import brief, items_of, validate_choice
from ..evaluation.point import Point
from ..labels import align_values, as_real_array
from ..methods.confidence_metrics import metric_of
from ..methods.confidence_range import impossible, median_outside
from ..methods.thresholds import convert_units, does_exit
from ..stages import most_given as most_given

FAILURES = ("none", "timeout", "error", "malformed", "unknown label")
"""Kinds of failures of a model, by the numbers that :meth:`Policy.step` returns."""
TIMEOUT, ERROR, MALFORMED, UNKNOWN = range(1, 5)
UNBOUNDED = (-np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class Decisions:
    """The decisions of a cascade of n models for N samples.

    Parameters
    ----------
    exit_stage : int64 [N]
        Stage at which each sample exits, 0 = first model, as in a :class:`Run`. It is −1 if an
        error came before the decision.
    confidences : float64 [N, n]
        Confidence at each stage, in the metric's native units, nan if a sample did not reach it or
        the model failed.
    failures : int8 [N, n]
        Failure of each sample at each stage, as a position in ``FAILURES``: none, timeout, error,
        malformed (also nan or infinite logits), unknown label.
    answers : array [N, n]
        Prediction of the cascade after each stage. None or −1 if a sample did not reach it or the
        model failed. A :class:`Cascade` returns int64. A :class:`Policy` returns the objects that
        it received.
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

    exit_stage: np.ndarray
    confidences: np.ndarray
    failures: np.ndarray
    answers: np.ndarray
    costs: np.ndarray
    ids: np.ndarray
    models: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.exit_stage)

    def __repr__(self) -> str:
        exits = [int(np.sum(self.exit_stage == stage)) for stage in range(len(self.models))]
        return f"<Decisions: {len(self)} samples; samples that exited at each stage: {exits}>"

    @property
    def answered(self) -> np.ndarray:
        """Return the stage whose model gave each prediction, int64 [N].

        It is the exit stage, unless that model failed. It is −1 if no model answered.
        """
        stages = np.arange(len(self.models))
        is_valid = (self.failures == 0) & (stages <= self.exit_stage[:, None])
        return np.where(is_valid, stages, -1).max(axis=1)

    @property
    def predictions(self) -> np.ndarray:
        """Return the prediction of each sample, [N], None or −1 if there is none."""
        return self.answers[np.arange(len(self)), self.answered]

    @property
    def confidence(self) -> np.ndarray:
        """Return the confidence of each prediction, float64 [N], nan if there is none."""
        return self.confidences[np.arange(len(self)), self.answered]

    @property
    def model(self) -> np.ndarray:
        """Return the name of the model that gave each prediction, [N], or None."""
        return np.array([*self.models, None], object)[self.answered]

    @property
    def failure_counts(self) -> np.ndarray:
        """Return the number of samples for which each model failed, int64 [n]."""
        return np.count_nonzero(self.failures, axis=0)

    def write(self, point: Point, stage: int, rows: np.ndarray, answer: "Answer") -> np.ndarray:
        """Write a model's answer for the undecided samples ``rows``, int64 [s].

        Return which of them exit, bool [s]. After the last stage, all exit.
        """
        exits = exits_of(point, stage, answer)
        is_valid = answer.failures == 0
        self.failures[rows, stage] = answer.failures
        if answer.costs is not None:
            self.costs[rows, stage] = answer.costs
        self.confidences[rows[is_valid], stage] = answer.confidence[is_valid]
        self.answers[rows[is_valid], stage] = answer.predictions[is_valid]
        self.exit_stage[rows[exits]] = stage
        return exits


@dataclass(eq=False)
class Answer:
    """A model's answer for s samples.

    It has predictions [s], confidence float64 [s] in the metric's native units,
    failures int8 [s], and costs float64 [s] or None. ``fault`` describes a malformed answer.
    """

    predictions: np.ndarray
    confidence: np.ndarray
    failures: np.ndarray
    costs: np.ndarray | None = None
    fault: str = ""


def empty_decisions(ids: np.ndarray, models: Sequence[str], unknown: Any = None) -> Decisions:
    """Return :class:`Decisions` of samples that no model has seen, with answers ``unknown``."""
    shape = len(models), len(ids)  # the values of a stage are contiguous
    return Decisions(
        exit_stage=np.full(len(ids), -1),
        confidences=np.full(shape, np.nan).T,
        failures=np.zeros(shape, np.int8).T,
        answers=np.full(shape, unknown).T,
        costs=np.full(shape, np.nan).T,
        ids=ids,
        models=tuple(models),
    )


def join_decisions(parts: Sequence[Decisions]) -> Decisions:
    """Return the decisions of consecutive batches together, numbered from 0."""
    arrays: dict[str, Any] = {}
    for name in ("exit_stage", "confidences", "failures", "answers", "costs"):
        arrays[name] = np.concatenate([getattr(part, name) for part in parts])
    ids = np.arange(len(arrays["exit_stage"]))
    return Decisions(**arrays, ids=ids, models=parts[0].models)


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


def validate_ids(ids: Sequence | None, count: int) -> np.ndarray:
    """Return the ids of ``count`` inputs, texts or whole numbers, by default their positions."""
    names = np.arange(count) if ids is None else objects(ids)
    if len(names) != count or not all(isinstance(name, str | int) for name in ids or ()):
        raise ValueError(f"{count} ids are needed, texts or whole numbers, not {brief(ids)}")
    return names


def exits_of(point: Point, stage: int, answer: Answer) -> np.ndarray:
    """Return which samples exit after a model's answer, bool [s].

    After the last stage, all exit. Before, a sample whose model has failed is deferred.
    """
    if stage == len(point.inside):
        return np.ones(len(answer.failures), bool)
    confidence = convert_units(point.metric, answer.confidence)
    return does_exit(confidence, point.inside[stage]) & (answer.failures == 0)


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
    confidence = np.where(np.isnan(values), lowest, values)
    if point.fitted:
        rows = np.flatnonzero(~np.isnan(values) & (failures == 0))
        chosen = predictions[rows]
        if any(prediction is None for prediction in chosen):
            raise ValueError("predictions are needed, since its confidence is fitted")
        confidence = np.full(count, lowest)
        confidence[rows] = point.fitted[stage](values[rows], chosen)
    fault = describe_shift(point, stage, confidence[failures == 0])
    if fault:
        failures = np.where(failures == 0, MALFORMED, failures)
    return Answer(predictions, confidence, failures, fault=fault)


def find_malformed(
    point: Point, stage: int, values: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """Return which samples have a confidence out of bounds, or lack a needed one, bool [s]."""
    lowest = convert_units(point.metric, np.array(-np.inf))
    is_malformed = ((values < bounds[0]) | (values > bounds[1])) & (values != lowest)
    if stage < len(point.inside) and point.inside[stage] > -np.inf:
        is_malformed |= np.isnan(values)
    return is_malformed | impossible(values, point.metric)


def describe_shift(point: Point, stage: int, confidence: np.ndarray) -> str:
    """Describe confidences [s] whose median is outside the range seen at selection.

    Return "" if the median is inside, or the range is not known.
    """
    seen = point.expected and point.expected.confidences[stage]
    if point.metric is not None or stage == len(point.inside) or not seen:
        return ""
    if not median_outside(confidence, seen.least, seen.most, seen.samples):
        return ""
    return (
        f"the median of {len(confidence)} confidences is {np.nanmedian(confidence):.4g}, and all "
        f"{seen.samples} seen when the cascade was chosen are from {seen.least:.4g} to "
        f"{seen.most:.4g}. Pass confidences of one kind, such as 0.93 or 93"
    )


def read_confidences(confidences: Any) -> np.ndarray:
    """Return confidences as float64 [s]."""
    return np.atleast_1d(as_real_array(confidences, "confidences"))


def describe_failure(point: Point, name: Any, answer: Answer, row: int) -> str:
    """Describe the failure in a row of an answer, which is about the input ``name``."""
    if answer.failures[row] == UNKNOWN:
        prediction = brief(answer.predictions[row])
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
