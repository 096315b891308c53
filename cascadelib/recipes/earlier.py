"""Recipes for cascades that came before, to compare the exact front with."""

from functools import cache

import numpy as np
import pandas as pd
from scipy.special import stdtr

from ..checks import check_count
from ..evaluation.evaluation import baseline_of, ends_of, run_outcomes, sum_passed_on
from ..evaluation.pareto import least_cost, mean_improvement, pareto_front
from ..fronts.cascades import cascades_of
from ..fronts.exact import at_levels, search, shared_threshold_front
from ..methods.confidence_metrics import CHUNK
from ..methods.method import Method, ModelsOnSplit
from ..methods.thresholds import midway, own_units
from ..scoring import ranks_of, score_of
from . import exits
from .exits import frontier, oracle, pool

LEVELS = tuple(1 - np.geomspace(1, 1e-9, 181))


def inoue_2019(store, *, levels=LEVELS, starts=None, score="top1", cost=None, models="all"):
    """Exit from an ensemble once its confidence intervals part; at least two models run.

    Inoue, 2019: Adaptive ensemble prediction for deep neural networks based on confidence level, AISTATS. Kept: softmax
    is averaged, and a sample leaves when, at a level that is one for all stages, Student's interval of the top class's
    mean probability lies above that of the runner-up. Different: the original runs 10 or 20 equally large networks;
    here an ensemble is any run of candidates that are neighbours in cost, in that order, beginning at one of the
    ``starts`` cheapest (None: at any; the time grows with the square of the number of models).

    levels: confidence levels in [0, 1). Returns accuracy, cost, models (the whole ensemble), level, thresholds.
    """
    names, costs, _ = pool(store, None, score, cost, models)
    doubts, parts = np.sort(1 - np.asarray(levels, np.float64)), []
    for start in range(max(1, len(names) - 1))[:starts]:
        right, doubt = interval_outcomes(store, names[start:], score_of(score).rank)
        left_from = np.searchsorted(doubts, np.minimum.accumulate(doubt), side="right")
        for size in range(min(2, len(right)), len(right) + 1):
            correct, total = at_levels(right[:size], left_from[: size - 1], costs[start:], len(doubts))
            models = [tuple(names[start : start + size])] * len(doubts)
            points = {"accuracy": correct / len(store), "cost": total, "models": models, "level": 1 - doubts}
            points["thresholds"] = [(t,) * (size - 1) for t in np.nextafter(-doubts, 1).tolist()]
            parts.append(frontier(pd.DataFrame(points)))
    return frontier(pd.concat(parts, ignore_index=True))


def interval_outcomes(store, names, rank=1):
    """Mean softmax of the first 1 … n of some models: right bool [n, k], doubt float64 [n, k].

    Doubt is 1 − the confidence level at which the intervals of top class and runner-up touch; 1 after the first model.
    """
    split = ModelsOnSplit(store, names, [1.0] * len(names), Method().rule, rank)
    right, doubt = np.empty((len(names), len(store)), bool), np.ones((len(names), len(store)))
    for first in range(0, len(store), CHUNK):
        rows, mean, squares = slice(first, first + CHUNK), 0.0, 0.0
        for i in range(len(names)):
            p = split.softmax(i, rows)
            step = p - mean
            mean = mean + step / (i + 1)
            squares = squares + step * (p - mean)
            right[i, rows] = ranks_of(mean, store.origin.needed[rows]) < rank
            if i:
                doubt[i, rows] = interval_doubt(mean, squares, i + 1)
    return right, doubt


def interval_doubt(mean, squares, n):
    """Two-sided error probability at which Student's intervals of the two largest means touch: float64 [k].

    mean, squares [k, classes]: mean and sum of squared deviations of n values.
    """
    if mean.shape[1] == 1:
        return np.zeros(len(mean))
    rows, others = np.arange(len(mean)), mean.copy()
    top = mean.argmax(axis=1)
    others[rows, top] = -np.inf
    second = others.argmax(axis=1)
    gap = mean[rows, top] - mean[rows, second]
    error = sum(np.sqrt(squares[rows, c] / (n - 1) / n) for c in (top, second))
    apart = np.divide(gap, error, out=np.where(gap > 0, np.inf, 0.0), where=error > 0)
    return 2 * stdtr(n - 1, -apart)


def park_2015(store, *, score=None, cost=None, models="all"):
    """big/LITTLE: a small and a large model, softmax margin, one threshold (the *static* one of the original).

    Park et al., 2015: Big/little deep neural network for ultra low power inference, CODES+ISSS. Every pair, every
    threshold. Returns the ``table`` of :func:`cascadelib.search`.
    """
    return search(store, 2, "softmax_margin", score=score, cost=cost, models=models).table


def wang_2022(store, n_models=(2, 3), *, score=None, cost=None, models="all"):
    """Committees: mean logits of the models run so far, max softmax, exhaustive search over thresholds.

    Wang, Kondratyuk et al., 2022: Wisdom of committees: an overlooked approach to faster and more accurate models,
    ICLR. Every threshold instead of a grid, models of any family, and up to 3 of them (the original: 4 of one family).
    Returns the ``table`` of a search.
    """
    return search(store, n_models, "max_softmax_mean_logits", score=score, cost=cost, models=models).table


def wang_2018(store, metric="entropy", *, cost_aware=True, grid=32, n_models=3, score=None, cost=None, models="all"):
    """IDK cascades: grid search over the thresholds of chains of up to ``n_models`` models.

    Wang, Luo et al., 2018a: IDK cascades: fast deep learning by learning not to overthink, UAI. Kept: the search over
    thresholds on entropy or max softmax for a least accuracy. ``cost_aware`` takes the grid point of least cost;
    cost-oblivious takes, chain by chain, the point that exits most samples early (fewest models run a sample),
    whatever these cost. Not kept: their IDK classifiers trained on features, and the learned cost-aware objective;
    chains are all those of the candidates rather than one that was given.

    metric: "entropy", "max_softmax" or any other; grid: thresholds a stage, evenly spaced from the model's least to
    its largest confidence, or the thresholds themselves. Returns accuracy, cost, models, thresholds (own units).
    """
    given = np.sort(own_units(metric, grid)) if np.ndim(grid) else None
    check_count(grid if given is None else len(given), "grid")
    names, costs, stage = pool(store, Method(metric), score, cost, models)
    right, sure = zip(*(stage((m,)) for m in range(len(names))))
    k, longest, parts = len(right[0]), min(n_models, len(costs)), []
    grids = [np.linspace(s.min(), s.max(), grid) if given is None else given for s in sure]
    slots = [len(g) - np.searchsorted(g, s, side="right") for g, s in zip(grids, sure)]

    @cache
    def passed(prefix, m=None):
        """Samples (that model m gets right) whose confidence is below the thresholds of all models of ``prefix``, at
        each grid point: an axis for each of these models."""
        weights = np.ones(k) if m is None else right[m]
        return np.flip(sum_passed_on([slots[i] for i in prefix], [len(grids[0])] * (longest - 1), weights))

    chains = list(cascades_of(costs, range(1, longest + 1)))
    for number, chain in enumerate(chains):
        correct = passed(chain[:-1], chain[-1])
        for i, m in enumerate(chain[:-1]):
            correct = correct + passed(chain[:i], m) - passed(chain[: i + 1], m)
        reach = [np.broadcast_to(passed(chain[:i]), correct.shape) for i in range(len(chain))]
        accuracy = correct.ravel() / k
        total = sum(costs[m] * (r / k) for m, r in zip(chain, reach)).ravel()
        keep = pareto_front(total if cost_aware else sum(reach).ravel(), accuracy)
        parts.append((np.full(len(keep), number), keep, accuracy[keep], total[keep]))
    number, place, accuracy, total = (np.concatenate(part) for part in zip(*parts))
    rows = []
    for i in pareto_front(total, accuracy):
        chain = chains[number[i]]
        at = np.unravel_index(place[i], (len(grids[0]),) * (len(chain) - 1))
        thresholds = tuple(float(own_units(metric, grids[m][j])) for m, j in zip(chain, at))
        rows.append((accuracy[i], total[i], tuple(names[m] for m in chain), thresholds))
    return pd.DataFrame(rows, columns=["accuracy", "cost", "models", "thresholds"])


def streeter_2018(store, metric="logits_margin", *, targets=201, n_models=None, score=None, cost=None, models="all"):
    """Greedy construction from the pool: again and again the stage that answers most per unit of cost.

    Streeter, 2018: Approximation algorithms for cascading prediction models, ICML. For a target accuracy, the next
    stage is the (model, threshold) that answers most of the remaining samples ÷ cost, while those it answers keep the
    accuracy constraint: at least target ÷ best of the right answers which the most accurate candidate gives on them.
    So the cascade as a whole reaches the target. The stage that answers all of the rest is the last. Not kept:
    confidences learned from several features (here one ``metric``), and costs of computation that models share. Stages
    need not rise in cost.

    targets: how many accuracies, evenly spaced from the worst candidate's to the best's; n_models: at most so many
    stages. Returns accuracy, cost, models, thresholds (own units).
    """
    names, costs, stage = pool(store, Method(metric), score, cost, models)
    right, sure = (np.stack(part) for part in zip(*(stage((m,)) for m in range(len(names)))))
    order = np.argsort(-sure, axis=1)
    single = right.mean(axis=1)
    best, rows = int(single.argmax()), []
    for target in np.linspace(single.min(), single[best], targets):
        least = target / single[best] if single[best] > 0 else 1.0
        chain, thresholds = greedy(right, sure, order, costs, best, least, n_models or len(names))
        _, correct, total = run_outcomes([(right[m], sure[m]) for m in chain], thresholds, costs[chain])
        own = tuple(float(own_units(metric, t)) for t in thresholds)
        rows.append((np.mean(correct), total, tuple(names[m] for m in chain), own))
    return frontier(pd.DataFrame(rows, columns=["accuracy", "cost", "models", "thresholds"]))


def greedy(right, sure, order, costs, reference, least, most):
    """Models and thresholds (one fewer) of the greedy cascade of at most ``most`` stages, see :func:`streeter_2018`.

    right, sure, order [M, k]: correct, confidence, samples by falling confidence; least: share of the reference
    model's right answers that each stage must keep.
    """
    remaining, chain, thresholds = np.ones(right.shape[1], bool), [], []
    while True:
        left, offers = np.count_nonzero(remaining), []
        for m in range(len(costs)):
            rows = order[m][remaining[order[m]]]
            count, threshold = answerable(sure[m][rows], right[m][rows], right[reference][rows], least)
            allowed = m not in chain and (len(chain) < most - 1 or count == left)
            offers.append((count / costs[m] if allowed else 0, -m, threshold))  # the first of equal ones counts
        _, place, threshold = max(offers)
        chain.append(-place)
        if threshold == -np.inf:
            return chain, thresholds
        thresholds.append(threshold)
        remaining &= sure[-place] < threshold


def answerable(sure, right, reference, least):
    """(how many, threshold) of the surest samples that can be answered: right ≥ ``least`` × the reference's right.

    All [k], by falling confidence; equal confidences stay together. Threshold −inf: all of them; inf: none.
    """
    ends = ends_of(sure)
    kept = np.append(True, np.cumsum(right) >= least * np.cumsum(reference) - 1e-9)
    count, around = int(ends[kept[ends]][-1]), np.concatenate([[np.nan], sure, [np.nan]])
    return count, float(midway(*around[count : count + 2]))


def all_recipes(store, *, held_out=None, cost=None, models="all"):
    """Every recipe of this room on one store, with its defaults: {label with author and year: points}.

    held_out: another split; points then have accuracy_moved and cost_moved there (:func:`replay_points`), but not the
    oracle's, who knows the answers. The grids of 10 and 30 are the rule of ThresholdCascadeClassifierCV of
    scikit-fallback (one grid for all stages, from 1 ÷ classes to 0.95), with every stage that ran in the cost.
    """
    options, vote = {"cost": cost, "models": models}, Method(ensemble="vote")
    chance = 1 / store.output(store.models.index[0]).shape[1]

    def grid(metric, **more):
        return moved(wang_2018(store, metric, **more, **options), metric)

    def moved(points, rule="max_softmax"):
        return points if held_out is None else exits.replay_points(points, held_out, rule, cost=cost)

    def doubts(other, names, score):
        return [(right, -doubt) for right, doubt in zip(*interval_outcomes(other, names, score_of(score).rank))]

    return {
        "Park 2015, softmax margin, 2 models": moved(park_2015(store, **options), "softmax_margin"),
        "Park 2015, dynamic threshold": moved(exits.park_2015_dynamic(store, **options), exits.dynamic_exits),
        "Bolukbasi 2017, logistic": moved(exits.bolukbasi_2017(store, **options), exits.logistic_outcomes(store)),
        "Wang 2018, entropy grid": grid("entropy"),
        "Wang 2018, entropy grid, cost-oblivious": grid("entropy", cost_aware=False),
        "Wang 2018, max-softmax grid": grid("max_softmax"),
        "Wang 2018, max-softmax grid, cost-oblivious": grid("max_softmax", cost_aware=False),
        "scikit-fallback, grid of 10": grid("max_softmax", grid=np.linspace(chance, 0.95, 10)),
        "scikit-fallback, grid of 30": grid("max_softmax", grid=np.linspace(chance, 0.95, 30)),
        "Huang 2018, budgeted batch": moved(exits.huang_2018(store, **options)),
        "Streeter 2018, greedy": moved(streeter_2018(store, **options), "logits_margin"),
        "Inoue 2019, confidence interval": moved(inoue_2019(store, **options), doubts),
        "Zhou 2020, patience": moved(exits.zhou_2020(store, **options), exits.patience_outcomes),
        "Wang 2022, mean logits": moved(wang_2022(store, **options), "max_softmax_mean_logits"),
        "plurality vote": moved(search(store, (1, 2, 3), vote, **options).table, vote),
        "one shared threshold, 2 models": moved(shared_threshold_front(store, 2, **options).table),
        "one shared threshold, 3 models": moved(shared_threshold_front(store, 3, **options).table),
        "oracle": oracle(store, **options),
    }


def compare_recipes(exact_front, recipes, above=(), *, held_out=None, loss=0.01):
    """Recipes beside the exact front, a row each, the front first ("exact").

    exact_front: a :class:`cascadelib.Front`, whose baseline counts; recipes: {label: points with accuracy and cost,
    rising}; above: accuracies. Columns: mean_improvement over the baseline's range, "improvement above <a>" for each,
    best_accuracy, excess_cost (see :func:`excess_cost`).

    held_out: the split on which they were replayed. First then come accuracy_moved, cost_moved (there), accuracy and
    cost (here) of the point that is chosen at ``loss``, the cheapest at most so far below the best single model, or the
    most accurate; and excess_cost_moved, that mean over accuracies here of cost ÷ the baseline's at equal accuracy both
    there: nothing is picked by what it shows there. nan where points were not replayed.
    """
    baseline, tables, rows = exact_front.baseline, {"exact": exact_front.table, **recipes}, {}
    if held_out is not None:
        there, kind = baseline_of(held_out, exact_front), {"score": exact_front.score, "cost": exact_front.cost_kind}
        tables["exact"] = exits.replay_points(exact_front.table, held_out, exact_front.method, **kind)

    def mean_above(low, cost, accuracy):
        return mean_improvement(baseline, cost, accuracy, low) if low < baseline.best else np.nan

    for label, points in tables.items():
        curve, rows[label] = (points["cost"].to_numpy(), points["accuracy"].to_numpy()), {}
        if held_out is not None:
            points = points.reindex(columns=["accuracy_moved", "cost_moved", "relative_cost", "accuracy", "cost"])
            at_equal_accuracy = there.cost_at(points["accuracy_moved"].clip(upper=there.best))
            tables[label] = points = points.assign(relative_cost=points["cost_moved"] / at_equal_accuracy)
            chosen = points.iloc[min(np.searchsorted(curve[1], baseline.best - loss), len(points) - 1)].copy()
            chosen["relative_cost"] = excess_cost(baseline, tables["exact"], points, "relative_cost")
            rows[label] |= chosen.rename({"relative_cost": "excess_cost_moved"})
        rows[label] |= {
            "mean_improvement": mean_above(baseline.accuracy[baseline.front[0]], *curve),
            **{f"improvement above {low:.1%}": mean_above(low, *curve) for low in above},
            "best_accuracy": curve[1][-1],
            "excess_cost": excess_cost(baseline, exact_front.table, points),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")


def excess_cost(baseline, exact, points, column="cost"):
    """Mean over accuracies of points' cost ÷ exact cost − 1, where both reach within the baseline's range.

    exact, points: tables with accuracy and cost (or another ``column``), accuracy rising. An exact integral: between
    breakpoints both are constant. nan where there is no such range, and for a single point, which is for one accuracy.
    Negative where ``points`` (an ensemble, the oracle) is the cheaper.
    """
    (a, c), (b, d) = ((t["accuracy"].to_numpy(), t[column].to_numpy()) for t in (exact, points))
    low, high = float(baseline.accuracy[baseline.front[0]]), min(baseline.best, a[-1], b[-1])
    if not low < high or len(points) < 2:
        return np.nan
    breaks = np.concatenate([a, b])
    x = np.unique(np.concatenate([[low, high], breaks[(breaks > low) & (breaks < high)]]))
    ratio = least_cost(d, b, x[1:]) / least_cost(c, a, x[1:])
    return float(np.sum(np.diff(x) * (ratio - 1)) / (high - low))
