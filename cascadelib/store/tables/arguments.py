"""Check the arguments of a :class:`ScoreTable`, from arrays or from the cells of a frame."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ...labels import align_values, as_real_array, as_text, refuse_masked
from ...origin import Origin
from .comparison import TextColumn, find_unclear
from .faults import Fault, Place, find_cells, quoting

NO_ANSWERS = "a ScoreTable needs correct=, or prediction= and label=, got neither"


def column_of_arrays(role: str, model: int) -> str:
    """Return the argument of a :class:`ScoreTable` that has the column of a role and a model."""
    return "labels" if role == "label" else f"predictions[{model}]"


def check_arguments(
    table: Any,
    place: Place | None = None,
    column_of: Callable[[str, int], str] = column_of_arrays,
    is_partial: bool = False,
) -> tuple[dict[str, Any], list[Fault]]:
    """Return the attributes of a :class:`ScoreTable`, and the faults of its values.

    Parameters
    ----------
    table : ScoreTable
        Its attributes are the arguments.
    place : callable, optional
        Returns the place of a model and a sample in words.
    column_of : callable
        Returns the column of a role and a model in pandas.
    is_partial : bool
        Whether some labels are those of a model, since they are not known yet.
    """
    if table.correct is None and table.predictions is None:
        raise ValueError(NO_ANSWERS)
    parts = convert_arguments(table)
    names = parts["names"]
    ids = parts["origin"].sample_ids
    if place is None:

        def place(model: int, sample: int) -> str:
            return f"sample {str(ids[sample])!r}, model {names[model]!r}"

    faults = []
    correct = parts["correct"]
    if correct is not None:
        outside = ~((correct >= 0) & (correct <= 1))
        what = "values of correctness outside [0, 1]"
        faults += find_cells(what, outside, place, quoting(correct))
    confidence, confidence_faults = check_confidence(parts, place)
    read, answer_faults = check_answers(parts, table.exact, place)
    faults += answer_faults + confidence_faults
    for cost in (parts["cost"], *parts["further_costs"].values()):
        faults += check_cost(cost, names, place)
    if "comparison" in read and not table.exact:
        columns = parts["predictions"], parts["labels"]
        faults += find_unclear(*columns, place, column_of, is_partial)
    return parts | read | {"confidence": confidence}, faults


def convert_arguments(table: Any) -> dict[str, Any]:
    """Return the arguments of a :class:`ScoreTable` as arrays in one order of models and samples.

    A ValueError names an argument of another shape or kind.
    """
    names = () if table.names is None else tuple(map(str, table.names))
    ids = getattr(table.sample_ids, "sample_ids", table.sample_ids)
    axes = (names or None, ids)
    confidence = as_real_array(align_values(table.confidence, "confidence", *axes), "confidence")
    shape = confidence.shape
    names = names or tuple(f"model {row}" for row in range(len(confidence)))
    if len(names) != len(confidence) or len(set(names)) != len(names):
        raise ValueError(f"names must be {len(confidence)} distinct names, not {names}")
    origin = table.sample_ids
    if not isinstance(origin, Origin):
        origin = Origin.from_labels(np.zeros(shape[1], np.int64), origin)
    further = dict(table.further_costs).items()
    return {
        "origin": origin,
        "confidence": confidence,
        "correct": convert_cells(table.correct, "correct", shape, *axes),
        "predictions": convert_cells(table.predictions, "predictions", shape, *axes),
        "answered": convert_cells(table.answered, "answered", shape, *axes),
        "labels": convert_labels(table.labels, shape[1], ids),
        "cost": convert_cost(table.cost, shape, *axes),
        "further_costs": {kind: convert_cost(cost, shape, *axes) for kind, cost in further},
        "names": names,
    }


def convert_cells(values: Any, name: str, shape: tuple[int, ...], *axes: Any) -> Any:
    """Return values [models, samples] as numbers or bool, and predictions as text."""
    if isinstance(values, TextColumn):
        return values
    if values is None:
        return np.ones(shape, bool) if name == "answered" else None
    values = refuse_masked(align_values(values, name, *axes), name)
    array = as_text(values) if name == "predictions" else np.array(values)
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"{name} must be [models, samples] with at least one of each, not {array.shape}"
        )
    if array.shape != shape:
        raise ValueError(f"confidence has shape {shape}, {name} {array.shape}; they must agree")
    if name == "predictions":
        return TextColumn.of(array)
    if name == "correct":
        return array if array.dtype == bool else as_real_array(array, name)
    return array.astype(bool)


def convert_labels(labels: Any, count: int, ids: Any) -> TextColumn | None:
    """Return labels [n_samples] as text, or raise a ValueError if one is missing."""
    if labels is None or isinstance(labels, TextColumn):
        return labels
    texts = as_text(align_values(labels, "labels", ids))
    if texts.shape != (count,):
        raise ValueError(f"labels must be [{count}], one per sample, not {list(texts.shape)}")
    column = TextColumn.of(texts)
    missing = column.codes < 0
    if missing.any():
        raise ValueError(f"labels must not be missing: sample {np.argmax(missing)} has none")
    return column


def convert_cost(cost: Any, shape: tuple[int, ...], *axes: Any) -> Array:
    """Return costs as float64 [n_models] or [n_models, n_samples]."""
    cost = as_real_array(align_values(cost, "cost", *axes), "cost").copy()
    if cost.shape not in (shape[:1], shape):
        raise ValueError(
            f"cost must be {list(shape[:1])} or {list(shape)}, not {list(cost.shape)}: rows are "
            "models, columns are samples"
        )
    return cost


def check_confidence(parts: dict[str, Any], place: Place) -> tuple[Array, list[Fault]]:
    """Return confidences without nan, and the fault of values that must not be nan.

    A model may have no confidences, and an abstention needs none. Such samples are deferred.
    """
    unknown = np.isnan(parts["confidence"])
    is_deferred = unknown.all(axis=1, keepdims=True)
    if parts["predictions"] is not None:
        is_deferred = is_deferred | (parts["predictions"].codes < 0)
    faults = find_cells("confidences that are nan", unknown & ~is_deferred, place)
    return np.where(unknown, -np.inf, parts["confidence"]), faults


def check_answers(
    parts: dict[str, Any], is_exact: bool, place: Place
) -> tuple[dict[str, Any], list[Fault]]:
    """Return the attributes that answers and labels determine, and their faults."""
    predictions = parts["predictions"]
    labels = parts["labels"]
    columns = [column for column in (predictions, labels) if column is not None]
    classes = tuple(sorted({text for column in columns for text in column.texts}))
    read: dict[str, Any] = {}
    if labels is not None:
        values = labels.numbered(classes)
        read["origin"] = replace(parts["origin"], values=values, classes=classes)
        read["labels"] = labels.values()
    if predictions is None:
        return read, []
    read |= {"predictions": predictions.values(), "answered": predictions.codes >= 0}
    if labels is None:
        return read, []
    correct = parts["correct"]
    is_correct = predictions.numbered(classes) == values
    if correct is None:
        read |= {"correct": is_correct, "comparison": "exact" if is_exact else "text"}
        if predictions.has_numbers() and labels.has_numbers():
            read["comparison"] = "numbers"
        return read, []
    contradicts = (correct != is_correct) & read["answered"] & (correct.dtype == bool)
    what = "predictions whose correctness contradicts their label"
    remedy = "Omit correct=, or omit label= and prediction="
    quote = quoting(read["predictions"])
    return read, find_cells(what, contradicts, place, quote, remedy=remedy)


def check_cost(cost: Array, names: tuple[str, ...], place: Place) -> list[Fault]:
    """Return the fault of costs that are missing, infinite or negative."""
    by_sample = cost.reshape(len(cost), -1)
    bad = ~(np.isfinite(by_sample) & (by_sample >= 0))
    cost_place = place if cost.ndim > 1 else lambda model, _: f"model {names[model]!r}"
    what = "costs that are missing, infinite or negative"
    return find_cells(what, bad, cost_place, quoting(by_sample))


def refuse_missing(values: Any, what: str, sample_ids: Array) -> None:
    """Raise a ValueError that names the first sample whose value is None or nan."""
    missing = np.flatnonzero(pd.isna(np.asarray(refuse_masked(values, f"{what}s"))))
    if len(missing):
        first = str(sample_ids[missing[0]]) if missing[0] < len(sample_ids) else missing[0]
        raise ValueError(
            f"{what}s: {len(missing)} samples have none (None or nan), the first is {first!r}. "
            f"Give each sample a {what}, or leave out these samples"
        )
