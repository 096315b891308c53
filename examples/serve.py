"""Serve a cascade over HTTP. Simultaneous requests share batches.

    .venv/bin/python examples/serve.py                   bundled models, on http://127.0.0.1:8000
    .venv/bin/python examples/serve.py --cascade FILE    your own, as cascade.save wrote it

docs/serving.md describes the requests and the speed.
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
    """Read a whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 or more")
    return number


def port(text: str) -> int:
    """Read a port to listen on. 0: any free port."""
    number = int(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 0 to 65535")
    return number


def arguments(command: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
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
    add("--max-batch", type=positive, default=64, help="samples of a call of a model, at most")
    add("--deadline", type=float, help="seconds in which a request is answered, else 504")
    add(
        "--max-queue",
        type=positive,
        default=1024,
        help="samples under way, at most; more are refused with 503",
    )
    add(
        "--max-connections",
        type=positive,
        default=128,
        help="open connections, at most; requests over others are refused with 503",
    )
    add("--batches", type=positive, default=2, help="simultaneous calls of all models, at most")
    add("--max-bytes", type=positive, default=2**24, help="size of a request's body, at most")
    add("--threads", type=positive, help="threads of torch (default: those that torch chooses)")
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add("--name", action="append", default=[], help="a name by which clients may call this server")
    add("--port", type=port, default=8000)
    return parser.parse_args(command)


def chosen() -> tuple[cl.Cascade, cl.datasets.Samples]:
    """Return a bundled cascade, nearly as accurate as the best model, and images for it."""
    store = cl.LogitStore(ROOT / "data/fashion-mnist/val")
    cascade = cl.Cascade.from_point(cl.pick(cl.search(store, 2), "near_best"), store=store)
    return cascade, cl.datasets.fashion_mnist("val")


def service_of(cascade: cl.Cascade, options: argparse.Namespace) -> Service:
    """Return a service of a cascade."""
    return Service(
        cascade.policy,
        cascade,
        batch_size=options.max_batch,
        concurrency=options.batches,
        deadline=options.deadline,
        queue=options.max_queue,
    )


def server_of(
    service: Service, options: argparse.Namespace, example: np.ndarray | None = None
) -> uvicorn.Server:
    """Return the server of a service."""
    hosts = ["127.0.0.1", "localhost", options.host, *options.name]
    app = http.application(service, hosts, options.max_bytes, example)
    return http.server_of(app, options.host, options.port, options.max_connections)


def main(command: Sequence[str] | None = None) -> None:
    """Serve a cascade by the options of a command line, until SIGTERM or Ctrl-C."""
    options = arguments(command)
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
        _, number, *_ = listening.getsockname()
        print(f"{cascade} on http://{options.host}:{number}", flush=True)
        server.run([listening])


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        raise SystemExit(f"serve.py: {error}") from None
