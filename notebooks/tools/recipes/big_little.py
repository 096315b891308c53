"""big/LITTLE: two models, and a threshold that follows the stream (Park et al., 2015)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numba import njit

from cascadelib.evaluation.evaluation import correct_alone
from cascadelib.methods.method import cached_confidence
from cascadelib.store.logit_store import LogitStore

from .chains import best_of_chains

TARGETS = np.arange(41) / 40


def park_2015_dynamic(
    store: LogitStore,
    **candidates: Any,
) -> pd.DataFrame:
    """Adapt the threshold of each pair to the stream, by the agreement of the large model.

    This is big/LITTLE with the *dynamic* threshold, on the softmax margin. Equal to the original:
    feedback comes from deferred samples. The threshold rises if the large model disagrees and falls
    if it agrees. Different: the steps, 0.01 × (1 − target) up and 0.01 × target down. In the long
    run, the models then disagree on a share ``target`` of those samples. The original has another
    schedule. Samples come in the order of the store, which should be random.

    Parameters
    ----------
    store : LogitStore
    **candidates
        score, cost and models, as in :func:`cascadelib.search`.

    Returns
    -------
    DataFrame
        One row per Pareto point: accuracy, cost, models, thresholds (the first of a stream),
        target.

    References
    ----------
    Park et al., 2015: Big/little deep neural network for ultra low power inference, CODES+ISSS.
    """
    settings = [{"thresholds": (0.5,), "target": target} for target in TARGETS]
    return best_of_chains(store, dynamic_exits, (2, 2), lambda pair: settings, **candidates)


def dynamic_exits(
    store: LogitStore, models: Sequence[str], score: str
) -> Callable[[Mapping[str, Any]], tuple[np.ndarray, np.ndarray]]:
    """Return the rule of :func:`park_2015_dynamic`."""
    little, big = models
    correct, correct_of_big = (correct_alone(store, name, score) for name in models)
    disagrees = store.predicted(little) != store.predicted(big)
    margin = cached_confidence(store, little, "softmax_margin", 1.0)

    def exits(row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return exit_stage int64 [k] and correct [k] at a row's threshold and target."""
        stage = follow(margin, disagrees, *row["thresholds"], row["target"])
        return stage, np.where(stage == 1, correct_of_big, correct)

    return exits


@njit(cache=True, nogil=True)
def follow(
    margin: np.ndarray, disagrees: np.ndarray, threshold: float, target: float
) -> np.ndarray:
    """Return exit_stage int64 [k] of a threshold that follows a stream, see
    :func:`park_2015_dynamic`."""
    stage = np.zeros(len(margin), np.int64)
    for s in range(len(margin)):
        if margin[s] < threshold:
            # A deferred sample reveals whether the large model disagrees.
            stage[s] = 1
            threshold = min(max(threshold + 0.01 * (disagrees[s] - target), 0.0), 1.0)
    return stage
