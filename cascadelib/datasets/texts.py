"""Labelled texts: sentences or pairs of sentences, as they are or from a table."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..checks import known
from .samples import Labelled


class Texts(Labelled):
    """k labelled texts: str [k], or pairs (str, str) [k]; see :class:`Labelled`.

    Raises ValueError naming the first row whose text is missing, and what is wrong with labels or
    ids. Empty texts
    are kept, with a warning that counts them: a classifier has an answer for them, too.
    """

    inputs: tuple
    word = "texts"

    def __post_init__(self) -> None:
        texts = tuple(tuple(t) if isinstance(t, (tuple, list)) else t for t in self.inputs)
        object.__setattr__(self, "inputs", texts)
        super().__post_init__()
        empty = 0
        for row, text in enumerate(texts):
            parts = text if isinstance(text, tuple) else (text,)
            paired = isinstance(text, tuple) == self.pairs and len(parts) == 1 + self.pairs
            if not paired or not all(isinstance(part, str) for part in parts):
                expected = "a pair of strings" if self.pairs else "a string"
                raise ValueError(
                    f"the text of row {row} ({self.sample_ids[row]}) is {text!r}, expected {expected}"
                )
            empty += not all(part.strip() for part in parts)
        if empty:
            warnings.warn(f"{empty} of {len(texts)} texts are empty; they are kept", stacklevel=3)

    def __repr__(self) -> str:
        return f"<Texts: {self.dataset} {self.split}, {len(self)} {'pairs' if self.pairs else 'texts'}>"

    @property
    def pairs(self) -> bool:
        """Whether a sample is a pair of texts."""
        return isinstance(self.inputs[0], tuple)

    def batch(self, start: int, stop: int) -> tuple:
        """Texts of rows start … stop − 1."""
        return self.inputs[start:stop]

    def raw(self, row: int) -> bytes:
        """One text as bytes, for its digest."""
        return repr(self.inputs[row]).encode()

    @property
    def order(self) -> np.ndarray:
        """Rows by length in characters, int64 [k]: texts of one batch are then padded little."""
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
    """:class:`Texts` from a DataFrame or a file: .parquet, .csv, .tsv (no quoting), .jsonl.

    text: a column, or two for pairs; label: a column of class numbers, or of names out of
    ``classes``; sample_id: a column (default: row numbers). Raises FileNotFoundError, and
    ValueError for missing columns and unknown labels.
    """
    frame = source if isinstance(source, pd.DataFrame) else _read(Path(source))
    columns = [text] if isinstance(text, str) else list(text)
    for column in [*columns, label, *([] if sample_id is None else [sample_id])]:
        known(column, frame.columns, f"column of {dataset or 'the table'}")
    parts = [frame[column].tolist() for column in columns]
    ids = None if sample_id is None else frame[sample_id].astype(str).to_numpy()
    labels = _numbers(frame[label], classes, dataset or "the table")
    return Texts(
        tuple(parts[0] if len(parts) == 1 else zip(*parts)), labels, ids, classes, dataset, split
    )


def _read(path: Path) -> pd.DataFrame:
    """The table in a file, by its ending."""
    readers = {
        ".parquet": pd.read_parquet,
        ".csv": lambda p: pd.read_csv(p, keep_default_na=False),
        ".tsv": lambda p: pd.read_csv(p, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False),
        ".jsonl": lambda p: pd.read_json(p, lines=True),
    }
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}")
    try:
        return readers[known(path.suffix, readers, "kind of table")](path)
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None


def _numbers(column: pd.Series, classes: Sequence[str] | None, name: str) -> np.ndarray:
    """Labels as class numbers; −1 is how GLUE hides the labels of its test splits."""
    values = column.to_numpy()
    if values.dtype.kind not in "iu":
        names = list(classes or ())
        texts = [str(v) for v in values]
        places = {str(n): n for n in range(len(names))} | {name: n for n, name in enumerate(names)}
        found = [places.get(text) for text in texts]
        if None in found:
            row = found.index(None)
            raise ValueError(
                f"{name}: label {texts[row]!r} of row {row} is none of {names or 'the whole numbers'}"
            )
        return np.array(found, np.int64)
    if len(values) and (values == -1).all():
        raise ValueError(
            f"{name}: all labels are −1: this split hides them (GLUE's test splits do); use another split"
        )
    return values
