"""The exit decision of a running cascade: the output after one more model, by the evaluator's own formulas."""

from dataclasses import dataclass

import numpy as np

from .confidence import confidence, metric_of_probabilities, softmax


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a cascade says of N samples.

    predictions int64 [N]: class, −1 where no model gave a finite output; exit_stage int64 [N]: 0 = first model, as in
    an :class:`~cascadelib.evaluation.Evaluation`; confidence float64 [N]: at the exit, in the metric's own units;
    confidences float64 [N, n]: at each stage, nan where a sample did not get there; broken int64 [n]: samples for
    which a model gave nan or infinite logits.
    """

    predictions: np.ndarray
    exit_stage: np.ndarray
    confidence: np.ndarray
    confidences: np.ndarray
    broken: np.ndarray

    def __len__(self):
        return len(self.predictions)


@dataclass(frozen=True, eq=False)
class Output:
    """The output of a cascade after some models for N samples: prediction int64 [N] (−1: none yet), sure float64 [N]
    (higher = surer; nan: none yet), and for mean ensembles the sum [N, classes] over ``count`` [N] models."""

    prediction: np.ndarray
    sure: np.ndarray
    total: np.ndarray | None = None
    count: np.ndarray | None = None

    def take(self, rows):
        """The output of some of the samples: rows int [n] or a mask [N]."""
        return Output(*(None if part is None else part[rows] for part in self._parts))

    @property
    def _parts(self):
        return self.prediction, self.sure, self.total, self.count

    @classmethod
    def joined(cls, outputs):
        """Outputs of several groups of samples as one."""
        columns = zip(*(output._parts for output in outputs), strict=True)
        return cls(*(None if parts[0] is None else np.concatenate(parts) for parts in columns))


def output_after(method, temperature, logits, before=None):
    """The cascade's output after one more model, and whose logits are nan or infinite: (Output, bool [N]).

    method: a :class:`Method`; temperature: this model's; logits float [N, classes]; before: the Output after the
    models so far. A model without finite logits for a sample does not count for it: its output stays as before.
    """
    if np.isfinite(logits).all():
        return combined(method, temperature, logits, before), np.zeros(len(logits), bool)
    broken = ~np.isfinite(logits).all(axis=1)
    if before is None:
        before = nothing(method, *logits.shape)
    fresh = combined(method, temperature, np.where(broken[:, None], 0, logits), before)
    parts = zip(fresh._parts, before._parts, strict=True)
    return Output(
        *(f if f is None else np.where(broken.reshape(-1, *[1] * (f.ndim - 1)), b, f) for f, b in parts)
    ), broken


def nothing(method, samples, classes):
    """The Output of samples that no model has seen."""
    mean = method.ensemble in ("mean_logits", "mean_softmax")
    total, count = (np.zeros((samples, classes)), np.zeros(samples)) if mean else (None, None)
    return Output(np.full(samples, -1), np.full(samples, np.nan), total, count)


def combined(method, temperature, logits, before):
    """The Output after a model with finite logits [N, classes] (DESIGN §4, *Ensembling*)."""
    if method.ensemble in ("mean_logits", "mean_softmax"):
        return mean_output(method, temperature, logits, before)
    prediction, sure = logits.argmax(axis=1), confidence(logits, method.metric, temperature)
    if method.ensemble == "most_confident" and before is not None:
        earlier = before.sure >= sure
        prediction, sure = np.where(earlier, before.prediction, prediction), np.where(earlier, before.sure, sure)
    return Output(prediction, sure)


def mean_output(method, temperature, logits, before):
    """The Output of an ensemble that averages logits or softmax."""
    z = logits.astype(np.float64) / temperature
    total = z if method.ensemble == "mean_logits" else softmax(z)
    count = np.ones(len(total))
    if before is not None:
        total, count = before.total + total, before.count + 1
    mean = total / count[:, None]
    if method.ensemble == "mean_logits":
        sure = confidence(mean, method.metric)
    else:
        sure = (method.metric if callable(method.metric) else metric_of_probabilities(method.metric))(mean)
    return Output(total.argmax(axis=1), sure, total, count)
