"""Fitted confidences equal scikit-learn and SciPy, survive JSON, and defer abstentions."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from cascadelib.methods.fitted import (
    COMMON_WEIGHT,
    LEVEL_PENALTY,
    MIN_SAMPLES,
    TIE_BREAK,
    Fitted,
    assign_folds,
    fit_confidence,
    fit_folds,
    label_digest,
    read_features,
    refuse_free_text,
)


def fit(kind, columns, values, correct, predictions=None, before=None, categories=()):
    read = read_features(columns, values, predictions, before, categories)
    return fit_confidence(kind, read, correct)


def scores(seed, k=60, ties=8):
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, ties, k) / ties
    return confidence, rng.random(k) < confidence, rng.choice(["a", "b", "c"], k)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 120))
def test_isotonic_by_label_equals_scikit_learn_shrunk_to_the_common_curve(seed, k):
    """Labels with few samples and unseen labels get the common curve."""
    confidence, correct, labels = scores(seed, k)
    fitted = fit("isotonic_by_label", ["confidence"], confidence, correct, labels)
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
@given(st.integers(0, 10**6), st.booleans())
def test_within_a_level_the_confidence_decides(seed, by_label):
    """Answers with one label keep their strict order, even if the model is always correct."""
    rng = np.random.default_rng(seed)
    confidence = 1 - 10.0 ** -rng.uniform(0, 12, 200)
    labels = rng.choice(["a", "b"], 200)
    correct = (rng.random(200) < confidence) | (labels == "a")
    predictions = labels if by_label else None
    fit_of = fit("isotonic_by_label", ["confidence"], confidence, correct, predictions)
    fitted = fit_of(confidence, labels)
    assert ((0 <= fitted) & (fitted <= 1)).all()
    for label in "ab" if by_label else [("a", "b")]:
        rows = np.isin(labels, list(label))
        _, distinct = np.unique(confidence[rows], return_index=True)
        assert (np.diff(fitted[rows][distinct]) > 0).all()


@pytest.mark.parametrize("categories", [(), ("topic",)])
def test_levels_change_the_constant_and_the_slope(categories):
    """The fit equals SciPy's on explicit columns."""
    rng = np.random.default_rng(0)
    k = 400
    x = rng.normal(size=k)
    labels = rng.choice(["a", "b", "rare"], k, p=[0.6, 0.37, 0.03])
    topic = rng.choice(["law", "art"], k)
    chance = expit(x * (labels == "a") + (labels == "b") + (topic == "law"))
    correct = rng.random(k) < chance
    values = np.array([x, topic], object).T if categories else x
    columns = ("x", *categories, "label")
    fitted = fit("logistic", columns, values, correct, labels, None, categories)
    levels = [topic == "art", topic == "law"] * len(categories) + [labels == "a", labels == "b"]
    design = np.column_stack([np.ones(k), x, *[one * w for one in levels for w in (1, x)]])
    penalty = np.array([1, 1] + [LEVEL_PENALTY] * (design.shape[1] - 2))

    def loss(w):
        z = design @ w
        return float(np.sum(np.logaddexp(0, z) - correct * z) + penalty @ w**2 / 2)

    found = minimize(loss, np.zeros(design.shape[1]), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(fitted(values, labels), expit(design @ found.x), atol=1e-5)
    unseen = fitted(values[labels == "rare"], ["never"] * int((labels == "rare").sum()))
    np.testing.assert_array_equal(unseen, fitted(values, labels)[labels == "rare"])


def test_folds_are_even_and_the_same_in_any_order():
    ids = np.arange(103).astype(str)
    fold = assign_folds(ids)
    assert np.bincount(fold).tolist() == [21, 21, 21, 20, 20]
    order = np.random.default_rng(0).permutation(103)
    np.testing.assert_array_equal(assign_folds(ids[order]), fold[order])


def test_auto_selects_the_kind_that_is_better_out_of_fold():
    rng = np.random.default_rng(0)
    k = 2000
    confidence = rng.random(k)
    labels = rng.choice(["a", "b"], k)
    length = rng.normal(size=k)
    fold = assign_folds(np.arange(k).astype(str))
    values = np.column_stack([confidence, length])
    columns = ["confidence", "length", "label"]
    chances = {
        "common curve": confidence,
        "isotonic_by_label": np.where(labels == "a", confidence > 0.8, confidence > 0.2) * 0.8,
        "logistic": expit(3 * length),
    }
    for kind, chance in chances.items():
        read = read_features(columns, values, labels)
        found = fit_folds("auto", read, rng.random(k) < chance, fold)
        assert found.full.kind == ("logistic" if kind == "logistic" else "isotonic_by_label")
        assert (found.without_fold == ()) == (kind == "common curve")
    noise = rng.random(k) < 0.5
    read = read_features(columns, values, np.arange(k).astype(str))
    found = fit_folds("auto", read, noise, fold)
    assert len(found.full.parameters) == 1 or found.full.kind == "logistic"


def test_free_text_is_refused_with_the_number_of_labels():
    texts = np.array([*np.arange(300), *[7] * 5]).astype(str)
    wanted = "300 distinct values among 305 samples, and 299 occur once"
    with pytest.raises(ValueError, match=wanted):
        refuse_free_text(read_features(["x", "label"], np.zeros(305), texts))
    misspelt = np.array(["yes"] * 200 + ["no"] * 95 + [f"no{i}" for i in range(10)])
    refuse_free_text(read_features(["x"], np.zeros(305), misspelt), by_label=True)


@pytest.mark.parametrize("kind", ["isotonic_by_label", "logistic", "auto"])
def test_degenerate_samples_can_be_fitted(kind):
    """Single labels, constant confidences or correctness, and single samples can be fitted."""
    for k in (1, 4, 200):
        for correct in (np.ones(k), np.zeros(k), np.arange(k) % 2):
            columns = ["confidence"] if kind.startswith("isotonic") else ["confidence", "label"]
            read = read_features(columns, np.full(k, 0.7), np.full(k, "only"))
            folds = fit_folds(kind, read, correct, assign_folds(np.arange(k).astype(str)))
            found = folds.full([0.1, 0.7, 0.9], ["only", "only", "other"])
            assert ((0 <= found) & (found <= 1)).all()
            if kind != "logistic" and k == 200:
                np.testing.assert_allclose(found, correct.mean(), atol=2 * TIE_BREAK)


def fits_of(seed=0):
    confidence, correct, labels = scores(seed)
    before = np.where(np.arange(60) % 2, labels, "a")
    columns = ["confidence", "agreement", "length"]
    two = np.column_stack([confidence, np.arange(60) / 60])
    return [
        (
            fit("isotonic_by_label", ["confidence"], confidence, correct, labels),
            (confidence, labels),
        ),
        (fit("logistic", columns, two, correct, labels, before), (two, labels, before)),
    ]


@pytest.mark.parametrize(("fitted", "given"), fits_of(), ids=["isotonic_by_label", "logistic"])
def test_json_restores_a_fit_which_defers_abstentions(fitted, given):
    """Files store digests of labels, since answers may be confidential."""
    text = json.dumps(asdict(fitted))
    assert not any(f'"{label}"' in text for label in "abc")
    back = Fitted.from_json(json.loads(text))
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
        Fitted.from_json(wrong)


def test_agreement_is_a_column_between_others():
    confidence, correct, labels = scores(1)
    before = np.roll(labels, 1)
    fitted = fit("logistic", ["agreement", "confidence"], confidence, correct, labels, before)
    both = np.column_stack([labels == before, confidence])
    plain = fit("logistic", ["same", "confidence"], both, correct)
    assert fitted.parameters == plain.parameters
    both[:, 0] = 0
    assert fitted(confidence, labels).tolist() == plain(both).tolist()


def test_a_model_that_always_abstains_defers_all_samples():
    fitted = fit("isotonic_by_label", ["confidence"], np.full(3, -np.inf), [True] * 3, [""] * 3)
    back = Fitted.from_json(json.loads(json.dumps(asdict(fitted))))
    assert back([0.5, 1.0], ["a", "b"]).tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("kind", ["isotonic_by_label", "logistic"])
def test_a_sample_with_an_abstention_in_one_column_is_left_out_of_the_fit(kind):
    confidence, correct, _ = scores(5)
    values = np.column_stack([confidence, np.linspace(0, 1, 60)])
    values[::3, 0] = -np.inf
    values[1::7, 1] = -np.inf
    rows = np.isfinite(values).all(axis=1)
    found = fit(kind, ["x", "y"], values, correct)
    assert found == fit(kind, ["x", "y"], values[rows], correct[rows])
    assert 0 < rows.sum() < 60 and found.parameters


def test_a_curve_without_weight_and_order_replaces_the_common_curve():
    """Policies of :func:`answer_table` have such curves."""
    common = {"digest": None, "knots": [0.0, 1.0], "values": [0.0, 0.5]}
    of_label = {"digest": label_digest("b"), "knots": [0.0], "values": [0.25]}
    parts = {"kind": "isotonic_by_label", "columns": ["confidence"]}
    fitted = Fitted.from_json(parts | {"parameters": [common, of_label]})
    assert fitted([0.5, 0.5, 1.0], ["a", "b", ""]).tolist() == [0.25, 0.25, 0.5]
