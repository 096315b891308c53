"""Labelled sentences or pairs of sentences, from sequences or tables."""

import csv
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..checks import items_of, validate_choice
from .samples import Labelled


class Texts(Labelled):
    """Store labelled texts or pairs of texts.

    Empty texts are not removed, since classifiers have an answer for them. A warning counts them.

    Parameters
    ----------
    inputs : sequence of str, or of pairs of str
        Texts or pairs of texts.
    labels : array-like of int, shape (n_samples,)
        Class numbers.
    sample_ids : array-like of shape (n_samples,), optional
        Ids of the samples. Defaults to the row numbers.
    classes : sequence of str, optional
        Names of the classes in the order of the labels.
    dataset, split : str, default=""
        Origin of the samples.

    Raises
    ------
    ValueError
        If a text is missing, if lengths differ, if labels are not in the classes, or if ids repeat.

    See Also
    --------
    table : Read texts from a table.

    Examples
    --------
    >>> import cascadelib as cl
    >>> texts = cl.datasets.Texts(["good", "bad"], [1, 0], dataset="demo", split="val")
    >>> texts
    <Texts: demo val, 2 texts>
    """

    inputs: tuple
    noun = "texts"

    def __post_init__(self) -> None:
        texts = tuple(tuple(t) if isinstance(t, list) else t for t in self.inputs)
        vars(self).update(inputs=texts)
        super().__post_init__()
        empty = 0
        for row, text in enumerate(texts):
            parts = text if isinstance(text, tuple) else (text,)
            paired = isinstance(text, tuple) == self.pairs and len(parts) == 1 + self.pairs
            if not paired or not all(isinstance(part, str) for part in parts):
                expected = "a pair of strings" if self.pairs else "a string"
                raise ValueError(
                    f"the text of row {row} ({self.sample_ids[row]}) is {text!r}, "
                    f"expected {expected}"
                )
            empty += not all(part.strip() for part in parts)
        if empty:
            warnings.warn(f"{empty} of {len(texts)} texts are empty and are kept", stacklevel=3)

    def __repr__(self) -> str:
        kind = "pairs" if self.pairs else "texts"
        return f"<Texts: {self.dataset} {self.split}, {len(self)} {kind}>"

    @property
    def pairs(self) -> bool:
        """Whether a sample is a pair of texts."""
        return isinstance(self.inputs[0], tuple)

    def batch(self, start: int, stop: int) -> tuple:
        """Return the texts of rows start … stop − 1."""
        return self.inputs[start:stop]

    def raw(self, row: int) -> bytes:
        """Return one text as bytes, for its digest."""
        return repr(self.inputs[row]).encode()

    @property
    def order(self) -> np.ndarray:
        """Rows by length in characters, int64 [k], so that batches need little padding."""
        lengths = [sum(map(len, t)) if isinstance(t, tuple) else len(t) for t in self.inputs]
        return np.argsort(lengths, kind="stable")


def table(
    source: pd.DataFrame | Path | str,
    text: str | Sequence[str] = "text",
    label: str = "label",
    sample_id: str | None = None,
    classes: Sequence[str] | None = None,
    dataset: str = "",
    split: str = "",
) -> Texts:
    """Read labelled texts from a table.

    Parameters
    ----------
    source : DataFrame, Path or str
        Table, or a file with ending .parquet, .csv, .tsv (without quoting) or .jsonl.
    text : str or sequence of str, default="text"
        Column of the texts, or the two columns of pairs.
    label : str, default="label"
        Column of the labels, which are class numbers or names in `classes`.
    sample_id : str, optional
        Column of the ids. Defaults to the row numbers.
    classes : sequence of str, optional
        Names of the classes in the order of their numbers.
    dataset, split : str, default=""
        Origin of the samples.

    Returns
    -------
    Texts
        The texts with labels and ids.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If columns are missing, labels are unknown, or the file is not such a table.

    See Also
    --------
    glue : Load a GLUE task.

    Examples
    --------
    >>> import pandas as pd
    >>> import cascadelib as cl
    >>> frame = pd.DataFrame({"text": ["good", "bad"], "label": ["pos", "neg"]})
    >>> cl.datasets.table(frame, classes=["neg", "pos"]).labels
    array([1, 0])
    """
    frame = source if isinstance(source, pd.DataFrame) else _read_table(Path(source))
    name = dataset or "the table"

    def column(key: str) -> pd.Series:
        return frame[validate_choice(key, frame.columns, f"column of {name}")]

    ids = None if sample_id is None else column(sample_id).astype(str).to_numpy()
    parts = [column(key).tolist() for key in items_of(text)]
    texts = tuple(parts[0] if len(parts) == 1 else zip(*parts))
    labels = column(label).to_numpy()
    if len(labels) and (labels == -1).all():  # GLUE's hidden labels
        raise ValueError(f"{name}: all labels are −1, as in GLUE's test splits: use another split")
    return Texts(texts, labels, ids, classes, dataset, split)


def _read_table(path: Path) -> pd.DataFrame:
    """Read the table in a file, by its ending."""
    as_text = partial(pd.read_csv, keep_default_na=False)
    readers = {
        ".parquet": pd.read_parquet,
        ".csv": as_text,
        ".tsv": partial(as_text, sep="\t", quoting=csv.QUOTE_NONE),
        ".jsonl": partial(pd.read_json, lines=True),
    }
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}")
    try:
        return readers[validate_choice(path.suffix, readers, "kind of table")](path)
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None
