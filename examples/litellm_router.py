"""Run a cascade of language models on LiteLLM's Router, and monitor it from its log.

    python examples/litellm_router.py

The Router repeats failed calls, and calls another deployment while one is failing. The policy
decides which model answers. The completions are mocks here: remove `mock_response`, and read the
confidence from the logprobs of the answer as `read` does.
"""

import asyncio
import json
import math
import os
import secrets
import time
import uuid
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no download of prices

import litellm
import pandas as pd
from litellm import Router

import cascadelib as cl
from cascadelib.policy import FAILURES

AUDIT_SHARE = 0.02
LABELS = ("yes", "no")
POLICY = cl.Policy(cl.Point(("gpt-4o-mini", "gpt-4o"), (0.6,)))
# All replicas need the same salt, and so does the next start.
SALT = bytes.fromhex(os.environ.get("AUDIT_SALT") or secrets.token_hex(16))


def deployment(name: str, model: str, mock: str) -> dict:
    """Return a deployment of the Router. `model_info.id` names it in the log."""
    params = {"model": f"openai/{model}", "api_key": "none", "mock_response": mock}
    return {"model_name": name, "litellm_params": params, "model_info": {"id": f"{name}/{model}"}}


def router_of(*deployments: dict, **options: Any) -> Router:
    """Return a Router that repeats a call twice, and pauses a deployment after three failures."""
    options = {"num_retries": 2, "allowed_fails": 3, "cooldown_time": 30, "timeout": 20} | options
    return Router(model_list=list(deployments), **options)


ROUTER = router_of(
    deployment("gpt-4o-mini", "gpt-4o-mini", "yes"), deployment("gpt-4o", "gpt-4o", "no")
)


def read(response: Any, input: dict) -> tuple[str, float]:
    """Return the answer and its probability. A mock has no logprobs: the input states it."""
    choice = response.choices[0]
    tokens = getattr(getattr(choice, "logprobs", None), "content", None)
    if not tokens:
        return choice.message.content, input["confidence"]
    return choice.message.content, math.exp(sum(token.logprob for token in tokens))


async def ask(stage: int, input: dict, router: Router = ROUTER) -> dict:
    """Return the part of a log's row that is about one stage."""
    name = POLICY.models[stage]
    row = {"models": name, "predictions": None, "confidences": None, "costs": None}
    row |= {"failures": "none", "does_exit": False}
    messages = [{"role": "user", "content": input["question"]}]
    try:
        response = await router.acompletion(model=name, messages=messages, logprobs=True)
    except Exception as error:
        is_timeout = isinstance(error, litellm.Timeout | TimeoutError)
        return row | {"failures": "timeout" if is_timeout else "error"}
    prediction, confidence = read(response, input)
    # If the Router has fallbacks, another model may have answered. Then the input does not exit.
    deployed = response._hidden_params.get("model_id", "").split("/")[0]
    row |= {"models": deployed or response.model, "costs": litellm.completion_cost(response)}
    exits, failures = POLICY.step(stage, [prediction], [confidence], labels=LABELS)
    if failures[0]:
        return row | {"failures": FAILURES[failures[0]]}
    row |= {"predictions": prediction, "confidences": confidence}
    return row | {"does_exit": bool(exits[0]) and row["models"] == name}


async def decide(id: str, input: dict, log: Any, router: Router = ROUTER) -> str | None:
    """Ask one model after another until the policy lets the input exit. Write a row of the log."""
    answers: list[dict] = []
    while not (answers and answers[-1]["does_exit"]) and len(answers) < len(POLICY.models):
        answers.append(await ask(len(answers), input, router))
    row: dict = {name: [each[name] for each in answers] for name in answers[0]}
    row |= {"id": id, "time": time.time(), "policy": POLICY.checksum, "stage": len(answers) - 1}
    row |= {"audited": bool(cl.is_audited([id], AUDIT_SHARE, SALT)[0]), "reference": None}
    if row["audited"]:  # a service would do this after its reply
        last = len(POLICY.models) - 1
        reference = answers[-1] if len(answers) > last else await ask(last, input, router)
        is_reference = reference["models"] == POLICY.models[last]
        row["reference"] = reference["predictions"] if is_reference else None
    log.write(json.dumps(row) + "\n")
    return next((a["predictions"] for a in reversed(answers) if a["failures"] == "none"), None)


async def main(path: Path) -> None:
    """Decide 200 inputs, and print what the log says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", buffering=1) as log:
        for number in range(200):
            confidence = number * 37 % 200 / 200
            await decide(str(number), {"question": f"q {number}", "confidence": confidence}, log)
    report = cl.monitor(pd.read_json(path, lines=True, dtype=False), POLICY)
    print(report.stages.T, report.cost, report.loss, sep="\n\n")


if __name__ == "__main__":
    asyncio.run(main(Path("build/litellm-log") / f"{uuid.uuid4().hex}.jsonl"))
