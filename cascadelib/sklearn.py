"""A cascade as a scikit-learn classifier; needs the extra ``[sklearn]``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples, check_is_fitted, column_or_1d

from .evaluation.point import Point
from .extraction.estimators import probabilities_of
from .fronts.exact import search
from .guarantees.certificate import certify
from .policy.policy import Policy
from .store.logit_store import LogitStore


class CascadeClassifier(ClassifierMixin, _BaseComposition):
    """Classifiers in a chain: the cheap one answers where it is confident, else a dearer one does.

    ``fit`` trains the classifiers on one part of the samples, searches every cascade and threshold
    on a second and certifies on a third the cheapest that loses less than ``epsilon`` of accuracy
    against the most accurate of the classifiers. Where none can be certified, that one answers
    alone.

    Parameters
    ----------
    estimators : list of (str, classifier)
        With ``predict_proba``; cloned, unless ``prefit``.
    costs : list of float
        Of a prediction by each, in any unit.
    epsilon : float
        The loss of accuracy to stay below.
    delta : float
        Probability with which that may fail, over draws of the certifying part.
    held_out : float
        Share of the samples that the classifiers are not trained on: half of them choose, half
        certify. Of prefit classifiers all samples do.
    prefit : bool
        Whether the classifiers are trained already, on other samples than those given to ``fit``.
    random_state : int, RandomState or None
        Of the split.

    Attributes
    ----------
    classes_ : array
    estimators_ : dict
        {name: trained classifier}.
    certificate_ : Certificate
        As text: the promise, and what the cascade comes to on the certifying part.
    policy_ : Policy
        The chosen cascade; ``policy_.save(path)`` writes the file that runs anywhere.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> two = [("line", LogisticRegression(max_iter=300)), ("forest", RandomForestClassifier(300))]
    >>> cascade = CascadeClassifier(two, costs=[1, 30], epsilon=0.03)
    >>> print(cascade.fit(*load_digits(return_X_y=True)).certificate_)
    """

    def __init__(
        self,
        estimators: Sequence[tuple[str, Any]],
        costs: Sequence[float],
        *,
        epsilon: float = 0.02,
        delta: float = 0.05,
        held_out: float = 0.5,
        prefit: bool = False,
        random_state: Any = None,
    ) -> None:
        self.estimators = estimators
        self.costs = costs
        self.epsilon = epsilon
        self.delta = delta
        self.held_out = held_out
        self.prefit = prefit
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; ``deep``: those of the estimators too, as ``small__C``."""
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> "CascadeClassifier":
        """Set parameters by name."""
        return self._set_params("estimators", **params)

    def __sklearn_tags__(self) -> Any:
        """What the classifiers take, this does."""
        tags = super().__sklearn_tags__()
        each = [get_tags(estimator).input_tags for _, estimator in self.estimators]
        tags.input_tags.sparse = all(one.sparse for one in each)
        tags.input_tags.allow_nan = all(one.allow_nan for one in each)
        return tags

    @property
    def n_features_in_(self) -> int:
        """Of the first classifier."""
        return next(iter(self.estimators_.values())).n_features_in_

    def fit(self, X: Any, y: Any) -> "CascadeClassifier":
        """Train, choose and certify.

        Parameters
        ----------
        X : [k, …]
            What the classifiers take.
        y : array [k]
            Classes.

        Raises
        ------
        ValueError
            Not one cost per estimator, fewer than two classes, too few samples for three parts.
        """
        X, y = indexable(X, y)
        if _num_samples(X) == 0:
            raise ValueError("X has no samples: give some of each class")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if len(self.costs) != len(self.estimators):
            raise ValueError(
                f"{len(self.estimators)} estimators, {len(self.costs)} costs: give one cost each"
            )
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class only, {self.classes_[0]!r}: give two or more")
        rest = np.arange(len(y))
        self.estimators_ = dict(self.estimators)
        if not self.prefit:
            train, rest = self._halves(rest, numbers, self.held_out)
            part = _safe_indexing(X, train)
            self.estimators_ = {
                name: clone(estimator).fit(part, y[train]) for name, estimator in self.estimators
            }
        chosen, certified = self._halves(rest, numbers, 0.5)
        chosen_on = self._store(X, numbers, chosen)
        certified_on = self._store(X, numbers, certified)
        front = search(chosen_on, tuple(range(1, min(len(self.estimators), 3) + 1)))
        self.certificate_ = certify(certified_on, front, self.epsilon, self.delta)
        alone = Point((self.certificate_.reference,), (), method=front.method, cost_kind="price")
        point = self.certificate_.point or alone
        self.policy_ = Policy.from_point(point, chosen_on, certified_on)
        return self

    def _halves(self, rows: np.ndarray, numbers: np.ndarray, share: float) -> list[np.ndarray]:
        """Two parts of the rows, the second of so large a share; by class where classes allow."""
        counts = np.unique(numbers[rows], return_counts=True)[1]
        return train_test_split(
            rows,
            test_size=share,
            random_state=self.random_state,
            stratify=numbers[rows] if counts.min() > 1 else None,
        )

    def _store(self, X: Any, numbers: np.ndarray, rows: np.ndarray) -> LogitStore:
        """Some rows as the classifiers see them."""
        part = _safe_indexing(X, rows)
        return LogitStore.from_probabilities(
            numbers[rows],
            {
                name: probabilities_of(estimator, part, self.classes_)
                for name, estimator in self.estimators_.items()
            },
            sample_ids=rows.astype(str),
            price=dict(zip(self.estimators_, self.costs)),
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """float64 [k, classes]: the probabilities of whichever classifier answers each sample."""
        check_is_fitted(self)
        (X,) = indexable(X)
        point = self.policy_.point
        rows = np.arange(_num_samples(X))
        answers = np.empty((len(rows), len(self.classes_)))
        for name, threshold in zip(point.models, (*point.thresholds, -np.inf)):
            part = _safe_indexing(X, rows)
            probabilities = probabilities_of(self.estimators_[name], part, self.classes_)
            answers[rows] = probabilities
            rows = rows[probabilities.max(axis=1) < threshold]
            # rows: those that the next classifier is asked
            if len(rows) == 0:
                break
        return answers

    def predict(self, X: Any) -> np.ndarray:
        """array [k] of classes."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]
