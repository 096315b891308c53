"""Run the checkpoints of GLUE's tasks that a table lists, into one store per task.

    python data/glue/extract.py sst2 mrpc --glue FOLDER --out build/glue

Notebook 06 then runs on a task: ``make run ARGS="06 -p dataset build/glue -p split sst2 -p held_out
'' -p domains [] -p left_out []"``.
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from cascadelib.checks import validate_choice
from cascadelib.datasets.glue_tasks import TASKS, glue
from cascadelib.extraction.extraction import extract
from cascadelib.files import bundled_path, short_path
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.loaders import load
from cascadelib.zoo.model import reordered

MODELS = Path(__file__).with_name("checkpoints.csv")


def checkpoints(task: str, table: str | Path | None = None) -> pd.DataFrame:
    """Return the rows of one task in a table of checkpoints, by name.

    The table is a .csv with task, name, family and label_order. label_order is the position of each
    of the data set's classes in a checkpoint's output, such as "1 0". Default: checkpoints.csv in
    this folder. A relative path is resolved from the current folder, then from the root of the
    repository.

    Raises ValueError if columns are missing or the task has no row, and FileNotFoundError.
    """
    table = MODELS if table is None else table
    path = Path(table) if Path(table).is_file() else bundled_path(table)
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"no table of checkpoints {table} in the current folder, nor at {path or 'the package'}"
        )
    rows = pd.read_csv(path)
    place = short_path(path)
    for column in ("task", "name", "family", "label_order"):
        validate_choice(column, rows.columns, f"column of {place}")
    validate_choice(task, dict.fromkeys(rows["task"]), f"task in {place}")
    return rows[rows["task"] == task].set_index("name")


def glue_store(
    task: str,
    path: str | Path,
    table: str | Path | None = None,
    folder: str | Path | None = None,
    **options: Any,
) -> LogitStore:
    """Return the store at ``path`` of a GLUE task's checkpoints in ``table``, on its validation
    split.

    Models in the store are kept. The others run one after another, so only one is in memory. A
    checkpoint that cannot be loaded or is refused is skipped, with a warning that gives the reason.
    folder: local files of GLUE instead of the Hub's. options: of :func:`cascadelib.extract`.

    Raises ValueError if no checkpoint can be run, and the errors of :func:`glue`.
    """
    validate_choice(task, TASKS, "GLUE task")
    rows = checkpoints(task, table)
    missing = rows[~rows.index.isin(_present(path))]
    samples = glue(task, folder=folder) if len(missing) else None
    for name, row in missing.iterrows():
        try:
            model = load(name)
            model.metadata["family"] = row["family"]
            order = [int(place) for place in str(row["label_order"]).split()]
            if order != sorted(order):  # extract checks the order if it is the identity
                model = reordered(model, order)
            extract({name: model}, samples, path, **options)
        except (ValueError, ConnectionError) as error:
            warnings.warn(f"{task}: {name} is skipped: {error}", stacklevel=2)
    if not _present(path):
        table = table or short_path(MODELS)
        raise ValueError(
            f"none of the {len(rows)} checkpoints of {task} in {table} could be run; "
            "the warnings give the reasons"
        )
    return LogitStore(path)


def _present(path: str | Path) -> list[str]:
    """Return the models in the store at ``path``, none without a store."""
    if not (Path(path) / "manifest.json").is_file():
        return []
    return list(LogitStore(path).models.index)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="+", choices=list(TASKS))
    parser.add_argument("--glue", type=Path, help="local files of GLUE (default: the Hub's)")
    parser.add_argument("--checkpoints", type=Path, default=MODELS, help="a table of models")
    parser.add_argument("--out", type=Path, default=Path("build/glue"))
    options = parser.parse_args()
    for task in options.tasks:
        print(glue_store(task, options.out / task, options.checkpoints, options.glue))


if __name__ == "__main__":
    main()
