"""Models on a device: what is kept there, and what comes back."""

import platform
import resource

import pytest
import torch

from cascadelib.zoo.forward import kept_memory


def page_faults(size=2**26):
    """Pages that the system has to bring in for a tensor of ``size`` bytes, which is filled and dropped again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(size, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_freed_memory_is_kept_for_the_next_batch_and_given_back_afterwards():
    with kept_memory():
        first = page_faults()
        second = page_faults()
        assert second * 4 < first
    assert page_faults() > second * 4
