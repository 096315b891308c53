"""Cascading methods: confidence metric × ensembling × temperature scaling (paper, sections 3 and 4.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .calibration import fit_temperature
from .confidence import CHUNK, check_metric, confidence, metric_of_probabilities, softmax
from .names import known

ENSEMBLES = ("none", "mean_logits", "mean_softmax", "most_confident")


@dataclass(frozen=True)
class Method:
    """How a cascade turns the logits of the models run so far into a prediction and a confidence.

    metric: a name in :mod:`cascadelib.confidence` or a callable; ensemble: ``none`` uses the last model alone,
    ``mean_logits`` and ``mean_softmax`` average over the models run so far, ``most_confident`` takes the surest
    of them for each sample (the paper's comparison ensemble; the cheaper at a tie). temperature: divide each
    model's logits by its temperature first; :meth:`fit` sets ``temperatures`` (model → T) on one split, and they
    are applied unchanged to any other.
    """

    metric: str | Callable = "max_softmax"
    ensemble: str = "none"
    temperature: bool = False
    temperatures: Mapping[str, float] | None = None

    def __post_init__(self):
        check_metric(self.metric)
        known(self.ensemble, ENSEMBLES, "ensemble")
        if self.metric == "logits_margin" and self.ensemble == "mean_softmax":
            raise ValueError("logits_margin needs logits: use ensemble='mean_logits', or softmax_margin")

    def fit(self, store):
        """This method with the temperatures of all models of ``store`` (a LogitStore) fitted on its samples."""
        if not self.temperature:
            return self
        fitted = {name: fit_temperature(store.logits(name), store.labels) for name in store.models.index}
        return replace(self, temperatures=fitted)

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
        cascade's output after those models. Outcomes of one model are computed once and kept.
        """
        rank, single = score_rank(score), {}

        def alone(m):
            if m not in single:
                logits, t = store.logits(names[m]), self.temperature_of(names[m])
                single[m] = (in_top(logits, store.labels, rank), confidence(logits, self.metric, t))
            return single[m]

        def after(prefix):
            if len(prefix) == 1 or self.ensemble == "none":
                return alone(prefix[-1])
            if self.ensemble == "most_confident":
                return most_confident([alone(m) for m in prefix])
            scaled = [(store.logits(names[m]), self.temperature_of(names[m])) for m in prefix]
            return mean_outcome(scaled, store.labels, rank, self.metric, self.ensemble)

        return after


def score_rank(score):
    """How many best classes count as right under a score: 1 for "top1", k for "top<k>"."""
    if not (str(score).startswith("top") and str(score)[3:].isdigit() and int(score[3:]) > 0):
        known(score, ["top1", "top2", "top5"], "score")
    return int(score[3:])


def in_top(outputs, labels, rank):
    """Whether the label is among the ``rank`` highest outputs [k, classes] (ties: lower class first): bool [k]."""
    parts = []
    for start in range(0, len(labels), CHUNK):
        z, y = np.asarray(outputs[start : start + CHUNK]), labels[start : start + CHUNK]
        if rank == 1:
            parts.append(z.argmax(axis=1) == y)
            continue
        own = z[np.arange(len(y)), y][:, None]
        before = (z > own) | ((z == own) & (np.arange(z.shape[1]) < y[:, None]))
        parts.append(before.sum(axis=1) < rank)
    return np.concatenate(parts)


def most_confident(outcomes):
    """Per sample the outcome of whichever model is surest, the earlier (cheaper) at a tie."""
    right, sure = (np.stack(parts) for parts in zip(*outcomes, strict=True))
    chosen = sure.argmax(axis=0)[None]
    return np.take_along_axis(right, chosen, 0)[0], np.take_along_axis(sure, chosen, 0)[0]


def mean_outcome(scaled, labels, rank, metric, ensemble):
    """(correct, confidence) of the mean over models of logits / T, or of softmax(logits / T)."""
    right, sure = [], []
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        if ensemble == "mean_logits":
            mean = sum(np.asarray(z[rows], np.float64) / t for z, t in scaled) / len(scaled)
            sure.append(confidence(mean, metric))
        else:
            mean = sum(softmax(z[rows], t) for z, t in scaled) / len(scaled)
            sure.append(metric(mean) if callable(metric) else metric_of_probabilities(metric)(mean))
        right.append(in_top(mean, labels[rows], rank))
    return np.concatenate(right), np.concatenate(sure)


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
    return method if isinstance(method, Method) else METHODS[known(method, METHODS, "method")]
