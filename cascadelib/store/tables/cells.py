"""The tidy table: one row per sample and model, their faults, and the arguments of a ScoreTable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ...checks import validate_choice
from ...origin import Origin
from .answers import ACCEPTED, MISSING, TextColumn
from .rules import SHOWN, Rule, find_cells

DROP = "missing='drop' drops such samples"
SKIP = f"{DROP}, 'abstain' counts these rows as abstentions"
UNSURE = "missing='drop' drops such samples, 'abstain' keeps their answers for the last stage"
ANSWERS = ("label", "prediction", "correct")  # roles without default, which decide correctness
REPEATED = (
    "rows that repeat a sample and model in all cells",
    "rows that repeat a sample and model with the same answer and other numbers",
    "rows that repeat a sample and model with another answer",
)
FURTHER = ("column ", "category ")  # prefixes of roles of further columns
TREATMENTS = ("refuse", "drop", "abstain", ACCEPTED)  # values of missing=
Locate = Callable[[Array], list[str]]


@dataclass(frozen=True)
class Cells:
    """A tidy table: one row per sample and model, and one value per row and role.

    Columns have one more row, which is empty. :data:`MISSING` selects it, as the last one.

    Parameters
    ----------
    text : dict of str to TextColumn
        Columns of text by role.
    numbers : dict of str to array of float64 of shape (n_rows + 1,)
        Columns of numbers by role, nan in empty cells.
    locate : callable
        Converts rows to their places in the source, such as "line 7".
    row_at : array of int64 of shape (n_models, n_samples)
        The row of each model and sample, or :data:`MISSING`.
    samples : array of str of shape (n_samples,)
        Sample ids.
    dropped : int
        Number of samples that were dropped.
    """

    text: dict[str, TextColumn]
    numbers: dict[str, Array]
    locate: Locate
    row_at: Array
    samples: Array
    dropped: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The models."""
        return tuple(self.text["model"].texts)

    def coded(self, role: str) -> TextColumn:
        """Return a column of text [models, samples]."""
        column = self.text[role]
        return TextColumn(column.codes[self.row_at], column.texts)

    def has_value(self, role: str) -> Array:
        """Return whether the cell of each row is not empty, bool [n_rows + 1]."""
        if role in self.text:
            return self.text[role].codes >= 0
        return ~np.isnan(self.numbers[role])

    def is_filled(self, role: str) -> Array:
        """Return whether cells are not empty, bool [models, samples]."""
        return self.has_value(role)[self.row_at]

    def values(self, role: str) -> Array:
        """Return text or numbers [models, samples], "" or nan in missing cells."""
        if role in self.numbers:
            return self.numbers[role][self.row_at]
        return self.coded(role).values()

    def place(self, model: int, sample: int) -> str:
        """Describe the place of one cell."""
        row = self.row_at[model, sample]
        if row != MISSING:
            return self.row_place(row)
        return f"sample {str(self.samples[sample])!r}, model {self.names[model]!r}"

    def row_place(self, row: int) -> str:
        """Describe the place of a row."""
        parts = []
        for role in ("sample", "model"):
            code = self.text[role].codes[row]
            if code >= 0:
                parts.append(f"{role} {self.text[role].texts[code]!r}")
        return ", ".join(parts + self.locate(np.array([row])))


def arrange_cells(
    text: dict[str, TextColumn], numbers: dict[str, Array], locate: Locate
) -> tuple[Cells, list[Rule]]:
    """Arrange columns [rows] as :class:`Cells`, and find the faults of rows.

    Rows without sample or model are skipped. If rows repeat a sample and model, the first is used.
    """
    sample = text["sample"]
    model = text["model"]
    row_at = np.full((len(model.texts), len(sample.texts)), MISSING)
    cells = Cells(text, numbers, locate, row_at, np.array(sample.texts, dtype=str))
    filled = [cells.has_value(role) for role in (*text, *numbers) if role != "model"]
    is_used = np.any(filled, axis=0)
    rules = []
    unused = int(np.count_nonzero(~is_used[:-1]))
    if unused:
        rules.append(Rule("rows without a value", unused, read="as no rows"))
    for role in ("sample", "model"):
        empty = np.flatnonzero(is_used & ~cells.has_value(role))
        if len(empty):
            examples = tuple(map(cells.row_place, empty[:SHOWN]))
            rules.append(Rule(f"rows without a {role}", len(empty), examples))
    rows = np.flatnonzero((sample.codes >= 0) & (model.codes >= 0))[::-1]
    targets = (model.codes[rows], sample.codes[rows])
    row_at[targets] = rows  # in reverse order, so that the first row is written last
    repeated = rows[row_at[targets] != rows][::-1]
    if len(repeated):
        rules += describe_repeated(cells, repeated)
    return cells, rules


def describe_repeated(cells: Cells, repeated: Array) -> list[Rule]:
    """Return the rules for rows that repeat a sample and model.

    Rows that are equal to the first such row are read once. The others are faults.
    """
    text = cells.text
    firsts = cells.row_at[text["model"].codes[repeated], text["sample"].codes[repeated]]
    columns = {role: column.codes for role, column in text.items()} | cells.numbers
    table = np.array([*columns.values()])
    differs = ~np.isclose(table[:, repeated], table[:, firsts], 0, 0, equal_nan=True)
    answers = differs[[role in ANSWERS for role in columns]]
    kinds = differs.any(axis=0).astype(int) + answers.any(axis=0)
    rules = []
    for kind, name in enumerate(REPEATED):
        rows = np.flatnonzero(kinds == kind)
        places = cells.locate(firsts[rows[:SHOWN]])
        examples = tuple(
            f"{cells.row_place(row)} repeats {place}" for row, place in zip(repeated[rows], places)
        )
        if examples:
            rules.append(Rule(name, len(rows), examples, read="" if kind else "once"))
    return rules


def find_gaps(cells: Cells) -> tuple[Array, Array]:
    """Return which rows are complete, and which of them lack a confidence, bool [models, samples].

    A model without any confidence can only be the last stage, so that its rows lack nothing.
    """
    is_complete = cells.row_at >= 0
    if "label" in cells.text:
        is_complete &= cells.is_filled("label").any(axis=0)
    if "correct" in cells.numbers:
        is_complete &= cells.is_filled("correct")
    has_confidence = cells.is_filled("confidence")
    is_unsure = is_complete & ~has_confidence & has_confidence.any(axis=1, keepdims=True)
    if "prediction" in cells.text:
        is_unsure &= cells.is_filled("prediction")
    return is_complete, is_unsure


def select_samples(cells: Cells, missing: str) -> tuple[Cells, list[Rule]]:
    """Return the cells of the samples that are used, and the faults of labels and missing rows.

    Rows that are used although they are not complete count as missing.
    """
    find = partial(find_cells, place=cells.place)
    is_complete, is_unsure = find_gaps(cells)
    is_used = np.ones(len(cells.samples), bool)
    rules = []
    if "label" in cells.text:
        codes = cells.coded("label").codes
        label = codes.max(axis=0, keepdims=True)
        is_other = (codes >= 0) & (codes != label)
        rules += find("labels that differ from others of their sample", is_other)
        if missing not in ("refuse", "drop"):
            rules += find("samples without a label", label < 0, remedy=DROP)
    if missing == "refuse":
        what = f"rows that are missing or lack a label or correctness (of {is_complete.size:,})"
        rules += find(what, ~is_complete, remedy=SKIP)
        rules += find("empty confidences", is_unsure, remedy=UNSURE)
    if missing == "drop":
        is_used = np.all(is_complete & ~is_unsure, axis=0)
    if not is_used.any():
        raise ValueError(
            "missing='drop' drops all samples: none has a complete row of each of the "
            f"{len(is_complete)} models. models=[…] selects fewer models"
        )
    used = replace(
        cells,
        row_at=np.where(is_complete, cells.row_at, MISSING)[:, is_used],
        samples=cells.samples[is_used],
        dropped=int(np.count_nonzero(~is_used)),
    )
    return used, rules


def score_arguments(cells: Cells, prices: Mapping[str, float] | None) -> dict[str, Any]:
    """Return arguments of a ScoreTable. Columns of text stay :class:`TextColumn`.

    A missing confidence is −inf: its sample exits at no finite threshold.
    """
    confidence = cells.values("confidence")
    confidence[np.isnan(confidence)] = -np.inf
    further = [role for role in (*cells.numbers, *cells.text) if role.startswith(FURTHER)]
    arguments: dict[str, Any] = {
        "correct": None,
        "confidence": confidence,
        "names": cells.names,
        "sample_ids": Origin(np.zeros(len(cells.samples), np.int64), cells.samples),
        "columns": {role.partition(" ")[2]: cells.values(role) for role in further},
        "answered": cells.row_at >= 0,
        "dropped": cells.dropped,
    }
    if "correct" in cells.numbers:
        correct = np.nan_to_num(cells.values("correct"))
        is_graded = ((correct != 0) & (correct != 1)).any()
        arguments["correct"] = correct if is_graded else correct.astype(bool)
    if "prediction" in cells.text:
        arguments["predictions"] = cells.coded("prediction")
    if "label" in cells.text:
        labels = cells.coded("label")
        arguments["labels"] = replace(labels, codes=labels.codes.max(axis=0))
    if prices is not None:
        price_of = [prices[validate_choice(name, prices, "model in cost")] for name in cells.names]
        return arguments | {"cost": price_of, "further_costs": {}}
    costs = costs_of(cells)
    first, *_ = costs
    return arguments | {"cost_kind": first, "cost": costs.pop(first), "further_costs": costs}


def costs_of(cells: Cells) -> dict[str, Array]:
    """Return costs [n_models], or [n_models, n_samples] if they differ by sample, by kind.

    An empty row has the median price of its model.
    """
    roles = [*cells.numbers, *cells.text.keys() & {"prediction"}]
    is_filled = np.any([cells.is_filled(role) for role in roles], axis=0)
    costs = {}
    for role in cells.numbers:
        kind, _, name = role.partition(" ")
        if kind != "cost":
            continue
        prices = cells.values(role)
        for row, has_values in zip(prices, is_filled, strict=True):
            if not has_values.all() and not np.isnan(row).all():
                row[~has_values] = np.nanmedian(row)
        is_constant = ((prices == prices[:, :1]) & (prices >= 0)).all()
        costs[name or kind] = prices[:, 0] if is_constant else prices
    return costs
