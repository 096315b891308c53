"""Fine-tuned checkpoints of GLUE's tasks, as a table lists them, run into one store per task
(figure 7)."""

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from cascadelib.checks import known
from cascadelib.datasets.glue_tasks import TASKS, glue
from cascadelib.extraction.extraction import extract
from cascadelib.files import bundled_path, short_path
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.loaders import load
from cascadelib.zoo.model import reordered

MODELS = Path(__file__).with_name("glue-checkpoints.csv")


def checkpoints(task: str, table: str | Path | None = None) -> pd.DataFrame:
    """The rows of one task in a table of checkpoints, by name.

    The table is a .csv with task, name, family, label_order: at which of its own places a
    checkpoint has the data set's classes, such as "1 0". Default: glue-checkpoints.csv here. A
    relative path is looked for from here, then from the root of the repository. Raises ValueError
    for missing columns and tasks without a row, FileNotFoundError.
    """
    table = MODELS if table is None else table
    path = Path(table) if Path(table).is_file() else bundled_path(table)
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"no table of checkpoints {table} here nor {path or 'in the package'}"
        )
    rows = pd.read_csv(path)
    place = short_path(path)
    for column in ("task", "name", "family", "label_order"):
        known(column, rows.columns, f"column of {place}")
    known(task, dict.fromkeys(rows["task"]), f"task in {place}")
    return rows[rows["task"] == task].set_index("name")


def glue_store(
    task: str,
    path: str | Path,
    table: str | Path | None = None,
    folder: str | Path | None = None,
    **options: Any,
) -> LogitStore:
    """The store at ``path`` of all checkpoints that ``table`` lists for a GLUE task, on its
    validation split.

    What the store holds already stays; the others run one after another, so that only one is in
    memory at a time. One that cannot be loaded or is refused is left out with a warning that says
    why. folder: local files of GLUE instead of the Hub's; options go to :func:`cascadelib.extract`.

    Raises ValueError where no checkpoint is left, and what :func:`glue` raises.
    """
    known(task, TASKS, "GLUE task")
    rows = checkpoints(task, table)
    missing = rows[~rows.index.isin(_present(path))]
    samples = glue(task, folder=folder) if len(missing) else None
    for name, row in missing.iterrows():
        try:
            model = load(name)
            model.metadata["family"] = row["family"]
            order = [int(place) for place in str(row["label_order"]).split()]
            if order != sorted(order):  # extract checks that the identity is right
                model = reordered(model, order)
            extract({name: model}, samples, path, **options)
        except (ValueError, ConnectionError) as error:
            warnings.warn(f"{task}: {name} is left out: {error}", stacklevel=2)
    if not _present(path):
        table = table or short_path(MODELS)
        raise ValueError(
            f"none of the {len(rows)} checkpoints of {task} in {table} could be run; "
            "the warnings say why"
        )
    return LogitStore(path)


def _present(path: str | Path) -> list[str]:
    """The models that the store at ``path`` holds; none where there is no store yet."""
    if not (Path(path) / "manifest.json").is_file():
        return []
    return list(LogitStore(path).models.index)
