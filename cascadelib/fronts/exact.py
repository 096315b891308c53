"""Every cascade × every threshold → the exact Pareto front, without sampling.

Paper, section 3, *Evaluation*.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..checks import check_costs, items_of, known, reals, unmasked
from ..evaluation.evaluation import asked, baseline_of, check_store
from ..evaluation.pareto import Baseline
from ..front_end import watched
from ..methods.confidence_metrics import confidence as confidence_of
from ..methods.expected import expected_outcomes
from ..methods.method import METHODS, Method
from ..scoring import F1
from ..stages import Outcome, StageFunction
from ..store.logit_store import LogitStore
from ..store.protocol import Store
from .cascades import Limits, Outcomes, check_limits, prepare_search
from .counted import search_counted
from .front import Front, Points
from .graded import Curve, copies_of, run_again, search_graded, two_model_curve


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
    limits = check_limits(tolerance, time_limit, executor)
    search = prepare_search(stage, cost, n_models, limits, last_only)
    if search.cost.ndim != 1:
        raise ValueError(
            "give one cost per model here: per-sample costs are supported by `search` on a "
            "ScoreTable"
        )
    return found_by(search_counted, search)


def found_by(find: Callable[..., Points], *arguments: Any) -> Points:
    """The points of one of the two searches; if it is interrupted, without its traceback."""
    try:
        return find(*arguments)
    except KeyboardInterrupt:  # a page of traceback from inside the pools says nothing
        raise KeyboardInterrupt("the search was interrupted; nothing of it is kept") from None


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
    correct = np.asarray(unmasked(correct, "correct"))
    confidence = reals(confidence, "confidence")
    same = correct.ndim == 2 and correct.shape == confidence.shape
    if not same or len(check_costs(cost)) != len(correct):
        shapes = f"correct {correct.shape}, confidence {confidence.shape}, cost {np.shape(cost)}"
        raise ValueError(f"shapes differ: {shapes}")

    def stage(prefix: tuple) -> Outcome:
        return correct[prefix[-1]], confidence[prefix[-1]]

    return search_outcomes(stage, cost, n_models, last_only=True, **options)


def candidate_names(models: Any, names: list[str], baseline: Baseline) -> list[str]:
    """The models to combine, of "all", a list, or "pareto": those on the single-model front, as
    the paper does."""
    if isinstance(models, str):
        sets = {"all": names, "pareto": [baseline.names[i] for i in baseline.front]}
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
    limits = check_limits(tolerance, time_limit, executor)
    task = SearchTask(store, method, score, cost, models, expected)
    prepared = prepare_search(task.stage, task.costs, n_models, limits, task.last_only)
    if expected and task.costs.ndim == 1 and prepared.lengths[-1] > 2:
        copies = Outcomes(copies_of(task.stage), task.last_only)
        found = found_by(search_counted, prepared._replace(outcomes=copies))
        return task.front(run_again(found, task.stage, task.costs))
    is_graded = task.stage((0,))[0].dtype != bool
    if is_graded or task.positive is not None or task.costs.ndim == 2:
        return task.front(found_by(search_graded, prepared, task.positive))
    return task.front(found_by(search_counted, prepared))


class SearchTask:
    """What a search of a store needs.

    stage: the stage function of the candidates ``names``, of ``costs`` [M] or [M, k]; baseline: of
    all models; metric: None of a ScoreTable; positive: bool [k] under F1, else None.
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
            costs = store.sample_costs(cost)
            self.baseline = baseline_of(store, score, cost)
        self.names = candidate_names(models, names, self.baseline)
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
        return Front(
            points=points,
            baseline=self.baseline,
            candidates=tuple(self.names),
            method=self.method,
            score=self.score,
            cost_kind=self.cost_kind,
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

    def stage(prefix: tuple) -> Outcome:
        return scores[prefix[-1]], confidence[prefix[-1]]

    search_graded(prepare_search(stage, cost, 3, Limits(tolerance=0.1)))


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
