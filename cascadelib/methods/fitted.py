"""Fitted confidences: how likely a model is right, learned on one split from what it says of itself.

Calibration that is monotone leaves an exact front as it is: it changes no order. These change it, by the label that is
answered or by several columns. To read one and to apply it takes numpy alone.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..checks import fits, known, reals
from ..labels import as_text

CONFIDENCE, AGREEMENT = "confidence", "agreement"


@dataclass(frozen=True)
class Fitted:
    """A confidence with its ``parameters``, plain JSON; none: there was nothing to fit. kind: a key of :data:`KINDS`;
    columns: what it reads of each sample: "confidence" (of a store of outputs: the metric), other columns of a
    ScoreTable, and "agreement": whether the model before predicted the same."""

    kind: str
    columns: tuple[str, ...]
    parameters: list

    def __call__(self, values: Any, predictions: Any = None, before: Any = None) -> np.ndarray:
        """Confidence float64 [k] in [0, 1], equal for equal samples; −inf where a value is nan or −inf (an abstention).

        values: float [k], or [k, c] of the columns but "agreement", in their order; predictions [k] of this model and,
        for "agreement", ``before`` [k] of the one before (None: it is the first).
        """
        x, labels = features(self.kind, self.columns, values, predictions, before)
        there, sure = ~(np.isnan(x) | np.isneginf(x)).any(axis=1), np.full(len(x), -np.inf)
        if self.parameters:
            sure[there] = KINDS[self.kind].apply(self.parameters, x[there], labels[there])
        return sure


def features(kind, columns, values, predictions, before):
    """(float64 [k, d]: all ``columns``, agreement among them; predictions as text [k]); given as to a Fitted."""
    if predictions is None and (kind == "isotonic_by_label" or AGREEMENT in columns):
        raise ValueError(
            "this confidence depends on what the models predict, and there are no predictions"
        )
    x = reals(values, "the columns of a fitted confidence")
    x = x[:, None] if x.ndim == 1 else x
    given = [name for name in columns if name != AGREEMENT]
    if x.ndim != 2 or x.shape[1] != len(given):
        raise ValueError(
            f"values of the columns {', '.join(given)} are needed, [k, {len(given)}], not {list(x.shape)}"
        )
    labels = as_text(np.full(len(x), None) if predictions is None else predictions)
    if AGREEMENT in columns:
        same = labels == as_text(before) if before is not None else np.zeros(len(x))
        x = np.insert(x, columns.index(AGREEMENT), same, axis=1)
    return x, labels


def fit_confidence(
    kind: str,
    columns: Sequence[str],
    values: Any,
    right: Any,
    predictions: Any = None,
    before: Any = None,
) -> Fitted:
    """A :class:`Fitted` from values, predictions and ``before`` as it is called with, and whether the model was right
    [k] (bool, or graded in [0, 1]). Abstentions (−inf) are left out. ValueError for values that are not finite, and
    where predictions, or the columns, are not what the kind needs."""
    x, labels = features(kind, columns, values, predictions, before)
    there = ~np.isneginf(x).any(axis=1)
    x, labels, right = x[there], labels[there], np.asarray(right, np.float64)[there]
    if not np.isfinite(x).all():
        raise ValueError(
            "the columns of a fitted confidence must be finite numbers (−inf: an abstention)"
        )
    return Fitted(kind, tuple(columns), KINDS[kind].fit(x, right, labels) if len(x) else [])


def isotonic_by_label(x, right, labels):
    """Isotonic regression on the one column: of all samples, then of each predicted label (the groups of FrugalML;
    Chen et al., 2020): values at rising knots, both ends of each level."""
    from scipy.optimize import isotonic_regression

    if x.shape[1] != 1:
        raise ValueError(
            "isotonic_by_label reads one column beside the predicted label; 'logistic' reads several"
        )
    groups: list[tuple[str | None, slice | np.ndarray]] = [(None, slice(None))]
    groups.extend(rows_by_label(labels).items())
    curves = []
    for label, rows in groups:
        digest = None if label is None else label_digest(label)
        knots, place, count = np.unique(x[rows, 0], return_inverse=True, return_counts=True)
        values = isotonic_regression(np.bincount(place, right[rows]) / count, weights=count).x
        ends = np.ones(len(knots), bool)
        ends[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
        curves.append(
            {"digest": digest, "knots": knots[ends].tolist(), "values": values[ends].tolist()}
        )
    return curves


def rows_by_label(labels: np.ndarray) -> dict[str, np.ndarray]:
    """{label: its rows, ascending}, labels in alphabetical order; the work grows with samples, not samples × labels."""
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


def logistic(x, right, labels):
    """Logistic regression: a constant, then a weight a column. All, the constant too, have a ridge penalty of w² ÷ 2:
    one solution, also where all are right, or none is. Columns that go beyond 100 are scaled to it."""
    from scipy.optimize import minimize

    x, k = np.vstack([np.ones(len(x)), x.T]), len(x)
    scale = np.maximum(1, abs(x).max(axis=1) / 100)
    x = x / scale[:, None]

    def loss(w):
        z = w @ x
        return np.logaddexp(0, z).mean() - (z @ right - w @ w / 2) / k, (
            x @ (expit(z) - right) + w
        ) / k

    found = minimize(loss, np.zeros(len(x)), jac=True, method="BFGS", options={"gtol": 1e-8})
    return (found.x / scale).tolist()


def chance_right(weights, x, labels):
    """The probability that the weights say, summed column by column: to the same bits for equal samples."""
    return expit(
        sum(
            (w * column for w, column in zip(weights[1:], x.T, strict=True)),
            np.full(len(x), weights[0]),
        )
    )


def expit(z):
    """1 ÷ (1 + exp(−z)), without overflow."""
    return np.exp(-np.logaddexp(0, -z))


class Kind(NamedTuple):
    """A kind: fit(x [k, d], right [k], predictions [k]) → parameters; apply(parameters, x, predictions) → confidence
    [k]; form of the parameters, as :func:`cascadelib.checks.fits` reads it."""

    fit: Callable
    apply: Callable
    form: Any


CURVES = [{"digest": (str, None), "label": (str, None), "knots": [float], "values": [float]}]
KINDS = {
    "isotonic_by_label": Kind(isotonic_by_label, by_label, CURVES),
    "logistic": Kind(logistic, chance_right, [float]),
}


def fitted_from_json(value: Any) -> Fitted:
    """The :class:`Fitted` of which this is the ``asdict``; ValueError for an unknown kind or a part that is wrong."""
    kind = known(
        value.get("kind") if isinstance(value, dict) else value, KINDS, "fitted confidence"
    )
    if not fits(value, {"columns": [str], "parameters": KINDS[kind].form}):
        raise ValueError(
            "a part of a fitted confidence is missing or of another kind: kind, columns, parameters"
        )
    fitted = Fitted(kind, tuple(value["columns"]), value["parameters"])
    fitted(
        np.zeros((1, sum(name != AGREEMENT for name in fitted.columns))), [""]
    )  # as many parameters as it needs
    return fitted
