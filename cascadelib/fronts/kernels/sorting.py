"""Sort samples by falling confidence, and find the samples next to a threshold.

The sort is a radix sort of rounded confidences, then of equal ones.
"""

import numpy as np
from numpy import ndarray as Array

from ..._kernels import kernel

DIGIT_BITS = 11  # bits of a key per pass
PASSES = 3  # over all 32 bits
DIGITS = 1 << DIGIT_BITS
FEW = 24  # largest number of samples with one key for an insertion sort
SAMPLE_BITS = np.uint64(0xFFFFFFFF)  # the half of a packed number that is the sample


def falling_order(confidence: Array) -> Array:
    """Return the samples by falling confidence, int64 (k,), nan last, equal ones in their order.

    `confidence` float64 (k,) has no −0.0. NumPy sorts the long runs of equal keys, because numba
    would compile its sort for seconds.
    """
    order, runs = sort_keys(confidence)
    for start, end in runs.tolist():
        samples = order[start:end]
        samples[:] = samples[np.argsort(-confidence[samples], kind="stable")]
    return order


@kernel
def sort_keys(confidence: Array) -> tuple[Array, Array]:
    """Return the samples by rising key, int64 (k,), and the runs that are not sorted yet.

    Keys are the confidences as float32. Rounding never reverses an order. Samples with equal keys
    are then sorted by their float64 confidences, unless there are more than FEW. These runs are
    returned as [start, end), int64 (n_runs, 2). A key and its sample are packed into one number, so
    that a pass reads memory in order.
    """
    packed = pack_keys(confidence)
    k = len(packed)
    places = np.zeros((PASSES, DIGITS), np.int64)
    for number in packed:
        for i in range(PASSES):
            places[i, digit(number, i)] += 1
    target = np.empty_like(packed)
    for i in range(PASSES):
        place = 0
        for value in range(DIGITS):
            count = places[i, value]
            places[i, value] = place
            place += count
        for number in packed:
            at = digit(number, i)
            target[places[i, at]] = number
            places[i, at] += 1
        packed, target = target, packed
    order = np.empty(k, np.int64)
    for x in range(k):
        order[x] = np.int64(packed[x] & SAMPLE_BITS)
    runs = np.empty((k // FEW + 1, 2), np.int64)
    n_runs = 0
    start = 0
    for end in range(1, k + 1):
        if end < k and packed[end] ^ packed[start] <= SAMPLE_BITS:
            continue
        if end - start > FEW:
            runs[n_runs, 0] = start
            runs[n_runs, 1] = end
            n_runs += 1
        else:
            insert_falling(order, start, end, confidence)
        start = end
    return order, runs[:n_runs]


@kernel
def groups_in(order: Array, confidence: Array, largest: float) -> Array:
    """Return the group of equal confidence of each sample, int32 (k,).

    `order` has the samples by falling confidence. Confidences of at least `largest` are one group,
    as in :func:`cascadelib.methods.thresholds.exit_counts`.
    """
    group = np.empty(len(order), np.int32)
    number = np.int32(0)
    previous = confidence[order[0]]
    for sample in order:
        current = confidence[sample]
        if current != previous and current < largest:
            number += np.int32(1)
        group[sample] = number
        previous = current
    return group


@kernel
def pack_keys(confidence: Array) -> Array:
    """Return the keys in the upper bits and the samples in the lower bits, uint64 (k,).

    Keys are larger for less confident samples, and largest for nan.
    """
    rounded = np.empty(len(confidence), np.float32)
    for sample in range(len(confidence)):
        rounded[sample] = confidence[sample]
    bits = rounded.view(np.uint32)
    packed = np.empty(len(bits), np.uint64)
    for sample, pattern in enumerate(bits):
        if np.isnan(rounded[sample]):
            key = np.uint32(0xFFFFFFFF)
        elif pattern >> np.uint32(31):  # the bits of lower negative numbers are larger
            key = pattern
        else:
            key = np.uint32(np.uint32(0x7FFFFFFF) - pattern)
        packed[sample] = np.uint64(key) << np.uint64(32) | np.uint64(sample)
    return packed


@kernel
def digit(packed: np.uint64, i: int) -> np.int64:
    """Return digit i of a key. Digit 0 is the lowest."""
    return np.int64(packed >> np.uint64(32 + DIGIT_BITS * i)) & (DIGITS - 1)


@kernel
def insert_falling(order: Array, start: int, end: int, confidence: Array) -> None:
    """Sort samples start … end − 1 of an order in place by falling confidence, stably."""
    for i in range(start + 1, end):
        sample = order[i]
        j = i
        while j > start and confidence[order[j - 1]] < confidence[sample]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = sample


@kernel
def neighbours(group: Array, order: Array, boundaries: Array, i: int) -> Array:
    """Return the samples next to the thresholds of stage i at P points, int64 (2, P).

    The first is the least confident sample that exits, the second the most confident one that is
    deferred. Only the samples that reach the stage count. The result is −1 if there is no such
    sample.

    Parameters
    ----------
    group : int32 array of shape (d, k)
        Group of each sample at each stage.
    order : uint32 array of shape (k,)
        Samples by falling confidence at stage i.
    boundaries : int64 array of shape (P, d)
        Number of groups that exit at each stage.
    i : int
        Stage.
    """
    k = len(order)
    samples = np.full((2, len(boundaries)), -1)
    for p in range(len(boundaries)):
        # Find the position of the first deferred group.
        start = 0
        end = k
        while start < end:
            middle = (start + end) // 2
            if group[i, order[middle]] < boundaries[p, i]:
                start = middle + 1
            else:
                end = middle
        # Side 0 goes from there to higher confidences, side 1 to lower ones. Each stops at the
        # first sample that did not exit at an earlier stage.
        for side, x, move in ((0, start - 1, -1), (1, start, 1)):
            while 0 <= x < k and samples[side, p] < 0:
                reaches = True
                for earlier in range(i):
                    reaches &= group[earlier, order[x]] >= boundaries[p, earlier]
                if reaches:
                    samples[side, p] = order[x]
                x += move
    return samples
