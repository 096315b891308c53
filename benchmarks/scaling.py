"""Measure searches in worker processes, and logits larger than the memory of a process.

Jobs of ``fronts``: ``scale_workers``, ``scale_executors`` and ``scale_memory``.
"""

import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Seconds, descendants, own_time, row, seconds
from synthetic import Table, published_scores

from cascadelib import LogitStore
from cascadelib.fronts.exact import search_arrays

COUNTS = (1, 2, 4)
PACKAGES = {"loky": "joblib", "Dask": "distributed", "Ray": "ray"}
CORES = 2  # of the machine that these are measured on
REPEATS = 3
REST = 3.0  # seconds
# Of Dask: neither its profile of the workers nor 50 looks a second at its event loops.
PLAIN = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"}
GIB = 2**30
MEANS = ("max_softmax_mean_softmax", "max_softmax_mean_logits_ts")


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Return an executor with a number of processes on this machine."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as executor:
        yield executor


@contextmanager
def loky(count: int) -> Iterator[Executor]:
    """Return loky's executor with a number of processes, from the copy that joblib contains."""
    from joblib.externals.loky import ProcessPoolExecutor as LokyExecutor

    with LokyExecutor(count) as executor:
        yield executor


@contextmanager
def dask(count: int) -> Iterator[Executor]:
    """Return an executor with a number of Dask workers on this machine, a process each."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


class RayExecutor(Executor):
    """Run each task as a task of Ray."""

    def __init__(self, workers: int) -> None:
        self._max_workers = workers

    def submit(self, function: Callable, /, *arguments: Any, **options: Any) -> Any:
        """Return the future of a task."""
        import ray

        return ray.remote(function).remote(*arguments, **options).future()


@contextmanager
def ray_tasks(count: int) -> Iterator[Executor]:
    """Return an executor of Ray's tasks, on a number of its workers on this machine."""
    import ray

    ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False)
    try:
        yield RayExecutor(count)
    finally:
        ray.shutdown()


@contextmanager
def plain_dask(count: int) -> Iterator[Executor]:
    """Return the same without the options that :data:`PLAIN` disables."""
    from dask import config

    with config.set(PLAIN), dask(count) as executor:
        yield executor


def kinds(count: int) -> dict[str, Callable]:
    """Return the functions that make an executor of workers, by name, with Dask if it is
    installed."""
    found: dict[str, Callable] = {"processes": processes}
    if importlib.util.find_spec("distributed"):
        found["Dask"] = dask
        if count == CORES:
            found["Dask, plain"] = plain_dask
    return found


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Bind threads that begin here to a number of cores, if the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def workers(quick: bool = False) -> list[dict]:
    """Rows of the table: a search by threads on some cores, and in as many worker processes that
    are there and warm; what Dask takes while nothing runs; and what is sent.

    Of as many workers as there are cores, which is what counts, a search is the median of three;
    of others it is run once.
    """
    n, models, samples = (3, 6, 500) if quick else (4, 17, 20_000)
    table = published_scores(models, samples)
    few = published_scores(n + 1, samples)
    search_arrays(*few, n)  # the first loads and compiles
    rows = []
    for count in COUNTS:
        repeats = REPEATS if count == CORES and not quick else 1
        name = f"scale: {n} of {models}, k = {samples}, {{}}, {count} worker{'s' * (count > 1)}"
        if count <= CORES:  # beside more workers there are threads on all cores
            with cores(count):
                threads, _ = seconds(lambda: search_arrays(*table, n), repeats)
            rows.append(row(name.format("threads").replace("worker", "core"), threads, "s"))
        for kind, make in kinds(count).items():
            with make(count) as executor:
                search_arrays(*few, n, executor=executor)
                at_rest = use_at_rest(1 if quick else REST)
                tasks, _ = seconds(
                    lambda executor=executor: search_arrays(*table, n, executor=executor), repeats
                )
            rows += beside_threads(name.format(kind), tasks, threads, at_rest, count)
    return rows + sent(published_scores(27, 500 if quick else 50_000))


def executors(quick: bool = False) -> list[dict]:
    """Return rows of one search by threads, processes, loky, Dask and Ray, with a worker per core.

    The start is the time until new workers have answered a first, small search. An executor that is
    not installed is left out.

    Raises
    ------
    AssertionError
        If a front differs from that of threads.
    """
    n, models, samples = (3, 6, 500) if quick else (4, 17, 20_000)
    table = published_scores(models, samples)
    few = published_scores(n + 1, samples)
    search_arrays(*few, n)  # the first loads and compiles
    repeats = 1 if quick else REPEATS
    name = f"executors: {n} of {models}, k = {samples}, {{}}"
    with cores(CORES):
        threads, expected = seconds(lambda: search_arrays(*table, n), repeats)
    rows = [row(name.format(f"threads on {CORES} cores"), threads, "s")]
    made = {"processes": processes, "loky": loky, "Dask": dask, "Ray": ray_tasks}
    for kind, make in made.items():
        if kind in PACKAGES and not importlib.util.find_spec(PACKAGES[kind]):
            continue
        begun = time.perf_counter()
        with make(CORES) as executor:
            search_arrays(*few, n, executor=executor)
            start = time.perf_counter() - begun
            tasks, found = seconds(
                lambda executor=executor: search_arrays(*table, n, executor=executor), repeats
            )
        for field in ("accuracy", "cost", "models", "thresholds", "exit_rates"):
            assert np.array_equal(getattr(found, field), getattr(expected, field)), (kind, field)
        own = name.format(f"{CORES} workers of {kind}")
        rows += [
            row(f"{own}: start", start, "s"),
            row(f"{own}: elapsed ÷ that of threads", tasks / threads, "ratio", "≤ 1.15"),
            row(f"{own}: processor time ÷ that of threads", tasks.cpu / threads.cpu, "ratio"),
        ]
    return rows


def use_at_rest(wait: float) -> float:
    """Return the cores' worth of processor time of this process and its children while they
    wait."""
    before = own_time() + descendants()
    time.sleep(wait)
    return (own_time() + descendants() - before) / wait


def beside_threads(
    name: str, tasks: Seconds, threads: Seconds, at_rest: float, count: int
) -> list[dict]:
    """Return rows of a search in worker processes, relative to the same search in threads."""
    within = "≤ 1.15" if count == CORES else ""
    return [
        row(name, tasks, "s"),
        row(f"{name}: elapsed ÷ that of threads", tasks / threads, "ratio", within),
        row(f"{name}: processor time ÷ that of threads", tasks.cpu / threads.cpu, "ratio"),
        row(f"{name}: at rest", at_rest, "cores"),
    ]


def sent(table: Table) -> list[dict]:
    """Return rows of the data that a search of triples sends: outcomes, once per worker, and a
    task."""
    sizes: dict[bool, list[int]] = {True: [], False: []}

    class Weighed(ProcessPoolExecutor):
        """Records the size of each task, with and without the outcomes."""

        def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Any:
            sizes[arguments[2] is not None].append(len(pickle.dumps(arguments)))
            return super().submit(function, *arguments, **options)

    with Weighed(2, mp_context=get_context("spawn")) as executor:
        search_arrays(*(*table, 3), executor=executor)
    m, k = table[0].shape
    names = {True: "the outcomes, once per worker", False: "a task"}
    return [
        row(f"scale: 3 of {m}, k = {k}, what is sent: {name}", max(sizes[with_it]) / 2**20, "MiB")
        for with_it, name in names.items()
    ]


LIMITED = """
import resource, sys
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
import cascadelib as cl
store = cl.LogitStore(sys.argv[1])
names = list(store.models.index)
if sys.argv[3] == "confidences":
    for name in names:
        cl.confidence(store.logits(name), "max_softmax")
elif sys.argv[3] == "temperature":
    cl.Method("max_softmax", temperature=True).fit(store)
else:
    cl.search(store, 2, sys.argv[3])
status = open("/proc/self/status").read()
for key in ("VmHWM", "VmPeak"):
    print(int(status.partition(key + ":")[2].split()[0]) / 2**20)
"""


def memory(quick: bool = False) -> list[dict]:
    """Rows of the table: 8 GB of logits, 500 MB per model, where a process may map and allocate
    3 GiB: what each step takes, its peak resident and in address space.
    """
    models, samples, classes = (6, 2000, 100) if quick else (16, 125_000, 1000)
    limit = 3 * GIB
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_large(Path(folder, "store"), models, samples, classes)
        size = 4 * models * samples * classes / GIB
        for what in ("confidences", "temperature", *MEANS):
            out: dict[str, str] = {}

            def run(what: str = what, out: dict[str, str] = out) -> None:
                command = [sys.executable, "-c", LIMITED, f"{folder}/store", str(limit), what]
                ran = subprocess.run(command, check=True, capture_output=True, text=True)
                out["peaks"] = ran.stdout

            spent, _ = seconds(run)
            resident, mapped = map(float, out["peaks"].split())
            name = f"scale: {size:.1f} GiB of logits in 3 GiB, {what}"
            rows += [
                row(name, spent, "s"),
                row(f"{name}: peak resident", resident, "GiB"),
                row(f"{name}: peak address space", mapped, "GiB", "≤ 3"),
            ]
    return rows


def write_large(path: Path, models: int, samples: int, classes: int) -> None:
    """Write a store of synthetic logits, the models one after another."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    store = LogitStore.create(path, labels, dataset="made up", split="val")
    base = rng.standard_normal((samples, classes), np.float32)
    for i in range(models):
        logits = np.roll(base, i, 1)
        logits[np.arange(samples), labels] += 2 + 3 * i / models
        store.add(f"m{i:02}", logits, macs=1e6 * 1.3**i)
