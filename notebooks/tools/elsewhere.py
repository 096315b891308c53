"""What becomes of models, fronts and promises on other data, as tables that these notebooks show."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import (
    DriftSignal,
    Front,
    LogitStore,
    Method,
    Point,
    certify,
    evaluate,
    pick,
    replay,
    search,
)
from cascadelib.analysis import moved_front, share_interval
from cascadelib.analysis.shift import front_of
from cascadelib.analysis.uncertainty import (
    LEVEL,
    Ends,
    counted,
    paired_difference_interval,
    with_ends,
)
from cascadelib.checks import about, known
from cascadelib.evaluation import all_confidences
from cascadelib.evaluation.evaluation import quality, reaching, right_alone, stage_confidences
from cascadelib.files import located
from cascadelib.front_end import watched
from cascadelib.scoring import F1
from cascadelib.store import Store
from cascadelib.tables import arrow


def open_splits(folder: str | Path, patterns: str | Sequence[str]) -> dict[str, LogitStore]:
    """{name: LogitStore} of the stores in ``folder`` that match a glob pattern ("shift/*", "v2") or one of several;
    FileNotFoundError for a pattern that no store matches."""
    root = located(folder)
    found = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        paths = sorted(path.parent for path in root.glob(f"{pattern}/manifest.json"))
        if not paths:
            raise FileNotFoundError(
                f"no store {pattern!r} in {folder}; a store is a folder with manifest.json"
            )
        found += paths
    return {path.name: LogitStore(path) for path in found}


def check_same_task(store: Store, other: Store) -> None:
    """Raise ValueError unless ``other`` has the classes of ``store`` (where outputs are of classes that both know) and
    all of its models."""
    classes = store.origin.classes
    others = other.origin.classes
    if store.class_count and classes and others and classes != others:
        differing = next(
            (i for i, pair in enumerate(zip(classes, others)) if pair[0] != pair[1]), len(classes)
        )
        raise ValueError(
            f"the splits have other classes: {len(classes)} and {len(others)}, the first difference at class "
            f"{differing}; map the labels of one to the other's before extracting"
        )
    for name in store.models.index:
        known(name, other.models.index, "model of the other split")
    counts = (store.class_count, other.class_count)
    if None not in counts and counts[0] != counts[1]:
        raise ValueError(
            f"the outputs have {counts[0]} classes on one split and {counts[1]} on the other"
        )


def member_drops(store: Any, other: Any, score: str = "top1", level: float = LEVEL) -> pd.DataFrame:
    """What each single model loses from one split to another, a row a model, cheapest first.

    accuracy, accuracy_moved, drop (positive: worse there) and the ends of its interval: paired where both splits
    hold the same samples in the same order (see :func:`matched`), of independent samples otherwise. ValueError where
    the two are one split: the same samples, and of every model the same outcomes and confidences.
    """
    check_same_task(store, other)
    if score == F1:
        raise ValueError(
            "F1 is no share of samples and has no such interval: give score='top1', or use the bootstrap"
        )
    names = list(store.models.index)
    here, there = (s.outcome(names, Method(), score) for s in (store, other))
    outcomes = [(here((m,)), there((m,))) for m in range(len(names))]
    same = len(store) == len(other) and np.array_equal(store.sample_ids, other.sample_ids)
    if same and all(np.array_equal(a, b) for pair in outcomes for a, b in zip(*pair)):
        what = f"{store.origin.split!r} ({len(store):,} samples)"
        raise ValueError(
            f"the split {what} is compared with itself: give the split that was chosen on, and another"
        )
    paired = same and store.sample_ids is not None
    interval = paired_difference_interval if paired else difference_interval
    rows = []
    for (first, _), (second, _) in outcomes:
        low, high = interval(first, second, level)
        row = {"accuracy": first.mean(), "accuracy_moved": second.mean()}
        rows.append(row | with_ends(first.mean() - second.mean(), (-high, -low), "drop"))
    return pd.DataFrame(rows, index=pd.Index(names, name="model"))


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


def split_drops(store: Any, splits: dict[str, Any], paired: bool = False) -> pd.DataFrame:
    """:func:`member_drops` from one store to each of several splits {label: store}, rows (split, model); intervals of
    95% for all of them at once (Bonferroni). paired: the splits hold samples of ``store``, changed: see
    :func:`matched`."""
    level = 1 - (1 - LEVEL) / (len(splits) * len(store.models))
    before = {label: matched(store, moved) if paired else store for label, moved in splits.items()}
    tables = {
        label: member_drops(before[label], moved, level=level) for label, moved in splits.items()
    }
    return pd.concat(tables, names=["split"])


def drops_table(drops: pd.DataFrame) -> pd.DataFrame:
    """:func:`split_drops` in short, a row a split: mean, least and largest drop, the model that it hits hardest, how
    many models lose for certain, the rank correlation of accuracies before and after, and the best model after."""
    splits = drops.groupby("split", sort=False)
    table = splits["drop"].agg(["mean", "min", "max"]).add_prefix("drop_")
    table["hit_hardest"] = splits["drop"].idxmax().str[1]
    table["certain_losses"] = (drops["drop_low"] > 0).groupby("split", sort=False).sum()
    ranks = drops[["accuracy", "accuracy_moved"]].groupby("split", sort=False).rank()
    table["rank_correlation"] = {
        split: rows.corr().iloc[0, 1] for split, rows in ranks.groupby("split")
    }
    return table.assign(best_model=splits["accuracy_moved"].idxmax().str[1])


def difference_interval(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> Ends:
    """(low, high) of accuracy(second) − accuracy(first) on different samples, bool [k1] and [k2], from Wilson's two
    (method 10 of Newcombe, 1998, *Interval estimation for the difference between independent proportions*)."""
    first = counted(first, "first")
    second = counted(second, "second")
    low_1, high_1 = share_interval(first, level)
    low_2, high_2 = share_interval(second, level)
    a = first.mean()
    b = second.mean()
    return float(b - a - np.hypot(b - low_2, high_1 - a)), float(
        b - a + np.hypot(high_2 - b, a - low_1)
    )


def moved_table(
    front: Front, splits: dict[str, Any], own: dict[str, Front], near: float = 1.1
) -> pd.DataFrame:
    """A replayed front beside each split's own, a row a split: mean_improvement of both, share_improved (of the split's
    accuracy range, where it is better than single models) and share_near_own_front (where its cost is at most ``near``
    times that front's). splits: {label: store}; own: {label: the front that is searched there}."""
    rows = {}
    for label, store in splits.items():
        there = moved_front(store, front)
        gain, best = (
            each.improvement_curve(points=401)["improvement"] for each in (there, own[label])
        )
        row = {"mean_improvement": there.mean_improvement()}
        row |= {
            "mean_improvement_own_front": own[label].mean_improvement(),
            "share_improved": (gain > 1).mean(),
        }
        rows[label] = row | {"share_near_own_front": (gain * near >= best).mean()}
    return pd.DataFrame.from_dict(rows, orient="index")


def exit_changes(front: Front, splits: dict[str, Any]) -> pd.DataFrame:
    """By how much the share that leaves at the first stage changes, at identical thresholds: a row a cascade of the
    front (at its cheapest point), a column a split ({label: store})."""
    points = [front.point(row) for row in front.table.drop_duplicates("models").index]
    there = {label: [evaluate(s, p).exit_rates[0] for p in points] for label, s in splits.items()}
    return pd.DataFrame(there, [arrow(p.models) for p in points]).sub(
        [p.exit_rates[0] for p in points], axis=0
    )


def by_kind(tables: dict, first: str) -> dict[str, dict]:
    """{split: table} → {kind: {label: table}}: splits named <kind>-<severity> share a panel, and in each is that of
    ``first``, the split that the cascades were chosen on."""
    grouped: dict[str, dict] = {}
    for name, table in tables.items():
        kind, _, severity = name.rpartition("-")
        panel, label = (
            (kind, f"severity {severity}") if kind and severity.isdigit() else (name, "moved")
        )
        if name != first:
            grouped.setdefault(panel, {first: tables[first]})[label] = table
    return grouped


def selection_bias(
    store: LogitStore,
    n_models: int | tuple[int, ...] = 2,
    method: Method | str | None = None,
    repeats: int = 20,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """How much better a front looks on the samples that chose it: chosen on one half, measured on the other, repeated.

    Returns a DataFrame, a row a repeat: the mean over the front's points of accuracy (…_chosen, …_measured), its mean
    improvement, and the improvement of the point that looks best; single_models: the mean accuracy of single models on
    both halves, which differs by chance alone. options: as for :func:`search`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in watched(range(repeats), "halves"):
        order = rng.permutation(len(store))
        here = store.take(order[: len(store) // 2])
        there = store.take(order[len(store) // 2 :])
        front = search(here, n_models, method, **options)
        moved = replay(there, front, ranges=False)
        best = pick(front, "max_improvement")
        pairs = {
            "accuracy": (front.table["accuracy"].mean(), moved["accuracy_moved"].mean()),
            "single_models": (here.models["top1"].mean(), there.models["top1"].mean()),
            "mean_improvement": (
                front.mean_improvement(),
                front_of(there, front, moved).mean_improvement(),
            ),
            "best_improvement": (best.improvement, evaluate(there, best).improvement),
        }
        halves = {name: zip(("chosen", "measured"), pair) for name, pair in pairs.items()}
        rows.append({f"{name}_{on}": mean for name, pair in halves.items() for on, mean in pair})
    return pd.DataFrame(rows)


def selection_bias_table(bias: pd.DataFrame) -> pd.DataFrame:
    """:func:`selection_bias` in short, a row a measure: its means where chosen and where measured, and median, 5% and
    95% quantile of the difference."""
    chosen = bias.filter(regex="_chosen$")
    measured = bias.filter(regex="_measured$")
    chosen.columns = measured.columns = [name.removesuffix("_chosen") for name in chosen]
    low, middle, high = (chosen - measured).quantile([0.05, 0.5, 0.95]).to_numpy()
    means = {"mean, chosen": chosen.mean(), "mean, measured": measured.mean()}
    return pd.DataFrame({**means, "difference, 5%": low, "median": middle, "95%": high})


def promise_table(
    front: Front, store: Any, held_out: Any, losses: Sequence[float], delta: float = 0.05
) -> pd.DataFrame:
    """What a promise costs, a row an allowed loss: accuracy_loss_allowed (ε), models and cost of what :func:`certify`
    finds for it on ``store`` ("–" and nan: nothing), and accuracy_loss_held_out, against the same reference."""
    rows = []
    for epsilon in losses:
        found = certify(front, store, epsilon, delta)
        row = {
            "accuracy_loss_allowed": epsilon,
            "models": ("–",),
            "cost": np.nan,
            "accuracy_loss_held_out": np.nan,
        }
        if found.point is not None:
            alone = quality(
                held_out, right_alone(held_out, found.reference, front.score), front.score
            )
            row |= {"models": found.point.models, "cost": found.point.cost}
            row["accuracy_loss_held_out"] = alone - evaluate(held_out, found.point).accuracy
        rows.append(row)
    return pd.DataFrame(rows)


def alarm_share(
    reference: Any, store: Any, point: Point, window: int, repeats: int = 200, **options: Any
) -> float:
    """Share of ``repeats`` streams of ``window`` inputs, drawn from a store, that raise an alarm before they end; false
    alarms where the reference is the same store: each time a random half is the reference, the other half the stream.
    options: false_alarm_rate. ValueError for too few samples."""
    confidence, thresholds = all_confidences(store, point)
    rng = np.random.default_rng(0)
    alarms = []
    fixed, half = (
        (None, len(store) // 2) if reference is store else (stage_confidences(reference, point), 0)
    )
    if window > len(store) - half:
        raise ValueError(
            f"a stream of {window} inputs is longer than the {len(store) - half} samples there are"
        )
    for _ in watched(range(repeats), "streams"):
        order = rng.permutation(len(store))
        drawn, live = (
            reaching([s[r] for s in confidence], thresholds)
            for r in (order[:half], order[half:][:window])
        )
        alarms.append(DriftSignal(fixed or drawn, **options).check(live).alarm)
    return float(np.mean(alarms))


def alarm_table(
    point: Point,
    store: Any,
    other: Any,
    splits: dict[str, Any],
    windows: Sequence[int],
    repeats: int = 50,
    **options: Any,
) -> pd.DataFrame:
    """Shares of streams that raise an alarm before they end, a column a length (those that fit): of unchanged data of
    ``other`` (4 × ``repeats`` streams), then of the splits {label: store}, against ``store``. options: a signal's."""
    table = {}
    fits = min(len(other) // 2, *(len(data) for data in splits.values()))
    for window in [w for w in windows if w <= fits]:
        alarms = {
            name: alarm_share(store, data, point, window, repeats, **options)
            for name, data in splits.items()
        }
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


def decide_elsewhere(path: str | Path, batch: Any) -> Any:
    """Decisions of a saved cascade on a batch, by a fresh Python process that loads it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(_decide, path, batch).result()


def _decide(path: str | Path, batch: Any) -> Any:
    from cascadelib import Cascade  # with torch, which takes seconds that the tables do without

    return Cascade.load(path)(batch)
