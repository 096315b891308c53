"""Read tables from untrusted files of bounded size: CSV (plain or gzipped) and parquet."""

import codecs
import csv
import gzip
import io
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ...checks import check_count
from ...files import open_regular_file

MORE = "in Python, ScoreTable.from_frame(path, largest=…) reads more"
LARGEST_TABLE = 2**30  # bytes, before and after decompression
BYTES_PER_CELL = 4  # bytes that a cell of a parquet file counts toward the largest size
BLOCK = 2**24  # bytes; no row of a CSV file may be longer
SEPARATORS = ",;\t|"
PARQUET = (".parquet", ".pq")
JSON_LINES = (".json", ".jsonl", ".ndjson")
# {suffixes of files that are not read: what to do}
REFUSED = {
    tuple(".zip .bz2 .xz .zst .7z .tar .tgz .lz4 .br".split()): "of packed tables only .gz is "
    "read; unpack it first",
    (".xlsx", ".xls", ".ods", ".feather", ".arrow"): "not CSV, parquet or JSON lines. Export the "
    "table as one of them",
    JSON_LINES: "a file of JSON is a log, which cascadelib.datasets.read_log reads",
}
# Arrow has few functions for views.
PLAIN = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def read_table(
    path: str | os.PathLike, largest: int = LARGEST_TABLE, encoding: str | None = None
) -> pd.DataFrame:
    """Read a table. Each cell of a CSV file is text, "" if it is empty.

    Parameters
    ----------
    path : str or os.PathLike
        A regular local file: parquet (``.parquet``, ``.pq``), else CSV with a header, separated by
        comma, semicolon, tab or bar, and gzipped if the name ends in ``.gz``.
    largest : int, default=2**30
        Maximum size in bytes, before and after decompression. A cell of a parquet file counts as 4
        bytes.
    encoding : str, optional
        Encoding of a CSV file. Defaults to UTF-8, or to UTF-16 if the file starts with its mark.

    Returns
    -------
    pandas.DataFrame
        Columns of Arrow's types. Nested columns (lists, structs) of a parquet file are skipped.

    Raises
    ------
    ValueError
        If the file is a URL, a pipe, a device, another kind of archive, too large, damaged, or has
        no rows. The message names the file.
    OSError
        If the file does not exist or cannot be read.
    """
    path = Path(path)
    largest = check_count(largest, "largest")
    suffix = path.suffix.lower()
    for suffixes, fault in REFUSED.items():
        if suffix in suffixes:
            raise ValueError(f"{path}: {fault}")
    with open_regular_file(path, largest) as file:
        try:
            if suffix in PARQUET:
                table = _read_parquet(file, largest)
            else:
                table = _read_csv(*_read_text(file, suffix, largest, encoding))
        except Exception as error:  # the readers raise many kinds for other files
            kind = "parquet" if suffix in PARQUET else "CSV"
            raise ValueError(f"{path}: not a table in {kind}: {str(error)[:200]}") from None
    if not len(table):
        raise ValueError(f"{path}: a table without rows: one row per sample and model is needed")
    # Drop the metadata of pandas. Arrow's types keep integers if one is missing.
    return table.replace_schema_metadata().to_pandas(types_mapper=pd.ArrowDtype)


def _read_text(
    file: BufferedReader, suffix: str, largest: int, encoding: str | None
) -> tuple[bytes, str, str]:
    """Return (content, encoding, separator) of a CSV file.

    The content has up to ``largest`` bytes after decompression. The separator gives the header most
    cells.
    """
    content = (gzip.GzipFile(fileobj=file) if suffix == ".gz" else file).read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it unpacks to more than {largest} bytes; {MORE}")
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = encoding or ("utf-16" if marked else "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"line {line} is not in {encoding} (byte {error.object[error.start]:#x}): name the "
            "encoding=, such as 'cp1252' (Windows) or 'latin-1'"
        ) from None
    except LookupError:
        raise ValueError(f"encoding {encoding!r} is unknown: 'utf-8', 'cp1252' …") from None

    headers = {sign: next(_split_rows(text[:BLOCK], sign), (1, []))[1] for sign in SEPARATORS}
    return content, encoding, max(headers, key=lambda sign: len(headers[sign]))


def _split_rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first line, cells) of each row of a CSV text. Skip empty rows."""
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=separator)
    start = 1
    for cells in rows:
        if cells:
            yield start, cells
        start = rows.line_num + 1


def _read_csv(content: bytes, encoding: str, separator: str) -> pa.Table:
    """Read all cells of a CSV text as text. All rows need the header's number of cells."""
    source = pa.BufferReader(content)
    read = pa.csv.ReadOptions(block_size=BLOCK, encoding=encoding)
    parse = pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    try:
        names = pa.csv.open_csv(source, read, parse).schema.names
        as_written = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        )
        return pa.csv.read_csv(pa.BufferReader(content), read, parse, as_written)
    except pa.ArrowInvalid:
        (_, header), *rows = _split_rows(content.decode(encoding), separator)
        for line, cells in rows:
            if len(cells) != len(header):
                raise ValueError(
                    f"line {line} has {len(cells)} cells, and the header {len(header)}: quote "
                    f"cells that contain {separator!r}, and end no line with it"
                ) from None
        raise


def line_numbers(
    path: str | os.PathLike, largest: int = LARGEST_TABLE, encoding: str | None = None
) -> list[int] | None:
    """Return the first line of each row of a CSV file (the header is line 1), None for parquet."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        return None
    with open_regular_file(path, largest) as file:
        content, encoding, separator = _read_text(file, suffix, largest, encoding)
    return [line for line, _ in _split_rows(content.decode(encoding), separator)][1:]


def _read_parquet(file: BufferedReader, largest: int) -> pa.Table:
    """Read the columns of a parquet file that are not nested."""
    whole = pa.parquet.ParquetFile(file)
    cells = whole.metadata.num_rows * whole.metadata.num_columns
    if cells * BYTES_PER_CELL > largest:
        raise ValueError(
            f"it has {cells} cells, and at most {largest // BYTES_PER_CELL} are read; {MORE}"
        )
    schema = whole.schema_arrow
    flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
    # A long text that repeats takes few bytes of the file. In a dictionary it takes few in memory.
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    file.seek(0)
    table = pa.parquet.ParquetFile(file, read_dictionary=texts).read(flat)
    table.validate(full=True)
    plain = [field.with_type(PLAIN.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(plain))
