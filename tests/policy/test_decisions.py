"""Decisions count exits, are joined, and are undecided before a model runs."""

import numpy as np

from cascadelib.policy.decisions import Decisions, empty_decisions


def test_samples_that_no_model_has_seen_are_undecided():
    decisions = empty_decisions(3, ["a", "b"])
    assert len(decisions) == 3
    assert decisions.predictions.tolist() == [None] * 3
    assert decisions.exit_stage.tolist() == [-1] * 3
    assert np.isnan(decisions.confidence).all()
    assert decisions.confidences.shape == (3, 2)
    assert np.isnan(decisions.confidences).all()
    assert decisions.failure_counts.tolist() == [0, 0]
    assert decisions.guesses.tolist() == [[None]] * 3


def test_the_repr_counts_the_exits():
    stages = np.array([0, 1, 1, -1, 0, 1])
    decisions = Decisions(np.zeros((6, 1)), stages, np.zeros(6), np.zeros((6, 3)), np.zeros((6, 3)))
    assert repr(decisions) == (
        "<Decisions: 6 samples; samples that exited at each stage: [2, 3, 0]>"
    )


def test_decisions_are_joined_in_their_order():
    parts = []
    for first, count in ((0, 2), (2, 0), (2, 3)):
        part = empty_decisions(1, ["a", "b"], unknown=-1).take(np.zeros(count, int))
        part.predictions[:] = np.arange(first, first + count)
        part.exit_stage[:] = part.predictions % 2
        part.failures[:, 0] = 3
        part.ids[:] = part.predictions
        parts.append(part)
    whole = parts[0].joined(*parts[1:])
    assert whole.predictions.tolist() == whole.ids.tolist() == [0, 1, 2, 3, 4]
    assert whole.exit_stage.tolist() == [0, 1, 0, 1, 0]
    assert whole.guesses.shape == (5, 1)
    assert whole.failure_counts.tolist() == [5, 0] and whole.status.tolist() == ["malformed"] * 5
