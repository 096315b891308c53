"""What a model brings to a store, checked before it is believed: its output, costs and metadata."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import POSITIVE, about, check_number, unmasked
from ..cost_kinds import COSTS
from ..labels import Labels, aligned
from ..scoring import accuracies, ranks_of
from .formats import LogitArray, LogitFile, decoded_metadata, encoded_metadata, unfit
from .model_table import RESERVED, cost_names_of

DTYPES = ("float16", "float32", "float64")


def as_array(logits: Any, what: str) -> Array:
    """Logits of numpy, torch or nested lists as an array; bfloat16 and float16 tensors become
    float32."""
    if not hasattr(logits, "detach"):  # torch, without importing it
        return np.asarray(unmasked(logits, what))
    tensor = logits.detach().cpu()
    if tensor.dtype.itemsize <= 4:
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def checked_logits(
    name: str,
    logits: Any,
    sample_ids: Any,
    labels: Labels,
    dtype: np.dtype,
) -> Array:
    """Logits as a finite array [k, classes] of ``dtype``, or ValueError naming the model and the
    first bad row."""
    what = f"model {name!r}"
    columns: Any = getattr(logits, "columns", labels.classes)
    if labels.classes and len(columns) != len(labels.classes):
        raise ValueError(f"{what}: {len(columns)} columns for {len(labels.classes)} classes")
    ids = labels.sample_ids if labels.given else None
    values = as_array(aligned(logits, what, ids, labels.classes), what)
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{what}: logits must be numbers [k, classes], not {values.dtype} {values.shape}"
        )
    if len(values) != len(labels):
        raise ValueError(f"{what}: {len(values)} rows of logits for {len(labels)} samples")
    if sample_ids is not None:
        with about(what):
            labels.check_same(sample_ids)
    _check_labels_within(what, values.shape[1], labels)
    with np.errstate(over="ignore"):  # what overflows is inf, and refused below
        values = values.astype(dtype, copy=False)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        row = bad[0]
        raise ValueError(
            f"{what}: row {row} ({labels.sample_ids[row]}) holds nan or inf as {dtype}; {len(bad)} "
            "in all"
        )
    return values


def _check_labels_within(what: str, classes: int, labels: Labels) -> None:
    """Refuse an output of fewer classes than a label needs."""
    if labels.values is None:
        return
    outside = np.flatnonzero(labels.values >= classes)
    if len(outside):
        row = outside[0]
        raise ValueError(
            f"{what}: {classes} classes, but row {row} ({labels.sample_ids[row]}) has the label "
            f"{labels.values[row]}"
        )


def check_probabilities(name: str, p: Array) -> None:
    """ValueError, naming the model and the first bad row of p [k, classes], where a row does not
    sum to 1."""
    p = np.asarray(p, np.float64)
    within = ((p >= 0) & (p <= 1 + 1e-6)).all(1)
    bad = np.flatnonzero(~(within & (abs(p.sum(1) - 1) <= 1e-3)))
    if len(bad):
        row = bad[0]
        raise ValueError(
            f"model {name!r}: row {row} does not hold probabilities that sum to 1 (sum "
            f"{p[row].sum():g}); {len(bad)} such rows; normalise=True, in add(probabilities=…) "
            "and in from_probabilities, divides rows by their sums"
        )


def normalised(p: Array) -> Array:
    """Rows of p [k, classes] divided by their sums; as they are where one is negative, or all
    zero."""
    sums = p.sum(1, keepdims=True, dtype=np.float64)
    if (p < 0).any() or not (p.sum(1) > 0).all():
        return p
    return (p / sums).astype(p.dtype)


def checked_metadata(name: str, metadata: dict, costs: Mapping[str, float | None]) -> dict:
    """What a header will say beside the accuracies, as it will be read again: metadata, and costs
    of known kinds as positive numbers. ValueError naming the model and the key that no header may
    have."""
    read = {key: decoded_metadata(encoded_metadata(key, value)) for key, value in metadata.items()}
    known_costs = dict(costs) | {kind: read[kind] for kind in COSTS if kind in read}
    for kind, cost in known_costs.items():
        if cost is not None:
            check_number(cost, f"model {name!r}: {kind}", "a positive number", *POSITIVE)
        read[kind] = cost.item() if isinstance(cost, np.generic) else cost
    wrong = sorted(RESERVED & read.keys()) or unfit(read)
    if wrong:
        raise ValueError(f"model {name!r}: metadata may not have this {' and '.join(wrong)}")
    for kind in cost_names_of([read]):
        if read[kind] < 0:
            raise ValueError(
                f"model {name!r}: {kind} must be no negative number, not {read[kind]}: it may be "
                "asked for as a cost; a number that is none goes into a table, as settings={…}"
            )
    return read


def check_accuracies(name: str, own: LogitFile | LogitArray, found: tuple[float, float]) -> None:
    """ValueError where the header of a model states another (top1, top5) than ``found`` in its
    output."""
    for key, value in zip(("top1", "top5"), found):
        stated = own.metadata[key]
        if not np.array_equal(value, stated, equal_nan=True):
            raise ValueError(
                f"model {name!r}: {key} in its header ({stated}) is not that of its logits "
                f"({value}): add it anew with replace=True"
            )


def accuracies_of(tensor: Array, labels: Labels) -> tuple[float, float]:
    """(top1, top5) of a model's output [k, classes]; nan without labels."""
    if labels.values is None:
        return np.nan, np.nan
    return accuracies(ranks_of(tensor, labels.values), tensor.shape[1])
