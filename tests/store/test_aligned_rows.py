"""Rows of different samples are found by independent correctness, and sound tables pass."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib.store.aligned_rows import (
    agreement_by_chance,
    aligned_rows,
    chance_of_less,
    check_alignment,
    find_offsets,
    slope_for_mean,
)


def drawn(models, samples, seed=0, easy=1.0):
    """Return correctness of models that find the same samples difficult, bool [M, k]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(models, samples)) + easy > rng.normal(size=samples)


def planted(kind, rng):
    """Return correctness of 3 to 14 models on 1,500 samples, and the misaligned models.

    The mean correlation of the sound models is at least 0.2.
    """
    models = 14 if kind == "two of 14" else int(rng.integers(3, 15))
    mean = 0.0
    while mean < 0.2:
        load = rng.uniform(0.45, 0.9, (models, 1))
        noise = np.sqrt(1 - load**2) * rng.normal(size=(models, 1500))
        correct = load * rng.normal(size=1500) + noise < rng.uniform(0.3, 1.9, (models, 1))
        pairs = np.corrcoef(correct)
        mean = (pairs.sum() - models) / (models * (models - 1))
    wrong = rng.choice(models, 2 if kind == "two of 14" else 1, replace=False)
    if kind == "offset by one":
        correct[wrong] = np.roll(correct[wrong], 1, axis=1)
    else:
        correct[wrong] = correct[wrong][:, rng.permutation(1500)]
    return correct, wrong


@pytest.mark.parametrize("kind", ["shuffled", "offset by one", "two of 14"])
def test_planted_misaligned_models_are_named_and_never_verified(kind):
    rng = np.random.default_rng(0)
    exact = 0
    verified = 0
    for _ in range(200):
        correct, wrong = planted(kind, rng)
        found = aligned_rows(correct, map(str, range(len(correct))))
        exact += set(found.misaligned) == set(map(str, wrong.tolist()))
        verified += found.status == "verified"
    assert exact >= 190 and verified <= 4


def test_groups_of_equal_size_are_reported_together():
    correct = drawn(4, 3000)
    correct[:2] = np.roll(correct[:2], 1, axis=1)
    found = aligned_rows(correct, "abcd")
    assert found.status == "violated" and set(found.misaligned) == set("abcd")
    assert aligned_rows(drawn(4, 3000)).status == "verified"


@pytest.mark.soak
@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 4), min_size=4, max_size=30).filter(lambda v: len(set(v)) > 1),
    st.integers(1, 40),
    st.floats(0.1, 0.9),
)
def test_the_p_value_is_at_least_the_exact_probability(values, count, part):
    """The distribution of a sum of weighted draws is a convolution."""
    values = np.array(values, float)
    mean = values.mean() + part * (values.max() - values.mean())
    weights = np.exp(slope_for_mean(values, mean) * values)
    single = np.bincount(values.astype(int), weights / weights.sum(), minlength=5)
    assert single @ np.arange(5) == pytest.approx(mean, abs=1e-4)
    total = np.ones(1)
    for _ in range(count):
        total = np.convolve(total, single)
    for sums, exact in enumerate(np.cumsum(total)):
        assert exact <= chance_of_less(values, count, sums / count, mean) + 1e-6


def test_moved_rows_of_a_sorted_file_are_found_by_their_offset():
    """The subjects differ in difficulty, so that neighbouring rows correlate."""
    rng = np.random.default_rng(0)
    easy = np.repeat(rng.normal(0, 1, 60), 100)
    correct = rng.normal(size=(4, 6000)) + rng.normal(size=6000) + easy > 0
    assert aligned_rows(correct).status == "verified"
    correct[1] = np.roll(correct[1], 2)
    found = aligned_rows(correct)
    assert found.status == "violated" and found.misaligned == ("model 1",)
    assert "moved by -2" in found.evidence


def test_a_row_lost_in_the_middle_of_a_file_is_found():
    correct = drawn(4, 8000)
    correct[2, 5000:-1] = correct[2, 5001:]
    found = aligned_rows(correct)
    assert found.misaligned == ("model 2",) and "moved by +1" in found.evidence


def test_a_fit_of_less_than_half_the_strongest_is_not_reported():
    rng = np.random.default_rng(0)
    noise = np.array([[0.5], [0.5], [0.5], [0.5], [4.0]])
    correct = noise * rng.normal(size=(5, 6000)) + rng.normal(size=6000) > 0
    correct[3:] = np.roll(correct[3:], 1, axis=1)
    assert find_offsets(correct.astype(float)) == {3: -1}


def test_sound_rows_fit_best_where_they_are():
    for seed in range(20):
        for models, samples in ((2, 50), (3, 500), (9, 4000)):
            assert find_offsets(drawn(models, samples, seed).astype(float)) == {}


def test_too_little_to_decide_is_not_verifiable():
    few = drawn(2, 60)
    few[1] = np.roll(few[1], 1)
    constant = np.vstack([drawn(1, 100), np.ones((1, 100), bool)])
    for correct in (few, drawn(1, 100), constant, np.zeros((2, 0), bool)):
        assert aligned_rows(correct).status == "not verifiable"


def test_a_model_at_chance_is_left_out():
    rng = np.random.default_rng(0)
    correct = np.vstack([drawn(3, 4000), rng.random((1, 4000)) < 0.6])
    assert aligned_rows(correct).misaligned == ("model 3",)
    assert aligned_rows(correct, chance=np.full(4, 0.6)).status == "not verifiable"


def test_few_errors_raise_no_alarm():
    """Two models with five errors of 500 often share none, although φ is 0.4."""
    rng = np.random.default_rng(0)
    for row in rng.random((20, 500)) < 0.02:
        correct = ~(row & (rng.random((2, 500)) < 0.5))
        assert aligned_rows(correct).status != "violated"


def test_an_excellent_model_next_to_a_poor_one_raises_no_alarm():
    """Its errors are all shared, yet the correlation cannot exceed 0.09."""
    rng = np.random.default_rng(0)
    excellent = rng.random(20_000) > 0.005
    poor = excellent & (rng.random(20_000) > 0.4)
    assert aligned_rows(np.stack([excellent, poor])).status == "verified"


def test_graded_scores_are_tested():
    rng = np.random.default_rng(0)
    grades = np.clip(rng.normal(0.6, 0.1, 3000) + rng.normal(0, 0.1, (3, 3000)), 0, 1)
    assert aligned_rows(grades).status == "verified"
    grades[0] = rng.permutation(grades[0])
    assert aligned_rows(grades).misaligned == ("model 0",)


def test_loading_a_table_of_joined_rows_warns():
    correct = drawn(3, 3000)
    columns = {"sample": np.tile(np.arange(3000), 3), "model": np.repeat(["a", "b", "c"], 3000)}
    columns |= {"confidence": 0.5, "cost": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = pd.DataFrame(columns | {"correct": correct.ravel()})
        cl.ScoreTable.from_frame(frame, correct="correct")
    correct[1] = np.roll(correct[1], 1)
    with pytest.warns(UserWarning, match=r"not aligned: correctness of \['b'\].*sample id"):
        frame = pd.DataFrame(columns | {"correct": correct.ravel()})
        cl.ScoreTable.from_frame(frame, correct="correct")


def answered(predictions, labels):
    confidence = np.full(predictions.shape, 0.5)
    costs = np.arange(len(predictions))
    return cl.ScoreTable(None, confidence, costs, predictions=predictions, labels=labels)


def test_predictions_that_agree_with_labels_by_chance_are_named():
    """A model, or the labels, in another order: correctness alone may still correlate."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 4000)
    predictions = np.where(drawn(3, 4000), labels, (labels + 1) % 4)
    assert check_alignment(answered(predictions, labels)).status == "verified"
    found = check_alignment(answered(predictions, rng.permutation(labels)))
    assert found.status == "violated" and len(found.misaligned) == 3
    predictions[1] = rng.permutation(predictions[1])
    assert check_alignment(answered(predictions, labels)).misaligned == ("model 1",)
    few = check_alignment(answered(predictions[:, :50], labels[:50]))
    assert few.status == "not verifiable"
    predictions[1] = 0
    assert check_alignment(answered(predictions, labels)).misaligned == ()


def test_chance_is_the_agreement_of_shuffled_labels():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 3000, p=[0.6, 0.3, 0.1])
    answers = np.where(rng.random(3000) < 0.05, labels, 0)
    shuffled = [np.mean(answers == rng.permutation(labels)) for _ in range(50)]
    chance, largest = agreement_by_chance(labels, answers)
    assert chance == pytest.approx(np.mean(shuffled), abs=0.005)
    assert largest == np.mean(answers == 0)


def test_stores_are_tested_if_labels_are_known():
    table = cl.ScoreTable(None, np.full((2, 9), 0.5), [1, 2], predictions=np.zeros((2, 9), int))
    assert check_alignment(table).status == "not verifiable"
    store = cl.LogitStore("data/reviews/val")
    assert check_alignment(store, store.models.index[:4]).status == "verified"
