"""CascadeBench: rules that choose a cascade, on the same files, labels and guarantee.

    make cascadebench                        all of it, the peers in an environment of their own
    make cascadebench ARGS="--data FOLDER"   with the files that are not bundled
    make cascadebench ARGS=--quick           two files, few draws
    make cascadebench ARGS="--files boolq --rules peeling ltt_fitted --draws 4"

The last two rewrite nothing that is committed.

Folders of ``files/`` and ``rules/`` are all that there is: docs/bench.md says how one is added, and
by which criteria rules are compared.
"""

import argparse
import ast
import importlib
import importlib.util
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import pandas as pd

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(HERE.parent))
from bench.page import write_block, write_page  # noqa: E402 - scripts, no package
from bench.task import EPSILONS, File, Task, reference_alone  # noqa: E402
from bench.verdicts import PROMISE, cells_of, placed  # noqa: E402

DRAWS = 12
QUICK_DRAWS = 4
QUICK_FILES = ("reviews", "boolq")
QUICK_LABELS = 1  # so many numbers of labels
PROCESSES = 2
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
        """Whether it is this project's."""
        return getattr(self.module, "OURS", False)

    @property
    def league(self) -> str:
        """What it is compared with: ``PROMISE``, or another that it names."""
        return getattr(self.module, "LEAGUE", PROMISE)

    @property
    def own_labels(self) -> bool:
        """Whether it decides how many labels it buys."""
        return getattr(self.module, "OWN_LABELS", False)

    @property
    def is_here(self) -> bool:
        """Whether the package that it needs is installed."""
        needs = getattr(self.module, "NEEDS", None)
        return needs is None or importlib.util.find_spec(needs) is not None

    def fits(self, file: File) -> bool:
        """Whether it can run on a file."""
        return getattr(self.module, "fits", lambda file: True)(file)


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
    """Return all available files."""
    return [file for some in sources(folder).values() for file in some]


def missing(folder: Path | None) -> list[str]:
    """Return a sentence about the files and rules that cannot run."""
    found = [
        f"{title}, of which no --data folder has a file"
        for title, some in sources(folder).items()
        if not some
    ]
    return found + [
        f"{rule.title}, whose package is not installed" for rule in rules() if not rule.is_here
    ]


def lines_of_code(path: Path) -> int:
    """Count the lines of a script as :func:`ast.unparse` writes them, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return sum(1 for line in ast.unparse(tree).splitlines() if line.strip())


def described(all_rules: list[Rule]) -> pd.DataFrame:
    """Return a row per rule: about, ours, league, lines."""
    rows = []
    for rule in all_rules:
        rows.append(
            {
                "rule": rule.title,
                "about": rule.module.ABOUT,
                "ours": rule.ours,
                "league": rule.league,
                "lines": lines_of_code(Path(rule.module.__file__ or "")),
            }
        )
    return pd.DataFrame(rows).set_index("rule")


def one_draw(
    folder: Path | None, name: str, draw: int, quick: bool, only: Sequence[str] | None
) -> list[dict]:
    """Return the records of one draw of one file: cost and loss of each rule on the evaluation
    rows."""
    warnings.simplefilter("ignore")  # peers warn in every call
    (file,) = (file for file in files(folder) if file.name == name)
    judges = file.judges(draw)
    accuracy, price = reference_alone(file)(judges)
    counts = file.labels[:QUICK_LABELS] if quick else file.labels
    asked = [rule for rule in rules() if rule.is_here and rule.fits(file)]
    asked = [rule for rule in asked if only is None or rule.name in only]
    records = []
    for labels, epsilon in product(counts, EPSILONS):
        for rule in asked:
            if rule.own_labels and labels != counts[0]:
                continue  # it has bought what it wanted
            task = Task(file, draw, labels, epsilon)
            read_beforehand(task)
            begun = time.process_time()
            judge = rule.module.choose(task)
            seconds = time.process_time() - begun
            reached, cost = judge(judges)
            check_labels(rule, task)
            records.append(
                {
                    "file": name,
                    "draw": draw,
                    "labels": labels,
                    "epsilon": epsilon,
                    "rule": rule.title,
                    "ours": rule.ours,
                    "league": rule.league,
                    "own_labels": rule.own_labels,
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
    folder: Path | None,
    names: list[str],
    draws: int,
    quick: bool,
    kept: Path,
    only: Sequence[str] | None = None,
) -> None:
    """Write the records of all draws, in two processes (quick: in this one).

    Full draws are written as they arrive, so ``--again`` shows the results of an interrupted run.
    """
    jobs = [(folder, name, draw, quick, only) for draw in range(draws) for name in names]
    if quick:
        records = [record for job in jobs for record in one_draw(*job)]
        pd.DataFrame(records).to_parquet(kept, index=False)
        return
    one_draw(*jobs[0])  # compiles the kernels, once
    found: list[dict] = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for done, records in enumerate(pool.map(one_draw, *zip(*jobs)), 1):
            found += records
            if done % len(names) == 0:
                pd.DataFrame(found).to_parquet(kept, index=False)


def versions() -> Iterator[str]:
    """Return the versions of the relevant installed packages."""
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} not installed"


def main(arguments: list[str] | None = None, committed: Path = HERE / "results.csv") -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two files, few draws")
    parser.add_argument("--files", nargs="+", help="names of files (default: all)")
    parser.add_argument("--rules", nargs="+", help="folders of rules/ (default: all)")
    parser.add_argument("--draws", type=int, help=f"of each file (default: {DRAWS})")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "cascadebench")
    parser.add_argument("--again", action="store_true", help="pages of the last run's records")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("CASCADEBENCH_DATA"),
        help="folder with frugalml/ and routellm-mmlu/ (default: CASCADEBENCH_DATA)",
    )
    options = parser.parse_args(arguments)
    folder = None if options.data is None else Path(options.data)
    here = [file for file in files(folder) if not options.quick or file.name in QUICK_FILES]
    if options.files:
        here = [file for file in here if file.name in options.files]
    partial = options.quick or options.files is not None or options.rules is not None
    kept = options.out / "records.parquet"
    draws = options.draws or (QUICK_DRAWS if options.quick else DRAWS)
    begun = time.perf_counter()
    if not options.again:
        options.out.mkdir(parents=True, exist_ok=True)
        names = [file.name for file in here]
        measure(folder, names, draws, options.quick, kept, options.rules)
    records = placed(pd.read_parquet(kept), {file.name: file.labels for file in here})
    machine = " · ".join(
        [f"{os.cpu_count()} cores", f"Python {platform.python_version()}", *versions()]
    )
    described_rules = described(rules())
    lacks = missing(folder)
    page = write_page(options.out / "index.html", records, described_rules, here, lacks, machine)
    if not partial:
        cells_of(records).round(5).to_csv(committed, index=False)
        write_block(ROOT / "docs" / "bench.md", records, described_rules, lacks)
    print(f"{page}, {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
