"""Define a selected cascade: its models, thresholds and method, and the values measured for it."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..files import digest_of, to_json
from ..methods.fitted import Fitted
from ..methods.method import Method, method_named
from ..methods.thresholds import convert_units
from ..origin import Origin, Origins, Sketch, join_origins, sketches_of
from .guarantee import Guarantee

HEADER_FIELDS = ("checkpoint", "revision", "image_size")
EXTRACTION_FIELDS = ("weights_sha256", "transform")
# Measured at the selection.
FIGURES = ("accuracy", "expected_accuracy", "cost", "improvement", "saving", "difference")


@dataclass(frozen=True)
class Estimate:
    """Hold an estimate and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ConfidenceRange:
    """Hold the least and the largest confidence at a stage, and the number of samples there."""

    least: float
    most: float
    samples: int


@dataclass(frozen=True, eq=False)
class LadderTable:
    """The table whose confidences gave the thresholds of a ladder.

    Parameters
    ----------
    origin : Origin
        Its rows.
    shares : mapping
        Shares of its rows by their answers (:func:`cascadelib.guarantees.cautions.answer_shares`).
    """

    origin: Origin
    shares: Mapping[tuple[str, str], float]

    def __len__(self) -> int:
        return len(self.origin)


@dataclass(frozen=True)
class Expected:
    """Hold the expected values of a cascade, measured on one split.

    Parameters
    ----------
    on : Sketch
        What identifies the samples of the measurement.
    accuracy, cost : Estimate
        Accuracy (F1 under that score) and mean cost per sample, with 95% intervals.
    exit_rates : tuple of Estimate
        Early exit rate of each stage.
    confidences : tuple of ConfidenceRange or None
        Confidences of the samples that reach each stage, in the metric's native units.
    intervals : str or None
        Description of the intervals. None in files of version 0.1.
    """

    on: Sketch
    accuracy: Estimate
    cost: Estimate
    exit_rates: tuple[Estimate, ...]
    confidences: tuple[ConfidenceRange | None, ...]
    intervals: str | None = None


def nan_equal(value: Any) -> Any:
    """Return a value in which each nan is replaced by text, since nan does not equal nan."""
    if isinstance(value, tuple):
        return tuple(map(nan_equal, value))
    return "nan" if isinstance(value, float) and np.isnan(value) else value


@dataclass(frozen=True, eq=False)
class Point:
    """Hold one cascade at fixed thresholds, and the values measured when it was selected.

    Parameters
    ----------
    models : tuple of str
        Names of the models, in the order in which they run.
    thresholds : tuple of float
        One threshold for each model but the last, in the native units of the metric. A sample exits
        if its confidence is at least the threshold. With the entropy, it exits if its value is at
        most the threshold. ±inf means that all samples or none exit.
    exit_rates : tuple of float
        Share of all samples that exit at each stage. Empty if nothing was measured.
    accuracy, cost : float
        Accuracy as a fraction (F1 if the score is "f1"), and mean cost per sample. nan if not
        measured.
    improvement : float
        Cost at which the convex hull of single models has the same accuracy, divided by the cost of
        the point (paper, section 3). nan if the point is more accurate than all single models.
    method : Method, str or None
        Method of the cascade or its name. None for a ScoreTable, which has confidences.
    score, cost_kind : str
        Name of the score, such as "top1", and name of the kind of cost.
    selected_on : Origin, tuple of Origin, or None
        All samples whose labels were used to search the cascade or to fit its method. None if
        unknown.
    thresholds_from : LadderTable or None
        Unlabelled samples whose confidences determined the thresholds, as quantiles
        (:func:`cascadelib.ladder`). None if the thresholds were selected with labels.
    saving : float
        Cost of the most accurate single model on the selection split, divided by the cost of the
        point. nan if unknown.
    difference : float
        Accuracy of the point minus the accuracy of the most accurate single model.
    expected_accuracy : float
        Accuracy to expect on new data, see :meth:`cascadelib.Front.expected_accuracy_at`. nan if
        unknown.
    chosen_by : str
        The rule of :func:`cascadelib.pick` that selected the point, in words.
    records : tuple of mappings
        Identity of each model: classes, checkpoint, revision, digest of the weights …. Empty if
        unknown.
    expected : Expected or None
        Values to expect on other samples, or None.
    versions : mapping
        {package: version} at the selection.
    certified : Guarantee or None
        The record of a guarantee. :attr:`guarantee` returns it if it is about this cascade.
    chosen : tuple
        The original (models, thresholds), which were selected on ``selected_on``. The point has
        other models or thresholds if :func:`dataclasses.replace` changed them. The samples of that
        change are unknown.

    See Also
    --------
    pick : Select a point of a front.
    evaluate : Evaluate it on a store.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.Point(("small", "large"), (0.8,), accuracy=0.93)
    <Point: small at 0.8 → large, given confidences; top1 93.00%>
    """

    models: tuple[str, ...]
    thresholds: tuple[float, ...]
    exit_rates: tuple[float, ...] = ()
    accuracy: float = np.nan
    cost: float = np.nan
    improvement: float = np.nan
    method: Method | None = None
    score: str = "top1"
    cost_kind: str = "macs"
    selected_on: Origins = field(default=None, compare=False)
    thresholds_from: LadderTable | None = field(default=None, compare=False, repr=False)
    saving: float = field(default=np.nan, compare=False)
    difference: float = field(default=np.nan, compare=False)
    expected_accuracy: float = field(default=np.nan, compare=False)
    chosen_by: str = field(default="", compare=False)
    records: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    expected: Expected | None = field(default=None, compare=False)
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)
    certified: Guarantee | None = field(default=None, compare=False, repr=False)
    chosen: tuple = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("a Point needs one model or more: models=(name, …)")
        if self.method is not None:
            object.__setattr__(self, "method", method_named(self.method))
        if not self.chosen:
            object.__setattr__(self, "chosen", (self.models, self.thresholds))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Point):
            return NotImplemented
        compared = [part.name for part in fields(self) if part.compare]
        ours, theirs = ([nan_equal(getattr(p, n)) for n in compared] for p in (self, other))
        return ours == theirs

    def __hash__(self) -> int:
        return hash((self.models, nan_equal(self.thresholds), self.score, self.cost_kind))

    def __repr__(self) -> str:
        rule = self.chosen_by and f"; {self.chosen_by}"
        return f"<Point: {self.chain}, {self.decided_by}{measured_text(self)}{rule}>"

    @property
    def active_models(self) -> tuple[str, ...]:
        """Return the models up to the first stage at which every sample exits."""
        stages = np.flatnonzero(self.inside == -np.inf)
        return self.models[: stages[0] + 1] if len(stages) else self.models

    @property
    def chain(self) -> str:
        """Return the active models and their thresholds, such as "a at 0.5 → b"."""
        *deferring, last = self.active_models
        stages = [f"{name} at {t:.4g}" for name, t in zip(deferring, self.thresholds)]
        return " → ".join([*stages, last])

    @property
    def decided_by(self) -> str:
        """Return the name of the metric or fitted confidence that decides exits."""
        if self.method is None:
            return "given confidences"
        return self.method.confidence or str(self.method.metric)

    @property
    def cascades(self) -> tuple["Point", ...]:
        """Return the point itself, for :func:`points_of`."""
        return (self,)

    @property
    def seen(self) -> Origins:
        """Return the samples of ``selected_on`` and those on which the method was fitted.

        Some are unknown if models or thresholds were replaced, see :attr:`chosen`.
        """
        seen = self.selected_on
        if self.chosen != (self.models, self.thresholds):
            seen = join_origins(seen, None)
        return seen if self.method is None else self.method.add_fit_samples(seen)

    @property
    def origin(self) -> Origins:
        """Return the samples that a file records: ``seen`` and ``thresholds_from``.

        A guarantee for new samples of the same source excludes all of these samples.
        """
        if self.thresholds_from is None:
            return self.seen
        return join_origins(self.seen, self.thresholds_from.origin)

    @property
    def rule(self) -> list[Any]:
        """Return what decides the answers and costs of the cascade.

        A metric or an ensemble that is a function is identified by its place in memory.
        """
        method: Any = self.method
        rule: list[Any] = [self.models, self.inside.tolist(), self.score, self.cost_kind]
        if method is not None:
            temperatures = [method.temperature_of(name) for name in self.models]
            fits = [asdict(fitted) for fitted in self.fitted]
            rule += [str(method.metric), str(method.ensemble), temperatures, fits]
        return rule

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of all fields: the rule, the models, the samples and the figures.

        Of the guarantee, the terms are included.
        """
        figures = (*self.exit_rates, *(getattr(self, name) for name in FIGURES))
        terms = self.certified and replace(self.certified, cascade="")
        return digest_of(
            [
                self.rule,
                [dict(record) for record in self.records],
                [sketch and to_json(sketch) for sketch in sketches_of(self.origin)],
                [repr(float(figure)) if np.isfinite(figure) else "nan" for figure in figures],
                [self.chosen_by, dict(self.versions), to_json(self.expected), to_json(terms)],
            ]
        )

    @property
    def guarantee(self) -> Guarantee | None:
        """Return the guarantee, or None if there is none, or if it is about another cascade."""
        is_ours = self.certified is not None and self.certified.cascade == self.digest
        return self.certified if is_ours else None

    @property
    def metric(self) -> Any:
        """Return the metric of the thresholds, None for a ScoreTable or a fitted confidence."""
        return None if self.method is None else self.method.units

    @cached_property
    def inside(self) -> Array:
        """Return the thresholds for confidences where higher = more confident, float64 (n − 1,)."""
        return convert_units(self.metric, np.array(self.thresholds, np.float64))

    @cached_property
    def fitted(self) -> tuple[Fitted, ...]:
        """Return the fitted confidence after each model, empty without one."""
        method = self.method
        if method is None or method.confidence is None:
            return ()
        return tuple(map(method.fits.of_model, self.models))


def measured_text(point: Point) -> str:
    """Return the measured values of a point in words, to be appended to its description."""
    text = ""
    if not np.isnan(point.accuracy):
        text += f"; {point.score} {point.accuracy:.2%}"
    if not np.isnan(point.expected_accuracy):
        text += f", expected accuracy {point.expected_accuracy:.2%}"
    if not np.isnan(point.saving):
        text += f", saving {point.saving:.3g}× at {100 * point.difference:+.2f} points"
    if not np.isnan(point.improvement):
        text += f", improvement {point.improvement:.3g}×"
    return text


def bind(point: Point, terms: Guarantee) -> Point:
    """Return the point with a guarantee that is about it. No other point has this guarantee."""
    terms = replace(terms, cascade="", chain=point.chain)
    point = replace(point, records=tuple(records_of(point)), certified=terms)
    return replace(point, certified=replace(terms, cascade=point.digest))


def records_of(point: Point) -> list[dict[str, Any]]:
    """Return a record of each model of a Point, with at least its name."""
    records = [dict(record) for record in point.records]
    if [record["name"] for record in records] == list(point.models):
        return records
    return [{"name": name} for name in point.models]


def record_of(store: Any, name: str) -> dict[str, Any]:
    """Return the fields of a store's header that distinguish a model from others of its name."""
    if store.class_count is None:
        return {"name": name}
    header = store.metadata(name)
    extraction = header.get("extraction") or {}
    record = {"name": name, "classes": store.class_count}
    record |= {key: header[key] for key in HEADER_FIELDS if header.get(key) is not None}
    return record | {key: extraction[key] for key in EXTRACTION_FIELDS if key in extraction}


def points_of(cascades: Any) -> list[Point]:
    """Return the Points of everything that the library accepts as cascades.

    Parameters
    ----------
    cascades : Point, Policy, Cascade, Front, Certificate, or list of these
        Each has an attribute ``cascades`` with its Points. A policy has one, at its current
        thresholds. A front has all of its points. A certificate has the certified points.

    Returns
    -------
    list of Point
        One or more.

    Raises
    ------
    TypeError
        If an item has no cascades.
    ValueError
        If there are no points, for example because nothing is certified.
    """
    items = list(cascades) if isinstance(cascades, list | tuple) else [cascades]
    points: list[Point] = []
    for item in items:
        contained = getattr(item, "cascades", None)
        if contained is None:
            remedy = ""
            if item is None:
                remedy = (
                    ": if it is a certificate's point, nothing was certified (print the "
                    "certificate)"
                )
            elif isinstance(item, str | os.PathLike):
                remedy = ": load the file with cascadelib.Policy.load(path)"
            elif hasattr(item, "outcome"):
                remedy = ": a store comes first, then the cascades"
            raise TypeError(
                "a Point, Policy, Cascade, Front or Certificate is needed here, or a list of them, "
                f"not {type(item).__name__}{remedy}"
            )
        if not contained:
            raise ValueError(
                f"this {type(item).__name__} holds no cascade: if it is a certificate, nothing "
                "was certified (print it)"
            )
        points.extend(contained)
    if not points:
        raise ValueError("no cascades: give a Point, a Front or a list of them")
    return points


def kinds_of(cascades: Iterable[Any]) -> tuple[str, str]:
    """Return the score and the kind of cost of Points or Fronts.

    Raises
    ------
    ValueError
        If they differ.
    """
    kinds = {(one.score, one.cost_kind) for one in cascades}
    if len(kinds) > 1:
        raise ValueError(
            f"the cascades differ in score or kind of cost: {sorted(kinds)}. Select cascades with "
            "one score and one kind of cost"
        )
    return kinds.pop()


def single_point(cascade: Any) -> Point:
    """Return the Point of a single cascade, or raise a ValueError if there are several."""
    points = points_of(cascade)
    if len(points) > 1:
        raise ValueError(
            f"one cascade is needed here, not {len(points)}: select one with cascadelib.pick"
        )
    return points[0]
