"""Does the guarantee hold? 1,000 draws of a tuning and a certification split from a population whose truth is known.

Each draw: search all pairs of five models on the tuning split, certify on the other, look the certified cascades up in
the population. A violation is a certified cascade that loses ε or more there. Beside it what other p-values would
certify on the same draws: Waudby-Smith and Ramdas' betting, Hoeffding–Bentkus (Bates et al., 2021), and the normal
approximation, which promises nothing.
"""

import numpy as np
from scipy.stats import binom, norm
from search import row
from synthetic import scores

from cascadelib import ScoreTable, search
from cascadelib.analysis.certificate import betting_p_value, descending, paired_p_value
from cascadelib.evaluation.evaluation import run_cascades

POPULATION, SAMPLES, EPSILON, DELTA = 200_000, 2_000, 0.01, 0.1


def hoeffding_bentkus(losses, epsilon):
    """p-value for losses in [−1, 1], scaled to [0, 1]."""
    k, mean, limit = len(losses), (1 + losses.mean()) / 2, (1 + epsilon) / 2
    if mean >= limit:
        return 1.0
    h = mean * np.log(mean / limit) + (1 - mean) * np.log((1 - mean) / (1 - limit))
    return min(1.0, np.exp(-k * h), np.e * binom.cdf(np.ceil(k * mean), k, limit))


def normal(losses, epsilon):
    """p-value by the normal approximation."""
    return norm.cdf((losses.mean() - epsilon) / max(losses.std() / np.sqrt(len(losses)), 1e-12))


def exact(losses, epsilon):
    return paired_p_value(int((losses > 0).sum()), int((losses < 0).sum()), len(losses), epsilon, DELTA)


TESTS = {
    "exact paired test (certify)": exact,
    "betting": lambda losses, epsilon: betting_p_value(losses, epsilon, DELTA),
    "Hoeffding–Bentkus": hoeffding_bentkus,
    "normal approximation": normal,
}


def rare_errors(quick):
    """Share of draws of 500 samples in which a cascade that loses exactly ε = 0.5% or 1% is certified, per test."""
    rng, draws, k, rows = np.random.default_rng(1), 50 if quick else 1_000, 500, []
    for epsilon in (0.005, 0.01):
        losses = rng.choice([1.0, 0.0, -1.0], p=[epsilon + 0.002, 0.996 - epsilon, 0.002], size=(draws, k))
        for name, test in TESTS.items():
            share = np.mean([test(row, epsilon) <= DELTA for row in losses])
            target = f"≤ {binom.ppf(0.999, draws, DELTA) / draws:.3g} by chance" if name == next(iter(TESTS)) else ""
            rows.append((f"… certified at a loss of ε = {epsilon:.1%}, {k} samples: {name}", share, "share", target))
    return rows


def losses_of(table, points, reference):
    """Losses against the reference model, float [P, k]."""
    right = table.correct[table.row(reference)].astype(np.float64)
    outcomes = {at: correct for at, _, correct, _ in run_cascades(table, points)}
    return np.stack([right - outcomes[at] for at in range(len(points))])


def certified(losses, test):
    """How many points pass, one after another, until the first that does not."""
    for count, loss in enumerate(losses):
        if test(loss, EPSILON) > DELTA:
            return count
    return len(losses)


def run(quick=False):
    """Rows of the benchmark table."""
    draws = 20 if quick else 1_000
    correct, sure, cost = scores(5, POPULATION, seed=3)
    whole, rng = ScoreTable(correct, sure, cost), np.random.default_rng(0)
    reference = whole.names[int(correct.mean(axis=1).argmax())]
    violations, costs = {name: 0 for name in TESTS}, {name: [] for name in TESTS}
    for _ in range(draws):
        tune, check = (whole.take(rng.integers(0, POPULATION, SAMPLES)) for _ in range(2))
        points = descending(search(tune, 2), reference, EPSILON)
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
        rows.append((f"… mean cost ÷ reference's, {name}", float(np.mean(costs[name]) / single), "share", ""))
    return [row(*values) for values in rows + rare_errors(quick)]
