"""docs/running.md: its service runs as it stands, with two models behind HTTP."""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi
import pytest
import uvicorn
from prometheus_client import REGISTRY

from cascadelib import Point, Policy

PAGE = Path(__file__).resolve().parents[1] / "docs" / "running.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)


def models() -> fastapi.FastAPI:
    """Two models: the small one is confident of short texts."""
    app = fastapi.FastAPI()

    @app.post("/{model}")
    async def answer(model: str, request: fastapi.Request) -> dict[str, Any]:
        texts = await request.json()
        confident = [0.9 if len(text) < 8 else 0.1 for text in texts]
        labels = ["spam" if "buy" in text else "ham" for text in texts]
        return {"answers": labels, "confidences": confident, "tokens": sum(map(len, texts))}

    return app


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The blocks of the page, asking models of this machine, in a folder with policy.json."""
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


def test_the_service_runs_as_it_stands(
    page: list[str], capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    first, many, restarts, logs, prometheus = page
    scope: dict[str, Any] = {}
    exec(first, scope)
    exec(many, scope)
    scope["policy"].running.audit = 0.5

    async def main() -> None:
        names = [f"n{number}" for number in range(40)]
        texts = ["buy now" if number % 4 else "a long letter" for number in range(40)]
        said = ["spam" if number % 4 else "ham" for number in range(40)]
        assert await scope["answers"](names[:20], texts[:20]) == said[:20]
        pairs = zip(names[20:], texts[20:])
        exec(logs, scope)
        with caplog.at_level(logging.INFO, "decisions"):
            answered = await asyncio.gather(*[scope["answer"](*pair) for pair in pairs])
        assert answered == said[20:]
        records = [json.loads(line) for line in caplog.messages]
        assert {record["id"] for record in records} == {*names[20:]}
        assert {record["model"] for record in records} == {"small", "large"}
        exec(prometheus, scope)
        assert await scope["answer"]("another", "buy it") == "spam"
        labels = {"model": "small", "status": "none"}
        assert REGISTRY.get_sample_value("decided_seconds_count", labels) == 1
        await scope["stop"]()
        await scope["client"].aclose()

    asyncio.run(main())
    running = scope["policy"].running
    assert running.inputs == 41 and running.cost()["priced"] == 41 and running.audited > 10
    exec(restarts, scope)
    again: dict[str, Any] = {}
    exec(first, again)
    exec(restarts, again)
    assert again["policy"].running.inputs == 41


def test_logs_and_prometheus_take_five_lines_each() -> None:
    for block in BLOCKS[-2:]:
        assert len([line for line in block.splitlines() if line.strip()]) <= 5
