"""Outputs of every type give the same results as float64."""

import numpy as np
import pytest

from cascadelib import METHODS, LogitStore, Method, confidence, evaluate, search
from cascadelib.methods.confidence_metrics import METRICS, metric_of, predict_rows
from cascadelib.methods.ensembles import ENSEMBLES

OTHERS = {
    f"{metric}_{ensemble}": Method(metric, ensemble)
    for metric in ("entropy", "softmax_margin", "top2_softmax_sum")
    for ensemble in ("mean_logits", "mean_softmax", "most_confident")
}
ALL = METHODS | OTHERS


def stores(classes, dtype, probabilities):
    """A store of three models in this dtype, and one of the same values in float64, with ties."""
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 90)
    values = {}
    for i in range(3):
        z = rng.normal(size=(90, classes)).round(1) + (1 + i) * np.eye(classes)[labels]
        if probabilities:
            z = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        values[f"m{i}"] = z.astype(dtype)
    macs = {"m0": 1, "m1": 3, "m2": 9}
    for kind in (dtype, "float64"):
        own = {name: z.astype(kind) for name, z in values.items()}
        yield LogitStore.from_arrays(labels, own, macs, dtype=kind, probabilities=probabilities)


@pytest.mark.parametrize(  # each pair of values once
    ("dtype", "classes", "probabilities"),
    [("float16", 2, False), ("float16", 33, True), ("float32", 2, True), ("float32", 33, False)],
)
@pytest.mark.parametrize("ensemble", [*ENSEMBLES])
@pytest.mark.filterwarnings("ignore:temperature of")
def test_fronts_equal_those_of_float64(dtype, classes, ensemble, probabilities):
    own, twin = stores(classes, dtype, probabilities)
    methods = [method for method in ALL.values() if method.ensemble == ensemble]
    assert methods
    for method in methods:
        front = search(own, (1, 2, 3), method)
        expected = search(twin, (1, 2, 3), method)
        for column in ("accuracy", "cost", "models"):
            assert front.table[column].tolist() == expected.table[column].tolist(), method
        thresholds, wide = (
            [t for row in one.table["thresholds"] for t in row] for one in (front, expected)
        )
        assert thresholds == pytest.approx(wide, rel=1e-9, nan_ok=True)
        assert evaluate(own, front.point(0)).accuracy == front.table["accuracy"][0]


@pytest.mark.parametrize("metric", [*METRICS])
@pytest.mark.parametrize("classes", [1, 2, 32, 33])
@pytest.mark.parametrize("dtype", ["float16", "float32", "longdouble", "int16", "int64"])
def test_confidences_equal_those_of_float64(metric, classes, dtype):
    z = (8 * np.random.default_rng(0).normal(size=(50, classes))).astype(dtype)
    wide = z.astype(np.float64)
    np.testing.assert_array_equal(confidence(z, metric), confidence(wide, metric))
    rule = metric_of(metric)
    for own, expected in zip(predict_rows(z, rule), predict_rows(wide, rule), strict=True):
        np.testing.assert_array_equal(own, expected)
