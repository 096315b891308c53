"""Do intervals cover the truth as often as they say, and does the drift signal alarm as rarely as it says?

Synthetic scores with a known truth: a population of 200,000 samples stands for the world, samples of it for the data.
"""

import numpy as np
from scipy.stats import binom
from search import row
from synthetic import scores

from cascadelib import DriftSignal, Point, ScoreTable, bootstrap, evaluate, pick, search
from cascadelib.analysis.shift import holds
from cascadelib.analysis.uncertainty import basic_interval, interval
from cascadelib.deployment.cascade_file import expected
from cascadelib.evaluation.evaluation import all_confidences, mean_cost, reaching, run_cascades
from cascadelib.evaluation.pareto import Baseline, improvement_at, mean_improvement, pareto_front

RATES, WINDOWS = (0.01, 0.05), (200, 1000)
TARGETS = dict.fromkeys(("accuracy", "cost", "improvement", "mean improvement"), "≥ 0.93")


def coverage(world, quick):
    """Share of 95% intervals that hold the truth: one cascade's three numbers, and the curve of a set of cascades."""
    draws, resamples, k = (20, 100, 500) if quick else (500, 500, 2_000)
    rng, front = np.random.default_rng(1), search(world.take(np.arange(5_000)), 2)
    point, several = pick(front, "max_improvement"), [front.point(row) for row in range(0, len(front), 10)]
    truth, set_truth = evaluate(world, point), MeasuredSet(world, several)
    inside = {name: [] for name in (*TARGETS, "mean improvement, percentiles", "improvement curve")}
    for draw in range(draws):
        sample = world.take(rng.choice(len(world), k, replace=False))
        one, many = bootstrap(sample, point, resamples, draw), bootstrap(sample, several, resamples, draw)
        for name in ("accuracy", "cost", "improvement"):
            inside[name].append(_covers(getattr(one, name)[:, 0], getattr(truth, name)))
        means, estimate = many.mean_improvement(), MeasuredSet(sample, several).mean
        low, high = basic_interval(means, estimate)
        inside["mean improvement"].append(low <= set_truth.mean <= high)
        inside["mean improvement, percentiles"].append(_covers(means, set_truth.mean))
        inside["improvement curve"].append(np.mean(_covers(many.improvement_at(set_truth.at), set_truth.curve)))
    what = f"{draws} draws of {k:,} samples"
    return [
        (f"95% intervals that hold the truth, {name} ({what})", np.mean(values), "share", TARGETS.get(name, ""))
        for name, values in inside.items()
    ]


class MeasuredSet:
    """Improvement of a set of cascades on some samples: its mean, and its curve at nine accuracies."""

    def __init__(self, samples, points):
        found, singles = run_cascades(samples, points), samples.models
        cost, accuracy = np.array([(mean_cost(costs, exits), right.mean()) for _, exits, right, costs in found]).T
        keep, baseline = pareto_front(cost, accuracy), Baseline(singles["cost"], singles["top1"])
        self.at = np.linspace(singles["top1"].min(), singles["top1"].max(), 11)[1:-1]
        self.curve = improvement_at(baseline, cost[keep], accuracy[keep], self.at)
        self.mean = mean_improvement(baseline, cost[keep], accuracy[keep])


def _covers(values, truth):
    low, high = interval(values)
    return (low <= truth) & (truth <= high)


def alarms(world, quick):
    """Share of windows of unchanged data that alarm, and of data whose inputs are harder, over draws of everything."""
    draws = 50 if quick else 1000
    point = pick(search(world.take(np.arange(5_000)), 3), "max_improvement")
    (sure, thresholds), rng = all_confidences(world, point), np.random.default_rng(2)
    harder = np.argsort(sure[0] + rng.normal(0, 3 * np.std(sure[0]), len(world)))[: 3 * len(world) // 4]
    rows = []
    for window in WINDOWS:
        found = {rate: [0, 0] for rate in RATES}
        for _ in range(draws):
            order = rng.choice(len(world), 5_000 + window, replace=False)
            reference, same = (reaching([s[r] for s in sure], thresholds) for r in (order[:5_000], order[5_000:]))
            shifted = reaching([s[rng.choice(harder, window, replace=False)] for s in sure], thresholds)
            for rate, counts in found.items():
                signal = DriftSignal(tuple(reference), rate)
                counts[0] += signal.check(same).alarm
                counts[1] += signal.check(shifted).alarm
        for rate, (false, true) in found.items():
            what = f"{draws} windows of {window:,} inputs, stated rate {rate:.0%}"
            most = binom.ppf(0.999, draws, rate) / draws  # what chance makes of the stated rate in so many windows
            rows.append(
                (f"false alarms of the drift signal: {what}", false / draws, "share", f"≤ {most:.3g} by chance")
            )
            rows.append((f"… alarms on harder inputs: {what}", true / draws, "share", ""))
    return rows


def near_the_best(quick):
    """Models of 97% to 99% and a cascade that matches the best: the factor by percentiles, the cost ratio exactly."""
    world = ScoreTable(*scores(5, 20_000 if quick else 200_000, seed=7, lowest=0.97, highest=0.99))
    draws, k, rng = 20 if quick else 500, 2_000, np.random.default_rng(3)
    point = pick(search(world.take(np.arange(5_000)), 2), "match_best")
    truth = evaluate(world, point)
    ratio = world.cost[world.row(point.models[-1])] / truth.cost
    factor = (
        Baseline(world.models["cost"], world.models["top1"]).cost_at(min(truth.accuracy, world.models["top1"].max()))
        / truth.cost
    )
    samples = {draw: world.take(rng.choice(len(world), k, replace=False)) for draw in range(draws)}
    table = holds(point, samples, 100 if quick else 500)
    inside = {
        name: table[f"{name}_low"].le(true) & table[f"{name}_high"].ge(true)
        for name, true in (("cost_ratio", ratio), ("improvement", factor))
    }
    what = f"models of 97% to 99%, {draws} draws of {k:,} samples"
    return [
        (
            f"95% intervals that hold the truth, {what}: last model's cost ÷ cascade's",
            inside["cost_ratio"].mean(),
            "share",
            "≥ 0.95",
        ),
        (f"… {what}: improvement, percentiles", inside["improvement"].mean(), "share", ""),
    ]


def rarely_passed_on(quick):
    """The cost interval that is saved with a cascade, where few samples pass on; costs differ by sample in the last."""
    rng, draws, k, rows = np.random.default_rng(4), 50 if quick else 1000, 500, []
    point = Point(("model 0", "model 1"), (0.5,), (1.0, 0.0), 1.0, 1.0, 1.0)
    for passing, varied in ((0.002, False), (0.005, False), (0.01, False), (0.01, True)):
        hits = 0
        for _ in range(draws):
            sure = np.tile(rng.random(k) >= passing, (2, 1)).astype(float)
            cost = np.array([[1.0], [100.0]]) * (rng.choice([0.5, 1.5], (2, k)) if varied else np.ones((2, 1)))
            found = expected(point, ScoreTable(np.ones((2, k), bool), sure, cost if varied else cost[:, 0]))["cost"]
            hits += found["low"] <= 1 + 100 * passing <= found["high"]
        what = f"cost saved with a cascade, {passing:.1%} pass on, {draws} draws of {k} samples"
        rows.append((f"… {what}{', a price for each' if varied else ''}", hits / draws, "share", "≥ 0.95"))
    return rows


def run(quick=False):
    """Rows of the benchmark table."""
    world = ScoreTable(*scores(8, 20_000 if quick else 200_000, seed=5))
    table = coverage(world, quick) + near_the_best(quick) + rarely_passed_on(quick) + alarms(world, quick)
    return [row(*values) for values in table]
