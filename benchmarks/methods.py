"""All twelve methods × all pairs and triples, from logits on disk to fronts (paper, figures 3 and
8).
"""

import tempfile
from pathlib import Path

import numpy as np
from fitted import fitted
from measuring import LONG, RUNS, alone, median, row, seconds

from cascadelib import METHODS, LogitStore, search

MODELS = 27
SAMPLES = 50_000
CLASSES = 1_000


def write_store(
    path: Path, models: int = MODELS, samples: int = SAMPLES, classes: int = CLASSES, seed: int = 0
) -> LogitStore:
    """A store of seeded logits: top-1 from about 66% to 88.6%, errors shared between models, four
    orders of MACs.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    store = LogitStore.create(path, labels, dataset="synthetic", split="val")
    ease = rng.normal(0, 4.5, samples).astype(np.float32)
    rival = (labels + rng.integers(1, classes, samples)) % classes
    for m in range(models):
        logits = rng.standard_normal((samples, classes), np.float32)
        strength = 2.0 + 3.4 * m / max(1, models - 1)
        rows = np.arange(samples)
        own = strength + ease + rng.normal(0, 1.5, samples).astype(np.float32)
        logits[rows, labels] += 5 + own
        logits[rows, rival] += 5
        store.add(f"model {m:02}", logits, macs=float(3e7 * 10 ** (4 * m / max(1, models - 1))))
    return store


def compile_kernels() -> None:
    """Let numba compile outside the measured time."""
    rng = np.random.default_rng(0)
    logits = {f"model {m}": rng.normal(size=(200, 20)) for m in range(3)}
    store = LogitStore.from_arrays(
        rng.integers(0, 20, 200), logits, macs=dict(zip(logits, (1.0, 2.0, 3.0)))
    )
    for method in METHODS.values():
        search(store, (2, 3), method.fit(store))


def timed(path: Path, runs: int) -> list[tuple]:
    """Return [(method, seconds, front points)] of every method over all pairs and triples.

    The store at ``path`` is reopened for each run of the twelve methods.
    """
    compile_kernels()
    times: dict[str, list] = {name: [] for name in METHODS}
    points = {}
    for _ in range(runs):
        store = LogitStore(path)
        for name, method in METHODS.items():
            spent, front = seconds(
                lambda method=method, store=store: search(store, (2, 3), method.fit(store))
            )
            times[name].append((spent, spent.cpu))
            points[name] = len(front)
        if sum(each[-1][0] for each in times.values()) > LONG:
            break
    return [(name, median(times[name]), points[name]) for name in METHODS]


def methods(quick: bool = False) -> list[dict]:
    """Rows of the table; the store is written first and not timed.

    Needs 5.4 GB of disk when not quick.
    """
    models, samples, classes, runs = (
        (8, 2_000, 100, 1) if quick else (MODELS, SAMPLES, CLASSES, RUNS)
    )
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder) / "store", models, samples, classes)
        rows, peak = alone(timed, Path(folder) / "store", runs)
    what = f"{models} models × {samples:,} × {classes:,} logits on disk"
    total = sum(float(spent) for _, spent, _ in rows)
    cpu = sum(spent.cpu for _, spent, _ in rows)
    return [
        row(
            f"12 methods, all pairs and triples, {what}",
            total,
            "s",
            "≤ 60",
            cpu=cpu,
            runs=rows[0][1].runs,
        ),
        row("… peak memory", peak, "GiB", "≤ 4"),
        *(row(f"… {name} ({points} points)", spent, "s") for name, spent, points in rows),
    ]


JOBS = {"fitted": fitted, "methods": methods}
