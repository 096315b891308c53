"""Calibration errors and curves, compared with torchmetrics, scikit-learn and loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_stores import three_models

from cascadelib import LogitStore, Method, confidence, fit_temperature, search
from cascadelib.analysis.calibration import (
    bin_numbers,
    calibration_table,
    confidence_gap,
    expected_calibration_error,
    ideal_calibration_error,
    moving_average,
)
from cascadelib.analysis.comparison import mean_cost_ratio
from cascadelib.analysis.shift import front_on
from cascadelib.methods.confidence_metrics import softmax
from tools.figures import calibration
from tools.figures.calibration import (
    above_below,
    ideal_above_below,
    perfect_temperature,
    scaling_table,
    threshold_curves,
    threshold_table,
)


def make_logits(k=3000, classes=5, seed=0, sharpness=1.8):
    """Return logits that are calibrated at a temperature of ``sharpness``, and labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(k, classes)) * 2
    labels = (softmax(z).cumsum(1) < rng.random((k, 1))).sum(1)
    return z * sharpness, labels


def test_ece_equals_torchmetrics_if_no_confidence_is_on_an_edge():
    z, labels = make_logits()
    found = expected_calibration_error(confidence(z), z.argmax(1) == labels)
    # multiclass_calibration_error of torchmetrics 1.9 with n_bins=15 and norm="l1"
    assert found == pytest.approx(0.1342744678258896, abs=1e-6)


def slow_ece(confidence, correct, bins):
    ends = np.linspace(0, 1, bins + 1)
    total = 0.0
    for b in range(bins):
        inside = (confidence > ends[b]) & (confidence <= ends[b + 1]) | (b == 0) & (confidence == 0)
        if inside.any():
            total += abs(correct[inside].mean() - confidence[inside].mean()) * inside.sum()
    return total / len(confidence)


@st.composite
def tied(draw):
    """Draw confidences with ties, and whether each answer is correct."""
    pairs = st.tuples(st.integers(0, 8), st.booleans())
    confidence, correct = zip(*draw(st.lists(pairs, min_size=1, max_size=40)))
    return np.array(confidence) / 8, np.array(correct)


@settings(max_examples=100)
@given(tied(), st.integers(1, 12))
def test_ece_equals_a_loop_ties_and_edges_included(samples, bins):
    confidence, correct = samples
    found = expected_calibration_error(confidence, correct, bins)
    assert found == pytest.approx(slow_ece(confidence, correct, bins))
    assert bin_numbers(np.array([0.0, 1 / bins, 1.0]), bins).tolist() == [0, 0, bins - 1]


@pytest.mark.soak
@pytest.mark.parametrize("k", [60, 500, 5000])
def test_the_ideal_ece_is_the_mean_of_simulated_ones(k):
    """100 draws of answers that are correct with the stated probability."""
    rng = np.random.default_rng(k)
    skewed = 1 - 0.9 * rng.random(k) ** 6
    for confidences in (skewed, rng.uniform(0.2, 1, k), np.ones(k), np.full(k, 0.999)):
        drawn = [
            expected_calibration_error(confidences, rng.random(k) < confidences) for _ in range(100)
        ]
        ideal = ideal_calibration_error(confidences)
        assert ideal == pytest.approx(np.mean(drawn), rel=0.2, abs=1e-3)


def test_the_perfect_temperature_equates_confidence_and_accuracy():
    z, labels = make_logits()
    correct = z.argmax(1) == labels
    temperature = perfect_temperature(z, correct, "m")
    assert confidence(z, temperature=temperature).mean() == pytest.approx(correct.mean())


def test_the_temperature_of_a_model_without_errors_stays_1_with_a_warning():
    logits = {"sure": np.eye(3) * 1e4, "flat": np.eye(3)}
    store = LogitStore.from_arrays([0, 1, 2], logits, macs={"sure": 1, "flat": 2})
    words = "model 'sure' stays 1: the model is correct on all samples"
    with pytest.warns(RuntimeWarning, match=words):
        fitted = Method(temperature=True).fit(store)
    assert fitted.temperatures == {"sure": 1.0, "flat": 1.0}
    for correct in (np.ones(3), np.zeros(3)):
        with pytest.warns(RuntimeWarning, match="'sure' left at 1: no mean max softmax"):
            assert perfect_temperature(logits["sure"], correct, "sure") == 1.0


@settings(max_examples=200)
@given(tied())
def test_above_and_below_equal_a_loop(samples):
    confidence, correct = samples
    table = above_below(confidence, correct)
    assert table["threshold"].tolist() == sorted(set(confidence), reverse=True)
    for row in table.itertuples():
        exits = confidence >= row.threshold
        below = np.nan if exits.all() else correct[~exits].mean()
        expected = (exits.mean(), correct[exits].mean(), below)
        found = (row.exit_rate, row.accuracy_above, row.accuracy_below)
        assert found == pytest.approx(expected, nan_ok=True)


@settings(max_examples=100)
@given(tied(), st.data())
def test_the_moving_average_equals_a_loop_for_every_order_of_samples(samples, data):
    confidence, correct = samples
    window = data.draw(st.integers(1, len(confidence)))
    shuffle = data.draw(st.permutations(range(len(confidence))))
    table = moving_average(confidence, correct, window)
    order = np.argsort(confidence, kind="stable")
    # the mean over all orders of equal confidences
    smooth = np.array([correct[confidence == value].mean() for value in confidence])
    for i in range(len(confidence) - window + 1):
        inside = order[i : i + window]
        assert table.loc[i, "accuracy"] == pytest.approx(smooth[inside].mean())
        assert table.loc[i, "confidence"] == pytest.approx(confidence[inside].mean())
    again = moving_average(confidence[shuffle], correct[shuffle], window)
    np.testing.assert_allclose(again, table, atol=1e-12)


def test_the_window_of_a_moving_average_defaults_to_a_fiftieth():
    confidence = np.linspace(0, 1, 500)
    assert len(moving_average(confidence, confidence > 0.5)) == 491
    assert len(moving_average(confidence[:3], confidence[:3] > 0.5)) == 3
    assert len(moving_average([-1e-9, 1 + 1e-9], [True, True])), "errors of rounding are no faults"


def test_an_ideal_confidence_separates_correct_from_wrong():
    correct = np.arange(201) < 160
    real = above_below(np.where(correct, 0.9, 0.1) + 0.001 * np.arange(201)[::-1] / 201, correct)
    table = ideal_above_below(160 / 201)
    for name in ("exit_rate", "accuracy_above", "accuracy_below"):
        np.testing.assert_allclose(table[name], real[name], atol=1e-12)


@pytest.fixture(scope="module")
def stores():
    both = []
    for seed in (0, 1):
        z, labels = make_logits(2000, seed=seed)
        noise = np.random.default_rng(seed + 7).normal(size=z.shape)
        logits = {"sharp": z, "flat": z / 4 + 0.1 * noise, "fair": z / 1.8}
        macs = {"sharp": 1, "flat": 5, "fair": 20}
        both.append(LogitStore.from_arrays(labels, logits, macs=macs))
    return both


def test_scaling_reduces_the_errors_of_overconfident_and_underconfident_models(stores):
    table = calibration_table(stores[1], stores[0])
    assert table.loc["sharp", "gap_low"] > 0 > table.loc["flat", "gap_high"]
    assert table.loc["fair", "gap_low"] < 0 < table.loc["fair", "gap_high"]
    for name in ("sharp", "flat"):
        assert table.loc[name, "ece_scaled"] < table.loc[name, "ece"] / 2
    own = fit_temperature(stores[0].logits("sharp"), stores[0].labels)
    assert table.loc["sharp", "temperature"] == own  # fitted on the other store
    assert (table["gap_low"] < table["gap"]).all()
    assert (table[["ece_null", "ece_null_scaled"]] < 0.04).all(axis=None)


def test_the_gap_is_the_mean_excess_of_confidence_with_a_normal_interval():
    p = np.random.default_rng(0).beta(5, 1, 400)
    correct = np.arange(400) % 7 > 0
    excess = p - correct
    half = 1.959963984540054 * np.sqrt(np.mean((excess - excess.mean()) ** 2) / 400)
    expected = (excess.mean(), excess.mean() - half, excess.mean() + half)
    assert confidence_gap(p, correct) == pytest.approx(expected)


def test_the_effect_of_scaling_on_a_threshold_has_the_sign_of_its_definition(stores):
    curves = threshold_curves(stores[0], "sharp", stores[1])
    accuracy = stores[0].models.loc["sharp", "top1"]
    for curve in curves.values():
        assert curve["accuracy_above"].iloc[-1] == pytest.approx(accuracy, abs=1e-6)
    table = threshold_table(stores[0], stores[1])
    plain, scaled, perfect, _ = (curve.set_index("exit_rate") for curve in curves.values())
    rates = plain.index.intersection(np.arange(1, 200) / 200)
    plain, scaled, perfect = (
        curve.loc[rates, "accuracy_above"].to_numpy() for curve in (plain, scaled, perfect)
    )
    sharp = table.loc["sharp"]
    assert sharp["above_scaled"] == pytest.approx((scaled - plain).mean(), abs=1e-3)
    assert sharp["above_perfect"] == pytest.approx((perfect - plain).mean(), abs=1e-3)
    assert sharp["above_perfect"] * sharp["below_perfect"] < 0  # the mean is the accuracy


def test_scaling_changes_no_front_of_one_models_logits_margin(monkeypatch):
    stores = three_models(), three_models(1)
    monkeypatch.setattr(calibration, "RESAMPLES", 20)
    monkeypatch.setattr(calibration, "ENSEMBLES", ["none", "mean_softmax"])
    table = scaling_table(*stores)
    assert len(table) == 6
    assert table.loc["logits_margin, none", "cost_ratio"] == 1
    assert (table["error"] >= 0).all()
    methods = [Method("entropy", "none", scaled).fit(stores[0]) for scaled in (False, True)]
    fronts = [search(stores[0], 2, method, models="pareto") for method in methods]
    moved = [front_on(stores[1], front, ranges=False) for front in fronts]
    assert table.loc["entropy, none", "cost_ratio"] == mean_cost_ratio(*moved)
