"""Run the full study on logits of ImageNet's shape, and write its times to rehearsal.json.

    python benchmarks/rehearsal.py                    50,000 images, 1,000 classes; 6 GB of disk
    python benchmarks/rehearsal.py --samples 5000     smaller

All notebooks run on both axes of cost. There is a row for each notebook and report: its seconds,
and the processor seconds of all its processes. Seconds depend on other load on the machine, and
``load`` is the mean number of its running processes. ``memory_mb`` is the most memory of all
kernels together. Then the planted effects are compared with those that the study finds.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

import cascadelib as cl

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


SAMPLING = 1.0  # seconds between two readings of memory
LEAST_SAMPLES = 50_000  # of val, at which the planted best pairs are found exactly
ERRORS = 4  # standard errors that a found accuracy may differ from a planted one


class PeakMemory(threading.Thread):
    """Read the memory of all child processes together, and keep the largest sum.

    Pages that several processes share, such as those of memory-mapped logits, count once.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(SAMPLING):
            self.bytes = max(self.bytes, memory_of_children())

    def stop(self) -> int:
        """Return the peak in MB."""
        self.ended.set()
        self.join()
        return self.bytes // 2**20


def memory_of_children() -> int:
    """Return the proportional set sizes of all child processes, in bytes."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            total += process.memory_full_info().pss
    return total


def find_planted(folder: Path) -> list[dict[str, Any]]:
    """Return the planted effects next to those that the library finds, a row each.

    Raises SystemExit with the rows that differ.
    """
    planted = json.loads((folder / "planted.json").read_text(encoding="utf-8"))
    val = cl.LogitStore(folder / "val")
    rows = []
    for candidates in ("all", "pareto"):
        front = cl.search(val, 2, "max_softmax", cost="macs", models=candidates)
        for best in planted["best_pairs"]:
            rows.append(compare_pair(front, best["macs"], candidates, best[candidates]))
    for split in ("val", "held_out"):
        rows.append(compare_calibration(cl.LogitStore(folder / split), planted["gaps"][split]))
    different = [row for row in rows if not row["agrees"]]
    if different:
        raise SystemExit(f"not as planted: {different}")
    return rows


def compare_pair(
    front: cl.Front, macs: float, candidates: str, planted: dict[str, Any]
) -> dict[str, Any]:
    """Compare the most accurate pair at a cost with the planted one.

    On few images chance decides between pairs, and accuracies alone are compared. So are they for
    models on the front of single models, of which several pairs are almost equal.
    """
    val = front.store
    row = int(front.table["cost"].searchsorted(macs, side="right")) - 1
    point = front.point(row)
    accuracy = float(front.table["accuracy"][row])
    first, second = planted["models"]
    unsure = (val.ranks(first) == 0) != (val.ranks(second) == 0)
    allowed = ERRORS * (unsure.mean() / len(val)) ** 0.5
    agrees = abs(accuracy - planted["accuracy"]) <= allowed
    if candidates == "all" and len(val) >= LEAST_SAMPLES:
        agrees = agrees and list(point.models) == planted["models"]
    return {
        "planted": f"best pair of {candidates} models at {macs / 1e9:g} G",
        "wanted": [" → ".join(planted["models"]), round(planted["accuracy"], 4)],
        "found": [" → ".join(point.models), round(accuracy, 4)],
        "agrees": bool(agrees),
    }


def compare_calibration(store: cl.LogitStore, gap: float) -> dict[str, Any]:
    """Compare the mean confidence − accuracy of all models with the planted one."""
    gaps = []
    for name in store.models.index:
        confidence, correct = cl.analysis.claims_of(store, name)
        gaps.append(confidence.mean() - correct.mean())
    found = sum(gaps) / len(gaps)
    return {
        "planted": f"mean confidence − accuracy on {store.dataset}",
        "wanted": gap,
        "found": round(found, 4),
        "agrees": bool(abs(found - gap) <= ERRORS * 0.5 / len(store) ** 0.5),
    }


def megabytes(folder: Path) -> int:
    """Return the MB of the files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 2**20


def rehearse(folder: Path, samples: int, classes: int) -> dict[str, Any]:
    """Write a study into a folder, run all notebooks on it, and return the measurements.

    They are the sizes, the seconds of writing and of the notebooks, the most memory of all kernels
    together, and the planted effects that were found. An existing folder is used as it is.
    """
    size = ["--samples", samples, "--classes", classes]
    measured: dict[str, Any] = {"samples": samples, "classes": classes, "cores": os.cpu_count()}
    if not (folder / "planted.json").exists():
        measured["written"], _ = run_script(SCRIPTS / "rehearsal.py", folder, *size)
    measured["disk_mb"] = megabytes(folder)
    preset = ["--preset", SCRIPTS / "paper.yml"]
    memory = PeakMemory()
    memory.start()
    measured["all"], measured["notebooks"] = run_script(
        SCRIPTS / "run_notebooks.py", folder, *preset
    )
    measured["memory_mb"] = memory.stop()
    measured["load"] = round(os.getloadavg()[2], 1)
    measured["planted"] = find_planted(folder)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=50_000, help="images of val")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="stores the study (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=HERE / "rehearsal.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "logits"
        measured = rehearse(folder, options.samples, options.classes)
    text = json.dumps(measured, indent=2, ensure_ascii=False) + "\n"
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
