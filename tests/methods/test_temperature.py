"""Temperature scaling: the fit minimizes the likelihood, or warns that there is no minimum."""

import gc
import warnings
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import fit_temperature
from cascadelib.methods.confidence_metrics import softmax

NAMES = ["m0", "m1", "m2"]


def negative_log_likelihood(logits, labels, temperature):
    return -np.log(softmax(logits, temperature)[np.arange(len(labels)), labels]).mean()


def test_the_temperature_minimizes_the_likelihood(store):
    z = store.logits("m1")
    labels = store.labels
    t = fit_temperature(z, labels)
    here = negative_log_likelihood(z, labels, t)
    grid = [negative_log_likelihood(z, labels, g) for g in np.geomspace(0.05, 20, 2001)]
    assert here <= min(grid) + 1e-9


def test_a_model_that_is_never_wrong_has_no_temperature():
    with pytest.warns(RuntimeWarning, match="correct on all samples"):
        t = fit_temperature(np.array([[5.0, 0.0], [0.0, 5.0]]), [0, 1])
    assert t == 1.0


def test_a_likelihood_without_minimum_returns_the_bound():
    misleading = np.array([[5.0, 0.0]] * 4)
    labels = [0, 1, 1, 1]
    for scale in (1.0, 1e-3):
        with pytest.warns(RuntimeWarning, match="at its bound, "):
            assert fit_temperature(misleading * scale, labels) == pytest.approx(2.5 * scale * 100)
    with pytest.warns(RuntimeWarning, match="at its bound, 1: no temperature"):
        assert fit_temperature(np.zeros((4, 2)), labels) == 1.0  # nothing to scale


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.integers(-6, 6), st.integers(2, 30))
def test_the_temperature_is_proportional_to_the_logits(seed, power, k):
    """CLIP's cosines need T ≈ 0.002, other logits 1. SciPy's warnings are not shown."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, k)
    z = rng.normal(size=(k, 3)) + np.eye(3)[labels]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = [fit_temperature(z * scale, labels) for scale in (1.0, 10.0**power)]
    assert all("temperature of the model" in str(w.message) for w in caught)
    if fitted[0] != 1.0:
        assert fitted[1] == pytest.approx(fitted[0] * 10.0**power, rel=1e-6)


def test_a_fit_holds_no_reference_to_its_logits():
    """A mapped file would otherwise stay mapped until the garbage collector runs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 50, 6000)
    logits = rng.standard_normal((6000, 50)) + 12 * np.eye(50)[labels]
    logits[1, labels[1]] = -1  # none of the samples that the search for a temperature begins with
    kept = weakref.ref(logits)
    gc.disable()
    try:
        assert 0.01 < fit_temperature(logits, labels) < 10
        del logits
        assert kept() is None
    finally:
        gc.enable()
