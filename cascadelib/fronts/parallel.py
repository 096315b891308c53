"""The work of an exact search on all cores: threads here, or tasks for any ``concurrent.futures.Executor``."""

import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import TIMEOUT_MAX, Timer

import numpy as np
from tqdm.auto import tqdm

from ..front_end import is_watched
from .kernels.boxes import open_head, search_root
from .kernels.grid import sweep_pair
from .kernels.state import ROOT_BINS, merge_best, new_best, same_reach, workspace

LONG = 3e8  # cascades × samples from which a search shows its progress
TASKS = 32
CORNERS, BOXES = (
    ("corners",),
    ("boxes",),
)  # parts of the search of a cascade: the corners of its root, then its boxes


@contextmanager
def patience(tolerance, deadline):
    """A tolerance float64 [1] for the kernels that becomes infinite at the deadline (time.monotonic(), or None)."""
    left = np.inf if deadline is None else deadline - time.monotonic()
    shared = np.array([float(tolerance) if left > 0 else np.inf])
    if not 0 < left < TIMEOUT_MAX:
        yield shared
        return
    timer = Timer(left, shared.__setitem__, (0, np.inf))
    timer.daemon = True
    timer.start()
    try:
        yield shared
    finally:
        timer.cancel()


def sweep_pairs(outcomes, cost, head, lasts, best):
    """Note every threshold of one first model before each of ``lasts``."""
    order = outcomes.order(head)
    group, right = outcomes.groups(head)[order], outcomes.right(head)[order]
    for number, m in lasts:
        sweep_pair(
            group, right, outcomes.right((*head, m))[order], cost[head[0]], cost[m], number, best
        )


def search_head(outcomes, cost, head, lasts, best, room, tolerance, parts):
    """A coarse grid of thresholds (CORNERS) of the cascades that share all models but the last, or all others (BOXES).

    Boxes without anything between their corners are not opened: without its corners no search is complete.
    """
    heads = [head[: i + 1] for i in range(len(head))]
    bits = np.zeros(len(best.reach) - 1, np.int32)
    for i, prefix in enumerate(heads):
        bits |= outcomes.right(prefix).astype(np.int32) << i
    group = np.stack([outcomes.groups(prefix) for prefix in heads])
    open_head(room, group, bits, ROOT_BINS[len(heads)])
    for number, m in lasts:
        last = outcomes.right((*head, m)), outcomes.wrong((*head, m)), cost[[*head, m]]
        search_root(
            room, bits, *last, number, best, tolerance, "corners" in parts, "boxes" in parts
        )


def in_threads(
    outcomes, cost, heads, best, parts=BOXES, tolerance=0.0, deadline=None, workers=None
):
    """Search heads on all cores, by threads that share what they prune by; returns whether in time."""
    workers, k = min(workers or os.cpu_count() or 1, len(heads)), len(best.reach) - 1
    length, pending = len(heads[0][0]) + 1, iter(heads)
    long = k * sum(len(lasts) for _, lasts in heads) > LONG and "boxes" in parts
    bar = tqdm(
        total=len(heads), desc=f"{length} models", leave=False, disable=not (long and is_watched())
    )

    def work(own):
        room = workspace(k, length - 1) if length > 2 else None
        for (
            head,
            lasts,
        ) in pending:  # next() of a list iterator is atomic: each head goes to one thread
            if np.isinf(
                shared[0]
            ):  # out of time: no cascade of this head costs less than its first model
                own.floor[-1] = min(own.floor[-1], cost[head[0]])
            elif length == 2:
                sweep_pairs(outcomes, cost, head, lasts, own)
            else:
                search_head(outcomes, cost, head, lasts, own, room, shared, parts)
            bar.update()

    owns = [same_reach(best) for _ in range(workers)]
    with bar, patience(tolerance, deadline) as shared, ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, owns))
    merge_best(best, owns)
    return not np.isinf(shared[0])


def run_task(outcomes, cost, heads, reach, width, parts, tolerance, left):
    """One task of an executor: some heads, from the best front known; returns what it found, without the rest."""
    best = new_best(len(reach) - 1, width)
    best.reach[:] = reach
    in_time = in_threads(
        outcomes, cost, heads, best, parts, tolerance, time.monotonic() + left, workers=1
    )
    found = np.flatnonzero(np.isfinite(best.exact))
    return found, best.exact[found], best.where[found], best.floor, in_time


def in_executor(executor, outcomes, cost, heads, best, parts, tolerance, deadline):
    """:func:`in_threads` as tasks of any executor (processes, Dask, Ray), each handed out when a worker is free.

    Each carries the outcomes that its heads need, the least costs known and the seconds that are left (clocks differ).
    Heads for which no time is left count as not searched, and those of lost tasks, of which a RuntimeWarning tells.
    """
    count, end, lost = min(TASKS, len(heads)), np.inf if deadline is None else deadline, []
    at_once = getattr(
        executor, "_max_workers", count if deadline is None else 2 * (os.cpu_count() or 1)
    )

    def run(part):
        own, left = same_reach(best), end - time.monotonic()
        prefixes = {head[: i + 1] for head, _ in part for i in range(len(head))}
        known = outcomes.only(prefixes, {(*head, m) for head, lasts in part for _, m in lasts})
        task = known, cost, part, best.reach, best.where.shape[1] // 2 + 1, parts, tolerance, left
        if left > 0:
            try:
                result = executor.submit(run_task, *task).result()
                found, own.exact[found], own.where[found], own.floor[:], in_time = result
                return own, in_time
            except Exception as error:  # of the executor: no code of the user's runs there
                lost.append(error)
        own.floor[-1] = min(cost[head[0]] for head, _ in part)
        return own, False

    complete = True
    with ThreadPoolExecutor(at_once) as pool:
        results = pool.map(run, [heads[i::count] for i in range(count)])
        for own, in_time in tqdm(results, "tasks", count, leave=False, disable=not is_watched()):
            merge_best(best, [own])
            complete &= in_time
    if lost:
        text = f"{len(lost)} of {count} tasks were lost ({lost[0]!r}): their cascades count as not searched"
        warnings.warn(
            f"{text}; the front says by how much it may be too dear", RuntimeWarning, stacklevel=2
        )
    return complete
