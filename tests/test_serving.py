"""examples/serve.py: all get their own answers, bad input and too much of it are refused, and it
ends in order."""

import asyncio
import http.client
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cascadelib as cl

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("serve_example", ROOT / "examples" / "serve.py")
serve = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(serve)
IMAGES = cl.datasets.fashion_mnist("test").batch(0, 200)
VAL = cl.LogitStore("data/fashion-mnist/val")


def npy(array: Any) -> Any:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def post(port: Any, body: Any, **headers: Any) -> tuple:
    """(status, what it says, headers)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/decide", body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read()), response.headers


class Slow:
    """A cascade whose runs wait until they may go on; it notes how many batches each had."""

    def __init__(self, cascade: Any) -> None:
        self.cascade = cascade
        self.running = cascade.running
        self.go = threading.Event()
        self.batches = []

    def run(self, batches: Any, batch_size: Any) -> Any:
        self.batches.append(len(batches))
        assert self.go.wait(60)
        return self.cascade.run(batches, batch_size)


@pytest.fixture(scope="module")
def cascade() -> Any:
    return cl.Cascade.from_point(
        cl.pick(cl.search(VAL, 2, models=["mlp@28", "lenet@28"]), "max_improvement")
    )


@pytest.fixture
def served() -> Iterator[Any]:
    """serve(cascade, *options) → port; the servers end with the test."""
    servers = []

    def start(cascade: Any, *options: Any) -> Any:
        server = serve.server_of(cascade, serve.arguments(["--port", "0", *options]))
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return server.servers[0].sockets[0].getsockname()[1]

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join()


def waits(condition: Any) -> None:
    """Until the condition holds."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_everybody_gets_their_own_answers(cascade: Any, served: Any) -> None:
    expected = cascade(IMAGES)
    slow = Slow(cascade)
    port = served(slow, "--max-wait-ms", "1000")
    cuts = [*range(0, 200, 7), 200]
    with ThreadPoolExecutor(len(cuts)) as pool:
        first = pool.submit(post, port, npy(IMAGES[:1]))
        waits(lambda: slow.batches)
        said = [pool.submit(post, port, npy(IMAGES[a:b])) for a, b in zip(cuts, cuts[1:])]
        time.sleep(0.3)
        slow.go.set()
        assert first.result()[1]["prediction"] == expected.predictions[:1].tolist()
        for (a, b), one in zip(zip(cuts, cuts[1:]), said, strict=True):
            status, answers, _ = one.result()
            assert status == 200 and answers["prediction"] == expected.predictions[a:b].tolist()
            assert answers["exit_stage"] == expected.exit_stage[a:b].tolist()
            np.testing.assert_allclose(answers["confidence"], expected.confidence[a:b], atol=1e-5)
    assert slow.batches[0] == 1 and len(slow.batches) < len(cuts) / 2


def test_it_waits_for_others_only_where_there_are_others() -> None:
    def nothing(batches: Any, batch_size: Any) -> Any:
        return cl.deployment.Decisions(*[np.zeros(sum(map(len, batches)))] * 6)

    async def seconds(callers: Any, max_batch: int = 64) -> Any:
        queue = serve.Queue(SimpleNamespace(run=nothing), max_batch, 1.0, 1024, lambda: callers)
        work = asyncio.create_task(queue.work())
        begun = time.monotonic()
        await queue.decide(np.zeros((2, 3)))
        work.cancel()
        return time.monotonic() - begun

    assert asyncio.run(seconds(2)) >= 0.99
    assert asyncio.run(seconds(1)) < 0.9 and asyncio.run(seconds(2, max_batch=2)) < 0.9


BAD = {
    "no .npy": (b"junk", "no .npy array"),
    "nothing": (b"", "no .npy array"),
    "cut short": (npy(IMAGES[:2])[:-1], "no .npy array.*cannot reshape"),
    "unbalanced": (npy(IMAGES[:2]).replace(b"(2,", b"((2"), "no .npy array.*header"),
    "a truth value in its shape": (
        npy(IMAGES[:2]).replace(b"(2, 28, 28)", b"(2,True,28)"),
        "no .npy array.*shape",
    ),
    "pickled": (npy(np.array([None])), "no .npy array"),
    "no samples": (npy(IMAGES[:0]), "without samples"),
    "one number": (npy(np.float32(3)), "a batch is needed"),
    "another shape": (npy(IMAGES[:2, 0]), r"model 'mlp@28' cannot run on uint8 \[2, 28\]"),
    "nan": (
        npy(np.where(np.arange(784).reshape(28, 28) == 9, np.nan, IMAGES[:2])),
        "2 of 2 .* nan",
    ),
    "inf": (npy(np.stack([IMAGES[0], np.full((28, 28), np.inf)])), "1 of 2 samples.*sample 1"),
    "complex": (npy(IMAGES[:2].numpy().astype(np.complex64)), "real numbers .*complex64"),
    "dates": (npy(np.zeros((2, 28, 28), "M8[s]")), "real numbers .*datetime64"),
    "half a character": (b'["\\ud800"]', "valid Unicode"),
    "texts": (b'["a shoe"]', "model 'mlp@28' cannot run on list"),
    "JSON of numbers": (b"[1, 2]", "a list of texts"),
    "an object": (b'{"a": 1}', "a list of texts"),
    "no JSON": (b"[", "no JSON"),
    "too deep": (b"[" * 100_000, "no JSON"),
    "too many": (npy(np.zeros((300, 28, 28), np.uint8)), "300 samples in one request; at most 256"),
}


@pytest.fixture(scope="module")
def port(cascade: Any) -> Iterator[Any]:
    server = serve.server_of(
        cascade, serve.arguments(["--port", "0", "--max-queue", "256", "--max-bytes", "400000"])
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    waits(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(port: Any, case: Any) -> None:
    body, message = BAD[case]
    kind = "application/json" if body[:1] in (b"[", b"{") else "application/octet-stream"
    status, said, _ = post(port, body, **{"content-type": kind})
    assert status == 422 and re.search(message, said["detail"]), said
    assert post(port, npy(IMAGES[:3]))[0] == 200


def test_a_body_that_is_too_long_is_refused(port: Any) -> None:
    status, said, _ = post(port, iter([bytes(300_000)] * 2))
    assert status == 413 and "400000 bytes" in said["detail"]


def test_bad_input_beside_good_input_harms_nobody(cascade: Any, served: Any) -> None:
    slow = Slow(cascade)
    port = served(slow)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(post, port, npy(IMAGES[:1]))
        waits(lambda: slow.batches)
        bad, good = (pool.submit(post, port, npy(part)) for part in (IMAGES[:2, 0], IMAGES[:5]))
        time.sleep(0.3)
        slow.go.set()
        assert first.result()[0] == 200 and bad.result()[0] == 422 and good.result()[0] == 200
        assert good.result()[1]["prediction"] == cascade(IMAGES[:5]).predictions.tolist()


def test_too_much_at_once_is_refused_for_a_while(cascade: Any, served: Any) -> None:
    slow = Slow(cascade)
    port = served(slow, "--max-queue", "10")
    with ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(post, port, npy(IMAGES[:1]))]
        waits(lambda: slow.batches)
        taken.append(pool.submit(post, port, npy(IMAGES[:8])))
        time.sleep(0.3)
        status, said, headers = post(port, npy(IMAGES[:3]))
        assert (
            status == 503
            and "8 samples wait" in said["detail"]
            and int(headers["Retry-After"]) >= 1
        )
        slow.go.set()
        assert [one.result()[0] for one in taken] == [200, 200]
    assert post(port, npy(IMAGES[:3]))[0] == 200


def test_a_model_that_breaks_ends_no_server(cascade: Any, served: Any) -> None:
    slow = Slow(cascade)
    slow.run = lambda batches, size: 1 / 0
    port = served(slow)
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/decide", npy(IMAGES[:1]))
        assert connection.getresponse().status == 500


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--cascade", "nowhere.json"], "nowhere.json"),
        (["--max-batch", "0"], "--max-batch: 0 is no number of 1 or more"),
        (["--port", "99999"], "port"),
    ],
)
def test_what_it_is_started_with_is_refused_in_a_line(given: list[str], said: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / "serve.py"), *given]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert out.returncode and "Traceback" not in out.stderr and said in out.stderr.splitlines()[-1]


def test_a_process_of_its_own_answers_what_it_has_before_it_ends(
    tmp_path: Path, cascade: Any
) -> None:
    """A saved cascade; SIGTERM while a request waits for others."""
    cascade.save(tmp_path / "c.json")
    np.save(tmp_path / "example.npy", IMAGES[:8])
    options = [
        "--cascade",
        tmp_path / "c.json",
        "--example",
        tmp_path / "example.npy",
        "--port",
        "0",
    ]
    command = [
        sys.executable,
        ROOT / "examples" / "serve.py",
        *options,
        "--max-wait-ms",
        "3000",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    try:
        line = process.stdout.readline()
        assert "mlp@28" in line and "http://127.0.0.1:" in line
        port = int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=60)  # for whom the other waits
        idle.request("GET", "/health")
        health = json.loads(idle.getresponse().read())
        assert (
            health["models"] == list(cascade.point.models)
            and health["inputs"] == health["waiting"] == 0
        )
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(post, port, npy(IMAGES[:5]))
            waits(lambda: health_of(idle)["waiting"] == 5 or asked.done())
            process.send_signal(signal.SIGTERM)
            status, answers, _ = asked.result()
        assert status == 200 and answers["prediction"] == cascade(IMAGES[:5]).predictions.tolist()
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()


def health_of(connection: Any) -> Any:
    connection.request("GET", "/health")
    return json.loads(connection.getresponse().read())
