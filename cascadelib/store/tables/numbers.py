"""Read columns of numbers: currencies, percentages, words for truth, and one locale per column."""

import contextlib
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy import ndarray as Array
from pandas.api.types import is_complex_dtype, is_numeric_dtype

from ...checks import brief
from .rules import Rule

# Errors of pyarrow for cells of several kinds, or for cells that are not numbers.
UNREADABLE = (pa.ArrowException, ValueError, TypeError, OverflowError)
EMPTY = ("", *"n/a #n/a na nan null none - –".split())  # texts of empty cells
YES = "yes y true t correct right pass passed ja wahr richtig oui vrai ✓ ✔ ✅"
NO = "no n false f incorrect wrong fail failed nein falsch non faux ✗ ✘ ❌"
TRUTH = dict.fromkeys(YES.split(), 1.0) | dict.fromkeys(NO.split(), 0.0)
SIGN = re.compile(r"us\$|[%$¢€£¥]|usd|eur|gbp|chf")
# The forms of a number by the sign before its decimals. Thousands may have marks.
FORMS = {
    ".": re.compile(r"[+-]?(\d+|[1-9]\d{0,2}([, '’]\d{3})+)?(\.\d*)?(e[+-]?\d+)?"),
    ",": re.compile(r"[+-]?(\d+|[1-9]\d{0,2}([. '’]\d{3})+)?(,\d*)?(e[+-]?\d+)?"),
}
STEPS_SHOWN = 3  # examples of cells that were read as numbers
PLAIN = str.maketrans({"\u00a0": " ", "\u202f": " ", "−": "-"})
NOT_NUMBERS = "that are not numbers"
TWO_READINGS = "that can be read in two ways"
OTHER_SIGN = "whose sign of a currency or percentage differs from that of others"
INFINITE = "that are infinite or too large"
REMEDIES = {
    NOT_NUMBERS: "Write all numbers of a column alike, such as 0.5, 1e-3, 0,5, 1.234,5, 87% or "
    "$0.02, and correctness as yes and no, true and false, correct and incorrect, or 1 and 0; "
    "leave cells empty that have none",
    TWO_READINGS: "State the sign before decimals, decimal='.' or decimal=','",
    OTHER_SIGN: "Use one unit in a column",
    INFINITE: "Leave cells empty that have no number",
}


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers.

    Parameters
    ----------
    values : float64 array of shape (n_rows,)
        The numbers, nan in empty cells, and 0 in cells that cannot be read.
    faults : dict of str to int array
        The latter rows, by a key of :data:`REMEDIES`. A cell has one fault.
    steps : list of Rule
        What was read instead of cells that are not plain numbers.
    has_commas : bool
        Whether a comma was read as the sign before decimals.
    """

    values: Array
    faults: dict[str, Array]
    steps: list[Rule] = field(default_factory=list)
    has_commas: bool = False


def read_numbers(
    column: pd.Series, role: str, decimal: str | None = None, by_cell: bool = False
) -> NumberColumn:
    """Read a column of numbers, in which text such as "" and "n/a" is an empty cell.

    Parameters
    ----------
    column : Series
        Numbers or text.
    role : str
        "correct" accepts words such as yes and incorrect. "cost" refuses percentages.
    decimal : {".", ",", None}
        The sign before decimals. None means the sign with which all cells are numbers.
    by_cell : bool, default=False
        Whether to look for a second reading of text that pyarrow can read.
    """
    is_read_by_cell = (by_cell or decimal == ",") and not is_numeric_dtype(column.dtype)
    with contextlib.suppress(*UNREADABLE):
        if not is_read_by_cell:
            values = as_floats(column)
            return mark_faults(values, {INFINITE: np.isinf(values)})
    return read_cells(column, role, [decimal] if decimal else list(FORMS))


def mark_faults(values: Array, wrong: dict[str, Array]) -> NumberColumn:
    """Return the column of numbers [rows], of which those of each fault are wrong, bool [rows]."""
    faults = {what: np.flatnonzero(cells) for what, cells in wrong.items() if cells.any()}
    if faults:
        values = np.where(np.any(list(wrong.values()), axis=0), 0, values)
    return NumberColumn(values, faults)


def read_cells(column: pd.Series, role: str, decimals: list[str]) -> NumberColumn:
    """Read each distinct cell of a column with one of several signs before decimals."""
    codes, cells = pd.factorize(column.map(_format_cell, na_action="ignore"))
    texts = [cell.strip().casefold().translate(PLAIN) for cell in cells]
    is_empty = np.array([text in EMPTY for text in texts], bool)
    readings = {}
    wrong = {}
    for sign in decimals:
        readings[sign] = np.array([parse_number(text, sign, role) for text in texts], np.float64)
        wrong[sign] = np.isnan(readings[sign]) & ~is_empty
    chosen = min(decimals, key=lambda sign: np.count_nonzero(wrong[sign]))
    values = readings[chosen]
    faults = {NOT_NUMBERS: wrong[chosen], INFINITE: np.isinf(values)}
    if not np.any(list(wrong.values())):  # all readings fit: they are one or two
        faults[TWO_READINGS] = ~is_empty & (values != readings[decimals[-1]])
    in_rows = {what: np.append(cell, False)[codes] for what, cell in faults.items()}
    in_rows[OTHER_SIGN] = find_other_units(codes, texts, values)
    marked = mark_faults(np.append(values, np.nan)[codes], in_rows)
    is_changed = [write_plainly(text, ".") != text for text in texts]
    changed = np.flatnonzero(is_changed & ~np.isnan(values))
    if len(changed) and not marked.faults:
        examples = tuple(f"{cells[code]!r} is {values[code]:g}" for code in changed[:STEPS_SHOWN])
        count = int(np.isin(codes, changed).sum())
        marked.steps.append(
            Rule(f"cells of column {column.name!r}", count, examples, read="as numbers")
        )
    return replace(marked, has_commas=chosen == ",")


def find_other_units(codes: Array, texts: list[str], values: Array) -> Array:
    """Return whether the unit of a cell is not the most frequent one of its column, bool [rows].

    0 and empty cells need no unit.
    """
    units = np.array([*("".join(SIGN.findall(text)) for text in texts), ""], str)[codes]
    has_unit = np.append(np.isfinite(values) & (values != 0), False)[codes]
    counts = Counter(units[has_unit].tolist())
    return has_unit & (units != max(counts, key=counts.__getitem__, default=""))


def parse_number(text: str, decimal: str, role: str) -> float:
    """Return the number that a text states, nan if it states none or is empty."""
    if text in TRUTH and (role == "correct" or role.startswith("column ")):
        return TRUTH[text]
    unit = "".join(SIGN.findall(text))
    plain = write_plainly(text, decimal)
    if not plain or (unit == "%" and role.startswith("cost")):
        return np.nan
    return float(plain) / (100 if unit in ("%", "¢") else 1)


def write_plainly(text: str, decimal: str) -> str:
    """Return the number in a text as Python reads it, without its unit, or "" without a number."""
    body, units = SIGN.subn("", text)
    if units > 1 or not FORMS[decimal].fullmatch(body.strip()) or not re.search(r"\d", body):
        return ""
    return re.sub("[ '’,.]", lambda mark: "." * (mark[0] == decimal), body.strip())


def as_floats(column: pd.Series) -> Array:
    """Convert numbers or their text to float64. Another cell raises :data:`UNREADABLE`."""
    if is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    cells = cells_of(column)
    if isinstance(cells.type, pa.BaseExtensionType):
        raise TypeError(f"{cells.type} is not a type of numbers")
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    if is_text(cells):
        cells = pa.compute.utf8_trim_whitespace(cells)
        cells = pa.compute.if_else(pa.compute.equal(cells, ""), None, cells)
    return np.array(cells.cast(pa.float64(), safe=False), dtype=np.float64)


def cells_of(column: pd.Series) -> pa.ChunkedArray:
    """Convert a column to Arrow, missing cells to null. A mixture raises :data:`UNREADABLE`."""
    return pa.Table.from_pandas(column.to_frame("cells"), preserve_index=False).column(0)


def is_text(cells: Any) -> bool:
    """Return whether the type of Arrow's cells is text. A dictionary of text is another type."""
    return pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)


def _format_cell(cell: Any) -> str:
    """Return a cell as text."""
    with contextlib.suppress(ValueError):  # an integer with more digits than Python writes
        return str(cell) if isinstance(cell, str | Number) else brief(cell)
    return brief(cell)
