"""Search the parts of a search by threads, or by tasks of an executor, until a deadline."""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import TIMEOUT_MAX, Lock, Timer
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array
from tqdm.auto import tqdm

from ..figures.front_end import is_watched
from .cascades import Outcomes, Search
from .kernels.boxes import open_prefix, search_root
from .kernels.grid import sweep_pair
from .kernels.state import COARSE_BINS, ROOT_BINS, Best, merge_best, new_best, same_reach, workspace

TASKS = 8  # per worker. A task is faster if it starts with the results of more previous tasks
LATE_SECONDS = 1.0  # from the deadline until a task without a result counts as lost
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


class Part(NamedTuple):
    """Hold a part of a search: cascades that begin with the models of `head`.

    With `lasts`, an int array, these are only the cascades with one more model, which is one of
    `lasts`.
    """

    head: tuple
    lasts: Array | None = None


def prefixes_in(search: Search, part: Part) -> Iterator[tuple[tuple, Array]]:
    """Yield each prefix of a part, all models of a cascade but the last, and its last models."""
    if part.lasts is not None:
        yield part.head, part.lasts
        return
    for prefix in search.cascades.extensions(part.head, search.length - 1):
        lasts = search.cascades.followers(prefix)
        if len(lasts):
            yield prefix, lasts


def numbered(search: Search, prefix: tuple, lasts: Array) -> Iterator[tuple[int, int]]:
    """Yield the number of each cascade and its last model.

    With :attr:`Search.full_length`, it is the number of the cascade for which it stands.
    """
    length = max(search.length, search.full_length)
    for m in lasts.tolist():
        cascade = search.cascades.first((*prefix, m), length)
        if cascade is not None:
            yield search.cascades.number(cascade), m


def search_part(search: Search, part: Part, best: Best, space: Any, tolerance: Array) -> bool:
    """Search the cascades of a part, and return whether all were searched before the deadline."""
    outcomes = search.outcomes
    bins = (COARSE_BINS if search.coarse else ROOT_BINS)[search.length - 1]
    for prefix, lasts in prefixes_in(search, part):
        if np.isinf(tolerance[0]):
            return False
        for i in range(len(prefix)):
            outcomes.root(prefix[: i + 1], bins).write_to(space, i)
        open_prefix(space)
        costs = search.cost[[*prefix, 0]]
        for number, m in numbered(search, prefix, lasts):
            costs[-1] = search.cost[m]
            # The bounds of kernels/bounds.py halve the processor time of triples and quadruples,
            # and divide that of quintuples by 4.
            search_root(space, outcomes.wrong((*prefix, m)), costs, number, best, tolerance)
    return True


def sweep_part(
    search: Search,
    part: Part,
    best: Best,
    space: Any,
    tolerance: Array,
    closeness: Array | None = None,
) -> bool:
    """Sweep all pairs with the same first model, as :func:`search_part`.

    The result of each :func:`.kernels.grid.sweep_pair` is written to `closeness`, float64
    (n_models, n_models).
    """
    outcomes = search.outcomes
    (first,) = part.head
    order = outcomes.order(part.head)
    of_first = order, outcomes.groups(part.head)[order], outcomes.correct(part.head)[order]
    for number, second in numbered(search, part.head, search.cascades.followers(part.head)):
        if np.isinf(tolerance[0]):
            return False
        pair = (first, second)
        close = sweep_pair(*of_first, outcomes.correct(pair), *search.cost[[*pair]], number, best)
        if closeness is not None:
            closeness[pair] = close
    return True


def in_threads(
    search: Search,
    parts: Iterable[Part],
    best: Best,
    floors: Any = None,
    workers: int = 0,
    run: Callable = search_part,
) -> bool:
    """Search parts in threads, and return whether all were searched before the deadline.

    All threads read and lower the same array of least known costs. `floors` gets the bound of each
    searched part. If it is None, the bound of all parts is merged into ``best.floor``.
    """
    workers = workers or os.cpu_count() or 1
    k = len(best.reach) - 1
    pending = iter(parts)
    lock = Lock()

    def work(local: Best) -> bool:
        space = workspace(k, search.length - 1) if run is search_part else None
        while True:
            with lock:
                part = next(pending, None)
            if part is None:
                return True
            if np.isinf(shared[0]) or not run(search, part, local, space, shared):
                return False
            if floors is not None:
                floors.update([part], local.floor)
                bar.update()

    bests = [same_reach(best) for _ in range(workers)]
    # The tolerance is the inner context. After an interrupt it becomes inf first, so that the
    # threads stop before the pool waits for them.
    limited = shared_tolerance(search.tolerance, search.deadline, k)
    bar = progress_bar(search, parts, floors)
    with bar, ThreadPoolExecutor(workers) as pool, limited as shared:
        complete = all(list(pool.map(work, bests)))
    merge_best(best, bests)
    if not complete:
        best.floor[-1] = min(best.floor[-1], search.cost.min())
    # At the deadline the tolerance of the parts that are being searched becomes inf.
    return complete and not np.isinf(shared[0])


def progress_bar(search: Search, parts: Any, floors: Any) -> tqdm:
    """Return a bar that counts the searched parts of a round."""
    if floors is None or not is_watched():
        return tqdm(disable=True)
    return tqdm(total=len(parts), desc=f"{search.length} models", leave=False)


def run_task(
    search: Search,
    name: tuple,
    outcomes: Outcomes | None,
    parts: Sequence[Part],
    reach: Array,
    seconds: float,
) -> tuple[Array, list[Array], bool] | None:
    """Search some parts in a task of an executor.

    Parameters
    ----------
    search : Search
        The search without outcomes and executor.
    name : tuple
        Name of the outcomes.
    outcomes : Outcomes or None
        The outcomes, which the worker stores. None if the worker may have stored them before.
    parts : sequence of Part
        The parts.
    reach : float array of shape (k + 1,)
        Known least costs.
    seconds : float
        Remaining time.

    Returns
    -------
    tuple or None
        (rows, values, complete). `rows` are the numbers of correct samples that have a result.
        `values` are these rows of ``exact``, ``where`` and ``floor``. The result is None if the
        worker has no outcomes of this name.
    """
    if outcomes is None:
        outcomes = WORKER_OUTCOMES.get(name)
    elif name not in WORKER_OUTCOMES:  # other threads may read it
        WORKER_OUTCOMES.clear()
        WORKER_OUTCOMES[name] = outcomes
    if outcomes is None:
        return None
    best = new_best(len(reach) - 1, search.lengths[-1])._replace(reach=reach.copy())
    search = search._replace(outcomes=outcomes, deadline=time.monotonic() + seconds)
    complete = in_threads(search, parts, best, workers=1)
    # A dominated cascade is on no front: another one costs less, with as many correct samples.
    is_best = np.isfinite(best.exact) & (best.exact <= best.reach)
    rows = np.flatnonzero(is_best | np.isfinite(best.floor))
    return rows, [values[rows] for values in best[1:]], complete


class TaskRunner:
    """Run the tasks of a search on its executor, and send outcomes to workers that lack them.

    Attributes
    ----------
    deadline : float
        Value of time.monotonic() from which no task is submitted.
    errors : list of Exception
        The error of each lost task.
    """

    def __init__(self, search: Search):
        self.search = search
        self.deadline = search.deadline
        self.futures: list[Future] = []
        self.errors: list[Exception] = []
        self.is_filled = False
        self.lock = Lock()

    def filled_outcomes(self) -> Outcomes:
        """Return the outcomes of all cascades."""
        outcomes = self.search.outcomes
        with self.lock:  # several workers may lack them
            if not self.is_filled:
                # Pairs have all outcomes that depend on the last model only.
                length = 2 if outcomes.last_only else self.search.length
                outcomes.fill(self.search.cascades.extensions((), length))
                self.is_filled = True
        return outcomes

    def result(self, outcomes: Any, *arguments: Any) -> tuple | None:
        """Return the result of :func:`run_task`.

        Raises
        ------
        TimeoutError
            If there is no result soon after the deadline.
        """
        executor: Any = self.search.executor
        name = (self.search.outcomes.name, self.search.length)
        bare = self.search._replace(outcomes=None, executor=None)
        seconds = self.deadline - time.monotonic()
        future = executor.submit(run_task, bare, name, outcomes, *arguments, seconds)
        self.futures.append(future)
        # Without a limit, a task may wait until a cluster has workers again.
        return future.result(min(seconds + LATE_SECONDS, TIMEOUT_MAX))

    def run(self, parts: Sequence[Part], local: Best) -> bool:
        """Search some parts in a task that fills `local`, and return whether all were searched.

        If the task is lost, or if no time is left, the parts count as not searched. Outcomes are
        sent only to a worker that lacks them.
        """
        # The bound until the parts are searched is the cost of their cheapest first model.
        local.floor[-1] = min(self.search.cost[part.head[0]] for part in parts)
        if time.monotonic() >= self.deadline:
            return False
        outcomes = None
        result = None
        while result is None:
            try:
                result = self.result(outcomes, parts, local.reach)
            except Exception as error:  # the executor raised it: a task runs no code of the user
                self.errors.append(error)
                return False
            if result is None:
                outcomes = self.filled_outcomes()
        rows, values, complete = result
        local.floor[-1] = np.inf
        for array, found in zip(local[1:], values, strict=True):
            array[rows] = found
        return complete


def on_workers(search: Search, parts: Sequence[Part], best: Best, floors: Any) -> bool:
    """Search parts by :func:`in_threads`, or by tasks of the search's executor.

    Each worker gets one task at a time, with the current least costs. It also gets the remaining
    seconds, since the clocks of machines differ. If a task is lost, or if no time is left, its
    parts count as not searched. A RuntimeWarning reports lost tasks.
    """
    if search.executor is None:
        return in_threads(search, parts, best, floors)
    workers = getattr(search.executor, "_max_workers", UNKNOWN_WORKERS)
    if hasattr(search.executor, "_client"):  # Dask has no workers while a cluster starts
        workers = sum(search.executor._client.nthreads().values()) or UNKNOWN_WORKERS
    count = min(TASKS * workers, len(parts))
    runner = TaskRunner(search)
    bar = progress_bar(search, parts, floors)

    def run(share: Sequence[Part]) -> bool:
        local = same_reach(best)
        complete = runner.run(share, local)
        floors.update(share, local.floor)
        bar.update(len(share))
        with runner.lock:
            merge_best(best, [local])
        return complete

    pool = ThreadPoolExecutor(workers)
    try:
        with bar:
            complete = list(pool.map(run, [parts[i::count] for i in range(count)]))
    finally:  # after an interrupt, submit nothing more, and wait for no task
        runner.deadline = -np.inf
        pool.shutdown(wait=False, cancel_futures=True)
        for future in runner.futures:
            future.cancel()
    pool.shutdown()
    if runner.errors:
        warnings.warn(
            f"{len(runner.errors)} of {count} tasks were lost ({runner.errors[0]!r}): their "
            "cascades count as not searched. front.gap bounds the error",
            RuntimeWarning,
            stacklevel=2,
        )
    return all(complete)
