"""Start a Jupyter server on a loopback port, run a cell on its page, and drag a slider."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 300_000  # ms; a busy machine starts a server or a kernel slowly
DRAWN = ".cl-sentence b"


def free_port():
    """Return a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serving(folder, program=("-m", "jupyterlab")):
    """Yield the address and the log file of a server of JupyterLab and Notebook 7."""
    port = free_port()
    home = folder / ".jupyter"
    log = folder / "server.log"
    own = {
        name: str(home / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "IdentityProvider.token": "",
        "ServerApp.root_dir": folder,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": "",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
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
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:  # a kernel that is starting does not end
                server.kill()
                server.wait()


def wait_for(server, address, log):
    """Return when the server answers. Raise a RuntimeError with its log if it does not."""
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"no Jupyter server at {address}:\n{log.read_text()}")


def write_cell(path, *sources):
    """Write a notebook with these code cells."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in sources])
    nb.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(nb, path)


def run_cell(page, address):
    """Open a notebook in JupyterLab ("/doc/tree/…") or Notebook 7 ("/notebooks/…"), and run it."""
    page.goto(address)
    page.wait_for_selector(".jp-CodeCell .cm-content", timeout=PATIENCE)
    page.click(".jp-CodeCell .cm-content")
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
    end = time.monotonic() + PATIENCE / 1000
    # Repeated, because the page ignores the keys until its kernel has started.
    while prompt.inner_text().strip() == "[ ]:" and time.monotonic() < end:
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(1000)
    page.wait_for_selector(DRAWN, timeout=PATIENCE)


def drag(page, stage, *shares):
    """Drag a slider with the mouse through shares of its track."""
    slider = page.locator(".cl-slider").nth(stage)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    at = slider.evaluate("s => s.valueAsNumber / s.max")
    knob = 16
    x = [box["x"] + knob / 2 + share * (box["width"] - knob) for share in (at, *shares)]
    y = box["y"] + box["height"] / 2
    page.mouse.move(x[0], y)
    page.mouse.down()
    for each in x[1:]:
        page.mouse.move(each, y, steps=4)
    page.mouse.up()
