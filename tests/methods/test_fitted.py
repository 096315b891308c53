"""Fitted confidences: against scikit-learn, to JSON and back, and what they do with abstentions and
unseen labels."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from cascadelib.methods.fitted import fit_confidence, fitted_from_json


def scores(seed: int, k: int = 60, ties: int = 8) -> tuple:
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, ties, k) / ties
    return confidence, rng.random(k) < confidence, rng.choice(["a", "b", "c"], k)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80))
def test_isotonic_by_label_is_that_of_scikit_learn_label_by_label(seed: int, k: int) -> None:
    confidence, correct, labels = scores(seed, k)
    fitted = fit_confidence("isotonic_by_label", ["confidence"], confidence, correct, labels)
    new = np.random.default_rng(seed + 1).random(50)
    for label in np.unique(labels):
        rows = labels == label
        theirs = IsotonicRegression(out_of_bounds="clip").fit(confidence[rows], correct[rows])
        np.testing.assert_allclose(fitted(new, np.full(50, label)), theirs.predict(new), atol=1e-12)
    pooled = IsotonicRegression(out_of_bounds="clip").fit(confidence, correct)
    np.testing.assert_allclose(fitted(new, ["unseen"] * 50), pooled.predict(new), atol=1e-12)


def fits_of(seed: int = 0) -> list:
    confidence, correct, labels = scores(seed)
    before = np.where(np.arange(60) % 2, labels, "a")
    columns = ["confidence", "agreement", "length"]
    two = np.column_stack([confidence, np.arange(60) / 60])
    return [
        (
            fit_confidence("isotonic_by_label", ["confidence"], confidence, correct, labels),
            (confidence, labels),
        ),
        (fit_confidence("logistic", columns, two, correct, labels, before), (two, labels, before)),
    ]


@pytest.mark.parametrize(("fitted", "given"), fits_of(), ids=["isotonic_by_label", "logistic"])
def test_json_takes_them_back_and_abstentions_pass_on(fitted: Any, given: Any) -> None:
    back = fitted_from_json(json.loads(json.dumps(asdict(fitted))))
    assert back == fitted
    np.testing.assert_array_equal(back(*given), fitted(*given))
    assert ((0 <= fitted(*given)) & (fitted(*given) <= 1)).all()
    values = np.array(given[0])
    values[3] = -np.inf
    values[4] = np.nan
    assert np.flatnonzero(np.isneginf(fitted(values, *given[1:]))).tolist() == [3, 4]
    wrong = asdict(fitted)
    wrong.pop("columns")
    with pytest.raises(ValueError, match="a part of a fitted confidence"):
        fitted_from_json(wrong)


def test_agreement_is_a_column_between_others() -> None:
    confidence, correct, labels = scores(1)
    before = np.roll(labels, 1)
    fitted = fit_confidence(
        "logistic", ["agreement", "confidence"], confidence, correct, labels, before
    )
    plain = fit_confidence(
        "logistic", ["same", "confidence"], np.column_stack([labels == before, confidence]), correct
    )
    assert fitted.parameters == plain.parameters
    assert (
        fitted(confidence, labels).tolist()
        == plain(np.column_stack([np.zeros(60), confidence])).tolist()
    )


def test_refused() -> None:
    confidence, correct, labels = scores(2)
    with pytest.raises(ValueError, match="there are no predictions"):
        fit_confidence("isotonic_by_label", ["confidence"], confidence, correct)
    with pytest.raises(ValueError, match="there are no predictions"):
        fit_confidence("isotonic_by_label", ["confidence"], confidence, correct, labels)(confidence)
    with pytest.raises(ValueError, match="finite"):
        fit_confidence("logistic", ["confidence"], np.full(60, np.inf), correct)
    with pytest.raises(ValueError, match="reads one column"):
        fit_confidence("isotonic_by_label", ["a", "b"], np.ones((60, 2)), correct, labels)
    with pytest.raises(ValueError, match="values of the columns confidence are needed"):
        fit_confidence("logistic", ["confidence"], np.ones((60, 2)), correct)
    with pytest.raises(
        ValueError, match="unknown fitted confidence 'isotonic'; nearest: 'isotonic_by_label'"
    ):
        fitted_from_json({"kind": "isotonic"})


def test_a_model_that_always_abstains_passes_all_on() -> None:
    fitted = fit_confidence(
        "isotonic_by_label", ["confidence"], np.full(3, -np.inf), [True] * 3, [""] * 3
    )
    assert fitted_from_json(asdict(fitted))([0.5, 1.0], ["a", "b"]).tolist() == [-np.inf, -np.inf]


def test_labels_are_written_as_digests_and_files_that_hold_them_still_apply() -> None:
    """An answer may be confidential; of another that was never seen nothing is known."""
    confidence, correct, labels = scores(3)
    fitted = fit_confidence("isotonic_by_label", ["confidence"], confidence, correct, labels)
    text = json.dumps(asdict(fitted))
    assert not any(f'"{label}"' in text for label in "abc")
    old = asdict(fitted)
    for curve, label in zip(old["parameters"], [None, "a", "b", "c"], strict=True):
        curve.pop("digest")
        curve["label"] = label
    old = fitted_from_json(json.loads(json.dumps(old)))
    given = np.append(labels, ["d", ""])
    values = np.append(confidence, [0.3, 0.6])
    np.testing.assert_array_equal(old(values, given), fitted(values, given))
