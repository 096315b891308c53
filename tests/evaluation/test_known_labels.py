"""Labels of some samples are read by id, and others are the predictions of a model."""

import numpy as np
import pandas as pd
import pytest

from cascadelib import ScoreTable
from cascadelib.evaluation.known_labels import read_known_labels, unanswered, with_labels

IDS = np.array(["a", "b", "c"])


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, "", "  "])
def test_missing_labels_are_left_out(nothing):
    labels = {"a": "yes", "b": nothing, "c": 3.0}
    assert read_known_labels(labels, IDS) == {"a": "yes", "c": 3}
    assert read_known_labels(pd.Series(labels, dtype=object), IDS) == {"a": "yes", "c": 3}


@pytest.mark.parametrize("labels", [["yes"], pd.Series(["yes", "no"]), 3])
def test_labels_without_ids_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be {sample id: label}"):
        read_known_labels(labels, IDS)


def test_labels_replace_the_predictions_of_a_model():
    said = np.array([["yes", "no", ""], ["no", "no", "yes"]])
    table = ScoreTable(None, np.ones((2, 3)), [1, 2], "st", IDS, said)
    assert unanswered(table, "s").tolist() == [False, False, True]
    assert with_labels(table, table.predicted("t"), {"a": "yes"}).labels.tolist() == [
        "yes",
        "no",
        "yes",
    ]
    with pytest.raises(ValueError, match="no model predicts 'maybe', the label of sample 'b'"):
        with_labels(table, table.predicted("t"), {"b": "maybe"})
