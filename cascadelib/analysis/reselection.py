"""What choosing costs: how much better a front looks on the samples that chose it."""

import numpy as np
import pandas as pd

from ..evaluation.evaluation import evaluate
from ..front_end import watched
from ..fronts.exact import search
from ..fronts.selection import pick
from ..methods.method import Method
from ..store.logit_store import LogitStore
from .shift import mean_improvement_moved, replay


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
