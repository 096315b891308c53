"""All twelve methods × all pairs and triples, from logits on disk to fronts (paper, figures 3 and
8); markets.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from fitted import fitted
from measuring import LONG, RUNS, alone, median, row, seconds

from cascadelib import METHODS, LogitStore, Method, ScoreTable, evaluate, pick, search

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


DOLLARS = {  # budgets for 10,000 queries
    "rafdb": (2.5, 5, 7.5, 10, 15),
    "ferplus": (2.5, 5, 7.5, 10, 15),
    "digit": (12.5, 20, 25, 37.5, 50),
    "waimai": (0.375, 0.75, 1.5, 2.5, 3.5),
}


def markets(quick: bool = False) -> list[dict]:
    """Fitted confidences on FrugalML's markets, from the tables in the folder FRUGALML: accuracy at
    budgets on the half that did not choose, the mean of five draws. Targets: what FrugalML
    publishes (RAFDB); else, what the given confidences have there.
    """
    table: list[dict] = []
    if "FRUGALML" not in os.environ:
        return table
    folder = Path(os.environ["FRUGALML"])
    published = (
        pd.read_csv(folder / "rafdb-published-curve.csv").groupby("budget")["accuracy"].mean()
    )
    names = {"model": "service", "cost": "price", "label": "label", "prediction": "prediction"}
    methods = (None, Method(confidence="isotonic_by_label"))
    for market, budgets in DOLLARS.items():
        scores = ScoreTable.from_frame(folder / f"{market}.parquet", **names)
        held = []
        for seed in range(1 if quick else 5):
            order = np.random.default_rng(seed).permutation(len(scores))
            choose = scores.take(order[: len(order) // 2])
            judge = scores.take(order[len(order) // 2 :])
            for method in methods:
                front = search(choose, (1, 2, 3), method)
                held.append(
                    [
                        evaluate(judge, pick(front, budget=b / 1e4, caution=0)).accuracy
                        for b in budgets
                    ]
                )
        given, fitted = np.reshape(held, (-1, 2, len(budgets))).mean(axis=0)
        for budget, before, after in zip(budgets, given, fitted):
            reach = before
            whose = "given confidences"
            if market == "rafdb":
                reach = np.interp(budget, published.index, published)
                whose = "published"
            what = (
                f"{market}, ${budget:g} for 10,000: isotonic by label, held out "
                f"(given confidences {before:.4f})"
            )
            table.append(row(what, after, "accuracy", f"≥ {reach:.4f} {whose}"))
    return table


def long_frame(samples: int, seed: int = 0) -> pd.DataFrame:
    """A long table of four models, shuffled, codes as labels: 4 × samples rows."""
    rng = np.random.default_rng(seed)
    codes = np.array([f"{code:02d}" for code in range(12)])
    frame = pd.DataFrame(
        {
            "sample": np.tile([f"q{row:07d}" for row in range(samples)], 4),
            "model": np.repeat(["a", "b", "c", "d"], samples),
            "label": np.tile(rng.choice(codes, samples), 4),
            "prediction": rng.choice(codes, 4 * samples),
            "confidence": rng.random(4 * samples),
            "cost": np.repeat([0.0, 1.0, 2.0, 3.0], samples),
        }
    )
    return frame.sample(frac=1, random_state=seed)


def tables(quick: bool = False) -> list[dict]:
    """Growth of the time to read tables of scores with their rows, from a frame and from CSV."""
    names = {"label": "label", "prediction": "prediction"}
    found = []
    for samples in (10_000, 20_000) if quick else (250_000, 500_000, 1_000_000):
        frame = long_frame(samples)
        target = "≤ 6 s" if samples == 1_000_000 else ""
        for missing, rows in (("refuse", frame), ("drop", frame.iloc[1:])):
            spent, _ = seconds(
                lambda rows=rows, missing=missing: ScoreTable.from_frame(
                    rows, missing=missing, **names
                ),
                RUNS,
            )
            what = f"from_frame, {samples:,} samples of 4 models, missing={missing!r}, processor"
            found.append(row(what, spent.cpu, "s", target, spent.cpu, spent.runs))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "t.csv")
            frame.to_csv(path, index=False)
            spent, _ = seconds(lambda path=path: ScoreTable.from_frame(path, **names), RUNS)
        what = f"from_frame, {samples:,} samples of 4 models, CSV, processor"
        found.append(row(what, spent.cpu, "s", "", spent.cpu, spent.runs))
    return found


JOBS = {"fitted": fitted, "methods": methods, "markets": markets, "tables": tables}
