"""The points that a certificate tests, and the samples whose labels it needs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import brief, check_number, error_context, validate_choice
from ..evaluation.evaluation import check_store
from ..evaluation.point import Point, points_of
from ..evaluation.run import evaluate
from ..fronts.front import Front
from ..fronts.selection import cost_bound
from ..labels import as_text, check_distinct, texts_of_keys, written_value
from ..origin import Origin, digests_of
from ..store.protocol import Store
from .premises import VIOLATED, answered_by, models_of, overlap_of, unanswered
from .repeats import refuse_repeated_ids

STEPS = 100  # most points of a front that are tested


def to_label(
    store: Store,
    cascades: Any,
    reference: str | None = None,
    epsilon: float | None = None,
    budget: float | None = None,
) -> Array:
    """Return the samples whose labels :func:`certify` needs.

    These are the samples on which a cascade predicts another class than the reference.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Samples with predictions. Labels are not read.
    cascades : Front, Point, Policy, Cascade, Certificate or list of these
        As for :func:`certify`.
    reference : str, optional
        As for :func:`certify`.
    epsilon : float, optional
        As for :func:`certify`. It determines which points of a Front are tested. Without `epsilon`
        and `budget` all points are.
    budget : float, optional
        As for :func:`certify`.

    Returns
    -------
    str array
        Ids in the order of their SHA-256. The first m of them are therefore a uniform draw, for any
        m.

    Raises
    ------
    ValueError
        If the score is not top-1, where equal predictions need not mean equal loss, or if
        :func:`certify` would refuse the samples.

    See Also
    --------
    certify : Pass the labels as ``labels={id: label}``.
    ladder : Cascades that need no labels for selection.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> points = cl.ladder(table, ["llama-3.1-8b", "llama-3.3-70b"])
    >>> len(cl.to_label(table, points, "llama-3.3-70b")), len(table)
    (247, 3000)
    """
    check_bounds(epsilon=epsilon, budget=budget)
    check_store(store)
    refuse_repeated_ids(store)
    points, reference = select_points(cascades, reference, epsilon, budget)
    status, evidence, remedy = overlap_of(points, store.origin, models_of(points, reference))
    if status == VIOLATED:
        raise ValueError(f"{evidence}; {remedy}")
    _, differs = compare_with_reference(store, points, reference)
    return store.origin.sample_ids[sort_by_digest(differs.any(axis=0), store.origin)]


def select_points(
    cascades: Any, reference: str | None, epsilon: float | None, budget: float | None
) -> tuple[list[Point], str]:
    """Return the points in the order in which they are tested, and the reference.

    Without epsilon the reference may be any model.
    """
    if isinstance(cascades, Front):
        singles = cascades.singles
        reference = singles["accuracy"].idxmax() if reference is None else reference
        validate_choice(reference, singles.index, "model")
        return candidates(cascades, reference, epsilon, budget), reference
    points = points_of(cascades)
    if reference is None and (epsilon is not None or budget is None):
        raise ValueError("name the reference= model that epsilon refers to")
    if len(scores := {point.score for point in points}) > 1:
        raise ValueError(
            f"the points have different scores, {', '.join(sorted(scores))}: certify each score "
            "by itself"
        )
    reference = points[0].models[-1] if reference is None else reference
    if not isinstance(reference, str):
        raise ValueError(f"reference must be the name of a model, not {brief(reference)}")
    return points, reference


def candidates(
    front: Front, reference: str, epsilon: float | None, budget: float | None = None
) -> list[Point]:
    """Return at most STEPS points of a front that satisfy the bounds on the selection split.

    Points with the largest margin come first. The margin is the smaller one of the two bounds, in
    standard deviations of a sample's loss and cost. Without bounds, all points are returned.
    """
    table = front.table
    if epsilon is None and budget is None:
        return points_of(front)
    loss = (front.singles.loc[reference, "accuracy"] - table["accuracy"]).to_numpy()
    margin = np.full(len(table), np.inf)
    if epsilon is not None:
        spread = np.sqrt(epsilon + np.maximum(loss, 0) + 1e-9)
        margin = np.where(loss <= epsilon, (epsilon - loss) / spread, -1)
    if budget is not None:
        variances = [cost_bound(front, point) for point in front.cascades]
        spread = np.sqrt(variances) + 1e-9 * budget
        margin = np.minimum(margin, (budget - table["cost"]) / spread)
    order = np.argsort(-margin, kind="stable")[: np.count_nonzero(margin >= 0)]
    if not len(order):
        raise ValueError(
            f"no cascade of the front satisfies epsilon={epsilon} of {reference}, "
            f"budget={budget}, even on the selection split"
        )
    steps = np.unique(np.linspace(0, len(order) - 1, STEPS).astype(int))
    return [front.point(int(order[step])) for step in steps]


def check_bounds(**bounds: float | None) -> None:
    """Raise ValueError unless each bound is None or a number, since no cost is above nan."""
    for name, value in bounds.items():
        if value is not None:
            check_number(value, name)


def compare_with_reference(
    store: Store, points: Sequence[Point], reference: str
) -> tuple[Store, Array]:
    """Return a store with the reference's predictions as labels, and the samples that differ.

    The store has the models of the points and the reference. The second result, bool [points, k],
    is True if the point predicts another class.
    """
    if any(point.score != "top1" for point in points):
        raise ValueError(
            "without labels only equal top-1 predictions imply a loss of 0: search with "
            "score='top1'"
        )
    part = store.select(models_of(points, reference))
    with error_context(f"compared with the predictions of {reference!r}"):
        agreed = part.labelled(part.predicted(reference))
    differs = []
    absent = unanswered(store, reference)
    for run in evaluate(agreed, list(points)):
        differs.append(~run.correct)
        if absent is not None:
            differs[-1] &= ~(absent & answered_by(run, reference))
    return agreed, np.stack(differs)


def sort_by_digest(mask: Any, origin: Origin) -> list[int]:
    """Return the rows of a mask [k] in the order of the SHA-256 of their ids."""
    rows = np.flatnonzero(mask)
    digests = dict(zip(rows.tolist(), digests_of(origin.sample_ids[rows])))
    return sorted(digests, key=digests.__getitem__)


def read_known_labels(labels: Any, sample_ids: Array) -> dict[str, Any]:
    """Return {sample id: label} of the labels that are not None or nan.

    Raises
    ------
    ValueError
        If labels are a list or have a default index, since labels may be missing.
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
    return {sample: written_value(label) for sample, label in pairs if not pd.isna(label)}


def apply_labels(
    store: Store, points: list[Point], reference: str, labels: Mapping | None, in_order: bool
) -> tuple[Store, Array, Array]:
    """Return a store with the known labels and two masks.

    Samples without a label get the reference's prediction. The first mask, bool [points, k], is
    True for labels that can matter. The second, bool [k], is True for known labels. If the store
    itself has all labels, both masks are True.
    """
    if labels is None and not store.models["top1"].isna().any():
        return store, np.ones((len(points), len(store)), bool), np.ones(len(store), bool)
    ids = store.origin.sample_ids
    label_of = read_known_labels({} if labels is None else labels, ids)
    if strangers := sorted(label_of.keys() - set(ids.tolist())):
        raise ValueError(
            f"labels: {len(strangers)} ids are not in the store, the first is {strangers[0]!r}"
        )
    agreed, differs = compare_with_reference(store, points, reference)
    is_known = np.isin(ids, list(label_of))
    in_draw = is_known[sort_by_digest(differs.any(axis=0), store.origin)]
    if in_order and not in_draw[: np.count_nonzero(in_draw)].all():
        raise ValueError(
            "labels_in_order=True: the labelled samples are not the first ones that to_label "
            "returns for these points"
        )
    predicted = agreed.predicted(reference)
    pairs = zip(ids.tolist(), predicted.tolist())
    merged: Any = [label_of.get(sample, prediction) for sample, prediction in pairs]
    if predicted.dtype.kind != "U":  # text has many spellings
        return agreed.labelled(merged), differs, is_known
    labelled = agreed.labelled(as_text(np.array(merged, object)))
    check_predicted(labelled, is_known, in_order)
    return labelled, differs, is_known


def check_predicted(store: Any, is_known: Array, in_order: bool) -> None:
    """Raise ValueError for a known label that no model predicts, since it may be misspelled.

    With ``labels_in_order`` no label can be left out. Then such a label means that no model is
    correct, unless no known label at all is predicted.
    """
    labels = np.asarray(store.labels)
    predicted = np.concatenate([store.predicted(name) for name in store.models.index])
    foreign = is_known & ~np.isin(labels, predicted)
    if foreign.any() and not (in_order and (foreign < is_known).any()):
        row = int(np.argmax(foreign))
        raise ValueError(
            f"labels: no model predicts {str(labels[row])!r}, the label of sample "
            f"{str(store.origin.sample_ids[row])!r}: write labels as predictions are written, and "
            "without labels_in_order=True leave out labels that no model predicts"
        )
