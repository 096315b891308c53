"""Slow, obvious twins of the library's numbers, for the tests to compare with."""

from itertools import permutations, product

import numpy as np


def single_cascade(outcomes, thresholds, costs):
    """Correct samples, cost and exit stages of one cascade, sample by sample (paper, algorithm 1)."""
    k, stages, right, cost = len(outcomes[0][0]), [], 0, 0.0
    for j in range(k):
        for i in range(len(outcomes)):
            cost += costs[i]
            if i == len(outcomes) - 1 or outcomes[i][1][j] >= thresholds[i]:
                stages.append(i)
                right += outcomes[i][0][j]
                break
    return right, cost / k, stages


def all_thresholds(sure):
    """One threshold for each way to split the samples without parting equal confidences."""
    values = np.unique(sure)
    return [np.inf, *values[::-1]]


def segment_range(outcomes, low, high, costs):
    """[(right [k], cost)] of a pair at all thresholds ``low`` … ``high``, one for each set of samples that leaves."""
    sure, found = outcomes[0][1], {}
    for t in [low, high, *np.unique(sure)]:
        if low <= t <= high:
            _, cost, stages = single_cascade(outcomes, [t], costs)
            right = np.array([outcomes[stage][0][j] for j, stage in enumerate(stages)])
            found[tuple(stages)] = right, cost
    return list(found.values())


def non_dominated(best):
    """Of {correct samples: least cost} those that no entry with more correct samples undercuts."""
    front, least = {}, np.inf
    for right in sorted(best, reverse=True):
        if best[right] < least * (1 - 1e-12):
            front[int(right)] = least = best[right]
    return dict(sorted(front.items()))


def brute_front(stage, cost, lengths):
    """{correct samples: least cost} of the non-dominated cascades, by trying every model and threshold."""
    best = {}
    for n in lengths:
        for cascade in permutations(range(len(cost)), n):
            costs = [cost[m] for m in cascade]
            if any(a > b for a, b in zip(costs, costs[1:], strict=False)):
                continue
            outcomes = [stage(cascade[: i + 1]) for i in range(n)]
            for thresholds in product(*(all_thresholds(sure) for _, sure in outcomes[:-1])):
                right, total, _ = single_cascade(outcomes, thresholds, costs)
                best[right] = min(best.get(right, np.inf), total)
    return non_dominated(best)


def shared_front(stage, cost, n):
    """{correct samples: least cost} of the non-dominated cascades of n models with one threshold for all stages."""
    best = {}
    for cascade in permutations(range(len(cost)), n):
        costs = [cost[m] for m in cascade]
        if any(a > b for a, b in zip(costs, costs[1:], strict=False)):
            continue
        outcomes = [stage(cascade[: i + 1]) for i in range(n)]
        for t in all_thresholds(np.concatenate([sure for _, sure in outcomes[:-1]])):
            right, total, _ = single_cascade(outcomes, [t] * (n - 1), costs)
            best[right] = min(best.get(right, np.inf), total)
    return non_dominated(best)


def last_of(correct, sure):
    """The stage function without ensembling: only the last model of a prefix counts."""
    return lambda prefix: (correct[prefix[-1]], sure[prefix[-1]])


def as_dict(points, k):
    """{correct samples: cost} of the points of a search of k samples."""
    return {round(a * k): c for a, c in zip(points.accuracy, points.cost, strict=True)}
