"""The exit decision of a running cascade: the output after one more model.

The formulas are those of :mod:`cascadelib.confidence`; for the four metrics of the paper they stand here once more as a
loop over rows, which takes a few microseconds for a batch where numpy takes a hundred (the tests compare the two).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from .combining import own_output, vote
from .confidence import METRICS, confidence, confidence_of_softmax, softmax


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

    def __repr__(self):
        left = np.bincount(self.exit_stage, minlength=self.confidences.shape[1]).tolist()
        return f"<Decisions: {len(self)} samples; so many left at each stage: {left}>"


@dataclass(frozen=True, eq=False)
class Output:
    """The output of a cascade after some models for N samples: prediction int64 [N] (−1: none yet), sure float64 [N]
    (higher = surer; nan: none yet), and what an ensemble has to remember.

    memory: the sum [N, classes] over ``count`` [N] models of a mean ensemble; of all n models of the cascade [N, n, 2]
    vote and confidence, or [N, n, classes] logits / T of a user's own ensemble, nan where a model gave none.
    """

    prediction: np.ndarray
    sure: np.ndarray
    memory: np.ndarray | None = None
    count: np.ndarray | None = None

    def take(self, rows):
        """The output of some of the samples: rows int [n] or a mask [N]."""
        if self.memory is None:
            return Output(self.prediction[rows], self.sure[rows])
        return Output(*(None if part is None else part[rows] for part in self._parts))

    @property
    def _parts(self):
        return self.prediction, self.sure, self.memory, self.count

    @classmethod
    def joined(cls, outputs):
        """Outputs of several groups of samples as one."""
        columns = zip(*(output._parts for output in outputs), strict=True)
        return cls(*(None if parts[0] is None else np.concatenate(parts) for parts in columns))


def output_after(method, temperature, logits, before=None, place=(0, 1)):
    """The cascade's output after one more model, and whose logits are nan or infinite: (Output, bool [N] or None).

    method: a :class:`Method`; temperature: this model's; logits float [N, classes]; before: the Output after the
    models so far; place: this model's position, and how many there are. A model without finite logits for a sample does
    not count for it: its output stays as before.
    """
    whole = all_finite(logits)
    if before is None and (not whole or method.ensemble != "none"):
        before = nothing(method, *logits.shape, place[1])
    if whole:
        return combined(method, temperature, logits, before, place[0]), None
    broken = ~np.isfinite(logits).all(axis=1)
    fresh = combined(method, temperature, np.where(broken[:, None], 0, logits), before, place[0])
    parts = zip(fresh._parts, before._parts, strict=True)
    return Output(
        *(f if f is None else np.where(broken.reshape(-1, *[1] * (f.ndim - 1)), b, f) for f, b in parts)
    ), broken


def nothing(method, samples, classes, models):
    """The Output of samples that no model has seen."""
    memory, count = None, None
    if method.ensemble in ("mean_logits", "mean_softmax"):
        memory, count = np.zeros((samples, classes)), np.zeros(samples)
    elif callable(method.ensemble) or method.ensemble == "vote":
        memory = np.full((samples, models, 2 if method.ensemble == "vote" else classes), np.nan)
    return Output(np.full(samples, -1), np.full(samples, np.nan), memory, count)


def combined(method, temperature, logits, before, stage):
    """The Output after the model of a stage, with finite logits [N, classes] (DESIGN §4, *Ensembling*)."""
    if method.ensemble in ("mean_logits", "mean_softmax"):
        return mean_output(method, temperature, logits, before)
    if callable(method.ensemble):
        return remembering(method, logits.astype(np.float64) / temperature, before, stage)
    prediction, sure = answers(logits, method.metric, temperature)
    if method.ensemble == "vote":
        return remembering(method, np.stack([prediction, sure], axis=1), before, stage)
    if method.ensemble == "most_confident":
        earlier = before.sure >= sure  # false for nan: no output yet
        prediction, sure = np.where(earlier, before.prediction, prediction), np.where(earlier, before.sure, sure)
    return Output(prediction, sure)


def mean_output(method, temperature, logits, before):
    """The Output of an ensemble that averages logits or softmax."""
    count = before.count + 1
    if method.ensemble == "mean_logits":
        total, mean = np.empty(logits.shape), np.empty(logits.shape)
        add_logits(logits, float(temperature), before.memory, count, total, mean)
        sure = surest(mean, method.metric, 1.0)
    else:
        total = before.memory + softmax(logits.astype(np.float64) / temperature)
        sure = confidence_of_softmax(total / count[:, None], method.metric)
    prediction, first = total.argmax(axis=1), count == 1
    if first.any():  # no mean: what this model says by itself
        prediction[first], sure[first] = answers(logits[first], method.metric, temperature)
    return Output(prediction, sure, total, count)


def remembering(method, entry, before, stage):
    """The Output of an ensemble over all models so far: a vote, or the user's own; entry [N, …]: this model's part.

    Samples are taken together whose finite members are the same: nearly always all of them.
    """
    memory = before.memory.copy()
    memory[:, stage] = entry
    prediction, sure = before.prediction.copy(), before.sure.copy()
    there = ~np.isnan(memory[:, :, 0])
    for members in np.unique(there, axis=0):
        rows = (there == members).all(axis=1)
        outputs = memory[rows][:, members].swapaxes(0, 1)
        if method.ensemble == "vote":
            prediction[rows], sure[rows] = vote(outputs[:, :, 0].astype(np.int64), outputs[:, :, 1])
        else:
            output = own_output(method.ensemble, outputs)
            prediction[rows], sure[rows] = output.argmax(axis=1), surest(output, method.metric, 1.0)
    return Output(prediction, sure, memory)


def surest(logits, metric, temperature):
    """:func:`cascadelib.confidence.confidence` of finite logits [N, classes], fast for small batches: float64 [N]."""
    return answers(logits, metric, temperature)[1]


def answers(logits, metric, temperature):
    """(the largest of each row of finite logits [N, classes], its confidence): int64 [N], float64 [N]."""
    if metric not in METRICS:
        return logits.argmax(axis=1), confidence(logits, metric, temperature)
    prediction, sure = np.empty(len(logits), np.int64), np.empty(len(logits))
    answer_rows(logits, float(temperature), METRICS.index(metric), prediction, sure)
    return prediction, sure


@njit(nogil=True, cache=True)
def all_finite(logits):
    """Whether logits [N, classes] hold neither nan nor infinity."""
    for j in range(logits.shape[0]):
        for c in range(logits.shape[1]):
            if not np.isfinite(logits[j, c]):
                return False
    return True


@njit(nogil=True, cache=True)
def add_logits(logits, temperature, before, count, total, mean):
    """Fill total = before + logits / temperature and mean = total / count; all [N, classes], count float64 [N]."""
    for j in range(logits.shape[0]):
        for c in range(logits.shape[1]):
            total[j, c] = before[j, c] + np.float64(logits[j, c]) / temperature
            mean[j, c] = total[j, c] / count[j]


@njit(nogil=True, cache=True)
def answer_rows(logits, temperature, metric, prediction, out):
    """Fill prediction [N], and out [N] as :func:`cascadelib.confidence.of_block` does; metric: its place in METRICS."""
    classes = logits.shape[1]
    for j in range(len(logits)):
        top = 0
        for c in range(1, classes):
            if logits[j, c] > logits[j, top]:
                top = c
        prediction[j] = top
        largest = np.float64(logits[j, top]) / temperature
        rest, second, weighted = 0.0, -np.inf, 0.0
        for c in range(classes):
            if c != top:
                z = np.float64(logits[j, c]) / temperature - largest
                e = np.exp(z)
                rest, second, weighted = rest + e, max(second, z), weighted + e * z
        if metric == 0:
            out[j] = 1 / (1 + rest)
        elif metric == 1:
            out[j] = (1 - np.exp(second)) / (1 + rest)
        elif metric == 2:
            out[j] = weighted / (1 + rest) - np.log1p(rest)
        else:
            out[j] = largest if classes == 1 else -second
