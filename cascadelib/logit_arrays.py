"""Arrays of logits [k, classes]: checked before they are believed, and ranked against the labels."""

import math

import numpy as np

from .labels import Labels
from .names import unmasked

ROWS_AT_ONCE = 8192  # bounds the memory that the ranks of a large memory-mapped tensor take
DTYPES = ("float16", "float32", "float64")


def is_cost(cost) -> bool:
    """Whether ``cost`` is a positive, finite number."""
    try:
        return math.isfinite(cost) and cost > 0
    except TypeError:
        return False


def checked_logits(name, logits, sample_ids, labels: Labels, dtype) -> np.ndarray:
    """Logits as a finite array [k, classes] of ``dtype``, or ValueError naming the model and the first bad row."""
    if hasattr(logits, "detach"):  # torch, without importing it
        logits = logits.detach().cpu()
        logits = (logits if logits.dtype.itemsize > 4 else logits.float()).numpy()
    logits = np.asarray(unmasked(logits, f"model {name!r}"))
    if logits.ndim != 2 or not logits.shape[1] or logits.dtype.kind not in "fiu":
        raise ValueError(f"model {name!r}: logits must be numbers [k, classes], not {logits.dtype} {logits.shape}")
    if len(logits) != len(labels):
        raise ValueError(f"model {name!r}: {len(logits)} rows of logits for {len(labels)} samples")
    if sample_ids is not None:
        try:
            labels.check_same(sample_ids)
        except ValueError as error:
            raise ValueError(f"model {name!r}: {error}") from None
    if labels.values.max() >= logits.shape[1]:
        row = int(np.argmax(labels.values >= logits.shape[1]))
        raise ValueError(
            f"model {name!r}: {logits.shape[1]} classes, but the label of row {row} "
            f"({labels.sample_ids[row]}) is {labels.values[row]}"
        )
    with np.errstate(over="ignore"):  # what overflows is inf, and refused below
        logits = logits.astype(dtype, copy=False)
    bad = np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        row = bad[0]
        raise ValueError(
            f"model {name!r}: row {row} ({labels.sample_ids[row]}) holds nan or inf as {dtype}; {len(bad)} such rows"
        )
    return logits


def check_probabilities(name, p) -> None:
    """ValueError, naming the model and the first bad row of p [k, classes], where a row does not sum to 1."""
    p = np.asarray(p, np.float64)
    bad = np.flatnonzero(~((p >= 0).all(1) & (p <= 1 + 1e-6).all(1) & (abs(p.sum(1) - 1) <= 1e-3)))
    if len(bad):
        raise ValueError(
            f"model {name!r}: row {bad[0]} does not hold probabilities that sum to 1 (sum {p[bad[0]].sum():g}); "
            f"{len(bad)} such rows"
        )


def log_of(p) -> np.ndarray:
    """Logarithms of probabilities, float64; zeros count as the smallest positive float."""
    return np.log(np.maximum(np.asarray(p, np.float64), np.finfo(np.float64).tiny))


def ranks_of(logits, labels) -> np.ndarray:
    """Place of the right class in each row, int64 [k]; equal logits rank by class index."""
    ranks = np.empty(len(labels), np.int64)
    for start in range(0, len(labels), ROWS_AT_ONCE):
        z, y = np.asarray(logits[start : start + ROWS_AT_ONCE]), labels[start : start + ROWS_AT_ONCE, None]
        right = np.take_along_axis(z, y, 1)
        before = (z > right) | (z == right) & (np.arange(z.shape[1]) < y)
        ranks[start : start + len(z)] = before.sum(1)
    return ranks


def accuracies(ranks, classes) -> tuple[float, float]:
    """(top1, top5) of ``ranks``; top5 is nan with five classes or fewer, where it says nothing."""
    return float((ranks < 1).mean()), float((ranks < 5).mean()) if classes > 5 else math.nan
