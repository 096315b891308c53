"""Build cascades greedily, stage by stage, from a pool of models (Streeter, 2018)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from cascadelib.evaluation.evaluation import Outcome
from cascadelib.methods.method import Method
from cascadelib.methods.thresholds import convert_units, exit_counts, threshold_for
from cascadelib.store.protocol import Store

from .chains import best_of_points, pool

SHARES = 1 - np.append(np.geomspace(1, 1e-4, 120), 0)
"""Shares of the reference's correct answers, from none to all, dense near the upper end."""


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
    left = list(orders)  # of the samples that remain
    chain: list[int] = []
    thresholds: list[float] = []
    while True:
        offers = []
        for (correct, confidence), rows in zip(outcomes, left):
            offers.append(answerable(confidence[rows], correct[rows] - needed[rows]))
        gains = np.array([count for count, _ in offers]) / costs
        gains[chain] = 0.0
        # A model always remains: the reference meets every need, so it would be the last stage.
        m = int(np.argmax(gains))
        chain.append(m)
        count, threshold = offers[m]
        if count == len(left[0]):
            return chain, thresholds
        thresholds.append(threshold)
        remains = outcomes[m][1] < threshold
        left = [rows[remains[rows]] for rows in left]


def answerable(
    falling: Array,
    surplus: Array,
) -> tuple[int, float]:
    """Return (count, threshold) of the most samples that can be answered, most confident first.

    Tied samples are answered together. falling: confidences [k]. surplus: correct minus needed,
    [k]. The sum of the surplus must not be negative.
    """
    ends = exit_counts(falling)
    total = np.concatenate([[0.0], np.cumsum(surplus)])
    count = int(ends[total[ends] >= -1e-9][-1])
    return count, float(threshold_for(falling, count))
