"""Missing confidences are deferred, and labels that no model predicts are valid."""

import numpy as np
from toy_store import ANSWERS, CONFIDENCE

from cascadelib import search
from cascadelib.store.score_table import ScoreTable


def test_abstentions_and_models_without_confidences_exit_at_no_finite_threshold():
    confidence = np.array([[0.5, 0.1, np.nan], [np.nan] * 3])
    table = ScoreTable(None, confidence, [1, 2], **ANSWERS)
    assert table.confidence.tolist() == [[0.5, 0.1, -np.inf], [-np.inf] * 3]
    for models, thresholds in zip(*[search(table, 2).table[c] for c in ("models", "thresholds")]):
        assert models[0] == "model 0" or np.isinf(thresholds[0])


def test_labels_of_no_prediction_are_wrong_for_all_models():
    given = {"confidence": CONFIDENCE, "cost": [1, 2], "predictions": [["0", "1", "0"]] * 2}
    table = ScoreTable(None, labels=["0", "0", "1"], **given)
    assert not table.take([1, 2]).correct.any()
    assert not table.labelled(["", "", ""]).correct.any()
