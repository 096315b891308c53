"""Run every benchmark here and write down what it measured: one table, ``results.md`` and ``results.parquet``.

    python benchmarks/run.py                 all of them (half an hour); the results are written
    python benchmarks/run.py search          jobs whose name starts with "search"; their results are replaced
    python benchmarks/run.py fronts          all jobs of a room
    python benchmarks/run.py --quick         small sizes, print only

A room's jobs stand in a file beside this one, in its table ``JOBS``: name → ``job(quick=False) -> list[dict]``; each
dict has ``benchmark`` (what), ``measured`` (a number), ``unit``, and ``target`` (text such as "≤ 0.5" or "≥ 0.85";
empty where there is none).
"""

import argparse
import ast
import datetime
import importlib
import os
import platform
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
NO_ROOMS = ("run", "synthetic", "measuring")
COLUMNS = ["benchmark", "measured", "unit", "target", "met"]
PACKAGES = ("numpy", "numba", "torch", "pandas")


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine() -> str:
    """One line: processor, cores, load at the start, memory, system, Python and package versions, date."""
    parts = [f"{processor()}, {os.cpu_count()} cores"]
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[0]:.1f}")
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB")
    parts += [platform.system(), f"Python {platform.python_version()}"]
    parts += [f"{package} {version(package)}" for package in PACKAGES]
    return " · ".join([*parts, datetime.date.today().isoformat()])


def met(measured: float, target: str) -> str:
    """For a target that begins with ≤ or ≥, "yes" or "no" (nan: "no"); for any other, ""."""
    sign, _, bound = target.partition(" ")
    if sign not in ("≤", "≥"):
        return ""
    bound = float(bound.split()[0])
    return "yes" if (measured <= bound if sign == "≤" else measured >= bound) else "no"


def listed(folder: Path) -> dict[str, str]:
    """{job: its room} in order of name, read from the tables JOBS; no room is imported, since one may need torch."""
    jobs = {}
    for path in folder.glob("*.py"):
        if path.stem not in NO_ROOMS:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "JOBS":
                    jobs |= {key.value: path.stem for key in node.value.keys}
    return dict(sorted(jobs.items()))


def collect(jobs: dict[str, str], quick: bool) -> tuple[pd.DataFrame, list[str]]:
    """(table with module, the job's name, and COLUMNS; jobs that failed). One failing job does not stop the others."""
    rows, failed = [], []
    for name, room in jobs.items():
        start = time.perf_counter()
        try:
            rows += [{"module": name, **row} for row in importlib.import_module(room).JOBS[name](quick=quick)]
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows, columns=["module", *COLUMNS[:-1]])
    table["measured"] = table.measured.astype(float)
    table["target"] = table.target.fillna("").astype(str)
    table["met"] = [met(*pair) for pair in zip(table.measured, table.target, strict=True)]
    return table, failed


def as_markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, four significant digits."""
    shown = table.assign(measured=table.measured.map("{:.4g}".format)).astype(str)
    lines = [COLUMNS, ["---", "---:", "---", "---", "---"], *shown[COLUMNS].to_numpy().tolist()]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def write_results(folder: Path, table: pd.DataFrame) -> None:
    """Put a table into results.parquet, in place of the earlier rows of its jobs, and write results.md from all."""
    kept = folder / "results.parquet"
    if kept.exists():
        earlier = pd.read_parquet(kept)
        table = pd.concat([earlier[~earlier["module"].isin(table["module"])], table]).sort_values(
            "module", kind="stable"
        )
    table.to_parquet(kept, index=False)
    parts = [f"## {name}\n\n{rows['machine'].iloc[0]}\n\n{as_markdown(rows)}" for name, rows in table.groupby("module")]
    (folder / "results.md").write_text("# Benchmarks (`make bench`)\n\n" + "\n".join(parts), encoding="utf-8")


def main(arguments: list[str] | None = None, folder: Path = HERE) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", help="how their names start, or rooms (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes; prints only")
    options = parser.parse_args(arguments)
    asked = tuple(options.jobs)
    jobs = {n: room for n, room in listed(folder).items() if not asked or room in asked or n.startswith(asked)}

    about = machine()
    table, failed = collect(jobs, options.quick)
    text = f"{about}\n\n{as_markdown(table)}"
    print(text)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    elif not options.quick:
        write_results(folder, table.assign(machine=about))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
