"""Models with reordered classes."""

import pytest
import torch

from cascadelib.zoo.model import Model, reordered


def test_a_reordered_model_returns_the_requested_columns():
    module = torch.nn.Linear(2, 3)
    model = reordered(Model("m", module, None, {"classes": list("abc"), "family": "x"}), [2, 0])
    x = torch.randn(4, 2)
    assert torch.equal(model.module(x), module(x)[:, [2, 0]])
    assert model.metadata == {"family": "x", "class_order": [2, 0]}
    for order in ([0, 0], [-1, 0], [0.5], [[0]]):
        with pytest.raises(ValueError, match="'m': the order of classes"):
            reordered(model, order)
