"""The forms that a batch has, and what is done to all of them alike.

A batch is a tensor or array [N, …], a list or tuple of N samples (texts, pairs of texts), or
several batches of the same N samples side by side, in a mapping or in a tuple.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..checks import unmasked

PARTS = (torch.Tensor, np.ndarray, Mapping, list)


def is_tuple_of_batches(batch: Any) -> bool:
    """Whether a batch is a tuple of batches, not of samples."""
    if not isinstance(batch, tuple) or not batch:
        return False
    return all(isinstance(part, PARTS) or is_tuple_of_batches(part) for part in batch)


def map_parts(function: Callable, *batches: Any) -> Any:
    """``function`` of batches of one form, part by part where they consist of parts."""
    first = batches[0]
    if isinstance(first, Mapping):
        return {key: map_parts(function, *(batch[key] for batch in batches)) for key in first}
    if is_tuple_of_batches(first):
        return tuple(map_parts(function, *parts) for parts in zip(*batches, strict=True))
    return function(*batches)


def count_samples(batch: Any) -> int:
    """Number of samples N of a batch.

    Raises ValueError where its parts disagree, and for one text or what is no batch at all.
    """
    listed = hasattr(batch, "__len__") and hasattr(batch, "__getitem__")
    if isinstance(batch, str | bytes) or not listed or getattr(batch, "ndim", 1) == 0:
        raise ValueError(
            f"a batch is needed, not {batch!r:.80}: a tensor or array [N, …], "
            "or a list of N samples"
        )
    if isinstance(batch, Mapping):
        parts = list(batch.values())
    elif is_tuple_of_batches(batch):
        parts = list(batch)
    else:
        return len(unmasked(batch, "a batch"))
    sizes = {count_samples(part) for part in parts}
    if len(sizes) != 1:
        raise ValueError(
            f"the parts of a batch must hold equally many samples, not {sorted(sizes)}"
        )
    return sizes.pop()


def count_inputs(inputs: Any) -> int:
    """Number of samples in a module's input: a tensor, or the first of a tuple or mapping of them.

    Unlike those of a batch, further parts may be shared by all samples.
    """
    if isinstance(inputs, Mapping):
        return len(next(iter(inputs.values())))
    return len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)


def take_rows(batch: Any, rows: np.ndarray | slice, samples: int | None = None) -> Any:
    """Some samples of a batch, in its own form.

    rows: int64 [n], or a slice. samples: number of samples of the batch, where it may have parts of
    another length, which are not one per sample and stay whole.
    """

    def chosen(part: Any) -> Any:
        if samples is not None and len(part) != samples:
            return part
        if isinstance(rows, slice) or isinstance(part, np.ndarray):
            return part[rows]
        if isinstance(part, torch.Tensor):
            return part.index_select(0, torch.from_numpy(rows).to(part.device))
        return [part[row] for row in rows]

    return map_parts(chosen, batch)


def concatenate_batches(batches: Sequence) -> Any:
    """Batches of one form, one after another, as one."""

    def whole(*parts: Any) -> Any:
        if isinstance(parts[0], torch.Tensor):
            return torch.cat(parts)
        if isinstance(parts[0], np.ndarray):
            return np.concatenate(parts)
        return [sample for part in parts for sample in part]

    return map_parts(whole, *batches)
