"""Untrusted files of tables are read within bounds, or refused by name."""

import gzip

import fuzz
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from cascadelib import ScoreTable
from cascadelib.store.tables import table_files
from cascadelib.store.tables.table_files import read_table

TEXT = b"sample,model,correct,cost,confidence\n0,a,1,1,1\n1,a,0,1,1\n"


def test_files_above_the_maximum_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "LARGEST_TABLE", 10**6)
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(TEXT + b"0" * 10**7, mtime=0))
    assert bomb.stat().st_size < 2 * 10**4
    with pytest.raises(ValueError, match="bomb.csv.gz.*unpacks to more than 1000000 bytes"):
        read_table(bomb)
    path = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table({"a": np.zeros(10**6, np.int8)}), path)
    assert path.stat().st_size < 10**5
    with pytest.raises(ValueError, match="it has 1000000 cells, and at most 250000 are read"):
        read_table(path)
    monkeypatch.setattr(table_files, "LARGEST_TABLE", len(TEXT))
    (tmp_path / "t.csv").write_bytes(TEXT)
    assert len(ScoreTable.from_frame(tmp_path / "t.csv", correct="correct")) == 2
    (tmp_path / "t.csv").write_bytes(TEXT + b" ")
    with pytest.raises(ValueError, match=f"t.csv: more than {len(TEXT)} bytes"):
        read_table(tmp_path / "t.csv")


def test_one_long_text_in_every_row_is_refused(tmp_path):
    columns = {
        "sample": range(3000),
        "model": ["a"] * 3000,
        "correct": [1] * 3000,
        "confidence": [1] * 3000,
    }
    text = pa.DictionaryArray.from_arrays(np.zeros(3000, np.int32), ["x" * 10**6])
    table = pa.table(columns | {"cost": [1] * 3000, "prediction": text})
    pa.parquet.write_table(table, tmp_path / "t.parquet", store_schema=False)  # as plain text
    assert (tmp_path / "t.parquet").stat().st_size < 10**6
    with pytest.raises(ValueError, match="column 'prediction': 3,000 .texts are too long"):
        ScoreTable.from_frame(tmp_path / "t.parquet", correct="correct", prediction="prediction")


def test_integers_of_parquet_stay_integers_if_one_is_missing(tmp_path):
    large = 2**53 + 1
    pa.parquet.write_table(pa.table({"a": [large, None]}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["a"].tolist() == [large, pd.NA]


@pytest.mark.parametrize(
    "address",
    ["s3://a/t.parquet", "file:///etc/hostname"],
)
def test_addresses_are_refused(address):
    with pytest.raises(ValueError, match="is an address. Only files on this machine"):
        ScoreTable.from_frame(address, correct="correct")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_devices_are_refused(tmp_path, suffix):
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=f"zero{suffix}: not a regular file"):
        ScoreTable.from_frame(tmp_path / f"zero{suffix}", correct="correct")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"a,b\n1,2,3\n", "cannot be read .*Expected 2 columns, got 3.*pd.read_csv"),
        ("t.csv", b"a,b\n\xff,1\n", "cannot be read .*invalid UTF8.*encoding="),
        ("t.csv", TEXT.decode().encode("utf-16")[:-1], "cannot be read"),
        ("t.csv", b"a,b\n", "a table without rows"),
        ("t.csv.gz", TEXT, "cannot be read .*gzip"),
        ("t.csv.gz", gzip.compress(TEXT, mtime=0)[:-9], "cannot be read"),
        ("t.parquet", TEXT, "cannot be read"),
        ("t.xlsx", b"PK", "neither .csv, .csv.gz nor .parquet: pandas reads other forms"),
        ("t.jsonl", b"{}", "neither .csv, .csv.gz nor .parquet: .*pd.read_json"),
    ],
)
def test_damaged_and_foreign_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("seed", range(2))
def test_damage_is_a_named_error_or_gives_all_rows(seed):
    assert fuzz.fuzz_tables(seed, cases=60) == 60
