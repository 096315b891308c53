"""Fitted confidences: how likely a model is correct, learned on one split from what it says of
itself.

Calibration that is monotone leaves an exact front as it is: it changes no order. These change it,
by the label that is answered or by several columns. To read one and to apply it takes numpy alone.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..checks import fits, known, reals
from ..labels import as_text

CONFIDENCE = "confidence"
AGREEMENT = "agreement"


@dataclass(frozen=True)
class Fitted:
    """A fitted confidence.

    Parameters
    ----------
    kind : str
        A key of :data:`KINDS`.
    columns : tuple of str
        What it reads of each sample: "confidence" (of a store of outputs: the metric), other
        columns of a ScoreTable, and "agreement": whether the model before predicted the same.
    parameters : list
        Plain JSON; empty: there was nothing to fit.
    """

    kind: str
    columns: tuple[str, ...]
    parameters: list

    def __call__(self, values: Any, predictions: Any = None, before: Any = None) -> np.ndarray:
        """Confidence float64 [k] in [0, 1], equal for equal samples; −inf where a value is nan or
        −inf (an abstention).

        values: float [k], or [k, c] of the columns but "agreement", in their order; predictions [k]
        of this model and, for "agreement", ``before`` [k] of the one before (None: it is the
        first).
        """
        x, labels = features(self.kind, self.columns, values, predictions, before)
        is_there = ~(np.isnan(x) | np.isneginf(x)).any(axis=1)
        confidence = np.full(len(x), -np.inf)
        if self.parameters:
            apply = KINDS[self.kind].apply
            confidence[is_there] = apply(self.parameters, x[is_there], labels[is_there])
        return confidence


def features(
    kind: str, columns: Sequence[str], values: Any, predictions: Any, before: Any
) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [k, d]: all ``columns``, agreement among them; predictions as text [k]); given as to
    a Fitted."""
    if predictions is None and (kind == "isotonic_by_label" or AGREEMENT in columns):
        raise ValueError(
            "this confidence depends on what the models predict, and there are no predictions"
        )
    x = reals(values, "the columns of a fitted confidence")
    x = x[:, None] if x.ndim == 1 else x
    given = [name for name in columns if name != AGREEMENT]
    if x.ndim != 2 or x.shape[1] != len(given):
        raise ValueError(
            f"values of the columns {', '.join(given)} are needed, [k, {len(given)}], not "
            f"{list(x.shape)}"
        )
    labels = as_text(np.full(len(x), None) if predictions is None else predictions)
    if AGREEMENT in columns:
        same = labels == as_text(before) if before is not None else np.zeros(len(x))
        x = np.insert(x, list(columns).index(AGREEMENT), same, axis=1)
    return x, labels


def fit_confidence(
    kind: str,
    columns: Sequence[str],
    values: Any,
    correct: Any,
    predictions: Any = None,
    before: Any = None,
) -> Fitted:
    """A :class:`Fitted` from values, predictions and ``before`` as it is called with, and whether
    the model was correct [k] (bool, or graded in [0, 1]).

    Abstentions (−inf) are left out. ValueError for values that are not finite, and where
    predictions, or the columns, are not what the kind needs.
    """
    x, labels = features(kind, columns, values, predictions, before)
    is_there = ~np.isneginf(x).any(axis=1)
    x = x[is_there]
    if not np.isfinite(x).all():
        raise ValueError(
            "the columns of a fitted confidence must be finite numbers (−inf: an abstention)"
        )
    parameters = []
    if len(x):
        outcomes = np.asarray(correct, np.float64)[is_there]
        parameters = KINDS[kind].fit(x, outcomes, labels[is_there])
    return Fitted(kind, tuple(columns), parameters)


def isotonic_by_label(x: np.ndarray, correct: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Isotonic regression on the one column: of all samples, then of each predicted label (the
    groups of FrugalML; Chen et al., 2020): values at rising knots, both ends of each level.

    x [k, 1]; correct float64 [k]; labels: predictions [k].
    """
    if x.shape[1] != 1:
        raise ValueError(
            "isotonic_by_label reads one column beside the predicted label; 'logistic' reads "
            "several"
        )
    curves = [curve_of(x[:, 0], correct, None)]
    for label, rows in rows_by_label(labels).items():
        curves.append(curve_of(x[rows, 0], correct[rows], label_digest(label)))
    return curves


def curve_of(x: np.ndarray, correct: np.ndarray, digest: str | None) -> dict:
    """Isotonic regression of correct [k] on x [k], as a curve of the label with this digest."""
    from scipy.optimize import isotonic_regression

    knots, place, count = np.unique(x, return_inverse=True, return_counts=True)
    values = isotonic_regression(np.bincount(place, correct) / count, weights=count).x
    is_end = np.ones(len(knots), bool)
    is_end[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
    knots = knots[is_end].tolist()
    return {"digest": digest, "knots": knots, "values": values[is_end].tolist()}


def rows_by_label(labels: np.ndarray) -> dict[str, np.ndarray]:
    """{label: its rows, ascending}, labels in alphabetical order; the work grows with samples, not
    samples × labels."""
    distinct, codes = np.unique(labels, return_inverse=True)
    if not len(distinct):
        return {}
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(distinct)))
    return dict(zip(distinct.tolist(), np.split(order, ends[:-1]), strict=True))


def label_digest(label: str) -> str:
    """What a file says of a label: 128 bits of its SHA-256, since answers may be confidential."""
    return hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def by_label(curves: list, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Linear between the knots of the label's curve; a label without one has that of all samples.

    curves: of all samples, then each of a label by its digest (in files of earlier versions: by the
    label itself); x [k, 1]; labels [k]. Float64 [k].
    """
    confidence = np.interp(x[:, 0], curves[0]["knots"], curves[0]["values"])
    by_name = {curve.get("digest") or curve.get("label"): curve for curve in curves[1:]}
    for name, rows in rows_by_label(labels).items():
        curve = by_name.get(label_digest(name)) or by_name.get(name)
        if curve is not None:
            confidence[rows] = np.interp(x[rows, 0], curve["knots"], curve["values"])
    return confidence


def logistic(x: np.ndarray, correct: np.ndarray, labels: np.ndarray) -> list[float]:
    """Logistic regression: a constant, then a weight per column.

    All, the constant too, have a ridge penalty of w² ÷ 2: one solution, also where all are correct,
    or none is. Columns that go beyond 100 are scaled to it. x [k, d]; correct float64 [k].
    """
    from scipy.optimize import minimize

    k = len(x)
    rows = np.vstack([np.ones(k), x.T])
    scale = np.maximum(1, abs(rows).max(axis=1) / 100)
    rows = rows / scale[:, None]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        """The penalized negative log-likelihood, and its gradient."""
        z = w @ rows
        value = np.logaddexp(0, z).mean() - (z @ correct - w @ w / 2) / k
        return value, (rows @ (expit(z) - correct) + w) / k

    found = minimize(loss, np.zeros(len(rows)), jac=True, method="BFGS", options={"gtol": 1e-8})
    return (found.x / scale).tolist()


def logistic_confidence(weights: list[float], x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability that the weights say, summed column by column: to the same bits for equal
    samples. x [k, d]."""
    total = np.full(len(x), weights[0])
    for weight, column in zip(weights[1:], x.T, strict=True):
        total = total + weight * column
    return expit(total)


def expit(z: np.ndarray) -> np.ndarray:
    """1 ÷ (1 + exp(−z)), without overflow."""
    return np.exp(-np.logaddexp(0, -z))


class Kind(NamedTuple):
    """A kind: fit(x [k, d], correct [k], predictions [k]) → parameters; apply(parameters, x,
    predictions) → confidence [k]; form of the parameters, as :func:`cascadelib.checks.fits` reads
    it."""

    fit: Callable
    apply: Callable
    form: Any


CURVES = [{"digest": (str, None), "label": (str, None), "knots": [float], "values": [float]}]
KINDS = {
    "isotonic_by_label": Kind(isotonic_by_label, by_label, CURVES),
    "logistic": Kind(logistic, logistic_confidence, [float]),
}


def fitted_from_json(value: Any) -> Fitted:
    """The :class:`Fitted` of which this is the ``asdict``; ValueError for an unknown kind or a part
    that is wrong."""
    named = value.get("kind") if isinstance(value, dict) else value
    kind = known(named, KINDS, "fitted confidence")
    if not fits(value, {"columns": [str], "parameters": KINDS[kind].form}):
        raise ValueError(
            "a part of a fitted confidence is missing or of another kind: kind, columns, parameters"
        )
    fitted = Fitted(kind, tuple(value["columns"]), value["parameters"])
    given = sum(name != AGREEMENT for name in fitted.columns)
    fitted(np.zeros((1, given)), [""])  # as many parameters as it needs
    return fitted
