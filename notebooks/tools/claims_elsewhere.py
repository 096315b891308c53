"""What a run has of the claims on shifts, texts and calibration (notebooks 05 to 07)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from cascadelib import Front, bootstrap, evaluate
from cascadelib.analysis import moved_front
from tools.evidence import Evidence, counts_of, drawn, over_models, resampled
from tools.ranges import factors, mean_in, range_of

WINDOWS = 50  # of a moving average, that share no sample


def shift_claims(
    front: Front, drops: pd.DataFrame, own: Mapping[str, Front], shifted: Sequence[str]
) -> dict[str, Evidence]:
    """Figures 6, 12: a front, and what becomes of it on shifted splits.

    drops: ``accuracy_drops`` of its models there; own: {split: the same search of it}.
    """
    there = {name: moved_front(own[name].store, front) for name in shifted}
    own_there = {name: own[name] for name in shifted}
    values = fronts_there(there, own_there, front) | singles_there(there, front)
    samples = min(each.samples for each in there.values())
    dataset = own[shifted[0]].store.origin.dataset
    about = {"samples": samples, "dataset": dataset, "cost": front.cost_kind}
    of_front = front.singles.index[front.singles["on_front"]]
    rows = pd.MultiIndex.from_product([list(shifted), of_front], names=["split", "model"])
    lost = drops.reindex(rows)
    quantile = norm.isf(0.025 / len(drops))  # drops have intervals that hold together
    errors = ((lost["drop_high"] - lost["drop_low"]) / 2 / quantile).to_numpy()
    losing = drawn(lost["drop"].to_numpy(), errors)
    least = [part.min(axis=1) for part in np.split(losing, len(shifted), axis=1)]
    values["shift-drops"] = Evidence(lost["drop"].to_numpy(), list(losing), **about)
    smallest = lost["drop"].groupby("split", sort=False).min().to_numpy()
    values["shift-lose"] = Evidence(smallest, list(np.stack(least, axis=1)), **about)
    return values | exits_there(front, {name: own[name].store for name in shifted}, about)


@resampled
def fronts_there(there: dict[str, Front], own: dict[str, Front], front: Front) -> dict[str, Any]:
    """What a front is worth on shifted splits, a number per split."""
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
def singles_there(there: dict[str, Front], front: Front) -> dict[str, Any]:
    """What becomes of the single models of a front on shifted splits, a number per split."""
    names = front.singles.index[front.singles["on_front"]]
    here = front.singles.loc[names, "accuracy"]
    growth = []
    falls = []
    for moved in there.values():
        accuracy = moved.singles.loc[names, "accuracy"]
        growth.append(np.ptp(accuracy) - np.ptp(here))
        falls.append(float((accuracy.diff() < 0).sum()))
    return {"shift-range": growth, "shift-order": falls}


def exits_there(front: Front, stores: Mapping[str, Any], about: dict) -> dict[str, Evidence]:
    """How exit rates of a front's cascades change on shifted splits: size of the change (root of
    the mean square over cascades), and how much it differs between cascades (standard deviation),
    both less what sampling alone gives; a number per split."""
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
    """Figure 7: {task: front of pairs} in accuracy and, where a task has it, in F1; ``same_fronts``
    of the metrics."""
    candidates = [f"{len(front.candidates)} ({task})" for task, front in fronts.items()]
    found = tasks_claims(fronts, f1)
    found["text-models"] = Evidence(", ".join(candidates))
    if same is not None:
        found["text-metrics"] = Evidence((same["front"] == "the same").sum())
    return found


@resampled
def tasks_claims(fronts: dict[str, Front], f1: dict[str, Front]) -> dict[str, Any]:
    """Mean factors by task, in accuracy and in F1."""
    means = {task: mean_in(front) for task, front in fronts.items()}
    return {
        "text-improve": min(means.values()),
        "text-f1": [mean_in(front) / means[task] for task, front in f1.items()],
        "text-differences": [np.ptp(range_of(front)) for front in fronts.values()],
    }


def calibration_claims(
    table: pd.DataFrame,
    averages: Mapping[str, pd.DataFrame],
    effects: Sequence[pd.DataFrame],
    scaling: pd.DataFrame,
    families: pd.Series,
) -> dict[str, Evidence]:
    """Figures 13, 14.

    ``calibration_table``; {model: ``moving_average``}; ``threshold_table``, of all samples first,
    then of several parts of them; ``scaling_table``; families of the models.
    """
    counted = table[["gap", "verdict"]].assign(
        large=families[table.index].astype(str).str.contains("beit|convnext|deit"),
        scaled=effects[0]["above_scaled"].abs(),
    )
    found = over_models(calibration_of, counted)
    rising = [rows["accuracy"].corr(rows["confidence"], "spearman") for rows in averages.values()]
    spread = 1.03 / np.sqrt(WINDOWS - 3)  # Fisher's z of a rank correlation of so many windows
    at = np.arctanh(np.clip(rising, -0.999, 0.999))
    found["rising"] = Evidence(rising, list(np.tanh(drawn(at, np.full(len(at), spread)))))
    gains, *parts = [perfect_effects(each) for each in effects]
    error = np.std(parts, axis=0, ddof=1) / np.sqrt(len(parts))
    inflated = error * t.isf(0.025, len(parts) - 1) / norm.isf(0.025)
    found["perfect"] = Evidence(gains, list(drawn(gains, inflated)))
    ratios = scaling["cost_ratio"].to_numpy()
    ends = (scaling["cost_ratio_high"] - scaling["cost_ratio_low"]).to_numpy()
    quantile = norm.isf(0.025 / len(scaling))  # they hold together
    found["scaling-fronts"] = Evidence(ratios, list(drawn(ratios, ends / 2 / quantile)))
    return found


def calibration_of(models: pd.DataFrame) -> dict[str, Any]:
    """Figure 13 over models: rows with gap, verdict, large (of the large families), scaled."""
    gap = models["gap"].abs()
    counted = models["verdict"].value_counts()
    return {
        "underconfident": [counted.get(f"{side}confident", 0) for side in ("under", "over")],
        "large-families": gap[models["large"]].mean() / gap.mean(),
        "scaling-curves": models["scaled"].mean(),
    }


def perfect_effects(effects: pd.DataFrame) -> list[float]:
    """What perfect calibration would do, above and below a threshold alike: to the model that gains
    most, and to the one that loses most."""
    both = np.stack([effects["above_perfect"], -effects["below_perfect"]])
    return [float(both.min(axis=0).max()), float((-both).min(axis=0).max())]
