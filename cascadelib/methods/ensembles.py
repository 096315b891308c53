"""Combine the outputs of the models that were called so far (paper, section 3).

Each ensemble is implemented twice: for a full split (:meth:`Ensemble.stage_function`) and for a
running cascade (:meth:`Ensemble.add_model`).
"""

from collections.abc import Iterable
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array

from ..checks import validate_choice
from ..stages import DelayingStage, Outcome, StageFunction
from .confidence_metrics import (
    METRICS,
    Metric,
    map_blocks,
    predict_rows,
    softmax,
)


class EnsembleOutput(NamedTuple):
    """Hold the output of an ensemble in a running cascade, for N samples.

    Parameters
    ----------
    predictions : int64 array of shape (N,)
        Classes, −1 before the first model.
    confidence : float64 array of shape (N,)
        Confidence, higher = more confident. nan before the first model.
    memory : array or None
        State for the next models: a sum over models (N, n_classes).
    seen : array of shape (N,) or None
        Number of models in the sum.
    """

    predictions: Array
    confidence: Array
    memory: Any = None
    seen: Any = None

    def take(self, rows: Array) -> "EnsembleOutput":
        """Select samples by rows, int (n,), or by a mask (N,)."""
        return EnsembleOutput._make(None if part is None else part[rows] for part in self)

    def where(self, rows: Array, other: "EnsembleOutput") -> "EnsembleOutput":
        """Return a copy in which the samples of a mask (N,) are replaced by those of `other`."""
        parts: list[Any] = []
        for part, others in zip(self, other, strict=True):
            if part is not None:
                mask = rows.reshape(-1, *[1] * (part.ndim - 1))
                part = np.where(mask, others, part)
            parts.append(part)
        return EnsembleOutput(*parts)


class Ensemble:
    """Combine models. This base class is the ensemble "none": the output of the last model.

    Attributes
    ----------
    name : str
        Key of ``ENSEMBLES``.
    last_only : bool
        Whether only the last model of a prefix counts.
    of_softmax : bool
        Whether metrics are computed from softmax instead of logits.
    """

    name = "none"
    last_only = True
    of_softmax = False

    def stage_function(self, split: Any) -> StageFunction:
        """Return the stage function on a :class:`cascadelib.methods.method.ModelsOnSplit`."""
        return LastStage(split)

    def empty_output(self, samples: int, classes: int) -> EnsembleOutput:
        """Return the :class:`EnsembleOutput` before the first model."""
        return EnsembleOutput(
            np.full(samples, -1), np.full(samples, np.nan), *self.memory(samples, classes)
        )

    def memory(self, samples: int, classes: int) -> tuple:
        """Return the initial `memory` and `seen` of an output, if the ensemble needs them."""
        return ()

    def add_model(
        self, metric: Metric, temperature: float, logits: Array, before: EnsembleOutput
    ) -> EnsembleOutput:
        """Return the output after the model of a stage, from its finite logits (N, n_classes)."""
        return EnsembleOutput(*predict_rows(logits, metric, temperature))


class LastStage(DelayingStage):
    """Compute the outcomes of the last model on a :class:`ModelsOnSplit`."""

    def __init__(self, split: Any) -> None:
        self.split = split

    def __call__(self, prefix: tuple) -> Outcome:
        """Return the outcome of the last model of a prefix."""
        return self.split.single_outcome(prefix[-1])

    def correct(self, prefix: tuple) -> Array:
        """Return only the correctness, which needs no confidence."""
        return self.split.correct(prefix[-1])


class MostConfident(Ensemble):
    """Select the output of the most confident model. A tie goes to the cheapest model."""

    name = "most_confident"
    last_only = False

    def stage_function(self, split: Any) -> StageFunction:
        outcome_of = cache(split.single_outcome)

        def stage(prefix: tuple) -> tuple:
            correct, confidence = outcome_of(prefix[0])
            for m in prefix[1:]:
                next_correct, next_confidence = outcome_of(m)
                correct = np.where(next_confidence > confidence, next_correct, correct)
                confidence = np.maximum(next_confidence, confidence)
            return correct, confidence

        return stage

    def add_model(
        self, metric: Metric, temperature: float, logits: Array, before: EnsembleOutput
    ) -> EnsembleOutput:
        output = super().add_model(metric, temperature, logits, before)
        # The comparison is false for nan, before the first model.
        return output.where(before.confidence >= output.confidence, before)


class Mean(Ensemble):
    """Average logits or softmax. The mean over one model is the output of that model."""

    last_only = False

    def __init__(self, name: str, of_softmax: bool) -> None:
        self.name = name
        self.of_softmax = of_softmax

    def stage_function(self, split: Any) -> StageFunction:
        return MeanStage(split, self.of_softmax)

    def memory(self, samples: int, classes: int) -> tuple:
        return np.zeros((samples, classes)), np.zeros(samples)

    def add_model(
        self, metric: Metric, temperature: float, logits: Array, before: EnsembleOutput
    ) -> EnsembleOutput:
        scaled = (
            softmax(logits, temperature)
            if self.of_softmax
            else np.asarray(logits, np.float64) / temperature
        )
        seen = before.seen + 1
        total = before.memory + scaled
        first = seen == 1
        if first.any():
            single = super().add_model(metric, temperature, logits, before)
            single = single._replace(memory=total, seen=seen)
            if first.all():
                return single
        mean = total / seen[:, None]
        confidence = metric.of_softmax(mean) if self.of_softmax else predict_rows(mean, metric)[1]
        output = EnsembleOutput(total.argmax(axis=1), confidence, total, seen)
        return output.where(first, single) if first.any() else output


ENSEMBLES = {
    ensemble.name: ensemble
    for ensemble in (
        Ensemble(),
        Mean("mean_logits", False),
        Mean("mean_softmax", True),
        MostConfident(),
    )
}
"""Ensembles by name."""


def ensemble_of(ensemble: str) -> Ensemble:
    """Return the :class:`Ensemble` of a name."""
    return ENSEMBLES[validate_choice(ensemble, ENSEMBLES, "ensemble")]


MEAN_ROWS = 32  # samples per block, since 27 models × 1,000 classes in float64 are 7 MB


def as_rows(prefixes: list[tuple], used: list[int]) -> tuple[Array, Array]:
    """Return prefixes as rows of positions in `used`, int64 (P, n), and whether a row is new.

    Shorter rows begin with −1. The second array, bool (P,), states whether the models before the
    last differ from those of the previous row.
    """
    members = np.full((len(prefixes), max(map(len, prefixes), default=0)), -1, np.int64)
    for row, prefix in zip(members, prefixes):
        row[-len(prefix) :] = np.searchsorted(used, prefix)
    return members, np.append(True, (members[1:, :-1] != members[:-1, :-1]).any(axis=1))


class MeanStage(DelayingStage):
    """Compute the outcomes of a mean ensemble on a :class:`ModelsOnSplit`.

    :meth:`prepare` computes many prefixes in one pass over the samples. The result equals that of
    single calls, bit for bit.
    """

    def __init__(self, split: Any, of_softmax: bool) -> None:
        self.split = split
        self.of_softmax = of_softmax
        self.labels = split.store.origin.required_labels
        self._correct: dict[tuple, Array] = {}  # as packed bits
        self._confidence: dict[tuple, Array] = {}

    def __call__(self, prefix: tuple) -> Outcome:
        """Return the outcome of the mean over a prefix."""
        self.prepare([prefix], [prefix])
        return self.correct(prefix), self._confidence[prefix]

    def correct(self, prefix: tuple) -> Array:
        """Return only the correctness, bool (k,)."""
        self.prepare([prefix], [])
        return np.unpackbits(self._correct[prefix], count=len(self.labels)).view(bool)

    def prepare(self, correct: Iterable[tuple], confidence: Iterable[tuple]) -> None:
        """Compute correctness and confidence of the prefixes that are not computed yet."""
        correct = {*correct}
        confidence = {*confidence}
        for prefix in (correct | confidence) - self._confidence.keys():
            if len(prefix) == 1:
                single, self._confidence[prefix] = self.split.single_outcome(prefix[0])
                self._correct[prefix] = np.packbits(single)
        # Sorted, so that prefixes with the same models before the last are adjacent.
        of_correct = sorted(sorted(correct - self._correct.keys()), key=len)
        of_confidence = sorted(sorted(confidence - self._confidence.keys()), key=len)
        used = sorted({m for prefix in (*of_correct, *of_confidence) for m in prefix})
        if not used:
            return
        k = len(self.labels)
        bits = np.zeros((len(of_correct), -(-k // 8)), np.uint8)
        confidences = np.empty((len(of_confidence), k))
        members = as_rows(of_correct, used)
        by_length = []
        for _, group in groupby(range(len(of_confidence)), lambda i: len(of_confidence[i])):
            places = list(group)
            by_length.append((places, as_rows([of_confidence[i] for i in places], used)))

        # This imports numba. The import is late, since a policy runs without numba.
        from .kernels import correct_of_combinations

        def block(rows: slice) -> None:
            values = self.split.outputs(used, rows, self.of_softmax)
            if of_correct:
                found = np.empty((len(of_correct), rows.stop - rows.start), np.uint8)
                correct_of_combinations(values, self.labels[rows], *members, self.split.rank, found)
                bits[:, rows.start // 8 : -(-rows.stop // 8)] = np.packbits(found, axis=1)
            for places, of_length in by_length:
                confidences[places, rows] = self._mean_confidence(values, *of_length)

        map_blocks(k, MEAN_ROWS, block)
        self._correct |= zip(of_correct, bits)
        self._confidence |= zip(of_confidence, confidences)

    def _mean_confidence(self, values: Array, members: Array, new: Array) -> Array:
        """Return the confidences (P, s) of the means over P combinations of n models each.

        `values` are the outputs (s, n_models, n_classes). `members` and `new` are the results of
        :func:`as_rows`. For max softmax of mean logits, exp(logit / n) is computed once per model.
        The terms of each softmax are products of these factors. If all products of a sample
        underflow, its confidence is computed from the mean of the logits.
        """
        from .kernels import confidence_of_combinations

        metric = self.split.metric
        confidence_of = metric.of_softmax if self.of_softmax else metric.from_logits
        if metric is not METRICS["max_softmax"]:  # only the largest softmax has a kernel
            return np.stack([confidence_of(values[:, row].mean(axis=1)) for row in members])
        terms = values
        if not self.of_softmax:
            terms = values - values.max(axis=-1, keepdims=True)
            terms /= members.shape[1]
            np.exp(terms, out=terms)
        confidence = np.empty((len(members), len(values)))
        confidence_of_combinations(terms, members, new, not self.of_softmax, confidence)
        for p in np.flatnonzero(np.isnan(confidence).any(axis=1)):
            missing = np.isnan(confidence[p])
            mean = values[missing][:, members[p]].mean(axis=1)
            confidence[p, missing] = confidence_of(mean)
        return confidence
