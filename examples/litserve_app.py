"""Serve a cascade on one machine with LitServe, and monitor it from its log.

    python examples/litserve_app.py           start a server, send it 1,000 inputs, read its log
    python examples/litserve_app.py 8000 log  serve on this port, and log into this folder

LitServe forms the batches, and `predict` runs the Cascade on one. Replace `MODELS` and `POINT`.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import litserve as ls
import numpy as np
import pandas as pd
import torch

import cascadelib as cl
from cascadelib.monitoring import log_rows

AUDIT_SHARE = 0.02
POINT = cl.Point(("small", "large"), (0.8,), method=cl.Method())


def small(batch: torch.Tensor) -> torch.Tensor:
    """Return the logits of a small model, [N, 2]. An input is a number here."""
    return torch.stack([batch, -batch], dim=1)


def large(batch: torch.Tensor) -> torch.Tensor:
    """Return the logits of a large model, [N, 2]."""
    return torch.stack([9 * batch + 1, -9 * batch - 1], dim=1)


MODELS = {"small": small, "large": large}


class CascadeAPI(ls.LitAPI):
    """Decide a batch of requests {"id": text, "input": number}, and log them."""

    def __init__(self, folder: str, salt: bytes) -> None:
        super().__init__(max_batch_size=64, batch_timeout=0.005)
        self.folder = folder
        self.salt = salt

    def setup(self, device: str) -> None:
        self.cascade = cl.Cascade.from_point(POINT, MODELS)
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        path = Path(self.folder, f"{uuid.uuid4().hex}.jsonl")  # one file per worker
        self.log = path.open("a", buffering=1)

    def batch(self, requests: list[dict]) -> tuple[list[str], torch.Tensor]:
        numbers = [float(request["input"]) for request in requests]
        ids = [str(request["id"]) for request in requests]
        return ids, torch.tensor(numbers, dtype=torch.float64)

    def predict(self, batch: tuple[list[str], torch.Tensor]) -> list[int]:
        ids, inputs = batch
        decisions = replace(self.cascade(inputs), ids=np.array(ids, object))
        audited = cl.is_audited(ids, AUDIT_SHARE, self.salt)
        reference = np.full(len(ids), None)
        reference[audited] = MODELS["large"](inputs[audited]).argmax(dim=1).numpy().astype(str)
        rows = log_rows(decisions, self.cascade.policy, audited, reference).to_dict("records")
        self.log.writelines(json.dumps(row) + "\n" for row in rows)
        return decisions.predictions.tolist()

    def encode_response(self, output: int) -> dict:
        return {"prediction": output}


def serve(port: int, folder: str) -> None:
    """Serve on this machine until the process is stopped."""
    # All workers need the same salt, and so does the next start.
    salt = bytes.fromhex(os.environ.get("AUDIT_SALT") or secrets.token_hex(16))
    server = ls.LitServer(CascadeAPI(folder, salt), accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


async def send(port: int, inputs: list[float], clients: int = 64) -> list[int]:
    """Send inputs to the server from several clients, and return the answers."""
    free = asyncio.Semaphore(clients)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        is_ready = False
        while not is_ready:
            await asyncio.sleep(0.5)
            with suppress(httpx.TransportError):
                is_ready = (await client.get("/health")).is_success

        async def ask(number: int, input: float) -> int:
            async with free:
                answer = await client.post("/predict", json={"id": str(number), "input": input})
                return answer.json()["prediction"]

        return await asyncio.gather(*[ask(*pair) for pair in enumerate(inputs)])


def main(port: int = 8000) -> None:
    """Start a server, send it 1,000 inputs, and print what its log says."""
    folder = f"build/litserve-log/{uuid.uuid4().hex}"
    command = [sys.executable, __file__, str(port), folder]
    server = subprocess.Popen(command, start_new_session=True)
    try:
        asyncio.run(send(port, np.random.default_rng(0).normal(size=1000).tolist()))
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # with its workers
    parts = [pd.read_json(path, lines=True, dtype=False) for path in Path(folder).iterdir()]
    print(cl.monitor(pd.concat(parts), cl.Policy(POINT)).stages.T)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2]) if len(sys.argv) == 3 else main()
