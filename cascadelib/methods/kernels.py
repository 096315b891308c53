"""Compute metrics of logits, means over models and sums over samples in compiled loops."""

from functools import partial

import numpy as np
from numpy import ndarray as Array

from .._kernels import compile_cached, kernel

TOP_CLASSES = 6  # classes of each model that are marked


@kernel
def mark_top(rows: Array, mark: Array, floors: Array) -> None:
    """Mark each class that is among the TOP_CLASSES largest of a model.

    Parameters
    ----------
    rows : float array of shape (n_models, n_classes)
        Outputs of the models for one sample.
    mark : bool array of shape (n_classes,)
        Whether a class is marked. It is updated.
    floors : float array of shape (n_models,)
        Receives the least marked value of each model, or −inf if all its classes are marked.
    """
    for m in range(len(rows)):
        row = rows[m]
        top = np.full(TOP_CLASSES, -np.inf)
        for c in range(len(row)):
            if row[c] > top[0]:
                # Insert the value into ``top``, which rises, and drop the least value.
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
    """Mark each class that a model ranks before the label, or equal to it up to rounding.

    All other classes rank after the label in every sum over models. `rows` is float
    (n_models, n_classes). `rival`, bool (n_classes,), is updated.
    """
    for m in range(len(rows)):
        bar = rows[m, label] - 1e-12 * abs(rows[m, label])
        for c in range(len(rival)):
            rival[c] |= rows[m, c] >= bar


@kernel
def count_rivals(total: Array, value: float, label_at: int) -> int:
    """Count the entries of `total` that rank before the entry at `label_at`, which has this value.

    If values are equal, the lower class ranks first.
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
    """Compute whether fewer than `rank` classes precede the label in sums over models.

    Parameters
    ----------
    values : float array of shape (n_samples, n_models, n_classes)
        Outputs of the models.
    labels : int64 array of shape (n_samples,)
        True classes.
    members : int64 array of shape (n_combinations, n)
        Models of each combination. Rows of shorter combinations begin with −1.
    new : bool array of shape (n_combinations,)
        Whether the models before the last differ from those of the previous combination.
    rank : int
        Number of best classes that count as correct.
    correct : uint8 array of shape (n_combinations, n_samples)
        Receives the result.
    """
    samples, models, classes = values.shape
    floors = np.empty(models)
    for j in range(samples):
        label = labels[j]
        mark = np.zeros(classes, np.bool_)
        rival = np.zeros(classes, np.bool_)
        mark_rivals(values[j], label, rival)
        if np.count_nonzero(rival) <= rank:
            # The label is marked too, so fewer than ``rank`` other classes are rivals.
            correct[:, j] = True
            continue
        # Sums are needed only for the label, and for rivals among the top classes.
        mark_top(values[j], mark, floors)
        mark &= rival
        mark[label] = True
        at = np.count_nonzero(mark[:label])
        marked = values[j][:, np.flatnonzero(mark)]
        floor = 0.0
        total = np.empty(marked.shape[1])
        prefix_sum = np.empty(marked.shape[1])
        for i in range(len(members)):
            if new[i]:
                # Sum over the models before the last, and bound the classes that are not marked.
                prefix_sum[:] = 0.0
                floor = 0.0
                for m in members[i, :-1]:
                    if m >= 0:
                        prefix_sum += marked[m]
                        floor += floors[m]
            last = members[i, -1]
            for u in range(len(total)):
                total[u] = prefix_sum[u] + marked[last, u]
            is_correct = count_rivals(total, total[at], at) < rank
            if is_correct and total[at] <= floor + floors[last]:
                # A class that is not marked may precede the label, so all classes are summed.
                sums = np.zeros(classes)
                for m in members[i]:
                    if m >= 0:
                        sums += values[j, m]
                is_correct = count_rivals(sums, sums[label], label) < rank
            correct[i, j] = is_correct


@partial(compile_cached, fastmath=True)
def add_or_multiply(out: Array, one: Array, other: Array, multiply: bool) -> tuple[float, float]:
    """Compute out = one · other or one + other by class, and return the sum and maximum of out."""
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
    """Compute the max softmax of the means over combinations of n models.

    Parameters
    ----------
    terms : float array of shape (n_samples, n_models, n_classes)
        Softmax of each model. If `multiply`, exp(logit / n): the product of these over the models
        of a combination is proportional to the softmax of the mean logits.
    members, new : arrays
        As for :func:`correct_of_combinations`.
    multiply : bool
        Whether logits are averaged instead of softmax.
    confidence : float array of shape (n_combinations, n_samples)
        Receives the result. It is nan if all products underflow, or if a class that is not marked
        may have the largest sum.
    """
    samples, models, classes = terms.shape
    prefix_terms = np.empty(classes)
    buffer = np.empty(classes)
    floors = np.zeros(models)
    floor = 0.0
    for j in range(samples):
        rows = terms[j]
        if not multiply:
            # If a class that is not marked may have the largest sum, the result is nan.
            mark = np.zeros(classes, np.bool_)
            mark_top(rows, mark, floors)
            rows = rows[:, np.flatnonzero(mark)]
        size = rows.shape[1]
        for i in range(len(members)):
            if new[i]:
                # Combine the models before the last, and bound the classes that are not marked.
                prefix_terms[:] = 1.0 if multiply else 0.0
                floor = 0.0
                for m in members[i, :-1]:
                    add_or_multiply(prefix_terms[:size], prefix_terms, rows[m], multiply)
                    floor += floors[m]
            last = members[i, -1]
            total, largest = add_or_multiply(buffer[:size], prefix_terms, rows[last], multiply)
            if not multiply:
                # Each softmax sums to 1 over all classes. A total of 0 means an unknown maximum.
                total = members.shape[1] if largest >= floor + floors[last] else 0
            confidence[i, j] = largest / total if total > 0 else np.nan


@kernel
def sums_of_rows(logits: Array, temperature: float) -> tuple[Array, Array]:
    """Return the four ``Sums`` of each row of logits, and the predicted classes.

    The results are float64 (4, n_rows) and int64 (n_rows,). This is the compiled form of
    ``confidence_metrics.sums_of_block``. It is faster for few rows or few classes.
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


@kernel
def count_reached(levels: Array, values: Array) -> Array:
    """Return the number of levels ≤ each value, int64 (k,). It is 0 for nan.

    `levels` are rising, and nan comes last.
    """
    counts = np.empty(len(values), np.int64)
    for i in range(len(values)):
        value = values[i]
        count = 0
        size = len(levels)
        while size > 1:
            half = size // 2
            count += half * (levels[count + half - 1] <= value)  # without a branch
            size -= half
        counts[i] = count + (levels[count] <= value)
    return counts


@kernel
def add_by_cell(cells: Array, values: Array, counts: Array, totals: Array) -> None:
    """Add the values of the samples, times their draws in each resample, to totals of cells.

    Parameters
    ----------
    cells : int64 array of shape (k,)
        Cell of each sample.
    values : array of shape (k,)
        Value of each sample.
    counts : int array of shape (k, R)
        Number of draws of each sample in each resample.
    totals : array of shape (n_cells, R)
        Is updated.
    """
    for i in range(len(cells)):
        value = values[i]
        if value != 0:
            cell = cells[i]
            for r in range(counts.shape[1]):
                totals[cell, r] += value * counts[i, r]
