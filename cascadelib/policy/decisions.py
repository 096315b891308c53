"""What a cascade says of some samples: predictions, who leaves where, and what went wrong. Takes
numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import brief, check_count, items_of, known, reals
from ..evaluation.point import Point
from ..labels import aligned
from ..methods.confidence_metrics import metric_of
from ..methods.confidence_range import impossible, median_outside
from ..methods.fitted import given_columns
from ..methods.thresholds import leaves, own_units
from ..scoring import most_given as most_given

FAILURES = ("none", "timeout", "error", "malformed", "unknown label")
TIMEOUT, ERROR, MALFORMED, UNKNOWN = range(1, 5)
ANY = (-np.inf, np.inf)
DRAWN = 1  # an input that is to be audited
REPEATED = 2  # one that repeats a key


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a cascade of n models says of N samples.

    Parameters
    ----------
    guesses : array [N, g]
        The best classes, best first, as many as asked for; ``predictions`` [N] are the first. Of a
        :class:`Cascade` int64, −1 where no model gave a finite output; of a :class:`Policy` what it
        was told, as objects, None where that is nothing; whole numbers as those are where
        ``decide`` is told of arrays of them alone.
    exit_stage : int64 [N]
        Stage at which each sample leaves, 0 = first model, as in an :class:`Run`;
        −1 where an error came before the decision.
    confidence : float64 [N]
        That of the prediction, in the metric's own units.
    confidences : float64 [N, n]
        At each stage, nan where a sample did not get there, or the model failed.
    failures : int8 [N, n]
        What went wrong with each sample at each stage, as a place in ``FAILURES``: none, timeout,
        error, malformed (also nan or infinite logits), unknown label.
    answered : int64 [N]
        Stage whose model gave the prediction: that at which the sample left, unless this one
        failed; −1: none.
    costs, seconds : float64 [N, n]
        What the answers cost, as far as the calls said so, and how long the calls took.
    ids : array [N]
        The caller's, or numbers since monitoring began.
    models : tuple of str
    """

    guesses: np.ndarray
    exit_stage: np.ndarray
    confidence: np.ndarray
    confidences: np.ndarray
    failures: np.ndarray
    answered: np.ndarray = None  # type: ignore[assignment]
    costs: np.ndarray = None  # type: ignore[assignment]
    seconds: np.ndarray = None  # type: ignore[assignment]
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
        """What each sample is, [N]: the best of its ``guesses``."""
        return self.guesses[:, 0]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All but the names of the models."""
        return {name: values for name, values in vars(self).items() if name != "models"}

    @property
    def broken(self) -> np.ndarray:
        """Samples for which each model failed, int64 [n]."""
        return np.count_nonzero(self.failures, axis=0)

    @property
    def model(self) -> np.ndarray:
        """Name of the model that gave each prediction, [N]; None: none."""
        return np.array([*self.models, None], object)[self.answered]

    @property
    def status(self) -> np.ndarray:
        """What went wrong last with each sample, [N]: one of ``FAILURES``, or "undecided"."""
        last = self.failures.shape[1] - 1 - np.argmax(self.failures[:, ::-1] > 0, axis=1)
        kinds = np.array(FAILURES, object)[self.failures[np.arange(len(self)), last]]
        return np.where(self.exit_stage < 0, "undecided", kinds)

    def take(self, rows: Any) -> "Decisions":
        """Those of some samples: a slice, int64 [s] or bool [N]."""
        arrays: dict[str, Any] = {name: values[rows] for name, values in self.arrays.items()}
        return replace(self, **arrays)

    def joined(self, *others: "Decisions") -> "Decisions":
        """These, and then others."""
        arrays: dict[str, Any] = {}
        for name in self.arrays:
            arrays[name] = np.concatenate([getattr(each, name) for each in (self, *others)])
        return replace(self, **arrays)

    def records(self) -> list[dict[str, Any]]:
        """A dictionary per sample, of plain values as JSON has them: id, prediction, model, status,
        stage; of each stage that it got to confidence, failure, cost and seconds, None where one is
        no finite number."""
        reached = np.arange(len(self.models)) <= self.exit_stage[:, None]
        columns = {
            "id": self.ids,
            "prediction": self.predictions,
            "model": self.model,
            "status": self.status,
            "stage": self.exit_stage,
        }
        stages = {"failures": np.array(FAILURES)[self.failures]}
        for name in ("confidences", "costs", "seconds"):
            values = self.arrays[name]
            stages[name] = np.where(np.isfinite(values), values, np.array(None))
        plain = [column.tolist() for column in columns.values()]
        records = [dict(zip(columns, values)) for values in zip(*plain)]
        for row, record in enumerate(records):
            for name, values in stages.items():
                record[name] = values[row, reached[row]].tolist()
        return records

    def write(self, point: Point, stage: int, rows: np.ndarray, answer: "Answer") -> np.ndarray:
        """Write what the model of a stage says of the undecided samples ``rows`` (int64 [s], or a
        slice); returns who leaves, bool [s]: all after the last one."""
        left = exits_after(point, stage, own_units(point.metric, answer.confidence))
        given = rows
        told: Any = slice(None)
        if answer.failures.any():
            told = answer.failures == 0
            given = rows[told]
            self.failures[rows, stage] = answer.failures
            if stage < len(point.inside):
                left &= told
        if answer.costs is not None:
            self.costs[rows, stage] = answer.costs
        self.guesses[given] = answer.guesses[told]
        self.confidence[given] = answer.confidence[told]
        self.confidences[given, stage] = answer.confidence[told]
        self.answered[given] = stage
        self.exit_stage[rows] = left * (stage + 1) - 1  # stage, or −1
        return left

    def undecide(self) -> None:
        """Forget what was said of samples that have not left."""
        waits = self.exit_stage < 0
        self.guesses[waits] = None if self.guesses.dtype == object else -1
        self.confidence[waits] = np.nan
        self.answered[waits] = -1


@dataclass(eq=False)
class Answer:
    """What a model says of s samples: guesses [s, g], the best first, confidence float64 [s] in the
    metric's own units, failures int8 [s], costs float64 [s] (None: not known)."""

    guesses: np.ndarray
    confidence: np.ndarray
    failures: np.ndarray
    costs: np.ndarray | None = None
    fault: str = ""  # of those that are malformed


def nothing(
    samples: int, models: Sequence[str], unknown: Any = None, guesses: int = 1
) -> Decisions:
    """:class:`Decisions` of samples that no model has seen yet; unknown: their predictions. Costs,
    seconds and ids cannot be written; those of a copy, by ``take``, can."""
    shape = len(models), samples  # values of a stage lie side by side
    not_known = np.broadcast_to(np.nan, (samples, len(models)))
    return Decisions(
        np.full((samples, guesses), unknown),
        exit_stage=np.full(samples, -1),
        confidence=np.full(samples, np.nan),
        confidences=np.full(shape, np.nan).T,
        failures=np.zeros(shape, np.int8).T,
        answered=np.full(samples, -1),
        costs=not_known,
        seconds=not_known,
        ids=np.broadcast_to(np.array(None), samples),
        models=tuple(models),
    )


def checked_ids(ids: Sequence | None, count: int) -> np.ndarray:
    """Return the ids of ``count`` inputs, texts or whole numbers; by default their positions."""
    names = np.arange(count) if ids is None else objects(ids)
    if len(names) != count or not all(isinstance(name, str | int) for name in ids or ()):
        raise ValueError(f"{count} ids are needed, texts or whole numbers, not {brief(ids)}")
    return names


def exits_after(point: Point, stage: int, confidence: np.ndarray) -> np.ndarray:
    """Which samples leave after a stage (0 = first model) of a cascade, bool [N]: all after the last
    one. confidence: float64 [N], higher = more confident; nan passes on."""
    stage = check_count(stage, "stage", 0, len(point.inside))
    if stage == len(point.inside):
        return np.ones(confidence.shape, bool)
    return leaves(confidence, point.inside[stage])


def answer_of(
    point: Point,
    stage: int,
    predictions: np.ndarray,
    confidences: Any,
    before: np.ndarray | None,
    failures: np.ndarray,
    bounds: tuple[float, float] = ANY,
) -> Answer:
    """What a model says of s samples, checked: a sample whose confidence is missing (nan) where it
    decides, or out of bounds, failed as malformed.

    Parameters
    ----------
    point, stage
        Of a cascade.
    predictions : array of objects [s]
    confidences : [s], or [s, c] columns that a fitted confidence reads; None: none
    before : array of objects [s], optional
        What was predicted before.
    failures : int8 [s]
        What is known to be wrong already.
    bounds : (float, float)
        Of confidences; that at which nobody leaves may come in any case.

    Raises
    ------
    ValueError
        For another number of confidences, and for those that are no numbers.
    """
    count = len(failures)
    lowest = own_units(point.metric, np.array(-np.inf))
    values = np.full(count, np.nan)
    if confidences is not None:
        values = columns_read(point, stage, confidences)
    if len(values) != count or values.ndim > 1 and not point.fitted:
        raise ValueError(f"confidences of shape {list(values.shape)} for {count} samples")
    absent = values != values  # nan
    is_odd: Any = beyond(values, bounds, lowest)
    if not exits_after(point, stage, np.array([-np.inf]))[0]:
        is_odd |= absent
    if values.ndim > 1:
        absent = absent.any(axis=1)
        is_odd = is_odd.any(axis=1)
    is_odd |= point.metric is not None and impossible(values, point.metric)
    failures = np.where((failures == 0) & is_odd, MALFORMED, failures)
    confidence = np.full(count, lowest) if point.fitted else values
    if point.fitted and not absent.all():
        rows = np.flatnonzero(~absent & (failures == 0))
        said = predictions[rows]
        if any(prediction is None for prediction in said):
            raise ValueError("predictions are needed, since its confidence is fitted")
        told = before if before is None else before[rows]
        confidence[rows] = point.fitted[stage](values[rows], said, told)
    confidence = np.where(absent, lowest, confidence)
    fault = fault_of_all(point, stage, confidence[failures == 0])
    failures = np.where((failures == 0) & (fault > ""), MALFORMED, failures)
    return Answer(predictions[:, None], confidence, failures, fault=fault)


def fault_of_all(point: Point, stage: int, confidence: np.ndarray) -> str:
    """Describe given or fitted confidences [s] whose median leaves the range seen when the cascade
    was chosen; "" if it does not, or if nothing is known of that range."""
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
        f"{count} seen when the cascade was chosen are from {least:.4g} to {most:.4g}; give "
        "confidences of one kind, as 0.93 or 93"
    )


def beyond(values: np.ndarray, bounds: tuple[float, float], lowest: np.ndarray) -> np.ndarray:
    """Which values lie out of bounds, and are not the lowest of all; text has none."""
    if bounds == ANY or values.dtype == object:
        return np.zeros(values.shape, bool)
    return ((values < bounds[0]) | (values > bounds[1])) & (values != lowest)


def in_one_order(point: Point, confidences: list, predictions: list) -> tuple[list, list]:
    """Return confidences and predictions of all models in the order of the first pandas index."""
    both = (*confidences, *predictions)
    ids = next((values.axes[0] for values in both if hasattr(values, "axes")), None)
    ordered = []
    for stage, values in enumerate(confidences):
        names = given_columns(point.fitted[stage].columns) if point.fitted else None
        ordered.append(aligned(values, "confidences", ids, names))
    return ordered, [aligned(values, "predictions", ids) for values in predictions]


def columns_read(point: Point, stage: int, confidences: Any) -> np.ndarray:
    """Confidences as float64 [s] or [s, c]; of objects where a fitted confidence also reads
    text."""
    if point.fitted and point.fitted[stage].categories:
        return np.atleast_1d(np.asarray(confidences, object))
    return np.atleast_1d(reals(confidences, "confidences"))


def complaint(point: Point, name: Any, answer: Answer, row: int) -> str:
    """Describe what is wrong with the answer about an input of that name, in a row of an answer."""
    if answer.failures[row] == UNKNOWN:
        said = brief(answer.guesses[row, 0])
        return f"sample {name} is answered {said}, which is none of the labels"
    if answer.fault:
        return answer.fault
    confidence = answer.confidence[row : row + 1]
    if point.metric is not None and impossible(confidence, point.metric)[0]:
        least, most = metric_of(point.metric).bounds
        return (
            f"sample {name} has confidence {confidence[0]:.4g}, but {point.metric} is from "
            f"{least:g} to {most:g}: give it as chosen, not in percent"
        )
    return (
        f"sample {name} has no confidence (nan), one that is out of range, or no prediction; "
        "give −inf to pass it on"
    )


def objects(values: Any) -> np.ndarray:
    """What ``values`` holds, one by one, as an array of objects [N]."""
    values = items_of(values.tolist() if hasattr(values, "tolist") else values)
    return np.fromiter(values, object, len(values))


def alike_in_kind(values: list) -> tuple[list, int | None]:
    """Predictions of each model, None: none, as arrays of whole numbers where all are such, else of
    objects; and what stands for no prediction among them."""
    arrays = [each for each in values if isinstance(each, np.ndarray) and each.ndim == 1]
    if [array.dtype.kind for array in arrays] == ["i"] * len(values):
        return values, -1
    return [each if each is None else objects(each) for each in values], None


def by_model(names: Sequence[str], values: Any, what: str) -> list:
    """One value per model, in their order, from a list or {name: value}; None where one is missing:
    the last one, or all."""
    if hasattr(values, "keys"):
        if len(values) and not any(name in values for name in names):
            known(next(iter(values)), names, "model of this cascade")
        return [values.get(name) for name in names]  # values for other models may stand there, too
    values = [None] * len(names) if values is None else items_of(values)
    if not len(names) - 1 <= len(values) <= len(names):
        raise ValueError(
            f"{what} of {len(names)} models are needed ({', '.join(names)}), not of {len(values)}"
        )
    return values + [None] * (len(names) - len(values))
