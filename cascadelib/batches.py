"""Batches of any kind: a tensor or array [N, …], a list or tuple of N samples (texts, pairs of texts), or several
batches of the same N samples side by side, in a mapping or in a tuple of tensors, arrays, lists or mappings."""

from collections.abc import Mapping

import numpy as np
import torch


def side_by_side(batch):
    """Whether a batch is a tuple of batches, not of samples."""
    parts = (torch.Tensor, np.ndarray, Mapping, list)
    return isinstance(batch, tuple) and len(batch) > 0 and all(isinstance(part, parts) for part in batch)


def size_of(batch):
    """Number of samples N of a batch; ValueError where its parts disagree, and for one text or nothing."""
    if isinstance(batch, str | None):
        raise ValueError(f"a batch is needed, not {batch!r}: a tensor or array [N, …], or a list of N samples")
    if isinstance(batch, Mapping) or side_by_side(batch):
        parts = list(batch.values()) if isinstance(batch, Mapping) else list(batch)
        sizes = {size_of(part) for part in parts}
        if len(sizes) != 1:
            raise ValueError(f"the parts of a batch must hold equally many samples, not {sorted(sizes)}")
        return sizes.pop()
    return len(batch)


def rows_of(batch, rows):
    """Some samples of a batch, in its own form. rows: int64 [n]."""
    if isinstance(batch, Mapping):
        return {key: rows_of(part, rows) for key, part in batch.items()}
    if side_by_side(batch):
        return tuple(rows_of(part, rows) for part in batch)
    if isinstance(batch, torch.Tensor):
        return batch.index_select(0, torch.from_numpy(rows).to(batch.device))
    return batch[rows] if isinstance(batch, np.ndarray) else [batch[i] for i in rows]


def joined(batches):
    """Batches of one form, one after another, as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    if isinstance(first, Mapping):
        return {key: joined([batch[key] for batch in batches]) for key in first}
    if side_by_side(first):
        return tuple(joined(list(parts)) for parts in zip(*batches, strict=True))
    if isinstance(first, torch.Tensor):
        return torch.cat(batches)
    return np.concatenate(batches) if isinstance(first, np.ndarray) else [s for batch in batches for s in batch]


def as_inputs(batch, device, dtype):
    """A prepared batch for a module: tensors on ``device``, floats in ``dtype``, images in channels_last."""
    if isinstance(batch, Mapping):
        return {key: as_inputs(part, device, dtype) for key, part in batch.items()}
    if side_by_side(batch):
        return tuple(as_inputs(part, device, dtype) for part in batch)
    if isinstance(batch, np.ndarray):
        batch = torch.from_numpy(np.require(batch, requirements="CW"))
    if not isinstance(batch, torch.Tensor):
        return batch
    batch = batch.to(device, dtype if batch.is_floating_point() else None, non_blocking=True)
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch
