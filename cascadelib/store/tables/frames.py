"""Read the columns of long and wide tables of scores, for :meth:`ScoreTable.from_frame`."""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache, partial
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy import ndarray as Array
from pandas.api.types import is_complex_dtype, is_numeric_dtype

from ...checks import brief, error_context, items_of, validate_choice
from ...labels import as_real_array
from .cells import MISSING, Locate, TextColumn, arrange_cells, make_arguments
from .faults import SHOWN, Fault
from .score_checks import check_values
from .table_files import line_numbers, read_table

EXACT_IN_FLOATS = 2**53  # from this number on, floats cannot represent all integers
LARGEST_TEXT = 2**33  # bytes of an array of text, whose cells are as wide as the longest
SPARSE = 64  # missing rows per row, above which sample= or model= is a wrong column
TEXT_ROLES = ("sample", "model", "label", "prediction")
KINDS = {str: "text", int: "numbers", float: "numbers", bool: "truth values"}
NUMBERS = "Write numbers as 0.5 or 1e-3; leave cells empty that have none"
EMPTY = ("", "n/a", "#n/a", "na", "null", "none")  # texts of empty cells in columns of numbers
NOTHING = "nothing"  # kind of an empty column
# Errors of pyarrow for cells of several kinds, or for cells that are not numbers.
UNREADABLE = (pa.ArrowException, ValueError, TypeError, OverflowError)


def parse_scores(
    frame: pd.DataFrame,
    roles: Mapping[str, str],
    cost: str | Mapping[str, float] | None,
    missing: str,
    models: Iterable[str] | None,
    normalize: str | None,
    locate: Locate,
) -> tuple[dict[str, Any], list[Fault]]:
    """Return the attributes of a :class:`ScoreTable`, and the faults of the table.

    Parameters
    ----------
    roles : mapping
        The column, or template of columns, by role: "sample", "model", "label" …, "column <name>"
        for numbers, "category <name>" for text.
    cost : str, mapping or None
        The column, the prices by model, or None for a price of 1.
    locate : callable
        Converts rows to their places in the source, such as "line 7".
    """
    columns = select_columns(frame, roles, models)
    rows = len(columns["model"])
    text = {}
    numbers = {}
    wrong = {}
    for role, column in columns.items():
        if role in TEXT_ROLES or role.startswith("category "):
            found = encode_text(column)
            if found.texts or role != "label":
                text[role] = replace(found, codes=np.resize(found.codes, rows))
            continue
        words = role == "correct" or role.startswith("column ")
        values, is_wrong = parse_numbers(column, words)
        wrong[role] = np.flatnonzero(is_wrong)
        if role != "correct" or not np.isnan(values).all():
            numbers[role] = np.resize(values, rows)
    refuse_mixed_kinds(text)
    source = np.resize(columns["sample"].index.to_numpy(), rows)
    cells, faults = arrange_cells(text, numbers, lambda chosen: locate(source[chosen]))
    for role, bad in wrong.items():
        if len(bad):
            quoted = zip(map(brief, columns[role].iloc[bad[:SHOWN]]), bad.tolist())
            examples = tuple(f"{cell} at {cells.row_place(row)}" for cell, row in quoted)
            what = f"cells of column {roles[role]!r} that are not numbers"
            faults.append(Fault(what, len(bad), examples, NUMBERS))
    arguments, cells, cell_faults = make_arguments(cells, missing)
    arguments["normalize"] = normalize
    if not isinstance(cost, str):
        names = arguments["names"]
        price_of = dict.fromkeys(names, 1.0) if cost is None else cost
        for name in price_of:
            validate_choice(name, names, "model of the table, in cost")
        prices = [price_of[validate_choice(name, price_of, "model in cost")] for name in names]
        arguments["cost"] = as_real_array(prices, "cost")
    checked, value_faults = check_values(arguments, cells.place)
    faults += cell_faults + value_faults
    if arguments["correct"] is not None:
        faults += cells.find_contradictions(checked)
    by_cell = checked["cost"]
    if by_cell.ndim > 1 and (by_cell == by_cell[:, :1]).all():
        checked["cost"] = by_cell[:, 0]
    return checked, faults


def open_frame(
    source: Any, largest: int, encoding: str | None = None
) -> tuple[pd.DataFrame, Locate]:
    """Return a DataFrame with rows numbered from 0, and a function from rows to their places.

    The source is a DataFrame, a path, or any other frame that narwhals supports.
    """
    if isinstance(source, str | os.PathLike):
        lines = cache(partial(line_numbers, source, largest, encoding))
        return read_table(source, largest, encoding), lambda rows: _describe_rows(rows, lines())
    if not isinstance(source, pd.DataFrame):
        try:
            import narwhals
        except ImportError:
            raise TypeError(
                f"a pandas DataFrame or a path is needed, not a {type(source).__name__}; frames of "
                "other libraries need narwhals: pip install narwhals"
            ) from None
        table = narwhals.from_native(source).lazy().collect().to_arrow()
        source = table.to_pandas(types_mapper=pd.ArrowDtype)
    if not len(source):
        raise ValueError("the table has no rows: one row per sample and model is needed")
    return source.reset_index(drop=True), _describe_rows


def _describe_rows(rows: Array, lines: list[int] | None = None) -> list[str]:
    """Return the places of rows: "line 7", or "row 5" (counted from 0) if there are no lines."""
    if lines is None:
        return [f"row {row}" for row in rows.tolist()]
    return [f"line {lines[row]}" for row in rows.tolist()]


def select_columns(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str] | None
) -> dict[str, pd.Series]:
    """Return the column of each role. A template gives the columns of all models in sequence."""
    names = [] if models is None else items_of(models)
    if models is not None and not names:
        raise ValueError("models=[] names no model. Omit it to read all models")
    template = next((name for name in roles.values() if "{}" in name), None)
    columns = {}
    if template:
        if not names:  # the names of the models replace {} in the names of columns
            before, *after = map(re.escape, template.split("{}"))
            pattern = f"{before}(?P<model>.+){'(?P=model)'.join(after)}"
            matches = [re.fullmatch(pattern, str(name), re.DOTALL) for name in frame.columns]
            names = [match["model"] for match in matches if match]
        if not names:
            raise ValueError(f"no column is named like {template!r}")
        columns["model"] = pd.Series(pd.Categorical(names, names).repeat(len(frame)))
    elif names:
        column = encode_text(find_column(frame, roles["model"]))
        codes = [column.texts.index(validate_choice(name, column.texts, "model")) for name in names]
        rows = [np.flatnonzero(column.codes == code) for code in codes]
        frame = frame.iloc[np.concatenate(rows)]
    for role in [role for role in roles if role not in ("confidence", *columns)]:
        with error_context(f"{role}={roles[role]!r}"):
            columns[role] = find_column(frame, roles[role], names)
    columns["confidence"] = find_confidence(frame, roles, names)
    return columns


def find_confidence(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str]
) -> pd.Series:
    """Return the column of confidences, nan without one.

    The column "confidence" is optional, and so are the columns of some models of a template.
    """
    name = roles.get("confidence")
    if not name:
        return pd.Series(np.nan, frame.index)
    wanted = {name.replace("{}", model) for model in models or [""]}
    missing = wanted - set(frame.columns)
    if missing and (name == "confidence" or "{}" in name):
        used = set(roles.values())
        unused = {str(each).casefold().strip(): each for each in frame if each not in used}
        near = [unused[match] for match in get_close_matches(name, unused, n=3, cutoff=0.7)]
        if missing == wanted and (near or "{}" in name):
            raise ValueError(
                f"no column is called {name!r}, but there is "
                f"{', '.join(map(repr, near or frame.columns))}. Name the column with "
                "confidence=, or pass confidence=None if the table has no confidences"
            )
        frame = frame.assign(**dict.fromkeys(missing, np.nan))
    return find_column(frame, name, models)


def find_column(frame: pd.DataFrame, name: str, models: Iterable[str] = ()) -> pd.Series:
    """Return the only column of a name, or those of all models if the name is a template."""
    if "{}" in name:
        parts = []
        for model in models:
            with error_context(
                f"model {model!r} (models=[…] selects the columns that belong to models)"
            ):
                parts.append(find_column(frame, name.replace("{}", model)))
        return pd.concat(parts).rename(name)
    found = frame[validate_choice(name, frame.columns, "column")]
    if not isinstance(found, pd.Series):
        raise ValueError(f"{found.shape[1]} columns are called {name!r}: rename all but one")
    return found


def encode_text(column: pd.Series) -> TextColumn:
    """Return a column of ids, models, labels or predictions as codes, in order of appearance.

    Numbers must be whole. They give the same text for all dtypes, since pandas converts whole
    numbers to floats if one is missing. A mixture of text and numbers raises a ValueError.
    """
    name = column.name
    remedy = (
        "ids, models, labels and predictions must be all text or all whole numbers: read the file "
        "by its path, or with dtype=str"
    )
    try:
        cells = _cells(column)
        encoded = cells.unify_dictionaries().combine_chunks().dictionary_encode()
        indices = encoded.indices
        distinct = encoded.dictionary
        if not _is_text(cells):  # a dictionary may have another order, unused values and null
            used = indices.dictionary_encode()
            indices = used.indices
            distinct = distinct.take(used.dictionary)
        codes = indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
    except UNREADABLE as error:
        raise ValueError(f"column {name!r} cannot be read ({error!s:.100}); {remedy}") from None
    values = distinct.to_pylist()
    cell = type(next(iter(values), ""))
    if cell not in KINDS:
        raise ValueError(f"column {name!r} holds {cell.__name__}; {remedy}")
    has_numbers = KINDS[cell] == "numbers"
    if has_numbers:
        values = [parse_whole_number(value, name) for value in values]
    texts = [str(value) for value in values]
    if has_numbers or "" in texts:
        # Equal texts get one code (0 and −0 share a text), and "" the code of a missing cell.
        order, named = pd.factorize(np.array([text or None for text in texts], object))
        codes = np.append(order, MISSING)[codes]
        texts = named.tolist()
    if "\x00" in "".join(texts):
        raise ValueError(f"column {name!r} holds a NUL character, which text cannot have")
    if 4 * len(codes) * max(map(len, texts), default=0) > LARGEST_TEXT:
        raise ValueError(f"column {name!r} holds texts too long for ids or classes: give codes")
    return TextColumn(codes, texts, KINDS[cell] if texts else NOTHING)


def _cells(column: pd.Series) -> pa.ChunkedArray:
    """Convert a column to Arrow, missing cells to null. A mixture raises :data:`UNREADABLE`."""
    return pa.Table.from_pandas(column.to_frame("cells"), preserve_index=False).column(0)


def _is_text(cells: pa.ChunkedArray) -> bool:
    """Return whether the type of cells is text. A dictionary of text is another type."""
    return pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)


def parse_whole_number(value: Any, name: Any) -> int:
    """Return an integer, or a float that is one, as int."""
    if abs(value) >= EXACT_IN_FLOATS and isinstance(value, float):
        raise ValueError(f"column {name!r} holds {value!r}, a float too large for an id: use text")
    if value != value // 1:
        raise ValueError(
            f"column {name!r} holds {value!r}, which is not a whole number: give ids, labels and "
            "predictions as text"
        )
    return int(value)


def parse_numbers(column: pd.Series, words: bool) -> tuple[Array, Array]:
    """Return numbers, float64 [rows], and whether cells are not numbers, bool [rows].

    Text in :data:`EMPTY` is nan, and cells that are not numbers are 0. If ``words``, "true" and
    "false" are 1 and 0.
    """
    try:
        return _as_floats(column), np.zeros(len(column), bool)
    except UNREADABLE:
        codes, cells = pd.factorize(column.map(_format_cell, na_action="ignore"))
    numbers = [parse_number(cell, words) for cell in cells]
    values = np.array([*(0.0 if number is None else number for number in numbers), np.nan])
    return values[codes], np.array([*(number is None for number in numbers), False])[codes]


def _as_floats(column: pd.Series) -> Array:
    """Convert numbers or their text to float64. Another cell raises :data:`UNREADABLE`."""
    if is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    cells = _cells(column)
    if isinstance(cells.type, pa.BaseExtensionType):
        raise TypeError(f"{cells.type} is not a type of numbers")
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    if _is_text(cells):
        cells = pa.compute.utf8_trim_whitespace(cells)
        cells = pa.compute.if_else(pa.compute.equal(cells, ""), None, cells)
    return np.array(cells.cast(pa.float64(), safe=False), dtype=np.float64)


def _format_cell(cell: Any) -> str:
    """Return a cell as text."""
    with contextlib.suppress(ValueError):  # an integer with more digits than Python writes
        return str(cell) if isinstance(cell, str | Number) else brief(cell)
    return brief(cell)


def parse_number(text: str, words: bool) -> float | None:
    """Return the number that a text states, nan if it states none, and None for other text."""
    plain = text.strip().casefold()
    if plain in EMPTY:
        return np.nan
    if words and plain in ("true", "false"):
        return float(plain == "true")
    with contextlib.suppress(ValueError):
        return float(plain.replace("_", "?"))  # float() would accept 1_000
    return None


def refuse_mixed_kinds(text: dict[str, TextColumn]) -> None:
    """Raise a ValueError for columns of ids, labels or predictions that do not fit each other.

    If only labels or only predictions are text, then 01 would differ from 1. If nearly all pairs of
    a sample and a model lack a row, the column of samples or models is probably wrong.
    """
    kinds = {role: text[role].kind for role in ("label", "prediction") if role in text}
    if len(set(kinds.values()) - {NOTHING}) > 1:
        raise ValueError(
            f"the labels are {kinds['label']} and the predictions {kinds['prediction']}: give both "
            "as text, or both as whole numbers (a CSV file by its path, or read with dtype=str)"
        )
    rows = len(text["sample"].codes)
    total = len(text["sample"].texts) * len(text["model"].texts)
    if total > (SPARSE + 1) * rows:
        raise ValueError(
            f"the table has only {rows} of {total} rows. Check that sample= and model= name the "
            "right columns. models=[…] selects fewer models"
        )
