"""Measure coverage of intervals, false alarms, the level of guarantees and the time of the
bootstrap.

Synthetic scores have a known truth. A population of 200,000 samples is the world, and the data are
samples of it.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RUNS, row, seconds
from peeling import labels
from scipy.stats import binom, fisher_exact, ks_2samp, norm
from synthetic import scores

from cascadelib import (
    LogitStore,
    Point,
    ScoreTable,
    bootstrap,
    certify,
    evaluate,
    pick,
    search,
    to_label,
)
from cascadelib.analysis.shift import holds
from cascadelib.analysis.uncertainty import basic_interval, interval
from cascadelib.evaluation import runs_of
from cascadelib.evaluation.intervals import BETS, anytime_lower
from cascadelib.evaluation.pareto import Baseline, improvement_at, mean_improvement, pareto_front
from cascadelib.files import ROOT, write_text
from cascadelib.guarantees.few_labels import candidates
from cascadelib.guarantees.p_values import betting_p_value, drawn_p_value, paired_p_value
from cascadelib.methods.thresholds import exit_stages
from cascadelib.monitoring.drift import log_capital
from cascadelib.policy.cascade_file import expected_figures
from cascadelib.policy.confidence_summary import summary

# the window test: of the last 1,000 inputs, after every 250
RATES = (0.01, 0.05)
WINDOW = 1000
EVERY = 250
TARGETS = dict.fromkeys(("accuracy", "cost", "improvement", "mean improvement"), "≥ 0.93")
POPULATION = 200_000
SAMPLES = 2_000
EPSILON = 0.01
DELTA = 0.1


def resampling(quick: bool = False) -> list[dict]:
    """Return the row of the bootstrap: seconds for cascades, baselines and factors on all
    resamples."""
    k, resamples = (1_000, 100) if quick else (10_000, 1_000)
    table = ScoreTable(*scores(18, k))
    front = search(table, 2)
    spent, shape = seconds(lambda: bootstrap(table, front, resamples).improvement.shape, RUNS)
    what = (
        f"bootstrap: {resamples:,} resamples of {shape[1]:,} fixed cascades of 18 models, k = {k:,}"
    )
    return [row(what, spent, "s", "≤ 10")]


def uncertainty(quick: bool = False) -> list[dict]:
    """Return the rows of the coverage of intervals."""
    world = ScoreTable(*scores(8, 20_000 if quick else 200_000, seed=5))
    table = coverage(world, quick) + near_the_best(quick) + rarely_passed_on(quick)
    return [row(*values) for values in table]


def coverage(world: ScoreTable, quick: bool) -> list[tuple]:
    """Return the share of 95% intervals that cover the truth.

    They are those of one cascade's three numbers, and of the curve of a set of cascades.
    """
    draws, resamples, k = (20, 100, 500) if quick else (500, 500, 2_000)
    rng = np.random.default_rng(1)
    front = search(world.take(np.arange(5_000)), 2)
    point = pick(front, "max_improvement")
    several = [front.point(row) for row in range(0, len(front), 10)]
    truth = evaluate(world, point)
    set_truth = MeasuredSet(world, several)
    inside: dict[str, list] = {
        name: [] for name in (*TARGETS, "mean improvement, percentiles", "improvement curve")
    }
    for draw in range(draws):
        sample = world.take(rng.choice(len(world), k, replace=False))
        one = bootstrap(sample, point, resamples, draw)
        many = bootstrap(sample, several, resamples, draw)
        for name in ("accuracy", "cost", "improvement"):
            inside[name].append(_covers(getattr(one, name)[:, 0], getattr(truth, name)))
        means = many.mean_improvement()
        estimate = MeasuredSet(sample, several).mean
        low, high = basic_interval(means, estimate)
        inside["mean improvement"].append(low <= set_truth.mean <= high)
        inside["mean improvement, percentiles"].append(_covers(means, set_truth.mean))
        inside["improvement curve"].append(
            np.mean(_covers(many.improvement_at(set_truth.at), set_truth.curve))
        )
    what = f"{draws} draws of {k:,} samples"
    return [
        (
            f"95% intervals that hold the truth, {name} ({what})",
            np.mean(values),
            "share",
            TARGETS.get(name, ""),
        )
        for name, values in inside.items()
    ]


class MeasuredSet:
    """Improvement of cascades on some samples: its mean, and its curve at nine accuracies."""

    def __init__(self, samples: ScoreTable, points: list[Point]) -> None:
        found = [run for _, run in runs_of(samples, points)]
        singles = samples.models
        cost, accuracy = np.array([(run.cost, run.correct.mean()) for run in found]).T
        keep = pareto_front(cost, accuracy)
        baseline = Baseline(singles["cost"], singles["top1"])
        self.at = np.linspace(singles["top1"].min(), singles["top1"].max(), 11)[1:-1]
        self.curve = improvement_at(baseline, cost[keep], accuracy[keep], self.at)
        self.mean = mean_improvement(baseline, cost[keep], accuracy[keep])


def _covers(values: np.ndarray, truth: Any) -> Any:
    low, high = interval(values)
    return (low <= truth) & (truth <= high)


def near_the_best(quick: bool) -> list[tuple]:
    """Return rows of models of 97% to 99% and a cascade that matches the best one.

    The factor has a percentile interval and the cost ratio an exact one.
    """
    world = ScoreTable(*scores(5, 20_000 if quick else 200_000, seed=7, lowest=0.97, highest=0.99))
    draws = 20 if quick else 500
    k = 2_000
    rng = np.random.default_rng(3)
    point = pick(search(world.take(np.arange(5_000)), 2), "match_best", caution=0)
    truth = evaluate(world, point)
    ratio = world.cost[world.row(point.models[-1])] / truth.cost
    factor = (
        Baseline(world.models["cost"], world.models["top1"]).cost_at(
            min(truth.accuracy, world.models["top1"].max())
        )
        / truth.cost
    )
    samples = {
        str(draw): world.take(rng.choice(len(world), k, replace=False)) for draw in range(draws)
    }
    table = holds(samples, point, 100 if quick else 500)
    inside = {
        name: table[f"{name}_low"].le(true) & table[f"{name}_high"].ge(true)
        for name, true in (("cost_ratio", ratio), ("improvement", factor))
    }
    given = table["improvement_low"].notna()
    what = f"models of 97% to 99%, {draws} draws of {k:,} samples"
    return [
        (
            f"95% intervals that hold the truth, {what}: last model's cost ÷ cascade's",
            inside["cost_ratio"].mean(),
            "share",
            "≥ 0.95",
        ),
        (f"… {what}: draws that give percentiles of the improvement", given.mean(), "share", ""),
        (f"… {what}: … that are wrong", (given & ~inside["improvement"]).mean(), "share", "≤ 0.05"),
    ]


def rarely_passed_on(quick: bool) -> list[tuple]:
    """Return rows of the stored cost interval of a cascade that defers few samples.

    In the last row costs differ by sample.
    """
    rng = np.random.default_rng(4)
    draws = 50 if quick else 1000
    k = 500
    rows = []
    point = Point(("model 0", "model 1"), (0.5,), (1.0, 0.0), 1.0, 1.0, 1.0)
    for passing, varied in ((0.002, False), (0.005, False), (0.01, False), (0.01, True)):
        hits = 0
        for _ in range(draws):
            confidence = np.tile(rng.random(k) >= passing, (2, 1)).astype(float)
            cost = np.array([[1.0], [100.0]]) * (
                rng.choice([0.5, 1.5], (2, k)) if varied else np.ones((2, 1))
            )
            found = expected_figures(
                point, ScoreTable(np.ones((2, k), bool), confidence, cost if varied else cost[:, 0])
            ).cost
            hits += found.low <= 1 + 100 * passing <= found.high
        what = f"cost saved with a cascade, {passing:.1%} pass on, {draws} draws of {k} samples"
        rows.append(
            (f"… {what}{', a price for each' if varied else ''}", hits / draws, "share", "≥ 0.95")
        )
    return rows


def monitoring(quick: bool = False) -> list[dict]:
    """Return the rows of monitoring.

    They are: false alarms over the full length of unchanged streams, each with a separate
    reference. Inputs until an alarm on the ten bundled shifts, next to a window test
    (Kolmogorov–Smirnov and Fisher). How often a confidence sequence of the loss is ever wrong.
    Seconds.
    """
    return [row(*values) for values in false_alarms(quick) + delays(quick) + audits(quick)]


def at_each_stage(confidence: list[np.ndarray], thresholds: np.ndarray) -> list[tuple]:
    """Return [(numbers of the inputs that reach the stage, their confidences)] of confidences
    [n][N]."""
    stage = exit_stages(confidence, thresholds)
    return [(np.flatnonzero(stage >= i), values[stage >= i]) for i, values in enumerate(confidence)]


def first_alarms(reference: list, stream: list, rates: Sequence[float]) -> np.ndarray:
    """Return the input at which the bets against drift alarm at each total rate, or inf.

    reference, stream: as :func:`at_each_stage` returns them.
    """
    first = np.full(len(rates), np.inf)
    for (_, before), (numbers, values) in zip(reference, stream):
        path = np.maximum.accumulate(log_capital(summary(before), values))
        at = np.searchsorted(path, np.log(len(reference) / np.array(rates)))
        first = np.minimum(first, np.append(numbers + 1.0, np.inf)[at])
    return first


def first_window(reference: list, stream: list, rate: float, inputs: int) -> float:
    """Return the first alarm of the window test at that rate, Bonferroni over two tests per
    stage."""
    for end in range(EVERY, inputs + 1, EVERY):
        windows = [
            values[(numbers >= end - WINDOW) & (numbers < end)] for numbers, values in stream
        ]
        pairs = [
            (before, values)
            for (_, before), values in zip(reference, windows)
            if min(len(before), len(values)) > 19
        ]
        p = [ks_2samp(*pair).pvalue for pair in pairs]
        for (before, values), (passed, went) in zip(pairs, pairs[1:]):
            table = [[len(before) - len(passed), len(passed)], [len(values) - len(went), len(went)]]
            p.append(fisher_exact(table).pvalue)
        if min(p) <= rate / (2 * len(stream) - 1):
            return end
    return np.inf


def false_alarms(quick: bool) -> list[tuple]:
    """Return rows of a synthetic cascade of three stages, with exact and with tied confidences."""
    streams, inputs, old = (20, 2_000, 5) if quick else (1_000, 20_000, 50)
    world = ScoreTable(*scores(8, 40_000 if quick else 200_000, seed=5))
    rng = np.random.default_rng(2)
    rows: list[tuple] = []
    point = pick(search(world.take(np.arange(5_000)), 3), "max_improvement")
    for size in (500, 5_000):
        confidence = evaluate(world, point).confidences
        thresholds = point.inside
        ever: dict[str, list] = {}
        spent = 0.0
        for _ in range(streams):
            order = rng.integers(0, len(world), size + inputs)
            for name, values in (
                ("", confidence),
                (", rounded to a tenth", [np.round(s, 1) for s in confidence]),
            ):
                before = at_each_stage([s[order[:size]] for s in values], thresholds)
                parts = before, at_each_stage([s[order[size:]] for s in values], thresholds)
                seconds_now, first = seconds(partial(first_alarms, *parts, RATES))
                spent += 0 if name else seconds_now / inputs
                ever.setdefault(name, []).append(np.isfinite(first))
                if not name and len(ever[name]) <= old:
                    ever.setdefault("old", []).append(
                        np.isfinite(first_window(*parts, RATES[0], inputs))
                    )
        what = f"{streams} streams of {inputs:,} unchanged inputs, a reference of {size:,} for each"
        for name in ("", ", rounded to a tenth"):
            for rate, share in zip(RATES, np.mean(ever[name], axis=0)):
                most = f"≤ {binom.ppf(0.999, streams, rate) / streams:.3g} by chance"
                rows.append(
                    (
                        f"drift alarms, ever: {what}{name}, stated in total {rate:.0%}",
                        share,
                        "share",
                        most,
                    )
                )
        rows.append(
            (
                f"… window test every {EVERY} inputs, stated a window 1% ({old} streams)",
                np.mean(ever["old"]),
                "share",
                "",
            )
        )
        rows.append(
            ("… an input, three stages, mean", spent / streams * 1e6, "µs", "", None, streams)
        )
    return rows


def delays(quick: bool) -> list[tuple]:
    """Return median delays over orders of the stored samples.

    The reference is the half of the split that did not select the cascade.
    """
    orders = 2 if quick else 50
    folder = "data/fashion-mnist"
    rows = []
    val = LogitStore(f"{folder}/val")
    rng = np.random.default_rng(0)
    point = pick(search(val.take(slice(0, None, 2)), 2), "match_best", caution=0)
    unseen = evaluate(val.take(slice(1, None, 2)), point)
    reference = at_each_stage(unseen.confidences, point.inside)
    for name in sorted(path.name for path in Path(f"{folder}/shift").iterdir()):
        confidence = evaluate(LogitStore(f"{folder}/shift/{name}"), point).confidences
        found = []
        for _ in range(orders):
            order = rng.permutation(len(confidence[0]))
            stream = at_each_stage([s[order] for s in confidence], point.inside)
            first = first_alarms(reference, stream, RATES[:1])[0]
            window = first_window(reference, stream, 0.01, len(order))
            found.append((first, window))
        for label, first in zip(
            ("drift alarm at 1% in total", "… window test at 1% a window"), np.transpose(found)
        ):
            share = np.isfinite(first).mean()
            text = f"{label}: {name}, {share:.0%} of {orders} orders of {len(order):,} inputs"
            rows.append((f"{text}, median delay", np.median(first), "inputs", ""))
    return rows


def audits(quick: bool) -> list[tuple]:
    """Return the share of audited streams with a lower bound above the true loss at any time.

    This happens if the capital against the truth reaches 1 / error.
    """
    streams = 20 if quick else 1_000
    inputs = 5_000
    error = 0.025
    rows = []
    rng = np.random.default_rng(0)
    for lost, gained in ((0.01, 0.005), (0.005, 0.0), (0.1, 0.05)):
        mean = lost - gained
        ever = []
        width = []
        steps = np.log1p(BETS[:, None] * (np.array([1, 0, -1]) - mean) / (1 + mean))
        for _ in range(streams):
            values = rng.choice(3, inputs, p=(lost, 1 - lost - gained, gained))
            counts = np.cumsum(np.eye(3)[values], axis=0)
            ever.append(
                (
                    np.logaddexp.reduce(steps @ counts.T, axis=0) - np.log(len(BETS))
                    >= -np.log(error)
                ).any()
            )
            lost_so_far, same, gained_so_far = counts[-1]
            width.append(mean - anytime_lower(lost_so_far, same, gained_so_far, error))
        what = (
            f"{streams} streams of {inputs:,} audited inputs, {lost:.1%} lost, {gained:.1%} gained"
        )
        most = f"≤ {binom.ppf(0.999, streams, error) / streams:.3g} by chance"
        rows.append(
            (
                f"audit: lower bound above the loss, ever: {what}, stated 2.5%",
                np.mean(ever),
                "share",
                most,
            )
        )
        rows.append(("… how far below it lies at the end, mean", np.mean(width), "accuracy", ""))
    return rows


def guarantee(quick: bool = False) -> list[dict]:
    """Return the rows of 1,000 draws of a tuning and a certification split from the population.

    Each draw searches all pairs of five models on the tuning split and certifies on the other. The
    certified cascades are then evaluated on the population. A violation is a certified cascade that
    loses ε or more there. Other p-values are applied to the same draws: Waudby-Smith and Ramdas'
    betting, Hoeffding–Bentkus (Bates et al., 2021), and the normal approximation, which guarantees
    nothing.
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
    return [row(*values) for values in rows + rare_errors(quick)]


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


def hoeffding_bentkus(losses: np.ndarray, epsilon: float) -> float:
    """Return the p-value for losses in [−1, 1], scaled to [0, 1]."""
    k = len(losses)
    mean = (1 + losses.mean()) / 2
    limit = (1 + epsilon) / 2
    if mean >= limit:
        return 1.0
    h = mean * np.log(mean / limit) + (1 - mean) * np.log((1 - mean) / (1 - limit))
    return min(1.0, np.exp(-k * h), np.e * binom.cdf(np.ceil(k * mean), k, limit))


def normal(losses: np.ndarray, epsilon: float) -> float:
    """Return the p-value of the normal approximation."""
    return norm.cdf((losses.mean() - epsilon) / max(losses.std() / np.sqrt(len(losses)), 1e-12))


def exact(losses: np.ndarray, epsilon: float) -> float:
    return paired_p_value(
        int((losses > 0).sum()), int((losses < 0).sum()), len(losses), epsilon, DELTA
    )


TESTS = {
    "exact paired test (certify)": exact,
    "betting": lambda losses, epsilon: betting_p_value(losses, epsilon, DELTA),
    "Hoeffding–Bentkus": hoeffding_bentkus,
    "normal approximation": normal,
}


def rare_errors(quick: bool) -> list[tuple]:
    """Return how often a cascade that loses exactly ε = 0.5% or 1% is certified on 500 samples, per
    test."""
    rng = np.random.default_rng(1)
    draws = 50 if quick else 1_000
    k = 500
    rows = []
    for epsilon in (0.005, 0.01):
        losses = rng.choice(
            [1.0, 0.0, -1.0], p=[epsilon + 0.002, 0.996 - epsilon, 0.002], size=(draws, k)
        )
        for name, test in TESTS.items():
            share = np.mean([test(drawn, epsilon) <= DELTA for drawn in losses])
            target = (
                f"≤ {binom.ppf(0.999, draws, DELTA) / draws:.3g} by chance"
                if name == next(iter(TESTS))
                else ""
            )
            rows.append(
                (
                    f"… certified at a loss of ε = {epsilon:.1%}, {k} samples: {name}",
                    share,
                    "share",
                    target,
                )
            )
    return rows


HALF = Point(("s", "l"), (0.5,), (0.5, 0.5), 0.9, 5.0, 1.0, cost_kind="cost")
PROMISED = {  # what certify is asked for, of a cascade that loses or costs exactly what is promised
    "all labels": lambda t: {},
    "labels of disagreements": lambda t: {"labels": labels_of(t, to_label(t, HALF, "l"))},
    "no labels": lambda t: {"labels": {}},
    "40 labels drawn": lambda t: {
        "labels": labels_of(t, to_label(t, HALF, "l")[:40]),
        "labels_in_order": True,
    },
    "loss and a budget that holds": lambda t: {"budget": 6.0},
    "a budget that it is at, and loss": lambda t: {"budget": 5.0, "epsilon": 0.5},
    "the worse of two groups": lambda t: {"groups": t.columns["group"][0]},
    "the worst of three classes": lambda t: {"groups": t.labels},
    "F1": lambda t: {},
    "clusters of four alike": lambda t: {"clusters": np.arange(len(t)) // 4},
    "a budget that prices are at, and loss": lambda t: {
        "budget": 5.0,
        "epsilon": 0.5,
        "max_price": 13.5,
    },
}
CHANGED = {  # the samples that some of these are asked about
    "clusters of four alike": lambda t: t.take(np.repeat(np.arange(len(t)), 4)),
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
                passed += (
                    certify(table, point, delta=DELTA, reference="l", **asked).point is not None
                )
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
    columns = {"group": rng.integers(0, 2, k)}
    predictions = np.stack([small, large])
    table = ScoreTable(
        None,
        confidence,
        [1.0, 8.0],
        ("s", "l"),
        predictions=predictions,
        labels=label,
        columns=columns,
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
        "drawn from twice as many": 25_000,
    }
    rows = []
    for name, k in ways.items():
        passed = 0
        spent = 0
        for lost, gained, neither, _ in rng.multinomial(k, parts, draws):
            d = lost + gained + neither
            m = min(500, d)
            if "drawn" in name:
                in_draw = rng.multivariate_hypergeometric([lost, gained, neither], m)
                lost_there, gained_there = map(int, in_draw[:2])
                p = drawn_p_value(lost_there, gained_there, int(m), int(d), k, epsilon)
            else:
                p = paired_p_value(int(lost), int(gained), k, epsilon)
            passed += p <= 0.05
            if k == 500:
                spent += k
            elif "drawn" in name:
                spent += m
            else:
                spent += d
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
    "resampling": resampling,
    "uncertainty": uncertainty,
    "monitoring": monitoring,
    "guarantee": guarantee,
    "few_labels": few_labels,
    "labels": labels,
}
