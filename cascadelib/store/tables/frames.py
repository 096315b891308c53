"""Read the columns of long and wide tables of scores, for :meth:`ScoreTable.from_frame`."""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
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

from ...checks import about, brief, items_of, known
from .cells import MISSING, Coded, Locate, arguments_of, arranged
from .faults import SHOWN, Fault
from .table_files import line_numbers, read_table

EXACT_IN_FLOATS = 2**53  # above it, floats cannot distinguish integers
LARGEST_TEXT = 2**33  # bytes of an array of text, whose cells have the width of the longest
SPARSE = 64  # cells per row, above which sample= or model= is a wrong column
TEXT_ROLES = ("sample", "model", "label", "prediction")
KINDS: dict[type, str] = {str: "text", int: "numbers", float: "numbers", bool: "truth values"}
NUMBERS = "Write numbers as 0.5 or 1e-3; leave cells empty that have none"
EMPTY = ("n/a", "#n/a", "na", "null", "none")  # in columns of numbers
NOTHING = "nothing"  # the kind of an empty column
# Raised by pyarrow for cells of several kinds, or that are not numbers.
UNREADABLE = (pa.ArrowException, ValueError, TypeError, OverflowError)


def scores_of(
    frame: pd.DataFrame,
    roles: Mapping[str, str],
    cost: str | Mapping[str, float],
    missing: str,
    models: Iterable[str] | None,
    normalize: str | None,
    locate: Locate,
) -> tuple[dict[str, Any], list[Fault]]:
    """Return the arguments of a :class:`ScoreTable`, and the faults of the table.

    Parameters
    ----------
    roles : mapping
        The column, or template of columns, by role: "sample", "model", "label" …, "column <name>"
        for numbers, "category <name>" for text.
    locate : callable
        Converts rows to their places in the source, such as "line 7".
    """
    columns = columns_of(frame, roles, models)
    text, numbers, unread = _read_columns(columns)
    source = np.resize(columns["sample"][0].index.to_numpy(), len(columns["model"][0]))
    _refuse_mixed_kinds(text)
    refuse_sparse(text["sample"], text["model"])
    cells, faults = arranged(text, numbers, lambda rows: locate(source[rows]))
    for role, wrong in unread.items():
        if len(wrong):
            column = pd.concat(columns[role]).iloc[wrong[:SHOWN]]
            quoted = zip(map(brief, column), map(cells.row_place, wrong.tolist()))
            examples = tuple(f"{cell} at {place}" for cell, place in quoted)
            what = f"cells of column {roles[role]!r} that are not numbers"
            faults.append(Fault(what, len(wrong), examples, NUMBERS))
    given, more = arguments_of(cells, missing, normalize)
    if isinstance(cost, Mapping):
        given["cost"] = listed_prices(cost, given["names"])
    return given, faults + more


def _read_columns(
    columns: Mapping[str, list[pd.Series]],
) -> tuple[dict[str, Coded], dict[str, Array], dict[str, Array]]:
    """Return text and numbers of a long table by role, and the rows that are not numbers."""
    text = {}
    numbers = {}
    unread: dict[str, Array] = {}
    rows = len(columns["model"][0])
    for role, parts in columns.items():
        repeats = rows // sum(map(len, parts))  # columns that all models share
        if role in TEXT_ROLES or role.startswith("category "):
            found = coded(parts)
            if found.texts or role != "label":
                text[role] = replace(found, codes=np.tile(found.codes, repeats))
            continue
        words = role == "correct" or role.startswith("column ")
        values, wrong = zip(*(parsed_numbers(part, words) for part in parts))
        unread[role] = np.flatnonzero(np.concatenate(wrong))
        if role != "correct" or not np.isnan(np.concatenate(values)).all():
            numbers[role] = np.tile(np.concatenate(values), repeats)
    return text, numbers, unread


def listed_prices(cost: Mapping[str, float], models: list[str]) -> list[float]:
    """Return the prices in the order of the models. Each model needs one, and no other name."""
    for name in cost:
        known(name, models, "model of the table, in cost")
    return [cost[known(name, cost, "model in cost")] for name in models]


def frame_of(source: Any, largest: int, encoding: str | None = None) -> tuple[pd.DataFrame, Locate]:
    """Return a DataFrame with rows numbered from 0, and a function from rows to their places.

    The source is a DataFrame, a path, or any other frame that narwhals supports.
    """
    if isinstance(source, str | os.PathLike):
        lines: Callable[[], list[int] | None]
        lines = cache(partial(line_numbers, source, largest, encoding))
        return read_table(source, largest, encoding), partial(_lines_at, lines)
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
    return source.reset_index(drop=True), partial(_lines_at, lambda: None)


def _lines_at(lines: Callable[[], list[int] | None], rows: Array) -> list[str]:
    """Return the places of rows: "line 7", or "row 5" (counted from 0) if there are no lines."""
    numbers = lines()
    if numbers is None:
        return [f"row {row}" for row in rows.tolist()]
    return [f"line {numbers[row]}" for row in rows.tolist()]


def columns_of(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str] | None
) -> dict[str, list[pd.Series]]:
    """Return the columns of each role: one, or one per model if the role has a template."""
    wanted = [] if models is None else items_of(models)
    if models is not None and not wanted:
        raise ValueError("models=[] names no model; leave it out to take all")
    template = next((name for name in roles.values() if "{}" in name), None)
    columns: dict[str, list[pd.Series]] = {}
    if template:
        wanted = wanted or models_named(frame, template)
        names = pd.Categorical(wanted, wanted)
        columns["model"] = [pd.Series(names.repeat(len(frame)))]
    elif wanted:
        frame = frame.iloc[_rows_of(coded([_column(frame, roles["model"])]), wanted)]
    if roles.get("confidence") == "confidence":
        _refuse_near(frame, "confidence", set(roles.values()))
    for role in [role for role in roles if role not in columns]:
        columns[role] = _columns_named(frame, roles[role], wanted, role == "confidence")
    columns.setdefault("confidence", [pd.Series(np.nan, frame.index)])
    return columns


def _rows_of(models: Coded, wanted: list[str]) -> Array:
    """Return the rows of some models, one model after another."""
    codes = [models.texts.index(known(name, models.texts, "model")) for name in wanted]
    return np.concatenate([np.flatnonzero(models.codes == code) for code in codes])


def _columns_named(
    frame: pd.DataFrame,
    name: str,
    models: list[str],
    is_confidence: bool,
) -> list[pd.Series]:
    """Return the column of a name, or one per model if the name is a template.

    The usual column of confidences is optional, and so are those of some models. They are nan.
    """
    names = {"": name}
    if "{}" in name:
        names = {model: name.replace("{}", model) for model in models}
        if is_confidence and not frame.columns.isin([*names.values()]).any():
            raise ValueError(
                f"confidence={name!r} names no column of any of the {len(models)} models: the "
                f"columns are {brief(list(frame.columns))}; confidence=None reads none"
            )
    optional = is_confidence and ("{}" in name or name == "confidence")
    found = []
    for model, column in names.items():
        if optional and column not in frame.columns:
            found.append(pd.Series(np.nan, frame.index))
            continue
        where = f"model {model!r} (models=[…] says which columns are those of models)"
        with about(where) if model else contextlib.nullcontext():
            found.append(_column(frame, column))
    return found


def _refuse_near(frame: pd.DataFrame, name: str, used: set[str]) -> None:
    """Raise a ValueError if the usual column is missing, but an unused one has a similar name."""
    if name in frame.columns:
        return
    spare = {str(column).casefold().strip(): column for column in frame.columns}
    spare = {written: column for written, column in spare.items() if column not in used}
    near = [spare[written] for written in get_close_matches(name, spare, n=3, cutoff=0.7)]
    if near:
        raise ValueError(
            f"no column is called {name!r}, but there is {', '.join(map(repr, near))}: name the "
            "column with confidence=, or pass confidence=None if there is none"
        )


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return the only column of a name."""
    found = frame[known(name, frame.columns, "column")]
    if not isinstance(found, pd.Series):
        raise ValueError(f"{found.shape[1]} columns are called {name!r}: rename all but one")
    return found


def models_named(frame: pd.DataFrame, template: str) -> list[str]:
    """Return the models: the text in place of {} in the names of columns."""
    before, *after = map(re.escape, template.split("{}"))
    pattern = f"{before}(?P<model>.+){'(?P=model)'.join(after)}"
    matches = [re.fullmatch(pattern, str(name), re.DOTALL) for name in frame.columns]
    models = [match["model"] for match in matches if match]
    if not models:
        raise ValueError(f"no column is named like {template!r}")
    return models


def coded(parts: list[pd.Series]) -> Coded:
    """Return columns of ids, models, labels or predictions as codes, in order of appearance.

    Numbers must be whole. They give the same text for all dtypes, since pandas converts whole
    numbers to floats if one is missing. A mixture of text and numbers raises a ValueError.
    """
    name = parts[0].name
    found = [distinct_texts(part) for part in parts]
    kinds = {kind for _, texts, kind in found if texts}
    if len(kinds) > 1:
        raise ValueError(_mixed(name, f"holds {' and '.join(sorted(kinds))}"))
    codes, texts, _ = found[0]
    if len(found) > 1 or len({"", *texts}) <= len(texts):  # texts repeat
        codes, texts = _recoded(found)
    if "\x00" in "".join(texts):
        raise ValueError(f"column {name!r} holds a NUL character, which text cannot have")
    if 4 * sum(map(len, parts)) * max(map(len, texts), default=0) > LARGEST_TEXT:
        raise ValueError(f"column {name!r} holds texts too long for ids or classes: give codes")
    return Coded(codes, texts, next(iter(kinds), NOTHING))


def _recoded(found: list[tuple[Array, list[str], str]]) -> tuple[Array, list[str]]:
    """Return several coded parts as one column: (codes [rows], distinct texts)."""
    texts = list(dict.fromkeys(text for _, each, _ in found for text in each if text))
    code_of = dict(zip(texts, range(len(texts))))
    codes = []
    for own, each, _ in found:
        new = [code_of.get(text, MISSING) for text in each]
        codes.append(np.array([*new, MISSING])[own])
    return np.concatenate(codes), texts


def distinct_texts(column: pd.Series) -> tuple[Array, list[str], str]:
    """Return (codes [rows], distinct texts, kind of cells) of a column."""
    name = column.name
    try:
        codes, distinct = _distinct(_cells(column))
    except UNREADABLE as error:
        raise ValueError(_mixed(name, f"cannot be read ({error!s:.100})")) from None
    values = distinct.to_pylist()
    kind = type(next(iter(values), ""))
    if kind not in KINDS:
        raise ValueError(_mixed(name, f"holds {kind.__name__}"))
    if KINDS[kind] == "numbers":
        values = [whole_number(value, name) for value in values]
    return codes, list(map(str, values)), KINDS[kind]


def _mixed(name: Any, what: str) -> str:
    """Return the error message for a column that is neither text nor whole numbers."""
    return (
        f"column {name!r} {what}; ids, models, labels and predictions must be all text or all "
        "whole numbers: read the file by its path, or with dtype=str"
    )


def _cells(column: pd.Series) -> pa.ChunkedArray:
    """Convert a column to Arrow, missing cells to null. A mixture raises :data:`UNREADABLE`."""
    return pa.Table.from_pandas(column.to_frame("cells"), preserve_index=False).column(0)


def _distinct(cells: pa.ChunkedArray) -> tuple[Array, pa.Array]:
    """Return (codes [rows], distinct values in order of appearance). Null is :data:`MISSING`."""
    encoded = cells.unify_dictionaries().combine_chunks().dictionary_encode()
    # The dictionaries of the source may have another order and unused values.
    used = encoded.indices.dictionary_encode()
    codes = used.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
    return codes, encoded.dictionary.take(used.dictionary)


def whole_number(value: Any, name: Any) -> int:
    """Return an integer, or a float that is one, as int."""
    if abs(value) > EXACT_IN_FLOATS and isinstance(value, float):
        raise ValueError(f"column {name!r} holds {value!r}, a float too large for an id: use text")
    if value != value // 1:
        raise ValueError(
            f"column {name!r} holds {value!r}, which is not a whole number: give ids, labels and "
            "predictions as text"
        )
    return int(value)


def parsed_numbers(column: pd.Series, words: bool) -> tuple[Array, Array]:
    """Return numbers, float64 [rows], and which cells are not numbers, bool [rows].

    Empty cells and text in :data:`EMPTY` are nan, and cells that are not numbers are 0. If
    ``words``, "true" and "false" are 1 and 0.
    """
    try:
        return _read(column, words), np.zeros(len(column), bool)
    except UNREADABLE:
        codes, cells = _distinct(_cells(column.map(_written, na_action="ignore")))
    values = np.zeros(len(cells) + 1)
    wrong = np.zeros(len(cells) + 1, bool)
    parts = [(0, len(cells))]  # unreadable parts are halved, down to single cells
    while parts:
        start, end = parts.pop()
        try:
            values[start:end] = _parsed(cells[start:end], words)
        except UNREADABLE:
            middle = (start + end) // 2
            if middle > start:
                parts += [(start, middle), (middle, end)]
            elif cells[start].as_py().strip().casefold() in EMPTY:
                values[start] = np.nan
            else:
                wrong[start] = True
    values[MISSING] = np.nan
    return values[codes], wrong[codes]


def _written(cell: Any) -> str:
    """Return a cell as text."""
    with contextlib.suppress(ValueError):  # more digits than Python writes
        return str(cell) if isinstance(cell, str | Number) else brief(cell)
    return brief(cell)


def _read(column: pd.Series, words: bool) -> Array:
    """Convert cells to float64. A cell that is not a number raises :data:`UNREADABLE`."""
    if is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    cells = _cells(column)
    if pa.types.is_dictionary(cells.type):
        codes, values = _distinct(cells)
        return np.append(_parsed(values, words), np.nan)[codes]
    return _parsed(cells, words)


def _parsed(cells: Any, words: bool) -> Array:
    """Convert Arrow's numbers, or their text, to float64. Periods of time raise a TypeError."""
    if isinstance(cells.type, pa.BaseExtensionType):
        raise TypeError(f"{cells.type} is not a type of numbers")
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        cells = pa.compute.utf8_trim_whitespace(cells)
        cells = pa.compute.if_else(pa.compute.equal(cells, ""), None, cells)
        if words:
            lower = pa.compute.utf8_lower(cells)
            cells = pa.compute.if_else(pa.compute.equal(lower, "true"), "1", cells)
            cells = pa.compute.if_else(pa.compute.equal(lower, "false"), "0", cells)
    return np.array(cells.cast(pa.float64(), safe=False), dtype=np.float64)


def _refuse_mixed_kinds(text: dict[str, Coded]) -> None:
    """Raise a ValueError if only labels or only predictions are text: 01 would differ from 1."""
    kinds = {role: text[role].kind for role in ("label", "prediction") if role in text}
    held = set(kinds.values()) - {NOTHING}
    if len(held) > 1:
        raise ValueError(
            f"the labels are {kinds['label']} and the predictions {kinds['prediction']}: give both "
            "as text, or both as whole numbers (a CSV file by its path, or read with dtype=str)"
        )


def refuse_sparse(sample: Coded, model: Coded) -> None:
    """Raise a ValueError if nearly all pairs of a sample and a model lack a row."""
    rows = len(sample.codes)
    total = len(sample.texts) * len(model.texts)
    if total > (SPARSE + 1) * rows:
        raise ValueError(
            f"only {rows} of {total} rows are there: do sample= and model= name the right columns? "
            "models=[…] chooses fewer models"
        )
