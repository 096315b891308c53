"""Search all cascades at all thresholds for the exact Pareto front, without sampling.

Paper, section 3, *Evaluation*.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike

from .._kernels import cache_folder
from ..checks import items_of, validate_choice
from ..evaluation.evaluation import baseline_of, check_store, resolve_options
from ..evaluation.pareto import Baseline
from ..figures.front_end import watched
from ..labels import align_values, as_real_array, check_costs, refuse_masked
from ..methods.confidence_metrics import confidence as confidence_of
from ..methods.expected import expected_outcomes
from ..methods.method import METHODS, Method
from ..stages import F1, Outcome, StageFunction, stage_of
from ..store.logit_store import LogitStore
from ..store.protocol import Store
from ..store.tables.comparison import find_best_model
from .cascades import Search, prepare_search
from .curves import Curve, search_copies, search_pairs, two_model_curve
from .front import Front, Points
from .kernels.boxes import search_root
from .kernels.grid import sweep_pair
from .rounds import search_counted

COMPILED = "searches"  # file that marks a folder of compiled kernels
POLL_SECONDS = 0.05


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
    """Compute the exact Pareto front of cascades that a stage function defines.

    All cascades of `n_models` models and all distinguishable thresholds are covered. Models run in
    order of cost. If models have equal cost, each of their orders is a cascade. Samples of equal
    confidence exit together.
    If several cascades have equal accuracy and cost, the one with the fewest models is returned.
    Further ties are broken by the cheapest first models, then by the fewest samples deferred to
    stage 2, 3, …. The result does not depend on the number of threads, processes or machines.

    Parameters
    ----------
    stage : callable
        Function of a prefix, a tuple of positions in `cost`. It returns the correctness and the
        confidence of each sample after the models of the prefix. They are a bool array and a float
        array of shape (n_samples,). A higher confidence is more confident. Infinite confidences are
        allowed, nan is not.
    cost : array of shape (n_models,)
        Cost per sample of each model.
    n_models : int or tuple of int
        Length of the cascades, 1 to 8. A tuple gives one front over all these lengths.
    last_only : bool, default=False
        Whether outcomes depend only on the last model of a prefix. Then `stage` is called once per
        model.
    tolerance : float, default=0.0
        Skip cascades that would lower the cost by less than this share.
    time_limit : float, optional
        Stop after this many seconds. If kernels are not compiled yet, another process compiles
        them, and only pairs are searched meanwhile. With a limit or a tolerance the front is
        inexact, and :attr:`Points.gap` bounds the error.
    executor : concurrent.futures.Executor, optional
        Searches cascades of three models and more. Without these, it is not used, and a UserWarning
        is issued. If workers die, a RuntimeWarning is issued and :attr:`Points.gap` bounds the
        error.

    Returns
    -------
    Points
        The front as arrays, with rising cost and accuracy.

    Raises
    ------
    ValueError
        If outcomes or costs are invalid, if a cascade has more stages than models exist, or if
        there are too many cascades.
    KeyboardInterrupt
        If the search is interrupted. It is raised after all threads have stopped.

    See Also
    --------
    search : Search a store with a method.
    search_arrays : Search arrays of correctness and confidence.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> correct = np.array([[True, False, True], [True, True, True]])
    >>> confidence = np.array([[0.9, 0.2, 0.7], [1.0, 1.0, 1.0]])
    >>> points = cl.search_outcomes(lambda p: (correct[p[-1]], confidence[p[-1]]), [1.0, 10.0], 2)
    >>> points.accuracy.round(3).tolist(), points.cost.round(3).tolist()
    ([0.667, 1.0], [1.0, 4.333])
    """
    search = prepare_search(stage, cost, n_models, last_only, tolerance, time_limit, executor)
    if search.cost.ndim != 1:
        raise ValueError(
            "cost must have shape (n_models,), one cost per model. For per-sample costs call "
            "`search` on a ScoreTable"
        )
    return find_points(search_counted, search)


def find_points(find: Callable[[Search], Points], search: Search) -> Points:
    """Return the points of a search, and raise an interrupt without the traceback of threads.

    numba holds the GIL while it compiles, so no thread of this process could keep a deadline. If a
    search with a time limit needs kernels that are not compiled, a process compiles them, and pairs
    are searched meanwhile without kernels.
    """
    try:
        if search.deadline < np.inf and not are_kernels_ready():
            start_compiling()
            points = search_pairs(search, is_late=are_kernels_ready)
            while points.floor is not None and time.monotonic() < search.deadline:
                if are_kernels_ready():
                    return find(search)
                time.sleep(POLL_SECONDS)
            return points
        return find(search)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the search was interrupted and has no result") from None


def are_kernels_ready() -> bool:
    """Return whether a search would compile nothing, or could not load what others compile."""
    folder = cache_folder()
    is_loaded = numba.config.DISABLE_JIT or (sweep_pair.signatures and search_root.signatures)
    return bool(is_loaded or folder is None or (folder / COMPILED).exists())


@cache
def start_compiling() -> subprocess.Popen:
    """Start a process that compiles the kernels of searches and ends by itself, once."""
    return subprocess.Popen(call_in_process("compile_searches"), stderr=subprocess.DEVNULL)


def call_in_process(name: str) -> list[str]:
    """Return the command of a process that calls a function of this module."""
    code = f"import sys; sys.path[:] = {sys.path}; from {__name__} import {name} as f; f()"
    return [sys.executable, "-c", code]


def search_arrays(
    correct: ArrayLike,
    confidence: ArrayLike,
    cost: ArrayLike,
    n_models: Any,
    **options: Any,
) -> Points:
    """Compute the exact Pareto front of cascades from arrays.

    A sample's answer is that of the last model called. Ensembles need :func:`search_outcomes`.

    Parameters
    ----------
    correct : bool array of shape (n_models, n_samples)
        Correctness of each model, in any order of models.
    confidence : float array of shape (n_models, n_samples)
        Confidence of each model, higher = more confident.
    cost : array of shape (n_models,)
        Cost per sample of each model.
    n_models : int or tuple of int
        Length of the cascades, see :func:`search_outcomes`.
    **options
        Options of :func:`search_outcomes`: tolerance, time_limit and executor.

    Returns
    -------
    Points
        The front as arrays, with rising cost and accuracy.

    Raises
    ------
    ValueError
        If the shapes differ, or for the reasons of :func:`search_outcomes`.

    See Also
    --------
    search : Search a store with a method.
    ScoreTable : A table with ids, labels and prices.

    Examples
    --------
    >>> import cascadelib as cl
    >>> points = cl.search_arrays([[1, 0, 1], [1, 1, 1]], [[0.9, 0.2, 0.7], [1, 1, 1]], [1, 10], 2)
    >>> points.models.tolist(), points.thresholds.round(3).tolist()
    ([[0, 1], [0, 1]], [[-inf], [0.45]])
    """
    axes: Any = getattr(correct, "axes", None) or getattr(confidence, "axes", ())
    cost = align_values(cost, "cost", *axes)
    confidence = as_real_array(align_values(confidence, "confidence", *axes), "confidence")
    correct = np.asarray(refuse_masked(correct, "correct"))
    same = correct.ndim == 2 and correct.shape == confidence.shape
    if not same or len(check_costs(cost)) != len(correct):
        shapes = f"correct {correct.shape}, confidence {confidence.shape}, cost {np.shape(cost)}"
        raise ValueError(f"shapes differ: {shapes}")

    def stage(prefix: tuple) -> Outcome:
        return correct[prefix[-1]], confidence[prefix[-1]]

    return search_outcomes(stage, cost, n_models, last_only=True, **options)


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
    """Compute the exact Pareto front of all cascades of a store.

    The search covers all cascades of `n_models` models and all thresholds that give different
    results on the samples. Nothing is sampled at random.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Labelled samples of the selection split. A ScoreTable has confidences and costs. It accepts
        only methods with a fitted confidence, and the scores "top1" and "f1".
    n_models : int or tuple of int, default=2
        Length of the cascades, 1 to 8. A tuple such as ``(1, 2, 3)`` gives one front over all these
        lengths.
    method : str or Method, default="max_softmax"
        Either a key of ``METHODS``, or a :class:`Method`. For a key, temperatures are fitted on
        `store`. A :class:`Method` is used as it is.
    score : str, default="top1"
        "top1", "top<k>" or "f1". F1 needs two classes and at most two models.
    cost : str, optional
        Kind of cost, a column of ``store.models``. Defaults to MACs, or to the only kind.
    models : {"all", "pareto"} or list of str, default="all"
        Candidate models. "pareto" means the models on the Pareto front of single models. The length
        of a cascade is then at most the number of these models.
    expected : bool, default=False
        Whether to replace the observed outcomes by estimated probabilities that a model is correct.
        The estimate is a ridge logistic regression on the confidences of all models. It makes the
        selected accuracies less optimistic if there are few labels. For cascades of three or more
        models, the search rounds these probabilities, see *Notes*.
    tolerance : float, default=0.0
        Skip cascades that would lower the cost by less than this share.
    time_limit : float, optional
        Stop the search after this many seconds, as in :func:`search_outcomes`.
    executor : concurrent.futures.Executor, optional
        Executor that searches cascades of three or more models. Without these, it is not used, and
        a UserWarning is issued.

    Returns
    -------
    Front
        The non-dominated cascades, with rising cost and accuracy. ``front.exact`` is whether the
        search was exact. ``front.gap`` bounds the error of a limit or a tolerance.

    Raises
    ------
    ValueError
        If the method, score or cost does not apply to the store, or if :func:`search_outcomes`
        raises a ValueError.
    KeyboardInterrupt
        If the search is interrupted. It is raised after all threads have stopped.

    See Also
    --------
    pick : Select one cascade of the front.
    certify : Guarantee its loss on other samples.
    search_arrays : Search arrays without a store.

    Notes
    -----
    Cascades of one and two models are exact for all scores and costs. For longer cascades, there
    are two approximations, and the front states them. Scores that are no multiples of 1/R, R up to
    64, are rounded: no cascade of the same cost is more accurate than the front by more than
    ``front.error``. Costs per sample are replaced by the mean cost of each model: the points have
    their true costs, but better cascades may exist, and ``front.gap`` is nan.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, section 3, "Evaluation".

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> front = cl.search(table, n_models=2)
    >>> len(front), float(front.cost_at(0.95).round(3))
    (68, 0.269)
    """
    task = SearchTask(store, method, score, cost, models, expected)
    if isinstance(models, str) and models == "pareto":  # there may be fewer models than n_models
        most = len(task.names)
        n_models = [min(n, most) if isinstance(n, int) else n for n in items_of(n_models)]
    prepared = prepare_search(
        task.stage,
        task.costs,
        n_models,
        task.last_only,
        tolerance,
        time_limit,
        executor,
    )
    is_counted = task.costs.ndim == 1 and stage_of(task.stage).correct((0,)).dtype == bool
    if task.positive is not None or not is_counted and prepared.lengths[-1] <= 2:
        points = search_pairs(prepared, task.positive)
    else:
        points = find_points(search_counted if is_counted else search_copies, prepared)
    return task.front(points)


def select_models(models: Any, names: list[str], baseline: Baseline) -> list[str]:
    """Return the names of the models to search: "all", "pareto", or those that are listed."""
    if isinstance(models, str):
        sets = {"all": names, "pareto": [baseline.names[row] for row in baseline.front]}
        return sets[validate_choice(models, sets, "set of models (or list their names)")]
    listed = [validate_choice(name, names, "model") for name in items_of(models)]
    if len(set(listed)) < max(len(listed), 1):
        raise ValueError(f"models must name one model or more, none of them twice, not {listed}")
    return listed


class SearchTask:
    """Resolve the options of a search of a store, and compute its baseline.

    Attributes
    ----------
    names : list of str
        The candidates.
    stage : callable
        Stage function of the candidates.
    costs : float64 array of shape (n_models,) or (n_models, n_samples)
        Costs of the candidates.
    baseline : Baseline
        Baseline of all models of the store.
    metric : str, callable or None
        Metric of the method. None for a ScoreTable.
    positive : bool array of shape (n_samples,) or None
        Membership in class 1 under F1.
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
        chosen, score, cost = resolve_options(store, method, score, cost)
        self.score = score
        self.cost_kind = cost
        self.positive = store.positives() if score == F1 else None
        names = list(store.models.index)
        costs = store.sample_costs(cost)
        self.baseline = baseline_of(store, score, cost)
        self.names = select_models(models, names, self.baseline)
        self.costs = costs[[names.index(name) for name in self.names]]
        if chosen is not None and not chosen.is_fitted:
            chosen = chosen.fit(store, self.names)
        self.method: Method | None = chosen
        self.metric = None if chosen is None else chosen.units
        self.stage = store.outcome(self.names, chosen, score)
        self.last_only = chosen is None or chosen.last_only
        self.expected = expected
        if expected and score == F1:
            raise ValueError(
                "expected=True needs a score that is a mean over samples. F1 is not a mean"
            )
        if expected:
            self.stage = expected_outcomes(self.stage, len(self.names), self.last_only)
        self.store = store
        origin = store.origin
        self.selected_on = origin if chosen is None else chosen.add_fit_samples(origin)

    def curve(self, first: str, second: str) -> Curve:
        """Return the :class:`Curve` of two candidates, by their names."""
        pair = self.names.index(first), self.names.index(second)
        gain_1, confidence = self.stage(pair[:1])
        gain_2, _ = self.stage(pair)
        cost_1, cost_2 = self.costs[[*pair]]
        return two_model_curve(confidence, gain_1, gain_2, cost_1, cost_2, self.positive)

    def front(self, points: Points) -> Front:
        """Return the points of this search as a Front."""
        return Front(
            points=points,
            baseline=self.baseline,
            candidates=tuple(self.names),
            method=self.method,
            score=self.score,
            cost_kind=self.cost_kind,
            selected_on=self.selected_on,
            store=self.store,
            expected=self.expected,
            best_model=find_best_model(self.store) if self.score == "top1" else None,
        )


def compile_ensembles() -> None:
    """Compile the kernels of methods, or load them."""
    z = np.zeros((9, 4), np.float32)
    labels = np.zeros(9, np.int64)
    store = LogitStore.from_arrays(labels, {"a": z, "b": z.copy()}, macs={"a": 1, "b": 2})
    stage = METHODS["max_softmax_mean_logits"].stage(store, ["a", "b"])
    for prefix in ((0,), (0, 1)):
        stage(prefix)
    # numba has another type for writable arrays than for the read-only arrays of a store.
    confidence_of(z)


def compile_searches() -> None:
    """Compile the kernels of searches, or load them, and mark their folder."""
    scores, confidence = np.random.default_rng(0).random((2, 3, 200))
    cost = np.array([1.0, 2.0, 4.0])
    search_arrays(scores < 0.5, confidence, cost, (2, 3))
    folder = cache_folder()
    if folder is not None:
        (folder / COMPILED).touch()


def warm() -> None:
    """Compile the kernels of searches, ensembles and evaluations, or load them from the cache.

    Compilation takes about half a minute. ``docs/speed.md`` describes where the cache is, and when
    kernels are compiled again.

    See Also
    --------
    search : Compiles the kernels that it needs, if they are not compiled yet.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.warm()
    """
    # A second process compiles one part, and prints nothing.
    command = call_in_process("compile_ensembles")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as helper:
        try:
            for part in watched((compile_searches, compile_ensembles), "compiling kernels"):
                part()
        except BaseException:
            helper.kill()
            raise
