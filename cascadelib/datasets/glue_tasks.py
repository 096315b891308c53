"""The four tasks of GLUE in the paper (section 4.2), from the Hub or from local files in either of
its layouts.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ..checks import known
from ..files import located
from ..hub import check_reachable
from .texts import Texts, table

REPOSITORY = "nyu-mll/glue"


@dataclass(frozen=True)
class Task:
    """folder: in GLUE's archive; text and label: the Hub's columns.

    tsv: the archive's, where they differ.
    """

    folder: str
    text: tuple[str, ...]
    classes: tuple[str, str]
    tsv: dict
    f1: bool = False


MRPC = {
    "sentence1": "#1 String",
    "sentence2": "#2 String",
    "label": "Quality",
}  # columns of its .tsv
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
"""The paper's four tasks of GLUE by name: where each lies, its columns and classes, whether it is scored by F1."""
FILES = {"validation": ("validation", "dev"), "train": ("train",)}


def glue(
    task: str,
    split: str = "validation",
    folder: Path | str | None = None,
    revision: str | None = None,
) -> Texts:
    """One of GLUE's tasks "sst2", "mrpc", "qnli", "qqp" as :class:`Texts`; ids are task/row.

    folder: local files instead of the Hub's ``nyu-mll/glue``: ``SST-2/dev.tsv`` as in GLUE's
    archive, or ``sst2/validation*.parquet`` as in the Hub's repository. revision: of that
    repository.

    Raises ValueError for the test split (its labels are hidden: all −1), unknown tasks and missing
    columns; FileNotFoundError naming the files looked for; ConnectionError, at once, where the Hub
    does not answer.
    """
    entry = TASKS[known(task, TASKS, "GLUE task")]
    if split == "test":
        raise ValueError(
            f"GLUE hides the labels of {task}'s test split (all are −1): nothing can be measured on it"
        )
    known(split, FILES, "split")
    source = (
        _hub(task, split, revision)
        if folder is None
        else _local(task, entry, split, located(folder))
    )
    tsv = isinstance(source, Path) and source.suffix == ".tsv"
    columns = [entry.tsv.get(c, c) if tsv else c for c in (*entry.text, "label")]
    found = table(source, columns[:-1], columns[-1], None, entry.classes, f"glue/{task}", split)
    return replace(found, sample_ids=[f"{task}/{row}" for row in range(len(found))])


def _local(task: str, entry: Task, split: str, folder: Path) -> Path:
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


def _hub(task: str, split: str, revision: str | None) -> pd.DataFrame:
    """A task's split from the Hub, or its cache."""
    import datasets  # takes seconds, and only this way in needs it

    cached = any(
        Path(datasets.config.HF_DATASETS_CACHE).glob(f"{REPOSITORY.replace('/', '___')}/{task}/*/*")
    )
    instead = "give folder=… with its files (SST-2/dev.tsv … or sst2/validation*.parquet …)"
    check_reachable(f"GLUE's {task}", cached, instead)
    return datasets.load_dataset(REPOSITORY, task, split=split, revision=revision).to_pandas()
