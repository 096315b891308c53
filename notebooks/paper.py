"""Tables that these notebooks show and nobody else asks for: the paper's figures in numbers, methods ranked, losses and
alarms on other data."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from cascadelib import (
    METHODS,
    DriftSignal,
    Front,
    LogitStore,
    Method,
    Point,
    ScoreTable,
    bootstrap,
    confidence,
    evaluate,
    mean_improvement_moved,
    search,
)
from cascadelib.analysis import basic_interval, claims_of, fronts_of, moved_front, share_interval
from cascadelib.analysis.uncertainty import (
    LEVEL,
    Ends,
    Resampled,
    counted,
    paired_difference_interval,
    with_ends,
)
from cascadelib.checks import about, known
from cascadelib.evaluation import Baseline, all_confidences, least_cost
from cascadelib.evaluation.evaluation import exits_of, reaching, stage_confidences
from cascadelib.front_end import watched
from cascadelib.methods.method import cached_confidence, cached_temperature
from cascadelib.methods.temperature import bounds_of
from cascadelib.scoring import F1
from cascadelib.store import Store
from cascadelib.tables import arrow


def fronts_table(tasks: dict[str, dict[str, Front]]) -> pd.DataFrame:
    """Figure 7 as numbers, a row a task and front of {label: {name: Front}}: candidates; mean and largest improvement;
    accuracy (or F1) of the best single model and of the best cascade; cost_ratio: baseline cost ÷ cascade cost at the
    accuracy of the best model, or at the front's where it is lower."""
    rows = {}
    for label, fronts in tasks.items():
        for name, front in fronts.items():
            best, top = front.baseline.best, float(front.table["accuracy"].iloc[-1])
            mean = front.mean_improvement() if len(front.baseline.front) > 1 else float("nan")
            largest, at = front.table["improvement"].max(), min(best, top)
            row = {"candidates": len(front.singles), "mean_improvement": mean, "largest_improvement": largest}
            row |= {"accuracy_of_best_model": best, "accuracy_of_best_cascade": top}
            rows[label, name] = row | {"cost_ratio": front.baseline.cost_at(at) / front.cost_at(at)}
    return pd.DataFrame.from_dict(rows, orient="index")


def same_fronts(fronts: dict[str, Front]) -> pd.DataFrame:
    """Are fronts one? A row a label: mean and largest improvement, points, and whether these have the accuracies and
    costs of the first front's ("the same") or not ("another")."""
    tables = {label: front.table[["accuracy", "cost"]] for label, front in fronts.items()}
    first, table = next(iter(tables.values())), fronts_table({"": fronts}).droplevel(0)
    table = table[["mean_improvement", "largest_improvement"]].assign(points=[len(rows) for rows in tables.values()])
    return table.assign(front=["the same" if rows.equals(first) else "another" for rows in tables.values()])


def scaling_table(
    store: Any, other: Any, ensembles: Sequence[str], n_models: int = 2, cost: str = "macs", resamples: int = 2000
) -> pd.DataFrame:
    """Does temperature scaling change a front? A row a metric and ensemble: fronts of Pareto models, without and with,
    chosen (and temperatures fitted) on one split and measured on the other.

    mean_improvement, mean_improvement_scaled; cost_ratio (with ÷ without, see :func:`cost_ratio_moved`) and its
    bootstrap interval, 95% for all rows at once (Bonferroni); change: "cheaper" or "dearer" where that does not hold 1,
    else "–".
    """
    metrics = {"max_softmax": True, "softmax_margin": True, "entropy": False, "logits_margin": False}  # for means too
    kinds = [(m, e) for e in ensembles for m, means in metrics.items() if means or not e.startswith("mean")]
    rows = {}
    for metric, ensemble in kinds:
        both = [Method(metric, ensemble, scaled).fit(store) for scaled in (False, True)]
        fronts = [search(store, n_models, method, cost=cost, models="pareto") for method in both]
        plain, scaled = (bootstrap(other, front, resamples) for front in fronts)
        ratio, level = cost_ratio_moved(fronts[0], fronts[1], other), 1 - 0.05 / len(kinds)
        low, high = basic_interval(resampled_cost_ratio(plain, scaled), ratio, level)
        means = (mean_improvement_moved(other, front, ranges=False) for front in fronts)
        row = dict(zip(("mean_improvement", "mean_improvement_scaled"), means))
        row |= with_ends(ratio, (low, high), "cost_ratio")
        rows[f"{metric}, {ensemble}"] = row | {"change": "cheaper" if high < 1 else "dearer" if low > 1 else "–"}
    return pd.DataFrame.from_dict(rows, orient="index")


def ranking(tasks: dict[str, tuple[Any, Any]], n_models: int = 2, upper: float = 0.9, **options) -> pd.DataFrame:
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
                row = {"task": task, "n_models": n_models, "cost": front.cost_kind, "fold": fold, "method": method}
                row["classes"] = len(np.unique(there.labels))
                row |= {"accuracy_of_best_model": base.best, "top_accuracy": moved.table["accuracy"].iloc[-1]}
                row["mean_improvement"] = moved.mean_improvement()
                rows.append(row | {"upper_improvement": moved.mean_improvement(low)})
    table = pd.DataFrame(rows)
    return table.assign(place=table.groupby(["task", "fold"])["mean_improvement"].rank(ascending=False))


def class_tasks(store: Any, held_out: Any, shares: Sequence[float]) -> dict[str, tuple[Any, Any]]:
    """Tasks of :func:`ranking`, {label: two splits}: all classes, then these shares of them, the hardest and the
    easiest by the recall of the best single model, among themselves."""
    right = pd.Series(store.ranks(store.models["top1"].idxmax()) == 0)
    hardest = right.groupby(store.labels).mean().sort_values().index.tolist()
    parts = {f"all {len(hardest)}": hardest}
    for n in sorted({max(2, round(share * len(hardest))) for share in shares}):
        parts |= {f"{n} hardest": hardest[:n], f"{n} easiest": hardest[-n:]}
    return {label: (store.select_classes(part), held_out.select_classes(part)) for label, part in parts.items()}


def threshold_table(store: LogitStore, fitted_on: LogitStore) -> pd.DataFrame:
    """Figure 14 in short, a row a model, cheapest first: by how much the accuracy above (and below) a threshold differs
    from the uncalibrated one at the same early exit rate, mean over the rates, with its sign. above_scaled,
    below_scaled: with temperature scaling; above_perfect, below_perfect: if calibration were perfect."""
    rates, rows = np.arange(1, 200) / 200, {}
    kinds = {"scaled": "temperature scaled", "perfect": "assumed perfect calibration"}
    for name in store.models.index:
        curves, row = threshold_curves(store, name, fitted_on), {}
        for kind, label in kinds.items():
            for side in ("above", "below"):
                pair = [curves[each].dropna() for each in (label, "uncalibrated")]
                there, here = (np.interp(rates, curve["exit_rate"], curve[f"accuracy_{side}"]) for curve in pair)
                row[f"{side}_{kind}"] = (there - here).mean()
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def assumed_perfect(store: LogitStore, cost: str = "macs") -> ScoreTable:
    """A ScoreTable in which every answer is right with the probability that its max softmax claims, for the cascades
    that perfect calibration would promise. Claims are :func:`assumed` ones: single models keep their accuracies, and
    which answers count as right changes."""
    names = tuple(store.models.index)
    sure = np.stack([assumed(store, name) for name in names])
    return ScoreTable(sure, sure, store.costs(cost), names, store.origin)  # type: ignore[arg-type]


def moved_table(front: Front, splits: dict[str, Any], own: dict[str, Front], near: float = 1.1) -> pd.DataFrame:
    """A replayed front beside each split's own, a row a split: mean_improvement of both, share_improved (of the split's
    accuracy range, where it is better than single models) and share_near_own_front (where its cost is at most ``near``
    times that front's). splits: {label: store}; own: {label: the front that is searched there}."""
    rows = {}
    for label, store in splits.items():
        there = moved_front(store, front)
        gain, best = (each.improvement_curve(points=401)["improvement"] for each in (there, own[label]))
        row = {"mean_improvement": there.mean_improvement()}
        row |= {"mean_improvement_own_front": own[label].mean_improvement(), "share_improved": (gain > 1).mean()}
        rows[label] = row | {"share_near_own_front": (gain * near >= best).mean()}
    return pd.DataFrame.from_dict(rows, orient="index")


def exit_changes(front: Front, splits: dict[str, Any]) -> pd.DataFrame:
    """By how much the share that leaves at the first stage changes, at identical thresholds: a row a cascade of the
    front (at its cheapest point), a column a split ({label: store})."""
    points = [front.point(row) for row in front.table.drop_duplicates("models").index]
    there = {label: [evaluate(s, p).exit_rates[0] for p in points] for label, s in splits.items()}
    return pd.DataFrame(there, [arrow(p.models) for p in points]).sub([p.exit_rates[0] for p in points], axis=0)


def split_drops(store: Any, splits: dict[str, Any], paired: bool = False) -> pd.DataFrame:
    """:func:`member_drops` from one store to each of several splits {label: store}, rows (split, model); intervals of
    95% for all of them at once (Bonferroni). paired: the splits hold samples of ``store``, changed: see
    :func:`matched`."""
    level = 1 - (1 - LEVEL) / (len(splits) * len(store.models))
    before = {label: matched(store, moved) if paired else store for label, moved in splits.items()}
    tables = {label: member_drops(before[label], moved, level=level) for label, moved in splits.items()}
    return pd.concat(tables, names=["split"])


def drops_table(drops: pd.DataFrame) -> pd.DataFrame:
    """:func:`split_drops` in short, a row a split: mean, least and largest drop, the model that it hits hardest, how
    many models lose for certain, the rank correlation of accuracies before and after, and the best model after."""
    splits = drops.groupby("split", sort=False)
    table = splits["drop"].agg(["mean", "min", "max"]).add_prefix("drop_")
    table["hit_hardest"] = splits["drop"].idxmax().str[1]
    table["certain_losses"] = (drops["drop_low"] > 0).groupby("split", sort=False).sum()
    ranks = drops[["accuracy", "accuracy_moved"]].groupby("split", sort=False).rank()
    table["rank_correlation"] = {split: rows.corr().iloc[0, 1] for split, rows in ranks.groupby("split")}
    return table.assign(best_model=splits["accuracy_moved"].idxmax().str[1])


def selection_bias_table(bias: pd.DataFrame) -> pd.DataFrame:
    """:func:`selection_bias` in short, a row a measure: its means where chosen and where measured, and median, 5% and
    95% quantile of the difference."""
    chosen, measured = bias.filter(regex="_chosen$"), bias.filter(regex="_measured$")
    chosen.columns = measured.columns = [name.removesuffix("_chosen") for name in chosen]
    low, middle, high = (chosen - measured).quantile([0.05, 0.5, 0.95]).to_numpy()
    means = {"mean, chosen": chosen.mean(), "mean, measured": measured.mean()}
    return pd.DataFrame({**means, "difference, 5%": low, "median": middle, "95%": high})


def alarm_table(
    point: Point, store: Any, other: Any, splits: dict[str, Any], windows: Sequence[int], repeats: int = 50, **options
) -> pd.DataFrame:
    """Shares of streams that raise an alarm before they end, a column a length (those that fit): of unchanged data of
    ``other`` (4 × ``repeats`` streams), then of the splits {label: store}, against ``store``. options: a signal's."""
    table, fits = {}, min(len(other) // 2, *(len(data) for data in splits.values()))
    for window in [w for w in windows if w <= fits]:
        alarms = {name: alarm_share(store, data, point, window, repeats, **options) for name, data in splits.items()}
        unchanged = alarm_share(other, other, point, window, 4 * repeats, **options)
        table[f"share of alarms, {window} inputs"] = {"unchanged": unchanged, **alarms}
    return pd.DataFrame(table)


def drift_table(cascade: Any, streams: Mapping[str, Sequence]) -> pd.DataFrame:
    """What a running cascade says of several streams {label: batches}, a row each: exit_rate of the first stage, the
    expected one, and whether :meth:`Running.drift` raises the alarm. Its counts are those of the last stream after."""
    rows = {}
    for label, batches in streams.items():
        cascade.running.reset()
        cascade.run(batches)
        row = cascade.running.table.iloc[0][["exit_rate", "exit_rate_expected"]].to_dict()
        rows[label] = row | {"alarm": "ALARM" if cascade.running.drift().alarm else "–"}
    return pd.DataFrame.from_dict(rows, orient="index")


def cost_ratio_moved(first: Front, second: Front, store: Any) -> float:
    """Cost of the second replayed front ÷ that of the first at equal accuracy, geometric mean over what both reach
    there; of the fronts' points, not their ranges: what :func:`resampled_cost_ratio` resamples."""
    moved = [moved_front(store, front, ranges=False) for front in (first, second)]
    one, two = ((there.table["cost"].to_numpy(), there.table["accuracy"].to_numpy()) for there in moved)
    return mean_cost_ratio(one, two, *common_range(moved[0].baseline, one, two))


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
    logs = np.log(least_cost(second[0], second[1], x[1:])) - np.log(least_cost(first[0], first[1], x[1:]))
    return float(np.exp(np.sum(np.diff(x) * logs) / (high - low)))


def common_range(baseline: Baseline, first: tuple, second: tuple) -> tuple[float, float]:
    """(low, high): accuracies from the cheapest single model's up to what both fronts and the best one reach."""
    return float(baseline.accuracy[baseline.front[0]]), float(min(first[1][-1], second[1][-1], baseline.best))


def alarm_share(reference: Any, store: Any, point: Point, window: int, repeats: int = 200, **options) -> float:
    """Share of ``repeats`` streams of ``window`` inputs, drawn from a store, that raise an alarm before they end; false
    alarms where the reference is the same store: each time a random half is the reference, the other half the stream.
    options: false_alarm_rate. ValueError for too few samples."""
    (sure, thresholds), rng, alarms = all_confidences(store, point), np.random.default_rng(0), []
    fixed, half = (None, len(store) // 2) if reference is store else (stage_confidences(reference, point), 0)
    if window > len(store) - half:
        raise ValueError(f"a stream of {window} inputs is longer than the {len(store) - half} samples there are")
    for _ in watched(range(repeats), "streams"):
        order = rng.permutation(len(store))
        drawn, live = (reaching([s[r] for s in sure], thresholds) for r in (order[:half], order[half:][:window]))
        alarms.append(DriftSignal(fixed or drawn, **options).check(live).alarm)
    return float(np.mean(alarms))


def by_kind(tables: dict, first: str) -> dict[str, dict]:
    """{split: table} → {kind: {label: table}}: splits named <kind>-<severity> share a panel, and in each is that of
    ``first``, the split that the cascades were chosen on."""
    grouped: dict[str, dict] = {}
    for name, table in tables.items():
        kind, _, severity = name.rpartition("-")
        panel, label = (kind, f"severity {severity}") if kind and severity.isdigit() else (name, "moved")
        if name != first:
            grouped.setdefault(panel, {first: tables[first]})[label] = table
    return grouped


def matched(store: LogitStore, other: LogitStore) -> LogitStore:
    """The samples of LogitStore ``store`` that ``other`` holds, in the order of ``other``: a view, paired by row.
    ValueError names the first sample that ``store`` lacks, or whose label differs."""
    position = {sample: row for row, sample in enumerate(store.sample_ids.tolist())}
    missing = [sample for sample in other.sample_ids.tolist() if sample not in position]
    if missing:
        raise ValueError(
            f"split {store.split!r} lacks {len(missing)} of the {len(other)} samples of {other.split!r}, "
            f"the first is {missing[0]!r}: they cannot be paired"
        )
    part = store.take([position[sample] for sample in other.sample_ids.tolist()])
    with about(f"splits {store.split!r} and {other.split!r}"):
        part.origin.check_same(other.sample_ids, other.labels)
    return part


def perfect_temperature(logits: np.ndarray, accuracy: float, name: str | None = None) -> float:
    """The temperature, between :func:`bounds_of` logits, at which their mean max softmax equals ``accuracy``.

    Paper, appendix E and figure 14, *assumed perfect calibration*: the mean max softmax falls as T grows, so there is
    one at most. A model that is never wrong, or hardly better than chance, has none: T = 1, with a RuntimeWarning.
    """

    def excess(log_t):
        return confidence(logits, "max_softmax", np.exp(log_t)).mean() - accuracy

    low, high = bounds_of(logits)
    if excess(low) <= 0 or excess(high) >= 0:
        model = "the model" if name is None else f"model {name!r}"
        text = f"temperature of {model} left at 1: no mean max softmax equals its accuracy of {accuracy:.4f}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return 1.0
    return float(np.exp(brentq(excess, low, high, xtol=1e-9)))


def above_below(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """Accuracy of the samples above and of those below each threshold (paper, figure 14).

    confidence float [k], any metric; correct [k], bool or an assumed probability. Returns a DataFrame, a row for each
    threshold that parts samples of different confidence (exit: confidence ≥ threshold), rising in exit_rate:
    threshold (the least confidence that exits), exit_rate, accuracy_above, accuracy_below (nan where nobody is left).
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    k, (order, ends) = len(confidence), exits_of(confidence)
    exits, right = ends[1:], np.cumsum(correct[order])
    inside = right[exits - 1]
    with np.errstate(invalid="ignore"):
        columns = {"accuracy_above": inside / exits, "accuracy_below": (right[-1] - inside) / (k - exits)}
    return pd.DataFrame({"threshold": confidence[order[exits - 1]], "exit_rate": exits / k, **columns})


def ideal_above_below(accuracy: float, points: int = 201) -> pd.DataFrame:
    """Figure 14's ideal for a model of this accuracy: some threshold parts all right answers from all wrong ones."""
    rate = np.linspace(1 / points, 1, points)
    with np.errstate(invalid="ignore"):
        below = np.maximum(accuracy - rate, 0) / (1 - rate)
    return pd.DataFrame({"exit_rate": rate, "accuracy_above": np.minimum(1, accuracy / rate), "accuracy_below": below})


def assumed(store: LogitStore, name: str) -> np.ndarray:
    """Max softmax [k] of a model at the temperature that makes its mean the accuracy (:func:`perfect_temperature`)."""
    accuracy = float(np.mean(store.ranks(name) == 0))
    return cached_confidence(store, name, "max_softmax", perfect_temperature(store.logits(name), accuracy, name))


def threshold_curves(store: LogitStore, name: str, fitted_on: LogitStore) -> dict[str, pd.DataFrame]:
    """Figure 14 of one model, whose temperature is fitted on ``fitted_on``: {label: :func:`above_below`}."""
    right, perfect = store.ranks(name) == 0, assumed(store, name)
    at = {"uncalibrated": 1.0, "temperature scaled": cached_temperature(fitted_on, name)}
    curves = {label: above_below(*claims_of(store, name, t)) for label, t in at.items()}
    curves["assumed perfect calibration"] = above_below(perfect, perfect)
    return curves | {"ideal": ideal_above_below(right.mean())}


def check_same_task(store: Store, other: Store) -> None:
    """Raise ValueError unless ``other`` has the classes of ``store`` (where outputs are of classes that both know) and
    all of its models."""
    classes, others = store.origin.classes, other.origin.classes
    if store.has_outputs and classes and others and classes != others:
        differing = next((i for i, pair in enumerate(zip(classes, others)) if pair[0] != pair[1]), len(classes))
        raise ValueError(
            f"the splits have other classes: {len(classes)} and {len(others)}, the first difference at class "
            f"{differing}; map the labels of one to the other's before extracting"
        )
    for name in store.models.index:
        known(name, other.models.index, "model of the other split")
    if store.has_outputs and other.has_outputs:
        name = store.models.index[0]
        stores: tuple[Any, ...] = store, other
        widths = [s.logits(name).shape[1] for s in stores]
        if widths[0] != widths[1]:
            raise ValueError(f"model {name!r} has {widths[0]} classes on one split and {widths[1]} on the other")


def member_drops(store: Any, other: Any, score: str = "top1", level: float = LEVEL) -> pd.DataFrame:
    """What each single model loses from one split to another, a row a model, cheapest first.

    accuracy, accuracy_moved, drop (positive: worse there) and the ends of its interval: paired where both splits
    hold the same samples in the same order (see :func:`matched`), of independent samples otherwise. ValueError where
    the two are one split: the same samples, and of every model the same outcomes and confidences.
    """
    check_same_task(store, other)
    if score == F1:
        raise ValueError("F1 is no share of samples and has no such interval: give score='top1', or use the bootstrap")
    names = list(store.models.index)
    here, there = (s.outcome(names, Method(), score) for s in (store, other))
    outcomes = [(here((m,)), there((m,))) for m in range(len(names))]
    same = len(store) == len(other) and np.array_equal(store.sample_ids, other.sample_ids)
    if same and all(np.array_equal(a, b) for pair in outcomes for a, b in zip(*pair)):
        what = f"{store.origin.split!r} ({len(store):,} samples)"
        raise ValueError(f"the split {what} is compared with itself: give the split that was chosen on, and another")
    paired = same and store.sample_ids is not None
    interval = paired_difference_interval if paired else difference_interval
    rows = []
    for (first, _), (second, _) in outcomes:
        low, high = interval(first, second, level)
        row = {"accuracy": first.mean(), "accuracy_moved": second.mean()}
        rows.append(row | with_ends(first.mean() - second.mean(), (-high, -low), "drop"))
    return pd.DataFrame(rows, index=pd.Index(names, name="model"))


def difference_interval(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> Ends:
    """(low, high) of accuracy(second) − accuracy(first) on different samples, bool [k1] and [k2], from Wilson's two
    (method 10 of Newcombe, 1998, *Interval estimation for the difference between independent proportions*)."""
    first, second = counted(first, "first"), counted(second, "second")
    (low_1, high_1), (low_2, high_2) = share_interval(first, level), share_interval(second, level)
    a, b = first.mean(), second.mean()
    return float(b - a - np.hypot(b - low_2, high_1 - a)), float(b - a + np.hypot(high_2 - b, a - low_1))
