"""Every cascade × every threshold → the exact Pareto front (paper, section 3, *Evaluation*; without sampling)."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd

from ..checks import (
    POSITIVE,
    brief,
    check_costs,
    check_count,
    check_number,
    items_of,
    known,
    reals,
    unmasked,
)
from ..evaluation.evaluation import asked, check_store, single_models, sum_passed_on
from ..evaluation.pareto import Baseline, improvement_factor
from ..front_end import watched
from ..methods.confidence_metrics import confidence
from ..methods.method import METHODS
from ..methods.thresholds import midway, own_units
from ..scoring import F1
from ..store.logit_store import LogitStore
from ..store.protocol import Stage
from .cascades import Cascades, Outcomes, cascades_of, check_lengths, check_work
from .front import Front, Points, points_of, singles_table
from .graded import Found, points_by_running, search_graded, two_model_curve
from .kernels.state import improves, new_best, note
from .parallel import BOXES, CORNERS, in_executor, in_threads

# Tolerances of the rounds before the last, where time is limited; the first opens nothing, and bounds every cascade.
COARSER = (1e300, 0.1, 0.01)
SEEDING = 0.25  # of the time that is left goes to finding a first front to prune by


def note_first_models(outcomes, cost, cascades, best):
    """Note, for each model that may come first, a cascade in which all samples leave there: every single model, and
    of longer cascades a front, however little time there is."""
    firsts = {}
    for head, lasts in cascades.heads:
        for number, m in lasts[:1] if head else lasts:
            firsts.setdefault((*head, m)[0], (number, head))
    for first, (number, head) in firsts.items():
        n, nobody = int(outcomes.right((first,)).sum()), np.zeros(len(head), np.int64)
        always = np.array(
            [outcomes.groups(head[: i + 1]).max() + 1 for i in range(len(head))], np.int64
        )
        if improves(best, n, cost[first], number, nobody):
            note(best, n, cost[first], number, always, nobody)


def seed(outcomes, cost, cascades, length, best, tolerance, deadline):
    """Note the front of the cascades' first ``length`` models: of longer ones whose later stages are never reached."""
    heads, longer, d = {}, {}, length - 1
    for head, lasts in cascades.heads:
        longer.setdefault(head[:length], (lasts[0][0], head))
    for short, (number, _) in longer.items():
        heads.setdefault(short[:-1], []).append((number, short[-1]))
    head_of, own = dict(longer.values()), new_best(len(best.reach) - 1, length)
    for parts in (CORNERS, BOXES) if d > 1 else (BOXES,):
        in_threads(outcomes, cost, list(heads.items()), own, parts, tolerance, deadline)
    for n in np.flatnonzero(np.isfinite(own.exact)):
        head, at = head_of[own.where[n, 0]], np.zeros(cascades.length - 1, np.int64)
        at[:d] = own.where[n, 1 + d :]
        if improves(best, n, own.exact[n], own.where[n, 0], at):
            always = [outcomes.groups(head[: i + 1]).max() + 1 for i in range(d, len(head))]
            note(
                best,
                n,
                own.exact[n],
                own.where[n, 0],
                np.append(own.where[n, 1 : 1 + d], always),
                at,
            )


def search_boxes_of(outcomes, cost, cascades, best, tolerance, deadline, executor, parts):
    """Note every threshold of cascades of three models or more, in rounds of falling tolerance if time is limited.
    parts: of the first round (see :func:`.parallel.search_head`); after a round that ended, boxes only. Each round's
    ``floor`` bounds all that it did not search, also where time ran out in it, so the highest counts.
    """
    run = in_threads if executor is None else partial(in_executor, executor)
    rounds = [t for t in COARSER if t > tolerance] if deadline else []
    certain = np.full_like(best.floor, -np.inf)
    for round_tolerance in [*rounds, tolerance]:
        best.floor[:] = np.inf
        complete = run(outcomes, cost, cascades.heads, best, parts, round_tolerance, deadline)
        floor = np.minimum.accumulate(best.floor[::-1])[::-1]
        certain = np.maximum(certain, floor)
        if not complete:
            break
        parts = BOXES
    best.floor[:] = certain


def search_all(outcomes, cost, k, lengths, tolerance, deadline, executor):
    """(Best over all cascades of the given lengths, function from a cascade's number to its models)."""
    best, kinds, end, floor = new_best(k, max(lengths)), [], 0, np.full(k + 1, np.inf)
    for length in lengths:
        kinds.append(cascades := Cascades(cost, length, end))
        end = cascades.end
        if length == 1 or deadline is not None:
            note_first_models(outcomes, cost, cascades, best)
        if length == 2:
            in_threads(outcomes, cost, cascades.heads, best)
        elif length > 2:
            end_of_start = (
                None
                if deadline is None
                else time.monotonic() + SEEDING * (deadline - time.monotonic())
            )
            first = length - 1 if deadline is None else min(3, length - 1)
            for shorter in range(first, length):
                if shorter not in lengths and (shorter == first or time.monotonic() < end_of_start):
                    seed(outcomes, cost, cascades, shorter, best, tolerance, end_of_start)
            started = in_threads(
                outcomes, cost, cascades.heads, best, CORNERS, tolerance, end_of_start
            )
            parts = BOXES if started else CORNERS + BOXES
            search_boxes_of(outcomes, cost, cascades, best, tolerance, deadline, executor, parts)
            np.minimum(floor, best.floor, out=floor)
    best.floor[:] = floor
    return best, lambda number: next(c for c in kinds if number < c.end).cascade(number)


def check_limits(tolerance, time_limit, executor):
    """(tolerance, time limit) as floats, None for no limit; ValueError naming the one that is wrong."""
    tolerance = check_number(
        tolerance, "tolerance", "a share of the cost, 0 or more", 0, POSITIVE[1]
    )
    if time_limit is not None:
        time_limit = check_number(time_limit, "time_limit", "seconds, more than 0", POSITIVE[0])
    if executor is not None and (isinstance(executor, type) or not hasattr(executor, "submit")):
        raise ValueError(f"executor must be a concurrent.futures.Executor, not {brief(executor)}")
    return tolerance, time_limit


def search_outcomes(
    stage: Stage, cost, n_models, *, last_only=False, tolerance=0.0, time_limit=None, executor=None
) -> Points:
    """The exact Pareto front over all cascades of ``n_models`` models and all achievable thresholds.

    stage(prefix: tuple[int, …]) → (correct bool [k], confidence float [k], higher = surer) of the cascade's output
    after the models of ``prefix``; cost float [M]; n_models: a length (1 … 8) or a tuple of lengths (the union).
    Models run in order of cost, equal costs in both orders. Samples of equal confidence exit together; infinite
    confidences may occur, nan not. Of cascades of the same accuracy and cost that of the fewest models is reported,
    then of the cheapest first models, then that which passes the fewest samples on to stage 2, 3, …, on any machine.

    last_only: outcomes depend on the last model of a prefix alone, so that they are asked for once a model;
    tolerance: skip what could only be cheaper by this share of the cost; time_limit: seconds after which the search
    stops; either leaves a front that is certified instead of exact (:attr:`Points.gap`, ``lower_bound_at``).
    executor: a ``concurrent.futures.Executor`` that searches cascades of three models and more; where workers die, a
    RuntimeWarning says so, and the front is certified.
    ValueError: unusable outcomes or costs, more stages than models, more cascades than patience allows.
    """
    tolerance, time_limit = check_limits(tolerance, time_limit, executor)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    cost = check_costs(cost)
    if cost.ndim != 1:
        raise ValueError(
            "one cost a model is needed here: a row of costs a sample works in `search` with n_models=2"
        )
    lengths, outcomes = check_lengths(n_models, len(cost)), Outcomes(stage, last_only)
    check_work(cost, lengths, time_limit)
    k = len(outcomes.right((0,)))
    if k == 0:
        raise ValueError("no samples: the split is empty")
    outcomes.prepare(cascades_of(cost, lengths))
    if max(lengths) > 1:
        with ThreadPoolExecutor() as pool:  # sorts run without the GIL
            list(pool.map(outcomes.groups, [(m,) for m in range(len(cost))]))
    best, cascade_of = search_all(outcomes, cost, k, lengths, tolerance, deadline, executor)
    return points_of(outcomes, best, cascade_of, cost)


def search_arrays(
    correct, confidence, cost, n_models, *, tolerance=0.0, time_limit=None, executor=None
) -> Points:
    """:func:`search_outcomes` where only the last model of a prefix counts (no ensembling).

    correct bool [M, k], confidence float [M, k] (higher = surer), cost float [M]; any order of models.
    """
    correct = np.asarray(unmasked(correct, "correct"))
    sure = reals(confidence, "confidence")
    if (
        correct.ndim != 2
        or correct.shape != sure.shape
        or len(cost := check_costs(cost)) != len(correct)
    ):
        raise ValueError(
            f"shapes differ: correct {correct.shape}, confidence {sure.shape}, cost {np.shape(cost)}"
        )

    def stage(prefix):
        return correct[prefix[-1]], sure[prefix[-1]]

    limits = {"tolerance": tolerance, "time_limit": time_limit, "executor": executor}
    return search_outcomes(stage, cost, n_models, last_only=True, **limits)


def search_shared_threshold(stage, cost, n_models) -> Points:
    """What :func:`shared_threshold_front` finds, of a stage and costs as :func:`search_outcomes` takes them."""
    if np.ndim(cost) != 1:
        raise ValueError("one cost a model is needed for a shared threshold")
    check_count(n_models, "n_models (how many models share a threshold)", 2, len(cost))
    check_work(cost := check_costs(cost), (n_models,), None)
    outcomes, found, rows = Outcomes(stage, False), Found(n_models), []

    def levels(head):
        """Confidences of a head's stages [n − 1, k], all that occur, rising, and at how many each sample passes on."""
        sure = np.stack([outcomes.sure(head[: i + 1]) for i in range(len(head))])
        values, place = np.unique(np.maximum.accumulate(sure), return_inverse=True)
        return sure, values, len(values) - place.reshape(sure.shape)

    for head, lasts in Cascades(cost, n_models).heads:
        _, values, slots = levels(head)
        right, ones = (
            [outcomes.right(head[: i + 1]).view(np.int8) for i in range(len(head))],
            np.ones(slots.shape[1]),
        )
        for _, m in lasts:
            steps = np.diff([*right, outcomes.right((*head, m)).view(np.int8)], axis=0)
            correct, total = right[0].sum(), cost[head[0]]
            for slot, step, more in zip(slots, steps, cost[[*head[1:], m]]):
                correct = correct + sum_passed_on([slot], [len(values) + 1], step)
                total = total + more * (sum_passed_on([slot], [len(values) + 1], ones) / len(ones))
            found.add(total, correct / len(ones), (*head, m), np.arange(len(total))[:, None])
    for cascade, boundaries in found.by_cascade():
        sure, values, _ = levels(cascade[:-1])
        for exits in np.append(np.nan, values[::-1])[boundaries[:, 0]]:
            passes = sure if np.isnan(exits) else sure[sure < exits]
            rows.append(
                (
                    cascade,
                    np.full(n_models - 1, midway(exits, passes.max() if len(passes) else np.nan)),
                )
            )
    return points_by_running(stage, cost, rows, n_models)


def candidate_names(models, store, baseline):
    """The models to combine: "all", "pareto" (those on the single-model front, as the paper does) or a list."""
    names = list(store.models.index)
    if isinstance(models, str):
        sets = {"all": names, "pareto": [names[i] for i in baseline.front]}
        return sets[known(models, sets, "set of models (or list their names)")]
    chosen = [known(name, names, "model") for name in items_of(models)]
    if len(set(chosen)) < max(len(chosen), 1):
        raise ValueError(f"models must name one model or more, none of them twice, not {chosen}")
    return chosen


def search(
    store,
    n_models=2,
    method=None,
    *,
    score=None,
    cost=None,
    models="all",
    tolerance=0.0,
    time_limit=None,
    executor=None,
) -> Front:
    """Every cascade of ``n_models`` models of a store, in order of cost, at every threshold: its exact :class:`Front`.

    store: LogitStore, or ScoreTable (its own confidences and costs; of ``method`` it takes a fitted confidence, of
    ``score`` "top1" and "f1");
    n_models: a length (1 … 8) or a tuple of lengths; method: a key of METHODS (default: "max_softmax"), fitted on this
    store where it scales by temperature, or a :class:`Method`, used as fitted; score: "top1" (default), "top<k>", or
    "f1" (two classes, n_models 1 and 2); cost: "macs" (default) or "seconds"; models: "all", "pareto" or a list
    of names; tolerance, time_limit (``front.gap`` then says how far from exact it may be), executor: see
    :func:`search_outcomes`.
    """
    check_limits(tolerance, time_limit, executor)
    task = SearchTask(store, method, score, cost, models)
    how = {"last_only": task.last_only, "tolerance": tolerance, "time_limit": time_limit}
    if task.positive is not None or task.costs.ndim == 2 or task.stage((0,))[0].dtype != bool:
        return task.front(search_graded(task.stage, task.costs, n_models, task.positive, **how))
    return task.front(search_outcomes(task.stage, task.costs, n_models, **how, executor=executor))


def shared_threshold_front(store, n_models=2, method=None, *, score=None, cost=None, models="all"):
    """The exact front of cascades with one threshold for all stages (paper, section 3: cheap, but worse).

    Arguments as those of :func:`search`, without F1; n_models: one length, 2 or more. The metric must mean the same at
    every stage.
    """
    if score == F1:
        raise ValueError(
            "F1 is searched with a threshold a stage only: use cascadelib.search, or score='top1'"
        )
    task = SearchTask(store, method, score, cost, models)
    return task.front(search_shared_threshold(task.stage, task.costs, n_models))


class SearchTask:
    """What a search of a store needs: its stage function, the candidates' names and costs, the baseline; metric: None
    of a ScoreTable; positive: bool [k] under F1, else None."""

    def __init__(self, store, method, score, cost, models):
        check_store(store)
        method, score, cost = asked(store, method, score, cost)
        if method is not None and method.temperatures is None and method.fitted is None:
            method = method.fit(store)
        self.method, self.score, self.cost_kind = method, score, cost
        self.metric = None if method is None else method.units
        self.positive = store.positives() if score == F1 else None
        names = None
        while names != list(store.models.index):  # until no other thread adds a model meanwhile
            names = list(store.models.index)
            accuracy, mean = single_models(store, score, cost)
            costs = store.sample_costs(cost)
        self.baseline = Baseline(mean, accuracy)
        self.singles = singles_table(names, accuracy, mean, self.baseline)
        self.names = candidate_names(models, store, self.baseline)
        self.costs = costs[[names.index(name) for name in self.names]]
        self.stage = store.outcome(self.names, method, score)
        self.last_only = method is None or method.last_only
        self.found_on = store.origin if method is None else method.after(store.origin)

    def curve(self, first, second):
        """The :class:`Curve` of two candidates, by their names."""
        pair = [self.names.index(first), self.names.index(second)]
        gain_1, sure = self.stage((pair[0],))
        return two_model_curve(
            sure, gain_1, self.stage(tuple(pair))[0], *self.costs[pair], self.positive
        )

    def front(self, points):
        """Points of this search as a Front."""
        lengths = (points.models >= 0).sum(axis=1)
        own = own_units(self.metric, points.thresholds)
        columns = {
            "accuracy": points.accuracy,
            "cost": points.cost,
            "models": [
                tuple(self.names[m] for m in row[:n]) for row, n in zip(points.models, lengths)
            ],
            "thresholds": [tuple(row[: n - 1].tolist()) for row, n in zip(own, lengths)],
            "exit_rates": [tuple(row[:n].tolist()) for row, n in zip(points.exit_rates, lengths)],
            "improvement": improvement_factor(self.baseline.cost_at(points.accuracy), points.cost),
        }
        kind = self.method, self.score, self.cost_kind
        return Front(
            pd.DataFrame(columns), self.singles, tuple(self.names), *kind, points, self.found_on
        )


def compile_ensembles():
    """Compile or load the kernels of methods."""
    z = np.zeros((2, 9, 4), np.float32)
    store = LogitStore.from_arrays(
        np.zeros(9, np.int64), {"a": z[0], "b": z[1]}, macs={"a": 1, "b": 2}
    )
    stage = METHODS["max_softmax_mean_logits"].stage(store, ["a", "b"])
    for prefix in ((0,), (0, 1)):
        stage(prefix)
    confidence(z[0])  # which can be written, as what a store has can not


def compile_searches():
    """Compile or load the kernels of searches."""
    correct, sure = np.random.default_rng(0).random((2, 3, 60))
    search_arrays(correct < 0.5, sure, [1, 2, 4], (2, 3))


def warm():
    """Compile the kernels that searches, ensembles and evaluations need (10 to 20 seconds), or load them where another
    process has; those of ensembles beside the others, in a process of their own. docs/speed.md says where they lie."""
    code = f"import sys; sys.path[:] = {sys.path}; from cascadelib.fronts.exact import compile_ensembles as f; f()"
    command = [sys.executable, "-c", code if (os.cpu_count() or 1) > 1 else ""]
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL
    ):  # this process says what is to be said
        for part in watched((compile_searches, compile_ensembles), "compiling kernels"):
            part()
