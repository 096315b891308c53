"""Measure exact search at the paper's scale, relative to a literal numpy version of its recipe.

The recipe is in section 3, *Evaluation*. Further jobs measure large tables, the
remaining gap of four models, whether threads change any point, and the time of a first search.
"""

import os
import subprocess
import sys
import time
from itertools import combinations
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
from measuring import RUNS, Seconds, alone, median, row, seconds
from recipes import peers, recipe_pairs, recipe_triple
from synthetic import KINDS, Table, listed_scores, scores

from cascadelib import ScoreTable
from cascadelib import search as search_store
from cascadelib.fronts.exact import compile_searches, search_arrays

TUPLES = {2: "pairs", 3: "triples", 4: "quadruples"}


def compile_kernels() -> None:
    """Compile numba's kernels outside the measured time."""
    small = scores(5, 400)
    for n in (2, 3):
        search_arrays(*small, n)


def search(quick: bool = False) -> list[dict]:
    """Return rows of all pairs and all triples of both kinds of models, and of the paper's recipe.

    quick: small sizes.
    """
    compile_kernels()
    size = (8, 2000) if quick else (27, 50_000)
    tables = {kind: make(*size) for kind, make in KINDS.items()}
    rows = []
    for n, targets in ((2, ("≤ 0.045", "≤ 0.07")), (3, ("≤ 0.65", ""))):
        rows += by_kind(tables, n, *targets)
    table = scores(*size)
    return rows + beside_pairs(table) + beside_triples(table, 5 if quick else 3)


def by_kind(tables: dict[str, Table], n: int, within: str, processor: str) -> list[dict]:
    """Return rows of exact searches of n models, with the kinds in turns."""
    m, k = next(iter(tables.values()))[0].shape
    rows = []
    for kind, found in in_turns(tables, n).items():
        what = f"search: {TUPLES[n]} of {m}, k = {k}, every threshold, {kind}"
        rows.append(row(what, found, "s", within))
        rows.append(row(f"{what}: processor time", found.cpu, "s", processor, runs=found.runs))
    return rows


def in_turns(tables: dict[str, Table], n: int) -> dict[str, Seconds]:
    """Return :class:`Seconds` of exact searches of n models in each table."""
    runs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in tables}
    for _ in range(repeats_of(n)):
        for kind, table in tables.items():
            spent = seconds(lambda table=table: search_arrays(*(*table, n)))[0]
            runs[kind].append((spent, spent.cpu))
    return {kind: median(found) for kind, found in runs.items()}


def repeats_of(n: int) -> int:
    """Return the number of runs of a search of n models. Pairs are short and vary."""
    return 4 * RUNS if n == 2 else RUNS


def beside_pairs(table: Table) -> list[dict]:
    """Return rows of the paper's recipe of pairs."""
    points = search_arrays(*table, 2)
    store = ScoreTable(*table)
    called = seconds(lambda: search_store(store, 2), repeats_of(2))[0]
    recipe, front = seconds(lambda: recipe_pairs(*table), RUNS)
    return [
        row("search: pairs, cl.search of a ScoreTable", called, "s", "≤ 0.05"),
        row("search: pairs, the paper's recipe in numpy", recipe, "s"),
        row(
            "search: pairs, worst cost beside the recipe's front",
            worst_ratio(points, *front),
            "×",
            "≤ 1.000000001",
        ),
    ]


def beside_triples(table: Table, sample: int) -> list[dict]:
    """Return rows of the paper's recipe of some triples, and of the memory of all triples."""
    own, points = seconds(lambda: search_arrays(*table, 3))
    m, k = table[0].shape
    listed = list(combinations(range(m), 3))
    chosen = [
        listed[i] for i in np.random.default_rng(0).choice(len(listed), sample, replace=False)
    ]
    spent, fronts = seconds(lambda: [recipe_triple(*table, *triple)[:2] for triple in chosen], RUNS)
    scaled = spent * len(listed) / sample
    scaled_cpu = spent.cpu * len(listed) / sample
    worst = max(worst_ratio(points, *front) for front in fronts)
    memory = alone(only, m, k, 3)[1]
    name = f"every tenth threshold in numpy (scaled from {sample} triples)"
    return [
        row("search: triples, peak memory of a process that does only this", memory, "GiB", "≤ 2"),
        row(f"search: triples, {name}", scaled, "s", cpu=scaled_cpu, runs=spent.runs),
        row("search: triples, times faster than that", scaled / own, "×", "≥ 300"),
        row("search: triples, worst cost beside those fronts", worst, "×", "≤ 1.000000001"),
    ]


def only(models: int, samples: int, n: int) -> None:
    """Run one search, to measure its memory."""
    search_arrays(*scores(models, samples), n)


def worst_ratio(points: Any, costs: np.ndarray, accuracies: np.ndarray) -> float:
    """Return the largest cost ratio to points of at most equal accuracy, ≤ 1 if never worse."""
    own = np.append(points.cost, np.inf)[np.searchsorted(points.accuracy, accuracies - 1e-9)]
    return float((own / costs).max())


def searching(table: Table, n: int) -> Any:
    """Return the seconds of an exact search of n models."""
    return seconds(lambda: search_arrays(*table, n), repeats_of(n))[0]


def of_kind(kind: str, m: int, k: int, n: int) -> Any:
    """Return the seconds of a search of n of m models on k synthetic samples, kernels compiled."""
    compile_kernels()
    return searching(KINDS[kind](m, k), n)


def scale(quick: bool = False) -> list[dict]:
    """Return rows of sizes beyond the paper's, with the memory of a process per search."""
    compile_kernels()
    rows = []
    sizes = (
        (10, 1_000_000, 2, "≤ 5", "≤ 1"),
        (60, 50_000, 3, "≤ 20", ""),
        (200, 10_000, 2, "≤ 0.7", ""),
    )
    for m, k, n, within, memory in sizes:
        m, k = (5, 2000) if quick else (m, k)
        what = f"scale: {n} of {m}, k = {k}"
        table = scores(m, k)
        took, _ = seconds(lambda n=n, t=table: search_arrays(*(*t, n)), RUNS)
        rows.append(row(what, took, "s", within))
        rows.append(row(f"{what}, peak memory", alone(only, m, k, n)[1], "GiB", memory))
    return rows


def quadruples(quick: bool = False) -> list[dict]:
    """Return rows of four models until a certified gap of 1%, of both kinds.

    Further rows have the certificates of longer cascades in ten seconds. quick: a small table.
    """
    compile_kernels()
    size = (8, 2000) if quick else (27, 50_000)
    rows = []
    for kind, make in KINDS.items():
        table = make(*size)
        what = f"search: quadruples of {size[0]}, k = {size[1]}, {kind}"
        own, points = seconds(lambda table=table: search_arrays(*(*table, 4), tolerance=0.01))
        rows += [
            row(f"{what}, until a gap of 1%", own, "s", "≤ 40"),
            row(f"{what}, certified gap", 100 * points.gap.max(), "%", "≤ 1.000000001"),
        ]
        rows += in_time(table, 4, kind, 10, "≤ 5", "≤ 50")
        for limit in (1, 2) if quick else (2.5, 5, 20, 40):
            rows += in_time(table, 4, kind, limit)
    return rows


def in_time(
    table: Table, n: int, kind: str, limit: float, median: str = "", largest: str = ""
) -> list[dict]:
    """Return rows of the certificates for cascades of n models in limited time, with targets of the
    gap."""
    what = f"search: {n} of {len(table[0])},"
    own, points = seconds(lambda: search_arrays(*(*table, n), time_limit=limit))
    gap = 100 * points.gap
    after = f"after {limit:g} s, {kind}"
    return [
        row(f"{what} time_limit={limit:g}, {kind}", own, "s"),
        row(f"{what} points {after}", len(gap), "points"),
        row(f"{what} median certified gap {after}", np.median(gap), "%", median),
        row(f"{what} largest certified gap {after}", gap.max(), "%", largest),
    ]


def limited(models: int, samples: int, limit: float, planted: int) -> dict:
    """Search triples of models like those of timm within a time limit, in this process.

    The cascades of the models of ``planted`` triples cost less than all others.
    """
    compile_searches()
    correct, confidence, cost = listed_scores(models, samples, planted=planted)
    before = time.monotonic()
    points = search_arrays(correct, confidence, cost, 3, time_limit=limit)
    late = time.monotonic() - before - limit
    cheapest = set(np.argsort(cost)[: 3 * planted].tolist())
    return {
        "late": late,
        "gap": 100 * points.gap,
        "outcomes": (correct.nbytes + confidence.nbytes) / 2**30,
        "planted": sum(set(three) <= cheapest for three in points.models.tolist()),
    }


def many_models(quick: bool = False) -> list[dict]:
    """Return rows of the triples of all models that timm lists, within a time limit."""
    m, k, limit, planted = (12, 500, 5, 1) if quick else (1_700, 50_000, 600, 5)
    found, memory = alone(limited, m, k, limit, planted)
    what = f"many models: 3 of {m}, k = {k}, {limit} s"
    return [
        row(f"{what}: time beyond the limit", found["late"], "s", f"≤ {1 + 0.1 * limit:g}"),
        row(f"{what}: median certified gap", np.median(found["gap"]), "%"),
        row(f"{what}: largest certified gap", found["gap"].max(), "%"),
        row(f"{what}: peak memory ÷ outcomes", memory / found["outcomes"], "ratio", "≤ 3"),
        row(f"{what}: points of planted models", found["planted"], "points", "≥ 5"),
    ]


def quadruples_exact(quick: bool = False) -> list[dict]:
    """Return rows of four models, every threshold, of both kinds, each in a separate process."""
    m, k = (8, 2000) if quick else (27, 50_000)
    rows = []
    for kind in KINDS:
        what = f"search: quadruples of {m}, k = {k}, {kind}, exact"
        own, memory = alone(of_kind, kind, m, k, 4)
        rows.append(row(what, own, "s", "≤ 150"))
        rows.append(row(f"{what}: peak memory", memory, "GiB", "≤ 0.6"))
    return rows


FIRST = """
import sys, cascadelib as cl
import numpy as np
with np.load(sys.argv[1]) as table:
    cl.search_arrays(table["correct"], table["confidence"], table["cost"], int(sys.argv[2]))
"""


def first_use(quick: bool = False) -> list[dict]:
    """Return rows of the first search of a fresh process, import included.

    Kernels are not compiled, or compiled by ``warm`` in another process.
    """
    correct, confidence, cost = scores(8, 2000) if quick else scores()
    rows = []
    with TemporaryDirectory() as folder:
        table = f"{folder}/table.npz"
        np.savez(table, correct=correct, confidence=confidence, cost=cost)

        def python(code: str, *arguments: Any, cache: str | None = None) -> None:
            environment = os.environ | {"NUMBA_CACHE_DIR": cache or mkdtemp(dir=folder)}
            subprocess.run(
                [sys.executable, "-c", code, table, *arguments], check=True, env=environment
            )

        m, k = correct.shape
        repeats = 1 if quick else RUNS
        warm = "import cascadelib as cl; cl.warm()"
        for n in ("2", "3"):
            name = f"first use: {n} of {m}, k = {k}, nothing compiled, import included"
            rows.append(row(name, seconds(lambda n=n: python(FIRST, n), repeats)[0], "s"))
        took = seconds(lambda: python(warm), repeats)[0]
        name = "first use: warm, nothing compiled"
        rows += [
            row(name, took, "s"),
            row(f"{name}: processor time", took.cpu, "s", "≤ 34", runs=took.runs),
        ]
        python(warm, cache=folder)
        for n, target in (("2", "≤ 1.7"), ("3", "")):
            took = seconds(lambda n=n: python(FIRST, n, cache=folder), repeats)[0]
            name = f"first use: {n} of {m}, k = {k}, after warm in another process, import included"
            rows += [
                row(name, took, "s"),
                row(f"{name}: processor time", took.cpu, "s", target, runs=took.runs),
            ]
    return rows


JOBS = {
    "first_use": first_use,
    "search": search,
    "scale": scale,
    "quadruples": quadruples,
    "quadruples_exact": quadruples_exact,
    "many_models": many_models,
    "peers": peers,
}
