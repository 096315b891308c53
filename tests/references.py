"""Slow and obvious reference implementations, with which tests compare the library."""

import math
from itertools import permutations, product

import numpy as np


def single_cascade(outcomes, thresholds, costs):
    """Return the correct samples, cost and exit stages of a cascade, sample by sample.

    This is algorithm 1 of the paper.
    """
    k = len(outcomes[0][0])
    stages = []
    correct = 0
    cost = 0.0
    for j in range(k):
        for i in range(len(outcomes)):
            cost += costs[i]
            if i == len(outcomes) - 1 or outcomes[i][1][j] >= thresholds[i]:
                stages.append(i)
                correct += outcomes[i][0][j]
                break
    return correct, cost / k, stages


def slow_stages(confidences, thresholds):
    """Return the exit stage of each sample: the first one whose threshold it reaches.

    At −inf all samples exit, at inf none, whatever their confidences.
    """
    stages = []
    for scores in zip(*confidences):
        stage = 0
        while stage < len(thresholds):
            is_confident = scores[stage] >= thresholds[stage] and thresholds[stage] < np.inf
            if is_confident or thresholds[stage] == -np.inf:
                break
            stage += 1
        stages.append(stage)
    return stages


def slow_confidence(logits, metric):
    """Return the confidence of one sample from its logits / T, higher = more confident."""
    z = sorted(map(float, logits), reverse=True)
    odds = [math.exp(value - z[0]) for value in z]
    p = [each / sum(odds) for each in odds]
    second = (p + [0.0])[1]
    return {
        "max_softmax": p[0],
        "softmax_margin": p[0] - second,
        "entropy": sum(each * math.log(each) for each in p if each > 0),
        "logits_margin": z[0] - (z + [0.0])[1],
        "top2_softmax_sum": p[0] + second,
    }[metric]


def slow_output(logits, metric, ensemble):
    """Return the class and the confidence of one sample, from the logits / T of each model."""
    answers = [(int(np.argmax(z)), slow_confidence(z, metric)) for z in logits]
    if len(answers) == 1 or ensemble == "none":
        return answers[-1]
    if ensemble == "most_confident":
        return max(answers, key=lambda answer: answer[1])  # the first of equal ones
    if ensemble == "mean_softmax":
        p = np.exp(logits - np.max(logits, axis=1, keepdims=True))
        mean = np.log(np.mean(p / p.sum(axis=1, keepdims=True), axis=0))
    else:
        mean = np.mean(logits, axis=0)
    return int(np.argmax(mean)), slow_confidence(mean, metric)


def all_thresholds(confidence):
    """Return one threshold for each split of the samples. Equal confidences stay together."""
    values = np.unique(confidence)
    return [np.inf, *values[::-1]]


def every_exit(confidence, cost, lengths):
    """Yield the models and the exit stage of each sample, for all cascades and thresholds."""
    for n in (lengths,) if isinstance(lengths, int) else lengths:
        for models in permutations(range(len(cost)), n):
            costs = [cost[m] for m in models]
            if costs == sorted(costs):
                own = [confidence[m] for m in models[:-1]]
                for limits in product(*map(all_thresholds, own)):
                    yield list(models), slow_stages(own, limits) or [0] * len(confidence[0])


def segment_range(outcomes, low, high, costs):
    """Return [(correct [k], cost)] of a pair for each set of samples that exits.

    Thresholds are from ``low`` to ``high``.
    """
    confidence = outcomes[0][1]
    found = {}
    for t in [low, high, *np.unique(confidence)]:
        if low <= t <= high:
            _, cost, stages = single_cascade(outcomes, [t], costs)
            correct = np.array([outcomes[stage][0][j] for j, stage in enumerate(stages)])
            found[tuple(stages)] = correct, cost
    return list(found.values())


def non_dominated(best):
    """Return the entries {correct samples: least cost} that no other entry dominates."""
    front = {}
    least = np.inf
    for correct in sorted(best, reverse=True):
        if best[correct] < least * (1 - 1e-12):
            front[int(correct)] = least = best[correct]
    return dict(sorted(front.items()))


def brute_front(stage, cost, lengths, is_shared=False):
    """Return {correct samples: least cost} of all cascades and thresholds, non-dominated.

    is_shared: all models of a cascade have the same threshold.
    """
    best = {}
    for n in lengths:
        for cascade in permutations(range(len(cost)), n):
            costs = [cost[m] for m in cascade]
            if any(a > b for a, b in zip(costs, costs[1:], strict=False)):
                continue
            outcomes = [stage(cascade[: i + 1]) for i in range(n)]
            confidences = [confidence for _, confidence in outcomes[:-1]]
            tried = product(*map(all_thresholds, confidences))
            if is_shared:
                tried = ([t] * (n - 1) for t in all_thresholds(np.concatenate(confidences)))
            for thresholds in tried:
                correct, total, _ = single_cascade(outcomes, thresholds, costs)
                best[correct] = min(best.get(correct, np.inf), total)
    return non_dominated(best)


def shared_front(stage, cost, n):
    """Return {correct samples: least cost} of cascades of n models with one shared threshold."""
    return brute_front(stage, cost, (n,), is_shared=True)


def last_of(correct, confidence):
    """Return the stage function without ensembling, which uses the last model of a prefix."""
    return lambda prefix: (correct[prefix[-1]], confidence[prefix[-1]])


def as_dict(points, k):
    """Return {correct samples: cost} of the points of a search on k samples."""
    return {round(a * k): c for a, c in zip(points.accuracy, points.cost, strict=True)}


def least_cost_at(points, accuracy):
    """Return the least cost of the (cost, accuracy) points with at least this accuracy."""
    return min((cost for cost, reached in points if reached >= accuracy), default=np.inf)


def highest_accuracy_at(points, cost):
    """Return the highest accuracy of the (cost, accuracy) points with at most this cost."""
    return max((reached for paid, reached in points if paid <= cost), default=-np.inf)


def intervals(low, high, values):
    """Return (start, end, midpoint) of the intervals into which values divide low to high."""
    ends = sorted({low, high, *(value for value in values if low < value < high)})
    return [(start, end, (start + end) / 2) for start, end in zip(ends, ends[1:])]


def prize_shares(scores):
    """Return the share of each score in a prize that the highest scores divide equally.

    Nobody has a share if all scores are −inf.
    """
    best = max(scores)
    if best == -np.inf:
        return [0.0] * len(scores)
    return [(score == best) / scores.count(best) for score in scores]


def slow_dominance(fronts, baseline):
    """Return [(accuracy_dominance, cost_dominance)] of fronts, lists of (cost, accuracy).

    Each interval between two of their points is evaluated separately.
    """
    lowest, *_, highest = baseline
    in_accuracy = [0.0] * len(fronts)
    in_cost = [0.0] * len(fronts)
    steps = [point for front in fronts for point in front]
    for start, end, between in intervals(lowest[1], highest[1], [a for _, a in steps]):
        for i, part in enumerate(
            prize_shares([-least_cost_at(front, between) for front in fronts])
        ):
            in_accuracy[i] += part * (end - start) / (highest[1] - lowest[1])
    for start, end, between in intervals(lowest[0], highest[0], [c for c, _ in steps]):
        for i, part in enumerate(
            prize_shares([highest_accuracy_at(front, between) for front in fronts])
        ):
            in_cost[i] += part * np.log(end / start) / np.log(highest[0] / lowest[0])
    return list(zip(in_accuracy, in_cost))


def slow_cost_ratio(first, second, baseline):
    """Return the geometric mean of the second cost ÷ the first, interval by interval."""
    low = baseline[0][1]
    high = min(first[-1][1], second[-1][1], baseline[-1][1])
    total = 0.0
    for start, end, between in intervals(low, high, [a for _, a in first + second]):
        ratio = least_cost_at(second, between) / least_cost_at(first, between)
        total += (end - start) * np.log(ratio)
    return np.exp(total / (high - low)) if low < high else np.nan
