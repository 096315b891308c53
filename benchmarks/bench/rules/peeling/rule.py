"""The rule of ``cl.answer_table``: all labels order the rows and certify the rest of them."""

import numpy as np
from bench.task import Judge, Task

from cascadelib.guarantees.peeling import peel_table

OURS = True
ABOUT = "`cl.answer_table(…, labels=n)`: its policy for new rows, a border per predicted class"


def choose(task: Task) -> Judge:
    # The draw that certifies is a permutation by the seed; the labelled rows are to be its first.
    place = np.random.default_rng(task.draw).permutation(len(task.confidence))
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
        task.draw,
    )
    border = dict(zip(peeled.classes, peeled.borders))
    others = peeled.borders[-1]

    def keeps(confidence: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        borders = np.array([border.get(name, others) for name in predictions.tolist()])
        return confidence > borders

    return task.keep(keeps)
