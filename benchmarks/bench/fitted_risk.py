"""Fit the risk of a row, for peers with the same inputs as the rules of cascadelib."""

from collections.abc import Callable

import numpy as np
from bench.task import Task

FITS = 4  # one of this number of labels fits, the others certify

Risk = Callable[[np.ndarray, np.ndarray], np.ndarray]


def fit_risk(task: Task) -> tuple[Risk, np.ndarray]:
    """Fit the risk that a row is lost on a quarter of the labels.

    Return the risk as a function of confidences and predictions, and the labelled rows that were
    not used. The features are the logit of the confidence, the predicted class, and their products.
    """
    from sklearn.linear_model import LogisticRegression

    fitting, certifying = np.split(np.arange(task.labels), [task.labels // FITS])
    names = sorted(set(task.predictions.tolist()))

    def features(confidence: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        share = np.clip(2 * task.scaled(confidence) - 1, 1e-6, 1 - 1e-6)
        logit = np.log(share / (1 - share))
        is_class = (predictions[:, None] == np.array(names)).astype(float)
        return np.column_stack([logit, is_class, is_class * logit[:, None]])

    lost = task.lost(fitting)
    if lost.all() or not lost.any():
        return lambda confidence, predictions: 1 - task.scaled(confidence), certifying
    columns = features(task.confidence[fitting], task.predictions[fitting])
    model = LogisticRegression(max_iter=500).fit(columns, lost)

    def risk(confidence: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return model.predict_proba(features(confidence, predictions))[:, 1]

    return risk, certifying
