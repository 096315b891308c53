"""Run MAPIE's controller of a binary risk: kept rows that are lost ÷ all rows."""

from collections.abc import Callable

import numpy as np
from bench.task import Choice, Task

NEEDS = "mapie"
TITLE = "MAPIE"
ABOUT = "MAPIE, `BinaryClassificationController`, fixed sequence over 101 quantiles"
QUANTILES = 101
ALL = slice(None)

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def choose(task: Task) -> Choice:
    return controlled(task, lambda confidence, predictions: task.scaled(confidence), ALL)


def controlled(task: Task, score: Score, rows: slice) -> Choice:
    """Return the decision of MAPIE's controller on a score in [0, 1], from some labelled rows."""
    from mapie.risk_control import BinaryClassificationController, BinaryRisk

    def everywhere(lost: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return np.ones(len(lost), bool)

    lost_and_kept = BinaryRisk(lambda lost, kept: (lost == 1) & (kept == 1), everywhere, False)
    asked = BinaryRisk(lambda lost, kept: kept == 0, everywhere, False)
    scores = score(task.confidence, task.predictions)
    controller = BinaryClassificationController(
        lambda score: np.column_stack([1 - score, score]),
        lost_and_kept,
        target_level=task.epsilon,
        confidence_level=1 - task.delta,
        best_predict_param_choice=asked,
        list_predict_params=np.unique(np.quantile(scores, np.linspace(0, 1, QUANTILES))),
        fwer_method="fixed_sequence",
    )
    labelled = np.arange(task.labels)[rows]
    controller.calibrate(scores[labelled], task.lost(labelled).astype(int))
    border = controller.best_predict_param
    if border is None:
        return task.nothing()
    return task.keep(lambda confidence, predictions: score(confidence, predictions) >= border)
