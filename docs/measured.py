"""Format figures of speed from benchmarks/results.parquet for docs/speed.md."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results.parquet"
MANY = "many models: 3 of 1700, k = 50000, 600 s: "
AFTER_WARM = "first use: 2 of 27, k = 50000, after warm in another process, import included: p"
SEARCHING = (  # what to call it, job, how its benchmark's name starts
    ("351 pairs × 50,000 samples, every threshold", "search", "search: pairs of 27"),
    ("the paper's recipe for the same in NumPy", "search", "search: pairs, the paper's recipe"),
    ("2,925 triples × 50,000 samples, every threshold", "search", "search: triples of 27"),
    ("… every tenth threshold in NumPy (scaled)", "search", "search: triples, every"),
    ("17,550 cascades of four models, to within 1%", "quadruples", "search: quadruples of 27"),
    ("… every threshold", "quadruples_exact", "search: quadruples of 27"),
    ("pairs of 10 models × 1,000,000 samples", "scale", "scale: 2 of 10, k = 1000000"),
    ("triples of 60 models × 50,000 samples", "scale", "scale: 3 of 60"),
    ("pairs of 200 models × 10,000 samples", "scale", "scale: 2 of 200"),
    ("triples of 1,700 models in ten minutes: time beyond", "many_models", MANY + "time beyond"),
    ("… certified gap, median over the front", "many_models", MANY + "median"),
    ("… peak memory ÷ size of the outcomes", "many_models", MANY + "peak memory"),
    ("first search of triples, nothing compiled, a process", "first_use", "first use: 3 of 27"),
    ("first search of pairs after `cl.warm()`, a process", "first_use", AFTER_WARM),
)
EXTRACTING = (
    ("four small models: speed-up over timm's loop", "imagenet", "small models: times f"),
    ("… share of (4 D + ΣF) ÷ (D + ΣF)", "imagenet", "small models: part of the ideal"),
    ("four large models: share of it", "imagenet", "large models: part of the ideal"),
)


@functools.cache
def benchmarks() -> pd.DataFrame:
    """Return the results by job and benchmark."""
    return pd.read_parquet(RESULTS).set_index(["module", "benchmark"])


def quantity(value: float, unit: str) -> str:
    """Format a measured value: 0.10 s, 2 min 12 s, 33 h, 0.71 GiB, 3.2 ×."""
    if unit == "s" and value >= 60:
        if value >= 7200:
            return f"{value / 3600:.0f} h"
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    if unit == "%":
        return f"{value:.1f}%"
    if unit == "points" or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.2g}".rstrip(".") + {"ratio": "", "×": " ×"}.get(unit, f" {unit}")


def rows_of(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return a Markdown table of (label, job, first characters of its benchmark's name)."""
    lines = ["| | measured | processor | target |", "|---|---:|---:|---:|"]
    for label, job, start in entries:
        rows = benchmarks().loc[job]
        row = rows[rows.index.str.startswith(start)].iloc[0]
        processor = "" if pd.isna(row.cpu) else quantity(row.cpu, "s")
        lines.append(
            f"| {label} | {quantity(row.measured, row.unit)} | {processor} | {row.target} |"
        )
    return "\n".join(lines)


def load() -> str:
    """Return which jobs ran on a busy machine."""
    first = benchmarks().groupby("module")[["quiet", "others"]].first()
    used = [
        f"`{job}` ({row.others:.1f} cores)" for job, row in first[first.quiet == "no"].iterrows()
    ]
    return f"On a busy machine: {', '.join(used)}; their times are upper bounds."


def peers() -> str:
    """Return a Markdown table of the rules of benchmarks/recipes.py for triples."""
    cells: dict[str, dict[str, str]] = {}
    for name, row in benchmarks().loc["peers"].iterrows():
        rule, _, what = name.partition(", triples: ")
        if what.startswith("choosing"):
            cells[rule] = {"seconds": quantity(row.measured, "s")}
        elif held := re.fullmatch(
            r"held out (at \S+) of .*\(chosen \S+, spends (\S+) of it\)", what
        ):
            cells[rule][held[1]] = f"{row.measured:.4f} for {held[2]}"
    columns = list(next(iter(cells.values())))
    rows = [f"| {' | '.join([rule, *of.values()])} |" for rule, of in cells.items()]
    return "\n".join([f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}", *rows])


def anytime() -> str:
    """Return a Markdown table of the certified gap of four models, by time limit."""
    name = r"search: 4 of 27, (?P<what>\w+)( certified gap)? after (?P<after>\S+) s, published.*"
    found: dict[float, list[str]] = {}
    for benchmark, row in benchmarks().loc["quadruples"].iterrows():
        if match := re.fullmatch(name, benchmark):
            found.setdefault(float(match["after"]), []).append(quantity(row.measured, row.unit))
    lines = ["| time_limit | points | median gap | largest gap |", "|---|---:|---:|---:|"]
    lines += [f"| {after:g} s | {' | '.join(found[after])} |" for after in sorted(found)]
    return "\n".join(lines)
