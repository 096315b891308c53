"""A cascade as a scikit-learn classifier. It needs the extra ``[sklearn]``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from sklearn.base import ClassifierMixin, clone
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.utils import _safe_indexing, check_random_state, get_tags, indexable
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _num_samples,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from .checks import brief, checked_share
from .fronts.exact import search
from .guarantees.certificate import certify
from .labels import align_values, normalize_text
from .methods.confidence_metrics import metric_of
from .policy.policy import Policy
from .store.logit_store import LogitStore


def compute_probabilities(estimator: Any, inputs: Any, classes: np.ndarray) -> np.ndarray:
    """Return the probabilities of sorted classes, float64 [k, classes]. Unseen classes get 0.

    Raises ValueError if the classifier has a class that is not in `classes`.
    """
    foreign = ~np.isin(estimator.classes_, classes)
    if foreign.any():
        raise ValueError(
            f"a classifier was trained with the class {estimator.classes_[foreign].tolist()[0]!r}, "
            f"but y has {brief(classes.tolist())}: use the same classes, and pass samples of each"
        )
    found = estimator.predict_proba(inputs)
    probabilities = np.zeros((len(found), len(classes)))
    probabilities[:, np.searchsorted(classes, estimator.classes_)] = found
    return probabilities


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The samples of one call of ``fit``, in the order of ``X``.

    Parameters
    ----------
    inputs : sequence of length n_samples
    labels : array of shape (n_samples,)
        Positions in ``classes``.
    classes : array of shape (n_classes,)
    groups : array of shape (n_samples,), or None
    random_state : int, RandomState or None
    """

    inputs: Any
    labels: Array
    classes: Array
    groups: Array | None
    random_state: Any

    def train(self, estimators: Iterable[tuple[str, Any]], rows: Array) -> dict[str, Any]:
        """Return {name: clone trained on these rows}."""
        inputs = _safe_indexing(self.inputs, rows)
        answers = self.classes[self.labels[rows]]
        return {name: clone(model).fit(inputs, answers) for name, model in estimators}

    def store(self, trained: Mapping[str, Any], rows: Array, price: Mapping) -> LogitStore:
        """Return the store of the probabilities of trained classifiers on these rows."""
        inputs = _safe_indexing(self.inputs, rows)
        scores = {
            name: compute_probabilities(model, inputs, self.classes)
            for name, model in trained.items()
        }
        return LogitStore.from_probabilities(
            self.labels[rows], scores, sample_ids=rows.astype(str), price=price
        )

    def one_of_each_group(self, rows: Array) -> Array:
        """Return one random row of each group."""
        groups: Any = self.groups
        shuffled = check_random_state(self.random_state).permutation(rows)
        return shuffled[np.unique(groups[shuffled], return_index=True)[1]]

    def split(self, rows: Array, part: float) -> list[Array]:
        """Split rows into two parts.

        ``part`` is the share of the second one. The split is by group, or stratified by class if
        each class has two samples.
        """
        options = {"test_size": part, "random_state": self.random_state}
        if self.groups is not None:
            halves = GroupShuffleSplit(1, **options).split(rows, None, self.groups[rows])
            return [rows[half] for half in next(halves)]
        labels = self.labels[rows]
        is_stratified = np.unique(labels, return_counts=True)[1].min() > 1
        return train_test_split(rows, stratify=labels if is_stratified else None, **options)


class CascadeClassifier(ClassifierMixin, _BaseComposition):
    """Answer with a cheap classifier if it is confident, else with a more expensive one.

    ``fit`` trains the classifiers on one part of the samples and searches all cascades and
    thresholds on a second part. On a third part it certifies the cheapest cascade that loses less
    than ``epsilon`` of accuracy relative to the reference, which is the most accurate classifier.
    If no cascade can be certified, the reference answers every sample.

    Parameters
    ----------
    estimators : list of (str, classifier)
        Classifiers with ``predict_proba``. They are cloned, unless ``prefit`` is True.
    costs : list of float or dict of {str: float}
        The positive cost of a prediction by each classifier, in any unit.
    epsilon : float or str, default=0.02
        The largest loss of accuracy, such as 0.02 or "2%".
    delta : float or str, default=0.05
        The probability that the guarantee fails, over draws of the certification part.
    held_out : float or str, default=0.5
        The share of the samples that do not train the classifiers. Half of them choose the cascade
        and half certify it. If ``prefit`` is True, this parameter is not used.
    prefit : bool, default=False
        Whether the classifiers are trained already. Then all samples of ``fit`` are held out, and
        the certificate assumes that none of them has trained a classifier.
    random_state : int, RandomState instance or None, default=None
        The seed of the splits.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    estimators_ : dict of {str: classifier}
        The trained classifiers.
    certificate_ : Certificate
        The guarantee, what it assumes and the measured cost and loss. Print it.
    policy_ : Policy
        The chosen cascade. ``policy_.save(path)`` writes a file for other programs.

    See Also
    --------
    cascadelib.certify : The test behind ``certificate_``.
    cascadelib.search : The search that chooses the cascade.
    cascadelib.evaluate : Measure the accuracy and the saving of ``policy_`` on other samples.
    cascadelib.Policy : The type of ``policy_``.

    Notes
    -----
    The guarantee is relative to the reference as trained here, on a part of the samples. A
    reference that is trained on all of them is usually more accurate.

    If several samples come from the same patient, user or document, pass ``groups``. Otherwise the
    classifiers are certified on samples that are nearly copies of training samples.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from cascadelib.sklearn import CascadeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> models = [("line", LogisticRegression(C=1e-4)), ("forest", RandomForestClassifier(50))]
    >>> cascade = CascadeClassifier(models, {"line": 1, "forest": 30}, epsilon="5%", random_state=0)
    >>> cascade.fit(X, y).policy_.models
    ('line', 'forest')
    >>> cascade.predict(X).shape
    (1797,)
    """

    def __init__(
        self,
        estimators: Sequence[tuple[str, Any]],
        costs: Sequence[float] | Mapping[str, float],
        *,
        epsilon: float | str = 0.02,
        delta: float | str = 0.05,
        held_out: float | str = 0.5,
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
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parameters of the estimators, such as ``small__C``.

        Returns
        -------
        dict of {str: object}
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> "CascadeClassifier":
        """Set parameters by name.

        Parameters
        ----------
        **params : object
            Parameters of the cascade, estimators by name, or parameters such as ``small__C``.

        Returns
        -------
        CascadeClassifier
            The classifier itself.
        """
        return self._set_params("estimators", **params)

    def __sklearn_tags__(self) -> Any:
        """Return tags that allow a kind of input if all classifiers allow it."""
        tags = super().__sklearn_tags__()
        input_tags = [get_tags(estimator).input_tags for _, estimator in self.estimators]
        tags.input_tags.sparse = all(allowed.sparse for allowed in input_tags)
        tags.input_tags.allow_nan = all(allowed.allow_nan for allowed in input_tags)
        return tags

    @property
    def n_features_in_(self) -> int:
        """The number of features of the first classifier."""
        return next(iter(self.estimators_.values())).n_features_in_

    def fit(self, X: Any, y: Any, groups: Any = None) -> "CascadeClassifier":
        """Train the classifiers, choose a cascade and certify it.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or list of length n_samples
            Inputs of the classifiers.
        y : array-like of shape (n_samples,)
            Classes. A Series is aligned by its index if ``X`` is a DataFrame.
        groups : array-like of shape (n_samples,), optional
            The group of each sample, such as its patient. No group is split between training,
            choice and certification. One random sample of each group certifies, so the certificate
            bounds the mean over groups of the mean loss in a group.

        Returns
        -------
        CascadeClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If a parameter is out of range, if ``y`` has one class, or if there are too few samples
            for the parts. If the index of ``y`` or ``groups`` does not fit that of ``X``.
        """
        epsilon = checked_share(self.epsilon, "epsilon")
        delta = checked_share(self.delta, "delta")
        held_out = checked_share(self.held_out, "held_out")
        costs = self._check_costs()
        data = self._check_training_data(X, y, groups)
        self.classes_ = data.classes
        self.estimators_ = dict(self.estimators)
        rows = np.arange(len(data.labels))
        if not self.prefit:
            training_rows, rows = data.split(rows, held_out)
            self.estimators_ = data.train(self.estimators, training_rows)
        selection_rows, certification_rows = data.split(rows, 0.5)
        if data.groups is not None:
            certification_rows = data.one_of_each_group(certification_rows)
        selection_store = data.store(self.estimators_, selection_rows, costs)
        certification_store = data.store(self.estimators_, certification_rows, costs)
        front = search(selection_store, tuple(range(1, min(len(self.estimators_), 3) + 1)))
        certificate = certify(certification_store, front, epsilon, delta)
        self.policy_ = Policy.from_point(certificate.point, selection_store, certification_store)
        self.certificate_ = certificate
        return self

    def _check_costs(self) -> dict[str, float]:
        """Return {name: cost}. Raise ValueError if names repeat or a cost is not positive."""
        for pair in self.estimators:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(
                    f"estimators must be pairs (name, classifier), got {type(pair).__name__}"
                )
        names = [name for name, _ in self.estimators]
        self._validate_names(names)
        costs = list(align_values(self.costs, "costs", names))
        if len(costs) != len(names):
            raise ValueError(f"{len(names)} estimators, {len(costs)} costs: pass one cost for each")
        for name, cost in zip(names, costs):
            if not 0 < cost < np.inf:
                raise ValueError(
                    f"the cost of {name!r} must be positive and finite, got {cost!r}. If a "
                    "prediction is almost free, pass a small cost such as 1e-6."
                )
        return dict(zip(names, map(float, costs)))

    def _check_training_data(self, X: Any, y: Any, groups: Any) -> TrainingData:
        """Return the checked arguments of ``fit``."""
        (X,) = indexable(X)
        if _num_samples(X) == 0:
            raise ValueError("X has no samples. Pass samples of each class")
        # The index of X, or of y if X has none.
        index = next((values.index for values in (X, y) if hasattr(values, "reindex")), None)
        y = column_or_1d(align_to_index(index, y, "y"), warn=True)
        check_consistent_length(X, y)
        missing = np.flatnonzero(pd.isna(y))
        if len(missing):
            first = missing[0] if index is None else index[missing[0]]
            raise ValueError(
                f"y: {len(missing)} samples have no class (None or nan), the first is {first!r}. "
                "Remove them from X and y"
            )
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y has one class only, {classes[0]!r}. Pass two or more")
        by_form: dict[str, str] = {}
        for name in filter(lambda each: isinstance(each, str), classes.tolist()):
            other = by_form.setdefault(normalize_text(name), name)
            if other != name:
                raise ValueError(
                    f"y: the classes {other!r} and {name!r} differ by spelling alone. Use one "
                    "spelling, or number the classes if they are different"
                )
        if groups is not None:
            groups = column_or_1d(align_to_index(index, groups, "groups"))
            check_consistent_length(X, groups)
        return TrainingData(X, labels, classes, groups, self.random_state)

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classifier that answers each sample.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or list of length n_samples
            Inputs of the classifiers.

        Returns
        -------
        array of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        (X,) = indexable(X)
        metric = metric_of(self.policy_.point.metric)
        rows = np.arange(_num_samples(X))
        answers = np.empty((len(rows), len(self.classes_)))
        for stage, name in enumerate(self.policy_.models):
            part = _safe_indexing(X, rows)
            scores = compute_probabilities(self.estimators_[name], part, self.classes_)
            answers[rows] = scores
            confidence = metric.convert(metric.from_probabilities(scores))
            exits, _ = self.policy_.step(stage, rows, confidence)
            rows = rows[~exits]
            if len(rows) == 0:
                break
        return answers

    def predict(self, X: Any) -> Array:
        """Return the class of each sample.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or list of length n_samples
            Inputs of the classifiers.

        Returns
        -------
        array of shape (n_samples,)
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


def align_to_index(index: Any, values: Any, what: str) -> Any:
    """Return values in the order of the rows of ``X``.

    Values with a pandas index that differs from that of ``X`` are aligned.
    """
    if index is None or not hasattr(values, "reindex"):
        return values
    if index.equals(values.index):
        return values.to_numpy()
    if getattr(index, "step", None) == 1 and index[0] == 0:
        raise ValueError(
            f"{what}: X has the default index 0 … {len(index) - 1} and {what} another one, so it "
            f"is unclear whether rows or index values match. Give X the index of {what}, or pass "
            f"{what}.to_numpy() if the rows match"
        )
    return align_values(values, what, index.astype(str))
