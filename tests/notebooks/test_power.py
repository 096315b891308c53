"""The numbers of images that decide a published difference."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cascadelib import METHODS
from tools import claims_of_methods, power
from tools.evidence import Evidence


def test_a_test_of_as_many_images_has_that_power():
    """A normal difference is drawn with the error of that number of images."""
    rng = np.random.default_rng(0)
    error = 0.002
    draws = list(0.001 + error * rng.standard_normal(4000))
    found = power.images_to_decide({"pairs-top": Evidence(0.001, draws, 10_000)}).iloc[0]
    assert found["standard error"] == pytest.approx(error, rel=0.05)
    for column, wanted in (("images, even chance", 0.5), ("images, power 80%", 0.8)):
        smaller = found["standard error"] * np.sqrt(10_000 / found[column])
        estimates = 0.00306 + smaller * rng.standard_normal(20_000)
        decided = np.abs(estimates / smaller) > norm.isf(0.025)
        assert decided.mean() == pytest.approx(wanted, abs=0.02)


def test_comparisons_without_draws_are_left_out():
    assert power.images_to_decide({"pairs-top": Evidence(0.001)}).empty


def test_numbers_of_images_have_two_digits():
    draws = [0.001, 0.003, 0.002]
    table = power.in_words(power.images_to_decide({"pairs-top": Evidence(0.002, draws, 10_000)}))
    assert table["published"].item() == "+0.31%"
    assert table["images, even chance"].item() == "4,100"


@pytest.mark.filterwarnings("error")
def test_resamples_in_which_a_front_does_not_reach_the_range_are_left_out():
    """Their mean factor is 0, and a ratio to it is undefined."""
    factors = [pd.Series({"softmax_margin": 1.5 + i / 50, "max_softmax": 1.4}) for i in range(9)]
    known = Evidence(factors[0], factors, 10_000)
    zero = pd.Series({"softmax_margin": 1.5, "max_softmax": 0.0})
    with_one = Evidence(factors[0], [*factors, zero], 10_000)
    tables = [power.images_to_decide({"first": each}) for each in (known, with_one)]
    assert tables[0].equals(tables[1]) and len(tables[0]) == 1
    with_many = Evidence(factors[0], [*factors, zero, zero, zero], 10_000)
    assert power.images_to_decide({"first": with_many}).empty


@pytest.mark.filterwarnings("error")
def test_ratios_to_fronts_that_do_not_reach_the_range_are_missing():
    baseline = SimpleNamespace(accuracy=np.array([0.6, 0.9]), front=np.array([0, 1]), best=0.9)
    front = SimpleNamespace(baseline=baseline, mean_improvement=lambda *ends: np.float64(0.0))
    metrics = ("max_softmax", "softmax_margin")
    fronts = {f"{metric}, {mean}": front for metric in metrics for mean in claims_of_methods.MEANS}
    values = claims_of_methods.means_by_metric.__wrapped__(fronts)
    values |= claims_of_methods.triples_by_method.__wrapped__(*[dict.fromkeys(METHODS, front)] * 2)
    assert np.isnan(values["means-max"]).all() and np.isnan(values["triples-means"]).all()
    assert np.isnan(values["triples-softmax"])
