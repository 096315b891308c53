"""Files of each kind are read alike, and a value of another type is refused by its position."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from cascadelib.monitoring import SCHEMA, monitor
from cascadelib.monitoring.log import load_log
from cascadelib.monitoring.schema import ACCEPTED
from cascadelib.policy import FAILURES
from tests.monitoring.logs import PAIR, POLICY, frame, random_rows, row, write_jsonl


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr("cascadelib.monitoring.schema.ROWS", 64)


def same_log(first, second):
    for one, other in zip(first.inputs, second.inputs):
        np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(first.audits, second.audits)
    return True


def test_all_kinds_of_files_are_read_alike(tmp_path):
    rows = random_rows(300, 0)
    expected = load_log(frame(rows), POLICY)
    assert len(expected.inputs.rows) == 300 and len(expected.audits) > 50
    for folder in ("parquet", "jsonl"):
        (tmp_path / folder).mkdir()
    for name, part in (("a", rows[:100]), ("b", rows[100:])):
        frame(part).to_parquet(tmp_path / "parquet" / f"{name}.parquet")
        write_jsonl(tmp_path / "jsonl" / f"{name}.jsonl", part)
    frame(rows).to_parquet(tmp_path / "all.parquet")
    write_jsonl(tmp_path / "all.jsonl", rows, '{"id": "is being wri')
    for path in ("parquet", "jsonl", "all.parquet", "all.jsonl"):
        assert same_log(load_log(tmp_path / path, POLICY), expected)


def test_columns_of_narrower_types_and_further_columns_are_read(tmp_path):
    rows = frame([row(number, costs=[1]) for number in range(9)])
    expected = load_log(rows, PAIR)
    rows = rows.astype({"time": "int32", "stage": "uint8", "policy": "category"})
    rows.assign(seconds=0.1).to_parquet(tmp_path / "log.parquet")
    assert same_log(load_log(tmp_path / "log.parquet", PAIR), expected)
    rows.drop(columns="reference").to_parquet(tmp_path / "log.parquet")
    assert same_log(load_log(tmp_path / "log.parquet", PAIR), expected)


WRONG_TYPES = {
    "id": [7],
    "time": ["noon", False],
    "policy": [7],
    "stage": ["first", True],
    "models": ["s"],
    "predictions": [[1]],
    "confidences": [["high"], [True]],
    "failures": [[None, 1]],
    "costs": [[{}], [False]],
    "audited": ["yes"],
    "reference": [["yes"]],
}
CASES = [(name, value) for name in SCHEMA.names for value in WRONG_TYPES[name]]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_value_of_another_type_is_refused_by_position_and_field(name, value, tmp_path):
    rows = [row(number) for number in range(99)]
    rows[70][name] = value
    with pytest.raises(ValueError) as refused:
        monitor(frame(rows).astype(object), PAIR)
    expected = f"{name} is {value!r}. Accepted: {ACCEPTED[name]}"
    assert str(refused.value) == f"row 70 of the log (0 = first): {expected}"
    with pytest.raises(ValueError) as refused:
        monitor(write_jsonl(tmp_path / "log.jsonl", rows), PAIR)
    assert str(refused.value) == f"line 71 of log.jsonl (1 = first): {expected}"


def test_a_parquet_column_of_another_type_is_refused(tmp_path):
    rows = frame([row(number) for number in range(9)])
    path = tmp_path / "log.parquet"
    for name, values in (("time", pd.to_datetime(rows["time"])), ("predictions", [[1]] * 9)):
        rows.assign(**{name: values}).to_parquet(path)
        with pytest.raises(ValueError, match=f"column '{name}' of the log has type .*Accepted"):
            monitor(path, PAIR)


@pytest.mark.parametrize(
    "line, fault", [("{", "is not JSON"), ("[1]", "must be an object of JSON")]
)
def test_a_line_that_is_not_an_object_is_refused_by_its_number(line, fault, tmp_path):
    lines = [json.dumps(row(number)) for number in range(99)]
    lines[70] = line
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=f"line 71 of log.jsonl .*{fault}"):
        monitor(tmp_path / "log.jsonl", PAIR)


def test_a_log_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"log must be .* not a list.*pd.DataFrame\(rows\)"):
        monitor([row(0)], PAIR)
    path = write_jsonl(tmp_path / "log.json", [row(0)])
    with pytest.raises(ValueError, match=r"log.json is not parquet.*must end in .jsonl"):
        monitor(path, PAIR)


@pytest.mark.parametrize("column", ["costs", "audited"])
def test_a_log_without_a_column_is_refused(tmp_path, column):
    rows = frame([row(0)]).drop(columns=column)
    rows.to_parquet(tmp_path / "log.parquet")
    for log in (rows, tmp_path / "log.parquet"):
        words = re.escape(f"the log has no column {column!r}: {ACCEPTED[column]}")
        with pytest.raises(ValueError, match=words):
            monitor(log, PAIR)


def test_the_accepted_failures_are_listed_once():
    assert ACCEPTED["failures"].replace(" or ", ", ").endswith(f": {', '.join(FAILURES)}")
