"""Peel as ``cl.answer_table`` does: all labels order the rows and certify the remaining ones."""

import numpy as np
from bench.task import Choice, Task

from cascadelib.guarantees.peeling import peel_table

OURS = True
ABOUT = "`cl.answer_table(…, labels=n)`: its policy for new rows, a border per predicted class"


def choose(task: Task) -> Choice:
    count = len(task.confidence)
    is_drawn = np.arange(count) < task.labels
    lost = np.zeros(count, bool)
    lost[is_drawn] = task.lost(np.flatnonzero(is_drawn))
    ties = np.random.default_rng(task.seed).random(count)
    _, border = peel_table(
        task.confidence, task.predictions, is_drawn, lost, ties, task.epsilon, task.delta
    )

    def keeps(confidence: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        names, number = np.unique(predictions, return_inverse=True)
        borders = np.array([border.get(name, border[None]) for name in names.tolist()])
        return confidence > borders[number]

    return task.keep(keeps)
