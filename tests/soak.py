"""A service under faults of every kind: many callers, restarts and kills of a worker, late labels.

    .venv/bin/python tests/soak.py --seconds 600        (a part of make soak)

At the end each input was decided once, the stated error rates hold, and memory is flat. Otherwise
the exit status is 1. The test in tests/serve runs the same workers on one loop in virtual time.
Here they are processes that call a server, with timeouts of several times what an answer takes.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
from faulty_server import (
    LABELS,
    MODELS,
    POINT,
    PRICES,
    TIMEOUT,
    answer,
    calls_of,
    reply_of,
    served,
    truth,
)
from virtual_time import run

from cascadelib import Point, Policy, ScoreTable
from cascadelib.serve import Monitor, Record, Service, read_log

WORKERS = 4
CALLERS = 16  # of each worker
EVERY = 400  # one input in 400 has each kind of fault
AUDIT = 0.2
LABEL_SECONDS = 2.0  # until a label arrives
ALPHA = 0.01
ANSWER_TIMES = 10  # a timeout, in times of the slowest answer to as many callers without faults
MAX_TIMEOUT = 15.0  # seconds
MAX_WAIT = 300.0  # seconds for the start of a worker


def expected_point():
    """Return the cascade with its expectations, measured on inputs without faults."""
    numbers = range(-3000, 0)
    answers = [[reply_of(model, number) for number in numbers] for model in MODELS]
    confidence = [[pair[1] for pair in pairs] for pairs in answers]
    correct = [[pair[0] == truth(n) for pair, n in zip(pairs, numbers)] for pairs in answers]
    table = ScoreTable(np.array(correct), np.array(confidence), [1.0, 10.0], list(MODELS))
    point = Point(POINT.models, POINT.thresholds, (0.5, 0.5), 0.9, 5.0, 1.0, cost_kind="cost")
    return Policy.from_point(point, store=table).point


class Worker:
    """One worker of the service. It continues from its state and its log, also after a kill."""

    def __init__(self, number, point, folder, timeout):
        self.number = number
        self.rng = random.Random(f"{number} {time.time_ns() if timeout != TIMEOUT else folder}")
        self.timeout = timeout
        self.saved = folder / f"monitor-{number}.json"
        self.log = folder / f"log-{number}.jsonl"
        self.memory = folder / f"memory-{number}.jsonl"
        self.policy = Policy(point)
        self.monitor = Monitor.load(self.saved) if self.saved.exists() else Monitor(self.policy)
        records = list(read_log(self.log.read_text().splitlines(True))) if self.log.exists() else []
        self.monitor.observe(records)
        done = {place_of(each.id) for each in records if isinstance(each, Record)}
        self.next = max(done, default=-1) + 1
        self.again = sorted(set(range(self.next)) - done)
        self.disagreed_at = {}
        self.ends = asyncio.Event()

    def take_numbers(self):
        """Return the next few inputs: first those that the worker had not decided at its end."""
        count = self.rng.randint(1, 12)
        numbers = self.again[:count]
        del self.again[:count]
        while len(numbers) < count:
            numbers.append(self.next)
            self.next += 1
        return numbers

    async def call(self, service):
        """Decide inputs until the end. One caller in ten gives up early."""
        while not self.ends.is_set():
            numbers = self.take_numbers()
            ids = [f"{self.number}-{number}" for number in numbers]
            inputs = [number * WORKERS + self.number for number in numbers]
            patience = self.rng.choice([0.05, *[20 * self.timeout] * 9])
            with suppress(TimeoutError):
                await asyncio.wait_for(service.decide_many(inputs, ids), patience)

    async def label_and_save(self):
        """Label two thirds of the disagreements, late, and save, twice a second."""
        while not self.ends.is_set():
            await asyncio.sleep(0.5)
            now = asyncio.get_running_loop().time()
            labels = {}
            for name in self.monitor.to_label(most=None).index:
                number = place_of(name)
                if now - self.disagreed_at.setdefault(name, now) > LABEL_SECONDS and number % 3:
                    labels[name] = truth(number * WORKERS + self.number)
                    del self.disagreed_at[name]
            self.monitor.label(labels)
            self.monitor.save(self.saved)
            with open(self.memory, "a") as file:
                file.write(f"{resident()}\n")

    async def work(self, calls):
        """Serve callers until ``ends`` is set, then answer what is under way and save."""
        with open(self.log, "a", encoding="utf-8", buffering=1) as file:
            self.monitor.on_decision = self.monitor.on_audit = lambda record: file.write(
                record.to_json() + "\n"
            )
            options = {"batch_size": 1, "concurrency": 64, "timeout": 1.5 * self.timeout}
            options |= {"on_error": "next", "labels": LABELS, "confidence_range": (0, 1)}
            options |= {"deadline": 10 * self.timeout, "monitor": self.monitor, "audit": AUDIT}
            service = Service(self.policy, calls, **options)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(CALLERS):
                    tasks.create_task(self.call(service))
                tasks.create_task(self.label_and_save())
            await service.end()
        self.monitor.save(self.saved)


def place_of(name):
    """Return the number in an id."""
    return int(name.split("-")[1])


def resident():
    """Return the bytes of memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def soak_in_virtual_time(seconds, folder):
    """Run the workers on one loop, restart or kill one of them, and return what is wrong."""
    point = expected_point()
    rng = random.Random(0)

    def call_of(model):
        async def call(numbers):
            await asyncio.sleep(rng.uniform(0.2, 0.6))
            body = await answer(model, numbers, EVERY)
            if body is None:
                raise ConnectionError("the server hung up")
            answers = json.loads(body)
            price = PRICES[model] * len(numbers)
            return [pair[0] for pair in answers], [pair[1] for pair in answers], price

        return call

    calls = [call_of(model) for model in MODELS]

    async def main():
        def start(number):
            worker = Worker(number, point, folder, TIMEOUT)
            return worker, asyncio.create_task(worker.work(calls))

        workers = [start(number) for number in range(WORKERS)]
        for turn in range(6):
            await asyncio.sleep(seconds / 6)
            worker, task = workers[0]
            if turn % 2:  # killed: nothing more is written
                worker.monitor.on_decision = worker.monitor.on_audit = None
                worker.saved = folder / "lost.json"
                task.cancel()
            else:
                worker.ends.set()
            with suppress(asyncio.CancelledError):
                await task
            workers[0] = start(0)
        await asyncio.sleep(seconds / 6)  # decides what the last kill interrupted
        for worker, _ in workers:
            worker.ends.set()
        await asyncio.gather(*[task for _, task in workers])

    run(main())
    return faults_of(folder, seconds)


async def slowest_answer(address):
    """Return the seconds of the slowest answer to all callers."""

    async def caller(client, first):
        started = time.monotonic()
        for call in calls_of(client, address, timeout=600.0):
            await call(list(range(first, first + 8)))
        return time.monotonic() - started

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
        return max(await asyncio.gather(*[caller(client, n) for n in range(WORKERS * CALLERS)]))


def work_in_process(number, address, folder, timeout):
    """Run a worker until SIGTERM."""

    async def main():
        worker = Worker(number, expected_point(), folder, timeout)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.ends.set)
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
            await worker.work(calls_of(client, address, timeout=timeout))

    asyncio.run(main())


def soak(seconds, folder):
    """Run the workers as processes, restart or kill one of them, and return what is wrong."""
    spawn = multiprocessing.get_context("spawn")
    with served() as address:
        slowest = asyncio.run(slowest_answer(address))
    timeout = min(max(1.01 * TIMEOUT, ANSWER_TIMES * slowest), MAX_TIMEOUT)
    print(f"timeout {timeout:.1f} s", flush=True)

    def start(number):
        saved = folder / f"monitor-{number}.json"
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        process = spawn.Process(target=work_in_process, args=(number, address, folder, timeout))
        process.start()
        until = time.monotonic() + MAX_WAIT
        while not saved.exists() or saved.stat().st_mtime_ns == before:
            if not process.is_alive() or time.monotonic() > until:
                raise RuntimeError(f"worker {number} ended or does not work: {process.exitcode}")
            time.sleep(0.1)
        return process

    with served(EVERY, timeout) as address:
        workers = [start(number) for number in range(WORKERS)]
        end = time.monotonic() + seconds
        restarts = 0
        while time.monotonic() < end:
            time.sleep(min(seconds / 10, 10.0))
            workers[0].kill() if restarts % 2 else workers[0].terminate()
            workers[0].join()
            workers[0] = start(0)
            restarts += 1
        time.sleep(min(seconds / 10, 10.0))  # decides what the last kill interrupted
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
    print(f"{restarts} restarts of one worker, half of them kills")
    return faults_of(folder, seconds)


def faults_of(folder, seconds):
    """Return a sentence for each fault in the files of a service, and print its figures."""
    faults = []
    total = Monitor(expected_point())
    records = []
    growth = []
    for number in range(WORKERS):
        total.merge(Monitor.load(folder / f"monitor-{number}.json"))
        text = (folder / f"log-{number}.jsonl").read_text()
        records += [each for each in read_log(text.splitlines(True)) if isinstance(each, Record)]
        memory = [int(line) for line in (folder / f"memory-{number}.jsonl").read_text().split()]
        if number:  # not restarted
            growth.append(memory[-1] / memory[len(memory) // 3] - 1)
    times = Counter(record.id for record in records)
    twice = sum(count > 1 for count in times.values())
    missing = 0
    for number in range(WORKERS):
        decided = {place_of(name) for name in times if name.startswith(f"{number}-")}
        missing += max(decided, default=-1) + 1 - len(decided)
    if twice or missing:
        faults.append(f"{twice} inputs were decided twice, {missing} are missing")
    if total.inputs != len(records):
        faults.append(f"{total.inputs} inputs are counted, {len(records)} were decided")
    lost = []
    for record in records:
        worker, number = map(int, record.id.split("-"))
        value = number * WORKERS + worker
        is_correct = [
            each == truth(value) for each in (reply_of("large", value)[0], record.prediction)
        ]
        lost.append(is_correct[0] * 1.0 - is_correct[1])
    loss = total.loss(error=ALPHA)
    drift = total.drift(ALPHA)
    failing = total.failing(most=0.1)
    if not loss["low"] <= np.mean(lost) <= loss["high"]:
        faults.append(f"the loss {np.mean(lost):.4f} is not in [{loss['low']}, {loss['high']}]")
    if drift.alarm or failing["alarm"].any():
        faults.append(f"a false alarm:\n{drift.tests}\n{failing}")
    if max(growth) > 0.2 and seconds >= 300:
        faults.append(f"memory grew by {max(growth):.0%} in the last two thirds")
    print(
        f"{len(records):,} inputs in {seconds:.0f} s; "
        f"{dict(Counter(record.status for record in records))}; loss {np.mean(lost):.4f} in "
        f"[{loss['low']:.4f}, {loss['high']:.4f}], {loss['audited']} audited, {loss['unknown']} "
        f"unknown; memory {max(growth):+.1%} at most; cost {total.cost()['mean']:.2f}"
    )
    print(failing.to_string())
    print(drift.tests.to_string())
    return faults


def main():
    """Run the soak of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        faults = soak(seconds, Path(folder))
    for sentence in faults:
        print(sentence)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
