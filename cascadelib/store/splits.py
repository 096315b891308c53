"""Open the splits of a study, whatever their format."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ..checks import items_of
from ..files import located
from .logit_store import LogitStore
from .score_file import ScoreFile, is_score_file
from .score_table import ScoreTable


def open_split(path: str | Path) -> Any:
    """Open a split of a study: a store of logits, a file of scores, or a table.

    Parameters
    ----------
    path : str or Path
        A store of logits, or a parquet file without its ending. The file is one of
        :meth:`LogitStore.to_scores`, or a table with the columns sample, model, confidence, cost,
        and correct or prediction and label.

    Returns
    -------
    LogitStore, ScoreFile or ScoreTable

    Raises
    ------
    FileNotFoundError
        If there is neither a store nor a file.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.store.open_split("data/fashion-mnist/val")
    <LogitStore data/fashion-mnist/val: fashion-mnist val, 10000 samples, 31 models>
    """
    path = Path(path)
    file = located(path.parent) / f"{path.name}.parquet"
    if not file.is_file():
        return LogitStore(path)
    if is_score_file(file):
        return ScoreFile(file)
    if "correct" in pq.read_schema(file).names:
        return ScoreTable.from_frame(file, correct="correct")
    return ScoreTable.from_frame(file, prediction="prediction", label="label")


def open_splits(folder: str | Path, patterns: str | Iterable[str]) -> dict[str, Any]:
    """Open the splits in a folder whose paths match one of several patterns.

    Parameters
    ----------
    folder : str or Path
        The folder of a study.
    patterns : str or iterable of str
        Paths of splits in it, in which * stands for any text, such as "shift/*" or "v2".

    Returns
    -------
    dict of str to LogitStore, ScoreFile or ScoreTable
        Splits by the names of their folders or files.

    Raises
    ------
    FileNotFoundError
        If no split matches a pattern.
    """
    root = located(folder)
    found = []
    for pattern in items_of(patterns):
        paths = {path.parent for path in root.glob(f"{pattern}/manifest.json")}
        paths |= {path.with_suffix("") for path in root.glob(f"{pattern}.parquet")}
        if not paths:
            raise FileNotFoundError(
                f"no store {pattern!r} in {folder}; a store is a folder with manifest.json, or a "
                "parquet file"
            )
        found += sorted(paths)
    return {path.name: open_split(path) for path in found}
