"""ScoreTable.from_frame reads long and wide tables alike, and names or drops missing cells."""

import csv

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_store import LONG

from cascadelib import ScoreTable

NAMES = {"sample": "id", "model": "who", "confidence": "sure", "cost": "usd"}
ANSWERS = {"label": "truth", "prediction": "says"}
NAMED = {"label": "label", "prediction": "prediction"}


def read(frame=LONG, missing="abstain", **options):
    return ScoreTable.from_frame(frame, **NAMES, **ANSWERS, missing=missing, **options)


def same(table, other):
    """Check that two tables are equal up to the order of models and samples."""
    rows = [other.row(n) for n in table.names]
    columns = [list(other.sample_ids).index(i) for i in table.sample_ids]
    for part in ("correct", "confidence", "predictions"):
        np.testing.assert_array_equal(getattr(table, part), getattr(other, part)[rows][:, columns])
    np.testing.assert_array_equal(table.labels, other.labels[columns])
    costs = [np.broadcast_to(t.cost.T, (len(t), len(t.names))) for t in (table, other)]
    np.testing.assert_array_equal(costs[0], costs[1][columns][:, rows])


def test_rows_may_come_in_any_order():
    table = read()
    same(table, read(LONG.iloc[[4, 0, 5, 2, 1, 3]]))
    assert table.names == ("small", "large") and table.sample_ids.tolist() == ["x", "y", "z"]
    assert table.correct.tolist() == [[True, False, False], [True, True, True]]
    assert table.confidence.tolist() == [
        [0.9, 0.2, -np.inf],
        [0.7, 0.6, 0.5],
    ]  # the abstention passes on
    assert table.cost.tolist() == [[0, 0, 0], [2, 3, 4]]


def test_wide_tables_give_the_same_table():
    table = read()
    wide = LONG.pivot(index=["id", "truth"], columns="who", values=["sure", "says", "usd"])
    wide.columns = [f"{who}_{what}" for what, who in wide.columns]
    with pytest.raises(TypeError, match="not a Table.*to_pandas"):
        read(pyarrow.Table.from_pandas(LONG))
    names = {
        "sample": "id",
        "confidence": "{}_sure",
        "cost": "{}_usd",
        "label": "truth",
        "prediction": "{}_says",
    }
    same(table, ScoreTable.from_frame(wide.reset_index(), **names, missing="abstain"))


def test_a_missing_row_costs_the_usual_price_of_its_model():
    part = LONG.drop(index=4)
    table = read(part, missing="abstain")
    assert table.correct[1].tolist() == [True, False, True] and table.cost[1].tolist() == [2, 3, 4]
    assert table.confidence[1].tolist() == [0.7, -np.inf, 0.5]
    table = read(LONG.assign(truth=None))
    assert table.labels is None and table.correct is None and table.comparison == ""


# A reader that guesses types would change, merge or lose these codes.
HOSTILE = ["01", "1", "1.0", "1e5", "100000", "NaN", "None", "NA", "TRUE", "True", "-0", " x", "y "]
HOSTILE += ["a,b", 'say "no"', "line\nline", "line\r\nline", "\ufeffx", "é", "_1", "0x10", "inf"]
NUMBERS = ["0.5", "0.1", "1e-3", "0.30000000000000004", "5e-324", "1", "00.5", " 0.25 ", ""]


def written(path, frame, end="\r\n", mark="\ufeff"):
    """Write a frame of text as a CSV file, with quotes if a cell needs them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(mark)
        # Before Python 3.13 the writer leaves a lone carriage return, which ends a row, unquoted.
        returns = frame.apply(lambda column: column.str.contains("\r")).any(axis=None)
        quoting = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
        writer = csv.writer(file, lineterminator=end, quoting=quoting)
        writer.writerow(frame.columns)
        writer.writerows(frame.fillna("").to_numpy().tolist())


@st.composite
def frames_of_text(draw):
    """Draw a long table of text with hostile ids, labels, predictions and numbers."""
    text = st.sampled_from(HOSTILE) | st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4
    )
    text = text.filter(str.strip)
    samples = draw(st.lists(text, min_size=1, max_size=5, unique_by=str.strip))
    models = draw(st.lists(text, min_size=1, max_size=3, unique_by=str.strip))
    labels = [draw(text) for _ in samples]
    rows = []
    for model in models:
        for sample, label in zip(samples, labels, strict=True):
            said = draw(st.sampled_from([*labels, "", None]) | text)
            rows.append((sample, model, label, said, draw(st.sampled_from(NUMBERS)), "1"))
    rows[0] = (*rows[0][:3], labels[0], *rows[0][4:])
    names = ["sample", "model", "label", "prediction", "length", "cost"]
    return pd.DataFrame(draw(st.permutations(rows)), columns=names, dtype=object)


@settings(max_examples=30)
@given(frames_of_text(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_csv_parquet_and_frames_give_the_same_table(tmp_path_factory, frame, end, mark):
    folder = tmp_path_factory.mktemp("hostile")
    written(folder / "t.csv", frame, end, mark)
    frame.to_parquet(folder / "t.parquet")
    named = {"label": "label", "prediction": "prediction"}
    named |= {"exact": True, "missing": "abstain", "confidence": None}
    tables = [
        ScoreTable.from_frame(source, **named)
        for source in (frame, folder / "t.csv", folder / "t.parquet", frame.astype("category"))
    ]
    assert tables[0].sample_ids.tolist() == list(dict.fromkeys(frame["sample"].str.strip()))
    for table in tables[1:]:
        assert table.names == tables[0].names
        for part in ("sample_ids", "labels", "predictions", "correct", "confidence", "cost"):
            assert getattr(table, part).tolist() == getattr(tables[0], part).tolist()
    frame = frame.fillna("").map(str.strip)
    said = {(row.sample, row.model): row.prediction for row in frame.itertuples()}
    for name, row in zip(tables[0].names, tables[0].predictions.tolist(), strict=True):
        ids = tables[0].sample_ids.tolist()
        assert row == [said[sample, name] for sample in ids]


WHOLE = [3, 1, 3, 1, 1, 3]


@pytest.mark.parametrize(
    "said",
    [
        pd.Series(WHOLE, dtype="float32"),
        pd.Series(WHOLE, dtype="Int64"),
        pd.Series([*map(float, WHOLE[:3]), *WHOLE[3:]], dtype=object),
        pd.Series(WHOLE, dtype="category"),
        pd.Series(WHOLE, dtype=pd.ArrowDtype(pyarrow.uint8())),
        pd.Series(list(map(str, WHOLE))),
    ],
    ids=lambda said: str(said.dtype),
)
def test_whole_numbers_give_the_same_text_for_all_dtypes(said):
    frame = LONG.assign(says=said, truth=["3", "1", "1"] * 2 if said[0] == "3" else [3, 1, 1] * 2)
    frame["sure"] = 0.5
    table = read(frame)
    assert table.predictions.tolist() == [["3", "1", "3"], ["1", "1", "3"]]
    assert table.correct.tolist() == [[True, True, False], [False, True, False]]


def test_models_of_a_wide_table_with_a_prompt_are_chosen():
    wide = pd.DataFrame(
        {
            "sample": ["x", "y"],
            "prompt_text": ["?", "!"],
            "large_text": ["a", "b"],
            "small_text": ["a", "a"],
            "small_sure": [0.5, 0.7],
            "label": ["a", "b"],
        }
    )
    named = {"label": "label", "prediction": "{}_text", "confidence": "{}_sure"}
    price = {"small": 1, "large": 2}
    with pytest.raises(ValueError, match="unknown model in cost 'prompt'"):
        ScoreTable.from_frame(wide, **named, cost=price)
    table = ScoreTable.from_frame(wide, **named, cost=price, models=["small", "large"])
    assert table.names == ("small", "large") and table.correct.tolist() == [[1, 0], [1, 1]]
    assert table.confidence.tolist() == [[0.5, 0.7], [-np.inf, -np.inf]]


def test_models_of_a_long_table_are_chosen():
    table = read()
    one = read(models="large")
    assert one.names == ("large",) and one.correct.tolist() == [table.correct[1].tolist()]
    both = read(models=["large", "small"])
    assert both.names == ("large", "small")
    same(table, both)


def test_columns_of_samples_and_models_that_are_exchanged_are_refused():
    frame = pd.DataFrame({"sample": range(66), "model": range(66), "correct": 1, "cost": 1})
    frame["confidence"] = 0.5
    with pytest.raises(ValueError, match="only 66 of 4356 rows.*sample= and model="):
        ScoreTable.from_frame(frame, correct="correct", missing="drop")
    with pytest.raises(ValueError, match="drops all samples.*models="):
        ScoreTable.from_frame(frame[:65], correct="correct", missing="drop")


def test_integers_and_floats_of_two_models_give_the_same_text():
    """pandas stores integers as floats if one is missing."""
    wide = pd.DataFrame(
        {"sample": [7, 8], "label": [1, 2], "a_says": [1, 2], "b_says": [1.0, None]}
    )
    named = {"label": "label", "prediction": "{}_says", "cost": {"a": 1, "b": 2}}
    table = ScoreTable.from_frame(wide, **named, confidence=None, missing="abstain")
    assert table.sample_ids.tolist() == ["7", "8"] and table.labels.tolist() == ["1", "2"]
    assert table.predictions.tolist() == [["1", "2"], ["1", ""]]


def test_correctness_is_bool_a_grade_or_agrees_with_labels():
    for graded, kind in ((["True", "false"] * 3, bool), (0.25, float)):
        frame = LONG.assign(graded=graded)
        frame["sure"] = 0.5
        assert ScoreTable.from_frame(frame, **NAMES, correct="graded").correct.dtype == kind
    graded = {**NAMES, **ANSWERS, "correct": "judged"}
    judged = [1, 0, 0, 1, 1, 1]
    table = ScoreTable.from_frame(LONG.assign(judged=judged), **graded, missing="abstain")
    assert table.correct.tolist() == [[True, False, False], [True, True, True]]


def rows(changes, k=4):
    """Return rows of two models on k samples as a frame of text, with some cells changed."""
    names = ["small", "large"] * k
    table = pd.DataFrame({"sample": [f"q{row // 2}" for row in range(2 * k)], "model": names})
    table = table.assign(prediction="yes", confidence="0.5", cost="1", label="yes").astype(object)
    for (row, column), cell in changes.items():
        table.loc[row, column] = cell
    return table


EMPTY = {(1, "confidence"): "", (4, "confidence"): "nan"}


def test_empty_confidences_are_named_dropped_or_kept_as_answers():
    table = rows(EMPTY)
    with pytest.raises(ValueError, match=r"or confidences: 2 .sample 'q0', model 'large', row 1"):
        ScoreTable.from_frame(table, **NAMED)
    dropped = ScoreTable.from_frame(table, **NAMED, missing="drop")
    assert dropped.sample_ids.tolist() == ["q1", "q3"]
    assert dropped.dropped == dropped.take([0]).dropped == dropped.select("small").dropped == 2
    kept = ScoreTable.from_frame(table, **NAMED, missing="abstain")
    assert kept.dropped == 0 and kept.answered.all() and kept.correct.all()
    assert kept.confidence.tolist() == [[0.5, 0.5, -np.inf, 0.5], [-np.inf, 0.5, 0.5, 0.5]]
    table = table.assign(correct="1").drop(columns=["label", "prediction"])
    for missing, samples in (("drop", 2), ("abstain", 4)):
        assert len(ScoreTable.from_frame(table, correct="correct", missing=missing)) == samples


def test_an_empty_answer_is_refused_unless_missing_says_what_it_is():
    table = rows({(3, "prediction"): " "})
    with pytest.raises(ValueError, match="empty answers or confidences: 1 .sample 'q1'"):
        ScoreTable.from_frame(table, **NAMED)
    assert ScoreTable.from_frame(table, **NAMED, missing="drop").dropped == 1
    kept = ScoreTable.from_frame(table, **NAMED, missing="abstain")
    assert kept.answered.tolist() == [[True] * 4, [True, False, True, True]]
    assert kept.correct.tolist() == kept.answered.tolist()


def test_a_missing_row_is_not_answered():
    table = rows({(3, "prediction"): ""}).drop(index=0)
    found = ScoreTable.from_frame(table, **NAMED, missing="abstain")
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
    table = rows({(2, "label"): "", (3, "label"): "", (5, "confidence"): None})
    assert ScoreTable.from_frame(table, **NAMED, missing="drop").dropped == 2
    with pytest.raises(ValueError, match="samples without a label: 1 .sample 'q1'.*missing='drop'"):
        ScoreTable.from_frame(table, **NAMED, missing="abstain")


def test_one_error_names_every_missing_column_and_those_of_the_table():
    table = rows({}).rename(columns={"model": "llm", "confidence": "conf"})
    message = r"no columns for model='model', confidence='confidence' \(confidence=None: there is "
    with pytest.raises(
        ValueError, match=message + r"none\). The columns are 'sample', 'llm', 'pre"
    ):
        ScoreTable.from_frame(table, **NAMED)


def test_one_error_names_every_fault_with_its_rows(tmp_path):
    changes = {(1, "confidence"): "high", (7, "prediction"): "Yes.", (8, "label"): "no"}
    changes |= {(20, "confidence"): "", (22, "sample"): "", (24, "cost"): "-1", (26, "label"): "no"}
    table = rows(changes, 30)
    table.loc[[8, 9], "label"] = "no"
    table = pd.concat([table, table[40:41].assign(confidence="0.4")])
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError) as error:
        ScoreTable.from_frame(tmp_path / "t.csv", **NAMED)
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 't.csv'}: ") and said.endswith("index=False) writes it")
    for part in (
        "cells of frame['confidence'] that are not finite numbers: 1 ('high' in row 1)",
        "empty answers or confidences: 1 (sample 'q10', model 'small', row 20)",
        "rows without a sample: 1 (model 'small', row 22)",
        "infinite or negative: 1 (-1.0 at sample 'q12', model 'small', row 24)",
        "labels that differ from others of their sample: 1 (sample 'q13', model 'large', row 27)",
        "rows that repeat a sample and model: 1 (sample 'q20', model 'small', row 60)",
        "answers of frame['prediction'] that may be their label in other words: 1 ('Yes.' for the",
    ):
        assert part in said, part
