"""Fitted confidences: how likely a model is right, learned on one split from what it says of itself.

Plain monotone calibration leaves an exact front as it is: it changes no order. These change it, by the label that is
answered or by several columns. To read one and to apply it takes numpy alone.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from ..checks import fits, known, reals
from ..labels import as_text

CONFIDENCE, AGREEMENT = "confidence", "agreement"


@dataclass(frozen=True)
class Fitted:
    """A confidence with its parameters. columns: what it reads of each sample: "confidence" (of a store of outputs: the
    metric), other columns of a ScoreTable, and "agreement": whether the model before predicted the same."""

    kind: ClassVar[str]
    form: ClassVar[dict]
    columns: tuple[str, ...]

    def __call__(self, values: Any, predictions: Any = None, before: Any = None) -> np.ndarray:
        """Confidence float64 [k] in [0, 1], equal for equal samples; −inf where a value is nan or −inf (an abstention).

        values: float [k], or [k, c] of the columns but "agreement", in their order; predictions [k] of this model and,
        for "agreement", ``before`` [k] of the one before (None: it is the first).
        """
        x = features(self.columns, values, predictions, before)
        with np.errstate(invalid="ignore"):
            sure = self._sure(x, None if predictions is None else as_text(predictions))
        return np.where((np.isnan(x) | np.isneginf(x)).any(axis=1), -np.inf, sure)

    def _sure(self, x, predictions):
        """Confidence [k] of features [k, d] and predictions str [k]."""
        raise NotImplementedError

    def to_json(self) -> dict:
        """The parameters as plain JSON, which :func:`fitted_from_json` takes back to the last bit."""
        return {"kind": self.kind} | asdict(self)


def features(columns, values, predictions, before) -> np.ndarray:
    """Float64 [k, d]: the values of all ``columns``, agreement among them; arguments as :class:`Fitted` is called."""
    x = reals(values, "the columns of a fitted confidence")
    x = x[:, None] if x.ndim == 1 else x
    given = [name for name in columns if name != AGREEMENT]
    if x.ndim != 2 or x.shape[1] != len(given):
        raise ValueError(f"values of the columns {', '.join(given)} are needed, [k, {len(given)}], not {list(x.shape)}")
    if len(given) == len(columns):
        return x
    if predictions is None:
        raise ValueError("agreement with the model before is told by predictions, and there are none")
    same = np.zeros(len(x)) if before is None else as_text(predictions) == as_text(before)
    return np.insert(x, columns.index(AGREEMENT), same, axis=1)


@dataclass(frozen=True)
class Curve:
    """How likely a model is right where it predicts a label: values at rising ``knots``, linear between."""

    label: str
    knots: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class IsotonicByLabel(Fitted):
    """Isotonic regression of being right on the confidence, for each predicted label its own (the groups of FrugalML;
    Chen et al., 2020). The first of the ``curves`` is of all labels together, for those that have none."""

    kind = "isotonic_by_label"
    form = {"columns": [str], "curves": [{"label": str, "knots": [float], "values": [float]}]}
    curves: tuple[Curve, ...]

    @classmethod
    def _of_json(cls, value):
        curves = tuple(Curve(c["label"], tuple(c["knots"]), tuple(c["values"])) for c in value["curves"])
        if not curves or any(len(c.knots) != len(c.values) or sorted({*c.knots}) != [*c.knots] for c in curves):
            raise ValueError("each curve has knots that rise, and as many values")
        return cls(tuple(value["columns"]), curves)

    @classmethod
    def fit(cls, columns, values, right, predictions, before=None) -> "IsotonicByLabel":
        """From values float [k] of the one column, whether right [k] (bool, or graded in [0, 1]) and predictions [k].
        ValueError where predictions are missing, or more columns are given."""
        if len(columns) != 1 or columns[0] == AGREEMENT or predictions is None:
            raise ValueError("isotonic_by_label reads one column beside the predicted label; 'logistic' reads several")
        x, labels = features(columns, values, predictions, before)[:, 0], as_text(predictions)
        x, labels, right = (part[~np.isneginf(x)] for part in (x, labels, np.asarray(right, np.float64)))
        if not np.isfinite(x).any() or np.isposinf(x).any():
            raise ValueError("the confidence that is fitted must be finite numbers (−inf: none)")
        groups = [("", np.ones(len(x), bool)), *((label, labels == label) for label in np.unique(labels).tolist())]
        return cls(tuple(columns), tuple(curve_of(label, x[rows], right[rows]) for label, rows in groups))

    def _sure(self, x, predictions):
        if predictions is None:
            raise ValueError("this confidence was fitted for each predicted label: predictions are needed")
        sure = np.interp(x[:, 0], self.curves[0].knots, self.curves[0].values)
        for curve in self.curves[1:]:
            rows = predictions == curve.label
            sure[rows] = np.interp(x[rows, 0], curve.knots, curve.values)
        return sure


def curve_of(label, x, right):
    """The :class:`Curve` of right [n] on x [n], n ≥ 1, with knots at both ends of each level."""
    from scipy.optimize import isotonic_regression

    knots, place, count = np.unique(x, return_inverse=True, return_counts=True)
    values = isotonic_regression(np.bincount(place, right) / count, weights=count).x
    inner = np.zeros(len(knots), bool)
    inner[1:-1] = (values[1:-1] == values[:-2]) & (values[1:-1] == values[2:])
    return Curve(label, tuple(knots[~inner].tolist()), tuple(values[~inner].tolist()))


@dataclass(frozen=True)
class Logistic(Fitted):
    """Logistic regression of being right on the columns. weights: a constant, then one a column."""

    kind = "logistic"
    form = {"columns": [str], "weights": [float]}
    weights: tuple[float, ...]

    @classmethod
    def _of_json(cls, value):
        if len(value["weights"]) != 1 + len(value["columns"]):
            raise ValueError("a logistic confidence has a constant, and a weight for each column")
        return cls(tuple(value["columns"]), tuple(value["weights"]))

    @classmethod
    def fit(cls, columns, values, right, predictions=None, before=None) -> "Logistic":
        """From values float [k, c] of the columns but "agreement", and whether right [k] (bool, or graded in [0, 1]).

        All weights, the constant too, have a ridge penalty of w² ÷ 2: one solution, also where all are right, or none
        is; columns should have about the same scale.
        """
        from scipy.optimize import minimize

        x = features(columns, values, predictions, before)
        kept = ~np.isneginf(x).any(axis=1)
        right, k = np.asarray(right, np.float64)[kept], np.count_nonzero(kept)
        x = np.vstack([np.ones(k), x[kept].T])

        def loss(w):
            z = w @ x
            return np.logaddexp(0, z).mean() - (z @ right - w @ w / 2) / k, (x @ (expit(z) - right) + w) / k

        weights = minimize(loss, np.zeros(len(x)), jac=True, method="BFGS", options={"gtol": 1e-8}).x
        return cls(tuple(columns), tuple(weights.tolist()))

    def _sure(self, x, predictions):
        return expit(sum((w * column for w, column in zip(self.weights[1:], x.T)), self.weights[0]))


def expit(z):
    """1 ÷ (1 + exp(−z)), without overflow."""
    return np.exp(-np.logaddexp(0, -z))


KINDS = {kind.kind: kind for kind in (IsotonicByLabel, Logistic)}


def fitted_from_json(value: Any) -> Fitted:
    """The :class:`Fitted` that :meth:`Fitted.to_json` wrote; ValueError for an unknown kind or a part that is wrong."""
    kind = KINDS[known(value.get("kind") if isinstance(value, dict) else value, KINDS, "fitted confidence")]
    if not fits(value, kind.form) or value.keys() != {"kind", *kind.form}:
        raise ValueError(f"a part of a fitted confidence is missing or of another kind: it has {', '.join(kind.form)}")
    return kind._of_json(value)
