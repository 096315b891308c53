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


@pytest.mark.parametrize(("row", "total"), [([-0.5, 1.0], "0.5"), ([0.0, 0.0], "0")])
@pytest.mark.filterwarnings("error")
def test_probabilities_are_refused_with_their_sum(row, total):
    p = np.full((len(LABELS), C), 1 / C)
    p[4] = [*row, *[0] * (C - 2)]
    with pytest.raises(ValueError, match=rf"'a'.*row 4 .*\(sum {total}\)."):
        LogitStore.from_probabilities(LABELS, {"a": p})


def test_tensors_are_stored_in_the_requested_dtype(store):
    torch = pytest.importorskip("torch")
    store.add("a", torch.from_numpy(LOGITS["a"]))
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])
    np.testing.assert_array_equal(store.take(torch.tensor([1, 1])).labels, LABELS[[1, 1]])
    store.add("bf", torch.from_numpy(LOGITS["a"]).bfloat16().requires_grad_())
    store.add("half", LOGITS["a"], dtype="float16")
    assert store.logits("bf").dtype == np.float32 and store.logits("half").dtype == np.float16
    np.testing.assert_array_equal(store.logits("half"), LOGITS["a"].astype(np.float16))
