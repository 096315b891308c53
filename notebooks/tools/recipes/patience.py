"""Patience: exit once a number of consecutive models agree (Zhou et al., 2020)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascadelib.evaluation.evaluation import correct_alone
from cascadelib.store.logit_store import LogitStore

from .chains import best_of_chains


def zhou_2020(
    store: LogitStore,
    n_models: int = 4,
    **candidates: Any,
) -> pd.DataFrame:
    """Exit once a number of consecutive models have repeated the previous prediction.

    Equal to the original: the counter, which a different prediction resets to 0, and one patience
    for all stages. Different: stages are every chain of up to ``n_models`` candidates.

    Parameters
    ----------
    store : LogitStore
    n_models : int
        The most models of a chain.
    **candidates
        score, cost and models, as in :func:`cascadelib.search`.

    Returns
    -------
    DataFrame
        One row per Pareto point: accuracy, cost, models, thresholds (the patience, 1: two agree).

    References
    ----------
    Zhou et al., 2020: BERT loses patience: fast and robust inference with early exit, NeurIPS.
    """

    def settings(chain: tuple[str, ...]) -> list[dict]:
        """Return every patience that some stage can reach, at least one."""
        later = len(chain) - 1
        return [{"thresholds": (float(p),) * later} for p in range(1, max(2, later))]

    return best_of_chains(store, patience_outcomes, (1, n_models), settings, **candidates)


def patience_outcomes(
    store: LogitStore, models: Sequence[str], score: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Apply the rule of :func:`zhou_2020`: confidence counts consecutive equal predictions.

    Returns (correct [k], confidence [k]) of each stage.
    """
    count = np.zeros(len(store))
    outcomes = []
    before = None
    for name in models:
        predicted = store.predicted(name)
        if before is not None:
            count = np.where(predicted == before, count + 1, 0.0)
        outcomes.append((correct_alone(store, name, score), count))
        before = predicted
    return outcomes
