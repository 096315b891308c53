"""Every cascade × every threshold → the exact Pareto front (paper, section 3, *Evaluation*; without sampling)."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import numpy as np

from . import sweep
from .confidence import own_units
from .curves import two_model_curve
from .evaluation import run_outcomes, single_models, store_costs, store_stage
from .front import Front, front_table, singles_table
from .methods import method_named
from .names import known
from .pareto import Baseline, check_costs, pareto_front
from .scores import ScoreTable

Stage = Callable[[tuple[int, ...]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Points:
    """A Pareto front as arrays, rising in cost and accuracy. P points of cascades of up to n models.

    accuracy, cost float64 [P]; models int64 [P, n]: rows of the input; thresholds float64 [P, n − 1]: exit when
    confidence (higher = surer) ≥ threshold, −inf "always", inf "never"; exit_rates float64 [P, n]: share of all
    samples that leave at each stage. Rows of shorter cascades end in −1, nan and 0.
    """

    accuracy: np.ndarray
    cost: np.ndarray
    models: np.ndarray
    thresholds: np.ndarray
    exit_rates: np.ndarray


class Outcomes:
    """Outcomes of prefixes, checked, computed once, with samples grouped by equal confidence (surest first)."""

    def __init__(self, stage, key):
        self.stage, self.key, self.kept = stage, key, {}

    def right(self, prefix):
        """uint8 [k]: whether the cascade's output after ``prefix`` is right."""
        right, _ = self.stage(prefix)
        right = np.asarray(right)
        if right.dtype != bool:
            if not np.isin(right, (0, 1)).all():
                raise ValueError(f"correctness after models {prefix} is not boolean: the exact search counts samples")
            right = right.astype(bool)
        return right.view(np.uint8)

    def sure(self, prefix):
        """float64 [k]: confidence after ``prefix``; nan and infinite values are refused."""
        sure = np.asarray(self.stage(prefix)[1], np.float64)
        if not np.isfinite(sure).all():
            row = int(np.flatnonzero(~np.isfinite(sure))[0])
            raise ValueError(f"confidence after models {prefix} is {sure[row]} at sample {row}; it must be finite")
        return sure

    def groups(self, prefix):
        """(order int64 [k], group int32 [k]): samples by falling confidence, and each sample's group."""
        name = self.key(prefix)
        if name not in self.kept:
            sure = self.sure(prefix)
            order = np.argsort(-sure)
            new = np.concatenate([[False], np.diff(sure[order]) != 0])
            group = np.empty(len(sure), np.int32)
            group[order] = np.cumsum(new)
            self.kept[name] = order, group
        return self.kept[name]


def prefixes_of(cost, length):
    """All sequences of ``length`` different models in order of rising cost; equal costs in both orders."""
    order = np.argsort(cost, kind="stable")
    longer = [()]
    for _ in range(length):
        longer = [(*p, int(m)) for p in longer for m in order if m not in p and (not p or cost[m] >= cost[p[-1]])]
    return longer


def by_head(cascades, length):
    """Cascades grouped by their first ``length`` models: [(head, number of the first, [last models])]."""
    heads = {}
    for number, cascade in enumerate(cascades):
        heads.setdefault(cascade[:length], (number, []))[1].append(cascade[-1])
    return [(head, first, lasts) for head, (first, lasts) in heads.items()]


def sweep_singles(outcomes, cost, first_id, cascades, best):
    """Note every single model."""
    for number, (m,) in zip(count(first_id), cascades):
        right = outcomes.right((m,))
        sweep.note(best, int(right.sum()), cost[m], number, 0, 0, 0, 0)


def sweep_two(outcomes, cost, head, first_id, lasts, best, exact):
    """Note every threshold of one first model before each of ``lasts``."""
    order, group = outcomes.groups(head)
    right_2 = np.stack([outcomes.right((*head, m))[order] for m in lasts])
    sweep.sweep_pairs(group[order], outcomes.right(head)[order], right_2, cost[head[0]], cost[lasts], first_id, best)


def sweep_three(outcomes, cost, head, first_id, lasts, best, exact):
    """Note every pair of thresholds of two models before each of ``lasts`` (``exact``), or a coarse grid of them."""
    order, group = outcomes.groups(head[:1])
    right_12 = (outcomes.right(head[:1]) | (outcomes.right(head) << 1))[order]
    right_3 = np.stack([outcomes.right((*head, m))[order] for m in lasts])
    costs = np.array([[cost[head[0]], cost[head[1]], cost[m]] for m in lasts])
    sweep.sweep_triples(group[order], outcomes.groups(head)[1][order], right_12, right_3, costs, first_id, best, exact)


def in_threads(tasks, k, best):
    """Run tasks (functions of a Best) on all cores, each thread from a copy of ``best``; merge into ``best``."""
    workers = min(os.cpu_count() or 1, len(tasks))
    bests = [tuple(a.copy() for a in best) for _ in range(workers)]
    pending = iter(tasks)

    def work(own):
        for task in pending:  # next() of a list iterator is atomic: each task goes to one thread
            task(own)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, bests))
    sweep.merge_best([best, *bests])


def search_lengths(outcomes, cost, k, lengths):
    """The best cascade of each number of correct samples over all cascades of the given lengths."""
    best, cascades, tasks = sweep.new_best(k), [], []
    for length in sorted(lengths):
        own = prefixes_of(cost, length)
        if length == 1:
            sweep_singles(outcomes, cost, len(cascades), own, best)
        for head, first, lasts in by_head(own, length - 1) if length > 1 else []:
            tasks.append((sweep_two if length == 2 else sweep_three, head, len(cascades) + first, lasts))
            for n in range(1, length):
                outcomes.groups(head[:n])  # sorted here, once, so that threads only read
        cascades += own
    for exact in (False, True):
        chosen = [t for t in tasks if exact or t[0] is sweep_three]
        calls = [lambda own, t=t, exact=exact: t[0](outcomes, cost, *t[1:], own, exact) for t in chosen]
        if calls:
            in_threads(calls, k, best)
    return best, cascades


def threshold_between(low, high):
    """Midway between the least confidence that exits and the largest that passes on; their ends are ±inf.

    Equals ``low`` where the midpoint rounds to ``high``: samples at ``low`` exit, those at ``high`` do not.
    """
    if high == -np.inf:
        return -np.inf
    if low == np.inf:
        return np.inf
    middle = high + (low - high) / 2
    return middle if middle > high else low


def thresholds_of(outcomes, cascade, boundaries):
    """The thresholds of a cascade whose stages exit the groups below ``boundaries``: float64 [n − 1]."""
    reached, out = None, []
    for i, e in enumerate(boundaries[: len(cascade) - 1]):
        head = cascade[: i + 1]
        order, group = outcomes.groups(head)
        reached = np.ones(len(group), bool) if reached is None else reached
        exits = reached & (group < e)
        reached = reached & (group >= e)
        out.append(threshold_between(*sweep.neighbours(outcomes.sure(head), exits, reached)))
    return out


def points_of(outcomes, best, cascades, k):
    """The non-dominated entries of a Best as Points, with thresholds and exit rates."""
    reach, exact, where = best
    on_front = (exact == reach) & (reach < np.append(reach[1:], np.inf)) & np.isfinite(reach)
    correct = np.flatnonzero(on_front)
    width = max(len(c) for c in cascades)
    first = {}  # models that no sample reaches are arbitrary: name the cheapest that fit
    for cascade in cascades:
        for n in range(1, len(cascade) + 1):
            first.setdefault((len(cascade), cascade[:n]), cascade)
    models = np.full((len(correct), width), -1, np.int64)
    thresholds = np.full((len(correct), width - 1), np.nan)
    rates = np.zeros((len(correct), width))
    for row, (number, e1, e2, at_2, at_3) in enumerate(where[correct].tolist()):
        n = len(cascades[number])
        cascade = first[n, cascades[number][: 1 + (at_2 > 0) + (at_3 > 0)]]
        models[row, :n] = cascade
        thresholds[row, : n - 1] = thresholds_of(outcomes, cascade, (e1, e2))
        rates[row, :n] = -np.diff([k, at_2, at_3, 0][:n] + [0]) / k
    return Points(correct / k, exact[correct], models, thresholds, rates)


def check_lengths(n_models, n_candidates):
    """The asked cascade lengths as a sorted tuple; refused unless each is 1, 2 or 3 and ≤ the number of models."""
    lengths = (n_models,) if np.isscalar(n_models) else tuple(n_models)
    for n in lengths:
        if n not in (1, 2, 3):
            raise ValueError(f"n_models={n}: the exact search covers cascades of 1, 2 and 3 models")
        if n > n_candidates:
            raise ValueError(f"n_models={n} but only {n_candidates} models to choose from")
    return tuple(sorted(set(lengths)))


def search_stages(stage, cost, n_models, key):
    """Exact search over a stage function; ``key(prefix)`` says which prefixes share their outcomes."""
    cost = check_costs(cost)
    if cost.ndim != 1:
        raise ValueError("one cost a model is needed here: a row of costs a sample works in `search` with n_models=2")
    lengths, outcomes = check_lengths(n_models, len(cost)), Outcomes(stage, key)
    k = len(outcomes.right((0,)))
    if k == 0:
        raise ValueError("no samples: the split is empty")
    best, cascades = search_lengths(outcomes, cost, k, lengths)
    return points_of(outcomes, best, cascades, k)


def search_outcomes(stage: Stage, cost, n_models) -> Points:
    """The exact Pareto front over all cascades of ``n_models`` models and all achievable thresholds.

    stage(prefix: tuple[int, …]) → (correct bool [k], confidence float [k], higher = surer) of the cascade's output
    after the models of ``prefix``; cost float [M]; n_models: 1, 2, 3 or a tuple of these (the union). Models run in
    order of cost, equal costs in both orders. Samples of equal confidence exit together. Where several cascades
    give the same accuracy at the same cost, one of them is reported.
    """
    return search_stages(stage, cost, n_models, lambda prefix: prefix)


def search_arrays(correct, confidence, cost, n_models) -> Points:
    """:func:`search_outcomes` where only the last model of a prefix counts (no ensembling).

    correct bool [M, k], confidence float [M, k] (higher = surer), cost float [M]; any order of models.
    """
    correct, sure = np.asarray(correct), np.asarray(confidence, np.float64)
    if correct.ndim != 2 or correct.shape != sure.shape or len(cost) != len(correct):
        raise ValueError(f"shapes differ: correct {correct.shape}, confidence {sure.shape}, cost {np.shape(cost)}")
    return search_stages(lambda prefix: (correct[prefix[-1]], sure[prefix[-1]]), cost, n_models, lambda p: p[-1])


def search_pairs(stage, cost):
    """The front over all two-model cascades where correctness is graded or every sample has its own cost.

    correct float [k] and cost [M, k] are summed in float64, so equal accuracies may differ in the last bit: points
    are kept by :func:`pareto_front`, the front is exact up to that rounding.
    """
    rows, mean = [], cost if cost.ndim == 1 else cost.mean(axis=1)
    for a, b in prefixes_of(mean, 2):
        gain_1, sure = stage((a,))
        gain_2 = stage((a, b))[0]
        curve = two_model_curve(sure, gain_1, gain_2, cost[a], cost[b])
        keep = pareto_front(curve.cost, curve.accuracy)
        rows += [(a, b, t) for t in curve.threshold[keep]]
    models, thresholds = np.array([r[:2] for r in rows], np.int64), np.array([[r[2]] for r in rows])
    measured = [run_outcomes([stage((a,)), stage((a, b))], (t,), [cost[a], cost[b]]) for a, b, t in rows]
    accuracy, total = np.array([np.mean(m[1]) for m in measured]), np.array([m[2] for m in measured])
    left = np.array([np.mean(m[0] == 0) for m in measured])
    keep = pareto_front(total, accuracy)
    rates = np.stack([left, 1 - left], axis=1)
    return Points(accuracy[keep], total[keep], models[keep], thresholds[keep], rates[keep])


def candidate_names(models, store, baseline):
    """The models to combine: "all", "pareto" (those on the single-model front, as the paper does) or a list."""
    names = list(store.models.index)
    if isinstance(models, str):
        return names if known(models, ["all", "pareto"], "choice of models") == "all" else [names[i] for i in baseline.front]
    return [known(name, names, "model") for name in models]


def search(store, n_models=2, method="max_softmax", *, score="top1", cost="macs", models="all") -> Front:
    """Every cascade of ``n_models`` models of a store at every threshold: the exact Pareto :class:`Front`.

    store: LogitStore, or ScoreTable (its own confidences and costs; ``method`` and ``cost`` are not used);
    n_models: 1, 2, 3 or a tuple of these; method: a key of METHODS, fitted on this store where it scales by
    temperature, or a :class:`Method`, used as fitted; score: "top1" or "top<k>"; cost: "macs", "seconds" or another
    numeric column of ``store.models``; models: "all", "pareto" or a list of names.
    """
    method = None if isinstance(store, ScoreTable) else method_named(method)
    if method is not None and method.temperatures is None:
        method = method.fit(store)
    accuracy, mean = single_models(store, score, cost)
    baseline, all_names, costs = Baseline(mean, accuracy), list(store.models.index), store_costs(store, cost)
    names = candidate_names(models, store, baseline)
    costs = costs[[all_names.index(name) for name in names]]
    stage = store_stage(store, names, method, score)
    if isinstance(store, ScoreTable) and (costs.ndim == 2 or store.correct.dtype != bool):
        if n_models != 2:
            raise ValueError("graded correctness and costs a sample are exact for n_models=2 only")
        points = search_pairs(stage, costs)
    else:
        last_only = method is None or method.ensemble == "none"
        points = search_stages(stage, costs, n_models, (lambda p: p[-1:]) if last_only else (lambda p: p))
    own = own_units(method.metric if method else None, points.thresholds)
    singles = singles_table(all_names, accuracy, mean, baseline)
    return Front(front_table(points, names, own, baseline), singles, tuple(names), method, score, cost)
