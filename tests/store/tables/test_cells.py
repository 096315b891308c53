"""Missing and wrong cells are dropped, kept or named with their lines."""

import csv
import gzip
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import ScoreTable, check_table
from cascadelib.store.tables.table_files import line_numbers, read_table

NAMED = {"label": "label", "prediction": "prediction"}
HEADER = ["sample", "model", "prediction", "confidence", "cost", "label"]


def rows(k=4):
    """Rows of two models on k samples, both correct."""
    return [
        [f"q{row}", name, "yes", "0.5", "1", "yes"]
        for row in range(k)
        for name in ("small", "large")
    ]


def frame(changes):
    """The rows as a frame of text with some cells changed."""
    table = pd.DataFrame(rows(), columns=HEADER, dtype=object)
    for (row, column), cell in changes.items():
        table.loc[row, column] = cell
    return table


def read(source, **options):
    return ScoreTable.from_frame(source, **NAMED, **options)


def written(path, cells):
    """A CSV file of a header and rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *cells])
    return path


EMPTY = {(1, "confidence"): "", (4, "confidence"): ""}


def test_empty_confidences_are_named_dropped_or_kept_as_answers():
    table = frame(EMPTY)
    with pytest.raises(ValueError, match="empty confidences: 2 .sample 'q0', model 'large', row 1"):
        read(table)
    dropped = read(table, missing="drop")
    assert dropped.sample_ids.tolist() == ["q1", "q3"]
    assert dropped.dropped == dropped.take([0]).dropped == dropped.select("small").dropped == 2
    kept = read(table, missing="abstain")
    assert kept.dropped == 0 and kept.answered.all() and kept.correct.all()
    assert kept.confidence.tolist() == [[0.5, 0.5, -np.inf, 0.5], [-np.inf, 0.5, 0.5, 0.5]]


def test_empty_confidences_of_tables_without_answers():
    table = frame(EMPTY).assign(correct="1")[["sample", "model", "confidence", "cost", "correct"]]
    for missing, samples in (("drop", 2), ("abstain", 4)):
        assert len(ScoreTable.from_frame(table, correct="correct", missing=missing)) == samples
    with pytest.raises(ValueError, match="empty confidences: 2"):
        ScoreTable.from_frame(table, correct="correct")


def test_a_missing_row_is_not_answered():
    table = frame({(3, "prediction"): ""}).drop(index=0)
    found = read(table, missing="abstain")
    small, large = (found.answered[found.row(name)] for name in ("small", "large"))
    ids = found.sample_ids.tolist()
    assert [ids[row] for row in np.flatnonzero(~small)] == ["q0"]
    assert [ids[row] for row in np.flatnonzero(~large)] == ["q1"]
    assert not found.correct[~found.answered].any() and not found.answered.flags.writeable
    part = found.take(~small).select("small")
    assert part.answered.tolist() == [[False]]
    graded = table.assign(correct=1.0).drop(columns=["prediction", "label"])
    judged = ScoreTable.from_frame(graded, correct="correct", missing="abstain")
    assert np.isneginf(judged.confidence[~judged.answered]).tolist() == [True]


def test_samples_without_a_label_are_dropped_or_named():
    table = frame({(2, "label"): "", (3, "label"): "", (5, "confidence"): " n/a "})
    assert read(table, missing="drop").dropped == 2
    with pytest.raises(ValueError, match="samples without a label: 1 .sample 'q1'.*missing='drop'"):
        read(table, missing="abstain")


def test_rows_without_a_value_are_skipped():
    empty = pd.DataFrame(index=range(2), columns=HEADER).assign(model=["small", ""], label="")
    table = pd.concat([empty, frame({}), empty])
    found = read(table.fillna(""))
    assert len(found) == 4 and found.names == ("small", "large")
    assert [rule.count for rule in check_table(table.fillna("")).rules] == [4]
    with pytest.raises(ValueError, match="rows without a sample: 1 .model 'large', row 3"):
        read(pd.concat([empty, frame({(1, "sample"): ""})]))


def test_all_faults_of_a_file_are_listed_with_their_lines(tmp_path):
    cells = rows(30)
    cells[0][2] = "yes\nno"  # a quoted line break: the next row is on line 4
    cells[1][3] = "high"
    cells[20][3] = ""
    cells[22][0] = ""
    cells[24][4] = "-1"
    cells[26][5] = "no"
    cells.append(cells[40][:3] + ["0.4"] + cells[40][4:])
    path = written(tmp_path / "t.csv", cells)
    with pytest.raises(ValueError) as error:
        read(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    for part in (
        "'confidence' that are not numbers: 1 ('high' at sample 'q0', model 'large', line 4)",
        "empty confidences: 1 (sample 'q10', model 'small', line 23)",
        "rows without a sample: 1 (model 'small', line 25)",
        "infinite or negative: 1 (-1.0 at sample 'q12', model 'small', line 27)",
        "labels that differ from others of their sample: 1 (sample 'q13', model 'large', line 30)",
        "same answer and other numbers: 1 (sample 'q20', model 'small', line 63 repeats line 43)",
    ):
        assert part in said
    with path.open("rb") as plain, gzip.open(tmp_path / "t.csv.gz", "wb") as packed:
        packed.write(plain.read())
    with pytest.raises(ValueError, match="sample 'q10', model 'small', line 23"):
        read(tmp_path / "t.csv.gz")


def test_ten_faults_of_a_kind_are_shown_and_all_counted():
    table = pd.DataFrame(rows(6), columns=HEADER, dtype=object).assign(confidence="high")
    with pytest.raises(ValueError, match=r"not numbers: 12 \(('high' at [^;]*; ){10}and 2 more"):
        read(table)


TEXT = st.text("ab\n\r\",; 'é", max_size=6)


@settings(max_examples=60)
@given(
    st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.sampled_from([".csv", ".csv.gz"]),
)
def test_line_numbers_match_an_editor(tmp_path_factory, cells, end, separator, encoding, suffix):
    """Each row is written separately, and the lines of the previous rows are counted."""
    parts = []
    for row in [["first", "second", "third"], *cells]:
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL).writerow(
            row
        )
        parts.append(file.getvalue())
    path = tmp_path_factory.mktemp("lines") / f"t{suffix}"
    content = (end + "".join(parts)).encode(encoding)  # an empty line first
    path.write_bytes(gzip.compress(content) if suffix == ".csv.gz" else content)
    named = "cp1252" if encoding == "cp1252" else None
    assert read_table(path, encoding=named).to_numpy().tolist() == cells
    before = [len((end + "".join(parts[:row])).splitlines()) for row in range(1, len(parts))]
    assert line_numbers(path, encoding=named) == [lines + 1 for lines in before]
