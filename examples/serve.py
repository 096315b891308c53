"""A cascade behind HTTP: requests that arrive together are decided together.

    .venv/bin/python examples/serve.py                   bundled models, on http://127.0.0.1:8000
    .venv/bin/python examples/serve.py --cascade FILE    your own, as cascade.save wrote it

docs/serving.md says what to send, and how fast it is.
"""

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import uvicorn

import cascadelib as cl
from cascadelib.serve import Service, http

ROOT = Path(__file__).resolve().parents[1]


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 or more")
    return number


def port(text: str) -> int:
    """A port to listen on; 0: any that is free."""
    number = int(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 0 to 65535")
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


def service_of(cascade: cl.Cascade, options: argparse.Namespace) -> Service:
    """A service that decides by the cascade."""
    return Service(
        cascade.policy,
        cascade,
        batch_size=options.max_batch,
        concurrency=options.batches,
        max_wait=options.max_wait_ms / 1e3,
    )


def server_of(
    service: Service, options: argparse.Namespace, example: np.ndarray | None = None
) -> uvicorn.Server:
    """Its server."""
    hosts = ["127.0.0.1", "localhost", options.host, *options.name]
    app = http.application(service, hosts, options.max_bytes, options.max_queue, example)
    return http.server_of(service, app, options.host, options.port, options.max_connections)


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
        example = np.asarray(example)
    server = server_of(service_of(cascade, options), options, example)
    with socket.create_server((options.host, options.port)) as listening:
        _, number, *_ = listening.getsockname()  # the one that port 0 became
        print(f"{cascade} on http://{options.host}:{number}", flush=True)
        server.run([listening])


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:  # a file, a port in use: what the caller can mend
        raise SystemExit(f"serve.py: {error}") from None
