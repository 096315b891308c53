"""Read tables from untrusted files of bounded size: CSV (plain or gzipped) and parquet."""

import gzip
import os
from io import BufferedReader
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ...files import open_regular_file

LARGEST_TABLE = 2**30  # bytes, before and after decompression
BYTES_PER_CELL = 4  # bytes that a cell of a parquet file counts toward the largest size
OTHER_FORMS = (
    "pandas reads other forms, such as pd.read_csv(path, dtype=str, sep=…, encoding=…) or "
    "pd.read_json(path, lines=True, dtype=False), and from_frame takes the frame"
)
BLOCK = 2**24  # bytes; no row of a CSV file may be longer
PARQUET = (".parquet", ".pq")
CSV = (".csv", ".gz")


def read_table(path: str | os.PathLike) -> pd.DataFrame:
    """Read a table from a local file of at most 1 GiB. Each cell of a CSV file is text.

    The file is parquet, or CSV in UTF-8 with a header and commas (also ``.csv.gz``). Other files
    are read with pandas, which has options for them.

    Raises
    ------
    ValueError
        If the file is a URL, a pipe, a device, too large, damaged, of another form, or has no rows.
        The message names the file.
    OSError
        If the file does not exist or cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    with open_regular_file(path, LARGEST_TABLE) as file:
        if suffix not in PARQUET + CSV:
            raise ValueError(f"{path}: neither .csv, .csv.gz nor .parquet: {OTHER_FORMS}")
        try:
            table = _read_parquet(file) if suffix in PARQUET else _read_csv(file, suffix)
        except Exception as error:  # the readers raise many kinds for other files
            remedy = f". {OTHER_FORMS}" if suffix in CSV else ""
            raise ValueError(f"{path}: cannot be read ({str(error)[:200]}){remedy}") from None
    if not len(table):
        raise ValueError(f"{path}: a table without rows: one row per sample and model is needed")
    # Drop the metadata of pandas. Arrow's types keep integers if one is missing.
    return table.replace_schema_metadata().to_pandas(types_mapper=pd.ArrowDtype)


def describe_frame(source: Any) -> str:
    """Return how pandas reads a file as the frame of a repair, "" for a frame."""
    if not isinstance(source, str | os.PathLike):
        return ""
    is_parquet = Path(source).suffix.lower() in PARQUET
    options = "parquet(path)" if is_parquet else "csv(path, dtype=str, keep_default_na=False)"
    return (
        f"Here frame is pd.read_{options}. from_frame takes the repaired frame, and "
        "frame.to_csv('repaired.csv', index=False) writes it"
    )


def _read_csv(file: BufferedReader, suffix: str) -> pa.Table:
    """Read all cells of a CSV file as text. All rows need the header's number of cells."""
    content = (gzip.GzipFile(fileobj=file) if suffix == ".gz" else file).read(LARGEST_TABLE + 1)
    if len(content) > LARGEST_TABLE:
        raise ValueError(f"it unpacks to more than {LARGEST_TABLE} bytes")
    read = pa.csv.ReadOptions(block_size=BLOCK)
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    names = pa.csv.open_csv(pa.BufferReader(content), read, parse).schema.names
    as_written = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    return pa.csv.read_csv(pa.BufferReader(content), read, parse, as_written)


def _read_parquet(file: BufferedReader) -> pa.Table:
    """Read the columns of a parquet file that are not nested."""
    whole = pa.parquet.ParquetFile(file)
    cells = whole.metadata.num_rows * whole.metadata.num_columns
    if cells * BYTES_PER_CELL > LARGEST_TABLE:
        raise ValueError(
            f"it has {cells} cells, and at most {LARGEST_TABLE // BYTES_PER_CELL} are read"
        )
    schema = whole.schema_arrow
    flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
    table = whole.read(flat)
    table.validate(full=True)
    return table
