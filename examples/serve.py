"""A cascade behind HTTP: requests that arrive together are decided together.

    .venv/bin/python examples/serve.py                   bundled models, on http://127.0.0.1:8000
    .venv/bin/python examples/serve.py --cascade FILE    your own, as cascade.save wrote it

docs/serving.md says what to send, and how fast it is.
"""

import argparse
import io
import json
import math
import re
import socket
import tokenize
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastapi
import numpy as np
import torch
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.middleware.trustedhost import TrustedHostMiddleware

import cascadelib as cl
from cascadelib.zoo.batches import count_samples

ROOT = Path(__file__).resolve().parents[1]
HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of 1 or more")
    return number


def port(text: str) -> int:
    """A port to listen on; 0: any that is free."""
    number = int(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is no port from 0 to 65535")
    return number


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--cascade",
        help="file of cascade.save (default: chosen here, on the bundled validation split)",
    )
    add("--allow-download", action="store_true", help="its models may come from the Hub")
    add("--example", help=".npy of a batch as callers send it: for cascade.optimize")
    add("--max-batch", type=positive, default=64, help="samples that a model runs on at once")
    add("--max-wait-ms", type=float, default=5, help="how long samples wait for others")
    add(
        "--max-queue",
        type=positive,
        default=1024,
        help="samples under way; more are refused with 503",
    )
    add(
        "--max-connections",
        type=positive,
        default=128,
        help="connections that are open; requests over more are refused with 503",
    )
    add("--batches", type=positive, default=2, help="that are under way at once")
    add("--max-bytes", type=positive, default=2**24, help="of a request's body")
    add("--threads", type=positive, help="of torch (default: its own)")
    add("--host", default="127.0.0.1", help="address to listen on; by default this machine's own")
    add("--name", action="append", default=[], help="a name by which clients may call this server")
    add("--port", type=port, default=8000)
    return parser.parse_args(given)


def chosen() -> tuple[cl.Cascade, cl.datasets.Samples]:
    """A bundled cascade, nearly as accurate as the best model, and images like those it decides."""
    store = cl.LogitStore(ROOT / "data/fashion-mnist/val")
    cascade = cl.Cascade.from_point(cl.pick(cl.search(store, 2), "near_best"), store=store)
    return cascade, cl.datasets.fashion_mnist("val")


def array_of(body: bytes) -> np.ndarray:
    """The array in an .npy file, which must be as large as it says.

    Arrays of numbers are all of version 1.0.
    """
    file = io.BytesIO(body)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not of version 1.0")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except (TypeError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"its header cannot be read: {error}") from None
    if bool in map(type, shape):
        raise ValueError(f"its shape is {shape}")
    values = np.frombuffer(body, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def batch_of(kind: str, body: bytes) -> Any:
    """The samples in a body: a list of texts as JSON, else .npy. ValueError where it holds none."""
    is_json = kind == "application/json"
    try:
        batch = json.loads(body) if is_json else array_of(body)
    except (ValueError, RecursionError) as error:
        form = "JSON" if is_json else ".npy array"
        raise ValueError(f"the body is no {form}: {error}") from None
    if is_json:
        check_texts(batch)
    if not count_samples(batch):
        raise ValueError("a batch without samples")
    if not is_json:
        check_numbers(batch)
    return batch


def check_texts(batch: Any) -> None:
    """Raise ValueError for what is no list of texts in valid Unicode."""
    if not isinstance(batch, list) or not all(isinstance(text, str) for text in batch):
        raise ValueError("JSON must be a list of texts")
    if any(HALVES.search(text) for text in batch):
        raise ValueError("a text is not valid Unicode: it holds half of a surrogate pair")


def check_numbers(batch: np.ndarray) -> None:
    """Raise ValueError for what no model should be asked: complex numbers, text, nan and inf."""
    if batch.dtype.kind not in "biuf":
        raise ValueError(f"an array of real numbers is needed, not of {batch.dtype}")
    broken = np.flatnonzero(~np.isfinite(batch).reshape(len(batch), -1).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(batch)} samples hold nan or inf; "
            f"the first is sample {broken[0]}"
        )


def check_form(batch: Any, example: Any) -> None:
    """Raise ValueError for samples of another shape or dtype than those of an example."""
    if isinstance(example, np.ndarray) and isinstance(batch, np.ndarray):
        needed = f"{example.dtype} {list(example.shape[1:])}"
        given = f"{batch.dtype} {list(batch.shape[1:])}"
        if given != needed:
            raise ValueError(f"samples of {needed} are needed, not of {given}")
    elif example is not None and isinstance(example, np.ndarray) != isinstance(batch, np.ndarray):
        raise ValueError("an .npy array is needed, as the example is")


def answers_of(decisions: Any) -> dict[str, list]:
    """Lists, one value per sample, fit for JSON."""
    confidence = decisions.confidence.tolist()
    return {
        "prediction": decisions.predictions.tolist(),
        "exit_stage": decisions.exit_stage.tolist(),
        "confidence": [value if math.isfinite(value) else None for value in confidence],
    }


class Seen:
    """What Prometheus is told whenever it asks: nothing is spent on it for each decision."""

    def __init__(self, deciding: Any) -> None:
        self.deciding = deciding

    def collect(self) -> Iterator[Metric]:
        """Counts since the start, by model, and what is under way."""
        running = self.deciding.running
        columns = {
            "decided": ("samples that left after a model", running.exits),
            "failures": ("samples for which a model failed", running.broken),
            "model_seconds": ("seconds in a model", running.seconds[:, 0]),
            "decision_seconds": ("seconds in exit decisions", running.seconds[:, 1]),
        }
        for name, (text, values) in columns.items():
            metric = CounterMetricFamily(f"cascade_{name}", text, labels=["model"])
            for model, value in zip(running.models, values.tolist()):
                metric.add_metric([model], value)
            yield metric
        yield GaugeMetricFamily("cascade_waiting", "samples under way", self.deciding.undecided)


def app_of(deciding: Any, options: argparse.Namespace, example: Any = None) -> fastapi.FastAPI:
    """The application: POST /decide, GET /health, GET /metrics."""

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        await deciding.end()

    app = fastapi.FastAPI(title="cascade", lifespan=lifespan, docs_url=None, redoc_url=None)
    names = ["127.0.0.1", "localhost", options.host, *options.name]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
    registry = CollectorRegistry()
    registry.register(Seen(deciding))

    @app.post("/decide")
    async def decide(request: fastapi.Request) -> fastapi.Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > options.max_bytes:
                raise fastapi.HTTPException(413, f"a body may have {options.max_bytes} bytes")
        kind, _, _ = request.headers.get("content-type", "").partition(";")
        try:
            batch = batch_of(kind.strip(), bytes(body))
            check_form(batch, example)
            size = count_samples(batch)
            if size > options.max_queue:
                most = options.max_queue
                raise ValueError(f"{size} samples in one request; at most {most} are taken")
            if deciding.undecided + size > options.max_queue:
                reason = f"{deciding.undecided} samples wait already"
                raise fastapi.HTTPException(503, reason, {"Retry-After": "1"})
            answers = answers_of(await deciding.decide(batch))
        except ValueError as error:
            raise fastapi.HTTPException(422, str(error)) from None
        return fastapi.Response(json.dumps(answers), media_type="application/json")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        running = deciding.running
        rates = [0.0 if math.isnan(rate) else float(rate) for rate in running.exit_rates]
        return {
            "models": list(running.models),
            "inputs": running.inputs,
            "exit_rates": dict(zip(running.models, rates)),
            "waiting": deciding.undecided,
        }

    @app.get("/metrics")
    async def metrics() -> fastapi.Response:
        return fastapi.Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def server_of(cascade: Any, options: argparse.Namespace, example: Any = None) -> uvicorn.Server:
    """A server of the cascade; it answers what is under way before it ends (SIGTERM, Ctrl-C)."""
    deciding = cascade.together(options.max_batch, options.batches, options.max_wait_ms / 1e3)
    config = uvicorn.Config(
        app_of(deciding, options, example),
        options.host,
        options.port,
        log_level="warning",
        access_log=False,
        limit_concurrency=options.max_connections + 1,
    )
    server = uvicorn.Server(config)
    # nobody waits for others where each open connection has a request under way
    deciding.may_come = lambda: len(server.server_state.connections) > len(deciding.callers)
    return server


def main(given: Sequence[str] | None = None) -> None:
    """Serve what a command line asks for, until the process is told to end."""
    options = arguments(given)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.cascade:
        cascade = cl.Cascade.load(options.cascade, allow_download=options.allow_download)
        example = None
    else:
        cascade, images = chosen()
        example = images.batch(0, options.max_batch)
    if options.example:
        example = np.load(options.example)
    if example is not None:
        cascade.optimize(example[: options.max_batch])
        cascade.running.reset()
        example = np.asarray(example)
    server = server_of(cascade, options, example)
    with socket.create_server((options.host, options.port)) as listening:
        _, number, *_ = listening.getsockname()  # the one that port 0 became
        print(f"{cascade} on http://{options.host}:{number}", flush=True)
        server.run([listening])


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:  # a file, a port in use: what the caller can mend
        raise SystemExit(f"serve.py: {error}") from None
