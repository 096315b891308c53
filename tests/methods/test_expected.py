"""Expected outcomes: the regression equals an optimizer and preserves each model's accuracy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm, rankdata

from cascadelib import METHODS, LogitStore, ScoreTable
from cascadelib.methods.expected import (
    PENALTY,
    expected_correct,
    expected_outcomes,
    normal_scores,
    ridge_logistic,
)


def outcomes(seed, models, k):
    """Correctness bool [M, k] and correlated rounded confidences [M, k]."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=k)
    margin = ease + rng.normal(0, 0.7, (models, k)) + np.linspace(0, 1, models)[:, None]
    return margin > 0.2, np.round(margin + rng.normal(0, 0.5, (models, k)), 1)


def slow_ridge(columns, correct):
    """Coefficients by an optimizer without derivatives. The constant has no penalty."""

    def loss(curve):
        log_odds = columns @ curve
        fit = np.logaddexp(0, log_odds).sum() - correct @ log_odds
        return float(fit + PENALTY * np.sum(curve[1:] ** 2) / 2)

    start = np.zeros(columns.shape[1])
    return minimize(loss, start, method="BFGS", options={"gtol": 1e-7}).x


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(5, 40))
def test_the_fit_equals_an_optimizer(seed, width, k):
    rng = np.random.default_rng(seed)
    columns = np.column_stack([np.ones(k), rng.normal(size=(k, width))])
    correct = rng.random(k)
    found = ridge_logistic(columns, correct)
    np.testing.assert_allclose(found, slow_ridge(columns, correct), atol=2e-4)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([-np.inf, 0.0, 0.5, 2.0, np.inf]), min_size=1, max_size=12))
def test_normal_scores_are_those_of_mean_ranks(values):
    expected = norm.ppf((rankdata(values) - 0.5) / len(values))
    np.testing.assert_allclose(normal_scores(np.array(values)), expected)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(5, 60))
def test_the_mean_expectation_of_a_model_is_its_accuracy(seed, models, k):
    """An expected front therefore has the same single models."""
    correct, confidence = outcomes(seed, models, k)
    stage = expected_outcomes(
        lambda prefix: (correct[prefix[-1]], confidence[prefix[-1]]), models, True
    )
    for model in range(models):
        chance, own = stage((model,))
        assert chance.mean() == pytest.approx(correct[model].mean(), abs=1e-8)
        assert (chance >= 0).all() and (chance <= 1).all()
        assert np.array_equal(own, confidence[model])


def test_expectations_use_the_confidences_of_all_models():
    """The confidence of another model is informative if the model's is constant."""
    rng = np.random.default_rng(0)
    correct = rng.random(2000) < 0.6
    silent = np.zeros(2000)
    other = correct + rng.normal(0, 0.3, 2000)
    singles = np.stack([normal_scores(silent), normal_scores(other)])
    chance = expected_correct(correct, singles, singles[0], 0)
    assert chance[correct].mean() > 0.9 and chance[~correct].mean() < 0.2


def test_constant_outcomes_are_not_fitted():
    zeros = np.zeros((1, 7))
    for value in (0.0, 1.0):
        assert expected_correct(np.full(7, value), zeros, zeros[0], 0).tolist() == [value] * 7
    half = expected_correct(np.array([True, False]), zeros[:, :2], zeros[0, :2], 0)
    np.testing.assert_allclose(half, 0.5)


def test_expectations_of_an_ensemble_depend_on_the_full_prefix():
    """Without an ensemble, only the last model of a prefix counts."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 300)
    logits = {name: np.eye(3)[labels] + rng.normal(size=(300, 3)) for name in "ab"}
    store = LogitStore.from_arrays(labels, logits, macs={"a": 1, "b": 2})
    inner = METHODS["max_softmax_mean_logits"].stage(store, ["a", "b"])
    stage = expected_outcomes(inner, 2, False)
    for prefix in ((0,), (1,), (0, 1)):
        assert stage(prefix)[0].mean() == pytest.approx(inner(prefix)[0].mean(), abs=1e-8)
    assert not np.allclose(stage((0, 1))[0], stage((1,))[0])


def test_confidences_may_be_missing():
    correct, confidence = outcomes(3, 2, 200)
    table = ScoreTable(correct, np.where([[False], [True]], -np.inf, confidence), [1.0, 5.0])
    stage = expected_outcomes(table.outcome(list(table.models.index), None, "top1"), 2, True)
    assert np.isfinite(stage((1,))[0]).all()
