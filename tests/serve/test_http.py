"""The HTTP application and examples/serve.py: each client gets its answers, bad input and too much
input are refused, Prometheus reads counts, and SIGTERM ends it in order."""

import asyncio
import importlib.util
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import cascadelib as cl
from cascadelib.serve import Service, http

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("serve_example", ROOT / "examples" / "serve.py")
serve = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(serve)
IMAGES = cl.datasets.fashion_mnist("test").batch(0, 200)
VAL = cl.LogitStore("data/fashion-mnist/val")


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def post(port, body, **headers):
    """Return (status, JSON, headers)."""
    address = f"http://127.0.0.1:{port}/decide"
    response = httpx.post(address, content=body, headers=headers, timeout=60)
    return response.status_code, response.json(), response.headers


class Slow:
    """A service whose models wait for ``go``. It records the stage and size of each batch."""

    def __init__(self, cascade):
        self.cascade = cascade
        self.go = threading.Event()
        self.batches = []

    def service(self, options):
        service = serve.service_of(self.cascade, options)
        logits = service.models.logits

        def later(stage, batch):
            self.batches.append((stage, len(batch)))
            assert self.go.wait(60)
            return logits(stage, batch)

        service.models.logits = later
        return service


@pytest.fixture(scope="module")
def cascade():
    return cl.Cascade.from_point(
        cl.pick(cl.search(VAL, 2, models=["mlp@28", "lenet@28"]), "max_improvement")
    )


@pytest.fixture
def served():
    """serve(cascade or Slow, *options) → port; the servers end with the test."""
    servers = []

    def start(cascade, *options, example=None):
        settings = serve.arguments(["--port", "0", *options])
        slow = isinstance(cascade, Slow)
        service = cascade.service(settings) if slow else serve.service_of(cascade, settings)
        start.service = service
        server = serve.server_of(service, settings, example)
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


def waiting(port):
    """How many samples a server has taken and not answered."""
    return httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).json()["waiting"]


def waits(condition):
    """Until the condition holds."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_simultaneous_requests_share_batches_and_each_gets_its_answers(cascade, served):
    """Two batches are under way simultaneously. The others wait, and then share batches."""
    expected = cascade(IMAGES)
    slow = Slow(cascade)
    port = served(slow)
    cuts = [*range(0, 200, 7), 200]
    pairs = list(zip(cuts, cuts[1:]))

    async def main():
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits) as client:

            async def send(a, b):
                response = await client.post("/decide", content=npy(IMAGES[a:b]), timeout=60)
                assert response.status_code == 200
                return response.json()

            runs = [asyncio.create_task(send(a, b)) for a, b in pairs]
            while (await client.get("/health")).json()["waiting"] < 200:
                await asyncio.sleep(0.01)
            assert [stage for stage, _ in slow.batches] == [0, 0]
            slow.go.set()
            return await asyncio.gather(*runs)

    for (a, b), answers in zip(pairs, asyncio.run(main()), strict=True):
        assert answers["prediction"] == expected.predictions[a:b].tolist()
        assert answers["exit_stage"] == expected.exit_stage[a:b].tolist()
        np.testing.assert_allclose(answers["confidence"], expected.confidence[a:b], atol=1e-5)
    sizes = [size for stage, size in slow.batches if stage == 0]
    assert sum(sizes) == 200 and len(sizes) <= 6 and max(sizes) == 64


def test_a_request_over_its_deadline_is_answered_with_504(cascade, served):
    slow = Slow(cascade)
    port = served(slow, "--deadline", "0.2")
    status, found, _ = post(port, npy(IMAGES[:2]))
    assert status == 504 and "within 0.2 s" in found["detail"]
    slow.go.set()
    served.service.deadline = 60.0
    assert post(port, npy(IMAGES[:2]))[0] == 200


def test_a_policy_of_functions_is_served_as_well():
    """Texts in, answers out. The model that is down shows in the metrics."""

    def fails(texts):
        raise OSError("down")

    async def main():
        calls = [lambda texts: ([text.upper() for text in texts], [0.9] * len(texts)), fails]
        policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
        service = Service(policy, calls)
        service.queues[1].failed_share = 1.0
        transport = httpx.ASGITransport(http.application(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/decide", json=["a shoe", "a hat"])
            service.monitor.on_decision = lambda record: ids.append(record.id)
            named = await client.post("/decide", json={"q1": "a shoe", "q2": "a hat"})
            metrics = await client.get("/metrics")
        assert named.json() == answer.json() and ids == ["q1", "q2"]
        return answer.json(), metrics.text

    ids = []
    answer, metrics = asyncio.run(main())
    assert answer["prediction"] == ["A SHOE", "A HAT"] and answer["exit_stage"] == [0, 0]
    assert 'cascade_stopped{model="large"} 1.0' in metrics
    assert 'cascade_stopped{model="small"} 0.0' in metrics


@pytest.mark.parametrize(("answers", "status"), [([np.int64(3), 4], 200), ([3], 500)])
def test_answers_of_functions_are_json_and_a_malformed_one_is_an_error_of_the_server(
    answers, status
):
    async def small(texts):
        return answers, [0.9] * len(texts)

    async def main():
        service = Service(cl.Policy(cl.Point(("small", "large"), (0.5,))), [small, small])
        app = http.application(service)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/decide", json=["a shoe", "a hat"])

    response = asyncio.run(main())
    assert response.status_code == status
    assert status == 500 or response.json()["prediction"] == [3, 4]


def test_prometheus_reads_the_counts(cascade, served):
    port = served(cascade)
    assert post(port, npy(IMAGES[50:80]))[0] == 200
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name, sample.labels.get("model")] = sample.value
    exits = served.service.monitor.exits.tolist()
    assert sum(exits) == 30
    for model, count in zip(cascade.point.models, exits):
        assert samples["cascade_decided_total", model] == count
        assert samples["cascade_failures_total", model] == 0
    assert samples["cascade_model_seconds_total", cascade.point.models[0]] > 0
    assert samples["cascade_waiting", None] == 0


def test_a_foreign_host_name_is_refused(cascade, served):
    """As that of a page which has its name point at this machine."""
    port = served(cascade, "--name", "models.internal")
    for host, status in (("models.internal", 200), ("localhost:80", 200), ("evil.example", 400)):
        for path in ("/health", "/metrics"):
            address = f"http://127.0.0.1:{port}{path}"
            assert httpx.get(address, headers={"host": host}).status_code == status


def test_connections_over_the_limit_are_refused(cascade, served):
    port = served(cascade, "--max-connections", "3")
    address = f"http://127.0.0.1:{port}/health"
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    waits(lambda: httpx.get(address).status_code == 503)
    for one in idle:
        one.close()
    waits(lambda: httpx.get(address).status_code == 200)


BAD = {
    "no .npy": (b"junk", "not a valid .npy array"),
    "nothing": (b"", "not a valid .npy array"),
    "cut short": (npy(IMAGES[:2])[:-1], "not a valid .npy array.*cannot reshape"),
    "unbalanced": (npy(IMAGES[:2]).replace(b"(2,", b"((2"), "not a valid .npy array.*header"),
    "a truth value in its shape": (
        npy(IMAGES[:2]).replace(b"(2, 28, 28)", b"(2,True,28)"),
        "not a valid .npy array.*shape",
    ),
    "pickled": (npy(np.array([None])), "not a valid .npy array"),
    "no samples": (npy(IMAGES[:0]), "has no samples"),
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
    "half a character in an id": (b'{"\\ud800": "a shoe"}', "valid Unicode"),
    "texts": (b'["a shoe"]', "model 'mlp@28' cannot run on list"),
    "JSON of numbers": (b"[1, 2]", "a list of texts"),
    "an object": (b'{"a": 1}', "a list of texts"),
    "no JSON": (b"[", "not a valid JSON"),
    "too deep": (b"[" * 100_000, "not a valid JSON"),
    "too many": (npy(np.zeros((300, 28, 28), np.uint8)), "300 samples in one request; at most 256"),
    "numbers that are cut short": (npy(np.zeros((2, 28, 28), "f8"))[:-8], "not a valid .npy array"),
}


@pytest.fixture(scope="module")
def port(cascade):
    settings = serve.arguments(["--port", "0", "--max-queue", "256", "--max-bytes", "400000"])
    server = serve.server_of(serve.service_of(cascade, settings), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    waits(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    "odd", [IMAGES[:2].float(), IMAGES[:2, 0], IMAGES[:2, None], np.zeros(3, np.uint8)]
)
def test_samples_unlike_the_example_are_refused(cascade, served, odd):
    port = served(cascade, example=IMAGES[:2].numpy())
    status, found, _ = post(port, npy(odd))
    assert status == 422 and "samples of uint8 [28, 28] are needed, not of" in found["detail"]
    status, found, _ = post(port, b'["a shoe"]', **{"content-type": "application/json"})
    assert status == 422 and "an .npy array is needed" in found["detail"]
    assert post(port, npy(IMAGES[:3]))[0] == 200


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(port, case):
    body, message = BAD[case]
    kind = "application/json" if body[:1] in (b"[", b"{") else "application/octet-stream"
    status, found, _ = post(port, body, **{"content-type": kind})
    assert status == 422 and re.search(message, found["detail"]), found
    assert post(port, npy(IMAGES[:3]))[0] == 200


def test_a_body_that_is_too_long_is_refused(port):
    status, found, _ = post(port, iter([bytes(300_000)] * 2))
    assert status == 413 and "400000 bytes" in found["detail"]


def test_bad_input_does_not_affect_other_requests(cascade, served):
    slow = Slow(cascade)
    port = served(slow)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(post, port, npy(IMAGES[:1]))
        waits(lambda: slow.batches)
        bad, good = (pool.submit(post, port, npy(part)) for part in (IMAGES[:2, 0], IMAGES[:5]))
        waits(lambda: waiting(port) >= 6)  # the good one is there
        slow.go.set()
        assert first.result()[0] == 200 and bad.result()[0] == 422 and good.result()[0] == 200
        assert good.result()[1]["prediction"] == cascade(IMAGES[:5]).predictions.tolist()


def test_samples_over_the_queue_are_refused_for_a_while(cascade, served):
    slow = Slow(cascade)
    port = served(slow, "--max-queue", "10")
    with ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(post, port, npy(IMAGES[:1]))]
        waits(lambda: slow.batches)
        taken.append(pool.submit(post, port, npy(IMAGES[:8])))
        waits(lambda: waiting(port) == 9)
        status, found, headers = post(port, npy(IMAGES[:3]))
        assert (
            status == 503
            and "9 inputs are undecided" in found["detail"]
            and int(headers["Retry-After"]) >= 1
        )
        slow.go.set()
        assert [one.result()[0] for one in taken] == [200, 200]
    assert post(port, npy(IMAGES[:3]))[0] == 200


def test_the_server_survives_a_model_that_fails(cascade, served):
    slow = Slow(cascade)
    slow.go.wait = lambda seconds: 1 / 0
    port = served(slow)
    for _ in range(2):
        address = f"http://127.0.0.1:{port}/decide"
        assert httpx.post(address, content=npy(IMAGES[:1])).status_code == 500
    slow.go.wait = lambda seconds: True
    assert post(port, npy(IMAGES[:3]))[0] == 200


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (["--cascade", "nowhere.json"], "nowhere.json"),
        (["--max-batch", "0"], "--max-batch: 0 is not a number of 1 or more"),
        (["--port", "99999"], "port"),
    ],
)
def test_invalid_options_are_refused(settings, found, capsys):
    with pytest.raises((SystemExit, OSError)) as caught:
        serve.main(settings)
    assert found in capsys.readouterr().err + str(caught.value)


def test_a_process_answers_its_requests_before_it_ends(tmp_path, cascade):
    """A saved cascade, and SIGTERM while a request is under way."""
    cascade.save(tmp_path / "c.json")
    np.save(tmp_path / "example.npy", IMAGES[:8])
    options = ["--cascade", "c.json", "--example", "example.npy", "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "serve.py", *options],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    try:
        line = process.stdout.readline()
        assert "mlp@28" in line and "http://127.0.0.1:" in line
        port = int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])
        health = httpx.get(f"http://127.0.0.1:{port}/health").json()
        assert health["models"] == list(cascade.point.models)
        assert health["inputs"] == health["waiting"] == 0
        images = np.tile(IMAGES.numpy(), (5, 1, 1))
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(post, port, npy(images))
            waits(lambda: pending.done() or waiting(port))
            process.send_signal(signal.SIGTERM)
            status, answers, _ = pending.result()
        assert status == 200 and answers["prediction"] == cascade(images).predictions.tolist()
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()
