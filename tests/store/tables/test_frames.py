"""ScoreTable.from_frame: long, wide, from files and other libraries' frames, and what is refused by
name."""

import csv
import time

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import Method, ScoreTable, certify, evaluate, pick, search

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
    rows = [other.row(n) for n in table.names]
    columns = [list(other.sample_ids).index(i) for i in table.sample_ids]
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
    point = pick(search(table, 2, score="f1"), "match_best", caution=0)
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
    with pytest.raises(
        ValueError, match="missing of 6 rows.*: 1 .*'y', model 'large'.*missing='drop'"
    ):
        ScoreTable.from_frame(part, **NAMES, **ANSWERS)
    dropped = ScoreTable.from_frame(part, **NAMES, **ANSWERS, missing="drop")
    assert dropped.sample_ids.tolist() == ["x", "z"]
    table = ScoreTable.from_frame(part, **NAMES, **ANSWERS, missing="abstain")
    assert table.correct[1].tolist() == [True, False, True] and table.cost[1].tolist() == [2, 3, 4]
    assert table.confidence[1].tolist() == [0.7, -np.inf, 0.5]
    unlabelled = LONG.assign(truth=["yes", None, "no"] * 2)
    with pytest.raises(ValueError, match="missing of 6 rows.*: 2 .*'y', model 'small', row 1"):
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
        (LONG, {"label": None, "prediction": None}, "needs correct= or predictions="),
        (LONG, {"cost": {"small": 1}}, "unknown model in cost 'large'"),
        (
            LONG,
            {"cost": {"small": 1, "large": 2, "huge": 3}},
            "unknown model of the table, in cost 'huge'",
        ),
        (LONG, {"prediction": "{}_says"}, "no column is named like '{}_says'"),
        (
            pd.concat([LONG, LONG[:2]]),
            {},
            "repeat.*: 2 .sample 'x', model 'small', row 6 repeats row 0; sample 'y'",
        ),
        (
            LONG.assign(truth=[*"aba", *"acb"]),
            {},
            "labels that differ.*sample 'y', model 'small', row 1",
        ),
        (
            LONG.assign(id=["x", None, "z"] * 2),
            {},
            "rows without a sample: 2 .model 'small', row 1; model 'large', row 4",
        ),
        (LONG.assign(sure=[*"012", "high", *"45"]), {}, "column 'sure'.*high"),
        (LONG.assign(usd=-1), {}, "costs.*negative: 6 .-1.0 at sample 'x', model 'small', row 0;"),
        (
            LONG.assign(sure=[np.nan, 0.2, np.nan, 0.7, 0.6, 0.5]),
            {},
            "empty confidences: 1 .sample 'x', model 'small', row 0",
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
    with pytest.raises(
        ValueError, match="spelling: 1 .'yes' for ' yes' at sample 'x', model 'small', row 0"
    ):
        ScoreTable.from_frame(LONG.assign(truth=" " + LONG["truth"]), **NAMES, **ANSWERS)
    for text, said in (
        ("", "not a regular file, or an empty one"),
        ("id,who,sure,usd\n", "a table without rows"),
        ("\x00\xee", "not a table"),
    ):
        path = tmp_path / "scores.csv"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=f"scores.csv: {said}"):
            ScoreTable.from_frame(path, **NAMES, **ANSWERS)


# Codes that a reader which guesses would change, join or lose.
HOSTILE = ["01", "1", "1.0", "1e5", "100000", "NaN", "None", "NA", "TRUE", "True", "-0", " x", "x "]
HOSTILE += ["a,b", 'say "no"', "line\nline", "line\r\nline", "\ufeffx", "é", "_1", "0x10", "inf"]
NUMBERS = ["0.5", "0.1", "1e-3", "0.30000000000000004", "5e-324", "1", "00.5", " 0.25 ", ""]


def written(path, frame, end="\r\n", mark="\ufeff"):
    """A frame of text as a CSV file, every cell in quotes that needs them."""
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
    """A long table of text: hostile ids, labels and predictions, numbers as they are written."""
    text = st.sampled_from(HOSTILE) | st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4
    )
    samples = draw(st.lists(text, min_size=1, max_size=5, unique=True))
    models = draw(st.lists(text, min_size=1, max_size=3, unique=True))
    labels = [draw(text) for _ in samples]
    rows = []
    for model in models:
        for sample, label in zip(samples, labels, strict=True):
            said = draw(st.sampled_from([*labels, "", None]) | text)
            rows.append((sample, model, label, said, draw(st.sampled_from(NUMBERS)), "1"))
    rows[0] = (*rows[0][:3], labels[0], *rows[0][4:])
    names = ["sample", "model", "label", "prediction", "length", "cost"]
    return pd.DataFrame(draw(st.permutations(rows)), columns=names, dtype=object)


@settings(max_examples=60, deadline=None)
@given(frames_of_text(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_text_makes_the_same_table_from_csv_parquet_and_frame(tmp_path_factory, frame, end, mark):
    folder = tmp_path_factory.mktemp("hostile")
    written(folder / "t.csv", frame, end, mark)
    frame.to_parquet(folder / "t.parquet")
    named = {"label": "label", "prediction": "prediction", "columns": ["length"]}
    named["normalize"] = "exact"
    tables = [
        ScoreTable.from_frame(source, **named)
        for source in (frame, folder / "t.csv", folder / "t.parquet", frame.astype("category"))
    ]
    assert tables[0].sample_ids.tolist() == list(dict.fromkeys(frame["sample"]))
    for table in tables[1:]:
        assert table.names == tables[0].names
        for part in ("sample_ids", "labels", "predictions", "correct", "confidence", "cost"):
            assert getattr(table, part).tolist() == getattr(tables[0], part).tolist()
        np.testing.assert_array_equal(table.columns["length"], tables[0].columns["length"])
    said = {(row.sample, row.model): row.prediction or "" for row in frame.itertuples()}
    for name, row in zip(tables[0].names, tables[0].predictions.tolist(), strict=True):
        ids = tables[0].sample_ids.tolist()
        assert row == [said[sample, name] for sample in ids]


def codes(k=400, shares=(0.9425, 0.685)):
    """Codes 01 … 12 of k queries, and two models that answer so many of them correctly; one answer
    is "other"."""
    truth = [f"{1 + row % 12:02d}" for row in range(k)]
    rows = []
    for model, share in zip(("large", "small"), shares, strict=True):
        wrong = round(k * (1 - share))
        for row, label in enumerate(truth):
            said = f"{1 + (row + 5) % 12:02d}" if row < wrong else label
            rows.append((f"{row:06d}", model, label, said, 0.5, 1.0))
    frame = pd.DataFrame(
        rows, columns=["sample", "model", "label", "prediction", "confidence", "cost"]
    )
    frame.loc[0, "prediction"] = "other"
    return frame


def test_one_answer_that_is_no_number_leaves_the_accuracies_of_codes_as_they_are(tmp_path):
    """pandas made numbers of the labels and text of the predictions: 52% and 37.5%."""
    frame = codes()
    frame.to_csv(tmp_path / "t.csv", index=False)
    table = ScoreTable.from_frame(tmp_path / "t.csv", label="label", prediction="prediction")
    assert table.models.top1.loc[["large", "small"]].tolist() == [0.9425, 0.685]
    guessed = pd.read_csv(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="labels are numbers and the predictions text.*dtype=str"):
        ScoreTable.from_frame(guessed, label="label", prediction="prediction")


def test_codes_that_are_equal_as_numbers_are_two_classes(tmp_path):
    frame = codes().replace({"01": "1e5", "02": "100000"})
    frame.to_csv(tmp_path / "t.csv", index=False)
    table = ScoreTable.from_frame(tmp_path / "t.csv", label="label", prediction="prediction")
    assert {"1e5", "100000"} <= set(table.labels.tolist())


def test_ids_of_two_files_are_compared_as_they_are_written(tmp_path):
    """In one file they were numbers, in the other text: the same 600 samples chose and
    certified."""
    frame = codes(600)
    frame.to_csv(tmp_path / "choose.csv", index=False)
    more = frame[frame["sample"] == "000000"].assign(sample="extra")
    pd.concat([frame, more]).to_csv(tmp_path / "certify.csv", index=False)
    named = {"label": "label", "prediction": "prediction"}
    choose, others = (
        ScoreTable.from_frame(tmp_path / f, **named) for f in ("choose.csv", "certify.csv")
    )
    with pytest.raises(ValueError, match="600"):
        certify(others, search(choose, 2), 0.1)


WHOLE = [3, 1, 3, 1, 1, 3]


@pytest.mark.parametrize(
    "said",
    [
        pd.Series(WHOLE),
        pd.Series(WHOLE, dtype="float32"),
        pd.Series(WHOLE, dtype="Int64"),
        pd.Series(WHOLE, dtype=object),
        pd.Series([*map(float, WHOLE[:3]), *WHOLE[3:]], dtype=object),
        pd.Series(WHOLE, dtype="category"),
        pd.Series(WHOLE, dtype=pd.ArrowDtype(pyarrow.uint8())),
        pd.Series(list(map(str, WHOLE))),
    ],
    ids=lambda said: str(said.dtype),
)
def test_whole_numbers_are_one_text_whatever_their_dtype(said):
    frame = LONG.assign(says=said, truth=["3", "1", "1"] * 2 if said[0] == "3" else [3, 1, 1] * 2)
    frame["sure"] = 0.5
    table = ScoreTable.from_frame(frame, **NAMES, **ANSWERS)
    assert table.predictions.tolist() == [["3", "1", "3"], ["1", "1", "3"]]
    assert table.correct.tolist() == [[True, True, False], [False, True, False]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"says": [1, "x", 1, 1, 1, 1]}, "'says' cannot be read .*dtype=str"),
        ({"says": [True, 1, 1, 1, 1, 1]}, "'says' cannot be read .*to boolean"),
        ({"says": [[1], 1, 1, 1, 1, 1]}, "'says' cannot be read .*list"),
        ({"says": [0.5] * 6, "truth": 1}, "'says' holds 0.5, which is not a whole number"),
        ({"says": [1e300] * 6, "truth": 1}, "'says' holds 1e.300, a float too large"),
        ({"says": [np.inf] * 6, "truth": 1}, "'says' holds inf"),
        ({"says": [1] * 6}, "labels are text and the predictions numbers"),
        ({"says": [True] * 6, "truth": 1}, "labels are numbers and the predictions truth values"),
        ({"id": pd.Timestamp("2020-01-01")}, "'id' holds datetime; ids"),
        ({"says": "a\0"}, "'says' holds a NUL"),
        (
            {"words": [*"123", "many", *"56"]},
            "'words' that are not numbers: 1 .'many' at sample 'x', model 'large', row 3",
        ),
        ({"sure": [*"123", "0,5", *"56"]}, "'sure' that are not numbers: 1 .'0,5' at .*row 3"),
        ({"usd": "1_000"}, "'usd' that are not numbers: 6 .'1_000' at .*row 0"),
        (
            {"words": pd.Categorical([*"12345", "many"])},
            "'words' that are not numbers: 1 .'many' at .*row 5",
        ),
        ({"words": [1j] * 6}, "'words' that are not numbers: 6 .*row 0"),
        ({"words": pd.Timestamp("2020-01-01")}, "'words' that are not numbers: 6 .*row 0"),
        ({"words": [[1]] * 6}, "'words' that are not numbers: 6 .*row 0"),
        ({"says": [10**400] * 6, "truth": 1}, "'says' cannot be read .*too large"),
        ({"says": [b"yes"] * 6}, "'says' holds bytes"),
    ],
)
def test_what_is_neither_text_nor_numbers_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        ScoreTable.from_frame(LONG.assign(**change), **NAMES, **ANSWERS, columns=["words"])


def test_two_columns_of_one_name_are_refused():
    twice = pd.concat([LONG, LONG[["sure"]]], axis=1)
    with pytest.raises(ValueError, match="2 columns are called 'sure'"):
        ScoreTable.from_frame(twice, **NAMES, **ANSWERS)


def test_models_of_a_wide_table_beside_a_prompt():
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
    with pytest.raises(ValueError, match="'huge'.*models=.*unknown column 'huge_text'"):
        ScoreTable.from_frame(wide, **named, cost=price, models=["huge"])


def test_models_of_a_long_table():
    table = ScoreTable.from_frame(LONG, **NAMES, **ANSWERS)
    one = ScoreTable.from_frame(LONG, **NAMES, **ANSWERS, models="large")
    assert one.names == ("large",) and one.correct.tolist() == [table.correct[1].tolist()]
    both = ScoreTable.from_frame(LONG, **NAMES, **ANSWERS, models=["large", "small"])
    assert both.names == ("large", "small")
    same(table, both)
    with pytest.raises(ValueError, match="unknown model 'larg'; nearest: 'large'"):
        ScoreTable.from_frame(LONG, **NAMES, **ANSWERS, models=["larg"])


def test_a_table_without_confidences_has_those_that_are_fitted():
    """Long or wide, there may be none; a name that was written wrongly is still refused."""
    rng = np.random.default_rng(0)
    frame = codes(60).drop(columns="confidence").assign(length=rng.integers(0, 9, 120).astype(str))
    named = {"label": "label", "prediction": "prediction", "columns": ["length"]}
    table = ScoreTable.from_frame(frame, **named)
    assert np.isneginf(table.confidence).all()
    fitted = Method(confidence="logistic", columns=("length", "agreement"))
    assert len(search(table, 2, fitted)) >= 1
    with pytest.raises(ValueError, match="unknown column 'sure'"):
        ScoreTable.from_frame(frame, **named, confidence="sure")


@pytest.mark.parametrize("frame", [LONG[:0], pd.DataFrame()])
def test_a_frame_without_rows_is_refused_with_the_remedy(frame):
    with pytest.raises(ValueError, match="no rows: one row per sample and model is needed"):
        ScoreTable.from_frame(frame, **NAMES, **ANSWERS)


def test_columns_of_samples_and_models_that_are_exchanged_are_refused():
    frame = pd.DataFrame({"sample": range(3000), "model": range(3000), "correct": 1, "cost": 1})
    for missing in ("refuse", "drop", "abstain"):
        with pytest.raises(ValueError, match="only 3000 of 9000000 rows.*sample= and model="):
            ScoreTable.from_frame(frame, correct="correct", missing=missing)
    apart = frame[:2].assign(model=["a", "b"])
    with pytest.raises(
        ValueError, match="missing of 4 rows.*: 2 .sample '0', model 'b'; sample '1'"
    ):
        ScoreTable.from_frame(apart, correct="correct")
    with pytest.raises(ValueError, match="drops all samples.*models="):
        ScoreTable.from_frame(apart, correct="correct", missing="drop")


def test_a_wide_table_reads_what_is_the_same_for_all_models_once():
    """Whole numbers of one model and, beside a missing one, floats of another are one text."""
    wide = pd.DataFrame(
        {"sample": [7, 8], "label": [1, 2], "a_says": [1, 2], "b_says": [1.0, None]}
    )
    table = ScoreTable.from_frame(wide, label="label", prediction="{}_says", cost={"a": 1, "b": 2})
    assert table.sample_ids.tolist() == ["7", "8"] and table.labels.tolist() == ["1", "2"]
    assert table.predictions.tolist() == [["1", "2"], ["1", ""]]
    with pytest.raises(ValueError, match="holds numbers and text"):
        ScoreTable.from_frame(
            wide.assign(b_says=["x", "y"]),
            label="label",
            prediction="{}_says",
            cost={"a": 1, "b": 2},
        )
    with pytest.raises(ValueError, match="models=.. names no model"):
        ScoreTable.from_frame(wide, prediction="{}_says", models=[])


def test_the_row_that_is_no_number_is_found_at_any_place():
    for row in (0, 1, 4, 5):
        frame = LONG.assign(sure=["0.5"] * row + ["?"] + ["0.5"] * (5 - row))
        with pytest.raises(ValueError, match=f"'sure' .*: 1 .'\\?' at .*row {row}\\)"):
            ScoreTable.from_frame(frame, **NAMES, **ANSWERS)


def spent(k):
    """Processor seconds of reading 4 k rows, shuffled, with a row missing; the least of two
    runs."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "sample": np.tile([f"q{row:07d}" for row in range(k)], 4),
            "model": np.repeat(["a", "b", "c", "d"], k),
            "label": np.tile(rng.choice(["01", "02", "03"], k), 4),
            "prediction": rng.choice(["01", "02", "03"], 4 * k),
            "confidence": rng.random(4 * k),
            "cost": 1.0,
        }
    )
    frame = frame.sample(frac=1, random_state=0).iloc[1:]
    named = {"label": "label", "prediction": "prediction", "missing": "drop"}
    runs = []
    for _ in range(2):
        begun = time.process_time()
        assert len(ScoreTable.from_frame(frame, **named)) == k - 1
        runs.append(time.process_time() - begun)
    return min(runs)


def test_reading_grows_with_the_rows():
    """It grew with their square: 48 s for 31,510 samples of four models."""
    assert spent(32_000) < 2
    assert spent(64_000) < 3 * max(spent(16_000), 0.02) * 2


@pytest.mark.parametrize(
    ("renamed", "change", "message"),
    [
        ({"sure": "Confidence"}, {}, "'confidence', but there is 'Confidence'"),
        ({"sure": " confidence"}, {}, "'confidence', but there is ' confidence'"),
        ({"sure": "confidance"}, {}, "'confidence', but there is 'confidance'"),
        ({}, {"confidence": "Sure"}, "unknown column 'Sure'; nearest: 'sure'"),
    ],
)
def test_confidences_are_not_dropped_for_a_name(renamed, change, message):
    names = {"sample": "id", "model": "who", "cost": "usd"} | ANSWERS
    with pytest.raises(ValueError, match=message):
        ScoreTable.from_frame(LONG.rename(columns=renamed), **names, **change)


def test_a_template_of_confidences_that_names_no_column_is_refused():
    wide = pd.DataFrame({"sample": ["1"], "a_says": ["x"], "a_sure": [0.5], "truth": ["x"]})
    named = {"prediction": "{}_says", "label": "truth", "cost": {"a": 1}}
    assert ScoreTable.from_frame(wide, **named, confidence="{}_sure").confidence.item() == 0.5
    for mistaken in ("{}_conf", "conf"):
        with pytest.raises(ValueError, match="conf.*a_sure|unknown column 'conf'"):
            ScoreTable.from_frame(wide, **named, confidence=mistaken)
    without = ScoreTable.from_frame(wide, **named, confidence=None)
    assert without.confidence.item() == -np.inf


def test_correctness_that_contradicts_label_and_prediction_is_refused():
    graded = {**NAMES, **ANSWERS, "correct": "judged"}
    judged = [1, 0, 0, 1, 1, 1]
    table = ScoreTable.from_frame(LONG.assign(judged=judged), **graded)
    assert table.correct.tolist() == [[True, False, False], [True, True, True]]
    with pytest.raises(
        ValueError, match="contradicts.*: 1 .'no' at sample 'y', model 'small', row 1"
    ):
        ScoreTable.from_frame(LONG.assign(judged=[1, 1, 0, 1, 1, 1]), **graded)


def test_periods_are_no_confidences():
    periods = pd.period_range("2020-01", periods=6, freq="M")
    with pytest.raises(ValueError, match="column 'sure' that are not numbers: 6 .*row 0"):
        ScoreTable.from_frame(LONG.assign(sure=periods), **NAMES, **ANSWERS)


def test_text_of_a_newer_kind_of_arrow_is_read(tmp_path):
    columns = {
        "sample": ["1", "2"],
        "model": ["a", "a"],
        "confidence": ["0.5", "0.25"],
        "label": ["x", "y"],
        "prediction": ["x", "x"],
    }
    views = {name: pyarrow.array(cells, pyarrow.string_view()) for name, cells in columns.items()}
    path = tmp_path / "views.parquet"
    pyarrow.parquet.write_table(pyarrow.table(views), path)
    table = ScoreTable.from_frame(path, label="label", prediction="prediction", cost={"a": 1})
    assert table.confidence.tolist() == [[0.5, 0.25]] and table.correct.tolist() == [[True, False]]


@pytest.mark.parametrize("role", ["sample", "model", "label", "cost", "columns"])
@pytest.mark.parametrize("name", [0, 1.5, ["id"]])
def test_a_column_is_named_by_text(role, name):
    with pytest.raises(ValueError, match="the name of a column must be text, got "):
        ScoreTable.from_frame(
            LONG, **(NAMES | ANSWERS | {role: [name] if role == "columns" else name})
        )


@pytest.mark.parametrize("role", ["sample", "model", "cost"])
def test_a_column_that_is_needed_cannot_be_left_out(role):
    with pytest.raises(ValueError, match="the name of a column must be text, got None"):
        ScoreTable.from_frame(LONG, **(NAMES | ANSWERS | {role: None}))
