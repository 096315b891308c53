"""F1 from correctness and labels, and the influence of a sample on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import binary_table, slow_f1

from cascadelib.scoring import accuracies, f1, f1_of, influence_on_f1, most_given


@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([0.0, 0.5, 1.0]))
def test_f1_equals_precision_and_recall(seed, k, share):
    predicted, _, labels, _ = binary_table(seed, 1, k, 3, share)
    assert f1(predicted[0] == labels, labels == 1) == pytest.approx(slow_f1(predicted[0], labels))


def test_five_classes_have_no_top5_accuracy():
    ranks = np.array([0, 4, 5])
    assert accuracies(ranks, 6) == {"top1": pytest.approx(1 / 3), "top5": pytest.approx(2 / 3)}
    assert np.isnan(accuracies(ranks, 5)["top5"])


def test_answers_may_be_an_array():
    assert most_given(np.array(["a", "b", "b"]), costs=2) == ("b", 2 / 3, 2)


def test_f1_without_positives_is_0():
    assert f1_of(0, 0) == 0 and f1_of(0, 5) == 0 and f1_of(3, 0) == 1
    assert f1_of(np.array([0, 1]), np.array([0, 2])).tolist() == [0, 0.5]


@given(st.integers(0, 10**6), st.integers(2, 30), st.sampled_from([0.0, 0.5, 1.0]))
def test_influences_are_slopes_of_f1(seed, k, share):
    """The slope is that of F1 in the weight of one sample."""
    predicted, _, labels, _ = binary_table(seed, 1, k, 3, share)
    correct = predicted[0] == labels
    positive = labels == 1
    influences = influence_on_f1(correct, positive)
    for sample in range(k):
        weight = np.ones(k)
        weight[sample] += 1e-6
        hits = weight @ (correct & positive)
        more = f1_of(hits, weight @ ~correct) - f1(correct, positive)
        assert influences[sample] / k * 1e-6 == pytest.approx(more, abs=1e-10)
