"""Does a running cascade decide as the evaluator does? Sample by sample, and what differs is counted."""

import numpy as np
import pandas as pd

from .evaluation import evaluate, outcomes_of
from .f1 import F1


def same_decisions(decisions, store, point, tolerance=1e-5):
    """:class:`~cascadelib.decisions.Decisions` of a running cascade beside :func:`evaluate` on the same samples.

    store: the logits of the same samples in the same order, e.g. ``store.take(slice(0, 1000))``. Returns counts, a
    Series: samples; same (exit stage and correctness); near (they differ, and a confidence that the evaluator sees on
    the sample's way lies within ``tolerance`` of its threshold: another batch size or processor rounds otherwise);
    other (they differ for another reason: to be looked into). Raises ValueError for another number of samples.
    """
    if len(decisions) != len(store):
        raise ValueError(f"{len(decisions)} decisions for a store of {len(store)} samples")
    expected, outcomes = evaluate(store, point), outcomes_of(store, point.models, point.method, point.score)
    same = decisions.exit_stage == expected.exit_stage
    if point.score in ("top1", F1):
        same &= (decisions.predictions == store.labels) == expected.correct
    near = np.zeros(len(store), bool)
    for i, (t, (_, sure)) in enumerate(zip(point.inside, outcomes)):
        near |= (np.abs(sure - t) <= tolerance) & (expected.exit_stage >= i)
    counts = {"samples": len(store), "same": same.sum(), "near": (~same & near).sum(), "other": (~same & ~near).sum()}
    return pd.Series(counts, dtype=int)
