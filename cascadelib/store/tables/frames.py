"""Read a long or wide table of scores, from a file or a frame, as the arguments of a ScoreTable."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from pandas.api.types import is_complex_dtype, is_numeric_dtype

from ...checks import brief, error_context, items_of, validate_choice
from ...origin import Origin
from .comparison import MISSING, TextColumn
from .faults import SHOWN, Fault, find_cells, refuse
from .repairs import lines_for_numbers
from .table_files import OTHER_FORMS, read_table

EXACT_IN_FLOATS = 2**53  # from this number on, floats cannot represent all integers
LARGEST_TEXT = 2**33  # bytes of an array of text, whose cells are as wide as the longest
SHOWN_COLUMNS = 30
SPARSE = 64  # missing rows per row, above which sample= or model= is a wrong column
TEXT_ROLES = ("sample", "model", "label", "prediction")
TREATMENTS = ("refuse", "drop", "abstain")  # values of missing=
TRUTH = {"true": "1", "false": "0"}
ONE_KIND: tuple[set[type], ...] = ({str}, {bool}, {int, float})
DROP = "missing='drop' drops such samples"
SKIP = f"{DROP}, 'abstain' counts these rows as abstentions"
UNSURE = f"{DROP}, 'abstain' counts empty answers as wrong, and keeps others for the last stage"


def roles_of(
    named: Mapping[str, Any], cost: Any = None
) -> tuple[dict[str, str], dict[str, float] | None]:
    """Return {role: column}, and the prices by model if `cost` has them.

    Parameters
    ----------
    named : mapping
        Columns by role. None is no column.
    cost
        As for :meth:`ScoreTable.from_frame`. Several columns of costs have their names as roles.
    """
    roles = {role: name for role, name in named.items() if name is not None}
    prices = dict(cost) if isinstance(cost, Mapping | pd.Series) else None
    if prices is None:
        names = items_of(cost) or [None]
        roles |= {f"cost {name}": name for name in names} if len(names) > 1 else {"cost": names[0]}
    for name in roles.values():
        if not isinstance(name, str):
            raise ValueError(f"the name of a column must be text, got {brief(name)}")
    return roles, prices


def open_frame(source: Any) -> pd.DataFrame:
    """Return a DataFrame with rows numbered from 0, from one or a path."""
    if isinstance(source, str | os.PathLike):
        return read_table(source)
    if not isinstance(source, pd.DataFrame):
        raise TypeError(
            f"a pandas DataFrame or a path is needed, not a {type(source).__name__}. Other "
            "libraries convert their frames: frame.to_pandas()"
        )
    if not len(source):
        raise ValueError("the table has no rows: one row per sample and model is needed")
    return source.reset_index(drop=True)


def select_columns(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str] | None
) -> list[dict[str, pd.Series]]:
    """Return the column of each role, for each model if the table is wide.

    A column of a wide table whose name is no template has the same cells for each model.
    """
    names = [] if models is None else items_of(models)
    if models is not None and not names:
        raise ValueError("models=[] names no model. Omit it to read all models")
    template = next((name for name in roles.values() if "{}" in name), None)
    if template is None:
        if names and roles["model"] in frame:
            frame = frame.iloc[find_rows(frame, roles["model"], names)]
        return [find_columns(frame, roles)]
    names = names or match_models(frame, template)
    confidence = roles.get("confidence", "")
    is_optional = any(confidence and confidence.replace("{}", name) in frame for name in names)
    parts = []
    for name in names:
        by_role = {role: column.replace("{}", name) for role, column in roles.items()}
        del by_role["model"]
        if is_optional and by_role["confidence"] not in frame:
            del by_role["confidence"]
        with error_context(
            f"model {name!r} (models=[…] selects the columns that belong to models)"
        ):
            columns = find_columns(frame, by_role)
        parts.append(columns | {"model": pd.Series(name, frame.index, object)})
    return parts


def find_rows(frame: pd.DataFrame, name: str, models: Iterable[str]) -> Array:
    """Return the rows of models, one model after another."""
    column = encode_text(frame[name])
    codes = [column.texts.index(validate_choice(model, column.texts, "model")) for model in models]
    return np.concatenate([np.flatnonzero(column.codes == code) for code in codes])


def match_models(frame: pd.DataFrame, template: str) -> list[str]:
    """Return the names that replace {} of a template in the names of columns."""
    before, *after = map(re.escape, template.split("{}"))
    pattern = f"{before}(?P<model>.+){'(?P=model)'.join(after)}"
    matches = [re.fullmatch(pattern, str(name), re.DOTALL) for name in frame.columns]
    names = [match["model"] for match in matches if match]
    if not names:
        raise ValueError(f"no column is named like {template!r}. {list_columns(frame)}")
    return names


def find_columns(frame: pd.DataFrame, roles: Mapping[str, str]) -> dict[str, pd.Series]:
    """Return the column of each role. One error names all that are missing."""
    absent = [f"{role.split()[0]}={name!r}" for role, name in roles.items() if name not in frame]
    if absent:
        none = " (confidence=None: there is none)" * ("confidence" in " ".join(absent))
        raise ValueError(f"no columns for {', '.join(absent)}{none}. {list_columns(frame)}")
    columns = {"confidence": pd.Series(np.nan, frame.index)}
    for role, name in roles.items():
        column = frame[name]
        if not isinstance(column, pd.Series):
            raise ValueError(f"{column.shape[1]} columns are called {name!r}: rename all but one")
        columns[role] = column
    return columns


def list_columns(frame: pd.DataFrame) -> str:
    """Return the columns of a frame in words."""
    listed = ", ".join(map(repr, frame.columns[:SHOWN_COLUMNS]))
    return f"The columns are {listed}" + (f". {OTHER_FORMS}" if len(frame.columns) == 1 else "")


def read_numbers(column: pd.Series, role: str) -> tuple[Array, list[Fault]]:
    """Return a column of numbers or of their text as float64, nan in empty cells, and its fault.

    Correctness may be True and False. Cells that are not finite numbers are 0.
    """
    numbers = column
    texts = pd.Series("", column.index)
    if not is_numeric_dtype(column.dtype) or is_complex_dtype(column.dtype):
        texts = column.astype(object).where(column.notna(), "").astype(str).str.strip()
        folded = texts.str.casefold()
        numbers = (
            texts.where(~folded.isin(TRUTH), folded.map(TRUTH)) if role == "correct" else texts
        )
        numbers = pd.to_numeric(numbers.mask(folded == "nan", ""), errors="coerce")
        texts = texts.mask(folded == "nan", "")
    values = numbers.to_numpy(np.float64, na_value=np.nan).copy()
    bad = np.isinf(values) | (np.isnan(values) & (texts != "").to_numpy())
    if not bad.any():
        return values, []
    values[bad] = 0
    rows = np.flatnonzero(bad)[:SHOWN]
    examples = tuple(f"{column.iloc[row]!r:.80} in row {column.index[row]}" for row in rows)
    name = f"frame[{column.name!r}]"
    lines = lines_for_numbers(column, name)
    words = texts[texts != ""].unique().tolist()
    if role == "correct" and len(words) == 2:
        yes, no = words
        lines = (f"{name} = {name}.map({{{yes!r}: 1, {no!r}: 0}})  # if {yes!r} means correct",)
    what = f"cells of {name} that are not finite numbers"
    return values, [Fault(what, int(bad.sum()), examples, lines=lines)]


def encode_text(column: pd.Series) -> TextColumn:
    """Return a column of ids, models, labels or predictions as codes, in order of appearance.

    Numbers must be whole. They give the same text for all dtypes, since pandas converts whole
    numbers to floats if one is missing. Other kinds and mixtures raise a ValueError.
    """
    try:
        codes, distinct = pd.factorize(column)
    except TypeError as error:
        raise ValueError(f"cells are not text ({error!s:.100})") from None
    texts = texts_of([cell.item() if isinstance(cell, np.generic) else cell for cell in distinct])
    if "\x00" in "".join(texts):
        raise ValueError("a cell has a NUL character, which text cannot have")
    if 4 * len(codes) * max(map(len, texts), default=0) > LARGEST_TEXT:
        raise ValueError("texts are too long for ids or classes: write codes")
    return TextColumn(codes, texts).stripped()


def texts_of(values: list) -> list[str]:
    """Return text, bool or whole numbers as text. A ValueError names a mixture or another type."""
    kinds = {type(value) for value in values}
    if not any(kinds <= kind for kind in ONE_KIND):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"cells of the types {found}: ids, models, labels and predictions must be all text or "
            "all whole numbers, as with pd.read_csv(path, dtype=str)"
        )
    if kinds & {int, float}:
        values = [parse_whole_number(value) for value in values]
    return [str(value) for value in values]


def parse_whole_number(value: float) -> int:
    """Return an integer, or a float that is one, as int."""
    is_exact = isinstance(value, int) or abs(value) < EXACT_IN_FLOATS
    if not is_exact or value != value // 1:
        raise ValueError(
            f"{value!r} is not a whole number below 2**53: write ids, labels and predictions as "
            "text"
        )
    return int(value)


@dataclass(frozen=True)
class Cells:
    """A tidy table: one row per sample and model, and one value per row and role.

    Parameters
    ----------
    columns : dict of str to TextColumn or array of float64
        Columns by role. Their last row is empty, and :data:`MISSING` selects it.
    roles : mapping of str to str
        The names of the columns in the frame, or their templates.
    source : array of int64 of shape (n_rows,)
        The rows of the frame, from 0.
    row_at : array of int64 of shape (n_models, n_samples)
        The row of each model and sample, or :data:`MISSING`.
    samples : array of str of shape (n_samples,)
        Sample ids.
    dropped : int
        Number of samples that were dropped.
    """

    columns: dict[str, Any]
    roles: Mapping[str, str]
    source: Array
    row_at: Array
    samples: Array
    dropped: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The models."""
        return tuple(self.columns["model"].texts)

    def values(self, role: str) -> Any:
        """Return a column as TextColumn or numbers [models, samples]."""
        column = self.columns[role]
        if isinstance(column, TextColumn):
            return replace(column, codes=column.codes[self.row_at])
        return column[self.row_at]

    def is_filled(self, role: str) -> Array:
        """Return whether cells are not empty, bool [models, samples]."""
        values = self.values(role)
        return values.codes >= 0 if isinstance(values, TextColumn) else ~np.isnan(values)

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
            code = self.columns[role].codes[row]
            if code >= 0:
                parts.append(f"{role} {self.columns[role].texts[code]!r}")
        return ", ".join([*parts, f"row {self.source[row]}"])

    def column_of(self, role: str, model: int) -> str:
        """Return the column of a role and a model in pandas."""
        name = self.roles[role].replace("{}", self.names[model])
        return f"frame[{name!r}]"


def read_cells(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str] | None = None
) -> tuple[Cells, list[Fault]]:
    """Read the columns of a table, and return its cells and the faults of numbers and rows.

    Parameters
    ----------
    frame : DataFrame
        The result of :func:`open_frame`.
    roles : mapping
        The result of :func:`roles_of`. A column may be a template.
    models : iterable of str, optional
        The models to read, in this order.
    """
    parts = select_columns(frame, roles, models)
    columns: dict[str, Any] = {}
    faults: list[Fault] = []
    for role in parts[0]:
        read = join_text if role in TEXT_ROLES else join_numbers
        columns[role], found = read([part[role] for part in parts], role)
        faults += found
    if None in [columns[role] for role in TEXT_ROLES if role in columns]:
        refuse(faults)
    if "label" in columns and not columns["label"].texts:
        del columns["label"]
    if "correct" in columns and np.isnan(columns["correct"]).all():
        del columns["correct"]
    source = np.concatenate([part["sample"].index for part in parts])
    cells, faults_of_rows = arrange_cells(columns, roles, source)
    if not cells.row_at.size:
        refuse(faults_of_rows)
    return cells, faults + faults_of_rows


def join_text(parts: list[pd.Series], role: str) -> tuple[TextColumn | None, list[Fault]]:
    """Return the columns of all models as one, with an empty row, or None and its fault."""
    try:
        column = encode_text(pd.concat(parts))
    except ValueError as error:
        return None, [Fault(f"column {parts[0].name!r}", len(parts[0]), (str(error),))]
    return replace(column, codes=np.append(column.codes, MISSING)), []


def join_numbers(parts: list[pd.Series], role: str) -> tuple[Array, list[Fault]]:
    """Return the columns of all models as one, with an empty row, and the faults of each."""
    read = [read_numbers(part, role) for part in parts]
    faults = {fault: None for _, found in read for fault in found}  # models may share a column
    return np.concatenate([*(values for values, _ in read), [np.nan]]), list(faults)


def arrange_cells(
    columns: dict[str, Any], roles: Mapping[str, str], source: Array
) -> tuple[Cells, list[Fault]]:
    """Arrange columns [rows] as :class:`Cells`, and find the faults of rows."""
    sample = columns["sample"]
    model = columns["model"]
    shape = (len(model.texts), len(sample.texts))
    if np.prod(shape) > (SPARSE + 1) * len(source):
        raise ValueError(
            f"the table has only {len(source)} of {np.prod(shape)} rows. Check that sample= and "
            "model= name the right columns. models=[…] selects fewer models"
        )
    row_at = np.full(shape, MISSING)
    cells = Cells(columns, roles, source, row_at, np.array(sample.texts, dtype=str))
    faults = []
    for role, column in (("sample", sample), ("model", model)):
        empty = np.flatnonzero(column.codes[:-1] < 0)
        if len(empty):
            name = roles[role]
            examples = tuple(map(cells.row_place, empty[:SHOWN]))
            lines = (f"frame = frame[~frame[{name!r}].isin(['', None])]  # drops them",)
            faults.append(Fault(f"rows without a {role}", len(empty), examples, lines=lines))
    rows = np.flatnonzero((sample.codes >= 0) & (model.codes >= 0))[::-1]
    targets = (model.codes[rows], sample.codes[rows])
    row_at[targets] = rows  # in reverse order, so that the first row is written last
    repeated = rows[row_at[targets] != rows][::-1]
    if len(repeated):
        examples = tuple(map(cells.row_place, repeated[:SHOWN]))
        lines = ("frame = frame.drop_duplicates()  # drops rows that are equal in all cells",)
        what = "rows that repeat a sample and model"
        faults.append(Fault(what, len(repeated), examples, lines=lines))
    return cells, faults


def find_gaps(cells: Cells) -> tuple[Array, Array]:
    """Return which rows are complete, and which of them lack an answer or confidence.

    A model without any confidence can only be the last stage, so that its rows lack nothing.
    """
    is_complete = cells.row_at >= 0
    if "label" in cells.columns:
        is_complete &= cells.is_filled("label").any(axis=0)
    if "correct" in cells.columns:
        is_complete &= cells.is_filled("correct")
    has_confidence = cells.is_filled("confidence")
    is_unsure = ~has_confidence & has_confidence.any(axis=1, keepdims=True)
    if "prediction" in cells.columns:
        is_unsure |= ~cells.is_filled("prediction")
    return is_complete, is_complete & is_unsure


def select_samples(cells: Cells, missing: str) -> tuple[Cells, list[Fault]]:
    """Return the cells of the samples that are used, and the faults of labels and missing rows.

    Rows that are used although they are not complete count as missing.
    """
    find = partial(find_cells, place=cells.place)
    is_complete, is_unsure = find_gaps(cells)
    is_used = np.ones(len(cells.samples), bool)
    faults = []
    if "label" in cells.columns:
        codes = cells.values("label").codes
        label = codes.max(axis=0, keepdims=True)
        is_other = (codes >= 0) & (codes != label)
        faults += find("labels that differ from others of their sample", is_other)
        if missing == "abstain":
            faults += find("samples without a label", label < 0, remedy=DROP)
    if missing == "refuse":
        what = f"rows that are missing or lack a label or correctness (of {is_complete.size:,})"
        faults += find(what, ~is_complete, remedy=SKIP)
        faults += find("empty answers or confidences", is_unsure, remedy=UNSURE)
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
    return used, faults


def score_arguments(cells: Cells, prices: Mapping[str, float] | None) -> dict[str, Any]:
    """Return arguments of a ScoreTable. Columns of text stay :class:`TextColumn`.

    A missing confidence is −inf: its sample exits at no finite threshold.
    """
    confidence = cells.values("confidence")
    confidence[np.isnan(confidence)] = -np.inf
    arguments: dict[str, Any] = {
        "correct": None,
        "confidence": confidence,
        "names": cells.names,
        "sample_ids": Origin(np.zeros(len(cells.samples), np.int64), cells.samples),
        "answered": cells.row_at >= 0,
        "dropped": cells.dropped,
    }
    if "correct" in cells.columns:
        correct = np.nan_to_num(cells.values("correct"))
        is_graded = ((correct != 0) & (correct != 1)).any()
        arguments["correct"] = correct if is_graded else correct.astype(bool)
    if "prediction" in cells.columns:
        arguments["predictions"] = cells.values("prediction")
    if "label" in cells.columns:
        labels = cells.values("label")
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
    roles = [role for role in cells.columns if role not in ("sample", "model", "label")]
    is_filled = np.any([cells.is_filled(role) for role in roles], axis=0)
    costs = {}
    for role in cells.columns:
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
