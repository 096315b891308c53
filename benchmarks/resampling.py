"""How long the bootstrap of a whole front takes: fixed cascades, baselines and improvement factors on all resamples."""

import time

from search import row
from synthetic import scores

from cascadelib import ScoreTable, bootstrap, search


def run(quick=False):
    """Rows of the benchmark table."""
    k, resamples = (1_000, 100) if quick else (10_000, 1_000)
    table = ScoreTable(*scores(18, k))
    front = search(table, 2)
    start = time.perf_counter()
    shape = bootstrap(table, front, resamples).improvement.shape
    what = f"bootstrap: {resamples:,} resamples of {shape[1]:,} fixed cascades of 18 models, k = {k:,}"
    return [row(what, time.perf_counter() - start, "s", "≤ 10")]
