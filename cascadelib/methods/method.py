"""Cascading methods: confidence metric × ensembling × temperature scaling (paper, sections 3 and 4.1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, permutations
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from ..checks import known
from ..labels import Origin, together
from ..scoring import log_of, score_of
from .confidence_metrics import METRICS, Metric, metric_of, softmax, sums
from .ensembles import Ensemble, ensemble_of
from .fitted import AGREEMENT, CONFIDENCE, KINDS, Fitted, fit_confidence
from .temperature import fit_temperature

if TYPE_CHECKING:
    from ..store.logit_store import LogitStore
    from ..store.score_table import ScoreTable


@dataclass(frozen=True)
class Method:
    """How a cascade turns the logits of the models run so far into a prediction and a confidence.

    metric: a name in :data:`METRICS` or a callable; ensemble: ``none`` uses the last model alone, ``mean_logits`` and
    ``mean_softmax`` average over the models run so far, ``most_confident`` takes the surest of them for each sample
    (the paper's comparison ensemble; the cheaper at a tie), ``vote`` the class with most votes; or a callable from
    logits [n, k, classes] of the n models run so far to combined logits [k, classes]. temperature: divide each model's
    logits by its temperature first; :meth:`fit` sets ``temperatures`` (model → T) on one split, and they are applied
    unchanged to any other. rule, combination: the objects that metric and ensemble name.

    confidence: "isotonic_by_label" or "logistic": how likely the model is right, fitted (:meth:`fit`, into ``fitted``)
    on one split from ``columns`` ("confidence": the metric, or what a ScoreTable was given; other metrics, or columns
    of the table; "agreement" with the model before). Thresholds are then on that probability, whatever the metric.

    fitted_on: the samples whose labels :meth:`fit` has seen; None: not known, or nothing was fitted.
    """

    metric: str | Callable = "max_softmax"
    ensemble: str | Callable = "none"
    temperature: bool = False
    temperatures: Mapping[str, float] | None = None
    confidence: str | None = None
    columns: tuple[str, ...] = (CONFIDENCE,)
    fitted: Mapping[tuple[str, ...], Fitted] | None = field(default=None, repr=False)
    fitted_on: Origin = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        ensemble, rule = self.combination, self.rule
        if self.confidence is not None:
            known(self.confidence, KINDS, "fitted confidence")
            if self.temperature or ensemble.name != "none":
                raise ValueError(
                    "a fitted confidence is of one model: without temperature scaling and ensemble"
                )
        if ensemble.of_softmax and rule.of_softmax is None:
            raise ValueError(
                f"{rule.name} needs logits: use ensemble='mean_logits', or softmax_margin"
            )

    @property
    def rule(self) -> Metric:
        """The confidence metric's object."""
        return metric_of(self.metric)

    @property
    def combination(self) -> Ensemble:
        """The ensemble's object."""
        return ensemble_of(self.ensemble)

    @property
    def units(self) -> str | Callable | None:
        """The metric whose units thresholds have; None where a confidence is fitted."""
        return self.metric if self.confidence is None else None

    def after(self, found_on: Origin) -> Origin:
        """All samples that a cascade of this method has seen which was found on some: those of the fit as well."""
        is_fitted = self.temperatures is not None or self.fitted is not None
        return together(found_on, self.fitted_on) if is_fitted else found_on

    @property
    def last_only(self) -> bool:
        """Whether only the last model run so far counts."""
        return self.combination.last_only and (
            self.confidence is None or AGREEMENT not in self.columns
        )

    def fit(self, store: "LogitStore | ScoreTable") -> "Method":
        """This method with the temperatures, or the confidences, of all models of ``store`` fitted on its samples."""
        names = list(store.models.index)
        if self.confidence is not None:
            outcome, fitted = store.outcome(names, Method(self.metric), "top1"), {}
            for models in chain(
                *(permutations(names, n) for n in ((1,) if self.last_only else (1, 2)))
            ):
                right, sure = outcome((names.index(models[-1]),))
                fitted[models] = fit_confidence(
                    self.confidence, self.columns, *self.read(store, models, sure, right)
                )
            return replace(self, fitted=fitted, fitted_on=store.origin)
        if not self.temperature:
            return self
        temperatures = {name: cached_temperature(store, name) for name in names}
        return replace(self, temperatures=temperatures, fitted_on=store.origin)

    def fitted_after(self, models: Sequence[str]) -> Fitted:
        """The fitted confidence after some models (names) ran, which reads the last, or the last two of them."""
        if self.fitted is None:
            raise ValueError(
                "this method has a confidence that is not fitted: call method.fit(store) first"
            )
        key = tuple(models[-1:] if self.last_only else models[-2:])
        return self.fitted[known(key, self.fitted, "models with a fitted confidence")]

    def read(self, store, models, sure, *right):
        """What :func:`fit_confidence` and :class:`Fitted` take after ``models`` (names), whose last is ``sure``."""
        others = [what for what in self.columns if what != AGREEMENT]
        values = [
            sure if what == CONFIDENCE else column(store, models[-1], what) for what in others
        ]
        answers = [
            store.predicted(name) if store.has_predictions else None for name in models[:-3:-1]
        ]
        return np.column_stack(values), *right, *answers

    def temperature_of(self, name: str) -> float:
        """Temperature of a model: 1.0 without temperature scaling."""
        if not self.temperature:
            return 1.0
        if self.temperatures is None:
            raise ValueError(
                "this method scales by temperature but is not fitted: call method.fit(store) first"
            )
        return float(
            self.temperatures[known(name, self.temperatures, "model with a fitted temperature")]
        )

    def stage(self, store: "LogitStore", names: list[str], score: str = "top1") -> Callable:
        """The outcome function of cascades of ``names`` on a store, as :func:`search_outcomes` takes it: stage(prefix:
        tuple of positions in ``names``) → (correct bool [k], confidence float64 [k]) after those models."""
        if self.confidence is not None:
            outcome = store.outcome(names, Method(self.metric), score)

            def stage(prefix):
                right, sure = outcome(prefix[-1:])
                models = [names[m] for m in prefix]
                return right, self.fitted_after(models)(*self.read(store, models, sure))

            return stage
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
        return self.store.predicted(self.names[m])

    def logits(self, m, rows):
        """Logits / T of some samples of one model, float64 [s, classes]."""
        values = np.array(self.store.output(self.names[m])[rows], np.float64)
        self.store.let_go(self.names[m])
        return (
            log_of(values) if self.store.holds_probabilities(self.names[m]) else values
        ) / self.scales[m]

    def softmax(self, m, rows):
        """Their softmax: probabilities as the store has them where no temperature changes them."""
        if self.scales[m] == 1 and self.store.holds_probabilities(self.names[m]):
            return np.asarray(self.store.output(self.names[m])[rows], np.float64)
        return softmax(self.logits(m, rows))


KEPT: WeakKeyDictionary = (
    WeakKeyDictionary()
)  # store → what was computed from its logits, as long as the store lives


def cached(store, name, what, compute):
    """compute(), once for a model of a store; one that is replaced has a new order."""
    values, key = KEPT.setdefault(store, {}), (name, store.version(name), what)
    if key not in values:
        values[key] = compute()
        store.let_go(name)
    return values[key]


def cached_confidence(
    store: "LogitStore", name: str, metric: str | Callable, temperature: float
) -> np.ndarray:
    """Confidence of one model of a store by itself, float64 [k]: that of the first stage of any cascade, whatever its
    ensemble. Probabilities are read as they are; metrics of logits share one walk over them."""
    rule = metric_of(metric)

    def compute():
        if store.holds_probabilities(name) and temperature == 1:
            return rule.from_probabilities(store.output(name))
        if rule.of_sums is None:
            return rule.from_logits(store.logits(name), temperature)
        return rule.of_sums(
            cached(
                store, name, ("sums", temperature), lambda: sums(store.logits(name), temperature)
            )
        )

    return cached(store, name, (rule, temperature), compute)


def column(store, name, what):
    """A further column of one model, float64 [k]: a metric of its outputs, or what a ScoreTable was given."""
    given = store.column(name, what)
    return cached_confidence(store, name, what, 1.0) if given is None else given


def cached_temperature(store, name):
    """Temperature of one model, fitted on a store."""
    return cached(
        store,
        name,
        "temperature",
        lambda: fit_temperature(store.logits(name), store.origin.needed, name),
    )


PLAIN, MEANS = (
    ("entropy", "max_softmax", "softmax_margin", "logits_margin"),
    ("mean_logits", "mean_softmax"),
)
METHODS = {
    **{metric: Method(metric) for metric in PLAIN},
    **{f"{metric}_most_confident_ts": Method(metric, "most_confident", True) for metric in PLAIN},
    **{
        f"max_softmax_{mean}{ts}": Method("max_softmax", mean, bool(ts))
        for mean in MEANS
        for ts in ("", "_ts")
    },
}
"""The paper's twelve methods by name; ``_ts``: with temperature scaling."""


def method_named(method: str | Method) -> Method:
    """A Method as it is, the one of METHODS with this name, or that of a metric alone."""
    if callable(method):
        raise ValueError(
            "a function is a metric or an ensemble: use cascadelib.Method(function), Method(ensemble=…)"
        )
    if isinstance(method, Method):
        return method
    known(method, METRICS | METHODS, "method")
    return Method(method) if method in METRICS else METHODS[method]
