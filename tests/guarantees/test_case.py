"""Labels and groups of a certificate are read once, by sample id."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib import ScoreTable, certify, ladder, to_label
from cascadelib.guarantees.case import read_known_labels


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
    spaced = {name: f" {label} " for name, label in labels.items()}
    assert certify(table, front, 0.02, labels=spaced).table.equals(every)
    for wrong in ("yes", 7, -1):
        with pytest.raises(ValueError, match="no model predicts '"):
            certify(table, front, 0.02, labels=labels | {ids[0]: wrong})


@pytest.mark.parametrize("labels", [["yes"], pd.Series(["yes", "no"]), 3])
def test_labels_without_ids_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be {sample id: label}"):
        read_known_labels(labels, np.array(["a", "b"]))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_labels_in_another_spelling_are_refused_without_a_line_of_pandas(elsewhere):
    """No line can repair a table that is built. The other spelling may be an answer elsewhere."""
    said = np.where(np.arange(200) % 3, "cat", "dog")
    said = np.array([said, np.where(elsewhere & (np.arange(200) == 0), "Cat", said)])
    table = ScoreTable(None, np.random.default_rng(0).random((2, 200)), [1, 5], "st", None, said)
    points = ladder(table, ["s", "t"])
    labels = {str(row): said[0, row].title() if elsewhere else "dog." for row in range(200)}
    words = "labels: no model predicts 'dog.', the label of sample '0'"
    if elsewhere:
        labels |= {str(row): "dog" for row in range(200) if said[0, row] == "dog"}
        words = "labels: answers of model 's' that may be their label .* 'cat' for the label 'Cat'"
    with pytest.raises(ValueError, match=words) as error:
        certify(table, points, 0.1, labels=labels)
    assert "pd." not in str(error.value) and "written" in str(error.value)


def answers(k=4000, seed=0, **changes):
    """Return answers of a small and a large model to k questions of three classes."""
    rng = np.random.default_rng(seed)
    ease = rng.random(k)
    labels = rng.integers(0, 3, k)
    is_correct = rng.random((2, k)) < [0.4 + 0.6 * ease, 0.75 + 0.25 * np.sqrt(ease)]
    columns = {
        "correct": None,
        "confidence": np.array([ease, rng.random(k)]),
        "cost": [1, 20],
        "names": ["small", "large"],
        "sample_ids": [f"q{seed}-{row}" for row in range(k)],
        "predictions": np.where(is_correct, labels, (labels + 1) % 3).astype(str),
        "labels": labels.astype(str),
    }
    return ScoreTable(**columns | changes)


def changed(table, **changes):
    """Return a table with other columns. Its correctness is computed again."""
    return replace(table, **{"correct": None, "answered": None} | changes)


TABLE = answers()
CHECK = TABLE.take(slice(2000, None))
LABELS = dict(zip(CHECK.sample_ids.tolist(), CHECK.labels.tolist()))
MIDDLE = cl.search(TABLE.take(slice(0, 2000)), 2).point(40)


def without_answers(table, absent):
    """Return the table without answers of the large model for some samples."""
    is_absent = absent & np.array([[False], [True]])
    confidence = np.where(is_absent, -np.inf, table.confidence)
    predictions = np.where(is_absent, "", table.predictions)
    return changed(table, confidence=confidence, predictions=predictions)


@pytest.mark.parametrize("share", [0.01, 0.15, 1.0])
def test_a_reference_without_an_answer_counts_as_the_worst_case_and_the_share_is_stated(share):
    absent = np.arange(2000) < share * 2000
    found = certify(without_answers(CHECK, absent), MIDDLE, 0.03, reference="large")
    assert f"The reference has no answer on {share:.1%} of the samples, which" in str(found)
    exits = CHECK.confidence[0] >= MIDDLE.thresholds[0]
    counted = 0  # the reference counts as correct, unless the cascade returns its answer
    for row in range(2000):
        reference = True if absent[row] else CHECK.correct[1, row]
        answer = CHECK.correct[0, row] if exits[row] else reference
        counted += int(reference) - int(answer)
    assert found.table["accuracy_loss"][0] == pytest.approx(counted / 2000)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, "labels of disagreements"]))
@settings(max_examples=25)
def test_a_missing_answer_of_the_reference_has_the_p_value_of_the_worst_answer(seed, labels):
    rng = np.random.default_rng(seed)
    table = CHECK.take(slice(0, 300))
    absent = rng.random(300) < rng.random()
    asked = without_answers(table, absent)
    if labels:
        asked = changed(asked, labels=None)
        labels = {name: LABELS[name] for name in to_label(asked, MIDDLE, reference="large")}
    found = certify(asked, MIDDLE, 0.1, reference="large", labels=labels)
    predictions = table.predictions.copy()
    answers = rng.integers(0, 3, (absent.sum(), 2)).astype(str)
    predictions[1, absent] = np.where(rng.random() < 0.5, answers[:, 0], table.labels[absent])
    filled = changed(table, predictions=predictions)
    there = certify(filled, MIDDLE, 0.1, reference="large")
    assert there.table["p_value"][0] <= found.table["p_value"][0] + 1e-12
