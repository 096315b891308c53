"""Dominance and cost ratios of fronts against slow references, and tables against their calls."""

import warnings
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import slow_cost_ratio, slow_dominance
from tables_of_scores import noisy_store

from cascadelib import Baseline, ScoreTable, search
from cascadelib.analysis import (
    mean_cost_ratio,
    range_dominance,
)
from cascadelib.analysis.comparison import _cost_ratio

STORE = noisy_store(0, 400)
OTHER = noisy_store(1, 400)


@cache
def all_fronts():
    return {
        name: search(STORE, 2, name)
        for name in ("max_softmax", "entropy", "max_softmax_mean_logits")
    }


def points_of(front):
    """Return a front as a list of (cost, accuracy)."""
    return list(zip(front.table["cost"].tolist(), front.table["accuracy"].tolist()))


def baseline_points(front):
    """Return the front of single models as a list of (cost, accuracy)."""
    rows = front.singles.query("on_front").sort_values("cost")
    return list(zip(rows["cost"].tolist(), rows["accuracy"].tolist()))


@st.composite
def fronts_of_one_split(draw):
    """Draw two or three fronts of the same models with other confidences and many ties."""
    models = draw(st.integers(2, 4))
    samples = draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    correct = rng.random((models, samples)) < 0.6
    cost = rng.integers(1, 5, models)
    levels = draw(st.integers(1, 5))
    fronts = []
    for _ in range(draw(st.integers(2, 3))):
        confidence = rng.integers(0, levels, (models, samples)) / 4
        fronts.append(search(ScoreTable(correct, confidence, cost), draw(st.integers(1, 2))))
    return fronts


@settings(max_examples=25)
@given(fronts_of_one_split())
def test_dominance_is_the_sum_over_stretches_between_points(fronts):
    table = range_dominance({str(i): front for i, front in enumerate(fronts)})
    singles = baseline_points(fronts[0])
    if len(singles) == 1:
        assert table.isna().all(axis=None)
        return
    expected = slow_dominance([points_of(front) for front in fronts], singles)
    np.testing.assert_allclose(table.to_numpy(), expected, atol=1e-12)


@settings(max_examples=25)
@given(fronts_of_one_split())
def test_the_cost_ratio_is_the_mean_over_stretches_between_points(fronts):
    first, second = fronts[:2]
    expected = slow_cost_ratio(points_of(first), points_of(second), baseline_points(first))
    ratio = mean_cost_ratio(first, second)
    assert ratio == pytest.approx(expected, nan_ok=True)
    assert mean_cost_ratio(second, first) == pytest.approx(1 / ratio, nan_ok=True)


def test_cost_dominance_is_nan_if_a_model_is_free():
    correct = np.array([[True, False, False], [True, True, False]])
    front = search(ScoreTable(correct, np.ones((2, 3)), [0.0, 5.0]), 2)
    table = range_dominance({"a": front, "b": front})
    assert table["cost_dominance"].isna().all()
    assert table["accuracy_dominance"].tolist() == [0.5, 0.5]


def test_the_cost_ratio_is_not_defined_if_either_front_is_free_or_no_accuracy_is_shared():
    baseline = Baseline([1.0, 9.0], [0.5, 0.9])
    paid = np.array([1.0, 4.0]), np.array([0.5, 0.8])
    free = np.array([0.0, 4.0]), np.array([0.5, 0.8])
    low = np.array([1.0]), np.array([0.5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for first, second in product((free, paid, low), repeat=2):
            ratio = _cost_ratio(baseline, first, second)
            assert np.isnan(ratio) or first is second is paid
    least = np.array([0.0, 4.0]), np.array([0.4, 0.8])  # free below what the baseline reaches
    assert np.isnan(_cost_ratio(baseline, least, paid))
