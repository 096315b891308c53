"""Ensembles (paper, section 3): the outputs of the models run so far become one, on a whole split
(:meth:`Ensemble.whole`) and in a running cascade (:meth:`Ensemble.after`). A user's own function is an ensemble too."""

from dataclasses import dataclass

import numpy as np

from .._kernels import kernel
from ..checks import known
from ..scoring import ranks_of
from .confidence_metrics import CHUNK, answers, over_blocks, ranked, softmax
from .kernels import right_of_combinations, surest_of_combinations


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

    def take(self, rows):
        """The output of some of the samples: rows int [n] or a mask [N]."""
        return Output(*(None if part is None else part[rows] for part in self._parts))

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
        :class:`cascadelib.methods.method.ModelsOnSplit` offers."""
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
    """A user's function: logits / T float64 [n, k, classes] of the n ≥ 2 models run so far → combined logits. The first
    model stands for itself, as in every ensemble."""

    def __init__(self, function):
        self.name, self.function = getattr(function, "__name__", "own"), function

    def whole(self, split):
        labels = split.store.labels

        def block(prefix, rows):
            output = self.output(np.stack([split.logits(m, rows) for m in prefix]))
            return ranks_of(output, labels[rows]) < split.rank, split.metric.from_logits(output)

        def stage(prefix):
            if len(prefix) == 1:
                return split.alone(prefix[0])
            parts = [block(prefix, slice(start, start + CHUNK)) for start in range(0, len(labels), CHUNK)]
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
    for ensemble in (Ensemble(), Mean("mean_logits", False), Mean("mean_softmax", True), MostConfident(), Vote())
}


def ensemble_of(ensemble) -> Ensemble:
    """The :class:`Ensemble` of a name or of a user's own function; ValueError, naming the nearest, for other names."""
    if isinstance(ensemble, Ensemble):
        return ensemble
    return Own(ensemble) if callable(ensemble) else ENSEMBLES[known(ensemble, ENSEMBLES, "ensemble")]


def vote(votes, sure):
    """Plurality vote of n models: (class int64 [k], confidence float64 [k]) for votes int [n, k], sure float [n, k].

    A tie goes to the class of the surest voter among those tied; the confidence is that of the winner's surest voter;
    of equally sure models the earlier (cheaper) counts.
    """
    count = sum((votes == own).astype(np.int64) for own in votes)
    speaker = np.where(count == count.max(axis=0), sure, -np.inf).argmax(axis=0)[None]
    return np.take_along_axis(votes, speaker, 0)[0], np.take_along_axis(sure, speaker, 0)[0]


@kernel
def add_scaled(scores, scale, before, count, total, mean):
    """Fill total = before + scores / scale and mean = total / count; all [N, classes], count float64 [N]."""
    for j in range(scores.shape[0]):
        for c in range(scores.shape[1]):
            total[j, c] = before[j, c] + np.float64(scores[j, c]) / scale
            mean[j, c] = total[j, c] / count[j]


SAMPLES_AT_ONCE = 256  # samples a block: 27 models × 1,000 classes in float64 are 55 MB


def by_head(prefixes):
    """Prefixes as the arrays of :func:`right_of_combinations`, and their order in it."""
    groups = {}
    for i, prefix in enumerate(prefixes):
        groups.setdefault(prefix[:-1], []).append(i)
    heads = np.full((len(groups), max(map(len, groups))), -1, np.int64)
    for row, head in enumerate(groups):
        heads[row, : len(head)] = head
    order = [i for members in groups.values() for i in members]
    first = np.cumsum([0] + [len(members) for members in groups.values()])
    return heads, first, np.array([prefixes[i][-1] for i in order], np.int64), order


class MeanStage:
    """Outcomes of cascades that average logits or softmax over the models run so far.

    output: function (m, rows) → what is averaged of model m, float64 [s, classes]: logits / T, or (``of_softmax``)
    their softmax; split: :class:`ModelsOnSplit`, whose ``alone`` is the outcome of a prefix of one. :meth:`prepare`
    computes many prefixes in one walk over the samples; others are computed when asked for, to the same bits.
    """

    def __init__(self, output, split, of_softmax):
        self.output, self.alone, self.of_softmax = output, split.alone, of_softmax
        self.labels, self.rank, self.metric = split.store.labels, split.rank, split.metric
        self._right, self._sure = {}, {}

    def __call__(self, prefix):
        """(correct bool [k], confidence float64 [k]) of the mean over the models of ``prefix``."""
        self.prepare([prefix], [prefix])
        return self.right(prefix), self._sure[prefix]

    def right(self, prefix):
        """Correctness alone, bool [k]: the last stage of a cascade needs no confidence."""
        self.prepare([prefix], [])
        return np.unpackbits(self._right[prefix], count=len(self.labels)).view(bool)

    def prepare(self, rights, sures):
        """Compute correctness of the prefixes ``rights`` and confidence of ``sures``, each once."""
        for p in {*rights, *sures} - self._sure.keys():
            if len(p) == 1:
                right, self._sure[p] = self.alone(p[0])
                self._right[p] = np.packbits(right)
        rights = [p for p in dict.fromkeys(rights) if p not in self._right]
        sures = [p for p in dict.fromkeys(sures) if p not in self._sure]
        if not rights and not sures:
            return
        k, used = len(self.labels), sorted({m for p in (*rights, *sures) for m in p})
        at = {m: i for i, m in enumerate(used)}
        groups = by_head([tuple(at[m] for m in p) for p in rights]) if rights else None
        bits = np.zeros((len(rights), -(-k // 8)), np.uint8)
        sure = np.empty((len(sures), k))

        def block(rows):
            values = np.stack([self.output(m, rows) for m in used])
            if rights:
                found = np.empty((len(rights), rows.stop - rows.start), np.uint8)
                right_of_combinations(values, self.labels[rows], *groups[:3], self.rank, found)
                bits[:, rows.start // 8 : -(-rows.stop // 8)] = np.packbits(found, axis=1)
            for n in {len(p) for p in sures}:
                chosen = [i for i, p in enumerate(sures) if len(p) == n]
                sure[chosen, rows] = self._surest(values, [tuple(at[m] for m in sures[i]) for i in chosen])

        over_blocks(k, SAMPLES_AT_ONCE, block)
        self._right |= {rights[i]: bits[row] for row, i in enumerate(groups[3])} if rights else {}
        self._sure |= dict(zip(sures, sure))

    def _surest(self, values, members):
        """Confidence [P, s] of the mean over each of P lists of models, all of one length."""
        if self.metric.largest_share:
            return self._surest_by_shares(values, members)
        means = (values[list(row)].mean(axis=0) for row in members)
        sure = self.metric.of_softmax if self.of_softmax else self.metric.from_logits
        return np.stack([sure(mean) for mean in means])

    def _surest_by_shares(self, values, members):
        """Max softmax: the softmax of a mean of logits needs no new exponentials, its terms are products of the
        members' exp(logit / n). Where all products vanish (logits hundreds apart), the mean is taken itself."""
        multiply, terms = not self.of_softmax, values
        if multiply:
            terms = np.exp((values - values.max(axis=2, keepdims=True)) / len(members[0]))
        heads, first, lasts, order = by_head(members)
        found = np.empty((len(members), values.shape[1]))
        surest_of_combinations(terms, heads, first, lasts, multiply, found)
        sure = np.empty_like(found)
        sure[order] = found
        for p in np.flatnonzero(np.isnan(sure).any(axis=1)):
            rows = np.isnan(sure[p])
            sure[p, rows] = self.metric.from_logits(values[list(members[p])][:, rows].mean(axis=0))
        return sure
