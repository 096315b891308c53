"""Summarize the confidences of a stage, for comparison with those of live inputs."""

import numpy as np

from ..evaluation.point import OrderStatistics

# Probabilities of the quantiles that a file stores of the confidences at a stage.
SHARES = np.linspace(0, 1, 51)
WITHOUT_CHOOSING = "95%, without choosing"  # intervals measured on the selection split
HELD_OUT = "95%"  # intervals measured on other samples


def summary(values: np.ndarray) -> OrderStatistics:
    """Return the order statistics of k numbers at 51 fixed ranks, or all of them if k is small."""
    k = len(values)
    ranks = np.empty(0, int)
    if k:
        ranks = np.unique(np.maximum(1, np.ceil(np.round(SHARES * k, 6)).astype(int)))
    seed = np.array(values, np.float64).view(np.uint32)  # reproducible
    second = np.random.default_rng(seed).random(k).round(9)
    pairs = np.sort(values + 1j * second)[ranks - 1]  # by the real part, then the imaginary part
    return OrderStatistics(
        values=tuple(pairs.real.tolist()),
        counts=tuple(np.diff(ranks, prepend=0).tolist()),
        ties=tuple(pairs.imag.tolist()),
    )
