"""Measure a cascade behind HTTP, the service of a policy, and false alarms of monitored services.

``python benchmarks/run.py serve [--quick]``, also ``engine``, ``alarms`` and ``error_rates``.
"""

import asyncio
import gc
import io
import itertools
import json
import re
import statistics
import threading
import time
from collections import defaultdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RUNS, module_at, row

from cascadelib import Point, Policy, datasets
from cascadelib.evaluation.intervals import share_interval
from cascadelib.policy import Decisions, pieces_of
from cascadelib.policy.confidence_summary import summary
from cascadelib.serve import AuditRecord, Monitor, Record, Service
from cascadelib.serve.counts import MAX_PENDING
from cascadelib.serve.drift_signal import Capital
from cascadelib.serve.monitor import BETS

BATCH = 64
IMAGES = 32  # of a request
CALLERS = (1, 8, 64)  # that call simultaneously


def serve(quick: bool = False) -> list[dict]:
    """Return the rows of the bundled cascade behind examples/serve.py, on this machine.

    1, 8 and 64 callers each have one request of 32 images (.npy, one byte per pixel) under way.
    The callers (asyncio streams of this process that stay open), HTTP and the models share the
    cores. *Ideal* is the smaller of two rates. The first is that of the cascade without HTTP, in
    the server's process: it runs on all images under way, one batch after another, with all threads
    of torch. The second is that of the same server with a cascade that does nothing. A server that
    runs two batches simultaneously, with half of the threads each, may exceed the ideal. The
    variants take turns, and a row is the median over the rounds. Processor time is that of the
    server's process.
    """
    images = datasets.fashion_mnist("test").batch(0, 2_048)
    rounds = 1 if quick else RUNS
    requests = [
        request_of(images[start : start + IMAGES]) for start in range(0, len(images), IMAGES)
    ]
    here, there = get_context("spawn").Pipe()
    child = get_context("spawn").Process(target=serving, args=(there, images), daemon=True)
    child.start()
    there.close()  # recv then ends when the child ends
    ports, expected = here.recv()
    rates: dict[Any, list[float]] = defaultdict(list)
    late: dict[Any, list[float]] = defaultdict(list)
    unlike = 0
    for _ in range(rounds + 1):  # the first warms up
        for what in ("last", *CALLERS):
            rates[what].append(asked(here, what))
        for callers, name in itertools.product(CALLERS, ports):
            before = asked(here, "cpu")
            seconds, answers = asyncio.run(
                called(ports[name], requests, callers, 1 if quick else 160 // callers + 2)
            )
            count = IMAGES * len(answers)
            rates[name, callers].append(count / seconds)
            rates[name, callers, "cpu"].append((asked(here, "cpu") - before) / count)
            late[name, callers] += [took for _, took, _ in answers]
            if name == "cascade":
                unlike += sum(unlike_at(expected, number, body) for number, _, body in answers)
    child.terminate()
    middle = {key: statistics.median(values[1:]) for key, values in rates.items()}
    rows = []
    for callers in CALLERS:
        rate = middle["cascade", callers]
        idle = middle["nothing", callers]
        times = late["cascade", callers]
        values = [
            ("throughput ÷ ideal", rate / min(middle[callers], idle), "ratio", "≥ 0.9"),
            ("images a second", rate, "1/s", ""),
            ("… the cascade alone", middle[callers], "1/s", ""),
            ("… ÷ the last model alone", rate / middle["last"], "×", ""),
            ("… ÷ the same server with nothing to run", rate / idle, "ratio", ""),
            ("median time of a request", 1e3 * np.median(times), "ms", ""),
            ("p99 of it", 1e3 * np.quantile(times, 0.99), "ms", ""),
            ("processor time an image", 1e6 * middle["cascade", callers, "cpu"], "µs", ""),
            ("… with nothing to run", 1e6 * middle["nothing", callers, "cpu"], "µs", ""),
        ]
        at = f"serve, {callers} callers" if callers > 1 else "serve, one caller"
        rows += [
            row(f"{at}: {what}", value, unit, target, runs=rounds)
            for what, value, unit, target in values
        ]
    rows.append(
        row("serve: images a second, the last model alone", middle["last"], "1/s", runs=rounds)
    )
    rows.append(row("serve: answers unlike the cascade's own", unlike, "samples", "≤ 0"))
    return rows


def request_of(images: np.ndarray) -> bytes:
    """Return an HTTP request for decisions on images uint8 [n, height, width]."""
    file = io.BytesIO()
    np.save(file, images)
    head = f"POST /decide HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {file.tell()}\r\n\r\n"
    return head.encode() + file.getvalue()


async def called(port: int, requests: list[bytes], callers: int, each: int) -> tuple[float, list]:
    """Let each caller send ``each`` requests, one after another.

    Return (seconds of all, [(number of the request, its seconds, its answer)]).
    """
    answers = []

    async def caller(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in (i % len(requests) for i in range(first, first + each)):
            begun = time.perf_counter()
            writer.write(requests[number])
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = re.findall(rb"content-length: (\d+)", head)[0]
            body = await reader.readexactly(int(length))
            answers.append((number, time.perf_counter() - begun, body))
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(caller(i * each) for i in range(callers)))
    return time.perf_counter() - begun, answers


def unlike_at(expected: np.ndarray, number: int, body: bytes) -> int:
    """Return the number of answers to a request that differ from the expected ones.

    expected: the predictions and exit stages of all images.
    """
    rows = slice(number * IMAGES, (number + 1) * IMAGES)
    answers = json.loads(body)
    found = np.array([answers["prediction"], answers["exit_stage"]])
    return int((found != expected[:, rows]).any(axis=0).sum())


def asked(pipe: Any, what: Any) -> Any:
    """Return the reply of the server's process to a request, see :func:`serving`."""
    pipe.send(what)
    return pipe.recv()


class NoModel(Service):
    """A service that runs no model. Only the cost of HTTP remains."""

    async def decide_many(self, inputs: Any, ids: Any = None) -> Decisions:
        zeros = np.zeros(len(inputs))
        column = zeros[:, None]
        return Decisions(column.astype(int), zeros.astype(int), zeros, column, column)


def serving(pipe: Any, images: np.ndarray) -> None:
    """Run the server's process: examples/serve.py with the bundled cascade, and without models.

    To "cpu" it replies with its processor seconds. To "last" it replies with the images per second
    of the last model in full batches. To a number of callers it replies with those of the cascade
    on the images of as many requests.
    """
    path = Path(__file__).resolve().parents[1] / "examples" / "serve.py"
    example = module_at(path)
    cascade, _ = example.chosen()
    cascade.optimize(images[:BATCH])
    options = example.arguments(["--port", "0", "--max-queue", str(IMAGES * max(CALLERS))])
    ports = {}
    services = {"cascade": Service, "nothing": NoModel}
    for name, kind in services.items():
        server = example.server_of(kind(cascade.policy, cascade), options)
        threading.Thread(target=server.run, daemon=True).start()
        while not server.started:
            time.sleep(0.05)
        ports[name] = server.servers[0].sockets[0].getsockname()[1]
    decisions = cascade(images)
    pipe.send((ports, np.array([decisions.predictions, decisions.exit_stage])))
    while True:
        what = pipe.recv()
        if what == "cpu":
            pipe.send(time.process_time())
            continue
        with torch.inference_mode():
            begun = time.perf_counter()
            for piece in pieces_of(images, BATCH if what == "last" else what * IMAGES):
                if what == "last":
                    cascade.members[-1].logits(piece)
                else:
                    cascade.run(pieces_of(piece, IMAGES), BATCH)
            pipe.send(len(images) / (time.perf_counter() - begun))


WORKERS = 10
RESTARTS = 50
EACH = 20  # inputs of a worker from one start to the next
REFERENCE = 300  # samples


def alarms(quick: bool = False) -> list[dict]:
    """Return the share of services that ever raise a false alarm of drift, at 1%.

    A service has ten workers, and each is restarted fifty times. Inputs are drawn from the
    distribution of the reference, and drift is tested after each input. A restart does not change a
    capital (``tests/serve/test_monitor.py``), so a worker is one stream. A service raises an alarm
    if the capital of one of its W workers reaches W / α.
    """
    services = 200 if quick else 10_000
    rng = np.random.default_rng(0)
    ever: list[bool] = []
    while len(ever) < services:
        bins = []
        for _ in range(100):
            reference = summary(rng.random(REFERENCE))
            live = rng.random((WORKERS, EACH * RESTARTS))
            bins.append(np.searchsorted(reference.values, live))
        largest = largest_capitals(reference, np.concatenate(bins)).reshape(-1, WORKERS)
        ever += (largest.max(axis=1) >= WORKERS / 0.01).tolist()
    low, high = share_interval(np.array(ever), kind="exact")
    at = f"drift at 1%, {services:,} services of {WORKERS} workers × {RESTARTS} restarts"
    return [
        row(f"{at}: ever alarmed", float(np.mean(ever)), "share", "≤ 0.01"),
        row("… lower end of its 95% interval", low, "share"),
        row("… upper end of its 95% interval", high, "share", "" if quick else "≤ 0.01"),
    ]


def largest_capitals(reference: Any, bins: np.ndarray) -> np.ndarray:
    """Return the largest capital of each of s streams, float64 [s]. :class:`Capital` computes one.

    bins: int64 [s, t], the bin of each live number between the order statistics of its reference.
    reference: one of the references. They differ only in their values.
    """
    start = Capital(reference)
    streams, inputs = bins.shape
    bets = len(start.gains)
    factors = np.exp(start.gains).T
    aside = 1 / (1 + np.log1p(np.arange(inputs + 1)))
    weight = np.tile(start.weight, (streams, 1))
    capital = np.zeros((streams, bets))
    largest = np.ones(streams)
    for number in range(inputs):
        factor = factors[bins[:, number]]
        stake = (aside[number] - aside[number + 1]) / bets
        capital = (capital + stake) * factor * ((start.urn.sum() + number) / weight)
        weight += factor
        largest = np.maximum(largest, capital.sum(axis=1) + aside[number + 1])
    return largest


def engine(quick: bool = False) -> list[dict]:
    """Return rows about a service of functions: processor time, and slow calls of its monitor.

    Two functions that answer immediately decide requests of one input, one after another and in
    bursts, also with the objects of modules excluded from garbage collection. Then a monitor with
    65,536 pending audits is read.
    """
    bursts = (1, 1000) if quick else (1, 1000, 16_000)
    rows = [processor_time(burst) for burst in bursts]
    gc.collect()
    gc.freeze()  # as docs/operations.md advises
    frozen = processor_time(bursts[-1])
    gc.unfreeze()
    frozen["benchmark"] += " after gc.freeze()"
    return [*rows, frozen, *slow_calls(2**12 if quick else MAX_PENDING)]


def error_rates(quick: bool = False) -> list[dict]:
    """Return rows about the error rates of a monitor: failing models, and renewed certificates.

    Streams of 10⁶ inputs have the acceptable rate of failures of 5%, and are watched for false
    alarms. Policies whose true loss is ε are certified again from 1,000 audited inputs, all
    labelled: at most 5% may be certified. 67 of 1,000 is the limit of a test of this at 1%.
    """
    streams = false_alarms(20 if quick else 200, 10**5 if quick else 10**6)
    return [streams, false_renewals(20 if quick else 1000)]


PAIR = Policy(Point(("small", "large"), (0.5,), (0.5, 0.5), cost=5.0, cost_kind="cost"))


def processor_time(burst: int) -> dict:
    """Return the row of the processor time of a request, in bursts of simultaneous requests.

    It is the mean over all requests, garbage collection included, of the event loop's thread.
    """

    async def small(inputs: list) -> tuple:
        return inputs, [each * 37 % 100 / 100 for each in inputs], [1.0] * len(inputs)

    async def large(inputs: list) -> tuple:
        return inputs, None, [10.0] * len(inputs)

    async def main() -> float:
        service = Service(PAIR, [small, large], batch_size=1, concurrency=64)
        count = max(6 * burst, 20_000)
        before = time.thread_time()
        for first in range(0, count, burst):
            numbers = range(first, first + burst)
            if burst == 1:
                await service.decide(first, f"{first}")
            else:
                await asyncio.gather(*[service.decide(each, f"{each}") for each in numbers])
        return (time.thread_time() - before) / count

    at = "one request after another" if burst == 1 else f"bursts of {burst:,} requests"
    return row(f"engine, {at}: processor time", 1e6 * asyncio.run(main()), "µs", "≤ 60")


def audited_records(monitor: Monitor, small: Any, large: Any, confidence: Any) -> None:
    """Count audited inputs of a policy of two models that exit at the first one."""
    records: list[Record | AuditRecord] = []
    for number, (first, second, value) in enumerate(zip(small, large, confidence)):
        record = Record(f"{number}", number=number, audited=True)
        record.add(first, value, "none", 1.0, 0.1)
        record.finish(monitor.models, latency=0.1)
        records += [record, AuditRecord(record.id, second, cost=10.0)]
    monitor.observe(records)


def slow_calls(pending: int) -> list[dict]:
    """Return the rows of the slowest of ten calls of a monitor with many pending audits."""
    monitor = Monitor(PAIR)
    audited_records(monitor, ["yes"] * pending, ["no"] * pending, np.linspace(0, 1, pending))
    new = [Record(f"new {number}", audited=True) for number in range(10)]
    for record in new:
        record.add("yes", 0.9, "none", 1.0, 0.1)
        record.finish(PAIR.models, latency=0.1)
    calls = {
        "decide": lambda number: monitor.decide(new[number]),
        "resolve": lambda number: monitor.resolve(AuditRecord(f"new {number}", "no")),
        "label": lambda number: monitor.label({f"{number}": "no"}),
        "loss": lambda number: monitor.loss(0.01),
        "to_label": lambda number: monitor.to_label(),
        "failing": lambda number: monitor.failing(0.05),
    }
    rows = []
    for name, call in calls.items():
        took = []
        for number in range(len(new)):
            before = time.thread_time()
            call(number)
            took.append(1e3 * (time.thread_time() - before))
        rows.append(row(f"engine, {pending:,} pending audits: {name}", max(took), "ms", "≤ 10"))
    return rows


def false_alarms(streams: int, inputs: int) -> dict:
    """Return the row of the mean number of inputs until ``failing`` raises a false alarm."""
    rng = np.random.default_rng(0)
    evidence = np.zeros((streams, len(BETS)))
    alarms = np.zeros(streams, bool)
    for failed in (rng.random((inputs, 1, streams)) < 0.05).transpose(0, 2, 1):
        factor = np.where(failed, 1 + BETS.T * (1 / 0.05 - 1), 1 - BETS.T)
        evidence = (evidence + 1) * factor
        alarms |= evidence.mean(axis=1) >= 1e7
    rate = alarms.sum() / (streams * inputs)
    at = f"failures at the acceptable 5%, {streams * inputs:,} inputs"
    return row(f"{at}: inputs per false alarm", 1 / rate if rate else np.inf, "inputs", "≥ 1e7")


def false_renewals(drifts: int) -> dict:
    """Return the row of policies of a true loss of ε that are certified again."""
    share = sum(map(renews_falsely, range(drifts))) / drifts
    at = f"{drifts:,} drifts to a loss above ε = 3% at thresholds below 0.1"
    return row(f"{at}: falsely certified again", share, "share", "≤ 0.067")


def renews_falsely(seed: int) -> bool:
    """Return whether a threshold below 0.1 is certified, at which more than ε is lost."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(1000)
    is_lost = rng.random(1000) < 0.03 / 0.9  # so that the loss is ε at a threshold of 0.1
    small = np.where(is_lost, "b", "a").tolist()
    monitor = Monitor(PAIR)
    audited_records(monitor, small, ["a"] * 1000, confidence.tolist())
    renewal = monitor.recertify(0.03)
    renewal = renewal.label(dict.fromkeys(renewal.to_label, "a"))
    thresholds = [point.thresholds[0] for point in renewal.certificate.certified]
    return min(thresholds, default=1.0) < 0.1


JOBS = {"alarms": alarms, "engine": engine, "error_rates": error_rates, "serve": serve}
