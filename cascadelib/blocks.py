"""Blocks of samples on all cores, for numpy and numba code that runs without the GIL."""

import os
from concurrent.futures import ThreadPoolExecutor


def over_blocks(k, size, block):
    """[block(rows: slice), …] over k samples, ``size`` at a time, in their order; a single one without threads."""
    blocks = [slice(start, min(start + size, k)) for start in range(0, k, size)]
    if len(blocks) == 1:
        return [block(blocks[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(block, blocks))
