"""Peel as ``cl.answer_table`` does: all labels order the rows and certify the remaining ones."""

import numpy as np
from bench.task import Choice, Task

from cascadelib.guarantees.peeling import peel_table

OURS = True
ABOUT = "`cl.answer_table(…, labels=n)`: its policy for new rows, a border per predicted class"


def choose(task: Task) -> Choice:
    # peel_table labels the first rows of a permutation: place the labelled rows there.
    place = np.random.default_rng(task.seed).permutation(len(task.confidence))
    row = np.argsort(place)
    confidence = np.empty_like(task.confidence)
    predictions = np.empty_like(task.predictions)
    confidence[place] = task.confidence
    predictions[place] = task.predictions
    peeled = peel_table(
        confidence,
        predictions,
        lambda rows: task.lost(row[rows]),
        task.epsilon,
        task.delta,
        task.labels,
        seed=task.seed,
    )
    border = dict(zip(peeled.classes, peeled.borders))
    others = peeled.borders[-1]

    def keeps(confidence: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        names, number = np.unique(predictions, return_inverse=True)
        borders = np.array([border.get(name, others) for name in names.tolist()])
        return confidence > borders[number]

    return task.keep(keeps)
