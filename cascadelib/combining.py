"""Ensembles (DESIGN §4): how the outputs of the models run so far become one, on a whole split and model by model.

Each is one object: :meth:`Ensemble.whole` for searches and :func:`evaluate`, :meth:`Ensemble.after` for a running
cascade. One that is put into ENSEMBLES has all that either needs. A user's own function is an ensemble too.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from .confidence import CHUNK, answers, ranked, softmax
from .ensembles import MeanStage
from .logit_arrays import ranks_of
from .names import known


@dataclass(frozen=True, eq=False)
class Output:
    """The output of a cascade after some models for N samples: guesses int64 [N, g], best first (−1: none yet), sure
    float64 [N] (higher = surer; nan: none yet), and what an ensemble has to remember.

    memory: the sum [N, classes] over ``count`` [N] models of a mean ensemble; of all n models of the cascade [N, n, 2]
    vote and confidence, or [N, n, classes] logits / T of a user's own ensemble, nan where a model gave none.
    """

    guesses: np.ndarray
    sure: np.ndarray
    memory: np.ndarray | None = None
    count: np.ndarray | None = None

    @property
    def prediction(self):
        """The best class, int64 [N]."""
        return self.guesses[:, 0]

    def take(self, rows):
        """The output of some of the samples: rows int [n] or a mask [N]."""
        return Output(*(None if part is None else part[rows] for part in self._parts))

    def decided(self, rows):
        """The same without what only a later model would need."""
        return Output(self.guesses[rows], self.sure[rows])

    def where(self, rows, other):
        """This output, but that of ``other`` where the mask rows [N] holds."""
        parts = zip(self._parts, other._parts, strict=True)
        return Output(*(p if p is None else np.where(rows.reshape(-1, *[1] * (p.ndim - 1)), o, p) for p, o in parts))

    @property
    def _parts(self):
        return self.guesses, self.sure, self.memory, self.count

    @classmethod
    def joined(cls, outputs):
        """Outputs of several groups of samples as one."""
        columns = zip(*(output._parts for output in outputs), strict=True)
        return cls(*(None if parts[0] is None else np.concatenate(parts) for parts in columns))


class Ensemble:
    """What differs between ensembles. This one is none: the last model alone.

    name; last_only: whether only the last model of a prefix counts; of_softmax: whether metrics get softmax, not
    logits; one_winner: whether it ranks no classes but the best.
    """

    name, last_only, of_softmax, one_winner = "none", True, False, False

    def whole(self, split):
        """Stage function on a whole split: prefix → (correct bool [k], confidence float64 [k]). split: what
        :class:`cascadelib.methods.ModelsOnSplit` offers."""
        return lambda prefix: split.alone(prefix[-1])

    def nothing(self, samples, classes, models, guesses):
        """The :class:`Output` of samples that none of so many models has seen."""
        return Output(np.full((samples, guesses), -1), np.full(samples, np.nan), *self.memory(samples, classes, models))

    def memory(self, samples, classes, models):
        """What is remembered before the first model: (memory, count), as far as there is any."""
        return ()

    def after(self, metric, temperature, logits, before, stage):
        """The :class:`Output` after the model of a stage, with finite logits [N, classes], at its temperature."""
        return Output(*answers(logits, metric, temperature, before.guesses.shape[1]))


class MostConfident(Ensemble):
    """The surest of the models run so far, the cheaper at a tie: the paper's comparison ensemble."""

    name, last_only = "most_confident", False

    def whole(self, split):
        def stage(prefix):
            right, sure = (np.stack(parts) for parts in zip(*map(split.alone, prefix), strict=True))
            chosen = sure.argmax(axis=0)[None]
            return np.take_along_axis(right, chosen, 0)[0], np.take_along_axis(sure, chosen, 0)[0]

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
        return MeanStage(split.softmax if self.of_softmax else split.logits, split, self.of_softmax)

    def memory(self, samples, classes, models):
        return np.zeros((samples, classes)), np.zeros(samples)

    def after(self, metric, temperature, logits, before, stage):
        count, total, mean = before.count + 1, np.empty(logits.shape), np.empty(logits.shape)
        scores, scale = (softmax(logits, temperature), 1.0) if self.of_softmax else (logits, float(temperature))
        add_scaled(scores, scale, before.memory, count, total, mean)
        first = count == 1
        if first.any():
            alone = super().after(metric, temperature, logits, before, stage)
            alone = Output(alone.guesses, alone.sure, total, count)
            if first.all():
                return alone
        sure = metric.of_softmax(mean) if self.of_softmax else answers(mean, metric)[1]
        output = Output(ranked(total, before.guesses.shape[1]), sure, total, count)
        return output.where(first, alone) if first.any() else output


class Remembering(Ensemble):
    """An ensemble over all models so far, whose parts are kept: samples are taken together whose finite members are the
    same, nearly always all of them."""

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
            raise ValueError("a vote has one winner and ranks no other classes: its score is 'top1'")

        def stage(prefix):
            sure = np.stack([split.alone(m)[1] for m in prefix])
            winner, sure = vote(np.stack([split.classes(m) for m in prefix]), sure)
            return winner == split.store.labels, sure

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
    """A user's function: logits / T float64 [n, k, classes] of the n models run so far → combined logits."""

    def __init__(self, function):
        self.name, self.function = getattr(function, "__name__", "own"), function

    def whole(self, split):
        labels = split.store.labels

        def block(prefix, rows):
            output = self.output(np.stack([split.logits(m, rows) for m in prefix]))
            return ranks_of(output, labels[rows]) < split.rank, split.metric.from_logits(output)

        def stage(prefix):
            parts = [block(prefix, slice(start, start + CHUNK)) for start in range(0, len(labels), CHUNK)]
            return tuple(np.concatenate(part) for part in zip(*parts))

        return stage

    def memory(self, samples, classes, models):
        return (np.full((samples, models, classes), np.nan),)

    def part(self, metric, temperature, logits):
        return logits.astype(np.float64) / temperature

    def together(self, metric, parts, guesses):
        return answers(self.output(parts), metric, 1.0, guesses)

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
    for ensemble in (Ensemble(), Mean("mean_logits", False), Mean("mean_softmax", True), MostConfident(), Vote())
}


def ensemble_of(ensemble) -> Ensemble:
    """The :class:`Ensemble` of a name or of a user's own function; ValueError, naming the nearest, for other names."""
    if isinstance(ensemble, Ensemble):
        return ensemble
    return Own(ensemble) if callable(ensemble) else ENSEMBLES[known(ensemble, ENSEMBLES, "ensemble")]


def vote(votes, sure):
    """Plurality vote of n models: (class int64 [k], confidence float64 [k]) for votes int [n, k], sure float [n, k].

    The class with most votes wins; a tie goes to the class of the surest voter among those tied. The confidence is that
    of the surest model that voted for the winner; of equally sure models the earlier (cheaper) counts. With two models
    this is the most confident of them.
    """
    count = sum((votes == own).astype(np.int64) for own in votes)
    speaker = np.where(count == count.max(axis=0), sure, -np.inf).argmax(axis=0)[None]
    return np.take_along_axis(votes, speaker, 0)[0], np.take_along_axis(sure, speaker, 0)[0]


@njit(nogil=True, cache=True)
def add_scaled(scores, scale, before, count, total, mean):
    """Fill total = before + scores / scale and mean = total / count; all [N, classes], count float64 [N]."""
    for j in range(scores.shape[0]):
        for c in range(scores.shape[1]):
            total[j, c] = before[j, c] + np.float64(scores[j, c]) / scale
            mean[j, c] = total[j, c] / count[j]
