"""Decisions are joined in their order, and count failures and exits."""

import numpy as np

from cascadelib.policy.decisions import empty_decisions


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
    assert repr(whole).endswith("5 samples; samples that exited at each stage: [3, 2]>")
