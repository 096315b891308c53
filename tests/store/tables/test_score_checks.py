"""What a ScoreTable refuses by name, and what it reads as an abstention."""

import numpy as np
import pytest

from cascadelib import search
from cascadelib.store.score_table import ScoreTable

CORRECT = np.array([[1, 0, 1], [1, 1, 1]], bool)
CONFIDENCE = np.array([[0.5, 0.1, 0.9], [0.2, 0.3, np.inf]])
PREDICTIONS = [["a", "b", None], ["a", "a", "b"]]
LABELS = ["a", "a", "b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct": CORRECT[0]}, "correct must be"),
        ({"correct": CORRECT[:, :0]}, "at least one"),
        ({"correct": CORRECT * 2.0}, "correct.*'a' .sample '0'"),
        ({"confidence": CONFIDENCE[:, :2]}, "confidence has shape"),
        (
            {"confidence": np.where(CONFIDENCE == 0.3, np.nan, CONFIDENCE)},
            "confidence is nan for 'b' .sample '1'",
        ),
        ({"cost": [1, 2, 3]}, "cost must be"),
        ({"cost": [1, -1]}, "cost.*'b'"),
        ({"cost": [np.nan, 1]}, "cost.*'a'"),
        ({"cost": [["x"] * 3] * 2}, "cost must be real numbers"),
        ({"names": ["a"]}, "names"),
        ({"names": ["a", "a"]}, "names"),
    ],
)
def test_refused(change, message):
    given = {
        "correct": CORRECT,
        "confidence": CONFIDENCE,
        "cost": [1, 2],
        "names": ["a", "b"],
    } | change
    with pytest.raises(ValueError, match=message):
        ScoreTable(**given)


def test_abstentions_and_models_without_confidence_leave_at_no_finite_threshold():
    confidence = np.array([[0.5, 0.1, np.nan], [np.nan] * 3])
    table = ScoreTable(None, confidence, [1, 2], predictions=PREDICTIONS, labels=LABELS)
    assert table.confidence.tolist() == [[0.5, 0.1, -np.inf], [-np.inf] * 3]
    for models, thresholds in zip(*[search(table, 2).table[c] for c in ("models", "thresholds")]):
        assert models[0] == "model 0" or np.isinf(thresholds[0])


def test_labels_that_no_model_predicts_are_in_another_spelling():
    given = {"confidence": CONFIDENCE, "cost": [1, 2], "predictions": [["0", "1", "0"]] * 2}
    with pytest.raises(
        ValueError, match="'model 0' that differ .*: 2 .'0' for '0.0' at sample '0'; '1' for"
    ):
        ScoreTable(None, labels=["0.0", "1.0", "1.0"], **given)
    table = ScoreTable(None, labels=["0", "0", "1"], **given)
    assert not table.take([1, 2]).correct.any()
    assert not table.labelled(["", "", ""]).correct.any()


@pytest.mark.parametrize("labels", [["a"], [["a", "b", "c"]], "abc"])
def test_other_labels_are_one_per_sample(labels):
    table = ScoreTable(None, CONFIDENCE, [1, 2], predictions=[["a", "b", "a"]] * 2)
    with pytest.raises(ValueError, match="labels must be .3., one per sample"):
        table.labelled(labels)
