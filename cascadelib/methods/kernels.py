"""Compiled loops over rows of logits: sums behind the metrics, mean ensembles of all combinations."""

import numpy as np

from .._kernels import kernel

KEPT = 6  # of each model the classes before its 6th best are kept


@kernel
def mark_top(rows, mark, floors):
    """Mark the classes among the KEPT best of some model in its row of [M, classes]; floors [M]: the least value of
    those of each model, −inf where it has no others."""
    for m in range(len(rows)):
        row, top = rows[m], np.full(KEPT, -np.inf)
        for c in range(len(row)):
            if row[c] > top[0]:
                u = 1
                while u < KEPT and top[u] < row[c]:
                    top[u - 1] = top[u]
                    u += 1
                top[u - 1] = row[c]
        floors[m] = top[0] if len(row) > KEPT else -np.inf
        for c in range(len(row)):
            mark[c] |= row[c] >= floors[m]


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
    """Fill right uint8 [P, s] for values [s, M, classes] of s samples and P combinations of models.

    members int64 [P, n]: the models of each (−1: none); new bool [P]: whether all but the last are others than before.
    """
    samples, models, classes = values.shape
    floors = np.empty(models)
    for j in range(samples):
        label, mark, rival = labels[j], np.zeros(classes, np.bool_), np.zeros(classes, np.bool_)
        for m in range(
            models
        ):  # a class that no model has before the label, or so near, is behind it in every sum
            bar = values[j, m, label] - 1e-12 * abs(values[j, m, label])
            for c in range(classes):
                rival[c] |= values[j, m, c] >= bar
        if np.count_nonzero(rival) <= rank:
            right[:, j] = True
            continue
        mark_top(values[j], mark, floors)
        mark &= rival
        mark[label] = True
        at, near, floor = np.count_nonzero(mark[:label]), values[j][:, np.flatnonzero(mark)], 0.0
        total, head = np.empty(near.shape[1]), np.empty(near.shape[1])
        for i in range(len(members)):
            if new[i]:
                head[:], floor = 0.0, 0.0
                for m in members[i, :-1]:
                    if m >= 0:
                        head += near[m]
                        floor += floors[m]
            last = members[i, -1]
            for u in range(len(total)):
                total[u] = head[u] + near[last, u]
            inside = beaten_by(total, total[at], at) < rank
            if inside and total[at] <= floor + floors[last]:  # a class that no model kept might win
                whole = np.zeros(classes)
                for m in members[i]:
                    if m >= 0:
                        whole += values[j, m]
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

    terms [s, M, classes]: softmax, whose sum over n members is n times their mean; or (``multiply``) exp(logit / n),
    whose products are, but for their sum over classes, the softmax of the mean logits. nan where all products
    vanish, or where a class that no model kept may have the largest sum.
    """
    samples, models, classes = terms.shape
    head, spare, floors, floor = np.empty(classes), np.empty(classes), np.zeros(models), 0.0
    for j in range(samples):
        near = terms[j]
        if not multiply:
            mark = np.zeros(classes, np.bool_)
            mark_top(near, mark, floors)
            near = near[:, np.flatnonzero(mark)]
        size = near.shape[1]
        for i in range(len(members)):
            if new[i]:
                head[:], floor = 1.0 if multiply else 0.0, 0.0
                for m in members[i, :-1]:
                    add_or_multiply(head[:size], head, near[m], multiply)
                    floor += floors[m]
            last = members[i, -1]
            total, largest = add_or_multiply(spare[:size], head, near[last], multiply)
            if not multiply:
                total = members.shape[1] if largest >= floor + floors[last] else 0
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
