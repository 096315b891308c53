"""Stage functions are wrapped once, and a stage is prepared for all prefixes of a search."""

import numpy as np
from tiny_stores import three_models

from cascadelib import Method, search, search_arrays, search_outcomes
from cascadelib.stages import Stage, stage_of

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


def test_preparing_a_function_does_not_read_the_prefixes():
    def never():
        raise AssertionError("read")
        yield ()

    stage_of(outcome).prepare(never(), never())


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
