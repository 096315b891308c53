"""A cascade that was chosen: its models, thresholds and method, and what is known of it."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..methods.fitted import Fitted
from ..methods.method import Method, method_named
from ..methods.thresholds import convert_units
from ..origin import Origin, Origins, join_origins


@dataclass(frozen=True)
class Estimate:
    """A number, and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OrderStatistics:
    """A sample in short: its values at some ranks.

    Parameters
    ----------
    values : tuple of float
        Rising.
    counts : tuple of int
        How far the rank of each lies above that of the one before.
    ties : tuple of float
        A second number of each, random in [0, 1], that parts equal values.
    """

    values: tuple[float, ...] = field(repr=False)
    counts: tuple[int, ...] = field(repr=False)
    ties: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True)
class Expected:
    """What a cascade is expected to come to, measured on one split.

    Parameters
    ----------
    on : Origin
        The samples.
    accuracy, cost : Estimate
        Accuracy (F1 under that score) and mean cost per sample, with 95% intervals.
    exit_rates : tuple of Estimate
        Of each stage.
    confidences : tuple of OrderStatistics
        Of each stage: confidences of the samples that reach it, in the metric's own units.
    intervals : str or None
        What the intervals are, in words; None in files of version 0.1.
    """

    on: Origin
    accuracy: Estimate
    cost: Estimate
    exit_rates: tuple[Estimate, ...]
    confidences: tuple[OrderStatistics, ...]
    intervals: str | None = None


def nan_equal(value: Any) -> Any:
    """Return a value with each nan replaced, so that copies of it compare as equal."""
    if isinstance(value, tuple):
        return tuple(map(nan_equal, value))
    return "nan" if isinstance(value, float) and np.isnan(value) else value


@dataclass(frozen=True, eq=False)
class Point:
    """One cascade at fixed thresholds: all that :func:`cascadelib.evaluate` needs, what was
    measured where it was found, and what its file says beside.

    Parameters
    ----------
    models : tuple of str
        Names, in the order in which they run.
    thresholds : tuple of float
        One fewer, in the metric's own units (exit when confidence ≥ t, entropy when H ≤ t), ±inf
        at the ends.
    exit_rates : tuple of float
        Share of all samples that leave at each stage; empty where nothing was measured.
    accuracy, cost : float
        A fraction (F1 under that score), and the mean cost per sample; nan: not measured.
    improvement : float
        Cost of the single models' hull at equal accuracy ÷ cost (paper, section 3); nan above the
        best single model.
    method : Method, name of one, or None
        None: of a ScoreTable, whose confidences are given.
    score, cost_kind : str
        What accuracy and cost are.
    selected_on : Origin, tuple of Origin, or None
        All samples whose labels were seen while the cascade was made, by the search and by the fit
        of its method; None: not known.
    thresholds_from : Origin or None
        The samples of which the thresholds are quantiles, without a look at labels
        (:func:`cascadelib.ladder`); None: labels chose the thresholds.
    saving : float
        Cost of the most accurate single model where the cascade was found ÷ cost; nan: not known,
        as of a point from a file.
    difference : float
        Accuracy − that of the same model.
    expected_accuracy : float
        The accuracy to count on with other samples, where ``accuracy`` is what was promised
        (:meth:`cascadelib.Front.expected_accuracy_at`); nan: not known.
    chosen_by : str
        The rule of :func:`cascadelib.pick` that chose it, in words.
    records : tuple of mappings
        What tells each model from another of its name: classes, checkpoint, revision, digest of
        the weights …; empty: not known.
    expected : Expected or None
        What to expect of it on other samples.
    versions : mapping
        {package: version} with which it was made.
    premises : tuple of mappings
        Name, status and evidence of each premise of the guarantee that certified it; empty: it was
        not certified.
    chosen : tuple
        (models, thresholds) that were chosen on ``selected_on``: those of the point, unless
        :func:`dataclasses.replace` put others in their place, of which nobody knows where they
        come from.
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
    thresholds_from: Origins = field(default=None, compare=False, repr=False)
    saving: float = field(default=np.nan, compare=False)
    difference: float = field(default=np.nan, compare=False)
    expected_accuracy: float = field(default=np.nan, compare=False)
    chosen_by: str = field(default="", compare=False)
    records: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    expected: Expected | None = field(default=None, compare=False)
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)
    premises: tuple[Mapping[str, str], ...] = field(default=(), compare=False, repr=False)
    chosen: tuple = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("a Point has one model at least: models=(name, …)")
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
        """The models up to the first stage at which every sample exits: a single one is no
        cascade."""
        stages = np.flatnonzero(self.inside == -np.inf)
        return self.models[: stages[0] + 1] if len(stages) else self.models

    @property
    def chain(self) -> str:
        """Active models and their thresholds: "a at 0.5 → b"."""
        *deferring, last = self.active_models
        stages = [f"{name} at {t:.4g}" for name, t in zip(deferring, self.thresholds)]
        return " → ".join([*stages, last])

    @property
    def decided_by(self) -> str:
        """What exits are decided by, in words."""
        if self.method is None:
            return "given confidences"
        return self.method.confidence or str(self.method.metric)

    @property
    def cascades(self) -> tuple["Point", ...]:
        """Itself: what :func:`points_of` asks for."""
        return (self,)

    @property
    def seen(self) -> Origins:
        """``selected_on``, and what the method of now was fitted on, where another was put in its
        place; in part not known where the thresholds were (:attr:`chosen`)."""
        seen = self.selected_on
        if self.chosen != (self.models, self.thresholds):
            seen = join_origins(seen, None)
        return seen if self.method is None else self.method.add_fit_samples(seen)

    @property
    def origin(self) -> Origins:
        """What a file says that it has seen: ``seen``, and those it was laid on, since a promise
        about their source would hold on none of them."""
        return (
            self.seen
            if self.thresholds_from is None
            else join_origins(self.seen, self.thresholds_from)
        )

    @property
    def metric(self) -> Any:
        """The metric that exits are decided by; None where that has no name: of a ScoreTable, or
        fitted."""
        return None if self.method is None else self.method.units

    @cached_property
    def inside(self) -> Array:
        """Thresholds as they are compared with confidences (higher = more confident): float64
        [n − 1]."""
        return convert_units(self.metric, np.array(self.thresholds, np.float64))

    @cached_property
    def fitted(self) -> tuple[Fitted, ...]:
        """The fitted confidence after each model; empty where there is none."""
        method = self.method
        if method is None or method.confidence is None:
            return ()
        prefixes = [self.models[: stage + 1] for stage in range(len(self.models))]
        return tuple(method.fitted_after(prefix) for prefix in prefixes)


def measured_text(point: Point) -> str:
    """What was measured of a point, as the end of a sentence; empty where nothing was."""
    text = ""
    if not np.isnan(point.accuracy):
        text += f"; {point.score} {point.accuracy:.2%}"
    if not np.isnan(point.expected_accuracy):
        text += f", expected accuracy {point.expected_accuracy:.2%}"
    if not np.isnan(point.saving):
        text += f", saving {point.saving:.3g} × at {100 * point.difference:+.2f} points"
    if not np.isnan(point.improvement):
        text += f", improvement {point.improvement:.3g} ×"
    return text


def points_of(cascades: Any) -> list[Point]:
    """The Points of what takes a cascade: the one function that says what that may be.

    Parameters
    ----------
    cascades : Point, Policy, Cascade, Front, Certificate, or a list of them
        Each says by its member ``cascades`` which Points it stands for: a policy the one at the
        thresholds in use, a front all of its own, a certificate those that are certified.

    Returns
    -------
    list of Point
        At least one.

    Raises
    ------
    TypeError
        For other things.
    ValueError
        For an empty list, and where nothing is certified.
    """
    given = list(cascades) if isinstance(cascades, list | tuple) else [cascades]
    points: list[Point] = []
    for one in given:
        own = getattr(one, "cascades", None)
        if own is None:
            remedy = ""
            if one is None:
                remedy = (
                    ": where it is a certificate's point, nothing was certified (print the "
                    "certificate)"
                )
            elif isinstance(one, str | os.PathLike):
                remedy = ": load the file with cascadelib.Policy.load(path)"
            elif hasattr(one, "outcome"):
                remedy = ": a store comes first, then the cascades"
            raise TypeError(
                "a Point, Policy, Cascade, Front or Certificate is needed here, or a list of them, "
                f"not {type(one).__name__}{remedy}"
            )
        if not own:
            raise ValueError(
                f"this {type(one).__name__} holds no cascade: where it is a certificate, nothing "
                "was certified (print it)"
            )
        points.extend(own)
    if not points:
        raise ValueError("no cascades: give a Point, a Front or a list of them")
    return points


def kinds_of(cascades: Iterable[Any]) -> tuple[str, str]:
    """The score and the kind of cost of some Points, or Fronts; ValueError where they differ."""
    kinds = {(one.score, one.cost_kind) for one in cascades}
    if len(kinds) > 1:
        raise ValueError(
            f"the cascades differ in score or kind of cost: {sorted(kinds)}; take those of one "
            "kind at a time"
        )
    return kinds.pop()


def single_point(cascade: Any) -> Point:
    """The one Point of :func:`points_of`; ValueError where there are several."""
    points = points_of(cascade)
    if len(points) > 1:
        raise ValueError(
            f"one cascade is needed here, not {len(points)}: choose one with cascadelib.pick"
        )
    return points[0]
