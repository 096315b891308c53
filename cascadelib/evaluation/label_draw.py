"""Draw the samples to label: those on which candidate models disagree, in a random order.

A sample on which all candidates agree cannot change the loss of any cascade of candidates relative
to any of them. docs/few-labels.md explains the draw.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import brief, items_of, validate_choice
from ..labels import as_text, check_distinct, texts_of_keys, written_value
from ..origin import Origin, Origins, rows_among
from ..store.protocol import Store, answered_by_models
from .guarantee import draw_seed

FEWEST_LABELS = 20  # with fewer, the standard error of a difference means nothing


@dataclass(frozen=True, eq=False, repr=False)
class LabelDraw:
    """The samples on which candidate models disagree, in a random order.

    :func:`to_label` returns it. ``len(draw)`` is the number of these samples.

    Parameters
    ----------
    models : tuple of str
        The candidate models.
    ids : str array
        Ids of the samples on which they disagree, or on which one of them has no answer. For any n,
        the first n are a uniform random draw.
    samples : int
        The number of all samples.
    seed : int
        The entropy that determines the order. ``to_label(store, models=…, seed=…)`` repeats it.
    drawn_by : str
        Whose entropy it is.

    See Also
    --------
    to_label : Draw the samples.
    """

    models: tuple[str, ...]
    ids: Array
    samples: int
    seed: int
    drawn_by: str

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"<LabelDraw: {len(self)} of {self.samples} samples on which {len(self.models)} models "
            f"disagree, in the order of {self.drawn_by}>"
        )

    def order(self, ids: Array) -> Array:
        """Return the rows of ids [k] in the order of the draw: by HMAC-SHA256, with the seed."""
        key = str(self.seed).encode()
        digests = [hmac.digest(key, name.encode(), "sha256") for name in ids.tolist()]
        return np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)

    def labels_of(self, store: Store, labels: Any) -> dict[str, Any]:
        """Return {id: label} of the known labels of this draw from a store.

        Raises
        ------
        ValueError
            If the draw is of another store, or if a label is of a sample that was not drawn.
        """
        again = draw_labels(store, self.models, self.seed)
        if not np.array_equal(again.ids, self.ids):
            raise ValueError(
                f"draw= is of other samples or predictions: {len(self)} of {self.samples}, but its "
                f"models disagree on {len(again)} of {len(store)} samples of this store. Pass the "
                "store of to_label"
            )
        label_of = read_known_labels(labels, store.origin.sample_ids)
        if others := sorted(label_of.keys() - {*self.ids.tolist()}):
            raise ValueError(
                f"labels: {len(others)} ids are not in the draw, such as {others[0]!r}: they are "
                "not in the store, or all models of the draw agree there. Label draw.ids, from the "
                "first one on"
            )
        return label_of


def draw_labels(store: Store, models: Any = "all", seed: int | None = None) -> LabelDraw:
    """Return the samples on which models disagree. By default the operating system orders them."""
    known = list(store.models.index)
    is_all = isinstance(models, str) and models == "all"
    names = [
        validate_choice(name, known, "model") for name in items_of(known if is_all else models)
    ]
    if len({*names}) < 2:
        raise ValueError(f"models must name two models or more that can disagree, not {names}")
    seed, drawn_by = draw_seed(seed)
    ids = store.origin.sample_ids
    draw = LabelDraw(tuple(names), ids, len(ids), seed, drawn_by)
    order = draw.order(ids)
    drawn = ids[order[find_disagreements(store, names)[order]]]
    return replace(draw, ids=drawn)


def find_disagreements(store: Store, models: Iterable[str]) -> Array:
    """Return whether predictions differ or one is missing, bool [k]."""
    first, *others = models
    expected = store.predicted(first)
    differs = unanswered(store, first)
    for name in others:
        differs = differs | (store.predicted(name) != expected) | unanswered(store, name)
    return differs


def unanswered(store: Store, model: str) -> Array:
    """Return whether a model has no answer, bool [k]. A store of logits has all answers."""
    return ~answered_by_models(store, [model])[0]


def take_labelled(store: Store, draw: LabelDraw | None, labels: Any) -> Store:
    """Return the first samples of a draw, up to the last labelled one, with labels.

    The labels of the other samples are the prediction on which all candidates agree. So losses
    between candidates are those of the true labels, but accuracies are not. The samples that follow
    are independent of these ones, since the number of labels does not depend on them.

    Raises
    ------
    ValueError
        If the labels are not those of the first samples of the draw, or if there are too few.
    """
    if draw is None or labels is None:
        raise ValueError(
            "labels= and draw= belong together: draw = to_label(store, models=…), and the labels "
            "{id: label} of its first ids. For a store with all labels omit both"
        )
    label_of = draw.labels_of(store, labels)
    count = len(label_of)
    if count < min(FEWEST_LABELS, len(draw)):
        raise ValueError(
            f"{count} labels are too few to choose a cascade: label {FEWEST_LABELS} samples or "
            f"more, better 200 (draw.ids[:200]), of the {len(draw)} in the draw"
        )
    missing = [name for name in draw.ids[:count].tolist() if name not in label_of]
    if missing:
        raise ValueError(
            f"labels: {count} samples have a label, but not {missing[0]!r}, which is among the "
            f"first {count} of the draw: label draw.ids[:n] without gaps"
        )
    ids = store.origin.sample_ids
    order = draw.order(ids)
    is_drawn = np.isin(ids[order], draw.ids)
    rows = order if count == len(draw) else order[: np.searchsorted(np.cumsum(is_drawn), count) + 1]
    part = store.select(draw.models).take(rows)
    return with_labels(part, part.predicted(draw.models[0]), label_of, in_order=True)


def chosen_on(store: Store, draw: LabelDraw | None) -> Origin:
    """Return the origin of a store, with the draw whose first labels choose cascades."""
    if draw is None:
        return store.origin
    return replace(
        store.origin, draw=f"cl.to_label(store, models={[*draw.models]}, seed={draw.seed})"
    )


def skip_seen(store: Store, draw: LabelDraw, seen: Origins) -> Store:
    """Return the samples of a store after those that took part in a choice.

    Raises
    ------
    ValueError
        If the samples of the choice are not the first of the draw, or if none is left.
    """
    ids = store.origin.sample_ids
    is_seen = rows_among(seen, store.origin)
    count = np.count_nonzero(is_seen)
    if not is_seen[draw.order(ids)[:count]].all():
        raise ValueError(
            f"{count} samples of the store took part in the choice of the cascades, and are not "
            "the first ones of draw=: certify on other samples, or pass the draw that chose the "
            "cascades. The error without draw= names it, and its seed= repeats it"
        )
    if count == len(ids):
        raise ValueError(
            "all samples took part in the choice: choose with the labels of the first part of the "
            "draw only, draw.ids[:n], and certify with the labels that follow"
        )
    return store.take(~is_seen) if count else store


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


def with_labels(store: Store, others: Array, label_of: Mapping[str, Any], in_order: bool) -> Store:
    """Return a store with the labels ``label_of`` by id, and ``others`` [k] for other samples."""
    ids = store.origin.sample_ids
    pairs = zip(ids.tolist(), others.tolist())
    merged: Any = [label_of.get(sample, prediction) for sample, prediction in pairs]
    if others.dtype.kind != "U":  # only labels that are text can be misspelled
        return store.labelled(merged)
    labelled = store.labelled(as_text(np.array(merged, object)))
    check_predicted(labelled, np.isin(ids, list(label_of)), in_order)
    return labelled


def check_predicted(store: Any, is_known: Array, in_order: bool) -> None:
    """Raise ValueError for a known label that no model predicts, since it may be misspelled.

    With labels of a draw, labels cannot be left out. A label that no model predicts is then
    accepted, and means that no model is correct. If this applies to all known labels, they are
    refused.
    """
    labels = np.asarray(store.labels)
    predicted = np.concatenate([store.predicted(name) for name in store.models.index])
    foreign = is_known & ~np.isin(labels, predicted)
    if foreign.any() and not (in_order and (foreign < is_known).any()):
        row = int(np.argmax(foreign))
        raise ValueError(
            f"labels: no model predicts {str(labels[row])!r}, the label of sample "
            f"{str(store.origin.sample_ids[row])!r}: write labels as predictions are written, and "
            "without a draw of labels leave out labels that no model predicts"
        )
