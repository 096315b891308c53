"""Outputs of every type give the same results as float64."""

import numpy as np
import pytest

from cascadelib import METHODS, LogitStore, Method, confidence, evaluate, search
from cascadelib.methods.confidence_metrics import METRICS, metric_of, predict_rows
from cascadelib.methods.ensembles import ENSEMBLES

OTHERS = {f"vote_{metric}": Method(metric, "vote") for metric in METRICS}
OTHERS |= {
    f"{metric}_{ensemble}": Method(metric, ensemble)
    for metric in ("entropy", "softmax_margin", "top2_softmax_sum")
    for ensemble in ("mean_logits", "mean_softmax", "most_confident")
}
ALL = METHODS | OTHERS


def outputs(classes, dtype, probabilities):
    """{model: [k, classes]} of three models, values that ``dtype`` holds, ties included."""
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 90)
    values = {}
    for i in range(3):
        z = rng.normal(size=(90, classes)).round(1) + (1 + i) * np.eye(classes)[labels]
        if probabilities:
            z = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        values[f"m{i}"] = z.astype(dtype)
    return labels, values


def stores(classes, dtype, probabilities):
    """A store of this dtype, and one of the same values in float64."""
    labels, values = outputs(classes, dtype, probabilities)
    macs = {"m0": 1, "m1": 3, "m2": 9}
    own = LogitStore.from_arrays(labels, values, macs, dtype=dtype, probabilities=probabilities)
    twin = {name: np.asarray(z, np.float64) for name, z in values.items()}
    return own, LogitStore.from_arrays(
        labels, twin, macs, dtype="float64", probabilities=probabilities
    )


@pytest.mark.parametrize("probabilities", [False, True], ids=["logits", "probabilities"])
@pytest.mark.parametrize("classes", [2, 33])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
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
        thresholds = [t for row in front.table["thresholds"] for t in row]
        assert thresholds == pytest.approx(
            [t for row in expected.table["thresholds"] for t in row], rel=1e-9, nan_ok=True
        )
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


def test_a_torch_bfloat16_tensor_is_stored():
    torch = pytest.importorskip("torch")
    logits = torch.arange(12.0).reshape(4, 3).to(torch.bfloat16)
    store = LogitStore.from_arrays([0, 1, 2, 0], {"a": logits}, {"a": 1}, dtype="float16")
    assert store.logits("a").dtype == np.float16
    assert len(search(store, 1)) == 1
