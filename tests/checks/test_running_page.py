"""The code of docs/running.md runs unchanged on two models behind HTTP."""

import asyncio
import json
import logging
import re
import threading
import time
from pathlib import Path

import fastapi
import numpy as np
import pytest
import uvicorn
from prometheus_client import REGISTRY

from cascadelib import Point, Policy
from cascadelib.serve import AuditRecord, Monitor, Record

PAGE = Path(__file__).resolve().parents[2] / "docs" / "running.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)


def models():
    """Return an application with two models. The small one is confident of short texts."""
    app = fastapi.FastAPI()

    @app.post("/{model}")
    async def answer(model: str, request: fastapi.Request):
        texts = await request.json()
        confident = [0.9 if len(text) < 8 else 0.1 for text in texts]
        labels = ["spam" if "buy" in text else "ham" for text in texts]
        return {"answers": labels, "confidences": confident, "tokens": sum(map(len, texts))}

    return app


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The blocks of the page in a folder with policy.json. They call models of this machine."""
    server = uvicorn.Server(uvicorn.Config(models(), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    monkeypatch.chdir(tmp_path)
    Policy(Point(("small", "large"), (0.5,), (0.5, 0.5))).save("policy.json")
    yield [re.sub(r"http://(small|large):8000", rf"http://127.0.0.1:{port}/\1", b) for b in BLOCKS]
    server.should_exit = True
    thread.join()


def test_the_service_runs_unchanged(page, capsys, caplog):
    first, restarts, _, _, _, _, logs, prometheus = page
    scope = {}

    async def main():
        exec(first, scope)
        scope["service"].audit = 0.5
        names = [f"n{number}" for number in range(40)]
        texts = ["buy now" if number % 4 else "a long letter" for number in range(40)]
        labels = ["spam" if number % 4 else "ham" for number in range(40)]
        assert await scope["answers"](names[:20], texts[:20]) == labels[:20]
        pairs = zip(names[20:], texts[20:])
        exec(logs, scope)
        with caplog.at_level(logging.INFO, "decisions"):
            answered = await asyncio.gather(*[scope["answer"](*pair) for pair in pairs])
        assert answered == labels[20:]
        decided = [each for each in caplog.records if each.name == "decisions"]
        lines = [json.loads(each.message) for each in decided]
        records = [line for line in lines if "model" in line]
        assert {record["id"] for record in records} == {*names[20:]}
        assert {record["model"] for record in records} == {"small", "large"}
        exec(prometheus, scope)
        assert await scope["answer"]("another", "buy it") == "spam"
        series = {"model": "small", "status": "none"}
        assert REGISTRY.get_sample_value("decided_seconds_count", series) == 1
        await scope["stop"]()
        await scope["client"].aclose()

    asyncio.run(main())
    monitor = scope["monitor"]
    assert monitor.inputs == 41 and monitor.cost()["priced"] == 41 and monitor.audited > 10
    start, _, save = restarts.partition("...\n")
    exec(save, scope | {"path": Path("monitor-1.json")})
    again = {}
    exec(first, again)
    exec(start, again)
    assert again["service"].monitor.inputs == 41


def test_the_blocks_for_logs_and_prometheus_have_at_most_five_lines():
    for block in BLOCKS[-2:]:
        assert len([line for line in block.splitlines() if line.strip()]) <= 5


def test_late_labels_reach_their_worker_and_a_report_covers_all(page, capsys, monkeypatch):
    """Two workers write one log. Every label is sent to both, twice."""
    first, _, late, costs, by_stage, *_ = page
    saved = []
    lines = []
    labels = {f"{worker}-{number}": "ham" for worker in "ab" for number in range(30)}
    for worker in "ab":
        scope = {}
        exec(first, scope)
        exec(late, scope)
        monitor = scope["monitor"]
        scope["service"].audit = 1.0
        monitor.equal = lambda one, other: False
        monitor.on_decision = monitor.on_audit = lambda record: lines.append(record.to_json())
        texts = ["buy now" if number % 3 else "a long letter" for number in range(30)]
        names = [name for name in labels if name[0] == worker]

        async def main(scope=scope, names=names, texts=texts):
            await scope["answers"](names, texts)
            await scope["stop"]()
            await scope["client"].aclose()

        asyncio.run(main())
        assert len(monitor.to_label()) == 30
        scope["take"](labels)
        scope["take"](labels)
        assert monitor.to_label().empty
        saved.append(Path(f"{worker}.json"))
        monitor.save(saved[-1])
    scope["Path"] = Path
    exec(costs, scope)
    monkeypatch.setattr(Monitor, "drift", lambda monitor: "nothing is expected of this policy")
    merged = scope["report"](saved)
    assert merged.inputs == merged.audited == 60 and "spent" in capsys.readouterr().out
    Path("decisions.log").write_text("\n".join(lines))
    exec(by_stage, scope)
    assert scope["stages"]["mean"].sum() == pytest.approx(merged.cost()["mean"])
    assert (scope["stages"]["mean"] * 60).tolist() == pytest.approx(merged.spent.tolist())


def test_a_policy_is_certified_again_by_few_labels(page):
    """The small model is wrong if its confidence is low. All inputs are audited."""
    scope = {}
    exec(page[0], scope)
    exec(page[5], scope)
    rng = np.random.default_rng(0)
    monitor = scope["monitor"]
    truth = {}
    for number, confidence in enumerate(rng.random(1500).tolist()):
        name = f"n{number}"
        truth[name] = rng.choice(["spam", "ham"]).item()
        other = "ham" if truth[name] == "spam" else "spam"
        small = truth[name] if confidence > 0.6 else other
        record = Record(name, small, "small", "none", 0, [small], [confidence], ["none"])
        record.costs = [1.0]
        record.seconds = [0.1]
        record.audited = True
        monitor.observe([record, AuditRecord(name, truth[name], cost=10.0)])
    policy = scope["renewed"](0.02, truth)
    assert 0.4 < policy.thresholds[0] < 0.7
    assert not Monitor(policy).drift().alarm
