"""The form of a cascade's file: a Point as JSON, and back to the last bit.

The file holds nothing that runs when it is read. To read one takes numpy alone: neither torch nor
pandas nor compiled kernels.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import about, check_count, fits, known
from ..evaluation.point import Estimate, Expected, OrderStatistics, Point
from ..files import digest_of, parsed, read_json
from ..labels import CONTENT, KEY, Labels, Origin, Recorded, contents_of, parts_of, together
from ..methods.confidence_metrics import metric_of
from ..methods.fitted import fitted_from_json, kind_and_columns
from ..methods.method import Method
from ..methods.thresholds import WORDS, own_units
from .json_values import (
    items_in,
    number_in,
    numbers_in,
    object_in,
    refused,
    text_in,
    text_or_none,
)

FORMAT = "cascadelib cascade"
VERSION = 1
PARTS = (
    "models",
    "thresholds",
    "method",
    "score",
    "cost_kind",
    "chosen",
    "chosen_on",
    "expected",
    "versions",
)
LARGEST = 2**23  # bytes of a file, written or read
MOST_SAMPLES = 2**23  # of which a file may keep quantiles
MOST_CLASSES = 2**20
MOST_KEYS = 2**16  # ids whose digests a file holds: half of its largest size
DIGESTS = ("keys", "contents")  # of samples that a cascade has seen


def text_of(point: Point) -> str:
    """The JSON text of a Point: format, version, a checksum that tells later edits, its parts.

    Raises ValueError for a metric or an ensemble that is a function, since it has no name to write,
    and for more than LARGEST bytes.
    """
    parts = parts_as_json(point)
    text = written(parts)
    size = len(text.encode())
    while size > LARGEST:
        less = without_digests(parts["chosen_on"])
        if less is None:
            break
        parts["chosen_on"] = less  # what it has seen is then not known, and promises say so
        text = written(parts)
        size = len(text.encode())
    if size > LARGEST:
        raise ValueError(
            f"a part is too large: the cascade takes {size} bytes, and {LARGEST} at most are "
            "written and read; use a confidence that is fitted with fewer parameters, as 'logistic'"
        )
    return text


def written(parts: dict[str, Any]) -> str:
    """The JSON text of all parts, however long."""
    head = {"format": FORMAT, "version": VERSION, "checksum": digest_of(parts)}
    text = json.dumps(head | parts, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", on_one_line, text) + "\n"


def without_digests(chosen_on: dict[str, Any] | None) -> dict[str, Any] | None:
    """The samples seen, without the longest list of digests of their ids or contents; None where
    there is none."""
    less = deepcopy(chosen_on or {})
    splits = [split for split in (less, *less.get("also", [])) if split]
    lists = []
    for split in splits:
        lists += [(len(split[part]), part, split) for part in DIGESTS if split.get(part)]
    if not lists:
        return None
    _, part, longest = max(lists, key=itemgetter(0))
    longest[part] = None
    return less


def on_one_line(match: re.Match) -> str:
    """A list or object of plain values on one line, unless that makes it a long one.

    Lists within a fitted confidence are on one line however long: a class has two of them.
    """
    opening, *middle, closing = (line.strip() for line in match[0].split("\n"))
    line = opening + " ".join(middle) + closing
    within_fitted = re.fullmatch(" {12,}.*", match[0].rpartition("\n")[2])
    return line if len(line) < 120 or within_fitted else match[0]


def parts_as_json(point: Point) -> dict[str, Any]:
    """A Point as plain values of JSON, in the order of PARTS."""
    chosen = {
        "accuracy": number_to_json(point.accuracy),
        "cost": number_to_json(point.cost),
        "exit_rates": list(point.exit_rates),
        "improvement": number_to_json(point.improvement),
    }
    return {
        "models": records_of(point),
        "thresholds": [threshold_to_json(point.metric, t) for t in point.thresholds],
        "method": method_to_json(point),
        "score": point.score,
        "cost_kind": point.cost_kind,
        "chosen": chosen,
        "chosen_on": seen_to_json(point.origin, point.models),
        "expected": point.expected and expected_to_json(point.expected),
        "versions": dict(point.versions),
    }


def records_of(point: Point) -> list[dict[str, Any]]:
    """What is known of each model of a Point, its name at least."""
    records = [dict(record) for record in point.records]
    if [record["name"] for record in records] == list(point.models):
        return records
    return [{"name": name} for name in point.models]


def number_to_json(value: float) -> float | None:
    """A number, or null for nan and inf."""
    return float(value) if math.isfinite(value) else None


def threshold_to_json(metric: str | Callable | None, threshold: float) -> float | str:
    """A threshold in the metric's own units as the number; at the ends "always" or "never"."""
    inside = float(own_units(metric, threshold))
    return next((word for word, end in WORDS.items() if inside == end), float(threshold))


def method_to_json(point: Point) -> dict[str, Any] | None:
    """The method of a Point, with what was fitted for the Point's own models alone."""
    method = point.method
    if method is None:
        return None
    named: dict[str, Any] = {"metric": method.metric, "ensemble": method.ensemble}
    functions = [f"{key} {value!r}" for key, value in named.items() if callable(value)]
    if functions:
        raise ValueError(
            f"the {' and the '.join(functions)} is a function, which JSON cannot hold: use a named one"
        )
    temperatures = None
    if method.temperature:
        temperatures = {name: method.temperature_of(name) for name in point.models}
    written = named | {"temperature": method.temperature, "temperatures": temperatures}
    if point.fitted:
        written["fitted"] = [asdict(one) for one in point.fitted]
    return written


def seen_to_json(seen: Origin, models: tuple[str, ...]) -> dict[str, Any] | None:
    """The samples that a Point of some models has seen: the first set of them, and under "also" the
    others.

    A set that is not known is null, unless it is the first and another one is known.
    """
    parts = parts_of(seen)
    known_parts = [part for part in parts if part is not None]
    if not known_parts:
        return None
    room = MOST_KEYS
    written = []
    for part in known_parts:
        keys, room = keys_to_json(part, room)
        contents = as_base64(contents_of(part, models))
        written.append(split_to_json(part) | {"keys": keys, "contents": contents})
    first, *others = written
    unknown = [None] if len(known_parts) < len(parts) else []
    return first | {"also": [*others, *unknown]}


def split_to_json(part: Labels | Recorded) -> dict[str, Any]:
    """One set of samples: data set, split, fingerprint over ids and labels where a store says it,
    their number, and the digest of their sorted ids."""
    return {
        "dataset": part.dataset,
        "split": part.split,
        "fingerprint": part.fingerprint if isinstance(part, Recorded) else None,
        "samples": len(part),
        "ids": part.digest,
    }


def keys_to_json(part: Labels | Recorded, room: int) -> tuple[str | None, int]:
    """(the digests of the ids of a set of samples, distinct and sorted, as base64; how many of
    ``room`` are left); None without ids, and where there are more than ``room``."""
    keys = part.keys
    if isinstance(part, Labels) and not part.given:
        keys = None
    if keys is None or len(part) > room:
        return None, room
    distinct = sorted({*np.frombuffer(keys, KEY).tolist()})
    return as_base64(b"".join(distinct)), room - len(part)


def as_base64(content: bytes | None) -> str | None:
    """Bytes as text."""
    return None if content is None else base64.b64encode(content).decode()


def expected_to_json(expected: Expected) -> dict[str, Any]:
    """What is expected of a cascade; what files of version 0.1 lack is left out."""
    written: dict[str, Any] = {"on": split_to_json(expected.on)}
    if expected.intervals is not None:
        written["intervals"] = expected.intervals
    written["accuracy"] = asdict(expected.accuracy)
    written["cost"] = asdict(expected.cost)
    written["exit_rates"] = [asdict(rate) for rate in expected.exit_rates]
    written["confidences"] = [statistics_to_json(one) for one in expected.confidences]
    return written


def statistics_to_json(one: OrderStatistics) -> dict[str, list]:
    """Order statistics of a stage's confidences."""
    written: dict[str, list] = {"values": list(one.values), "counts": list(one.counts)}
    if one.ties is not None:
        written["ties"] = list(one.ties)
    return written


def read_point(path: str | Path, edited: bool = False) -> Point:
    """The Point in a file. Raises as :func:`parse_cascade`, naming the file, and for what is no
    regular file, or too large."""
    content = read_json(Path(path), LARGEST)
    with about(str(path)):
        return parse_cascade(content, edited)


def parse_cascade(content: str | dict, edited: bool = False) -> Point:
    """The Point that :func:`text_of` wrote.

    Parameters
    ----------
    content : str or dict
        The text, or the object in it.
    edited : bool
        Whether it may have been edited since it was written.

    Returns
    -------
    Point
        Without ``saving`` and ``difference``, which no file holds.

    Raises
    ------
    ValueError
        For what is no JSON, another format or version, an edit, or a part that no cascade can have;
        the part is named.
    """
    content = parsed(content, "the text") if isinstance(content, str) else content
    if content.get("format") != FORMAT:
        raise ValueError(f"this is no cascade: 'format' is not {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"format version {content.get('version')!r}, but this cascadelib reads version "
            f"{VERSION}: use the cascadelib that wrote it, or save the cascade again with this one"
        )
    if missing := [part for part in PARTS if part not in content]:
        raise ValueError(f"the cascade lacks {', '.join(map(repr, missing))}")
    if unknown := sorted(content.keys() - {"format", "version", "checksum", *PARTS}):
        raise ValueError(f"a cascade has no {', '.join(map(repr, unknown))}")
    point = point_in(content)
    try:
        text_of(point)
    except RecursionError:
        raise ValueError("a part is nested too deep") from None
    parts = {part: content[part] for part in PARTS}
    if not edited and content.get("checksum") != digest_of(parts):
        raise ValueError(
            "the file was edited after it was written: its checksum does not fit. Its expected "
            "accuracy, cost and exit rates may no longer hold. Choose the point anew; or, where "
            "the edit is meant, write it again: "
            "cascadelib.Policy.load(path, edited=True).save(path)"
        )
    return point


def point_in(content: Mapping) -> Point:
    """The Point in an object that has PARTS."""
    records = tuple(record_in(record) for record in items_in(content["models"], "'models'"))
    names = tuple(record["name"] for record in records)
    if not names or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"'models' must be distinct names, not {list(names)}")
    found_on, is_complete = seen_in(content["chosen_on"], names)
    method = content["method"]
    if method is not None:
        method = method_in(method, names)
        if method.temperature or method.confidence is not None:
            if not is_complete:
                # files of before do not say on which samples it was fitted
                found_on = together(found_on, None)
            method = replace(method, fitted_on=found_on)
    thresholds = items_in(content["thresholds"], "'thresholds'")
    if len(thresholds) != len(names) - 1:
        raise ValueError(
            f"{len(thresholds)} thresholds for {len(names)} models; one fewer is needed"
        )
    units = None if method is None else method.units
    chosen = object_in(content["chosen"], "'chosen'")
    rates = numbers_in(chosen.get("exit_rates"), "the exit rates of 'chosen'")
    expected = content["expected"]
    if expected is not None:
        expected = expected_in(expected, len(names))
    if len(rates) not in (0, len(names)):
        raise ValueError(f"exit rates are needed of {len(names)} models, not of {len(rates)}")
    return Point(
        models=names,
        thresholds=tuple(threshold_from_json(units, t) for t in thresholds),
        exit_rates=rates,
        accuracy=number_or_nan(chosen, "accuracy"),
        cost=number_or_nan(chosen, "cost"),
        improvement=number_or_nan(chosen, "improvement"),
        method=method,
        score=text_in(content["score"], "'score'"),
        cost_kind=text_in(content["cost_kind"], "'cost_kind'"),
        found_on=found_on,
        records=records,
        expected=expected,
        versions=versions_in(content["versions"]),
    )


def number_or_nan(values: Mapping, key: str) -> float:
    """The number under a key of "chosen", or nan where there is none."""
    value = values.get(key)
    return math.nan if value is None else number_in(value, f"'chosen': {key!r}")


def record_in(value: Any) -> dict[str, Any]:
    """What a file says of a model: its name, how many classes it has or null, and more."""
    record = object_in(value, "a model of 'models'")
    text_in(record.get("name"), "the name of a model of 'models'")
    if record.get("classes") is not None:
        check_count(record["classes"], "the classes of a model", 1, MOST_CLASSES)
    return record


def versions_in(value: Any) -> dict[str, str]:
    """{package: version}."""
    versions = object_in(value, "'versions'")
    return {name: text_in(one, f"the version of {name}") for name, one in versions.items()}


def threshold_from_json(metric: str | Callable | None, value: Any) -> float:
    """The inverse of :func:`threshold_to_json`; ValueError for anything but a finite number and the
    two words."""
    if isinstance(value, str):
        return float(own_units(metric, WORDS[known(value, WORDS, "threshold")]))
    if not fits(value, float):
        raise ValueError(f"a threshold must be a finite number, 'always' or 'never', not {value!r}")
    return float(value)


def method_in(value: Any, names: tuple[str, ...]) -> Method:
    """The Method of the models ``names``, with what was fitted for them."""
    written = object_in(value, "'method'")
    needed = {"metric", "ensemble", "temperature", "temperatures"}
    is_scaled = written.get("temperature")
    is_whole = needed <= written.keys() <= needed | {"fitted"} and isinstance(is_scaled, bool)
    if not is_whole or is_scaled is (written["temperatures"] is None):
        what = f"a part of 'method' ({', '.join(sorted(needed))}, fitted)"
        raise refused(what)
    metric = text_in(written["metric"], "the metric")
    metric_of(metric)
    ensemble = text_in(written["ensemble"], "the ensemble")
    temperatures = None
    if is_scaled:
        given = object_in(written["temperatures"], "'temperatures'")
        temperatures = {name: temperature_in(given, name) for name in names}
    method = Method(metric, ensemble, bool(is_scaled), temperatures)
    fitted = [fitted_from_json(one) for one in items_in(written.get("fitted") or [], "'fitted'")]
    if not fitted:
        return method
    if len(fitted) != len(names):
        raise ValueError(f"a fitted confidence is needed of each of the {len(names)} models")
    method = replace(method, **kind_and_columns(fitted))
    read = 1 if method.last_only else 2
    ends = {names[: stage + 1][-read:]: one for stage, one in enumerate(fitted)}
    return replace(method, fitted=ends)


def temperature_in(temperatures: Mapping, name: str) -> float:
    """The temperature of a model."""
    value = temperatures[known(name, temperatures, "model with a fitted temperature")]
    if not (fits(value, float) and value > 0):
        raise ValueError(f"the temperature of {name!r} must be a positive number, not {value!r}")
    return float(value)


def seen_in(value: Any, models: tuple[str, ...]) -> tuple[Origin, bool]:
    """(the samples that a cascade of some models has seen; whether the file says so of those of its fit, too)."""
    if value is None:
        return None, False
    written = object_in(value, "'chosen_on'")
    also = written.get("also")
    others = [] if also is None else items_in(also, "'also'")
    known_parts = [part for part in (written, *others) if part is not None]
    parts = [split_in(part, "'chosen_on'", models) for part in known_parts]
    unknown = [None] if None in others else []
    return together(*parts, *unknown), also is not None


def split_in(value: Any, what: str, models: tuple[str, ...] = ()) -> Recorded:
    """One set of samples, as :func:`split_to_json` writes it; models: those of the cascade."""
    written = object_in(value, what)
    return Recorded(
        dataset=text_or_none(written, "dataset", what),
        split=text_or_none(written, "split", what),
        samples=check_count(written.get("samples"), f"{what}: 'samples'", 0, 2**53 - 1),
        digest=text_or_none(written, "ids", what),
        keys=digests_in(text_or_none(written, "keys", what), "keys", KEY),
        contents=digests_in(text_or_none(written, "contents", what), "contents", CONTENT),
        models=models,
        fingerprint=text_or_none(written, "fingerprint", what),
    )


def digests_in(text: str | None, part: str, kind: np.dtype) -> bytes | None:
    """The digests of ids, or of contents, in base64."""
    if text is None:
        return None
    try:
        digests = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"'chosen_on': its {part} are not base64") from None
    if len(digests) % kind.itemsize:
        raise ValueError(f"'chosen_on': its {part} are not {kind.itemsize} bytes each")
    return digests


def expected_in(value: Any, models: int) -> Expected:
    """What is expected of a cascade of so many models."""
    written = object_in(value, "'expected'")
    rates = items_in(written.get("exit_rates"), "the exit rates of 'expected'")
    stages = items_in(written.get("confidences"), "the confidences of 'expected'")
    if {len(rates), len(stages)} != {models}:
        raise ValueError(f"exit rates and confidences are needed of {models} models")
    expected = Expected(
        on=split_in(written.get("on"), "'on'"),
        accuracy=estimate_in(written.get("accuracy"), "the accuracy of 'expected'"),
        cost=estimate_in(written.get("cost"), "the cost of 'expected'"),
        exit_rates=tuple(share_in(rate) for rate in rates),
        confidences=tuple(statistics_in(stage) for stage in stages),
        intervals=text_or_none(written, "intervals", "'expected'"),
    )
    samples = expected.on.samples
    reach = samples
    for rate, stage in zip(expected.exit_rates, expected.confidences):
        check_statistics(stage, reach)
        reach -= round(rate.value * samples)
    return expected


def estimate_in(value: Any, what: str) -> Estimate:
    """A number with the ends of its interval."""
    written = object_in(value, what)
    return Estimate(*(number_in(written.get(key), what) for key in ("value", "low", "high")))


def share_in(value: Any) -> Estimate:
    """An exit rate with the ends of its interval."""
    rate = estimate_in(value, "an exit rate of 'expected'")
    number_in(rate.value, "an exit rate of 'expected'", 0, 1)
    return rate


def statistics_in(value: Any) -> OrderStatistics:
    """Order statistics of a stage's confidences."""
    what = "the confidences of 'expected'"
    written = object_in(value, what)
    counts = items_in(written.get("counts"), what)
    ties = written.get("ties")
    if ties is not None:
        ties = tuple(number_in(tie, what, 0, 1) for tie in items_in(ties, what))
    return OrderStatistics(
        values=numbers_in(written.get("values"), what),
        counts=tuple(check_count(count, what, 1, MOST_SAMPLES) for count in counts),
        ties=ties,
    )


def check_statistics(one: OrderStatistics, reach: int) -> None:
    """ValueError unless these are order statistics of ``reach`` samples, distinct with their ties."""
    ties = one.ties or (1.0,) * len(one.values)  # files of before have none
    order = list(zip(one.values, ties))
    lengths = {len(one.values), len(one.counts), len(ties)}
    is_rising = sorted(set(order)) == order
    if len(lengths) > 1 or not is_rising or not sum(one.counts) == reach <= MOST_SAMPLES:
        raise ValueError(
            f"confidences must rise, with a count each, of all {reach} samples that reach the stage"
        )
