"""Tables in files that nobody has checked: CSV, plain or gzipped, and parquet, within a bound of
bytes."""

import codecs
import contextlib
import csv
import gzip
import io
import os
from io import BufferedReader
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ...checks import check_count
from ...files import opened

LARGEST_TABLE = 2**30  # bytes: of the file, and of what a gzipped one unpacks to
BYTES_PER_CELL = 4  # a parquet file may state one cell for so many bytes of the bound
BLOCK = 2**24  # bytes; no row of a CSV file may be longer
SEPARATORS = ",;\t|"
PARQUET = (".parquet", ".pq")
PACKED = tuple(".zip .bz2 .xz .zst .7z .tar .tgz .lz4 .br".split())
# Arrow computes little on views.
PLAIN = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def read_table(
    path: str | os.PathLike, largest: int = LARGEST_TABLE, encoding: str | None = None
) -> pd.DataFrame:
    """A table from a file; every cell of a CSV file is text as written, "" where it is empty.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file on this machine: parquet (``.parquet``, ``.pq``), else CSV with a header,
        separated by comma, semicolon, tab or bar, gzipped if the name ends in ``.gz``.
    largest : int
        Bytes that the file, and what it unpacks to, may have; a parquet file may state a cell for 4
        of these bytes.
    encoding : str, optional
        Of a CSV file; default: UTF-8, or UTF-16 if the file starts with its mark.

    Returns
    -------
    pandas.DataFrame
        Columns are Arrow's own; nested ones of a parquet file (lists, structs) are left out.

    Raises
    ------
    ValueError
        Naming the file: an address, a pipe or device, another kind of archive, too large, damaged,
        or without rows.
    OSError
        Naming the file: it is not there, or can't be read.
    """
    path = Path(path)
    largest = check_count(largest, "largest")
    suffix = path.suffix.lower()
    if suffix in PACKED:
        raise ValueError(f"{path}: of packed tables only .gz is read; unpack it first")
    with opened(path, largest) as file:
        try:
            if suffix in PARQUET:
                table = _parquet(file, largest)
            else:
                content = _unpacked(file, largest) if suffix == ".gz" else file.read(largest)
                table = _csv(content, *_form(content, encoding))
        except Exception as error:  # the readers raise anything for what is not as its name says
            kind = "parquet" if suffix in PARQUET else "CSV"
            raise ValueError(f"{path}: not a table in {kind}: {str(error)[:200]}") from None
    if not len(table):
        raise ValueError(f"{path}: a table without rows: one row per sample and model is needed")
    # Without pandas' own notes in the file; integers beside a missing one stay integers.
    return table.replace_schema_metadata().to_pandas(types_mapper=pd.ArrowDtype)


def _unpacked(file: BufferedReader, largest: int) -> bytes:
    """What a gzipped file holds; ValueError beyond ``largest`` bytes, however small the file is."""
    content = gzip.GzipFile(fileobj=file).read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it unpacks to more than {largest} bytes; largest= allows more")
    return content


def _form(content: bytes, encoding: str | None) -> tuple[str, str]:
    """Return (encoding, separator) of a CSV text: the separator that gives the first rows the most
    columns, a comma if none is better.

    ValueError if the text is not in that encoding.
    """
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = encoding or ("utf-16" if marked else "utf-8")
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"line {line} is not in {encoding} (byte {error.object[error.start]:#x}): name the "
            "encoding=, such as 'cp1252' (Windows) or 'latin-1'"
        ) from None
    except LookupError:
        raise ValueError(f"encoding {encoding!r} is unknown: 'utf-8', 'cp1252' …") from None
    columns = {}
    for separator in SEPARATORS:
        with contextlib.suppress(pa.ArrowException):
            columns[separator] = len(_names(content, encoding, separator))
    most = max(columns.values(), default=1)
    return encoding, next((one for one in columns if columns[one] == most > 1), SEPARATORS[0])


def _names(content: bytes, encoding: str, separator: str) -> list[str]:
    """Return the names of the columns; an ArrowException if first rows have another number of
    cells."""
    read, parse = _options(encoding, separator)
    return pa.csv.open_csv(pa.BufferReader(content), read, parse).schema.names


def _options(encoding: str, separator: str) -> tuple:
    """Return how Arrow reads and parses a CSV text."""
    read = pa.csv.ReadOptions(block_size=BLOCK, encoding=encoding)
    return read, pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True)


def _csv(content: bytes, encoding: str, separator: str) -> pa.Table:
    """All cells of a CSV text as text; a row with other than the header's number of cells is
    refused."""
    names = _names(content, encoding, separator)
    as_written = pa.csv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=False
    )
    options = _options(encoding, separator)
    return pa.csv.read_csv(pa.BufferReader(content), *options, as_written)


def line_numbers(
    path: str | os.PathLike, largest: int = LARGEST_TABLE, encoding: str | None = None
) -> list[int] | None:
    """Return the line on which each row of a CSV file starts, as an editor numbers lines (the
    header is line 1); None of parquet."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        return None
    with opened(path, largest) as file:
        content = _unpacked(file, largest) if suffix == ".gz" else file.read(largest)
    encoding, separator = _form(content, encoding)
    text = content.decode(encoding).removeprefix("\ufeff")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    numbers = []
    start = 1
    for cells in rows:
        if cells:  # Arrow skips empty lines
            numbers.append(start)
        start = rows.line_num + 1
    return numbers[1:]


def _parquet(file: BufferedReader, largest: int) -> pa.Table:
    """The flat columns of a parquet file, as it stores them."""
    whole = pa.parquet.ParquetFile(file)
    cells = whole.metadata.num_rows * whole.metadata.num_columns
    if cells * BYTES_PER_CELL > largest:
        raise ValueError(f"it states {cells} cells; {largest // BYTES_PER_CELL} at most")
    schema = whole.schema_arrow
    flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
    # One long text in every row costs a few bytes in the file: as a dictionary it costs no more in
    # memory.
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    file.seek(0)
    table = pa.parquet.ParquetFile(file, read_dictionary=texts).read(flat)
    table.validate(full=True)
    plain = [field.with_type(PLAIN.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(plain))
