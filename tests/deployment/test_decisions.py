"""What a cascade says of some samples, in short and before any model has seen them."""

import numpy as np

from cascadelib.deployment.decisions import Decisions, nothing


def test_samples_that_nobody_has_seen_are_undecided() -> None:
    decisions = nothing(3, 2)
    assert len(decisions) == 3
    assert decisions.predictions.tolist() == [None] * 3
    assert decisions.exit_stage.tolist() == [-1] * 3
    assert np.isnan(decisions.confidence).all()
    assert decisions.confidences.shape == (3, 2)
    assert np.isnan(decisions.confidences).all()
    assert decisions.broken.tolist() == [0, 0]
    assert decisions.guesses.tolist() == [[None]] * 3


def test_its_text_counts_the_exits() -> None:
    stages = np.array([0, 1, 1, -1, 0, 1])
    decisions = Decisions(
        np.zeros(6), stages, np.zeros(6), np.zeros((6, 3)), np.zeros(3), np.zeros((6, 1))
    )
    assert repr(decisions) == (
        "<Decisions: 6 samples; samples that exited at each stage: [2, 3, 0]>"
    )


def test_parts_are_joined_in_their_order() -> None:
    parts = []
    for first, count in ((0, 2), (2, 0), (2, 3)):
        numbers = np.arange(first, first + count)
        confidences = numbers[:, None] + np.array([0.1, 0.2])
        broken = np.array([count, 1])
        parts.append(
            Decisions(numbers, numbers % 2, numbers / 9, confidences, broken, numbers[:, None])
        )
    whole = Decisions.joined(parts)
    assert whole.predictions.tolist() == [0, 1, 2, 3, 4]
    assert whole.exit_stage.tolist() == [0, 1, 0, 1, 0]
    assert whole.confidences[:, 1].tolist() == [0.2, 1.2, 2.2, 3.2, 4.2]
    assert whole.guesses.shape == (5, 1)
    assert whole.broken.tolist() == [5, 3]
