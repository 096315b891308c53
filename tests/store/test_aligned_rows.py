"""Rows of different samples are found by independent correctness, and sound tables pass."""

import doctest
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import hypergeom, nchypergeom_fisher

import cascadelib as cl
from cascadelib.store import aligned_rows as module
from cascadelib.store.aligned_rows import (
    LEVEL,
    agreement_by_chance,
    aligned_rows,
    check_alignment,
    correlation_intervals,
    count_by_others,
    count_by_pairs,
    covariance_gains,
    find_best_offset,
)


def drawn(models, samples, seed=0, easy=1.0):
    """Correctness of models that find the same samples difficult, bool [M, k]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(models, samples)) + easy > rng.normal(size=samples)


def slow_interval(counts):
    """φ and its profile-likelihood interval for counts [s, x], one root at a time."""
    by_s = counts.sum(axis=1)
    number = np.arange(len(by_s))
    positive = counts[:, 1].sum()

    def share(slope):
        def excess(base):
            return by_s @ expit(base + slope * number) - positive

        return expit(brentq(excess, -900, 900, xtol=1e-13) + slope * number)

    def covariance(expected):
        total = by_s.sum()
        return expected @ number / total - positive / total * (by_s @ number) / total

    def likelihood(slope):
        probability = np.clip(share(slope), 1e-300, 1)
        other = np.clip(1 - share(slope), 1e-300, 1)
        return counts[:, 1] @ np.log(probability) + counts[:, 0] @ np.log(other)

    def matched(slope):
        return covariance(by_s * share(slope)) - covariance(counts[:, 1])

    best = brentq(matched, -15, 15)
    limit = np.log(4 / LEVEL)

    def depth(slope):
        return likelihood(slope) - likelihood(best) + limit

    low = brentq(depth, -15, best) if depth(-15) < 0 else -15
    high = brentq(depth, best, 15) if depth(15) < 0 else 15
    return tuple(covariance(by_s * share(slope)) for slope in (best, low, high))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(2, 60), st.integers(2, 60)), min_size=2, max_size=6).map(
        np.array
    )
)
def test_the_interval_equals_a_slow_reference(counts):
    found = correlation_intervals(counts[None], np.ones(1), LEVEL / 4).iloc[0]
    expected = slow_interval(counts)
    assert found[["phi", "lower", "upper"]].to_numpy() == pytest.approx(expected, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(20, 80), st.integers(0, 99))
def test_counts_equal_a_loop_over_samples(models, samples, seed):
    sound = drawn(models, samples, seed)
    others = np.zeros((models, models, 2))
    pairs = np.zeros((models, models, 2, 2))
    for column in sound.T.astype(int):
        for i in range(models):
            others[i, column.sum() - column[i], column[i]] += 1
            for j in range(models):
                pairs[i, j, column[j], column[i]] += 1
    floats = sound.astype(np.float32)
    assert np.array_equal(count_by_others(floats), others)
    is_pair = ~np.eye(models, dtype=bool)
    assert np.array_equal(count_by_pairs(floats)[is_pair], pairs[is_pair])


@pytest.mark.parametrize("margins", [(300, 150, 200), (500, 5, 5), (500, 5, 100), (60, 20, 30)])
def test_shuffled_rows_are_verified_with_at_most_the_stated_probability(margins):
    samples, one, other = margins
    both = np.arange(max(0, one + other - samples), min(one, other) + 1)
    table = np.array([[[samples - one - other + b, one - b], [other - b, b]] for b in both])
    probability = hypergeom.pmf(both, samples, one, other)
    table = table.reshape(-1, 2, 2)
    lower = correlation_intervals(table, np.ones(len(table)), LEVEL / 4)["lower"]
    assert probability[lower > 0].sum() <= LEVEL / 4


@pytest.mark.parametrize("margins", [(300, 150, 200), (500, 5, 5), (2000, 40, 400), (400, 20, 40)])
def test_a_correlation_of_a_tenth_is_violated_with_at_most_the_stated_probability(margins):
    samples, one, other = margins
    scale = np.sqrt(one * (samples - one) * other * (samples - other)) / samples**2
    both = np.arange(max(0, one + other - samples), min(one, other) + 1)
    wanted = one * other / samples + 0.1 * scale * samples

    def excess(odds):
        return nchypergeom_fisher.mean(samples, one, other, np.exp(odds)) - wanted

    odds = np.exp(brentq(excess, -1, 6))
    probability = nchypergeom_fisher.pmf(both, samples, one, other, odds)
    table = np.array([[[samples - one - other + b, one - b], [other - b, b]] for b in both])
    table = table.reshape(-1, 2, 2)
    upper = correlation_intervals(table, np.full(len(table), scale), LEVEL / 4)["upper"]
    assert probability[upper < 0.1].sum() <= LEVEL / 4


def test_sound_rows_are_verified_and_a_shifted_model_is_named():
    correct = drawn(4, 3000)
    assert aligned_rows(correct).status == "verified"
    correct[2] = np.roll(correct[2], 1)
    result = aligned_rows(correct, ["a", "b", "c", "d"])
    assert result.status == "violated"
    assert "model 'c'" in result.evidence
    assert result.table.set_index("model").loc["c", "upper"] < 0.1


def test_two_groups_of_models_from_two_files_are_found():
    correct = drawn(6, 5000)
    correct[:2] = np.roll(correct[:2], 1, axis=1)
    result = aligned_rows(correct, "abcdef")
    assert (result.table["lower"] > 0).all()  # each model has companions
    assert result.status == "violated"
    assert "['a', 'b']" in result.evidence


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(10, 60), st.sampled_from([-3, -1, 1, 2]), st.integers(0, 99))
def test_gains_equal_a_loop(models, samples, offset, seed):
    part = drawn(models, samples, seed).astype(np.float32)
    found = covariance_gains(part, part.sum(axis=0), part.mean(axis=1), offset)
    for model in range(models):
        others = np.delete(part, model, axis=0).sum(axis=0)
        expected = sum(
            (part[model, t] - part[model].mean()) * (others[t + offset] - others[t])
            for t in range(samples)
            if 0 <= t + offset < samples
        )
        assert found[model] == pytest.approx(expected, abs=1e-3)


def test_moved_rows_of_a_sorted_file_are_found_by_their_offset():
    """The subjects differ in difficulty, so that neighbouring rows correlate."""
    rng = np.random.default_rng(0)
    easy = np.repeat(rng.normal(0, 1, 60), 100)
    correct = rng.normal(size=(2, 6000)) + rng.normal(size=6000) + easy > 0
    assert aligned_rows(correct).status == "verified"
    correct[1] = np.roll(correct[1], 2)
    result = aligned_rows(correct)
    assert result.table["lower"].min() > 0.1  # the correlation alone does not show it
    assert result.status == "violated"
    assert "a shift by -2" in result.evidence or "a shift by +2" in result.evidence


def test_a_row_lost_in_the_middle_of_a_file_is_found():
    correct = drawn(4, 8000)
    correct[2, 5000:-1] = correct[2, 5001:]
    result = aligned_rows(correct)
    assert result.table["lower"].min() > 0.1
    assert result.status == "violated"
    assert "'model 2'" in result.evidence and "a shift by +1" in result.evidence


def slow_best_fit(correct):
    """Return the largest gain of a shift in standard errors, over a file and its quarters."""
    samples = correct.shape[1]
    quarters = np.linspace(0, samples, 5).astype(int).tolist() if samples >= 400 else []
    fits = []
    for start, stop in {(0, samples), *zip(quarters, quarters[1:])}:
        part = correct[:, start:stop].astype(float)
        for model, row in enumerate(part):
            others = np.delete(part, model, axis=0).sum(axis=0)
            error = np.sqrt(2 * row.var() * others.var() * len(row))
            for offset in (-3, -2, -1, 1, 2, 3):
                here = np.arange(max(0, -offset), len(row) - max(0, offset))
                gain = (row[here] - row.mean()) @ (others[here + offset] - others[here])
                fits.append(gain / max(error, 1))
    return max(fits)


def test_a_shift_is_found_from_five_standard_errors_on():
    found = []
    for samples in range(100, 600, 20):
        correct = drawn(2, samples, seed=samples)
        correct[0] = np.roll(correct[0], 1)
        found.append(find_best_offset(correct.astype(np.float32)) is not None)
        assert found[-1] == (slow_best_fit(correct) > 5)
    assert set(found) == {True, False}


def test_sound_rows_fit_best_where_they_are():
    for seed in range(20):
        for models, samples in ((2, 50), (3, 500), (9, 4000)):
            assert find_best_offset(drawn(models, samples, seed).astype(np.float32)) is None


def test_a_few_samples_are_not_verifiable():
    correct = drawn(2, 60)
    correct[1] = np.roll(correct[1], 1)
    assert aligned_rows(correct).status == "not verifiable"


def test_one_model_constant_models_and_no_samples_are_not_verifiable():
    sound = drawn(1, 100)
    for correct in (sound, np.vstack([sound, np.ones((1, 100), bool)]), np.zeros((2, 0), bool)):
        assert aligned_rows(correct).status == "not verifiable"
    assert "model 1" in aligned_rows(np.vstack([sound, np.ones((1, 100), bool)])).evidence


def test_a_model_at_chance_is_left_out():
    rng = np.random.default_rng(0)
    correct = np.vstack([drawn(2, 4000), rng.random((1, 4000)) < 0.25])
    assert aligned_rows(correct).status == "violated"
    result = aligned_rows(correct, chance=[0.25, 0.25, 0.25])
    assert result.status == "verified"
    assert "model 2" in result.evidence


def test_few_errors_raise_no_alarm():
    """Two models with five errors of 500 often share none, although φ is 0.4."""
    rng = np.random.default_rng(0)
    hard = rng.random((20, 500)) < 0.02
    for row in hard:
        correct = ~(row & (rng.random((2, 500)) < 0.5))
        assert aligned_rows(correct).status != "violated"


def test_an_excellent_model_next_to_a_poor_one_raises_no_alarm():
    """Its errors are all shared, yet φ can't exceed 0.09."""
    rng = np.random.default_rng(0)
    excellent = rng.random(20_000) > 0.005
    poor = excellent & (rng.random(20_000) > 0.4)
    result = aligned_rows(np.stack([excellent, poor]))
    assert result.table["upper"].max() < 0.1
    assert result.status == "verified"


def test_graded_scores_are_compared_with_their_mean():
    rng = np.random.default_rng(0)
    grades = np.clip(rng.normal(0.6, 0.1, 3000) + rng.normal(0, 0.1, (3, 3000)), 0, 1)
    assert aligned_rows(grades).status == "verified"
    grades[0] = rng.permutation(grades[0])
    assert "model 0" in aligned_rows(grades).evidence


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.integers(0, 99))
def test_the_result_follows_the_order_of_models(models, seed):
    correct = drawn(models, 400, seed)
    order = np.random.default_rng(seed).permutation(models)
    names = np.array([f"m{row}" for row in range(models)])
    columns = ["phi", "lower", "upper"]
    one = aligned_rows(correct, names).table.set_index("model")[columns]
    other = aligned_rows(correct[order], names[order]).table.set_index("model")[columns]
    assert np.allclose(one, other.loc[one.index], atol=1e-5)


def frame(correct):
    models, samples = correct.shape
    return pd.DataFrame(
        {
            "sample": np.tile(np.arange(samples), models),
            "model": np.repeat([f"m{row}" for row in range(models)], samples),
            "confidence": 0.5,
            "cost": 1.0,
            "correct": correct.ravel(),
        }
    )


def test_loading_a_table_of_joined_rows_warns():
    correct = drawn(3, 3000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cl.ScoreTable.from_frame(frame(correct), correct="correct")
    correct[1] = np.roll(correct[1], 1)
    with pytest.warns(UserWarning, match="model 'm1' are not aligned.*sample id"):
        cl.ScoreTable.from_frame(frame(correct), correct="correct")


def answered(predictions, labels):
    return cl.ScoreTable(
        None,
        np.full(predictions.shape, 0.5),
        np.arange(len(predictions)),
        predictions=predictions,
        labels=labels,
    )


def test_predictions_at_chance_are_out_of_step():
    """A model, or the labels, in another order: correctness alone may still correlate."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 4000)
    predictions = np.where(drawn(3, 4000), labels, (labels + 1) % 4)
    assert check_alignment(answered(predictions, labels)).status == "verified"
    result = check_alignment(answered(predictions, rng.permutation(labels)))
    assert (result.status, "by chance" in result.evidence) == ("violated", True)
    predictions[1] = rng.permutation(predictions[1])
    result = check_alignment(answered(predictions, labels))
    assert (result.status, "'model 1'" in result.evidence) == ("violated", True)
    few = check_alignment(answered(predictions[:, :50], labels[:50]))
    assert few.status == "not verifiable"


def test_a_model_that_always_predicts_one_class_is_left_out():
    rng = np.random.default_rng(0)
    labels = (rng.random(4000) < 0.3).astype(int)
    predictions = np.vstack(
        [np.where(drawn(2, 4000), labels, 1 - labels), np.zeros((1, 4000), int)]
    )
    result = check_alignment(answered(predictions, labels))
    assert (result.status, "'model 2'" in result.evidence) == ("verified", True)
    assert result.table["model"].tolist() == ["model 0", "model 1"]


def test_chance_is_the_agreement_of_shuffled_labels():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 3000, p=[0.6, 0.3, 0.1])
    predictions = np.where(rng.random((1, 3000)) < 0.05, labels, 0)
    table = answered(predictions, labels)
    shuffled = [np.mean(predictions[0] == rng.permutation(labels)) for _ in range(50)]
    chance, _ = agreement_by_chance(table, ["model 0"], table.correct)
    assert chance[0] == pytest.approx(np.mean(shuffled), abs=0.005)


def test_unknown_labels_are_not_verifiable():
    table = cl.ScoreTable(None, np.full((2, 9), 0.5), [1, 2], predictions=np.zeros((2, 9), int))
    assert check_alignment(table).status == "not verifiable"


def test_stores_of_logits_are_tested():
    store = cl.LogitStore("data/reviews/val")
    assert check_alignment(store, store.models.index[:4]).status == "verified"


def test_the_example_runs():
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert (failed, tried > 0) == (0, True)
