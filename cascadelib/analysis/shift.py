"""A front moved to another split: the identical cascades at the identical thresholds (paper, figures 6 and 12)."""

from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation import evaluation
from ..evaluation.evaluation import store_first
from ..evaluation.pareto import Baseline, improvement_factor, pareto_front
from ..fronts.front import Front, Point, singles_table
from ..fronts.graded import two_model_curve
from ..labels import together
from ..methods.thresholds import own_units
from ..scoring import F1
from ..tables import arrow
from . import uncertainty
from .certificate import agreeing
from .uncertainty import LEVEL, Ends, with_ends


@store_first
def replay(store: Any, front: Front, ranges: bool = True) -> pd.DataFrame:
    """A front, unchanged, on another split: the identical cascades at the identical ranges of thresholds.

    A segment is a stretch of neighbouring points of one cascade. One of a pair is swept from one end of its range of
    thresholds to the other, over every threshold that the other split can tell apart in between. One of three models
    or more is a box of thresholds and not a path: its points are replayed, as are all with ``ranges=False``.

    Returns a DataFrame, segment by segment in the front's order, cost rising in those that are swept: models,
    thresholds (own units), accuracy and cost of a point where it was found (nan in a sweep), ``segment`` (number),
    ``replayed`` ("range" or "point"), accuracy_moved, cost_moved, exit_rates_moved, improvement_moved (against the
    other split's own baseline) and on_front (Pareto-optimal among all rows there). Segments stay in one piece, and move
    apart. A model that the other split lacks is refused by name.
    """
    if not hasattr(front, "table"):
        what = "a Front is needed here (cascadelib.evaluate runs a single Point)"
        raise TypeError(f"{what}, not {type(front).__name__}")
    evaluation.check_store(store)
    table = front.table[["models", "thresholds", "accuracy", "cost"]].reset_index(drop=True)
    table["segment"] = (table["models"] != table["models"].shift()).cumsum() - 1
    length = table["models"].map(len)
    table["replayed"] = np.where(ranges & (length <= 2), "range", "point")
    swept = ranges & (length == 2)
    parts = [_at_points(front, table[~swept], store), _sweeps(front, table[swept], store)]
    moved = pd.concat([part for part in parts if len(part)]).sort_values(
        "segment", kind="stable", ignore_index=True
    )
    baseline_cost = evaluation.baseline_of(store, front).cost_at(moved["accuracy_moved"])
    moved["improvement_moved"] = improvement_factor(baseline_cost, moved["cost_moved"])
    moved["on_front"] = False
    moved.loc[
        pareto_front(moved["cost_moved"].to_numpy(), moved["accuracy_moved"].to_numpy()), "on_front"
    ] = True
    return moved


def _at_points(front, rows, store):
    """Rows of a front's table with the accuracy and cost that their cascades have on a store."""
    moved = {}
    for position, exits, correct, costs in evaluation.run_cascades(
        store, [front.point(row) for row in rows.index]
    ):
        accuracy, cost = (
            evaluation.quality(store, correct, front.score),
            evaluation.mean_cost(costs, exits),
        )
        moved[rows.index[position]] = accuracy, cost, evaluation.exit_rates_of(exits, len(costs))
    columns = ["accuracy_moved", "cost_moved", "exit_rates_moved"]
    return rows.join(pd.DataFrame.from_dict(moved, orient="index", columns=columns))


def _sweeps(front, rows, store):
    """The segments of pairs as :func:`replay` has them, given their rows: the points whose set of exits some threshold
    of the range gives, by rising cost. Thresholds lie midway between neighbours, or at the range's end."""
    metric, parts = None if front.method is None else front.method.units, []
    groups, positive = (
        list(rows.groupby("models", sort=False)),
        store.positives() if front.score == F1 else None,
    )
    outcomes = evaluation.stages_of(
        store, [models for models, _ in groups], front.method, front.score
    )
    costs = dict(zip(store.models.index, store.sample_costs(front.cost_kind)))
    for (models, same), ((first, sure), (second, _)) in zip(groups, outcomes):
        curve = two_model_curve(sure, first, second, *(costs[name] for name in models), positive)
        for segment, points in groupby(zip(same["segment"], same["thresholds"]), itemgetter(0)):
            inside = own_units(metric, [threshold for _, (threshold,) in points])
            low, high = inside.min(), inside.max()
            least, most = (
                np.mean(evaluation.exit_stages([sure], [end]) == 0) for end in (high, low)
            )
            at = np.flatnonzero((curve.exit_rate >= least) & (curve.exit_rate <= most))[::-1]
            thresholds = own_units(metric, np.clip(curve.threshold[at], low, high)).tolist()
            moved = zip(
                curve.accuracy[at].tolist(),
                curve.cost[at].tolist(),
                curve.exit_rate[at].tolist(),
                thresholds,
            )
            parts += [
                (models, (t,), segment, accuracy, cost, (rate, 1 - rate))
                for accuracy, cost, rate, t in moved
            ]
    columns = [
        "models",
        "thresholds",
        "segment",
        "accuracy_moved",
        "cost_moved",
        "exit_rates_moved",
    ]
    return pd.DataFrame(parts, columns=columns).assign(
        accuracy=np.nan, cost=np.nan, replayed="range"
    )


@store_first
def moved_front(store: Any, front: Front, ranges: bool = True) -> Front:
    """A front replayed on another split as a Front: what of it is Pareto-optimal there, beside the single models there
    (which of the points that are, only the labels of that split tell). It was not searched, and has no ``gap``.
    ``ranges=False`` replays pairs as points too, to compare them with longer cascades."""
    return front_of(store, front, replay(store, front, ranges))


def front_of(store: Any, front: Front, replayed: pd.DataFrame) -> Front:
    """What :func:`replay` found as a Front: see :func:`moved_front`."""
    rows = replayed.query("on_front").sort_values("cost_moved", ignore_index=True)
    own = {
        f"{column}_moved": column for column in ("accuracy", "cost", "exit_rates", "improvement")
    }
    table = rows.drop(columns=["accuracy", "cost"]).rename(columns=own)[list(front.table)]
    accuracy, cost = evaluation.single_models(store, front.score, front.cost_kind)
    singles = singles_table(store.models.index, accuracy, cost, Baseline(cost, accuracy))
    found_on = together(front.found_on, store.origin)  # labels of both tell which points remain
    return replace(front, table=table, singles=singles, points=None, found_on=found_on)


@store_first
def mean_improvement_moved(
    store: Any, front: Front, low: float | None = None, ranges: bool = True
) -> float:
    """Mean improvement of :func:`moved_front` over the other split's baseline, from ``low`` (default: that baseline's
    lowest accuracy) to the best single model there."""
    return moved_front(store, front, ranges).mean_improvement(low)


def holds(
    point: Point, splits: dict[str, Any], resamples: int = 1000, level: float = LEVEL
) -> pd.DataFrame:
    """Will it hold? One fixed cascade on several splits, a row a split ({label: store}).

    cost_ratio: the last model's cost ÷ the cascade's, with its interval by :func:`cost_interval`; last_model_accuracy:
    of the cascade's last model alone; accuracy with Wilson's interval, difference (cascade − last model) with its
    paired one (both by the bootstrap for F1); exit_rates; exit_rate of the first stage with its exact interval; cost;
    improvement at equal accuracy over that split's own single models, with bootstrap percentiles that may be too narrow
    near the best model (see :func:`interval`; above it the cost of that model counts).

    level: of each interval by itself, for a cascade that was not chosen on that split. To speak of S splits at once,
    give 1 − 0.05 ÷ S (Bonferroni), and resamples enough for such percentiles.
    """
    last, rows = point.models[-1], []
    counts = {
        k: uncertainty.sample_counts(k, resamples)
        for k in {len(store) for store in splits.values()}
    }
    for store in splits.values():
        result, right = (
            evaluation.evaluate(store, point),
            evaluation.right_alone(store, last, point.score),
        )
        alone, baseline = (
            float(evaluation.quality(store, right, point.score)),
            evaluation.baseline_of(store, point),
        )
        resampled = uncertainty.bootstrap(store, point, counts[len(store)])
        if point.score == F1:  # no share of samples
            drawn, drawn_last = (
                resampled.accuracy[:, 0],
                resampled.single_accuracy[:, store.models.index.get_loc(last)],
            )
            own, less = (
                uncertainty.interval(drawn, level),
                uncertainty.interval(drawn - drawn_last, level),
            )
        else:
            own = uncertainty.share_interval(result.correct, level)
            less = uncertainty.paired_difference_interval(right, result.correct, level)
        improvement = float(
            improvement_factor(baseline.cost_at(min(result.accuracy, baseline.best)), result.cost)
        )
        leaving = uncertainty.share_interval(result.exit_stage == 0, level, "exact")
        row: dict = {
            "samples": len(store),
            **with_ends(*cost_ratio(store, point, result, level), "cost_ratio"),
        }
        row |= {"last_model_accuracy": alone, **with_ends(result.accuracy, own, "accuracy")}
        row |= {
            **with_ends(result.accuracy - alone, less, "difference"),
            "exit_rates": result.exit_rates,
        }
        row |= {**with_ends(result.exit_rates[0], leaving, "exit_rate"), "cost": result.cost}
        row |= with_ends(
            improvement, uncertainty.interval(resampled.improvement[:, 0], level), "improvement"
        )
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(splits, name="split"))


def cost_ratio(
    store: Any, point: Point, result: evaluation.Evaluation, level: float = LEVEL
) -> tuple[float, Ends]:
    """The last model's cost ÷ that of the cascade as evaluated on a store, and the ends of its interval. The last
    model's own cost has one only where it differs by sample; then each gets half of what may fail."""
    costs = evaluation.costs_of(store, point.models, point.cost_kind)
    each = 1 - (1 - level) / (1 + np.ndim(costs[-1]))
    low, high = uncertainty.cost_interval(result.exit_stage, costs, each)
    least, most = uncertainty.cost_interval(np.zeros(len(store), int), costs[-1:], each)
    return float(np.mean(costs[-1])) / result.cost, (least / high, most / low)


def accuracy_estimates(point: Point, store: Any, splits: dict[str, Any]) -> pd.DataFrame:
    """How accurate is a cascade, and its last model alone, on data without labels? Rows (split, models) of {label:
    store}; labels there are read for ``accuracy`` alone, nan without.

    Two estimates, both from confidences (max softmax of the answers given; a ScoreTable's own) and from ``store``,
    labelled and not used to choose the cascade. thresholded: the share above the threshold that, on ``store``, as large
    a share exceeds as is right (average thresholded confidence; Garg et al., 2022). difference: the accuracy on
    ``store`` + what the mean confidence rises by (difference of confidences; Guillory et al., 2021). unchanged: the
    accuracy on ``store``, beside them. …_error: estimate − accuracy.

    No promise: where confidences stay as they were and answers turn wrong, neither can notice.
    """
    alone, rows = replace(point, models=point.models[-1:], thresholds=(), exit_rates=(1.0,)), {}
    for one in (point, alone):
        accuracy, sure = _answers(one, store)
        threshold = np.quantile(sure, 1 - accuracy)
        for label, split in splits.items():
            found, there = _answers(one, split)
            row = {"accuracy": found, "thresholded": (there >= threshold).mean()}
            row |= {"difference": accuracy + there.mean() - sure.mean(), "unchanged": accuracy}
            errors = {
                f"{name}_error": row[name] - found
                for name in ("thresholded", "difference", "unchanged")
            }
            rows[label, arrow(one.models)] = row | errors
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["split", "models"])


def _answers(point, store):
    """(accuracy, nan without labels; confidence [k]) of what a cascade answers on a store."""
    labelled = not store.models["top1"].isna().any()
    store = store if labelled else agreeing(store, [point], point.models[-1])[0]
    _, exits, correct, _ = next(evaluation.run_cascades(store, [point]))
    method = point.method and replace(point.method, metric="max_softmax")
    outcomes = evaluation.outcomes_of(store, point.models, method, point.score)
    return np.mean(correct) if labelled else np.nan, np.choose(
        exits, [sure for _, sure in outcomes]
    )
