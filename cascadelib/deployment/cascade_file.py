"""What a cascade's file says of it: its point, where that was chosen, what to expect of it, with which libraries."""

import base64
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..analysis.drift_signal import HELD_OUT, WITHOUT_CHOOSING, summary
from ..analysis.repeats import refuse_equal_rows, refuse_repeated_ids, samples_seen
from ..analysis.uncertainty import (
    betting_interval,
    bootstrap,
    cost_interval,
    interval,
    share_interval,
    with_ends,
)
from ..evaluation.evaluation import check_point, mean_cost, quality, run_cascades, stage_confidences
from ..fronts.front import Point
from ..labels import CONTENT, KEY, Labels, Recorded, contents_of, parts_of, together
from ..methods.method import Method
from ..methods.thresholds import own_units
from ..scoring import F1
from .policy import CHOSEN, Policy, keys_from_json, splits_seen, threshold_to_json

PACKAGES = ("cascadelib", "torch", "timm", "transformers", "numpy")
UNCHECKED = "95%, if none of these samples chose or fitted, which was not checked"
MOST_KEYS = 2**16  # ids whose digests a file holds: half of its largest size
NAMED = ("metric", "ensemble", "temperature")  # of a method, what needs no fitting


def description_of(point: Point, store: Any = None, held_out: Any = None) -> dict:
    """A :class:`Point` as a plain dict, ready for JSON: what the file holds and :func:`point_of` takes back.

    store: where the point was chosen; held_out: another split with the same models, whose samples may not repeat
    others (:mod:`cascadelib.analysis.repeats`). ``expected`` is measured on
    ``held_out`` where it is given, else on ``store``, where it is a little too good: the point was chosen there, and
    its intervals are "without choosing". Only what was fitted for the point's own models is kept.
    """
    check_point(point)
    method, models, fitted = point.method, point.models, {}
    if method is not None and method.confidence is not None:
        each = [asdict(method.fitted_after(models[: i + 1])) for i in range(len(models))]
        fitted = {"fitted": json.loads(json.dumps(each))}  # lists for tuples, as in a file
    temperatures = (
        {name: method.temperature_of(name) for name in models}
        if method and method.temperature
        else None
    )
    numbers = {key: np.array(getattr(point, key), np.float64) for key in CHOSEN}
    measured, said = store if held_out is None else held_out, None
    if held_out is not None:
        refuse_repeated_ids(held_out)
        refuse_equal_rows(held_out, list(models))
    if measured is not None:
        said = {"on": split_to_json(measured), "intervals": intervals_of(point, held_out)}
        said |= expected(point, measured)
    return {
        "models": [model_to_json(store, name) for name in point.models],
        "thresholds": [threshold_to_json(point.metric, t) for t in point.thresholds],
        "method": method
        and {key: getattr(method, key) for key in NAMED} | {"temperatures": temperatures} | fitted,
        "score": point.score,
        "cost_kind": point.cost_kind,
        "chosen": {key: n.tolist() if np.isfinite(n).all() else None for key, n in numbers.items()},
        "chosen_on": seen_to_json(point, store),
        "expected": said,
        "versions": versions(),
    }


def point_of(description: Mapping) -> Point:
    """The :class:`Point` that :func:`description_of` described, to the last bit."""
    policy = Policy(description)
    names = policy.models
    parts = [recorded(split, names) for split in splits_seen(description["chosen_on"])]
    if policy.is_fitted and (parts[0] is None or description["chosen_on"].get("also") is None):
        parts.append(None)  # files of before do not say on which samples it was fitted
    found_on = together(*parts)
    method = description["method"] and Method(
        **{key: description["method"][key] for key in (*NAMED, "temperatures")},
        fitted_on=found_on,
    )
    if fitted := policy.fitted:
        method = replace(method, confidence=fitted[0].kind, columns=fitted[0].columns)
        read = 1 if method.last_only else 2
        method = replace(
            method, fitted={policy.models[: i + 1][-read:]: one for i, one in enumerate(fitted)}
        )
    chosen = {
        key: np.array(description["chosen"].get(key), np.float64).tolist() for key in CHOSEN
    }  # null is nan
    chosen["exit_rates"] = tuple(chosen["exit_rates"])
    kind = {"method": method, "score": description["score"], "cost_kind": description["cost_kind"]}
    return Point(policy.models, policy.thresholds, **chosen, **kind, found_on=found_on)


def model_to_json(store: Any, name: str) -> dict:
    """What tells a model from another of its name, as far as the store's header records it."""
    if store is None or not store.has_outputs:
        return {"name": name}
    header = store.metadata(name)
    extraction = header.get("extraction") or {}
    kept = {
        key: header[key]
        for key in ("checkpoint", "revision", "image_size")
        if header.get(key) is not None
    }
    kept |= {key: extraction[key] for key in ("weights_sha256", "transform") if key in extraction}
    return {"name": name, "classes": int(store.logits(name).shape[1]), **kept}


def split_to_json(store: Any) -> dict:
    """Which samples: data set, split, fingerprint over ids and labels (None for a ScoreTable), their number, and the
    digest of their sorted ids (None where they are row numbers of a split without a name)."""
    origin = {key: getattr(store, key, None) for key in ("dataset", "split", "fingerprint")}
    return origin | {"samples": len(store), "ids": store.origin.digest}


def intervals_of(point: Point, held_out: Any) -> str:
    """What the intervals of ``expected`` are, in words: of a cascade that has seen none of the samples, or not."""
    if held_out is None:
        return WITHOUT_CHOOSING
    shared = samples_seen([point.seen], held_out.origin, point.models)
    if shared is None:
        return UNCHECKED
    return WITHOUT_CHOOSING if shared else HELD_OUT


def seen_to_json(point: Point, store: Any) -> dict | None:
    """The samples that a point has seen: the split that it was chosen on, as :func:`split_to_json` and with the digests
    of its ids, and under "also" the others. What the point itself says of them comes before what the store says."""
    first, *others = parts_of(point.seen)
    split = None if store is None else split_to_json(store)
    if first is None and store is not None:
        first = store.origin
    known_parts = [part for part in (first, *others) if part is not None]
    if not known_parts:
        return None
    own = known_parts[0]
    said = split if split is not None and split["ids"] == own.digest else part_to_json(own)
    digests = [
        {"keys": keys, "contents": as_base64(contents_of(part, point.models))}
        for part, keys in zip(known_parts, keys_to_json(known_parts))
    ]
    also: list[dict | None] = [
        part_to_json(part) | kept for part, kept in zip(known_parts[1:], digests[1:])
    ]
    if len(known_parts) <= len(others):
        also.append(None)
    return said | digests[0] | {"also": also}


def as_base64(content: bytes | None) -> str | None:
    """Bytes as text."""
    return None if content is None else base64.b64encode(content).decode()


def part_to_json(part: Labels | Recorded) -> dict:
    """One set of samples, as :func:`split_to_json`."""
    named = {"dataset": part.dataset, "split": part.split, "fingerprint": None}
    return named | {"samples": len(part), "ids": part.digest}


def keys_to_json(parts: list) -> list[str | None]:
    """The digests of the ids of each set of samples, distinct and sorted, as base64; None without ids, and where there
    are more than MOST_KEYS."""
    written: list[str | None] = []
    room = MOST_KEYS
    for part in parts:
        keys = getattr(part, "keys", None) if getattr(part, "given", True) else None
        count = 0 if keys is None else len(part)
        if keys is None or count > room:
            written.append(None)
            continue
        room -= count
        distinct = sorted({*np.frombuffer(keys, KEY).tolist()})
        written.append(as_base64(b"".join(distinct)))
    return written


def recorded(split: Mapping | None, models: tuple[str, ...]) -> Recorded | None:
    """A set of samples that a cascade of ``models`` has seen, as :func:`seen_to_json` has it."""
    if split is None:
        return None
    return Recorded(
        dataset=split.get("dataset") or "",
        split=split.get("split") or "",
        samples=split["samples"],
        digest=split.get("ids"),
        keys=keys_from_json(split),
        contents=keys_from_json(split, "contents", CONTENT),
        models=models,
    )


def versions() -> dict[str, str]:
    """{package: version} of what a cascade's decisions may depend on, Python included."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def expected(point: Point, store: Any) -> dict:
    """{"accuracy", "cost", "exit_rates", "confidences"} of a cascade's point on a store, as plain numbers.

    accuracy (or F1), cost and each exit rate: {"value", "low", "high"}, a 95% interval over the draw of the samples for
    a cascade that was not chosen on them: Wilson's (F1: percentiles of 500 resamples), :func:`cost_interval`, and exact
    ones. confidences: for each stage, of the samples that reach it, what :func:`summary` keeps of their confidences in
    the metric's own units, infinite ones as the largest float.
    """
    _, exits, correct, costs = next(run_cascades(store, [point]))
    if point.score == F1:
        accuracy = with_ends(
            quality(store, correct, F1), interval(bootstrap(store, point, 500).accuracy[:, 0])
        )
    else:
        accuracy = mean_with_ends(correct)
    return {
        "accuracy": accuracy,
        "cost": with_ends(mean_cost(costs, exits), cost_interval(exits, costs)),
        "exit_rates": [mean_with_ends(exits == i, "exact") for i in range(len(costs))],
        "confidences": [
            summary(own_units(point.metric, np.nan_to_num(sure)))
            for sure in stage_confidences(store, point)
        ],
    }


def mean_with_ends(values: np.ndarray, kind: str = "wilson") -> dict[str, float]:
    """Mean of one value a sample [k], with its 95% interval: of a share (bool; kind: see :func:`share_interval`), or of
    graded scores in [0, 1], by :func:`betting_interval`."""
    share = np.asarray(values).dtype == bool
    ends = share_interval(values, kind=kind) if share else betting_interval(values, 0, 1)
    return with_ends(np.mean(values), ends)
