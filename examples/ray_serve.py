"""Serve a cascade with Ray Serve, and monitor it from its log: python examples/ray_serve.py

Each model has its own replicas and batches, and its replica decides a batch. Replace the models.
"""

import asyncio
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import ray
from ray import serve

import cascadelib as cl
from cascadelib.policy import FAILURES

AUDIT_SHARE = 0.02
POLICY = cl.Policy(cl.Point(("small", "large"), (0.6,)))
OPTIONS: dict[str, Any] = {"max_ongoing_requests": 512, "ray_actor_options": {"num_cpus": 0}}
OPTIONS |= {"logging_config": {"enable_access_log": False}}


def small(inputs: list[float]) -> tuple[list[str], list[float]]:
    """Answer as a small model. An input is its confidence here."""
    return ["yes" if x > 0.1 else "no" for x in inputs], list(inputs)


def large(inputs: list[float]) -> tuple[list[str], None]:
    """Answer as a large model, whose confidence is not needed."""
    return ["yes" if x > 0.2 else "no" for x in inputs], None


def stage_row(stage: int, cost: float | None, failure: int, *answer: Any) -> dict:
    """Return the part of a log's row that is about one stage."""
    prediction, confidence, does_exit = (None, None, False) if failure else answer
    row = {"models": POLICY.models[stage], "costs": cost, "failures": FAILURES[failure]}
    return row | {"predictions": prediction, "confidences": confidence, "does_exit": does_exit}


@dataclass
class Stage:
    """One model of the cascade, and what the policy makes of its answers."""

    stage: int
    model: Any
    cost: float
    seconds: float  # that a GPU would take

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def __call__(self, inputs: list) -> list[dict]:
        await asyncio.sleep(self.seconds)
        predictions, confidences = self.model(inputs)
        exits, failures = POLICY.step(self.stage, predictions, confidences)
        known = confidences or [None] * len(inputs)
        answers = zip(failures.tolist(), predictions, known, exits.tolist())
        return [stage_row(self.stage, self.cost, *answer) for answer in answers]


class Cascade:
    """Ask one model after another until the policy lets an input exit, and log the input."""

    def __init__(self, folder: str, salt: bytes, *models: Any) -> None:
        self.models, self.salt = models, salt
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.log = Path(folder, f"{secrets.token_hex(8)}.jsonl").open("a", buffering=1)  # noqa: SIM115
        self.audits: set[asyncio.Task] = set()

    async def __call__(self, id: str, input: Any) -> str | None:
        answers: list[dict] = []
        while not (answers and answers[-1]["does_exit"]) and len(answers) < len(self.models):
            answers.append(await self.ask(len(answers), input))
        task = asyncio.create_task(self.write(id, input, answers, time.time()))
        self.audits.add(task)  # the caller does not wait for the audit
        task.add_done_callback(self.audits.discard)
        return next((a["predictions"] for a in reversed(answers) if a["failures"] == "none"), None)

    async def ask(self, stage: int, input: Any) -> dict:
        try:
            return await asyncio.wait_for(self.models[stage].remote(input), timeout=30)
        except Exception as error:
            return stage_row(stage, None, 1 if isinstance(error, TimeoutError) else 2)

    async def write(self, id: str, input: Any, answers: list[dict], decided: float) -> None:
        last = len(self.models) - 1
        row: dict = {name: [each[name] for each in answers] for name in answers[0]}
        row |= {"id": id, "time": decided, "policy": POLICY.checksum, "stage": len(answers) - 1}
        row |= {"audited": bool(cl.is_audited([id], AUDIT_SHARE, self.salt)[0]), "reference": None}
        if row["audited"]:
            reference = answers[-1] if len(answers) > last else await self.ask(last, input)
            row["reference"] = reference["predictions"]
        self.log.write(json.dumps(row) + "\n")


def deploy(folder: Path, salt: bytes) -> Any:
    """Start the cascade, and return its handle. Each of its replicas writes a file of the log."""
    first = serve.deployment(Stage, name="small", **OPTIONS).bind(0, small, 1.0, 0.004)
    last = serve.deployment(Stage, name="large", **OPTIONS).bind(1, large, 10.0, 0.020)
    cascade = serve.deployment(Cascade, max_queued_requests=10_000, **OPTIONS)
    return serve.run(cascade.bind(str(folder), salt, first, last), route_prefix=None)


async def main(folder: Path, salt: bytes) -> None:
    """Serve 1,000 inputs, and print what the log says."""
    handle = deploy(folder, salt)
    await asyncio.gather(*[handle.remote(str(n), n * 37 % 1000 / 1000) for n in range(1000)])
    await asyncio.sleep(2)  # for the last audits
    parts = [pd.read_json(path, lines=True, dtype=False) for path in folder.iterdir()]
    print(cl.monitor(pd.concat(parts), POLICY).stages.T)


if __name__ == "__main__":
    # All replicas need the same salt, and so does the next start.
    secret = bytes.fromhex(os.environ.get("AUDIT_SALT") or secrets.token_hex(16))
    ray.init(include_dashboard=False, object_store_memory=200_000_000, num_cpus=2)
    asyncio.run(main(Path("build/ray-log").absolute() / secrets.token_hex(8), secret))
