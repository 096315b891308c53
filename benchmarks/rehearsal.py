"""Compare the planted effects of a rehearsal of the full study with those that the library finds.

python data/imagenet-1k/rehearsal.py build/rehearsal     writes it; 6 GB of disk
python benchmarks/rehearsal.py build/rehearsal           prints a row per effect
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.analysis.uncertainty import sample_counts
from cascadelib.evaluation.point import Point

LEAST_SAMPLES = 50_000  # of val, at which the planted best pairs are found exactly
ERRORS = 4  # standard errors that a found value may differ from a planted one
ROUNDED = 0.01  # relative error that float16 logits cause in exit rates
RESAMPLES = 40


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


if __name__ == "__main__":
    print(pd.DataFrame(find_planted(Path(sys.argv[1]))).to_string(index=False))
