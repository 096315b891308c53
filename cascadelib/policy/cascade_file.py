"""Collect what a cascade's file stores: samples seen, expectations, models and versions."""

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
from ..guarantees.repeats import refuse_repeats, samples_seen
from ..methods.fitted import describe_fits
from ..methods.method import Method
from ..methods.thresholds import convert_units
from ..origin import Origins, join_origins, parts_of
from ..scoring import F1
from ..stages import prefixes_of
from ..store.protocol import Store
from .confidence_summary import HELD_OUT, WITHOUT_CHOOSING, summary

PACKAGES = ("cascadelib", "torch", "timm", "transformers", "numpy")
UNCHECKED = "95%, if none of these samples chose or fitted, which was not checked"
HEADER_FIELDS = ("checkpoint", "revision", "image_size")
EXTRACTION_FIELDS = ("weights_sha256", "transform")


def point_for_file(
    point: Point, store: Store | None = None, held_out: Store | None = None
) -> Point:
    """Return a Point with all fields that its file stores.

    Parameters
    ----------
    point : Point
    store : LogitStore or ScoreTable, optional
        The selection split.
    held_out : LogitStore or ScoreTable, optional
        Another split with the same models. The expectations are measured on it. Without it they are
        measured on `store`, which is optimistic, and the intervals are "without choosing".

    Returns
    -------
    Point
        With ``records``, ``expected``, ``versions`` and the samples that it has seen. Fields that
        are not measured here do not change.

    Raises
    ------
    ValueError
        If samples of `held_out` repeat each other (:mod:`cascadelib.guarantees.repeats`).
    """
    point = single_point(point)
    records = point.records
    if store is not None:
        records = tuple(record_of(store, name) for name in point.models)
    measured_on = store if held_out is None else held_out
    if held_out is not None:
        refuse_repeats(held_out, point.models)
    expectation = point.expected
    if measured_on is not None:
        intervals = WITHOUT_CHOOSING if held_out is None else describe_intervals(point, held_out)
        expectation = expected_figures(point, measured_on, intervals)
    selected_on = recorded_samples(point, store)
    return point.annotate(
        method=point.method and restrict_method(point, selected_on),
        selected_on=selected_on,
        records=records,
        expected=expectation,
        versions=point.versions or versions(),
    )


def recorded_samples(point: Point, store: Store | None) -> Origins:
    """Return the samples that a point has seen, as its file stores them.

    The point's record takes precedence over that of its selection split.
    """
    first, *others = parts_of(point.origin)
    if first is None and store is not None:
        first = store.origin
    return join_origins(*(part and part.record(point.models) for part in (first, *others)))


def describe_intervals(point: Point, held_out: Store) -> str:
    """Describe the intervals of figures on a split by whether its samples chose the point."""
    shared = samples_seen(point.seen, held_out.origin, point.models)
    if shared is None:
        return UNCHECKED
    return WITHOUT_CHOOSING if shared else HELD_OUT


def restrict_method(point: Point, seen: Origins) -> Method:
    """Return the method of a point, with the fits of the point's models only."""
    method: Any = point.method
    temperatures = method.temperatures
    if method.temperature:
        temperatures = {name: method.temperature_of(name) for name in point.models}
    fitted = method.fitted
    if point.fitted:
        method = replace(method, **describe_fits(point.fitted), folds=None)
        read = map(method.models_read, prefixes_of(point.models))
        fitted = dict(zip(read, point.fitted))
    fitted_on = None if method.fitted_on is None else seen
    return replace(method, temperatures=temperatures, fitted=fitted, fitted_on=fitted_on)


def record_of(store: Store, name: str) -> dict[str, Any]:
    """Return the fields of a store's header that distinguish a model from others of its name."""
    if store.class_count is None:
        return {"name": name}
    header = store.metadata(name)
    extraction = header.get("extraction") or {}
    record = {"name": name, "classes": store.class_count}
    record |= {key: header[key] for key in HEADER_FIELDS if header.get(key) is not None}
    return record | {key: extraction[key] for key in EXTRACTION_FIELDS if key in extraction}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that may affect decisions."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def expected_figures(point: Any, store: Store, intervals: str | None = None) -> Expected:
    """Measure a cascade on a store, with 95% intervals over the samples.

    The intervals hold for a cascade that was not chosen on these samples.

    Parameters
    ----------
    point : Point, Policy or Cascade
    store : LogitStore or ScoreTable
    intervals : str, optional
        A description of the intervals.

    Returns
    -------
    Expected
        Accuracy with Wilson's interval (F1: percentiles of 500 resamples), cost by
        :func:`cost_interval`, and exit rates with exact intervals. Infinite confidences are
        stored as the largest float.

    See Also
    --------
    Policy.from_point : Store the result in a policy file.

    Examples
    --------
    >>> import cascadelib as cl
    >>> from cascadelib.policy import expected_figures
    >>> confidence = [[0.9, 0.8, 0.4, 0.3], [0.9] * 4]
    >>> table = cl.ScoreTable([[True, True, False, False], [True] * 4], confidence, [1, 10])
    >>> figures = expected_figures(cl.Point(table.names, (0.5,), cost_kind="cost"), table)
    >>> figures.accuracy.value, figures.cost.value
    (1.0, 6.0)
    """
    point = single_point(point)
    run = evaluate(store, point)
    if point.score == F1:
        counts = sample_counts(len(store), 500)
        resampled = resampled_runs(store, [(0, run)], [point], counts)
        accuracy = Estimate(run.accuracy, *map(float, interval(resampled.accuracy[:, 0])))
    else:
        accuracy = estimate_mean(run.correct)
    exits = run.exit_stage
    return Expected(
        on=store.origin.record().trace,  # type: ignore[arg-type]
        accuracy=accuracy,
        cost=Estimate(run.cost, *cost_interval(exits, run.costs)),
        exit_rates=tuple(estimate_mean(exits == stage, "exact") for stage in range(len(run.costs))),
        confidences=tuple(
            summary(convert_units(point.metric, np.nan_to_num(values)))
            for values in run.stage_confidences
        ),
        intervals=intervals,
    )


def estimate_mean(values: np.ndarray, kind: str = "wilson") -> Estimate:
    """Return the mean of one value per sample [k], with its 95% interval.

    Bool values use :func:`share_interval` of ``kind``, scores in [0, 1] :func:`betting_interval`.
    """
    if np.asarray(values).dtype == bool:
        ends = share_interval(values, kind=kind)
    else:
        ends = betting_interval(values, 0, 1)
    return Estimate(float(np.mean(values)), *map(float, ends))
