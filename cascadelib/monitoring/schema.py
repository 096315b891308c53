"""The columns of the log of a running cascade, and the reader of its files."""

import json
import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from numpy import ndarray as Array

from ..checks import brief
from ..policy.decisions import FAILURES

ROWS = 2**16  # rows that are read at a time
TEXTS = pa.list_(pa.string())
NUMBERS = pa.list_(pa.float64())
CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}  # as json.dumps writes them

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "time": pa.float64(),
        "policy": pa.string(),
        "stage": pa.int64(),
        "models": TEXTS,
        "predictions": TEXTS,
        "confidences": NUMBERS,
        "failures": TEXTS,
        "costs": NUMBERS,
        "audited": pa.bool_(),
        "reference": pa.string(),
    }
)
"""Columns of a log, as a pyarrow schema. A log has one row per input. Lists have one item for each
stage that the input reached."""
LISTS_OF_TEXT = [field.name for field in SCHEMA if field.type == TEXTS]
OF_NUMBERS = ("time", "stage", "confidences", "costs")
# Stages are read as floats, so that a log checks whether they are whole numbers.
READ_AS = SCHEMA.set(SCHEMA.get_field_index("stage"), pa.field("stage", pa.float64()))
OF_EACH = "a list with one item for each stage up to the exit:"
ACCEPTED = {
    "id": "text, another one for each input",
    "time": "the time of the decision in seconds since 1970, a finite number",
    "policy": "text, the checksum of the policy that decided",
    "stage": "the stage at which the input exited, a whole number, 0 = first",
    "models": f"{OF_EACH} the name of the model that answered",
    "predictions": f"{OF_EACH} the cascade's answer as text, and null for a failure",
    "confidences": f"{OF_EACH} the number that the threshold is compared with, and null for a "
    "failure or at the last stage",
    "failures": f"{OF_EACH} {', '.join(FAILURES[:-1])} or {FAILURES[-1]}",
    "costs": f"{OF_EACH} the cost of the call, 0 or more, or null if it is not known",
    "audited": "true or false, as is_audited returns it",
    "reference": "the reference's answer to an audited input as text, null if it failed, and "
    "null if the input is not audited",
}
REQUIRED = SCHEMA.names[:-1]  # without audits, a log needs no column of references

Locate = Callable[[int], str]  # describes where a row of a part is


def read_parts(log: Any) -> Iterator[tuple[pa.Table, Locate]]:
    """Yield the rows of a log in parts, with a function that describes the position of a row.

    Parameters
    ----------
    log : DataFrame, or path of a .jsonl file, a parquet file, or a folder of files of one kind

    Raises
    ------
    ValueError
        If the log is of another kind, a column is missing, or a value has another type than in
        ``SCHEMA``.
    """
    if isinstance(log, pd.DataFrame):
        yield from read_frame(log)
        return
    if not isinstance(log, str | os.PathLike):
        raise ValueError(
            "log must be a DataFrame, or the path of a .jsonl file, a parquet file or a folder, "
            f"not a {type(log).__name__}. A list of rows becomes a frame by pd.DataFrame(rows)"
        )
    path = Path(log)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if files and files[0].suffix == ".jsonl":
        for file in files:
            yield from read_lines(file)
    else:
        yield from read_parquet(path)


def read_frame(frame: pd.DataFrame) -> Iterator[tuple[pa.Table, Locate]]:
    """Yield the rows of a frame."""
    require_columns(frame.columns)
    frame = frame.reindex(columns=SCHEMA.names)
    for start in range(0, len(frame), ROWS):
        part = frame.iloc[start : start + ROWS].astype(object)
        rows = part.where(part.notna(), None).to_dict("records")
        locate = partial(row_of_log, start)
        yield convert_rows(rows, locate), locate


def read_lines(path: Path) -> Iterator[tuple[pa.Table, Locate]]:
    """Yield the lines of a file of JSON. A last line without its end is still being written."""
    with path.open(encoding="utf-8") as file:
        lines = (line for line in file if line.endswith("\n"))
        for start in count(0, ROWS):
            locate = partial(line_of_file, path, start)
            rows = [parse_line(line, row, locate) for row, line in enumerate(islice(lines, ROWS))]
            if not rows:
                break
            yield convert_rows(rows, locate), locate


def read_parquet(path: Path) -> Iterator[tuple[pa.Table, Locate]]:
    """Yield the rows of a parquet file, or of a folder of such files by name."""
    try:
        dataset = ds.dataset(path)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path.name} is not parquet. The name of a file of JSON lines must end in .jsonl"
        ) from error
    require_columns(dataset.schema.names)
    present = [name for name in SCHEMA.names if name in dataset.schema.names]
    for name in present:
        found = dataset.schema.field(name).type
        if not can_store(READ_AS.field(name).type, found):
            raise ValueError(
                f"column {name!r} of the log has type {found}. Accepted: {ACCEPTED[name]}"
            )
    start = 0
    for batch in dataset.to_batches(columns=present, batch_size=ROWS):
        table = pa.Table.from_batches([batch])
        for name in set(SCHEMA.names) - set(present):
            table = table.append_column(name, pa.nulls(len(table), READ_AS.field(name).type))
        yield table.select(SCHEMA.names).cast(READ_AS), partial(row_of_log, start)
        start += len(table)


def can_store(wanted: pa.DataType, found: pa.DataType) -> bool:
    """Return whether a column of type `wanted` can store all values of type `found` unchanged."""
    types = pa.types
    if types.is_dictionary(found):
        return can_store(wanted, found.value_type)
    if types.is_null(found):
        return True
    if types.is_list(wanted):
        is_list = types.is_list(found) or types.is_large_list(found)
        return is_list and can_store(wanted.value_type, found.value_type)
    if types.is_string(wanted):
        return types.is_string(found) or types.is_large_string(found)
    if types.is_floating(wanted):
        return types.is_floating(found) or types.is_integer(found)
    return types.is_boolean(found)


def require_columns(names: Any) -> None:
    """Raise ValueError if a log lacks a column."""
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ValueError(
            f"the log has no column {missing[0]!r}: {ACCEPTED[missing[0]]}. Its columns are "
            f"{brief(list(names))}"
        )


def row_of_log(start: int, row: int) -> str:
    """Describe the position of a row in a frame or in parquet files."""
    return f"row {start + row} of the log (0 = first)"


def line_of_file(path: Path, start: int, row: int) -> str:
    """Describe the position of a row in a file of JSON."""
    return f"line {start + row + 1} of {path.name} (1 = first)"


def parse_line(line: str, row: int, locate: Locate) -> dict[str, Any]:
    """Return the object in a line of JSON, or raise a ValueError with the position of the line."""
    try:
        values = json.loads(line, parse_constant=CONSTANTS.get)
    except ValueError as error:
        raise ValueError(f"{locate(row)} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{locate(row)} must be an object of JSON, not {brief(values)}")
    return values


def convert_rows(rows: list[dict[str, Any]], locate: Locate) -> pa.Table:
    """Return rows as a table, or raise a ValueError about the first value of another type."""
    for number, row in enumerate(rows):
        for name in LISTS_OF_TEXT:
            if isinstance(row.get(name), str):  # pyarrow reads a text as a list of characters
                raise ValueError(describe_value(name, row[name], locate(number)))
        for name in OF_NUMBERS:
            if has_boolean(row.get(name)):  # pyarrow reads true as 1
                raise ValueError(describe_value(name, row[name], locate(number)))
    try:
        return pa.Table.from_pylist(rows, READ_AS)
    except (pa.ArrowException, OverflowError):
        for number, row in enumerate(rows):
            for name, type in zip(READ_AS.names, READ_AS.types):
                if not is_of_type(row.get(name), type):
                    place = locate(number)
                    raise ValueError(describe_value(name, row[name], place)) from None
        raise


def has_boolean(value: Any) -> bool:
    """Return whether a value is a boolean, or has one among its items."""
    items = value if isinstance(value, list | tuple | Array) else [value]
    return any(isinstance(item, bool | np.bool_) for item in items)


def is_of_type(value: Any, type: pa.DataType) -> bool:
    """Return whether a value can be stored as a type."""
    try:
        pa.array([value], type)
    except (pa.ArrowException, OverflowError):
        return False
    return True


def describe_value(name: str, value: Any, place: str, accepted: str | None = None) -> str:
    """Describe a bad value of a column, where it is, and the accepted values."""
    found = "missing" if value is None else brief(value)
    return f"{place}: {name} is {found}. Accepted: {accepted or ACCEPTED[name]}"
