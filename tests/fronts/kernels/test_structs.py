"""Kernels read the arrays of a struct, with and without compilation."""

import sys
from collections import namedtuple

import numba
import numpy as np
import pytest

from cascadelib.fronts.kernels.structs import ArrayStruct

Whole = namedtuple("Whole", "first second")
Part = namedtuple("Part", "counts values")


def combine(struct):
    part = struct.second
    part.counts[1, 2] += 5
    return struct.first.counts[0, 1] + part.counts[1, 2] + part.values[-1]


@pytest.mark.parametrize("call", [combine, numba.njit(combine)])
def test_a_kernel_reads_and_writes_the_arrays_of_a_struct(call):
    counts = np.arange(6).reshape(2, 3)
    parts = [Part(counts + 10 * i, np.array([0.25, 0.5])) for i in range(2)]
    struct = ArrayStruct(Whole(*parts))
    assert call(struct) == 1 + (15 + 5) + 0.5
    assert parts[1].counts[1, 2] == 20 and parts[0].counts[1, 2] == 5
    references = sys.getrefcount(struct.address)
    call(struct)
    references_after = sys.getrefcount(struct.address)
    assert references_after == references
