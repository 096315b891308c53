"""Fronts, methods and calibrations as these notebooks show them."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from cascadelib import Front, LogitStore, Method, ScoreTable, bootstrap, confidence, search
from cascadelib.analysis import (
    basic_interval,
    claims_of,
    mean_cost_ratio,
    moved_front,
    resampled_cost_ratio,
)
from cascadelib.analysis.uncertainty import sample_counts
from cascadelib.evaluation.intervals import with_ends
from cascadelib.evaluation.run import evaluate
from cascadelib.methods.method import cached_confidence, cached_temperature
from cascadelib.methods.temperature import bounds_of
from cascadelib.methods.thresholds import exits_of
from cascadelib.store.model_table import RESERVED

METRICS_OF_MEANS = ("max_softmax", "softmax_margin")
"""Metrics of the table of temperature scaling that go with mean ensembles."""
OTHER_METRICS = ("entropy", "logits_margin")


def fronts_of(
    store: Any,
    methods: Sequence[str] | dict[str, Any],
    n_models: int | tuple[int, ...] = 2,
    **options: Any,
) -> dict[str, Front]:
    """One search per method: {label: Front}.

    methods: names of METHODS, or {label: method}; options: as for :func:`cascadelib.search`.
    """
    if not isinstance(methods, dict):
        methods = {name: name for name in methods}
    return {label: search(store, n_models, method, **options) for label, method in methods.items()}


def curves_of(fronts: dict[str, Front], low: float | None = None) -> dict[str, pd.DataFrame]:
    """{label: improvement_curve} of {label: Front}, from the accuracy ``low`` on."""
    return {label: front.improvement_curve(low) for label, front in fronts.items()}


def fronts_table(tasks: dict[str, dict[str, Front]]) -> pd.DataFrame:
    """Figure 7 as numbers, a row per task and front of {label: {name: Front}}.

    Columns: candidates; mean_improvement and largest_improvement; accuracy (or F1) of the best
    single model and of the best cascade; cost_ratio: baseline cost ÷ cascade cost at the accuracy
    of the best model, or at the front's where it is lower.
    """
    rows = {}
    for label, fronts in tasks.items():
        for name, front in fronts.items():
            best = front.baseline.best
            top = float(front.table["accuracy"].iloc[-1])
            mean = float("nan")
            if len(front.baseline.front) > 1:
                mean = front.mean_improvement()
            at = min(best, top)
            rows[label, name] = {
                "candidates": len(front.singles),
                "mean_improvement": mean,
                "largest_improvement": front.table["improvement"].max(),
                "accuracy_of_best_model": best,
                "accuracy_of_best_cascade": top,
                "cost_ratio": front.baseline.cost_at(at) / front.cost_at(at),
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def same_fronts(fronts: dict[str, Front]) -> pd.DataFrame:
    """Are fronts one? A row per label.

    Columns: mean_improvement, largest_improvement, points, and front: whether these have the
    accuracies and costs of the first front's ("the same") or not ("another").
    """
    tables = [front.table[["accuracy", "cost"]] for front in fronts.values()]
    table = fronts_table({"": fronts}).droplevel(0)
    table = table[["mean_improvement", "largest_improvement"]]
    same = ["the same" if rows.equals(tables[0]) else "another" for rows in tables]
    return table.assign(points=[len(rows) for rows in tables], front=same)


def shares(front: Front, of: Any = None) -> Any:
    """Part of each model (or of each group ``of``: mapping from model to its group) in the front.

    A point stands for the stretch of log cost from itself to the next one; a model's part is the
    share of the whole that belongs to cascades in which it runs on some samples. Parts overlap, so
    they add up to more than 1.
    """
    cost = front.table["cost"].to_numpy()
    used = front.members()
    stretch = pd.Series(np.diff(np.log(cost)), cost[:-1], name="share")
    used["member"] = used["model"]
    if of is not None:
        used["member"] = [of[model] for model in used["model"]]
    parts = used[["cost", "member"]].drop_duplicates().join(stretch, on="cost", how="inner")
    return (parts.groupby("member")["share"].sum() / stretch.sum()).sort_values(ascending=False)


def select_classes(store: LogitStore, classes: Iterable[int]) -> LogitStore:
    """The same task between some of its classes alone, in memory.

    That is the samples of these labels, and of each model their logits (logarithms, where it holds
    probabilities). Labels number the classes anew, in their order. ValueError for fewer than two
    classes, a label that no class has, and where no sample is left.
    """
    chosen = np.unique(list(classes))
    if store.classes:
        count = len(store.classes)
    else:
        count = store.logits(store.models.index[0]).shape[1]
    if len(chosen) < 2 or not np.isin(chosen, range(count)).all():
        raise ValueError(
            f"classes must be two or more labels of 0 … {count - 1}, not {chosen.tolist()}"
        )
    part = store.take(np.isin(store.origin.needed, chosen))
    names = store.classes and [store.classes[number] for number in chosen]
    fewer = LogitStore.from_arrays(
        np.searchsorted(chosen, part.labels),
        {},
        sample_ids=part.sample_ids,
        classes=names,
        dataset=store.dataset,
        split=store.split,
    )
    for name in part.models.index:
        logits = part.logits(name)[:, chosen]
        entry = part.metadata(name)
        own = {key: entry[key] for key in entry.keys() - RESERVED}
        fewer.add(name, logits, dtype=logits.dtype.name, **own)
    return fewer


def class_tasks(store: Any, held_out: Any, shares: Sequence[float]) -> dict[str, tuple[Any, Any]]:
    """Tasks of :func:`tools.ranking.ranking_by_task`, {label: two splits}.

    All classes, then these shares of them, the hardest and the easiest by the recall of the best
    single model, among themselves.
    """
    correct = pd.Series(store.ranks(store.models["top1"].idxmax()) == 0)
    hardest = correct.groupby(store.labels).mean().sort_values().index.tolist()
    parts = {f"all {len(hardest)}": hardest}
    for count in sorted({max(2, round(share * len(hardest))) for share in shares}):
        parts[f"{count} hardest"] = hardest[:count]
        parts[f"{count} easiest"] = hardest[-count:]
    return {
        label: (select_classes(store, part), select_classes(held_out, part))
        for label, part in parts.items()
    }


def scaling_table(
    store: Any,
    other: Any,
    ensembles: Sequence[str],
    n_models: int = 2,
    cost: str = "macs",
    resamples: int = 2000,
) -> pd.DataFrame:
    """Does temperature scaling change a front? A row per metric and ensemble.

    Fronts of Pareto models, without and with, chosen (and temperatures fitted) on one split and
    measured on the other, point by point. Columns: mean_improvement, mean_improvement_scaled;
    cost_ratio (with ÷ without, :func:`cascadelib.analysis.mean_cost_ratio`) and its bootstrap
    interval, 95% for all rows at once (Bonferroni); change: "cheaper" or "dearer" where that does
    not hold 1, else "–".
    """
    kinds = []
    for ensemble in ensembles:
        of_means = ensemble.startswith("mean")
        metrics = METRICS_OF_MEANS if of_means else (*METRICS_OF_MEANS, *OTHER_METRICS)
        kinds += [(metric, ensemble) for metric in metrics]
    counts = sample_counts(len(other), resamples)
    rows = {}
    for metric, ensemble in kinds:
        methods = [Method(metric, ensemble, scaled).fit(store) for scaled in (False, True)]
        fronts = [search(store, n_models, method, cost=cost, models="pareto") for method in methods]
        plain, scaled = (bootstrap(other, front, counts) for front in fronts)
        moved_plain, moved_scaled = (moved_front(other, front, ranges=False) for front in fronts)
        ratio = mean_cost_ratio(moved_plain, moved_scaled)
        ratios = resampled_cost_ratio(plain, scaled)
        low, high = basic_interval(ratios, ratio, 1 - 0.05 / len(kinds))
        row = {
            "mean_improvement": moved_plain.mean_improvement(),
            "mean_improvement_scaled": moved_scaled.mean_improvement(),
        }
        row |= with_ends(ratio, (low, high), "cost_ratio")
        rows[f"{metric}, {ensemble}"] = row | {"change": _change(low, high)}
    return pd.DataFrame.from_dict(rows, orient="index")


def _change(low: float, high: float) -> str:
    """What an interval of a ratio of costs says."""
    if high < 1:
        return "cheaper"
    return "dearer" if low > 1 else "–"


def above_below(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """Accuracy of the samples above and of those below each threshold (paper, figure 14).

    confidence float [k], any metric; correct [k], bool or an assumed probability. Returns a
    DataFrame, a row for each threshold that separates samples of different confidence (exit:
    confidence ≥ threshold), rising in exit_rate: threshold (the least confidence that exits),
    exit_rate, accuracy_above, accuracy_below (nan where no sample is left).
    """
    confidence = np.asarray(confidence, np.float64)
    correct = np.asarray(correct, np.float64)
    k = len(confidence)
    order, ends = exits_of(confidence)
    exits = ends[1:]
    correct_so_far = np.cumsum(correct[order])
    inside = correct_so_far[exits - 1]
    with np.errstate(invalid="ignore"):
        columns = {
            "accuracy_above": inside / exits,
            "accuracy_below": (correct_so_far[-1] - inside) / (k - exits),
        }
    return pd.DataFrame(
        {"threshold": confidence[order[exits - 1]], "exit_rate": exits / k, **columns}
    )


def ideal_above_below(accuracy: float, points: int = 201) -> pd.DataFrame:
    """Figure 14's ideal for a model of this accuracy: a threshold separates correct from wrong."""
    rate = np.linspace(1 / points, 1, points)
    with np.errstate(invalid="ignore"):
        below = np.maximum(accuracy - rate, 0) / (1 - rate)
    return pd.DataFrame(
        {
            "exit_rate": rate,
            "accuracy_above": np.minimum(1, accuracy / rate),
            "accuracy_below": below,
        }
    )


def perfect_temperature(logits: np.ndarray, accuracy: float, name: str | None = None) -> float:
    """The temperature, between :func:`bounds_of` logits, at which mean max softmax is ``accuracy``.

    Paper, appendix E and figure 14, *assumed perfect calibration*: the mean max softmax falls as T
    grows, so there is one at most. A model that is never wrong, or hardly better than chance, has
    none: T = 1, with a RuntimeWarning.
    """

    def excess(log_t: float) -> float:
        return confidence(logits, "max_softmax", np.exp(log_t)).mean() - accuracy

    low, high = bounds_of(logits)
    if excess(low) <= 0 or excess(high) >= 0:
        model = "the model" if name is None else f"model {name!r}"
        text = (
            f"temperature of {model} left at 1: no mean max softmax equals its accuracy of "
            f"{accuracy:.4f}"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return 1.0
    return float(np.exp(brentq(excess, low, high, xtol=1e-9)))


def assumed(store: LogitStore, name: str) -> np.ndarray:
    """Max softmax [k] of a model, at its :func:`perfect_temperature`."""
    accuracy = float(np.mean(store.ranks(name) == 0))
    temperature = perfect_temperature(store.logits(name), accuracy, name)
    return cached_confidence(store, name, "max_softmax", temperature)


def threshold_curves(
    store: LogitStore, name: str, fitted_on: LogitStore
) -> dict[str, pd.DataFrame]:
    """Figure 14 of one model, {label: :func:`above_below`}; its temperature is of ``fitted_on``."""
    correct = store.ranks(name) == 0
    perfect = assumed(store, name)
    at = {"uncalibrated": 1.0, "temperature scaled": cached_temperature(fitted_on, name)}
    curves = {label: above_below(*claims_of(store, name, t)) for label, t in at.items()}
    curves["assumed perfect calibration"] = above_below(perfect, perfect)
    return curves | {"ideal": ideal_above_below(correct.mean())}


def threshold_table(store: LogitStore, fitted_on: LogitStore) -> pd.DataFrame:
    """Figure 14 in short, a row per model, cheapest first.

    By how much the accuracy above (and below) a threshold differs from the uncalibrated one at the
    same early exit rate, mean over the rates, with its sign. above_scaled, below_scaled: with
    temperature scaling; above_perfect, below_perfect: if calibration were perfect.
    """
    kinds = {"scaled": "temperature scaled", "perfect": "assumed perfect calibration"}
    rows = {}
    for name in store.models.index:
        curves = threshold_curves(store, name, fitted_on)
        row = {}
        for kind, label in kinds.items():
            for side in ("above", "below"):
                there = _at_rates(curves[label], side)
                here = _at_rates(curves["uncalibrated"], side)
                row[f"{side}_{kind}"] = (there - here).mean()
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _at_rates(curve: pd.DataFrame, side: str) -> np.ndarray:
    """Accuracy above (or below) the threshold at 199 even exit rates: float64 [199]."""
    rates = np.arange(1, 200) / 200
    known = curve.dropna()
    return np.interp(rates, known["exit_rate"], known[f"accuracy_{side}"])


def assumed_perfect(store: LogitStore, cost: str = "macs") -> ScoreTable:
    """A ScoreTable in which every answer is correct with the probability that it claims.

    For the cascades that perfect calibration would promise: claims are the max softmax as
    :func:`assumed`, so single models keep their accuracies, and which answers are correct changes.
    """
    names = tuple(store.models.index)
    confidence = np.stack([assumed(store, name) for name in names])
    costs = store.costs(cost)
    return ScoreTable(confidence, confidence, costs, names, store.origin)  # type: ignore[arg-type]


def on_both_splits(store: Any, held_out: Any, points: Any) -> pd.DataFrame:
    """Table 1 as numbers, a row per point: models, thresholds, accuracy, cost, saving and
    improvement on the split it was chosen on and, unchanged, on another (suffix ``_held_out``), and
    ``best_member_drop``: by how much the most accurate of its models alone loses. points: a list,
    or {label: point}."""
    listed = list(points.values()) if isinstance(points, dict) else points
    rows = []
    for point, here, there in zip(listed, evaluate(store, listed), evaluate(held_out, listed)):
        row = {"models": point.models, "thresholds": point.thresholds}
        for what in ("accuracy", "cost", "saving", "improvement"):
            row |= {what: getattr(here, what), f"{what}_held_out": getattr(there, what)}
        best = store.models.loc[list(point.models), "top1"].idxmax()
        drop = store.models.loc[best, "top1"] - held_out.models.loc[best, "top1"]
        rows.append(row | {"best_member_drop": drop})
    return pd.DataFrame(rows, index=pd.Index(points) if isinstance(points, dict) else None)
