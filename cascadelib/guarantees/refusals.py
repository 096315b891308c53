"""Refuse samples whose ids or counts contradict what a guarantee assumes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.point import LadderTable, Point
from ..origin import Origin, join_origins, samples_in_common
from ..store.protocol import Store

LEAST_ERRORS = 20  # errors of the reference from which labels of a model are refused


def refuse_repeats(store: Any) -> None:
    """Raise ValueError if an id of a store occurs more than once."""
    ids = store.origin.sample_ids
    if repeated := len(ids) - len(np.unique(ids)):
        raise ValueError(
            f"{repeated} of the {len(ids)} samples repeat others (ids): keep one row of each "
            "sample, store.take(rows)"
        )


def refuse_overlap(points: Sequence[Point], store: Store, models: Sequence[str]) -> bool:
    """Raise ValueError if samples selected or fitted the points, or trained a network.

    Return whether all samples could be compared by their ids. Models with out-of-fold outputs have
    the metadata ``folds``, the number of networks.
    """
    folds = store.models.get("folds", pd.Series()).reindex(models).dropna()
    if len(folds):
        raise ValueError(
            f"the outputs of {folds.index[0]!r} are out of fold: {folds.iloc[0]:.0f} networks "
            "computed them, which the samples of the other folds trained. Certify the network that "
            "will run, on samples that did not train it"
        )
    shared = samples_in_common(join_origins(*(point.seen for point in points)), store.origin)
    if not shared:
        return shared is not None
    remedy = (
        "a guarantee needs other samples. Search on store.take(slice(0, None, 2)), and certify on "
        "store.take(slice(1, None, 2))"
    )
    if np.char.isdigit(store.origin.sample_ids).all():
        remedy += ". If two files number their samples separately, prefix the ids, such as 'test-0'"
    raise ValueError(
        f"at least {shared} of the {len(store)} samples took part in finding the cascades, by "
        f"their ids: {remedy}"
    )


def refuse_labels_of_model(case: Any) -> None:
    """Raise ValueError if all known labels of a Case are a model's answers, and others are not.

    The reference must err on LEAST_ERRORS of them, since labels may be the reference's answers.
    """
    labels = getattr(case.store, "labels", None)
    if labels is None or not case.store.has_predictions:
        return
    is_wrong = case.store.predicted(case.reference) != labels
    for name in case.models if np.count_nonzero(is_wrong) >= LEAST_ERRORS else ():
        if (case.store.predicted(name) == labels)[case.is_known].all():
            raise ValueError(
                f"the labels are the answers of {name!r} on all {case.is_known.sum()} samples: "
                "certify with labels that no model of the cascade gave"
            )


def table_of(points: Sequence[Point], origin: Origin) -> LadderTable | None:
    """Return the smallest table of :attr:`Point.thresholds_from` that has the samples, or None.

    Raises
    ------
    ValueError
        If some of the samples are in the table and others are not.
    """
    tables: list[Any] = []
    for table in {point.thresholds_from for point in points if point.thresholds_from}:
        shared = samples_in_common(table.origin, origin) or 0
        if 0 < shared < len(origin):
            raise ValueError(
                f"{shared} of the {len(origin)} samples gave the thresholds, the others did not: a "
                "guarantee is about the table that the thresholds come from, or about its source. "
                "Certify either on samples of the table only, or on others only"
            )
        tables += [table] if shared else []
    return min(tables, key=len, default=None)
