"""Labels and groups of a certificate are read once, by sample id."""

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib import ScoreTable, certify, to_label


def test_none_nan_and_blanks_are_missing_labels_and_labels_that_no_model_predicts_are_refused():
    """As labels that no model predicts, they would count as no loss."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 1200)
    said = np.where(rng.random((2, 1200)) < [[0.8], [0.97]], truth, 1 - truth)
    confidence = np.where(said == truth, 0.9, 0.6) - 0.1 * rng.random((2, 1200))
    names = ["small", "large"]
    whole = ScoreTable(said == truth, confidence, [1, 9], names, predictions=said, labels=truth)
    chosen = whole.take(slice(600, None))
    table = ScoreTable(None, confidence[:, :600], [1, 9], names, predictions=said[:, :600])
    front = cl.search(chosen, 2)
    ids = to_label(table, front)
    labels = {i: int(truth[int(i)]) for i in ids}
    every = certify(table, front, 0.02, labels=labels).table
    assert certify(
        table, front, 0.02, labels={i: float(label) for i, label in labels.items()}
    ).table.equals(every)
    half = str(certify(table, front, 0.1, labels=dict(list(labels.items())[::2])))
    assert "without a label as lost" in half
    none = certify(table, front, 0.02).table
    for nothing in (None, np.nan, pd.NA, "", " "):
        assert certify(table, front, 0.02, labels=dict.fromkeys(ids, nothing)).table.equals(none)
    spaced = {name: f" {label}. " for name, label in labels.items()}
    assert certify(table, front, 0.02, labels=spaced).table.equals(every)
    for wrong in ("yes", 7, -1):
        with pytest.raises(ValueError, match="no model predicts '"):
            certify(table, front, 0.02, labels=labels | {ids[0]: wrong})
