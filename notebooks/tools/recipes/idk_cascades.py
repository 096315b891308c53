"""IDK cascades: a grid of thresholds for chains of models (Wang, Luo et al., 2018a)."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from cascadelib.checks import check_count
from cascadelib.evaluation.pareto import pareto_front
from cascadelib.fronts.cascades import cascades_of
from cascadelib.methods.method import Method
from cascadelib.methods.thresholds import convert_units
from cascadelib.store.protocol import Store

from .chains import pool
from .shared_threshold import sum_deferred

Passed = Callable[..., Array]
"""passed(prefix, m): samples that a prefix defers and model m gets correct (None: all)."""


def wang_2018(
    store: Store,
    metric: str = "entropy",
    *,
    cost_aware: bool = True,
    grid: int | Sequence[float] = 32,
    n_models: int = 3,
    **candidates: Any,
) -> pd.DataFrame:
    """Search a grid of thresholds of chains of up to ``n_models`` models.

    Equal to the original: the search over thresholds on entropy or max softmax for a least
    accuracy. Left out: IDK classifiers trained on features, and the learned cost-aware objective.
    Different: all chains of the candidates are searched, instead of one fixed chain.

    Parameters
    ----------
    store : LogitStore
    metric : str
        "entropy", "max_softmax" or any other confidence metric.
    cost_aware : bool
        Whether the grid point of least cost is taken. Otherwise each chain takes the point that
        exits most samples early (fewest models run per sample), at any cost.
    grid : int or sequence of float
        Thresholds per stage, evenly spaced from the model's least to its largest confidence. Or the
        thresholds themselves, in the metric's units.
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
    Wang, Luo et al., 2018a: IDK cascades: fast deep learning by learning not to overthink, UAI.
    """
    thresholds_fixed = np.sort(convert_units(metric, grid)) if np.ndim(grid) else None
    check_count(grid if thresholds_fixed is None else len(thresholds_fixed), "grid")
    names, costs, stage = pool(store, Method(metric), **candidates)
    correct, confidences = zip(*(stage((m,)) for m in range(len(names))))
    if thresholds_fixed is None:
        points = int(np.asarray(grid))
        grids = [np.linspace(values.min(), values.max(), points) for values in confidences]
    else:
        grids = [thresholds_fixed] * len(names)
    longest = min(n_models, len(costs))
    passed = passing_counts(correct, confidences, grids, longest - 1)
    chains = list(cascades_of(costs, range(1, longest + 1)))
    found = [best_on_grid(passed, chain, costs, len(correct[0]), cost_aware) for chain in chains]
    number = np.repeat(np.arange(len(chains)), [len(place) for place, _, _ in found])
    place, accuracy, total = (np.concatenate(part) for part in zip(*found))
    rows = []
    for i in pareto_front(total, accuracy):
        chain = chains[number[i]]
        at = np.unravel_index(place[i], (len(grids[0]),) * (len(chain) - 1))
        thresholds = tuple(float(convert_units(metric, grids[m][j])) for m, j in zip(chain, at))
        rows.append((accuracy[i], total[i], tuple(names[m] for m in chain), thresholds))
    return pd.DataFrame(rows, columns=["accuracy", "cost", "models", "thresholds"])


def passing_counts(
    correct: Sequence[Array],
    confidences: Sequence[Array],
    grids: Sequence[Array],
    depth: int,
) -> Passed:
    """Return a function that counts the deferred samples at each point of the grid.

    correct, confidences, grids: of each model, [k], [k], [points]. The result has an axis for each
    of ``depth`` stages. A sample is deferred if its confidence is below the threshold.
    """
    slots = [
        len(grid) - np.searchsorted(grid, values, side="right")
        for grid, values in zip(grids, confidences)
    ]
    sizes = [len(grids[0])] * depth

    @cache
    def passed(prefix: tuple[int, ...], m: int | None = None) -> Array:
        """Count the samples (that model m gets correct) which all models of ``prefix`` defer."""
        weights = np.ones(len(correct[0])) if m is None else correct[m]
        return np.flip(sum_deferred([slots[i] for i in prefix], sizes, weights))

    return passed


def best_on_grid(
    passed: Passed, chain: tuple[int, ...], costs: Array, k: int, cost_aware: bool
) -> tuple[Array, Array, Array]:
    """Return (place on the grid, accuracy, cost) of the non-dominated grid points of a chain."""
    correct = passed(chain[:-1], chain[-1])
    for i, m in enumerate(chain[:-1]):
        # Samples that reach stage i but are not deferred by it exit there.
        correct = correct + passed(chain[:i], m) - passed(chain[: i + 1], m)
    reach = [np.broadcast_to(passed(chain[:i]), correct.shape) for i in range(len(chain))]
    accuracy = correct.ravel() / k
    shares = [reached / k for reached in reach]
    total = np.ravel(sum(costs[m] * share for m, share in zip(chain, shares)))
    keep = pareto_front(total if cost_aware else np.ravel(sum(reach)), accuracy)
    return keep, accuracy[keep], total[keep]
