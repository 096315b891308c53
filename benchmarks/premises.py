"""Do the tests of premises find rows of different samples and samples that two splits share, and do
sound tables pass?

*rows*: the bundled stores and the tables in the folder that the environment variable ``SCORES``
names (parquet files: a row per sample and service, or a column of truth values per model), as they
are and with the correctness of one model moved by one row or shuffled. Synthetic correctness of M
models has a common difficulty, accuracies from 70% to 90% and a mean correlation φ.

*likeness*: synthetic confidences of M models, as they are, rounded, on a grid, or repeated within a
split, on independent splits and on splits that share samples. The bundled stores likewise.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import RUNS, row, seconds
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from cascadelib import LogitStore
from cascadelib.guarantees.likeness import likeness
from cascadelib.store.aligned_rows import aligned_rows

DATA = Path(__file__).resolve().parents[1] / "data"
MODELS = (2, 3, 5, 8, 14)
CORRELATIONS = (0.15, 0.2, 0.3, 0.4)
SAMPLES = (250, 350, 500, 700, 1000, 1400, 2000, 2800, 4000, 5000, 7000, 10_000)
ENOUGH = 5000  # samples that find one model out of step
SPLITS = (200, 500, 2000, 10_000, 50_000)
CHANGES = ("rounded to 4 digits", "noise 1e-4", "noise 1e-3")
TREATMENTS = ("none", "2 digits", "4 digits", "float16", "bytes", "votes", "twice", "common value")


def share_of(found: list[bool]) -> float:
    """Return the share of true values."""
    return float(np.mean(found))


def tables() -> Iterator[tuple[str, np.ndarray]]:
    """Return name and correctness [M, k] of each bundled store and each table of the folder
    SCORES."""
    for path in sorted(DATA.rglob("manifest.json")):
        store = LogitStore(path.parent)
        correct = [store.predicted(name) == store.labels for name in store.models.index]
        yield str(path.parent.relative_to(DATA)), np.array(correct)
    for path in sorted(Path(os.environ.get("SCORES", ".no-folder")).rglob("*.parquet")):
        frame = pd.read_parquet(path)
        if "service" in frame:
            wide = frame.pivot(index="sample", columns="service", values="correct")
            yield path.stem, wide.loc[frame["sample"].unique()].to_numpy(bool).T
        elif frame.select_dtypes(bool).shape[1] > 1:
            yield path.stem, frame.select_dtypes(bool).to_numpy().T


def out_of_step(correct: np.ndarray, rng: np.random.Generator, shuffled: bool) -> bool:
    """Whether the test finds one model whose rows are shuffled, or moved by one, and names it."""
    model = int(rng.integers(len(correct)))
    moved = correct.copy()
    moved[model] = rng.permutation(moved[model]) if shuffled else np.roll(moved[model], 1)
    found = aligned_rows(moved, [f"<{each}>" for each in range(len(moved))])
    named = len(correct) == 2 or f"<{model}>" in found.evidence
    return found.status == "violated" and named


def common_difficulty(models: int, phi: float) -> tuple[np.ndarray, float]:
    """Thresholds of M models and the share of a normal difficulty, for a mean correlation φ."""
    accuracy = np.linspace(0.7, 0.9, models)
    nodes = norm.ppf((np.arange(4000) + 0.5) / 4000)
    limits = norm.ppf(accuracy)[:, None]
    spread = np.sqrt(accuracy * (1 - accuracy))
    pairs = np.triu_indices(models, 1)

    def excess(load: float) -> float:
        given = norm.cdf((limits - np.sqrt(load) * nodes) / np.sqrt(1 - load))
        both = given @ given.T / len(nodes) - np.outer(accuracy, accuracy)
        return (both / np.outer(spread, spread))[pairs].mean() - phi

    return limits, brentq(excess, 1e-9, 0.999)


def correctness(
    limits: np.ndarray, load: float, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Correctness of models with a common difficulty, bool [M, k]."""
    noise = rng.normal(size=(len(limits), samples))
    return np.sqrt(load) * rng.normal(size=samples) + np.sqrt(1 - load) * noise < limits


def rows(quick: bool = False) -> list[dict]:
    """Rows of the table: alarms and detections of rows of different samples."""
    draws = 4 if quick else 100
    rng = np.random.default_rng(0)
    found = list(tables())
    status = [aligned_rows(correct).status for _, correct in found]
    table = [
        row(f"alarms on {len(found)} stores and tables", status.count("violated"), "", "≤ 0"),
        row("… verified", status.count("verified"), ""),
    ]
    large = [(name, correct) for name, correct in found if correct.shape[1] >= ENOUGH]
    for shuffled, change in ((True, "shuffled"), (False, "moved by one row")):
        shares = {}
        for name, correct in large:
            samples = correct.shape[1]
            parts = [np.sort(rng.choice(samples, ENOUGH, replace=False)) for _ in range(draws // 3)]
            shares[name] = share_of(
                [out_of_step(correct[:, part], rng, shuffled) for part in parts]
            )
        least = min(shares, key=shares.__getitem__)
        what = f"one model of {len(large)} stores and tables {change}, k = {ENOUGH:,}: found"
        table.append(row(f"{what}, least share ({least})", shares[least], "share", "≥ 0.99"))
    for models in MODELS[:2] if quick else MODELS:
        table += detection(models, draws, rng)
    limits, load = common_difficulty(27, 0.4)
    correct = correctness(limits, load, 50_000, rng)
    spent, _ = seconds(lambda: aligned_rows(correct).status, RUNS)
    return [*table, row("aligned_rows of 27 models, k = 50,000", spent.cpu, "s", "≤ 0.1")]


def detection(models: int, draws: int, rng: np.random.Generator) -> list[dict]:
    """Rows of M models: the samples that detect a model out of step, and sound rows that pass."""
    table = []
    for phi in CORRELATIONS:
        limits, load = common_difficulty(models, phi)
        shares = {}
        for samples in SAMPLES:
            drawn = [correctness(limits, load, samples, rng) for _ in range(draws)]
            shares[samples] = share_of([out_of_step(each, rng, True) for each in drawn])
            if samples == ENOUGH:
                moved = share_of([out_of_step(each, rng, False) for each in drawn])
            if shares[samples] >= 0.995 and samples >= ENOUGH:
                break
        enough = next((n for n in SAMPLES if shares.get(n, 1) >= 0.99), np.nan)
        what = f"{models} models, φ = {phi:g}, one shuffled"
        target = "≥ 0.99" if phi >= 0.2 else ""
        table.append(row(f"{what}: found, k = {ENOUGH:,}", shares[ENOUGH], "share", target))
        table.append(row("… samples from which 99% are found", enough, "samples"))
        table.append(row(f"… moved by one row: found, k = {ENOUGH:,}", moved, "share", target))
    for samples in (500, 5000):
        limits, load = common_difficulty(models, 0.2)
        sound = [aligned_rows(correctness(limits, load, samples, rng)) for _ in range(draws)]
        alarms = share_of([each.status == "violated" for each in sound])
        what = f"{models} models, φ = 0.2, k = {samples:,}: alarms on sound rows"
        table.append(row(what, alarms, "share", "≤ 0.001"))
    return table


def confidences(
    models: int, samples: int, rng: np.random.Generator, sharp: float = 1.0
) -> np.ndarray:
    """Confidences of models with a common difficulty, [M, k]; sharp: 3 has a median of 0.96."""
    score = np.linspace(0.5, 1.3, models)[:, None] - 0.9 * rng.normal(size=samples)
    score += 0.7 * rng.normal(size=(models, samples))
    return expit(sharp * np.abs(score) + 0.6 * rng.normal(size=(models, samples)))


def treated(values: np.ndarray, treatment: str) -> np.ndarray:
    """Confidences as an export might hold them."""
    return {
        "none": lambda: values,
        "2 digits": lambda: np.round(values, 2),
        "4 digits": lambda: np.round(values, 4),
        "float16": lambda: values.astype(np.float16),
        "bytes": lambda: np.round(255 * values) / 255,
        "votes": lambda: np.round(20 * values) / 20,
        "twice": lambda: np.repeat(values, 2, axis=1),
        "common value": lambda: np.minimum(1, 1.3 * values),
    }[treatment]()


def independent_alarms(pairs: int, rng: np.random.Generator) -> int:
    """Alarms on independent splits of 1 to 8 models and 100 to 3,000 samples, however exported."""
    alarms = 0
    for _ in range(pairs):
        models = int(rng.integers(1, 9))
        sharp = float(rng.choice([0.5, 1, 3, 8]))
        first = str(rng.choice(TREATMENTS))
        second = first if rng.random() < 0.6 else str(rng.choice(TREATMENTS))
        seen, here = (
            treated(
                confidences(models, int(np.exp(rng.uniform(*np.log((100, 3000))))), rng, sharp),
                each,
            )
            for each in (first, second)
        )
        alarms += likeness(seen, here).status == "violated"
    return alarms


def found_again(
    models: int,
    samples: int,
    change: str,
    rng: np.random.Generator,
    share: float = 0.25,
    sharp: float = 3.0,
) -> bool:
    """Whether samples of one split that are part of another one are found."""
    seen, here = (confidences(models, samples, rng, sharp) for _ in range(2))
    count = round(share * samples)
    shared = seen[:, rng.choice(samples, count, replace=False)]
    if change.startswith("noise"):
        shared = shared + float(change.split()[1]) * rng.normal(size=shared.shape)
    here[:, :count] = np.round(shared, 4) if change.startswith("rounded") else shared
    return likeness(seen, here).status == "violated"


def alike(quick: bool = False) -> list[dict]:
    """Rows of the table: alarms on independent splits, and shared samples that are found."""
    draws = 3 if quick else 100
    pairs = 30 if quick else 10_000
    rng = np.random.default_rng(0)
    table = [
        row(f"alarms on {pairs:,} independent splits", independent_alarms(pairs, rng), "", "≤ 0")
    ]
    for models in (3, 6):
        for samples in SPLITS[:2] if quick else SPLITS:
            runs = max(3, draws * 2000 // max(2000, samples))
            for change in CHANGES[:2]:
                share = share_of([found_again(models, samples, change, rng) for _ in range(runs)])
                what = f"{models} models, k = {samples:,}, a quarter shared, {change}: found"
                table.append(row(what, share, "share", "≥ 0.99", runs=runs))
    for models, samples, share, change, sharp in (
        (1, 2000, 0.25, "as it is", 3),
        (1, 2000, 0.25, "noise 1e-4", 3),
        (1, 500, 0.25, "noise 1e-4", 1),
        (2, 200, 0.25, "noise 1e-4", 3),
        (2, 2000, 0.25, "noise 1e-4", 3),
        (2, 10_000, 0.25, "noise 1e-4", 3),
        (3, 200, 0.25, "noise 1e-4", 5),
        (3, 2000, 0.25, "noise 1e-3", 3),
        (3, 2000, 0.25, "noise 1e-2", 1),
        (3, 2000, 0.1, "noise 1e-4", 3),
        (3, 2000, 0.05, "noise 1e-4", 3),
        (3, 2000, 0.02, "noise 1e-4", 3),
        (6, 2000, 0.25, "noise 1e-3", 3),
        (6, 2000, 0.25, "noise 1e-2", 1),
    ):
        found = share_of(
            [found_again(models, samples, change, rng, share, sharp) for _ in range(draws)]
        )
        median = float(np.median(confidences(models, 10_000, rng, sharp)))
        what = f"{models} model(s), k = {samples:,}, {share:.0%} shared, {change}, "
        what += f"median confidence {median:.2f}: found"
        table.append(row(what, found, "share", runs=draws))
    return table + bundled_splits()


def bundled_splits() -> list[dict]:
    """Rows: bundled validation and test splits pass, and halves that share a half are found."""
    verified = alarms = found = count = 0
    for family in ("fashion-mnist", "reviews"):
        val, test = (LogitStore(DATA / family / split) for split in ("val", "test"))
        names = list(val.models.index)
        for models in ([names[0]], names[:3], names[-3:], names):
            seen, here = (columns(store, models) for store in (val, test))
            overlapping = seen[:, seen.shape[1] // 4 :][:, : seen.shape[1] // 2]
            count += 1
            status = likeness(seen, here).status
            verified += status == "verified"
            alarms += status == "violated"
            found += likeness(seen[:, : seen.shape[1] // 2], overlapping).status == "violated"
    what = f"bundled splits, {count} sets of models"
    return [
        row(f"{what}: alarms on independent ones", alarms, "", "≤ 0"),
        row("… verified", verified, ""),
        row("… halves that share a half: found", found, "", f"≥ {count}"),
    ]


def columns(store: LogitStore, models: list[str]) -> np.ndarray:
    """Return the columns of a store that likeness compares, [columns, k]."""
    return np.asarray(store.origin.columns(models))


JOBS = {"rows": rows, "alike": alike}
