"""An upper bound on every exit rule: the envelope of cascades that know the labels."""

from typing import Any

import numpy as np
import pandas as pd

from cascadelib.fronts.cascades import cascades_of
from cascadelib.fronts.graded import merge_fronts
from cascadelib.store.protocol import Store

from .chains import pool


def oracle(
    store: Store,
    n_models: int = 3,
    **candidates: Any,
) -> pd.DataFrame:
    """Bound the accuracy and cost of any exit rule for chains of up to ``n_models`` models.

    The rule knows the labels. A sample is deferred only if a later model is correct, and only to
    that model. The first model's n correct predictions have its cost C1. Each sample that the
    second model rescues adds C2 ÷ k. Each sample that only the third rescues adds (C2 + C3) ÷ k,
    and so on. Every cascade of at most ``n_models`` models in order of cost, without ensembling,
    costs at least this much at its accuracy, with any confidence.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        With one cost per model.
    n_models : int
        The most models of a chain.
    **candidates
        score, cost and models, as in :func:`cascadelib.search`.

    Returns
    -------
    DataFrame
        One row per Pareto point: accuracy, cost, models.

    Raises
    ------
    ValueError
        If scores are graded.
    """
    names, costs, stage = pool(store, None, **candidates)
    correct = np.stack([stage((m,))[0] for m in range(len(names))])
    if not np.isin(correct, (0, 1)).all():
        raise ValueError(
            "scores are graded, but the oracle counts correct predictions: "
            "pass correct as bool, for example score ≥ 0.5"
        )
    correct = correct.astype(bool)
    k = correct.shape[1]
    longest = min(n_models, len(costs))
    chains = list(cascades_of(costs, range(1, longest + 1)))
    found = np.empty((3, 0))  # cost, accuracy and number of the chain of each point
    for number, chain in enumerate(chains):
        hits = correct[list(chain)]
        first_correct = hits.argmax(axis=0)[hits.any(axis=0)]
        counts = np.bincount(first_correct, minlength=len(chain))
        # Samples are rescued in the order of their first correct stage.
        rescued = np.arange(sum(counts[1:]) + 1)
        total = np.full(len(rescued), costs[chain[0]])
        for later, earlier in zip(chain[1:], np.cumsum(counts) - counts[0]):
            total += costs[later] * (np.maximum(rescued - earlier, 0) / k)
        accuracy = (counts[0] + rescued) / k
        found = merge_fronts(found, np.stack([total, accuracy, np.full(len(total), number)]))
    used = [tuple(names[m] for m in chains[int(number)]) for number in found[2]]
    return pd.DataFrame({"accuracy": found[1], "cost": found[0], "models": used})
