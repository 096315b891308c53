"""Shared code of the benchmarks: a row, seconds, memory of a process, other load on the machine.

Timed calls run five times (``RUNS``), in turns if they are compared, and the median counts. A call
of more than a minute (``LONG``) may run less often. The column ``runs`` has the number.
"""

import importlib.util
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil

RUNS = 5
LONG = 60.0
QUIET = (
    0.1  # cores' worth of processor time that other processes may use, on average, while a job runs
)
EVERY = 2.0


class Seconds(float):
    """Median elapsed seconds of ``runs`` runs, and ``cpu``: the median of their processor seconds,
    all processes that they started included.
    """

    cpu = float("nan")
    runs = 1


def row(
    benchmark: str,
    measured: float,
    unit: str,
    target: str = "",
    cpu: float | None = None,
    runs: int | None = None,
) -> dict:
    """Return a row of the table.

    cpu: processor seconds. runs: the number of runs of the median. Both default to those of
    ``Seconds``.
    """
    if cpu is None:
        cpu = getattr(measured, "cpu", None)
    if runs is None:
        runs = getattr(measured, "runs", None)
    return {
        "benchmark": benchmark,
        "measured": measured,
        "unit": unit,
        "target": target,
        "cpu": cpu,
        "runs": runs,
    }


def module_at(path: Path) -> Any:
    """Return the module in a file outside of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds(function: Callable, repeats: int = 1) -> tuple[Seconds, Any]:
    """Return (:class:`Seconds` of several runs, or of one that takes more than ``LONG``, last
    result)."""
    runs: list[tuple[float, float]] = []
    while not runs or (len(runs) < repeats and runs[0][0] <= LONG):
        before = descendants()
        own = own_time()
        start = time.perf_counter()
        result = function()
        wall = time.perf_counter() - start
        spent = own_time() - own
        runs.append((wall, spent + descendants() - before))
    return median(runs), result


def median(runs: list[tuple[float, float]]) -> Seconds:
    """Return :class:`Seconds` of [(elapsed seconds, processor seconds), …], a pair per run."""
    wall, cpu = zip(*runs, strict=True)
    found = Seconds(statistics.median(wall))
    found.cpu = statistics.median(cpu)
    found.runs = len(runs)
    return found


def own_time() -> float:
    """Return processor seconds of this process and of its children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def descendants() -> float:
    """Processor seconds of the processes below this one that are running now, and of the ended ones
    below them.
    """
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it has ended meanwhile, and is in own_time
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def machine_time() -> float:
    """Return processor seconds of all processes since the machine started, stolen time included.

    The result is nan if the system has no such figure.
    """
    try:
        times = psutil.cpu_times()._asdict()
    except (OSError, psutil.Error):
        return float("nan")
    return sum(
        spent
        for kind, spent in times.items()
        if kind not in ("idle", "iowait", "guest", "guest_nice")
    )


class Watch:
    """What the rest of the machine did while a job ran: ``with Watch() as watch: …``, then
    ``watch.seen``, a dict of load_before and load_after (load averages of one minute) and others
    (cores' worth that other processes used).

    Own processor time is looked at every ``EVERY`` seconds and its rises are added up, since what a
    browser's processes have used is gone with them, nobody having waited for them.
    """

    def __enter__(self) -> "Watch":
        self.begun = (time.perf_counter(), machine_time())
        self.load = load()
        self.own = 0.0
        self.last = own_time() + descendants()
        self.ended = threading.Event()
        self.looking = threading.Thread(target=self.look_on, daemon=True)
        self.looking.start()
        return self

    def look_on(self) -> None:
        while not self.ended.wait(EVERY):
            self.look()

    def look(self) -> None:
        now = own_time() + descendants()
        self.own = self.own + max(0.0, now - self.last)
        self.last = now

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self.looking.join()
        self.look()
        wall = time.perf_counter() - self.begun[0]
        machine = machine_time() - self.begun[1]
        others = np.maximum(machine - self.own, 0.0) / wall
        self.seen = {"load_before": self.load, "load_after": load(), "others": others}


def load() -> float:
    """Return the load average of the last minute, nan if the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def alone(function: Callable, *arguments: Any) -> tuple[Any, float]:
    """Run a function in a fresh process: (its result, its peak memory in GiB with mapped files)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(with_peak, function, arguments).result()


def with_peak(function: Callable, arguments: tuple) -> tuple[Any, float]:
    """Run the function of :func:`alone` and return its peak memory.

    Linux counts a parent's peak into ``ru_maxrss``, so VmHWM comes first.
    """
    result = function(*arguments)
    status = Path("/proc/self/status")
    if status.exists():
        return result, int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**20
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**30 if sys.platform == "darwin" else 2**20
    )
