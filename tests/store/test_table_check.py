"""check_table names the faults of dirty exports, and the command that certifies their cascades."""

import csv
import gzip
import io
import re
import shlex
from functools import cache

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.__main__ import main

K = 500
PRICES = {"small": "1", "medium": "3", "large": "20"}
HEADER = ("sample", "model", "prediction", "confidence", "cost", "label")
CERTIFICATE = ""


@cache
def clean(models=("small", "large"), k=K):
    """Rows of a sound table: difficult samples are difficult for all models.

    All callers share them, so that none may change them.
    """
    rng = np.random.default_rng(0)
    label = rng.choice(["yes", "no"], k)
    difficulty = rng.random(k)
    rows = []
    for model in models:
        correct = difficulty < {"small": 0.75, "medium": 0.85, "large": 0.95}[model]
        said = np.where(correct, label, np.where(label == "yes", "no", "yes"))
        confidences = np.round(1 - 0.5 * difficulty - 0.1 * rng.random(k), 4)
        for sample in range(k):
            values = (f"q{sample:03}", model, said[sample], confidences[sample], PRICES[model])
            rows.append(dict(zip(HEADER, (*map(str, values), label[sample]))))
    return rows


def text_of(rows, separator=",", end="\n"):
    """Rows as a CSV text."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=separator, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def changed(change, rows=None):
    """Rows after a change of some: a function of a row and its number, which returns changes."""
    rows = clean() if rows is None else rows
    return [row | (change(row, number) or {}) for number, row in enumerate(rows)]


def renamed(rows, **names):
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


def wide(template, rows=None, keep=("sample", "label")):
    """A row per sample, with columns of a model named by a template of model and role."""
    samples = {}
    for row in rows or clean():
        at = samples.setdefault(row["sample"], {key: row[key] for key in keep})
        for key in ("prediction", "confidence", "cost"):
            at[template.format(model=row["model"], role=key)] = row[key]
    return list(samples.values())


def mixed_case(row, number):
    if number % 3 == 0:
        return {"prediction": row["prediction"].upper()}


def no_break_spaces(row, number):
    if number % 7 == 0:
        return {"prediction": f"{row['prediction']}\u00a0"}


def mixed_labels(row, number):
    if row["sample"].endswith("7"):
        return {"label": row["label"].capitalize()}


def not_available(row, number):
    if number % 50 == 3:
        return {"confidence": "n/a"}


def notes(row, number):
    return {"note": 'a line,\nthen "another"' if number % 5 == 0 else "-"}


def numbers(row, number):
    said = {"yes": "1.0", "no": "0.0"}[row["prediction"]]
    return {"prediction": said, "label": {"yes": "1", "no": "0"}[row["label"]]}


def out_of_step():
    """Correctness of the large model is that of the next sample."""
    rows = changed(judged, clean(k=5000))
    for row, following in zip(rows[5000:], [*rows[5001:], rows[5000]], strict=True):
        row["following"] = following["correct"]
    rows = [row | {"correct": row.get("following", row["correct"])} for row in rows]
    return without(rows, "prediction", "label", "following")


def coverage():
    rows = clean(("small", "medium", "large"))
    return [
        row
        for number, row in enumerate(rows)
        if row["model"] == "large" or number % {"small": 9, "medium": 25}[row["model"]]
    ]


def judged(row, number):
    return {"correct": str(row["prediction"] == row["label"]).upper()}


def without(rows, *names):
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


def conflicting(row, number):
    if number == 40:
        return {"label": {"yes": "no", "no": "yes"}[row["label"]]}


# {name: (bytes of the file, its suffix, the fault that is left, or CERTIFICATE)}
EXPORTS = {
    "clean": (text_of(clean()), CERTIFICATE),
    "a byte order mark": (text_of(clean()).encode("utf-8-sig"), CERTIFICATE),
    "utf-16": (text_of(clean()).encode("utf-16"), CERTIFICATE),
    "latin-1": (
        text_of(clean()).replace("yes", "s\u00ed").encode("latin-1"),
        CERTIFICATE,
    ),
    "cp1252": (
        text_of(clean())
        .replace("yes", "\u201cyes\u201d")
        .replace(",q", ",\u20ac")
        .encode("cp1252"),
        CERTIFICATE,
    ),
    "semicolons": (text_of(clean(), ";"), CERTIFICATE),
    "tabs": (text_of(clean(), "\t"), CERTIFICATE),
    "bars": (text_of(clean(), "|"), CERTIFICATE),
    "line breaks in cells": (text_of(changed(notes), end="\r\n"), CERTIFICATE),
    "carriage returns": (text_of(clean(), end="\r"), CERTIFICATE),
    "empty lines": (text_of(clean()).replace("\n", "\n\n"), CERTIFICATE),
    "other names": (
        text_of(
            renamed(
                clean(),
                sample="Query ID",
                model="LLM",
                prediction="answer",
                confidence="score",
                cost="USD",
                label="gold",
            )
        ),
        CERTIFICATE,
    ),
    "names in capitals": (
        text_of([{k.upper(): v for k, v in row.items()} for row in clean()]),
        CERTIFICATE,
    ),
    "predictions in mixed case": (text_of(changed(mixed_case)), CERTIFICATE),
    "no-break spaces": (text_of(changed(no_break_spaces)), CERTIFICATE),
    "1.0 for 1": (text_of(changed(numbers)), CERTIFICATE),
    "n/a": (text_of(changed(not_available)), CERTIFICATE),
    "empty confidences": (
        text_of(changed(lambda row, n: {"confidence": ""} if n % 90 == 5 else None)),
        CERTIFICATE,
    ),
    "prices per query": (
        text_of(changed(lambda row, n: {"cost": f"{float(row['cost']) * (1 + n % 7) / 1e3:g}"})),
        CERTIFICATE,
    ),
    "models of different coverage": (text_of(coverage()), CERTIFICATE),
    "wide, suffixes": (text_of(wide("{model}_{role}")), CERTIFICATE),
    "wide, prefixes": (text_of(wide("{role}.{model}")), CERTIFICATE),
    "correctness alone": (
        text_of(without(changed(judged), "prediction", "label")),
        CERTIFICATE,
    ),
    "a last model without confidences": (
        text_of(changed(lambda row, n: {"confidence": ""} if row["model"] == "large" else None)),
        CERTIFICATE,
    ),
    "constant confidences": (
        text_of(changed(lambda row, n: {"confidence": "1"} if row["model"] == "small" else None)),
        CERTIFICATE,
    ),
    "shuffled": (
        text_of([clean()[row] for row in np.random.default_rng(1).permutation(2 * K)]),
        CERTIFICATE,
    ),
    "labels in mixed case": (
        text_of(changed(mixed_labels)),
        r"'small' that are unreadable \(7.6%\), such as 'no' 20 times(?s:.*)one spelling per label",
    ),
    "decimal commas": (
        text_of(
            changed(lambda row, n: {"confidence": row["confidence"].replace(".", ",")}),
            separator=";",
        ),
        CERTIFICATE,
    ),
    "thousands": (
        text_of(changed(lambda row, n: {"cost": "1,014.45"} if n == 7 else None)),
        CERTIFICATE,
    ),
    "percent": (
        text_of(changed(lambda row, n: {"confidence": "93 %"} if n == 501 else None)),
        r"sign of .* percentage .*: 1 \('93 %' at sample 'q001', model 'large', line 503\)",
    ),
    "rows twice": (text_of(clean() + clean()[:12]), CERTIFICATE),
    "rows twice that differ": (
        text_of(clean() + [row | {"confidence": "0"} for row in clean()[:12]]),
        r"repeat a sample and model: 12 \(sample 'q000', model 'small', line 1002 repeats line 2;",
    ),
    "two labels": (
        text_of(changed(conflicting)),
        r"differ from others of their sample: 1 \(sample 'q040', model '.*', line \d+\)",
    ),
    "rows without a sample": (
        text_of(changed(lambda row, n: {"sample": ""} if n == 3 else None)),
        r"rows without a sample: 1 \(model 'small', line 5\)",
    ),
    "no prices": (text_of(without(clean(), "cost")), "columns of costs .*--cost small=1,large=10"),
    "no answers": (text_of(without(clean(), "label")), "columns of correct answers .*--label"),
    "out of step": (
        text_of(out_of_step()),
        "models whose rows are not aligned with others: 1 .*correl",
    ),
    "ragged rows": (
        text_of(clean()).replace("q010,", "q010,,", 1),
        r"cannot be read: 1 .*line \d+ has 7 cells, and the header 6",
    ),
    "negative prices": (
        text_of(changed(lambda row, n: {"cost": "-1"} if n == 9 else None)),
        r"infinite or negative: 1 \(-1.0 at sample 'q009', model 'small', line 11\)",
    ),
}


PACKED = ("clean", "line breaks in cells", "utf-16", "rows twice")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [(name, ".csv") for name in EXPORTS] + [(name, ".csv.gz") for name in PACKED],
)
def test_two_commands_lead_to_a_certificate_or_to_the_fault(name, suffix, tmp_path, capsys):
    content, fault = EXPORTS[name]
    content = content if isinstance(content, bytes) else content.encode()
    path = tmp_path / f"t{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".csv.gz" else content)
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out
    for sample, line in re.findall(r"sample '([^']*)', model '[^']*', line (\d+)", said):
        assert sample in content.decode("latin-1").splitlines()[int(line) - 1]
    if fault:
        assert re.search(fault, said)
        return
    command = said.splitlines()[-1]
    assert command.startswith("cascadelib certify ")
    # Confidences that are all equal leave no cascade, and the small model alone loses 20%.
    is_certified = name != "constant confidences"
    assert main(shlex.split(command)[1:]) == (0 if is_certified else 1)
    printed = capsys.readouterr().out
    assert printed.startswith("summary: ") and "loses at most 5% of accuracy" in printed
    assert ("nothing cheaper is certified" in printed) is not is_certified


def test_a_dirty_table_has_the_accuracies_of_the_clean_one(tmp_path):
    accuracies = {}
    for name in ("clean", "latin-1", "utf-16", "predictions in mixed case", "wide, prefixes"):
        content = EXPORTS[name][0]
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        accuracies[name] = cl.check_table(path).table.models["top1"].to_dict()
    assert len({tuple(sorted(each.items())) for each in accuracies.values()}) == 1


def test_the_report_of_a_frame_has_the_call_that_reads_it():
    frame = pd.DataFrame(changed(mixed_case)).rename(columns={"sample": "id"})
    report = cl.check_table(frame)
    assert report.columns["sample"] == "id" and report.faults["count"].sum() > 0
    table = eval(report.command, {"ScoreTable": cl.ScoreTable, "frame": frame})
    assert table.correct.all(axis=None) != table.correct.any()
    assert "'YES' is 'yes' 154 times" in str(report) and len(report.table) == K


def test_reversed_confidences_are_remarks():
    rows = changed(lambda row, n: {"confidence": str(1 - float(row["confidence"]))})
    said = str(cl.check_table(pd.DataFrame(rows)))
    assert "'large' that are lower if the answer is correct" in said
    percent = changed(lambda row, n: {"confidence": "93"} if row["model"] == "small" else None)
    assert "confidences above 1, unlike others: 1 (small)" in str(
        cl.check_table(pd.DataFrame(percent))
    )


def test_faults_that_must_be_corrected_come_before_remarks():
    rows = changed(lambda row, n: {"confidence": "93 %"} if n == 501 else mixed_case(row, n))
    report = cl.check_table(pd.DataFrame(rows))
    blocking, steps = str(report).split("Read by steps:")
    assert "Faults that must be corrected:" in blocking and "'93 %'" in blocking
    assert "without case and Unicode forms: 'NO' is 'no'" in steps and report.table is None
    blocks = report.faults.set_index("fault")["blocks"]
    assert [name for name in blocks.index[blocks] if "percentage" not in name] == []
    assert str(cl.check_table(pd.DataFrame(clean()))).splitlines()[1] == "no faults"


def test_coverage_and_dropped_samples_are_reported():
    report = cl.check_table(pd.DataFrame(coverage()))
    assert "'small' 444 of 500; 'medium' 480 of 500; 'large' 500 of 500" in str(report)
    assert f"samples, {report.table.dropped} dropped" in str(report) and report.table.dropped > 20
    assert "missing='drop'" in report.command


def test_named_columns_are_not_guessed():
    frame = pd.DataFrame(clean()).rename(columns={"label": "x", "cost": "price"})
    report = cl.check_table(frame, label="x", cost={"small": 1, "large": 10}, missing="abstain")
    assert report.columns["label"] == "x" and "cost={'small': 1" in report.command
    assert report.table.cost.tolist() == [1, 10]
    with pytest.raises(TypeError):
        cl.check_table(7)


def test_a_table_without_a_known_column_of_models_is_reported(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("id,who is it,answer,conf,usd,gold\n1,a,x,.5,1,x\n1,b,x,.5,1,x\n")
    report = str(cl.check_table(path))
    assert "columns of models that were recognized: 0. Name it with --model" in report
