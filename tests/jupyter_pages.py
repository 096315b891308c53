"""A Jupyter server, or `make app`, on a loopback port, and what a test does on its pages: run a
cell, drag, read."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120_000  # ms; a busy machine starts a kernel slowly
DRAWN = "td.accuracy"


def free_port() -> Any:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serving(folder: Path, program: tuple[str, ...] = ("-m", "jupyterlab")) -> Iterator[Any]:
    """(address, log file) of a Jupyter server that serves ``folder``: JupyterLab, Notebook 7 and
    Voilà."""
    port = free_port()
    home = folder / ".jupyter"
    log = folder / "server.log"
    own = {
        name: str(home / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0, "IdentityProvider.token": "",
        "ServerApp.root_dir": folder, "ServerApp.open_browser": False, "ServerApp.allow_root": True,
        "LabApp.news_url": "", "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }  # fmt: skip
    command = [sys.executable, *program, *(f"--{name}={value}" for name, value in options.items())]
    with log.open("w") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **own, "PYTHONPATH": path}
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(server, address, log)
            yield address, log
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(90)


def wait_for(server: Any, address: Any, log: Any, seconds: int = 60) -> None:
    """Return once the server answers; RuntimeError with its log where it ends or keeps silent."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"no Jupyter server at {address}:\n{log.read_text()}")


class App:
    """A running `app/serve.py`."""

    def __init__(self, port: Any, process: Any, log: Any) -> None:
        self.port = port
        self.process = process
        self.log = log

    @property
    def token(self) -> Any:
        return re.search(r"\?token=(\w+)", self.log.read_text())[1]

    def ask(self, path: Path, method: str = "GET", token: bool = True, **headers: Any) -> tuple:
        """(status, text) of a request on a connection of its own; the text to its end, unless it is
        a web socket."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given |= {"Authorization": f"token {self.token}"} if token else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.putrequest(method, path, skip_host="Host" in given)
        for name, value in {**given, "Content-Length": "0"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        reply = connection.getresponse()
        text = "" if reply.status == 101 else reply.read().decode()
        connection.close()
        return reply.status, text

    def open(self) -> Any:
        """Kernel of a page that was loaded to its end."""
        status, text = self.ask("/")
        assert status == 200, text
        return json.loads(
            re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', text, re.S)[1]
        )["kernelId"]

    def kernels(self) -> Any:
        return psutil.Process(self.process.pid).children()

    def ends_with(self, kernels: Any, seconds: int = 60) -> Any:
        end = time.monotonic() + seconds
        while len(self.kernels()) != kernels and time.monotonic() < end:
            time.sleep(0.1)
        return len(self.kernels()) == kernels


@contextmanager
def app(folder: Path, *options: Any, program: tuple[str, ...] = ("app/serve.py",)) -> Iterator[Any]:
    port = free_port()
    log = folder / "log"
    command = [
        sys.executable,
        *program,
        "--no-browser",
        f"--port={port}",
        "--Voila.port_retries=0",
        *options,
    ]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "HOME": str(folder)}
        )
        try:
            end = time.monotonic() + 60
            while (
                "token=" not in log.read_text()
                and process.poll() is None
                and time.monotonic() < end
            ):
                time.sleep(0.1)
            yield App(port, process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def write_cell(path: Path, source: Any) -> None:
    """A notebook of one cell."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nb.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(nb, path)


def run_cell(page: Any, address: Any) -> None:
    """Open a notebook in JupyterLab ("/doc/tree/…") or Notebook 7 ("/notebooks/…") and run its
    cell."""
    page.goto(address)
    page.wait_for_selector(".jp-CodeCell .cm-content", timeout=PATIENCE)
    page.click(".jp-CodeCell .cm-content")
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
    end = time.monotonic() + PATIENCE / 1000
    while (
        prompt.inner_text().strip() == "[ ]:" and time.monotonic() < end
    ):  # no kernel yet to hear it
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(1000)
    page.wait_for_selector(DRAWN, timeout=PATIENCE)


def on_screen(page: Any, kind: str = "accuracy", split: str = "validation") -> Any:
    """The text of a cell of the numbers, without its interval."""
    return (
        page.locator(f'td.{kind}[data-split="{split}"]')
        .evaluate("cell => cell.firstChild.textContent")
        .strip()
    )


def changes(page: Any, act: Any, kind: str = "accuracy") -> None:
    """Do ``act()`` and wait until a number on screen is another."""
    before = on_screen(page, kind)
    act()
    page.wait_for_function(
        "([kind, before]) =>"
        " document.querySelector(`td.${kind}[data-split=validation]`).firstChild.textContent.trim() != before",
        arg=[kind, before],
        timeout=PATIENCE,
    )


def slider(page: Any, position: Any) -> Any:
    """A slider: 0 sends on, 1 threshold of the first stage; 2, 3 of the second …"""
    return page.locator("input[type=range]:visible").nth(position)


def place(page: Any, position: Any, share: Any = None) -> tuple:
    """(x, y) of a slider's knob on the page, where it is or at a share of its track."""
    box = slider(page, position).bounding_box()
    knob = 16
    if share is None:
        share = int(slider(page, position).input_value()) / 1000
    return box["x"] + knob / 2 + share * (box["width"] - knob), box["y"] + box["height"] / 2


def drag(page: Any, position: Any, *to: Any, steps: int = 8) -> None:
    """Drag a slider with the mouse to a share of its track, or through several."""
    slider(page, position).scroll_into_view_if_needed()
    page.mouse.move(*place(page, position))
    page.mouse.down()
    for share in to:
        page.mouse.move(*place(page, position, share), steps=steps)
    page.mouse.up()
