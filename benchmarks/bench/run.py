"""CascadeBench: rules that choose a cascade, on the same files, labels and guarantee.

    make cascadebench                        all bundled files, peers in their own environment
    make cascadebench ARGS="--data FOLDER"   with the files that are not bundled
    make cascadebench ARGS="--minutes 60"    files in turns, as many as fit
    make cascadebench ARGS=--quick           two files, few draws
    make cascadebench ARGS="--files boolq --rules peeling ltt_fitted --draws 4"

The last two change no committed file. An interrupted run continues with its missing draws.

Each folder of ``files/`` and ``rules/`` is used. README.md has the criteria, and explains how
to add a file or a rule.
"""

import argparse
import ast
import importlib
import importlib.util
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product, zip_longest
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(HERE.parent))
from bench.page import Results, write_blocks, write_page  # noqa: E402
from bench.task import EPSILONS, File, Task, reference_alone  # noqa: E402
from bench.verdicts import DOCUMENTED, GUARANTEE, cells_of, placed  # noqa: E402

DRAWS = 60
QUICK_DRAWS = 4
QUICK_FILES = ("reviews", "boolq")
QUICK_LABELS = 1  # how many numbers of labels
PACKAGES = ("numpy", "numba", "mapie", "bargain", "scikit-fallback")
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef)


@dataclass(frozen=True)
class Rule:
    """A folder of ``rules/``: the attributes of its ``rule.py``."""

    name: str
    module: ModuleType

    @property
    def title(self) -> str:
        """The name of the rule."""
        return getattr(self.module, "TITLE", self.name)

    @property
    def ours(self) -> bool:
        """Whether the rule is part of this project."""
        return getattr(self.module, "OURS", False)

    @property
    def league(self) -> str:
        """The league of the rule. Rules of different leagues are not compared."""
        return getattr(self.module, "LEAGUE", GUARANTEE)

    @property
    def inputs(self) -> str:
        """The inputs of a peer: as its documentation recommends, or those of our rules."""
        return getattr(self.module, "INPUTS", DOCUMENTED)

    @property
    def own_labels(self) -> bool:
        """Whether the rule decides how many labels it buys."""
        return getattr(self.module, "OWN_LABELS", False)

    @property
    def is_here(self) -> bool:
        """Whether the package that the rule needs is installed."""
        needs = getattr(self.module, "NEEDS", None)
        return needs is None or importlib.util.find_spec(needs) is not None

    def fits(self, file: File) -> bool:
        """Return whether the rule can run on a file."""
        return getattr(self.module, "fits", lambda file: True)(file)

    def unit(self, task: Task) -> int:
        """Return the number of the independent result to which a draw belongs."""
        return getattr(self.module, "unit", lambda task: task.draw)(task)


def rules() -> list[Rule]:
    """Return all rules, those of this project first."""
    found = []
    for path in sorted(HERE.glob("rules/*/rule.py")):
        name = path.parent.name
        found.append(Rule(name, importlib.import_module(f"bench.rules.{name}.rule")))
    return sorted(found, key=lambda rule: not rule.ours)


@cache
def sources(folder: Path | None) -> dict[str, list[File]]:
    """Return {name of a folder of ``files/``: its files, none if its data is missing}."""
    found = {}
    for path in sorted(HERE.glob("files/*/file.py")):
        module = importlib.import_module(f"bench.files.{path.parent.name}.file")
        found[module.TITLE] = list(module.files(folder))
    return found


def files(folder: Path | None) -> list[File]:
    """Return all available files in turns: the smallest of each source, then the second of each.

    In a turn, the smallest file comes first. The size is the number of models × rows.
    """
    rising = [sorted(some, key=lambda file: file.size) for some in sources(folder).values()]
    found = []
    for turn in zip_longest(*rising):
        found += sorted((file for file in turn if file is not None), key=lambda file: file.size)
    return found


def missing(folder: Path | None, measured: Sequence[File]) -> list[str]:
    """Return a sentence about the files and rules without results."""
    names = {file.name for file in measured}
    found = []
    for title, some in sources(folder).items():
        others = [file.name for file in some if file.name not in names]
        if not some:
            found.append(f"{title}, of which no --data folder has a file")
        elif others:
            found.append(f"{title}: {', '.join(others)}")
    return found + [
        f"{rule.title}, whose package is not installed" for rule in rules() if not rule.is_here
    ]


def described(all_rules: list[Rule]) -> pd.DataFrame:
    """Return a row per rule: about, ours, league, inputs."""
    rows = []
    for rule in all_rules:
        rows.append(
            {
                "rule": rule.title,
                "about": rule.module.ABOUT,
                "ours": rule.ours,
                "league": rule.league,
                "inputs": rule.inputs,
            }
        )
    return pd.DataFrame(rows).set_index("rule")


def one_draw(file: File, draw: int, quick: bool, only: Sequence[str] | None) -> list[dict]:
    """Return the records of one draw: cost and loss of each rule on the whole file."""
    accuracy, price = reference_alone(file)(file.table)
    counts = file.labels[:QUICK_LABELS] if quick else file.labels
    requested = [rule for rule in rules() if rule.is_here and rule.fits(file)]
    requested = [rule for rule in requested if only is None or rule.name in only]
    records = []
    for labels, epsilon in product(counts, EPSILONS):
        for rule in requested:
            if rule.own_labels and labels != counts[0]:
                continue  # it ignores the number of labels
            task = Task(file, draw, labels, epsilon)
            read_beforehand(task)
            begun = time.process_time()
            choice = rule.module.choose(task)
            seconds = time.process_time() - begun
            reached, cost = choice(file.table)
            check_labels(rule, task)
            records.append(
                {
                    "file": file.name,
                    "draw": draw,
                    "labels": labels,
                    "epsilon": epsilon,
                    "rule": rule.title,
                    "ours": rule.ours,
                    "league": rule.league,
                    "inputs": rule.inputs,
                    "own_labels": rule.own_labels,
                    "unit": rule.unit(task),
                    "cost": cost / price,
                    "loss": accuracy - reached,
                    "seconds": seconds,
                    "bought": len(task.bought) if rule.own_labels else labels,
                }
            )
    return records


def read_beforehand(task: Task) -> None:
    """Read the data of the task before the time of a rule is measured."""
    for name in ("pool", "labelled", "unlabelled", "labelled_of_all"):
        getattr(task, name)


def check_labels(rule: Rule, task: Task) -> None:
    """Raise ValueError if a rule has read a label that it did not buy."""
    if not rule.own_labels and max(task.bought, default=-1) >= task.labels:
        raise ValueError(f"{rule.name} read labels of rows beyond its {task.labels:,}")


def measure(
    chosen: Sequence[File],
    draws: int,
    kept: Path,
    record: Callable[[File, int], list[dict]],
    end: float = np.inf,
) -> None:
    """Write the records of all draws, a table per file in the folder ``kept``.

    Draws of an earlier run are not repeated. No draw is begun after the time ``end``
    (:func:`time.monotonic`).
    """
    warnings.simplefilter("ignore")  # peers warn in every call
    kept.mkdir(parents=True, exist_ok=True)
    for file in chosen:
        path = kept / f"{file.name}.parquet"
        records = pd.read_parquet(path) if path.exists() else pd.DataFrame({"draw": []})
        for draw in sorted(set(range(draws)) - set(records["draw"].astype(int))):
            if time.monotonic() > end:
                return
            new = pd.DataFrame(record(file, draw))
            records = pd.concat([records, new], ignore_index=True) if len(records) else new
            records.to_parquet(path, index=False)


def complete(kept: Path, draws: int) -> pd.DataFrame:
    """Return the records of all files that have all draws, without columns if there are none."""
    tables = [pd.read_parquet(path) for path in sorted(kept.glob("*.parquet"))]
    tables = [table for table in tables if table["draw"].nunique() >= draws]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def versions() -> Iterator[str]:
    """Return the versions of the relevant installed packages."""
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} not installed"


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two files, few draws")
    parser.add_argument("--files", nargs="+", help="names of files (default: all)")
    parser.add_argument("--rules", nargs="+", help="folders of rules/ (default: all)")
    parser.add_argument("--draws", type=int, help=f"of each file (default: {DRAWS})")
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no draw after them")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "cascadebench")
    parser.add_argument("--again", action="store_true", help="tables of the last run's records")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("CASCADEBENCH_DATA"),
        help="folder with frugalml/ and routellm-mmlu/ (default: CASCADEBENCH_DATA)",
    )
    options = parser.parse_args(arguments)
    options.data = None if options.data is None else Path(options.data)
    options.is_partial = options.quick or bool(options.files) or bool(options.rules)
    return options


def records_of(options: argparse.Namespace, here: Sequence[File]) -> pd.DataFrame:
    """Measure the missing draws, and return the records."""
    draws = options.draws or (QUICK_DRAWS if options.quick else DRAWS)
    folder = options.out / ("some-losses" if options.is_partial else "losses")
    if not options.again:
        if options.is_partial:
            shutil.rmtree(folder, ignore_errors=True)
        end = time.monotonic() + 60 * options.minutes
        record = partial(one_draw, quick=options.quick, only=options.rules)
        measure(here, draws, folder, record, end)
    return complete(folder, draws)


def main(arguments: list[str] | None = None, committed: Path = HERE / "results.csv") -> int:
    options = read_options(arguments)
    names = options.files or (QUICK_FILES if options.quick else None)
    here = [file for file in files(options.data) if names is None or file.name in names]
    begun = time.perf_counter()
    records = records_of(options, here)
    if records.empty:
        print("no file has all draws: run again without --minutes, or with more")
        return 1
    here = [file for file in here if file.name in set(records["file"])]
    records = placed(records, {file.name: file.labels for file in here})
    lacks = missing(options.data, here)
    results = Results(records, described(rules()), here, lacks)
    machine = " · ".join(
        [f"{os.cpu_count()} cores", f"Python {platform.python_version()}", *versions()]
    )
    page = write_page(options.out / "results.md", results, machine)
    if not options.is_partial:
        cells_of(records).round(5).to_csv(committed, index=False)
        write_blocks(ROOT / "docs" / "speed.md", results)
    print(f"{page}, {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
