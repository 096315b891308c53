"""Check the values of a :class:`ScoreTable`, from arguments or from the cells of a frame."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ...checks import error_context, validate_choice
from ...labels import align_values, as_real_array, as_text, refuse_masked
from ...origin import Origin
from .faults import Fault, Place, find_cell_faults
from .spelling import ALIKE, MERGED, find_rarer_spellings, find_spelling_faults, normalize_texts

NEITHER = (
    "a ScoreTable needs correct= or predictions=, got neither. To read the columns of a table, "
    "pass correct=, or label= and prediction="
)


def convert_arguments(table: Any) -> dict[str, Any]:
    """Return the arguments of a :class:`ScoreTable` as arrays in one order of models and samples.

    A ValueError names an argument of another shape or kind.
    """
    names = () if table.names is None else tuple(map(str, table.names))
    ids = getattr(table.sample_ids, "sample_ids", table.sample_ids)
    axes = (names or None, ids)
    correct = align_values(table.correct, "correct", *axes)
    predictions = align_values(table.predictions, "predictions", *axes)
    labels = align_values(table.labels, "labels", ids)
    confidence = as_real_array(align_values(table.confidence, "confidence", *axes), "confidence")
    if correct is not None:
        correct = np.array(refuse_masked(correct, "correct"))
        correct = correct if correct.dtype == bool else as_real_array(correct, "correct")
        check_shape("correct", correct, confidence.shape)
    if predictions is not None:
        predictions = check_shape("predictions", as_text(predictions), confidence.shape)
    if labels is not None:
        labels = as_text(labels)
        shape = confidence.shape[1:]
        if labels.shape != shape:
            raise ValueError(
                f"labels must be {list(shape)}, one per sample, not {list(labels.shape)}"
            )
        missing = labels == ""
        if missing.any():
            raise ValueError(f"labels must not be missing: sample {np.argmax(missing)} has none")
    answered = np.ones(confidence.shape, bool) if predictions is None else predictions != ""
    if table.answered is not None:
        answered = np.array(align_values(table.answered, "answered", *axes), bool)
        check_shape("answered", answered, confidence.shape)
    origin = table.sample_ids
    if not isinstance(origin, Origin):
        origin = Origin.from_labels(np.zeros(confidence.shape[1], np.int64), origin)
    cost = as_real_array(align_values(table.cost, "cost", *axes), "cost").copy()
    models, samples = confidence.shape
    if cost.shape not in ((models,), (models, samples)):
        turned = ": rows are models; transpose correct and confidence"
        raise ValueError(
            f"cost must be [{models}] or {[models, samples]}, not {list(cost.shape)}"
            f"{turned if cost.shape == (samples,) else ''}"
        )
    names = names or tuple(f"model {row}" for row in range(models))
    if len(names) != models or len(set(names)) != models:
        raise ValueError(f"names must be {models} distinct names, not {names}")
    return {
        "origin": origin,
        "correct": correct,
        "confidence": confidence,
        "cost": cost,
        "names": names,
        "predictions": predictions,
        "labels": labels,
        "columns": check_columns(table.columns, confidence.shape, *axes),
        "normalize": table.normalize,
        "dropped": table.dropped,
        "answered": answered,
    }


def check_values(arguments: dict[str, Any], place: Place) -> tuple[dict[str, Any], list[Fault]]:
    """Return the attributes of a :class:`ScoreTable`, and the faults of its values."""
    if arguments["correct"] is None and arguments["predictions"] is None:
        raise ValueError(NEITHER)
    correct = arguments["correct"]
    origin = arguments["origin"]
    labels, predictions, texts, faults = compare_texts(arguments, place)
    if correct is not None:
        outside = ~((correct >= 0) & (correct <= 1))
        faults += find_cell_faults(
            "values of correctness outside [0, 1]", outside, place, "", correct
        )
    if labels is not None:
        correct = np.asarray(predictions == labels) if correct is None else correct
        values = np.searchsorted(texts, labels)
        origin = replace(origin, values=values, classes=tuple(texts.tolist()))
    confidence = arguments["confidence"]
    unknown = np.isnan(confidence)
    is_deferred = unknown.all(axis=1, keepdims=True)
    if predictions is not None:
        is_deferred = is_deferred | (predictions == "")
    faults += find_cell_faults("confidences that are nan", unknown & ~is_deferred, place)
    what = "costs that are missing, infinite or negative"
    cost = arguments["cost"]
    names = arguments["names"]
    by_sample = cost.reshape(len(cost), -1)
    bad = ~(np.isfinite(by_sample) & (by_sample >= 0))
    cost_place = place if cost.ndim > 1 else lambda model, _: f"model {names[model]!r}"
    faults += find_cell_faults(what, bad, cost_place, "", by_sample)
    checked = {
        "origin": origin,
        "correct": correct,
        "confidence": np.where(unknown, -np.inf, confidence),
        "predictions": predictions,
        "labels": labels,
    }
    return arguments | checked, faults


def compare_texts(arguments: dict[str, Any], place: Place) -> tuple[Any, Any, Array, list[Fault]]:
    """Return the compared labels and predictions, their sorted classes, and faults."""
    labels = arguments["labels"]
    predictions = arguments["predictions"]
    rule = validate_choice(arguments["normalize"], [None, "text", "exact"], "value of normalize")
    faults = []
    if rule == "text":
        if labels is not None:
            rarer = find_rarer_spellings(labels)[None]
            faults = find_cell_faults(MERGED, rarer, place, ALIKE, labels[None])
            labels = normalize_texts(labels)
        predictions = None if predictions is None else normalize_texts(predictions)
    distinct = [np.unique(values) for values in (labels, predictions) if values is not None]
    texts = np.unique(np.concatenate([np.array([], str), *distinct]))
    texts = texts[texts != ""]
    if labels is not None and predictions is not None:
        if rule is None:
            faults += find_spelling_faults(
                labels, predictions, texts.tolist(), arguments["names"], place
            )
        if not faults and not (predictions == labels).any():
            classes = set(np.unique(labels).tolist())
            if len(classes) > 1 and classes.isdisjoint(np.unique(predictions).tolist()):
                first = f"{str(predictions.flat[0])!r} for the label {str(labels[0])!r}"
                what = "predictions that are none of the labels"
                faults.append(Fault(what, predictions.size, (first,), "Use one spelling for both"))
    return labels, predictions, texts, faults


def check_shape(kind: str, values: Array, shape: tuple[int, ...]) -> Array:
    """Return values, or raise a ValueError if they have another shape or are empty."""
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"{kind} must be [models, samples] with at least one of each, not {values.shape}"
        )
    if values.shape != shape:
        raise ValueError(f"confidence has shape {shape}, {kind} {values.shape}; they must agree")
    return values


def refuse_missing(values: Any, what: str, sample_ids: Array) -> None:
    """Raise a ValueError that names the first sample whose value is None or nan."""
    missing = np.flatnonzero(pd.isna(np.asarray(refuse_masked(values, f"{what}s"))))
    if len(missing):
        first = str(sample_ids[missing[0]]) if missing[0] < len(sample_ids) else missing[0]
        raise ValueError(
            f"{what}s: {len(missing)} samples have none (None or nan), the first is {first!r}. "
            f"Give each sample a {what}, or select the other samples with store.take"
        )


def check_columns(
    columns: Mapping[str, Any], shape: tuple[int, ...], names: Any = None, ids: Any = None
) -> dict[str, Array]:
    """Return {name: float64 or text [models, samples]}. Models may share a column [samples]."""
    checked = {}
    for name, values in columns.items():
        with error_context(f"column {name!r}"):
            if name in ("confidence", "label", "agreement"):
                raise ValueError("this name has another meaning for fitted confidences. Rename it")
            items = list(values.values()) if isinstance(values, Mapping) else values
            axes = [ids] if np.ndim(items) == 1 else [names, ids]
            values = align_values(values, "it", *axes)
            is_text = any(isinstance(one, str) for one in np.ravel(values)[:1].tolist())
            read = as_text(values) if is_text else as_real_array(values, "it")
            checked[name] = np.broadcast_to(read, shape)
    return checked
