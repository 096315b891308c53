"""Ensembles: the outputs of the models run so far become one (paper, section 3).

They do so on a whole split (:meth:`Ensemble.whole`) and in a
running cascade (:meth:`Ensemble.after`). A user's own function is an ensemble too.
"""

from collections.abc import Callable, Iterable
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array

from ..checks import known
from ..scoring import ranks_of
from ..stages import Outcome, Stage, StageFunction
from .confidence_metrics import CHUNK, Metric, answers, over_blocks, ranked, softmax


class Output(NamedTuple):
    """The output of a cascade after some models for N samples.

    guesses int64 [N, g], best first (−1: none yet), confidence float64 [N] (higher = more
    confident; nan: none yet), and what an ensemble has to remember.

    memory: the sum [N, classes] over ``seen`` [N] models of a mean ensemble; of all n models of the
    cascade [N, n, 2] vote and confidence, or [N, n, classes] logits / T of a user's own ensemble,
    nan where a model gave none.
    """

    guesses: Array
    confidence: Array
    memory: Any = None
    seen: Any = None

    def take(self, rows: Array) -> "Output":
        """The output of some of the samples: rows int [n] or a mask [N]."""
        return Output._make(None if part is None else part[rows] for part in self)

    def where(self, rows: Array, other: "Output") -> "Output":
        """This output, but that of ``other`` where the mask rows [N] holds."""
        parts: list[Any] = []
        for own, others in zip(self, other, strict=True):
            if own is None:
                parts.append(own)
                continue
            mask = rows.reshape(-1, *[1] * (own.ndim - 1))
            parts.append(np.where(mask, others, own))
        return Output(*parts)

    @classmethod
    def joined(cls, outputs: Any) -> "Output":
        """Outputs of several groups of samples as one."""
        columns = zip(*outputs, strict=True)
        return cls._make(None if part[0] is None else np.concatenate(part) for part in columns)


class Ensemble:
    """What differs between ensembles. This one is none: the last model alone.

    name; last_only: whether only the last model of a prefix counts; of_softmax: whether metrics get
    softmax, not logits; one_winner: whether it ranks no classes but the best.
    """

    name = "none"
    last_only = True
    of_softmax = False
    one_winner = False

    def whole(self, split: Any) -> StageFunction:
        """Stage function on a whole split: prefix → (correct bool [k], confidence float64 [k]).

        split: what :class:`cascadelib.methods.method.ModelsOnSplit` offers.
        """
        return lambda prefix: split.alone(prefix[-1])

    def nothing(self, samples: int, classes: int, models: int, guesses: int) -> Output:
        """The :class:`Output` of samples that none of so many models has seen."""
        return Output(
            np.full((samples, guesses), -1),
            np.full(samples, np.nan),
            *self.memory(samples, classes, models),
        )

    def memory(self, samples: int, classes: int, models: int) -> tuple:
        """What is remembered before the first model: (memory, seen), as far as there is any."""
        return ()

    def after(
        self, metric: Metric, temperature: float, logits: Array, before: Output, stage: int
    ) -> Output:
        """The :class:`Output` after the model of a stage.

        logits: finite, [N, classes]; temperature: the model's.
        """
        return Output(*answers(logits, metric, temperature, before.guesses.shape[1]))


class MostConfident(Ensemble):
    """The most confident of the models run so far, the cheaper at a tie.

    It is the paper's comparison ensemble.
    """

    name = "most_confident"
    last_only = False

    def whole(self, split: Any) -> StageFunction:
        alone = cache(split.alone)

        def stage(prefix: tuple) -> tuple:
            correct, confidence = alone(prefix[0])
            for m in prefix[1:]:
                own_correct, own = alone(m)
                correct = np.where(own > confidence, own_correct, correct)
                confidence = np.maximum(own, confidence)
            return correct, confidence

        return stage

    def after(
        self, metric: Metric, temperature: float, logits: Array, before: Output, stage: int
    ) -> Output:
        output = super().after(metric, temperature, logits, before, stage)
        return output.where(
            before.confidence >= output.confidence, before
        )  # false for nan: no output yet


class Mean(Ensemble):
    """The mean over the models run so far: of their logits, or of their softmax.

    Of one model it is that model.
    """

    last_only = False

    def __init__(self, name: str, of_softmax: bool) -> None:
        self.name = name
        self.of_softmax = of_softmax

    def whole(self, split: Any) -> StageFunction:
        return MeanStage(split, self.of_softmax)

    def memory(self, samples: int, classes: int, models: int) -> tuple:
        return np.zeros((samples, classes)), np.zeros(samples)

    def after(
        self, metric: Metric, temperature: float, logits: Array, before: Output, stage: int
    ) -> Output:
        scaled = (
            softmax(logits, temperature)
            if self.of_softmax
            else np.asarray(logits, np.float64) / temperature
        )
        seen = before.seen + 1
        total = before.memory + scaled
        mean = total / seen[:, None]
        first = seen == 1
        if first.any():
            alone = super().after(metric, temperature, logits, before, stage)
            alone = alone._replace(memory=total, seen=seen)
            if first.all():
                return alone
        confidence = metric.of_softmax(mean) if self.of_softmax else answers(mean, metric)[1]
        output = Output(ranked(total, before.guesses.shape[1]), confidence, total, seen)
        return output.where(first, alone) if first.any() else output


class Remembering(Ensemble):
    """An ensemble over all models so far, whose parts are kept.

    Samples with the same members are taken together.
    """

    last_only = False
    part: Any
    together: Any

    def after(
        self, metric: Metric, temperature: float, logits: Array, before: Output, stage: int
    ) -> Output:
        memory = before.memory.copy()
        guesses = before.guesses.copy()
        confidence = before.confidence.copy()
        memory[:, stage] = self.part(metric, temperature, logits)
        there = ~np.isnan(memory[:, :, 0])
        for members in np.unique(there, axis=0):
            rows = (there == members).all(axis=1)
            parts = memory[rows][:, members].swapaxes(0, 1)
            guesses[rows], confidence[rows] = self.together(metric, parts, guesses.shape[1])
        return Output(guesses, confidence, memory)


class Vote(Remembering):
    """The class with most votes: :func:`vote`."""

    name = "vote"
    one_winner = True

    def whole(self, split: Any) -> StageFunction:
        if split.rank != 1:
            raise ValueError(
                "a vote has one winner and ranks no other classes: ask for score='top1'"
            )

        def stage(prefix: tuple) -> tuple:
            confidence = np.stack([split.alone(m)[1] for m in prefix])
            winner, confidence = vote(
                np.stack([split.store.predicted(split.names[m]) for m in prefix]), confidence
            )
            return winner == split.store.origin.required_labels, confidence

        return stage

    def memory(self, samples: int, classes: int, models: int) -> tuple:
        return (np.full((samples, models, 2), np.nan),)

    def part(self, metric: Metric, temperature: float, logits: Array) -> Array:
        guess, confidence = answers(logits, metric, temperature)
        return np.stack([guess[:, 0], confidence], axis=1)

    def together(self, metric: Metric, parts: Array, guesses: int) -> tuple:
        winner, confidence = vote(parts[:, :, 0].astype(np.int64), parts[:, :, 1])
        return winner[:, None], confidence


class Own(Remembering):
    """A user's function of the logits of all models run so far.

    Logits / T float64 [n, k, classes] of n ≥ 2 models → combined logits [k, classes]. The first
    model stands for itself, as in every ensemble.
    """

    def __init__(self, function: Callable) -> None:
        self.name = getattr(function, "__name__", "own")
        self.function = function

    def whole(self, split: Any) -> StageFunction:
        labels = split.store.origin.required_labels

        def block(prefix: tuple, rows: slice) -> tuple:
            output = self.output(np.stack([split.logits(m, rows) for m in prefix]))
            return ranks_of(output, labels[rows]) < split.rank, split.metric.from_logits(output)

        def stage(prefix: tuple) -> tuple:
            if len(prefix) == 1:
                return split.alone(prefix[0])
            parts = [
                block(prefix, slice(start, start + CHUNK)) for start in range(0, len(labels), CHUNK)
            ]
            return tuple(np.concatenate(part) for part in zip(*parts))

        return stage

    def memory(self, samples: int, classes: int, models: int) -> tuple:
        return (np.full((samples, models, classes), np.nan),)

    def part(self, metric: Metric, temperature: float, logits: Array) -> Array:
        return logits.astype(np.float64) / temperature

    def together(self, metric: Metric, parts: Array, guesses: int) -> tuple:
        return answers(parts[0] if len(parts) == 1 else self.output(parts), metric, 1.0, guesses)

    def output(self, logits: Array) -> Array:
        """What the function returns, float64 [k, classes].

        ValueError where its shape or values are wrong.
        """
        output = np.asarray(self.function(logits), np.float64)
        if output.shape != logits.shape[1:]:
            raise ValueError(
                f"the ensemble function returned shape {output.shape} for {len(logits)} models, "
                f"{logits.shape[1]} samples, {logits.shape[2]} classes: "
                "it must return combined logits [samples, classes]"
            )
        if not np.isfinite(output).all():
            raise ValueError("the ensemble function returned nan or infinite values")
        return output


ENSEMBLES = {
    ensemble.name: ensemble
    for ensemble in (
        Ensemble(),
        Mean("mean_logits", False),
        Mean("mean_softmax", True),
        MostConfident(),
        Vote(),
    )
}


def ensemble_of(ensemble: Any) -> Ensemble:
    """The :class:`Ensemble` of a name or of a user's own function.

    ValueError, naming the nearest, for other names.
    """
    if isinstance(ensemble, Ensemble):
        return ensemble
    return (
        Own(ensemble) if callable(ensemble) else ENSEMBLES[known(ensemble, ENSEMBLES, "ensemble")]
    )


def vote(votes: Array, confidence: Array) -> tuple[Array, Array]:
    """Plurality vote of n models: (class int64 [k], confidence float64 [k]) of both [n, k].

    A tie goes to the class of the most confident voter among those tied; the confidence is that of
    the winner's most confident voter;
    of equally confident models the earlier (cheaper) counts.
    """
    count = sum((votes == own).astype(np.int64) for own in votes)
    speaker = np.where(count == count.max(axis=0), confidence, -np.inf).argmax(axis=0)[None]
    return np.take_along_axis(votes, speaker, 0)[0], np.take_along_axis(confidence, speaker, 0)[0]


SAMPLES_AT_ONCE = 32  # samples a block: 27 models × 1,000 classes in float64 are 7 MB


def as_rows(prefixes: list[tuple], used: list[int]) -> tuple[Array, Array]:
    """Prefixes as positions in ``used``, int64 [P, n], and whether each has a new head, bool [P].

    Shorter ones have −1 in front.
    """
    members = np.full((len(prefixes), max(map(len, prefixes), default=0)), -1, np.int64)
    for row, prefix in zip(members, prefixes):
        row[-len(prefix) :] = np.searchsorted(used, prefix)
    return members, np.append(True, (members[1:, :-1] != members[:-1, :-1]).any(axis=1))


class MeanStage(Stage):
    """Outcomes of cascades that average logits or softmax over the models run so far.

    split: :class:`ModelsOnSplit`, whose ``alone`` is the outcome of a prefix of one.
    :meth:`prepare` computes many prefixes in one walk over the samples; others are computed when
    asked for, to the same bits.
    """

    def __init__(self, split: Any, of_softmax: bool) -> None:
        self.split = split
        self.of_softmax = of_softmax
        self.labels = split.store.origin.required_labels
        self._correct: dict[tuple, Array] = {}  # as bits
        self._confidence: dict[tuple, Array] = {}

    def __call__(self, prefix: tuple) -> Outcome:
        """(correct bool [k], confidence float64 [k]) of the mean over the models of ``prefix``."""
        self.prepare([prefix], [prefix])
        return self.correct(prefix), self._confidence[prefix]

    def correct(self, prefix: tuple) -> Array:
        """Correctness alone, bool [k]: the last stage of a cascade needs no confidence."""
        self.prepare([prefix], [])
        return np.unpackbits(self._correct[prefix], count=len(self.labels)).view(bool)

    def prepare(self, correct: Iterable[tuple], confidence: Iterable[tuple]) -> None:
        """Compute correctness, and confidence, of the prefixes that were not asked for yet."""
        asked_correct = {*correct}
        asked_confidence = {*confidence}
        for prefix in (asked_correct | asked_confidence) - self._confidence.keys():
            if len(prefix) == 1:
                alone, self._confidence[prefix] = self.split.alone(prefix[0])
                self._correct[prefix] = np.packbits(alone)
        # in an order in which those that share all models but the last stand together
        to_judge = sorted(sorted(asked_correct - self._correct.keys()), key=len)
        to_rate = sorted(sorted(asked_confidence - self._confidence.keys()), key=len)
        used = sorted({m for prefix in (*to_judge, *to_rate) for m in prefix})
        if not used:
            return
        k = len(self.labels)
        bits = np.zeros((len(to_judge), -(-k // 8)), np.uint8)
        rated = np.empty((len(to_rate), k))
        judged = as_rows(to_judge, used)
        lengths = []
        for _, group in groupby(range(len(to_rate)), lambda i: len(to_rate[i])):
            of_length = list(group)
            lengths.append((of_length, as_rows([to_rate[i] for i in of_length], used)))
        output = self.split.softmax if self.of_softmax else self.split.logits

        from .kernels import correct_of_combinations  # numba, which a policy does without

        def block(rows: slice) -> None:
            values = np.stack([output(m, rows) for m in used], axis=1)
            if to_judge:
                found = np.empty((len(to_judge), rows.stop - rows.start), np.uint8)
                correct_of_combinations(values, self.labels[rows], *judged, self.split.rank, found)
                bits[:, rows.start // 8 : -(-rows.stop // 8)] = np.packbits(found, axis=1)
            for of_length, members in lengths:
                rated[of_length, rows] = self._most_confident(values, *members)

        over_blocks(k, SAMPLES_AT_ONCE, block)
        self._correct |= zip(to_judge, bits)
        self._confidence |= zip(to_rate, rated)

    def _most_confident(self, values: Array, members: Array, new: Array) -> Array:
        """Confidence [P, s] of the mean over each of P lists of models, all of one length.

        values [s, M, classes]; members int64 [P, n], new bool [P]: see :func:`as_rows`. Max
        softmax: the softmax of a mean of logits needs no new exponentials, its terms are products
        of the members' exp(logit / n). Where all products vanish (logits hundreds apart), the mean
        is taken itself.
        """
        from .kernels import confidence_of_combinations

        metric = self.split.metric
        own = metric.of_softmax if self.of_softmax else metric.from_logits
        if not metric.largest_share:
            return np.stack([own(values[:, row].mean(axis=1)) for row in members])
        terms = values
        if not self.of_softmax:
            n = members.shape[1]
            shares = [np.exp((z - z.max(axis=1, keepdims=True)) / n) for z in values]
            terms = np.stack(shares)
        confidence = np.empty((len(members), len(values)))
        confidence_of_combinations(terms, members, new, not self.of_softmax, confidence)
        for p in np.flatnonzero(np.isnan(confidence).any(axis=1)):
            missing = np.isnan(confidence[p])
            confidence[p, missing] = own(values[missing][:, members[p]].mean(axis=1))
        return confidence
