"""Worlds in which claims of the ledger are false, and the ledger's verdicts in them.

A claim with a verdict that is false in a world is listed with that verdict in :data:`WORLDS`. If
both verdicts are listed, the claim is neither true nor false: the world is at its bound.
"""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import norm, spearmanr

from cascadelib import METHODS, ScoreTable, bootstrap, search
from cascadelib.analysis import front_on
from tools.claims import calibration, catalogue, ledger, methods, pairs, published, shift, texts
from tools.claims.evidence import Evidence, correlations
from tools.claims.verdicts import CONTRADICTED, SUPPORTED
from tools.claims.views import make_views, views_of_fronts, with_samples
from tools.designs import MEANS

METRICS_OF_MEANS = ("max_softmax", "softmax_margin")
ACCURACIES = np.array([0.70, 0.80, 0.88, 0.93])
COSTS = [1.0, 10.0, 100.0, 1000.0]
TIMES = [1.0, 3.0, 30.0, 50.0]
EQUAL_STEPS = np.array([0.6, 0.7, 0.8, 0.9])  # accuracies
BELOW_THE_HULL = np.array([0.66, 0.70, 0.76, 0.95])  # the third model, at the costs
HULL_COSTS = [1.0, 10.0, 800.0, 2000.0]
OF_MEANS = [f"{metric}, {mean}" for metric in METRICS_OF_MEANS for mean in MEANS]
FEW = 100  # samples, so that every tenth threshold is coarse
SAMPLES = 1000
LOSS = 0.02
SHARED = 0.6  # share of the variance of difficulty that all models share
NAMES = ["tiny", "small", "middle", "large"]
CROSSING = 0.695  # factor on noise at which cascades that 1,000 samples select lead equally often
MODELS = 16  # in worlds of tables about models
BOTH = [SUPPORTED, CONTRADICTED]


def with_error(value, error):
    """Return a value with normal draws around it."""
    rng = np.random.default_rng(len(str(value)))
    draws = np.asarray(value, float) + error * rng.standard_normal((60, *np.shape(value)))
    if isinstance(value, pd.Series):
        return Evidence(value, [pd.Series(draw, value.index) for draw in draws], 50_000)
    return Evidence(value, list(draws), 50_000)


def eases(rng, accuracies=ACCURACIES):
    """Return how easily each of four models answers each sample: correct answers are positive."""
    ease = np.sqrt(SHARED) * rng.normal(size=SAMPLES)
    ease = ease + np.sqrt(1 - SHARED) * rng.normal(size=(len(NAMES), SAMPLES))
    return ease + norm.ppf(accuracies)[:, None]


def score_table(rng, ease, information, part, costs=COSTS, raised=0.0):
    """Return the scores of one split.

    information: the weight of the ease in a confidence. raised: what is added to all confidences.
    """
    confidence = information * ease + rng.normal(size=ease.shape) + raised
    ids = [f"{part} {number}" for number in range(SAMPLES)]
    return ScoreTable(ease > 0, confidence, costs, NAMES, ids)


def scores(rng, information, part="here", costs=COSTS, accuracies=ACCURACIES):
    """Return one split of four models."""
    return score_table(rng, eases(rng, accuracies), information, part, costs)


def equal_methods(rng, count, information=1.0, part="here"):
    """Return tables of one split by methods that differ by the noise of their confidences alone."""
    ease = eases(rng)
    return [score_table(rng, ease, information, part) for _ in range(count)]


def of_pairs(front, there, points=()):
    """Return the evidence on a front of pairs, on another split."""
    points = list(points) or [front.point(len(front) // 2)]
    views = make_views({"macs": front}, pairs.groups_of(front, points), front.store, there)
    return pairs.SAMPLES.measure(views, len(there), without_logits(pairs.SAMPLES))


def without_logits(claims):
    """The names of the claims that a ScoreTable can test."""
    return [name for name, claim in claims.items() if "logits" not in claim.needs]


def with_useless_confidences(rng):
    """Return the evidence of claims that a random confidence makes false."""
    here, there, shifted = (scores(rng, 0.0, part) for part in ("here", "there", "shifted"))
    front = search(here, 2)
    found = of_pairs(front, there) | texts.of_tasks({"task": front}, {"task": there})
    found |= pairs.TIMES.measure(pairs.time_views(front, front, here, there), SAMPLES)
    return found | shift.of_changes(front, there, [shifted])


def shifted_evidence(front, there, splits):
    return shift.of_changes(front, there, splits) | shift.of_near(front, splits)


def without_shift(rng):
    """Return the evidence on three "shifted" splits that are other samples of the same
    distribution."""
    front = search(scores(rng, 1.0, "here"), 2)
    splits = [scores(rng, 1.0, name) for name in ("one", "two", "three")]
    return shifted_evidence(front, scores(rng, 1.0, "there"), splits)


def with_equal_losses(rng):
    """Return the evidence on three shifted splits where all models lose the same accuracy."""
    front = search(scores(rng, 1.0), 2)
    lower = ACCURACIES - LOSS
    splits = [scores(rng, 1.0, name, accuracies=lower) for name in NAMES[:3]]
    return shifted_evidence(front, scores(rng, 1.0, "there"), splits)


def moved_fronts(here, there, length, kind, ranges=True):
    """Return {"kind: method": front} of tables by method, selected here and evaluated there."""
    return {
        f"{kind}: {name}": front_on(there[name], search(here[name], length), ranges)
        for name in here
    }


def with_twelve_equal_methods(rng):
    """Return the evidence on the paper's methods, where all twelve are equal.

    The mean ensembles of figure 11 are four of these methods.
    """
    here, there = (
        {
            name: one.take(slice(0, 300))
            for name, one in zip(METHODS, equal_methods(rng, len(METHODS), part=part))
        }
        for part in ("here", "there")
    )
    fronts = moved_fronts(here, there, 2, "pairs") | moved_fronts(here, there, 3, "triples")
    two = [front for name, front in fronts.items() if name.startswith("pairs")]
    fronts |= {f"time: {name}": front for name, front in zip(METHODS, two)}
    fronts |= {f"means: {name}": front for name, front in zip(OF_MEANS, two)}
    first = next(iter(there.values()))
    views = views_of_fronts(fronts, {}, first, first)
    found = {}
    for claims in (methods.PAIRS, methods.TRIPLES, methods.MEAN_METRICS, methods.TIMES):
        found |= claims.measure(views, len(first))
    return found


def with_equal_methods_in_time(rng):
    """Return the evidence on mean ensembles in time, where methods are equal."""
    names = ["max_softmax", *(name for name in METHODS if "_mean_" in name)]
    here, there = (
        dict(zip(names, equal_methods(rng, len(names), part=part))) for part in ("here", "there")
    )
    timed = [
        {
            name: ScoreTable(one.correct, one.confidence, TIMES, NAMES, one.sample_ids)
            for name, one in split.items()
        }
        for split in (here, there)
    ]
    fronts = moved_fronts(here, there, 2, "pairs") | moved_fronts(*timed, 2, "time")
    first = there["max_softmax"]
    return methods.TIMES.measure(views_of_fronts(fronts, {}, first, first), SAMPLES)


def with_raised_confidences(rng, raised):
    """Return the evidence on three shifted splits where all confidences are higher."""
    front = search(scores(rng, 1.0), 2)
    splits = [score_table(rng, eases(rng), 1.0, name, raised=raised) for name in NAMES[:3]]
    return shifted_evidence(front, scores(rng, 1.0, "there"), splits)


def of_lengths(here, there, means=None):
    """Return the evidence on pairs and triples of tables. means: triples of the mean ensemble."""
    fronts = {"two": search(here, 2), "three": search(here, 3)}
    fronts["tenth"] = methods.thinned(fronts["three"])
    fronts["shared"] = fronts["three"]
    if means is not None:
        moved = {name: front_on(there, front, ranges=False) for name, front in fronts.items()}
        moved["mean logits"] = front_on(means[1], search(means[0], 3), ranges=False)
        groups = {
            "best": [front.point(len(front) - 1) for front in (fronts["two"], fronts["three"])]
        }
        views = views_of_fronts(moved, groups, here, there)
        return methods.LENGTHS.measure(views, len(there))
    views = methods.length_views(fronts, here, there)
    return methods.LENGTHS.measure(views, len(there), without_logits(methods.LENGTHS))


def with_useless_third_models(rng):
    """Return the evidence on triples with random confidences."""
    return of_lengths(scores(rng, 0.0), scores(rng, 0.0, "there"))


def of_top_k(tables):
    """Return the evidence of figure 10 from {name: (table here, table there)}, "macs" in top-1."""
    fronts = {name: front_on(there, search(here, 2)) for name, (here, there) in tables.items()}
    here, there = tables["macs"]
    front = search(here, 2)
    groups = pairs.groups_of(front, [front.point(len(front) // 2)])
    views = views_of_fronts(fronts, groups, here, there)
    found = pairs.SAMPLES.measure(views, SAMPLES)
    return {name: each for name, each in found.items() if name.startswith("topk")}


TOP_K = ("macs", "max softmax", "entropy", "sum", "mean logits", "mean softmax")


def with_equal_methods_in_top_k(rng):
    """Return the evidence of figure 10, where methods are equal and top-k is as hard as top-1."""
    splits = []
    for part in ("here", "there"):
        splits.append([scores(rng, 1.0, part), *equal_methods(rng, len(TOP_K) - 1, part=part)])
    return of_top_k(dict(zip(TOP_K, zip(*splits))))


def with_equal_methods_in_triples(rng):
    """Return the evidence of figure 4, where a method and the mean ensemble are equal."""
    (here, mean_here), (there, mean_there) = (
        equal_methods(rng, 2, part=part) for part in ("here", "there")
    )
    return of_lengths(here, there, (mean_here, mean_there))


def top_k_of_two_methods(rng, noise, more_noise):
    """Return the evidence of figure 10, where all methods but the means are equal.

    noise: factors on the noise of the confidences of each model under the means. more_noise:
    factors on independent noise under the means.
    """
    plain = []
    mean = []
    for part in ("here", "there"):
        ease = eases(rng)
        shared, own = rng.normal(size=(2, *ease.shape))
        of_means = np.array(noise)[:, None] * shared + np.array(more_noise)[:, None] * own
        ids = [f"{part} {number}" for number in range(SAMPLES)]
        plain.append(ScoreTable(ease > 0, ease + shared, COSTS, NAMES, ids))
        mean.append(ScoreTable(ease > 0, ease + of_means, COSTS, NAMES, ids))
    tables = dict.fromkeys(("macs", "max softmax", "entropy"), plain)
    return of_top_k(tables | dict.fromkeys(("sum", "mean logits", "mean softmax"), mean))


def with_equal_gains_by_size(rng):
    """Return the evidence on single models whose accuracy rises evenly with the logarithm of
    cost."""
    there = scores(rng, 1.0, "there", accuracies=EQUAL_STEPS)
    reference = search(there, 1).reference
    drawn = bootstrap(there, [reference], with_samples(there)).single_accuracy
    value, *draws = [published.size_diminishes(pd.Series(COSTS), row) for row in drawn]
    return {"size-diminishes": Evidence(value, draws, SAMPLES)}


def with_harmful_confidences(rng):
    """Return the evidence on exit rates, where wrong answers have the high confidences."""
    return of_pairs(search(scores(rng, -2.0), 2), scores(rng, -2.0, "there"))


def with_informative_confidences(rng):
    """Return the evidence on the least factor, where pairs improve at every inner model."""
    return of_pairs(search(scores(rng, 4.0), 2), scores(rng, 4.0, "there"))


def without_selection(rng):
    """Return the evidence on the losses of cascades that neither split selected."""
    chosen, here, there = (scores(rng, 1.0, part) for part in ("chosen", "here", "there"))
    two = search(chosen, 2)
    points = [two.point(row) for row in np.linspace(0, len(two) - 1, 6).astype(int)[1:-1]]
    found = of_pairs(replace(two, store=here), there, points)
    fronts = {"two": two, "three": search(chosen, 3)}
    fronts |= {"tenth": fronts["three"], "shared": fronts["three"]}
    views = methods.length_views(fronts, here, there)
    return found | methods.LENGTHS.measure(views, SAMPLES, without_logits(methods.LENGTHS))


def with_times_like_macs(rng):
    """Return the evidence on pairs in "time", where both kinds of cost are equal.

    Times of single models are proportional to their MACs, with an error of 1%.
    """
    here, there = (equal_methods(rng, 2, part=part) for part in ("here", "there"))
    timed, counted = (front_on(*pair) for pair in zip(there, (search(one, 2) for one in here)))
    groups = {"spaced": [timed.point(0)]}
    views = views_of_fronts({"seconds": timed, "macs": counted}, groups, there[0], there[0])
    macs = np.exp(np.arange(MODELS))
    tables = [
        pd.DataFrame({"cost": cost, "on_front": True})
        for cost in (macs, macs * np.exp(0.01 * rng.normal(size=MODELS)))
    ]
    return pairs.TIMES.measure(views, SAMPLES) | published.singles_in_time(*tables)


def with_a_model_below_the_hull(rng):
    """Return the evidence on factors on and off the hull, where pairs gain at the cheap hull model.

    The factor of the model below the hull is less than those of its neighbours let expect.
    """
    here, there = (scores(rng, 0.8, part, HULL_COSTS, BELOW_THE_HULL) for part in ("here", "there"))
    front = search(here, 2)
    return pairs.TIMES.measure(pairs.time_views(front, front, here, there), SAMPLES)


def with_few_thresholds(rng):
    """Return the evidence on every tenth threshold of few samples."""
    here, there = (scores(rng, 1.0, part).take(np.arange(FEW)) for part in ("here", "there"))
    return of_lengths(here, there)


def with_unrelated_gains(rng):
    """Return the evidence on pairs whose gain, plateau and place on the front depend on nothing.

    Pairs that share a model have similar gains and plateaus. The median plateau is at its bound.
    Families are random.
    """
    names = [f"m{number}" for number in range(MODELS)]
    costs = pd.Series(np.sort(np.exp(rng.uniform(0, 8, MODELS))), names)
    accuracy = np.sort(rng.uniform(0.7, 0.95, MODELS))
    first, second = np.triu_indices(MODELS, 1)
    about = {}
    for column in ("plateau", "mean_improvement", "on_front"):
        of_models = rng.normal(size=(2, MODELS))
        about[column] = of_models[0, first] + of_models[1, second] + rng.normal(size=len(first))
    table = pd.DataFrame(
        {
            "first": np.array(names)[first],
            "second": np.array(names)[second],
            "accuracy_difference": accuracy[second] - accuracy[first],
            "cost_ratio": costs.to_numpy()[second] / costs.to_numpy()[first],
            "plateau": 0.5 + 0.1 * about["plateau"],
            "mean_improvement": 2 + 0.3 * about["mean_improvement"],
        }
    )
    families = rng.integers(0, 4, MODELS)
    order = list(costs.index)
    table["cost"] = table["second"].map(costs)
    table["on_front"] = about["on_front"] > 1
    table["two_families"] = families[first] != families[second]
    table["is_neighbour"] = [
        pair in zip(order, order[1:]) for pair in zip(table["first"], table["second"])
    ]
    return pairs.of_models(table)


def at_the_bounds_of_calibration(rng):
    """Return the evidence of figures 13 and 14 from tables of models at the claims' bounds.

    Gaps are symmetric around 0. Scaling changes the accuracy above a threshold by half a point. One
    model has a rank correlation of 0.8, and one method costs 0.95 with scaling. Perfect calibration
    has no effect on any model. Half of the models have names of large families.
    """
    names = [f"{'beit' if number % 2 else 'm'}{number}" for number in range(MODELS)]
    gaps = 0.02 * rng.normal(size=MODELS)
    words = np.where(gaps < 0, "underconfident", "overconfident")
    table = pd.DataFrame({"gap": gaps, "verdict": words}, names)
    spearman = np.where(np.arange(MODELS) == 0, 0.8, 0.97)
    pearson = 2 * np.sin(np.pi / 6 * spearman)  # of normal variables
    x, noise = rng.normal(size=(2, 50, MODELS))
    y = pearson * x + np.sqrt(1 - pearson**2) * noise
    correlated = [spearmanr(x[:, m], y[:, m]).statistic for m in range(MODELS)]
    parts = 0.01 * rng.normal(size=(10, MODELS, 2))
    effects = []
    for values in (parts.mean(axis=0), *parts):
        frame = pd.DataFrame(values, names, ["above_perfect", "below_perfect"])
        sizes = 0.005 / norm.expect(abs) * np.abs(gaps) / 0.02
        effects.append(frame.assign(above_scaled_size=sizes))
    ratios = np.array([0.95, 1.0, 1.0, 1.0]) + 0.01 * rng.normal(size=4)
    scaling = pd.DataFrame({"cost_ratio": ratios, "error": 0.01})
    found = calibration.of_models(table, effects[0])
    found["rising"] = correlations(correlated, 50)
    found["perfect"] = calibration.perfect(effects[1:], SAMPLES)
    return found | {"scaling-fronts": calibration.scaling_fronts(scaling, SAMPLES)}


# world: (its evidence, {claim: words that are false there})
WORLDS = {
    "useless confidences": (
        with_useless_confidences,
        dict.fromkeys(
            [
                "pairs-improve",
                "pairs-top",
                "best-for-less",
                "time-improve",
                "text-improve",
                "shift-improve",
                "pairs-larger",
            ],
            [SUPPORTED],
        ),
    ),
    "equal gains by size": (with_equal_gains_by_size, {"size-diminishes": BOTH}),
    "harmful confidences": (with_harmful_confidences, {"early-exits": [SUPPORTED]}),
    "informative confidences": (with_informative_confidences, {"pairs-dip": [SUPPORTED]}),
    "no selection": (
        without_selection,
        dict.fromkeys(["front-noise", "table1-lower", "triple-cost"], BOTH),
    ),
    "times like MACs": (with_times_like_macs, {"time-less": BOTH, "macs-time": [SUPPORTED]}),
    "raised confidences elsewhere": (
        partial(with_raised_confidences, raised=10.0),  # all samples exit with the old thresholds
        {"shift-near": [SUPPORTED]},
    ),
    "slightly raised confidences": (
        # changes of exit rates have a standard deviation of 1.1 to 1.4 points over cascades
        partial(with_raised_confidences, raised=0.16),
        {"shift-degree": [CONTRADICTED]},
    ),
    "a model below the hull": (
        with_a_model_below_the_hull,
        {"time-concave": [SUPPORTED]},
    ),
    "few thresholds": (with_few_thresholds, {"tenth": [SUPPORTED]}),
    "no shift": (
        without_shift,
        dict.fromkeys(["shift-lose", "shift-degree"], [SUPPORTED])
        | dict.fromkeys(["shift-range", "shift-order", "shift-harm"], BOTH),
    ),
    "equal losses": (
        with_equal_losses,
        {"shift-lose": [CONTRADICTED], "shift-range": BOTH, "shift-order": BOTH},
    ),
    "twelve equal methods": (
        with_twelve_equal_methods,
        {"margin-everywhere": [SUPPORTED]}
        | dict.fromkeys(
            [
                "first",
                "second",
                "worst-plain",
                "margin-below-78",
                "mac-dominance",
                "compared-least",
                "means-softmax",
                "logits-86",
                "logits-top",
                "time-first",
                "time-86",
                "time-softmax",
                "triples-first",
                "triples-first-80",
                "triples-low",
                "triples-high",
                "triples-means",
                "triples-softmax",
                "means-margin",
                "means-max",
            ],
            BOTH,
        ),
    ),
    "equal methods in time": (
        with_equal_methods_in_time,
        dict.fromkeys(["time-means", "time-softmax"], BOTH),
    ),
    "useless third models": (
        with_useless_third_models,
        dict.fromkeys(["third-less", "third-regimes"], [SUPPORTED]),
    ),
    "equal methods in triples": (
        # Leads at fewer than half of the accuracies are frequent there, and contradict the claim.
        with_equal_methods_in_triples,
        {"triples-plain": [SUPPORTED]},
    ),
    "equal methods in top-k": (
        with_equal_methods_in_top_k,
        dict.fromkeys(
            [
                "topk-low",
                "topk-high",
                "topk-entropy",
                "topk-sum",
                "topk-means-place",
            ],
            BOTH,
        )
        | {"topk-means": [CONTRADICTED]},
    ),
    "means that lead everywhere": (
        # a factor 12% larger below the upper quarter of the range, and more above it
        partial(top_k_of_two_methods, noise=(0.8, 0.8, 0.8, 1), more_noise=(0, 0, 0, 0)),
        {"topk-means": [SUPPORTED], "topk-means-place": [CONTRADICTED]},
    ),
    "means that lead at the end": (
        # from place 0.81 of the range, and slightly worse below it
        partial(top_k_of_two_methods, noise=(1, 1, 0.3, 1), more_noise=(0.15, 0.15, 0, 0)),
        dict.fromkeys(["topk-means", "topk-means-place"], [CONTRADICTED]),
    ),
    "methods that cross": (
        # the top-k sum leads as much of the range as entropy, as in triples
        partial(top_k_of_two_methods, noise=(CROSSING, 1, 1, 1), more_noise=(0, 0.8, 0.8, 0)),
        {"topk-sum": [SUPPORTED]},
    ),
    "unrelated gains": (
        with_unrelated_gains,
        dict.fromkeys(
            [
                "plateau-kept",
                "plateau-difference",
                "plateau-size",
                "pair-difference",
                "pair-size",
                "pair-both",
                "diversity",
            ],
            BOTH,
        ),
    ),
    "bounds of calibration": (
        at_the_bounds_of_calibration,
        dict.fromkeys(
            ["underconfident", "large-families", "scaling-curves", "rising", "scaling-fronts"], BOTH
        )
        | {"perfect": [SUPPORTED]},
    ),
}


def false_verdicts(world, draws, seed=0, first=0):
    """Count the draws with a false verdict, by family and by claim. first: number of the first
    draw."""
    evidence_in, false_words = WORLDS[world]
    claims = catalogue.paper_claims().loc[list(false_words)]
    by_claim = Counter()
    families = Counter()
    for number in range(first, first + draws):
        evidence = evidence_in(np.random.default_rng((seed, number)))
        found = ledger.verdicts_of(claims, {name: evidence[name] for name in false_words})
        false = [name for name, verdict in found.items() if verdict.word in false_words[name]]
        by_claim.update(false)
        families.update(set(claims.loc[false, "family"]))
    return families, by_claim
