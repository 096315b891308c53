"""Worlds in which claims of the ledger are false, and the ledger's verdicts in them.

A claim with a verdict that is false in a world is listed with that verdict in :data:`WORLDS`. If
both verdicts are listed, the claim is neither true nor false: the world is at its bound.
"""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import norm

from cascadelib import METHODS, ScoreTable, pick, search
from cascadelib.analysis import front_on
from cascadelib.fronts import pair_curve
from tools import ledger
from tools.claims_elsewhere import (
    calibration_claims,
    changes_under_shift,
    shift_claims,
)
from tools.claims_of_methods import (
    MEANS,
    lengths_claims,
    methods_claims,
    tenth_claims,
    time_by_method,
    triple_held_claims,
)
from tools.claims_of_pairs import (
    diversity_of,
    exceeding_claims,
    front_claims,
    inner_hull,
    noise_claims,
    plateau_claims,
    size_claims,
    table1_claims,
    time_claims,
    time_of_singles,
    topk_claims,
)
from tools.evidence import evidence_on_split, over_models
from tools.held_out import lowest_tenth, pairs_held_out, summary_of_factors
from tools.side_by_side import METRICS_OF_MEANS, on_both_splits
from tools.verdicts import CONTRADICTED, SUPPORTED

ACCURACIES = np.array([0.70, 0.80, 0.88, 0.93])
COSTS = [1.0, 10.0, 100.0, 1000.0]
SIMILAR_COSTS = [1.0, 2.0, 4.0, 8.0]
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


def with_useless_confidences(rng):
    """Return the evidence of claims that a random confidence makes false."""
    here, there, shifted = (scores(rng, 0.0, part) for part in ("here", "there", "shifted"))
    front = search(here, 2)
    found = pairs_held_out(front, there)
    found["own-time-improve"] = summary_of_factors(front, there, lowest_tenth)
    found["text-improve"] = summary_of_factors(front, there, np.mean)
    improved = changes_under_shift(front, there, shifted)["shift-improve"]
    found["shift-improve"] = evidence_on_split(improved, shifted, "macs")
    curves = {f"{name} → large": pair_curve(here, name, "large") for name in NAMES[:-1]}
    found["pairs-larger"] = front_claims(front, inner_hull(front))["pairs-larger"]
    return found | exceeding_claims(curves, front, there)


def without_shift(rng):
    """Return the evidence on three "shifted" splits that are other samples of the same
    distribution."""
    front = search(scores(rng, 1.0, "here"), 2)
    own = {name: search(scores(rng, 1.0, name), 2) for name in ("one", "two", "three")}
    return shift_claims(front, scores(rng, 1.0, "there"), own, paired=False)


def with_equal_losses(rng):
    """Return the evidence on three shifted splits where all models lose the same accuracy."""
    front = search(scores(rng, 1.0), 2)
    lower = ACCURACIES - LOSS
    own = {name: search(scores(rng, 1.0, name, accuracies=lower), 2) for name in NAMES[:3]}
    return shift_claims(front, scores(rng, 1.0, "there"), own, paired=False)


def with_twelve_equal_methods(rng):
    """Return the evidence on the paper's methods in both directions, where all twelve are equal.

    The mean ensembles of figure 11 are four of these methods.
    """
    splits = []
    for part in ("here", "there"):
        tables = equal_methods(rng, len(METHODS), part=part)
        splits.append({name: one.take(slice(0, 300)) for name, one in zip(METHODS, tables)})
    directions = []
    for here, there in (splits, splits[::-1]):
        two, three = (
            {name: front_on(there[name], search(here[name], length)) for name in METHODS}
            for length in (2, 3)
        )
        ensembles = dict(zip(OF_MEANS, two.values()))
        directions.append(methods_claims(two, three, two, ensembles))
    return tuple(directions)


def with_equal_methods_in_time(rng):
    """Return the evidence on mean ensembles in time in both directions, where methods are equal."""
    names = ["max_softmax", *(name for name in METHODS if "_mean_" in name)]
    in_macs = [equal_methods(rng, len(names), part=part) for part in ("here", "there")]
    in_time = [
        [ScoreTable(one.correct, one.confidence, TIMES, NAMES, one.sample_ids) for one in split]
        for split in in_macs
    ]
    fronts = zip(both_ways(in_time, 2), both_ways(in_macs, 2))
    return tuple(time_by_method(*(dict(zip(names, each)) for each in pair)) for pair in fronts)


def with_raised_confidences(rng, raised):
    """Return the evidence on three shifted splits where all confidences are higher."""
    front = search(scores(rng, 1.0), 2)
    splits = [score_table(rng, eases(rng), 1.0, name, raised=raised) for name in NAMES[:3]]
    own = {f"split {number}": search(split, 2) for number, split in enumerate(splits)}
    return shift_claims(front, scores(rng, 1.0, "there"), own, paired=False)


def with_similar_costs(rng):
    """Return the evidence on the share of the first models, where a model costs half of the
    next."""
    here = scores(rng, 1.0, "here", SIMILAR_COSTS)
    two, three = (search(here, length) for length in (2, 3))
    shares = {"earlier-cost": front_claims(two, inner_hull(two))["earlier-cost"]}
    return shares | {"earlier-stages": lengths_claims(two, three, three)["earlier-stages"]}


def with_useless_third_models(rng):
    """Return the evidence on triples with random confidences."""
    here = scores(rng, 0.0)
    two, three = (search(here, length) for length in (2, 3))
    return lengths_claims(two, three, three)


def both_ways(splits, length, ranges=True):
    """Yield the fronts selected on one of two splits and evaluated on the other, for each
    direction."""
    for here, there in (splits, splits[::-1]):
        yield [front_on(on, search(one, length), ranges=ranges) for one, on in zip(here, there)]


def with_equal_methods_in_top_k(rng):
    """Return the evidence of figure 10 in both directions, where methods are equal and top-k is as
    hard as top-1."""
    names = ("max softmax", "entropy", "top-k sum", "mean logits", "mean softmax")
    splits = []
    for part in ("here", "there"):
        splits.append([scores(rng, 1.0, part), *equal_methods(rng, len(names), part=part)])
    return tuple(topk_claims(one, dict(zip(names, more))) for one, *more in both_ways(splits, 2))


def with_equal_methods_in_triples(rng):
    """Return the evidence of figure 4 in both directions, where a method and the mean ensemble are
    equal."""
    splits = [equal_methods(rng, 2, part=part) for part in ("here", "there")]
    fronts = both_ways(splits, 3, ranges=False)
    return tuple(lengths_claims(three, three, means) for three, means in fronts)


def top_k_of_two_methods(rng, noise, more_noise):
    """Return the evidence of figure 10 in both directions, where all methods but the means are
    equal.

    noise: factors on the noise of the confidences of each model under the means. more_noise:
    factors on independent noise under the means.
    """
    splits = []
    for part in ("here", "there"):
        ease = eases(rng)
        shared, own = rng.normal(size=(2, *ease.shape))
        of_means = np.array(noise)[:, None] * shared + np.array(more_noise)[:, None] * own
        ids = [f"{part} {number}" for number in range(SAMPLES)]
        confidences = (ease + shared, ease + of_means)
        splits.append([ScoreTable(ease > 0, each, COSTS, NAMES, ids) for each in confidences])
    directions = []
    for plain, mean in both_ways(splits, 2):
        listed = {"max softmax": plain, "entropy": plain, "top-k sum": mean}
        listed |= {"mean logits": mean, "mean softmax": mean}
        directions.append(topk_claims(plain, listed))
    return tuple(directions)


def with_means_that_lead_everywhere(rng):
    """Return the evidence of figure 10, where means have a factor 12% larger below the upper
    quarter of the range, and more above it."""
    return top_k_of_two_methods(rng, (0.8, 0.8, 0.8, 1), (0, 0, 0, 0))


def with_means_that_lead_at_the_end(rng):
    """Return the evidence of figure 10, where means lead from place 0.81 of the range, and are
    slightly worse below it."""
    return top_k_of_two_methods(rng, (1, 1, 0.3, 1), (0.15, 0.15, 0, 0))


def with_methods_that_cross(rng):
    """Return the evidence of figure 10, where the top-k sum leads as much of the range as
    entropy."""
    return top_k_of_two_methods(rng, (CROSSING, 1, 1, 1), (0, 0.8, 0.8, 0))


def with_equal_gains_by_size(rng):
    """Return the evidence on single models whose accuracy rises evenly with the logarithm of
    cost."""
    here, there = (scores(rng, 1.0, part, accuracies=EQUAL_STEPS) for part in ("here", "there"))
    return size_claims(search(here, 1), there)


def with_harmful_confidences(rng):
    """Return the evidence on exit rates, where wrong answers have the high confidences."""
    front = search(scores(rng, -2.0), 2)
    return front_claims(front, inner_hull(front))


def with_informative_confidences(rng):
    """Return the evidence on the least factor, where pairs improve at every inner model."""
    front = search(scores(rng, 4.0), 2)
    return front_claims(front, inner_hull(front))


def without_selection(rng):
    """Return the evidence on the losses of cascades that neither split selected."""
    chosen, here, there = (scores(rng, 1.0, part) for part in ("chosen", "here", "there"))
    two, three = (search(chosen, length) for length in (2, 3))
    best, third = (pick(front, "max_improvement", caution=0) for front in (two, three))
    points = [two.point(row) for row in np.linspace(0, len(two) - 1, 6).astype(int)[1:-1]]
    found = table1_claims(points, on_both_splits(here, there, points), here, there)
    found |= noise_claims(replace(two, store=here), there)
    return found | triple_held_claims(best, third, here, there)


def with_times_like_macs(rng):
    """Return the evidence on pairs in "time", where both kinds of cost are equal.

    Times of single models are proportional to their MACs, with an error of 1%.
    """
    timed, counted = (search(one, 2) for one in equal_methods(rng, 2))
    macs = np.exp(np.arange(MODELS))
    singles = [
        pd.DataFrame({"cost": cost, "on_front": True})
        for cost in (macs, macs * np.exp(0.01 * rng.normal(size=MODELS)))
    ]
    return time_claims(timed, counted) | time_of_singles(*singles)


def with_a_model_below_the_hull(rng):
    """Return the evidence on factors on and off the hull, where pairs gain at the cheap hull model.

    The factor of the model below the hull is less than those of its neighbours let expect.
    """
    front = search(scores(rng, 0.8, "here", HULL_COSTS, BELOW_THE_HULL), 2)
    return time_claims(front, front)


def with_few_thresholds(rng):
    """Return the evidence on every tenth threshold of few samples."""
    return tenth_claims(search(scores(rng, 1.0).take(np.arange(FEW)), 3))


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
    of_front = table[["first", "second"]].assign(
        on_front=about["on_front"] > 1,
        two_families=families[first] != families[second],
    )
    found = over_models(plateau_claims, table, costs, costs.index)
    return found | over_models(diversity_of, of_front)


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
    averages = {}
    for number, name in enumerate(names):
        spearman = 0.8 if number == 0 else 0.97
        pearson = 2 * np.sin(np.pi / 6 * spearman)  # of normal variables
        pair = rng.normal(size=(50, 2))
        pair[:, 1] = pearson * pair[:, 0] + np.sqrt(1 - pearson**2) * pair[:, 1]
        averages[name] = pd.DataFrame(pair, columns=["accuracy", "confidence"])
    parts = 0.01 * rng.normal(size=(10, MODELS, 2))
    effects = []
    for values in (parts.mean(axis=0), *parts):
        frame = pd.DataFrame(values, names, ["above_perfect", "below_perfect"])
        sizes = 0.005 / norm.expect(abs) * np.abs(gaps) / 0.02
        effects.append(frame.assign(above_scaled_size=sizes))
    ratios = np.array([0.95, 1.0, 1.0, 1.0]) + 0.01 * rng.normal(size=4)
    half = 0.01 * norm.isf(0.025 / len(ratios))
    ends = {"cost_ratio_low": ratios - half, "cost_ratio_high": ratios + half}
    scaling = pd.DataFrame({"cost_ratio": ratios} | ends)
    return calibration_claims(table, averages, effects, scaling, {}, SAMPLES)


# world: (its evidence, or that of two directions, {claim: words that are false there})
WORLDS = {
    "useless confidences": (
        with_useless_confidences,
        dict.fromkeys(
            [
                "pairs-improve",
                "pairs-top",
                "best-for-less",
                "own-time-improve",
                "text-improve",
                "shift-improve",
                "plateau-exceeds",
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
        # exit rates change by 1.08 to 1.30 points more at some cascades than at others
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
        dict.fromkeys(["shift-lose", "shift-exits", "shift-degree"], [SUPPORTED])
        | dict.fromkeys(["shift-range", "shift-order", "shift-harm"], BOTH),
    ),
    "equal losses": (
        with_equal_losses,
        {"shift-lose": [CONTRADICTED], "shift-range": BOTH, "shift-order": BOTH},
    ),
    "twelve equal methods": (
        with_twelve_equal_methods,
        dict.fromkeys(["ensembles-none", "scaling-means"], [CONTRADICTED])
        | {"margin-everywhere": [SUPPORTED]}
        | dict.fromkeys(
            [
                "first",
                "second",
                "worst-plain",
                "margin-below-78",
                "mac-dominance",
                "compared-least",
                "ensembles-front",
                "ensembles-top",
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
    "similar costs": (
        with_similar_costs,
        dict.fromkeys(["earlier-cost", "earlier-stages"], [SUPPORTED]),
    ),
    "useless third models": (
        with_useless_third_models,
        dict.fromkeys(["third-gain", "third-less", "third-regimes"], [SUPPORTED]),
    ),
    "equal methods in triples": (with_equal_methods_in_triples, {"triples-plain": BOTH}),
    "equal methods in top-k": (
        with_equal_methods_in_top_k,
        dict.fromkeys(
            [
                "topk-difference",
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
        with_means_that_lead_everywhere,
        {"topk-means": [SUPPORTED], "topk-means-place": [CONTRADICTED]},
    ),
    "means that lead at the end": (
        with_means_that_lead_at_the_end,
        dict.fromkeys(["topk-means", "topk-means-place"], [CONTRADICTED]),
    ),
    "methods that cross": (with_methods_that_cross, {"topk-sum": BOTH}),
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
    claims = ledger.paper_claims().loc[list(false_words)]
    by_claim = Counter()
    families = Counter()
    for number in range(first, first + draws):
        evidence = evidence_in(np.random.default_rng((seed, number)))
        directions = evidence if isinstance(evidence, tuple) else (evidence,)
        found = ledger.verdicts_of(claims, ledger.in_all(*directions))
        false = [name for name, verdict in found.items() if verdict.word in false_words[name]]
        by_claim.update(false)
        families.update(set(claims.loc[false, "family"]))
    return families, by_claim
