"""A policy in a service for a while: one server of two models with faults of every kind, four
workers with 16 callers each, of which one is restarted again and again, labels that come late or
never.

    .venv/bin/python tests/soak.py --seconds 600        (make soak has it among others)

At the end every input is accounted for exactly once, the stated error rates hold, and memory is
flat; else it says what is wrong, and its exit status is 1. Deadlines are so many times what an
answer takes here and now, so that what times out are the faults, however busy the machine is.
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
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
from faulty_server import (
    LABELS,
    MODELS,
    POINT,
    TIMEOUT,
    calls_of,
    said,
    served,
    truth,
)

from cascadelib import Point, Policy, ScoreTable
from cascadelib.serve import Monitor, Service

WORKERS = 4
CALLERS = 16  # of each worker
EVERY = 400  # one input in so many has each kind of fault
AUDIT = 0.2
LATE = 2.0  # seconds until a label comes
ALPHA = 0.01
DEADLINE = 10  # times the slowest answer to as many callers without faults
MOST_DEADLINE = 15.0  # seconds: one pause of the machine must not make all deadlines long
TERMS = {"on_error": "next", "labels": LABELS, "confidence_range": (0, 1)}


def expected_point():
    """The cascade with what is expected of it, measured on inputs without faults."""
    numbers = range(-3000, 0)
    answers = [[said(model, number) for number in numbers] for model in MODELS]
    confidence = [[pair[1] for pair in pairs] for pairs in answers]
    correct = [[pair[0] == truth(n) for pair, n in zip(pairs, numbers)] for pairs in answers]
    table = ScoreTable(np.array(correct), np.array(confidence), [1.0, 10.0], list(MODELS))
    return Policy.from_point(POINT_OF_COST, store=table).point


POINT_OF_COST = Point(POINT.models, POINT.thresholds, (0.5, 0.5), 0.9, 5.0, 1.0, cost_kind="cost")


async def slowest(address):
    """Seconds of the slowest answer to all callers at once."""

    async def caller(client, first):
        begun = time.monotonic()
        for _ in range(3):
            for call in calls_of(client, address, timeout=600.0):
                await call(list(range(first, first + 8)))
        return (time.monotonic() - begun) / 6

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
        return max(await asyncio.gather(*[caller(client, n) for n in range(WORKERS * CALLERS)]))


def deadline():
    """Seconds that a call may take on this machine as it is now."""
    with served() as address:
        return min(max(TIMEOUT, DEADLINE * asyncio.run(slowest(address))), MOST_DEADLINE)


def resident():
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Worker:
    """One process of the service: it goes on from its files, and ends in order on SIGTERM."""

    def __init__(self, number, address, folder, timeout):
        self.number = number
        self.address = address
        self.timeout = timeout
        self.saved = folder / f"monitor-{number}.json"
        self.log = folder / f"log-{number}.jsonl"
        self.policy = Policy(expected_point())
        self.monitor = Monitor.load(self.saved) if self.saved.exists() else Monitor(self.policy)
        known = [json.loads(line) for line in self.log.read_text().splitlines()]
        done = [record["id"] for record in known if "id" in record]
        self.next = max([int(name.split("-")[1]) + 1 for name in done], default=0)
        self.again = sorted(set(range(self.next)) - {int(name.split("-")[1]) for name in done})
        self.asked_at = {}
        self.ends = asyncio.Event()

    def note(self, record):
        """One line of the log for a decision."""
        kept = {name: record[name] for name in ("id", "status", "prediction", "stage")}
        self.file.write(json.dumps(kept) + "\n")

    def taken(self):
        """The next few inputs: first those that a worker before had not decided."""
        count = random.randint(1, 12)
        numbers = self.again[:count]
        del self.again[:count]
        while len(numbers) < count:
            numbers.append(self.next)
            self.next += 1
        return numbers

    async def call(self, service):
        """One caller: it asks until the end, and now and then gives up; then the service still
        decides its inputs."""
        while not self.ends.is_set():
            numbers = self.taken()
            ids = [f"{self.number}-{number}" for number in numbers]
            inputs = [number * WORKERS + self.number for number in numbers]
            patience = random.choice([0.05, *[20 * self.timeout] * 9])
            with suppress(TimeoutError):
                await asyncio.wait_for(service.decide_many(inputs, ids), patience)

    async def keep_books(self):
        """Save every second, and hand in labels, late, and for two thirds of the inputs."""
        while not self.ends.is_set():
            await asyncio.sleep(0.5)
            now = time.monotonic()
            labels = {}
            for name in self.monitor.to_label().index:
                asked = self.asked_at.setdefault(name, now)
                number = int(name.split("-")[1])
                if now - asked > LATE and number % 3:
                    labels[name] = truth(number * WORKERS + self.number)
                    del self.asked_at[name]
            self.monitor.label(labels)
            self.monitor.save(self.saved)
            self.file.write(
                json.dumps({"memory": resident(), "inputs": self.monitor.inputs}) + "\n"
            )
            self.file.flush()

    async def work(self):
        """Until SIGTERM comes."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.ends.set)
        with open(self.log, "a", encoding="utf-8") as self.file:
            self.monitor.on_decision = self.note
            async with httpx.AsyncClient() as client:
                calls = calls_of(client, self.address, timeout=self.timeout)
                options = {"batch_size": 8, "timeout": 1.5 * self.timeout, **TERMS}
                options |= {"monitor": self.monitor, "audit": AUDIT}
                service = Service(self.policy, calls, **options)
                callers = [asyncio.create_task(self.call(service)) for _ in range(CALLERS)]
                books = asyncio.create_task(self.keep_books())
                await self.ends.wait()
                # an input takes both deadlines twice at most
                await asyncio.wait(callers, timeout=6 * self.timeout)
                await service.end()
                await asyncio.gather(*callers, books, return_exceptions=True)
            self.monitor.save(self.saved)


def begin(number, address, folder, timeout):
    """The process of a worker."""
    warnings.simplefilter("ignore")
    random.seed(time.time_ns())
    (folder / f"log-{number}.jsonl").touch()
    asyncio.run(run_worker(number, address, folder, timeout))


async def run_worker(number, address, folder, timeout):
    """A worker on its loop."""
    await Worker(number, address, folder, timeout).work()


def soak(seconds, folder):
    """Run the service; what is wrong at the end, a sentence each."""
    spawn = multiprocessing.get_context("spawn")
    timeout = deadline()
    print(f"deadline {timeout:.1f} s", flush=True)

    def started(number):
        process = spawn.Process(target=begin, args=(number, address, folder, timeout))
        process.start()
        return process

    with served(EVERY, timeout) as address:
        workers = [started(number) for number in range(WORKERS)]
        files = [folder / f"monitor-{number}.json" for number in range(WORKERS)]
        while not all(file.exists() for file in files):
            time.sleep(0.1)
        end = time.monotonic() + seconds
        restarts = 0
        while time.monotonic() < end:
            begun = time.time()
            time.sleep(min(seconds / 10, 10.0))
            if files[0].stat().st_mtime > begun:  # it is at work
                workers[0].terminate()
                workers[0].join()
                workers[0] = started(0)
                restarts += 1
        while files[0].stat().st_mtime < begun:
            time.sleep(0.1)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
    return wrong_in(folder, seconds, restarts)


def wrong_in(folder, seconds, restarts):
    """What the files of a service say that they should not; prints the figures."""
    wrong = []
    whole = Monitor(expected_point())
    records = []
    growth = []
    for number in range(WORKERS):
        whole.merge(Monitor.load(folder / f"monitor-{number}.json"))
        text = (folder / f"log-{number}.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        records += [line for line in lines if "id" in line]
        memory = [line["memory"] for line in lines if "memory" in line]
        if number:  # not restarted
            growth.append(memory[-1] / memory[len(memory) // 3] - 1)
    times = Counter(record["id"] for record in records)
    twice = sum(count > 1 for count in times.values())
    missing = 0
    for number in range(WORKERS):
        own = {int(name.split("-")[1]) for name in times if name.startswith(f"{number}-")}
        missing += max(own, default=-1) + 1 - len(own)
    if twice or missing:
        wrong.append(f"{twice} inputs were decided twice, {missing} are missing")
    if whole.inputs != len(records):
        wrong.append(f"{whole.inputs} inputs are counted, {len(records)} were decided")
    lost = []
    for record in records:
        worker, number = map(int, record["id"].split("-"))
        value = number * WORKERS + worker
        lost.append(
            (said("large", value)[0] == truth(value)) - (record["prediction"] == truth(value)) * 1.0
        )
    loss = whole.loss(error=ALPHA)
    drift = whole.drift(ALPHA)
    failing = whole.failing(most=0.2, error=ALPHA)
    if not loss["low"] <= np.mean(lost) <= loss["high"]:
        wrong.append(f"the loss {np.mean(lost):.4f} is not in [{loss['low']}, {loss['high']}]")
    if drift.alarm or failing["alarm"].any():
        wrong.append(f"a false alarm:\n{drift.tests}\n{failing}")
    if max(growth) > 0.2 and seconds >= 300:
        wrong.append(f"memory grew by {max(growth):.0%} in the last two thirds")
    print(
        f"{len(records):,} inputs in {seconds:.0f} s, {restarts} restarts of one worker; "
        f"{dict(Counter(record['status'] for record in records))}; loss {np.mean(lost):.4f} in "
        f"[{loss['low']:.4f}, {loss['high']:.4f}], {loss['audited']} audited, {loss['unknown']} "
        f"unknown; memory {max(growth):+.1%} at most; cost {whole.cost()['mean']:.2f}"
    )
    print(failing.to_string())
    print(drift.tests.to_string())
    return wrong


def main():
    """The soak of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        wrong = soak(seconds, Path(folder))
    for sentence in wrong:
        print(sentence)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
