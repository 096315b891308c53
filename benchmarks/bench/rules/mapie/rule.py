"""MAPIE's controller of a binary risk: kept rows that are lost, over all rows."""

import numpy as np
from bench.task import Judge, Task

NEEDS = "mapie"
TITLE = "MAPIE"
ABOUT = "MAPIE, `BinaryClassificationController`, fixed sequence over 101 quantiles"
QUANTILES = 101


def choose(task: Task) -> Judge:
    from mapie.risk_control import BinaryClassificationController, BinaryRisk

    def everywhere(lost: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return np.ones(len(lost), bool)

    lost_and_kept = BinaryRisk(lambda lost, kept: (lost == 1) & (kept == 1), everywhere, False)
    asked = BinaryRisk(lambda lost, kept: kept == 0, everywhere, False)
    scaled = task.scaled(task.confidence)
    controller = BinaryClassificationController(
        lambda given: np.column_stack([1 - given, given]),
        lost_and_kept,
        target_level=task.epsilon,
        confidence_level=1 - task.delta,
        best_predict_param_choice=asked,
        list_predict_params=np.unique(np.quantile(scaled, np.linspace(0, 1, QUANTILES))),
        fwer_method="fixed_sequence",
    )
    labelled = np.arange(task.labels)
    controller.calibrate(scaled[labelled], task.lost(labelled).astype(int))
    border = controller.best_predict_param
    if border is None:
        return task.nothing()
    return task.keep(lambda given, predictions: task.scaled(given) >= border)
