"""A cascade behind HTTP: requests that arrive together are decided together.

    .venv/bin/python examples/serve.py                   bundled models, on http://127.0.0.1:8000
    .venv/bin/python examples/serve.py --cascade FILE    your own, as cascade.save wrote it

docs/serving.md says what to send, and how fast it is.
"""

import argparse
import asyncio
import io
import json
import math
import re
import socket
import time
import tokenize
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastapi
import numpy as np
import torch
import uvicorn

import cascadelib as cl
from cascadelib.zoo.batches import size_of

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
    add("--max-wait-ms", type=float, default=5, help="how long a request waits for others")
    add(
        "--max-queue",
        type=positive,
        default=1024,
        help="samples that wait; more are refused with 503",
    )
    add("--max-bytes", type=positive, default=2**24, help="of a request's body")
    add("--threads", type=positive, help="of torch (default: its own)")
    add("--host", default="127.0.0.1", help="address to listen on; by default this machine's own")
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
    if not size_of(batch):
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


class Full(Exception):
    """So many samples wait that no more are taken; its argument: seconds until they may be done."""


class Queue:
    """Batches that wait for others, and are decided together.

    They wait until there are ``max_batch`` samples, until there are ``callers()`` requests (then
    nobody else can send one), or for ``max_wait`` seconds.
    """

    def __init__(
        self,
        cascade: cl.Cascade,
        max_batch: int,
        max_wait: float,
        max_queue: int,
        callers: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.cascade = cascade
        self.callers = callers
        self.max_batch = max_batch
        self.max_wait = max_wait
        self.max_queue = max_queue
        self.waiting: list[tuple[Any, asyncio.Future, float]] = []
        self.samples = 0
        self.seconds = 0.0  # that a sample took, the last time
        self.arrived = asyncio.Event()
        self.thread = ThreadPoolExecutor(1)

    async def decide(self, batch: Any) -> dict[str, list]:
        """The answers for one batch; raises what the cascade raises for it, and :class:`Full`."""
        size = size_of(batch)
        if size > self.max_queue:
            raise ValueError(f"{size} samples in one request; at most {self.max_queue} are taken")
        if self.samples + size > self.max_queue:
            raise Full(self.samples * self.seconds)
        answer = asyncio.get_running_loop().create_future()
        latest = time.monotonic() + self.max_wait
        self.waiting.append((batch, answer, latest))
        self.samples += size
        self.arrived.set()
        return await answer

    async def filled(self) -> None:
        """Wait until what waits is to be decided."""
        while not self.waiting:
            self.arrived.clear()
            await self.arrived.wait()
        _, _, latest = self.waiting[0]
        while self.samples < self.max_batch and len(self.waiting) < self.callers():
            self.arrived.clear()
            try:
                await asyncio.wait_for(self.arrived.wait(), latest - time.monotonic())
            except TimeoutError:
                return

    async def work(self) -> None:
        """Decide what comes, until it is cancelled."""
        while True:
            await self.filled()
            taken = self.waiting
            samples = self.samples
            begun = time.monotonic()
            self.waiting = []
            self.samples = 0
            batches = [batch for batch, _, _ in taken]
            loop = asyncio.get_running_loop()
            results = await loop.run_in_executor(self.thread, self.run, batches)
            for (_, answer, _), result in zip(taken, results):
                if answer.done():  # its caller went away
                    continue
                if isinstance(result, Exception):
                    answer.set_exception(result)
                else:
                    answer.set_result(result)
            self.seconds = (time.monotonic() - begun) / samples

    def run(self, batches: list) -> list:
        """What each caller gets, answers or an exception, by one run over the batches of all.

        Where that fails, by a run for each.
        """
        try:
            decisions = self.cascade.run(batches, self.max_batch)
        except Exception as error:
            if len(batches) == 1:
                return [error]
            return [self.run([batch])[0] for batch in batches]
        answers = []
        start = 0
        for batch in batches:
            stop = start + size_of(batch)
            answers.append(answers_of(decisions, slice(start, stop)))
            start = stop
        return answers


def answers_of(decisions: Any, rows: slice) -> dict[str, list]:
    """Lists, one value per sample, fit for JSON."""
    confidence = decisions.confidence[rows].tolist()
    return {
        "prediction": decisions.predictions[rows].tolist(),
        "exit_stage": decisions.exit_stage[rows].tolist(),
        "confidence": [value if math.isfinite(value) else None for value in confidence],
    }


def app_of(queue: Queue, max_bytes: int) -> fastapi.FastAPI:
    """The application: POST /decide, GET /health."""

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        work = asyncio.create_task(queue.work())
        yield
        work.cancel()  # no request is open any more
        queue.thread.shutdown()

    app = fastapi.FastAPI(title="cascade", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post("/decide")
    async def decide(request: fastapi.Request) -> fastapi.Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > max_bytes:
                raise fastapi.HTTPException(413, f"a body may have {max_bytes} bytes")
        kind, _, _ = request.headers.get("content-type", "").partition(";")
        try:
            batch = batch_of(kind.strip(), bytes(body))
            answers = await queue.decide(batch)
        except ValueError as error:
            raise fastapi.HTTPException(422, str(error)) from None
        except Full as error:
            wait = {"Retry-After": str(max(1, math.ceil(error.args[0])))}
            reason = f"{queue.samples} samples wait already"
            raise fastapi.HTTPException(503, reason, wait) from None
        return fastapi.Response(json.dumps(answers), media_type="application/json")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        running = queue.cascade.running
        rates = [0.0 if math.isnan(rate) else float(rate) for rate in running.exit_rates]
        return {
            "models": list(running.models),
            "inputs": running.inputs,
            "exit_rates": dict(zip(running.models, rates)),
            "waiting": queue.samples,
        }

    return app


def server_of(cascade: cl.Cascade, options: argparse.Namespace) -> uvicorn.Server:
    """A server of the cascade; it answers what is under way before it ends (SIGTERM, Ctrl-C)."""
    queue = Queue(
        cascade,
        options.max_batch,
        options.max_wait_ms / 1e3,
        options.max_queue,
        callers=lambda: len(server.server_state.connections),
    )
    config = uvicorn.Config(
        app_of(queue, options.max_bytes),
        options.host,
        options.port,
        log_level="warning",
        access_log=False,
    )
    server = uvicorn.Server(config)
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
    server = server_of(cascade, options)
    with socket.create_server((options.host, options.port)) as listening:
        _, number, *_ = listening.getsockname()  # the one that port 0 became
        print(f"{cascade} on http://{options.host}:{number}", flush=True)
        server.run([listening])


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:  # a file, a port in use: what the caller can mend
        raise SystemExit(f"serve.py: {error}") from None
