"""Invalid input is refused: the message names argument, model, sample and row."""

import math

import numpy as np
import pandas as pd
import pytest
from toy_store import CONFIDENCE, CORRECT, IDS, LABELS, LOGITS, LONG, K

from cascadelib import LogitStore, ScoreTable

TEXTS = [["a", "b", "b"], ["a", "a", "b"]]
READ = {
    "sample": "id",
    "model": "who",
    "confidence": "sure",
    "cost": "usd",
    "label": "truth",
    "prediction": "says",
}
WIDE = pd.DataFrame({"id": ["1"], "a_says": ["x"], "a_sure": [0.5], "truth": ["x"]})
READ_WIDE = {"sample": "id", "prediction": "{}_says", "label": "truth", "cost": {"a": 1}}


def of_arrays(**change):
    arguments = {"correct": CORRECT, "confidence": CONFIDENCE, "cost": [1, 2], "names": "ab"}
    return lambda: ScoreTable(**(arguments | change))


def of_texts(**change):
    return of_arrays(
        **({"correct": None, "predictions": TEXTS, "labels": ["a", "a", "b"]} | change)
    )


def cells(**change):
    """Read the long table with other columns."""
    return lambda: ScoreTable.from_frame(LONG.assign(**change), **READ)


def read(frame=LONG, **change):
    """Read a table with other arguments."""
    return lambda: ScoreTable.from_frame(frame, **((READ_WIDE if frame is WIDE else READ) | change))


def replaced(row, value):
    logits = LOGITS["a"].copy()
    logits[row, 2] = value
    return logits


def added(logits=LOGITS["a"], **options):
    """Add a model to a store in memory."""
    names = [f"c{number}" for number in range(7)]
    store = LogitStore.from_arrays(LABELS, {}, sample_ids=IDS, classes=names)
    return lambda: store.add("bad", logits, **options)


ARRAYS = {
    "correctness of one model": (of_arrays(correct=CORRECT[0]), "correct must be"),
    "no samples": (of_arrays(correct=CORRECT[:, :0]), "at least one"),
    "a grade of 2": (
        of_arrays(correct=CORRECT * 2.0),
        r"outside \[0, 1\]: 5 \(2.0 at sample '0', model 'a';",
    ),
    "fewer confidences": (of_arrays(confidence=CONFIDENCE[:, :2]), "confidence has shape"),
    "a confidence of nan": (
        of_arrays(confidence=np.where(CONFIDENCE == 0.3, np.nan, CONFIDENCE)),
        r"confidences that are nan: 1 \(sample '1', model 'b'\)",
    ),
    "three costs": (of_arrays(cost=[1, 2, 3]), "cost must be"),
    "a negative cost": (of_arrays(cost=[1, -1]), r"negative: 1 \(-1.0 at model 'b'\)"),
    "a cost of nan": (of_arrays(cost=[np.nan, 1]), "nan at model 'a'"),
    "a negative cost of one sample": (
        of_arrays(cost=[[1, 1, 1], [1, -1, 1]]),
        r"negative: 1 \(-1.0 at sample '1', model 'b'\)",
    ),
    "a cost in words": (of_arrays(cost=[["x"] * 3] * 2), "cost must be real numbers"),
    "one name": (of_arrays(names=["a"]), "names"),
    "equal names": (of_arrays(names=["a", "a"]), "names"),
    "an unknown model": (lambda: of_arrays()().select(["c"]), "unknown model 'c'; nearest: 'a'"),
    "neither correctness nor predictions": (
        of_arrays(correct=None),
        "needs correct=, or prediction= and label=",
    ),
    "masked predictions": (
        of_texts(predictions=np.ma.masked_equal([[1, 2, 3], [1, 2, 4]], 4), labels=[1, 2, 3]),
        "1 values are masked",
    ),
    "another spelling": (
        of_texts(predictions=[["A", "a", "b"]] * 2),
        r"""answers of predictions\[1\] .*: 1 \('A' for the label 'a' at sample '0', .*
    predictions\[1\] = pd.Series\(predictions\[1\]\).str.lower\(\)""",
    ),
    "one label of three": (of_texts(labels=["a"]), "labels must be .3., one per sample"),
    "a missing label": (of_texts(labels=["a", "", "b"]), "labels must not be missing.*sample 1"),
}
FRAMES = {
    "columns that do not exist": (
        read(prediction="say", confidence="Sure"),
        "no columns for prediction='say', confidence='Sure' .confidence=None.* are 'id', 'who',",
    ),
    "another treatment of missing rows": (read(missing="ignore"), "unknown value of missing"),
    "neither correctness nor answers": (
        read(label=None, prediction=None),
        "needs correct=, or prediction= and label=, got neither",
    ),
    "a model without a price": (read(cost={"small": 1}), "unknown model in cost 'large'"),
    "a template without columns": (
        read(prediction="{}_says"),
        "no column is named like '{}_says'",
    ),
    "a negative price": (
        cells(usd=-1),
        "costs.*negative: 6 .-1.0 at sample 'x', model 'small', row 0;",
    ),
    "correctness that contradicts": (
        read(LONG.assign(judged=[1, 1, 0, 1, 1, 1]), correct="judged"),
        "contradicts.*: 1 .'no' at sample 'y', model 'small', row 1",
    ),
    "text and numbers": (
        cells(says=[1, "x", 1, 1, 1, 1]),
        "'says': 6 .cells of the types int, str",
    ),
    "fractions as answers": (
        cells(says=[0.5] * 6, truth=1),
        "'says': 6 .0.5 is not a whole number",
    ),
    "large floats": (cells(says=[1e300] * 6, truth=1), "'says': .*1e.300 is not .* below 2..53"),
    "truth for numbers": (
        cells(says=[True] * 6, truth=[1, 0, 1] * 2, sure=1),
        "none of the labels: 6 .'True' for the label '1'",
    ),
    "dates": (cells(id=pd.Timestamp("2020-01-01")), "'id': 6 .cells of the types Timestamp"),
    "lists": (cells(id=[[1]] * 6), "'id': 6 .cells are not text"),
    "a NUL": (cells(says="a\0"), "'says': 6 .a cell has a NUL"),
    "two faulty columns of text": (
        cells(says="a\0", id=[0.5] * 6),
        r"(?s)'id': 6 .0.5 is not.*'says': 6 .a cell",
    ),
    "a word": (
        cells(usd=[*"123", "many", *"56"]),
        r"frame\['usd'\] that are not finite numbers: 1 .'many' in row 3.\n",
    ),
    "a number too large": (cells(usd="1e999"), "'usd'.* not finite numbers: 6 .'1e999' in row 0"),
    "truth as a cost": (cells(usd="True"), "'usd'.* not finite numbers: 6 .'True' in row 0"),
    "dates for numbers": (cells(usd=pd.Timestamp("2020-01-01")), "'usd'.* not finite numbers"),
    "periods": (
        cells(sure=pd.period_range("2020-01", periods=6, freq="M")),
        "'sure'.* not finite numbers: 6 .*row 0",
    ),
    "two columns of one name": (
        read(pd.concat([LONG, LONG[["sure"]]], axis=1)),
        "2 columns are called 'sure'",
    ),
    "no models in a table": (cells(who=None), r"rows without a model: 6 \(sample 'x', row 0;"),
    "no rows": (read(LONG[:0]), "no rows: one row per sample and model is needed"),
    "a template of confidences": (
        read(WIDE, confidence="{}_conf"),
        "model 'a' .*no columns for confidence='a_conf'.* 'a_sure'",
    ),
    "a model of a wide table": (
        read(WIDE, models=["huge"]),
        "'huge'.*models=.*no columns for prediction='huge_says'",
    ),
    "no models": (read(WIDE, models=[]), "models=.. names no model"),
    "a model of a long table": (read(models=["larg"]), "unknown model 'larg'; nearest: 'large'"),
    "a column without a name": (read(cost=None), "the name of a column must be text, got None"),
    "a list of columns": (read(sample=["id"]), "the name of a column must be text, got ..id"),
}
LOGIT_STORES = {
    "nan": (added(replaced(17, np.nan)), r"'bad'.*row 17 \(image/017.png\).*1 such rows"),
    "overflow": (added(replaced(5, 1e6), dtype="float16"), "'bad'.*row 5 .*float16"),
    "one dimension": (added(LOGITS["a"][:, 0]), "'bad'.*numbers .k, classes."),
    "fewer rows": (added(LOGITS["a"][1:]), "'bad'.*39 rows.*40 samples"),
    "fewer classes": (added(LOGITS["a"][:, :3]), r"'bad'.*row \d+ \(image.*beyond the 3 classes"),
    "more classes": (added(np.pad(LOGITS["a"], ((0, 0), (0, 1)))), "'bad'.*8 classes"),
    "text": (added(LOGITS["a"].astype(str)), "'bad'.*numbers"),
    "another order": (
        added(sample_ids=IDS[:1] + IDS[1:][::-1]),
        "'bad'.*another order: row 1 .*039",
    ),
    "another split": (
        added(sample_ids=[f"{name}x" for name in IDS]),
        "'bad'.*other samples: row 0",
    ),
    "fewer ids": (added(sample_ids=IDS[1:]), "'bad'.*39 sample ids"),
    "free": (added(macs=0), "'bad'.*macs"),
    "macs of nan": (added(macs=math.nan), "'bad'.*macs"),
    "a negative number": (added(watts=np.float32(-1)), "'bad': watts must not be negative, got -"),
    "another dtype": (added(dtype="float23"), "dtype 'float23'.*float32"),
    "a key of the header": (
        added(top1=1.0),
        "'bad': metadata has a reserved key: top1",
    ),
    "probabilities above 1": (
        added(np.ones((K, 7)), probabilities=True),
        "row 0.*Divide by the sums",
    ),
    "costs of another model": (
        lambda: LogitStore.from_arrays(LABELS, LOGITS, {"d": 3}),
        "unknown model in macs 'd'",
    ),
    "one cost of all models": (
        lambda: LogitStore.from_arrays(LABELS, LOGITS, joules=5),
        "joules must be {model: cost per sample}, not 5",
    ),
}
CASES = {"arrays": ARRAYS, "frames": FRAMES, "logits": LOGIT_STORES}


@pytest.mark.parametrize(("group", "case"), [(g, c) for g, cases in CASES.items() for c in cases])
def test_invalid_input_is_refused_by_name(group, case):
    call, message = CASES[group][case]
    with pytest.raises(ValueError, match=message):
        call()
