"""Arrange the cells of a long table as arrays [models, samples], and find their faults."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ...origin import Origin
from .faults import SHOWN, Fault, find_cell_faults
from .score_checks import check_columns

MISSING = -1  # the code of an empty cell, and the row of a missing cell
SKIP = "missing='drop' drops such samples, 'abstain' counts these rows as abstentions"
UNSURE = "missing='drop' drops such samples, 'abstain' keeps their answers for the last stage"
Locate = Callable[[Array], list[str]]


@dataclass(frozen=True)
class TextColumn:
    """A column of text: codes int64 [rows], distinct texts, and the kind of its source cells.

    A code is a position in ``texts``, or :data:`MISSING` for an empty cell.
    """

    codes: Array
    texts: list[str]
    kind: str


@dataclass(frozen=True)
class Cells:
    """A long table, one value per row and role.

    Parameters
    ----------
    text : dict of str to TextColumn
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

    text: dict[str, TextColumn]
    numbers: dict[str, Array]
    locate: Locate
    row_at: Array
    samples: Array

    def codes(self, role: str) -> Array:
        """Return the codes of a column of text, int64 [models, samples]."""
        return np.append(self.text[role].codes, MISSING)[self.row_at]

    def values(self, role: str) -> Array:
        """Return text or numbers [models, samples], "" or nan in missing cells."""
        if role in self.numbers:
            return np.append(self.numbers[role], np.nan)[self.row_at]
        return np.array([*self.text[role].texts, ""], dtype=str)[self.codes(role)]

    def place(self, model: int, sample: int) -> str:
        """Describe the place of one cell."""
        row = self.row_at[model, sample]
        if row != MISSING:
            return self.row_place(row)
        return f"sample {str(self.samples[sample])!r}, model {self.text['model'].texts[model]!r}"

    def row_place(self, row: int) -> str:
        """Describe the place of a row."""
        codes = {role: self.text[role].codes[row] for role in ("sample", "model")}
        names = [
            f"{role} {self.text[role].texts[code]!r}" for role, code in codes.items() if code >= 0
        ]
        return ", ".join(names + self.locate(np.array([row])))

    def find_contradictions(self, checked: dict[str, Any]) -> list[Fault]:
        """Find predictions whose correctness, if bool, contradicts their label."""
        labels = checked["labels"]
        predictions = checked["predictions"]
        if labels is None or predictions is None or checked["correct"].dtype != bool:
            return []
        return find_cell_faults(
            "predictions whose correctness contradicts their label",
            (checked["correct"] != (predictions == labels)) & (predictions != ""),
            self.place,
            "Omit correct=, or omit label= and prediction=",
            self.values("prediction"),
        )


def arrange_cells(
    text: dict[str, TextColumn], numbers: dict[str, Array], locate: Locate
) -> tuple[Cells, list[Fault]]:
    """Arrange columns [rows] as :class:`Cells`, and find the faults of rows.

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
    targets = (model.codes[rows], sample.codes[rows])
    row_at[targets] = rows  # in reverse order, so that the first row is written last
    repeated = rows[row_at[targets] != rows][::-1]
    if len(repeated):
        firsts = locate(row_at[model.codes[repeated], sample.codes[repeated]][:SHOWN])
        places = map(cells.row_place, repeated[:SHOWN].tolist())
        examples = tuple(f"{place} repeats {first}" for place, first in zip(places, firsts))
        faults.append(Fault("rows that repeat a sample and model", len(repeated), examples))
    return cells, faults


def make_arguments(cells: Cells, missing: str) -> tuple[dict[str, Any], Cells, list[Fault]]:
    """Return the arguments of a :class:`ScoreTable`, the cells of its samples, and faults."""
    is_complete = cells.row_at >= 0
    find = partial(find_cell_faults, place=cells.place)
    faults = []
    label = None
    if "label" in cells.text:
        codes = cells.codes("label")
        label = codes.max(axis=0)
        differs = (codes >= 0) & (codes != label)
        faults += find("labels that differ from others of their sample", differs)
        is_complete &= label >= 0
    if "correct" in cells.numbers:
        is_complete &= ~np.isnan(cells.values("correct"))
    has_confidence = ~np.isnan(cells.values("confidence"))
    # A model without confidences can only be the last stage.
    is_unsure = is_complete & ~has_confidence & has_confidence.any(axis=1, keepdims=True)
    if "prediction" in cells.text:
        is_unsure &= cells.codes("prediction") >= 0
    is_used = np.ones(len(cells.samples), bool)
    if missing == "refuse":
        what = f"rows that are missing or lack a label or correctness (of {is_complete.size:,})"
        faults += find(what, ~is_complete, remedy=SKIP)
        faults += [] if is_complete.all() else find_spaced_names(cells)
        faults += find("empty confidences", is_unsure, remedy=UNSURE)
    elif missing == "drop":
        is_used = (is_complete & ~is_unsure).all(axis=0)
    elif label is not None:
        unlabelled = (label < 0)[None]
        faults += find("samples without a label", unlabelled, remedy=SKIP.partition(",")[0])
    if not is_used.any():
        raise ValueError(
            "missing='drop' drops all samples: none has a complete row of each of the "
            f"{len(is_complete)} models. models=[…] selects fewer models"
        )
    row_at = np.where(is_complete, cells.row_at, MISSING)[:, is_used]
    used_cells = replace(cells, row_at=row_at, samples=cells.samples[is_used])
    arguments = table_values(used_cells)
    arguments |= {"dropped": int(np.count_nonzero(~is_used)), "labels": None}
    if label is not None:
        texts = np.array([*cells.text["label"].texts, ""], dtype=str)
        arguments["labels"] = texts[label[is_used]]
    return arguments, used_cells, faults


def find_spaced_names(cells: Cells) -> list[Fault]:
    """Find samples and models whose names differ from others in outer spaces only."""
    faults = []
    for role in ("sample", "model"):
        first: dict[str, str] = {}
        pairs = ((first.setdefault(text.strip(), text), text) for text in cells.text[role].texts)
        examples = tuple(f"{text!r} and {other!r}" for other, text in pairs if other != text)
        if examples:
            what = f"{role}s whose names differ from others in outer spaces only"
            faults.append(Fault(what, len(examples), examples[:SHOWN], "Use one spelling per name"))
    return faults


def table_values(cells: Cells) -> dict[str, Any]:
    """Return the arrays of a :class:`ScoreTable`, without its labels."""
    confidence = cells.values("confidence")
    confidence[np.isnan(confidence)] = -np.inf  # an answer without confidence, or a missing row
    further = [role for role in (*cells.numbers, *cells.text) if " " in role]
    columns = {role.partition(" ")[2]: cells.values(role) for role in further}
    arguments: dict[str, Any] = {
        "correct": None,
        "confidence": confidence,
        "names": tuple(cells.text["model"].texts),
        "origin": Origin(np.zeros(len(cells.samples), np.int64), cells.samples),  # distinct ids
        "predictions": None,
        "columns": check_columns(columns, confidence.shape),
        "answered": cells.row_at >= 0,
    }
    if "prediction" in cells.text:
        arguments["predictions"] = cells.values("prediction")
        arguments["answered"] &= arguments["predictions"] != ""
    if "correct" in cells.numbers:
        correct = np.nan_to_num(cells.values("correct"))
        is_graded = ((correct != 0) & (correct != 1)).any()
        arguments["correct"] = correct if is_graded else correct.astype(bool)
    if "cost" in cells.numbers:
        # An empty row has the median price of its model.
        arguments["cost"] = cells.values("cost")
        filled = [~np.isnan(values) for values in cells.numbers.values()]
        texts = cells.text.keys() & {"label", "prediction"}
        filled += [cells.text[role].codes != MISSING for role in texts]
        has_values = np.append(np.any(filled, axis=0), False)[cells.row_at]
        for prices, is_filled in zip(arguments["cost"], has_values, strict=True):
            if not is_filled.all() and not np.isnan(prices).all():
                prices[~is_filled] = np.nanmedian(prices)
    return arguments
