"""Check the arguments of a :class:`ScoreTable`: names, correctness, confidences, costs, labels."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ...checks import about, reals, unmasked
from ...labels import aligned, as_text
from ...origin import Origin
from .faults import refuse
from .spelling import refuse_other_words, spelling_faults

Place = Callable[[int, int], str]  # converts the numbers of a model and a sample to words


def _refuse(names: tuple[str, ...], wrong: Array, what: str, place: Place) -> None:
    """Raise a ValueError that names the wrong models, and the first wrong sample of each.

    wrong: bool [models] or [models, samples].
    """
    if not wrong.any():
        return
    places = []
    for row, (name, cells) in enumerate(zip(names, wrong, strict=True)):
        if cells.any() and cells.ndim:
            places.append(f"{name!r} ({place(row, int(np.argmax(cells)))})")
        elif cells.any():
            places.append(repr(name))
    raise ValueError(f"{what} for {', '.join(places)}")


def checked_names(given: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return distinct names, "model 0" … by default."""
    if not given:
        return tuple(f"model {row}" for row in range(count))
    if len(given) != count or len(set(given)) != len(given):
        raise ValueError(f"names must be {count} distinct names, not {given}")
    return given


def checked_shape(kind: str, values: Array, shape: tuple[int, ...]) -> Array:
    """Return values, or raise a ValueError if they have another shape or are empty."""
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"{kind} must be [models, samples] with at least one of each, not {values.shape}"
        )
    if values.shape != shape:
        raise ValueError(f"confidence has shape {shape}, {kind} {values.shape}; they must agree")
    return values


def checked_labels(labels: Array, samples: int) -> Array:
    """Return labels [samples], or raise a ValueError if one is missing."""
    if labels.shape != (samples,):
        raise ValueError(f"labels must be [{samples}], one per sample, not {list(labels.shape)}")
    missing = labels == ""
    if missing.any():
        raise ValueError(
            f"labels must be [{samples}] with none missing; that of sample {np.argmax(missing)} is"
        )
    return labels


def refuse_missing(values: Any, what: str, sample_ids: Array) -> None:
    """Raise a ValueError that names the first sample whose value is None or nan."""
    missing = np.flatnonzero(pd.isna(np.asarray(unmasked(values, f"{what}s"))))
    if len(missing):
        first = str(sample_ids[missing[0]]) if missing[0] < len(sample_ids) else missing[0]
        raise ValueError(
            f"{what}s: {len(missing)} samples have none (None or nan), the first is {first!r}: "
            f"give them a {what} of their own, or leave them out with store.take"
        )


def bools_or_reals(correct: Any) -> Array:
    """Return a copy of correctness, bool or float64."""
    values = np.array(unmasked(correct, "correct"))
    return values if values.dtype == bool else reals(values, "correct")


def correctness(
    correct: Array | None,
    predictions: Array | None,
    labels: Array | None,
    names: tuple[str, ...],
    texts: Array,
    place: Place,
    normalize: str | None,
) -> Array | None:
    """Return correctness in [0, 1], computed from predictions and labels if it is None."""
    if correct is not None:
        outside = ~((correct >= 0) & (correct <= 1))
        _refuse(names, outside, "correct must be bool or lie in [0, 1]; it does not", place)
    if labels is None or predictions is None:
        return correct
    if normalize is None:
        refuse(spelling_faults(labels, predictions, texts.tolist(), names, place))
    equal = np.asarray(predictions == labels)
    if not equal.any():
        refuse_other_words(labels, predictions)
    return equal if correct is None else correct


def checked_confidence(
    confidence: Array, predictions: Array | None, names: tuple[str, ...], place: Place
) -> Array:
    """Return confidence without nan: −inf if a model abstained, or has no confidences."""
    unknown = np.isnan(confidence)
    passes_on = unknown.all(axis=1, keepdims=True)
    if predictions is not None:
        passes_on = passes_on | (predictions == "")
    confidence = np.where(unknown & passes_on, -np.inf, confidence)
    _refuse(names, np.isnan(confidence), "confidence is nan", place)
    return confidence


def checked_cost(cost: Any, names: tuple[str, ...], samples: int, place: Place) -> Array:
    """Return cost [models] or [models, samples], finite and not negative."""
    cost = reals(cost, "cost").copy()
    models = len(names)
    if cost.shape not in ((models,), (models, samples)):
        turned = ": rows are models; transpose correct and confidence"
        raise ValueError(
            f"cost must be [{models}] or {[models, samples]}, not {list(cost.shape)}"
            f"{turned if cost.shape == (samples,) else ''}"
        )
    usable = np.isfinite(cost) & (cost >= 0)
    _refuse(names, ~usable, "cost must be finite and not negative; it is not", place)
    return cost


def checked_columns(
    columns: Mapping[str, Any], shape: tuple[int, ...], names: Any = None, ids: Any = None
) -> dict[str, Array]:
    """Return {name: float64 or text [models, samples]}. Models may share a column [samples]."""
    checked = {}
    for name, values in columns.items():
        with about(f"column {name!r}"):
            if name in ("confidence", "label", "agreement"):
                raise ValueError("a fitted confidence uses this name for something else: rename it")
            items = list(values.values()) if isinstance(values, Mapping) else values
            axes = [ids] if np.ndim(items) == 1 else [names, ids]
            values = aligned(values, "it", *axes)
            is_text = any(isinstance(one, str) for one in np.ravel(values)[:1].tolist())
            read = as_text(values) if is_text else reals(values, "it")
            checked[name] = np.broadcast_to(read, shape)
    return checked


def origin_of(sample_ids: Any, labels: Array | None, texts: Array, samples: int) -> Origin:
    """Return the Labels of the samples. The classes are all labels and predictions, sorted."""
    known_ids = sample_ids if isinstance(sample_ids, Origin) else None
    if labels is None:
        return known_ids or Origin.from_labels(np.zeros(samples, np.int64), sample_ids)
    classes = texts[texts != ""]
    values = np.searchsorted(classes, labels)
    if known_ids is None:
        return Origin.from_labels(values, sample_ids, classes)
    return replace(known_ids, values=values, classes=tuple(classes.tolist()))
