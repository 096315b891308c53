"""Every cascade × every threshold → the exact Pareto front, without sampling.

Paper, section 3, *Evaluation*.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..checks import (
    POSITIVE,
    brief,
    check_costs,
    check_number,
    items_of,
    known,
    reals,
    unmasked,
)
from ..evaluation.evaluation import asked, check_models, check_store, single_models
from ..evaluation.pareto import Baseline, improvement_factor
from ..front_end import watched
from ..labels import aligned
from ..methods.confidence_metrics import confidence as confidence_of
from ..methods.expected import expected_outcomes
from ..methods.method import METHODS, Method
from ..methods.thresholds import own_units
from ..scoring import F1
from ..stages import Outcome, StageFunction
from ..store.logit_store import LogitStore
from ..store.protocol import Store
from .anytime import search_in_time
from .cascades import Cascades, Outcomes, cascades_of, check_lengths, check_work
from .front import Front, Points, points_from, singles_table
from .graded import Curve, copies_of, run_again, search_graded, two_model_curve
from .kernels.state import Best, improves, new_best, note
from .parallel import BOXES, CORNERS, Search, in_threads, on_workers

SEEDING = 0.25  # of the time that is left goes to finding a first front to prune by
INTERRUPTED = "the search was interrupted; nothing of it is kept"


def always_exit(outcomes: Outcomes, head: tuple, start: int = 0) -> list[int]:
    """The boundaries at which all samples exit, of a head's stages from ``start`` on."""
    return [outcomes.all_exit(head[: i + 1]) for i in range(start, len(head))]


def note_first_models(search: Search, cascades: Cascades, best: Best) -> None:
    """Note, for each model that may come first, a cascade in which all samples leave there.

    So every single model, and of longer cascades a front, is there however little time there is.
    """
    firsts: dict[int, tuple[int, tuple]] = {}
    for head, lasts in cascades.heads:
        for number, m in lasts[:1] if head else lasts:
            firsts.setdefault((*head, m)[0], (number, head))
    for first, (number, head) in firsts.items():
        n = int(search.outcomes.correct((first,)).sum())
        nobody = np.zeros(len(head), np.int64)
        always = np.array(always_exit(search.outcomes, head), np.int64)
        if improves(best, n, search.cost[first], number, nobody):
            note(best, n, search.cost[first], number, always, nobody)


def seed(search: Search, cascades: Cascades, length: int, best: Best) -> None:
    """Note the front of the cascades' first ``length`` models.

    As longer ones whose later stages no sample reaches.
    """
    d = length - 1
    longer: dict[tuple, tuple[int, tuple]] = {}
    for head, lasts in cascades.heads:
        number, _ = lasts[0]
        longer.setdefault(head[:length], (number, head))
    heads: dict[tuple, list[tuple[int, int]]] = {}
    for short, (number, _) in longer.items():
        heads.setdefault(short[:-1], []).append((number, short[-1]))
    head_of = dict(longer.values())
    own = new_best(len(best.reach) - 1, length)
    for parts in (CORNERS, BOXES) if d > 1 else (BOXES,):
        # pairs and triples take little time beside the cascades that they are to speed up
        run = on_workers if d > 2 else in_threads
        run(search, list(heads.items()), own, parts)
    for n in np.flatnonzero(np.isfinite(own.exact)):
        number = own.where[n, 0]
        at = np.zeros(cascades.length - 1, np.int64)
        at[:d] = own.where[n, 1 + d :]
        if improves(best, n, own.exact[n], number, at):
            later = always_exit(search.outcomes, head_of[number], d)
            boundaries = np.append(own.where[n, 1 : 1 + d], later)
            note(best, n, own.exact[n], number, boundaries, at)


def search_long(search: Search, cascades: Cascades, searched: Sequence[int], best: Best) -> None:
    """Note every threshold of cascades of three models or more, after a first front to prune by.

    searched: the lengths that are asked for, which need no seeding of their own.
    """
    length = cascades.length
    end_of_start = np.inf
    first = length - 1
    if search.deadline < np.inf:
        now = time.monotonic()
        end_of_start = now + SEEDING * (search.deadline - now)
        first = min(3, length - 1)
    start = search._replace(deadline=end_of_start)
    for shorter in range(first, length):
        in_time = time.monotonic() < end_of_start
        if shorter not in searched and (shorter == first or in_time):
            seed(start, cascades, shorter, best)
    if search.deadline < np.inf:
        search_in_time(search, cascades.heads, best)
        return
    started = on_workers(search, cascades.heads, best, CORNERS)
    best.floor[:] = np.inf
    on_workers(search, cascades.heads, best, BOXES if started else CORNERS + BOXES)


def search_all(
    search: Search, k: int, lengths: Sequence[int]
) -> tuple[Best, Callable[[int], tuple]]:
    """(Best over all cascades of the lengths, function from a cascade's number to its models)."""
    best = new_best(k, max(lengths))
    floor = np.full(k + 1, np.inf)
    kinds: list[Cascades] = []
    for length in lengths:
        cascades = Cascades(search.cost, length, kinds[-1].end if kinds else 0)
        kinds.append(cascades)
        if length == 1 or search.deadline < np.inf or search.executor is not None:
            note_first_models(search, cascades, best)
        if length == 2:
            in_threads(Search(search.outcomes, search.cost), cascades.heads, best)
        elif length > 2:
            search_long(search, cascades, lengths, best)
            np.minimum(floor, best.floor, out=floor)
    best.floor[:] = floor

    def cascade_of(number: int) -> tuple:
        return next(kind for kind in kinds if number < kind.end).cascade(number)

    return best, cascade_of


def check_limits(tolerance: Any, time_limit: Any, executor: Any) -> tuple[float, float | None]:
    """(tolerance, time limit) as floats, None for no limit; ValueError names what is wrong."""
    share = "a share of the cost, 0 or more"
    tolerance = check_number(tolerance, "tolerance", share, 0, POSITIVE[1])
    if time_limit is not None:
        time_limit = check_number(time_limit, "time_limit", "seconds, more than 0", POSITIVE[0])
    if executor is not None and (isinstance(executor, type) or not hasattr(executor, "submit")):
        raise ValueError(f"executor must be a concurrent.futures.Executor, not {brief(executor)}")
    return tolerance, time_limit


def search_outcomes(
    stage: StageFunction,
    cost: ArrayLike,
    n_models: Any,
    *,
    last_only: bool = False,
    tolerance: float = 0.0,
    time_limit: float | None = None,
    executor: Executor | None = None,
) -> Points:
    """The exact Pareto front over all cascades of ``n_models`` models and all thresholds.

    Models run in order of cost, equal costs in both orders. Samples of equal confidence exit
    together. Of cascades of the same accuracy and cost that of the fewest models is reported, then
    of the cheapest first models, then that which passes the fewest samples on to stage 2, 3, …, on
    any machine.

    Parameters
    ----------
    stage : callable
        prefix (tuple of int, rows of ``cost``) → (correct bool [k], confidence float [k], higher =
        more confident) of the cascade's output after those models. Infinite confidences may occur,
        nan not.
    cost : array [M]
        Cost per sample of each model.
    n_models : int or tuple of int
        Cascade length, 1 to 8, or a tuple of lengths: one front over all of them.
    last_only : bool
        Outcomes depend on the last model of a prefix alone, so that they are asked for once per
        model.
    tolerance : float
        Skip what could only be cheaper by this share of the cost.
    time_limit : float, optional
        Seconds after which the search stops; the first one compiles within them what
        :func:`cascadelib.warm` has not. This and a tolerance leave a front that is certified
        instead of exact (:attr:`Points.gap`, ``lower_bound_at``).
    executor : concurrent.futures.Executor, optional
        It searches cascades of three models and more; where workers die, a RuntimeWarning says so,
        and the front is certified.

    Returns
    -------
    Points
        The front, rising in cost and accuracy.

    Raises
    ------
    ValueError
        Unusable outcomes or costs, more stages than models, more cascades than patience allows.
    KeyboardInterrupt
        Once its threads have stopped.
    """
    tolerance, time_limit = check_limits(tolerance, time_limit, executor)
    deadline = np.inf if time_limit is None else time.monotonic() + time_limit
    cost = check_costs(cost)
    if cost.ndim != 1:
        raise ValueError(
            "give one cost per model here: per-sample costs are supported by `search` on a "
            "ScoreTable"
        )
    lengths = check_lengths(n_models, len(cost))
    outcomes = Outcomes(stage, last_only)
    check_work(cost, lengths, time_limit)
    try:
        k = len(outcomes.correct((0,)))
        if k == 0:
            raise ValueError("no samples: the split is empty")
        outcomes.prepare(cascades_of(cost, lengths))
        if max(lengths) > 1:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # sorts run without the GIL
                list(pool.map(outcomes.groups, [(m,) for m in range(len(cost))]))
        search = Search(outcomes, cost, tolerance, deadline, executor)
        best, cascade_of = search_all(search, k, lengths)
        return points_from(outcomes, best, cascade_of, cost)
    except KeyboardInterrupt:  # a page of traceback from inside the pools says nothing
        raise KeyboardInterrupt(INTERRUPTED) from None


def search_arrays(
    correct: ArrayLike,
    confidence: ArrayLike,
    cost: ArrayLike,
    n_models: Any,
    **options: Any,
) -> Points:
    """:func:`search_outcomes` where only the last model of a prefix counts (no ensembling).

    Parameters
    ----------
    correct : array of bool [M, k]
        Whether each model is correct; models in any order.
    confidence : array of float [M, k]
        Higher = more confident.
    cost : array of float [M]
        Cost per sample of each model.
    n_models, **options
        As for :func:`search_outcomes`: tolerance, time_limit, executor.

    Returns
    -------
    Points
        The front, rising in cost and accuracy.

    Raises
    ------
    ValueError
        Shapes that differ, and what :func:`search_outcomes` refuses.
    """
    axes = getattr(correct, "axes", None) or getattr(confidence, "axes", ())
    cost = aligned(cost, "cost", *axes)
    confidence = reals(aligned(confidence, "confidence", *axes), "confidence")
    correct = np.asarray(unmasked(correct, "correct"))
    same = correct.ndim == 2 and correct.shape == confidence.shape
    if not same or len(check_costs(cost)) != len(correct):
        shapes = f"correct {correct.shape}, confidence {confidence.shape}, cost {np.shape(cost)}"
        raise ValueError(f"shapes differ: {shapes}")

    def stage(prefix: tuple) -> Outcome:
        return correct[prefix[-1]], confidence[prefix[-1]]

    return search_outcomes(stage, cost, n_models, last_only=True, **options)


def candidate_names(models: Any, store: Store, baseline: Baseline) -> list[str]:
    """The models to combine, of "all", a list, or "pareto".

    That is: those on the single-model front, as the paper does.
    """
    names = list(store.models.index)
    if isinstance(models, str):
        sets = {"all": names, "pareto": [names[i] for i in baseline.front]}
        return sets[known(models, sets, "set of models (or list their names)")]
    chosen = [known(name, names, "model") for name in items_of(models)]
    if len(set(chosen)) < max(len(chosen), 1):
        raise ValueError(f"models must name one model or more, none of them twice, not {chosen}")
    return chosen


def search(
    store: Store,
    n_models: Any = 2,
    method: str | Method | None = None,
    *,
    score: str | None = None,
    cost: str | None = None,
    models: Any = "all",
    expected: bool = False,
    tolerance: float = 0.0,
    time_limit: float | None = None,
    executor: Executor | None = None,
) -> Front:
    """The exact :class:`Front` of a store's cascades of ``n_models`` models, at every threshold.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        A ScoreTable has its own confidences and costs; of ``method`` it takes a fitted confidence,
        of ``score`` "top1" and "f1".
    n_models : int or tuple of int
        Cascade length, 1 to 8, or a tuple of lengths: one front over all of them.
    method : str or Method, optional
        A key of METHODS (default: "max_softmax"), fitted on this store where it scales by
        temperature, or a :class:`Method`, used as fitted.
    score : str, optional
        "top1" (default), "top<k>", or "f1" (two classes, n_models 1 and 2).
    cost : str, optional
        The kind of cost, a column of ``store.models``; default: the only one there is, else MACs.
    models : str or list of str
        "all", "pareto" or names.
    expected : bool
        Search expected outcomes in the place of those observed: how likely each model is correct
        on each sample, by a ridge logistic regression on the confidences of all of them. Choosing
        by such a front is less optimistic where labels are few. Its accuracies are expected ones
        on the same samples; of three models and more it is exact up to a rounding of outcomes.
    tolerance, time_limit, executor
        As for :func:`search_outcomes`; ``front.gap`` says how far from exact the front may be.
        Graded scores and a price for every sample are searched in one thread, without executor.

    Returns
    -------
    Front
        The non-dominated cascades, rising in cost and accuracy.

    Raises
    ------
    ValueError
        If the method, score or cost does not apply to this store, and for whatever
        :func:`search_outcomes` refuses.
    KeyboardInterrupt
        Once its threads have stopped.

    References
    ----------
    Lebovitz et al., TMLR 2023, section 3, *Evaluation*.
    """
    check_limits(tolerance, time_limit, executor)
    try:
        task = SearchTask(store, method, score, cost, models, expected)
        how: dict[str, Any] = {"tolerance": tolerance, "time_limit": time_limit}
        how["last_only"] = task.last_only
        graded = task.stage((0,))[0].dtype != bool
        if expected and task.costs.ndim == 1 and max(items_of(n_models), default=0) > 2:
            copies = copies_of(task.stage)
            found = search_outcomes(copies, task.costs, n_models, **how, executor=executor)
            points = run_again(found, task.stage, task.costs)
        elif task.positive is not None or task.costs.ndim == 2 or graded:
            points = search_graded(task.stage, task.costs, n_models, task.positive, **how)
        else:
            points = search_outcomes(task.stage, task.costs, n_models, **how, executor=executor)
        return task.front(points)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(INTERRUPTED) from None


class SearchTask:
    """What a search of a store needs.

    stage: the stage function of the candidates ``names``, of ``costs`` [M] or [M, k]; baseline and
    singles: of all models; metric: None of a ScoreTable; positive: bool [k] under F1, else None.
    """

    def __init__(
        self,
        store: Any,
        method: str | Method | None,
        score: str | None,
        cost: str | None,
        models: Any,
        expected: bool = False,
    ) -> None:
        check_store(store)
        check_models(store)
        chosen, score, cost = asked(store, method, score, cost)
        if chosen is not None and not chosen.is_fitted:
            chosen = chosen.fit(store)
        self.method: Method | None = chosen
        self.score = score
        self.cost_kind = cost
        self.metric = None if chosen is None else chosen.units
        self.positive = store.positives() if score == F1 else None
        names = None
        while names != list(store.models.index):  # until no other thread adds a model meanwhile
            names = list(store.models.index)
            accuracy, mean = single_models(store, score, cost)
            costs = store.sample_costs(cost)
        self.baseline = Baseline(mean, accuracy)
        self.singles = singles_table(names, accuracy, mean)
        self.names = candidate_names(models, store, self.baseline)
        self.costs = costs[[names.index(name) for name in self.names]]
        self.stage = store.outcome(self.names, chosen, score)
        self.last_only = chosen is None or chosen.last_only
        self.expected = expected
        if expected and score == F1:
            raise ValueError("F1 is no mean of outcomes, so that there is none to expect of each")
        if expected:
            self.stage = expected_outcomes(self.stage, len(self.names), self.last_only)
        self.store = store
        self.found_on = store.origin if chosen is None else chosen.after(store.origin)

    def curve(self, first: str, second: str) -> Curve:
        """The :class:`Curve` of two candidates, by their names."""
        pair = self.names.index(first), self.names.index(second)
        gain_1, confidence = self.stage(pair[:1])
        gain_2, _ = self.stage(pair)
        cost_1, cost_2 = self.costs[[*pair]]
        return two_model_curve(confidence, gain_1, gain_2, cost_1, cost_2, self.positive)

    def front(self, points: Points) -> Front:
        """Points of this search as a Front."""
        lengths = np.count_nonzero(points.models >= 0, axis=1).tolist()
        name_of = self.names.__getitem__
        models = [tuple(map(name_of, row[:n])) for row, n in zip(points.models.tolist(), lengths)]
        own = own_units(self.metric, points.thresholds).tolist()
        thresholds = [tuple(row[: n - 1]) for row, n in zip(own, lengths)]
        exit_rates = [tuple(row[:n]) for row, n in zip(points.exit_rates.tolist(), lengths)]
        improvement = improvement_factor(self.baseline.cost_at(points.accuracy), points.cost)
        table = pd.DataFrame(
            {
                "accuracy": points.accuracy,
                "cost": points.cost,
                "models": models,
                "thresholds": thresholds,
                "exit_rates": exit_rates,
                "saving": self.baseline.saving(points.cost),
                "improvement": improvement,
            }
        )
        return Front(
            table=table,
            singles=self.singles,
            candidates=tuple(self.names),
            method=self.method,
            score=self.score,
            cost_kind=self.cost_kind,
            points=points,
            found_on=self.found_on,
            store=self.store,
            expected=self.expected,
        )


def compile_ensembles() -> None:
    """Compile or load the kernels of methods."""
    z = np.zeros((9, 4), np.float32)
    labels = np.zeros(9, np.int64)
    store = LogitStore.from_arrays(labels, {"a": z, "b": z.copy()}, macs={"a": 1, "b": 2})
    stage = METHODS["max_softmax_mean_logits"].stage(store, ["a", "b"])
    for prefix in ((0,), (0, 1)):
        stage(prefix)
    confidence_of(z)  # an array that can be written: kernels take what a store has as another type


def compile_searches() -> None:
    """Compile or load the kernels of searches."""
    scores, confidence = np.random.default_rng(0).random((2, 3, 200))
    cost = np.array([1.0, 2.0, 4.0])
    search_arrays(scores < 0.5, confidence, cost, (2, 3))
    search_graded(lambda m: (scores[m[-1]], confidence[m[-1]]), cost, 3, tolerance=0.1)


def warm() -> None:
    """Compile the kernels that searches, ensembles and evaluations need, or load them.

    That takes 10 to 20 seconds. Those of ensembles are compiled beside the others, in a process of
    their own. docs/speed.md says where they lie, and when they are compiled anew.
    """
    code = (
        f"import sys; sys.path[:] = {sys.path}; "
        "from cascadelib.fronts.exact import compile_ensembles as f; f()"
    )
    command = [sys.executable, "-c", code if (os.cpu_count() or 1) > 1 else ""]
    # this process says what is to be said
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as beside:
        try:
            for part in watched((compile_searches, compile_ensembles), "compiling kernels"):
                part()
        except BaseException:
            beside.kill()
            raise
