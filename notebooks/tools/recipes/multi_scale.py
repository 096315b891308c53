"""Budgeted batches, as multi-scale dense networks classify them (Huang et al., 2018)."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from cascadelib.methods.method import Method, cached_confidence
from cascadelib.methods.thresholds import convert_units
from cascadelib.store.logit_store import LogitStore

from .chains import best_of_chains

RATIOS = np.arange(1, 40) / 20


def huang_2018(
    store: LogitStore,
    metric: str = "max_softmax",
    *,
    n_models: int = 3,
    **candidates: Any,
) -> pd.DataFrame:
    """Let the shares of samples that exit at the stages be a geometric series, and sweep its ratio.

    This is classification of a batch within a budget. Equal to the original: stage i answers a
    share ∝ ratio^i, the most confident samples that reach it (the paper's z (1 − q)^(i − 1) q). The
    39 ratios, 0.05 … 1.95, are those of its code. Different: stages are every chain of up to
    ``n_models`` candidates, instead of the exits of one network.

    Parameters
    ----------
    store : LogitStore
    metric : str
        A confidence metric.
    n_models : int
        The most models of a chain.
    **candidates
        score, cost and models, as in :func:`cascadelib.search`.

    Returns
    -------
    DataFrame
        One row per Pareto point: accuracy, cost, models, thresholds (in the metric's units).

    References
    ----------
    Huang et al., 2018: Multi-scale dense networks for resource efficient image classification,
    ICLR.
    """

    @cache
    def thresholds_before(last: tuple[str, ...]) -> list[dict]:
        """Return the thresholds at every ratio of chains whose models before the last are these."""
        confidences = [cached_confidence(store, name, metric, 1.0) for name in last]
        found = []
        for ratio in RATIOS:
            shares = ratio ** np.arange(len(last) + 1)
            inside = budgeted(confidences, shares / shares.sum())
            found.append({"thresholds": tuple(convert_units(metric, inside).tolist())})
        return found

    return best_of_chains(
        store,
        Method(metric),
        (1, n_models),
        lambda chain: thresholds_before(chain[:-1]),
        **candidates,
    )


def budgeted(confidences: Sequence[np.ndarray], shares: np.ndarray) -> np.ndarray:
    """Return the n − 1 thresholds at which ⌊share × k⌋ samples exit at each of n stages.

    confidences: arrays [k] of the stages before the last. More samples exit if confidences tie. A
    threshold is inf (never) if no sample exits, or none remains.
    """
    thresholds = np.full(len(shares) - 1, np.inf)
    left = np.arange(max(map(len, confidences), default=0))  # samples that have not exited
    for i, (confidence, share) in enumerate(zip(confidences, shares[:-1])):
        here = confidence[left]
        count = min(int(share * len(confidence) + 1e-9), len(here))
        if count:
            thresholds[i] = np.partition(here, -count)[-count]
        left = left[here < thresholds[i]]
    return thresholds
