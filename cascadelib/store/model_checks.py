"""Check the output, costs and metadata of a model before a store adds it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import POSITIVE, check_number, error_context, validate_choice
from ..figures.cost_kinds import COSTS
from ..labels import align_values, as_text, refuse_masked
from ..origin import Origin
from ..stages import accuracies, ranks_of
from .formats import decode_metadata, encode_metadata
from .model_table import RESERVED, find_cost_names

DTYPES = ("float16", "float32", "float64")


def check_logits(
    name: str,
    logits: Any,
    sample_ids: Any,
    labels: Origin,
    dtype: str,
) -> Array:
    """Return logits as a finite array [k, classes].

    A ValueError names the model and the first bad row.
    """
    stored_as = np.dtype(validate_choice(dtype, DTYPES, "dtype"))
    what = f"model {name!r}"
    columns: Any = getattr(logits, "columns", labels.classes)
    if labels.classes and len(columns) != len(labels.classes):
        raise ValueError(f"{what}: {len(columns)} columns for {len(labels.classes)} classes")
    ids = labels.sample_ids if labels.has_ids else None
    values = align_values(logits, what, ids, labels.classes)
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        values = values.float().numpy() if values.dtype.itemsize <= 4 else values.numpy()
    values = np.asarray(refuse_masked(values, what))
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{what}: logits must be numbers [k, classes], not {values.dtype} {values.shape}"
        )
    if len(values) != len(labels):
        raise ValueError(f"{what}: {len(values)} rows of logits for {len(labels)} samples")
    if sample_ids is not None:
        with error_context(what):
            labels.check_same(as_text(sample_ids))
    if labels.values is not None:
        outside = labels.values >= values.shape[1]
        refuse_rows(name, outside, f"has a label beyond the {values.shape[1]} classes", labels)
    with np.errstate(over="ignore"):  # overflow gives inf, which is refused below
        values = values.astype(stored_as, copy=False)
    refuse_rows(name, ~np.isfinite(values).all(axis=1), f"holds nan or inf as {dtype}", labels)
    return values


def refuse_rows(name: str, bad: Array, what: str, labels: Origin) -> None:
    """Raise a ValueError that names a model and the first bad row, bool [k]."""
    if bad.any():
        row = bad.argmax()
        count = np.count_nonzero(bad)
        raise ValueError(
            f"model {name!r}: row {row} ({labels.sample_ids[row]}) {what}; {count} such rows"
        )


def check_probabilities(name: str, p: Array, labels: Origin) -> None:
    """Raise a ValueError that names the model and the first row that does not sum to 1."""
    exact = np.asarray(p, np.float64)
    sums = exact.sum(axis=1)
    bad = ~((exact >= 0) & (exact <= 1 + 1e-6)).all(axis=1) | ~(abs(sums - 1) <= 1e-3)
    found = f"does not hold probabilities that sum to 1 (sum {sums[bad.argmax()]:g})"
    refuse_rows(name, bad, f"{found}. Divide by the sums: p / p.sum(axis=1, keepdims=True)", labels)


def group_costs_by_model(kinds: Mapping[str, Any], names: Iterable[str]) -> dict[str, dict]:
    """Return {model: {kind: cost}} of {kind: {model: cost}}."""
    costs: dict[str, dict] = {name: {} for name in names}
    for kind, by_name in kinds.items():
        by_name = {} if by_name is None else by_name
        if not hasattr(by_name, "keys"):
            raise ValueError(f"{kind} must be {{model: cost per sample}}, not {by_name!r:.200}")
        for name, cost in dict(by_name).items():
            validate_choice(name, costs, f"model in {kind}")
            if cost is not None:
                check_number(cost, f"model {name!r}: {kind}", "a positive number", *POSITIVE)
            costs[name][kind] = cost
    return costs


def check_metadata(name: str, metadata: dict, costs: Mapping[str, float | None]) -> dict:
    """Return metadata and costs as they will be read from a header.

    A ValueError names the model and the invalid key.
    """
    read = {key: decode_metadata(encode_metadata(key, value)) for key, value in metadata.items()}
    known_costs = dict(costs) | {kind: read[kind] for kind in COSTS if kind in read}
    for kind, cost in known_costs.items():
        if cost is not None:
            check_number(cost, f"model {name!r}: {kind}", "a positive number", *POSITIVE)
        read[kind] = cost.item() if isinstance(cost, np.generic) else cost
    if wrong := sorted(RESERVED & read.keys()):
        raise ValueError(f"model {name!r}: metadata has a reserved key: {' and '.join(wrong)}")
    for kind in find_cost_names([read]):
        if read[kind] < 0:
            raise ValueError(
                f"model {name!r}: {kind} must not be negative, got {read[kind]}: any number is a "
                "kind of cost. Put a number that is not a cost into a table, as settings={…}"
            )
    return read


def compute_accuracies(tensor: Array, labels: Origin) -> dict[str, float]:
    """Compute top1 and top5 of an output [k, classes], nan without labels."""
    if labels.values is None:
        return {"top1": np.nan, "top5": np.nan}
    return accuracies(ranks_of(tensor, labels.values), tensor.shape[1])
