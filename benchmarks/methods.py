"""All twelve methods × all pairs and triples, from logits on disk to fronts (paper, figures 3 and 8)."""

import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import alone, row

from cascadelib import METHODS, LogitStore, search

MODELS, SAMPLES, CLASSES = 27, 50_000, 1_000


def write_store(path, models=MODELS, samples=SAMPLES, classes=CLASSES, seed=0):
    """A store of seeded logits: top-1 from about 66% to 88.6%, errors shared between models, four orders of MACs."""
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


def compile_kernels():
    """Let numba compile outside the measured time."""
    rng = np.random.default_rng(0)
    logits = {f"model {m}": rng.normal(size=(200, 20)) for m in range(3)}
    store = LogitStore.from_arrays(rng.integers(0, 20, 200), logits, macs=dict(zip(logits, (1.0, 2.0, 3.0))))
    for method in METHODS.values():
        search(store, (2, 3), method.fit(store))


def timed(path):
    """[(method, seconds, front points)] of every method over all pairs and triples of the store at ``path``."""
    compile_kernels()
    store, rows = LogitStore(path), []
    for name, method in METHODS.items():
        begun = time.perf_counter()
        front = search(store, (2, 3), method.fit(store))
        rows.append((name, time.perf_counter() - begun, len(front)))
    return rows


def methods(quick=False):
    """Rows of the table; the store is written first and not timed. Needs 5.4 GB of disk when not quick."""
    models, samples, classes = (8, 2_000, 100) if quick else (MODELS, SAMPLES, CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder) / "store", models, samples, classes)
        rows, peak = alone(timed, Path(folder) / "store")
    what = f"{models} models × {samples:,} × {classes:,} logits on disk"
    total = sum(seconds for _, seconds, _ in rows)
    table = [(f"12 methods, all pairs and triples, {what}", total, "s", "≤ 360"), ("… peak memory", peak, "GiB", "≤ 8")]
    table += [(f"… {name} ({points} points)", seconds, "s", "") for name, seconds, points in rows]
    return [row(*values) for values in table]


JOBS = {"methods": methods}
