"""Evidence for the claims on shifted data, texts and calibration (notebooks 05 to 07)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from cascadelib import Front, bootstrap, evaluate
from cascadelib.analysis import front_on
from tools.evidence import Evidence, counts_of, normal_draws, over_models, resampled
from tools.ranges import factors, mean_in

WINDOWS = 50  # windows of a moving average that share no sample


def shift_claims(
    front: Front, drops: pd.DataFrame, own_fronts: Mapping[str, Front], shifted: Sequence[str]
) -> dict[str, Evidence]:
    """Return the evidence of figures 6 and 12: a front evaluated on shifted splits.

    drops: ``accuracy_drops`` of the front's models on these splits. own: {split: the same search,
    run on that split}.
    """
    there = {name: front_on(own_fronts[name].store, front) for name in shifted}
    own_shifted = {name: own_fronts[name] for name in shifted}
    values = shifted_front_values(there, own_shifted, front) | shifted_single_values(there, front)
    samples = min(each.samples for each in there.values())
    dataset = own_fronts[shifted[0]].store.origin.dataset
    about = {"samples": samples, "dataset": dataset, "cost": front.cost_kind}
    of_front = front.singles.index[front.singles["on_front"]]
    rows = pd.MultiIndex.from_product([list(shifted), of_front], names=["split", "model"])
    lost = drops.reindex(rows)
    quantile = norm.isf(0.025 / len(drops))  # the intervals of drops are simultaneous
    errors = ((lost["drop_high"] - lost["drop_low"]) / 2 / quantile).to_numpy()
    losing = normal_draws(lost["drop"].to_numpy(), errors)
    least = [part.min(axis=1) for part in np.split(losing, len(shifted), axis=1)]
    values["shift-drops"] = Evidence(lost["drop"].to_numpy(), list(losing), **about)
    smallest = lost["drop"].groupby("split", sort=False).min().to_numpy()
    values["shift-lose"] = Evidence(smallest, list(np.stack(least, axis=1)), **about)
    return values | exit_rate_claims(
        front, {name: own_fronts[name].store for name in shifted}, about
    )


@resampled
def shifted_front_values(
    there: dict[str, Front], own: dict[str, Front], front: Front
) -> dict[str, Any]:
    """Evaluate a front on shifted splits: one number per split."""
    improved = []
    near = []
    ratios = []
    for name, moved in there.items():
        gain = factors(moved)
        improved.append(np.mean(gain > 1))
        near.append(np.mean(gain * 1.1 >= factors(own[name])))
        ratios.append(mean_in(moved) / mean_in(front))
    return {"shift-improve": improved, "shift-near": near, "shift-harm": ratios}


@resampled
def shifted_single_values(there: dict[str, Front], front: Front) -> dict[str, Any]:
    """Compare the single models of a front on shifted splits: one number per split."""
    names = front.singles.index[front.singles["on_front"]]
    here = front.singles.loc[names, "accuracy"]
    growth = []
    falls = []
    for moved in there.values():
        accuracy = moved.singles.loc[names, "accuracy"]
        growth.append(np.ptp(accuracy) - np.ptp(here))
        falls.append(float((accuracy.diff() < 0).sum()))
    return {"shift-range": growth, "shift-order": falls}


def exit_rate_claims(front: Front, stores: Mapping[str, Any], about: dict) -> dict[str, Evidence]:
    """Return the evidence of how exit rates of a front's cascades change on shifted splits.

    Per split: the size of the change (root mean square over cascades), and how much it differs
    between cascades (standard deviation). The share that sampling explains is subtracted from both.
    """
    points = [front.point(row) for row in front.table.drop_duplicates("models").index]
    before = [point.exit_rates[0] for point in points]
    here = bootstrap(front.store, points, counts_of(front.samples)).exit_rates[..., 0]
    sizes = []
    spreads = []
    for store in stores.values():
        after = [run.exit_rates[0] for run in evaluate(store, points)]
        found = bootstrap(store, points, counts_of(len(store))).exit_rates[..., 0]
        noise = found.var(axis=0, ddof=1) + here.var(axis=0, ddof=1)
        changes = np.vstack([np.subtract(after, before), found - here])
        beyond = np.mean(np.square(changes) - noise, axis=1)
        apart = changes.var(axis=1, ddof=1) - noise.mean()
        sizes.append(np.sqrt(np.maximum(beyond, 0)))
        spreads.append(np.sqrt(np.maximum(apart, 0)))
    found = {}
    for name, values in (("shift-exits", sizes), ("shift-degree", spreads)):
        table = np.stack(values, axis=1)
        found[name] = Evidence(table[0], list(table[1:]), **about)
    return found


def text_claims(
    fronts: dict[str, Front], f1: dict[str, Front], same: pd.DataFrame | None = None
) -> dict[str, Evidence]:
    """Return the evidence of figure 7.

    fronts, f1: {task: front of pairs} in accuracy and, for the tasks that have it, in F1. same:
    ``same_fronts`` of the metrics.
    """
    found = tasks_claims(fronts, f1)
    if same is not None:
        found["text-metrics"] = Evidence((same["front"] == "the same").sum())
    return found


@resampled
def tasks_claims(fronts: dict[str, Front], f1: dict[str, Front]) -> dict[str, Any]:
    """Return the mean factors by task, in accuracy and in F1."""
    means = {task: mean_in(front) for task, front in fronts.items()}
    return {
        "text-improve": min(means.values()),
        "text-f1": [mean_in(front) / means[task] for task, front in f1.items()],
    }


def calibration_claims(
    table: pd.DataFrame,
    averages: Mapping[str, pd.DataFrame],
    effects: Sequence[pd.DataFrame],
    scaling: pd.DataFrame,
    families: pd.Series,
) -> dict[str, Evidence]:
    """Return the evidence of figures 13 and 14.

    table: ``calibration_table``. averages: {model: ``moving_average``}. effects:
    ``threshold_table`` of all samples, then of several parts of them. scaling: ``scaling_table``.
    families: family by model.
    """
    counted = table[["gap", "verdict"]].assign(
        large=families[table.index].astype(str).str.contains("beit|convnext|deit"),
        scaled=effects[0]["above_scaled"].abs(),
    )
    found = over_models(calibration_of, counted)
    rising = [rows["accuracy"].corr(rows["confidence"], "spearman") for rows in averages.values()]
    spread = 1.03 / np.sqrt(WINDOWS - 3)  # Fisher's z of a rank correlation
    at = np.arctanh(np.clip(rising, -0.999, 0.999))
    found["rising"] = Evidence(rising, list(np.tanh(normal_draws(at, np.full(len(at), spread)))))
    gains, *parts = [perfect_effects(each) for each in effects]
    error = np.std(parts, axis=0, ddof=1) / np.sqrt(len(parts))
    inflated = error * t.isf(0.025, len(parts) - 1) / norm.isf(0.025)
    found["perfect"] = Evidence(gains, list(normal_draws(gains, inflated)))
    ratios = scaling["cost_ratio"].to_numpy()
    ends = (scaling["cost_ratio_high"] - scaling["cost_ratio_low"]).to_numpy()
    quantile = norm.isf(0.025 / len(scaling))  # the intervals are simultaneous
    found["scaling-fronts"] = Evidence(ratios, list(normal_draws(ratios, ends / 2 / quantile)))
    return found


def calibration_of(models: pd.DataFrame) -> dict[str, Any]:
    """Return the values of figure 13 over models: rows with gap, verdict, large (family),
    scaled."""
    gap = models["gap"].abs()
    counted = models["verdict"].value_counts()
    return {
        "underconfident": [counted.get(f"{side}confident", 0) for side in ("under", "over")],
        "large-families": gap[models["large"]].mean() / gap.mean(),
        "scaling-curves": models["scaled"].mean(),
    }


def perfect_effects(effects: pd.DataFrame) -> list[float]:
    """Return the effect of perfect calibration on the model that gains most and on the one that
    loses most.

    The effect counts only if it has the same direction above and below the threshold.
    """
    both = np.stack([effects["above_perfect"], -effects["below_perfect"]])
    return [float(both.min(axis=0).max()), float((-both).min(axis=0).max())]
