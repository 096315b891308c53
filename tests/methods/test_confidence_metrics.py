"""Confidence metrics equal a loop over samples and satisfy the identities of the paper."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cascadelib.methods.confidence_metrics import METRICS, confidence
from cascadelib.methods.thresholds import convert_units

logits = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-40, 40)
)


def first_margin(values):
    return values[0] - (values[1] if len(values) > 1 else 0)


TWINS = {  # of softmax and logits / T of one sample, both falling
    "max_softmax": lambda p, z: p[0],
    "softmax_margin": lambda p, z: first_margin(p),
    "entropy": lambda p, z: sum(v * math.log(v) for v in p if v > 0),
    "logits_margin": lambda p, z: first_margin(z),
    "top2_softmax_sum": lambda p, z: sum(p[:2]),
}


def slow(row, metric, t):
    row = sorted((v / t for v in row), reverse=True)
    e = [math.exp(v - row[0]) for v in row]
    return TWINS[metric]([v / sum(e) for v in e], row)


@given(logits, st.sampled_from([*TWINS]), st.sampled_from([0.5, 1.0, 3.0]))
def test_metrics_equal_a_loop_over_samples(z, metric, t):
    expected = [slow(row, metric, t) for row in z.tolist()]
    np.testing.assert_allclose(confidence(z, metric, t), expected, atol=1e-12)


def test_extreme_logits_stay_finite():
    z = np.array([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]], np.float32)
    for metric in METRICS:
        assert np.isfinite(confidence(z, metric)).all()
    assert confidence(z, "max_softmax")[0] == 1.0
    assert confidence(z, "entropy")[1] == pytest.approx(-math.log(3))


def test_float32_logits_are_computed_in_float64():
    z = np.array([[20.0, 0.0], [21.0, 0.0]], np.float32)
    first, second = confidence(z, "max_softmax")
    assert first < second < 1.0  # in float32 both round to 1


@given(st.lists(st.floats(0.01, 15), min_size=2, max_size=20, unique_by=lambda d: round(d, 3)))
def test_all_metrics_order_two_classes_equally(differences):
    z = np.stack([np.array(differences), np.zeros(len(differences))], axis=1)
    orders = {tuple(np.argsort(confidence(z, metric), kind="stable")) for metric in METRICS}
    assert len(orders) == 1


def test_entropy_is_negated_internally():
    z = np.array([[0.0, 0.0]])
    assert convert_units("entropy", confidence(z, "entropy"))[0] == pytest.approx(math.log(2))
    assert convert_units("max_softmax", 0.7) == 0.7


def test_a_callable_is_a_metric():
    z = np.array([[1.0, 5.0], [2.0, 0.0]])
    assert confidence(z, lambda logits: logits[:, 0]).tolist() == [1.0, 2.0]
