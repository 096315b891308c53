"""A cascade as a scikit-learn classifier. It needs the extra ``[sklearn]``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.special import gammaln
from sklearn.base import ClassifierMixin, clone
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    StratifiedKFold,
    train_test_split,
)
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from .checks import check_count, checked_share
from .evaluation.point import Point
from .evaluation.run import evaluate
from .extraction.estimators import compute_probabilities
from .fronts.exact import search
from .guarantees.certificate import Certificate, certify
from .guarantees.repeats import LEVEL
from .labels import align_values, normalize_text
from .methods.confidence_metrics import metric_of
from .policy.policy import Policy
from .store.logit_store import LogitStore

MOST_ROWS = 4096  # largest number of rows of X that are searched for nearest neighbours


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The samples of one call of ``fit``, in the order of ``X``.

    Parameters
    ----------
    inputs : sequence of length n_samples
    labels : array of shape (n_samples,)
        Positions in ``classes``.
    classes : array of shape (n_classes,)
    groups, weights : array of shape (n_samples,), or None
    random_state : int, RandomState or None
    """

    inputs: Any
    labels: Array
    classes: Array
    groups: Array | None
    weights: Array | None
    random_state: Any

    def train(self, estimators: Iterable[tuple[str, Any]], rows: Array) -> dict[str, Any]:
        """Return {name: clone trained on these rows}."""
        inputs = _safe_indexing(self.inputs, rows)
        answers = self.classes[self.labels[rows]]
        weights = {} if self.weights is None else {"sample_weight": self.weights[rows]}
        return {name: clone(model).fit(inputs, answers, **weights) for name, model in estimators}

    def scores(self, trained: Mapping[str, Any], rows: Array) -> dict[str, Array]:
        """Return {name: probabilities of shape (n_rows, n_classes)}."""
        inputs = _safe_indexing(self.inputs, rows)
        return {
            name: compute_probabilities(model, inputs, self.classes)
            for name, model in trained.items()
        }

    def split(self, rows: Array, part: float) -> list[Array]:
        """Split rows into two parts.

        ``part`` is the share of the second one. The split is by group, or stratified by class if
        each class has two samples.
        """
        options = {"test_size": part, "random_state": self.random_state}
        if self.groups is not None:
            splitter = GroupShuffleSplit(1, **options)
            return [rows[half] for half in next(splitter.split(rows, None, self.groups[rows]))]
        labels = self.labels[rows]
        is_stratified = np.unique(labels, return_counts=True)[1].min() > 1
        return train_test_split(rows, stratify=labels if is_stratified else None, **options)

    def most_folds(self, rows: Array) -> int:
        """Return the largest number of folds into which rows can be split."""
        if self.groups is not None:
            return len(np.unique(self.groups[rows]))
        return int(np.unique(self.labels[rows], return_counts=True)[1].min())

    def cross_fit(
        self, estimators: Sequence[tuple[str, Any]], rows: Array, n_folds: int
    ) -> dict[str, Array]:
        """Return {name: probabilities of shape (n_rows, n_classes)} from clones that were trained
        on the other folds.

        The number of folds is at most the number of groups, or of samples of the smallest class.
        """
        n_folds = min(n_folds, self.most_folds(rows))
        if n_folds < 2:
            raise ValueError(
                "cross-fitting needs two groups, or two training samples of each class. Pass more "
                "samples, or omit refit=True"
            )
        groups = None if self.groups is None else self.groups[rows]
        splitter = StratifiedKFold if groups is None else GroupKFold
        folds = splitter(n_folds, shuffle=True, random_state=self.random_state)
        scores = {name: np.empty((len(rows), len(self.classes))) for name, _ in estimators}
        for train, test in folds.split(rows, self.labels[rows], groups):
            trained = self.train(estimators, rows[train])
            for name, values in self.scores(trained, rows[test]).items():
                scores[name][test] = values
        return scores

    def store(self, scores: Mapping[str, Array], rows: Array, costs: Mapping) -> LogitStore:
        """Return the store of these scores."""
        return LogitStore.from_probabilities(
            self.labels[rows], scores, sample_ids=rows.astype(str), price=costs
        )


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
    costs : list of float, or dict of {str: float}
        The positive cost of a prediction by each classifier, in any unit.
    epsilon : float or str, default=0.02
        The largest loss of accuracy, such as 0.02 or "2%".
    delta : float or str, default=0.05
        The probability that the guarantee fails, over draws of the certification part.
    held_out : float or str, default=0.5
        The share of the samples that do not train the classifiers. Half of them choose the cascade
        and half certify it. If ``refit`` is True, all of them certify. If ``prefit`` is True,
        this parameter is not used.
    prefit : bool, default=False
        Whether the classifiers are trained already, on samples other than those of ``fit``.
    refit : bool, default=False
        Whether to train all classifiers again on all samples after the certification. The
        guarantee then applies to the classifiers that were trained on one part. The loss of the
        refitted classifiers is only estimated. Cross-fitted scores on the training part choose the
        cascade.
    n_folds : int, default=5
        The number of cross-validation folds for estimates and for cross-fitted scores.
    random_state : int, RandomState instance or None, default=None
        The seed of the splits.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    estimators_ : dict of {str: classifier}
        The trained classifiers.
    certificate_ : Certificate
        The guarantee, its premises and the measured cost and loss. Print it.
    policy_ : Policy
        The chosen cascade. ``policy_.save(path)`` writes a file for other programs.
    reference_accuracy_ : float
        The accuracy of the reference if it is trained on all samples, by cross-validation. It is
        nan if ``prefit`` is True, or if a class has one sample.
    estimated_loss_ : float
        The loss of the refitted cascade relative to the refitted reference, by cross-validation.
        It is nan unless ``refit`` is True.

    See Also
    --------
    cascadelib.certify : The test behind ``certificate_``.
    cascadelib.search : The search that chooses the cascade.
    cascadelib.evaluate : Measure the accuracy and the saving of ``policy_`` on other samples.
    cascadelib.Policy : The type of ``policy_``.

    Notes
    -----
    The guarantee is relative to the reference as trained here. A reference that is trained on all
    samples is usually more accurate, and the certificate states by how much.

    If several samples come from the same patient, user or document, pass ``groups``. Otherwise the
    classifiers are certified on samples that are nearly copies of training samples. The
    certificate contains a warning if consecutive rows are nearest neighbours more often than by
    chance. Similar rows in random order are not detected.

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
        refit: bool = False,
        n_folds: int = 5,
        random_state: Any = None,
    ) -> None:
        self.estimators = estimators
        self.costs = costs
        self.epsilon = epsilon
        self.delta = delta
        self.held_out = held_out
        self.prefit = prefit
        self.refit = refit
        self.n_folds = n_folds
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

    def fit(
        self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None
    ) -> "CascadeClassifier":
        """Train the classifiers, choose a cascade and certify it.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or list of length n_samples
            Inputs of the classifiers.
        y : array-like of shape (n_samples,)
            Classes. A Series is aligned by its index if ``X`` is a DataFrame.
        groups : array-like of shape (n_samples,), optional
            The group of each sample, such as its patient. No group is split between training,
            choice and certification. The certificate treats groups as the independent draws. It
            bounds the loss per group, averaged over groups.
        sample_weight : array-like of shape (n_samples,), optional
            Weights in the training of the classifiers. The choice, the certificate and the
            estimates count each sample once.

        Returns
        -------
        CascadeClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If a parameter is out of range, if ``y`` has one class, or if there are too few samples
            for the parts. If the index of ``y``, ``groups`` or ``sample_weight`` does not fit that
            of ``X``.
        """
        epsilon = checked_share(self.epsilon, "epsilon")
        delta = checked_share(self.delta, "delta")
        held_out = checked_share(self.held_out, "held_out")
        n_folds = check_count(self.n_folds, "n_folds", 2)
        costs = self._check_costs()
        data = self._check_training_data(X, y, groups, sample_weight)
        self.classes_ = data.classes
        rows = np.arange(len(data.labels))
        training_rows = rows
        self.estimators_ = dict(self.estimators)
        if self.prefit:
            selection_rows, certification_rows = data.split(rows, 0.5)
        elif self.refit:
            selection_rows, certification_rows = data.split(rows, held_out)
            training_rows = selection_rows
        else:
            training_rows, rest = data.split(rows, held_out)
            selection_rows, certification_rows = data.split(rest, 0.5)
        if not self.prefit:
            self.estimators_ = data.train(self.estimators, training_rows)
        if self.refit:
            selection_scores = data.cross_fit(self.estimators, selection_rows, n_folds)
        else:
            selection_scores = data.scores(self.estimators_, selection_rows)
        selection_store = data.store(selection_scores, selection_rows, costs)
        certification_store = data.store(
            data.scores(self.estimators_, certification_rows), certification_rows, costs
        )
        front = search(selection_store, tuple(range(1, min(len(costs), 3) + 1)))
        clusters = None if data.groups is None else data.groups[certification_rows]
        certificate = certify(certification_store, front, epsilon, delta, clusters=clusters)
        reference = Point(
            (certificate.reference,), (), method=front.method, cost_kind=front.cost_kind
        )
        point = certificate.point or reference
        self.policy_ = Policy.from_point(point, selection_store, certification_store)
        remarks = self._estimate(data, certificate, training_rows, n_folds)
        if data.groups is None:
            remarks += tuple(filter(None, [describe_similar_rows(data.inputs)]))
        self.certificate_ = replace(certificate, remarks=remarks)
        if self.refit:
            self.estimators_ = data.train(self.estimators, rows)
        return self

    def _check_costs(self) -> dict[str, float]:
        """Return {name: cost}, or raise ValueError if names repeat or a cost is not positive."""
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

    def _check_training_data(self, X: Any, y: Any, groups: Any, weights: Any) -> TrainingData:
        """Return the checked arguments of ``fit``."""
        (X,) = indexable(X)
        if _num_samples(X) == 0:
            raise ValueError("X has no samples. Pass samples of each class")
        if self.prefit and (self.refit or weights is not None):
            raise ValueError("prefit=True trains nothing: omit refit and sample_weight")
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
        if weights is not None:
            weights = _check_sample_weight(align_to_index(index, weights, "sample_weight"), X)
        return TrainingData(X, labels, classes, groups, weights, self.random_state)

    def _estimate(
        self, data: TrainingData, certificate: Certificate, training_rows: Array, n_folds: int
    ) -> tuple[str, ...]:
        """Estimate the accuracy of classifiers that are trained on all samples.

        Return sentences about these estimates, for the certificate.
        """
        self.reference_accuracy_ = np.nan
        self.estimated_loss_ = np.nan
        rows = np.arange(len(data.labels))
        if self.prefit or data.most_folds(rows) < 2:
            return ()
        reference = certificate.reference
        point = self.policy_.point
        names = {reference, *point.models} if self.refit else {reference}
        models = [(name, model) for name, model in self.estimators if name in names]
        scores = data.cross_fit(models, rows, n_folds)
        is_correct = scores[reference].argmax(axis=1) == data.labels
        self.reference_accuracy_ = float(is_correct.mean())
        held_out = np.setdiff1d(rows, training_rows)
        answers = data.scores({reference: self.estimators_[reference]}, held_out)[reference]
        is_correct_here = answers.argmax(axis=1) == data.labels[held_out]
        gain = is_correct[held_out].mean() - is_correct_here.mean()
        difference = f"{100 * abs(gain):.1f} points {'more' if gain >= 0 else 'less'}"
        remark = (
            f"The reference {reference} is trained on {len(training_rows)} of {len(rows)} samples. "
            f"Trained on all of them, its accuracy is {self.reference_accuracy_:.1%}, estimated by "
            f"cross-validation: {difference} on the samples that did not train."
        )
        if not self.refit:
            return (remark,)
        store = data.store(scores, rows, dict.fromkeys(scores, 1.0))
        self.estimated_loss_ = self.reference_accuracy_ - evaluate(store, point).accuracy
        return (
            remark,
            f"The guarantee is about classifiers trained on these {len(training_rows)} samples. "
            f"The classifiers in use are trained on all {len(rows)}. Their loss relative to the "
            f"reference is {100 * self.estimated_loss_:.1f} points, estimated by cross-validation "
            "and not guaranteed.",
        )

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
            rows = rows[~self.policy_.exits(stage, confidence)]
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


def describe_similar_rows(X: Any) -> str:
    """Return a warning if consecutive rows are nearest neighbours more often than by chance.

    Consecutive readings of one patient are an example. Returns "" if there is no evidence. If the n
    rows are independent draws, their order is a random permutation. For m disjoint pairs of rows,
    at least a pairs are then adjacent with a probability of at most C(m, a) 2ᵃ (n − a)! / n!.
    Similar rows that are not adjacent are not detected. Text and sparse rows are not tested.
    """
    if not hasattr(X, "shape") or not hasattr(X, "__array__") or X.ndim != 2:
        return ""
    rows = np.asarray(X[:MOST_ROWS])
    if rows.dtype.kind not in "fiub" or len(rows) < 4:
        return ""
    rows = rows[:, np.isfinite(rows).all(axis=0)].astype(np.float64)
    rows = rows[:, np.ptp(rows, axis=0) > 0]
    if not rows.size:
        return ""
    distance, nearest = NearestNeighbors(n_neighbors=2).fit(rows / rows.std(axis=0)).kneighbors()
    row = np.arange(len(rows))
    other = nearest[:, 0]
    is_pair = (other[other] == row) & (row < other) & (distance[:, 0] < distance[:, 1])
    pairs = int(is_pair.sum())
    adjacent = int((is_pair & (other == row + 1)).sum())
    n = len(rows)
    ways = gammaln(pairs + 1) - gammaln(adjacent + 1) - gammaln(pairs - adjacent + 1)
    bound = ways + adjacent * np.log(2) + gammaln(n - adjacent + 1) - gammaln(n + 1)
    if bound > np.log(LEVEL):
        return ""
    return (
        f"Consecutive rows are similar: {adjacent} of {pairs} pairs of nearest neighbours are "
        f"consecutive (by chance {2 * pairs / n:.2g}). If samples share a patient, user or "
        "document, pass groups=, or the guarantee may not hold. Sorted rows cause this warning too."
    )


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
