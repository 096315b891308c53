"""Fronts, methods and calibrations side by side, as these notebooks show them; the paper's twelve methods ranked."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from cascadelib import (
    METHODS,
    Front,
    LogitStore,
    Method,
    ScoreTable,
    bootstrap,
    confidence,
    mean_improvement_moved,
    search,
)
from cascadelib.analysis import basic_interval, claims_of, moved_front
from cascadelib.analysis.uncertainty import Resampled, sample_counts, with_ends
from cascadelib.evaluation import Baseline, least_cost
from cascadelib.evaluation.evaluation import exits_of
from cascadelib.methods.method import cached_confidence, cached_temperature
from cascadelib.methods.temperature import bounds_of
from cascadelib.store.logit_store import RESERVED


def fronts_of(
    store: Any, methods: Sequence[str] | dict, n_models: int | tuple[int, ...] = 2, **options: Any
) -> dict[str, Front]:
    """{label: Front}: one search a method. methods: names of METHODS, or {label: method}; options as for `search`."""
    methods = methods if isinstance(methods, dict) else {name: name for name in methods}
    return {label: search(store, n_models, method, **options) for label, method in methods.items()}


def curves_of(fronts: dict[str, Front], low: float | None = None) -> dict[str, pd.DataFrame]:
    """{label: improvement_curve} of {label: Front}, from the accuracy ``low`` on."""
    return {label: front.improvement_curve(low) for label, front in fronts.items()}


def compare(
    fronts: dict[str, Front], lows: Sequence[float] = (), held_out: Any = None, ranges: bool = True
) -> pd.DataFrame:
    """A row a method, best mean improvement first: mean_improvement, the same above each accuracy of ``lows`` (up to
    the best single model), accuracy_dominance, cost_dominance, top_accuracy; held_out_improvement, that of the
    identical cascades on the split ``held_out`` (ranges: see :func:`mean_improvement_moved`)."""
    table = pd.DataFrame(
        {"mean_improvement": {label: f.mean_improvement() for label, f in fronts.items()}}
    )
    for low in lows:
        table[f"improvement above {low:.1%}"] = {
            label: f.mean_improvement(low) for label, f in fronts.items()
        }
    table = table.join(range_dominance(fronts))
    table["top_accuracy"] = {label: f.table["accuracy"].iloc[-1] for label, f in fronts.items()}
    if held_out is not None:
        moved = {
            label: mean_improvement_moved(held_out, f, ranges=ranges) for label, f in fronts.items()
        }
        table.insert(0, "held_out_improvement", moved)
    return table.rename_axis("method").sort_values("mean_improvement", ascending=False)


def range_dominance(fronts: dict[str, Front]) -> pd.DataFrame:
    """Share of the accuracy range, and of the log-cost range, in which each front is the best; ties are shared equally.

    Ranges are those of the single-model front; steps are compared exactly, between all their breakpoints (paper,
    section 4.1). Returns a DataFrame, a row a label: accuracy_dominance, cost_dominance.
    """
    curves = [(f.table["cost"].to_numpy(), f.table["accuracy"].to_numpy()) for f in fronts.values()]
    baseline = next(iter(fronts.values())).baseline
    ends = baseline.front[[0, -1]]
    columns = {}
    for column, axis in (("accuracy_dominance", 1), ("cost_dominance", 0)):
        low, high = (baseline.accuracy if axis else baseline.cost)[ends]
        breaks = np.concatenate([curve[axis] for curve in curves])
        x = np.unique(np.concatenate([[low, high], breaks[(breaks > low) & (breaks < high)]]))
        if axis:  # the least cost at accuracy ≥ a is constant on (x0, x1]
            scores = np.stack([-least_cost(*curve, x[1:]) for curve in curves])
            widths = np.diff(x)
        else:  # the highest accuracy at cost ≤ c is constant on [x0, x1)
            reached = [
                np.append(-np.inf, accuracy)[np.searchsorted(cost, x[:-1], "right")]
                for cost, accuracy in curves
            ]
            scores = np.stack(reached)
            widths = np.diff(np.log(x))
        best = (scores == scores.max(axis=0)) & np.isfinite(scores)
        columns[column] = (best / np.maximum(best.sum(axis=0), 1) * widths).sum(
            axis=1
        ) / widths.sum()
    return pd.DataFrame(columns, index=pd.Index(fronts, name="method"))


def fronts_table(tasks: dict[str, dict[str, Front]]) -> pd.DataFrame:
    """Figure 7 as numbers, a row a task and front of {label: {name: Front}}: candidates; mean and largest improvement;
    accuracy (or F1) of the best single model and of the best cascade; cost_ratio: baseline cost ÷ cascade cost at the
    accuracy of the best model, or at the front's where it is lower."""
    rows = {}
    for label, fronts in tasks.items():
        for name, front in fronts.items():
            best = front.baseline.best
            top = float(front.table["accuracy"].iloc[-1])
            mean = front.mean_improvement() if len(front.baseline.front) > 1 else float("nan")
            largest = front.table["improvement"].max()
            at = min(best, top)
            row = {
                "candidates": len(front.singles),
                "mean_improvement": mean,
                "largest_improvement": largest,
            }
            row |= {"accuracy_of_best_model": best, "accuracy_of_best_cascade": top}
            rows[label, name] = row | {"cost_ratio": front.baseline.cost_at(at) / front.cost_at(at)}
    return pd.DataFrame.from_dict(rows, orient="index")


def same_fronts(fronts: dict[str, Front]) -> pd.DataFrame:
    """Are fronts one? A row a label: mean and largest improvement, points, and whether these have the accuracies and
    costs of the first front's ("the same") or not ("another")."""
    tables = {label: front.table[["accuracy", "cost"]] for label, front in fronts.items()}
    first = next(iter(tables.values()))
    table = fronts_table({"": fronts}).droplevel(0)
    table = table[["mean_improvement", "largest_improvement"]].assign(
        points=[len(rows) for rows in tables.values()]
    )
    return table.assign(
        front=["the same" if rows.equals(first) else "another" for rows in tables.values()]
    )


def ranking(
    tasks: dict[str, tuple[Any, Any]], n_models: int = 2, upper: float = 0.9, **options: Any
) -> pd.DataFrame:
    """The paper's twelve methods judged where nothing was chosen. tasks: {label: two splits}; each is chosen on the
    first and judged on the second (fold 0), and the other way round (fold 1). options: as for :func:`search`.

    A row a task, fold and method: classes (their number), accuracy_of_best_model, top_accuracy, mean_improvement, its
    place (1: the largest), and upper_improvement, above the share ``upper`` of the accuracy range, all on the split
    that judges.
    """
    rows = []
    for task, pair in tasks.items():
        for fold, (here, there) in enumerate((pair, pair[::-1])):
            for method, front in fronts_of(here, list(METHODS), n_models, **options).items():
                moved = moved_front(there, front)
                base = moved.baseline
                low = (1 - upper) * base.accuracy[base.front[0]] + upper * base.best
                row = {
                    "task": task,
                    "n_models": n_models,
                    "cost": front.cost_kind,
                    "fold": fold,
                    "method": method,
                }
                row["classes"] = len(np.unique(there.labels))
                row |= {
                    "accuracy_of_best_model": base.best,
                    "top_accuracy": moved.table["accuracy"].iloc[-1],
                }
                row["mean_improvement"] = moved.mean_improvement()
                rows.append(row | {"upper_improvement": moved.mean_improvement(low)})
    table = pd.DataFrame(rows)
    return table.assign(
        place=table.groupby(["task", "fold"])["mean_improvement"].rank(ascending=False)
    )


def shares(front: Front, of: Any = None) -> Any:
    """Part of each model (or of each group ``of``: mapping from model to its group) in the front.

    A point stands for the stretch of log cost from itself to the next one; a model's part is the share of the whole
    that belongs to cascades in which it runs on some samples. Parts overlap, so they add up to more than 1.
    """
    cost = front.table["cost"].to_numpy()
    used = front.members()
    stretch = pd.Series(np.diff(np.log(cost)), cost[:-1], name="share")
    used["member"] = used["model"] if of is None else [of[m] for m in used["model"]]
    parts = used[["cost", "member"]].drop_duplicates().join(stretch, on="cost", how="inner")
    return (parts.groupby("member")["share"].sum() / stretch.sum()).sort_values(ascending=False)


def select_classes(store: LogitStore, classes: Iterable[int]) -> LogitStore:
    """The same task between some of its classes alone, in memory: the samples of these labels, and of each model their
    logits (logarithms, where it holds probabilities). Labels number the classes anew, in their order. ValueError for
    fewer than two classes, a label that no class has, and where no sample is left."""
    chosen = np.unique(list(classes))
    count = len(store.classes) if store.classes else store.logits(store.models.index[0]).shape[1]
    if len(chosen) < 2 or not np.isin(chosen, range(count)).all():
        raise ValueError(
            f"classes must be two or more labels of 0 … {count - 1}, not {chosen.tolist()}"
        )
    part = store.take(np.isin(store.origin.needed, chosen))
    names = store.classes and [store.classes[c] for c in chosen]
    about = (store.dataset, store.split)
    fewer = LogitStore.from_arrays(
        np.searchsorted(chosen, part.labels), {}, None, None, part.sample_ids, names, *about
    )
    for name in part.models.index:
        logits = part.logits(name)[:, chosen]
        entry = part.metadata(name)
        own = {key: entry[key] for key in entry.keys() - RESERVED}
        fewer.add(name, logits, dtype=logits.dtype.name, **own)
    return fewer


def class_tasks(store: Any, held_out: Any, shares: Sequence[float]) -> dict[str, tuple[Any, Any]]:
    """Tasks of :func:`ranking`, {label: two splits}: all classes, then these shares of them, the hardest and the
    easiest by the recall of the best single model, among themselves."""
    correct = pd.Series(store.ranks(store.models["top1"].idxmax()) == 0)
    hardest = correct.groupby(store.labels).mean().sort_values().index.tolist()
    parts = {f"all {len(hardest)}": hardest}
    for n in sorted({max(2, round(share * len(hardest))) for share in shares}):
        parts |= {f"{n} hardest": hardest[:n], f"{n} easiest": hardest[-n:]}
    return {
        label: (select_classes(store, part), select_classes(held_out, part))
        for label, part in parts.items()
    }


def cost_ratio_moved(first: Front, second: Front, store: Any) -> float:
    """Cost of the second replayed front ÷ that of the first at equal accuracy, geometric mean over what both reach
    there; of the fronts' points, not their ranges: what :func:`resampled_cost_ratio` resamples."""
    return cost_ratio_there(*(moved_front(store, front, ranges=False) for front in (first, second)))


def cost_ratio_there(first: Front, second: Front) -> float:
    """:func:`cost_ratio_moved` of fronts that were moved."""
    one, two = (
        (there.table["cost"].to_numpy(), there.table["accuracy"].to_numpy())
        for there in (first, second)
    )
    return mean_cost_ratio(one, two, *common_range(first.baseline, one, two))


def resampled_cost_ratio(one: Resampled, other: Resampled) -> np.ndarray:
    """Cost of the second set of cascades ÷ that of the first, resampled from one store by one seed: geometric mean over
    the accuracies from a resample's cheapest model to what both sets and its best model reach, float64 [R]."""
    trio = zip(one.baselines, one.fronts, other.fronts)
    return np.array([mean_cost_ratio(a, b, *common_range(base, a, b)) for base, a, b in trio])


def mean_cost_ratio(first: Any, second: Any, low: float, high: float) -> float:
    """Cost of one front ÷ cost of another at equal accuracy: the geometric mean over accuracies low … high.

    first, second: (cost, accuracy) of fronts, rising, that reach ``high``; the ratio is second ÷ first. Least costs are
    steps, so the integral of the logarithm is exact; nan for an empty range.
    """
    if not low < high:
        return float("nan")
    x = np.unique(np.clip(np.concatenate([[low, high], first[1], second[1]]), low, high))
    logs = np.log(least_cost(second[0], second[1], x[1:])) - np.log(
        least_cost(first[0], first[1], x[1:])
    )
    return float(np.exp(np.sum(np.diff(x) * logs) / (high - low)))


def common_range(baseline: Baseline, first: tuple, second: tuple) -> tuple[float, float]:
    """(low, high): accuracies from the cheapest single model's up to what both fronts and the best one reach."""
    return float(baseline.accuracy[baseline.front[0]]), float(
        min(first[1][-1], second[1][-1], baseline.best)
    )


def scaling_table(
    store: Any,
    other: Any,
    ensembles: Sequence[str],
    n_models: int = 2,
    cost: str = "macs",
    resamples: int = 2000,
) -> pd.DataFrame:
    """Does temperature scaling change a front? A row a metric and ensemble: fronts of Pareto models, without and with,
    chosen (and temperatures fitted) on one split and measured on the other.

    mean_improvement, mean_improvement_scaled; cost_ratio (with ÷ without, see :func:`cost_ratio_moved`) and its
    bootstrap interval, 95% for all rows at once (Bonferroni); change: "cheaper" or "dearer" where that does not hold 1,
    else "–".
    """
    metrics = {
        "max_softmax": True,
        "softmax_margin": True,
        "entropy": False,
        "logits_margin": False,
    }  # for means too
    kinds = [
        (m, e)
        for e in ensembles
        for m, means in metrics.items()
        if means or not e.startswith("mean")
    ]
    rows = {}
    counts = sample_counts(len(other), resamples)
    for metric, ensemble in kinds:
        both = [Method(metric, ensemble, scaled).fit(store) for scaled in (False, True)]
        fronts = [search(store, n_models, method, cost=cost, models="pareto") for method in both]
        plain, scaled = (bootstrap(other, front, counts) for front in fronts)
        moved = [moved_front(other, front, ranges=False) for front in fronts]
        ratio = cost_ratio_there(*moved)
        level = 1 - 0.05 / len(kinds)
        low, high = basic_interval(resampled_cost_ratio(plain, scaled), ratio, level)
        row = {
            "mean_improvement": moved[0].mean_improvement(),
            "mean_improvement_scaled": moved[1].mean_improvement(),
        }
        row |= with_ends(ratio, (low, high), "cost_ratio")
        rows[f"{metric}, {ensemble}"] = row | {
            "change": "cheaper" if high < 1 else "dearer" if low > 1 else "–"
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def above_below(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """Accuracy of the samples above and of those below each threshold (paper, figure 14).

    confidence float [k], any metric; correct [k], bool or an assumed probability. Returns a DataFrame, a row for each
    threshold that parts samples of different confidence (exit: confidence ≥ threshold), rising in exit_rate:
    threshold (the least confidence that exits), exit_rate, accuracy_above, accuracy_below (nan where nobody is left).
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
    """Figure 14's ideal for a model of this accuracy: some threshold parts all right answers from all wrong ones."""
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
    """The temperature, between :func:`bounds_of` logits, at which their mean max softmax equals ``accuracy``.

    Paper, appendix E and figure 14, *assumed perfect calibration*: the mean max softmax falls as T grows, so there is
    one at most. A model that is never wrong, or hardly better than chance, has none: T = 1, with a RuntimeWarning.
    """

    def excess(log_t: float) -> float:
        return confidence(logits, "max_softmax", np.exp(log_t)).mean() - accuracy

    low, high = bounds_of(logits)
    if excess(low) <= 0 or excess(high) >= 0:
        model = "the model" if name is None else f"model {name!r}"
        text = f"temperature of {model} left at 1: no mean max softmax equals its accuracy of {accuracy:.4f}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return 1.0
    return float(np.exp(brentq(excess, low, high, xtol=1e-9)))


def assumed(store: LogitStore, name: str) -> np.ndarray:
    """Max softmax [k] of a model at the temperature that makes its mean the accuracy (:func:`perfect_temperature`)."""
    accuracy = float(np.mean(store.ranks(name) == 0))
    return cached_confidence(
        store, name, "max_softmax", perfect_temperature(store.logits(name), accuracy, name)
    )


def threshold_curves(
    store: LogitStore, name: str, fitted_on: LogitStore
) -> dict[str, pd.DataFrame]:
    """Figure 14 of one model, whose temperature is fitted on ``fitted_on``: {label: :func:`above_below`}."""
    correct = store.ranks(name) == 0
    perfect = assumed(store, name)
    at = {"uncalibrated": 1.0, "temperature scaled": cached_temperature(fitted_on, name)}
    curves = {label: above_below(*claims_of(store, name, t)) for label, t in at.items()}
    curves["assumed perfect calibration"] = above_below(perfect, perfect)
    return curves | {"ideal": ideal_above_below(correct.mean())}


def threshold_table(store: LogitStore, fitted_on: LogitStore) -> pd.DataFrame:
    """Figure 14 in short, a row a model, cheapest first: by how much the accuracy above (and below) a threshold differs
    from the uncalibrated one at the same early exit rate, mean over the rates, with its sign. above_scaled,
    below_scaled: with temperature scaling; above_perfect, below_perfect: if calibration were perfect."""
    rates = np.arange(1, 200) / 200
    rows = {}
    kinds = {"scaled": "temperature scaled", "perfect": "assumed perfect calibration"}
    for name in store.models.index:
        curves = threshold_curves(store, name, fitted_on)
        row = {}
        for kind, label in kinds.items():
            for side in ("above", "below"):
                pair = [curves[each].dropna() for each in (label, "uncalibrated")]
                there, here = (
                    np.interp(rates, curve["exit_rate"], curve[f"accuracy_{side}"])
                    for curve in pair
                )
                row[f"{side}_{kind}"] = (there - here).mean()
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def assumed_perfect(store: LogitStore, cost: str = "macs") -> ScoreTable:
    """A ScoreTable in which every answer is right with the probability that its max softmax claims, for the cascades
    that perfect calibration would promise. Claims are :func:`assumed` ones: single models keep their accuracies, and
    which answers count as right changes."""
    names = tuple(store.models.index)
    confidence = np.stack([assumed(store, name) for name in names])
    return ScoreTable(confidence, confidence, store.costs(cost), names, store.origin)  # type: ignore[arg-type]
