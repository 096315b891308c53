"""Measure the level and the power of guarantees.

Synthetic scores have a known truth. A population of 200,000 samples is the world, and the data are
samples of it.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from level import level
from measuring import row
from peeling import labels
from scipy.stats import binom
from synthetic import scores

from cascadelib import (
    Point,
    ScoreTable,
    certify,
    search,
    to_label,
)
from cascadelib.evaluation import runs_of
from cascadelib.files import ROOT, write_text
from cascadelib.guarantees.few_labels import candidates
from cascadelib.guarantees.p_values import betting_p_value, paired_p_value

POPULATION = 200_000
SAMPLES = 2_000
EPSILON = 0.01
DELTA = 0.1


def guarantee(quick: bool = False) -> list[dict]:
    """Return the rows of 1,000 draws of a tuning and a certification split from the population.

    Each draw searches all pairs of five models on the tuning split and certifies on the other. The
    certified cascades are then evaluated on the population. A violation is a certified cascade that
    loses ε or more there. Waudby-Smith and Ramdas' betting is applied to the same draws.
    """
    draws = 20 if quick else 1_000
    correct, confidence, cost = scores(5, POPULATION, seed=3)
    whole = ScoreTable(correct, confidence, cost)
    rng = np.random.default_rng(0)
    reference = whole.names[int(correct.mean(axis=1).argmax())]
    violations = {name: 0 for name in TESTS}
    costs: dict[str, list] = {name: [] for name in TESTS}
    for _ in range(draws):
        tune, check = (whole.take(rng.integers(0, POPULATION, SAMPLES)) for _ in range(2))
        points = candidates(search(tune, 2), reference, EPSILON)
        here = losses_of(check, points, reference)
        passed = {name: certified(here, test) for name, test in TESTS.items()}
        truth = losses_of(whole, points[: max(1, *passed.values())], reference).mean(axis=1)
        for name, count in passed.items():
            violations[name] += bool((truth[:count] >= EPSILON).any())
            costs[name].append(points[count - 1].cost if count else cost[whole.row(reference)])
    single = cost[whole.row(reference)]
    what = f"guarantee, ε = {EPSILON:.0%}, δ = {DELTA:.0%}, {draws} splits of {SAMPLES} + {SAMPLES}"
    rows = []
    for name in TESTS:
        target = f"≤ {DELTA}" if name == next(iter(TESTS)) else ""
        rows.append((f"{what}: violation rate, {name}", violations[name] / draws, "share", target))
        rows.append(
            (
                f"… mean cost ÷ reference's, {name}",
                float(np.mean(costs[name]) / single),
                "share",
                "",
            )
        )
    return [row(*values) for values in rows]


def losses_of(table: ScoreTable, points: list[Point], reference: str) -> np.ndarray:
    """Return losses against the reference model, float [P, k]."""
    reference_correct = table.correct[table.row(reference)].astype(np.float64)
    outcomes = {at: run.correct for at, run in runs_of(table, points)}
    return np.stack([reference_correct - outcomes[at] for at in range(len(points))])


def certified(losses: np.ndarray, test: Callable) -> int:
    """Count the points that pass in sequence, up to the first that does not."""
    for count, loss in enumerate(losses):
        if test(loss, EPSILON) > DELTA:
            return count
    return len(losses)


def exact(losses: np.ndarray, epsilon: float) -> float:
    return paired_p_value(
        int((losses > 0).sum()), int((losses < 0).sum()), len(losses), epsilon, DELTA
    )


TESTS = {
    "exact paired test (certify)": exact,
    "betting": lambda losses, epsilon: betting_p_value(losses, epsilon, DELTA),
}


HALF = Point(("s", "l"), (0.5,), (0.5, 0.5), 0.9, 5.0, 1.0, cost_kind="cost")
PROMISED = {  # what certify is asked for, of a cascade that loses or costs exactly what is promised
    "all labels": lambda t: {},
    "labels of disagreements": lambda t: {"labels": labels_of(t, to_label(t, HALF, "l"))},
    "no labels": lambda t: {"labels": {}},
    "loss and a budget that holds": lambda t: {"budget": 6.0},
    "a budget that it is at, and loss": lambda t: {"budget": 5.0, "epsilon": 0.5},
    "the worse of two groups": lambda t: {"groups": np.arange(len(t)) % 2},
    "the worst of three classes": lambda t: {"groups": t.labels},
    "F1": lambda t: {},
    "a budget that prices are at, and loss": lambda t: {"budget": 5.0, "epsilon": 0.5},
}
CHANGED = {  # the samples that some of these are asked about
    "a budget that prices are at, and loss": lambda t: priced(t),
}


def few_labels(quick: bool = False) -> list[dict]:
    """Return rows of false certificates for each kind of guarantee, and of power at equal label
    cost."""
    draws = 30 if quick else 1_000
    rows = []
    for k in (500, 2_000):
        for number, (name, options) in enumerate(PROMISED.items()):
            rng = np.random.default_rng([k, number])
            passed = 0
            for _ in range(draws):
                table, point = labelled_world(rng, k, name == "F1")
                if name in CHANGED:
                    table = CHANGED[name](table)
                asked = {"epsilon": 0.02 if name != "F1" else F1_LOSS} | options(table)
                passed += certify(table, point, delta=DELTA, reference="l", **asked).certified != ()
            most = f"≤ {binom.ppf(0.999, draws, DELTA) / draws:.3g} by chance"
            what = (
                "certified at a loss or cost of exactly what is promised, "
                f"δ = {DELTA:.0%}, {draws} draws of {k}"
            )
            rows.append(row(f"{what}: {name}", passed / draws, "share", most))
    return rows + power(draws)


def priced(table: ScoreTable) -> ScoreTable:
    """Return the same with prices of half or one and a half times as much, per sample."""
    seed = int(2**53 * table.confidence[0, 0])
    factors = np.random.default_rng(seed).choice([0.5, 1.5], len(table))
    return replace(table, cost=np.outer(table.cost, factors))


def labels_of(table: Any, ids: np.ndarray) -> Any:
    return {sample: table.labels[int(sample)] for sample in ids}


def labelled_world(rng: np.random.Generator, k: int, two: bool = False) -> tuple:
    """Return (predictions of two models for three classes or two, cascade HALF under its score).

    Its true loss is 2% overall and in each group and class. Its loss of F1 is F1_LOSS and its mean
    cost 5.
    """
    kind = rng.choice(
        4, k, p=[0.86, 0.06, 0.06, 0.02]
    )  # both correct, both wrong, lost, gained if the first answers
    classes = 2 if two else 3
    label = rng.integers(0, classes, k)
    wrong = 1 + rng.integers(0, classes - 1, k)
    large = np.where(np.isin(kind, (0, 2)), label, (label + wrong) % classes)
    small = np.where(
        np.isin(kind, (0, 3)), label, (label + 1 + rng.integers(0, classes - 1, k)) % classes
    )
    confidence = np.stack([rng.random(k), np.zeros(k)])
    predictions = np.stack([small, large])
    table = ScoreTable(
        None,
        confidence,
        [1.0, 8.0],
        ("s", "l"),
        predictions=predictions,
        labels=label,
    )
    return table, replace(HALF, score="f1") if two else HALF


F1_LOSS = 0.02  # classes are equally frequent and err alike: F1 is accuracy there


def power(draws: int) -> list[dict]:
    """Return how often a cascade of true loss 0.2% is certified for ε = 0.5%, δ = 5%, with 500
    labels."""
    # lost, gained, neither, the same
    rng = np.random.default_rng(0)
    parts = [0.006, 0.004, 0.03, 0.96]
    epsilon = 0.005
    ways = {
        "of all samples there are": 500,
        "of all disagreements": 12_500,
    }
    rows = []
    for name, k in ways.items():
        passed = 0
        spent = 0
        for lost, gained, neither, _ in rng.multinomial(k, parts, draws):
            d = lost + gained + neither
            passed += paired_p_value(int(lost), int(gained), k, epsilon) <= 0.05
            spent += k if k == 500 else d
        what = (
            "certified for ε = 0.5% at a true loss of 0.2%, "
            f"{spent / draws:.0f} labels {name}, {k:,} samples"
        )
        rows.append(row(what, passed / draws, "share", "≥ 0.85" if k == 12_500 else ""))
    return rows


def ledger(quick: bool = False) -> list[dict]:
    """Return the share of families of claims on methods with a false verdict, and the share of
    decided claims.

    A quick version is in tests/notebooks/test_verdicts.py.
    """
    import_worlds()
    from equal_methods import BOUNDARY, EQUAL, ORDERED, REVERSED, decided_claims, false_families

    families = 50 if quick else 1000
    rows = []
    for label, noise in (("equal methods", EQUAL), ("two equal methods", BOUNDARY)):
        name = f"ledger: false verdicts with {label}, of {families} families"
        share = false_families(families, noise, seed=1) / families
        rows.append(row(name, share, "share", target="≤ 0.067"))
    for label, noise in (("ordered", ORDERED), ("reversed", REVERSED)):
        for claim, share in decided_claims(families // 5, noise, seed=1).items():
            name = f"ledger: claim {claim!r} decided, {label} methods, of {families // 5} families"
            rows.append(row(name, share, "share"))
    return rows


def ledger_worlds(quick: bool = False) -> list[dict]:
    """Return the share of draws of each planted world with a false verdict, in the worst family.

    All worlds take hours. The draws so far are stored in build/ledger_worlds, and another run
    continues. A quick version is in tests/notebooks/test_verdicts.py.
    """
    import_worlds()
    from planted_worlds import WORLDS, false_verdicts

    draws = 20 if quick else 1000
    folder = Path(ROOT, "build", "ledger_worlds_quick" if quick else "ledger_worlds")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for world in WORLDS:
        path = folder / f"{world.replace(' ', '-')}.json"
        found: dict[str, Any] = {"n": 0, "families": {}, "claims": {}}
        if path.exists():
            found = json.loads(path.read_text("utf-8"))
        families = Counter(found["families"])
        claims = Counter(found["claims"])
        for first in range(found["n"], draws, 20):
            in_families, in_claims = false_verdicts(world, 20, seed=1, first=first)
            families += in_families
            claims += in_claims
            found = {"n": first + 20, "families": families, "claims": claims}
            write_text(path, json.dumps(found))
        name = f"ledger: false verdicts, {world}, of {draws} draws"
        share = max(families.values(), default=0) / draws
        rows.append(row(name, share, "share", target="≤ 0.067"))
        for claim, number in claims.most_common(1):
            name = f"ledger: {claim!r} is false most often, {world}, of {draws} draws"
            rows.append(row(name, number / draws, "share"))
    return rows


def import_worlds() -> None:
    """Make the planted worlds of the tests and the tools of the notebooks importable."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "notebooks")]


JOBS = {
    "ledger": ledger,
    "ledger_worlds": ledger_worlds,
    "guarantee": guarantee,
    "few_labels": few_labels,
    "labels": labels,
    "level": level,
}
