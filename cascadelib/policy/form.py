"""Read and write a cascade's file: a Point as JSON, exact to the last bit.

:class:`CascadeFile` defines the parts and their types. The reader, the writer and the checks use
these definitions. The file contains no code. Reading it needs NumPy, but not torch, pandas or
compiled kernels.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from ..checks import (
    CLASSES,
    FINITE,
    brief,
    check_count,
    check_number,
    validate_choice,
)
from ..evaluation.guarantee import Guarantee
from ..evaluation.point import FIGURES, Expected, Point, records_of
from ..files import digest_of, from_json, parse_json_object, to_json
from ..methods.fitted import BY_LABEL, Fits, Fitted
from ..methods.method import Method
from ..methods.thresholds import WORDS, convert_units
from ..origin import Origin, Origins, Sketch, join_origins, sketches_of

FORMAT = "cascadelib cascade"
VERSION = 3
HEAD = ("format", "version", "checksum")
LARGEST = 2**23  # bytes of a file, written or read


@dataclass(frozen=True)
class MethodPart:
    """A method, with the fits of the cascade's models only."""

    metric: str
    ensemble: str
    temperature: bool
    temperatures: dict[str, float] | None = None
    fitted: tuple[Fitted, ...] | None = None


@dataclass(frozen=True)
class Figures:
    """Figures of a cascade on its selection split. Unknown ones are None."""

    exit_rates: tuple[float, ...]
    accuracy: float | None = None
    expected_accuracy: float | None = None
    cost: float | None = None
    improvement: float | None = None
    saving: float | None = None
    difference: float | None = None
    chosen_by: str = ""


@dataclass(frozen=True)
class CascadeFile:
    """The parts of a file. Those with a default may be missing."""

    models: tuple[dict, ...]
    thresholds: tuple[Any, ...]
    method: MethodPart | None
    score: str
    cost_kind: str
    chosen: Figures
    chosen_on: tuple[Sketch | None, ...]
    versions: dict[str, str]
    expected: Expected | None = None
    certified: Guarantee | None = None


PARTS = tuple(part.name for part in fields(CascadeFile))


def without_old_figures(point: Point) -> Point:
    """Return the point without figures and guarantee, if these are about other thresholds."""
    if point.chosen == (point.models, point.thresholds):
        return point
    kept = ("models", "thresholds", "method", "score", "cost_kind", "records")
    return Point(**{name: getattr(point, name) for name in kept}, selected_on=point.seen)


def text_of(point: Point) -> str:
    """Return the JSON text of a Point: format, version, a checksum that reveals edits, and parts.

    Parameters
    ----------
    point : Point

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a metric or an ensemble is a function, or the text is larger than 8 MiB.

    See Also
    --------
    parse_cascade : Read the text.
    Policy.save : Write the text to a file.

    Examples
    --------
    >>> import cascadelib as cl
    >>> from cascadelib.policy import parse_cascade, text_of
    >>> text = text_of(cl.Point(("small", "large"), (0.55,)))
    >>> parse_cascade(text).thresholds
    (0.55,)
    """
    parts = parts_as_json(point)
    content = {"format": FORMAT, "version": VERSION, "checksum": digest_of(parts)} | parts
    whole = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[\n[^\[\]{}]*\]", lambda found: re.sub(r"\n *", " ", found[0]), whole) + "\n"
    if (size := len(text.encode())) > LARGEST:
        raise ValueError(
            f"a part is too large: the cascade takes {size} bytes, and {LARGEST} at most are "
            "written and read"
        )
    return text


def parts_as_json(point: Point) -> dict[str, Any]:
    """Return a Point as plain values of JSON, in the order of PARTS.

    A guarantee about another cascade is left out.
    """
    measured = {name: float(getattr(point, name)) for name in FIGURES}
    finite: Any = {name: value for name, value in measured.items() if math.isfinite(value)}
    return to_json(
        CascadeFile(
            models=tuple(records_of(point)),
            thresholds=tuple(threshold_to_json(point.metric, t) for t in point.thresholds),
            method=method_part(point),
            score=point.score,
            cost_kind=point.cost_kind,
            chosen=Figures(point.exit_rates, **finite, chosen_by=point.chosen_by),
            chosen_on=sketches_of(point.origin),
            versions=dict(point.versions),
            expected=point.expected,
            certified=point.guarantee,
        )
    )


def threshold_to_json(metric: str | Callable | None, threshold: float) -> float | str:
    """Return a threshold in native units, or "always" or "never" at the ends of the range."""
    inside = float(convert_units(metric, threshold))
    return next((word for word, end in WORDS.items() if inside == end), float(threshold))


def method_part(point: Point) -> MethodPart | None:
    """Return the method of a Point, or raise ValueError if JSON cannot hold it."""
    method: Any = point.method
    if method is None:
        return None
    for name in ("metric", "ensemble"):
        if callable(function := getattr(method, name)):
            raise ValueError(
                f"the {name} {function!r} is a function, which JSON cannot hold. Use a named one"
            )
    temperatures = None
    if method.temperature:
        temperatures = {name: method.temperature_of(name) for name in point.models}
    rule = (method.metric, method.ensemble, method.temperature)
    return MethodPart(*rule, temperatures, point.fitted or None)


def parse_cascade(content: str | dict) -> Point:
    """Return the Point that :func:`text_of` wrote.

    Parameters
    ----------
    content : str or dict
        The text, or the JSON object in it.

    Returns
    -------
    Point

    Raises
    ------
    ValueError
        If the text is not JSON, has another format or version, was edited, or has an invalid part.
        The message names the part.

    See Also
    --------
    text_of : Write the text.
    Policy.load : Read a policy from a file.

    Examples
    --------
    >>> import cascadelib as cl
    >>> from cascadelib.policy import parse_cascade, text_of
    >>> parse_cascade(text_of(cl.Point(("small", "large"), (0.55,)))).models
    ('small', 'large')
    """
    content = parse_json_object(content, "the text") if isinstance(content, str) else content
    if content.get("format") != FORMAT:
        raise ValueError(f"this is not a cascade: 'format' is not {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"format version {content.get('version')!r}, but this cascadelib reads version "
            f"{VERSION}. Use the cascadelib that wrote it, or save the cascade again with this one"
        )
    parts = {part: value for part, value in content.items() if part not in HEAD}
    point = point_from_file(from_json(CascadeFile, parts))
    if content.get("checksum") != digest_of(parts):
        raise ValueError(
            "the file was edited after it was written: its checksum does not fit. Its expected "
            "accuracy, cost and exit rates may no longer hold. Choose the point again, or replace "
            "the thresholds of the original: cl.Policy(dataclasses.replace(policy.point, "
            "thresholds=…)).save(path)"
        )
    return point


def point_from_file(file: CascadeFile) -> Point:
    """Return the Point of a file, or raise ValueError if parts do not fit each other."""
    check_parts(file)
    names: tuple[Any, ...] = tuple(record["name"] for record in file.models)
    sets = [None if each is None else Origin.from_sketch(each) for each in file.chosen_on]
    selected_on = join_origins(*sets)
    method = None
    if file.method:
        method = method_from_part(file.method, names, selected_on)
    units = method.units if method else None
    figures = {name: value for name, value in vars(file.chosen).items() if value is not None}
    return Point(
        models=names,
        thresholds=tuple(threshold_from_json(units, value) for value in file.thresholds),
        method=method,
        score=file.score,
        cost_kind=file.cost_kind,
        selected_on=selected_on,
        records=file.models,
        expected=file.expected,
        versions=file.versions,
        certified=file.certified,
        **figures,
    )


def check_parts(file: CascadeFile) -> None:
    """Raise ValueError unless the models have names, and other parts have their number."""
    names = [record.get("name") for record in file.models]
    texts = {name for name in names if name and isinstance(name, str)}
    if len(texts) < max(1, len(names)):
        raise ValueError(f"'models' must be distinct names, not {brief(names)}")
    for record in file.models:
        if record.get("classes") is not None:
            check_count(record["classes"], "'models': 'classes'", 1, CLASSES.stop - 1)
    if len(file.thresholds) != len(names) - 1:
        raise ValueError(
            f"{len(file.thresholds)} thresholds for {len(names)} models. n models need n − 1"
        )
    if len(file.chosen.exit_rates) not in (len(names), 0):
        raise ValueError(
            f"'chosen' must have the exit rates of {len(names)} models. Save the cascade again"
        )
    if file.expected:
        check_expected(file.expected, len(names))
    check_ranges(file)


def check_ranges(file: CascadeFile) -> None:
    """Raise ValueError unless accuracies, exit rates, epsilon and delta are in [0, 1]."""
    shares = [*file.chosen.exit_rates, file.chosen.accuracy or 0]
    if file.expected:
        for estimate in (file.expected.accuracy, *file.expected.exit_rates):
            shares += vars(estimate).values()
    if file.certified:
        shares += [file.certified.delta, file.certified.epsilon or 0]
    if not 0 <= min(shares) <= max(shares) <= 1:
        raise ValueError("accuracies, exit rates, epsilon and delta must be in [0, 1]")


def threshold_from_json(metric: str | Callable | None, value: Any) -> float:
    """Invert :func:`threshold_to_json`.

    Raises ValueError if the value is not a finite number, "always" or "never".
    """
    if isinstance(value, str):
        return float(convert_units(metric, WORDS[validate_choice(value, WORDS, "threshold")]))
    return check_number(value, "a threshold", "a finite number, 'always' or 'never'", *FINITE)


def method_from_part(part: MethodPart, names: tuple[str, ...], selected_on: Origins) -> Method:
    """Return the Method of some models, with their fits on ``selected_on``."""
    temperatures = part.temperatures or {}
    if part.temperature != bool(temperatures) or min(temperatures.values(), default=1) <= 0:
        raise ValueError("'temperatures' must be positive, and are needed if 'temperature' is true")
    method = Method(part.metric, part.ensemble, part.temperature, temperatures or None)
    if temperatures:
        method = replace(method, fitted=Fits(selected_on))
        for name in names:
            method.temperature_of(name)
    if not part.fitted:
        return method
    if len(part.fitted) != len(names):
        raise ValueError(f"a fitted confidence is needed of each of the {len(names)} models")
    fitted = Fits(selected_on, dict(zip(names, part.fitted)))
    return replace(method, confidence=BY_LABEL, fitted=fitted)


def check_expected(expected: Expected, models: int) -> None:
    """Raise ValueError unless the expectations have one entry per model."""
    if {len(expected.exit_rates), len(expected.confidences)} != {models}:
        raise ValueError(f"exit rates and confidences are needed of {models} models")
