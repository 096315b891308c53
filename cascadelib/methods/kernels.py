"""Compiled loops over rows of logits: sums behind the metrics, mean ensembles of combinations."""

import numpy as np
from numpy import ndarray as Array

from .._kernels import kernel

KEPT = 6  # of each model the classes before its 6th best are kept


@kernel
def mark_top(rows: Array, mark: Array, floors: Array) -> None:
    """Mark the classes among the KEPT best of some model in its row of [M, classes].

    mark: bool [classes]; floors [M]: the least value of those of each model, −inf where it has no
    others.
    """
    for m in range(len(rows)):
        row = rows[m]
        top = np.full(KEPT, -np.inf)
        for c in range(len(row)):
            if row[c] > top[0]:
                # top rises: the new value takes its place, the least one goes.
                u = 1
                while u < KEPT and top[u] < row[c]:
                    top[u - 1] = top[u]
                    u += 1
                top[u - 1] = row[c]
        # top[0] is the 6th best of the model.
        floors[m] = top[0] if len(row) > KEPT else -np.inf
        for c in range(len(row)):
            mark[c] |= row[c] >= floors[m]


@kernel
def mark_rivals(rows: Array, label: int, rival: Array) -> None:
    """Mark the classes that some model has before the label, or so near.

    rows: [M, classes], a row per model. A class without a mark, bool [classes], is behind the label
    in every sum.
    """
    for m in range(len(rows)):
        bar = rows[m, label] - 1e-12 * abs(rows[m, label])
        for c in range(len(rival)):
            rival[c] |= rows[m, c] >= bar


@kernel
def beaten_by(total: Array, own: float, label_at: int) -> int:
    """How many entries of ``total`` rank before the one at ``label_at``, whose value is ``own``.

    At equal values the lower class ranks first.
    """
    count = 0
    for u in range(label_at):
        count += total[u] >= own
    for u in range(label_at + 1, len(total)):
        count += total[u] > own
    return count


@kernel
def correct_of_combinations(
    values: Array,
    labels: Array,
    members: Array,
    new: Array,
    rank: int,
    correct: Array,
) -> None:
    """Fill correct uint8 [P, s]: whether fewer than ``rank`` classes beat the label in each sum.

    values: [s, M, classes], of s samples, summed over P combinations of models; labels: int64 [s];
    members: int64 [P, n], the models of each (−1: none); new: bool [P], whether all but the last
    are others than before.
    """
    samples, models, classes = values.shape
    floors = np.empty(models)
    for j in range(samples):
        label = labels[j]
        mark = np.zeros(classes, np.bool_)
        rival = np.zeros(classes, np.bool_)
        mark_rivals(values[j], label, rival)
        if np.count_nonzero(rival) <= rank:
            # The label itself is a rival: too few others are left to beat it.
            correct[:, j] = True
            continue
        # Sums are needed over few classes only: rivals that some model kept, and the label.
        mark_top(values[j], mark, floors)
        mark &= rival
        mark[label] = True
        at = np.count_nonzero(mark[:label])
        near = values[j][:, np.flatnonzero(mark)]
        floor = 0.0
        total = np.empty(near.shape[1])
        head = np.empty(near.shape[1])
        for i in range(len(members)):
            if new[i]:
                # Another head: its sum, and what a class that none of it kept has at most.
                head[:] = 0.0
                floor = 0.0
                for m in members[i, :-1]:
                    if m >= 0:
                        head += near[m]
                        floor += floors[m]
            last = members[i, -1]
            for u in range(len(total)):
                total[u] = head[u] + near[last, u]
            inside = beaten_by(total, total[at], at) < rank
            if inside and total[at] <= floor + floors[last]:
                # A class that no model kept might win: all classes are summed.
                whole = np.zeros(classes)
                for m in members[i]:
                    if m >= 0:
                        whole += values[j, m]
                inside = beaten_by(whole, whole[label], label) < rank
            correct[i, j] = inside


@kernel(fastmath=True)
def add_or_multiply(out: Array, one: Array, other: Array, multiply: bool) -> tuple[float, float]:
    """out = one · other or one + other, and its (sum, maximum): arrays [classes]."""
    total = 0.0
    largest = 0.0
    for c in range(len(out)):
        term = one[c] * other[c] if multiply else one[c] + other[c]
        out[c] = term
        total += term
        largest = max(largest, term)
    return total, largest


@kernel
def confidence_of_combinations(
    terms: Array,
    members: Array,
    new: Array,
    multiply: bool,
    confidence: Array,
) -> None:
    """Fill confidence [P, s] with the max softmax of combinations of n models.

    terms: [s, M, classes]: softmax, whose sum over n members is n times their mean; or
    (``multiply``) exp(logit / n), whose products are, but for their sum over classes, the softmax
    of the mean logits. members, new: as in :func:`correct_of_combinations`. nan where all products
    vanish, or where a class that no model kept may have the largest sum.
    """
    samples, models, classes = terms.shape
    head = np.empty(classes)
    spare = np.empty(classes)
    floors = np.zeros(models)
    floor = 0.0
    for j in range(samples):
        near = terms[j]
        if not multiply:
            # The largest sum is at a class that some model kept, or it is not known.
            mark = np.zeros(classes, np.bool_)
            mark_top(near, mark, floors)
            near = near[:, np.flatnonzero(mark)]
        size = near.shape[1]
        for i in range(len(members)):
            if new[i]:
                # Another head: its terms, and what a class that none of it kept has at most.
                head[:] = 1.0 if multiply else 0.0
                floor = 0.0
                for m in members[i, :-1]:
                    add_or_multiply(head[:size], head, near[m], multiply)
                    floor += floors[m]
            last = members[i, -1]
            total, largest = add_or_multiply(spare[:size], head, near[last], multiply)
            if not multiply:
                # Softmaxes sum to 1 over all classes; 0 says that the largest sum is not known.
                total = members.shape[1] if largest >= floor + floors[last] else 0
            confidence[i, j] = largest / total if total > 0 else np.nan


@kernel
def sums_of_rows(logits: Array, temperature: float) -> tuple[Array, Array]:
    """As ``sums_of_block`` of the metrics, fast for few rows or classes.

    logits: [rows, classes]. Returns float64 [4, rows] (the largest logit ÷ temperature, and over
    the other classes the second, the sum of exp, that of exp · logit, relative to it) and the
    predicted class int64 [rows].
    """
    rows, classes = logits.shape
    temperature = np.float64(temperature)
    out = np.empty((4, rows))
    top = np.empty(rows, np.int64)
    for j in range(len(logits)):
        best = 0
        for c in range(1, classes):
            if logits[j, c] > logits[j, best]:
                best = c
        # Relative to the largest logit no exponential overflows.
        largest = np.float64(logits[j, best]) / temperature
        rest = 0.0
        second = -np.inf
        weighted = 0.0
        for c in range(classes):
            if c != best:
                z = np.float64(logits[j, c]) / temperature - largest
                e = np.exp(z)
                rest += e
                second = max(second, z)
                weighted += e * z
        top[j] = best
        out[0, j] = largest
        out[1, j] = second
        out[2, j] = rest
        out[3, j] = weighted
    return out, top
