"""Claims on pairs and single models measure what their texts state."""

import warnings

import numpy as np
import pandas as pd
import pytest
from tiny_stores import noisy_store, three_models

from cascadelib import LogitStore, search
from tools.claims import pairs

STORE = three_models(k=300)
OTHER = three_models(1, k=300, noise=1.2)


def test_the_least_factor_is_that_of_the_cascade_that_the_selection_split_names():
    """Resamples do not choose the model."""
    store = noisy_store(k=1000, models=9, signal=0.5, noise=1.2, costs=3.0 ** np.arange(9))
    front = search(store, 2, "max_softmax", models="pareto")
    (point,) = pairs.least_improved(front)
    inner = front.singles.loc[front.singles["on_hull"], "accuracy"][1:-1]
    least = inner.iloc[front.improvement_at(inner.to_numpy()).argmin()]
    assert point.accuracy >= least - 1e-12
    assert point.cost == front.cost_at(least)
    assert pairs.least_improved(search(STORE.select(["m0", "m1"]), 2)) == []


def test_three_models_have_claims_on_pairs_without_warnings():
    """A resample of three models may be one model three times, which has no pair."""
    store = LogitStore("data/fashion-mnist/val").take(slice(0, 500))
    store = store.select(["lenet@28", "small_resnet_w24x2@28", "resnet18_w32@56"])
    front = search(store, 2, "max_softmax", models="pareto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pairs.of_models(pairs.pairs_with_front(front, store))
    assert 0 <= found["plateau-kept"].value <= 1


def test_a_parabola_explains_gains_that_depend_on_the_difference_alone():
    difference = pd.Series(np.linspace(0, 0.3, 20))
    gains = 2 - 10 * difference**2
    assert np.abs(pairs.residuals(gains, difference)).max() > 0.05
    left = [pairs.residuals(gains[:k], difference[:k], degree=2) for k in (20, 1)]
    assert [np.abs(values).max() for values in left] == pytest.approx([0, 0], abs=1e-12)
