"""Cascading methods: confidence metric × ensembling × temperature scaling (paper, sections 3 and 4.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np

from .calibration import fit_temperature
from .combining import own_stage, vote
from .confidence import METRICS, check_metric, confidence, confidence_of_probabilities, confidences, softmax
from .ensembles import MeanStage
from .logit_arrays import log_of
from .names import known

ENSEMBLES = ("none", "mean_logits", "mean_softmax", "most_confident", "vote")


@dataclass(frozen=True)
class Method:
    """How a cascade turns the logits of the models run so far into a prediction and a confidence.

    metric: a name in :mod:`cascadelib.confidence` or a callable; ensemble: ``none`` uses the last model alone,
    ``mean_logits`` and ``mean_softmax`` average over the models run so far, ``most_confident`` takes the surest
    of them for each sample (the paper's comparison ensemble; the cheaper at a tie), ``vote`` the class with most votes
    (:func:`cascadelib.combining.vote`); a callable that takes logits [n, k, classes] of the n models run so far and
    returns combined logits [k, classes] is an ensemble too. temperature: divide each
    model's logits by its temperature first; :meth:`fit` sets ``temperatures`` (model → T) on one split, and they
    are applied unchanged to any other.
    """

    metric: str | Callable = "max_softmax"
    ensemble: str | Callable = "none"
    temperature: bool = False
    temperatures: Mapping[str, float] | None = None

    def __post_init__(self):
        check_metric(self.metric)
        if not callable(self.ensemble):
            known(self.ensemble, ENSEMBLES, "ensemble")
        if self.metric == "logits_margin" and self.ensemble == "mean_softmax":
            raise ValueError("logits_margin needs logits: use ensemble='mean_logits', or softmax_margin")

    def fit(self, store):
        """This method with the temperatures of all models of ``store`` (a LogitStore) fitted on its samples."""
        if not self.temperature:
            return self
        return replace(self, temperatures={name: kept_temperature(store, name) for name in store.models.index})

    def temperature_of(self, name):
        """Temperature of a model: 1.0 without temperature scaling."""
        if not self.temperature:
            return 1.0
        if self.temperatures is None:
            raise ValueError("this method scales by temperature but is not fitted: call method.fit(store) first")
        return self.temperatures[known(name, self.temperatures, "model with a fitted temperature")]

    def stage(self, store, names, score="top1"):
        """The outcome function of cascades of ``names`` on a store, as :func:`search_outcomes` takes it.

        Returns stage(prefix: tuple of positions in ``names``) → (correct bool [k], confidence float64 [k]) of the
        cascade's output after those models. Confidences of one model are computed once and kept.
        """
        rank = score_rank(score)
        if names and rank > (classes := store.output(names[0]).shape[1]):
            raise ValueError(f"score={score!r}: there are only {classes} classes")
        scales = [self.temperature_of(name) for name in names]

        def alone(m):
            return store.ranks(names[m]) < rank, kept_confidence(store, names[m], self.metric, scales[m])

        if self.ensemble == "none":
            return lambda prefix: alone(prefix[-1])
        if self.ensemble == "most_confident":
            return lambda prefix: most_confident([alone(m) for m in prefix])
        if self.ensemble == "vote":
            known(score, ["top1"], "score of a vote")
            votes = [kept(store, name, "vote", partial(answers_of, store, name)) for name in names]
            return lambda prefix: voted(store.labels, [(votes[m], alone(m)[1]) for m in prefix])
        if callable(self.ensemble):
            outputs = [partial(logits_of, store, name, t) for name, t in zip(names, scales)]
            return own_stage(outputs, store.labels, rank, self.metric, self.ensemble)
        of = logits_of if self.ensemble == "mean_logits" else softmax_of
        outputs = [partial(of, store, name, t) for name, t in zip(names, scales)]
        return MeanStage(outputs, store.labels, rank, self.metric, self.ensemble, alone)


def logits_of(store, name, temperature, rows):
    """Logits / temperature of some samples of one model of a store: float64 [s, classes]."""
    values = store.output(name)[rows]
    return (log_of(values) if store.holds_probabilities(name) else np.asarray(values, np.float64)) / temperature


def softmax_of(store, name, temperature, rows):
    """Softmax at a temperature of some samples of one model: float64 [s, classes]; probabilities as the store has them
    where there is none to change."""
    if temperature == 1 and store.holds_probabilities(name):
        return np.asarray(store.output(name)[rows], np.float64)
    return softmax(logits_of(store, name, temperature, rows))


def answers_of(store, name):
    """The class with the largest output of each sample, int64 [k]."""
    return np.asarray(store.output(name)).argmax(axis=1)


KEPT = WeakKeyDictionary()  # store → what was computed from its logits, as long as the store lives


def kept(store, name, what, compute):
    """compute(), once for a model of a store; one that is replaced has a new order."""
    values, key = KEPT.setdefault(store, {}), (name, store.metadata(name)["order"], what)
    if key not in values:
        values[key] = compute()
    return values[key]


def kept_confidence(store, name, metric, temperature):
    """Confidence of one model of a store by itself, float64 [k]: that of the first stage of any cascade, whatever its
    ensemble. All METRICS of logits come from one walk; probabilities are read as they are (DESIGN §4, *Exact*)."""
    if store.holds_probabilities(name) and temperature == 1:
        compute = partial(confidence_of_probabilities, store.output(name), metric)
        return compute() if callable(metric) else kept(store, name, (metric, "of probabilities"), compute)
    if metric not in METRICS:
        return confidence(store.logits(name), metric, temperature)
    return kept(store, name, temperature, lambda: confidences(store.logits(name), temperature))[metric]


def kept_temperature(store, name):
    """Temperature of one model, fitted on a store."""
    return kept(store, name, "temperature", lambda: fit_temperature(store.logits(name), store.labels, name))


def score_rank(score):
    """How many best classes count as right under a score: 1 for "top1", k for "top<k>"."""
    if not (str(score).startswith("top") and str(score)[3:].isdigit() and int(score[3:]) > 0):
        known(score, ["top1", "top2", "top5", "f1"], "score")
    return int(score[3:])


def most_confident(outcomes):
    """Per sample the outcome of whichever model is surest, the earlier (cheaper) at a tie."""
    right, sure = (np.stack(parts) for parts in zip(*outcomes, strict=True))
    chosen = sure.argmax(axis=0)[None]
    return np.take_along_axis(right, chosen, 0)[0], np.take_along_axis(sure, chosen, 0)[0]


def voted(labels, ballots):
    """Whether a plurality vote is right, and how sure: ballots [(class [k], confidence [k]), …]."""
    winner, sure = vote(*(np.stack(parts) for parts in zip(*ballots, strict=True)))
    return winner == labels, sure


METHODS = {
    **{metric: Method(metric) for metric in ("entropy", "max_softmax", "softmax_margin", "logits_margin")},
    **{
        f"{metric}_most_confident_ts": Method(metric, "most_confident", True)
        for metric in ("entropy", "max_softmax", "softmax_margin", "logits_margin")
    },
    "max_softmax_mean_logits": Method("max_softmax", "mean_logits"),
    "max_softmax_mean_logits_ts": Method("max_softmax", "mean_logits", True),
    "max_softmax_mean_softmax": Method("max_softmax", "mean_softmax"),
    "max_softmax_mean_softmax_ts": Method("max_softmax", "mean_softmax", True),
}


def method_named(method):
    """A Method as it is, or the one of METHODS with this name."""
    if callable(method):
        raise ValueError("a function is a metric or an ensemble: use cascadelib.Method(function), Method(ensemble=…)")
    return method if isinstance(method, Method) else METHODS[known(method, METHODS, "method")]
