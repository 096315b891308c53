"""Small stores for the explorer, and comparisons of its points."""

from dataclasses import fields

import numpy as np

import cascadelib as cl


def made(seed=0, k=400, classes=7, models=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, k)
    ease = rng.normal(size=(k, 1))
    truth = np.eye(classes)[labels]
    logits = {
        f"m{i}": (1 + 0.7 * i) * truth * (1 + ease) + rng.normal(size=(k, classes))
        for i in range(models)
    }
    costs = {name: 10.0 ** (i + 2) for i, name in enumerate(logits)}
    return cl.LogitStore.from_arrays(
        labels, logits, macs=costs, seconds={name: c / 1e9 for name, c in costs.items()}
    )


STORE = made()
OTHER = made(1, 300)


def fields_of(point):
    """The fields of a point without its improvement, which may be nan, and ``expected_accuracy``,
    which only points of a front have."""
    omitted = ("improvement", "expected_accuracy")
    names = [field.name for field in fields(point) if field.name not in omitted]
    return {name: getattr(point, name) for name in names}


def assert_same(point, expected):
    """Assert the same cascade, thresholds and measurements."""
    for name in ("models", "thresholds", "accuracy", "cost", "exit_rates", "score", "cost_kind"):
        assert getattr(point, name) == getattr(expected, name)
