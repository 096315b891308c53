"""Fitted confidences: how likely a model is correct, learned on one split from what it says of
itself.

Calibration that is monotone leaves an exact front as it is: it changes no order. These change it,
by the label that is answered or by several columns. The samples of the fit themselves are answered
out of fold (:class:`Folds`), since a cascade is chosen on them. To read one and to apply it takes
numpy alone.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array

from ..checks import fits, known, reals
from ..labels import as_text, normalized
from ..origin import Origin, digests_of

CONFIDENCE = "confidence"
AGREEMENT = "agreement"
LABEL = "label"
DERIVED = (AGREEMENT, LABEL)  # columns that come of predictions
AUTO = "auto"  # the kind that is best out of fold, model by model
BY_LABEL = "isotonic_by_label"
LEAST = 20  # samples of a label from which on it has a curve of its own
COMMON_WEIGHT = 100  # samples that the curve of all labels weighs in the curve of one
MOST_LEVELS = 50  # labels, or values of a categorical column, that a regression tells apart
LEVEL_PENALTY = 2.0  # of their constants and slopes, which pulls them towards those of all
TIE_BREAK = 1e-6  # by how much a level of a curve rises, so that what was given decides within it
FOLDS = 5


@dataclass(frozen=True)
class Fitted:
    """A fitted confidence.

    Parameters
    ----------
    kind : str
        A key of :data:`KINDS`.
    columns : tuple of str
        What it reads of each sample: "confidence" (of a store of outputs: the metric), other
        columns of a ScoreTable, "label": what the model predicts, and "agreement": whether the
        model before predicted the same. Kinds that read one column read the first.
    parameters : list
        Plain JSON; empty: there was nothing to fit.
    categories : tuple of str
        The columns that hold text.
    """

    kind: str
    columns: tuple[str, ...]
    parameters: list = field(repr=False)
    categories: tuple[str, ...] = ()

    def __call__(self, values: Any, predictions: Any = None, before: Any = None) -> Array:
        """Confidence float64 [k] in [0, 1], equal for equal samples; −inf where a value is nan or
        −inf (an abstention). The rest is given as to :func:`features`."""
        return self.of(features(self.columns, values, predictions, before, self.categories))

    def of(self, read: "Features") -> Array:
        """The same of :class:`Features`."""
        is_there = ~(np.isnan(read.numbers) | np.isneginf(read.numbers)).any(axis=1)
        confidence = np.full(len(is_there), -np.inf)
        if self.kind == BY_LABEL:
            read.needed(LABEL)
        if self.parameters:
            confidence[is_there] = KINDS[self.kind].apply(self.parameters, read.part(is_there))
        return confidence


@dataclass(frozen=True)
class Features:
    """What is known of k samples: ``numbers`` float64 [k, d], agreement among them, and ``texts``
    {column: text [k]}, the predicted label among them where there is one; columns and categories as
    a Fitted has them."""

    columns: tuple[str, ...]
    categories: tuple[str, ...]
    numbers: Array
    texts: dict[str, Array]

    def part(self, rows: Array) -> "Features":
        """The same of some of the samples."""
        texts = {name: text[rows] for name, text in self.texts.items()}
        return replace(self, numbers=self.numbers[rows], texts=texts)

    @property
    def told(self) -> list[str]:
        """The columns of text that are asked for."""
        return [name for name in self.texts if name in self.columns]

    @property
    def alone(self) -> "Features":
        """The same without columns but the first."""
        return replace(self, columns=self.columns[:1], categories=(), numbers=self.numbers[:, :1])

    @property
    def first(self) -> Array:
        """The first column of numbers, float64 [k]; 0 where there is none."""
        return self.numbers[:, 0] if self.numbers.shape[1] else np.zeros(len(self.numbers))

    def needed(self, name: str) -> Array:
        """A column of text [k]; ValueError where there is none."""
        if name not in self.texts:
            raise ValueError(
                "this confidence depends on what the models predict, and there are no predictions"
            )
        return self.texts[name]


def given_columns(columns: Sequence[str]) -> list[str]:
    """Those of some columns that come of no prediction."""
    return [name for name in columns if name not in DERIVED]


def features(
    columns: Sequence[str],
    values: Any,
    predictions: Any = None,
    before: Any = None,
    categories: Sequence[str] = (),
) -> Features:
    """The :class:`Features` of samples.

    values: float [k], or [k, c] of the columns but those of predictions, in their order, of objects
    where some are text; predictions [k] of this model and, for "agreement", ``before`` [k] of the
    one before (None: it is the first).
    """
    given = given_columns(columns)
    x = np.asarray(values, object) if categories else reals(values, "a fitted confidence's columns")
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or x.shape[1] != len(given):
        raise ValueError(
            f"values of the columns {', '.join(given)} are needed, [k, {len(given)}], not "
            f"{list(x.shape)}"
        )
    of_column = dict(zip(given, x.T))
    texts = {name: as_text(of_column.pop(name)) for name in categories}
    if predictions is not None:
        texts[LABEL] = as_text(predictions)
    read = Features(tuple(columns), tuple(categories), x, texts)
    if AGREEMENT in columns:
        said_before = np.full(len(x), None) if before is None else before
        of_column[AGREEMENT] = read.needed(LABEL) == as_text(said_before)
    if LABEL in columns:
        read.needed(LABEL)
    numbers = [
        reals(of_column[name].tolist(), f"column {name!r}") for name in columns if name in of_column
    ]
    return replace(read, numbers=np.reshape(numbers, (len(numbers), len(x))).T)


class Folds(NamedTuple):
    """A confidence fitted on all samples, and one for each fold, fitted on the samples of the
    others; none where the order is left as it is, which is as good on their own samples."""

    whole: Fitted
    others: tuple[Fitted, ...]


def kind_and_columns(fitted: Iterable[Fitted]) -> dict[str, Any]:
    """What a Method says of several fitted confidences: their kind, "auto" where they differ, and
    all columns that some read."""
    kinds = {one.kind for one in fitted}
    columns = dict.fromkeys(name for one in fitted for name in one.columns)
    kind = kinds.pop() if len(kinds) == 1 else AUTO
    return {"confidence": kind, "columns": tuple(columns)}


def folds_of(sample_ids: Array) -> Array:
    """The fold of each sample, int [k] in 0 … FOLDS − 1, by the digest of its id: the same in
    whatever order the samples come."""
    digests = digests_of(sample_ids)
    fold = np.empty(len(digests), np.int64)
    fold[sorted(range(len(digests)), key=digests.__getitem__)] = np.arange(len(digests)) % FOLDS
    return fold


def folds_here(fitted_on: Any, here: Origin) -> Array:
    """The fold in which samples were when a confidence was fitted, int [k]; −1: in none."""
    fold = np.full(len(here), -1)
    if not isinstance(fitted_on, Origin):
        return fold
    if fitted_on.source == here.source or fitted_on.has_ids and here.has_ids:
        fold_of = dict(zip(fitted_on.sample_ids.tolist(), folds_of(fitted_on.sample_ids).tolist()))
        fold[:] = [fold_of.get(name, -1) for name in here.sample_ids.tolist()]
    return fold


def fit_confidence(kind: str, read: Features, correct: Any) -> Fitted:
    """A :class:`Fitted` from features and whether the model was correct [k] (bool, or graded in
    [0, 1]).

    Abstentions (−inf) are left out. ValueError for values that are not finite, and where there are
    no predictions, but the kind needs them.
    """
    is_there = np.asarray(~np.isneginf(read.numbers).any(axis=1))
    some = read.part(is_there)
    if not np.isfinite(some.numbers).all():
        raise ValueError(
            "the columns of a fitted confidence must be finite numbers (−inf: an abstention)"
        )
    parameters = []
    if is_there.any():
        parameters = KINDS[kind].fit(some, np.asarray(correct, np.float64)[is_there])
    return Fitted(kind, read.columns, parameters, read.categories)


def fit_folds(kind: str, read: Features, correct: Array, fold: Array) -> Folds:
    """:func:`fit_confidence` on all samples, and without those of each ``fold``, int [k].

    "auto": the simplest kind whose out-of-fold log loss is within a standard error of the least.
    The order of the first column as it is comes first, judged by the better of two curves of it.
    """
    if kind != AUTO:
        others = [
            fit_confidence(kind, read.part(fold != one), correct[fold != one])
            for one in range(FOLDS)
        ]
        return Folds(fit_confidence(kind, read, correct), tuple(others))
    tried = [("isotonic", read.alone), ("logistic", read.alone)]
    if LABEL in read.texts and not is_free_text(read.texts[LABEL]):
        tried.append((BY_LABEL, read.alone))
    if len(read.columns) > 1:
        tried.append(("logistic", read))
    found = [fit_folds(one, part, correct, fold) for one, part in tried]
    losses = [
        log_losses(out_of_fold(folds, part, fold), correct)
        for folds, (_, part) in zip(found, tried)
    ]
    least = losses[int(np.argmin([each.mean() for each in losses]))]
    excess = [each - least for each in losses]
    within = [each.mean() <= each.std() / np.sqrt(len(each)) for each in excess]
    best = within.index(True)
    return found[best] if best > 1 else Folds(found[0].whole, ())


def out_of_fold(folds: Folds, read: Features, fold: Array) -> Array:
    """Confidence float64 [k] of samples, each by the fit without its ``fold`` int [k]; of −1, and
    where no order was fitted, by the one on all."""
    confidence = folds.whole.of(read)
    for one, fitted in enumerate(folds.others):
        rows = fold == one
        confidence[rows] = fitted.of(read.part(rows))
    return confidence


def log_losses(confidence: Array, correct: Array) -> Array:
    """Log losses of confidences [k], 0 where there is none; none is surer than k samples allow."""
    edge = 1 / (len(confidence) + 1)
    chance = np.clip(confidence, edge, 1 - edge)
    losses = -np.log1p(-chance) - correct * (np.log(chance) - np.log1p(-chance))
    return np.where(np.isfinite(confidence), losses, 0.0)


def refuse_free_text(read: Features, by_label: bool = False) -> None:
    """ValueError where a column of text that is asked for, or predictions where a fit is
    ``by_label``, tell nothing apart: nearly all is said once."""
    for name in read.told + [LABEL] * by_label:
        text = read.needed(name)
        if is_free_text(text):
            _, counts = np.unique(text, return_counts=True)
            raise ValueError(
                f"{name!r} has {len(counts):,} distinct values among {len(text):,} samples, and "
                f"{np.count_nonzero(counts == 1):,} occur once: free text, by which nothing can be "
                f"fitted; leave it out, as Method(confidence='logistic', columns=…) does, or group "
                "it into few values"
            )


def is_free_text(labels: Array) -> bool:
    """Whether most of the distinct labels [k] occur once, and most samples have a rare one."""
    _, counts = np.unique(labels, return_counts=True)
    rare = counts[counts < LEAST].sum()
    return bool(2 * np.count_nonzero(counts == 1) > len(counts) and 2 * rare > len(labels))


def isotonic(read: Features, correct: Array) -> list[dict]:
    """Isotonic regression on the first column: the order as it is, as a probability; ``order``:
    where that column is a percentile further."""
    x = read.first
    order = np.unique(np.quantile(x, np.linspace(0, 1, 101), method="nearest")).tolist()
    return [curve_of(x, correct) | {"order": order}]


def isotonic_by_label(read: Features, correct: Array) -> list[dict]:
    """Isotonic regression on the first column: of all samples, then of each predicted label of
    LEAST samples or more (the groups of FrugalML; Chen et al., 2020): values at rising knots, both
    ends of each level, and how much they weigh against those of all."""
    curves = isotonic(read, correct)
    for label, rows in rows_by_label(read.needed(LABEL)).items():
        if len(rows) >= LEAST:
            own = curve_of(read.first[rows], correct[rows])
            weight = len(rows) / (len(rows) + COMMON_WEIGHT)
            curves.append(own | {"digest": label_digest(label), "weight": weight})
    return curves


def curve_of(x: Array, correct: Array) -> dict:
    """Isotonic regression of correct [k] on x [k], as a curve."""
    from scipy.optimize import isotonic_regression

    knots, place, count = np.unique(x, return_inverse=True, return_counts=True)
    values = isotonic_regression(np.bincount(place, correct) / count, weights=count).x
    is_end = np.ones(len(knots), bool)
    is_end[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
    knots = knots[is_end].tolist()
    return {"digest": None, "knots": knots, "values": values[is_end].tolist()}


def rows_by_label(labels: Array) -> dict[str, Array]:
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


def by_label(curves: list, read: Features) -> Array:
    """Linear between the knots of the label's curve and of that of all, by weight; a label without
    a curve has that of all. Within a level the column itself decides.

    curves: of all samples, then each of a label by its digest (in files of earlier versions: by the
    label itself, and nothing decides within levels); a label without one has the curve of its
    normalized text, since a table with ``normalize="text"`` has no other. Float64 [k].
    """
    x = read.first
    confidence = np.interp(x, curves[0]["knots"], curves[0]["values"])
    by_name = {curve.get("digest") or curve.get("label"): curve for curve in curves[1:]}
    for name, rows in rows_by_label(read.texts[LABEL] if by_name else x[:0]).items():
        digests = [label_digest(name), label_digest(normalized(name)), name]
        curve = next(filter(None, map(by_name.get, digests)), None)
        if curve is not None:
            own = np.interp(x[rows], curve["knots"], curve["values"])
            confidence[rows] += (curve.get("weight") or 1.0) * (own - confidence[rows])
    order = curves[0].get("order")
    if not order:
        return confidence
    rank = np.interp(x, order, np.linspace(0, 1, len(order)))
    return (confidence + TIE_BREAK * rank) / (1 + TIE_BREAK)


def logistic(read: Features, correct: Array) -> list:
    """Logistic regression: a constant, a weight per column of numbers, then, of each predicted
    label and each value of a categorical column that LEAST samples have, what it adds to the
    constant and to the weight of the first column.

    All, the constant too, have a ridge penalty: one solution, also where all are correct, or none
    is. Columns that go beyond 100 are scaled to it.
    """
    from .expected import ridge_logistic

    columns = [np.ones(len(correct)), *read.numbers.T]
    plain = len(columns)
    levels = []
    for column in read.told:
        rows = rows_by_label(read.texts[column])
        often = sorted(rows, key=lambda name: (-len(rows[name]), name))[:MOST_LEVELS]
        for name in often:
            if len(rows[name]) >= LEAST:
                is_level = np.zeros(len(correct))
                is_level[rows[name]] = 1
                columns += [is_level, is_level * read.first]
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


def logistic_confidence(parameters: list, read: Features) -> Array:
    """The probability that the weights say, summed column by column: to the same bits for equal
    samples."""
    weights = [one for one in parameters if not isinstance(one, dict)]
    total = np.full(len(read.numbers), weights[0])
    for weight, column in zip(weights[1:], read.numbers.T, strict=True):
        total = total + weight * column
    digests = {}
    for name in read.told:
        distinct, place = np.unique(read.texts[name], return_inverse=True)
        each = [label_digest(text) for text in distinct.tolist()]
        digests[name] = np.array(each, "U32")[place]
    for level in parameters[len(weights) :]:
        rows = digests[level["column"]] == level["digest"]
        total[rows] += level["constant"] + level["slope"] * read.first[rows]
    return expit(total)


def expit(z: Array) -> Array:
    """1 ÷ (1 + exp(−z)), without overflow."""
    return np.exp(-np.logaddexp(0, -z))


class Kind(NamedTuple):
    """A kind: fit(features, correct [k]) → parameters; apply(parameters, features) → confidence
    [k]; form of the parameters, as :func:`cascadelib.checks.fits` reads it."""

    fit: Callable
    apply: Callable
    form: Any


CURVES = [
    {
        "digest": (str, None),
        "label": (str, None),
        "knots": [float],
        "values": [float],
        "weight": (slice(0, 1), None),
        "order": ([float], None),
    }
]
LEVELS = {"column": str, "digest": str, "constant": float, "slope": float}
KINDS = {
    "isotonic": Kind(isotonic, by_label, CURVES),
    BY_LABEL: Kind(isotonic_by_label, by_label, CURVES),
    "logistic": Kind(logistic, logistic_confidence, [(float, LEVELS)]),
}


def fitted_from_json(value: Any) -> Fitted:
    """The :class:`Fitted` of which this is the ``asdict``; ValueError for an unknown kind or a part
    that is wrong."""
    named = value.get("kind") if isinstance(value, dict) else value
    kind = known(named, KINDS, "fitted confidence")
    form = {"columns": [str], "parameters": KINDS[kind].form, "categories": ([str], None)}
    if not fits(value, form):
        raise ValueError(
            "a part of a fitted confidence is missing or of another kind: kind, columns, parameters"
        )
    categories = tuple(value.get("categories") or ())
    fitted = Fitted(kind, tuple(value["columns"]), value["parameters"], categories)
    given = len(given_columns(fitted.columns))
    fitted(np.zeros((1, given)), [""])  # as many parameters as it needs
    return fitted
