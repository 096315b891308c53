"""docs/operations.md: its first section runs, from a table of answers to a report."""

import re
import runpy
import shlex
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
import uvicorn

from cascadelib.__main__ import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## Sizes")[0]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The programs of the page as files in the current folder, with fewer texts and a free port."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "practice", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _, port = listening.getsockname()
    for name, code in re.findall(r"```python\n# (\w+\.py): (.*?)```", SECTION, flags=re.S):
        code = code.replace("8000", str(port)).replace("range(0, 3000", "range(0, 1500")
        Path(name).write_text(f"# {code}", encoding="utf-8")


def test_a_certified_policy_is_put_into_service_from_the_page_alone(page, monkeypatch, capsys):
    commands = [
        shlex.split(line)
        for block in re.findall(r"```bash\n(.*?)```", SECTION, flags=re.S)
        for line in block.splitlines()
    ]
    assert [command[0] for command in commands] == [
        "pip",
        "python",
        "cascadelib",
        "cascadelib",
        "python",
    ]
    runpy.run_path("practice.py", run_name="__main__")
    capsys.readouterr()
    for command in commands[2:4]:
        assert main(command[1:]) == 0
        assert capsys.readouterr().out.splitlines()[0] in SECTION

    def run_for_a_client(server, run=uvicorn.Server.run):
        thread = threading.Thread(target=run, args=(server,))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        runpy.run_path("client.py")
        server.should_exit = True
        thread.join()

    monkeypatch.setattr(uvicorn.Server, "run", run_for_a_client)
    for _ in range(2):  # the second run counts the decisions of the first one
        monitor = runpy.run_path("app.py")["monitor"]
    found = runpy.run_path("report.py")
    loss = found["monitor"].loss(0.05)
    assert found["monitor"].inputs == monitor.inputs == 3000 and loss["to_label"] > 0
    assert not found["monitor"].drift().alarm and not found["monitor"].failing(0.05)["alarm"].any()
    label_of = runpy.run_path("practice.py")["label_of"]
    labels = [f"{name},{label_of('new text ' + name[1:])}" for name in loss["label_first"]]
    Path("labels.csv").write_text("\n".join(["id,label", *labels]))
    labelled = runpy.run_path("report.py")["monitor"].loss(0.05)
    assert labelled["to_label"] == loss["to_label"] - len(labels) < loss["to_label"]
    assert labelled["high"] - labelled["low"] < loss["high"] - loss["low"]
