"""Run every benchmark in this folder and write one table, ``results.md`` and ``results.parquet``.

    python benchmarks/run.py                 all of them (an hour), and write the results
    python benchmarks/run.py search          the job search, and replace its results
    python benchmarks/run.py quad            jobs with names that begin so, if no job has that name
    python benchmarks/run.py fronts          all jobs of a file
    python benchmarks/run.py --quick         small sizes, print only

Each file of this folder has its jobs in a table ``JOBS``: name → ``job(quick=False) ->
list[dict]``. Each dict, made by ``row`` in measuring.py, has ``benchmark`` (its name), ``measured``
(a number), ``unit``, and ``target`` (text such as "≤ 0.5" or "≥ 0.85", empty without one). Timed
rows also have ``cpu`` (processor seconds) and ``runs`` (the number of runs of the median). Each row
has the commit at which it was measured. Other load on the machine is recorded per job. The end
lists missed targets, jobs on a busy machine, and jobs without measurements.
"""

import argparse
import ast
import datetime
import importlib
import math
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import LONG, QUIET, RUNS, Watch

HERE = Path(__file__).resolve().parent
NO_ROOMS = ("run", "synthetic", "measuring")
COLUMNS = ["benchmark", "measured", "unit", "cpu", "runs", "target", "met"]
WATCHED = ["load_before", "load_after", "others"]
RULES = f"""Medians of at least {RUNS} runs; what takes more than {LONG:.0f} s may be run less \
often.
*cpu*: processor seconds of a run, all its processes together. A job was *not quiet* if other
processes used more than {QUIET:g} cores on average while it ran (time stolen from a virtual
machine included): its times are upper bounds. *c or before*: rows from before commits were \
recorded, which commit c brought.
"""
CODE = ("cascadelib", "benchmarks/*.py")
PACKAGES = ("numpy", "numba", "torch", "pandas")


def processor() -> str:
    """Return the system's name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine() -> str:
    """Return one line: processor, cores, memory, system, Python and package versions, date.

    It includes numpy's sorting instructions, because AVX-512 is slower on some processors.
    """
    parts = [f"{processor()}, {os.cpu_count()} cores"]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB")
    parts += [platform.system(), f"Python {platform.python_version()}"]
    parts += [f"{package} {version(package)}" for package in PACKAGES]
    extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    parts.append(f"numpy has {' '.join(extensions) or 'no extensions'}")
    return " · ".join([*parts, datetime.date.today().isoformat()])


def commit() -> str:
    """Return the current commit, followed by "changed" if the code differs, "" without a
    repository."""
    asked = (["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "-uno", "--", *CODE])
    try:
        head, changes = (
            subprocess.run(
                ["git", *what], cwd=HERE.parent, check=True, capture_output=True, text=True
            ).stdout.strip()
            for what in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}, changed" if changes else head


def met(measured: float, target: str) -> str:
    """Return "yes" or "no" (nan: "no") for a target that begins with ≤ or ≥, else ""."""
    sign, _, bound = target.partition(" ")
    if sign not in ("≤", "≥"):
        return ""
    limit = float(bound.split()[0])
    reached = measured <= limit if sign == "≤" else measured >= limit
    return "yes" if reached else "no"


def names_in(table: ast.expr) -> list[str]:
    """Return the literal keys of a dict in the source, each a text."""
    return [ast.literal_eval(key) for key in getattr(table, "keys", ())]


def listed(folder: Path) -> dict[str, str]:
    """Return {job: its file} in order of name, from the tables JOBS.

    No file is imported, because one may need torch.
    """
    jobs: dict[str, str] = {}
    for path in folder.glob("*.py"):
        if path.stem not in NO_ROOMS:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "JOBS":
                    jobs |= dict.fromkeys(names_in(node.value), path.stem)
    return dict(sorted(jobs.items()))


def quiet(others: float) -> str:
    """Return whether a job had the machine to itself: "yes", "no", or "" if unknown (nan)."""
    if math.isnan(others):
        return ""
    return "yes" if others <= QUIET else "no"


def collect(jobs: dict[str, str], quick: bool) -> tuple[pd.DataFrame, list[str]]:
    """Run jobs: (table, see :func:`completed`, failed jobs).

    If a job fails, the others still run and their results count.
    """
    rows = []
    failed = []
    for name, room in jobs.items():
        start = time.perf_counter()
        try:
            job = importlib.import_module(room).JOBS[name]
            with Watch() as watch:
                found = job(quick=quick)
            rows += [{"module": name, **row, **watch.seen} for row in found]
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return completed(pd.DataFrame(rows)), failed


def completed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with job, machine, commit, COLUMNS, WATCHED, quiet, and verdicts from the
    figures."""
    table = table.reindex(columns=["module", *COLUMNS[:-1], *WATCHED, "machine", "commit"])
    table["commit"] = table.commit.astype(object).fillna("")
    names = ["module", "benchmark", "commit"]
    numbers = ["measured", "cpu", "runs", *WATCHED]
    table[names] = table[names].astype(str)
    table[numbers] = table[numbers].astype(float)
    table["target"] = table.target.fillna("").astype(str)
    table["met"] = [met(*pair) for pair in zip(table.measured, table.target, strict=True)]
    table["quiet"] = [quiet(others) for others in table.others]
    return table


def as_markdown(table: pd.DataFrame) -> str:
    """Return the table in Markdown, with four significant digits."""
    digits = {"measured": "{:.4g}", "cpu": "{:.4g}", "runs": "{:.0f}"}
    shown = table.assign(
        **{name: table[name].map(form.format) for name, form in digits.items()}
    ).astype(str)
    shown[["cpu", "runs"]] = shown[["cpu", "runs"]].replace("nan", "")
    lines = [
        COLUMNS,
        ["---", "---:", "---", "---:", "---:", "---", "---"],
        *shown[COLUMNS].to_numpy().tolist(),
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def origin(rows: pd.DataFrame) -> str:
    """Return the machine and the commit of a job, in one line."""
    first = rows.iloc[0]
    return f"{first.machine} · commit {first.commit or 'unknown'}"


def conditions(rows: pd.DataFrame) -> str:
    """Return the other load on the machine during a job, in one line."""
    first = rows.iloc[0]
    if not first.quiet:
        return "other processes: not recorded"
    others = (
        f"load {first.load_before:.1f} before, {first.load_after:.1f} after; "
        f"others used {first.others:.2f} cores"
    )
    return others if first.quiet == "yes" else f"**not quiet**: {others}"


def summary(table: pd.DataFrame, jobs: Iterable[str] = ()) -> str:
    """Return targets met and missed, jobs on a busy machine, and ``jobs`` without rows.

    The text is Markdown, a line each.
    """
    own = table.benchmark.where(~table.benchmark.str.startswith("… ")).ffill()
    name = table.module + ": " + own.where(own == table.benchmark, own + ": " + table.benchmark)
    missed = table[table.met == "no"]
    unmeasured = sorted({*jobs} - {*table.module})
    noisy = table[table.quiet == "no"].groupby("module").others.first()
    unknown = table.module[table.quiet == ""].unique()
    values = [f"{name[i]}: {r.measured:.4g} {r.unit} ({r.target})" for i, r in missed.iterrows()]
    groups = {
        f"targets met: {(table.met == 'yes').sum()}, missed: {len(missed)}": values,
        f"jobs not quiet: {len(noisy)}": [
            f"{job} (others used {used:.2f} cores)" for job, used in noisy.items()
        ],
        f"jobs of which that is not recorded: {len(unknown)}": list(unknown),
        f"jobs not measured: {len(unmeasured)}": unmeasured,
    }
    lines = [
        [f"- {title}", *(f"  - {line}" for line in entries)] for title, entries in groups.items()
    ]
    return "".join(f"{line}\n" for group in lines for line in group)


def write_results(folder: Path, table: pd.DataFrame) -> None:
    """Put a table into results.parquet instead of the earlier rows of its jobs, and write
    results.md.

    Rows of jobs that no longer exist are removed.
    """
    kept = folder / "results.parquet"
    if kept.exists():
        earlier = completed(pd.read_parquet(kept))
        still = earlier["module"].isin(listed(folder)) & ~earlier["module"].isin(table["module"])
        table = pd.concat([earlier[still], table]) if still.any() else table
    table = table.sort_values("module", kind="stable").reset_index(drop=True)
    table.to_parquet(kept, index=False)
    parts = [
        f"## {name}\n\n{origin(rows)}\n\n{conditions(rows)}\n\n{as_markdown(rows)}"
        for name, rows in table.groupby("module")
    ]
    said = summary(table, listed(folder))
    text = "\n".join([f"# Benchmarks (`make bench`)\n\n{RULES}", said, *parts])
    (folder / "results.md").write_text(text, encoding="utf-8")


def wanted(asked: list[str], jobs: dict[str, str]) -> dict[str, str]:
    """Return the requested jobs: by name, else all of a file, else those whose names begin so."""
    names = {name for name in asked if name in jobs}
    starts = tuple(name for name in asked if name not in jobs)
    return {
        name: room
        for name, room in jobs.items()
        if not asked or name in names or room in starts or name.startswith(starts)
    }


def main(arguments: list[str] | None = None, folder: Path = HERE) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "jobs", nargs="*", help="first characters of their names, or files (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes; prints only")
    options = parser.parse_args(arguments)
    jobs = wanted(options.jobs, listed(folder))
    if not jobs:
        asked = " or ".join(options.jobs)
        parser.error(f"no job is called {asked}; there are {', '.join(listed(folder))}")

    about = {"machine": machine(), "commit": commit()}
    table, failed = collect(jobs, options.quick)
    print(f"{about['machine']}\n\n{as_markdown(table)}\n{summary(table)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    if not options.quick:
        write_results(folder, table.assign(**about))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
