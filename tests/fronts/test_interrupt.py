"""Ctrl-C stops a search soon, with a short message, and no thread or process remains."""

import os
import signal
import subprocess
import sys

import pytest

from cascadelib.files import ROOT

# The search of each part is repeated until Ctrl-C: no machine is fast enough to finish before it.
# A parent that ignores SIGINT (a background job of a shell) hands that down, so it is restored.
LONG = """
import signal, sys, threading, numpy as np, cascadelib as cl
from concurrent.futures import ProcessPoolExecutor
from cascadelib.fronts import workers
signal.signal(signal.SIGINT, signal.default_int_handler)
rng = np.random.default_rng(0)
M, k = 10, 300
correct = rng.random((M, k)) < np.linspace(0.5, 0.9, M)[:, None]
table = cl.ScoreTable(correct, rng.random((M, k)) + 0.2 * correct, 2.0 ** np.arange(M))
once = workers.prefixes_in
begun = threading.Lock()
def endless(search, part):
    while True:
        yield from once(search, part)
        if begun.acquire(blocking=False):
            sys.stdout.write("searching\\n")
            sys.stdout.flush()
workers.prefixes_in = endless
def search(**how):
    try:
        cl.search(table, 4, **how)
    finally:
        print("threads", sum(not t.daemon for t in threading.enumerate()), flush=True)
"""
THREADS = LONG + "search()\n"
PROCESSES = (
    LONG
    + """
if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        search(executor=pool)
"""
)


def interrupted(command, tmp_path):
    """Run a command, send Ctrl-C to its group when it searches, and return (status, out, err)."""
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        first = child.stdout.readline()
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does
        out, err = child.communicate(timeout=300)
        assert first == "searching\n", err
        with pytest.raises(ProcessLookupError):  # no process of the group remains
            os.killpg(child.pid, 0)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        raise
    return child.returncode, out, err


def test_threads_stop_soon(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(THREADS)
    status, out, err = interrupted([sys.executable, script], tmp_path)
    assert status != 0 and out == "threads 1\n"
    assert err.rstrip().endswith("KeyboardInterrupt: the search was interrupted and has no result")
    assert len(err.splitlines()) <= 12 and "concurrent" not in err


@pytest.mark.soak
def test_tasks_of_processes_stop_soon(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(PROCESSES)
    status, out, err = interrupted([sys.executable, script], tmp_path)
    assert status != 0 and "threads " in out
    assert "KeyboardInterrupt: the search was interrupted" in err


def test_the_command_line_prints_one_line(tmp_path):
    code = (
        LONG
        + """
import cascadelib.__main__ as shell
shell.read_scores = lambda *_: table
sys.exit(shell.main(["search", "table", "--n-models", "4", "--goal", "near_best"]))
"""
    )
    command = [sys.executable, "-c", code]
    status, out, err = interrupted(command, tmp_path)
    assert (status, out, err) == (130, "", "cascadelib: interrupted\n")
