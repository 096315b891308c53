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
