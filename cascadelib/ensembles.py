"""Mean ensembles of many combinations of models at once: is the label among the best classes of the mean?

Loops run over samples outside and combinations inside, so that a sample's outputs stay in the cache. Only classes
near the top of some model can win: the others are bounded by the sum of the models' least kept values, and looked
at where that bound does not decide. Nothing is approximated.
"""

import numpy as np
from numba import njit

from .blocks import over_blocks

KEPT = 6  # best classes kept of each model
CHUNK = 256  # samples a block: 27 models × 1,000 classes in float64 are 55 MB


@njit(nogil=True, cache=True)
def top_values(row, floor_rank, mark):
    """Mark the ``floor_rank`` largest entries of a row [classes] in ``mark`` and return the least of them."""
    size = min(floor_rank, len(row))
    values, places, count = np.empty(size), np.empty(size, np.int64), 0
    for c in range(len(row)):
        v = row[c]
        if count == size and v <= values[size - 1]:
            continue
        i = count if count < size else size - 1
        while i > 0 and values[i - 1] < v:
            values[i], places[i] = values[i - 1], places[i - 1]
            i -= 1
        values[i], places[i] = v, c
        count = min(count + 1, size)
    for i in range(size):
        mark[places[i]] = True
    return values[size - 1] if size < len(row) else -np.inf


@njit(nogil=True, cache=True)
def beaten_by(total, own, label_at):
    """How many entries of ``total`` rank before the one at ``label_at``, whose value is ``own`` (ties: lower first)."""
    count = 0
    for u in range(label_at):
        count += total[u] >= own
    for u in range(label_at + 1, len(total)):
        count += total[u] > own
    return count


@njit(nogil=True, cache=True)
def in_top_of_sum(values, members, label, rank):
    """Whether the label is among the ``rank`` best classes of the sum of some rows of values [M, classes]."""
    total = values[members[0]].copy()
    for m in members[1:]:
        if m >= 0:
            total += values[m]
    return beaten_by(total, total[label], label) < rank


@njit(nogil=True, cache=True)
def right_of_combinations(values, labels, heads, first, lasts, rank, right):
    """Fill right uint8 [combinations, s] for values [M, s, classes] of s samples.

    heads int64 [H, n − 1] lists models (−1 pads); lasts[first[h]:first[h + 1]] are the models that follow head h
    (−1: none, the head alone); combinations are numbered as in ``lasts``.
    """
    models, samples, classes = values.shape
    floors = np.empty(models)
    for j in range(samples):
        label, mark = labels[j], np.zeros(classes, np.bool_)
        for m in range(models):
            floors[m] = top_values(values[m, j], KEPT, mark)
        mark[label] = True
        kept = np.flatnonzero(mark)
        at = np.searchsorted(kept, label)
        near = np.empty((models, len(kept)))
        for m in range(models):
            for u in range(len(kept)):
                near[m, u] = values[m, j, kept[u]]
        total = np.empty(len(kept))
        for h in range(len(heads)):
            head, floor = np.zeros(len(kept)), 0.0
            for m in heads[h]:
                if m >= 0:
                    head += near[m]
                    floor += floors[m]
            for i in range(first[h], first[h + 1]):
                last, bound = lasts[i], floor
                if last >= 0:
                    for u in range(len(kept)):
                        total[u] = head[u] + near[last, u]
                    bound += floors[last]
                else:
                    total[:] = head
                inside = beaten_by(total, total[at], at) < rank
                if inside and total[at] <= bound:  # a class that no model kept might win
                    inside = in_top_of_sum(values[:, j], np.append(heads[h], last), label, rank)
                right[i, j] = inside


def by_head(prefixes):
    """Prefixes as the arrays of :func:`right_of_combinations`, and their order in it."""
    groups = {}
    for i, prefix in enumerate(prefixes):
        groups.setdefault(prefix[:-1], []).append(i)
    width = max(len(head) for head in groups) or 1
    heads = np.full((len(groups), width), -1, np.int64)
    for row, head in enumerate(groups):
        heads[row, : len(head)] = head
    order = [i for members in groups.values() for i in members]
    first = np.cumsum([0] + [len(members) for members in groups.values()])
    return heads, first, np.array([prefixes[i][-1] for i in order], np.int64), order


@njit(nogil=True, cache=True, fastmath=True)
def add_or_multiply(out, one, other, multiply):
    """out = one · other or one + other, and its (sum, maximum): arrays [classes]."""
    total, largest = 0.0, 0.0
    for c in range(len(out)):
        term = one[c] * other[c] if multiply else one[c] + other[c]
        out[c] = term
        total += term
        largest = max(largest, term)
    return total, largest


@njit(nogil=True, cache=True)
def surest_of_combinations(terms, heads, first, lasts, multiply, sure):
    """Fill sure [combinations, s] with the max softmax of combinations, numbered as in :func:`right_of_combinations`.

    terms [M, s, classes]: softmax, whose sum over n members is n times their mean; or (``multiply``) exp(logit / n),
    whose products are, but for their sum over classes, the softmax of the mean logits.
    """
    models, samples, classes = terms.shape
    head, spare, neutral = np.empty(classes), np.empty(classes), np.full(classes, 1.0 if multiply else 0.0)
    for j in range(samples):
        for h in range(len(heads)):
            head[:] = neutral
            members = 1
            for m in heads[h]:
                if m >= 0:
                    members += 1
                    add_or_multiply(head, head, terms[m, j], multiply)
            for i in range(first[h], first[h + 1]):
                total, largest = add_or_multiply(spare, head, terms[lasts[i], j], multiply)
                if not multiply:
                    total = members
                sure[i, j] = largest / total if total > 0 else np.nan


class MeanStage:
    """Outcomes of cascades that average logits or softmax over the models run so far.

    output: function (m, rows) → what is averaged of model m, float64 [s, classes]: logits / T, or (``of_softmax``)
    their softmax; split: :class:`cascadelib.methods.ModelsOnSplit`, whose ``alone`` is the outcome of a prefix of one.
    :meth:`prepare` computes many prefixes in one walk over the samples; any other prefix is computed when asked for, by
    the same kernels, so to the same bits.
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

        over_blocks(k, CHUNK, block)
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
