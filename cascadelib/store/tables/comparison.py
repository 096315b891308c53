"""Compare predictions with labels as they are written.

Formatting must not decide which model is correct. A table in which it could is refused.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from .faults import Fault, Place, find_cells
from .repairs import EMPTY, Steps, find_line, written

MISSING = -1  # the code of an empty cell, and the row of a missing cell
FEW_CLASSES = 0.2  # distinct labels per sample, above which labels are free text
PART = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)|[^\W\d_]+")  # a number or a word
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
SHOWN_ERRORS = 3  # most frequent errors of a reference, and the fewest errors that are shown
EXACT = "exact=True counts all of them as wrong"


@dataclass(frozen=True)
class TextColumn:
    """Text as codes, int64 of any shape: positions in ``texts``, or :data:`MISSING`."""

    codes: Array
    texts: list[str]

    @classmethod
    def of(cls, values: Array) -> "TextColumn":
        """Return an array of text as codes, without outer spaces. "" is missing."""
        codes, texts = pd.factorize(values.ravel().astype(object))
        return cls(codes.reshape(values.shape), texts.tolist()).stripped()

    def stripped(self) -> "TextColumn":
        """Return the column without outer spaces. Empty cells are missing."""
        texts = [text.strip() for text in self.texts]
        if texts == self.texts and "" not in texts:
            return self
        order, named = pd.factorize(np.array([text or None for text in texts], object))
        return TextColumn(np.append(order, MISSING)[self.codes], named.tolist())

    def values(self) -> Array:
        """Return the text of each cell, "" if it is missing."""
        return np.array([*self.texts, ""], dtype=str)[self.codes]

    def numbered(self, classes: Sequence[str]) -> Array:
        """Return the position of each cell among classes, or :data:`MISSING`, int32."""
        number = dict(zip(classes, range(len(classes))))
        return np.array([*map(number.__getitem__, self.texts), MISSING], np.int32)[self.codes]

    def has_numbers(self) -> bool:
        """Return whether all cells are whole numbers."""
        return all(map(str.isdecimal, self.texts))


@dataclass(frozen=True)
class LabelSet:
    """The labels with which answers are compared.

    Parameters
    ----------
    known : frozenset of str
    is_closed : bool
        Whether there are few labels, so that an answer must be one of them. Otherwise labels are
        free text.
    accepts_numbers : bool
        Whether all labels are whole numbers, so that each whole number may be an answer.
    is_partial : bool
        Whether some labels are unknown, so that any other text may be an answer.
    """

    known: frozenset[str]
    is_closed: bool
    accepts_numbers: bool
    is_partial: bool

    @classmethod
    def of(cls, labels: TextColumn, is_partial: bool) -> "LabelSet":
        """Return the set of the labels of samples."""
        is_closed = 1 < len(labels.texts) <= FEW_CLASSES * labels.codes.size
        return cls(frozenset(labels.texts), is_closed, labels.has_numbers(), is_partial)

    def may_equal(self, text: str, label: str) -> bool:
        """Return whether a wrong answer may be its label in other words."""
        if text in (label, "") or text.casefold() in EMPTY:
            return False
        if self.is_closed and words_of(text) != words_of(label):
            is_number = self.accepts_numbers and text.isdecimal()
            return not (self.is_partial or is_number or text in self.known)
        return words_of(label) in words_of(text)


def find_unclear(
    predictions: TextColumn,
    labels: TextColumn,
    place: Place,
    column_of: Callable[[str, int], str],
    is_partial: bool,
) -> list[Fault]:
    """Return the faults of answers [models, samples] that may be their label in other words.

    These are wrong answers whose words and numbers contain those of their label. If there are few
    labels, they are texts that are none of them, except for a whole number if all labels are such,
    and other spellings of the label.

    Parameters
    ----------
    predictions, labels : TextColumn
        Codes [models, samples] and [samples].
    place, column_of : callable
        The place of a cell, and the column of a role and a model in pandas.
    is_partial : bool
        As for :class:`LabelSet`.
    """
    label_set = LabelSet.of(labels, is_partial)
    texts = [*predictions.texts, ""]
    known = [*labels.texts, ""]
    numbers = predictions.codes % len(texts) * len(known) + labels.codes % len(known)
    distinct, pair_of = np.unique(numbers, return_inverse=True)
    pair_of = pair_of.reshape(numbers.shape)
    pairs = [(texts[answer], known[label]) for answer, label in zip(*divmod(distinct, len(known)))]
    is_unclear = np.array([label_set.may_equal(*pair) for pair in pairs])

    def quote(model: int, sample: int) -> str:
        return "{!r} for the label {!r}".format(*pairs[pair_of[model, sample]])

    faults = find_empty_words(predictions, labels, column_of)
    if (
        len(labels.texts) > 1
        and label_set.known.isdisjoint(predictions.texts)
        and not is_unclear.any()
    ):
        first = quote(0, 0)
        faults.append(Fault("answers that are none of the labels", numbers.size, (first,), EXACT))
    columns = np.array([column_of("prediction", model) for model in range(len(numbers))])
    for column in dict.fromkeys(columns.tolist()):
        is_here = (columns == column)[:, np.newaxis]
        unclear = is_unclear[pair_of] & is_here
        if not unclear.any():
            continue
        used = [pairs[number] for number in np.unique(pair_of[columns == column])]
        accepted = label_set.known if label_set.is_closed else ()
        lines = find_line(used, label_set.may_equal, accepted, column)
        what = f"answers of {column} that may be their label in other words"
        faults += find_cells(what, unclear, place, quote, remedy=EXACT, lines=lines)
    return faults


def find_empty_words(
    predictions: TextColumn, labels: TextColumn, column_of: Callable[[str, int], str]
) -> list[Fault]:
    """Return the faults of words such as "nan" that are only labels, or only answers."""
    faults = []
    for role, column, other in (
        ("prediction", predictions, labels),
        ("label", labels, predictions),
    ):
        words = [text for text in column.texts if text.casefold() in EMPTY]
        words = [text for text in words if text not in other.texts]
        is_word = np.isin(np.atleast_2d(column.codes), [column.texts.index(text) for text in words])
        for name in dict.fromkeys(
            column_of(role, model) for model in np.nonzero(is_word)[0].tolist()
        ):
            emptied: Steps = (("replace", (words, None), {}),)
            lines = (f"{written(emptied, name)}  # empties these cells",)
            what = f"words for empty cells in {name}"
            count = int(np.count_nonzero(is_word))
            faults.append(Fault(what, count, tuple(map(repr, words)), EXACT, lines))
    return faults


@cache
def words_of(text: str) -> str:
    """Return the words and numbers of a text between spaces, in one form.

    Examples
    --------
    >>> words_of("**Yes.**"), words_of("It is 1,024.0"), words_of("05/01")
    (' yes ', ' it is 1024.0 ', ' 5.0 1.0 ')
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    text = THOUSANDS.sub("", text).replace(",", ".")
    found = PART.findall(text) or [text]
    return f" {' '.join(str(float(part)) if part[-1:].isdecimal() else part for part in found)} "


def describe_comparison(store: Any) -> str:
    """Return how a table compared text with labels, "" if it compared none."""
    how = getattr(store, "comparison", "")
    if how == "exact":
        return "Text was compared as written"
    if how == "text":
        return "Answers were compared as text: a right answer in other words counts as wrong"
    return ""


def describe_errors(store: Any, model: str) -> str:
    """Return the most frequent wrong answers of a model with their labels.

    The text is empty if the table compared no text, or if the model has fewer than three errors.
    """
    if not getattr(store, "comparison", ""):
        return ""
    answers = store.predicted(model)
    is_wrong = (answers != store.labels) & (answers != "")
    if np.count_nonzero(is_wrong) < SHOWN_ERRORS:
        return ""
    pairs = Counter(zip(answers[is_wrong].tolist(), store.labels[is_wrong].tolist()))
    shown = (
        f"{answer!r} for {label!r} ({count})"
        for (answer, label), count in pairs.most_common(SHOWN_ERRORS)
    )
    return f"Most frequent errors of {model!r}: {', '.join(shown)}"


def describe_gaps(store: Any, names: Iterable[str]) -> str:
    """Return the shares of missing answers in words, "" if there are none or outputs of models."""
    answered: Any = getattr(store, "answered", None)
    texts = []
    for name in () if answered is None else names:
        if share := 1 - answered[store.row(name)].mean():
            texts.append(f"{share:.2%} of the answers of model {name!r} are missing")
    return "; ".join(texts)


def find_best_model(store: Any) -> str | None:
    """Return the model with the highest accuracy on the samples that all models answered.

    Models that answered less than half of the samples are left out. None means that all models
    answered all samples, or that no sample has all answers.
    """
    answered = getattr(store, "answered", None)
    if answered is None or answered.all():
        return None
    is_compared = 2 * np.count_nonzero(answered, axis=1) >= len(store)
    is_shared = answered[is_compared].all(axis=0)
    if not is_shared.any():
        return None
    accuracy = np.where(is_compared, store.correct[:, is_shared].mean(axis=1), -1)
    return max(store.models.index, key=lambda name: accuracy[store.row(name)])  # a tie: cheapest
