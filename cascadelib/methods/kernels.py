"""Compiled loops over rows of logits: sums behind the metrics, mean ensembles of all combinations."""

import numpy as np

from .._kernels import kernel

KEPT = 6  # of each model the classes before its 6th best are kept


@kernel
def top_values(row, floor_rank, mark):
    """Mark the ``floor_rank`` largest entries of a row [classes] in ``mark`` and return the least of them."""
    size = min(floor_rank, len(row))
    floor = np.partition(row, len(row) - size)[len(row) - size]
    for c in range(len(row)):
        mark[c] |= row[c] >= floor
    return floor if size < len(row) else -np.inf


@kernel
def beaten_by(total, own, label_at):
    """How many entries of ``total`` rank before the one at ``label_at``, whose value is ``own`` (ties: lower first)."""
    count = 0
    for u in range(label_at):
        count += total[u] >= own
    for u in range(label_at + 1, len(total)):
        count += total[u] > own
    return count


@kernel
def right_of_combinations(values, labels, members, new, rank, right):
    """Fill right uint8 [P, s] for values [M, s, classes] of s samples and P combinations of models.

    members int64 [P, n]: the models of each (−1: none); new bool [P]: whether all but the last are others than before.
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
        total, head, floor = np.empty(len(kept)), np.empty(len(kept)), 0.0
        for i in range(len(members)):
            if new[i]:
                head[:], floor = 0.0, 0.0
                for m in members[i, :-1]:
                    if m >= 0:
                        head += near[m]
                        floor += floors[m]
            last = members[i, -1]
            for u in range(len(kept)):
                total[u] = head[u] + near[last, u]
            inside = beaten_by(total, total[at], at) < rank
            if inside and total[at] <= floor + floors[last]:  # a class that no model kept might win
                whole = np.zeros(classes)
                for m in members[i]:
                    if m >= 0:
                        whole += values[m, j]
                inside = beaten_by(whole, whole[label], label) < rank
            right[i, j] = inside


@kernel(fastmath=True)
def add_or_multiply(out, one, other, multiply):
    """out = one · other or one + other, and its (sum, maximum): arrays [classes]."""
    total, largest = 0.0, 0.0
    for c in range(len(out)):
        term = one[c] * other[c] if multiply else one[c] + other[c]
        out[c] = term
        total += term
        largest = max(largest, term)
    return total, largest


@kernel
def surest_of_combinations(terms, members, new, multiply, sure):
    """Fill sure [P, s] with the max softmax of combinations of n models, as :func:`right_of_combinations` takes them.

    terms [M, s, classes]: softmax, whose sum over n members is n times their mean; or (``multiply``) exp(logit / n),
    whose products are, but for their sum over classes, the softmax of the mean logits.
    """
    models, samples, classes = terms.shape
    head, spare = np.empty(classes), np.empty(classes)
    for j in range(samples):
        for i in range(len(members)):
            if new[i]:
                head[:] = 1.0 if multiply else 0.0
                for m in members[i, :-1]:
                    add_or_multiply(head, head, terms[m, j], multiply)
            total, largest = add_or_multiply(spare, head, terms[members[i, -1], j], multiply)
            if not multiply:
                total = members.shape[1]
            sure[i, j] = largest / total if total > 0 else np.nan


@kernel
def sums_of_rows(logits, temperature):
    """As ``sums_of_block`` of the metrics, fast for few rows or classes."""
    (rows, classes), temperature = logits.shape, np.float64(temperature)
    out, top = np.empty((4, rows)), np.empty(rows, np.int64)
    for j in range(len(logits)):
        best = 0
        for c in range(1, classes):
            if logits[j, c] > logits[j, best]:
                best = c
        largest = np.float64(logits[j, best]) / temperature
        rest, second, weighted = 0.0, -np.inf, 0.0
        for c in range(classes):
            if c != best:
                z = np.float64(logits[j, c]) / temperature - largest
                e = np.exp(z)
                rest, second, weighted = rest + e, max(second, z), weighted + e * z
        top[j] = best
        out[0, j], out[1, j], out[2, j], out[3, j] = largest, second, rest, weighted
    return out, top
