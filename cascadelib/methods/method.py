"""Cascading methods: metric × ensembling × temperature scaling (paper, sections 3 and 4.1)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy import ndarray as Array

from ..checks import error_context, validate_choice
from ..origin import Origins, join_origins
from ..stages import Outcome, StageFunction, log_of, score_of
from .confidence_metrics import METRICS, Metric, Sums, metric_of, softmax_in_place, sums
from .ensembles import Ensemble, ensemble_of
from .fitted import BY_LABEL, FOLDS, Fits, assign_folds, fit_confidence
from .temperature import fit_temperature


@dataclass(frozen=True)
class Method:
    """Define how a cascade computes a prediction and a confidence from the models called so far.

    Parameters
    ----------
    metric : str or callable, default="max_softmax"
        Confidence metric: a key of ``METRICS``, "top<k>_softmax_sum", or a function.
    ensemble : str, default="none"
        - "none": the output of the current model.
        - "mean_logits", "mean_softmax": the mean over the models called so far.
        - "most_confident": for each sample the output of the most confident model called so far. A
          tie goes to the cheapest model. This is the paper's comparison ensemble.
    temperature : bool, default=False
        Whether each model's logits are divided by its temperature first.
    temperatures : dict, optional
        Temperature of each model, set by :meth:`fit` and applied unchanged to other splits.
    confidence : {"isotonic_by_label"}, optional
        Replace the metric, or the confidence of a ScoreTable, by the probability that the model is
        correct, given its prediction. :meth:`fit` fits it. Thresholds then refer to that
        probability. The samples of the fit get out-of-fold probabilities.
    fitted : Fits, optional
        Fitted confidences, and the samples of the fit. Set by :meth:`fit`.

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
    ensemble: str = "none"
    temperature: bool = False
    temperatures: Mapping[str, float] | None = field(default=None, repr=False)
    confidence: str | None = None
    fitted: Fits | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        ensemble = self.combination
        rule = self.rule
        if self.confidence is not None:
            validate_choice(self.confidence, [BY_LABEL], "fitted confidence")
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
        if not self.is_fitted:
            return selected_on
        return join_origins(selected_on, self.fitted.samples if self.fitted else None)

    @property
    def is_fitted(self) -> bool:
        """Return whether :meth:`fit` fitted something."""
        return self.temperatures is not None or self.fitted is not None

    @property
    def last_only(self) -> bool:
        """Return whether outcomes depend only on the last model called."""
        return self.combination.last_only

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
        if self.confidence is not None:
            return replace(self, fitted=self.fit_confidences(store, names))
        if not self.temperature:
            return self
        temperatures = {name: cached_temperature(store, name) for name in names}
        return replace(self, temperatures=temperatures, fitted=Fits(store.origin))

    def fit_confidences(self, store: Any, names: list[str]) -> Fits:
        """Fit the confidence of each model to all samples, and to those outside each fold."""
        outcome = store.outcome(names, Method(self.metric), "top1")
        fold = assign_folds(store.origin.sample_ids)
        fits = Fits(store.origin, {}, {})
        for m, name in enumerate(names):
            correct, confidence = outcome((m,))
            columns = confidence, store.predicted(name), correct
            with error_context(f"model {name!r}"):
                fits.confidences[name] = fit_confidence(*columns)
            fits.without_fold[name] = [
                fit_confidence(*(column[fold != one] for column in columns)) for one in range(FOLDS)
            ]
        return fits

    @property
    def fits(self) -> Fits:
        """Return the fitted confidences, or raise a ValueError if there are none."""
        if self.fitted is None:
            raise ValueError("the confidence of this method is not fitted: call method.fit(store)")
        return self.fitted

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
            fold = self.fits.folds_of(store.origin)

            def stage(prefix: tuple[int, ...]) -> Outcome:
                correct, confidence = outcome(prefix[-1:])
                name = names[prefix[-1]]
                return correct, self.fits.apply(name, confidence, store.predicted(name), fold)

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
    """Return the Method of a name: a key of METHODS or METRICS, or "isotonic_by_label"."""
    if isinstance(method, Method):
        return method
    if callable(method):
        raise ValueError(
            "method must be a name or a Method, not a function. Use cascadelib.Method(function)"
        )
    if method == BY_LABEL:
        return Method(confidence=method)
    validate_choice(method, METRICS | METHODS, "method")
    return Method(method) if method in METRICS else METHODS[method]
