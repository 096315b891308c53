"""Run scikit-fallback's cross-validated cascade: the cheapest threshold with an accuracy."""

import numpy as np
from bench.task import Choice, Task

NEEDS = "skfb"
TITLE = "scikit-fallback"
LEAGUE = "estimate"
ABOUT = "scikit-fallback, `ThresholdCascadeClassifierCV`, cheapest with the accuracy, no guarantee"
THRESHOLDS = 30


def choose(task: Task) -> Choice:
    from skfb.core.exceptions import SKFBException
    from skfb.ensemble import ThresholdCascadeClassifierCV
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Recorded(ClassifierMixin, BaseEstimator):
        """A model whose class and confidence are two columns of X."""

        def __init__(self, column: int = 0) -> None:
            self.column = column

        def fit(self, X: np.ndarray, y: np.ndarray) -> "Recorded":
            self.classes_ = np.array([0, 1])
            return self

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            is_class = X[:, [self.column]] == self.classes_
            return is_class * X[:, [self.column + 1]]

    # A coin gives each row one of two classes. A class then shows only which model is correct.
    confidence = task.scaled(task.labelled.confidence[0])
    coin = np.random.default_rng(task.seed).integers(0, 2, task.labels)
    small, reference = np.where(task.labelled.correct, coin, 1 - coin)
    rows = np.column_stack([small, confidence, reference, np.ones(task.labels)])
    costs = np.cumsum(task.costs)
    cascade = ThresholdCascadeClassifierCV(
        [Recorded(0), Recorded(2)],
        costs=costs,
        cv_thresholds=np.append(np.quantile(confidence, np.linspace(0, 1, THRESHOLDS)), 1.5),
        min_score=float(np.mean(reference == coin)) - task.epsilon,
        strategy="max_cost",
        raise_error=True,
    )
    try:
        cascade.fit(rows, coin)
    except SKFBException:
        return task.nothing()
    border = cascade.best_thresholds_[0]
    return task.keep(lambda confidence, predictions: task.scaled(confidence) >= border)
