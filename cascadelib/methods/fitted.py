"""Fit confidences: the probability that a model is correct, estimated on one split.

A monotone calibration keeps the order of the samples, so it does not change an exact front.
Fitted confidences change the order, since they depend on the predicted label or on several columns.
Cascades are selected on the samples of the fit, so these get out-of-fold confidences
(:class:`Folds`). Loading and applying a fitted confidence needs only NumPy.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy import ndarray as Array

from ..checks import error_context, validate_choice
from ..files import from_json, object_from_json
from ..labels import as_real_array, as_text, fold
from ..origin import Origin, digests_of

CONFIDENCE = "confidence"
AGREEMENT = "agreement"
LABEL = "label"
DERIVED = (AGREEMENT, LABEL)  # columns that are computed from predictions
AUTO = "auto"  # for each model the simplest kind with about the least out-of-fold loss
BY_LABEL = "isotonic_by_label"
COMMON_CURVE = "isotonic"  # in files of version 0.3: BY_LABEL without curves of labels
MIN_SAMPLES = 20  # of a label or category with separate parameters
COMMON_WEIGHT = 100  # weight of the common curve, in samples, when it is averaged with a label's
MAX_LEVELS = 50  # largest number of labels, or of categories of a column, with parameters
LEVEL_PENALTY = 2.0  # ridge penalty of these parameters
TIE_BREAK = 1e-6  # weight of the column's rank, which breaks ties on flat parts of a curve
FOLDS = 5


@dataclass(frozen=True)
class Fitted:
    """Store a fitted confidence.

    Parameters
    ----------
    kind : str
        A key of :data:`KINDS`.
    columns : tuple of str
        Inputs: "confidence" (the metric, or the confidence of a ScoreTable), other columns of a
        ScoreTable, "label" (the predicted label) and "agreement" (whether the previous model
        predicted the same). An isotonic fit uses only the first column.
    parameters : list
        JSON values. Empty if the fit had no usable sample.
    categories : tuple of str
        Columns of text.
    """

    kind: str
    columns: tuple[str, ...]
    parameters: list = field(repr=False)
    categories: tuple[str, ...] = ()

    def __call__(self, values: Any, predictions: Any = None, before: Any = None) -> Array:
        """Return the confidences in [0, 1], float64 (k,), or −inf if a value is nan or −inf.

        Equal samples have equal confidences. The arguments are those of :func:`read_features`.
        """
        return self.apply(read_features(self.columns, values, predictions, before, self.categories))

    @classmethod
    def from_json(cls, value: dict, place: str = "") -> "Fitted":
        """Return a fitted confidence from its JSON values, or raise a ValueError."""
        with error_context("a part of a fitted confidence"):
            fitted = object_from_json(cls, value, place)
            if fitted.kind == COMMON_CURVE:
                fitted = replace(fitted, kind=BY_LABEL)
            kind = validate_choice(fitted.kind, KINDS, "fitted confidence")
            from_json(KINDS[kind].form, fitted.parameters, f"{place}: 'parameters'")
        with contextlib.suppress(TypeError, IndexError):  # too few parameters
            if fitted.columns:
                fitted(np.zeros((1, len(value_columns(fitted.columns)))), [""])
                return fitted
        raise ValueError("the columns and parameters of a fitted confidence do not fit each other")

    def apply(self, features: "Features") -> Array:
        """Return the confidences of samples from their :class:`Features`."""
        complete = ~(np.isnan(features.numbers) | np.isneginf(features.numbers)).any(axis=1)
        confidence = np.full(len(complete), -np.inf)
        if self.parameters:
            confidence[complete] = KINDS[self.kind].apply(self.parameters, features.take(complete))
        return confidence


@dataclass(frozen=True)
class Features:
    """Hold the inputs of a fitted confidence for k samples.

    Parameters
    ----------
    columns, categories : tuple of str
        As for :class:`Fitted`.
    numbers : float64 array of shape (k, d)
        Columns of numbers, including "agreement".
    texts : dict of str to array of shape (k,)
        Columns of text, and the predicted label if there are predictions.
    """

    columns: tuple[str, ...]
    categories: tuple[str, ...]
    numbers: Array
    texts: dict[str, Array]

    def take(self, rows: Array) -> "Features":
        """Return the features of some samples."""
        texts = {name: text[rows] for name, text in self.texts.items()}
        return replace(self, numbers=self.numbers[rows], texts=texts)

    @property
    def text_columns(self) -> list[str]:
        """Return the columns of text that are inputs."""
        return [name for name in self.texts if name in self.columns]

    @property
    def first_column(self) -> "Features":
        """Return the features with only the first column, and the predictions."""
        return replace(self, columns=self.columns[:1], categories=(), numbers=self.numbers[:, :1])

    @property
    def without_texts(self) -> "Features":
        """Return the features without texts and predictions."""
        return replace(self, texts={})

    @property
    def first(self) -> Array:
        """Return the first column of numbers, float64 (k,), or zeros if there is none."""
        return self.numbers[:, 0] if self.numbers.shape[1] else np.zeros(len(self.numbers))

    def check_predictions(self) -> None:
        """Raise a ValueError if there are no predictions."""
        if LABEL not in self.texts:
            raise ValueError(
                "this confidence depends on what the models predict, and there are no predictions"
            )


def value_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns that are not computed from predictions."""
    return [name for name in columns if name not in DERIVED]


def read_features(
    columns: Sequence[str],
    values: Any,
    predictions: Any = None,
    before: Any = None,
    categories: Sequence[str] = (),
) -> Features:
    """Return the :class:`Features` of k samples.

    Parameters
    ----------
    columns : sequence of str
        Names of the columns.
    values : array of shape (k,) or (k, c)
        Values of the :func:`value_columns` in their order, of type object if some are text.
    predictions : array of shape (k,), optional
        Predictions of the model.
    before : array of shape (k,), optional
        Predictions of the previous model, for "agreement". None for the first model.
    categories : sequence of str, optional
        Columns of text.
    """
    names = value_columns(columns)
    x = (
        np.asarray(values, object)
        if categories
        else as_real_array(values, "a fitted confidence's columns")
    )
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or x.shape[1] != len(names):
        raise ValueError(
            f"values of the columns {', '.join(names)} are needed as an array of shape "
            f"[k, {len(names)}], got {list(x.shape)}"
        )
    by_name = dict(zip(names, x.T))
    texts = {name: as_text(by_name.pop(name)) for name in categories}
    if predictions is not None:
        texts[LABEL] = as_text(predictions)
    features = Features(tuple(columns), tuple(categories), x, texts)
    if not set(DERIVED).isdisjoint(columns):
        features.check_predictions()
    if AGREEMENT in columns:
        previous = np.full(len(x), None) if before is None else before
        by_name[AGREEMENT] = texts[LABEL] == as_text(previous)
    numbers = [
        as_real_array(by_name[name].tolist(), f"column {name!r}")
        for name in columns
        if name in by_name
    ]
    return replace(features, numbers=np.reshape(numbers, (len(numbers), len(x))).T)


class Folds(NamedTuple):
    """Hold the fit on all samples, `full`, and the fits without the samples of each fold.

    `without_fold` is empty if the fit keeps the order of the first column. Cascades cannot overfit
    to such a fit.
    """

    full: Fitted
    without_fold: tuple[Fitted, ...]


def describe_fits(fitted: Iterable[Fitted]) -> dict[str, Any]:
    """Return the arguments of a Method that has several fitted confidences.

    These are their kind, or "auto" if the kinds differ, and all of their columns.
    """
    kinds = {one.kind for one in fitted}
    columns = dict.fromkeys(name for one in fitted for name in one.columns)
    kind = kinds.pop() if len(kinds) == 1 else AUTO
    return {"confidence": kind, "columns": tuple(columns)}


def assign_folds(sample_ids: Array) -> Array:
    """Return the fold of each sample, int (k,), from 0 to FOLDS − 1.

    The fold depends on the digests of the ids, and not on the order of the samples.
    """
    digests = digests_of(sample_ids)
    fold = np.empty(len(digests), np.int64)
    fold[sorted(range(len(digests)), key=digests.__getitem__)] = np.arange(len(digests)) % FOLDS
    return fold


def find_folds(fitted_on: Any, origin: Origin) -> Array:
    """Return the fold of samples in an earlier fit, int (k,). It is −1 for other samples."""
    fold = np.full(len(origin), -1)
    if isinstance(fitted_on, Origin) and fitted_on.shares_ids(origin):
        assigned = assign_folds(fitted_on.sample_ids).tolist()
        fold_of = dict(zip(fitted_on.sample_ids.tolist(), assigned))
        fold[:] = [fold_of.get(name, -1) for name in origin.sample_ids.tolist()]
    return fold


def fit_confidence(kind: str, features: Features, correct: Any) -> Fitted:
    """Fit a confidence to the correctness of a model (k,), bool or graded in [0, 1].

    Samples with an abstention (−inf) are not used.

    Raises
    ------
    ValueError
        If other values are not finite, or if the kind needs predictions and there are none.
    """
    is_usable = np.asarray(~np.isneginf(features.numbers).any(axis=1))
    usable = features.take(is_usable)
    if not np.isfinite(usable.numbers).all():
        raise ValueError(
            "the columns of a fitted confidence must be finite numbers (−inf: an abstention)"
        )
    parameters = []
    if is_usable.any():
        parameters = KINDS[kind].fit(usable, np.asarray(correct, np.float64)[is_usable])
    return Fitted(kind, features.columns, parameters, features.categories)


def fit_folds(kind: str, features: Features, correct: Array, fold: Array) -> Folds:
    """Fit a confidence to all samples, and to the samples outside each fold.

    `fold`, int (k,), is the fold of each sample. "auto" selects the simplest kind whose out-of-fold
    log loss is within a standard error of the least. The two simplest are an isotonic and a
    logistic fit of the first column. If one of them is selected, the isotonic fit is returned,
    since both keep the order of the first column.
    """
    if kind != AUTO:
        others = [
            fit_confidence(kind, features.take(fold != one), correct[fold != one])
            for one in range(FOLDS)
        ]
        return Folds(fit_confidence(kind, features, correct), tuple(others))
    first = features.first_column
    candidates = [(BY_LABEL, first.without_texts), ("logistic", first)]
    if LABEL in features.texts and not is_free_text(features.texts[LABEL]):
        candidates.append((BY_LABEL, first))
    if len(features.columns) > 1:
        candidates.append(("logistic", features))
    all_folds = [fit_folds(name, inputs, correct, fold) for name, inputs in candidates]
    edge = 1 / (len(correct) + 1)
    losses = []
    for folds, (_, inputs) in zip(all_folds, candidates):
        confidence = out_of_fold(folds, inputs, fold)
        chance = np.clip(confidence, edge, 1 - edge)
        loss = -np.log1p(-chance) - correct * (np.log(chance) - np.log1p(-chance))
        losses.append(np.where(np.isfinite(confidence), loss, 0.0))  # 0 for an abstention
    least = min(losses, key=np.mean)
    excess = [loss - least for loss in losses]
    is_within = [each.mean() <= each.std() / np.sqrt(len(each)) for each in excess]
    simplest = is_within.index(True)
    return all_folds[simplest] if simplest > 1 else Folds(all_folds[0].full, ())


def out_of_fold(folds: Folds, features: Features, fold: Array) -> Array:
    """Return out-of-fold confidences, float64 (k,).

    The confidence of a sample is computed by the fit without its fold. `fold` is int (k,). For fold
    −1 the fit on all samples is used.
    """
    confidence = folds.full.apply(features)
    for one, fitted in enumerate(folds.without_fold):
        rows = fold == one
        confidence[rows] = fitted.apply(features.take(rows))
    return confidence


def refuse_free_text(features: Features, by_label: bool = False) -> None:
    """Raise a ValueError if a column of text is free text.

    `by_label` states whether the predictions are checked, too.
    """
    for name in features.text_columns + [LABEL] * by_label:
        if name == LABEL:
            features.check_predictions()
        text = features.texts[name]
        if is_free_text(text):
            _, counts = np.unique(text, return_counts=True)
            raise ValueError(
                f"{name!r} has {len(counts):,} distinct values among {len(text):,} samples, and "
                f"{np.count_nonzero(counts == 1):,} occur once. Nothing can be fitted to such free "
                "text. Omit it, as in Method(confidence='logistic', columns=…), or group it into "
                "few values"
            )


def is_free_text(labels: Array) -> bool:
    """Return whether most distinct labels occur once, and most samples have a rare label."""
    _, counts = np.unique(labels, return_counts=True)
    rare = counts[counts < MIN_SAMPLES].sum()
    return bool(2 * np.count_nonzero(counts == 1) > len(counts) and 2 * rare > len(labels))


def fit_isotonic_by_label(features: Features, correct: Array) -> list[dict]:
    """Fit isotonic regressions to the first column: for all samples, then per predicted label.

    The ``order`` of the first curve has the percentiles of the column. They break ties on flat
    parts of a curve. Labels with MIN_SAMPLES or more get a curve, as in FrugalML (Chen et al.,
    2020). Its ``weight`` is used when it is averaged with the first curve. Without predictions
    there is only the first curve.
    """
    x = features.first
    order = np.unique(np.quantile(x, np.linspace(0, 1, 101), method="nearest")).tolist()
    curves = [fit_curve(x, correct) | {"order": order}]
    rows_of = rows_by_label(features.texts.get(LABEL, np.empty(0, str)))
    for digest, rows in zip(class_digests(rows_of), rows_of.values()):
        if len(rows) >= MIN_SAMPLES:
            curve = fit_curve(x[rows], correct[rows])
            weight = len(rows) / (len(rows) + COMMON_WEIGHT)
            curves.append(curve | {"digest": digest, "weight": weight})
    return curves


def fit_curve(x: Array, correct: Array) -> dict:
    """Fit an isotonic regression of `correct` (k,) on x (k,).

    The curve has the two ends of each flat part as ``knots``, which rise, and their ``values``.
    """
    from scipy.optimize import isotonic_regression

    knots, place, count = np.unique(x, return_inverse=True, return_counts=True)
    values = isotonic_regression(np.bincount(place, correct) / count, weights=count).x
    is_end = np.ones(len(knots), bool)
    is_end[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
    knots = knots[is_end].tolist()
    return {"digest": None, "knots": knots, "values": values[is_end].tolist()}


def rows_by_label(labels: Array) -> dict[str, Array]:
    """Return the rows of each label, ascending, for the labels in alphabetical order.

    The time is proportional to the number of samples, not to samples × labels.
    """
    distinct, codes = np.unique(labels, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(distinct)))
    return dict(zip(distinct.tolist(), np.split(order, ends[:-1])))


def label_digest(label: str) -> str:
    """Return 128 bits of the SHA-256 of a label.

    Files store it instead of the label, which may be confidential.
    """
    return hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def class_digests(classes: Iterable[str]) -> list[str]:
    """Return the digest of each class, of its folded text if no other class shares that."""
    forms = {name: fold(name) for name in classes}
    counts = Counter(forms.values())
    return [label_digest(form if counts[form] == 1 else name) for name, form in forms.items()]


def apply_isotonic(curves: list, features: Features) -> Array:
    """Return the weighted average of the label's curve and of the common curve, float64 (k,).

    The first of `curves` is the common one. If a label has no curve, the curve of its folded text
    is used, so that other spellings of a class have its curve. If that curve does not exist either,
    the common curve is used. On flat parts, the column breaks ties.
    """
    x = features.first
    confidence = np.interp(x, curves[0]["knots"], curves[0]["values"])
    by_digest = {curve["digest"]: curve for curve in curves[1:]}
    if by_digest:
        features.check_predictions()
    for name, rows in rows_by_label(features.texts[LABEL] if by_digest else x[:0]).items():
        digests = [label_digest(name), label_digest(fold(name))]
        curve = next(filter(None, map(by_digest.get, digests)), None)
        if curve is not None:
            of_label = np.interp(x[rows], curve["knots"], curve["values"])
            confidence[rows] += (curve.get("weight") or 1.0) * (of_label - confidence[rows])
    order = curves[0].get("order")
    if not order:
        return confidence
    rank = np.interp(x, order, np.linspace(0, 1, len(order)))
    return (confidence + TIE_BREAK * rank) / (1 + TIE_BREAK)


def fit_logistic(features: Features, correct: Array) -> list:
    """Fit a logistic regression with a ridge penalty.

    The parameters are a constant and a weight per column of numbers. Each frequent predicted label,
    or value of a column of text, adds a term to the constant and to the weight of the first column.
    The penalty includes the constant, so there is a unique solution even if the model is always
    correct. Columns with values above 100 are scaled down to 100.
    """
    from .expected import ridge_logistic

    columns = [np.ones(len(correct)), *features.numbers.T]
    plain = len(columns)
    levels = []
    for column in features.text_columns:
        rows = rows_by_label(features.texts[column])
        frequent = sorted(rows, key=lambda name: (-len(rows[name]), name))[:MAX_LEVELS]
        for name in frequent:
            if len(rows[name]) >= MIN_SAMPLES:
                is_level = np.zeros(len(correct))
                is_level[rows[name]] = 1
                columns += [is_level, is_level * features.first]
                levels.append({"column": column, "digest": label_digest(name)})
    scale = np.array([max(1, abs(one).max() / 100) for one in columns])
    penalty = np.where(np.arange(len(columns)) < plain, 1.0, LEVEL_PENALTY)
    zeros = np.zeros(len(columns))
    found, _ = ridge_logistic(np.column_stack(columns) / scale, correct, penalty, zeros, zeros)
    weights = (found / scale).tolist()
    added = zip(levels, weights[plain::2], weights[plain + 1 :: 2])
    return weights[:plain] + [
        level | {"constant": constant, "slope": slope} for level, constant, slope in added
    ]


def apply_logistic(parameters: list, features: Features) -> Array:
    """Return the probabilities of a logistic regression, float64 (k,).

    Terms are summed column by column, so that equal samples have equal results, bit for bit.
    """
    weights = [one for one in parameters if not isinstance(one, dict)]
    total = np.full(len(features.numbers), weights[0])
    for weight, column in zip(weights[1:], features.numbers.T, strict=True):
        total = total + weight * column
    levels = {(level["column"], level["digest"]): level for level in parameters[len(weights) :]}
    for column in features.text_columns:
        for text, rows in rows_by_label(features.texts[column]).items():
            level = levels.get((column, label_digest(text)))
            if level is not None:
                total[rows] += level["constant"] + level["slope"] * features.first[rows]
    return np.exp(-np.logaddexp(0, -total))


class Kind(NamedTuple):
    """Define a kind of fitted confidence.

    Parameters
    ----------
    fit : callable
        (features, correct) → parameters.
    apply : callable
        (parameters, features) → confidences (k,).
    form : type
        Type of the parameters, see :func:`cascadelib.files.from_json`.
    """

    fit: Callable
    apply: Callable
    form: Any


class IsotonicCurve(TypedDict):
    """Parameters of the isotonic curve of a label, or of all labels if the digest is None."""

    digest: str | None
    knots: list[float]
    values: list[float]
    weight: NotRequired[float]
    order: NotRequired[list[float]]


class Level(TypedDict):
    """Parameters of a label or category in a logistic regression."""

    column: str
    digest: str
    constant: float
    slope: float


KINDS = {
    BY_LABEL: Kind(fit_isotonic_by_label, apply_isotonic, list[IsotonicCurve]),
    "logistic": Kind(fit_logistic, apply_logistic, list[float | Level]),
}
