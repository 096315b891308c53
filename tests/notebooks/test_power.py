"""The numbers of images that decide a published difference."""

import numpy as np
import pytest
from scipy.stats import norm

from tools import power
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
