"""Outputs of models are converted to the stored type, and probabilities sum to 1."""

import numpy as np
import pytest
from toy_store import LABELS, LOGITS, C

from cascadelib.store.logit_store import LogitStore


def test_logits_of_probabilities_are_their_logarithms():
    p = np.exp(LOGITS["a"].astype(float))
    p /= p.sum(1, keepdims=True)
    p[0] = np.eye(C)[2]
    store = LogitStore.from_probabilities(LABELS, {"a": p}, macs={"a": 5})
    z = store.logits("a")
    np.testing.assert_allclose(np.exp(z) / np.exp(z).sum(1, keepdims=True), p, atol=1e-15)
    assert np.isfinite(z).all() and store.models.macs["a"] == 5
    for value in (0.9, np.nan, -0.1):
        wrong = p.copy()
        wrong[4, 0] = value
        with pytest.raises(ValueError, match="'a'.*row 4"):
            LogitStore.from_probabilities(LABELS, {"a": wrong})


def test_rows_of_probabilities_are_normalised_on_request():
    p = np.random.default_rng(0).random((len(LABELS), C)) + 0.1
    store = LogitStore.from_probabilities(LABELS, {"a": p}, normalise=True)
    store.add("b", probabilities=p, normalise=True, dtype="float64")
    for name in "ab":
        np.testing.assert_allclose(store.output(name), p / p.sum(1, keepdims=True), rtol=1e-15)
        assert store.holds_probabilities(name)


def test_tensors_are_stored_in_the_requested_dtype(store):
    torch = pytest.importorskip("torch")
    store.add("a", torch.from_numpy(LOGITS["a"]))
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])
    np.testing.assert_array_equal(store.take(torch.tensor([1, 1])).labels, LABELS[[1, 1]])
    store.add("bf", torch.from_numpy(LOGITS["a"]).bfloat16().requires_grad_())
    store.add("half", LOGITS["a"], dtype="float16")
    assert store.logits("bf").dtype == np.float32 and store.logits("half").dtype == np.float16
    np.testing.assert_array_equal(store.logits("half"), LOGITS["a"].astype(np.float16))
