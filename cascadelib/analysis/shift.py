"""Evaluate a front on another split, with identical cascades and thresholds.

Paper, figures 6 and 12.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..evaluation.evaluation import (
    baseline_of,
    check_store,
    costs_by_model,
    quality,
    singles_correct,
    stages_of,
)
from ..evaluation.intervals import (
    LEVEL,
    cost_interval,
    paired_difference_interval,
    share_interval,
    with_ends,
)
from ..evaluation.pareto import improvement_factor, pareto_front
from ..evaluation.point import Point, kinds_of, points_of, single_point
from ..evaluation.run import evaluate
from ..fronts.curves import two_model_curve
from ..fronts.front import Front
from ..methods.thresholds import convert_units, does_exit
from ..origin import join_origins
from ..stages import F1
from ..store.protocol import Store
from .uncertainty import bootstrap, interval, resampled_runs, sample_counts

SWEPT = "models thresholds segment accuracy_replayed cost_replayed exit_rates_replayed".split()


def replay(store: Store, cascades: Any, ranges: bool = True) -> pd.DataFrame:
    """Evaluate cascades on another split, without changing them.

    The points of a front are grouped into segments. A segment is a run of neighbouring points of
    the same cascade. If the cascade is a pair, the segment is *swept*: it is evaluated at all
    thresholds between its end thresholds, as far as the other split distinguishes them. If the
    cascade has three or more models, only the points themselves are evaluated. Their thresholds
    have several dimensions, so no path leads from one point to the next.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The other split.
    cascades : Front, Point, Policy, Cascade, Certificate or list of these
        Cascades with the same score and kind of cost.
    ranges : bool, default=True
        Whether pairs of a Front are swept. Other cascades are evaluated at their thresholds.

    Returns
    -------
    DataFrame
        One row per evaluated point, in the order of the segments: models, thresholds (native
        units), accuracy and cost on the selection split (nan in a sweep), ``segment`` (number),
        ``replayed`` ("range" or "point"), accuracy_replayed, cost_replayed, exit_rates_replayed,
        saving_replayed and improvement_replayed (relative to the other split's single models), and
        on_front (non-dominated among all rows).

    Raises
    ------
    TypeError
        If `store` is not a store, or if `cascades` contains no cascade.
    ValueError
        If the other split lacks a model, or if the cascades have different scores or kinds of cost.

    See Also
    --------
    evaluate : Evaluate single cascades.
    mean_improvement_moved : Summarize a front on another split.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, figures 6 and 12.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> select, other = table.take(slice(0, None, 2)), table.take(slice(1, None, 2))
    >>> replayed = cl.replay(other, cl.search(select))
    >>> sorted(replayed["replayed"].unique())
    ['range']
    """
    check_store(store)
    points = points_of(cascades)
    first = points[0]
    kinds_of(points)
    rows = [(point.models, point.thresholds, point.accuracy, point.cost) for point in points]
    table = pd.DataFrame(rows, columns=["models", "thresholds", "accuracy", "cost"])
    table["segment"] = (table["models"] != table["models"].shift()).cumsum() - 1
    length = table["models"].map(len)
    has_ranges = ranges and isinstance(cascades, Front)
    is_swept = (length == 2) & has_ranges
    table["replayed"] = np.where((length <= 2) & has_ranges, "range", "point")
    single = table[~is_swept]
    parts = []
    if len(single):
        own = [points[row] for row in single.index]
        drawn = bootstrap(store, own, np.ones((len(store), 1), np.int32))  # each sample once
        rates = zip(own, drawn.exit_rates[0].tolist())
        values = {
            "accuracy_replayed": drawn.accuracy[0],
            "cost_replayed": drawn.cost[0],
            "exit_rates_replayed": [tuple(found[: len(point.models)]) for point, found in rates],
        }
        parts.append(single.assign(**values))
    if is_swept.any():
        parts.append(_sweep_segments(first, table[is_swept], store))
    table = pd.concat(parts)
    table = table.sort_values("segment", kind="stable", ignore_index=True)
    baseline = baseline_of(store, first.score, first.cost_kind)
    table["saving_replayed"] = baseline.saving(table["cost_replayed"])
    table["improvement_replayed"] = improvement_factor(
        baseline.cost_at(table["accuracy_replayed"]), table["cost_replayed"]
    )
    table["on_front"] = False
    optimal = pareto_front(table["cost_replayed"], table["accuracy_replayed"])
    table.loc[optimal, "on_front"] = True
    return table


def _sweep_segments(first: Point, pairs: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Return the rows of :func:`replay` for segments of pairs.

    Thresholds of a segment that let the same samples exit share a row. Rows have rising cost. Their
    thresholds are midway between neighbouring confidences, or at the end of the range.

    Parameters
    ----------
    first : Point
        A point with the method, score and kind of cost of all rows.
    pairs : DataFrame
        The points of the segments.
    store : LogitStore or ScoreTable
        The other split.
    """
    positive = store.positives() if first.score == F1 else None
    cascades = list(pairs.groupby("models", sort=False))
    names = [models for models, _ in cascades]
    outcomes = stages_of(store, names, first.method, first.score)
    cost_of = costs_by_model(store, first.cost_kind)
    rows: list[tuple] = []
    for (models, same), ((correct_1, confidence), (correct_2, _)) in zip(cascades, outcomes):
        cost_1, cost_2 = (cost_of[name] for name in models)
        curve = two_model_curve(confidence, correct_1, correct_2, cost_1, cost_2, positive)
        for segment, points in same.groupby("segment"):
            inside = convert_units(
                first.metric, [threshold for (threshold,) in points["thresholds"]]
            )
            ends = (inside.min(), inside.max())
            most, least = [np.mean(does_exit(confidence, end)) for end in ends]
            is_inside = (curve.exit_rate >= least) & (curve.exit_rate <= most)
            positions = np.flatnonzero(is_inside)[::-1]
            thresholds = convert_units(first.metric, np.clip(curve.threshold[positions], *ends))
            rates = curve.exit_rate[positions]
            rows += zip(
                repeat(models),
                zip(thresholds.tolist()),
                repeat(segment),
                curve.accuracy[positions].tolist(),
                curve.cost[positions].tolist(),
                zip(rates.tolist(), (1 - rates).tolist()),
            )
    table = pd.DataFrame(rows, columns=SWEPT)
    return table.assign(accuracy=np.nan, cost=np.nan, replayed="range")


def front_on(store: Store, front: Front, ranges: bool = True) -> Front:
    """Evaluate a front on another split and return its non-dominated points as a Front.

    The labels of that split decide which points are non-dominated. The result was not searched, so
    it has no ``gap``.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The other split. Its single models are the baseline.
    front : Front
        Result of :func:`cascadelib.search`.
    ranges : bool, default=True
        Whether pairs are swept, see :func:`cascadelib.replay`. Use False to compare pairs with
        longer cascades.

    Returns
    -------
    Front
        The front on the other split.
    """
    check_store(store)
    if not isinstance(front, Front):
        raise TypeError(
            "a Front is needed here (cascadelib.replay takes any cascades), not "
            f"{type(front).__name__}"
        )
    return front_of(store, front, replay(store, front, ranges))


def front_of(store: Store, front: Front, replayed: pd.DataFrame) -> Front:
    """Return the result of :func:`replay` as a Front, see :func:`front_on`."""
    rows = replayed.query("on_front").sort_values("cost_replayed", ignore_index=True)
    rows = rows.drop(columns=["accuracy", "cost"])
    rows = rows.rename(columns=lambda name: name.removesuffix("_replayed"))
    return replace(
        front,
        replayed=rows[list(front.table)],
        baseline=baseline_of(store, front.score, front.cost_kind),
        points=None,
        store=store,
        expected=False,
        # the labels of both splits decided which points are non-dominated
        selected_on=join_origins(front.selected_on, store.origin),
    )


def mean_improvement_moved(
    store: Store, front: Front, low: float | None = None, ranges: bool = True
) -> float:
    """Compute the mean improvement factor of a front on another split.

    The front is evaluated on the other split as by :func:`replay`, and compared with the single
    models of that split.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The other split.
    front : Front
        Result of :func:`cascadelib.search` on the selection split.
    low : float, optional
        Start of the range of accuracies. The range ends at the accuracy of the best single model on
        the other split. Defaults to the lowest accuracy of the baseline.
    ranges : bool, default=True
        Whether pairs are swept between the end thresholds of their segments, see :func:`replay`.

    Returns
    -------
    float
        Mean improvement factor over the range of accuracies.

    See Also
    --------
    Front.mean_improvement : The same on the selection split.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> select, other = table.take(slice(0, None, 2)), table.take(slice(1, None, 2))
    >>> round(cl.mean_improvement_moved(other, cl.search(select)), 2)
    1.54
    """
    return front_on(store, front, ranges).mean_improvement(low)


def holds(
    splits: Mapping[str, Store], cascade: Any, resamples: int = 1000, level: float = LEVEL
) -> pd.DataFrame:
    """Evaluate one fixed cascade on several splits, with intervals.

    Parameters
    ----------
    splits : mapping of str to LogitStore or ScoreTable
        Labelled splits.
    cascade : Point, Policy or Cascade
        The cascade.
    resamples : int, default=1000
        Number of resamples of the bootstrap.
    level : float, default=0.95
        Coverage of each interval, for a cascade that was not selected on that split. For S splits
        simultaneously use 1 − 0.05 ÷ S (Bonferroni), with enough resamples for such percentiles.

    Returns
    -------
    DataFrame
        One row per split, with these columns:

        - samples, exit_rates, cost.
        - saving: cost of the last model ÷ cost of the cascade, with an interval by
          :func:`cost_interval`.
        - last_model_accuracy: accuracy of the cascade's last model.
        - accuracy with Wilson's interval, and difference (cascade − last model) with a paired
          interval. Both intervals are bootstrap percentiles for F1.
        - exit_rate of the first stage with its exact interval.
        - improvement relative to the split's single models, with bootstrap percentiles. They are
          nan if a share of more than (1 − level) / 2 of the resamples reaches the accuracy of the
          best single model (see :func:`interval`). Use ``saving`` then.
    """
    point = single_point(cascade)
    counts = {k: sample_counts(k, resamples) for k in {len(store) for store in splits.values()}}
    large = point.models[-1]
    rows = [
        compare_with(large, store, point, counts[len(store)], level) for store in splits.values()
    ]
    return pd.DataFrame(rows, index=pd.Index(splits, name="split"))


def compare_with(
    reference: str, store: Store, point: Point, counts: Array, level: float
) -> dict[str, Any]:
    """Return a row of :func:`holds`, in which another model may replace the last one.

    `counts` are the :func:`.uncertainty.sample_counts` of the split.
    """
    run = evaluate(store, point)
    last = store.models.index.get_loc(reference)
    singles = singles_correct(store, point.score)
    last_accuracy = float(quality(store, singles[last], point.score))
    resampled = resampled_runs(store, [(0, run)], [point], counts, singles)
    if point.score == F1:  # F1 is not a share of samples, so Wilson's interval does not apply
        resampled_f1 = resampled.accuracy[:, 0]
        ends = interval(resampled_f1, level)
        difference = interval(resampled_f1 - resampled.single_accuracy[:, last], level)
    else:
        ends = share_interval(run.correct, level)
        difference = paired_difference_interval(singles[last], run.correct, level)
    reached = min(run.accuracy, run.baseline.best)
    improvement = float(improvement_factor(run.baseline.cost_at(reached), run.cost))
    percentiles = interval(resampled.improvement[:, 0], level)
    best = [baseline.best for baseline in resampled.baselines]
    if np.mean(resampled.accuracy[:, 0] >= best) > (1 - level) / 2:
        percentiles = (np.nan, np.nan)
    last_cost = costs_by_model(store, point.cost_kind)[reference]
    # The last model's cost has an interval only if it differs by sample. Then each of the two
    # intervals gets half of the error.
    cost_level = 1 - (1 - level) / (1 + np.ndim(last_cost))
    low, high = cost_interval(run.exit_stage, run.costs, cost_level)
    least, most = cost_interval(np.zeros(len(store), int), [last_cost], cost_level)
    ratio = float(np.mean(last_cost)) / run.cost
    exits = share_interval(run.exit_stage == 0, level, "exact")
    return {
        "samples": len(store),
        **with_ends(ratio, (least / high, most / low), "saving"),
        "last_model_accuracy": last_accuracy,
        **with_ends(run.accuracy, ends, "accuracy"),
        **with_ends(run.accuracy - last_accuracy, difference, "difference"),
        "exit_rates": run.exit_rates,
        **with_ends(run.exit_rates[0], exits, "exit_rate"),
        "cost": run.cost,
        **with_ends(improvement, percentiles, "improvement"),
    }
