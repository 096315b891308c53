"""The work of an exact search on all cores.

That is in threads, or in tasks for any ``concurrent.futures.Executor``.
"""

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
# Tasks per worker: each that opens boxes begins with what all others have found by then; corners
# take about as long whatever is known, and little time.
TASKS = 8
TASKS_OF_CORNERS = 2
UNKNOWN = 32  # workers of an executor that does not tell how many it has
# Of a worker: the outcomes of the search that it works for, by their name.
KEPT: dict[tuple, Outcomes] = {}
# Parts of the search of a cascade: the corners of its root, then its boxes.
CORNERS = ("corners",)
BOXES = ("boxes",)


@contextmanager
def patience(tolerance: float | Array, deadline: float, k: int) -> Iterator[Array]:
    """A tolerance float64 [k + 1] for the kernels that becomes infinite when time is up.

    So it does when the search is interrupted. deadline: of time.monotonic().
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
    except BaseException:  # Ctrl-C: threads would go on to the end of the search
        shared.fill(np.inf)
        raise
    finally:
        if timer is not None:
            timer.cancel()


def sweep_pairs(search: Search, head: tuple, lasts: Sequence, best: Best) -> None:
    """Note every threshold of one first model before each of ``lasts``."""
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
    room: Any,
    tolerance: Array,
    parts: tuple,
) -> None:
    """A coarse grid of thresholds (CORNERS) of one head's cascades, or all others (BOXES).

    Boxes without anything between their corners are not opened: without its corners no search is
    complete.
    """
    outcomes = search.outcomes
    bins = (COARSE_BINS if search.coarse else ROOT_BINS)[len(head)]
    for i in range(len(head)):
        outcomes.root(head[: i + 1], bins).enter(room, i)
    open_head(room)
    for number, m in lasts:
        cascade = (*head, m)
        last = outcomes.wrong(cascade), search.cost[[*cascade]]
        search_root(room, *last, number, best, tolerance, "corners" in parts, "boxes" in parts)


def leave(heads: Sequence, own: Best, best: Best, floors: Any, bar: Any) -> None:
    """Note what a worker's search of some heads left, and show how far all are."""
    if floors is not None:
        floors.note(heads, own.floor)
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
    """Search heads on all cores, by threads that share what they prune by.

    Returns whether they were in time. floors: a :class:`.anytime.Floors` that keeps what each head
    leaves; else that is merged into ``best.floor``.
    """
    workers = min(workers or os.cpu_count() or 1, len(heads))
    k = len(best.reach) - 1
    length = len(heads[0][0]) + 1
    long = k * sum(len(lasts) for _, lasts in heads) > LONG and "boxes" in parts
    hidden = not ((long or floors is not None) and is_watched())
    bar = tqdm(total=len(heads), desc=f"{length} models", leave=False, disable=hidden)
    pending = iter(heads)

    def work(own: Best) -> None:
        room = workspace(k, length - 1) if length > 2 else None
        # next() of a list iterator is atomic: each head goes to one thread
        for head, lasts in pending:
            if np.isinf(shared[0]):
                # out of time: no cascade of this head costs less than its first model
                own.floor[-1] = min(own.floor[-1], search.cost[head[0]])
                continue
            if length == 2:
                sweep_pairs(search, head, lasts, own)
            else:
                search_head(search, head, lasts, own, room, shared, parts)
            leave([(head, lasts)], own, best, floors, bar)

    owns = [same_reach(best) for _ in range(workers)]
    # patience ends before the pool does, so that an interrupted pool waits for no whole search
    waited = patience(search.tolerance, search.deadline, k)
    with bar, ThreadPoolExecutor(workers) as pool, waited as shared:
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
    """One task of an executor: some heads, from the best front known.

    name: of the outcomes, which a worker keeps when they are ``sent``. Returns the numbers of
    correct samples at which it found or left something, what those are of ``exact``, ``where`` and
    ``floor``, and whether it was in time; None where the worker has no outcomes of that name.
    """
    if sent is not None:
        KEPT.clear()
        KEPT[name] = sent
    outcomes = sent or KEPT.get(name)
    if outcomes is None:
        return None
    best = new_best(len(reach) - 1, width)._replace(reach=reach.copy())
    search = search._replace(outcomes=outcomes, deadline=time.monotonic() + left)
    in_time = in_threads(search, heads, best, parts, workers=1)
    # What costs more than another with at least as many correct is on no front.
    found = np.isfinite(best.exact) & (best.exact <= best.reach)
    rows = np.flatnonzero(found | np.isfinite(best.floor))
    return rows, [part[rows] for part in best[1:]], in_time


def workers_of(executor: Any) -> int:
    """How many tasks an executor runs at once, as far as it tells."""
    if hasattr(executor, "_client"):  # Dask's; a cluster may be growing still
        return sum(executor._client.nthreads().values()) or UNKNOWN
    return getattr(executor, "_max_workers", UNKNOWN)


class Sender:
    """Hands tasks to a search's executor, and the outcomes of ``heads`` to workers without them.

    ``lost``: why tasks were, one error each.
    """

    def __init__(self, search: Search, heads: Sequence):
        self.search = search
        self.heads = heads
        self.end = search.deadline
        self.handed_out: list[Future] = []
        self.lost: list[Exception] = []
        self.sent: Any = None
        self.one_at_a_time = Lock()

    def known(self) -> Any:
        """The outcomes that all heads need; with Dask, where they lie on its workers."""
        with self.one_at_a_time:  # several workers ask at once
            if self.sent is None:
                self.sent = self.search.outcomes.only(self.heads)
                client = getattr(self.search.executor, "_client", None)
                if client:
                    self.sent = client.scatter(self.sent, broadcast=True, hash=False)
        return self.sent

    def answer(self, *arguments: Any, sent: Any = None) -> tuple:
        """The answer of :func:`run_task`."""
        executor: Any = self.search.executor
        name = (self.search.outcomes.name, len(self.heads[0][0]))
        bare = self.search._replace(outcomes=None, executor=None)
        future = executor.submit(run_task, bare, name, sent, *arguments)
        self.handed_out.append(future)
        return future.result() or self.answer(*arguments, sent=self.known())

    def run(self, part: Sequence, own: Best, parts: tuple) -> bool:
        """Search some heads in a task that fills ``own``; whether it was in time.

        Where it is lost, or no time is left, they count as not searched.
        """
        own.floor[-1] = min(self.search.cost[head[0]] for head, _ in part)  # until it is searched
        left = self.end - time.monotonic()
        if left <= 0:
            return False
        width = own.where.shape[1] // 2 + 1
        try:
            rows, found, in_time = self.answer(part, own.reach, width, parts, left)
        except Exception as error:  # of the executor: no code of the user's runs there
            self.lost.append(error)
            return False
        own.floor[-1] = np.inf
        for mine, theirs in zip(own[1:], found, strict=True):
            mine[rows] = theirs
        return in_time


def on_workers(
    search: Search, heads: Sequence, best: Best, parts: tuple = BOXES, floors: Any = None
) -> bool:
    """:func:`in_threads`, or tasks of the search's executor (processes, Dask, Ray).

    As many tasks run at once as there are workers, and each is handed out when a worker is free,
    with the least costs known by then and the seconds that are left (clocks differ). Heads for
    which no time is left count as not searched, and those of lost tasks, of which a RuntimeWarning
    tells where that leaves boxes unsearched.
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
        leave(part, own, best, floors, bar)
        with sender.one_at_a_time:
            merge_best(best, [own])
        return in_time

    pool = ThreadPoolExecutor(workers)
    try:
        with bar:
            in_time = list(pool.map(run, [heads[i::count] for i in range(count)]))
    except BaseException:  # Ctrl-C: nothing more is handed out, and nothing waits for what runs
        sender.end = -np.inf
        pool.shutdown(wait=False, cancel_futures=True)
        for future in sender.handed_out:
            future.cancel()
        raise
    pool.shutdown()
    if sender.lost and "boxes" in parts:
        warnings.warn(
            f"{len(sender.lost)} of {count} tasks were lost ({sender.lost[0]!r}): their cascades "
            "count as not searched; the front says by how much it may be too dear",
            RuntimeWarning,
            stacklevel=2,
        )
    return all(in_time)
