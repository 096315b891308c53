"""Stage functions are wrapped once, and a stage is prepared for all prefixes of a search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import binary_table, slow_f1
from tiny_stores import three_models

from cascadelib import Method, search, search_arrays, search_outcomes
from cascadelib.stages import (
    Stage,
    accuracies,
    f1,
    f1_of,
    influence_on_f1,
    most_given,
    stage_of,
)

CORRECT = np.array([[1, 1, 0, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 0]], bool)
CONFIDENCE = np.array([[5, 4, 3, 2, 1], [2, 5, 1, 4, 3], [1, 1, 1, 1, 1]], float)


def outcome(prefix):
    return CORRECT[prefix[-1]], CONFIDENCE[prefix[-1]]


class Recording(Stage):
    """A stage that records the prefixes for which it is prepared."""

    def prepare(self, correct, confidence):
        self.for_correct = {*correct}
        self.for_confidence = {*confidence}


def test_a_function_becomes_a_stage_once():
    stage = stage_of(outcome)
    assert stage_of(stage) is stage
    np.testing.assert_array_equal(stage((0, 2))[1], CONFIDENCE[2])
    np.testing.assert_array_equal(stage.correct((0, 2)), CORRECT[2])


def test_a_stage_is_prepared_for_all_prefixes_of_a_search():
    stage = Recording(outcome)
    points = search_outcomes(stage, [1, 2, 4], (1, 3))
    assert stage.for_correct == {(0,), (1,), (2,), (0, 1), (0, 1, 2)}
    assert stage.for_confidence == {(0,), (0, 1)}
    by_arrays = search_arrays(CORRECT, CONFIDENCE, [1, 2, 4], (1, 3))
    np.testing.assert_array_equal(points.cost, by_arrays.cost)
    np.testing.assert_array_equal(points.thresholds, by_arrays.thresholds)


def test_single_models_need_no_confidence():
    """ImageNet's models are on the front or not, without 43 times 50 million exponentials."""

    def never(logits):
        raise AssertionError("computed")

    store = three_models()
    front = search(store, 1, Method(never))
    assert len(front) == search(store, 1).singles["on_front"].sum()
    assert [point.accuracy for point in front.cascades] == front.table["accuracy"].tolist()


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
