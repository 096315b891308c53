"""Compute the tables of ``docs/gpu.md`` from timm's published speeds, and write them there.

``--measure`` first measures how long a processor decodes photographs, into
``benchmarks/decoding.json``. No part of it needs a GPU.
"""

import json
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

import cascadelib as cl

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "gpu.md"
DECODING = ROOT / "benchmarks" / "decoding.json"
PHOTOGRAPHS = 60_000  # ImageNet's validation set and ImageNetV2
CORES = 16
USABLE = 0.9  # of the memory of a GPU
GIGABYTES = {"24 GB": 24, "80 GB": 80}
# Ratios of an H100 SXM to an RTX 3090 in NVIDIA's data sheets: 3,350 ÷ 936 GB/s of memory, and
# 989 ÷ 71 TFLOPS of dense float16 products. No speed of an H100 is in timm's tables of 2022.
SPEEDUPS = (3350 / 936, 989 / 71)


def measure_decoding() -> None:
    """Measure the processor time per photograph with one cut and with 20 cuts."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from extraction import tree

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        jpegs = Path(folder) / "jpegs"
        files = [path for path in sorted(tree(100).rglob("*")) if path.is_file()][:8]
        jpegs.write_bytes(pickle.dumps([path.read_bytes() for path in files]))
        script = str(ROOT / "benchmarks" / "extraction_runs.py")
        for cuts in ("1", "20"):
            command = [sys.executable, script, "decoding", "ring", cuts, str(jpegs)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            found[cuts] = round(json.loads(ran.stdout)["milliseconds"], 2)
    DECODING.write_text(json.dumps(found) + "\n")


def choose_models() -> dict[str, pd.DataFrame]:
    """Return the rows of the models of the paper's fronts, and of all models with a speed."""
    sys.path.insert(0, str(ROOT / "notebooks"))
    from tools.published_models import on_fronts

    table = cl.published.models()
    return {
        "the models of the paper's fronts": on_fronts(table),
        "all models with a published speed": table[table["seconds"].notna()],
    }


def count_groups(weights: list[float], limit: float) -> int:
    """Count the groups of models that fit together into memory, the largest models first."""
    groups: list[float] = []
    for size in sorted(weights, reverse=True):
        place = next((i for i, held in enumerate(groups) if held + size <= limit), None)
        if place is None:
            groups.append(size)
        else:
            groups[place] += size
    return len(groups)


def format_hours(hours: float) -> str:
    """Format a duration in hours or minutes."""
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def make_table() -> str:
    """Return the Markdown table of the page."""
    decoding = json.loads(DECODING.read_text())
    more = (decoding["20"] - decoding["1"]) / 19  # of each further cut
    columns = {}
    for name, models in choose_models().items():
        weights = (4e-9 * models["parameters"]).tolist()
        seconds = models["seconds"].sum()
        hours = seconds * PHOTOGRAPHS / 3600
        cuts = models["image_size"].nunique()
        milliseconds = decoding["1"] + (cuts - 1) * more
        groups = {card: count_groups(weights, USABLE * size) for card, size in GIGABYTES.items()}
        reading = groups["80 GB"] * milliseconds / 1000 * PHOTOGRAPHS / 3600 / CORES
        slow, fast = (hours / ratio for ratio in SPEEDUPS)
        columns[f"{name} ({len(models)})"] = {
            "weights in float32": f"{sum(weights):.0f} GB",
            **{f"groups on a GPU of {card}": str(count) for card, count in groups.items()},
            "RTX 3090, published: all models on a photograph": f"{1000 * seconds:.0f} ms",
            f"RTX 3090, published: {PHOTOGRAPHS:,} photographs": format_hours(hours),
            "one H100, from data sheets": f"{format_hours(fast)} to {format_hours(slow)}",
            "eight H100, from data sheets": f"{format_hours(fast / 8)} to {format_hours(slow / 8)}",
            "image sizes (each is a cut, at least)": str(cuts),
            "a core decodes and cuts a photograph in": f"{milliseconds:.0f} ms",
            f"{CORES} cores decode for all groups (80 GB) in": format_hours(reading),
        }
    table = pd.DataFrame(columns)
    lines = ["| | " + " | ".join(table.columns) + " |", "|---|" + "---:|" * len(table.columns)]
    lines += [f"| {row} | " + " | ".join(values) + " |" for row, values in table.iterrows()]
    limit = decoding["1"] / CORES
    lines += [
        "",
        f"A core decodes a photograph of 500 × 375 pixels and cuts it once in {decoding['1']:.1f} "
        f"ms. So {CORES} cores feed a group with one cut if its models take at least {limit:.2f} "
        "ms of the GPU per photograph. Below that, the GPU waits.",
    ]
    return "\n".join(lines)


def write_page() -> str:
    """Return the page with the current table."""
    found = re.compile("(?<=<!--table-->\n).*?(?=\n<!--/table-->)", re.DOTALL)
    return found.sub(lambda _: make_table(), PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure_decoding()
    PAGE.write_text(write_page(), encoding="utf-8")
