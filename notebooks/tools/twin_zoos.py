"""Test which of the paper's findings depend on the training of the models.

The zoos in ``data/fashion-mnist/twins`` have models of the same eight sizes, on the same images in
the same epochs. They were trained on hard labels (twice, with different seeds), on smoothed labels,
or with a large model as well. All zoos are evaluated on the same samples, so differences are
paired.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from scipy.stats import norm

import cascadelib as cl
from cascadelib.analysis import front_on, mean_cost_ratio
from cascadelib.analysis.comparison import resampled_cost_ratio
from cascadelib.analysis.uncertainty import resampled_means, sample_counts
from cascadelib.evaluation.intervals import with_ends

FOLDER = "data/fashion-mnist"
SPLITS = ("val", "test")
HARD = "hard"
AGAIN = "hard-again"
TAUGHT = ("smoothed", "distilled")
BUNDLED = "bundled"
IN_WORDS = {
    HARD: "hard labels",
    AGAIN: "hard labels, another seed",
    "smoothed": "smoothed labels",
    "distilled": "distilled",
    BUNDLED: "the bundled models",
}
KINDS = {  # kind of training: its zoos
    "hard labels": (HARD, AGAIN),
    "smoothed labels": ("smoothed",),
    "distilled": ("distilled",),
}
COMPARED = {  # measure: the two methods whose costs at equal accuracy are divided
    "cost of softmax margin ÷ max softmax": ("softmax_margin", "max_softmax"),
    "cost of entropy ÷ max softmax": ("entropy", "max_softmax"),
    "cost of mean softmax ÷ max softmax": ("max_softmax_mean_softmax", "max_softmax"),
    "cost of mean softmax ÷ mean logits": ("max_softmax_mean_softmax", "max_softmax_mean_logits"),
    "cost with temperature scaling ÷ without, mean softmax": (
        "max_softmax_mean_softmax_ts",
        "max_softmax_mean_softmax",
    ),
}
GAP = "mean confidence − accuracy"
GAIN = "log-likelihood gained by temperature scaling"
FACTOR = "mean improvement factor of pairs"
SAVING = "saving of the pair that matches the best model"
LEVEL = 0.95  # of an interval
Drawn = tuple[float, np.ndarray]
Zoo = tuple[cl.LogitStore, cl.LogitStore]


def open_zoos() -> dict[str, Zoo]:
    """Return {zoo: (selection split, held-out split)}, with the bundled models of these sizes
    last."""
    zoos = {}
    for name in (HARD, AGAIN, *TAUGHT):
        zoos[name] = tuple(cl.LogitStore(f"{FOLDER}/twins/{name}/{split}") for split in SPLITS)
    bundled = []
    for part in zoos[HARD]:
        full = cl.LogitStore(f"{FOLDER}/{part.split}").select(part.models.index)
        is_shared = np.isin(full.sample_ids, part.sample_ids)
        bundled.append(full.take(is_shared))
    return zoos | {BUNDLED: tuple(bundled)}


def kinds_of_training(dataset: str) -> dict[str, list[Zoo]]:
    """Return {kind of training: its zoos} if the data set has such zoos, else {}."""
    if dataset != "fashion-mnist":
        return {}
    zoos = open_zoos()
    return {kind: [zoos[name] for name in names] for kind, names in KINDS.items()}


def measured(zoo: Zoo, counts: np.ndarray) -> dict[str, Drawn]:
    """Return {measure: (its value, its draws [R])} of a zoo on the held-out split.

    Cascades are selected and temperatures fitted on the other split. counts: the resamples, int [k,
    R]. The measures are mean max softmax minus accuracy, the gain in log-likelihood by temperatures
    (in nats), the mean improvement of pairs by max softmax, the ratios of ``COMPARED``, and the
    cost of the most accurate model ÷ that of the pair that matches it on the selection split.
    """
    selection, held_out = zoo
    rows = np.arange(len(held_out))
    gaps = []
    gains = []
    for name in held_out.models.index:
        confidence, correct = cl.analysis.claims_of(held_out, name)
        gaps.append(confidence - correct)
        logits = np.asarray(held_out.logits(name), np.float64)
        temperature = cl.fit_temperature(selection.logits(name), selection.labels)
        plain = log_softmax(logits, axis=1)
        scaled = log_softmax(logits / temperature, axis=1)
        of_label = (rows, held_out.labels)
        gains.append(scaled[of_label] - plain[of_label])
    found = {GAP: mean_over_models(gaps, counts), GAIN: mean_over_models(gains, counts)}
    moved: dict[str, Any] = {}
    drawn: dict[str, Any] = {}
    for method in dict.fromkeys(chain.from_iterable(COMPARED.values())):
        fitted = cl.METHODS[method].fit(selection)
        front = cl.search(selection, 2, fitted, cost="macs")
        moved[method] = front_on(held_out, front, ranges=False)
        drawn[method] = cl.bootstrap(held_out, front, counts)
    factor = moved["max_softmax"].mean_improvement()
    found[FACTOR] = factor, drawn["max_softmax"].mean_improvement()
    for label, (one, other) in COMPARED.items():
        ratio = mean_cost_ratio(moved[other], moved[one])
        found[label] = ratio, resampled_cost_ratio(drawn[other], drawn[one])
    front = cl.search(selection, 2, cost="macs")
    point = cl.pick(front, "match_best", caution=0)
    best = selection.models["macs"][selection.models["top1"].idxmax()]
    cost = cl.evaluate(held_out, point).cost
    drawn_costs = cl.bootstrap(held_out, [point], counts).cost[:, 0]
    found[SAVING] = float(best / cost), best / drawn_costs
    return found


def mean_over_models(values: Sequence[np.ndarray], counts: np.ndarray) -> Drawn:
    """Average M arrays [k] of per-sample values over the models, and over each resample."""
    mean = np.mean(values, axis=0)
    return float(mean.mean()), resampled_means(counts, mean[None])[:, 0]


def dependence(zoos: dict[str, Zoo], resamples: int = 100) -> pd.DataFrame:
    """Measure each zoo, and its difference from the zoos of hard labels.

    Rows: (measured, zoo). Columns: value, low, high. ``from_hard`` and ``from_again``: the
    differences from either seed with their ends, from the same resamples. Intervals of differences
    hold simultaneously (Bonferroni). depends: "yes" for a zoo with other training if both intervals
    are on one side of 0. They must also be further from 0 than the two seeds from each other.
    Otherwise "–".
    """
    counts = sample_counts(len(zoos[HARD][1]), resamples)
    found = {name: measured(zoo, counts) for name, zoo in zoos.items()}
    labels = list(found[HARD])
    intervals = 2 * len(TAUGHT) * len(labels)
    joint_level = 1 - (1 - LEVEL) / intervals
    rows = {}
    for label in labels:
        one, other = (found[seed][label][0] for seed in (HARD, AGAIN))
        chance = abs(other - one)
        for name in zoos:
            value, draws = found[name][label]
            row = with_ends(value, normal_ends(value, draws, LEVEL), "value")
            side = 0  # 2: both differences are significantly positive, −2: negative
            for column, reference in (("from_hard", HARD), ("from_again", AGAIN)):
                base_value, base_draws = found[reference][label]
                difference = value - base_value
                low, high = normal_ends(difference, draws - base_draws, joint_level)
                row |= with_ends(difference, (low, high), column)
                side += int(low > chance) - int(high < -chance)
            differs = name in TAUGHT and abs(side) == 2
            rows[label, name] = row | {"depends": "yes" if differs else "–"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["measured", "zoo"])


def normal_ends(value: float, draws: np.ndarray, level: float) -> tuple[float, float]:
    """Return the ends of the normal interval with the draws' standard deviation."""
    quantile = norm.isf((1 - level) / 2)
    half = float(quantile * draws.std(ddof=1))
    return value - half, value + half


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Format :func:`dependence` for reading: each measure, zoo by zoo, and whether it depends on
    training."""
    text = {}
    for (label, zoo), row in table.iterrows():
        text[label, zoo] = f"{row['value']:.3f} [{row['value_low']:.3f}, {row['value_high']:.3f}]"
    shown = pd.Series(text).unstack(sort=False).rename(columns=IN_WORDS)
    depends = table["depends"].eq("yes").groupby("measured", sort=False).any()
    answers = depends.map({True: "yes", False: "–"})
    return shown.assign(depends=answers).rename_axis("measured")
