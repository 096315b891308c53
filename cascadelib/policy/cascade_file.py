"""What a cascade's file says beside the cascade: what it has seen, what to expect of it, with which
models and libraries."""

import platform
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..analysis.uncertainty import interval, resampled_runs, sample_counts
from ..evaluation.intervals import betting_interval, cost_interval, share_interval
from ..evaluation.point import Estimate, Expected, Point, single_point
from ..evaluation.run import evaluate
from ..guarantees.repeats import refuse_equal_rows, refuse_repeated_ids, samples_seen
from ..labels import Origin, Recorded, parts_of, recorded, together
from ..methods.fitted import kind_and_columns
from ..methods.method import Method
from ..methods.thresholds import own_units
from ..scoring import F1
from ..store.protocol import Store
from .confidence_summary import HELD_OUT, WITHOUT_CHOOSING, summary
from .form import models_read

PACKAGES = ("cascadelib", "torch", "timm", "transformers", "numpy")
UNCHECKED = "95%, if none of these samples chose or fitted, which was not checked"
RECORDED = ("checkpoint", "revision", "image_size")  # of a store's header
OF_EXTRACTION = ("weights_sha256", "transform")


def point_for_file(
    point: Point, store: Store | None = None, held_out: Store | None = None
) -> Point:
    """A Point with all that its file says.

    Parameters
    ----------
    point : Point
    store : LogitStore or ScoreTable, optional
        Where the point was chosen.
    held_out : LogitStore or ScoreTable, optional
        Another split with the same models. What is expected is measured there, else on ``store``,
        where it is a little too good: the point was chosen there, and its intervals are "without
        choosing".

    Raises
    ------
    ValueError
        Where samples of ``held_out`` repeat others (:mod:`cascadelib.guarantees.repeats`).

    Returns
    -------
    Point
        With ``records``, ``expected`` and ``versions``, and what it has seen as a file keeps it.
        What is not measured here stays as it was.
    """
    point = single_point(point)
    records = point.records
    if store is not None:
        records = tuple(record_of(store, name) for name in point.models)
    where = store if held_out is None else held_out
    if held_out is not None:
        refuse_repeated_ids(held_out)
        refuse_equal_rows(held_out, list(point.models), point.models[:-1])
    expectation = point.expected
    if where is not None:
        expectation = expected(point, where, intervals_of(point, held_out))
    found_on = seen_by(point, store)
    return replace(
        point,
        method=point.method and own_method(point, found_on),
        found_on=found_on,
        records=records,
        expected=expectation,
        versions=point.versions or versions(),
    )


def own_method(point: Point, seen: Origin) -> Method:
    """The method of a point, with what was fitted for the point's own models alone."""
    method: Any = point.method
    temperatures = method.temperatures
    if method.temperature:
        temperatures = {name: method.temperature_of(name) for name in point.models}
    fitted = method.fitted
    if point.fitted:
        method = replace(method, **kind_and_columns(point.fitted), folds=None)
        fitted = dict(zip(models_read(method, point.models), point.fitted))
    fitted_on = None if method.fitted_on is None else seen
    return replace(method, temperatures=temperatures, fitted=fitted, fitted_on=fitted_on)


def record_of(store: Store, name: str) -> dict[str, Any]:
    """What tells a model from another of its name, as far as the store's header records it."""
    if store.class_count is None:
        return {"name": name}
    header = store.metadata(name)
    extraction = header.get("extraction") or {}
    record: dict[str, Any] = {"name": name, "classes": store.class_count}
    record |= {key: header[key] for key in RECORDED if header.get(key) is not None}
    return record | {key: extraction[key] for key in OF_EXTRACTION if key in extraction}


def recorded_split(store: Any) -> Recorded:
    """The samples of a store, without the digests of their ids."""
    return Recorded(
        dataset=getattr(store, "dataset", None),
        split=getattr(store, "split", None),
        samples=len(store),
        digest=store.origin.digest,
        fingerprint=getattr(store, "fingerprint", None),
    )


def seen_by(point: Point, store: Store | None) -> Origin:
    """The samples that a point has seen as a file keeps them. What the point itself says of them
    comes before what the store on which it was chosen says."""
    first, *others = parts_of(point.origin)
    if first is None and store is not None:
        first = store.origin
    parts: list[Recorded | None] = [
        None if part is None else recorded(part, point.models) for part in (first, *others)
    ]
    chosen_on = next((part for part in parts if part is not None), None)
    if chosen_on is not None and store is not None:
        split = recorded_split(store)
        if (split.digest, split.samples) == (chosen_on.digest, chosen_on.samples):
            parts[parts.index(chosen_on)] = replace(
                split,
                keys=chosen_on.keys,
                contents=chosen_on.contents,
                models=chosen_on.models,
                confidences=chosen_on.confidences,
                forms=chosen_on.forms,
            )
    return together(*parts)


def intervals_of(point: Point, held_out: Store | None) -> str:
    """What the intervals of ``expected`` are, in words: of a cascade that has seen none of the
    samples, or not."""
    if held_out is None:
        return WITHOUT_CHOOSING
    shared = samples_seen([point.seen], held_out.origin, point.models)
    if shared is None:
        return UNCHECKED
    return WITHOUT_CHOOSING if shared else HELD_OUT


def versions() -> dict[str, str]:
    """{package: version} of what a cascade's decisions may depend on, Python included."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def expected(point: Any, store: Store, intervals: str | None = None) -> Expected:
    """What a cascade comes to on a store, with 95% intervals over the draw of the samples, for a
    cascade that was not chosen on them.

    Parameters
    ----------
    point : Point, Policy or Cascade
    store : LogitStore or ScoreTable
    intervals : str, optional
        What the intervals are, in words.

    Returns
    -------
    Expected
        Accuracy with Wilson's interval (F1: percentiles of 500 resamples), cost by
        :func:`cost_interval`, exit rates with exact intervals; infinite confidences as the largest
        float.
    """
    point = single_point(point)
    run = evaluate(store, point)
    if point.score == F1:
        counts = sample_counts(len(store), 500)
        resampled = resampled_runs(store, [(0, run)], [point], counts)
        accuracy = Estimate(run.accuracy, *map(float, interval(resampled.accuracy[:, 0])))
    else:
        accuracy = mean_with_ends(run.correct)
    exits = run.exit_stage
    return Expected(
        on=recorded_split(store),
        accuracy=accuracy,
        cost=Estimate(run.cost, *cost_interval(exits, run.costs)),
        exit_rates=tuple(
            mean_with_ends(exits == stage, "exact") for stage in range(len(run.costs))
        ),
        confidences=tuple(
            summary(own_units(point.metric, np.nan_to_num(values)))
            for values in run.stage_confidences
        ),
        intervals=intervals,
    )


def mean_with_ends(values: np.ndarray, kind: str = "wilson") -> Estimate:
    """Mean of one value per sample [k], with its 95% interval: of a share (bool; kind: see
    :func:`share_interval`), or of graded scores in [0, 1], by :func:`betting_interval`."""
    if np.asarray(values).dtype == bool:
        ends = share_interval(values, kind=kind)
    else:
        ends = betting_interval(values, 0, 1)
    return Estimate(float(np.mean(values)), *map(float, ends))
