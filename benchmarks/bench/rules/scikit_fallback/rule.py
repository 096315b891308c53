"""scikit-fallback's cross-validated cascade: the cheapest threshold with a required accuracy."""

import numpy as np
from bench.task import Judge, Task

NEEDS = "skfb"
TITLE = "scikit-fallback"
LEAGUE = "estimate"
ABOUT = "scikit-fallback, `ThresholdCascadeClassifierCV`, cheapest with the accuracy, no guarantee"
THRESHOLDS = 30


def choose(task: Task) -> Judge:
    from skfb.core.exceptions import SKFBException
    from skfb.ensemble import ThresholdCascadeClassifierCV
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Told(ClassifierMixin, BaseEstimator):
        """A model that has answered: X has class and confidence in two columns of its own."""

        def __init__(self, column: int = 0) -> None:
            self.column = column

        def fit(self, X: np.ndarray, y: np.ndarray) -> "Told":
            self.classes_ = np.array([0, 1])
            return self

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            said = X[:, [self.column]] == self.classes_
            return said * X[:, [self.column + 1]]

    # Rows get one of two classes by a coin, so that who is correct is all that a class tells.
    confidence = task.scaled(task.labelled.confidence[0])
    coin = np.random.default_rng(task.draw).integers(0, 2, task.labels)
    small, reference = np.where(task.labelled.correct, coin, 1 - coin)
    rows = np.column_stack([small, confidence, reference, np.ones(task.labels)])
    costs = np.cumsum(task.costs)
    cascade = ThresholdCascadeClassifierCV(
        [Told(0), Told(2)],
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
    return task.keep(lambda given, predictions: task.scaled(given) >= border)
