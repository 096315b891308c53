"""Operations on batches of any form.

A batch is a tensor or array [N, …] or a list or tuple of N samples (texts, pairs of texts). A
mapping or tuple of batches of the same N samples is also a batch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..labels import refuse_masked

PARTS = (torch.Tensor, np.ndarray, Mapping, list)


def is_tuple_of_batches(batch: Any) -> bool:
    """Return whether a batch is a tuple of batches, not of samples."""
    if not isinstance(batch, tuple) or not batch:
        return False
    return all(isinstance(part, PARTS) or is_tuple_of_batches(part) for part in batch)


def map_parts(function: Callable, *batches: Any) -> Any:
    """Apply a function to batches of one form, part by part if they consist of parts."""
    first = batches[0]
    if isinstance(first, Mapping):
        return {key: map_parts(function, *(batch[key] for batch in batches)) for key in first}
    if is_tuple_of_batches(first):
        return tuple(map_parts(function, *parts) for parts in zip(*batches, strict=True))
    return function(*batches)


def count_samples(batch: Any) -> int:
    """Return the number of samples N of a batch.

    Raises ValueError if its parts differ in length or if `batch` is not a batch, such as one text.
    """
    listed = hasattr(batch, "__len__") and hasattr(batch, "__getitem__")
    if isinstance(batch, str | bytes) or not listed or getattr(batch, "ndim", 1) == 0:
        raise ValueError(
            f"a batch is needed, not {batch!r:.80}: a tensor or array [N, …], "
            "or a list of N samples"
        )
    if isinstance(batch, Mapping):
        parts = batch.values()
    elif is_tuple_of_batches(batch):
        parts = batch
    else:
        return len(refuse_masked(batch, "a batch"))
    sizes = {count_samples(part) for part in parts}
    if len(sizes) != 1:
        raise ValueError(
            f"the parts of a batch must have the same number of samples, not {sorted(sizes)}"
        )
    return sizes.pop()


def count_inputs(inputs: Any) -> int:
    """Return the number of samples in a module's input: a tensor, or a tuple or mapping of tensors.

    It is the length of the first tensor. All samples may share the other tensors.
    """
    if isinstance(inputs, Mapping):
        return len(next(iter(inputs.values())))
    return len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)


def take_rows(batch: Any, rows: np.ndarray | slice, samples: int | None = None) -> Any:
    """Select rows of a batch and keep its form.

    rows: int64 [n] or a slice. samples: number of samples, if the batch may have parts that all
    samples share. These parts have another length and are returned unchanged.
    """

    def take(part: Any) -> Any:
        if samples is not None and len(part) != samples:
            return part
        if isinstance(rows, slice) or isinstance(part, np.ndarray):
            return part[rows]
        if isinstance(part, torch.Tensor):
            return part.index_select(0, torch.from_numpy(rows).to(part.device))
        return [part[row] for row in rows]

    return map_parts(take, batch)
