"""Curves of several fronts."""

import numpy as np

from cascadelib import LogitStore, search
from tools.side_by_side import curves_of


def make(seed, k=400):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, k)
    ease = rng.normal(size=(k, 1))
    logits = {
        f"m{i}": (1 + i) * np.eye(4)[labels] * (1 + ease) + rng.normal(size=(k, 4))
        for i in range(4)
    }
    return LogitStore.from_arrays(labels, logits, macs={f"m{i}": 10.0 ** (i + 1) for i in range(4)})


STORE = make(0)


def test_curves_begin_at_the_requested_accuracy():
    fronts = {name: search(STORE, 2, name) for name in ("max_softmax", "entropy")}
    curves = curves_of(fronts, 0.6)
    for label, front in fronts.items():
        assert curves[label].equals(front.improvement_curve(0.6))
