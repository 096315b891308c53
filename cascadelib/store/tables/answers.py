"""Read answers as labels by stated steps, and count those that none of the steps reads.

Formatting must not decide which model is correct. An answer that no step reads is *unreadable*: it
is neither right nor wrong. Each distinct text is read once.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ...checks import brief
from ...labels import fold, strip_marks
from .numbers import EMPTY, FORMS, PLAIN, write_plainly
from .rules import SHOWN, Rule, describe_rules

MISSING = -1  # the code of an empty cell, and the row of a missing cell
MOST_UNREADABLE = 0.01  # largest share of a model's answers that may be unreadable
FEW_CLASSES = 0.2  # distinct labels per sample, above which labels are free text
LONGEST_NUMBER = 28  # signs of a number; Decimal rounds longer ones
WHOLE = re.compile(r"-?[0-9]+")
WORD = re.compile(r"(?:[+-](?=\d))?\w[\w+#]*(?:(?:[.,](?=\d)|['’-])\w[\w+#]*)*")
# "A close look" and "I think" are no answers A and I.
ARTICLE = re.compile(r"(?i:\W*[ai])\s+(?!is\b|as\b|because\b|since\b)[a-z]")
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
EXACT = "exact"
FIRST_WORD = "first word"
AS_WRITTEN = "as written"
UNREADABLE = "unreadable"
ACCEPTED = "wrong"  # value of missing= that counts unreadable answers as wrong
ALIKE = (
    f"Their labels differ from them in spelling only: use one spelling per label, or "
    f"answer={EXACT!r} for different classes such as us and US"
)
OPTION = f"answer= reads more spellings: {FIRST_WORD!r}, or a regular expression with one group"


def final_answer(text: str) -> str:
    """Return the folded answer after the thoughts of a reasoning model, or in ``\\boxed{}``."""
    text = text.rpartition("</think>")[2]
    boxed = BOXED.findall(text)
    return fold(boxed[-1] if boxed else text)


def plain_number(text: str) -> str:
    """Return the number that a text states, without thousands marks and units, "" without one.

    Decimal points come first: 1,234 is 1234, and 0,5 is 0.5. Percentages and powers are no such
    numbers.
    """
    text = final_answer(text).translate(PLAIN)
    body = next(filter(None, (write_plainly(text, decimal) for decimal in FORMS)), "")
    if not 0 < len(body) < LONGEST_NUMBER or "%" in text or "e" in body:
        return ""
    return format(Decimal(body).normalize() + 0, "f")


STEPS: dict[str, Callable[[str], str]] = {
    AS_WRITTEN: str,
    "without outer spaces, quotes, Markdown and final punctuation": strip_marks,
    "without thoughts, \\boxed{}, case and Unicode forms": final_answer,
    "as a number": plain_number,
}
*_, FOLDED, AS_NUMBER = STEPS


@dataclass(frozen=True)
class TextColumn:
    """Text as codes, int64 of any shape: positions in ``texts``, or :data:`MISSING`."""

    codes: Array
    texts: list[str]

    @classmethod
    def of(cls, values: Array) -> "TextColumn":
        """Return an array of text as codes. "" is missing."""
        codes, texts = pd.factorize(np.where(values == "", np.array(None), values).ravel())
        return cls(codes.reshape(values.shape), texts.tolist())

    def values(self) -> Array:
        """Return the text of each cell, "" if it is missing."""
        return np.array([*self.texts, ""], dtype=str)[self.codes]

    def frequencies(self) -> dict[str, int]:
        """Return {text: number of cells}, the most frequent first, without texts of no cell."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.texts)).tolist()
        order = np.argsort(-np.array(counts, np.int64), kind="stable").tolist()
        return {self.texts[code]: counts[code] for code in order if counts[code]}


@dataclass(frozen=True)
class Reader:
    """Reads texts as labels.

    Parameters
    ----------
    forms : dict of str to dict
        By step, the label of each form, or None.
    is_closed : bool
        Whether there are few labels, so that any other text is unreadable. Otherwise labels are
        free text, and any text is an answer.
    is_whole : bool
        Whether all labels are whole numbers. Any whole number is then an answer.
    extract : callable or None
        Function from a text that no step reads to the answer in it, or to None.
    """

    forms: dict[str, dict[str, str | None]]
    is_closed: bool
    is_whole: bool
    extract: Callable[[str], str | None] | None

    def read(self, text: str) -> tuple[str, str]:
        """Return the label of a text and the step that reads it, or :data:`UNREADABLE`."""
        if found := self._find_label(text):
            label, step = found
            return label, AS_WRITTEN if label == text else step
        if self.extract is not None and (part := self.extract(text)):
            found = self._find_label(part)
            if found or not self.is_closed:
                return (found[0] if found else part), "by answer="
        return text, UNREADABLE if self.is_closed else AS_WRITTEN

    @cached_property
    def label_of_word(self) -> dict[str, str]:
        """A label that contains each word."""
        labels = self.forms[AS_WRITTEN]
        return {fold(word): label for label in labels for word in WORD.findall(label)}

    def labels_in(self, text: str) -> set[str]:
        """Return the labels of which a text contains a word. The article "a" is no label A."""
        words = {fold(word) for word in WORD.findall(text) if word != "a"}
        return {self.label_of_word[word] for word in words & self.label_of_word.keys()}

    def _find_label(self, text: str) -> tuple[str, str] | None:
        for step, label_of in self.forms.items():
            if (label := label_of.get(STEPS[step](text))) is not None:
                return label, step
        number = plain_number(text) if self.is_whole else ""
        return (number, AS_NUMBER) if WHOLE.fullmatch(number) else None


def make_reader(
    labels: Sequence[str], others: Iterable[str], is_closed: bool, answer: Any
) -> Reader:
    """Return the reader of a label set.

    Parameters
    ----------
    labels : sequence of str
        The label set.
    others : iterable of str
        Other texts of a table, the most frequent first. If labels are free text and no numbers,
        texts that agree after all steps are read as the first of them.
    is_closed : bool
        As for :class:`Reader`.
    answer : {None, "exact", "first word"}, regular expression or callable
        As for :class:`cascadelib.ScoreTable`.
    """
    if answer == EXACT:
        return Reader({AS_WRITTEN: label_by_form(AS_WRITTEN, labels)}, False, False, None)
    numbers = [*map(plain_number, labels)]
    has_numbers = bool(labels) and all(numbers)
    is_whole = has_numbers and all(map(WHOLE.fullmatch, numbers))
    forms = {step: label_by_form(step, labels) for step in STEPS if step != AS_NUMBER}
    if has_numbers:
        forms[AS_NUMBER] = label_by_form(AS_NUMBER, labels)
    elif not is_closed:
        for text in others:
            forms[FOLDED].setdefault(final_answer(text), text)
    reader = Reader(forms, is_closed, is_whole, None)
    first = partial(first_word, reader)
    return replace(reader, extract=first if answer == FIRST_WORD else extractor_of(answer))


def label_by_form(step: str, labels: Iterable[str]) -> dict[str, str | None]:
    """Return the label that a step reads in each form, None for a form that two labels share.

    The empty form has no label.
    """
    label_of: dict[str, str | None] = {"": None}
    for label in labels:
        form = STEPS[step](label)
        label_of[form] = label if label_of.get(form, label) == label else None
    return label_of


def first_word(reader: Reader, text: str) -> str | None:
    """Return the first word of a text, None if it is an article or another label follows."""
    first, *rest = text.split(maxsplit=1) or [""]
    is_only = reader.labels_in(" ".join(rest)) <= reader.labels_in(first)
    return first if is_only and not ARTICLE.match(text) else None


def extractor_of(answer: Any) -> Callable[[str], str | None] | None:
    """Return the function of an ``answer=`` option from a text to the answer in it."""
    if answer is None or callable(answer):
        return answer
    try:
        pattern = re.compile(answer, re.DOTALL)
    except (re.error, TypeError) as error:
        raise ValueError(f"answer={brief(answer)}: not a regular expression ({error})") from None
    if pattern.groups != 1:
        raise ValueError(
            f"answer={answer!r} has {pattern.groups} groups: the answer must be the only group, as "
            "in r'answer is (\\w+)'"
        )

    def extract(text: str) -> str | None:
        found = pattern.search(text)
        return found and found[1]

    return extract


@dataclass(frozen=True)
class Answers:
    """Labels and predictions after reading.

    Parameters
    ----------
    predictions : array of str of shape (n_models, n_samples)
        Labels. Unreadable answers are as written.
    said, values : int64 arrays of shape (n_models, n_samples) and (n_samples,)
        Positions of the predictions and of the labels among the classes, or :data:`MISSING`.
    unreadable : bool array of shape (n_models, n_samples)
    classes : tuple of str
        The sorted labels and readable predictions.
    spellings : DataFrame
        A row per text that was changed or not read: spelling, label, step, count, models.
    """

    predictions: Array
    said: Array
    values: Array
    unreadable: Array
    classes: tuple[str, ...]
    spellings: pd.DataFrame


def read_answers(
    predictions: TextColumn, labels: TextColumn | None, answer: Any, names: Sequence[str], last: int
) -> Answers:
    """Read predictions [models, samples] as labels [samples].

    Without labels, the label set is that of the answers of the model in row ``last``.
    """
    label_set, is_closed = find_label_set(labels, predictions, last)
    others = [] if is_closed else predictions.frequencies()
    reader = make_reader(label_set, others, is_closed, answer)
    read = [reader.read(text) for text in predictions.texts]
    texts = [text for text, _ in read]
    is_unread = [*(step == UNREADABLE for _, step in read), False]
    known = {text for text, step in read if step != UNREADABLE}
    classes = tuple(sorted(known.union(() if labels is None else label_set)))
    number = dict(zip(classes, range(len(classes))))
    said = number_texts(predictions, texts, number)
    values = np.full(said.shape[1], MISSING)
    unreadable = np.array(is_unread)[predictions.codes]
    if labels is not None:
        values = number_texts(labels, labels.texts, number)
        if answer != EXACT:
            unreadable |= find_doubtful(said, values, classes, is_closed)
    return Answers(
        TextColumn(predictions.codes, texts).values(),
        said,
        values,
        unreadable,
        classes,
        list_spellings(predictions, read, names),
    )


def find_label_set(
    labels: TextColumn | None, predictions: TextColumn, last: int
) -> tuple[list[str], bool]:
    """Return the label set, and whether labels are few, so that they are no free text."""
    source = labels or TextColumn(predictions.codes[last : last + 1], predictions.texts)
    label_set = list(source.frequencies())
    if labels is None:
        label_set = list({fold(text): text for text in reversed(label_set)}.values())
    few = FEW_CLASSES * np.count_nonzero(source.codes >= 0)
    return label_set, bool(1 < len(label_set) <= few)


def number_texts(column: TextColumn, texts: Sequence[str], number: Mapping[str, int]) -> Array:
    """Return the number of each cell's text, :data:`MISSING` if it has none."""
    numbers = [*(number.get(text, MISSING) for text in texts), MISSING]
    return np.array(numbers, np.int32)[column.codes]


def read_texts(texts: Array, known_texts: Array, answer: Any) -> Array:
    """Return texts in the spelling of known ones."""
    known = TextColumn.of(known_texts).frequencies()
    reader = make_reader(list(known), (), False, answer)
    column = TextColumn.of(texts)
    return TextColumn(column.codes, [reader.read(text)[0] for text in column.texts]).values()


def find_doubtful(said: Array, values: Array, classes: Sequence[str], is_closed: bool) -> Array:
    """Return whether wrong answers may be other spellings of their label, bool [models, samples].

    Two labels may differ in spelling only. Free text may contain its label.

    Parameters
    ----------
    said : int64 array of shape (n_models, n_samples)
        Predictions, as positions among the classes, or :data:`MISSING`.
    values : int64 array of shape (n_samples,)
        Labels.
    """
    forms = [fold(text) for text in classes]
    is_doubtful = np.zeros(said.shape, bool)
    if is_closed and len(set(forms)) == len(forms):
        return is_doubtful
    cells = np.nonzero((said != values) & (said >= 0))
    numbers = said[cells].astype(np.int64) * len(forms) + values[cells[1]]
    pairs, pair_of = np.unique(numbers, return_inverse=True)
    may_agree = []
    for pair in pairs.tolist():
        text, label = (forms[code] for code in divmod(pair, len(forms)))
        may_agree.append(text == label or (not is_closed and may_state(text, label)))
    is_doubtful[cells] = np.array(may_agree, bool)[pair_of]
    return is_doubtful


def may_state(text: str, label: str) -> bool:
    """Return whether a free text contains its label among other words, or is no answer at all.

    A number may be written in another locale, or as a percentage.
    """
    if text in EMPTY or f" {words_of(label)} " in f" {words_of(text)} ":
        return True
    number = plain_number(label)
    if not number:
        return False
    plain = (write_plainly(word, decimal) for word in WORD.findall(text) for decimal in FORMS)
    values = {Decimal(body) for body in plain if body}
    if "%" in text:
        values |= {value / 100 for value in values}
    return Decimal(number) in values


def words_of(text: str) -> str:
    """Return the words of a text, with spaces for other signs."""
    return " ".join(WORD.findall(text))


def list_spellings(
    predictions: TextColumn, read: Sequence[tuple[str, str]], names: Sequence[str]
) -> pd.DataFrame:
    """Return a row per text that was changed or is unreadable, the most frequent first."""
    size = len(predictions.texts) + 1
    counts = np.array([np.bincount(row + 1, minlength=size)[1:] for row in predictions.codes])
    counts = counts.reshape(len(names), len(read))
    table = pd.DataFrame(read, columns=["label", "step"])
    table.insert(0, "spelling", predictions.texts)
    table["count"] = counts.sum(axis=0)
    table["models"] = [tuple(np.array(names, object)[column > 0]) for column in counts.T]
    table.loc[table["step"] == UNREADABLE, "label"] = ""
    changed = table[table["step"] != AS_WRITTEN]
    return changed.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def describe_gaps(store: Any, names: Iterable[str]) -> str:
    """Return the shares of missing and unreadable answers in words, or "" if there are none.

    A store of outputs has all answers.
    """
    texts = []
    unreadable: Any = getattr(store, "unreadable", None)
    for name in () if unreadable is None else names:
        row = store.row(name)
        missing = ~(store.answered[row] | unreadable[row])
        shares = {"missing": missing.mean(), "unreadable": unreadable[row].mean()}
        counted = " and ".join(f"{share:.2%} {what}" for what, share in shares.items() if share)
        if counted:
            texts.append(f"answers of model {name!r}: {counted}")
    if texts and store.missing == ACCEPTED:
        texts.append(f"missing={ACCEPTED!r} counts all of them as wrong")
    return "; ".join(texts)


def refuse_unreadable(store: Any, names: Iterable[str]) -> None:
    """Raise a ValueError if more than 1% of the answers of a model are unreadable.

    ``missing="wrong"`` accepts them.
    """
    faults = find_unreadable(store, names)
    if faults and store.missing != ACCEPTED:
        raise ValueError(describe_rules(faults))


def find_unreadable(store: Any, names: Iterable[str]) -> list[Rule]:
    """Return a fault per model with more than 1% of unreadable answers, with usual spellings."""
    faults = []
    unreadable: Any = getattr(store, "unreadable", None)
    for name in () if unreadable is None else names:
        row = store.row(name)
        share = unreadable[row].mean()
        if share <= MOST_UNREADABLE:
            continue
        counts = pd.Series(store.predictions[row][unreadable[row]]).value_counts()
        usual = ", ".join(f"{text!r:.60} {count:,} times" for text, count in counts[:3].items())
        labels = labels_of(store)
        option = find_option(counts.index.tolist(), labels)
        reads = f"answer={option!r} reads all of them" if option else OPTION
        if set(map(fold, counts.index)) <= set(map(fold, labels)):
            reads = ALIKE
        remedy = (
            f"{reads}; missing={ACCEPTED!r} counts them as wrong answers; or leave out the model"
        )
        what = f"answers of model {name!r} that are unreadable ({share:.1%}), such as {usual}"
        faults.append(Rule(what, int(counts.sum()), (), remedy))
    return faults


def find_best_model(store: Any) -> str | None:
    """Return the model with the highest accuracy on the samples that all models answered readably.

    Models that answered less than half of the samples are left out. None means that all models
    answered all samples, that no sample has all answers, or that missing and unreadable answers are
    accepted as wrong.
    """
    answered = getattr(store, "answered", None)
    if answered is None or answered.all() or store.missing == ACCEPTED:
        return None
    is_compared = 2 * np.count_nonzero(answered, axis=1) >= len(store)
    is_shared = answered[is_compared].all(axis=0)
    if not is_shared.any():
        return None
    accuracy = np.where(is_compared, store.correct[:, is_shared].mean(axis=1), -1)
    return max(store.models.index, key=lambda name: accuracy[store.row(name)])  # a tie: cheapest


def labels_of(store: Any) -> list[str]:
    """Return the distinct labels of a table, or, without labels, its readable answers."""
    return list(store.origin.classes or () if store.labels is None else pd.unique(store.labels))


def find_option(texts: Sequence[str], labels: Sequence[str]) -> str | None:
    """Return the ``answer=`` option that reads each text as the only label that it contains."""
    for option in (FIRST_WORD, r"(?i)answer(?: is)?\W*(\w+)"):
        reader = make_reader(labels, (), True, option)
        if all({reader.read(text)[0]} == reader.labels_in(text) for text in texts):
            return option
    return None


def describe_spellings(spellings: pd.DataFrame) -> list[Rule]:
    """Return a rule per step that read answers, with the most frequent spellings."""
    rules = []
    for step, part in spellings[spellings["label"] != ""].groupby("step", sort=False):
        rows = part[["spelling", "label", "count"]][:SHOWN].to_numpy().tolist()
        shown = [f"{text!r:.60} is {label!r} {count:,} times" for text, label, count in rows]
        if len(part) > SHOWN:
            shown.append(f"and {len(part) - SHOWN:,} more spellings")
        read = f"{step}: {', '.join(shown)}"
        rules.append(Rule("answers", int(part["count"].sum()), read=read))
    return rules
