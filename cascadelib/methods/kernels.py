"""Compiled loops over rows of logits, for metrics and for means over combinations of models."""

import numpy as np
from numpy import ndarray as Array

from .._kernels import kernel

TOP_CLASSES = 6  # of each model, for which means are computed first


@kernel
def mark_top(rows: Array, mark: Array, floors: Array) -> None:
    """Mark the classes that are among the TOP_CLASSES of a model, in rows [M, classes].

    mark: bool [classes]. floors [M]: receives the least marked value of each model, or −inf if all
    its classes are marked.
    """
    for m in range(len(rows)):
        row = rows[m]
        top = np.full(TOP_CLASSES, -np.inf)
        for c in range(len(row)):
            if row[c] > top[0]:
                # Insert the value into the rising ``top`` and drop the least one.
                u = 1
                while u < TOP_CLASSES and top[u] < row[c]:
                    top[u - 1] = top[u]
                    u += 1
                top[u - 1] = row[c]
        floors[m] = top[0] if len(row) > TOP_CLASSES else -np.inf
        for c in range(len(row)):
            mark[c] |= row[c] >= floors[m]


@kernel
def mark_rivals(rows: Array, label: int, rival: Array) -> None:
    """Mark the classes that a model ranks before the label, or equal up to rounding.

    rows: [M, classes]. rival: bool [classes]. The other classes rank after the label in every sum.
    """
    for m in range(len(rows)):
        bar = rows[m, label] - 1e-12 * abs(rows[m, label])
        for c in range(len(rival)):
            rival[c] |= rows[m, c] >= bar


@kernel
def count_rivals(total: Array, value: float, label_at: int) -> int:
    """Count the entries of ``total`` that rank before the one at ``label_at``, of this value.

    Of equal values, the lower class ranks first.
    """
    count = 0
    for u in range(label_at):
        count += total[u] >= value
    for u in range(label_at + 1, len(total)):
        count += total[u] > value
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
    """Fill correct, uint8 [P, s]: whether fewer than ``rank`` classes precede the label in sums.

    values: [s, M, classes] of s samples, which are summed over P combinations of models. labels:
    int64 [s]. members: int64 [P, n], models of each combination (−1: none). new: bool [P], whether
    the models before the last differ from those of the previous combination.
    """
    samples, models, classes = values.shape
    floors = np.empty(models)
    for j in range(samples):
        label = labels[j]
        mark = np.zeros(classes, np.bool_)
        rival = np.zeros(classes, np.bool_)
        mark_rivals(values[j], label, rival)
        if np.count_nonzero(rival) <= rank:
            # The label is one of the rivals, so that fewer than ``rank`` others remain.
            correct[:, j] = True
            continue
        # Sums are needed only of the rivals among the top classes, and of the label.
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
                # The sum over another prefix, and the bound for classes that are not marked.
                head[:] = 0.0
                floor = 0.0
                for m in members[i, :-1]:
                    if m >= 0:
                        head += near[m]
                        floor += floors[m]
            last = members[i, -1]
            for u in range(len(total)):
                total[u] = head[u] + near[last, u]
            inside = count_rivals(total, total[at], at) < rank
            if inside and total[at] <= floor + floors[last]:
                # A class that is not marked may precede the label, so all classes are summed.
                sums = np.zeros(classes)
                for m in members[i]:
                    if m >= 0:
                        sums += values[j, m]
                inside = count_rivals(sums, sums[label], label) < rank
            correct[i, j] = inside


@kernel(fastmath=True)
def add_or_multiply(out: Array, one: Array, other: Array, multiply: bool) -> tuple[float, float]:
    """Compute out = one · other or one + other [classes], and return its (sum, maximum)."""
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
    """Fill confidence [P, s] with the max softmax of the means over combinations of n models.

    terms: [s, M, classes], the softmax of each model, or, if ``multiply``, exp(logit / n), whose
    product over the members is proportional to the softmax of the mean logits. members, new: as in
    :func:`correct_of_combinations`. The value is nan if all products vanish, or if a class outside
    the top classes may have the largest sum.
    """
    samples, models, classes = terms.shape
    head = np.empty(classes)
    spare = np.empty(classes)
    floors = np.zeros(models)
    floor = 0.0
    for j in range(samples):
        near = terms[j]
        if not multiply:
            # The largest sum is that of a marked class, or it is unknown.
            mark = np.zeros(classes, np.bool_)
            mark_top(near, mark, floors)
            near = near[:, np.flatnonzero(mark)]
        size = near.shape[1]
        for i in range(len(members)):
            if new[i]:
                # The terms of another prefix, and the bound for classes that are not marked.
                head[:] = 1.0 if multiply else 0.0
                floor = 0.0
                for m in members[i, :-1]:
                    add_or_multiply(head[:size], head, near[m], multiply)
                    floor += floors[m]
            last = members[i, -1]
            total, largest = add_or_multiply(spare[:size], head, near[last], multiply)
            if not multiply:
                # Each softmax sums to 1 over all classes. 0 means that the largest is unknown.
                total = members.shape[1] if largest >= floor + floors[last] else 0
            confidence[i, j] = largest / total if total > 0 else np.nan


@kernel
def sums_of_rows(logits: Array, temperature: float) -> tuple[Array, Array]:
    """Compute what ``sums_of_block`` of the metrics returns, fast for few rows or classes.

    logits: [rows, classes]. Returns (float64 [4, rows], predicted class int64 [rows]). The four
    numbers are the largest logit ÷ temperature, and, relative to it and over the other classes, the
    second largest, the sum of exp(z) and that of exp(z) · z.
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
        # Relative to the largest logit, no exponential overflows.
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
