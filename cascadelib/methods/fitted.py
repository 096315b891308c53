"""Fit confidences: the probability that a model is correct, estimated on one split.

A monotone calibration keeps the order of the samples, so it does not change an exact front. A fit
per predicted label changes the order. Cascades are selected on the samples of the fit, so these get
out-of-fold confidences. Applying a fitted confidence needs only NumPy.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy import ndarray as Array

from ..checks import validate_choice
from ..labels import as_real_array, as_text
from ..origin import Origin, Origins, digests_of

BY_LABEL = "isotonic_by_label"
MIN_SAMPLES = 20  # of a label with its own curve
COMMON_WEIGHT = 100  # weight of the common curve, in samples, when it is averaged with a label's
TIE_BREAK = 1e-6  # weight of the rank of the confidence, which breaks ties on flat parts
FOLDS = 5


class IsotonicCurve(TypedDict):
    """Parameters of the isotonic curve of a label, or of all labels if the digest is None."""

    digest: str | None
    knots: list[float]
    values: list[float]
    weight: NotRequired[float]
    order: NotRequired[list[float]]


@dataclass(frozen=True)
class Fitted:
    """Store the fitted confidence of one model.

    Parameters
    ----------
    curves : list of IsotonicCurve
        The curve of all samples, then those of frequent labels. Empty if the fit had no usable
        sample.
    kind : str
        "isotonic_by_label", the only kind.
    """

    curves: list[IsotonicCurve] = field(repr=False)
    kind: str = BY_LABEL

    def __post_init__(self) -> None:
        validate_choice(self.kind, [BY_LABEL], "fitted confidence")
        if any(not 0 < len(curve["knots"]) == len(curve["values"]) for curve in self.curves):
            raise ValueError("the knots and values of a fitted confidence do not fit each other")

    def __call__(self, confidence: Any, predictions: Any) -> Array:
        """Return the confidences in [0, 1], float64 (k,), or −inf if a value is nan or −inf.

        Equal samples have equal confidences. The arguments are the confidences and the predictions
        of the model, arrays of shape (k,).
        """
        values = as_real_array(confidence, "a confidence to be fitted")
        usable = values > -np.inf
        result = np.full(len(values), -np.inf)
        if self.curves:
            result[usable] = apply_curves(self.curves, values[usable], as_text(predictions)[usable])
        return result


@dataclass(frozen=True)
class Fits:
    """Hold what :meth:`cascadelib.Method.fit` estimated besides temperatures.

    Parameters
    ----------
    samples : Origin, tuple of Origin, or None
        Samples whose labels were used. None if they are unknown.
    confidences : dict of str to Fitted
        Fitted confidence of each model.
    without_fold : dict of str to list of Fitted
        The fits of each model without the samples of each fold. They are not saved to files.
    """

    samples: Origins = field(compare=False)
    confidences: dict[str, Fitted] = field(default_factory=dict)
    without_fold: dict[str, list[Fitted]] = field(default_factory=dict, compare=False)

    def of_model(self, model: str) -> Fitted:
        """Return the fitted confidence of a model, or raise a ValueError that names it."""
        return self.confidences[
            validate_choice(model, self.confidences, "model with a fitted confidence")
        ]

    def folds_of(self, origin: Origin) -> Array:
        """Return the fold of samples in the fit, int (k,). It is −1 for other samples."""
        fold = np.full(len(origin), -1)
        known = self.samples
        if self.without_fold and isinstance(known, Origin) and known.shares_ids(origin):
            fold_of = dict(zip(known.sample_ids.tolist(), assign_folds(known.sample_ids).tolist()))
            fold[:] = [fold_of.get(name, -1) for name in origin.sample_ids.tolist()]
        return fold

    def apply(self, model: str, confidence: Array, predictions: Array, fold: Array) -> Array:
        """Return the fitted confidences of a model, each by the fit without the sample's fold."""
        result = self.of_model(model)(confidence, predictions)
        for one, other in enumerate(self.without_fold.get(model, ())):
            rows = fold == one
            result[rows] = other(confidence[rows], predictions[rows])
        return result


def assign_folds(sample_ids: Array) -> Array:
    """Return the fold of each sample, int (k,), from 0 to FOLDS − 1.

    The fold depends on the digests of the ids, and not on the order of the samples.
    """
    digests = digests_of(sample_ids)
    fold = np.empty(len(digests), np.int64)
    fold[sorted(range(len(digests)), key=digests.__getitem__)] = np.arange(len(digests)) % FOLDS
    return fold


def fit_confidence(confidence: Array, predictions: Array, correct: Array) -> Fitted:
    """Fit a model's confidence to its correctness (k,), bool or graded in [0, 1].

    Samples with an abstention (−inf) are not used. The first curve is the isotonic regression of
    all samples. Its ``order`` has the percentiles of the confidence. Labels with MIN_SAMPLES or
    more get a curve, as in FrugalML (Chen et al., 2020). Its ``weight`` is used when it is averaged
    with the first curve.

    Raises
    ------
    ValueError
        If another confidence is not finite.
    """
    usable = ~np.isneginf(confidence)
    x = np.asarray(confidence, np.float64)[usable]
    outcomes = np.asarray(correct, np.float64)[usable]
    if not np.isfinite(x).all():
        raise ValueError("confidences to be fitted must be finite (−inf: an abstention)")
    if not len(x):
        return Fitted([])
    order = np.unique(np.quantile(x, np.linspace(0, 1, 101), method="nearest")).tolist()
    curves: list[Any] = [fit_curve(x, outcomes) | {"order": order}]
    for label, rows in rows_by_label(as_text(predictions)[usable]).items():
        if len(rows) >= MIN_SAMPLES:
            weight = len(rows) / (len(rows) + COMMON_WEIGHT)
            curve = fit_curve(x[rows], outcomes[rows])
            curves.append(curve | {"digest": label_digest(label), "weight": weight})
    return Fitted(curves)


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


def apply_curves(curves: list[IsotonicCurve], x: Array, labels: Array) -> Array:
    """Return the weighted average of the label's curve and of the common curve, float64 (k,).

    The first of `curves` is the common one. It is also used for labels without a curve. On flat
    parts, the confidence breaks ties.
    """
    common, *of_labels = curves
    confidence = np.interp(x, common["knots"], common["values"])
    by_digest = {curve["digest"]: curve for curve in of_labels}
    for label, rows in rows_by_label(labels).items() if by_digest else ():
        curve = by_digest.get(label_digest(label))
        if curve is not None:
            of_label = np.interp(x[rows], curve["knots"], curve["values"])
            confidence[rows] += curve.get("weight", 1.0) * (of_label - confidence[rows])
    order = common.get("order")
    if not order:
        return confidence
    rank = np.interp(x, order, np.linspace(0, 1, len(order)))
    return (confidence + TIE_BREAK * rank) / (1 + TIE_BREAK)
