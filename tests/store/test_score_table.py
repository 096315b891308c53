"""ScoreTable: validated, frozen, and sub-sampled like a store."""

import dataclasses

import numpy as np
import pytest

from cascadelib import search
from cascadelib.store.score_table import ScoreTable

CORRECT = np.array([[1, 0, 1], [1, 1, 1]], bool)
CONFIDENCE = np.array([[0.5, 0.1, 0.9], [0.2, 0.3, np.inf]])


def test_attributes_keep_their_order_and_models_go_cheapest_first():
    table = ScoreTable(CORRECT, CONFIDENCE, [5.0, 2.0], ["big", "small"])
    np.testing.assert_array_equal(table.correct, CORRECT)
    assert table.correct.dtype == bool and len(table) == 3
    assert list(table.models.index) == ["small", "big"] and list(table.models.top1) == [1, 2 / 3]
    assert list(table.costs("cost")) == [2, 5] and table.row("big") == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.cost = None
    with pytest.raises(ValueError):
        table.correct[0, 0] = False


def test_graded_scores_and_costs_by_sample():
    table = ScoreTable(CORRECT * 0.5, CONFIDENCE, [[1, 2, 3], [4, 4, 7]])
    assert table.names == ("model 0", "model 1") and list(table.costs()) == [2, 5]
    part = table.take([True, False, True])
    assert list(part.costs()) == [2, 5.5] and part.correct.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert table.take([1, 1]).confidence.tolist() == [[0.1, 0.1], [0.3, 0.3]]
    assert table.select("model 1").names == ("model 1",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct": CORRECT[0]}, "correct must be"),
        ({"correct": CORRECT[:, :0]}, "at least one"),
        ({"correct": CORRECT * 2.0}, "correct.*'a' .sample 0"),
        ({"confidence": CONFIDENCE[:, :2]}, "confidence has shape"),
        ({"confidence": np.where(CONFIDENCE == 0.3, np.nan, CONFIDENCE)}, "confidence is nan for 'b' .sample 1"),
        ({"cost": [1, 2, 3]}, "cost must be"),
        ({"cost": [1, -1]}, "cost.*'b'"),
        ({"cost": [np.nan, 1]}, "cost.*'a'"),
        ({"cost": [["x"] * 3] * 2}, "cost must be real numbers"),
        ({"names": ["a"]}, "names"),
        ({"names": ["a", "a"]}, "names"),
    ],
)
def test_refused(change, message):
    given = {"correct": CORRECT, "confidence": CONFIDENCE, "cost": [1, 2], "names": ["a", "b"]} | change
    with pytest.raises(ValueError, match=message):
        ScoreTable(**given)


def test_unknown_names():
    table = ScoreTable(CORRECT, CONFIDENCE, [1, 2], ["small", "big"])
    with pytest.raises(ValueError, match="unknown model 'smal'; nearest: 'small'"):
        table.select(["smal"])
    with pytest.raises(ValueError, match="unknown cost 'macs'; nearest: 'cost'"):
        table.costs("macs")


PREDICTIONS, LABELS = [["a", "b", None], ["a", "a", "b"]], ["a", "a", "b"]


def test_predictions_and_labels_say_who_is_right():
    table = ScoreTable(None, CONFIDENCE, [1, 2], predictions=PREDICTIONS, labels=LABELS)
    assert table.correct.tolist() == [[True, False, False], [True, True, True]]
    assert table.positives().tolist() == [False, False, True]
    part = table.take([2, 1]).select("model 1")
    assert part.predictions.tolist() == [["b", "a"]] and part.labels.tolist() == ["b", "a"]
    assert part.positives().tolist() == [True, False]


def test_predictions_alone_are_kept_and_not_searched():
    table = ScoreTable(None, CONFIDENCE, [1, 2], predictions=PREDICTIONS)
    assert table.correct is None and table.models["top1"].isna().all() and len(table) == 3
    with pytest.raises(ValueError, match="who is right is unknown"):
        search(table)
    with pytest.raises(ValueError, match="correct is needed, or predictions"):
        ScoreTable(None, CONFIDENCE, [1, 2])


def test_abstentions_and_models_without_confidence_leave_at_no_finite_threshold():
    sure = np.array([[0.5, 0.1, np.nan], [np.nan] * 3])
    table = ScoreTable(None, sure, [1, 2], predictions=PREDICTIONS, labels=LABELS)
    assert table.confidence.tolist() == [[0.5, 0.1, -np.inf], [-np.inf] * 3]
    for models, thresholds in zip(*[search(table, 2).table[c] for c in ("models", "thresholds")]):
        assert models[0] == "model 0" or np.isinf(thresholds[0])
