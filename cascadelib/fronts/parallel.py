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
from .kernels.boxes import open_head, search_root
from .kernels.grid import sweep_pair
from .kernels.state import COARSE_BINS, ROOT_BINS, Best, merge_best, new_best, same_reach, workspace

LONG = 3e8  # cascades × samples from which a search shows its progress
# Tasks per worker. A task that opens boxes starts with the results of all previous ones. Corners
# take about the same time whatever is known, which is short.
TASKS = 8
TASKS_OF_CORNERS = 2
UNKNOWN_WORKERS = 32  # assumed for an executor that does not report its number of workers
# The outcomes of the current search in a worker process, by their name.
WORKER_OUTCOMES: dict[tuple, Outcomes] = {}
# Parts of the search of a cascade: the corners of its root, then its boxes.
CORNERS = ("corners",)
BOXES = ("boxes",)


@contextmanager
def shared_tolerance(tolerance: float | Array, deadline: float, k: int) -> Iterator[Array]:
    """Yield a tolerance float64 (k + 1,) for kernels that becomes inf when they have to stop.

    They stop at the deadline, a value of time.monotonic(), and after an interrupt.
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
    except BaseException:  # an interrupt, after which threads would search to the end
        shared.fill(np.inf)
        raise
    finally:
        if timer is not None:
            timer.cancel()


def sweep_pairs(search: Search, head: tuple, lasts: Sequence, best: Best) -> None:
    """Record all thresholds of the pairs of one first model with each of `lasts`."""
    outcomes = search.outcomes
    order = outcomes.order(head).astype(np.uint32)
    group = outcomes.groups(head)[order]
    correct_1 = outcomes.correct(head)[order]
    for number, m in lasts:
        correct_2 = outcomes.correct((*head, m))
        sweep_pair(order, group, correct_1, correct_2, *search.cost[[head[0], m]], number, best)


def search_head(
    search: Search,
    head: tuple,
    lasts: Sequence,
    best: Best,
    space: Any,
    tolerance: Array,
    parts: tuple,
) -> None:
    """Search a coarse grid of thresholds (CORNERS) of one head's cascades, or all others (BOXES).

    BOXES skips boxes that contain only their corners, so a complete search needs both parts.
    """
    outcomes = search.outcomes
    bins = (COARSE_BINS if search.coarse else ROOT_BINS)[len(head)]
    for i in range(len(head)):
        outcomes.root(head[: i + 1], bins).write_to(space, i)
    open_head(space)
    for number, m in lasts:
        cascade = (*head, m)
        last = outcomes.wrong(cascade), search.cost[[*cascade]]
        search_root(space, *last, number, best, tolerance, "corners" in parts, "boxes" in parts)


def finish_heads(heads: Sequence, own: Best, best: Best, floors: Any, bar: Any) -> None:
    """Move the bound of skipped cascades of some heads to `floors`, and advance the progress."""
    if floors is not None:
        floors.update(heads, own.floor)
        floors.show(bar, best.reach)
    bar.update()


def in_threads(
    search: Search,
    heads: Sequence,
    best: Best,
    parts: tuple = BOXES,
    floors: Any = None,
    workers: int = 0,
) -> bool:
    """Search heads by threads that share the least costs, and return whether they were in time.

    `floors` is a :class:`.anytime.Floors` with a bound per head. Without it, the bound is merged
    into ``best.floor``.
    """
    workers = min(workers or os.cpu_count() or 1, len(heads))
    k = len(best.reach) - 1
    length = len(heads[0][0]) + 1
    long = k * sum(len(lasts) for _, lasts in heads) > LONG and "boxes" in parts
    hidden = not ((long or floors is not None) and is_watched())
    bar = tqdm(total=len(heads), desc=f"{length} models", leave=False, disable=hidden)
    pending = iter(heads)

    def work(own: Best) -> None:
        space = workspace(k, length - 1) if length > 2 else None
        # next() of a list iterator is atomic, so each head goes to one thread
        for head, lasts in pending:
            if np.isinf(shared[0]):
                # out of time: no cascade of this head costs less than its first model
                own.floor[-1] = min(own.floor[-1], search.cost[head[0]])
                continue
            if length == 2:
                sweep_pairs(search, head, lasts, own)
            else:
                search_head(search, head, lasts, own, space, shared, parts)
            finish_heads([(head, lasts)], own, best, floors, bar)

    owns = [same_reach(best) for _ in range(workers)]
    # The tolerance is left before the pool, so that an interrupted pool stops soon.
    limited = shared_tolerance(search.tolerance, search.deadline, k)
    with bar, ThreadPoolExecutor(workers) as pool, limited as shared:
        list(pool.map(work, owns))
    merge_best(best, owns)
    return not np.isinf(shared[0])


def run_task(
    search: Search,
    name: tuple,
    sent: Outcomes | None,
    heads: Sequence,
    reach: Array,
    width: int,
    parts: tuple,
    left: float,
) -> tuple[Array, list[Array], bool] | None:
    """Search some heads in a task of an executor.

    Parameters
    ----------
    search : Search
        The search without outcomes and executor.
    name : tuple
        Name of the outcomes.
    sent : Outcomes or None
        The outcomes, which the worker stores.
    heads : sequence
        The heads.
    reach : float array of shape (k + 1,)
        Known least costs.
    width : int
        Number of models of the longest cascade.
    parts : tuple of str
        CORNERS, BOXES or both.
    left : float
        Remaining seconds.

    Returns
    -------
    tuple or None
        The numbers of correct samples with a result, the rows of ``exact``, ``where`` and ``floor``
        there, and whether the task was in time. None if the worker has no outcomes of this name.
    """
    if sent is not None:
        WORKER_OUTCOMES.clear()
        WORKER_OUTCOMES[name] = sent
    outcomes = WORKER_OUTCOMES.get(name)
    if outcomes is None:
        return None
    best = new_best(len(reach) - 1, width)._replace(reach=reach.copy())
    search = search._replace(outcomes=outcomes, deadline=time.monotonic() + left)
    in_time = in_threads(search, heads, best, parts, workers=1)
    # A cascade is on no front if another one costs less with at least as many correct samples.
    is_best = np.isfinite(best.exact) & (best.exact <= best.reach)
    rows = np.flatnonzero(is_best | np.isfinite(best.floor))
    return rows, [part[rows] for part in best[1:]], in_time


def workers_of(executor: Any) -> int:
    """Return the number of tasks that an executor runs simultaneously, as far as it reports it."""
    if hasattr(executor, "_client"):  # Dask's, whose cluster may still be growing
        return sum(executor._client.nthreads().values()) or UNKNOWN_WORKERS
    return getattr(executor, "_max_workers", UNKNOWN_WORKERS)


class Sender:
    """Send tasks to the executor of a search, and outcomes to workers that lack them.

    Attributes
    ----------
    lost : list of Exception
        The error of each lost task.
    """

    def __init__(self, search: Search, heads: Sequence):
        self.search = search
        self.heads = heads
        self.end = search.deadline
        self.futures: list[Future] = []
        self.lost: list[Exception] = []
        self.sent: Any = None
        self.lock = Lock()

    def shared_outcomes(self) -> Any:
        """Return the outcomes of all heads. With Dask, return their place on its workers."""
        with self.lock:  # several workers may lack them
            if self.sent is None:
                self.sent = self.search.outcomes.copy_for(self.heads)
                client = getattr(self.search.executor, "_client", None)
                if client:
                    self.sent = client.scatter(self.sent, broadcast=True, hash=False)
        return self.sent

    def submit(self, *arguments: Any, sent: Any = None) -> tuple:
        """Return the result of :func:`run_task`, with the outcomes if the worker lacks them."""
        executor: Any = self.search.executor
        name = (self.search.outcomes.name, len(self.heads[0][0]))
        bare = self.search._replace(outcomes=None, executor=None)
        future = executor.submit(run_task, bare, name, sent, *arguments)
        self.futures.append(future)
        return future.result() or self.submit(*arguments, sent=self.shared_outcomes())

    def run(self, part: Sequence, own: Best, parts: tuple) -> bool:
        """Search some heads in a task that fills `own`, and return whether it was in time.

        If the task is lost, or if no time is left, the heads count as not searched.
        """
        own.floor[-1] = min(self.search.cost[head[0]] for head, _ in part)  # until it is searched
        left = self.end - time.monotonic()
        if left <= 0:
            return False
        width = own.where.shape[1] // 2 + 1
        try:
            rows, values, in_time = self.submit(part, own.reach, width, parts, left)
        except Exception as error:  # of the executor, which runs no code of the user
            self.lost.append(error)
            return False
        own.floor[-1] = np.inf
        for mine, theirs in zip(own[1:], values, strict=True):
            mine[rows] = theirs
        return in_time


def on_workers(
    search: Search, heads: Sequence, best: Best, parts: tuple = BOXES, floors: Any = None
) -> bool:
    """Search heads by :func:`in_threads`, or by tasks of the search's executor.

    Each worker gets one task at a time, with the current least costs and the remaining seconds
    (clocks differ). Heads of lost tasks, and heads for which no time is left, count as not
    searched. A RuntimeWarning reports lost tasks.
    """
    if search.executor is None:
        return in_threads(search, heads, best, parts, floors)
    workers = workers_of(search.executor)
    each = TASKS if "boxes" in parts else TASKS_OF_CORNERS
    count = min(each * workers, len(heads))
    sender = Sender(search, heads if floors is None else floors.heads)
    bar = tqdm(total=count, desc="tasks", leave=False, disable=not is_watched())

    def run(part: Sequence) -> bool:
        own = same_reach(best)
        in_time = sender.run(part, own, parts)
        finish_heads(part, own, best, floors, bar)
        with sender.lock:
            merge_best(best, [own])
        return in_time

    pool = ThreadPoolExecutor(workers)
    try:
        with bar:
            in_time = list(pool.map(run, [heads[i::count] for i in range(count)]))
    except BaseException:  # an interrupt: submit nothing more, and wait for nothing
        sender.end = -np.inf
        pool.shutdown(wait=False, cancel_futures=True)
        for future in sender.futures:
            future.cancel()
        raise
    pool.shutdown()
    if sender.lost and "boxes" in parts:
        warnings.warn(
            f"{len(sender.lost)} of {count} tasks were lost ({sender.lost[0]!r}): their cascades "
            "count as not searched. front.gap bounds the error",
            RuntimeWarning,
            stacklevel=2,
        )
    return all(in_time)
