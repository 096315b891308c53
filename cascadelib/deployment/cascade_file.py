"""What a cascade's file says of it: its point, where that was chosen, what to expect of it, with which libraries."""

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..analysis.drift_signal import summary
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
from ..labels import Recorded, samples_in_common
from ..methods.method import Method
from ..methods.thresholds import own_units
from ..scoring import F1
from .policy import CHOSEN, Policy, threshold_to_json

PACKAGES = ("cascadelib", "torch", "timm", "transformers", "numpy")
NAMED = ("metric", "ensemble", "temperature")  # of a method, what needs no fitting


def description_of(point: Point, store: Any = None, held_out: Any = None) -> dict:
    """A :class:`Point` as a plain dict, ready for JSON: what the file holds and :func:`point_of` takes back.

    store: where the point was chosen; held_out: another split with the same models. ``expected`` is measured on
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
    if measured is not None:
        chose = held_out is None or samples_in_common(point.found_on, held_out.origin)
        said = {
            "on": split_to_json(measured),
            "intervals": "95%, without choosing" if chose else "95%",
        }
        said |= expected(point, measured)
    return {
        "models": [model_to_json(store, name) for name in point.models],
        "thresholds": [threshold_to_json(point.metric, t) for t in point.thresholds],
        "method": method
        and {key: getattr(method, key) for key in NAMED} | {"temperatures": temperatures} | fitted,
        "score": point.score,
        "cost_kind": point.cost_kind,
        "chosen": {key: n.tolist() if np.isfinite(n).all() else None for key, n in numbers.items()},
        "chosen_on": chosen_on(point, store),
        "expected": said,
        "versions": versions(),
    }


def point_of(description: Mapping) -> Point:
    """The :class:`Point` that :func:`description_of` described, to the last bit."""
    policy, split = Policy(description), description["chosen_on"]
    method = description["method"] and Method(
        *(description["method"][key] for key in (*NAMED, "temperatures"))
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
    found_on = split and Recorded(
        *(split.get(key) for key in ("dataset", "split", "samples", "ids"))
    )
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


def chosen_on(point: Point, store: Any) -> dict | None:
    """The split that a point was chosen on, as :func:`split_to_json`: what the point itself says of it comes first."""
    split, own = None if store is None else split_to_json(store), point.found_on
    if own is None or split and split["ids"] == own.digest:
        return split
    return {
        "dataset": own.dataset,
        "split": own.split,
        "fingerprint": None,
        "samples": len(own),
        "ids": own.digest,
    }


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
