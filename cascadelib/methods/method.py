"""Cascading methods: confidence metric × ensembling × temperature scaling (paper, sections 3 and 4.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from ..checks import known
from ..scoring import log_of, score_of
from .confidence_metrics import METRICS, Metric, metric_of, softmax, sums
from .ensembles import Ensemble, ensemble_of
from .temperature import fit_temperature

if TYPE_CHECKING:
    from ..store.logit_store import LogitStore


@dataclass(frozen=True)
class Method:
    """How a cascade turns the logits of the models run so far into a prediction and a confidence.

    metric: a name in :data:`METRICS` or a callable; ensemble: ``none`` uses the last model alone, ``mean_logits`` and
    ``mean_softmax`` average over the models run so far, ``most_confident`` takes the surest of them for each sample
    (the paper's comparison ensemble; the cheaper at a tie), ``vote`` the class with most votes; or a callable from
    logits [n, k, classes] of the n models run so far to combined logits [k, classes]. temperature: divide each model's
    logits by its temperature first; :meth:`fit` sets ``temperatures`` (model → T) on one split, and they are applied
    unchanged to any other. rule, combination: the objects that metric and ensemble name.
    """

    metric: str | Callable = "max_softmax"
    ensemble: str | Callable = "none"
    temperature: bool = False
    temperatures: Mapping[str, float] | None = None

    def __post_init__(self):
        ensemble, rule = self.combination, self.rule
        if ensemble.of_softmax and rule.of_softmax is None:
            raise ValueError(f"{rule.name} needs logits: use ensemble='mean_logits', or softmax_margin")

    @property
    def rule(self) -> Metric:
        """The confidence metric's object."""
        return metric_of(self.metric)

    @property
    def combination(self) -> Ensemble:
        """The ensemble's object."""
        return ensemble_of(self.ensemble)

    def fit(self, store: "LogitStore") -> "Method":
        """This method with the temperatures of all models of ``store`` (a LogitStore) fitted on its samples."""
        if not self.temperature:
            return self
        return replace(self, temperatures={name: cached_temperature(store, name) for name in store.models.index})

    def temperature_of(self, name: str) -> float:
        """Temperature of a model: 1.0 without temperature scaling."""
        if not self.temperature:
            return 1.0
        if self.temperatures is None:
            raise ValueError("this method scales by temperature but is not fitted: call method.fit(store) first")
        return float(self.temperatures[known(name, self.temperatures, "model with a fitted temperature")])

    def stage(self, store: "LogitStore", names: list[str], score: str = "top1") -> Callable:
        """The outcome function of cascades of ``names`` on a store, as :func:`search_outcomes` takes it: stage(prefix:
        tuple of positions in ``names``) → (correct bool [k], confidence float64 [k]) after those models."""
        rank = score_of(score).rank
        if names and rank > (classes := store.output(names[0]).shape[1]):
            raise ValueError(f"score={score!r}: there are only {classes} classes")
        scales = [self.temperature_of(name) for name in names]
        return self.combination.whole(ModelsOnSplit(store, names, scales, self.rule, rank))


@dataclass(frozen=True, eq=False)
class ModelsOnSplit:
    """What an ensemble combines: models (``names``, by their positions m) of a LogitStore at their temperatures
    ``scales``, a :class:`Metric`, and how many best classes count as right (``rank``)."""

    store: object
    names: list
    scales: list
    metric: Metric
    rank: int

    def alone(self, m):
        """Outcome of one model by itself: that of a first stage, whatever the ensemble."""
        sure = cached_confidence(self.store, self.names[m], self.metric, self.scales[m])
        return self.store.ranks(self.names[m]) < self.rank, sure

    def classes(self, m):
        """The class with the largest output of one model, int64 [k]."""
        name = self.names[m]
        return cached(self.store, name, "classes", lambda: np.asarray(self.store.output(name)).argmax(axis=1))

    def logits(self, m, rows):
        """Logits / T of some samples of one model, float64 [s, classes]."""
        values = self.store.output(self.names[m])[rows]
        z = log_of(values) if self.store.holds_probabilities(self.names[m]) else np.asarray(values, np.float64)
        return z / self.scales[m]

    def softmax(self, m, rows):
        """Their softmax: probabilities as the store has them where no temperature changes them."""
        if self.scales[m] == 1 and self.store.holds_probabilities(self.names[m]):
            return np.asarray(self.store.output(self.names[m])[rows], np.float64)
        return softmax(self.logits(m, rows))


KEPT: WeakKeyDictionary = WeakKeyDictionary()  # store → what was computed from its logits, as long as the store lives


def cached(store, name, what, compute):
    """compute(), once for a model of a store; one that is replaced has a new order."""
    values, key = KEPT.setdefault(store, {}), (name, store.metadata(name)["order"], what)
    if key not in values:
        values[key] = compute()
    return values[key]


def cached_confidence(store: "LogitStore", name: str, metric: str | Callable, temperature: float) -> np.ndarray:
    """Confidence of one model of a store by itself, float64 [k]: that of the first stage of any cascade, whatever its
    ensemble. Probabilities are read as they are; metrics of logits share one walk over them."""
    rule = metric_of(metric)

    def compute():
        if store.holds_probabilities(name) and temperature == 1:
            return rule.from_probabilities(store.output(name))
        if rule.of_sums is None:
            return rule.from_logits(store.logits(name), temperature)
        return rule.of_sums(cached(store, name, ("sums", temperature), lambda: sums(store.logits(name), temperature)))

    return cached(store, name, (rule, temperature), compute)


def cached_temperature(store, name):
    """Temperature of one model, fitted on a store."""
    return cached(store, name, "temperature", lambda: fit_temperature(store.logits(name), store.labels, name))


PLAIN, MEANS = ("entropy", "max_softmax", "softmax_margin", "logits_margin"), ("mean_logits", "mean_softmax")
METHODS = {
    **{metric: Method(metric) for metric in PLAIN},
    **{f"{metric}_most_confident_ts": Method(metric, "most_confident", True) for metric in PLAIN},
    **{f"max_softmax_{mean}{ts}": Method("max_softmax", mean, bool(ts)) for mean in MEANS for ts in ("", "_ts")},
}
"""The paper's twelve methods by name; ``_ts``: with temperature scaling."""


def method_named(method: str | Method) -> Method:
    """A Method as it is, the one of METHODS with this name, or that of a metric alone."""
    if callable(method):
        raise ValueError("a function is a metric or an ensemble: use cascadelib.Method(function), Method(ensemble=…)")
    if isinstance(method, Method):
        return method
    known(method, METRICS | METHODS, "method")
    return Method(method) if method in METRICS else METHODS[method]
