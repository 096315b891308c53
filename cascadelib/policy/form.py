"""Read and write a cascade's file: a Point as JSON, exact to the last bit.

The file contains no code. Reading it needs NumPy, but not torch, pandas or compiled kernels.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import CLASSES, POSITIVE, brief, error_context, fits, misfit, validate_choice
from ..evaluation.point import Estimate, Expected, OrderStatistics, Point
from ..files import digest_of, parse_json_object, read_json
from ..methods.fitted import Fitted, describe_fits, fitted_from_json
from ..methods.method import Method
from ..methods.thresholds import WORDS, convert_units
from ..origin import MOST_CONTENTS, TRACES, Origin, Origins, join_origins, parts_of

FORMAT = "cascadelib cascade"
VERSION = 1
LARGEST = 2**23  # bytes of a file, written or read
MOST_KEYS = 2**16  # ids per set of samples whose digests a file stores
MOST_SAMPLES = 2**23  # samples whose quantiles a file may store
# Forms of the parts, see misfit().
TEXT = (str, None)
SHARE = slice(0, 1)
SPLIT = {
    **dict.fromkeys(("dataset", "split", "fingerprint", "ids", *TRACES), TEXT),
    "samples": range(2**53),
}
METHOD = {
    "metric": str,
    "ensemble": str,
    "temperature": bool,
    "temperatures": ({str: slice(*POSITIVE)}, None),
    "fitted": ([dict], None),
}
ESTIMATE = dict.fromkeys(("value", "low", "high"), float)
STATISTICS = {"values": [float], "counts": [range(1, MOST_SAMPLES + 1)], "ties": [SHARE]}
EXPECTED = {
    "on": SPLIT,
    "intervals": TEXT,
    "accuracy": ESTIMATE,
    "cost": ESTIMATE,
    "exit_rates": [ESTIMATE | {"value": SHARE}],
    "confidences": [STATISTICS],
}
MEASURED = ("accuracy", "expected_accuracy", "cost", "improvement")
PARTS: dict[str, Any] = {
    "models": [{"name": str, "classes": (CLASSES, None)}],
    "thresholds": list,
    "method": (METHOD, None),
    "score": str,
    "cost_kind": str,
    "chosen": {"exit_rates": [float], **dict.fromkeys(MEASURED, (float, None))},
    "chosen_on": (SPLIT | {"also": ([(SPLIT, None)], None)}, None),
    "expected": (EXPECTED, None),
    "versions": {str: str},
    "premises": ([dict.fromkeys(("name", "status", "evidence"), str)], None),
}
OPTIONAL = {"expected", "premises"}  # parts that may be missing


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
    head = {"format": FORMAT, "version": VERSION, "checksum": digest_of(parts)}
    whole = json.dumps(head | parts, indent=2, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", join_lines, whole) + "\n"
    if (size := len(text.encode())) > LARGEST:
        raise ValueError(
            f"a part is too large: the cascade takes {size} bytes, and {LARGEST} at most are "
            "written and read. Use a fitted confidence with fewer parameters, such as 'logistic'"
        )
    return text


def join_lines(match: re.Match) -> str:
    """Join the lines of a list or object of plain values, unless the result is long.

    Lists within a fitted confidence are always joined, as there are two per class.
    """
    opening, *middle, closing = (line.strip() for line in match[0].split("\n"))
    line = opening + " ".join(middle) + closing
    within_fitted = re.fullmatch(" {12,}.*", match[0].rpartition("\n")[2])
    return line if len(line) < 120 or within_fitted else match[0]


def parts_as_json(point: Point) -> dict[str, Any]:
    """Return a Point as plain values of JSON, in the order of PARTS."""
    measured = {name: float(getattr(point, name)) for name in MEASURED}
    chosen: dict[str, Any] = {
        name: value for name, value in measured.items() if math.isfinite(value)
    }
    chosen["exit_rates"] = list(point.exit_rates)
    return {
        "models": records_of(point),
        "thresholds": [threshold_to_json(point.metric, t) for t in point.thresholds],
        "method": method_to_json(point),
        "score": point.score,
        "cost_kind": point.cost_kind,
        "chosen": chosen,
        "chosen_on": seen_to_json(point.origin, point.models),
        "versions": dict(point.versions),
    } | optional_parts(point)


def optional_parts(point: Point) -> dict[str, Any]:
    """Return the known parts of OPTIONAL.

    Premises are those of the guarantee that certified the Point with its current thresholds.
    """
    parts: dict[str, Any] = {}
    if point.expected:
        parts["expected"] = expected_to_json(point.expected)
    if point.premises and point.chosen == (point.models, point.thresholds):
        parts["premises"] = [dict(premise) for premise in point.premises]
    return parts


def records_of(point: Point) -> list[dict[str, Any]]:
    """Return a record of each model of a Point, with at least its name."""
    records = [dict(record) for record in point.records]
    if [record["name"] for record in records] == list(point.models):
        return records
    return [{"name": name} for name in point.models]


def threshold_to_json(metric: str | Callable | None, threshold: float) -> float | str:
    """Return a threshold in native units, or "always" or "never" at the ends of the range."""
    inside = float(convert_units(metric, threshold))
    return next((word for word, end in WORDS.items() if inside == end), float(threshold))


def method_to_json(point: Point) -> dict[str, Any] | None:
    """Return the method of a Point, with the fits of the Point's models only."""
    method = point.method
    if method is None:
        return None
    named: dict[str, Any] = {"metric": method.metric, "ensemble": method.ensemble}
    functions = [f"{key} {value!r}" for key, value in named.items() if callable(value)]
    if functions:
        raise ValueError(
            f"the {' and the '.join(functions)} is a function, which JSON cannot hold. Use a named "
            "one"
        )
    temperatures = None
    if method.temperature:
        temperatures = {name: method.temperature_of(name) for name in point.models}
    written = named | {"temperature": method.temperature, "temperatures": temperatures}
    if point.fitted:
        written["fitted"] = [asdict(one) for one in point.fitted]
    return written


def seen_to_json(seen: Origins, models: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the samples that a Point has seen: the first set, with the others under "also".

    An unknown set is null, unless it is the first and another one is known.
    """
    parts = parts_of(seen)
    written = []
    for part in parts:
        if part is not None:
            split = part.record(models)
            traces = {name: as_base64(split.traces.get(name)) for name in TRACES}
            if len(split) > MOST_KEYS:
                traces["keys"] = None
            written.append(split_to_json(split) | traces)
    if not written:
        return None
    first, *others = written
    unknown = [None] if None in parts else []
    return first | {"also": [*others, *unknown]}


def split_to_json(part: Origin) -> dict[str, Any]:
    """Return one set of samples: data set, split, fingerprint, size and digest of ids."""
    return {
        "dataset": part.dataset,
        "split": part.split,
        "fingerprint": part.fingerprint or None,
        "samples": len(part),
        "ids": part.digest,
    }


def as_base64(content: bytes | None) -> str | None:
    """Return bytes as base64 text."""
    return None if content is None else base64.b64encode(content).decode()


def expected_to_json(expected: Expected) -> dict[str, Any]:
    """Return the expectations of a cascade, without those that are None."""
    written = dict.fromkeys(EXPECTED) | asdict(expected, dict_factory=drop_missing)
    return drop_missing((written | {"on": split_to_json(expected.on)}).items())


def drop_missing(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the values that are not None, with tuples as lists."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in items
        if value is not None
    }


def read_point(path: str | Path, edited: bool = False) -> Point:
    """Read a Point from a file.

    Raises ValueError if :func:`parse_cascade` does, or the file is not regular or too large.
    """
    content = read_json(Path(path), LARGEST)
    with error_context(str(path)):
        return parse_cascade(content, edited)


def parse_cascade(content: str | dict, edited: bool = False) -> Point:
    """Return the Point that :func:`text_of` wrote.

    Parameters
    ----------
    content : str or dict
        The text, or the JSON object in it.
    edited : bool, default=False
        Whether the text may have been edited since it was written.

    Returns
    -------
    Point
        It has no ``saving`` and ``difference``, which a file does not store.

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
    if missing := [part for part in PARTS if part not in content and part not in OPTIONAL]:
        raise ValueError(f"the cascade lacks {', '.join(map(repr, missing))}")
    if unknown := sorted(content.keys() - {"format", "version", "checksum", *PARTS}):
        raise ValueError(f"a cascade has no {', '.join(map(repr, unknown))}")
    point = point_in(content)
    parts = {part: content[part] for part in PARTS if part in content}
    if not edited and content.get("checksum") != digest_of(parts):
        raise ValueError(
            "the file was edited after it was written: its checksum does not fit. Its expected "
            "accuracy, cost and exit rates may no longer hold. Choose the point again. If the edit "
            "is intended, write the file again: "
            "cascadelib.Policy.load(path, edited=True).save(path)"
        )
    return point


def point_in(content: Mapping) -> Point:
    """Return the Point in an object that has PARTS."""
    if place := misfit(content, PARTS):
        raise ValueError(f"{place}: missing or of another kind. Save the cascade again")
    thresholds = content["thresholds"]
    names = names_in(content["models"], len(thresholds))
    selected_on = seen_in(content["chosen_on"], names)
    method = method_in(content["method"], names) if content["method"] else None
    units = method.units if method else None
    if method and (method.temperature or method.confidence):
        if (content["chosen_on"] or {}).get("also") is None:  # the samples of the fit are not known
            selected_on = join_origins(selected_on, None)
        method = replace(method, fitted_on=selected_on)
    expected = content.get("expected")
    return Point(
        models=names,
        thresholds=tuple(threshold_from_json(units, t) for t in thresholds),
        method=method,
        score=content["score"],
        cost_kind=content["cost_kind"],
        selected_on=selected_on,
        records=tuple(content["models"]),
        expected=expected_in(expected, len(names)),
        versions=content["versions"],
        premises=tuple(content.get("premises") or ()),
        **measured_in(content["chosen"], len(names)),
    )


def names_in(records: Sequence[Mapping], thresholds: int) -> tuple[str, ...]:
    """Return the names of the models, or raise ValueError if they do not fit the thresholds."""
    names = tuple(record["name"] for record in records)
    if len({*names} - {""}) < max(1, len(names)):
        raise ValueError(f"'models' must be distinct names, not {list(names)}")
    if thresholds != len(names) - 1:
        raise ValueError(f"{thresholds} thresholds for {len(names)} models; one fewer is needed")
    return names


def measured_in(chosen: Mapping, models: int) -> dict[str, Any]:
    """Return the figures of a cascade of ``models`` models on its selection split."""
    rates = chosen["exit_rates"]
    if len(rates) not in (0, models):
        raise ValueError(f"exit rates are needed of {models} models, not of {len(rates)}")
    measured = drop_missing((key, chosen.get(key)) for key in MEASURED)
    numbers = {key: float(value) for key, value in measured.items()}
    return numbers | {"exit_rates": floats(rates)}


def floats(values: Any) -> tuple[float, ...]:
    """Return numbers of JSON as floats, however large they are."""
    return tuple(map(float, values))


def threshold_from_json(metric: str | Callable | None, value: Any) -> float:
    """Invert :func:`threshold_to_json`.

    Raises ValueError if the value is not a finite number, "always" or "never".
    """
    if isinstance(value, str):
        return float(convert_units(metric, WORDS[validate_choice(value, WORDS, "threshold")]))
    if not fits(value, float):
        raise ValueError(
            f"a threshold must be a finite number, 'always' or 'never', not {brief(value)}"
        )
    return float(value)


def method_in(written: Mapping, names: tuple[str, ...]) -> Method:
    """Return the Method of some models, with their fits."""
    is_scaled = written["temperature"]
    temperatures: Any = written.get("temperatures")
    if written.keys() - METHOD.keys() or is_scaled is (temperatures is None):
        raise ValueError(f"a part of 'method' ({', '.join(METHOD)}) is missing or of another kind")
    if is_scaled:
        temperatures = {name: float(value) for name, value in temperatures.items()}
    method = Method(written["metric"], written["ensemble"], is_scaled, temperatures)
    if is_scaled:
        for name in names:
            method.temperature_of(name)
    fitted = [fitted_in(one) for one in written.get("fitted") or ()]
    if not fitted:
        return method
    if len(fitted) != len(names):
        raise ValueError(f"a fitted confidence is needed of each of the {len(names)} models")
    method = replace(method, **describe_fits(fitted))
    return replace(method, fitted=dict(zip(models_read(method, names), fitted)))


def fitted_in(written: dict) -> Fitted:
    """Return a fitted confidence, or raise ValueError if its parts do not fit."""
    with suppress(TypeError, IndexError):  # numbers that numpy cannot take, or too few
        if written.get("columns"):
            return fitted_from_json(written)
    raise ValueError("the columns and parameters of a fitted confidence do not fit each other")


def models_read(method: Method, models: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the models whose outputs each stage's fitted confidence reads: the last one or two."""
    read = 1 if method.last_only else 2
    return [models[: stage + 1][-read:] for stage in range(len(models))]


def seen_in(written: Mapping | None, models: tuple[str, ...]) -> Origins:
    """Return the samples that a cascade of some models has seen."""
    if written is None:
        return None
    parts = [written, *(written.get("also") or [])]
    return join_origins(*(part and split_in(part, models) for part in parts))


def split_in(written: Mapping, models: tuple[str, ...] = ()) -> Origin:
    """Return one set of samples, as written by :func:`split_to_json`."""
    rows = max(1, min(written["samples"], MOST_CONTENTS))
    kinds = TRACES | {"confidences": np.dtype((TRACES["confidences"], rows))}
    traces = {name: written.get(name) for name in ("samples", "ids", "fingerprint")}
    traces |= {name: digests_in(written.get(name), name, kind) for name, kind in kinds.items()}
    return Origin.from_traces(written.get("dataset"), written.get("split"), models, traces)


def digests_in(text: str | None, part: str, kind: np.dtype) -> bytes | None:
    """Return digests from base64 text."""
    if text is None:
        return None
    with suppress(ValueError):
        digests = base64.b64decode(text, validate=True)
        if len(digests) % kind.itemsize == 0:
            return digests
    raise ValueError(f"'chosen_on': its {part} are not base64 of {kind.itemsize} bytes each")


def expected_in(written: Mapping | None, models: int) -> Expected | None:
    """Return the expectations of a cascade of ``models`` models, or None."""
    if not written:
        return None
    stages = [statistics_in(stage) for stage in written["confidences"]]
    rates = [estimate_in(rate) for rate in written["exit_rates"]]
    if {len(rates), len(stages)} != {models}:
        raise ValueError(f"exit rates and confidences are needed of {models} models")
    samples = reach = written["on"]["samples"]
    for rate, stage in zip(rates, stages):
        check_statistics(stage, reach)
        reach -= round(rate.value * samples)
    return Expected(
        on=split_in(written["on"]),
        accuracy=estimate_in(written["accuracy"]),
        cost=estimate_in(written["cost"]),
        exit_rates=tuple(rates),
        confidences=tuple(stages),
        intervals=written.get("intervals"),
    )


def estimate_in(written: Mapping) -> Estimate:
    """Return a number with the ends of its interval."""
    return Estimate(*floats(written[key] for key in ESTIMATE))


def statistics_in(written: Mapping) -> OrderStatistics:
    """Return the order statistics of a stage's confidences."""
    return OrderStatistics(
        values=floats(written["values"]),
        counts=tuple(written["counts"]),
        ties=floats(written["ties"]),
    )


def check_statistics(one: OrderStatistics, reach: int) -> None:
    """Raise ValueError unless these are order statistics of ``reach`` samples, ties included."""
    order = list(zip(one.values, one.ties))
    lengths = {len(one.values), len(one.counts), len(one.ties)}
    is_rising = sorted(set(order)) == order
    if len(lengths) > 1 or not is_rising or not sum(one.counts) == reach <= MOST_SAMPLES:
        raise ValueError(
            f"confidences must rise, with a count each, of all {reach} samples that reach the stage"
        )
