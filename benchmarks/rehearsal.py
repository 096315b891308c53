"""What the study on ImageNet's logits takes: a rehearsal is written, and all notebooks run on it.

    python benchmarks/rehearsal.py                    50,000 images, 1,000 classes; 6 GB of disk
    python benchmarks/rehearsal.py --samples 5000     rewrites benchmarks/rehearsal.json

Seconds are those of this machine, and of what else it did: ``load`` says how busy it was.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "data" / "imagenet-1k"


def ran(*command: Any) -> dict[str, float]:
    """Return {seconds, cpu} of a command with all its processes. It must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, *map(str, command)], check=True)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu": round(cpu, 1)}


def megabytes(folder: Path) -> int:
    """Return the MB of the files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 2**20


def rehearsed(folder: Path, samples: int, classes: int) -> dict[str, Any]:
    """Sizes; seconds of writing and of all notebooks on both axes of cost; disk; the most memory
    that one process took."""
    size = ["--samples", samples, "--classes", classes]
    found: dict[str, Any] = {"samples": samples, "classes": classes, "cores": os.cpu_count()}
    found["written"] = ran(SCRIPTS / "rehearsal.py", folder, *size)
    found["disk_mb"] = megabytes(folder)
    preset = ["--preset", SCRIPTS / "paper.yml"]
    found["notebooks"] = ran(SCRIPTS / "run_notebooks.py", folder, *preset)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return found | {"memory_mb": most // 1024, "load": round(os.getloadavg()[2], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=50_000, help="images of val")
    parser.add_argument("--classes", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measured = rehearsed(Path(name) / "logits", options.samples, options.classes)
    (HERE / "rehearsal.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print(measured)


if __name__ == "__main__":
    main()
