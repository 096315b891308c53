"""Cascades of three models with one threshold for all stages, which cost more (section 3)."""

from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy import ndarray as Array

from cascadelib import Front
from cascadelib.analysis.shift import front_of, replay
from cascadelib.evaluation.pareto import pareto_front
from cascadelib.methods.thresholds import convert_units


def sums_below(levels: Array, confidence: Array, values: Array) -> Array:
    """Return the sum of the values [k] of the samples whose confidence [k] is below each level."""
    order = confidence.argsort()
    sums = np.append(0, values[order].cumsum())
    return sums[np.searchsorted(confidence[order], levels)]


def shared_threshold_front(three: Front) -> Front:
    """Return the exact front of three models with one threshold, of the candidates of a front.

    three: a front of three models whose methods judge one model at a time. A threshold is a
    confidence that occurs. The first models of a cascade are cheaper than the next ones.
    """
    costs = three.singles.loc[list(three.candidates), "cost"].sort_values()
    names = costs.index
    outcome = three.store.outcome(list(names), three.method, three.score)
    single = [outcome((number,)) for number in range(len(names))]
    correct, confidence = (np.array(part, float) for part in zip(*single))
    ones = np.ones(len(three.store))
    chains = list(combinations(range(len(names)), 3))
    found = np.empty((4, 0))  # costs, correct answers, numbers of chains, thresholds
    for number, chain in enumerate(chains):
        first, second, _ = confidence[[*chain]]
        reached = np.maximum(first, second)  # below it, a sample reaches the third model
        levels = np.append(np.unique([first, reached]), np.inf)
        same = np.ones(len(levels))
        shares = [len(ones) * same]
        answered = correct[chain[0]].sum() * same
        for each, step in zip((first, reached), np.diff(correct[[*chain]], axis=0)):
            shares.append(sums_below(levels, each, ones))
            answered += sums_below(levels, each, step)
        total = costs.to_numpy()[[*chain]] @ shares
        found = np.hstack([found, [total, answered, number * same, levels]])
        found = found[:, pareto_front(*found[:2])]
    point = max(three.cascades, key=lambda point: len(point.models))
    points = []
    for number, level in found[2:].T:
        models = tuple(names[[*chains[int(number)]]])
        threshold = float(convert_units(point.metric, level))
        points.append(replace(point, models=models, thresholds=(threshold, threshold)))
    return front_of(three.store, three, replay(three.store, points))
