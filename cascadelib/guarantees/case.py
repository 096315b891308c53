"""The samples, cascades and known labels of a certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import brief, error_context
from ..evaluation.point import LadderTable, Point
from ..evaluation.run import Run, evaluate
from ..labels import align_values, as_text, check_distinct, texts_of_keys, written_value
from ..origin import Origin
from ..store.protocol import Store, answered_by_models
from ..store.tables.arguments import refuse_missing
from .refusals import table_of


@dataclass(frozen=True, eq=False)
class Case:
    """The samples, cascades and labels of a certificate, built by :func:`prepare_case`.

    Parameters
    ----------
    store : Store
        The k certification samples with labels.
    origin : Origin
        The origin of these samples.
    runs : list of Run
        The results of the P cascades on these samples.
    reference : str
        The model relative to which losses are measured.
    parts : dict of {group: bool array of shape (k,)}
        Whether each sample is in the group. Without groups, the only key is None, for all samples.
    differs : bool array of shape (P, k)
        Whether a cascade and the reference predict different classes, so that the label can matter.
    is_known : bool array of shape (k,)
        Whether the label is known.
    """

    store: Store
    origin: Origin
    runs: Sequence[Run]
    reference: str
    parts: Mapping[Any, Array]
    differs: Array
    is_known: Array

    @cached_property
    def points(self) -> list[Point]:
        """The cascades."""
        return [run.point for run in self.runs]

    @property
    def score(self) -> str:
        """The score of all cascades."""
        return self.points[0].score

    @cached_property
    def models(self) -> list[str]:
        """The reference and all models of the cascades."""
        return models_of(self.points, self.reference)

    @cached_property
    def table(self) -> LadderTable | None:
        """The table that gave the thresholds, None if the samples are not in it."""
        return table_of(self.points, self.origin)

    @property
    def frame(self) -> int:
        """The number of rows of :attr:`table`. 0 without it."""
        return 0 if self.table is None else len(self.table)

    @cached_property
    def absent(self) -> Array:
        """Whether the reference has no answer, bool [k]."""
        return ~answered_by_models(self.store, [self.reference])[0]


def prepare_case(
    store: Store,
    points: list[Point],
    reference: str,
    labels: Mapping | None,
    groups: Any,
) -> Case:
    """Read labels and groups, and evaluate the points.

    Raises
    ------
    ValueError
        If labels or groups do not belong to the samples of the store.
    """
    labelled, differs, is_known = apply_labels(store, points, reference, labels)
    ids = store.origin.sample_ids
    parts = {None: np.ones(len(ids), bool)}
    if groups is not None:
        values = read_groups(groups, ids)
        parts = {name: values == name for name in np.unique(values).tolist()}
    return Case(
        labelled,
        store.origin,
        evaluate(labelled, points),
        reference,
        parts,
        differs,
        is_known,
    )


def read_groups(groups: Any, sample_ids: Array) -> Array:
    """Return the group of each sample [k].

    Raises
    ------
    ValueError
        If the shape differs, if types are mixed, or if a sample has no group (None, nan): no bound
        would cover it.
    """
    groups = align_values(groups, "groups", sample_ids)
    refuse_missing(groups, "group", sample_ids)
    values = np.asarray(groups)
    if values.shape != sample_ids.shape:
        raise ValueError(
            f"groups must be [{len(sample_ids)}], the group of each sample, not "
            f"{list(values.shape)}"
        )
    if pd.api.types.infer_dtype(values) in ("mixed", "mixed-integer"):
        raise ValueError("groups must be all text or all numbers: name each as text")
    return values


def models_of(points: Sequence[Point], reference: str) -> list[str]:
    """Return the reference and all models of the points, each once."""
    return list(dict.fromkeys([reference, *(name for point in points for name in point.models)]))


def answered_by(run: Run, model: str) -> Array:
    """Return whether the answer of a sample comes from a model, bool [k]."""
    models = run.point.models
    return run.exit_stage == (models.index(model) if model in models else -1)


def compare_with_reference(
    store: Store, points: Sequence[Point], reference: str
) -> tuple[Store, Array]:
    """Compare the answers of points with those of the reference.

    Returns
    -------
    (Store, bool array of shape (n_points, k))
        A store of the models of the points and the reference, with the reference's predictions as
        labels. The array states whether a point predicts another class than the reference.
    """
    if any(point.score != "top1" for point in points):
        raise ValueError(
            "without labels only equal top-1 predictions imply a loss of 0: search with "
            "score='top1'"
        )
    part = store.select(models_of(points, reference))
    with error_context(f"compared with the predictions of {reference!r}"):
        agreed = part.labelled(part.predicted(reference))
    absent = ~answered_by_models(store, [reference])[0]
    runs = evaluate(agreed, list(points))
    return agreed, np.stack(
        [~run.correct & ~(absent & answered_by(run, reference)) for run in runs]
    )


def apply_labels(
    store: Store,
    points: list[Point],
    reference: str,
    labels: Mapping | None,
) -> tuple[Store, Array, Array]:
    """Return a store with the known labels, and two masks.

    Samples without a label get the reference's prediction. The first mask, bool [n_points, k], is
    True for labels that can matter. The second mask, bool [k], is True for known labels. Both are
    True everywhere if the labels of the store are used.
    """
    if labels is None and not store.models["top1"].isna().any():
        return store, np.ones((len(points), len(store)), bool), np.ones(len(store), bool)
    ids = store.origin.sample_ids
    label_of = read_known_labels({} if labels is None else labels, ids)
    if unknown_ids := sorted(label_of.keys() - set(ids.tolist())):
        raise ValueError(
            f"labels: {len(unknown_ids)} ids are not in the store, the first is {unknown_ids[0]!r}"
        )
    agreed, differs = compare_with_reference(store, points, reference)
    is_known = np.isin(ids, list(label_of))
    return with_labels(agreed, agreed.predicted(reference), label_of), differs, is_known


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
    pairs = zip(store.origin.sample_ids.tolist(), others.tolist())
    merged: Any = [label_of.get(sample, prediction) for sample, prediction in pairs]
    if others.dtype.kind == "U":  # only labels that are text can be misspelled
        check_predicted(store, label_of)
        merged = as_text(np.array(merged, object))
    with error_context("labels"):
        return store.labelled(merged)


def check_predicted(store: Any, label_of: Mapping[str, Any]) -> None:
    """Raise ValueError for a known label that no model predicts, since it may be misspelled."""
    predicted = {text for name in store.models.index for text in store.predicted(name).tolist()}
    for sample, label in label_of.items():
        if str(label).strip() not in predicted:
            raise ValueError(
                f"labels: no model predicts {str(label)!r}, the label of sample {sample!r}: write "
                "labels as predictions are written, and leave out labels that no model predicts"
            )
