"""A front on another split: the identical cascades at the identical thresholds.

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
    outcomes_of,
    quality,
    singles_correct,
    stages_of,
)
from ..evaluation.intervals import (
    LEVEL,
    Ends,
    cost_interval,
    paired_difference_interval,
    share_interval,
    with_ends,
)
from ..evaluation.pareto import improvement_factor, pareto_front
from ..evaluation.point import Point, kinds_of, points_of, single_point
from ..evaluation.run import Run, evaluate, runs_of
from ..fronts.front import Front
from ..fronts.graded import two_model_curve
from ..guarantees.few_labels import compare_with_reference
from ..methods.thresholds import convert_units, does_exit
from ..origin import join_origins
from ..scoring import F1
from ..store.protocol import Store
from ..tables import arrow
from .uncertainty import interval, resampled_runs, sample_counts

MOVED = ("accuracy", "cost", "exit_rates", "saving", "improvement")  # columns of a front


def replay(store: Store, cascades: Any, ranges: bool = True) -> pd.DataFrame:
    """Evaluate cascades on another split, without changing them.

    The points of a front are grouped into segments. A segment is a run of neighbouring points of
    the same cascade. A segment of a pair is swept at every threshold that the other split can
    distinguish between the segment's end thresholds. A segment of three models or more is a box of
    thresholds and not a path, so its points are evaluated one by one.

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
    found = [(point.models, point.thresholds, point.accuracy, point.cost) for point in points]
    table = pd.DataFrame(found, columns=["models", "thresholds", "accuracy", "cost"])
    table["segment"] = (table["models"] != table["models"].shift()).cumsum() - 1
    length = table["models"].map(len)
    has_ranges = ranges and isinstance(cascades, Front)
    is_swept = (length == 2) & has_ranges
    table["replayed"] = np.where((length <= 2) & has_ranges, "range", "point")
    rows = table[~is_swept]
    moved = {}
    for position, run in runs_of(store, [points[row] for row in rows.index]):
        moved[rows.index[position]] = run.accuracy, run.cost, run.exit_rates
    columns = ["accuracy_replayed", "cost_replayed", "exit_rates_replayed"]
    parts = [rows.join(pd.DataFrame.from_dict(moved, orient="index", columns=columns))]
    if is_swept.any():
        parts.append(_sweeps(first, table[is_swept], store))
    table = pd.concat([part for part in parts if len(part)])
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


def _sweeps(first: Point, rows: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The segments of pairs as :func:`replay` has them, given their rows: the points whose set of
    exits some threshold of the range gives, by rising cost. Thresholds lie midway between
    neighbours, or at the range's end; first: a point of the same method, score and cost."""
    positive = store.positives() if first.score == F1 else None
    cascades = list(rows.groupby("models", sort=False))
    pairs = [models for models, _ in cascades]
    outcomes = stages_of(store, pairs, first.method, first.score)
    costs = dict(zip(store.models.index, store.sample_costs(first.cost_kind)))
    parts: list[tuple] = []
    for (models, same), ((correct_1, confidence), (correct_2, _)) in zip(cascades, outcomes):
        cost_1, cost_2 = (costs[name] for name in models)
        curve = two_model_curve(confidence, correct_1, correct_2, cost_1, cost_2, positive)
        for segment, points in same.groupby("segment"):
            inside = convert_units(
                first.metric, [threshold for (threshold,) in points["thresholds"]]
            )
            low = inside.min()
            high = inside.max()
            least = np.mean(does_exit(confidence, high))
            most = np.mean(does_exit(confidence, low))
            at = np.flatnonzero((curve.exit_rate >= least) & (curve.exit_rate <= most))[::-1]
            thresholds = convert_units(first.metric, np.clip(curve.threshold[at], low, high))
            rates = curve.exit_rate[at]
            parts += zip(
                repeat(models),
                zip(thresholds.tolist()),
                repeat(segment),
                curve.accuracy[at].tolist(),
                curve.cost[at].tolist(),
                zip(rates.tolist(), (1 - rates).tolist()),
            )
    columns = [
        "models",
        "thresholds",
        "segment",
        "accuracy_replayed",
        "cost_replayed",
        "exit_rates_replayed",
    ]
    table = pd.DataFrame(parts, columns=columns)
    return table.assign(accuracy=np.nan, cost=np.nan, replayed="range")


def front_on(store: Store, front: Front, ranges: bool = True) -> Front:
    """A front replayed on another split as a Front.

    Which of its points are Pareto-optimal there, only the labels of that split tell. It was not
    searched, and has no ``gap``.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The other split, whose single models are the baseline.
    front : Front
    ranges : bool
        False: pairs are replayed as points too, to compare them with longer cascades.

    Returns
    -------
    Front
    """
    check_store(store)
    if not isinstance(front, Front):
        what = "a Front is needed here (cascadelib.replay takes any cascades)"
        raise TypeError(f"{what}, not {type(front).__name__}")
    return front_of(store, front, replay(store, front, ranges))


def front_of(store: Store, front: Front, replayed: pd.DataFrame) -> Front:
    """What :func:`replay` found as a Front: see :func:`front_on`."""
    rows = replayed.query("on_front").sort_values("cost_replayed", ignore_index=True)
    moved = {f"{column}_replayed": column for column in MOVED}
    rows = rows.drop(columns=["accuracy", "cost"]).rename(columns=moved)
    return replace(
        front,
        moved=rows[list(front.table)],
        baseline=baseline_of(store, front.score, front.cost_kind),
        points=None,
        store=store,
        expected=False,
        selected_on=join_origins(
            front.selected_on, store.origin
        ),  # labels of both tell which remain
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
        Lowest accuracy of the mean. The highest is that of the best single model on the other
        split. Defaults to the lowest accuracy of the baseline.
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
    """Will it hold? One fixed cascade on several splits.

    Parameters
    ----------
    splits : {label: LogitStore or ScoreTable}
    cascade : Point, Policy or Cascade
    resamples : int
        Of the bootstrap.
    level : float
        Of each interval by itself, for a cascade that was not chosen on that split. To speak of S
        splits at once, give 1 − 0.05 ÷ S (Bonferroni), and resamples enough for such percentiles.

    Returns
    -------
    DataFrame
        A row per split. cost_ratio: the last model's cost ÷ the cascade's, with its interval by
        :func:`cost_interval`; last_model_accuracy: of the cascade's last model alone; accuracy with
        Wilson's interval, difference (cascade − last model) with its paired one (both by the
        bootstrap for F1); exit_rates; exit_rate of the first stage with its exact interval; cost;
        improvement at equal accuracy over that split's own single models, with bootstrap
        percentiles: nan where they fail, so near to the best single model that resamples reach its
        accuracy more often than such a percentile may (see :func:`interval`; ``cost_ratio`` holds).
    """
    point = single_point(cascade)
    sizes = {len(store) for store in splits.values()}
    counts = {k: sample_counts(k, resamples) for k in sizes}
    rows = [_row(store, point, counts[len(store)], level) for store in splits.values()]
    return pd.DataFrame(rows, index=pd.Index(splits, name="split"))


def _row(store: Store, point: Point, counts: Array, level: float) -> dict[str, Any]:
    """A row of :func:`holds`; counts: int32 [k, R] of the bootstrap."""
    run = evaluate(store, point)
    last = store.models.index.get_loc(point.models[-1])
    singles = singles_correct(store, point.score)
    alone_correct = singles[last]
    alone = float(quality(store, alone_correct, point.score))
    resampled = resampled_runs(store, [(0, run)], [point], counts, singles)
    if point.score == F1:  # no share of samples
        drawn = resampled.accuracy[:, 0]
        own = interval(drawn, level)
        less = interval(drawn - resampled.single_accuracy[:, last], level)
    else:
        own = share_interval(run.correct, level)
        less = paired_difference_interval(alone_correct, run.correct, level)
    reached = min(run.accuracy, run.baseline.best)
    improvement = float(improvement_factor(run.baseline.cost_at(reached), run.cost))
    leaving = share_interval(run.exit_stage == 0, level, "exact")
    percentiles = interval(resampled.improvement[:, 0], level)
    best = [baseline.best for baseline in resampled.baselines]
    if np.mean(resampled.accuracy[:, 0] >= best) > (1 - level) / 2:
        percentiles = (np.nan, np.nan)
    return {
        "samples": len(store),
        **with_ends(*cost_ratio(run, level), "cost_ratio"),
        "last_model_accuracy": alone,
        **with_ends(run.accuracy, own, "accuracy"),
        **with_ends(run.accuracy - alone, less, "difference"),
        "exit_rates": run.exit_rates,
        **with_ends(run.exit_rates[0], leaving, "exit_rate"),
        "cost": run.cost,
        **with_ends(improvement, percentiles, "improvement"),
    }


def cost_ratio(run: Run, level: float = LEVEL) -> tuple[float, Ends]:
    """The last model's cost ÷ that of the cascade as it ran, and the ends of its interval. The last
    model's own cost has one only where it differs by sample; then each gets half of what may
    fail."""
    last = run.costs[-1]
    each = 1 - (1 - level) / (1 + np.ndim(last))
    low, high = cost_interval(run.exit_stage, run.costs, each)
    nobody = np.zeros(len(run.exit_stage), int)
    least, most = cost_interval(nobody, [last], each)
    return float(np.mean(last)) / run.cost, (least / high, most / low)


def accuracy_estimates(store: Store, cascade: Any, splits: Mapping[str, Store]) -> pd.DataFrame:
    """How accurate is a cascade, and its last model alone, on data without labels?

    No promise: where confidences stay as they were and answers turn wrong, neither estimate can
    notice.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Labelled, and not used to choose the cascade.
    cascade : Point, Policy or Cascade
    splits : {label: LogitStore or ScoreTable}
        Labels there are read for ``accuracy`` alone, nan without.

    Returns
    -------
    DataFrame
        Rows (split, models). Two estimates, both from confidences (max softmax of the answers
        given; a ScoreTable's own). thresholded: the share above the threshold that, on ``store``,
        as large a share exceeds as is correct. difference: the accuracy on ``store`` + what the
        mean confidence rises by. unchanged: the accuracy on ``store``, beside them. …_error:
        estimate − accuracy.

    References
    ----------
    Garg et al. (2022), average thresholded confidence; Guillory et al. (2021), difference of
    confidences.
    """
    point = single_point(cascade)
    alone = replace(point, models=point.models[-1:], thresholds=(), exit_rates=(1.0,))
    rows = {}
    for one in (point, alone):
        accuracy, confidence = _answers(one, store)
        threshold = np.quantile(confidence, 1 - accuracy)
        for label, split in splits.items():
            found, there = _answers(one, split)
            estimates = {
                "thresholded": (there >= threshold).mean(),
                "difference": accuracy + there.mean() - confidence.mean(),
                "unchanged": accuracy,
            }
            errors = {f"{name}_error": estimate - found for name, estimate in estimates.items()}
            rows[label, arrow(one.models)] = {"accuracy": found} | estimates | errors
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["split", "models"])


def _answers(point: Point, store: Store) -> tuple[float, Array]:
    """(accuracy, nan without labels; confidence [k]) of what a cascade answers on a store."""
    is_labelled = not store.models["top1"].isna().any()
    if not is_labelled:
        store, _ = compare_with_reference(store, [point], point.models[-1])
    run = evaluate(store, point)
    method = None if point.method is None else replace(point.method, metric="max_softmax")
    outcomes = outcomes_of(store, point.models, method, point.score)
    confidence = np.choose(run.exit_stage, [confidence for _, confidence in outcomes])
    return np.mean(run.correct) if is_labelled else np.nan, confidence
