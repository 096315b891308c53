"""Columns of tables of scores, long or wide: what :meth:`ScoreTable.from_frame` reads."""

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

EXACT_IN_FLOATS = 2**53  # above it a float no longer tells whole numbers apart
LARGEST_TEXT = 2**33  # bytes of one array of text, in which every cell is as wide as the longest
SPARSE = 64  # cells per row of the table, above which sample= and model= must be mistaken
TEXT_ROLES = ("sample", "model", "label", "prediction")
KINDS: dict[type, str] = {str: "text", int: "numbers", float: "numbers", bool: "truth values"}
NUMBERS = "Write numbers as 0.5 or 1e-3; leave cells empty that have none"
EMPTY = ("n/a", "#n/a", "na", "null", "none")  # in columns of numbers
NOTHING = "nothing"  # the kind of a column whose cells are all empty
# What pyarrow raises for cells that it can't read as one kind, or not as numbers.
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
    """Return the arguments of a :class:`ScoreTable`, as :meth:`ScoreTable.from_frame` documents
    them, and the faults of the table.

    Parameters
    ----------
    roles : mapping
        {"sample", "model", "label" …, "column <name>" or, of text, "category <name>": the frame's
        column, or a template of columns}.
    locate : callable
        From rows of the frame to their places in the source, such as "line 7".
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
    """Return text and numbers by role, in the rows of a long table, and the rows of cells that are
    not numbers."""
    text = {}
    numbers = {}
    unread: dict[str, Array] = {}
    rows = len(columns["model"][0])
    for role, parts in columns.items():
        repeats = rows // sum(map(len, parts))  # of what is the same for all models
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
    """The prices of the models, in their order; ValueError for a model without, and for a price of
    no model."""
    for name in cost:
        known(name, models, "model of the table, in cost")
    return [cost[known(name, cost, "model in cost")] for name in models]


def frame_of(source: Any, largest: int, encoding: str | None = None) -> tuple[pd.DataFrame, Locate]:
    """Return (a DataFrame as it is, a file's (:func:`read_table`), or any other frame through
    narwhals, rows numbered from 0; from rows to their places in words).

    TypeError for what is none of these, ValueError for one without rows.
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
    """Return the lines of some rows in words, or their numbers from 0 if there are no lines."""
    numbers = lines()
    if numbers is None:
        return [f"row {row}" for row in rows.tolist()]
    return [f"line {numbers[row]}" for row in rows.tolist()]


def columns_of(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str] | None
) -> dict[str, list[pd.Series]]:
    """{role: the columns that hold it, one below the other in the rows of a long table}: one, or of
    a wide table one per model, where the role has a template."""
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
    """The rows of the models asked for, one model after another."""
    codes = [models.texts.index(known(name, models.texts, "model")) for name in wanted]
    return np.concatenate([np.flatnonzero(models.codes == code) for code in codes])


def _columns_named(
    frame: pd.DataFrame,
    name: str,
    models: list[str],
    is_confidence: bool,
) -> list[pd.Series]:
    """The column of a name, or one per model where it is a template. Of confidences the usual
    column may be left out, and those of some models, for which nan stands; a template that names
    none is mistaken."""
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
    """ValueError where there is no column of the usual ``name``, but one that nobody asked for and
    that is written nearly so."""
    if name in frame.columns:
        return
    spare = {str(column).casefold().strip(): column for column in frame.columns}
    spare = {written: column for written, column in spare.items() if column not in used}
    near = [spare[written] for written in get_close_matches(name, spare, n=3, cutoff=0.7)]
    if near:
        raise ValueError(
            f"no column is called {name!r}, but there is {', '.join(map(repr, near))}: name the "
            "column with confidence=, or say confidence=None where there is none"
        )


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    """The one column of a name; ValueError where there is none, or several."""
    found = frame[known(name, frame.columns, "column")]
    if not isinstance(found, pd.Series):
        raise ValueError(f"{found.shape[1]} columns are called {name!r}: rename all but one")
    return found


def models_named(frame: pd.DataFrame, template: str) -> list[str]:
    """What stands in the place of {} in the names of a frame's columns."""
    before, *after = map(re.escape, template.split("{}"))
    pattern = f"{before}(?P<model>.+){'(?P=model)'.join(after)}"
    matches = [re.fullmatch(pattern, str(name), re.DOTALL) for name in frame.columns]
    models = [match["model"] for match in matches if match]
    if not models:
        raise ValueError(f"no column is named like {template!r}")
    return models


def coded(parts: list[pd.Series]) -> Coded:
    """Columns of ids, models, labels or predictions, one below the other, as codes in order of
    first appearance.

    Text stays as it is. Numbers must be whole, and are written alike whatever their dtype: pandas
    makes floats of whole numbers beside a missing one. ValueError, by the column's name, for a
    mixture of text and numbers.
    """
    name = parts[0].name
    found = [distinct_texts(part) for part in parts]
    kinds = {kind for _, texts, kind in found if texts}
    if len(kinds) > 1:
        raise ValueError(_mixed(name, f"holds {' and '.join(sorted(kinds))}"))
    codes, texts, _ = found[0]
    if len(found) > 1 or len({"", *texts}) <= len(texts):  # not coded by its distinct texts yet
        codes, texts = _recoded(found)
    if "\x00" in "".join(texts):
        raise ValueError(f"column {name!r} holds a NUL character, which no text has")
    if 4 * sum(map(len, parts)) * max(map(len, texts), default=0) > LARGEST_TEXT:
        raise ValueError(f"column {name!r} holds texts too long for ids or classes: give codes")
    return Coded(codes, texts, next(iter(kinds), NOTHING))


def _recoded(found: list[tuple[Array, list[str], str]]) -> tuple[Array, list[str]]:
    """Return parts with codes of their own as one column: (codes [rows], distinct texts)."""
    texts = list(dict.fromkeys(text for _, each, _ in found for text in each if text))
    code_of = dict(zip(texts, range(len(texts))))
    codes = []
    for own, each, _ in found:
        new = [code_of.get(text, MISSING) for text in each]
        codes.append(np.array([*new, MISSING])[own])
    return np.concatenate(codes), texts


def distinct_texts(column: pd.Series) -> tuple[Array, list[str], str]:
    """(codes [rows], the distinct cells as text, their kind) of one column."""
    name = column.name
    try:
        codes, distinct = _distinct(_cells(column))
    except UNREADABLE as error:
        raise ValueError(_mixed(name, f"can't be read ({error!s:.100})")) from None
    values = distinct.to_pylist()
    kind = type(next(iter(values), ""))
    if kind not in KINDS:
        raise ValueError(_mixed(name, f"holds {kind.__name__}"))
    if KINDS[kind] == "numbers":
        values = [whole_number(value, name) for value in values]
    return codes, list(map(str, values)), KINDS[kind]


def _mixed(name: Any, what: str) -> str:
    """What to say of a column that is neither text nor whole numbers."""
    return (
        f"column {name!r} {what}; ids, models, labels and predictions must be all text or all "
        "whole numbers: read the file by its path, or with dtype=str"
    )


def _cells(column: pd.Series) -> pa.ChunkedArray:
    """A column as Arrow has it, missing cells as null; one of :data:`UNREADABLE` for a mixture."""
    return pa.Table.from_pandas(column.to_frame("cells"), preserve_index=False).column(0)


def _distinct(cells: pa.ChunkedArray) -> tuple[Array, pa.Array]:
    """(codes [rows], distinct values in order of first appearance); :data:`MISSING` for null."""
    encoded = cells.unify_dictionaries().combine_chunks().dictionary_encode()
    # Dictionaries that came with the table have another order, and values that no cell has.
    used = encoded.indices.dictionary_encode()
    codes = used.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
    return codes, encoded.dictionary.take(used.dictionary)


def whole_number(value: Any, name: Any) -> int:
    """An integer, or a float that is one; ValueError for any other, by the column's name."""
    if abs(value) > EXACT_IN_FLOATS and isinstance(value, float):
        raise ValueError(f"column {name!r} holds {value!r}, a float too large for an id: use text")
    if value != value // 1:
        raise ValueError(
            f"column {name!r} holds {value!r}, which is no whole number: give ids, labels and "
            "predictions as text"
        )
    return int(value)


def parsed_numbers(column: pd.Series, words: bool) -> tuple[Array, Array]:
    """Return a column of numbers, or of text that states them, as (float64 [rows], nan in empty
    cells; bool [rows]: the cells that state no number, which are 0).

    ``words``: "true" and "false" are 1 and 0. Text in :data:`EMPTY` is an empty cell.
    """
    try:
        return _read(column, words), np.zeros(len(column), bool)
    except UNREADABLE:
        codes, cells = _distinct(_cells(column.map(_written, na_action="ignore")))
    values = np.zeros(len(cells) + 1)
    wrong = np.zeros(len(cells) + 1, bool)
    parts = [(0, len(cells))]  # halves of parts that can't be read, until single cells are left
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
    """Return a cell as text, which states a number if the cell is one."""
    with contextlib.suppress(ValueError):  # more digits than Python writes
        return str(cell) if isinstance(cell, str | Number) else brief(cell)
    return brief(cell)


def _read(column: pd.Series, words: bool) -> Array:
    """Cells as float64, exactly as they are written; one of :data:`UNREADABLE` for one that is no
    number."""
    if is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    cells = _cells(column)
    if pa.types.is_dictionary(cells.type):
        codes, values = _distinct(cells)
        return np.append(_parsed(values, words), np.nan)[codes]
    return _parsed(cells, words)


def _parsed(cells: Any, words: bool) -> Array:
    """Arrow's numbers, or text that states them, as float64; TypeError for values that are only
    kept as numbers, such as periods of time."""
    if isinstance(cells.type, pa.BaseExtensionType):
        raise TypeError(f"{cells.type} is no kind of numbers")
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        cells = pa.compute.utf8_trim_whitespace(cells)
        cells = pa.compute.if_else(pa.compute.equal(cells, ""), None, cells)
        if words:
            lower = pa.compute.utf8_lower(cells)
            cells = pa.compute.if_else(pa.compute.equal(lower, "true"), "1", cells)
            cells = pa.compute.if_else(pa.compute.equal(lower, "false"), "0", cells)
    return np.array(cells.cast(pa.float64(), safe=False), dtype=np.float64)


def _refuse_mixed_kinds(text: dict[str, Coded]) -> None:
    """ValueError where labels are text and predictions numbers, or the other way round: 01 and 1
    would be two classes."""
    kinds = {role: text[role].kind for role in ("label", "prediction") if role in text}
    held = set(kinds.values()) - {NOTHING}
    if len(held) > 1:
        raise ValueError(
            f"the labels are {kinds['label']} and the predictions {kinds['prediction']}: give both "
            "as text, or both as whole numbers (a CSV file by its path, or read with dtype=str)"
        )


def refuse_sparse(sample: Coded, model: Coded) -> None:
    """Raise a ValueError if nearly all pairs of a sample and a model have no row."""
    rows = len(sample.codes)
    total = len(sample.texts) * len(model.texts)
    if total > (SPARSE + 1) * rows:
        raise ValueError(
            f"only {rows} of {total} rows are there: do sample= and model= name the right columns? "
            "models=[…] chooses fewer models"
        )
