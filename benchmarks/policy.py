"""A running cascade's throughput beside the ideal, Σ C_i · reach_i from each model's own measured
time; decision time; what frozen models save; and a cascade behind HTTP beside what its parts could
do.

``python benchmarks/run.py cascade [--quick]``, also ``alarms``, ``decide``, ``optimize`` and
``serve``. See ``notebooks/tools/deployed.py``, :meth:`cascadelib.Cascade.optimize` and
``examples/serve.py``.
"""

import asyncio
import copy
import io
import itertools
import json
import re
import statistics
import sys
import threading
import time
from collections import defaultdict
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RUNS, module_at, row

from cascadelib import Cascade, LogitStore, Point, Policy, datasets, pick, search
from cascadelib.analysis.drift_signal import Capital, summary
from cascadelib.evaluation.intervals import share_interval
from cascadelib.policy import Decisions, pieces_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
from tools.deployed import same_decisions, time_cascade  # noqa: E402

BATCH = 64
SMALL_BATCH = 8


def points(store: LogitStore, quick: bool) -> dict[str, Point]:
    """{label: Point}: as accurate as the best single model, or nearly so."""
    found = {"two models": pick(search(store, 2), "match_best", caution=0)}
    if not quick:
        found["three models"] = pick(search(store, 3, models="pareto"), "match_best", caution=0)
        found["mean logits"] = pick(
            search(store, 2, "max_softmax_mean_logits_ts"), accuracy=0.94, caution=0
        )
    return found


def rows_of(
    label: str, cascade: Cascade, images: np.ndarray, batch_size: int, repeats: int
) -> list[dict]:
    """Rows of one cascade at one batch size; targets are for batches of 64 and 8."""
    table = time_cascade(cascade, images, batch_size, repeats)
    at = f"{label}, batch {batch_size}"
    whole = table.loc["cascade"]
    decision = table.loc["exit decisions"]
    wanted = batch_size == BATCH
    throughput = {BATCH: "≥ 0.85", SMALL_BATCH: "≥ 0.9"}.get(batch_size, "")
    values = [
        (
            "throughput ÷ ideal, stream",
            table.loc["cascade, stream", "throughput_to_ideal"],
            "ratio",
            throughput,
        ),
        ("throughput ÷ ideal, batch by batch", whole["throughput_to_ideal"], "ratio", ""),
        (
            "exit decisions ÷ time of the cascade",
            decision["seconds"] / whole["seconds"],
            "share",
            "≤ 0.02" if wanted else "",
        ),
        ("exit decision, a stage and batch", decision["decision_seconds"] * 1e6, "µs", ""),
        ("samples a second, stream", 1 / table.loc["cascade, stream", "seconds"], "1/s", ""),
        (
            "… of the last model alone",
            1 / table.loc[cascade.members[-1].name, "seconds"],
            "1/s",
            "",
        ),
    ]
    return [
        row(f"{at}: {what}", value, unit, target, runs=repeats)
        for what, value, unit, target in values
    ]


def cascade(quick: bool = False) -> list[dict]:
    """Rows of the table: cascades of the bundled zoo on its test images."""
    store = LogitStore("data/fashion-mnist/val")
    test = LogitStore("data/fashion-mnist/test")
    images = datasets.fashion_mnist("test").batch(0, 320 if quick else 1_280)
    rows = []
    for label, point in points(store, quick).items():
        running = Cascade.from_point(point, store=store)
        rows += rows_of(label, running, images, BATCH, 1 if quick else 7)
        if label == "two models":
            for size in (SMALL_BATCH, 1):
                rows += rows_of(label, running, images[:256], size, 1 if quick else RUNS)
        counts = same_decisions(
            test.take(slice(0, len(images))), point, running.run(pieces_of(images, BATCH))
        )
        rows.append(
            row(
                f"{label}: decisions unlike the evaluator's, near a threshold",
                counts["near"],
                "samples",
            )
        )
        rows.append(
            row(
                f"{label}: decisions unlike the evaluator's otherwise",
                counts["other"],
                "samples",
                "≤ 0",
            )
        )
    return rows


def decide(quick: bool = False) -> list[dict]:
    """Rows of the table: a policy of three models decides a million inputs from arrays of
    confidences and whole numbers; processor time.
    """
    count = 10**5 if quick else 10**6
    rng = np.random.default_rng(0)
    confidences = rng.random((3, count))
    predictions = rng.integers(0, 1000, (3, count))
    policy = Policy(Point(("a", "b", "c"), (0.5, 0.5)))
    times = []
    for _ in range(RUNS + 1):  # the first warms up
        begun = time.process_time()
        policy.decide(confidences, predictions)
        times.append(time.process_time() - begun)
    seconds = statistics.median(times[1:])
    return [row(f"decide, {count:,} × 3", seconds, "s", "" if quick else "≤ 0.05", runs=RUNS)]


def optimize(quick: bool = False) -> list[dict]:
    """Rows of the table: each model of a bundled cascade as it is ÷ frozen for that batch size,
    processor time; and decisions unlike those before.
    """
    store = LogitStore("data/fashion-mnist/val")
    images = datasets.fashion_mnist("test").batch(0, 640)
    plain = Cascade.from_point(pick(search(store, 2), "near_best", caution=0), store=store)
    rows = []
    rounds = 1 if quick else 9
    for size in (2, 16, 64):
        frozen = copy.deepcopy(plain).optimize(images[:size])
        pieces = pieces_of(images[:128], size)
        for before, after in zip(plain.members, frozen.members):
            ratios = []
            for _ in range(rounds + 1):
                was = processor_time(before, pieces)
                ratios.append(was / processor_time(after, pieces))
            wanted = "≥ 1.3" if before is plain.members[-1] else ""
            ratio = statistics.median(ratios[1:])  # the first warms up
            rows.append(
                row(
                    f"{before.name}, batch {size}: as it is ÷ frozen",
                    ratio,
                    "×",
                    wanted,
                    runs=rounds,
                )
            )
        there = [cascade.run(pieces_of(images, size)) for cascade in (plain, frozen)]
        unlike = (there[0].exit_stage != there[1].exit_stage) | (
            there[0].predictions != there[1].predictions
        )
        rows.append(
            row(f"batch {size}: decisions unlike those before", unlike.sum(), "samples", "≤ 0")
        )
    return rows


@torch.inference_mode()
def processor_time(member: Any, pieces: list) -> float:
    """Processor seconds of a model on inputs that are made before."""
    inputs = [member.inputs(piece) for piece in pieces]
    bare = replace(member, transform=None)
    begun = time.process_time()
    for one in inputs:
        bare.logits(one)
    return time.process_time() - begun


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
    """What the server's process says of itself, see :func:`serving`."""
    pipe.send(what)
    return pipe.recv()


class NoModel:
    """A cascade that decides nothing: what is left is HTTP."""

    def __init__(self, running: Any) -> None:
        self.running = running
        self.undecided = 0

    def together(self, *terms: Any) -> "NoModel":
        return self

    async def decide(self, batch: Any) -> Decisions:
        zeros = np.zeros(len(batch))
        column = zeros[:, None]
        return Decisions(column.astype(int), zeros.astype(int), zeros, column, column)

    async def end(self) -> None:
        pass


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
    for name, what in (("cascade", cascade), ("nothing", NoModel(cascade.running))):
        server = example.server_of(what, options)
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

    A restart leaves a capital as it is (``tests/policy/test_monitoring.py``), so that a worker
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


JOBS = {
    "alarms": alarms,
    "cascade": cascade,
    "decide": decide,
    "optimize": optimize,
    "serve": serve,
}
