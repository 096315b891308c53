"""Many fixed cascades on one split: each cascade's confidences are computed once for all of its thresholds."""

import numpy as np

from .confidence import own_units
from .evaluation import check_store, run_outcomes, store_costs, store_stage
from .names import known


def point_list(points):
    """A Front's points, a single Point or a sequence of Points, as a list."""
    if hasattr(points, "table"):
        return [points.point(row) for row in range(len(points))]
    points = list(points) if isinstance(points, (list, tuple)) else [points]
    if not points:
        raise ValueError("no cascades: give a Front, a Point or a list of Points")
    return points


def run_cascades(store, points):
    """Yield (position, exit_stage int [k], correct [k], costs) of each Point on a store, cascade by cascade.

    costs: of each of its models (numbers, or float [k] from a ScoreTable). Models that the store lacks are refused by
    name.
    """
    check_store(store)
    groups = {}
    for position, point in enumerate(points):
        groups.setdefault((point.models, point.score, point.cost_kind, id(point.method)), []).append(position)
    for positions in groups.values():
        first = points[positions[0]]
        names = [known(name, store.models.index, "model of this store") for name in first.models]
        stage = store_stage(store, names, first.method, first.score)
        outcomes = [stage(tuple(range(i + 1))) for i in range(len(names))]
        by_name = dict(zip(store.models.index, store_costs(store, first.cost_kind)))
        costs, metric = [by_name[name] for name in names], first.method.metric if first.method else None
        for position in positions:
            exits, correct, _ = run_outcomes(outcomes, own_units(metric, points[position].thresholds), costs)
            yield position, exits, correct, costs


def all_confidences(store, point):
    """(n arrays [k] of confidences after each stage, n − 1 thresholds), both inside (higher = surer)."""
    names = [known(name, store.models.index, "model of this store") for name in point.models]
    stage = store_stage(store, names, point.method, point.score)
    sure = [np.asarray(stage(tuple(range(i + 1)))[1], np.float64) for i in range(len(names))]
    return sure, own_units(point.method.metric if point.method else None, point.thresholds)


def reaching(sure, thresholds):
    """Of confidences [k] after each of n stages, those of the samples that reach the stage: n arrays."""
    reaches, found = np.ones(len(sure[0]), bool), []
    for i, values in enumerate(sure):
        found.append(values[reaches])
        if i < len(thresholds):
            reaches &= values < thresholds[i]
    return found


def stage_confidences(store, point):
    """Confidences at each stage of the samples that reach it: n arrays, higher = surer; labels do not count.

    The last array is the confidence of the last model's output, which decides nothing.
    """
    return reaching(*all_confidences(store, point))
