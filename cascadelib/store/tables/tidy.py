"""Read a long or wide table of scores, from a file or a frame, as one tidy table."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ...checks import brief, error_context, items_of, validate_choice
from .answers import MISSING, TextColumn
from .cells import Cells, Locate, arrange_cells
from .numbers import REMEDIES, UNREADABLE, NumberColumn, cells_of, is_text, read_numbers
from .rules import SHOWN, Rule, refuse
from .table_files import LARGEST_TABLE, line_numbers, read_table

EXACT_IN_FLOATS = 2**53  # from this number on, floats cannot represent all integers
LARGEST_TEXT = 2**33  # bytes of an array of text, whose cells are as wide as the longest
SPARSE = 64  # missing rows per row, above which sample= or model= is a wrong column
ROWS_TRIED = 1000  # rows of an unused column that are read
NONE_NAMED = (
    ", with {} for the model if each has a column. confidence=None states that there are none"
)
TEXT_ROLES = ("sample", "model", "label", "prediction")
READABLE = (str, int, float, bool)  # types of cells in columns of text


def roles_of(
    named: Mapping[str, Any],
    cost: Any = None,
    columns: Iterable[str] = (),
    categories: Iterable[str] = (),
) -> tuple[dict[str, str], dict[str, float] | None]:
    """Return {role: column}, and the prices by model if `cost` has them.

    Parameters
    ----------
    named : mapping
        Columns by role. None is no column.
    cost, columns, categories
        As for :meth:`ScoreTable.from_frame`. Several columns of costs have their names as roles.
    """
    roles = {role: name for role, name in named.items() if name is not None}
    roles |= {f"column {name}": name for name in items_of(columns)}
    roles |= {f"category {name}": name for name in items_of(categories)}
    prices = dict(cost) if isinstance(cost, Mapping | pd.Series) else None
    if prices is None:
        names = items_of(cost) or [None]
        roles |= {f"cost {name}": name for name in names} if len(names) > 1 else {"cost": names[0]}
    for name in (named.get("sample", ""), named.get("model", ""), *roles.values()):
        if not isinstance(name, str):
            raise ValueError(f"the name of a column must be text, got {brief(name)}")
    return roles, prices


def read_tidy(
    frame: pd.DataFrame,
    locate: Locate,
    roles: Mapping[str, str],
    models: Iterable[str] | None = None,
    decimal: str | None = None,
) -> tuple[Cells, list[Rule]]:
    """Read the columns of a table, and return its cells and the rules that concern them.

    Parameters
    ----------
    frame, locate
        The result of :func:`open_frame`.
    roles : mapping
        The result of :func:`roles_of`. A column may be a template.
    models : iterable of str, optional
        The models to read, in this order.
    decimal : {".", ","}, optional
        The sign before decimals in columns of text.
    """
    columns = select_columns(frame, roles, models)
    text = {
        role: encode_text(column)
        for role, column in columns.items()
        if role in TEXT_ROLES or role.startswith("category ")
    }
    numbers = read_all_numbers(
        {role: column for role, column in columns.items() if role not in text}, decimal
    )
    if "label" in text and not text["label"].texts:
        del text["label"]
    if roles["sample"] in text["sample"].texts:
        is_header = (frame.astype(str) == frame.columns).all(axis=1)
        if count := int(is_header.sum()):
            cells, rules = read_tidy(frame[~is_header], locate, roles, models, decimal)
            return cells, [Rule("rows that repeat the header", count, read="as no rows"), *rules]
    refuse_sparse(text)
    source = columns["sample"].index.to_numpy()
    cells, rules = arrange_cells(
        {role: TextColumn(pad(one.codes, MISSING), one.texts) for role, one in text.items()},
        {role: pad(number.values, np.nan) for role, number in numbers.items()},
        lambda rows: locate(source[rows]),
    )
    rules += find_unread(frame, roles)
    for role, number in numbers.items():
        rules += number.steps + describe_faults(columns[role], number, cells)
    if not cells.row_at.size:
        remedy = "One row per sample and model is needed"
        refuse([*rules, Rule("rows with a sample and a model", 0, (), remedy)])
    return cells, rules


def describe_faults(column: pd.Series, number: NumberColumn, cells: Cells) -> list[Rule]:
    """Return the faults of a column of numbers."""
    rules = []
    for what, bad in number.faults.items():
        examples = [f"{brief(column.iloc[row])} at {cells.row_place(row)}" for row in bad[:SHOWN]]
        name = f"cells of column {column.name!r} {what}"
        rules.append(Rule(name, len(bad), tuple(examples), REMEDIES[what]))
    return rules


def read_all_numbers(
    columns: Mapping[str, pd.Series], decimal: str | None
) -> dict[str, NumberColumn]:
    """Read the columns of numbers by role. An empty column of correctness is left out.

    If a column has decimal commas, text such as 1.234 in other columns has two readings.
    """
    numbers = {role: read_numbers(column, role, decimal) for role, column in columns.items()}
    if decimal is None and any(number.has_commas for number in numbers.values()):
        for role, number in numbers.items():
            if not number.has_commas:
                numbers[role] = read_numbers(columns[role], role, by_cell=True)
    if "correct" in numbers and np.isnan(numbers["correct"].values).all():
        del numbers["correct"]
    return numbers


def pad(values: Array, empty: Any) -> Array:
    """Return a column with an empty row at its end, of the same dtype for speed."""
    return np.append(values, np.array([empty], values.dtype))


def open_frame(
    source: Any, largest: int = LARGEST_TABLE, encoding: str | None = None
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


def source_of(table: Any) -> str:
    """Return the path of a table, or "frame"."""
    return os.fspath(table) if isinstance(table, str | os.PathLike) else "frame"


def _describe_rows(rows: Array, lines: list[int] | None = None) -> list[str]:
    """Return the places of rows: "line 7", or "row 5" (counted from 0) if there are no lines."""
    if lines is None:
        return [f"row {row}" for row in rows.tolist()]
    return [f"line {lines[row]}" for row in rows.tolist()]


def select_columns(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str] | None
) -> dict[str, pd.Series]:
    """Return the column of each role, of equal length."""
    names = [] if models is None else items_of(models)
    if models is not None and not names:
        raise ValueError("models=[] names no model. Omit it to read all models")
    template = next((name for name in roles.values() if "{}" in name), None)
    if template is not None:
        return stack_columns(frame, roles, names or match_models(frame, template))
    if names:
        frame = frame.iloc[find_rows(frame, roles["model"], names)]
    return find_columns(frame, roles, roles.get("confidence") == "confidence")


def stack_columns(
    frame: pd.DataFrame, roles: Mapping[str, str], models: list[str]
) -> dict[str, pd.Series]:
    """Return the columns of a wide table, with the rows of one model after those of another.

    A column that is no template has the same cells for each model.
    """
    name = roles.get("confidence", "")
    is_optional = name == "confidence" or any(name.replace("{}", one) in frame for one in models)
    parts = []
    for model in models:
        by_role = {role: name.replace("{}", model) for role, name in roles.items()}
        by_role.pop("model", None)
        with error_context(
            f"model {model!r} (models=[…] selects the columns that belong to models)"
        ):
            parts.append(find_columns(frame, by_role, is_optional))
    columns = {}
    for role in parts[0]:
        columns[role] = pd.concat([part[role] for part in parts]).rename(roles.get(role))
    columns["model"] = pd.Series(pd.Categorical(models, models).repeat(len(frame)))
    return columns


def find_rows(frame: pd.DataFrame, name: str, models: Iterable[str]) -> Array:
    """Return the rows of models, one model after another."""
    column = encode_text(find_column(frame, name))
    texts = column.texts
    codes = [texts.index(validate_choice(model, texts, "model")) for model in models]
    return np.concatenate([np.flatnonzero(column.codes == code) for code in codes])


def match_models(frame: pd.DataFrame, template: str) -> list[str]:
    """Return the names that replace {} of a template in the names of columns."""
    before, *after = map(re.escape, template.split("{}"))
    pattern = f"{before}(?P<model>.+){'(?P=model)'.join(after)}"
    matches = [re.fullmatch(pattern, str(name), re.DOTALL) for name in frame.columns]
    names = [match["model"] for match in matches if match]
    if not names:
        raise ValueError(f"no column is named like {template!r}")
    return names


def find_unread(frame: pd.DataFrame, roles: Mapping[str, str]) -> list[Rule]:
    """Return the rule for columns without a role.

    It is a fault if the column of confidences does not exist, but others may have confidences.
    """
    used = "|".join(re.escape(name).replace(r"\{\}", ".+") for name in roles.values())
    is_unread = [not re.fullmatch(used, str(name), re.DOTALL) for name in frame]
    part = frame.loc[:: len(frame) // ROWS_TRIED + 1, is_unread]
    names = tuple(map(repr, map(str, part)))
    likely = [repr(str(name)) for name, column in part.items() if may_be_confidence(column)]
    is_lost = likely and roles.get("confidence") == "confidence" and "confidence" not in frame
    remedy = f"{', '.join(likely)} may be confidences, which confidence= reads" if likely else ""
    remedy += NONE_NAMED if is_lost else ""
    read = "" if is_lost else "as no part of the table"
    return [Rule("columns that are not used", len(names), names, remedy, read)] if names else []


def may_be_confidence(column: pd.Series) -> bool:
    """Return whether a column has the name or the values of confidences."""
    number = read_numbers(column, "confidence")
    values = number.values[~np.isnan(number.values)]
    has_shares = (values % 1).any() and 0 <= values.min() <= values.max() <= 1
    is_named = "confid" in str(column.name).casefold()
    return bool(is_named or (has_shares and not number.faults))


def find_columns(
    frame: pd.DataFrame, roles: Mapping[str, str], is_optional: bool
) -> dict[str, pd.Series]:
    """Return the column of each role. Confidences without a column are nan if they are optional."""
    columns = {"confidence": pd.Series(np.nan, frame.index)}
    for role, name in roles.items():
        if is_optional and role == "confidence" and name not in frame:
            continue
        with error_context(f"{role}={name!r}"):
            columns[role] = find_column(frame, name)
    return columns


def find_column(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return the only column of a name."""
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
        "ids, models, labels and predictions must be all text or all whole numbers: write all "
        "cells as text, or read the file by its path or with dtype=str"
    )
    try:
        cells = cells_of(column).unify_dictionaries().combine_chunks()
        encoded = cells.dictionary_encode()
        indices = encoded.indices
        values = encoded.dictionary
        if not is_text(cells):  # a dictionary may have another order, unused values and null
            used = indices.dictionary_encode()
            indices = used.indices
            values = values.take(used.dictionary)
        codes = indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
    except UNREADABLE as error:
        raise ValueError(f"column {name!r} cannot be read ({error!s:.100}); {remedy}") from None
    texts = read_texts_of(values.to_pylist(), name, remedy)
    if not is_text(cells) or "" in texts:
        # Equal texts get one code (0 and −0 share a text), and "" the code of a missing cell.
        order, named = pd.factorize(np.array([text or None for text in texts], object))
        codes = np.append(order, MISSING)[codes]
        texts = named.tolist()
    if 4 * len(codes) * max(map(len, texts), default=0) > LARGEST_TEXT:
        raise ValueError(f"column {name!r} holds texts too long for ids or classes: give codes")
    return TextColumn(codes, texts)


def read_texts_of(values: list, name: Any, remedy: str) -> list[str]:
    """Return distinct cells of one type as text, or raise a ValueError for other types."""
    cell = next(iter(values), "")
    if type(cell) not in READABLE:
        raise ValueError(f"column {name!r} holds {type(cell).__name__}; {remedy}")
    if type(cell) in (int, float):
        values = [parse_whole_number(value, name) for value in values]
    texts = [str(value) for value in values]
    if "\x00" in "".join(texts):
        raise ValueError(f"column {name!r} holds a NUL character, which text cannot have")
    return texts


def parse_whole_number(value: Any, name: Any) -> int:
    """Return an integer, or a float that is one, as int."""
    is_exact = isinstance(value, int) or abs(value) < EXACT_IN_FLOATS
    if not is_exact or value != value // 1:
        raise ValueError(
            f"column {name!r} holds {value!r}, which is not a whole number below 2**53: give ids, "
            "labels and predictions as text"
        )
    return int(value)


def refuse_sparse(text: Mapping[str, TextColumn]) -> None:
    """Raise a ValueError if nearly all pairs of a sample and a model lack a row.

    The column of samples or models is then probably wrong.
    """
    rows = len(text["model"].codes)
    total = len(text["sample"].texts) * len(text["model"].texts)
    if total > (SPARSE + 1) * rows:
        raise ValueError(
            f"the table has only {rows} of {total} rows. Check that sample= and model= name the "
            "right columns. models=[…] selects fewer models"
        )
