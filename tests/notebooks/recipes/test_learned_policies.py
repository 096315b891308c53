"""The logistic policy against scikit-learn and a loop; equal features give equal scores."""

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_stores import assert_front_equals, assert_replay_equals, make_store
from references import brute_front
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cascadelib import search
from cascadelib.methods.fitted import fit_confidence, read_features
from tools.recipes.learned_policies import LEARNED


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 60),
    st.sampled_from(["mixed", "all right", "none right", "separable"]),
)
def test_logistic_scores_are_those_of_scikit_learn(seed, k, kind):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(k, 3)) * (1, 5, 0)  # a feature may be constant
    correct = {
        "mixed": rng.random(k) < expit(x[:, 0]),
        "all right": np.ones(k, bool),
        "none right": np.zeros(k, bool),
    }
    correct = correct.get(kind, x[:, 0] > 0)
    scores = fit_confidence("logistic", read_features("abc", x), correct)(x)
    assert ((0 <= scores) & (scores <= 1)).all()
    if correct.all() or not correct.any():
        assert (np.abs(scores - correct) <= 0.5).all()
        return
    z = np.column_stack([np.ones(k), x])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=10_000)
        theirs.fit(z, correct)
    np.testing.assert_allclose(scores, theirs.predict_proba(z)[:, 1], atol=1e-4)


def test_equal_features_get_equal_scores():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(97, 3))
    scorer = fit_confidence("logistic", read_features("abc", x), rng.random(97) < 0.5)
    assert len(np.unique(scorer(np.repeat(x[:1], 101, axis=0)))) == 1
    assert scorer(x[3:4])[0] == scorer(x)[3]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 4.0]))
def test_the_logistic_policy_equals_a_loop(seed, step):
    store = make_store(seed, 12, 3, step)
    learned = LEARNED.fit(store)
    brute = brute_front(
        learned.stage(store, list(store.models.index)), store.costs("macs"), (1, 2, 3)
    )
    table = search(store, (1, 2, 3), learned).table
    assert_front_equals(table, [(n / 12, cost) for n, cost in brute.items()])
    assert_replay_equals(store, table, learned)
