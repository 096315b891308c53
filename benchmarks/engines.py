"""Run the examples of engines for real, compare them with Policy.run, and measure their overhead.

    make engines                                     all engines; writes benchmarks/engines.json
    make engines ARGS="ray_serve"                    one engine
    make engines ARGS="--inputs 1000"                fewer inputs; writes nothing

Each engine runs in a process of its own. Answers, exits and audits of all inputs must be those of
`Policy.run` and `is_audited`. The overhead is the processor time of all processes of the engine per
input, from the first input to the last answer. The models are stand-ins that take almost none.
"""

import argparse
import asyncio
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "engines.json"
CLIENTS = 64
START_SECONDS = 240  # that Ray's head may take to start on a busy machine

Figures = dict[str, float]


class Stopwatch:
    """Measure the processor time of a process and all its children, and the duration."""

    def __init__(self, inputs: int, process: int | None = None) -> None:
        self.inputs = inputs
        self.process = psutil.Process(process)
        self.figures: Figures = {}

    def processor_seconds(self) -> float:
        """Return the processor time so far."""
        total = 0.0
        for each in [self.process, *self.process.children(recursive=True)]:
            try:
                times = each.cpu_times()
            except psutil.Error:  # it has ended
                continue
            total += times.user + times.system
        return total

    def __enter__(self) -> "Stopwatch":
        self.processor = self.processor_seconds()
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: Any) -> None:
        seconds = time.perf_counter() - self.started
        processor = self.processor_seconds() - self.processor
        self.figures["processor_ms"] = round(1000 * processor / self.inputs, 4)
        self.figures["inputs_per_second"] = round(self.inputs / seconds, 1)


async def send(decide: Callable[[str, Any], Awaitable], inputs: list) -> list:
    """Decide inputs as several clients would, and return the answers."""
    free = asyncio.Semaphore(CLIENTS)

    async def ask(number: int, value: Any) -> Any:
        async with free:
            return await decide(str(number), value)

    return await asyncio.gather(*[ask(*pair) for pair in enumerate(inputs)])


def compare(decisions: Any, answers: list, log: Path, policy: Any, audits: list[bool]) -> None:
    """Raise AssertionError unless answers, exits and audits are those of Policy.run."""
    import cascadelib as cl

    assert list(map(str, answers)) == list(map(str, decisions.predictions)), "answers differ"
    count = len(answers)
    rows = read_log(log)
    report = cl.monitor(rows, policy)
    rows = rows.sort_values("id", key=lambda ids: ids.astype(int))
    assert [*map(int, rows["id"])] == [*range(count)], "inputs of the log differ"
    assert rows["stage"].tolist() == decisions.exit_stage.tolist(), "exits differ"
    assert rows["audited"].tolist() == audits, "audits differ"
    assert report.rows["inputs"] == count and report.rows["audited"] == sum(audits)


def read_log(folder: Path) -> pd.DataFrame:
    """Return the rows of a log, as docs/monitoring.md reads them."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.open(encoding="utf-8")]
    return pd.DataFrame([json.loads(line) for line in lines if line.endswith("\n")])


def run_policy(inputs: int, folder: Path) -> Figures:
    """Measure Policy.run in this process."""
    import ray_serve as example

    values = np.random.default_rng(1).random(inputs).tolist()
    with Stopwatch(inputs) as watch:
        example.POLICY.run([example.small, example.large], values)
    return watch.figures


def run_steps(inputs: int, folder: Path, size: int) -> Figures:
    """Measure Policy.step for batches of a size."""
    import ray_serve as example

    values = np.random.default_rng(1).random(size * inputs).tolist()
    answers = [example.small(values[first : first + size]) for first in range(0, len(values), size)]
    with Stopwatch(len(values)) as watch:
        for answer in answers:
            example.POLICY.step(0, *answer)
    return watch.figures


def run_report(inputs: int, folder: Path) -> Figures:
    """Measure cl.monitor on a row per input."""
    import ray_serve as example

    import cascadelib as cl

    values = np.random.default_rng(1).random(10 * inputs).tolist()
    decisions = example.POLICY.run([example.small, example.large], values)
    rows = cl.monitoring.log_rows(decisions, example.POLICY)
    with Stopwatch(len(rows)) as watch:
        cl.monitor(rows, example.POLICY)
    return watch.figures


def wait_longer_for_ray() -> None:
    """Let Ray wait for its head for as long as a busy machine needs."""
    import ray._private.node as node

    slow = ModuleType("time")
    vars(slow).update(vars(time), monotonic=lambda: time.monotonic() * 30 / START_SECONDS)
    node.time = slow


def run_ray(inputs: int, folder: Path) -> Figures:
    """Compare and measure Ray Serve."""
    import ray
    import ray_serve as example

    import cascadelib as cl

    wait_longer_for_ray()
    values = np.random.default_rng(1).random(inputs).tolist()
    salt = secrets.token_bytes(16)
    options = {"object_store_memory": 200_000_000, "num_cpus": 2, "log_to_driver": False}
    ray.init(include_dashboard=False, logging_level="ERROR", **options)
    handle = example.deploy(folder, salt)

    async def drive() -> list:
        return await send(handle.remote, values)

    with Stopwatch(inputs) as watch:
        answers = asyncio.run(drive())
    time.sleep(5)  # for the last audits
    decisions = example.POLICY.run([example.small, example.large], values)
    audits = cl.is_audited(range(inputs), example.AUDIT_SHARE, salt).tolist()
    compare(decisions, answers, folder, example.POLICY, audits)
    return watch.figures


def run_litellm(inputs: int, folder: Path) -> Figures:
    """Compare and measure LiteLLM, then test a fallback to another model."""
    import litellm_router as example

    import cascadelib as cl

    confidences = np.random.default_rng(2).random(inputs).tolist()
    values = [{"question": f"q {n}", "confidence": each} for n, each in enumerate(confidences)]

    async def drive(path: Path, values: list, **options: Any) -> list:
        with path.open("w") as log:
            return await send(
                lambda name, value: example.decide(name, value, log, **options), values
            )

    path = folder / "log.jsonl"
    with Stopwatch(inputs) as watch:
        answers = asyncio.run(drive(path, values))
    calls = [
        lambda part: (["yes"] * len(part), [each["confidence"] for each in part]),
        lambda part: (["no"] * len(part), None),
    ]
    decisions = example.POLICY.run(calls, values)
    audits = cl.is_audited(range(inputs), example.AUDIT_SHARE, example.SALT).tolist()
    compare(decisions, answers, folder, example.POLICY, audits)
    fallbacks = example.router_of(
        example.deployment("gpt-4o-mini", "gpt-4o-mini", "litellm.InternalServerError"),
        example.deployment("gpt-4o", "gpt-4o", "no"),
        example.deployment("spare", "gpt-4-turbo", "yes"),
        fallbacks=[{"gpt-4o-mini": ["spare"]}],
        num_retries=0,
        allowed_fails=10**6,
    )
    path.unlink()
    answers = asyncio.run(drive(path, values[:100], router=fallbacks))
    stages = cl.monitor(read_log(folder), example.POLICY).stages
    assert stages["other_model"].tolist() == [100, 0], "answers of the fallback are not counted"
    assert answers == ["no"] * 100, "an answer of the fallback has exited"
    return watch.figures


def run_litserve(inputs: int, folder: Path) -> Figures:
    """Compare and measure the processes of LitServe, without the clients."""
    import httpx
    import litserve_app as example

    import cascadelib as cl

    values = np.random.default_rng(3).normal(size=inputs).tolist()
    salt = secrets.token_hex(16)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, example.__file__, str(port), str(folder)]
    env = os.environ | {"AUDIT_SALT": salt}
    server = subprocess.Popen(command, env=env, start_new_session=True)
    try:
        asyncio.run(example.send(port, []))  # waits until the server is ready
        with Stopwatch(inputs, server.pid) as watch:
            answers = asyncio.run(example.send(port, values, CLIENTS))
    except httpx.HTTPError as error:
        raise RuntimeError("LitServe has not answered") from error
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # with its workers
        server.wait()

    def call_of(name: str) -> Callable:
        def call(part: list[float]) -> tuple:
            logits = example.MODELS[name](example.torch.tensor(part, dtype=example.torch.float64))
            return logits.argmax(dim=1).tolist(), cl.confidence(logits.numpy(), "max_softmax")

        return call

    policy = cl.Policy(example.POINT)
    decisions = policy.run([call_of(name) for name in policy.models], values)
    audits = cl.is_audited(range(inputs), example.AUDIT_SHARE, bytes.fromhex(salt)).tolist()
    compare(decisions, answers, folder, policy, audits)
    return watch.figures


ENGINES: dict[str, Callable[[int, Path], Figures]] = {
    "policy_run": run_policy,
    "policy_step": partial(run_steps, size=1),
    "policy_step_64": partial(run_steps, size=64),
    "report": run_report,
    "litserve_app": run_litserve,
    "ray_serve": run_ray,
    "litellm_router": run_litellm,
}


def run_apart(name: str, inputs: int, paths: list[Path]) -> Figures:
    """Run an engine in a process of its own, which imports from `paths` first."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "figures.json")
        log = Path(folder, "log")
        log.mkdir()
        command = [sys.executable, __file__, "--inputs", str(inputs), "--into", str(out), name]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
        env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL"}
        subprocess.run([*command, "--log", str(log)], env=env, check=True)
        return json.loads(out.read_text())


def main() -> None:
    """Run the engines, print their figures, and store them if all have run on all inputs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("engines", nargs="*", choices=[[], *ENGINES], default=[])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.into:
        figures = ENGINES[options.engines[0]](options.inputs, options.log)
        options.into.write_text(json.dumps(figures))
        return
    found = {}
    for name in options.engines or ENGINES:
        found[name] = run_apart(name, options.inputs, [ROOT, ROOT / "examples"])
        processor, rate = found[name].values()
        print(f"{name:>15}: {processor:7.4f} ms of processor time an input, {rate:6.0f} inputs/s")
    print(f"Answers, exits and audits of {options.inputs} inputs are those of Policy.run.")
    if options.inputs == 10_000:
        content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"engines": {}}
        content["machine"] = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        content["engines"] |= found
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
