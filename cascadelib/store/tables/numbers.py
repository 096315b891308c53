"""Read columns of numbers: currencies, percentages, words for truth, and one locale per column."""

import contextlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy import ndarray as Array
from pandas.api.types import is_complex_dtype, is_numeric_dtype

from ...checks import brief
from .rules import SHOWN, Rule

# Errors of pyarrow for cells of several kinds, or for cells that are not numbers.
UNREADABLE = (pa.ArrowException, ValueError, TypeError, OverflowError)
EMPTY = ("", "n/a", "#n/a", "na", "nan", "null", "none", "-", "–")  # texts of empty cells
YES = "yes y true t correct right ja wahr richtig oui vrai"
NO = "no n false f incorrect wrong nein falsch non faux"
TRUTH = dict.fromkeys(YES.split(), 1.0) | dict.fromkeys(NO.split(), 0.0)
SIGN = re.compile(r"[%$€£¥]|usd|eur|gbp|chf")
# The forms of a number by the sign before its decimals. Thousands may have marks.
FORMS = {
    ".": re.compile(r"[+-]?(\d+|[1-9]\d{0,2}([, '’]\d{3})+)?(\.\d*)?(e[+-]?\d+)?"),
    ",": re.compile(r"[+-]?(\d+|[1-9]\d{0,2}([. '’]\d{3})+)?(,\d*)?(e[+-]?\d+)?"),
}
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
        The numbers, nan in empty cells.
    faults : dict of str to int array
        Rows that cannot be read, by a key of :data:`REMEDIES`.
    steps : tuple of Rule
        What was read instead of cells that are not plain numbers.
    decimal : {".", ",", None}
        The sign before decimals. None if the column was read without it.
    """

    values: Array
    faults: dict[str, Array] = field(default_factory=dict)
    steps: tuple[Rule, ...] = ()
    decimal: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all cells are empty."""
        return bool(np.isnan(self.values).all()) and not any(map(len, self.faults.values()))


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
    by_cell = (by_cell or decimal == ",") and not is_numeric_dtype(column.dtype)
    with contextlib.suppress(*UNREADABLE):
        values = as_floats(column)
        if not by_cell:
            infinite = np.flatnonzero(np.isinf(values))
            values[infinite] = 0  # a cell has one fault
            return NumberColumn(values, {INFINITE: infinite})
    codes, cells = pd.factorize(column.map(_format_cell, na_action="ignore"))
    texts = [cell.strip().casefold().translate(PLAIN) for cell in cells]
    words = dict.fromkeys(EMPTY, np.nan)
    if role == "correct" or role.startswith("column "):
        words |= TRUTH
    readings = {
        sign: np.array([parse_number(text, words, sign, role) for text in texts], np.float64)
        for sign in ([decimal] if decimal else FORMS)
    }
    is_empty = np.array([text in EMPTY for text in texts], bool)
    wrong = {sign: np.isnan(values) & ~is_empty for sign, values in readings.items()}
    chosen = min(wrong, key=lambda sign: np.count_nonzero(wrong[sign]))
    values = readings[chosen]
    faults = {NOT_NUMBERS: wrong[chosen], INFINITE: np.isinf(values)}
    if len(readings) == 2 and not np.any(list(wrong.values())):
        faults[TWO_READINGS] = ~is_empty & (readings["."] != readings[","])
    units = np.array(["".join(SIGN.findall(text)) for text in texts], str)
    has_unit = ~np.isnan(values) & (values != 0)
    counts = Counter(units[codes[(codes >= 0) & np.append(has_unit, False)[codes]]].tolist())
    faults[OTHER_SIGN] = has_unit & (units != max(counts, key=counts.__getitem__, default=""))
    in_rows = {what: np.flatnonzero(np.append(cell, False)[codes]) for what, cell in faults.items()}
    changed = [code for code, text in enumerate(texts) if not is_empty[code] and not is_plain(text)]
    count = int(np.isin(codes, changed).sum())
    examples = tuple(f"{cells[code]!r} is {values[code]:g}" for code in changed[:SHOWN])
    steps = (Rule(f"cells of column {column.name!r}", count, examples, "", "as numbers"),)
    return NumberColumn(
        np.append(np.where(wrong[chosen] | np.isinf(values), 0, values), np.nan)[codes],
        in_rows,
        steps if count and not any(map(len, in_rows.values())) else (),
        chosen if chosen == "," else None,
    )


def parse_number(text: str, words: Mapping[str, float], decimal: str, role: str) -> float:
    """Return the number that a text states, nan if it states none."""
    if text in words:
        return words[text]
    signs = SIGN.findall(text)
    body = SIGN.sub("", text).strip()
    if body.lstrip("+-") in ("inf", "infinity"):
        return float(body)
    is_number = FORMS[decimal].fullmatch(body) and re.search(r"\d", body)
    if len(signs) > 1 or (signs == ["%"] and role.startswith("cost")) or not is_number:
        return np.nan
    number = float(re.sub("[ '’,.]", lambda mark: "." * (mark[0] == decimal), body))
    return number / 100 if signs == ["%"] else number


def is_plain(text: str) -> bool:
    """Return whether Python reads a text as a number."""
    with contextlib.suppress(ValueError):
        return float(text) is not None
    return False


def as_floats(column: pd.Series) -> Array:
    """Convert numbers or their text to float64. Another cell raises :data:`UNREADABLE`."""
    if is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan, copy=True)
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
