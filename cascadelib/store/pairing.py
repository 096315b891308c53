"""Two stores side by side: do they hold the same task, the same samples, the same logits?"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..checks import about, known
from .protocol import Store

if TYPE_CHECKING:
    from .logit_store import LogitStore


def agreement(store: "LogitStore", reference: "LogitStore") -> pd.DataFrame:
    """Two stores of the same samples: a DataFrame, a row a model that both hold.

    largest_gap (of any logit, absolute),
    relative_to_spread (that ÷ the standard deviation of the model's reference logits), changed_predictions (count),
    top1 and reference_top1 (fractions). Raises ValueError where sample ids or labels differ.
    """
    if store.fingerprint != reference.fingerprint:
        raise ValueError("the stores hold other samples, or the same in another order: take() the common ones first")
    rows = {}
    for name in [n for n in reference.models.index if n in store.models.index]:
        ours, theirs = (np.asarray(s.logits(name), np.float64) for s in (store, reference))
        largest = np.abs(ours - theirs).max()
        rows[name] = {
            "largest_gap": largest,
            "relative_to_spread": largest / theirs.std() if theirs.std() else largest,
            "changed_predictions": int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
            "top1": store.models.loc[name, "top1"],
            "reference_top1": reference.models.loc[name, "top1"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def check_same_task(store: Store, other: Store) -> None:
    """Raise ValueError unless ``other`` has the classes of ``store`` (where outputs are of classes that both know) and
    all of its models."""
    classes, others = store.origin.classes, other.origin.classes
    if store.has_outputs and classes and others and classes != others:
        differing = next((i for i, pair in enumerate(zip(classes, others)) if pair[0] != pair[1]), len(classes))
        raise ValueError(
            f"the splits have other classes: {len(classes)} and {len(others)}, the first difference at class "
            f"{differing}; map the labels of one to the other's before extracting"
        )
    for name in store.models.index:
        known(name, other.models.index, "model of the other split")
    if store.has_outputs and other.has_outputs:
        name = store.models.index[0]
        stores: tuple[Any, ...] = store, other
        widths = [s.logits(name).shape[1] for s in stores]
        if widths[0] != widths[1]:
            raise ValueError(f"model {name!r} has {widths[0]} classes on one split and {widths[1]} on the other")


def matched(store: "LogitStore", other: "LogitStore") -> "LogitStore":
    """The samples of LogitStore ``store`` that ``other`` holds, in the order of ``other``: a view, paired by row.
    ValueError names the first sample that ``store`` lacks, or whose label differs."""
    position = {sample: row for row, sample in enumerate(store.sample_ids.tolist())}
    missing = [sample for sample in other.sample_ids.tolist() if sample not in position]
    if missing:
        raise ValueError(
            f"split {store.split!r} lacks {len(missing)} of the {len(other)} samples of {other.split!r}, "
            f"the first is {missing[0]!r}: they cannot be paired"
        )
    part = store.take([position[sample] for sample in other.sample_ids.tolist()])
    with about(f"splits {store.split!r} and {other.split!r}"):
        part.origin.check_same(other.sample_ids, other.labels)
    return part
