"""Ctrl-C in a search: it ends at once, says so briefly, and leaves no thread or process behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cascadelib.files import ROOT

# Four models of so many samples take minutes; the child says when it has begun.
LONG = """
import sys, threading, numpy as np, cascadelib as cl
from concurrent.futures import ProcessPoolExecutor
rng = np.random.default_rng(0)
M, k = 10, 30_000
correct = rng.random((M, k)) < np.linspace(0.5, 0.9, M)[:, None]
table = cl.ScoreTable(correct, rng.random((M, k)) + 0.2 * correct, 2.0 ** np.arange(M))
cl.search(table, 2)
def search(**how):
    print("searching", flush=True)
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


def interrupted(command, tmp_path, begun):
    """(exit status, stdout, stderr, seconds from Ctrl-C to the end) of a command of a group of its
    own."""
    path = str(ROOT)
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )
    begun(child)
    time.sleep(2)
    pressed = time.monotonic()
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    out, err = child.communicate(timeout=120)
    seconds = time.monotonic() - pressed
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(child.pid, 0)
    return child.returncode, out, err, seconds


def told_searching(child):
    assert child.stdout.readline() == "searching\n"


def test_threads_stop_at_once(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(THREADS)
    status, out, err, seconds = interrupted([sys.executable, script], tmp_path, told_searching)
    assert status != 0 and out == "threads 1\n"
    assert err.rstrip().endswith(
        "KeyboardInterrupt: the search was interrupted; nothing of it is kept"
    )
    assert len(err.splitlines()) <= 12 and "concurrent" not in err
    assert seconds < 10


def test_tasks_of_processes_stop_at_once(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(PROCESSES)
    status, out, err, seconds = interrupted([sys.executable, script], tmp_path, told_searching)
    assert status != 0 and out.startswith("threads ")
    assert "KeyboardInterrupt: the search was interrupted" in err
    assert seconds < 20


def test_a_shell_gets_one_line(tmp_path):
    code = (
        LONG
        + """
import cascadelib.__main__ as shell
shell._scores = lambda *_: table
print("searching", flush=True)
sys.exit(shell.main(["search", "table", "--n-models", "4", "--goal", "near_best"]))
"""
    )
    command = [sys.executable, "-c", code]
    status, out, err, seconds = interrupted(command, tmp_path, told_searching)
    assert (status, out, err) == (130, "", "cascadelib: interrupted\n")
    assert seconds < 10
