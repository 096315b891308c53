"""Confidence metrics equal a loop over samples and satisfy the identities of the paper."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from references import slow_confidence

from cascadelib.methods.confidence_metrics import METRICS, confidence
from cascadelib.methods.thresholds import convert_units

logits = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-40, 40)
)


METRIC_NAMES = [*METRICS, "top2_softmax_sum"]


@given(logits, st.sampled_from(METRIC_NAMES), st.sampled_from([0.5, 1.0, 3.0]))
def test_metrics_equal_a_loop_over_samples(z, metric, t):
    expected = [slow_confidence(row, metric) for row in z / t]
    np.testing.assert_allclose(confidence(z, metric, t), expected, atol=1e-12)


def test_extreme_logits_stay_finite():
    z = np.array([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]], np.float32)
    for metric in METRICS:
        assert np.isfinite(confidence(z, metric)).all()
    assert confidence(z, "max_softmax")[0] == 1.0
    assert confidence(z, "entropy")[1] == pytest.approx(-math.log(3))


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
