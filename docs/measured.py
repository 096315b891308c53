"""Format figures of speed from benchmarks/results.parquet for the pages of docs/ and the README."""

import functools
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results.parquet"
KINDS = ("two models", "three models", "mean logits")
PROMISE = (
    "guarantee, ε = 1%, δ = 10%, 1000 splits of 2000 + 2000: violation rate, exact paired test"
)
TWELVE = "12 methods, all pairs and triples, 27 models × 50,000 × 1,000 logits on disk"
SEARCHING = (  # what to call it, job, how its benchmark's name starts
    (
        "351 pairs × 50,000 samples, every threshold, sorts included",
        "search",
        "search: pairs of 27",
    ),
    ("the paper's recipe for the same in numpy", "search", "search: pairs, the paper's recipe"),
    ("2,925 triples × 50,000 samples, every pair of thresholds", "search", "search: triples of 27"),
    ("… peak memory", "search", "search: triples, peak memory"),
    (
        "… every tenth threshold, as in the paper, in numpy (scaled from three triples)",
        "search",
        "search: triples, every",
    ),
    (
        "17,550 cascades of four models, to within 1% of the optimal cost",
        "quadruples",
        "search: quadruples of 27",
    ),
    (
        "17,550 cascades of four models, every threshold",
        "quadruples_exact",
        "search: quadruples of 27",
    ),
    (
        "… peak memory",
        "quadruples_exact",
        "search: quadruples of 27, k = 50000, published accuracies, exact: p",
    ),
    (
        "four models in ten seconds: the certified gap, median over the front",
        "quadruples",
        "search: 4 of 27, median certified gap after 10 s",
    ),
    ("pairs of 10 models × 1,000,000 samples", "scale", "scale: 2 of 10, k = 1000000"),
    ("triples of 60 models × 50,000 samples", "scale", "scale: 3 of 60"),
    ("pairs of 200 models × 10,000 samples", "scale", "scale: 2 of 200"),
    (
        "the first search of triples where nothing is compiled, a whole process",
        "first_use",
        "first use: 3 of 27",
    ),
    (
        "the first search of pairs after `cl.warm()`, a whole process, in processor time",
        "first_use",
        "first use: 2 of 27, k = 50000, after warm in another process, import included: p",
    ),
    ("twelve methods × pairs and triples of 27 × 50,000 × 1,000 logits on disk", "methods", TWELVE),
    ("… peak memory", "methods", f"{TWELVE}: … peak memory"),
)
SEVERAL = "many models: 3 of 400, k = 20000, every threshold"
MANY = "many models: 3 of 1700, k = 50000, 600 s"
MANY_MODELS = (
    ("triples of 400 models × 20,000 samples, every threshold", "all_of_timm", SEVERAL),
    ("… peak memory", "all_of_timm", f"{SEVERAL}: peak"),
    *(
        (label, "many_models", f"{MANY}: {what}")
        for label, what in (
            (
                "triples of 1,700 models × 50,000 samples for ten minutes: time beyond",
                "time beyond",
            ),
            ("… certified gap, median over the front", "median"),
            ("… largest certified gap", "largest"),
            ("… peak memory ÷ size of the outcomes", "peak memory"),
            ("… points on the front of the 15 planted models alone", "points"),
        )
    ),
)
EXTRACTING = (
    (
        "four small timm models over 1,000 JPEGs: speed-up over four runs of timm's loop",
        "imagenet",
        "small models: times f",
    ),
    (
        "… share of the possible gain from reading once, (4 D + ΣF) ÷ (D + ΣF)",
        "imagenet",
        "small models: part of the ideal",
    ),
    (
        "four large models: share of the possible gain from reading once",
        "imagenet",
        "large models: part of the ideal",
    ),
    (
        "images per second of `extract` ÷ a bare forward loop, inputs in memory",
        "extraction",
        "extract ÷ bare",
    ),
)
RUNNING = (
    *(
        (
            f"{k}: throughput ÷ ideal, a stream",
            "cascade",
            f"{k}, batch 64: throughput ÷ ideal, stream",
        )
        for k in KINDS
    ),
    *(
        (f"{k}: … batch by batch", "cascade", f"{k}, batch 64: throughput ÷ ideal, batch by batch")
        for k in KINDS
    ),
    *(
        (f"{k}: exit decisions, share of its time", "cascade", f"{k}, batch 64: exit decisions ÷")
        for k in KINDS
    ),
    *(
        (
            f"{k}: mismatches with the evaluator",
            "cascade",
            f"{k}: decisions unlike the evaluator's o",
        )
        for k in KINDS
    ),
    (
        "guarantee at ε = 1%, δ = 10%: share of 1,000 draws in which it is broken",
        "guarantee",
        PROMISE,
    ),
)
TABLES = (SEARCHING, EXTRACTING, RUNNING)
QUADRUPLES = "scale: 4 of 17, k = 20000"
SENT = "scale: 3 of 27, k = 50000, what is sent"
WORKERS = (
    *(
        (
            f"2,380 cascades of four models × 20,000 samples, threads on {count}",
            "scale_workers",
            f"{QUADRUPLES}, threads, {count}",
        )
        for count in ("1 core", "2 cores")
    ),
    *(
        (f"{kind}, {count}: {label}", "scale_workers", f"{QUADRUPLES}, {kind}, {count}: {what}")
        for kind, counts in (
            ("processes", ("1 worker", "2 workers", "4 workers")),
            ("Dask", ("1 worker", "2 workers", "4 workers")),
            ("Dask, plain", ("2 workers",)),
        )
        for count in counts
        for label, what in (
            ("elapsed ÷ that of threads", "elapsed"),
            ("… processor time", "processor"),
            ("… cores used while nothing runs", "at rest"),
        )
    ),
    (
        "triples of 27 models × 50,000 samples: the outcomes, once per worker",
        "scale_workers",
        f"{SENT}: the outcomes",
    ),
    ("… a task", "scale_workers", f"{SENT}: a task"),
)
EXECUTORS = tuple(
    (
        f"{kind}: {label}",
        "scale_executors",
        f"executors: 4 of 17, k = 20000, 2 workers of {kind}: {what}",
    )
    for kind in ("processes", "loky", "Dask", "Ray")
    for label, what in (
        ("start of two workers", "start"),
        ("elapsed ÷ that of threads", "elapsed"),
        ("processor time ÷ that of threads", "processor"),
    )
)
LARGE = "scale: 7.5 GiB of logits in 3 GiB"
MEMORY = tuple(
    (f"{label}{what}", "scale_memory", f"{LARGE}, {start}{what}")
    for label, start in (
        ("confidences of 16 models × 125,000 × 1,000", "confidences"),
        ("their temperatures", "temperature"),
        ("pairs by mean softmax", "max_softmax_mean_softmax"),
        ("pairs by mean logits, with temperatures", "max_softmax_mean_logits_ts"),
    )
    for what in ("", ": peak resident", ": peak address space")
)


@functools.cache
def benchmarks() -> pd.DataFrame:
    """Return the results by job and benchmark. A row "…" continues the name of the previous row."""
    table = pd.read_parquet(RESULTS)
    own = table["benchmark"].where(~table["benchmark"].str.startswith("… ")).ffill()
    name = own.where(own == table["benchmark"], own + ": " + table["benchmark"])
    return table.assign(benchmark=name).set_index(["module", "benchmark"])


def runs(row: pd.Series) -> str:
    """Return the number of runs of a row's median, "" if it is not a median."""
    return "" if pd.isna(row.runs) else f"{row.runs:.0f}"


def timed(job: str, start: str) -> str:
    """Return the seconds of the slowest row whose name starts with ``name``.

    On a busy machine it is the processor time, which other jobs disturb less.
    """
    row = measured(job, start)
    rows = benchmarks().loc[job]
    times = rows[rows.index.str.startswith(start) & (rows.unit == "s") & rows.cpu.notna()]
    if len(times):
        row = times.loc[times.measured.idxmax()]
    if row.quiet == "no" and not pd.isna(row.cpu):
        return f"{quantity(row.cpu, 's')} of processor time"
    return quantity(row.measured, row.unit)


def conditions() -> str:
    """Return which jobs of :data:`TABLES` ran on a busy machine, and at which commits all were
    measured."""
    jobs = sorted(
        {"peers", "graded", *(job for entries in TABLES for _, job, _ in entries)}
        & {*benchmarks().index.levels[0]}
    )
    first = benchmarks().groupby("module")[["quiet", "others"]].first().loc[jobs]
    noisy = [
        f"`{job}` (others used {row.others:.1f} cores)"
        for job, row in first[first.quiet == "no"].iterrows()
    ]
    unknown = [f"`{job}`" for job in first.index[first.quiet == ""]]
    parts = [f"Not quiet while they were measured: {', '.join(noisy)}."] if noisy else []
    parts += (
        [f"Not recorded whether the machine was quiet: {', '.join(unknown)}."] if unknown else []
    )
    parts = parts or ["The machine was quiet while all of these jobs ran."]
    return " ".join([*parts, commits(jobs)])


def commits(jobs: Iterable[str]) -> str:
    """Return the commits of jobs, in a sentence."""
    found = benchmarks().groupby("module")["commit"].first().loc[list(jobs)]
    by_commit = [(commit, list(group.index)) for commit, group in found.groupby(found)]
    if len(by_commit) == 1:
        return f"Measured at commit {by_commit[0][0]}."
    listed = [
        f"{', '.join(f'`{job}`' for job in names)} at {commit}" for commit, names in by_commit
    ]
    return f"Measured {'; '.join(listed)}."


def measured(job: str, start: str) -> pd.Series:
    """Return the row of a job with this name, or the first that starts with it."""
    rows = benchmarks().loc[job]
    found = rows[rows.index.str.startswith(start)]
    if found.empty:
        raise ValueError(
            f"{RESULTS.name} has no row of {job} that starts with {start!r}; it has "
            f"{list(rows.index)}"
        )
    return found.iloc[0]


def quantity(value: float, unit: str) -> str:
    """Format a measured value: 0.10 s, 2 min 12 s, 33 h, 0.71 GiB, 3.2 ×."""
    if unit == "s" and value >= 60:
        if value >= 7200:
            return f"{value / 3600:.0f} h"
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    if unit in ("share", "%"):
        return f"{100 * value if unit == 'share' else value:.1f}%"
    if unit in ("samples", "points") or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.2g}".rstrip(".") + {"ratio": "", "×": " ×"}.get(unit, f" {unit}")


def value(job: str, start: str) -> str:
    """Return the measured value of a row, with its unit."""
    row = measured(job, start)
    return quantity(row.measured, row.unit)


def limit(target: str, unit: str) -> str:
    """Return a target in the unit of its measure: "≤ 0.02" of a share → "≤ 2%", "" without one."""
    if not target:
        return ""
    sign, bound = target.split()[:2]
    if unit == "share":
        return f"{sign} {100 * float(bound):g}%"
    return f"{sign} {bound}" + {"ratio": "", "samples": "", "×": " ×"}.get(unit, f" {unit}")


def rows_of(entries: Collection[tuple[str, str, str]]) -> str:
    """Return a Markdown table of (label, job, first characters of its benchmark's name).

    Columns without a value are left out. A job that has not been measured is shown by its command.
    """
    unmeasured = sorted({job for _, job, _ in entries} - {*benchmarks().index.levels[0]})
    if unmeasured:
        return f"Not measured yet: `python benchmarks/run.py {' '.join(unmeasured)}`."
    rows = [(label, measured(job, start)) for label, job, start in entries]
    columns = {
        "measured": [quantity(r.measured, r.unit) for _, r in rows],
        "processor": ["" if pd.isna(r.cpu) else quantity(r.cpu, "s") for _, r in rows],
        "runs": [runs(r) for _, r in rows],
        "target": [limit(r.target, r.unit) for _, r in rows],
    }
    columns = {name: values for name, values in columns.items() if any(values)}
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for (label, _), *cells in zip(rows, *columns.values(), strict=True):
        lines.append(f"| {' | '.join([label, *cells])} |")
    return "\n".join(lines)


def load_of(*jobs: str) -> str:
    """Return a sentence about other processes while jobs ran, "" if none disturbed them."""
    rows = benchmarks()
    first = rows[rows.quiet == "no"].groupby("module")["others"].first().reindex(jobs).dropna()
    used = [f"{others:.1f} cores while `{job}` ran" for job, others in first.items()]
    return f"\n\nOther processes used {', '.join(used)}." if used else ""


def rows_under_load(entries: Collection[tuple[str, str, str]]) -> str:
    """Return the table of :func:`rows_of`, and the load by other processes."""
    return rows_of(entries) + load_of(*sorted({job for _, job, _ in entries}))


def peers(kind: str) -> str:
    """Return a Markdown table of the rules of benchmarks/recipes.py, and of the gaps between
    cascades."""
    rows = benchmarks().loc["peers"]
    cells: dict[str, dict[str, str]] = {}
    spread: dict[str, Any] = {}
    for name, row in rows[rows.index.str.contains(f", {kind}: ")].iterrows():
        rule, _, what = name.partition(f", {kind}: ")
        if what.startswith("choosing"):
            cells[rule] = {
                "seconds": quantity(row.measured, "s"),
                "processor": quantity(row.cpu, "s"),
            }
        elif held := re.fullmatch(
            r"held out (at \S+) of .* \(chosen (\S+), spends (\S+) of it\)", what
        ):
            at, chosen, spends = held.groups()
            cells[rule][at] = f"{row.measured:.4f} for {spends} ({chosen})"
            if "single models" not in rule:
                spread.setdefault(at, []).append((row.measured, float(chosen)))
    columns = list(next(iter(cells.values())))
    lines = [
        f"| {' | '.join([rule, *(of[column] for column in columns)])} |"
        for rule, of in cells.items()
    ]
    held, chosen = (
        max(100 * np.ptp([pair[i] for pair in pairs]) for pairs in spread.values()) for i in (0, 1)
    )
    return "\n".join(
        [f"| {kind} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}", *lines, ""]
        + [
            (
                f"At one budget the cascades differ by at most {held:.2f} points held out, "
                f"{chosen:.2f} where chosen."
            )
        ]
    )


def in_time(job: str, pattern: str) -> list[tuple[str, float, dict[str, str]]]:
    """Return the measurements of a job within time limits: (search, seconds, {name: value}), in
    order.

    pattern: of a row's name, with the groups ``search``, ``what`` and ``after``.
    """
    cells: dict[tuple[str, float], dict[str, str]] = {}
    for name, row in benchmarks().loc[job].iterrows():
        found = re.fullmatch(pattern, name)
        if found:
            key = found["search"] or "", float(found["after"])
            cells.setdefault(key, {})[found["what"]] = quantity(row.measured, row.unit)
    return [(*key, of) for key, of in sorted(cells.items())]


def anytime() -> str:
    """Return a Markdown table of the certified gap of four models, by time limit."""
    name = (
        r"search: 4 of 27, (?P<what>\w+)( certified gap)? after (?P<after>\S+) s(?P<search>, .*)?"
    )
    lines = ["| time_limit | points | median gap | largest gap |", "|---|---:|---:|---:|"]
    for kind, after, of in in_time("quadruples", name):
        values = (of.get(what, "") for what in ("points", "median", "largest"))
        lines.append(f"| {' | '.join([f'{after:g} s{kind}', *values])} |")
    return "\n".join(lines)


def graded() -> str:
    """Return a Markdown table of the certified gap and the rounding of graded scores in time."""
    name = (
        r"search: (?P<search>.*), (?P<what>\w+) (certified gap|of accuracy) after (?P<after>\S+) s"
    )
    lines = ["| search | time_limit | error | median gap | largest gap |", f"|---|{'---:|' * 4}"]
    for search, after, of in in_time("graded", name):
        cells = [search, f"{after:g} s", of.get("error", ""), of["median"], of["largest"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def limits() -> str:
    """Return a Markdown table of the time beyond time limits, and of the certified gaps."""
    name = r"limits: (?P<search>.*), (?P<after>\S+) s(, nothing compiled)?: (?P<what>\w+) .*"
    lines = ["| search | time_limit | time beyond | median gap | largest gap |"]
    lines.append(f"|---|{'---:|' * 4}")
    jobs = [job for job in ("limits", "limits_of_300") if job in benchmarks().index.levels[0]]
    for job in jobs:
        for search, after, of in in_time(job, name):
            cells = [search, f"{after:g} s", of["time"], of["median"], of["largest"]]
            lines.append(f"|{'|'.join(cells)}|")
    return "\n".join(lines) + load_of(*jobs)
