"""What the rooms' benchmarks share: a row of the table, seconds, memory of a process."""

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path


def row(benchmark, measured, unit, target=""):
    return {"benchmark": benchmark, "measured": measured, "unit": unit, "target": target}


def seconds(function, repeats=1):
    """(least seconds over repeats, last result)."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def alone(function, *arguments):
    """(result of a function in a fresh process, the most memory it held: GiB resident, mapped files included)."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(with_peak, function, arguments).result()


def with_peak(function, arguments):
    """What :func:`alone` runs there. Linux counts a parent's peak into ``ru_maxrss``, so VmHWM comes first."""
    result, status = function(*arguments), Path("/proc/self/status")
    if status.exists():
        return result, int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**20
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
