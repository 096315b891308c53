"""A cascade behind HTTP: what callers send at the same time is decided together, and each gets its
own answers.

    .venv/bin/python examples/serve.py                   bundled models of Fashion-MNIST, on
    http://127.0.0.1:8000 .venv/bin/python examples/serve.py --cascade FILE    your own, as
    cascade.save wrote it

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import fastapi
import numpy as np
import torch
import uvicorn

import cascadelib as cl
from cascadelib.zoo.batches import size_of

ROOT = Path(__file__).resolve().parents[1]
HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs


def positive(text):
    """A whole number of 1 or more."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of 1 or more")
    return number


def arguments(given=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cascade",
        help="file of cascade.save (default: chosen here, on the bundled validation split)",
    )
    parser.add_argument(
        "--allow-download", action="store_true", help="its models may come from the Hub"
    )
    parser.add_argument(
        "--example", help=".npy of a batch as callers send it: for cascade.optimize"
    )
    parser.add_argument(
        "--max-batch", type=positive, default=64, help="samples that a model runs on at once"
    )
    parser.add_argument(
        "--max-wait-ms", type=float, default=5, help="how long a request waits for others"
    )
    parser.add_argument(
        "--max-queue",
        type=positive,
        default=1024,
        help="samples that wait; more are refused with 503",
    )
    parser.add_argument("--max-bytes", type=positive, default=2**24, help="of a request's body")
    parser.add_argument("--threads", type=positive, help="of torch (default: its own)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; of this machine alone by default"
    )
    parser.add_argument("--port", type=int, default=8000)
    return parser.parse_args(given)


def chosen():
    """The bundled cascade, as accurate as the best model or nearly so, and images like those that
    it decides.
    """
    store = cl.LogitStore(ROOT / "data/fashion-mnist/val")
    cascade = cl.Cascade.from_point(cl.pick(cl.search(store, 2), "near_best"), store=store)
    return cascade, cl.datasets.fashion_mnist("val")


def array_of(body):
    """The array in an .npy (version 1.0, as of all arrays of numbers), which must be as large as it
    says.
    """
    file = io.BytesIO(body)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not of version 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return np.frombuffer(body, dtype, offset=file.tell()).reshape(
        shape, order="F" if fortran else "C"
    )


def batch_of(kind, body):
    """The samples in a body: a list of texts as JSON, else .npy. ValueError where it holds none."""
    read, form = (json.loads, "JSON") if kind == "application/json" else (array_of, ".npy array")
    try:
        batch = read(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is no {form}: {error}") from None
    if form == "JSON" and not (
        isinstance(batch, list) and all(isinstance(text, str) for text in batch)
    ):
        raise ValueError("JSON must be a list of texts")
    if form == "JSON" and any(HALVES.search(text) for text in batch):
        raise ValueError("a text is not valid Unicode: it holds half of a surrogate pair")
    if not size_of(batch):
        raise ValueError("a batch without samples")
    if form == ".npy array":
        check_numbers(batch)
    return batch


def check_numbers(batch):
    """Raise ValueError for what no model should be asked: complex numbers, text, nan and inf."""
    if batch.dtype.kind not in "biuf":
        raise ValueError(f"an array of real numbers is needed, not of {batch.dtype}")
    broken = np.flatnonzero(~np.isfinite(batch).reshape(len(batch), -1).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(batch)} samples hold nan or inf; the first is sample {broken[0]}"
        )


class Full(Exception):
    """So many samples wait that no more are taken; its argument: seconds until they may be through."""


class Queue:
    """What callers sent waits until ``max_batch`` samples do, until ``callers()`` requests do (then
    nobody else can send one), or for ``max_wait`` seconds; then the cascade runs over all of it.
    """

    def __init__(self, cascade, max_batch, max_wait, max_queue, callers=lambda: math.inf):
        self.cascade = cascade
        self.callers = callers
        self.max_batch = max_batch
        self.max_wait = max_wait
        self.max_queue = max_queue
        self.waiting = []
        self.samples = 0
        self.seconds = 0.0  # that a sample took, the last time
        self.arrived = asyncio.Event()
        self.thread = ThreadPoolExecutor(1)

    async def decide(self, batch):
        """The Decisions of one batch; raises what the cascade raises of it, and Full."""
        size = size_of(batch)
        if size > self.max_queue:
            raise ValueError(f"{size} samples in one request; at most {self.max_queue} are taken")
        if self.samples + size > self.max_queue:
            raise Full(self.samples * self.seconds)
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append((batch, answer, time.monotonic() + self.max_wait))
        self.samples += size
        self.arrived.set()
        return await answer

    async def filled(self):
        while not self.waiting:
            self.arrived.clear()
            await self.arrived.wait()
        while self.samples < self.max_batch and len(self.waiting) < self.callers():
            self.arrived.clear()
            try:
                await asyncio.wait_for(self.arrived.wait(), self.waiting[0][2] - time.monotonic())
            except TimeoutError:
                return

    async def work(self):
        """Decide what comes, until it is cancelled."""
        while True:
            await self.filled()
            taken = self.waiting
            samples = self.samples
            begun = time.monotonic()
            self.waiting = []
            self.samples = 0
            run = asyncio.get_running_loop().run_in_executor(
                self.thread, self.run, [batch for batch, *_ in taken]
            )
            for (_, answer, _), said in zip(taken, await run):
                if answer.done():  # its caller went away
                    continue
                if isinstance(said, Exception):
                    answer.set_exception(said)
                else:
                    answer.set_result(said)
            self.seconds = (time.monotonic() - begun) / samples

    def run(self, batches):
        """What each caller gets, by one run over the batches of all.

        Where that fails, by a run for each.
        """
        try:
            decisions = self.cascade.run(batches, self.max_batch)
        except Exception as error:
            return [error] if len(batches) == 1 else [self.run([batch])[0] for batch in batches]
        ends = np.cumsum([0, *map(size_of, batches)])
        return [answers_of(decisions, slice(*ends[i : i + 2])) for i in range(len(batches))]


def answers_of(decisions, rows):
    """Lists, a value a sample, fit for JSON."""
    confidence = decisions.confidence[rows]
    return {
        "prediction": decisions.predictions[rows].tolist(),
        "exit_stage": decisions.exit_stage[rows].tolist(),
        "confidence": np.where(np.isfinite(confidence), confidence, None).tolist(),
    }


def app_of(queue, max_bytes):
    """The application: POST /decide, GET /health."""

    @asynccontextmanager
    async def lifespan(app):
        work = asyncio.create_task(queue.work())
        yield
        work.cancel()  # no request is open any more
        queue.thread.shutdown()

    app = fastapi.FastAPI(title="cascade", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post("/decide")
    async def decide(request: fastapi.Request):
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > max_bytes:
                raise fastapi.HTTPException(413, f"a body may have {max_bytes} bytes")
        try:
            answers = await queue.decide(
                batch_of(
                    request.headers.get("content-type", "").partition(";")[0].strip(), bytes(body)
                )
            )
        except ValueError as error:
            raise fastapi.HTTPException(422, str(error)) from None
        except Full as error:
            wait = {"Retry-After": str(max(1, math.ceil(error.args[0])))}
            raise fastapi.HTTPException(
                503, f"{queue.samples} samples wait already", wait
            ) from None
        return fastapi.Response(json.dumps(answers), media_type="application/json")

    @app.get("/health")
    async def health():
        running = queue.cascade.running
        rates = dict(zip(running.models, np.nan_to_num(running.exit_rates).tolist()))
        return {
            "models": list(running.models),
            "inputs": running.inputs,
            "exit_rates": rates,
            "waiting": queue.samples,
        }

    return app


def server_of(cascade, options):
    """A uvicorn.Server of the cascade.

    It answers what is under way before it ends (SIGTERM, Ctrl-C).
    """
    most = options.max_batch, options.max_wait_ms / 1e3, options.max_queue
    app = app_of(
        Queue(cascade, *most, lambda: len(server.server_state.connections)), options.max_bytes
    )
    server = uvicorn.Server(
        uvicorn.Config(app, options.host, options.port, log_level="warning", access_log=False)
    )
    return server


def main(given=None):
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
    with socket.create_server((options.host, options.port)) as listening:  # so that port 0 is told
        print(f"{cascade} on http://{options.host}:{listening.getsockname()[1]}", flush=True)
        server.run([listening])


if __name__ == "__main__":
    try:
        main()
    except (
        OSError,
        OverflowError,
        ValueError,
    ) as error:  # a file, a port: what the caller can mend
        raise SystemExit(f"serve.py: {error}") from None
