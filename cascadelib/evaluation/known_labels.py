"""Labels that are known for some samples only."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import brief
from ..labels import as_text, check_distinct, texts_of_keys, written_value
from ..store.protocol import Store, answered_by_models


def unanswered(store: Store, model: str) -> Array:
    """Return whether a model has no answer, bool [k]. A store of logits has all answers."""
    return ~answered_by_models(store, [model])[0]


def read_known_labels(labels: Any, sample_ids: Array) -> dict[str, Any]:
    """Return {sample id: label} of the labels that are not None, nan or blank text.

    Raises
    ------
    ValueError
        If the labels have no ids, such as a list or a Series with a default index.
    """
    keys = labels.keys() if hasattr(labels, "keys") else None
    texts = np.array([]) if keys is None else texts_of_keys(keys)
    is_default = hasattr(keys, "step") and not np.array_equal(texts, sample_ids)
    if keys is None or is_default:
        raise ValueError(
            f"labels must be {{sample id: label}}, not {brief(labels)}: dict(zip(ids, labels))"
        )
    check_distinct(texts, "labels")
    pairs = zip(texts.tolist(), labels.values() if isinstance(labels, Mapping) else labels)
    written = ((sample, written_value(label)) for sample, label in pairs)
    return {sample: label for sample, label in written if str(label).strip()}


def with_labels(store: Store, others: Array, label_of: Mapping[str, Any]) -> Store:
    """Return a store with the labels ``label_of`` by id, and ``others`` [k] for other samples."""
    ids = store.origin.sample_ids
    pairs = zip(ids.tolist(), others.tolist())
    merged: Any = [label_of.get(sample, prediction) for sample, prediction in pairs]
    if others.dtype.kind != "U":  # only labels that are text can be misspelled
        return store.labelled(merged)
    labelled = store.labelled(as_text(np.array(merged, object)))
    check_predicted(labelled, np.isin(ids, list(label_of)))
    return labelled


def check_predicted(store: Any, is_known: Array) -> None:
    """Raise ValueError for a known label that no model predicts, since it may be misspelled."""
    labels = np.asarray(store.labels)
    predicted = np.concatenate([store.predicted(name) for name in store.models.index])
    foreign = is_known & ~np.isin(labels, predicted)
    if foreign.any():
        row = int(np.argmax(foreign))
        raise ValueError(
            f"labels: no model predicts {str(labels[row])!r}, the label of sample "
            f"{str(store.origin.sample_ids[row])!r}: write labels as predictions are written, and "
            "leave out labels that no model predicts"
        )
