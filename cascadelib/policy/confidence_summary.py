"""The summary of a stage's confidences that a policy file keeps: what live inputs are compared
with."""

import numpy as np

from ..evaluation.point import OrderStatistics

# of the samples that reach a stage: where quantiles of its confidence are kept
SHARES = np.linspace(0, 1, 51)
WITHOUT_CHOOSING = "95%, without choosing"  # intervals in a cascade's file: measured where it chose
HELD_OUT = "95%"  # measured on samples that it has not seen


def summary(values: np.ndarray) -> OrderStatistics:
    """A sample of k numbers in short: its order statistics at 51 fixed ranks, or all of them."""
    k = len(values)
    ranks = np.empty(0, int)
    if k:
        ranks = np.unique(np.maximum(1, np.ceil(np.round(SHARES * k, 6)).astype(int)))
    seed = np.array(values, np.float64).view(np.uint32)  # the numbers themselves
    second = np.random.default_rng(seed).random(k).round(9)
    kept = np.sort(values + 1j * second)[ranks - 1]  # by the real part, then the other
    return OrderStatistics(
        values=tuple(kept.real.tolist()),
        counts=tuple(np.diff(ranks, prepend=0).tolist()),
        ties=tuple(kept.imag.tolist()),
    )
