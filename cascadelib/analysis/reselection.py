"""What choosing costs and buys: thresholds chosen again on a few labelled samples, and the bias of choosing at all."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..evaluation.evaluation import evaluate
from ..front_end import watched
from ..fronts.exact import search
from ..fronts.front import Point
from ..fronts.selection import pick
from ..methods.method import Method
from ..store.logit_store import LogitStore
from .shift import mean_improvement_moved, replay

CHOICES = ("rechosen", "unchanged", "hindsight")


def rechoose(point: Point, labelled: LogitStore) -> Point:
    """The same models with thresholds chosen on ``labelled``: the least cost at no less than the accuracy that the
    last model alone has there. Its own numbers are those of the samples that it was chosen on."""
    names = list(point.models)
    front = search(labelled, len(names), point.method, score=point.score, cost=point.cost_kind, models=names)
    return pick(front, accuracy=front.singles.loc[names[-1], "accuracy"])


def won_back(
    point: Point, store: LogitStore, sizes: Sequence[int] = (50, 200, 1000), repeats: int = 50, seed: int = 0
) -> pd.DataFrame:
    """What choosing a cascade's thresholds again on a small labelled sample of new data wins back.

    store: the new data. A random sample of each size chooses (see :func:`rechoose`), the *rest* measures; repeated.
    Returns a DataFrame, a row a size and repeat: size, repeat, and for the thresholds rechosen, unchanged and chosen in
    hindsight (on the very samples that measure: a bound): difference_… (accuracy − the last model's there), cost_…,
    improvement_…. Raises ValueError for sizes that leave nothing to measure on.
    """
    if max(sizes) >= len(store):
        raise ValueError(f"a sample of {max(sizes)} leaves nothing of {len(store)} samples to measure on")
    rng, rows = np.random.default_rng(seed), []
    for repeat in watched(range(repeats), "choosing again"):
        order = rng.permutation(len(store))
        for size in sizes:
            rest = store.take(order[size:])
            last = rest.models.loc[point.models[-1], "top1"]
            row, chosen = {"size": size, "repeat": repeat}, rechoose(point, store.take(order[:size]))
            for label, one in zip(CHOICES, (chosen, point, rechoose(point, rest))):
                result = evaluate(rest, one)
                row |= {f"difference_{label}": result.accuracy - last, f"cost_{label}": result.cost}
                row[f"improvement_{label}"] = result.improvement
            rows.append(row)
    return pd.DataFrame(rows)


def won_back_table(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """{split: ``won_back``} as one table, a row a split and size, medians over the repeats: cost_ratio (cost rechosen ÷
    unchanged), difference and improvement of the three choices, 5% and 95% quantiles of the rechosen difference."""
    rows, columns = {}, [f"{what}_{choice}" for what in ("difference", "improvement") for choice in CHOICES]
    for split, table in tables.items():
        for size, part in table.groupby("size"):
            low, high = part["difference_rechosen"].quantile([0.05, 0.95])
            row = {"cost_ratio": (part["cost_rechosen"] / part["cost_unchanged"]).median()}
            row |= {"difference_rechosen": None, "difference_5%": low, "difference_95%": high}
            rows[split, size] = row | part[columns].median().to_dict()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["split", "labelled samples"])


def selection_bias(
    store: LogitStore,
    n_models: int | tuple[int, ...] = 2,
    method: Method | str | None = None,
    repeats: int = 20,
    seed: int = 0,
    **options,
) -> pd.DataFrame:
    """How much better a front looks on the samples that chose it: chosen on one half, measured on the other, repeated.

    Returns a DataFrame, a row a repeat: the mean over the front's points of accuracy (…_chosen, …_measured), its mean
    improvement, and the improvement of the point that looks best; single_models: the mean accuracy of single models on
    both halves, which differs by chance alone. options: as for :func:`search`.
    """
    rng, rows = np.random.default_rng(seed), []
    for _ in watched(range(repeats), "halves"):
        order = rng.permutation(len(store))
        here, there = store.take(order[: len(store) // 2]), store.take(order[len(store) // 2 :])
        front = search(here, n_models, method, **options)
        moved, best = replay(there, front, ranges=False), pick(front, "max_improvement")
        pairs = {
            "accuracy": (front.table["accuracy"].mean(), moved["accuracy_moved"].mean()),
            "single_models": (here.models["top1"].mean(), there.models["top1"].mean()),
            "mean_improvement": (front.mean_improvement(), mean_improvement_moved(there, front, ranges=False)),
            "best_improvement": (best.improvement, evaluate(there, best).improvement),
        }
        halves = {name: zip(("chosen", "measured"), pair) for name, pair in pairs.items()}
        rows.append({f"{name}_{on}": mean for name, pair in halves.items() for on, mean in pair})
    return pd.DataFrame(rows)


def selection_bias_table(bias: pd.DataFrame) -> pd.DataFrame:
    """:func:`selection_bias` in short, a row a measure: its means where chosen and where measured, and median, 5% and
    95% quantile of the difference."""
    chosen, measured = bias.filter(regex="_chosen$"), bias.filter(regex="_measured$")
    chosen.columns = measured.columns = [name.removesuffix("_chosen") for name in chosen]
    low, middle, high = (chosen - measured).quantile([0.05, 0.5, 0.95]).to_numpy()
    means = {"mean, chosen": chosen.mean(), "mean, measured": measured.mean()}
    return pd.DataFrame({**means, "difference, 5%": low, "median": middle, "95%": high})
