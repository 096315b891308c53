"""Many fixed cascades on one split: each cascade's confidences are computed once for all of its thresholds."""

import numpy as np

from .evaluation import check_point, costs_of, outcomes_of, run_outcomes


def point_list(points):
    """A Front's points, a single Point or a sequence of Points, as a list."""
    if hasattr(points, "table"):
        return [points.point(row) for row in range(len(points))]
    points = list(points) if isinstance(points, (list, tuple)) else [points]
    if not points:
        raise ValueError("no cascades: give a Front, a Point or a list of Points")
    for point in points:
        check_point(point)
    return points


def run_cascades(store, points):
    """Yield (position, exit_stage int [k], correct [k], costs) of each Point on a store, cascade by cascade.

    costs: of each of its models (numbers, or float [k] from a ScoreTable). Models that the store lacks are refused by
    name.
    """
    groups = {}
    for position, point in enumerate(points):
        groups.setdefault((point.models, point.score, point.cost_kind, id(point.method)), []).append(position)
    for positions in groups.values():
        first = points[positions[0]]
        outcomes = outcomes_of(store, first.models, first.method, first.score)
        costs = costs_of(store, first.models, first.cost_kind)
        for position in positions:
            exits, correct, _ = run_outcomes(outcomes, points[position].inside, costs)
            yield position, exits, correct, costs


def all_confidences(store, point):
    """(n arrays [k] of confidences after each stage, n − 1 thresholds), both inside (higher = surer)."""
    outcomes = outcomes_of(store, point.models, point.method, point.score)
    return [np.asarray(sure, np.float64) for _, sure in outcomes], point.inside


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
