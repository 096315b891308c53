"""Run the full study on logits of ImageNet's shape, and write its times to rehearsal.json.

    python benchmarks/rehearsal.py                    50,000 images, 1,000 classes; 6 GB of disk
    python benchmarks/rehearsal.py --samples 5000     smaller

All notebooks run on both axes of cost. There is a row for each notebook and report: its seconds,
and the processor seconds of all its processes. Seconds depend on other load on the machine, and
``load`` is the mean number of its running processes.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "data" / "imagenet-1k"
LINE = re.compile(r"(\d\d)_\w+ +(\S+) s  (ok|FAILED.*) \((\S+) s of processor time\) for (\w+)")


def run_script(*command: Any) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Run a command and echo its output. It must succeed.

    Returns {seconds, cpu} of all its processes, and a row for each notebook that it ran.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    rows = []
    arguments = [sys.executable, "-u", *map(str, command)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if found := LINE.match(line):
                number, seconds, outcome, cpu, report = found.groups()
                row = {"notebook": number, "report": report, "seconds": float(seconds)}
                rows.append(row | {"cpu": float(cpu), "outcome": outcome})
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with status {process.returncode}")
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu": round(cpu, 1)}, rows


def megabytes(folder: Path) -> int:
    """Return the MB of the files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 2**20


def rehearse(folder: Path, samples: int, classes: int) -> dict[str, Any]:
    """Write a study into a folder, run all notebooks on it, and return the measurements.

    They are the sizes, the seconds of writing and of the notebooks, and the most memory of one
    process. An existing folder is used as it is.
    """
    size = ["--samples", samples, "--classes", classes]
    measured: dict[str, Any] = {"samples": samples, "classes": classes, "cores": os.cpu_count()}
    if not (folder / "planted.json").exists():
        measured["written"], _ = run_script(SCRIPTS / "rehearsal.py", folder, *size)
    measured["disk_mb"] = megabytes(folder)
    preset = ["--preset", SCRIPTS / "paper.yml"]
    measured["all"], measured["notebooks"] = run_script(
        SCRIPTS / "run_notebooks.py", folder, *preset
    )
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return measured | {"memory_mb": most // 1024, "load": round(os.getloadavg()[2], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=50_000, help="images of val")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="stores the study (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "logits"
        measured = rehearse(folder, options.samples, options.classes)
    (HERE / "rehearsal.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print(measured)


if __name__ == "__main__":
    main()
