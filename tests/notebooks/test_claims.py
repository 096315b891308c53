"""Estimands of the paper's claims: they measure what their texts state."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from tiny_stores import three_models

from cascadelib import search
from tools.claims_elsewhere import calibration_by_models, of_one_size
from tools.claims_of_methods import tenth_claims
from tools.claims_of_pairs import pairs_of_front, unexplained
from tools.evidence import unbiased_correlation


def test_unshifted_samples_are_evenly_spaced():
    """A folder of images is in the order of classes, so its first samples have few of them."""
    whole = three_models(0, k=600)
    ordered = whole.take(np.argsort(whole.labels, kind="stable"))
    control, shifted = of_one_size(ordered, three_models(1, k=100), paired=False)
    assert len(control) == len(shifted) == 100
    assert len(np.unique(control.labels)) == len(np.unique(whole.labels))


def test_a_rank_correlation_of_few_pairs_is_corrected_for_its_bias():
    rng = np.random.default_rng(0)
    pearson = 2 * np.sin(np.pi / 6 * 0.99)  # of normal variables with this rank correlation
    draws = []
    for _ in range(400):
        x, noise = rng.normal(size=(2, 31))
        draws.append(spearmanr(x, pearson * x + np.sqrt(1 - pearson**2) * noise).statistic)
    assert np.mean(draws) < 0.985
    assert np.mean(unbiased_correlation(draws, 31)) == pytest.approx(0.99, abs=0.001)
    assert unbiased_correlation([-1, 0, 1], 31) == pytest.approx([-1, 0, 1])


def test_every_tenth_threshold_costs_at_least_as_much_as_all():
    tenth = tenth_claims(search(three_models(k=400), 3))["tenth"]
    assert tenth.value >= 1


def test_a_parabola_explains_gains_that_depend_on_the_difference_alone():
    difference = pd.Series(np.linspace(0, 0.3, 20))
    gains = 2 - 10 * difference**2
    assert np.abs(unexplained(gains, difference)).max() > 0.05
    assert unexplained(gains, difference, degree=2) == pytest.approx(np.zeros(20), abs=1e-12)
    assert unexplained(gains[:1], difference[:1], degree=2) == pytest.approx([0])


def test_a_single_model_on_a_front_is_no_pair():
    """A point of one model is stored with the next model, which no sample reaches."""
    cascades = [("a", "b"), ("b", "c")]
    points = pd.DataFrame({"models": cascades, "exit_rates": [(1.0, 0.0), (0.6, 0.4)]})
    pairs = pd.DataFrame(cascades, columns=["first", "second"])
    families = pd.Series({"a": "x", "b": "x", "c": "y"})
    found = pairs_of_front(SimpleNamespace(table=points), pairs, families)
    assert found["on_front"].tolist() == [False, True]
    assert found["two_families"].tolist() == [False, True]


def test_two_seeds_of_a_size_count_as_one_model():
    zoos = [(three_models(seed), three_models(seed + 2)) for seed in (0, 1)]
    found = calibration_by_models(zoos)["underconfident"]
    assert sum(found.value) <= found.samples == 3
