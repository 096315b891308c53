"""What a cascade says of some samples: predictions, who leaves where, and what went wrong. Takes
numpy alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import eq
from typing import Any

import numpy as np

from ..checks import brief, check_count, items_of, known, reals
from ..evaluation.point import Point
from ..methods.thresholds import leaves, own_units

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
    predictions : array [N]
        Of a :class:`Cascade` the class, int64, −1 where no model gave a finite output; of a
        :class:`Policy` what it was told, as objects, None where that is nothing.
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
    guesses : array [N, g]
        The best classes, best first, as many as asked for.
    answered : int64 [N]
        Stage whose model gave the prediction: that at which the sample left, unless this one
        failed; −1: none.
    costs, seconds : float64 [N, n]
        What the answers cost, as far as the calls said so, and how long the calls took.
    ids : array [N]
        The caller's, or numbers since monitoring began.
    models : tuple of str
    """

    predictions: np.ndarray
    exit_stage: np.ndarray
    confidence: np.ndarray
    confidences: np.ndarray
    failures: np.ndarray
    guesses: np.ndarray
    answered: np.ndarray = None  # type: ignore[assignment]
    costs: np.ndarray = None  # type: ignore[assignment]
    seconds: np.ndarray = None  # type: ignore[assignment]
    ids: np.ndarray = None  # type: ignore[assignment]
    models: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.predictions)

    def __repr__(self) -> str:
        stages = range(self.confidences.shape[1])
        exits = [int(np.count_nonzero(self.exit_stage == stage)) for stage in stages]
        return f"<Decisions: {len(self)} samples; samples that exited at each stage: {exits}>"

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

    def put(self, rows: np.ndarray, others: "Decisions") -> None:
        """Write the decisions of others over those of the samples ``rows`` int64 [s]."""
        for name, values in others.arrays.items():
            self.arrays[name][rows] = values

    def joined(self, *others: "Decisions") -> "Decisions":
        """These, and then others."""
        arrays: dict[str, Any] = {}
        for name in self.arrays:
            arrays[name] = np.concatenate([getattr(each, name) for each in (self, *others)])
        return replace(self, **arrays)

    def records(self) -> list[dict[str, Any]]:
        """A dictionary per sample, of plain values as JSON has them: id, prediction, model, status,
        stage; of each stage that it got to confidence, failure, cost and seconds."""
        reached = np.arange(len(self.models)) <= self.exit_stage[:, None]
        columns = {
            "id": self.ids,
            "prediction": self.predictions,
            "model": self.model,
            "status": self.status,
            "stage": self.exit_stage,
        }
        stages = {
            "confidences": self.confidences,
            "failures": np.array(FAILURES)[self.failures],
            "costs": self.costs,
            "seconds": self.seconds,
        }
        plain = [column.tolist() for column in columns.values()]
        records = [dict(zip(columns, values)) for values in zip(*plain)]
        for row, record in enumerate(records):
            for name, values in stages.items():
                record[name] = values[row, reached[row]].tolist()
        return records

    def write(self, point: Point, stage: int, rows: np.ndarray, answer: "Answer") -> np.ndarray:
        """Write what the model of a stage says of the samples ``rows`` int64 [s]; returns who
        leaves, bool [s]: all after the last one."""
        is_given = answer.failures == 0
        given = rows[is_given]
        self.failures[rows, stage] = answer.failures
        self.costs[rows, stage] = answer.costs
        self.predictions[given] = answer.predictions[is_given]
        self.confidence[given] = answer.confidence[is_given]
        self.confidences[given, stage] = answer.confidence[is_given]
        self.answered[given] = stage
        left = exits_after(point, stage, own_units(point.metric, answer.confidence))
        if stage < len(point.inside):
            left &= is_given
        self.exit_stage[rows[left]] = stage
        return left

    def undecide(self) -> None:
        """Forget what was said of samples that have not left."""
        waits = self.exit_stage < 0
        self.predictions[waits] = None if self.predictions.dtype == object else -1
        self.confidence[waits] = np.nan
        self.answered[waits] = -1


@dataclass(eq=False)
class Answer:
    """What a model says of s samples: predictions [s], confidence float64 [s] in the metric's own
    units, failures int8 [s], costs float64 [s] (nan: not known)."""

    predictions: np.ndarray
    confidence: np.ndarray
    failures: np.ndarray
    costs: Any = np.nan


def nothing(samples: int, models: Sequence[str], unknown: Any = None) -> Decisions:
    """:class:`Decisions` of samples that no model has seen yet; unknown: their predictions."""
    shape = samples, len(models)
    predictions = np.full(samples, unknown)
    return Decisions(
        predictions,
        exit_stage=np.full(samples, -1),
        confidence=np.full(samples, np.nan),
        confidences=np.full(shape, np.nan),
        failures=np.zeros(shape, np.int8),
        guesses=predictions[:, None],
        answered=np.full(samples, -1),
        costs=np.full(shape, np.nan),
        seconds=np.full(shape, np.nan),
        ids=np.full(samples, None),
        models=tuple(models),
    )


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
    columns = values if values.ndim > 1 else values[:, None]
    absent = (columns != columns).any(axis=1)  # nan
    is_odd = np.zeros(count, bool)
    if values.dtype != object:  # text has no bounds
        beyond = (columns < bounds[0]) | (columns > bounds[1])
        is_odd = (beyond & (columns != lowest)).any(axis=1)
    if not exits_after(point, stage, np.array([-np.inf]))[0]:
        is_odd |= absent
    failures = np.where((failures == 0) & is_odd, MALFORMED, failures)
    rows = np.flatnonzero(failures == 0)
    confidence = np.full(count, lowest)
    if not point.fitted:
        confidence[rows] = values[rows]
    elif confidences is not None and len(rows):
        told = None if before is None else before[rows]
        confidence[rows] = fitted_confidence(point, stage, values[rows], predictions[rows], told)
    return Answer(predictions, np.where(absent, lowest, confidence), failures)


def fitted_confidence(
    point: Point, stage: int, values: np.ndarray, said: np.ndarray, before: np.ndarray | None
) -> np.ndarray:
    """A stage's fitted confidence, float64 [s], of the columns ``values`` and of what is said and was
    before; ValueError without predictions."""
    if any(prediction is None for prediction in said):
        raise ValueError("predictions are needed, since its confidence is fitted")
    return point.fitted[stage](values, said, before)


def columns_read(point: Point, stage: int, confidences: Any) -> np.ndarray:
    """Confidences as float64 [s] or [s, c]; of objects where a fitted confidence also reads
    text."""
    if point.fitted and point.fitted[stage].categories:
        return np.atleast_1d(np.asarray(confidences, object))
    return np.atleast_1d(reals(confidences, "confidences"))


def complaint(name: Any, said: Any, failure: int) -> str:
    """What is wrong with the answer about an input of that name."""
    if failure == UNKNOWN:
        return f"sample {name} is answered {brief(said)}, which is none of the labels"
    return (
        f"sample {name} has no confidence (nan), one that is out of range, or no prediction; "
        "give −inf to pass it on"
    )


def objects(values: Any) -> np.ndarray:
    """What ``values`` holds, one by one, as an array of objects [N]."""
    values = items_of(values.tolist() if hasattr(values, "tolist") else values)
    return np.fromiter(values, object, len(values))


def by_model(names: Sequence[str], values: Any, what: str) -> list:
    """One value per model, in their order, from a list or {name: value}; None where one is missing:
    the last one, or all."""
    if isinstance(values, Mapping):
        if values and not any(name in values for name in names):
            known(next(iter(values)), names, "model of this cascade")
        return [values.get(name) for name in names]  # values for other models may stand there, too
    values = [None] * len(names) if values is None else items_of(values)
    if not len(names) - 1 <= len(values) <= len(names):
        raise ValueError(
            f"{what} of {len(names)} models are needed ({', '.join(names)}), not of {len(values)}"
        )
    return values + [None] * (len(names) - len(values))


def most_given(
    answers: Sequence, equal: Callable[[Any, Any], bool] = eq, costs: Any = 0.0
) -> tuple[Any, float, float]:
    """Several answers of a model to one input as one: the answer that most others equal.

    Parameters
    ----------
    answers : list [k]
    equal : callable
        Whether two answers agree.
    costs : float or list of float
        Of all of them.

    Returns
    -------
    (answer, share, cost)
        The first of those that most answers equal, the share of answers that do, a confidence, and
        the sum of costs.

    Raises
    ------
    ValueError
        For no answers.
    """
    if not len(answers):
        raise ValueError("answers are needed, one or more")
    votes = [sum(bool(equal(answer, other)) for other in answers) for answer in answers]
    most = max(votes)
    return answers[votes.index(most)], most / len(answers), float(np.sum(costs))
