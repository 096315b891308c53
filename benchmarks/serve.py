"""A cascade behind HTTP beside what its parts could do, and false alarms of monitored services.

``python benchmarks/run.py serve [--quick]``, also ``alarms``. See ``examples/serve.py``.
"""

import asyncio
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

from cascadelib import datasets
from cascadelib.evaluation.intervals import share_interval
from cascadelib.policy import Decisions, pieces_of
from cascadelib.policy.confidence_summary import summary
from cascadelib.serve import Service
from cascadelib.serve.drift_signal import Capital

BATCH = 64
# a request; at once
IMAGES = 32
CALLERS = (1, 8, 64)


def serve(quick: bool = False) -> list[dict]:
    """Rows of the table: the bundled cascade behind examples/serve.py on loopback, for 1, 8 and 64
    callers, each with one request of 32 images (.npy, a byte a pixel) under way.

    The callers (this process, bare asyncio streams that stay open), HTTP and the models share the
    machine's cores. *Ideal* is the lesser of two rates, each without what the other costs: the
    cascade alone, in the server's process, run at a time over all images that the callers have
    under way, one batch after another with all of torch's threads; and the same server with a
    cascade that does nothing. A server that runs two batches at once, with half of the threads
    each, may pass it. All take turns; medians of the rounds; processor time is that of the server's
    process.
    """
    images = datasets.fashion_mnist("test").batch(0, 2_048)
    rounds = 1 if quick else RUNS
    requests = [
        request_of(images[start : start + IMAGES]) for start in range(0, len(images), IMAGES)
    ]
    here, there = get_context("spawn").Pipe()
    child = get_context("spawn").Process(target=serving, args=(there, images), daemon=True)
    child.start()
    there.close()  # so that recv ends where the child does
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
    """An HTTP request for decisions on images uint8 [n, height, width]."""
    file = io.BytesIO()
    np.save(file, images)
    head = f"POST /decide HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {file.tell()}\r\n\r\n"
    return head.encode() + file.getvalue()


async def called(port: int, requests: list[bytes], callers: int, each: int) -> tuple[float, list]:
    """(seconds, [(number of the request, seconds that it took, its answer)]): every caller sends
    ``each`` in turn.
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
    """How many answers to a request are not the (predictions, exit stages) that are expected of all
    images.
    """
    rows = slice(number * IMAGES, (number + 1) * IMAGES)
    said = json.loads(body)
    here = np.array([said["prediction"], said["exit_stage"]])
    return int((here != expected[:, rows]).any(axis=0).sum())


def asked(pipe: Any, what: Any) -> Any:
    """Query the server's process about its state, see :func:`serving`."""
    pipe.send(what)
    return pipe.recv()


class NoModel(Service):
    """A service that decides nothing: what is left is HTTP."""

    async def decide_many(self, inputs: Any, ids: Any = None) -> Decisions:
        zeros = np.zeros(len(inputs))
        column = zeros[:, None]
        return Decisions(column.astype(int), zeros.astype(int), zeros, column, column)


def serving(pipe: Any, images: np.ndarray) -> None:
    """The server's process: examples/serve.py with the bundled cascade, and with one that does
    nothing. Asked for "cpu", it says its processor seconds; for "last", images a second of the last
    model in full batches; for a number of callers, of the cascade over so many requests at a time.
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
    """Rows of the table: services of ten workers that are restarted fifty times each, whose inputs
    are drawn as their reference was, and which are asked about drift after each input: how many
    ever alarm at 1%.

    A restart leaves a capital as it is (``tests/serve/test_monitor.py``), so that a worker
    is one stream; a service alarms where the capital of one of W workers comes to W / α.
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
    """Largest capital of each of s streams, float64 [s], as :class:`Capital` has it of one.

    bins: int64 [s, t], where each live number falls between the order statistics of its reference;
    reference: one of those, which differ in their values alone.
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


JOBS = {"alarms": alarms, "serve": serve}
