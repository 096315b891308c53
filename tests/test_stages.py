"""Stage functions are wrapped once, and a stage is prepared for all prefixes of a search."""

import numpy as np

from cascadelib import search_arrays, search_outcomes
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
