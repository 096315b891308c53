"""Collect what a cascade's file stores: samples seen, expectations, models and versions."""

import platform
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..analysis.uncertainty import interval, resampled_runs, sample_counts
from ..evaluation.intervals import betting_interval, cost_interval, share_interval
from ..evaluation.point import (
    ConfidenceRange,
    Estimate,
    Expected,
    Point,
    bind,
    record_of,
    single_point,
)
from ..evaluation.run import evaluate
from ..guarantees.refusals import refuse_repeats
from ..methods.fitted import Fits
from ..methods.method import Method
from ..methods.thresholds import convert_units
from ..origin import join_origins, parts_of, samples_in_common
from ..stages import F1
from ..store.protocol import Store
from .form import without_old_figures

WITHOUT_CHOOSING = "95%, without choosing"  # intervals measured on the selection split
HELD_OUT = "95%"  # intervals measured on other samples
PACKAGES = ("cascadelib", "torch", "timm", "transformers", "numpy")
UNCHECKED = "95%, if none of these samples chose or fitted, which was not checked"


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
        If an id of `held_out` occurs twice, or if a store has other weights than those that are
        recorded.
    """
    point = without_old_figures(single_point(point))
    guarantee = point.guarantee
    for split in (store, held_out):
        if split is not None:
            point = replace(point, records=matching_records(point, split))
    measured_on = store if held_out is None else held_out
    if held_out is not None:
        refuse_repeats(held_out)
    expectation = point.expected
    if measured_on is not None:
        intervals = WITHOUT_CHOOSING if held_out is None else describe_intervals(point, held_out)
        expectation = expected_figures(point, measured_on, intervals)
    parts = parts_of(point.selected_on)
    if store is not None and parts[:1] == (None,):
        point = replace(point, selected_on=join_origins(store.origin, *parts[1:]))
    described = replace(
        point,
        method=point.method and restrict_method(point),
        expected=expectation,
        versions=point.versions or versions(),
    )
    return described if guarantee is None else bind(described, guarantee)


def matching_records(point: Point, store: Store) -> tuple[dict[str, Any], ...]:
    """Return the records of a point's models in a store.

    Raises
    ------
    ValueError
        If they differ from known records of the point. With a guarantee, all records are known.
    """
    records = tuple(record_of(store, name) for name in point.models)
    for known, record in zip(point.records, records):
        keys = {**known, **record} if point.guarantee else known
        if differing := [key for key in keys if known.get(key) != record.get(key)]:
            raise ValueError(
                f"the store has another model {record['name']!r} than the cascade: its "
                f"{', '.join(differing)} differ. Pass a store of the same weights, or choose and "
                "certify the cascade on this store"
            )
    return records


def describe_intervals(point: Point, held_out: Store) -> str:
    """Describe the intervals of figures on a split by whether its samples chose the point."""
    shared = samples_in_common(point.seen, held_out.origin)
    if shared is None:
        return UNCHECKED
    return WITHOUT_CHOOSING if shared else HELD_OUT


def restrict_method(point: Point) -> Method:
    """Return the method of a point, with the fits of the point's models only."""
    method: Any = point.method
    temperatures = method.temperatures
    if method.temperature:
        temperatures = {name: method.temperature_of(name) for name in point.models}
    fits = method.fitted
    if fits is not None:
        fits = Fits(fits.samples, dict(zip(point.models, point.fitted)))
    return replace(method, temperatures=temperatures, fitted=fits)


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
    confidences = [
        convert_units(point.metric, np.nan_to_num(values)) for values in run.stage_confidences
    ]
    return Expected(
        on=store.origin.sketch_without_ids,
        accuracy=accuracy,
        cost=Estimate(run.cost, *cost_interval(exits, run.costs)),
        exit_rates=tuple(estimate_mean(exits == stage, "exact") for stage in range(len(run.costs))),
        confidences=tuple(
            ConfidenceRange(float(values.min()), float(values.max()), len(values))
            if len(values)
            else None
            for values in confidences
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
