"""The bundled images under shift: the same for the same seed, stronger by severity, those of the
committed logits."""

import sys

import numpy as np
import pytest

from cascadelib import LogitStore
from cascadelib.files import ROOT
from cascadelib.zoo.loaders import load

sys.path.append(str(ROOT / "data" / "fashion-mnist"))
from corruptions import SHIFTED, fashion_mnist_shifted  # noqa: E402 - a script


@pytest.mark.parametrize("name", SHIFTED)
def test_committed_logits_are_those_of_the_images_made_again(name):
    import torch

    samples = fashion_mnist_shifted(name)
    store = LogitStore(f"data/fashion-mnist/shift/{name}")
    np.testing.assert_array_equal(samples.sample_ids, store.sample_ids)
    np.testing.assert_array_equal(samples.labels, store.labels)
    assert (store.dataset, store.split) == (samples.dataset, samples.split)
    unshifted = LogitStore("data/fashion-mnist/test").origin
    assert store.origin.dataset != unshifted.dataset
    model = load("mlp@28")
    with torch.inference_mode():
        logits = model.module(model.transform(samples.batch(0, 64))).numpy()
    np.testing.assert_allclose(logits, store.logits("mlp@28")[:64], atol=0.05)
