"""Fitted confidences equal scikit-learn, survive JSON, and defer abstentions."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from cascadelib.files import from_json
from cascadelib.methods.fitted import (
    COMMON_WEIGHT,
    MIN_SAMPLES,
    TIE_BREAK,
    Fitted,
    assign_folds,
    fit_confidence,
    label_digest,
)


def scores(seed, k=60, ties=8):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, ties, k) / ties
    return confidence, rng.choice(["a", "b", "c"], k), rng.random(k) < confidence


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 120))
def test_a_fit_equals_scikit_learn_shrunk_to_the_common_curve(seed, k):
    """Labels with few samples and unseen labels get the common curve."""
    confidence, labels, correct = scores(seed, k)
    fitted = fit_confidence(confidence, labels, correct)
    new = np.random.default_rng(seed + 1).random(50)
    pooled = IsotonicRegression(out_of_bounds="clip").fit(confidence, correct).predict(new)
    for label in ("a", "b", "c", "unseen"):
        rows = labels == label
        expected = pooled
        if rows.sum() >= MIN_SAMPLES:
            theirs = IsotonicRegression(out_of_bounds="clip").fit(confidence[rows], correct[rows])
            counts = rows.sum(), COMMON_WEIGHT
            expected = np.average([theirs.predict(new), pooled], axis=0, weights=counts)
        np.testing.assert_allclose(fitted(new, np.full(50, label)), expected, atol=2 * TIE_BREAK)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_among_equal_labels_the_confidence_decides(seed):
    """Answers with one label keep their strict order, even if the model is always correct."""
    rng = np.random.default_rng(seed)
    confidence = 1 - 10.0 ** -rng.uniform(0, 12, 200)
    labels = rng.choice(["a", "b"], 200)
    correct = (rng.random(200) < confidence) | (labels == "a")
    fitted = fit_confidence(confidence, labels, correct)(confidence, labels)
    assert ((0 <= fitted) & (fitted <= 1)).all()
    for label in "ab":
        rows = labels == label
        _, distinct = np.unique(confidence[rows], return_index=True)
        assert (np.diff(fitted[rows][distinct]) > 0).all()


def test_folds_are_even_and_the_same_in_any_order():
    ids = np.arange(103).astype(str)
    fold = assign_folds(ids)
    assert np.bincount(fold).tolist() == [21, 21, 21, 20, 20]
    order = np.random.default_rng(0).permutation(103)
    np.testing.assert_array_equal(assign_folds(ids[order]), fold[order])


def test_degenerate_samples_can_be_fitted():
    """Single labels, constant confidences or correctness, and single samples can be fitted."""
    for k in (1, 4, 200):
        for correct in (np.ones(k), np.zeros(k), np.arange(k) % 2):
            fitted = fit_confidence(np.full(k, 0.7), np.full(k, "only"), correct)
            found = fitted([0.1, 0.7, 0.9], ["only", "only", "other"])
            assert ((0 <= found) & (found <= 1)).all()
            np.testing.assert_allclose(found, correct.mean(), atol=2 * TIE_BREAK)


def test_json_restores_a_fit_which_defers_abstentions():
    """Files store digests of labels, since answers may be confidential."""
    confidence, labels, correct = scores(0)
    fitted = fit_confidence(confidence, labels, correct)
    text = json.dumps(asdict(fitted))
    assert len(fitted.curves) > 1 and not any(f'"{label}"' in text for label in "abc")
    back = from_json(Fitted, json.loads(text))
    assert back == fitted
    found = fitted(confidence, labels)
    np.testing.assert_array_equal(back(confidence, labels), found)
    assert ((0 <= found) & (found <= 1)).all()
    confidence[3:5] = -np.inf, np.nan
    assert np.flatnonzero(np.isneginf(fitted(confidence, labels))).tolist() == [3, 4]


def test_a_model_that_always_abstains_defers_all_samples():
    fitted = fit_confidence(np.full(3, -np.inf), [""] * 3, [True] * 3)
    assert fitted([0.5, 1.0], ["a", "b"]).tolist() == [-np.inf, -np.inf]


def test_an_abstention_is_left_out_of_the_fit():
    confidence, labels, correct = scores(5)
    confidence[::3] = -np.inf
    rows = np.isfinite(confidence)
    found = fit_confidence(confidence, labels, correct)
    assert found == fit_confidence(confidence[rows], labels[rows], correct[rows])
    assert 0 < rows.sum() < 60 and found.curves


def test_a_curve_without_weight_and_order_replaces_the_common_curve():
    """Policies of :func:`answer_table` have such curves."""
    common = {"digest": None, "knots": [0.0, 1.0], "values": [0.0, 0.5]}
    of_label = {"digest": label_digest("b"), "knots": [0.0], "values": [0.25]}
    fitted = from_json(Fitted, {"curves": [common, of_label]})
    assert fitted([0.5, 0.5, 1.0], ["a", "b", ""]).tolist() == [0.25, 0.25, 0.5]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"kind": "logistic"}, "unknown fitted confidence 'logistic'"),
        ({"kind": "isotonic_by"}, "nearest: 'isotonic_by_label'"),
        ({"curves": [{"digest": None, "knots": [], "values": []}]}, "do not fit each other"),
        ({"curves": [{"digest": None, "knots": [0.0], "values": [0.0, 1.0]}]}, "do not fit each"),
        ({"curves": [{"digest": None, "knots": [0.0]}]}, "lacks 'values'"),
        ({"columns": ["length"]}, "has no 'columns'"),
    ],
)
def test_a_part_of_a_file_that_cannot_be_applied_is_refused(part, message):
    with pytest.raises(ValueError, match=message):
        from_json(Fitted, {"curves": []} | part)
