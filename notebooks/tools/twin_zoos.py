"""Which of the paper's findings depend on how models were trained.

Twins are models of the same eight sizes, on the same images in the same epochs, that learnt from
hard labels (twice, from different seeds), from smoothed labels, or from a large model as well
(``data/fashion-mnist/twins``). All zoos are measured on the same samples: differences are paired.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from scipy.stats import norm

import cascadelib as cl
from cascadelib.analysis import mean_cost_ratio, moved_front
from cascadelib.analysis.comparison import resampled_cost_ratio
from cascadelib.analysis.uncertainty import resampled_means, sample_counts

FOLDER = "data/fashion-mnist"
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
COMPARED = {  # what is measured: the two methods whose costs at equal accuracy are divided
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
Drawn = tuple[float, np.ndarray]
Zoo = tuple[cl.LogitStore, cl.LogitStore]


def open_zoos(folder: str = FOLDER) -> dict[str, Zoo]:
    """{zoo: (the split that chooses, the one that judges)}, and last the bundled zoo's models of
    these sizes on these samples."""
    zoos = {}
    for name in (HARD, AGAIN, *TAUGHT):
        parts = (cl.LogitStore(f"{folder}/twins/{name}/{split}") for split in ("val", "test"))
        zoos[name] = tuple(parts)
    bundled = []
    for part in zoos[HARD]:
        whole = cl.LogitStore(f"{folder}/{part.split}").select(part.models.index)
        bundled.append(whole.take(np.isin(whole.sample_ids, part.sample_ids)))
    return zoos | {BUNDLED: tuple(bundled)}


def measured(chooses: cl.LogitStore, judges: cl.LogitStore, counts: np.ndarray) -> dict[str, Drawn]:
    """{what is measured: (its value, its draws [R])} of a zoo on one split; cascades are chosen and
    temperatures fitted on the other. counts: the resamples, int [k, R]."""
    return {
        GAP: gap(judges, counts),
        GAIN: gain_of_scaling(chooses, judges, counts),
        **methods_compared(chooses, judges, counts),
        SAVING: saving(chooses, judges, counts),
    }


def mean_over_models(values: Sequence[np.ndarray], counts: np.ndarray) -> Drawn:
    """The mean of what each model has on each sample, M arrays [k], and of each resample."""
    mean = np.mean(values, axis=0)
    return float(mean.mean()), resampled_means(counts, mean[:, None])[:, 0]


def gap(judges: cl.LogitStore, counts: np.ndarray) -> Drawn:
    """Mean max softmax less accuracy."""
    values = []
    for name in judges.models.index:
        confidence, correct = cl.analysis.claims_of(judges, name)
        values.append(confidence - correct)
    return mean_over_models(values, counts)


def gain_of_scaling(chooses: cl.LogitStore, judges: cl.LogitStore, counts: np.ndarray) -> Drawn:
    """How much likelier the labels are with the temperatures that fit the other split, in nats."""
    values = []
    rows = np.arange(len(judges))
    for name in judges.models.index:
        logits = np.asarray(judges.logits(name), np.float64)
        temperature = cl.fit_temperature(chooses.logits(name), chooses.labels)
        plain = log_softmax(logits, axis=1)
        scaled = log_softmax(logits / temperature, axis=1)
        values.append(scaled[rows, judges.labels] - plain[rows, judges.labels])
    return mean_over_models(values, counts)


def methods_compared(
    chooses: cl.LogitStore, judges: cl.LogitStore, counts: np.ndarray
) -> dict[str, Drawn]:
    """Fronts of pairs by method: mean improvement of max softmax, and the ratios of
    ``COMPARED``."""
    moved: dict[str, Any] = {}
    drawn: dict[str, Any] = {}
    for method in dict.fromkeys(name for pair in COMPARED.values() for name in pair):
        front = cl.search(chooses, 2, cl.METHODS[method].fit(chooses), cost="macs")
        moved[method] = moved_front(judges, front, ranges=False)
        drawn[method] = cl.bootstrap(judges, front, counts)
    plain = moved["max_softmax"].mean_improvement()
    found = {FACTOR: (plain, drawn["max_softmax"].mean_improvement())}
    for label, (one, other) in COMPARED.items():
        ratio = mean_cost_ratio(moved[other], moved[one])
        found[label] = ratio, resampled_cost_ratio(drawn[other], drawn[one])
    return found


def saving(chooses: cl.LogitStore, judges: cl.LogitStore, counts: np.ndarray) -> Drawn:
    """Cost of the most accurate model ÷ that of the pair that matches it where it was chosen."""
    point = cl.pick(cl.search(chooses, 2, cost="macs"), "match_best", caution=0)
    best = chooses.models["macs"][chooses.models["top1"].idxmax()]
    drawn = cl.bootstrap(judges, [point], counts).cost[:, 0]
    return float(best / cl.evaluate(judges, point).cost), best / drawn


def dependence(zoos: dict[str, Zoo], resamples: int = 100, level: float = 0.95) -> pd.DataFrame:
    """What is measured of each zoo, and of its difference from the twins of hard labels.

    Rows: (measured, zoo). Columns: value, low, high; of the differences from either seed,
    ``from_hard`` and ``from_again`` with their ends, from the same resamples. Intervals of
    differences hold all at once (Bonferroni). depends: "yes" for twins that were trained otherwise
    where both lie on one side of 0, and further from it than the two seeds from each other; else
    "–".
    """
    counts = sample_counts(len(zoos[HARD][1]), resamples)
    found = {name: measured(*zoo, counts) for name, zoo in zoos.items()}
    labels = list(found[HARD])
    at_once = 1 - (1 - level) / (2 * len(TAUGHT) * len(labels))
    rows = {}
    for label in labels:
        chance = abs(found[AGAIN][label][0] - found[HARD][label][0])
        for name in zoos:
            value, draws = found[name][label]
            row = with_interval("value", value, draws, level)
            sides = []
            for column, reference in (("from_hard", HARD), ("from_again", AGAIN)):
                its_value, its_draws = found[reference][label]
                ends = with_interval(column, value - its_value, draws - its_draws, at_once)
                row |= ends
                sides.append(side_of(ends[f"{column}_low"], ends[f"{column}_high"], chance))
            differs = name in TAUGHT and abs(sum(sides)) == len(sides)
            rows[label, name] = row | {"depends": "yes" if differs else "–"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["measured", "zoo"])


def with_interval(name: str, value: float, draws: np.ndarray, level: float) -> dict[str, float]:
    """{name, name_low, name_high}: the normal interval with the draws' standard deviation."""
    half = float(norm.isf((1 - level) / 2) * draws.std(ddof=1))
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def side_of(low: float, high: float, chance: float) -> int:
    """1 where an interval lies above what chance does, −1 where it lies as far below 0, else 0."""
    return int(low > chance) - int(high < -chance)


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """:func:`dependence` as people read it: what is measured, zoo by zoo, and whether it depends on
    how models were trained."""
    text = {}
    for (label, zoo), row in table.iterrows():
        text[label, zoo] = f"{row['value']:.3f} [{row['value_low']:.3f}, {row['value_high']:.3f}]"
    shown = pd.Series(text).unstack(sort=False).rename(columns=IN_WORDS)
    depends = table["depends"].eq("yes").groupby("measured", sort=False).any()
    return shown.assign(depends=depends.map({True: "yes", False: "–"})).rename_axis("measured")
