"""Calibration errors and curves, compared with torchmetrics, scikit-learn and loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import LogitStore, Method, confidence, fit_temperature, search
from cascadelib.analysis.calibration import (
    bin_numbers,
    brier_score,
    calibration_bins,
    calibration_table,
    confidence_gap,
    expected_calibration_error,
    ideal_calibration_error,
    moving_average,
)
from cascadelib.analysis.comparison import mean_cost_ratio
from cascadelib.analysis.shift import front_on
from cascadelib.methods.confidence_metrics import softmax
from tools.side_by_side import (
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


def test_the_fitted_temperature_is_that_of_scikit_learn():
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Identity(ClassifierMixin, BaseEstimator):
        """Pass logits through, so that scikit-learn can scale them by a temperature."""

        def fit(self, _x, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x):
            return x

        def predict(self, x):
            return self.classes_[x.argmax(1)]

    z, labels = make_logits()
    scaled = CalibratedClassifierCV(
        FrozenEstimator(Identity().fit(z, labels)), method="temperature"
    ).fit(z, labels)
    t = fit_temperature(z, labels)
    assert t == pytest.approx(1.8, rel=0.1)
    np.testing.assert_allclose(softmax(z, t), scaled.predict_proba(z), atol=2e-4)


def test_ece_equals_torchmetrics_if_no_confidence_is_on_an_edge():
    z, labels = make_logits()
    confidences = confidence(z)
    correct = z.argmax(1) == labels
    assert confidences.max() < 1
    found = expected_calibration_error(confidences, correct)
    # multiclass_calibration_error of torchmetrics 1.9 with n_bins=15 and norm="l1"
    assert found == pytest.approx(0.1342744678258896, abs=1e-6)


def test_a_confidence_of_exactly_one_counts_in_the_last_bin():
    """torchmetrics puts it into a sixteenth bin (its issue 3510)."""
    p = np.array([[0.05, 0.95], [0.0, 1.0]])
    labels = np.array([1, 0])
    ours = expected_calibration_error(p.max(1), p.argmax(1) == labels)
    assert ours == pytest.approx(abs(0.5 - 0.975))
    assert bin_numbers(np.array([0.0, 1 / 15, 1.0])).tolist() == [0, 0, 14]


def slow_ece(confidence, correct, bins):
    total = 0.0
    for b in range(bins):
        low, high = np.linspace(0, 1, bins + 1)[b : b + 2]
        inside = [
            i
            for i in range(len(confidence))
            if low < confidence[i] <= high or b == 0 and confidence[i] == 0
        ]
        if inside:
            total += abs(
                np.mean([correct[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            ) * len(inside)
    return total / len(confidence)


tied = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=100)
@given(tied, st.integers(1, 12))
def test_ece_equals_a_loop_ties_and_edges_included(samples, bins):
    confidence = np.array([s for s, _ in samples]) / 8
    correct = np.array([r for _, r in samples])
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(
        slow_ece(confidence, correct, bins)
    )
    numbers = bin_numbers(confidence, bins, "equal_mass")
    assert ((0 <= numbers) & (numbers < bins)).all()
    assert all(
        len(set(numbers[confidence == s])) == 1 for s in confidence
    )  # equal confidences share a bin
    assert (np.diff(numbers[np.argsort(confidence)]) >= 0).all()
    assert calibration_bins(confidence, correct, bins, "equal_mass")["samples"].sum() == len(
        confidence
    )


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
@pytest.mark.parametrize("k", [60, 500, 5000])
def test_the_ideal_ece_is_the_mean_of_simulated_ones(k, binning):
    """100 draws of answers that are correct with the stated probability."""
    rng = np.random.default_rng(k)
    for confidences in (
        1 - 0.9 * rng.random(k) ** 6,
        rng.uniform(0.2, 1, k),
        np.ones(k),
        np.full(k, 0.999),
    ):
        drawn = [
            expected_calibration_error(confidences, rng.random(k) < confidences, 15, binning)
            for _ in range(100)
        ]
        assert ideal_calibration_error(confidences, 15, binning) == pytest.approx(
            np.mean(drawn), rel=0.2, abs=1e-3
        )


def test_bins_of_equal_mass_hold_equally_many_samples():
    confidence = np.random.default_rng(0).random(1500) ** 4
    assert np.bincount(bin_numbers(confidence, 15, "equal_mass")).tolist() == [100] * 15


def test_the_brier_score_is_that_of_scikit_learn():
    from sklearn.metrics import brier_score_loss

    z, labels = make_logits(6000)
    assert brier_score(z, labels) == pytest.approx(
        brier_score_loss(labels, softmax(z), scale_by_half=False)
    )
    assert brier_score(z, labels, 1.8) < brier_score(z, labels)
    assert brier_score(np.array([[50.0, -50.0]]), np.array([1])) == pytest.approx(2)


def test_the_perfect_temperature_equates_confidence_and_accuracy():
    z, labels = make_logits()
    correct = z.argmax(1) == labels
    temperature = perfect_temperature(z, correct, "m")
    assert confidence(z, temperature=temperature).mean() == pytest.approx(correct.mean())


def test_the_temperature_of_a_model_without_errors_stays_1_with_a_warning():
    correct = np.eye(3)[[0, 1, 2]] * 1e4
    store = LogitStore.from_arrays(
        [0, 1, 2], {"sure": correct, "flat": np.eye(3)}, macs={"sure": 1, "flat": 2}
    )
    with pytest.warns(
        RuntimeWarning, match="model 'sure' stays 1: the model is correct on all samples"
    ):
        fitted = Method(temperature=True).fit(store)
    assert fitted.temperatures == {"sure": 1.0, "flat": 1.0}
    with pytest.warns(RuntimeWarning, match="'sure' left at 1: no mean max softmax"):
        assert perfect_temperature(correct, np.ones(3), "sure") == 1.0
    with pytest.warns(RuntimeWarning, match="no mean max softmax"):
        assert perfect_temperature(correct, np.zeros(3), "m") == 1.0


@settings(max_examples=200)
@given(tied)
def test_above_and_below_equal_a_loop(samples):
    confidence = np.array([s for s, _ in samples]) / 8
    correct = np.array([r for _, r in samples])
    table = above_below(confidence, correct)
    assert table["threshold"].tolist() == sorted(set(confidence), reverse=True)
    for row in table.itertuples():
        exits = confidence >= row.threshold
        assert (row.exit_rate, row.accuracy_above) == pytest.approx(
            (exits.mean(), correct[exits].mean())
        )
        assert row.accuracy_below == pytest.approx(
            correct[~exits].mean() if not exits.all() else np.nan, nan_ok=True
        )


@settings(max_examples=100)
@given(tied, st.data())
def test_the_moving_average_equals_a_loop_for_every_order_of_samples(samples, data):
    confidence = np.array([s for s, _ in samples]) / 8
    correct = np.array([float(r) for _, r in samples])
    window = data.draw(st.integers(1, len(confidence)))
    shuffle = data.draw(st.permutations(range(len(confidence))))
    table = moving_average(confidence, correct, window)
    order = np.argsort(confidence, kind="stable")
    smooth = np.array(
        [correct[confidence == s].mean() for s in confidence]
    )  # the mean over all orders of equal confidences
    for i in range(len(confidence) - window + 1):
        inside = order[i : i + window]
        assert table.loc[i, "accuracy"] == pytest.approx(smooth[inside].mean())
        assert table.loc[i, "confidence"] == pytest.approx(confidence[inside].mean())
    again = moving_average(confidence[shuffle], correct[shuffle], window)
    np.testing.assert_allclose(again, table, atol=1e-12)


def test_the_window_of_a_moving_average_defaults_to_a_fiftieth():
    confidence = np.linspace(0, 1, 500)
    assert len(moving_average(confidence, confidence > 0.5)) == 491


def test_an_ideal_confidence_separates_correct_from_wrong():
    correct = np.arange(100) < 80
    real = above_below(np.where(correct, 0.9, 0.1) + 0.001 * np.arange(100)[::-1] / 100, correct)
    table = ideal_above_below(0.8, 100)
    for name in ("exit_rate", "accuracy_above", "accuracy_below"):
        np.testing.assert_allclose(table[name], real[name], atol=1e-12)


@pytest.fixture(scope="module")
def stores():
    both = []
    for seed in (0, 1):
        z, labels = make_logits(2000, seed=seed)
        rng = np.random.default_rng(seed + 7)
        logits = {"sharp": z, "flat": z / 4 + 0.1 * rng.normal(size=z.shape), "fair": z / 1.8}
        both.append(
            LogitStore.from_arrays(labels, logits, macs={"sharp": 1, "flat": 5, "fair": 20})
        )
    return both


def test_the_table_names_overconfident_models_and_scaling_reduces_their_errors(stores):
    table = calibration_table(stores[1], stores[0])
    assert table["verdict"].to_dict() == {
        "sharp": "overconfident",
        "flat": "underconfident",
        "fair": "neither",
    }
    for name in ("sharp", "flat"):
        assert table.loc[name, "ece_scaled"] < table.loc[name, "ece"] / 2
        assert table.loc[name, "brier_scaled"] < table.loc[name, "brier"]
    own = fit_temperature(stores[0].logits("sharp"), stores[0].labels)
    assert table.loc["sharp", "temperature"] == own  # fitted on the other store
    assert (table["gap_low"] < table["gap"]).all()
    assert list(table).index("ece_null") == list(table).index("ece") + 1
    assert (table[["ece_null", "ece_equal_mass_null", "ece_null_scaled"]] < 0.04).all(axis=None)


def test_the_interval_of_a_gap_covers_zero_as_often_as_its_level():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(500):
        p = rng.beta(5, 1, 400)
        _, low, high = confidence_gap(p, rng.random(400) < p)
        inside += low <= 0 <= high
    assert inside >= 458  # fewer with a probability of about 1 in 1,000 at 95%


def test_figure_14_has_four_curves_that_end_at_the_accuracy(stores):
    curves = threshold_curves(stores[0], "sharp", stores[1])
    accuracy = stores[0].models.loc["sharp", "top1"]
    for curve in curves.values():
        assert curve["accuracy_above"].iloc[-1] == pytest.approx(accuracy, abs=1e-6)
    assert list(curves) == [
        "uncalibrated",
        "temperature scaled",
        "assumed perfect calibration",
        "ideal",
    ]


def test_the_effect_of_scaling_on_a_threshold_has_the_sign_of_its_definition(stores):
    table = threshold_table(stores[0], stores[1])
    assert table.index.tolist() == ["sharp", "flat", "fair"]
    curves = threshold_curves(stores[0], "sharp", stores[1])
    rates = [
        rate
        for rate in np.arange(1, 200) / 200
        if rate in curves["uncalibrated"]["exit_rate"].to_numpy()
    ]
    rows = [
        curves[label].set_index("exit_rate").loc[rates, "accuracy_above"]
        for label in curves
        if label != "ideal"
    ]
    plain, scaled, perfect = (row.to_numpy() for row in rows)
    assert table.loc["sharp", "above_scaled"] == pytest.approx((scaled - plain).mean(), abs=1e-3)
    assert table.loc["sharp", "above_perfect"] == pytest.approx((perfect - plain).mean(), abs=1e-3)
    assert (
        table.loc["sharp", "above_perfect"] * table.loc["sharp", "below_perfect"] < 0
    )  # the mean is the accuracy


def test_scaling_changes_no_front_of_one_models_logits_margin():
    stores = []
    for seed in (0, 1):
        z, labels = make_logits(1000, seed=seed)
        noise = np.random.default_rng(seed + 7).normal(size=z.shape)
        logits = {"small": z + 4 * noise, "middle": 2 * z + 3 * noise, "large": z}
        stores.append(
            LogitStore.from_arrays(labels, logits, macs={"small": 1, "middle": 5, "large": 20})
        )
    table = scaling_table(stores[0], stores[1], ["none", "mean_softmax"], resamples=20)
    assert table.index.tolist() == [
        *(
            f"{metric}, none"
            for metric in ("max_softmax", "softmax_margin", "entropy", "logits_margin")
        ),
        *(f"{metric}, mean_softmax" for metric in ("max_softmax", "softmax_margin")),
    ]
    row = table.loc["logits_margin, none"]
    assert row["cost_ratio"] == 1 and row["mean_improvement"] == row["mean_improvement_scaled"]
    assert (table["cost_ratio_low"] <= table["cost_ratio_high"]).all()
    methods = [Method("entropy", "none", scaled).fit(stores[0]) for scaled in (False, True)]
    fronts = [search(stores[0], 2, method, models="pareto") for method in methods]
    moved = [front_on(stores[1], front, ranges=False) for front in fronts]
    assert table.loc["entropy, none", "cost_ratio"] == mean_cost_ratio(*moved)
