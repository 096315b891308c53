"""A function as ensemble equals the ensemble that it computes, and its result is checked."""

import numpy as np
import pytest
from tiny_stores import noisy_store

from cascadelib import Method, search


def make_store(seed=0, k=40, models=4):
    """Return a store with logits on a grid, so that votes and confidences tie."""
    return noisy_store(seed, k, models, classes=4, signal=0.8, step=0.5)


def test_a_function_that_averages_is_the_mean_ensemble():
    store = make_store(k=5000)
    for temperature in (False, True):
        own = Method("entropy", lambda z: z.mean(axis=0), temperature).fit(store)
        known = Method("entropy", "mean_logits", temperature).fit(store)
        ours, theirs = (m.stage(store, list(store.models.index))((0, 2, 3)) for m in (own, known))
        assert np.array_equal(ours[0], theirs[0])
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-12)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: z[0, :, :2], "shape"),
        (lambda z: z.mean(axis=0) * np.nan, "nan"),
        (lambda z: 1.0, "shape"),
    ],
)
def test_the_result_of_a_function_is_checked(function, message):
    with pytest.raises(ValueError, match=message):
        search(make_store(), 2, Method(ensemble=function))
