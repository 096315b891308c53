"""Do the checks of premises find what is planted, and do sound tables pass?

*rows*: synthetic correctness of M models with a common difficulty, of which one model is shuffled
or moved by one row, or two of 14 are. The mean correlation of the others is at least φ. *splits*:
random halves of the bundled tables, and of FrugalML's markets in the folder that the environment
variable ``CASCADEBENCH_DATA`` names. A sound half must not be refused, and a repeated one must be.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench.run import files
from measuring import row
from scipy.stats import norm

from cascadelib import Point, ScoreTable, certify
from cascadelib.guarantees.p_values import share_above
from cascadelib.store.aligned_rows import aligned_rows

MODELS = (3, 5, 14)
CORRELATIONS = (0.1, 0.2, 0.3, 0.4)
SAMPLES = (300, 500, 1000, 1500, 3000)
KINDS = ("one shuffled", "one moved by a row", "two of 14 shuffled")
CHANGES = {"new ids": 9, "two digits": 2, "three digits": 3}  # decimals of the confidences
SPLITS = 250  # random parts of each table
REPEAT_EVERY = 25


def correctness(models: int, samples: int, phi: float, rng: np.random.Generator) -> np.ndarray:
    """Return correctness, bool [M, k], of models with accuracies from 60% to 95%.

    The latent correlation is chosen so that the mean correlation is about ``phi``.
    """
    limits = norm.ppf(rng.uniform(0.6, 0.95, (models, 1)))
    latent = min(0.95, 1.75 * phi)
    common = np.sqrt(latent) * rng.normal(size=samples)
    return common + np.sqrt(1 - latent) * rng.normal(size=(models, samples)) < limits


def plant(correct: np.ndarray, kind: str, rng: np.random.Generator) -> set[str]:
    """Change the rows of one or two models, and return their names."""
    count = 2 if kind == KINDS[2] else 1
    models = rng.choice(len(correct), count, replace=False)
    if kind == KINDS[1]:
        correct[models] = np.roll(correct[models], 1, axis=1)
    else:
        correct[models] = correct[models][:, rng.permutation(correct.shape[1])]
    return set(map(str, models.tolist()))


def planted_table(
    kind: str, models: int, samples: int, phi: float, rng: np.random.Generator
) -> tuple[np.ndarray, set[str]]:
    """Return the correctness of models, and the names of those whose rows were changed.

    Tables are drawn until the mean correlation of the other models is at least ``phi``.
    """
    while True:
        correct = correctness(models, samples, phi, rng)
        found = np.corrcoef(correct)
        planted = plant(correct, kind, rng)
        sound = np.array([str(row) not in planted for row in range(models)])
        if found[sound][:, sound][~np.eye(sound.sum(), dtype=bool)].mean() >= phi:
            return correct, planted


def rows(quick: bool = False) -> list[dict]:
    """Return shares of planted tables whose planted models, and no others, are named."""
    draws = 10 if quick else 200
    found = []
    for kind in KINDS:
        for models in (14,) if kind == KINDS[2] else MODELS:
            for phi in CORRELATIONS:
                for samples in SAMPLES:
                    rng = np.random.default_rng([models, samples, round(100 * phi)])
                    exact = 0
                    verified = 0
                    for _ in range(draws):
                        correct, planted = planted_table(kind, models, samples, phi, rng)
                        result = aligned_rows(correct, map(str, range(models)))
                        exact += set(result.misaligned) == planted
                        verified += result.status == "verified"
                    setting = f"{kind}, {models} models, φ = {phi:.1f}, k = {samples:,}"
                    is_bound = samples >= 1500 and phi >= 0.2 and not quick
                    target = "≥ 0.95" if is_bound else ""
                    found.append(row(f"{setting}: named", exact / draws, "share", target))
                    found.append(row(f"{setting}: verified", verified / draws, "share", "≤ 0.02"))
    return found


def halves(draws: int) -> Iterator[tuple[str, ScoreTable, ScoreTable]]:
    """Yield the name of a table and two disjoint random parts of it, with 2 to 5 models."""
    folder = os.environ.get("CASCADEBENCH_DATA")
    for file in files(None if folder is None else Path(folder)):
        rng = np.random.default_rng(len(file.table))
        names = list(file.table.models.index)
        for _ in range(draws):
            count = int(rng.integers(2, min(len(names), 5) + 1))
            chosen = sorted(rng.choice(names, count, replace=False).tolist(), key=names.index)
            size = int(rng.integers(200, min(6000, len(file.table)) // 2))
            order = rng.permutation(len(file.table))
            part = file.table.select(chosen)
            yield file.name, part.take(order[:size]), part.take(order[size : 2 * size])


def is_refused(seen: ScoreTable, here: ScoreTable) -> bool:
    """Return whether ``certify`` refuses samples for cascades that were selected on others."""
    *deciding, last = seen.names
    points = [
        Point(
            (name, last),
            (float(np.median(seen.confidence[seen.row(name)])),),
            cost_kind=seen.default_cost,
            selected_on=seen.origin,
        )
        for name in deciding
    ]
    try:
        certify(here, points, 0.5, reference=last)
    except ValueError:
        return True
    return False


def splits(quick: bool = False) -> list[dict]:
    """Return shares of sound halves that are refused, and of repeated halves that are not.

    The repeats are tested in one of REPEAT_EVERY draws. The last row is an upper bound at
    confidence 95% on the share of all sound halves that are refused.
    """
    refused: dict[str, list[bool]] = {}
    missed: dict[str, list[bool]] = {change: [] for change in CHANGES}
    for number, (name, seen, here) in enumerate(halves(3 if quick else SPLITS)):
        refused.setdefault(name, []).append(is_refused(seen, here))
        if number % REPEAT_EVERY:
            continue
        for change, digits in CHANGES.items():
            confidence = np.round(seen.confidence, digits)
            if len(np.unique(confidence[0])) < 64:  # too coarse to recognize a sample
                continue
            parts = {"predictions": seen.predictions, "labels": seen.labels}
            again = ScoreTable(None, confidence, seen.cost, seen.names, **parts)
            missed[change].append(not is_refused(seen, again))
    found = []
    for name, values in refused.items():
        title = f"{name}: sound halves refused"
        found.append(row(title, float(np.mean(values)), "share", "≤ 0.001", runs=len(values)))
    every = np.concatenate(list(refused.values()))
    bound = share_above(int(every.sum()), len(every), 0.05)
    title = f"{every.sum()} of {len(every):,} sound halves refused: upper bound (95%)"
    found.append(row(title, bound, "share", "" if quick else "≤ 0.001", runs=len(every)))
    for change, values in missed.items():
        title = f"repeated halves with {change} that are not refused, of {len(values):,}"
        found.append(row(title, float(np.mean(values)), "share", "≤ 0", runs=len(values)))
    return found


JOBS = {"rows": rows, "splits": splits}
