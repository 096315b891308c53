"""Run the notebooks on a study as extract.py leaves it; its report goes into the study's folder.

    python data/imagenet-1k/run_notebooks.py build/imagenet --preset data/imagenet-1k/paper.yml
    … 02 05 -p prominence 0.5                    only these, with a parameter changed

01 to 04 and 07, and 05 where what is held out is other data, as ImageNetV2 is; where nothing is
held out, ``val`` is checked on itself, as the paper's own figures are. Where all models have
published times (of one machine, an RTX 3090), those that take a cost run with this one, too:
report/published_seconds.
"""

import argparse
import sys
from pathlib import Path

import papermill

from cascadelib import LogitStore

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))
from tools import run  # noqa: E402 - a script beside the notebooks, not a package
from tools.study import FILE, read_study  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument(
        "notebooks", nargs="*", help="how their names start (default: those that can run)"
    )
    parser.add_argument("--preset", type=Path, help="a YAML file of parameters, as paper.yml")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    study = options.study.resolve()
    other = "held_out" if (study / "held_out").exists() else "val"
    here = LogitStore(study / "val")
    there = LogitStore(study / other)
    able = (
        ["01"] * (study / FILE).exists()
        + ["02", "03", "04"]
        + ["05"] * (here.dataset != there.dataset)
        + ["07"]
    )
    paths = run.find_notebooks(NOTEBOOKS, options.notebooks or able)
    takes = {path: papermill.inspect_notebook(path).keys() for path in paths}
    described = read_study(study)
    own = {
        "dataset": str(study),
        "held_out": other,
        "out": str(study / "again"),
        "newer": described and described.table,
    }
    preset = ["--preset", str(options.preset)] if options.preset else []

    def run_at(report, paths, **more):
        """These notebooks with the parameters that one of them has; their report in a folder of the
        study."""
        has = set().union(*(takes[path] for path in paths))
        given = {
            name: value
            for name, value in {**own, **dict(options.p), **more}.items()
            if value and name in has
        }
        parameters = [part for pair in given.items() for part in ("-p", *pair)]
        rest = [
            "--out",
            str(study / report),
            "--jobs",
            "1",
        ]  # a search at this size takes all cores, and memory
        return run.main([*(p.stem for p in paths), *parameters, *preset, *rest]) if paths else 0

    run.deal_parameters(paths, dict(options.p))  # a name that none has is refused
    failed = run_at("report", paths)
    costs = [store.models.get("published_seconds") for store in (here, there)]
    if any(cost is None or cost.isna().any() for cost in costs):
        print("Not all models have published_seconds: no second run at that cost.")
        return failed
    timed = [path for path in paths if "cost" in takes[path]]
    return max(failed, run_at("report/published_seconds", timed, cost="published_seconds"))


if __name__ == "__main__":
    sys.exit(main())
