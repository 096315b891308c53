"""Serve a cascade over HTTP. Simultaneous requests share batches."""

import io
import json
import math
import re
import tokenize
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import fastapi
import numpy as np
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.middleware.trustedhost import TrustedHostMiddleware

from .service import Service
from .stages import DeadlineExceeded, Overloaded

HALVES = re.compile("[\ud800-\udfff]")  # halves of surrogate pairs


def array_of(body: bytes) -> np.ndarray:
    """Return the array in an .npy file of version 1.0, which NumPy writes for all numbers."""
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


def samples_of(kind: str, body: bytes) -> tuple[Any, list[str] | None]:
    """Return the samples in a body, and their ids or None.

    A body is an .npy array, a JSON list of texts, or a JSON object {id: text}. Raise ValueError if
    it is invalid.
    """
    is_json = kind == "application/json"
    try:
        batch: Any = json.loads(body) if is_json else array_of(body)
    except (ValueError, RecursionError) as error:
        form = "JSON text" if is_json else ".npy array"
        raise ValueError(f"the body is not a valid {form}: {error}") from None
    ids = None
    if isinstance(batch, dict):
        ids = list(batch)
        batch = list(batch.values())
    if is_json:
        check_texts(batch)
        check_texts(ids or [])
    elif not batch.ndim:
        raise ValueError(f"a batch is needed, not the number {batch}")
    if not len(batch):
        raise ValueError("the batch has no samples. Send at least one")
    if not is_json:
        if batch.dtype.kind not in "biuf":
            raise ValueError(f"an array of real numbers is needed, not of {batch.dtype}")
        broken = np.flatnonzero(~np.isfinite(batch).reshape(len(batch), -1).all(axis=1))
        if len(broken):
            raise ValueError(
                f"{len(broken)} of {len(batch)} samples have nan or inf; "
                f"the first is sample {broken[0]}"
            )
    return batch, ids


def check_texts(batch: Any) -> None:
    """Raise ValueError unless a batch is a list of texts in valid Unicode."""
    if not isinstance(batch, list) or not all(isinstance(text, str) for text in batch):
        raise ValueError("JSON must be a list of texts, or an object {id: text}")
    if any(HALVES.search(text) for text in batch):
        raise ValueError("a text is not valid Unicode: it has half of a surrogate pair")


def check_form(batch: Any, example: np.ndarray | None) -> None:
    """Raise ValueError if samples differ from an example in shape or dtype."""
    if example is None:
        return
    if not isinstance(batch, np.ndarray):
        raise ValueError("an .npy array is needed, like the example")
    needed, found = (f"{array.dtype} {list(array.shape[1:])}" for array in (example, batch))
    if found != needed:
        raise ValueError(f"samples of {needed} are needed, not of {found}")


class Totals:
    """Collect the monitor's counts for Prometheus, on request only."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def collect(self) -> Iterator[Metric]:
        """Yield counts since the start by model, and the number of undecided samples."""
        monitor = self.service.monitor
        columns = {
            "decided": ("samples that exited after a model", monitor.exits),
            "failures": ("samples for which a model failed", monitor.failed[:, 1:].sum(axis=1)),
            "model_seconds": ("seconds in a model", monitor.seconds),
        }
        for name, (text, values) in columns.items():
            metric = CounterMetricFamily(f"cascade_{name}", text, labels=["model"])
            for model, value in zip(monitor.models, values.tolist()):
                metric.add_metric([model], value)
            yield metric
        stopped = GaugeMetricFamily(
            "cascade_stopped", "1 if its calls have stopped", labels=["model"]
        )
        for stage in self.service.queues[:-1]:
            stopped.add_metric([stage.name], stage.is_open)
        yield stopped
        yield CounterMetricFamily("cascade_refused", "samples refused", self.service.refused)
        yield GaugeMetricFamily("cascade_waiting", "samples under way", self.service.undecided)


def application(
    service: Service,
    hosts: Sequence[str] = ("127.0.0.1", "localhost"),
    max_bytes: int = 2**24,
    example: np.ndarray | None = None,
) -> fastapi.FastAPI:
    """Return the HTTP application of a service: POST /decide, GET /health and GET /metrics.

    Parameters
    ----------
    service : Service
        A request gets the status 503 if it would exceed ``queue=`` of the service, and 504 if it
        exceeds ``deadline=``.
    hosts : list of str, default=("127.0.0.1", "localhost")
        Names by which clients may call the server.
    max_bytes : int, default=2**24
        Maximum size of a request's body. Larger ones are refused with 413.
    example : array, optional
        A batch as clients send it. Samples of another shape or dtype are refused with 422.

    Returns
    -------
    fastapi.FastAPI
        At shutdown it decides the samples under way.

    See Also
    --------
    server_of : Return a server of the application.
    """

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        await service.end()

    app = fastapi.FastAPI(title="cascade", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False)
    registry = CollectorRegistry()
    registry.register(Totals(service))

    @app.post("/decide")
    async def decide(request: fastapi.Request) -> fastapi.Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > max_bytes:
                raise fastapi.HTTPException(413, f"the body exceeds {max_bytes} bytes. Send less")
        kind, _, _ = request.headers.get("content-type", "").partition(";")
        try:
            batch, ids = samples_of(kind.strip(), bytes(body))
            check_form(batch, example)
            if len(batch) > service.queue:
                raise ValueError(
                    f"{len(batch)} samples in one request; at most {service.queue} are taken"
                )
        except ValueError as error:
            raise fastapi.HTTPException(422, str(error)) from None
        try:
            decisions = await service.decide_many(batch, ids)
        except service.models.input_errors as error:
            raise fastapi.HTTPException(422, str(error)) from None
        except Overloaded as error:
            raise fastapi.HTTPException(503, str(error), {"Retry-After": "1"}) from None
        except DeadlineExceeded as error:
            raise fastapi.HTTPException(504, str(error)) from None
        confidence = decisions.confidence.tolist()
        answers = {
            "prediction": decisions.predictions.tolist(),
            "exit_stage": decisions.exit_stage.tolist(),
            "confidence": [value if math.isfinite(value) else None for value in confidence],
        }
        text = json.dumps(answers, default=np.generic.item)
        return fastapi.Response(text, media_type="application/json")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        monitor = service.monitor
        rates = np.nan_to_num(monitor.exit_rates).tolist()
        return {
            "models": list(monitor.models),
            "inputs": monitor.inputs,
            "exit_rates": dict(zip(monitor.models, rates)),
            "waiting": service.undecided,
        }

    @app.get("/metrics")
    async def metrics() -> fastapi.Response:
        return fastapi.Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def server_of(
    app: fastapi.FastAPI, host: str, port: int, max_connections: int = 128
) -> uvicorn.Server:
    """Return a server of an application.

    On SIGTERM or Ctrl-C it answers the requests under way and stops.
    """
    config = uvicorn.Config(
        app,
        host,
        port,
        log_level="warning",
        access_log=False,
        limit_concurrency=max_connections + 1,
    )
    return uvicorn.Server(config)
