"""ScoreTable.from_frame: long, wide, from files and other libraries' frames, and what is refused by name."""

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import ScoreTable, evaluate, pick, search

LONG = pd.DataFrame(
    {
        "id": ["x", "y", "z"] * 2,
        "who": ["small"] * 3 + ["large"] * 3,
        "sure": [0.9, 0.2, np.nan, 0.7, 0.6, 0.5],
        "says": ["yes", "no", None, "yes", "yes", "no"],
        "truth": ["yes", "yes", "no"] * 2,
        "usd": [0.0] * 3 + [2.0, 3.0, 4.0],
        "words": [3, 4, 5] * 2,
    }
)
NAMES = {"sample": "id", "model": "who", "confidence": "sure", "cost": "usd"}
ANSWERS = {"label": "truth", "prediction": "says"}


def same(table, other):
    """Whether two tables hold the same, whatever the order of models and samples."""
    rows, columns = (
        [other.row(n) for n in table.names],
        [list(other.sample_ids).index(i) for i in table.sample_ids],
    )
    for part in ("correct", "confidence", "predictions"):
        np.testing.assert_array_equal(getattr(table, part), getattr(other, part)[rows][:, columns])
    np.testing.assert_array_equal(table.labels, other.labels[columns])
    costs = [np.broadcast_to(t.cost.T, (len(t), len(t.names))) for t in (table, other)]
    np.testing.assert_array_equal(costs[0], costs[1][columns][:, rows])


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)))
def test_rows_may_come_in_any_order(order):
    table = ScoreTable.from_frame(LONG, **NAMES, **ANSWERS, columns=["words"])
    same(table, ScoreTable.from_frame(LONG.iloc[order], **NAMES, **ANSWERS))
    assert table.names == ("small", "large") and table.sample_ids.tolist() == ["x", "y", "z"]
    assert table.correct.tolist() == [[True, False, False], [True, True, True]]
    assert table.confidence.tolist() == [
        [0.9, 0.2, -np.inf],
        [0.7, 0.6, 0.5],
    ]  # the abstention passes on
    assert table.cost.tolist() == [[0, 0, 0], [2, 3, 4]]
    assert table.columns["words"].tolist() == [[3, 4, 5]] * 2
    point = pick(search(table, 2, score="f1"), "match_best")
    assert evaluate(table, point).accuracy == point.accuracy == 1


def test_files_other_frames_and_wide_tables_say_the_same(tmp_path):
    table = ScoreTable.from_frame(LONG, **NAMES, **ANSWERS)
    LONG.to_csv(tmp_path / "a.csv", index=False)
    LONG.to_parquet(tmp_path / "a.parquet")
    wide = LONG.pivot(index=["id", "truth"], columns="who", values=["sure", "says", "usd"])
    wide.columns = [f"{who}_{what}" for what, who in wide.columns]
    for frame in (tmp_path / "a.csv", str(tmp_path / "a.parquet"), pyarrow.Table.from_pandas(LONG)):
        same(table, ScoreTable.from_frame(frame, **NAMES, **ANSWERS))
    names = {
        "sample": "id",
        "confidence": "{}_sure",
        "cost": "{}_usd",
        "label": "truth",
        "prediction": "{}_says",
    }
    same(table, ScoreTable.from_frame(wide.reset_index(), **names))


@pytest.mark.parametrize(
    "values", [[True, False, True], [1, 0, 1], ["True", "false", "TRUE"], [1.0, 0.0, 1.0]]
)
def test_correctness_in_any_form_is_bool(values):
    frame = LONG.drop(columns=["says"]).assign(right=pd.Series(values * 2, dtype=object), sure=0.5)
    table = ScoreTable.from_frame(frame, **NAMES, correct="right")
    assert table.correct.dtype == bool and table.correct[0].tolist() == [True, False, True]
    assert (
        ScoreTable.from_frame(frame.assign(right=0.25), **NAMES, correct="right").correct.dtype
        == np.float64
    )


def test_labels_are_text_however_a_file_holds_them():
    """Whole numbers beside a missing one are floats in pandas; "NA" and "None" may be classes."""
    frame = LONG.assign(truth=[1, 0, 1] * 2, says=[1, 1, None, 1, 0, 1])
    assert ScoreTable.from_frame(frame, **NAMES, **ANSWERS).correct.tolist() == [
        [True, False, False],
        [True] * 3,
    ]


def test_text_that_pandas_takes_for_missing_is_a_label(tmp_path):
    LONG.replace({"yes": "None", "no": "NA"}).to_csv(tmp_path / "a.csv", index=False)
    table = ScoreTable.from_frame(tmp_path / "a.csv", **NAMES, **ANSWERS)
    assert table.labels.tolist() == ["None", "None", "NA"] and table.correct[1].all()


def test_missing_rows_are_named_left_out_or_wrong():
    part = LONG.drop(index=4)
    with pytest.raises(ValueError, match="1 of 6 rows.*'y', model 'large'.*missing='drop'"):
        ScoreTable.from_frame(part, **NAMES, **ANSWERS)
    dropped = ScoreTable.from_frame(part, **NAMES, **ANSWERS, missing="drop")
    assert dropped.sample_ids.tolist() == ["x", "z"]
    table = ScoreTable.from_frame(part, **NAMES, **ANSWERS, missing="abstain")
    assert table.correct[1].tolist() == [True, False, True] and table.cost[1].tolist() == [2, 3, 4]
    assert table.confidence[1].tolist() == [0.7, -np.inf, 0.5]
    unlabelled = LONG.assign(truth=["yes", None, "no"] * 2)
    with pytest.raises(ValueError, match="2 of 6 rows.*'y', model 'small'"):
        ScoreTable.from_frame(unlabelled, **NAMES, **ANSWERS)
    assert len(ScoreTable.from_frame(unlabelled, **NAMES, **ANSWERS, missing="drop")) == 2
    table = ScoreTable.from_frame(LONG.assign(truth=None), **NAMES, **ANSWERS)
    assert table.labels is None and table.correct is None


def test_a_model_without_confidence_stands_last():
    frame = LONG.assign(sure=LONG["sure"].where(LONG["who"] == "large"))
    table = search(ScoreTable.from_frame(frame, **NAMES, **ANSWERS), 2).table
    thresholds = [
        t for models, (t,) in zip(table["models"], table["thresholds"]) if models[0] == "small"
    ]
    assert thresholds and np.isinf(thresholds).all()


@pytest.mark.parametrize(
    ("frame", "change", "message"),
    [
        (LONG, {"prediction": "say"}, "unknown column 'say'; nearest: 'says'"),
        (LONG, {"missing": "ignore"}, "unknown value of missing"),
        (LONG, {"label": None, "prediction": None}, "correct is needed, or predictions"),
        (LONG, {"cost": {"small": 1}}, "unknown model in cost 'large'"),
        (
            LONG,
            {"cost": {"small": 1, "large": 2, "huge": 3}},
            "unknown model of the table, in cost 'huge'",
        ),
        (LONG, {"prediction": "{}_says"}, "no column is named like '{}_says'"),
        (pd.concat([LONG, LONG[:2]]), {}, "2 rows repeat.*sample 'x', model 'small'"),
        (LONG.assign(truth=[*"aba", *"acb"]), {}, "sample 'y' has more than one label"),
        (LONG.assign(id=["x", None, "z"] * 2), {}, "the sample of row 1 is missing"),
        (LONG.assign(sure=[*"012", "high", *"45"]), {}, "column 'sure'.*high"),
        (LONG.assign(usd=-1), {}, "cost must be finite and not negative.*'small'"),
        (
            LONG.assign(sure=[np.nan, 0.2, np.nan, 0.7, 0.6, 0.5]),
            {},
            "confidence is nan for 'small' .sample 0",
        ),
    ],
)
def test_refused(frame, change, message):
    with pytest.raises(ValueError, match=message):
        ScoreTable.from_frame(frame, **(NAMES | ANSWERS | change))


def test_what_is_no_table_is_refused():
    with pytest.raises(TypeError):
        ScoreTable.from_frame(7, **NAMES, **ANSWERS)


def test_labels_in_another_spelling_and_files_that_hold_no_table_are_named(tmp_path):
    with pytest.raises(ValueError, match="no label is among the predictions .*' yes', 'yes'"):
        ScoreTable.from_frame(LONG.assign(truth=" " + LONG["truth"]), **NAMES, **ANSWERS)
    for text, said in (
        ("", "not a table"),
        ("id,who,sure,usd\n", "a table without rows"),
        ("\x00\xee", "not a table"),
    ):
        path = tmp_path / "scores.csv"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=f"scores.csv: {said}"):
            ScoreTable.from_frame(path, **NAMES, **ANSWERS)
