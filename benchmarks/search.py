"""Exact search at the paper's scale beside a literal numpy version of the paper's recipe (section 3, *Evaluation*)."""

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from synthetic import scores

from cascadelib.evaluation.pareto import pareto_front
from cascadelib.fronts.exact import search_arrays


def seconds(function, repeats=1):
    """(least seconds over repeats, last result)."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def recipe_pair(correct, confidence, cost, a, b):
    """(cost, accuracy) of one pair at its boundaries: a k × 3 array, sorted, two cumulative sums.

    Boundaries between equal confidences are left out: no threshold gives them.
    """
    table = np.stack([confidence[a], correct[a], correct[b]], axis=1)
    table, k = table[np.argsort(table[:, 0])], len(table)
    second = np.concatenate([[0], np.cumsum(table[:, 2])])  # passes on: the least confident
    first = np.concatenate([np.cumsum(table[::-1, 1])[::-1], [0]])
    real = np.concatenate([[True], np.diff(table[:, 0]) != 0, [True]])
    return (cost[a] + cost[b] * np.arange(k + 1) / k)[real], ((first + second) / k)[real]


def recipe_triple(correct, confidence, cost, triple, every=10):
    """(cost, accuracy) of one triple: first thresholds at every tenth boundary, the rest as a pair on what is left."""
    a, b, c = triple
    k, order, costs, accuracies = correct.shape[1], np.argsort(confidence[a]), [], []
    for passed in range(0, k + 1, every):
        left = order[:passed]
        if 0 < passed < k and confidence[a, order[passed - 1]] == confidence[a, order[passed]]:
            continue  # within a tie
        there, right = recipe_pair(correct[:, left], confidence[:, left], cost, b, c) if passed else (np.zeros(1),) * 2
        costs.append(cost[a] + there * passed / k)
        accuracies.append((right * passed + correct[a, order[passed:]].sum()) / k)
    costs, accuracies = np.concatenate(costs), np.concatenate(accuracies)
    keep = pareto_front(costs, accuracies)
    return costs[keep], accuracies[keep]


def recipe_pairs(correct, confidence, cost):
    """The global front of all pairs by the recipe: (cost, accuracy)."""
    parts = [recipe_pair(correct, confidence, cost, a, b) for a, b in combinations(range(len(cost)), 2)]
    costs, accuracies = (np.concatenate(part) for part in zip(*parts, strict=True))
    keep = pareto_front(costs, accuracies)
    return costs[keep], accuracies[keep]


def worst_ratio(points, costs, accuracies):
    """Largest cost of the points ÷ cost of other points of no greater accuracy: ≤ 1 where never worse."""
    own = np.append(points.cost, np.inf)[np.searchsorted(points.accuracy, accuracies - 1e-9)]
    return float((own / costs).max())


def alone(function, *arguments):
    """(result of a function in a fresh process, the most memory it held: GiB resident, mapped files included)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(with_peak, function, arguments).result()


def with_peak(function, arguments):
    """What :func:`alone` runs there. Linux counts a parent's peak into ``ru_maxrss``, so VmHWM comes first."""
    result, status = function(*arguments), Path("/proc/self/status")
    if status.exists():
        return result, int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**20
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def only_triples(models, samples):
    """All triples, for the memory that they take."""
    search_arrays(*scores(models, samples), 3)


def row(benchmark, measured, unit, target=""):
    return {"benchmark": benchmark, "measured": measured, "unit": unit, "target": target}


def pairs(table):
    own, points = seconds(lambda: search_arrays(*table, 2), 3)
    recipe, front = seconds(lambda: recipe_pairs(*table))
    m, k = table[0].shape
    return [
        row(f"search: pairs of {m}, k = {k}, every threshold", own, "s", "≤ 0.5"),
        row("search: pairs, the paper's recipe in numpy", recipe, "s"),
        row("search: pairs, worst cost beside the recipe's front", worst_ratio(points, *front), "×", "≤ 1.000000001"),
    ]


def triples(table, sample):
    own, points = seconds(lambda: search_arrays(*table, 3), 2)
    m, k = table[0].shape
    listed = list(combinations(range(m), 3))
    chosen = [listed[i] for i in np.random.default_rng(0).choice(len(listed), sample, replace=False)]
    spent, fronts = seconds(lambda: [recipe_triple(*table, triple) for triple in chosen])
    scaled = spent * len(listed) / sample
    worst = max(worst_ratio(points, *front) for front in fronts)
    memory = alone(only_triples, m, k)[1]
    name = f"every tenth threshold in numpy (scaled from {sample} triples)"
    return [
        row(f"search: triples of {m}, k = {k}, every threshold", own, "s", "≤ 5"),
        row("search: triples, peak memory of a process that does only this", memory, "GiB", "≤ 2"),
        row(f"search: triples, {name}", scaled, "s"),
        row("search: triples, times faster than that", scaled / own, "×", "≥ 300"),
        row("search: triples, worst cost beside those fronts", worst, "×", "≤ 1.000000001"),
    ]


def quadruples(table, time_limit=600):
    own, points = seconds(lambda: search_arrays(*table, 4, tolerance=0.01, time_limit=time_limit))
    m, k = table[0].shape
    return [
        row(f"search: quadruples of {m}, k = {k}, until a gap of 1% or {time_limit} s", own, "s", "≤ 620"),
        row("search: quadruples, certified gap in cost at every accuracy", 100 * points.gap.max(), "%", "≤ 1"),
    ]


def growth(sizes, models, n):
    """Seconds of exact searches of n models against the number of samples and of models."""
    rows = [
        row(f"search: {n} of 27, k = {k}", seconds(lambda k=k: search_arrays(*scores(27, k), n))[0], "s") for k in sizes
    ]
    for m in models:
        table = scores(m, 20_000)
        rows.append(row(f"search: {n} of {m}, k = 20000", seconds(lambda t=table: search_arrays(*t, n))[0], "s"))
    return rows


def run(quick=False):
    """Rows of the table; quick: small sizes."""
    compile_kernels()
    table = scores(8, 2000) if quick else scores()
    return pairs(table) + triples(table, 5 if quick else 3)


def compile_kernels():
    """Let numba compile outside the measured time."""
    small = scores(5, 400)
    for n in (2, 3):
        search_arrays(*small, n)
