"""Labels, groups and clusters of a certificate are read once, by sample id."""

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib import Point, ScoreTable, certify, to_label


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


def text_case():
    """Return a point, an unlabelled table of text answers, and a draw of its labels."""
    rng = np.random.default_rng(0)
    said = np.array(["yes", "no"])[rng.integers(0, 2, (2, 400))]
    confidence = rng.random((2, 400))
    ids = [f"q{i}" for i in range(400)]
    unlabelled = ScoreTable(None, confidence, [1, 5], "ab", ids, said)
    point = Point(("a", "b"), (0.9,), (0.1, 0.9), 0.5, 5.0, 1.0, cost_kind="cost")
    return point, unlabelled, to_label(unlabelled, models="all")


def test_a_drawn_label_that_no_model_predicts_counts_as_wrong_for_both():
    point, unlabelled, draw = text_case()
    ids = to_label(unlabelled, point, "b", draw=draw)
    labels = {sample: "maybe" if i % 3 == 0 else "yes" for i, sample in enumerate(ids.tolist())}
    row = certify(unlabelled, [point], 0.2, reference="b", labels=labels, draw=draw).table.iloc[0]
    assert row["lost"] + row["gained"] == pytest.approx(
        sum(label == "yes" for label in labels.values()) / 400
    )
    with pytest.raises(ValueError, match="no model predicts 'maybe'"):
        certify(unlabelled, [point], 0.2, reference="b", labels=labels)


def test_drawn_labels_are_read_by_steps_and_others_are_refused():
    point, unlabelled, draw = text_case()
    ids = draw.ids.tolist()
    options = {"reference": "b", "draw": draw}
    yes = dict.fromkeys(ids, "yes")
    sound = certify(unlabelled, [point], 0.2, labels=yes, **options).table
    spelled = yes | {ids[0]: "“Yes.”", ids[1]: "YES "}
    assert certify(unlabelled, [point], 0.2, labels=spelled, **options).table.equals(sound)
    with pytest.raises(ValueError, match="no model predicts 'other'"):
        certify(unlabelled, [point], 0.2, labels=dict.fromkeys(ids, "other"), **options)
