"""Measure the time and the disk space of a first run.

The repository is cloned into an empty folder, installed, and all its notebooks are run.

    python benchmarks/first_run.py     rewrites benchmarks/first-run.json, which the README quotes

Packages come from pip's cache or the network. The time of the installation is that of this machine.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def timed(*command: Any, **options: Any) -> float:
    """Return the seconds of a command, which must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, **options)
    return time.perf_counter() - start


def megabytes(folder: Path) -> int:
    """Return the size of a folder on disk."""
    said = subprocess.run(["du", "-sm", folder], check=True, capture_output=True, text=True).stdout
    return int(said.split()[0])


def first_run(folder: Path) -> dict:
    """Return {download_mb, install_s, installed_mb, run_s, cores} of a clone in an empty folder."""
    subprocess.run(["git", "clone", "-q", "--no-local", HERE.parent, folder], check=True)
    found = {
        "download_mb": megabytes(folder / ".git"),
        "install_s": timed("make", ".venv/.installed", cwd=folder),
    }
    found |= {
        "installed_mb": megabytes(folder / ".venv"),
        "run_s": timed("make", "run", cwd=folder),
    }
    return {**found, "cores": os.cpu_count()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        measured = first_run(Path(name) / "clone")
    (HERE / "first-run.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print(measured)
