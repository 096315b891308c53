"""Compare earlier recipes for cascades with the exact front, for notebook 04."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.analysis import resampled_cost_ratio
from cascadelib.analysis.uncertainty import Resampled, resampled_means, sample_counts
from cascadelib.evaluation.evaluation import paid_by, singles_correct
from cascadelib.evaluation.pareto import pareto_front
from cascadelib.evaluation.run import resampled_cascade
from tools.recipes import (
    huang_2018,
    inoue_2019,
    oracle,
    park_2015_dynamic,
    shared_threshold_front,
    streeter_2018,
    wang_2018,
    zhou_2020,
)
from tools.recipes.big_little import dynamic_exits
from tools.recipes.chains import chains_of, inside_thresholds, runs_of_chain
from tools.recipes.ensemble_intervals import interval_outcomes
from tools.recipes.learned_policies import LEARNED
from tools.recipes.patience import patience_outcomes
from tools.side_by_side import with_change

EXACT = "exact"
ORACLE = "oracle (knows the answers)"
LEVEL = 0.95


@dataclass(frozen=True)
class Recipe:
    """The selection of a recipe: its points (a front's table, rising), and the rule by which they
    run.

    See :func:`tools.recipes.replay_points`. Points with the rule "oracle" run on no other split.
    """

    points: pd.DataFrame
    rule: Any = "max_softmax"


def all_recipes(store: Any, *, cost: str | None = None, models: Any = "all") -> dict[str, Recipe]:
    """Run every recipe on one store with its defaults: {author, year and rule: Recipe}.

    Three need no further code. Park et al., 2015: every pair of an exact search, with the
    original's *static* threshold on the softmax margin. Wang, Kondratyuk et al., 2022 (Wisdom of
    committees: an overlooked approach to faster and more accurate models, ICLR): exact search with
    mean logits, of up to 3 models of any family. The original has a grid and 4 models of one
    family. The grids of 10 and 30 are the rule of ThresholdCascadeClassifierCV of scikit-fallback.
    It has one grid for all stages, from 1 ÷ classes to 0.95, and counts the cost of every stage
    that ran.

    Two are early exits of one network. Here they run separate models without shared features, with
    one threshold for all stages. Kaya et al., 2019 (Shallow-deep networks: understanding and
    mitigating network overthinking, ICML): max softmax. Wołczyk et al., 2021 (Zero time waste:
    recycling predictions in early exit neural networks, NeurIPS): a weighted geometric mean of the
    probabilities so far. The weights are the models' inverse temperatures, while the original
    trains them. No stage reads the output of the previous one.
    """
    options = {"cost": cost, "models": models}
    lengths = (1, 2, 3)
    chance = 1 / store.output(store.models.index[0]).shape[1]

    def search_recipe(n_models: Any, method: Any, models: Any = models) -> Recipe:
        front = cl.search(store, n_models, method, cost=cost, models=models)
        return Recipe(front.table, front.method)

    def share_threshold(method: str) -> Recipe:
        fronts = [shared_threshold_front(store, n, method, **options) for n in (2, 3)]
        points = pd.concat([front.table for front in fronts], ignore_index=True)
        rows = pareto_front(points["cost"], points["accuracy"])
        return Recipe(points.iloc[rows], fronts[0].method)

    def search_grid(metric: str, **more: Any) -> Recipe:
        return Recipe(wang_2018(store, metric, **more, **options), metric)

    return {
        EXACT: search_recipe(lengths, "max_softmax"),
        "exact, dominated models too": search_recipe(lengths, "max_softmax", "all"),
        "Park 2015: pairs, softmax margin": search_recipe(2, "softmax_margin"),
        "Park 2015: dynamic threshold": Recipe(park_2015_dynamic(store, **options), dynamic_exits),
        "Bolukbasi 2017: learned policy": search_recipe(lengths, LEARNED),
        "Wang 2018a (IDK): entropy grid": search_grid("entropy"),
        "Wang 2018a (IDK): entropy grid, cost-oblivious": search_grid("entropy", cost_aware=False),
        "Wang 2018a (IDK): max softmax grid": search_grid("max_softmax"),
        "Wang 2018a (IDK): max softmax grid, cost-oblivious": search_grid(
            "max_softmax", cost_aware=False
        ),
        "grid of 10 thresholds": search_grid("max_softmax", grid=np.linspace(chance, 0.95, 10)),
        "grid of 30 thresholds": search_grid("max_softmax", grid=np.linspace(chance, 0.95, 30)),
        "Huang 2018 (MSDNet): budgeted batch": Recipe(huang_2018(store, **options)),
        "Streeter 2018: greedy": Recipe(streeter_2018(store, **options), "logits_margin"),
        "Inoue 2019: interval of the mean": Recipe(inoue_2019(store, **options), interval_outcomes),
        "Kaya 2019 (SDN): one threshold": share_threshold("max_softmax"),
        "Zhou 2020 (PABEE): patience": Recipe(zhou_2020(store, 3, **options), patience_outcomes),
        "Wołczyk 2021 (ZTW): geometric mean": share_threshold("max_softmax_mean_logits_ts"),
        "Wang 2022: mean logits": search_recipe((2, 3), "max_softmax_mean_logits"),
        "plurality vote": search_recipe(lengths, cl.Method(ensemble="vote")),
        ORACLE: Recipe(oracle(store, **options), "oracle"),
    }


def compare_recipes(
    recipes: Mapping[str, Recipe],
    exact_front: cl.Front,
    held_out: Any,
    *,
    loss: float = 0.01,
    resamples: int = 300,
) -> pd.DataFrame:
    """Compare recipes with the exact front on a split that selected none of them, a row each.

    exact_front: a front of the selection split, with the baseline, score and kind of cost to use.
    Columns: accuracy and cost on ``held_out`` of the point selected at ``loss``. That is the
    cheapest point at most ``loss`` below the best single model, or the most accurate point.
    cost_ratio: cost ÷ that of ``recipes["exact"]`` at equal accuracy on ``held_out``, a geometric
    mean over the accuracies that both reach. Its paired bootstrap interval is from
    :func:`simultaneous_intervals`. The last column is the same ratio on the selection split.
    Held-out values of the oracle are nan.
    """
    # The first column is the unchanged split.
    counts = sample_counts(len(held_out), resamples)
    counts = np.column_stack([np.ones(len(held_out), np.int32), counts])
    singles = resampled_singles(held_out, exact_front, counts)
    at_least = exact_front.baseline.best - loss
    here = {
        label: on_selection_split(recipe.points, exact_front) for label, recipe in recipes.items()
    }
    there: dict[str, Resampled] = {}
    rows = {}
    for label, recipe in recipes.items():
        row = {"cost_ratio_where_chosen": resampled_cost_ratio(here[EXACT], here[label])[0]}
        if recipe.rule != "oracle":
            moved = resampled(held_out, recipe, exact_front, counts, singles)
            at = min(np.searchsorted(recipe.points["accuracy"], at_least), len(recipe.points) - 1)
            row["accuracy_held_out"] = moved.accuracy[0, at]
            row["cost_held_out"] = moved.cost[0, at]
            there[label] = moved
        rows[label] = row
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")
    ratios = {label: resampled_cost_ratio(there[EXACT], moved) for label, moved in there.items()}
    intervals = simultaneous_intervals(pd.DataFrame(ratios)).reindex(table.index)
    columns = ["accuracy_held_out", "cost_held_out", *intervals, "cost_ratio_where_chosen"]
    return table.join(intervals)[columns].fillna({"verdict": "–"})


def on_selection_split(points: pd.DataFrame, front: cl.Front) -> Resampled:
    """Return the points on the selection split, as the only resample."""
    rows = (points["accuracy"], points["cost"], front.singles["accuracy"], front.singles["cost"])
    accuracy, cost, single_accuracy, single_cost = (row.to_numpy()[None] for row in rows)
    return Resampled(accuracy, cost, np.empty(0), single_accuracy, single_cost)


def resampled_singles(
    split: Any, front: cl.Front, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (accuracy, cost), each [R, M], of the single models on resamples of a split, counts
    [k, R]."""
    correct = np.stack(singles_correct(split, front.score))
    cost = split.costs(front.cost_kind)
    return resampled_means(counts, correct), np.tile(cost, (counts.shape[1], 1))


def resampled(
    split: Any,
    recipe: Recipe,
    front: cl.Front,
    counts: np.ndarray,
    singles: tuple[np.ndarray, np.ndarray],
) -> Resampled:
    """Evaluate the points of a recipe on resamples of a split, counts [k, R]. singles: of the
    models."""
    accuracy, cost = np.empty((2, counts.shape[1], len(recipe.points)))
    weights = counts / len(split)
    units = front.score, front.cost_kind
    for rows, costs, stages in chains_of(recipe.points, split, recipe.rule, *units):
        if callable(stages):  # the rule has no thresholds
            for at, stage, correct in runs_of_chain(rows, stages, recipe.rule):
                accuracy[:, at] = correct @ weights
                cost[:, at] = paid_by(stage, costs) @ weights
        else:
            thresholds = inside_thresholds(rows, recipe.rule)
            measured = resampled_cascade(stages, costs, thresholds, counts)
            accuracy[:, rows.index], cost[:, rows.index], _ = measured
    return Resampled(accuracy, cost, np.empty(0), *singles)


def simultaneous_intervals(ratios: pd.DataFrame) -> pd.DataFrame:
    """Return intervals of ratios that hold simultaneously for all columns, a row per column.

    ratios: the estimates in the first row, then the resamples. The half-width of a logarithm is a
    multiple of the column's standard deviation. The multiple is a quantile of the largest |t| of
    all columns. Columns: cost_ratio with its ends, and ``verdict``: "more expensive" or
    "cheaper" if the interval excludes 1, else "–".
    """
    logs = np.log(ratios)
    spread = logs.iloc[1:].std()
    deviations = ((logs.iloc[1:] - logs.iloc[0]) / spread.where(spread > 0)).abs()
    widest = deviations.max(axis=1).quantile(LEVEL)
    rows = {}
    for label, ratio in ratios.iloc[0].items():
        rows[label] = with_change(ratio, np.exp(widest * spread[label]), "verdict")
    return pd.DataFrame.from_dict(rows, orient="index")
