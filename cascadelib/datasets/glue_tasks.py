"""The four GLUE tasks of the paper (section 4.2).

They are read from the Hub, or from local files in either of GLUE's layouts.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..checks import known
from ..files import located
from ..hub import check_reachable
from .texts import Texts, table

REPOSITORY = "nyu-mll/glue"


@dataclass(frozen=True)
class Task:
    """Where a task lies and what its columns are.

    folder: in GLUE's archive; text: columns of the Hub; classes: names, in the order of the labels;
    tsv: names of columns in the archive, where they differ; f1: whether F1 is reported.
    """

    folder: str
    text: tuple[str, ...]
    classes: tuple[str, str]
    tsv: dict
    f1: bool = False


# Columns of its .tsv.
MRPC = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
TASKS = {
    "sst2": Task("SST-2", ("sentence",), ("negative", "positive"), {}),
    "mrpc": Task(
        "MRPC", ("sentence1", "sentence2"), ("not_equivalent", "equivalent"), MRPC, f1=True
    ),
    "qnli": Task("QNLI", ("question", "sentence"), ("entailment", "not_entailment"), {}),
    "qqp": Task(
        "QQP",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        {"label": "is_duplicate"},
        f1=True,
    ),
}
"""The paper's four GLUE tasks by name.

Each says where it lies, its columns and classes, and whether it is scored by F1.
"""
FILES = {"validation": ("validation", "dev"), "train": ("train",)}


def glue(
    task: str,
    split: str = "validation",
    folder: Path | str | None = None,
    revision: str | None = None,
) -> Texts:
    """Load one of the GLUE tasks.

    Parameters
    ----------
    task : str
        "sst2", "mrpc", "qnli" or "qqp".
    split : str
        "validation" or "train".
    folder : Path or str, optional
        Local files instead of the Hub's ``nyu-mll/glue``: ``SST-2/dev.tsv`` as in GLUE's archive,
        or ``sst2/validation*.parquet`` as in the Hub's repository.
    revision : str, optional
        Of that repository.

    Returns
    -------
    Texts
        Their ids are "task/row".

    Raises
    ------
    ValueError
        For unknown tasks, missing columns, and the test split, whose labels are hidden (all −1).
    FileNotFoundError
        Naming the files that were looked for.
    ConnectionError
        At once, where the Hub is needed and does not answer.

    References
    ----------
    Paper, section 4.2; Wang, Singh et al., 2019: GLUE, ICLR.
    """
    entry = TASKS[known(task, TASKS, "GLUE task")]
    if split == "test":
        raise ValueError(
            f"GLUE hides the labels of {task}'s test split (all are −1): nothing can be measured "
            "on it"
        )
    known(split, FILES, "split")
    renamed: dict = {}
    if folder is None:
        source: Any = _read_from_hub(task, split, revision)
    else:
        source = _find_local_file(task, entry, split, located(folder))
        if source.suffix == ".tsv":
            renamed = entry.tsv
    text = [renamed.get(column, column) for column in entry.text]
    label = renamed.get("label", "label")
    found = table(source, text, label, None, entry.classes, f"glue/{task}", split)
    return replace(found, sample_ids=[f"{task}/{row}" for row in range(len(found))])


def _find_local_file(task: str, entry: Task, split: str, folder: Path) -> Path:
    """The file of a task's split below a folder, in either layout."""
    endings = [stem + end for stem in FILES[split] for end in (".tsv", "*.parquet")]
    looked = [folder / name / ending for name in (entry.folder, task) for ending in endings]
    for path in looked:
        found = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
        if len(found) > 1:
            raise ValueError(f"{task}: {len(found)} files match {path}; leave one")
        if found:
            return found[0]
    raise FileNotFoundError(
        f"no {split} split of {task} in {folder}; looked for {', '.join(map(str, looked))}"
    )


def _read_from_hub(task: str, split: str, revision: str | None) -> pd.DataFrame:
    """A task's split from the Hub, or its cache."""
    import datasets  # takes seconds, and only this way in needs it

    cached = any(
        Path(datasets.config.HF_DATASETS_CACHE).glob(f"{REPOSITORY.replace('/', '___')}/{task}/*/*")
    )
    instead = "give folder=… with its files (SST-2/dev.tsv … or sst2/validation*.parquet …)"
    check_reachable(f"GLUE's {task}", cached, instead)
    return datasets.load_dataset(REPOSITORY, task, split=split, revision=revision).to_pandas()
