"""Run the notebooks headless and in parallel, and write one HTML report that reads offline.

    make run                                all notebooks → build/report/index.html
    make run ARGS="02 05 -p split test"     only these, with a parameter changed
    … --preset data/imagenet-1k/paper.yml   parameters from a file: NAME: VALUE
    … --rewrite   (make notebooks) also rewrites the committed outputs and expected values
    … --expect    rewrites the expected values alone

``-p NAME VALUE`` sets a parameter of every notebook whose parameters cell has NAME. VALUE is a
Python literal or else text. A preset has the same effect, and ``-p`` takes precedence over it. A
failing notebook is reported with its failing cell, the others still run, and the exit status is 1.
So is it if an answer or a key table differs from the committed values (expected.py), which are
those of the default parameters. The number of parallel runs is bounded by cores and memory.
Notebooks that measure time (``committed.MEASURED``) run afterwards, one by one.

CASCADELIB_QUICK=1 in the environment selects the notebooks' small parameters, as `make test` does.
"""

import argparse
import ast
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import papermill
import psutil
import yaml
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

NOTEBOOKS = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(NOTEBOOKS))
from tools.report import committed, expected, home  # noqa: E402 - a script has only its folder on the path
from tools.report.rendering import Run  # noqa: E402 - so is this

# timm and torchvision script functions on import, which torch deprecates. Readers can't act on it.
QUIET = "ignore:`torch.jit."
NOT_STARTED = "Kernel died before replying"  # jupyter_client's message
# Without it, ipykernel 7.4 and later warn at every start that local messages are not encrypted.
ENCRYPTED = Config(KernelManager={"transport_encryption": "auto"})
NEED = 2 * 2**30  # bytes of memory per notebook on the bundled data


Parameters = Mapping[Path, dict[str, Any]]  # {notebook: its parameters}
Task = tuple[Path, Path, dict[str, Any]]  # a notebook, the folder of its report, its parameters


def find_notebooks(folder: Path, chosen: Iterable[str] = ()) -> list[Path]:
    """Return ``NN_*.ipynb`` in order, or those whose name starts with one of ``chosen``."""
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    prefixes = tuple(chosen)
    for prefix in prefixes:
        if not any(path.name.startswith(prefix) for path in found):
            there = ", ".join(path.stem for path in found)
            raise SystemExit(f"no notebook starts with {prefix!r}; there are {there}")
    return [path for path in found if not prefixes or path.name.startswith(prefixes)]


def parse_literal(text: str) -> Any:
    """'3' → 3, 'None' → None, '[1, 2]' → [1, 2]. Text that is not a Python literal stays text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def preset_of(path: Path | None, folder: Path) -> dict[str, Any]:
    """Return the parameters in a preset file. Refuse a name that no notebook of ``folder`` has."""
    if path is None:
        return {}
    preset = yaml.safe_load(path.read_text(encoding="utf-8"))
    deal_parameters(find_notebooks(folder), preset)
    return preset


def deal_parameters(
    paths: list[Path],
    given: Mapping[str, Any],
    preset: Mapping[str, Any] = MappingProxyType({}),
) -> dict[Path, dict[str, Any]]:
    """Return each notebook's share of ``preset`` and ``given``, by the names in its parameters
    cell.

    ``given`` takes precedence. A name in it that no notebook has is refused.
    """
    names = {path: set(papermill.inspect_notebook(path)) for path in paths}
    known = set().union(*names.values())
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, cutoff=0.4) or sorted(known)
            raise SystemExit(f"no parameters cell has {name!r}; nearest: {', '.join(near)}")
    shares: dict[Path, dict[str, Any]] = {path: {} for path in paths}
    for name, value in {**preset, **given}.items():
        for path in paths:
            if name in names[path]:
                shares[path][name] = value
    return shares


def failure_of(error: Exception) -> str:
    """Return 'code cell 7, `front = cl.search(…`: ValueError: …', or the error outside of cells."""
    if isinstance(error, PapermillExecutionError):
        first_line, *_ = error.source.splitlines()
        where = f"code cell {error.exec_count}, `{first_line}`"
        return f"{where}: {error.ename}: {error.evalue}"
    return f"{type(error).__name__}: {error}"


def run_cells(source: Path, executed: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook in its folder."""
    papermill.execute_notebook(
        source,
        executed,
        parameters,
        cwd=source.parent,
        kernel_name="python3",
        progress_bar=False,
        config=ENCRYPTED,
        store_widget_state=False,
    )


def cpu_of_children() -> float:
    """Return the processor seconds of the child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def execute(source: Path, out: Path, parameters: dict[str, Any]) -> Run:
    """Execute ``source`` in its folder and write it to ``out``. An error is stored in the Run.

    A kernel that does not start is started again, because another process may have taken its port.
    """
    executed = out / source.name
    start = time.perf_counter()
    cpu = cpu_of_children()
    error = None
    try:
        try:
            run_cells(source, executed, parameters)
        except RuntimeError as problem:
            if NOT_STARTED not in str(problem):
                raise
            run_cells(source, executed, parameters)
    except Exception as problem:  # one failing notebook must not stop the others
        error = failure_of(problem)
    return Run(source, executed, time.perf_counter() - start, cpu_of_children() - cpu, error)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def execute_parallel(tasks: Iterable[Task], jobs: int) -> Iterator[Run]:
    """Execute notebooks, ``jobs`` in parallel, and yield each Run when it ends."""
    # Kernels share the cores: threads in excess of the cores would wait by spinning.
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // jobs))}
    variables = {**threads, **os.environ}
    pool = ProcessPoolExecutor(jobs, initializer=os.environ.update, initargs=(variables,))
    try:
        futures = [pool.submit(execute, *task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(tasks: Iterable[Task]) -> tuple[list[Task], list[Task]]:
    """Return the tasks in parallel, the last notebooks first, which take longest, and those that
    measure time."""
    parallel: list[Task] = []
    measured: list[Task] = []
    for task in tasks:
        is_measured = task[0].name.startswith(committed.MEASURED)
        (measured if is_measured else parallel).append(task)
    return parallel[::-1], measured


def run_all(out: Path, given: Parameters, jobs: int) -> list[Run]:
    """Execute notebooks into a folder, ``jobs`` in parallel, and return their runs in order.

    given: {notebook: its parameters}. Notebooks that measure time run after the others, one by one.
    A line is printed when each ends.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path in given:
        (out / path.name).unlink(missing_ok=True)
    runs: dict[Path, Run] = {}
    tasks = [(path, out, parameters) for path, parameters in given.items()]
    for waiting, simultaneous in zip(in_order(tasks), (jobs, 1)):
        for run in execute_parallel(waiting, simultaneous):
            runs[run.source] = run
            outcome = f"FAILED in {run.error}" if run.error else "ok"
            cpu = f"({run.cpu:.1f} s of processor time)"
            print(f"{run.source.stem:30s}{run.seconds:7.1f} s  {outcome} {cpu}", flush=True)
    return [runs[path] for path in given]


def run_report(out: Path, given: Parameters, jobs: int) -> list[Run]:
    """Execute notebooks (:func:`run_all`), and write their report."""
    runs = run_all(out, given, jobs)
    index = home.write_report(runs, out)
    print(f"Report: {index}\n        {index.as_uri()}", flush=True)
    return runs


def options_of(arguments: list[str] | None, folder: Path) -> argparse.Namespace:
    """Parse the command line and refuse options that exclude each other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("notebooks", nargs="*", help="first characters of their names, such as 02 (default: all)")
    pair = ("NAME", "VALUE")
    add("-p", "--parameter", nargs=2, action="append", default=[], metavar=pair)
    add("--preset", type=Path, help="a YAML file of parameters")
    add("--jobs", type=int, help="notebooks in parallel (default: by cores and free memory)")
    default = folder.parent / "build" / "report"
    add("--out", type=Path, default=default, help="folder of the report")
    add("--rewrite", action="store_true", help="rewrite the outputs in the notebooks themselves")
    add("--expect", action="store_true", help="rewrite the expected values of notebooks/expected")
    options = parser.parse_args(arguments)
    if (options.rewrite or options.expect) and (options.parameter or options.preset):
        parser.error("--rewrite and --expect need the default parameters: remove -p and --preset")
    return options


def ignore_warnings() -> None:
    """Let all processes that start from now on ignore the warnings of ``QUIET``."""
    filters = [*os.environ.get("PYTHONWARNINGS", "").split(","), QUIET]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, dict.fromkeys(filters)))


def jobs_of(wanted: int | None, need: int = NEED) -> int:
    """Return the number of parallel runs: as wanted, or by cores and free memory. need: bytes of
    memory of a run."""
    fit_in_memory = psutil.virtual_memory().available // need
    return max(1, wanted or min(cores(), fit_in_memory))


def check_or_rewrite(executed: Mapping[Path, Path], options: argparse.Namespace) -> bool:
    """Rewrite outputs and expected values if asked to, or else compare the results with these.

    Returns whether a result differs. Results at other than the default parameters are not compared.
    """
    kind = "quick" if os.environ.get("CASCADELIB_QUICK") else "full"
    if options.rewrite:
        committed.rewrite_outputs(executed)
        print(f"Rewrote the outputs of {len(executed)} notebooks")
    if options.rewrite or options.expect:
        expected.rewrite(executed, kind)
    elif not (options.parameter or options.preset):
        return are_different(executed, kind)
    return False


def are_different(executed: Mapping[Path, Path], kind: str) -> bool:
    """Print how the results of notebooks differ from the expected ones, and return whether one
    does."""
    pairs = executed.items()
    found = [line for pair in pairs for line in expected.differences(*pair, kind)]
    for line in found:
        print(f"DIFFERENT {line}", file=sys.stderr)
    if found:
        print("If these changes are intended, run this again with --rewrite.", file=sys.stderr)
    return bool(found)


def main(arguments: list[str] | None = None, folder: Path = NOTEBOOKS) -> int:
    """Run the notebooks of ``folder``. Return 1 if one failed or none was found, else 0."""
    options = options_of(arguments, folder)
    if options.rewrite:
        committed.check_browser()
        os.environ.pop("CASCADELIB_QUICK", None)  # committed outputs are those of the full run
    ignore_warnings()
    paths = find_notebooks(folder, options.notebooks)
    given = {name: parse_literal(value) for name, value in options.parameter}
    shares = deal_parameters(paths, given, preset_of(options.preset, folder))
    runs = run_report(options.out.resolve(), shares, jobs_of(options.jobs))
    failed = any(run.error for run in runs)
    if not failed:
        failed = check_or_rewrite({run.source: run.executed for run in runs}, options)
    return int(failed or not runs)


if __name__ == "__main__":
    sys.exit(main())
