"""Run the work of an exact search on all cores, by threads or by tasks of an executor."""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import TIMEOUT_MAX, Lock, Timer
from typing import Any

import numpy as np
from numpy import ndarray as Array
from tqdm.auto import tqdm

from ..front_end import is_watched
from .cascades import Outcomes, Search
from .kernels.boxes import open_prefix, search_root
from .kernels.grid import sweep_pair
from .kernels.state import COARSE_BINS, ROOT_BINS, Best, merge_best, new_best, same_reach, workspace

LONG_SEARCH = 3e8  # cascades × samples from which a search shows its progress
TASKS = 8  # per worker. A task is faster if it starts with the results of more previous tasks
UNKNOWN_WORKERS = 32  # assumed for an executor that does not report its number of workers
# The outcomes of the current search in a worker process, by their name.
WORKER_OUTCOMES: dict[tuple, Outcomes] = {}


@contextmanager
def shared_tolerance(tolerance: float | Array, deadline: float, k: int) -> Iterator[Array]:
    """Yield the tolerance for kernels, float64 (k + 1,), which becomes inf to stop them.

    This happens at the deadline, a value of time.monotonic(), and after an interrupt.
    """
    left = deadline - time.monotonic()
    shared = np.full(k + 1, tolerance if left > 0 else np.inf, np.float64)
    timer = None
    if 0 < left < TIMEOUT_MAX:
        timer = Timer(left, shared.fill, (np.inf,))
        timer.daemon = True
        timer.start()
    try:
        yield shared
    except BaseException:  # an interrupt: without inf, the threads would search to the end
        shared.fill(np.inf)
        raise
    finally:
        if timer is not None:
            timer.cancel()


def search_prefix(
    search: Search,
    prefix: tuple,
    lasts: Sequence,
    best: Best,
    space: Any,
    tolerance: Array,
) -> None:
    """Search all cascades of a prefix."""
    outcomes = search.outcomes
    bins = (COARSE_BINS if search.coarse else ROOT_BINS)[len(prefix)]
    for i in range(len(prefix)):
        outcomes.root(prefix[: i + 1], bins).write_to(space, i)
    open_prefix(space)
    for number, m in lasts:
        cascade = (*prefix, m)
        last = outcomes.wrong(cascade), search.cost[[*cascade]]
        search_root(space, *last, number, best, tolerance, True, True)


def finish_prefixes(prefixes: Sequence, local: Best, best: Best, floors: Any, bar: Any) -> None:
    """Move the bound of skipped cascades to `floors`, and advance the progress bar."""
    if floors is not None:
        floors.update(prefixes, local.floor)
        floors.show_progress(bar, best.reach)
    bar.update()


def in_threads(
    search: Search,
    prefixes: Sequence,
    best: Best,
    floors: Any = None,
    workers: int = 0,
) -> bool:
    """Search prefixes in threads, and return whether all were searched before the deadline.

    All threads read and lower the same array of least known costs. `floors` is a
    :class:`.anytime.Floors` with a bound per prefix. If it is None, the bound is merged into
    ``best.floor``.
    """
    workers = min(workers or os.cpu_count() or 1, len(prefixes))
    k = len(best.reach) - 1
    length = len(prefixes[0][0]) + 1
    outcomes = search.outcomes
    is_long = k * sum(len(lasts) for _, lasts in prefixes) > LONG_SEARCH
    hidden = not ((is_long or floors is not None) and is_watched())
    bar = tqdm(total=len(prefixes), desc=f"{length} models", leave=False, disable=hidden)
    pending = iter(prefixes)

    def work(local: Best) -> None:
        space = workspace(k, length - 1) if length > 2 else None
        # next() of a list iterator is atomic, so each prefix goes to one thread.
        for prefix, lasts in pending:
            if np.isinf(shared[0]):
                # Out of time. All cascades of this prefix cost at least as much as its first model.
                local.floor[-1] = min(local.floor[-1], search.cost[prefix[0]])
                continue
            if length == 2:
                order = outcomes.order(prefix).astype(np.uint32)
                first = order, outcomes.groups(prefix)[order], outcomes.correct(prefix)[order]
                for number, m in lasts:
                    second = outcomes.correct((*prefix, m))
                    sweep_pair(*first, second, *search.cost[[prefix[0], m]], number, local)
            else:
                search_prefix(search, prefix, lasts, local, space, shared)
            finish_prefixes([(prefix, lasts)], local, best, floors, bar)

    bests = [same_reach(best) for _ in range(workers)]
    # The tolerance is the inner context. After an interrupt it becomes inf first, so that the
    # threads stop before the pool waits for them.
    limited = shared_tolerance(search.tolerance, search.deadline, k)
    with bar, ThreadPoolExecutor(workers) as pool, limited as shared:
        list(pool.map(work, bests))
    merge_best(best, bests)
    return not np.isinf(shared[0])


def run_task(
    search: Search,
    name: tuple,
    outcomes: Outcomes | None,
    prefixes: Sequence,
    reach: Array,
    width: int,
    seconds: float,
) -> tuple[Array, list[Array], bool] | None:
    """Search some prefixes in a task of an executor.

    Parameters
    ----------
    search : Search
        The search without outcomes and executor.
    name : tuple
        Name of the outcomes.
    outcomes : Outcomes or None
        The outcomes, which the worker stores. None if the worker may have stored them before.
    prefixes : sequence
        The prefixes.
    reach : float array of shape (k + 1,)
        Known least costs.
    width : int
        Number of models of the longest cascade.
    seconds : float
        Remaining time.

    Returns
    -------
    tuple or None
        (rows, parts, in_time). `rows` are the numbers of correct samples that have a result.
        `parts` are these rows of ``exact``, ``where`` and ``floor``. The result is None if the
        worker has no outcomes of this name.
    """
    if outcomes is not None:
        WORKER_OUTCOMES.clear()
        WORKER_OUTCOMES[name] = outcomes
    outcomes = WORKER_OUTCOMES.get(name)
    if outcomes is None:
        return None
    best = new_best(len(reach) - 1, width)._replace(reach=reach.copy())
    search = search._replace(outcomes=outcomes, deadline=time.monotonic() + seconds)
    in_time = in_threads(search, prefixes, best, workers=1)
    # A dominated cascade is on no front: another one costs less, with as many correct samples.
    is_best = np.isfinite(best.exact) & (best.exact <= best.reach)
    rows = np.flatnonzero(is_best | np.isfinite(best.floor))
    return rows, [part[rows] for part in best[1:]], in_time


class TaskRunner:
    """Run the tasks of a search on its executor, and send outcomes to workers that lack them.

    Attributes
    ----------
    deadline : float
        Value of time.monotonic() from which no task is submitted.
    errors : list of Exception
        The error of each lost task.
    """

    def __init__(self, search: Search, prefixes: Sequence):
        self.search = search
        self.prefixes = prefixes
        self.deadline = search.deadline
        self.futures: list[Future] = []
        self.errors: list[Exception] = []
        self.outcomes: Any = None
        self.lock = Lock()

    def shared_outcomes(self) -> Any:
        """Return the outcomes of all prefixes, or a Dask future of them."""
        with self.lock:  # several workers may lack them
            if self.outcomes is None:
                self.outcomes = self.search.outcomes.copy_for(self.prefixes)
                client = getattr(self.search.executor, "_client", None)
                if client:
                    self.outcomes = client.scatter(self.outcomes, broadcast=True, hash=False)
        return self.outcomes

    def submit(self, *arguments: Any, outcomes: Any = None) -> tuple:
        """Return the result of :func:`run_task`. Send outcomes only if the worker lacks them."""
        executor: Any = self.search.executor
        name = (self.search.outcomes.name, len(self.prefixes[0][0]))
        bare = self.search._replace(outcomes=None, executor=None)
        future = executor.submit(run_task, bare, name, outcomes, *arguments)
        self.futures.append(future)
        return future.result() or self.submit(*arguments, outcomes=self.shared_outcomes())

    def run(self, prefixes: Sequence, local: Best) -> bool:
        """Search some prefixes in a task that fills `local`, and return whether it was in time.

        If the task is lost, or if no time is left, the prefixes count as not searched.
        """
        # The bound until the prefixes are searched is the cost of their cheapest first model.
        local.floor[-1] = min(self.search.cost[prefix[0]] for prefix, _ in prefixes)
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            return False
        width = local.where.shape[1] // 2 + 1
        try:
            rows, values, in_time = self.submit(prefixes, local.reach, width, seconds)
        except Exception as error:  # the executor raised it: a task runs no code of the user
            self.errors.append(error)
            return False
        local.floor[-1] = np.inf
        for array, found in zip(local[1:], values, strict=True):
            array[rows] = found
        return in_time


def on_workers(search: Search, prefixes: Sequence, best: Best, floors: Any = None) -> bool:
    """Search prefixes by :func:`in_threads`, or by tasks of the search's executor.

    Each worker gets one task at a time, with the current least costs. It also gets the remaining
    seconds, since the clocks of machines differ. If a task is lost, or if no time is left, its
    prefixes count as not searched. A RuntimeWarning reports lost tasks.
    """
    if search.executor is None:
        return in_threads(search, prefixes, best, floors)
    workers = getattr(search.executor, "_max_workers", UNKNOWN_WORKERS)
    if hasattr(search.executor, "_client"):  # Dask has no workers while a cluster starts
        workers = sum(search.executor._client.nthreads().values()) or UNKNOWN_WORKERS
    count = min(TASKS * workers, len(prefixes))
    runner = TaskRunner(search, prefixes if floors is None else floors.prefixes)
    bar = tqdm(total=count, desc="tasks", leave=False, disable=not is_watched())

    def run(share: Sequence) -> bool:
        local = same_reach(best)
        in_time = runner.run(share, local)
        finish_prefixes(share, local, best, floors, bar)
        with runner.lock:
            merge_best(best, [local])
        return in_time

    pool = ThreadPoolExecutor(workers)
    try:
        with bar:
            in_time = list(pool.map(run, [prefixes[i::count] for i in range(count)]))
    except BaseException:  # an interrupt: submit nothing more, and wait for nothing
        runner.deadline = -np.inf
        pool.shutdown(wait=False, cancel_futures=True)
        for future in runner.futures:
            future.cancel()
        raise
    pool.shutdown()
    if runner.errors:
        warnings.warn(
            f"{len(runner.errors)} of {count} tasks were lost ({runner.errors[0]!r}): their "
            "cascades count as not searched. front.gap bounds the error",
            RuntimeWarning,
            stacklevel=2,
        )
    return all(in_time)
