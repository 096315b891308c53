"""A search by tasks of an executor: the same front, or a certified one after lost tasks."""

import os
import pickle
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
from tables_of_scores import (
    COMPILED,
    LARGE,
    NOISY,
    assert_certified,
    assert_equal_points,
    exact_front,
    synthetic,
)

from cascadelib import search
from cascadelib.fronts import workers as module
from cascadelib.fronts.cascades import Cascades, Outcomes
from cascadelib.fronts.exact import search_arrays, search_outcomes
from cascadelib.fronts.kernels.state import new_best
from cascadelib.fronts.workers import Part, Search, TaskRunner


def test_an_executor_of_processes_gives_the_same_front():
    correct, confidence, cost = synthetic(6, 400 if COMPILED else 10, seed=2, digits=2)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        for n, table in (
            (3, (correct, confidence, cost)),
            ((2, 4), (correct, confidence, np.rint(cost / 10) + 1)),
        ):
            there, here = (search_arrays(*(*table, n), executor=e) for e in (executor, None))
            assert_equal_points(there, here)
        front = search(NOISY, 3, "max_softmax_mean_logits", executor=executor)
    assert front.table.equals(search(NOISY, 3, "max_softmax_mean_logits").table)


def search_of(table, **options):
    """Return a search of triples of a table, without the checks of its arguments."""
    correct, confidence, cost = table
    outcomes = Outcomes(lambda prefix: (correct[prefix[-1]], confidence[prefix[-1]]), True)
    return Search(outcomes, cost, Cascades(cost), (3,), length=3, **options)


class Doomed(ProcessPoolExecutor):
    """An executor whose fourth task kills its worker."""

    submitted = 0

    def submit(self, function, *arguments):
        self.submitted += 1
        return (
            super().submit(os.abort)
            if self.submitted == 4
            else super().submit(function, *arguments)
        )


@pytest.mark.parametrize("time_limit", [None, 60])
def test_a_killed_worker_gives_a_certified_front(time_limit):
    with (
        Doomed(2, mp_context=get_context("spawn")) as executor,
        pytest.warns(
            RuntimeWarning,
            match=r"\d+ of \d+ tasks were lost \(BrokenProcessPool.*count as not searched",
        ),
    ):
        points = search_arrays(*LARGE, 4, time_limit=time_limit, executor=executor)
    assert points.floor is not None and np.isfinite(points.floor).any()
    assert_certified(points, exact_front(4), np.inf)


class Broken(Executor):
    """An executor that refuses all tasks."""

    def submit(self, *_):
        raise RuntimeError("cannot schedule new futures")


PREFIXES = list(combinations(range(8), 2))  # pairs of nine models that leave one for the last


class Recorded(ThreadPoolExecutor):
    """An executor that records the outcomes, parts and least costs of its tasks."""

    def __init__(self, workers):
        super().__init__(workers)
        self.tasks = []

    def submit(self, function, *arguments):
        _, _, sent, parts, reach, _ = arguments
        self.tasks.append((sent, parts, reach.copy()))
        return super().submit(function, *arguments)


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_are_sent_per_worker_and_start_from_earlier_results(workers):
    table = synthetic(9, 300 if COMPILED else 10, seed=6, digits=3)
    with Recorded(workers) as executor:
        there = search_arrays(*table, 3, executor=executor)
    assert_equal_points(there, search_arrays(*table, 3))
    sent = [task for task in executor.tasks if task[0] is not None]
    assert 1 <= len(sent) <= workers  # one process shares its memory
    # The first round bounds all prefixes, the second searches those that may improve.
    again = len(sent)
    first = [task[1] for task in executor.tasks[: 8 * workers + again]]
    assert {part.head for parts in first for part in parts} >= set(PREFIXES)
    assert len(executor.tasks) <= 2 * 8 * workers + again
    before = executor.tasks[0][2]
    after = executor.tasks[-1][2]
    assert (after <= before).all() and (after < before).any()


def test_outcomes_are_sent_only_to_processes_that_lack_them():
    sizes = []
    results = []

    class Weighed(ProcessPoolExecutor):
        def submit(self, function, *arguments):
            sizes.append((arguments[2] is not None, len(pickle.dumps(arguments))))
            results.append(super().submit(function, *arguments))
            return results[-1]

    models = 9
    samples = 3000 if COMPILED else 20
    table = synthetic(models, samples, seed=6, digits=3)
    with Weighed(2, mp_context=get_context("spawn")) as executor:
        search_arrays(*table, 3, executor=executor)
    large = [size for sent, size in sizes if sent]
    lacking = [result.result() for result in results].count(None)
    assert len(large) == lacking >= 1 and min(large) > 2 * models * samples
    # The least cost and the tolerance at each number of correct samples.
    assert max(size for sent, size in sizes if not sent) < 2 * 8 * samples + 5_000


@pytest.fixture(scope="module")
def dask_client():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.nightly
def test_a_killed_worker_of_dask_does_not_change_the_front(dask_client):
    """The worker dies before the last task of a round."""
    table = synthetic(9, 2000 if COMPILED else 10, seed=6, digits=3)
    executor = dask_client.get_executor()
    submit = executor.submit
    pids = dask_client.run(os.getpid)
    submitted = []

    def watched(*arguments):
        submitted.append(submit(*arguments))
        if len(submitted) == 8:
            os.kill(pids[min(pids)], signal.SIGKILL)
        return submitted[-1]

    executor.submit = watched
    there = search_arrays(*table, 3, executor=executor)
    assert len(submitted) > 8
    assert_equal_points(there, search_arrays(*table, 3))
    dask_client.wait_for_workers(2)


def test_a_worker_uses_outcomes_that_it_cannot_keep(monkeypatch):
    """Another search on the same worker may replace them at any time."""

    class Forgetful(dict):
        def __setitem__(self, *_):
            pass

    monkeypatch.setattr(module, "WORKER_OUTCOMES", Forgetful())
    task = search_of(synthetic(4, 50, seed=0))
    task.outcomes.fill([(0, 1, 2), (0, 1, 3)])
    copy = pickle.loads(pickle.dumps(task.outcomes))
    sent = (task._replace(outcomes=None), ("name", 3), copy, [Part((0, 1))])
    _, _, complete = module.run_task(*sent, new_best(50, 3).reach, 600.0)
    assert complete


def test_a_task_that_is_sent_again_gets_the_seconds_that_are_left_then(monkeypatch):
    clock = iter([0.0, 1.0, 5.0])
    given = []

    class Empty(Executor):
        """An executor whose worker lacks the outcomes at first."""

        def submit(self, function, *arguments):
            given.append(arguments[-1])
            future = Future()
            future.set_result(None if len(given) == 1 else ([], [0.0] * 3, True))
            return future

    search = search_of(synthetic(4, 50, seed=0), executor=Empty(), deadline=10.0)
    runner = TaskRunner(search)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert runner.run([Part((0, 1))], new_best(50, 3))
    assert given == [9.0, 5.0]


def test_an_error_of_the_stage_function_is_no_lost_task():
    def stage(prefix):
        confidence = np.ones(6)
        return np.arange(6) < 3, confidence if len(prefix) == 1 else confidence * np.nan

    with (
        ThreadPoolExecutor(2) as executor,
        pytest.raises(ValueError, match="nan at sample 0"),
    ):
        search_outcomes(stage, [1.0, 2.0, 3.0], 3, executor=executor)


class Silent(Executor):
    """An executor whose tasks never end."""

    def submit(self, *_):
        return Future()


def send_task(search, parts, best):
    return TaskRunner(search).run(parts, best)


def run_late(search, parts, best):
    return module.in_threads(search, parts, best, workers=1)


@pytest.mark.parametrize(
    ("run", "executor", "seconds", "bound"),
    [
        (send_task, Broken(), np.inf, 1.0),
        (send_task, Silent(), 0.05, 1.0),
        (send_task, Executor(), -np.inf, 1.0),
        (run_late, None, -np.inf, 0.5),
    ],
)
def test_the_bound_of_a_lost_part_is_the_cost_of_a_first_model(
    run, executor, seconds, bound, monkeypatch
):
    """Prefixes start with models of costs 5, 1 and 3. The cheapest of all models costs 0.5."""
    monkeypatch.setattr(module, "LATE_SECONDS", 0.0)
    deadline = time.monotonic() + seconds
    table = *synthetic(4, 50, seed=0)[:2], np.array([5.0, 1.0, 3.0, 0.5])
    parts = [Part((first, 3)) for first in (0, 1, 2)]
    best = new_best(50, 3)
    assert not run(search_of(table, executor=executor, deadline=deadline), parts, best)
    assert best.floor[-1] == bound and np.isinf(best.floor[:-1]).all()


def test_a_part_that_the_deadline_interrupts_is_not_complete():
    """The time is up while the only prefix is searched: its boxes are skipped, at any tolerance."""
    only = search_of(synthetic(3, 200, seed=0))

    def interrupt(search, part, best, space, tolerance):
        tolerance.fill(np.inf)
        return True

    assert module.in_threads(only, [Part((0, 1))], new_best(200, 3), workers=1)
    assert not module.in_threads(only, [Part((0, 1))], new_best(200, 3), workers=1, run=interrupt)


@pytest.mark.parametrize("n", [1, 2, (1, 2)])
def test_an_executor_is_not_used_for_pairs_and_a_warning_states_this(n):
    with pytest.warns(UserWarning, match="executor= is not used: cascades of . models"):
        there = search_arrays(*LARGE, n, executor=Broken())
    assert_equal_points(there, search_arrays(*LARGE, n))


def test_the_timer_of_a_deadline_does_not_keep_a_process_alive():
    with module.shared_tolerance(0.5, time.monotonic() + 1000, 3) as shared:
        timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
        assert [timer.daemon for timer in timers] == [True]
        assert shared.tolist() == [0.5] * 4


def test_no_thread_remains_after_the_search(monkeypatch):
    pools = []

    class Remembered(ThreadPoolExecutor):
        def __init__(self, workers):
            super().__init__(workers)
            pools.append(self)

    monkeypatch.setattr(module, "ThreadPoolExecutor", Remembered)
    with ThreadPoolExecutor(2) as executor:
        search_arrays(*synthetic(5, 100, seed=0), 3, executor=executor)
    assert pools and not [t for pool in pools for t in pool._threads if t.is_alive()]
