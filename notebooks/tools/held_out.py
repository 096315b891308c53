"""Evidence on held-out samples, from cascades that no sample of that split selected.

A front selects the luckiest of many cascades, so its factors are optimistic on the selection split.
They are also optimistic if the best cascades are selected again, with the labels of another split.
Here each cascade of a front is evaluated unchanged.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from cascadelib import Front, Point, bootstrap, pick, search
from cascadelib.analysis.uncertainty import Resampled
from tools.evidence import MOST_POINTS, Evidence, EvidenceByClaim, counts_of, evidence_on_split
from tools.ranges import range_of

SLACK = 1e-12  # of accuracies, which are shares of samples


def is_same_distribution(store: Any, other: Any) -> bool:
    """Return whether two splits are of one data set."""
    return store.origin.dataset == other.origin.dataset


@lru_cache(maxsize=2)  # outcomes are computed once for all claims
def halves(store: Any) -> tuple[Any, Any]:
    """Return every second sample of a split, and the others."""
    return store.take(slice(0, None, 2)), store.take(slice(1, None, 2))


def with_held_out_split(front: Front, other: Any) -> tuple[Front, Any]:
    """Return a front, and a split of its distribution that did not select it.

    The split is ``other`` if it is of the front's data set and has other samples. If not, one half
    of the selection split repeats the search, and the other half is the split.
    """
    store = front.store
    if is_same_distribution(store, other) and store.origin.fingerprint != other.origin.fingerprint:
        return front, other
    return with_held_out_half(front)


def with_held_out_half(front: Front) -> tuple[Front, Any]:
    """Search a front again on one half of its selection split. Return it, and the other half."""
    here, there = halves(front.store)
    return search_on(here, front), there


def search_on(split: Any, front: Front, cost: str | None = None) -> Front:
    """Repeat the search of a front on another split, or in another kind of cost.

    A method is fitted on that split.
    """
    length = int(front.table["models"].map(len).max())
    method = front.method and front.method.fit(split, front.candidates)
    options = {"models": list(front.candidates), "score": front.score}
    return search(split, length, method, cost=cost or front.cost_kind, **options)


def on_resamples(split: Any, points: Any) -> Resampled:
    """Evaluate cascades on the samples of a split (the first row), and on its resamples."""
    counts = counts_of(split)
    return bootstrap(split, points, np.column_stack([np.ones(len(split), np.int32), counts]))


def points_at_accuracies(front: Front) -> tuple[list[Point], np.ndarray]:
    """Return a front's cheapest cascades at evenly spaced accuracies, and their places, int64 [A].

    The accuracies go from the cheapest to the best single model.
    """
    accuracies = np.linspace(*range_of(front), MOST_POINTS)
    rows = np.searchsorted(front.table["accuracy"], accuracies - SLACK)
    used, places = np.unique(np.minimum(rows, len(front) - 1), return_inverse=True)
    return [front.point(row) for row in used], places


def fixed_factors(front: Front, split: Any) -> np.ndarray:
    """Return the improvement factors of a front's cascades on a split: float64 [1 + R, A].

    The columns are the cascades at evenly spaced accuracies of the front. The rows are the samples
    unchanged, then each resample. Above the best single model, the baseline has that model's cost.
    A front of one model has no range, so its factors are nan.
    """
    low, best = range_of(front)
    if not low < best:
        return np.full((2, 1), np.nan)
    points, columns = points_at_accuracies(front)
    return on_resamples(split, points).improvement[:, columns]


def summary_of_factors(front: Front, split: Any, summary: Callable) -> Evidence:
    """Return the Evidence of a summary of :func:`fixed_factors`, a function of their rows."""
    values = np.array([summary(row) for row in fixed_factors(front, split)])
    return evidence_on_split(values, split, front.cost_kind)


def pairs_held_out(front: Front, other: Any) -> EvidenceByClaim:
    """Return the evidence on a front of pairs that a split of its distribution evaluates.

    best-for-less has three parts. Two are the accuracy of the pair that matches the best single
    model, minus the accuracy of that model, and minus that of random routing between single models
    at the cost of the pair. The third is the share of the model's cost that the pair saves.
    """
    front, split = with_held_out_split(front, other)
    matching = pick(front, "near_best", caution=0)
    drawn = on_resamples(split, [front.reference, matching, front.point(len(front) - 1)])
    best, match, top = drawn.accuracy.T
    saved = 1 - drawn.cost[:, 1] / drawn.cost[:, 0]
    routing = []  # accuracies of random routing between single models, at the cost of the pair
    for baseline, cost in zip(drawn.baselines, drawn.cost[:, 1]):
        hull = baseline.hull
        routing.append(np.interp(cost, baseline.cost[hull], baseline.accuracy[hull]))
    values = {
        "pairs-top": top - best,
        "best-for-less": np.column_stack([match - best, match - routing, saved]),
    }
    cost = front.cost_kind
    found = {name: evidence_on_split(value, split, cost) for name, value in values.items()}
    return found | {"pairs-improve": summary_of_factors(front, split, np.median)}


def lowest_tenth(factors: np.ndarray) -> float:
    """Return the factor that nine tenths of the factors exceed."""
    return float(np.quantile(factors, 0.1))
