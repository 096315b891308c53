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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

import cascadelib as cl
from cascadelib.analysis.uncertainty import sample_counts
from cascadelib.evaluation.point import Point

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent / "data" / "imagenet-1k"
LINE = re.compile(r"(\d\d)_\w+ +(\S+) s  (ok|FAILED.*) \((\S+) s of processor time\)")
REPORT = re.compile(r"Report: \S*/(\w+)/index\.html")  # after its notebooks


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
                number, seconds, outcome, cpu = found.groups()
                row = {"notebook": number, "report": "", "seconds": float(seconds)}
                rows.append(row | {"cpu": float(cpu), "outcome": outcome})
            elif found := REPORT.match(line):
                for row in rows:
                    row["report"] = row["report"] or found[1]
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with status {process.returncode}")
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu": round(cpu, 1)}, rows


SAMPLING = 1.0  # seconds between two readings of memory
LEAST_SAMPLES = 50_000  # of val, at which the planted best pairs are found exactly
ERRORS = 4  # standard errors that a found value may differ from a planted one
ROUNDED = 0.01  # relative error that float16 logits cause in exit rates
RESAMPLES = 40


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

    Every effect that data/imagenet-1k/README.md lists has rows. ``agrees`` compares the values that
    the row names. Raises SystemExit with the rows that differ.
    """
    planted = json.loads((folder / "planted.json").read_text(encoding="utf-8"))
    splits = {name: cl.LogitStore(folder / name) for name in ("val", "held_out")}
    val = splits["val"]
    rows = [row for pair in planted["pairs"] for row in compare_table_1(val, pair)]
    rows += compare_best_pairs(val, planted["best_pairs"])
    rows.append(compare_losses(val, splits["held_out"], planted["drops"]))
    rows += [compare_calibration(store, planted["gaps"][name]) for name, store in splits.items()]
    rows += compare_methods(val, planted["better"], planted["equal"])
    different = [row for row in rows if not row["agrees"]]
    if different:
        raise SystemExit(f"not as planted: {different}")
    return rows


def planted_row(name: str, planted: Any, found: Any, agrees: Any) -> dict[str, Any]:
    """Return a row of the record. Numbers have four digits after the point."""
    planted, found = (np.round(value, 4).tolist() for value in (planted, found))
    return {"planted": name, "wanted": planted, "found": found, "agrees": bool(agrees)}


def compare_table_1(val: cl.LogitStore, planted: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare exit rate, both costs and accuracy of a pair of Table 1 at the planted threshold.

    The rounding of float16 logits moves images across the threshold.
    """
    point = Point(
        tuple(planted["models"]), (planted["threshold"],), method=cl.METHODS["max_softmax"]
    )
    run = cl.evaluate(val, point)
    first, second = (val.models["published_seconds"][name] for name in point.models)
    seconds = first + (1 - run.exit_rates[0]) * second
    name = " → ".join(point.models)
    measured = {"exit_rate": run.exit_rates[0], "macs": run.cost, "published_seconds": seconds}
    rows = []
    for key, found in measured.items():
        close = abs(found / planted[key] - 1) <= ROUNDED
        unit = {"exit_rate": 1, "macs": 1e9, "published_seconds": 1e-3}[key]
        title = f"{key} of {name}" + {"macs": ", G", "published_seconds": ", ms"}.get(key, "")
        rows.append(planted_row(title, planted[key] / unit, found / unit, close))
    wanted = planted["expected_accuracy"]
    allowed = ERRORS * error_of_a_pair(val, point.models)
    close = abs(run.accuracy - wanted) <= allowed
    return [*rows, planted_row(f"accuracy of {name}", wanted, run.accuracy, close)]


def error_of_a_pair(val: cl.LogitStore, models: Sequence[str]) -> float:
    """Return the standard error of a pair's accuracy, given those of its models."""
    first, second = (val.ranks(name) == 0 for name in models)
    return float(((first != second).mean() / len(val)) ** 0.5)


def compare_best_pairs(val: cl.LogitStore, planted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the most accurate pairs at some costs, and the gain by models off the front.

    Of the models on the front several pairs are almost equal. So are those of all models on few
    images. Then only accuracies are named.
    """
    fronts = {
        candidates: cl.search(val, 2, "max_softmax", cost="macs", models=candidates)
        for candidates in ("all", "pareto")
    }
    rows = []
    for best in planted:
        at = f"at {best['macs'] / 1e9:g} G"
        found = {name: point_at(front, best["macs"]) for name, front in fronts.items()}
        errors = {name: error_of_a_pair(val, best[name]["models"]) for name in fronts}
        for name, point in found.items():
            wanted = best[name]["accuracy"]
            close = abs(point.accuracy - wanted) <= ERRORS * errors[name]
            title = f"accuracy of the best pair of {name} models {at}"
            rows.append(planted_row(title, wanted, point.accuracy, close))
        if len(val) >= LEAST_SAMPLES:
            pairs = [list(best["all"]["models"]), list(found["all"].models)]
            names = [" → ".join(pair) for pair in pairs]
            same = pairs[0] == pairs[1]
            title = f"best pair of all models {at}"
            rows.append({"planted": title, "wanted": names[0], "found": names[1], "agrees": same})
        wanted = best["all"]["accuracy"] - best["pareto"]["accuracy"]
        gain = found["all"].accuracy - found["pareto"].accuracy
        close = abs(gain - wanted) <= ERRORS * np.hypot(errors["all"], errors["pareto"])
        rows.append(
            planted_row(f"accuracy gained by models off the front {at}", wanted, gain, close)
        )
    return rows


def point_at(front: cl.Front, macs: float) -> Point:
    """Return the most accurate point of a front at a cost."""
    row = int(front.table["cost"].searchsorted(macs, side="right")) - 1
    return front.point(row)


def compare_losses(
    val: cl.LogitStore, held_out: cl.LogitStore, planted: dict[str, float]
) -> dict[str, Any]:
    """Compare the losses of all models on ImageNetV2. Counts of images are whole numbers."""
    wanted = pd.Series(planted)
    found = (val.models["top1"] - held_out.models["top1"])[wanted.index]
    close = (found - wanted).abs().max() <= 0.5 / len(val) + 0.5 / len(held_out) + 1e-9
    ends, found_ends = ([each.min(), each.max()] for each in (wanted, found))
    title = "least and largest loss of all models on ImageNetV2"
    return planted_row(title, ends, found_ends, close)


def compare_calibration(store: cl.LogitStore, gap: float) -> dict[str, Any]:
    """Compare the mean confidence − accuracy of every model with the planted one."""
    gaps = []
    for name in store.models.index:
        confidence, correct = cl.analysis.claims_of(store, name)
        gaps.append(confidence.mean() - correct.mean())
    ends = [min(gaps), max(gaps)]
    close = np.abs(np.subtract(ends, gap)).max() <= ERRORS * 0.5 / len(store) ** 0.5
    title = f"least and largest confidence − accuracy of all models on {store.dataset}"
    return planted_row(title, [gap, gap], ends, close)


def compare_methods(
    val: cl.LogitStore, better: list[list[str]], equal: list[str]
) -> list[dict[str, Any]]:
    """Compare mean factors of pairs by methods: their signs, and the equality of two methods.

    Equal methods differ by at most ``ERRORS`` standard errors of the difference over resamples.
    """
    counts = sample_counts(len(val), RESAMPLES)
    means = {}
    draws = {}
    for method in dict.fromkeys([*equal, *sum(better, [])]):
        front = cl.search(val, 2, method, cost="macs", models="pareto")
        means[method] = front.mean_improvement()
        draws[method] = cl.bootstrap(val, front, counts).mean_improvement()
    rows = []
    for one, other in better:
        lead = means[one] - means[other]
        title = f"sign of the mean factor of {one} less that of {other}"
        rows.append(planted_row(title, 1.0, np.sign(lead), lead > 0))
    one, other = equal
    lead = means[one] - means[other]
    close = 0 < abs(lead) <= ERRORS * (draws[one] - draws[other]).std(ddof=1)
    title = f"mean factor of {one} less that of {other}, expected"
    return [*rows, planted_row(title, 0.0, lead, close)]


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
