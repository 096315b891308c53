"""Splits side by side: opened together, do they pose the same task, and which samples do they share?"""

import numpy as np

from .bundled import located
from .names import known
from .store import LogitStore


def open_splits(folder, patterns):
    """{name: LogitStore} of the stores in ``folder`` that match a glob pattern ("shift/*", "v2") or one of several.

    Raises FileNotFoundError for a pattern that no store matches.
    """
    root, found = located(folder), []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        paths = sorted(path.parent for path in root.glob(f"{pattern}/manifest.json"))
        if not paths:
            raise FileNotFoundError(f"no store {pattern!r} in {folder}; a store is a folder with manifest.json")
        found += paths
    return {path.name: LogitStore(path) for path in found}


def check_same_task(store, other):
    """Raise ValueError unless ``other`` has the classes of ``store`` (where both know them) and all of its models."""
    classes, others = getattr(store, "classes", None), getattr(other, "classes", None)
    if classes and others and classes != others:
        differing = next((i for i, pair in enumerate(zip(classes, others)) if pair[0] != pair[1]), len(classes))
        raise ValueError(
            f"the splits have other classes: {len(classes)} and {len(others)}, the first difference at class "
            f"{differing}; map the labels of one to the other's before extracting"
        )
    for name in store.models.index:
        known(name, other.models.index, "model of the other split")
    if hasattr(store, "logits"):
        name = store.models.index[0]
        widths = [s.logits(name).shape[1] for s in (store, other)]
        if widths[0] != widths[1]:
            raise ValueError(f"model {name!r} has {widths[0]} classes on one split and {widths[1]} on the other")


def matched(store, other):
    """The samples of LogitStore ``store`` that ``other`` holds, in the order of ``other``: a view, paired by row.

    Raises ValueError naming the first sample that ``store`` lacks, or whose label differs.
    """
    position = {sample: row for row, sample in enumerate(store.sample_ids.tolist())}
    missing = [sample for sample in other.sample_ids.tolist() if sample not in position]
    if missing:
        raise ValueError(
            f"split {store.split!r} lacks {len(missing)} of the {len(other)} samples of {other.split!r}, "
            f"the first is {missing[0]!r}: they cannot be paired"
        )
    part = store.take([position[sample] for sample in other.sample_ids.tolist()])
    differing = np.flatnonzero(part.labels != other.labels)
    if len(differing):
        row = differing[0]
        raise ValueError(
            f"sample {other.sample_ids[row]!r} is labelled {part.labels[row]} in {store.split!r} and "
            f"{other.labels[row]} in {other.split!r}"
        )
    return part
