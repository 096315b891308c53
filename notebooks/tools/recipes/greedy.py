"""Build cascades greedily, stage by stage, from a pool of models (Streeter, 2018)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy import ndarray as Array

from cascadelib.evaluation.evaluation import Outcome
from cascadelib.methods.method import Method
from cascadelib.methods.thresholds import LARGEST, convert_units, midway
from cascadelib.store.protocol import Store

from .chains import best_of_points, pool

SHARES = 1 - np.append(np.geomspace(1, 1e-4, 120), 0)
"""Shares of the reference's correct answers, from none to all, dense near the upper end."""
ROUNDING = 1e-9  # of sums of correct minus needed answers


def streeter_2018(
    store: Store,
    metric: str = "logits_margin",
    **candidates: Any,
) -> pd.DataFrame:
    """Append repeatedly the stage that answers most of the remaining samples per unit of cost.

    Equal to the original: a stage is a model with the lowest sufficient threshold. On the samples
    that it answers, it must get a share of the reference model's correct answers. The reference is
    the most accurate candidate. A stage that answers all remaining samples is the last, so the full
    cascade has that share as well. Different: confidence is one metric, while the original
    regresses accuracy on several features. Models share no computation, and the share is swept.

    Parameters
    ----------
    store : LogitStore or ScoreTable
    metric : str
        A confidence metric.
    **candidates
        score, cost and models, as in :func:`cascadelib.search`.

    Returns
    -------
    DataFrame
        One row per Pareto point: accuracy, cost, models (not necessarily rising in cost),
        thresholds (in the metric's units).

    References
    ----------
    Streeter, 2018: Approximation algorithms for cascading prediction models, ICML.
    """
    method = Method(metric)
    names, costs, stage = pool(store, method, **candidates)
    outcomes = [stage((m,)) for m in range(len(names))]
    orders = [np.argsort(-confidence) for _, confidence in outcomes]
    reference = max((correct for correct, _ in outcomes), key=np.sum)
    tried = []
    for share in SHARES:
        chain, thresholds = greedy(outcomes, orders, costs, share * reference)
        native = tuple(convert_units(metric, thresholds).tolist())
        models = tuple(names[m] for m in chain)
        tried.append({"models": models, "thresholds": native})
    return best_of_points(store, method, tried, **candidates)


def greedy(
    outcomes: Sequence[Outcome],
    orders: Sequence[Array],
    costs: Array,
    needed: Array,
) -> tuple[list[int], list[float]]:
    """Return (models, one threshold fewer) of the cascade that :func:`streeter_2018` builds.

    outcomes, orders: per model (correct [k], confidence [k]), and the samples by falling
    confidence. needed [k]: the required correct answers per sample, to be reached in sum. If gains
    are equal, the cheaper model is taken.
    """
    remains = np.ones(len(needed), bool)
    chain: list[int] = []
    thresholds: list[float] = []
    while True:
        offers = []
        for (correct, confidence), order in zip(outcomes, orders):
            offers.append(answerable(order, remains, confidence, correct, needed))
        gains = np.array([count for count, *_ in offers]) / costs
        gains[chain] = 0.0
        # A model always remains: the reference meets every need, so it would be the last stage.
        m = int(np.argmax(gains))
        chain.append(m)
        count, exiting, deferred = offers[m]
        if count == np.count_nonzero(remains):
            return chain, thresholds
        thresholds.append(float(midway(exiting, deferred)))
        remains &= outcomes[m][1] < thresholds[-1]


@njit(cache=True, nogil=True)
def answerable(
    order: Array, remains: Array, confidence: Array, correct: Array, needed: Array
) -> tuple[int, float, float]:
    """Return how many of the remaining samples a model can answer, most confident first.

    The correct answers must be at least those needed, in sum. Tied samples are answered together.
    order: samples by falling confidence. The other arrays are of all samples [k]. Returns also the
    least confidence that exits and the largest that is deferred, nan if there is none.
    """
    best = (0, np.nan, np.nan)
    seen = 0
    surplus = 0.0
    last = np.nan
    for row in order:
        if not remains[row]:
            continue
        value = confidence[row]
        is_separable = seen == 0 or (value != last and value < LARGEST)
        if is_separable and surplus >= -ROUNDING:
            best = (seen, last, value)
        surplus += correct[row] - needed[row]
        last = value
        seen += 1
    return (seen, last, np.nan) if surplus >= -ROUNDING else best
