"""Run the notebooks on a study of extract.py, or on any folder of logits with the same layout.

    python data/imagenet-1k/run_notebooks.py build/imagenet --preset data/imagenet-1k/paper.yml
    … 02 05 -p prominence 0.5                    only these, with a parameter changed

The script runs all notebooks of the paper for which the folder has data. Notebook 05 needs held-out
data of another data set, such as ImageNetV2. Without held-out data, ``val`` is checked on itself,
as in the paper. Notebook 06 needs ``glue/``. If all models have published times (of an RTX 3090),
the notebooks with a cost also run with it (report/published_seconds), and 10 and 11 use it as the
time. All results go into the folder.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import papermill

from cascadelib import LogitStore

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))
from tools.report import run  # noqa: E402 - a script beside the notebooks, not a package

NEED = 8 * 2**30  # bytes of memory for a notebook at ImageNet's size


def texts_of(study: Path) -> dict[str, str]:
    """Return the stores of text classifiers of figure 7 by task."""
    paths = sorted((study / "glue").glob("*/manifest.json"))
    return {path.parent.name: str(path.parent) for path in paths}


def half_of_a_task(study: Path, task: str) -> dict[str, Any]:
    """Return the parameters of notebook 06 for a task of GLUE: half of its texts is held out."""
    folder = str(study / "glue")
    return {"dataset": folder, "split": task, "held_out": "", "domains": [], "left_out": []}


def able(study: Path) -> list[str]:
    """Return the numbers of the notebooks for which the folder has data."""
    names = ["01", "02", "03", "04"]
    if (study / "held_out").exists():
        other = LogitStore(study / "held_out")
        names += ["05"] * (LogitStore(study / "val").dataset != other.dataset)
    names += ["06"] * bool(texts_of(study))
    names += ["07", "10", "11"]
    there = {path.name[:2] for path in NOTEBOOKS.glob("*.ipynb")}
    return [name for name in names if name in there]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument(
        "notebooks", nargs="*", help="how their names start (default: those that can run)"
    )
    parser.add_argument("--preset", type=Path, help="a YAML file of parameters, as paper.yml")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    return parser.parse_args(arguments)


def has_published_times(stores: list[LogitStore]) -> bool:
    """Return whether all models of the splits have a published time."""
    times = [store.models.get("published_seconds") for store in stores]
    return all(found is not None and found.notna().all() for found in times)


def parameters_of_study(study: Path) -> dict[str, Any]:
    """Return the parameters of the notebooks that a study decides."""
    other = "held_out" if (study / "held_out").exists() else "val"
    stores = [LogitStore(study / split) for split in ("val", other)]
    own: dict[str, Any] = {"dataset": str(study), "held_out": other, "texts": texts_of(study)}
    if stores[0].origin.dataset == stores[1].origin.dataset:
        own["shifted"] = []
    if has_published_times(stores):
        own["time"] = "published_seconds"
    return own


def plan_reports(
    study: Path, paths: list[Path], chosen: dict[str, Any], preset: dict[str, Any]
) -> dict[Path, run.Parameters]:
    """Return the parameters of the notebooks by report, without reports that have no notebook.

    chosen, preset: parameters from the command line and from a file.
    """
    own = parameters_of_study(study)
    takes = {path: papermill.inspect_notebook(path).keys() for path in paths}

    def with_parameters(paths: list[Path], **more: Any) -> run.Parameters:
        """Return these notebooks with the parameters that they have."""
        has = set().union(*(takes[path] for path in paths))
        values = {**own, **chosen, **more}
        given = {key: value for key, value in values.items() if key in has}
        return run.deal_parameters(paths, given, preset)

    on_texts = [path for path in paths if path.name[:2] == "06"]
    on_images = [path for path in paths if path not in on_texts]
    reports = {"report": with_parameters(on_images)}
    if "time" in own:
        timed = [path for path in on_images if "cost" in takes[path]]
        by_time = with_parameters(timed, cost="published_seconds")
        reports["report/published_seconds"] = by_time
    else:
        print("Not all models have published_seconds: no second run at that cost.")
    for task in own["texts"]:
        reports[f"report/glue/{task}"] = with_parameters(on_texts, **half_of_a_task(study, task))
    return {study / name: parameters for name, parameters in reports.items() if parameters}


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    study = options.study.resolve()
    paths = run.find_notebooks(NOTEBOOKS, options.notebooks or able(study))
    preset = run.preset_of(options.preset, NOTEBOOKS)
    chosen = {name: run.parse_literal(value) for name, value in options.p}
    run.deal_parameters(paths, chosen)  # a name that none has is refused
    reports = plan_reports(study, paths, chosen, preset)
    run.ignore_warnings()
    jobs = run.jobs_of(None, NEED)
    runs = [one for out, given in reports.items() for one in run.run_report(out, given, jobs)]
    return int(any(one.error for one in runs))


if __name__ == "__main__":
    sys.exit(main())
