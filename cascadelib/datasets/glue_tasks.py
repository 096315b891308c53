"""Read the paper's four GLUE tasks (section 4.2) from the Hub or from local files."""

from dataclasses import dataclass, replace
from pathlib import Path

from ..checks import validate_choice
from ..files import located
from ..hub import check_reachable
from .texts import Texts, table

REPOSITORY = "nyu-mll/glue"


@dataclass(frozen=True)
class Task:
    """Location and columns of a task.

    folder: name in GLUE's archive. text: columns on the Hub. classes: names in the order of the
    labels. tsv: {column on the Hub: in the archive} if they differ.
    """

    folder: str
    text: tuple[str, ...]
    classes: tuple[str, str]
    tsv: dict


# Columns of MRPC's .tsv.
MRPC = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
TASKS = {
    "sst2": Task("SST-2", ("sentence",), ("negative", "positive"), {}),
    "mrpc": Task("MRPC", ("sentence1", "sentence2"), ("not_equivalent", "equivalent"), MRPC),
    "qnli": Task("QNLI", ("question", "sentence"), ("entailment", "not_entailment"), {}),
    "qqp": Task(
        "QQP",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        {"label": "is_duplicate"},
    ),
}
"""The paper's four GLUE tasks by name, with folder, columns and classes."""
FILES = {"validation": ("validation", "dev"), "train": ("train",)}


def glue(
    task: str,
    split: str = "validation",
    folder: Path | str | None = None,
    revision: str | None = None,
) -> Texts:
    """Load a GLUE task of the paper.

    Parameters
    ----------
    task : {"sst2", "mrpc", "qnli", "qqp"}
        Name of the task.
    split : {"validation", "train"}, default="validation"
        Split to load.
    folder : Path or str, optional
        Folder with local files, for example ``SST-2/dev.tsv`` (GLUE's archive) or
        ``sst2/validation*.parquet`` (the Hub's repository). By default they are read from the Hub's
        ``nyu-mll/glue``.
    revision : str, optional
        Revision of that repository.

    Returns
    -------
    Texts
        Sentences or pairs of sentences with ids "task/row".

    Raises
    ------
    ValueError
        If the task is unknown, if columns are missing, or for the test split, whose labels are
        hidden (all −1).
    FileNotFoundError
        If a local file is missing. The message lists the expected files.
    ConnectionError
        If the Hub is needed and does not answer. It is raised without retries.

    See Also
    --------
    table : Read texts from any table.

    References
    ----------
    .. [1] Lebovitz et al., "Efficient Inference With Model Cascades", TMLR 2023, section 4.2.
    .. [2] Wang, Singh et al., "GLUE", ICLR 2019.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import cascadelib as cl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "SST-2").mkdir()
    ...     _ = Path(folder, "SST-2", "dev.tsv").write_text("sentence\\tlabel\\nfine film\\t1\\n")
    ...     texts = cl.datasets.glue("sst2", folder=folder)
    >>> texts.inputs, texts.labels
    (('fine film',), array([1]))
    """
    entry = TASKS[validate_choice(task, TASKS, "GLUE task")]
    if split == "test":
        raise ValueError(
            f"GLUE hides the labels of {task}'s test split (all are −1): use the validation split"
        )
    validate_choice(split, FILES, "split")
    renamed = {}
    if folder is None:
        import datasets  # takes seconds

        cache = Path(datasets.config.HF_DATASETS_CACHE)
        cached = any(cache.glob(f"{REPOSITORY.replace('/', '___')}/{task}/*/*"))
        remedy = "pass folder=… with its files (SST-2/dev.tsv … or sst2/validation*.parquet …)"
        check_reachable(f"GLUE's {task}", cached, remedy)
        data = datasets.load_dataset(REPOSITORY, task, split=split, revision=revision)
        source = data.to_pandas()
    else:
        source = _find_local_file(task, entry, split, located(folder))
        if source.suffix == ".tsv":
            renamed = entry.tsv
    text = [renamed.get(column, column) for column in entry.text]
    label = renamed.get("label", "label")
    found = table(source, text, label, None, entry.classes, f"glue/{task}", split)
    return replace(found, sample_ids=[f"{task}/{row}" for row in range(len(found))])


def _find_local_file(task: str, entry: Task, split: str, folder: Path) -> Path:
    """Find the file of a task's split below a folder, in either layout."""
    endings = [stem + end for stem in FILES[split] for end in (".tsv", "*.parquet")]
    paths = [folder / name / ending for name in (entry.folder, task) for ending in endings]
    for path in paths:
        found = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
        if len(found) > 1:
            raise ValueError(f"{task}: {len(found)} files match {path}. Remove all but one.")
        if found:
            return found[0]
    raise FileNotFoundError(
        f"no {split} split of {task} in {folder}, expected one of {', '.join(map(str, paths))}"
    )
