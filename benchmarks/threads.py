"""Stress: how many of many default searches differ from one on a single thread, point by point (none should).

Scores of two kinds: uniform at random (many points, found in many orders) and those of ``synthetic``. Searches run with
as many threads as there are cores, and with eight.
"""

import os
from unittest.mock import patch

import numpy as np
from synthetic import scores

from cascadelib.fronts.exact import search_arrays

FIELDS = ("accuracy", "cost", "models", "thresholds", "exit_rates")


def uniform(models, samples, seed=0):
    """(correct, confidence, cost) as ``scores`` gives them, of chance alone."""
    rng = np.random.default_rng(seed)
    correct = rng.random((models, samples)) < np.linspace(0.5, 0.9, models)[:, None]
    return correct, rng.random((models, samples)), np.sort(rng.uniform(1, 100, models))


def differing(table, n_models, runs, threads):
    """Of so many runs with so many threads, how many differ from a run with one."""
    with patch("os.cpu_count", return_value=1):
        alone = search_arrays(*table, n_models)
    with patch("os.cpu_count", return_value=threads):
        found = (search_arrays(*table, n_models) for _ in range(runs))
        return sum(any(not np.array_equal(getattr(p, f), getattr(alone, f)) for f in FIELDS) for p in found)


def run(quick=False):
    """Rows of the table; quick: a few runs."""
    kinds, rows = (("uniform", uniform), ("synthetic", scores)), []
    for models, samples, n, runs in ((18, 10_000, 2, 200), (27, 50_000, 2, 60), (12, 10_000, 3, 20)):
        runs = 3 if quick else runs
        for name, make in kinds:
            for threads in sorted({os.cpu_count() or 1, 8}):
                what = f"threads: {n} of {models}, k = {samples}, {name}, {threads} threads, {runs} runs that differ"
                measured = differing(make(models, samples), n, runs, threads)
                rows.append({"benchmark": what, "measured": measured, "unit": "runs", "target": "≤ 0"})
    return rows
