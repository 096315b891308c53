"""Compiled loops over rows of logits equal sorting and summing all classes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib.methods.kernels import (
    TOP_CLASSES,
    confidence_of_combinations,
    correct_of_combinations,
    count_rivals,
    mark_rivals,
    mark_top,
    sums_of_rows,
)

QUICK = settings(max_examples=60)


def values_of(seed, models, classes, samples=3):
    """Values [samples, models, classes] with ties."""
    rng = np.random.default_rng(seed)
    return rng.integers(-6, 7, (samples, models, classes)) / 2


def members_of(models):
    """All pairs of models, int64 [P, 2], and whether the first model differs from the previous."""
    pairs = [(a, b) for a in range(models) for b in range(a + 1, models)]
    new = [i == 0 or pairs[i][0] != pairs[i - 1][0] for i in range(len(pairs))]
    return np.array(pairs), np.array(new)


@QUICK
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 12))
def test_the_best_classes_of_each_model_are_marked(seed, models, classes):
    (rows,) = values_of(seed, models, classes, 1)
    mark = np.zeros(classes, bool)
    floors = np.empty(models)
    mark_top(rows, mark, floors)
    expected = np.zeros(classes, bool)
    for row, floor in zip(rows, floors):
        least = np.sort(row)[-TOP_CLASSES] if classes > TOP_CLASSES else -np.inf
        assert floor == least
        expected |= row >= least
    np.testing.assert_array_equal(mark, expected)


@QUICK
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 12))
def test_rivals_precede_the_label_for_some_model(seed, models, classes):
    (rows,) = values_of(seed, models, classes, 1)
    rival = np.zeros(classes, bool)
    mark_rivals(rows, 1, rival)
    np.testing.assert_array_equal(rival, (rows >= rows[:, [1]]).any(0))


@QUICK
@given(st.integers(0, 10**6), st.integers(2, 12), st.data())
def test_the_lower_class_precedes_at_a_tie(seed, classes, data):
    (total,) = values_of(seed, 1, classes, 1)[0]
    label = data.draw(st.integers(0, classes - 1))
    order = sorted(range(classes), key=lambda c: (-total[c], c))
    assert count_rivals(total, total[label], label) == order.index(label)


@QUICK
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 12), st.integers(1, 3))
def test_a_sum_is_correct_if_few_classes_precede_the_label(seed, models, classes, rank):
    values = values_of(seed, models, classes)
    labels = np.random.default_rng(seed).integers(0, classes, len(values))
    members, new = members_of(models)
    correct = np.empty((len(members), len(values)), np.uint8)
    correct_of_combinations(values, labels, members, new, rank, correct)
    for i, pair in enumerate(members):
        for j, label in enumerate(labels):
            total = values[j, pair].sum(0)
            order = sorted(range(classes), key=lambda c, total=total: (-total[c], c))
            assert correct[i, j] == (order.index(label) < rank)


@QUICK
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 12))
def test_the_max_softmax_of_means_is_exact_or_nan(seed, models, classes):
    values = values_of(seed, models, classes)
    members, new = members_of(models)
    softmax = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
    confidence = np.empty((len(members), len(values)))
    confidence_of_combinations(softmax, members, new, False, confidence)
    expected = np.array([softmax[:, pair].mean(1).max(-1) for pair in members])
    known = ~np.isnan(confidence)
    np.testing.assert_allclose(confidence[known], expected[known], rtol=1e-9)
    if classes <= TOP_CLASSES:
        assert known.all()
    confidence_of_combinations(np.exp(values / 2), members, new, True, confidence)
    means = np.array([values[:, pair].mean(1) for pair in members])
    expected = np.exp(means).max(-1) / np.exp(means).sum(-1)
    np.testing.assert_allclose(confidence, expected, rtol=1e-9)


@QUICK
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([0.5, 1.0, 3.0]))
def test_sums_equal_numpy(seed, classes, temperature):
    (rows,) = values_of(seed, 5, classes, 1)
    (largest, second, rest, weighted), top = sums_of_rows(rows, temperature)
    for j, row in enumerate(rows):
        assert top[j] == row.argmax()
        others = np.delete(row, top[j]) / temperature - row.max() / temperature
        assert largest[j] == row.max() / temperature
        assert second[j] == max(others, default=-np.inf)
        np.testing.assert_allclose(rest[j], np.exp(others).sum(), rtol=1e-9)
        np.testing.assert_allclose(weighted[j], (np.exp(others) * others).sum(), rtol=1e-9)
