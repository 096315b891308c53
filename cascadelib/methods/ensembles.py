"""Ensembles (paper, section 3): the outputs of the models run so far become one, on a whole split
(:meth:`Ensemble.whole`) and in a running cascade (:meth:`Ensemble.after`). A user's own function is an ensemble too."""

from functools import cache
from itertools import groupby
from typing import NamedTuple

import numpy as np

from ..checks import known
from ..scoring import ranks_of
from .confidence_metrics import CHUNK, answers, over_blocks, ranked, softmax
from .kernels import confidence_of_combinations, correct_of_combinations


class Output(NamedTuple):
    """The output of a cascade after some models for N samples: guesses int64 [N, g], best first (−1: none yet), sure
    float64 [N] (higher = surer; nan: none yet), and what an ensemble has to remember.

    memory: the sum [N, classes] over ``seen`` [N] models of a mean ensemble; of all n models of the cascade [N, n, 2]
    vote and confidence, or [N, n, classes] logits / T of a user's own ensemble, nan where a model gave none.
    """

    guesses: np.ndarray
    sure: np.ndarray
    memory: np.ndarray | None = None
    seen: np.ndarray | None = None

    def take(self, rows):
        """The output of some of the samples: rows int [n] or a mask [N]."""
        return Output(*(None if part is None else part[rows] for part in self))

    def where(self, rows, other):
        """This output, but that of ``other`` where the mask rows [N] holds."""
        parts = zip(self, other, strict=True)
        return Output(
            *(
                p if p is None else np.where(rows.reshape(-1, *[1] * (p.ndim - 1)), o, p)
                for p, o in parts
            )
        )

    @classmethod
    def joined(cls, outputs):
        """Outputs of several groups of samples as one."""
        return cls(
            *(
                None if parts[0] is None else np.concatenate(parts)
                for parts in zip(*outputs, strict=True)
            )
        )


class Ensemble:
    """What differs between ensembles. This one is none: the last model alone.

    name; last_only: whether only the last model of a prefix counts; of_softmax: whether metrics get softmax, not
    logits; one_winner: whether it ranks no classes but the best.
    """

    name, last_only, of_softmax, one_winner = "none", True, False, False

    def whole(self, split):
        """Stage function on a whole split: prefix → (correct bool [k], confidence float64 [k]). split: what
        :class:`cascadelib.methods.method.ModelsOnSplit` offers."""
        return lambda prefix: split.alone(prefix[-1])

    def nothing(self, samples, classes, models, guesses):
        """The :class:`Output` of samples that none of so many models has seen."""
        return Output(
            np.full((samples, guesses), -1),
            np.full(samples, np.nan),
            *self.memory(samples, classes, models),
        )

    def memory(self, samples, classes, models):
        """What is remembered before the first model: (memory, seen), as far as there is any."""
        return ()

    def after(self, metric, temperature, logits, before, stage):
        """The :class:`Output` after the model of a stage, with finite logits [N, classes], at its temperature."""
        return Output(*answers(logits, metric, temperature, before.guesses.shape[1]))


class MostConfident(Ensemble):
    """The surest of the models run so far, the cheaper at a tie: the paper's comparison ensemble."""

    name, last_only = "most_confident", False

    def whole(self, split):
        alone = cache(split.alone)

        def stage(prefix):
            right, sure = alone(prefix[0])
            for m in prefix[1:]:
                own_right, own = alone(m)
                right, sure = np.where(own > sure, own_right, right), np.maximum(own, sure)
            return right, sure

        return stage

    def after(self, metric, temperature, logits, before, stage):
        output = super().after(metric, temperature, logits, before, stage)
        return output.where(before.sure >= output.sure, before)  # false for nan: no output yet


class Mean(Ensemble):
    """The mean over the models run so far: of their logits, or of their softmax. Of one model it is that model."""

    last_only = False

    def __init__(self, name, of_softmax):
        self.name, self.of_softmax = name, of_softmax

    def whole(self, split):
        return MeanStage(split, self.of_softmax)

    def memory(self, samples, classes, models):
        return np.zeros((samples, classes)), np.zeros(samples)

    def after(self, metric, temperature, logits, before, stage):
        scaled = (
            softmax(logits, temperature)
            if self.of_softmax
            else np.asarray(logits, np.float64) / temperature
        )
        seen, total = before.seen + 1, before.memory + scaled
        mean, first = total / seen[:, None], seen == 1
        if first.any():
            alone = super().after(metric, temperature, logits, before, stage)
            alone = alone._replace(memory=total, seen=seen)
            if first.all():
                return alone
        sure = metric.of_softmax(mean) if self.of_softmax else answers(mean, metric)[1]
        output = Output(ranked(total, before.guesses.shape[1]), sure, total, seen)
        return output.where(first, alone) if first.any() else output


class Remembering(Ensemble):
    """An ensemble over all models so far, whose parts are kept. Samples with the same members are taken together."""

    last_only = False

    def after(self, metric, temperature, logits, before, stage):
        memory, guesses, sure = before.memory.copy(), before.guesses.copy(), before.sure.copy()
        memory[:, stage] = self.part(metric, temperature, logits)
        there = ~np.isnan(memory[:, :, 0])
        for members in np.unique(there, axis=0):
            rows = (there == members).all(axis=1)
            parts = memory[rows][:, members].swapaxes(0, 1)
            guesses[rows], sure[rows] = self.together(metric, parts, guesses.shape[1])
        return Output(guesses, sure, memory)


class Vote(Remembering):
    """The class with most votes: :func:`vote`."""

    name, one_winner = "vote", True

    def whole(self, split):
        if split.rank != 1:
            raise ValueError(
                "a vote has one winner and ranks no other classes: its score is 'top1'"
            )

        def stage(prefix):
            sure = np.stack([split.alone(m)[1] for m in prefix])
            winner, sure = vote(np.stack([split.classes(m) for m in prefix]), sure)
            return winner == split.store.origin.needed, sure

        return stage

    def memory(self, samples, classes, models):
        return (np.full((samples, models, 2), np.nan),)

    def part(self, metric, temperature, logits):
        guess, sure = answers(logits, metric, temperature)
        return np.stack([guess[:, 0], sure], axis=1)

    def together(self, metric, parts, guesses):
        winner, sure = vote(parts[:, :, 0].astype(np.int64), parts[:, :, 1])
        return winner[:, None], sure


class Own(Remembering):
    """A user's function: logits / T float64 [n, k, classes] of the n ≥ 2 models run so far → combined logits. The first
    model stands for itself, as in every ensemble."""

    def __init__(self, function):
        self.name, self.function = getattr(function, "__name__", "own"), function

    def whole(self, split):
        labels = split.store.origin.needed

        def block(prefix, rows):
            output = self.output(np.stack([split.logits(m, rows) for m in prefix]))
            return ranks_of(output, labels[rows]) < split.rank, split.metric.from_logits(output)

        def stage(prefix):
            if len(prefix) == 1:
                return split.alone(prefix[0])
            parts = [
                block(prefix, slice(start, start + CHUNK)) for start in range(0, len(labels), CHUNK)
            ]
            return tuple(np.concatenate(part) for part in zip(*parts))

        return stage

    def memory(self, samples, classes, models):
        return (np.full((samples, models, classes), np.nan),)

    def part(self, metric, temperature, logits):
        return logits.astype(np.float64) / temperature

    def together(self, metric, parts, guesses):
        return answers(parts[0] if len(parts) == 1 else self.output(parts), metric, 1.0, guesses)

    def output(self, logits):
        """What the function returns, float64 [k, classes]; refused where its shape or values are wrong."""
        output = np.asarray(self.function(logits), np.float64)
        if output.shape != logits.shape[1:]:
            raise ValueError(
                f"the ensemble function returned shape {output.shape} for {len(logits)} models, {logits.shape[1]} "
                f"samples, {logits.shape[2]} classes: it must return combined logits [samples, classes]"
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


def ensemble_of(ensemble) -> Ensemble:
    """The :class:`Ensemble` of a name or of a user's own function; ValueError, naming the nearest, for other names."""
    if isinstance(ensemble, Ensemble):
        return ensemble
    return (
        Own(ensemble) if callable(ensemble) else ENSEMBLES[known(ensemble, ENSEMBLES, "ensemble")]
    )


def vote(votes, sure):
    """Plurality vote of n models: (class int64 [k], confidence float64 [k]) for votes int [n, k], sure float [n, k].

    A tie goes to the class of the surest voter among those tied; the confidence is that of the winner's surest voter;
    of equally sure models the earlier (cheaper) counts.
    """
    count = sum((votes == own).astype(np.int64) for own in votes)
    speaker = np.where(count == count.max(axis=0), sure, -np.inf).argmax(axis=0)[None]
    return np.take_along_axis(votes, speaker, 0)[0], np.take_along_axis(sure, speaker, 0)[0]


SAMPLES_AT_ONCE = 32  # samples a block: 27 models × 1,000 classes in float64 are 7 MB


def as_rows(prefixes, used):
    """Prefixes as int64 [P, n] of positions in ``used``, shorter ones with −1 in front, and bool [P]: a new head?"""
    members = np.full((len(prefixes), max(map(len, prefixes), default=0)), -1, np.int64)
    for row, prefix in zip(members, prefixes):
        row[-len(prefix) :] = np.searchsorted(used, prefix)
    return members, np.append(True, (members[1:, :-1] != members[:-1, :-1]).any(axis=1))


class MeanStage:
    """Outcomes of cascades that average logits or softmax over the models run so far.

    split: :class:`ModelsOnSplit`, whose ``alone`` is the outcome of a prefix of one. :meth:`prepare` computes many
    prefixes in one walk over the samples; others are computed when asked for, to the same bits.
    """

    def __init__(self, split, of_softmax):
        self.split, self.of_softmax, self.labels = split, of_softmax, split.store.origin.needed
        self._right, self._sure = {}, {}

    def __call__(self, prefix):
        """(correct bool [k], confidence float64 [k]) of the mean over the models of ``prefix``."""
        self.prepare([prefix], [prefix])
        return self.correct(prefix), self._sure[prefix]

    def correct(self, prefix):
        """Correctness alone, bool [k]: the last stage of a cascade needs no confidence."""
        self.prepare([prefix], [])
        return np.unpackbits(self._right[prefix], count=len(self.labels)).view(bool)

    def prepare(self, correct, confidence):
        """Compute correctness of the prefixes ``rights`` and confidence of ``sures``, each once."""
        rights, sures = correct, confidence
        for p in {*rights, *sures} - self._sure.keys():
            if len(p) == 1:
                right, self._sure[p] = self.split.alone(p[0])
                self._right[p] = np.packbits(right)
        rights = sorted(
            sorted({*rights} - self._right.keys()), key=len
        )  # those that share all but the last together
        sures = sorted(sorted({*sures} - self._sure.keys()), key=len)
        k, used = len(self.labels), sorted({m for p in (*rights, *sures) for m in p})
        bits, sure = np.zeros((len(rights), -(-k // 8)), np.uint8), np.empty((len(sures), k))
        lengths = [list(group) for _, group in groupby(range(len(sures)), lambda i: len(sures[i]))]
        members = [as_rows([sures[i] for i in group], used) for group in lengths]
        of_rights, output = (
            as_rows(rights, used),
            self.split.softmax if self.of_softmax else self.split.logits,
        )

        def block(rows):
            values = np.stack([output(m, rows) for m in used], axis=1)
            if rights:
                found = np.empty((len(rights), rows.stop - rows.start), np.uint8)
                correct_of_combinations(
                    values, self.labels[rows], *of_rights, self.split.rank, found
                )
                bits[:, rows.start // 8 : -(-rows.stop // 8)] = np.packbits(found, axis=1)
            for group, own in zip(lengths, members):
                sure[group, rows] = self._surest(values, *own)

        if used:
            over_blocks(k, SAMPLES_AT_ONCE, block)
        self._right |= zip(rights, bits)
        self._sure |= zip(sures, sure)

    def _surest(self, values, members, new):
        """Confidence [P, s] of the mean over each of P lists of models, all of one length.

        Max softmax: the softmax of a mean of logits needs no new exponentials, its terms are products of the members'
        exp(logit / n). Where all products vanish (logits hundreds apart), the mean is taken itself."""
        own = self.split.metric.of_softmax if self.of_softmax else self.split.metric.from_logits
        if not self.split.metric.largest_share:
            return np.stack([own(values[:, row].mean(axis=1)) for row in members])
        sure, multiply, terms = np.empty((len(members), len(values))), not self.of_softmax, values
        if multiply:
            terms = np.stack(
                [np.exp((z - z.max(axis=1, keepdims=True)) / members.shape[1]) for z in values]
            )
        confidence_of_combinations(terms, members, new, multiply, sure)
        for p in np.flatnonzero(np.isnan(sure).any(axis=1)):
            rows = np.isnan(sure[p])
            sure[p, rows] = own(values[rows][:, members[p]].mean(axis=1))
        return sure
