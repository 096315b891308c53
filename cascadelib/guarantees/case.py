"""The samples, cascades and known labels of a certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import error_context
from ..evaluation.label_draw import (
    LabelDraw,
    read_known_labels,
    skip_seen,
    unanswered,
    with_labels,
)
from ..evaluation.point import Point
from ..evaluation.run import Run, evaluate
from ..labels import align_values
from ..origin import Origin, join_origins
from ..scoring import F1
from ..store.aligned_rows import Alignment, check_alignment
from ..store.protocol import Store
from ..store.tables.score_checks import refuse_missing
from .repeats import table_of


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
    clusters : int array of shape (k,) or None
        The number of each sample's cluster.
    table_clusters : int array or None
        The cluster of each row of :attr:`table`, if whole clusters were drawn from it.
    differs : bool array of shape (P, k)
        Whether a cascade and the reference predict different classes, so that the label can matter.
    is_known : bool array of shape (k,)
        Whether the label is known.
    draw : LabelDraw or None
        The draw of which the known labels are the first ones, so that they are a uniform draw from
        those that can matter. None if any labels may be known.
    """

    store: Store
    origin: Origin
    runs: Sequence[Run]
    reference: str
    parts: Mapping[Any, Array]
    clusters: Array | None
    table_clusters: Array | None
    differs: Array
    is_known: Array
    draw: LabelDraw | None = None

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
    def alignment(self) -> Alignment:
        """The result of :func:`check_alignment` for all models of the case."""
        return check_alignment(self.first_of_clusters, self.models)

    @property
    def misaligned(self) -> tuple[str, ...]:
        """The models whose rows are of other samples than those of the reference."""
        return self.alignment.misaligned if self.is_known.all() else ()

    @property
    def is_usable(self) -> Array:
        """Whether a cascade has no misaligned model, bool [P]. All are usable if none would be."""
        is_sound = np.array([{*self.misaligned}.isdisjoint(point.models) for point in self.points])
        return is_sound | (self.reference in self.misaligned or not is_sound.any())

    @cached_property
    def table(self) -> Origin | None:
        """The table that gave the thresholds, None if the samples are not in it."""
        return table_of(self.points, self.origin)

    @property
    def frame(self) -> int:
        """The number of rows, or clusters, of :attr:`table`. 0 without it."""
        if self.table_clusters is not None:
            return int(self.table_clusters.max()) + 1
        return 0 if self.table is None else len(self.table)

    @property
    def deciding(self) -> set[str]:
        """The models whose confidences are compared with thresholds."""
        return {name for point in self.points for name in point.models[:-1]}

    @cached_property
    def first_of_clusters(self) -> Store:
        """The first sample of each cluster, or all samples without clusters."""
        if self.clusters is None:
            return self.store
        return self.store.take(np.unique(self.clusters, return_index=True)[1])

    @cached_property
    def absent(self) -> Array:
        """Whether the reference has no answer, bool [k]."""
        return unanswered(self.store, self.reference)


def prepare_case(
    store: Store,
    points: list[Point],
    reference: str,
    labels: Mapping | None,
    draw: LabelDraw | None,
    groups: Any,
    clusters: Any,
) -> Case:
    """Read labels, groups and clusters, and evaluate the points.

    Raises
    ------
    ValueError
        If labels, groups or clusters do not belong to the samples of the store.
    """
    labelled, differs, is_known = apply_labels(store, points, reference, labels, draw)
    ids = store.origin.sample_ids
    parts = {None: np.ones(len(ids), bool)}
    if groups is not None:
        values = keys_of(groups, "group", ids)
        parts = {name: values == name for name in np.unique(values).tolist()}
    numbers = table_clusters = None
    if clusters is not None:
        if points[0].score == F1 or draw is not None:
            raise ValueError(
                "clusters= supports mean scores without draw=: F1 is not a mean over clusters, and "
                "to_label draws the labels of samples"
            )
        numbers = pd.factorize(keys_of(clusters, "cluster", ids))[0]
        if table := table_of(points, store.origin):
            table_clusters = read_whole_clusters(clusters, table, ids)
    return Case(
        labelled,
        store.origin,
        evaluate(labelled, points),
        reference,
        parts,
        numbers,
        table_clusters,
        differs,
        is_known,
        draw,
    )


def read_whole_clusters(clusters: Any, table: Origin, sample_ids: Array) -> Array:
    """Return the cluster of each row of a table from which samples were drawn, int [N].

    Raises
    ------
    ValueError
        If a row of the table has no cluster, or if only a part of a cluster was drawn.
    """
    with error_context(
        "clusters= with rows of the table that gave the thresholds: a uniform draw of rows is not "
        f"a draw of clusters. Give the cluster of each of the {len(table)} rows, {{id: cluster}}"
    ):
        numbers = pd.factorize(keys_of(clusters, "cluster", table.sample_ids))[0]
    is_drawn = np.isin(table.sample_ids, sample_ids)
    is_left = np.isin(numbers, numbers[is_drawn]) & ~is_drawn
    if is_left.any():
        raise ValueError(
            f"{np.count_nonzero(is_left)} rows of the drawn clusters are not among the samples, "
            f"such as {str(table.sample_ids[np.argmax(is_left)])!r}: draw whole clusters"
        )
    return numbers


def keys_of(keys: Any, what: str, sample_ids: Array) -> Array:
    """Return the group or cluster of each sample [k].

    Raises
    ------
    ValueError
        If the shape differs, if types are mixed, or if a sample has no group or cluster (None,
        nan): no bound would cover it.
    """
    keys = align_values(keys, f"{what}s", sample_ids)
    refuse_missing(keys, what, sample_ids)
    values = np.asarray(keys)
    if values.shape != sample_ids.shape:
        raise ValueError(
            f"{what}s must be [{len(sample_ids)}], the {what} of each sample, not "
            f"{list(values.shape)}"
        )
    if pd.api.types.infer_dtype(values) in ("mixed", "mixed-integer"):
        raise ValueError(f"{what}s must be all text or all numbers: name each as text")
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
    absent = unanswered(store, reference)
    runs = evaluate(agreed, list(points))
    return agreed, np.stack(
        [~run.correct & ~(absent & answered_by(run, reference)) for run in runs]
    )


def rows_to_label(differs: Array, origin: Origin, draw: LabelDraw | None) -> Array:
    """Return the rows at which a cascade differs, in the order of a draw, if there is one.

    ``differs`` is bool [n_points, k].
    """
    rows = np.flatnonzero(differs.any(axis=0))
    return rows if draw is None else rows[draw.order(origin.sample_ids[rows])]


def samples_after_choice(
    store: Store, points: list[Point], reference: str, draw: LabelDraw | None
) -> Store:
    """Return the samples of a draw that did not choose the points, or all without a draw.

    Raises
    ------
    ValueError
        If a model is not a candidate of the draw: it may differ where no label was drawn.
    """
    if draw is None:
        return store
    others = [name for name in models_of(points, reference) if name not in draw.models]
    if others:
        raise ValueError(
            f"{others[0]!r} is not among the models of draw=, {', '.join(draw.models)}: it may be "
            "wrong where they agree. Draw with to_label(store, models=…) for all models of the "
            "cascades and the reference"
        )
    return skip_seen(store, draw, join_origins(*(point.seen for point in points)))


def labels_after_choice(
    store: Store, rest: Store, labels: Mapping | None, draw: LabelDraw
) -> dict[str, Any]:
    """Return the labels of a draw from a store whose samples are among ``rest``."""
    label_of = draw.labels_of(store, labels)
    remaining = {name: label_of[name] for name in rest.origin.sample_ids if name in label_of}
    if not remaining:
        raise ValueError(
            f"none of the {len(label_of)} labels is left to certify: those that chose the cascades "
            "cannot. Label the samples that follow in draw.ids"
        )
    return remaining


def apply_labels(
    store: Store,
    points: list[Point],
    reference: str,
    labels: Mapping | None,
    draw: LabelDraw | None,
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
    rows = rows_to_label(differs, store.origin, draw)
    first = rows[: np.count_nonzero(is_known[rows])]
    gaps = ids[first[~is_known[first]]].tolist()
    if draw is not None and gaps:
        raise ValueError(
            "draw=: the labelled samples are not the first ones that to_label returns for these "
            f"points: {len(gaps)} of the first {len(first)} have no label, such as {gaps[0]!r}. "
            "Label them in their order, without gaps"
        )
    labelled = with_labels(agreed, agreed.predicted(reference), label_of, draw is not None)
    return labelled, differs, is_known
