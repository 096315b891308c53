"""Tables of a small model, and a reference that answers their rows, for answer_table."""

import numpy as np

from cascadelib import ScoreTable


class Reference:
    """Answer by id, record the calls, and raise ConnectionError after a number of ids."""

    def __init__(self, truth, ids=None, fails_after=10**9):
        names = range(len(truth)) if ids is None else ids
        self.truth = {str(name): answer for name, answer in zip(names, truth)}
        self.asked = []
        self.fails_after = fails_after

    def __call__(self, ids):
        if len(self.asked) >= self.fails_after:
            raise ConnectionError("no answer")
        assert 0 < len(ids) <= 256 and all(type(name) is str for name in ids)
        self.asked += ids
        return [self.truth[name] for name in ids]


def made(rows=3_000, seed=0):
    """Return a ScoreTable of a small model, and the reference's answers.

    Errors are more frequent at lower confidence, and in one class.
    """
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(rows), 2)
    predicted = rng.integers(0, 3, rows)
    wrong = rng.random(rows) < 0.5 * (1 - confidence) * np.where(predicted == 0, 1.5, 0.7)
    truth = np.where(wrong, predicted + 1, predicted).astype(str)
    ids = [f"q{row}" for row in range(rows)]
    table = ScoreTable(
        None, [confidence], [0.25], ["small"], ids, predictions=[predicted.astype(str)]
    )
    return table, truth
