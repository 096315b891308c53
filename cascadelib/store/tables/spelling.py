"""Find near misses: predictions that equal their label only after normalizing.

Without normalizing, a near miss counts as wrong. It raises an error unless the caller chooses
``normalize="text"`` or ``normalize="exact"``. Each distinct text is normalized once, for speed.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy import ndarray as Array

from ...labels import normalize_text
from .faults import Fault, Place

MERGED = 'labels that normalize="text" merges with a more frequent spelling'
ALIKE = 'Use one spelling per label, or normalize="exact" if they are different classes'
SHOWN = 3  # examples of near misses per model
REMEDY = (
    'Use one spelling, or normalize="text" to compare without case, outer spaces, Unicode forms '
    'and ".0" of whole numbers, or normalize="exact" for different classes such as a and A'
)

FEW_CLASSES = 0.2  # distinct labels per sample, above which labels are free text


def normalize_texts(values: Array) -> Array:
    """Return the normalized form of texts of any shape."""
    texts = np.unique(values)
    forms = np.array([normalize_text(text) for text in texts.tolist()], dtype=str)
    return values if np.array_equal(texts, forms) else forms[np.searchsorted(texts, values)]


def find_rarer_spellings(labels: Array) -> Array:
    """Return whether each label has a more frequent spelling, bool [k]."""
    texts, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    most_frequent: dict[str, int] = {}
    for number in np.argsort(-counts, kind="stable").tolist():
        most_frequent.setdefault(normalize_text(str(texts[number])), number)
    return ~np.isin(place, list(most_frequent.values()))


def find_near_misses(labels: Array, predictions: Array, texts: Iterable[str]) -> Array:
    """Return whether each prediction equals its label only after normalizing, bool [M, k].

    Parameters
    ----------
    labels : array of str of shape (k,)
    predictions : array of str of shape (M, k)
    texts : iterable of str
        The distinct labels and predictions.
    """
    form_of = {}
    texts_of: dict[str, list[str]] = {}
    for text in filter(None, texts):
        form_of[text] = normalize_text(text)
        texts_of.setdefault(form_of[text], []).append(text)
    respelled = [text for texts in texts_of.values() if len(texts) > 1 for text in texts]
    misses = np.zeros(predictions.shape, bool)
    if respelled:
        misses = np.isin(predictions, respelled) & (predictions != labels)
        cells = np.nonzero(misses)
        pairs = zip(predictions[cells].tolist(), labels[cells[-1]].tolist())
        misses[cells] = [form_of[answer] == form_of[label] for answer, label in pairs]
    return misses


def find_spelling_faults(
    labels: Array,
    predictions: Array,
    texts: Iterable[str],
    names: Sequence[str],
    place: Place,
) -> list[Fault]:
    """Return a fault per model with near misses.

    Parameters
    ----------
    labels : array of str of shape (k,)
    predictions : array of str of shape (M, k)
    texts : iterable of str
        The distinct labels and predictions.
    names : sequence of str
        The models.
    place : callable
        Converts the numbers of a model and a sample to their place in words.
    """
    faults = []
    for row, misses in enumerate(find_near_misses(labels, predictions, texts)):
        examples = tuple(
            f"{str(predictions[row, sample])!r} for {str(labels[sample])!r} at {place(row, sample)}"
            for sample in np.flatnonzero(misses)[:SHOWN].tolist()
        )
        what = f"predictions of model {names[row]!r} that differ from their label only in spelling"
        if examples:
            faults.append(Fault(what, int(misses.sum()), examples, REMEDY))
    return faults


def find_foreign_answers(answers: Array, labels: Array) -> Array:
    """Return whether each answer is none of the labels. It is False if labels are free text."""
    classes = np.unique(labels)
    has_classes = len(classes) <= FEW_CLASSES * len(labels)
    return has_classes & ~np.isin(answers, classes) & (answers != "")
