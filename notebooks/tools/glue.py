"""Fine-tuned checkpoints of GLUE's tasks, as a table lists them, run into a store a task (paper, figure 7)."""

import warnings
from pathlib import Path

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
    """The rows of one task in a table of checkpoints (a .csv with task, name, family, label_order: at which of its own
    places a checkpoint has the data set's classes, such as "1 0"), by name.

    Default: glue-checkpoints.csv here. A relative path is looked for from here, then from the root of the
    repository. Raises ValueError for missing columns and tasks without a row, FileNotFoundError.
    """
    table = MODELS if table is None else table
    path = Path(table) if Path(table).is_file() else bundled_path(table)
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"no table of checkpoints {table} here nor {path or 'in the package'}"
        )
    rows, table = pd.read_csv(path), short_path(path)
    for column in ("task", "name", "family", "label_order"):
        known(column, rows.columns, f"column of {table}")
    return rows[
        rows["task"] == known(task, dict.fromkeys(rows["task"]), f"task in {table}")
    ].set_index("name")


def glue_store(
    task: str,
    path: str | Path,
    table: str | Path | None = None,
    folder: str | Path | None = None,
    **options,
) -> LogitStore:
    """The store at ``path`` of all checkpoints that ``table`` lists for a GLUE task, on its validation split.

    What the store holds already stays; the others run one after another, so that only one is in memory at a time. One
    that cannot be loaded or is refused is left out with a warning that says why. folder: local files of GLUE instead
    of the Hub's; options go to :func:`cascadelib.extract`.

    Raises ValueError where no checkpoint is left, and what :func:`glue` raises.
    """
    known(task, TASKS, "GLUE task")
    rows, there = checkpoints(task, table), _present(path)
    missing = rows[~rows.index.isin(there)]
    samples = glue(task, folder=folder) if len(missing) else None
    for name, row in missing.iterrows():
        try:
            model, order = load(name), [int(place) for place in str(row["label_order"]).split()]
            model.metadata["family"] = row["family"]
            model = (
                model if order == sorted(order) else reordered(model, order)
            )  # the identity is still checked
            extract({name: model}, samples, path, **options)
        except (ValueError, ConnectionError) as error:
            warnings.warn(f"{task}: {name} is left out: {error}", stacklevel=2)
    if not _present(path):
        table = table or short_path(MODELS)
        raise ValueError(
            f"none of the {len(rows)} checkpoints of {task} in {table} could be run; the warnings say why"
        )
    return LogitStore(path)


def _present(path):
    return list(LogitStore(path).models.index) if (Path(path) / "manifest.json").is_file() else []
