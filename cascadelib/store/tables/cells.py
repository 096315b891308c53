"""Arrange the cells of a long table as arrays [models, samples], and find their faults."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .faults import SHOWN, Fault
from .spelling import ALIKE, MERGED, normalized_texts, rarer_spellings, spelling_faults

MISSING = -1  # the code of an empty cell, and the row of a missing cell
SKIP = "missing='drop' leaves out such samples, 'abstain' counts them as without an answer"
UNSURE = "missing='drop' leaves out such samples, 'abstain' keeps their answers for the last stage"
Locate = Callable[[Array], list[str]]


@dataclass(frozen=True)
class Coded:
    """A column of text: codes int64 [rows] of its distinct texts, and the kind of the source.

    The code of an empty cell is :data:`MISSING`.
    """

    codes: Array
    texts: list[str]
    kind: str

    def text(self, codes: Array) -> Array:
        """Return the text of codes of any shape, "" if missing."""
        return np.array([*self.texts, ""], dtype=str)[codes]


@dataclass(frozen=True)
class Cells:
    """A long table, one value per row and role.

    Parameters
    ----------
    text : dict of str to Coded
        Columns of text by role.
    numbers : dict of str to array of float64 of shape (n_rows,)
        Columns of numbers by role, nan in empty cells.
    locate : callable
        Converts rows to their places in the source, such as "line 7".
    row_at : array of int64 of shape (n_models, n_samples)
        The row of each model and sample, or :data:`MISSING`.
    samples : array of str of shape (n_samples,)
        Sample ids.
    """

    text: dict[str, Coded]
    numbers: dict[str, Array]
    locate: Locate
    row_at: Array
    samples: Array

    @property
    def models(self) -> list[str]:
        """Return the names of the models."""
        return self.text["model"].texts

    def codes(self, role: str) -> Array:
        """Return the codes of a column of text, int64 [models, samples]."""
        return np.append(self.text[role].codes, MISSING)[self.row_at]

    def values(self, role: str) -> Array:
        """Return text or numbers [models, samples], "" or nan in missing cells."""
        if role in self.numbers:
            return np.append(self.numbers[role], np.nan)[self.row_at]
        return self.text[role].text(self.codes(role))

    def place(self, model: int, sample: int) -> str:
        """Return the place of one cell in words."""
        row = self.row_at[[model], [sample]]
        lines = self.locate(row) if row[0] >= 0 else []
        names = [f"sample {str(self.samples[sample])!r}", f"model {self.models[model]!r}"]
        return ", ".join(names + lines)

    def row_place(self, row: int) -> str:
        """Return the place of a row in words."""
        codes = {role: self.text[role].codes[row] for role in ("sample", "model")}
        names = [
            f"{role} {self.text[role].texts[code]!r}" for role, code in codes.items() if code >= 0
        ]
        return ", ".join(names + self.locate(np.array([row])))

    def faults(self, what: str, wrong: Array, remedy: str = "", shown: Any = None) -> list[Fault]:
        """Return the fault of cells, bool [models, samples], or an empty list.

        shown: values [models, samples] that the examples quote.
        """
        examples = []
        for sample, model in np.argwhere(wrong.T)[:SHOWN].tolist():
            place = self.place(model, sample)
            quoted = place if shown is None else f"{shown[model, sample].item()!r} at {place}"
            examples.append(quoted)
        count = int(np.count_nonzero(wrong))
        return [Fault(what, count, tuple(examples), remedy)] if count else []


def arranged(text: dict[str, Coded], numbers: dict[str, Array], locate: Locate) -> Any:
    """Return the :class:`Cells` of columns [rows], and the faults of rows.

    Rows without sample or model are skipped. If rows repeat a sample and model, the first is used.
    """
    sample = text["sample"]
    model = text["model"]
    row_at = np.full((len(model.texts), len(sample.texts)), MISSING)
    cells = Cells(text, numbers, locate, row_at, np.array(sample.texts, dtype=str))
    faults = []
    for role in ("sample", "model"):
        empty = np.flatnonzero(text[role].codes == MISSING)
        if len(empty):
            examples = tuple(map(cells.row_place, empty[:SHOWN].tolist()))
            faults.append(Fault(f"rows without a {role}", len(empty), examples))
    rows = np.flatnonzero((sample.codes >= 0) & (model.codes >= 0))[::-1]
    places = (model.codes[rows], sample.codes[rows])
    row_at[places] = rows  # in reverse order, so that the first row is written last
    repeated = rows[row_at[places] != rows][::-1]
    if len(repeated):
        firsts = locate(row_at[model.codes[repeated], sample.codes[repeated]][:SHOWN])
        own = map(cells.row_place, repeated[:SHOWN].tolist())
        examples = tuple(f"{place} repeats {first}" for place, first in zip(own, firsts))
        faults.append(Fault("rows that repeat a sample and model", len(repeated), examples))
    return cells, faults


def arguments_of(
    cells: Cells, missing: str, normalize: str | None
) -> tuple[dict[str, Any], list[Fault]]:
    """Return the arguments of a :class:`ScoreTable` and the faults of the cells."""
    there = cells.row_at >= 0
    faults = []
    label = None
    if "label" in cells.text:
        stated = cells.codes("label")
        label = stated.max(axis=0)
        differing = (stated >= 0) & (stated != label)
        faults += cells.faults("labels that differ from others of their sample", differing)
        there &= label >= 0
    if "correct" in cells.numbers:
        there &= ~np.isnan(cells.values("correct"))
    has_confidence = ~np.isnan(cells.values("confidence"))
    # A model without confidences can only be the last stage.
    unsure = there & ~has_confidence & has_confidence.any(axis=1, keepdims=True)
    if "prediction" in cells.text:
        unsure &= cells.codes("prediction") >= 0
    kept = np.ones(len(cells.samples), bool)
    if missing == "refuse":
        what = f"missing of {there.size:,} rows, their labels or correctness"
        faults += cells.faults(what, ~there, SKIP)
        faults += cells.faults("empty confidences", unsure, UNSURE)
    elif missing == "drop":
        kept = (there & ~unsure).all(axis=0)
    elif label is not None and (label < 0).any():
        unlabelled = np.zeros_like(there)
        unlabelled[0] = label < 0
        faults += cells.faults("samples without a label", unlabelled, SKIP.partition(",")[0])
    if not kept.any():
        raise ValueError(
            "missing='drop' drops all samples: none has a complete row of each of the "
            f"{len(there)} models; models=[…] chooses fewer"
        )
    row_at = np.where(there, cells.row_at, MISSING)[:, kept]
    part = replace(cells, row_at=row_at, samples=cells.samples[kept])
    labels = None if label is None else cells.text["label"].text(label[kept])
    given, more = _values_of(part, labels, normalize)
    given["dropped"] = int(np.count_nonzero(~kept))
    return given, faults + more


def _values_of(
    cells: Cells, labels: Array | None, normalize: str | None
) -> tuple[dict[str, Any], list[Fault]]:
    """Return the arguments of a :class:`ScoreTable` for the remaining samples, and faults."""
    faults: list[Fault] = []
    given: dict[str, Any] = {
        "correct": None,
        "confidence": cells.values("confidence"),
        "names": cells.models,
        "sample_ids": cells.samples,
        "labels": labels,
        "columns": {
            role.partition(" ")[2]: cells.values(role)
            for role in (*cells.numbers, *cells.text)
            if " " in role
        },
        "answered": cells.row_at >= 0,
        "normalize": normalize,
    }
    # An answer without confidence, or a missing row.
    given["confidence"][np.isnan(given["confidence"])] = -np.inf
    if labels is not None and normalize == "text":
        rarer = np.zeros_like(cells.row_at, bool)
        rarer[0] = rarer_spellings(labels)
        faults += cells.faults(MERGED, rarer, ALIKE, np.broadcast_to(labels, rarer.shape))
    if "prediction" in cells.text:
        given["predictions"] = cells.values("prediction")
        given["answered"] &= given["predictions"] != ""
        if labels is not None and normalize is None:
            texts = {*cells.text["label"].texts, *cells.text["prediction"].texts}
            faults += spelling_faults(
                labels, given["predictions"], texts, cells.models, cells.place
            )
    if "correct" in cells.numbers:
        correct = cells.values("correct")
        outside = (correct < 0) | (correct > 1)
        faults += cells.faults("values of correctness outside [0, 1]", outside, "", correct)
        correct = np.nan_to_num(correct)
        is_graded = ((correct != 0) & (correct != 1)).any()
        given["correct"] = correct if is_graded else correct.astype(bool)
        faults += _contradictions(cells, given)
    if "cost" in cells.numbers:
        prices = _filled_prices(cells)
        wrong = ~(np.isfinite(prices) & (prices >= 0))
        faults += cells.faults("costs that are missing, infinite or negative", wrong, "", prices)
        given["cost"] = prices if (prices != prices[:, :1]).any() else prices[:, 0]
    return given, faults


def _contradictions(cells: Cells, given: dict[str, Any]) -> list[Fault]:
    """Return the fault of correctness that contradicts labels and predictions, except grades."""
    correct = given["correct"]
    if given["labels"] is None or "predictions" not in given or correct.dtype != bool:
        return []
    labels = given["labels"]
    predictions = given["predictions"]
    if given["normalize"] == "text":
        labels = normalized_texts(labels)
        predictions = normalized_texts(predictions)
    contradicting = (correct != (predictions == labels)) & (predictions != "")
    return cells.faults(
        "predictions whose correctness contradicts their label",
        contradicting,
        "Leave out correct=, or label= and prediction=",
        given["predictions"],
    )


def _filled_prices(cells: Cells) -> Array:
    """Return prices [models, samples], the median of the model in empty rows."""
    prices = cells.values("cost")
    states = [~np.isnan(values) for values in cells.numbers.values()]
    states += [
        cells.text[role].codes != MISSING for role in cells.text.keys() & {"label", "prediction"}
    ]
    stated = np.append(np.any(states, axis=0), False)[cells.row_at]
    for row, own in zip(prices, stated, strict=True):
        if not own.all() and not np.isnan(row).all():
            row[~own] = np.nanmedian(row)
    return prices
