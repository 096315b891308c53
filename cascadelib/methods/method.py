"""Cascading methods: metric × ensembling × temperature scaling (paper, sections 3 and 4.1)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, permutations
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy import ndarray as Array

from ..checks import error_context, validate_choice
from ..origin import Origins, join_origins
from ..scoring import log_of, score_of
from ..stages import Outcome, StageFunction
from .confidence_metrics import METRICS, Metric, Sums, metric_of, softmax_in_place, sums
from .ensembles import Ensemble, ensemble_of
from .fitted import (
    AGREEMENT,
    AUTO,
    BY_LABEL,
    CONFIDENCE,
    DERIVED,
    KINDS,
    Features,
    Fitted,
    Folds,
    assign_folds,
    find_folds,
    fit_folds,
    out_of_fold,
    read_features,
    refuse_free_text,
    value_columns,
)
from .temperature import fit_temperature


@dataclass(frozen=True)
class Method:
    """Define how a cascade computes a prediction and a confidence from the models called so far.

    Parameters
    ----------
    metric : str or callable, default="max_softmax"
        Confidence metric: a key of ``METRICS``, "top<k>_softmax_sum", or a function.
    ensemble : str or callable, default="none"
        - "none": the output of the current model.
        - "mean_logits", "mean_softmax": the mean over the models called so far.
        - "most_confident": for each sample the output of the most confident model called so far. A
          tie goes to the cheapest model. This is the paper's comparison ensemble.
        - "vote": the class with the most votes.
        - a function from logits of shape (n_models, n_samples, n_classes) to combined logits of
          shape (n_samples, n_classes).
    temperature : bool, default=False
        Whether each model's logits are divided by its temperature first.
    temperatures : dict, optional
        Temperature of each model, set by :meth:`fit` and applied unchanged to other splits.
    confidence : {"isotonic_by_label", "logistic", "auto"}, optional
        Replace the metric by the probability that the model is correct, fitted by :meth:`fit`.
        Thresholds then refer to that probability. "auto" chooses per model between the two fits and
        the unchanged metric. The samples of the fit get out-of-fold probabilities.
    columns : tuple of str, optional
        Inputs of a fitted confidence: names of metrics or of columns of the table, or one of these:

        - "confidence": the metric, or the confidence of a ScoreTable.
        - "label": the predicted class.
        - "agreement": whether the previous model predicted the same class.

        By default, "auto" uses these three and all columns of a ScoreTable. For a LogitStore, it
        uses "softmax_margin" and "entropy" instead of the columns. "label" and "agreement" are
        omitted if the store has no predictions.
    fitted : dict, optional
        Fitted confidence of each model, set by :meth:`fit`. With "agreement", there is one fitted
        confidence per pair of models.
    fitted_on : Origin, tuple of Origin, or None
        Samples whose labels :meth:`fit` used. None if they are unknown or if nothing was fitted.
    folds : dict, optional
        The :class:`.fitted.Folds` of each item of `fitted`, for out-of-fold confidences. They are
        not saved to files.

    Raises
    ------
    ValueError
        If a name is unknown, or if the parts do not fit together, such as logits_margin with
        mean_softmax.

    See Also
    --------
    search : Search all cascades of a method.
    confidence : Compute a metric for one model.
    fit_temperature : Fit one temperature.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(3, size=500)
    >>> small, large = (np.eye(3)[labels] * s + rng.normal(size=(500, 3)) for s in (1, 3))
    >>> logits = {"small": small, "large": large}
    >>> store = cl.LogitStore.from_arrays(labels, logits, macs={"small": 1, "large": 10})
    >>> method = cl.Method("softmax_margin", ensemble="mean_logits", temperature=True).fit(store)
    >>> {name: round(t, 2) for name, t in method.temperatures.items()}
    {'small': 0.91, 'large': 0.37}
    """

    metric: str | Callable = "max_softmax"
    ensemble: str | Callable = "none"
    temperature: bool = False
    temperatures: Mapping[str, float] | None = field(default=None, repr=False)
    confidence: str | None = None
    columns: tuple[str, ...] = (CONFIDENCE,)
    fitted: Mapping[tuple[str, ...], Fitted] | None = field(default=None, repr=False)
    fitted_on: Origins = field(default=None, compare=False, repr=False)
    folds: Mapping[tuple[str, ...], Folds] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        ensemble = self.combination
        rule = self.rule
        if self.confidence is not None:
            validate_choice(self.confidence, [AUTO, *KINDS], "fitted confidence")
            if self.temperature or ensemble.name != "none":
                raise ValueError(
                    "a fitted confidence uses the output of one model. Omit temperature= and "
                    "ensemble="
                )
        if ensemble.of_softmax and rule.of_softmax is None:
            raise ValueError(
                f"{rule.name} needs logits. Use ensemble='mean_logits', or softmax_margin"
            )

    @property
    def rule(self) -> Metric:
        """Return the confidence metric."""
        return metric_of(self.metric)

    @property
    def combination(self) -> Ensemble:
        """Return the ensemble."""
        return ensemble_of(self.ensemble)

    @property
    def units(self) -> Any:
        """Return the metric that defines the units of thresholds, None for a fitted confidence."""
        return self.metric if self.confidence is None else None

    def add_fit_samples(self, selected_on: Origins) -> Origins:
        """Return `selected_on` with the samples of the fit, if something was fitted."""
        return join_origins(selected_on, self.fitted_on) if self.is_fitted else selected_on

    @property
    def is_fitted(self) -> bool:
        """Return whether :meth:`fit` fitted something."""
        return self.temperatures is not None or self.fitted is not None

    @property
    def last_only(self) -> bool:
        """Return whether outcomes depend only on the last model called."""
        has_agreement = self.confidence is not None and AGREEMENT in self.columns
        return self.combination.last_only and not has_agreement

    def fit(self, store: Any, models: Iterable[str] | None = None) -> "Method":
        """Fit the temperatures or confidences of models on the samples of a store.

        Parameters
        ----------
        store : LogitStore or ScoreTable
            Labelled samples.
        models : iterable of str, optional
            Models to fit. Defaults to all models of the store.

        Returns
        -------
        Method
            The fitted method, or this one if there is nothing to fit.
        """
        names = list(store.models.index if models is None else models)
        if self.confidence is None:
            if not self.temperature:
                return self
            temperatures = {name: cached_temperature(store, name) for name in names}
            return replace(self, temperatures=temperatures, fitted_on=store.origin)
        method = self.with_columns_of(store)
        outcome = store.outcome(names, Method(self.metric), "top1")
        fold = assign_folds(store.origin.sample_ids)
        folds = {}
        may_be_free_text = self.confidence == BY_LABEL and store.class_count is None
        # Fit one confidence per model, or one per pair of models if "agreement" is an input.
        for length in (1,) if method.last_only else (1, 2):
            for models_read in permutations(names, length):
                correct, confidence = outcome((names.index(models_read[-1]),))
                features = self.features_of(store, models_read, confidence, method.columns)
                with error_context(f"model {models_read[-1]!r}"):
                    if self.confidence != AUTO:
                        refuse_free_text(features, may_be_free_text)
                    folds[models_read] = fit_folds(self.confidence, features, correct, fold)
        fitted = {read: one.full for read, one in folds.items()}
        return replace(method, fitted=fitted, fitted_on=store.origin, folds=folds)

    def with_columns_of(self, store: Any) -> "Method":
        """Return the method with the columns of a store that a fitted confidence reads.

        Raises ValueError if the fit keeps the order of the samples.
        """
        if self.confidence == AUTO:
            columns = self.columns
            if columns == (CONFIDENCE,):  # the default: all columns of the store
                columns = getattr(store, "columns", ())
                if store.class_count is not None:
                    columns = ("softmax_margin", "entropy")
                columns = (*columns, *(DERIVED if store.has_predictions else ()))
            return replace(self, columns=tuple(dict.fromkeys((CONFIDENCE, *columns))))
        if self.confidence == "logistic" and self.columns == (CONFIDENCE,):
            raise ValueError(
                "'logistic' with the confidence as its only input keeps the order of the "
                "samples, so the front does not change. Add columns=, or use 'isotonic_by_label' "
                "or 'auto'"
            )
        return self

    def fitted_after(self, models: Sequence[str]) -> Fitted:
        """Return the fitted confidence of the last of `models`, which are called in this order."""
        if self.fitted is None:
            raise ValueError("the confidence of this method is not fitted: call method.fit(store)")
        read = self.models_read(models)
        return self.fitted[validate_choice(read, self.fitted, "models with a fitted confidence")]

    def models_read(self, models: Sequence[str]) -> tuple[str, ...]:
        """Return the models whose outputs a fitted confidence reads: the last one or two."""
        return tuple(models[-1:] if self.last_only else models[-2:])

    @staticmethod
    def features_of(
        store: Any, models: Sequence[str], confidence: Array, columns: Sequence[str]
    ) -> Features:
        """Return the inputs of the fitted confidence of the last of `models`.

        `confidence` is the confidence of the last model, array of shape (n_samples,).
        """
        names = value_columns(columns)
        values = []
        for name in names:
            column = confidence if name == CONFIDENCE else store.column(models[-1], name)
            if column is None:  # a store of outputs has no columns: the name is a metric
                column = cached_confidence(store, models[-1], name, 1.0)
            values.append(column)
        is_text = [column.dtype.kind == "U" for column in values]
        if any(is_text):
            values = [column.astype(object) for column in values]
        predictions = before = None
        if store.has_predictions:
            predictions = store.predicted(models[-1])
            before = store.predicted(models[-2]) if len(models) > 1 else None
        array = np.reshape(values, (len(values), len(confidence))).T
        categories = tuple(compress(names, is_text))
        return read_features(columns, array, predictions, before, categories)

    def temperature_of(self, name: str) -> float:
        """Return the temperature of a model, 1.0 without temperature scaling."""
        if not self.temperature:
            return 1.0
        if self.temperatures is None:
            raise ValueError(
                "the temperatures of this method are not fitted: call method.fit(store)"
            )
        return float(
            self.temperatures[
                validate_choice(name, self.temperatures, "model with a fitted temperature")
            ]
        )

    def stage(self, store: Any, names: list[str], score: str = "top1") -> StageFunction:
        """Return the stage function of cascades on a store, the input of :func:`search_outcomes`.

        Parameters
        ----------
        store : LogitStore or ScoreTable
            Labelled samples.
        names : list of str
            Models.
        score : str, default="top1"
            Score of an answer.

        Returns
        -------
        callable
            Function of a prefix, a tuple of positions in `names`. It returns the correctness and
            the confidence of each sample after the models of the prefix. They are a bool array and
            a float64 array of shape (n_samples,).

        Raises
        ------
        ValueError
            If a top-k score needs more classes than exist.
        """
        if self.confidence is not None:
            outcome = store.outcome(names, Method(self.metric), score)
            fold = find_folds(self.fitted_on if self.folds else None, store.origin)

            def stage(prefix: tuple[int, ...]) -> Outcome:
                correct, confidence = outcome(prefix[-1:])
                models = [names[m] for m in prefix]
                folds = Folds(self.fitted_after(models), ())
                if self.folds:
                    folds = self.folds[self.models_read(models)]
                features = self.features_of(store, models, confidence, folds.full.columns)
                return correct, out_of_fold(folds, features, fold)

            return stage
        rank = score_of(score).rank
        if names:
            classes = store.class_count
            if rank > classes:
                raise ValueError(f"score={score!r}, but there are only {classes} classes")
        scales = [self.temperature_of(name) for name in names]
        return self.combination.stage_function(ModelsOnSplit(store, names, scales, self.rule, rank))


@dataclass(frozen=True, eq=False)
class ModelsOnSplit:
    """Hold the models of a store that an ensemble combines, numbered m = 0, 1, ….

    Parameters
    ----------
    store : LogitStore
        Labelled samples.
    names : list of str
        Names of the models.
    scales : list of float
        Temperature of each model.
    metric : Metric
        Confidence metric.
    rank : int
        Number of best classes that count as correct.
    """

    store: Any
    names: list[str]
    scales: list[float]
    metric: Metric
    rank: int

    def single_outcome(self, m: int) -> Outcome:
        """Return the outcome of one model, which is the first-stage outcome of any ensemble."""
        confidence = cached_confidence(self.store, self.names[m], self.metric, self.scales[m])
        return self.correct(m), confidence

    def correct(self, m: int) -> Array:
        """Return the correctness of one model, bool (k,)."""
        return self.store.ranks(self.names[m]) < self.rank

    @property
    def cache(self) -> dict:
        """Return the cached values of the store."""
        return CACHE.setdefault(self.store.cache_owner, {})

    def key_of(self, m: int) -> tuple[str, int, float]:
        """Return the name of a model, the version of its outputs, and its temperature."""
        return self.names[m], self.store.version(self.names[m]), self.scales[m]

    def outputs(self, models: Sequence[int], rows: slice, of_softmax: bool) -> Array:
        """Return logits / T, or softmax, of models for some rows, float64 (s, n_models, n_classes).

        The softmax of stored probabilities is the probabilities themselves if T is 1.
        """
        names = [self.names[m] for m in models]
        parts = []
        for name in names:
            with READING:
                parts.append(self.store.read(name, rows))
        values = np.stack(parts, axis=1, dtype=np.float64)
        unchanged = []
        for i, (m, name) in enumerate(zip(models, names)):
            scale = self.scales[m]
            if self.store.holds_probabilities(name):
                if of_softmax and scale == 1:
                    unchanged.append(i)
                else:
                    values[:, i] = log_of(values[:, i])
            if scale != 1:
                values[:, i] /= scale
        if of_softmax:
            probabilities = values[:, unchanged]
            softmax_in_place(values)[:, unchanged] = probabilities
        if rows.start // HELD_ROWS != rows.stop // HELD_ROWS:
            for name in names:
                self.store.release_memory(name)
        return values

    def logits(self, m: int, rows: slice) -> Array:
        """Return logits / T of one model for some rows, float64 (s, n_classes)."""
        return self.outputs([m], rows, False)[:, 0]


HELD_ROWS = 1024  # samples after which the memory of mapped files is freed
# A file may be mapped again at each use. With the lock, threads map one file at a time.
READING = Lock()
# Owner (LogitStore.cache_owner) → values that were computed from the outputs.
CACHE: WeakKeyDictionary = WeakKeyDictionary()


def cache_result(store: Any, name: str, kind: Any, compute: Callable[[], Any]) -> Any:
    """Return compute(), cached by store, model, version of the model's outputs, and kind."""
    values = CACHE.setdefault(store.cache_owner, {})
    key = (name, store.version(name), kind)
    if key not in values:
        values[key] = compute()
        store.release_memory(name)
    return values[key]


def cached_confidence(store: Any, name: str, metric: Any, temperature: float) -> Array:
    """Return the confidence of one model of a LogitStore, float64 (k,).

    If the store has probabilities and the temperature is 1, the metric is computed from the
    probabilities without taking logarithms. Several metrics share the cached sums over the logits.
    """
    rule = metric_of(metric)

    def compute() -> Array:
        if store.holds_probabilities(name) and temperature == 1:
            return rule.from_probabilities(store.output(name))
        if rule.of_sums is None:
            return rule.from_logits(store.logits(name), temperature)
        rows = store.compute_once(name, ("sums", temperature), sums_of_output)
        return rule.of_sums(Sums(*np.ascontiguousarray(rows.T)))

    def sums_of_output(tensor: Array) -> Array:
        logits = log_of(tensor) if store.holds_probabilities(name) else tensor
        return np.stack(sums(logits, temperature), axis=1)

    return cache_result(store, name, (rule, temperature), compute)


def cached_temperature(store: Any, name: str) -> float:
    """Return the temperature of one model, fitted on a LogitStore, from the cache.

    A file of scores has the temperatures of its study.
    """
    known = store.temperature(name)
    if known is not None:
        return known
    labels = store.origin.required_labels
    return cache_result(
        store, name, "temperature", lambda: fit_temperature(store.logits(name), labels, name)
    )


PLAIN = ("entropy", "max_softmax", "softmax_margin", "logits_margin")
METHODS = {
    **{metric: Method(metric) for metric in PLAIN},
    **{f"{metric}_most_confident_ts": Method(metric, "most_confident", True) for metric in PLAIN},
    "max_softmax_mean_logits": Method("max_softmax", "mean_logits"),
    "max_softmax_mean_logits_ts": Method("max_softmax", "mean_logits", True),
    "max_softmax_mean_softmax": Method("max_softmax", "mean_softmax"),
    "max_softmax_mean_softmax_ts": Method("max_softmax", "mean_softmax", True),
}
"""The paper's twelve methods by name. The suffix ``_ts`` means temperature scaling."""


def method_named(method: str | Method) -> Method:
    """Return the Method of a name, which is a key of METHODS, METRICS or KINDS, or "auto"."""
    if isinstance(method, Method):
        return method
    if callable(method):
        raise ValueError(
            "method must be a name or a Method, not a function. Use cascadelib.Method(function) "
            "for a metric, or Method(ensemble=function) for an ensemble"
        )
    if method in (AUTO, *KINDS):
        return Method(confidence=method)
    validate_choice(method, METRICS | METHODS, "method")
    return Method(method) if method in METRICS else METHODS[method]
