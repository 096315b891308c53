"""check_table names the faults of dirty exports, and the command that certifies their cascades."""

import re
import shlex

import numpy as np
import pandas as pd
import pytest
from messy_tables import K, csv_of, planted

import cascadelib as cl
from cascadelib.__main__ import main

ROWS = list(planted(np.random.default_rng(0)).rows())
NOTE = 'a line,\nthen "another"'


def changed(change):
    """Rows after a change of some: a function of a row and its number, which returns changes."""
    return [row | (change(row, number) or {}) for number, row in enumerate(ROWS)]


def renamed(**names):
    return [{names.get(name, name): cell for name, cell in row.items()} for row in ROWS]


def without(*names):
    return [{key: value for key, value in row.items() if key not in names} for row in ROWS]


def shifted_correctness():
    """Correctness of the large model is that of the next sample."""
    correct = [str(row["prediction"] == row["label"]) for row in ROWS]
    correct[K:] = correct[K + 1 :] + correct[K : K + 1]
    rows = without("prediction", "label")
    return [row | {"correct": cell} for row, cell in zip(rows, correct, strict=True)]


READABLE = {
    "empty lines": csv_of(ROWS).replace(b"\n", b"\n\n"),
    "line breaks in cells": csv_of(changed(lambda row, n: {"note": NOTE}), end="\r\n"),
    "names in capitals": csv_of(ROWS, names={name: name.upper() for name in ROWS[0]}),
    "a last model without confidences": csv_of(
        changed(lambda row, n: {"confidence": ""} if row["model"] == "large" else None)
    ),
    "empty confidences": csv_of(
        changed(lambda row, n: {"confidence": "n/a"} if n % 90 == 5 else None)
    ),
}


@pytest.mark.parametrize("name", READABLE)
def test_two_commands_lead_to_a_certificate(name, tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_bytes(READABLE[name])
    assert main(["check", str(path)]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert command.startswith("cascadelib certify ") and main(shlex.split(command)[1:]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("summary: small at ") and "loses at most 1 point of" in printed


FAULTS = {
    "labels in two cases": (
        changed(lambda row, n: {"label": row["label"].title()} if n % K < 300 else None),
        r"(?s)'small' that are unreadable \(.*one spelling per label, or answer='exact'",
    ),
    "no prices": (without("cost"), "price, usd.*: 0. Name them with --cost.* small=1,large=10"),
    "no labels": (without("label"), "gold.*prediction.*correct.*: 0. Name them with --label and"),
    "no models": (
        without("model"),
        "llm.*: 0. Name them with --model, .*column, --prediction '{}_ans",
    ),
    "names in other words": (
        renamed(sample="Nummer", model="Anbieter"),
        r"(?s)sampleid.*--sample.*llm.*not used: 2, read as no part .* \('Nummer'; 'Anbieter'\)",
    ),
    "confidences of two names": (
        changed(lambda row, n: {"certainty": "87%", "note": "x", "flag": n % 2}),
        r"not used: 3, read as .* \('certainty'; 'note'; 'flag'\). 'certainty' may be confid",
    ),
    "repeated rows": (
        [*ROWS, *ROWS[5:7], ROWS[8] | {"confidence": "0.5"}, ROWS[9] | {"label": ""}],
        r"(?s)other numbers: 1 \(.*another answer: 1 \(.*all cells: 2, read once \(sample 'q0005'",
    ),
    "empty confidences": (
        changed(lambda row, n: {"confidence": ""} if n == 5 else None),
        "empty confidences: 1, read as too low for .* next model decides, --missing 'abstain'",
    ),
    "repeated headers": (
        [*ROWS[:9], dict(zip(ROWS[0], ROWS[0])), *ROWS[9:]],
        "rows that repeat the header: 1, read as no rows",
    ),
    "ids of two forms": (
        changed(lambda row, n: {"sample": f"{n}.0"} if n >= K else None),
        "none has a complete row of each of the 2 models. --models",
    ),
    "rows out of step": (shifted_correctness(), "models whose rows are not aligned with others: 1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_and_remarks_are_named_with_their_lines(name, tmp_path, capsys):
    rows, message = FAULTS[name]
    path = tmp_path / "t.csv"
    path.write_bytes(csv_of(rows))
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out
    assert re.search(message.replace("answer=", "--answer "), said)
    for sample, line in re.findall(r"sample '([^']*)', model '[^']*', line (\d+)", said):
        assert sample in path.read_text().splitlines()[int(line) - 1]


def test_the_report_of_a_frame_has_the_call_that_reads_it():
    rows = changed(lambda row, n: {"prediction": row["prediction"].upper()} if n % 3 == 0 else None)
    frame = pd.DataFrame(rows).rename(columns={"sample": "id"})
    report = cl.check_table(frame)
    assert report.columns["sample"] == "id" and report.faults["count"].sum() == 1067
    table = eval(report.command, {"ScoreTable": cl.ScoreTable, "frame": frame})
    np.testing.assert_array_equal(table.correct, report.table.correct)
    assert re.search(r"Read by steps:\n.*Unicode forms: .*'NO' is 'no' \d+ times", str(report))
    rows[501] = rows[501] | {"confidence": "93 %"}
    report = cl.check_table(pd.DataFrame(rows))
    blocking = str(report).split("Read by steps:")[0]
    assert "Faults that must be corrected:" in blocking and "'93 %'" in blocking
    assert report.faults["read"].tolist().count("") == 1 and report.table is None
    assert str(cl.check_table(pd.DataFrame(ROWS))).splitlines()[1] == "no faults"


def test_only_roles_without_a_column_are_asked_for():
    report = cl.check_table(pd.DataFrame({"label": ["a", "b"], "prediction": ["a", "a"]}))
    asked = re.findall("Name them with (--[a-z]+)", str(report))
    assert asked == ["--sample", "--model", "--cost"]


def test_missing_rows_are_kept_and_samples_without_labels_dropped():
    frame = pd.DataFrame(ROWS).drop(index=[3, 5])
    report = cl.check_table(frame)
    assert "answers of model 'small': 0.12% missing" in str(report) and report.table.dropped == 0
    assert "read as missing answers" in str(report) and "missing='abstain'" in report.command
    report = cl.check_table(frame.assign(label=frame["label"].where(frame["sample"] != "q0009")))
    assert report.table.dropped == 3 and "missing='drop'" in report.command


def test_a_table_without_confidences_states_it_if_a_column_may_have_them(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_bytes(csv_of(renamed(confidence="self_conf")))
    with pytest.raises(ValueError, match="t.csv: columns .*'self_conf' may be confidences"):
        cl.ScoreTable.from_frame(path, label="label", prediction="prediction")
    assert main(["check", str(path), "--confidence", "none"]) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert main(shlex.split(command)[1:]) == 1
    assert "nothing cheaper is certified" in capsys.readouterr().out


def test_named_columns_are_not_guessed():
    frame = pd.DataFrame(ROWS).rename(columns={"label": "x", "cost": "price"})
    prices = {"small": 1, "large": 10}
    report = cl.check_table(
        frame, label="x", cost=prices, missing="abstain", models=["small", "large"]
    )
    assert report.columns["label"] == "x" and "cost={'small': 1" in report.command
    assert report.table.cost.tolist() == [1, 10]
    with pytest.raises(TypeError):
        cl.check_table(7)
