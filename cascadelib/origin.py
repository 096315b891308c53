"""Labels and ids of the samples of one split, and traces that recognize these samples later."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np
from numpy import ndarray as Array

from .labels import read_samples

KEY = np.dtype("V6")  # an id in a file: six bytes of its digest
NUMBER = np.dtype("<f4")  # a number of a model's output in a file
MOST_KEYS = 2**16  # largest number of ids whose digests a file stores
MOST_ROWS = 4096  # largest number of samples whose outputs a file stores
TEXTS = 2**16  # number of values by which texts are distinguished
MOST_COLUMNS = 8  # largest number of columns of outputs that are compared


@dataclass(frozen=True)
class Trace:
    """What a file stores of one set of samples, to recognize them.

    Parameters
    ----------
    samples : int
    dataset, split : str
    fingerprint : str
        :attr:`Origin.fingerprint`.
    keys : bytes or None
        The smallest MOST_KEYS digests of the ids, or None without ids.
    rows : bytes or None
        Columns of outputs of at most MOST_ROWS random samples, one column after another.
    draw : str
        :attr:`Origin.draw`.
    """

    samples: int
    dataset: str = ""
    split: str = ""
    fingerprint: str = ""
    keys: bytes | None = None
    rows: bytes | None = None
    draw: str = ""

    def __post_init__(self) -> None:
        sizes = {"keys": KEY.itemsize, "rows": NUMBER.itemsize * max(1, self.stored)}
        for name, size in sizes.items():
            if len(getattr(self, name) or b"") % size:
                raise ValueError(f"'chosen_on': its {name} are not base64 of {size} bytes each")

    @property
    def stored(self) -> int:
        """The number of samples in ``rows``."""
        return min(self.samples, MOST_ROWS)


@dataclass(frozen=True, eq=False)
class Origin:
    """The labels and ids of k samples, or the trace of them that a file of a cascade stores.

    Parameters
    ----------
    values : int64 array of shape (k,), or None
        The labels, None if they are unknown.
    sample_ids : str array of shape (k,)
        The ids. The array is empty if the samples were read from a file of a cascade.
    classes : tuple of str, or None
        Class names.
    dataset, split : str
    has_ids : bool
        Whether the ids identify samples beyond this split. Row numbers do not.
    source : str
        Identifier of the full split. All parts that are taken from a split share it.
    models : collection of str
        The models whose outputs are known.
    read : callable, or None
        Function from a model's name to the columns [k] of its outputs.
    trace : Trace, optional
        What a file stores of the samples, if they were read from one.
    draw : str
        The call that repeats the draw, if the first labels of a draw chose a cascade.
    """

    values: Array | None = field(repr=False)
    sample_ids: Array = field(repr=False)
    classes: tuple[str, ...] | None = field(default=None, repr=False)
    dataset: str = ""
    split: str = ""
    has_ids: bool = True
    source: str = field(default_factory=lambda: uuid4().hex)
    models: Collection[str] = field(default=(), repr=False)
    read: Callable[[str], Iterable[Array]] | None = field(default=None, repr=False)
    trace: Trace | None = field(default=None, repr=False)
    draw: str = ""

    @classmethod
    def from_labels(
        cls,
        labels: Any,
        sample_ids: Any = None,
        classes: Any = None,
        dataset: str = "",
        split: str = "",
        k: int = 0,
    ) -> "Origin":
        """Return the origin of user input, see :func:`cascadelib.labels.read_samples`."""
        values, ids, classes = read_samples(labels, sample_ids, classes, k)
        return cls(values, ids, classes, str(dataset), str(split), sample_ids is not None)

    @classmethod
    def from_trace(cls, trace: Trace, models: Iterable[str] = ()) -> "Origin":
        """Return the origin of samples of which only a trace is known."""
        named = (trace.dataset, trace.split, False, "", tuple(models))
        return cls(None, np.array([], str), None, *named, trace=trace, draw=trace.draw)

    def __len__(self) -> int:
        return self.trace.samples if self.trace else len(self.sample_ids)

    def __eq__(self, other: object) -> bool:
        if self is other or not (isinstance(other, Origin) and self.trace):
            return self is other
        return (self.models, self.trace) == (other.models, other.trace)

    def __hash__(self) -> int:
        return hash((self.source, len(self)))

    def __getstate__(self) -> dict:
        """Return the attributes without ``read``, which needs the store, but with a trace."""
        kept = vars(self) | {"read": None}
        return kept if self.read is None else kept | {"trace": self.record(self.models).trace}

    @property
    def required_labels(self) -> Array:
        """The labels. Raises ValueError if there are none."""
        if self.values is None:
            raise ValueError(
                f"labels are needed, and the {len(self)} samples of {self.split or 'this split'!r} "
                "have none. Pass the labels of to_label to certify as labels=, or label all "
                "samples with store.labelled(labels)"
            )
        return self.values

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the sample ids and labels in their order, or "" if a file lacks it."""
        if self.trace:
            return self.trace.fingerprint
        digest = hashlib.sha256(json.dumps(self.sample_ids.tolist()).encode())
        digest.update(b"unlabelled" if self.values is None else self.values.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def full_name(self) -> tuple[str, ...]:
        """Data set, split and fingerprint, which identify a labelled split without ids, or ()."""
        is_labelled = self.values is not None or self.trace is not None
        name = (self.dataset, self.split, self.fingerprint)
        return name if is_labelled and all(name) else ()

    @property
    def keys(self) -> Array | None:
        """Digests of the ids, ``KEY`` [k], those that a file stores, or None without ids.

        Two splits of 65,536 and 50,000 ids share a key by chance with a probability of 1 in 80,000.
        """
        if self.has_ids:
            return np.frombuffer(b"".join(each[:6] for each in digests_of(self.sample_ids)), KEY)
        stored = None if self.trace is None else self.trace.keys
        return None if stored is None else np.frombuffer(stored, KEY)

    def outputs(self, model: str) -> list[Array]:
        """Return columns [k] of the outputs of a model, or [] if they cannot be read."""
        try:
            return [] if self.read is None else list(self.read(model))
        except (KeyError, OSError, ValueError):
            return []

    def columns(self, models: Iterable[str]) -> Array | None:
        """Return columns of the outputs of models as numbers, float32 [at most MOST_COLUMNS, k].

        Each model contributes the same number of columns. A file has those of all its models, of
        MOST_ROWS samples. Returns None if a model's outputs are unknown.
        """
        names = sorted(models)
        if self.trace and self.read is None:
            is_known = self.trace.rows is not None and {*names} == {*self.models}
            rows = np.frombuffer(self.trace.rows or b"", NUMBER)
            return rows.reshape(-1, max(1, self.trace.stored)) if is_known else None
        numbers: list[Array] = []
        for name in names:
            columns = self.outputs(name)
            if not columns:
                return None
            numbers += map(as_numbers, columns[: -(-MOST_COLUMNS // len(names))])
        return np.array(numbers[:MOST_COLUMNS]) if numbers else None

    def take(self, rows: Array | slice) -> "Origin":
        """Return the origin of int64 ``rows``, or of a slice."""
        values = None if self.values is None else self.values[rows]
        ids = self.sample_ids[rows]
        return replace(self, values=values, sample_ids=ids, models=(), read=None)

    def shares_ids(self, other: "Origin") -> bool:
        """Return whether equal ids of two sets mean equal samples.

        Row numbers identify samples within a split only.
        """
        return self.source == other.source or self.has_ids and other.has_ids

    def check_same(self, ids: Array, labels: Any = None) -> None:
        """Raise ValueError that names the first row whose id, text [k], or label differs."""
        expected = self.sample_ids
        if ids.shape != expected.shape:
            raise ValueError(
                f"{len(ids)} sample ids for {len(self)} samples of split {self.split!r}"
            )
        differs = ids != expected
        if differs.any():
            row = np.argmax(differs)
            kind = "another order" if set(ids) == set(expected) else "other samples"
            raise ValueError(
                f"{kind}: row {row} is {str(ids[row])!r}, expected {str(expected[row])!r}"
            )
        if labels is not None and not np.array_equal(self.required_labels, labels):
            row = np.argmax(self.required_labels != labels)
            raise ValueError(
                f"other labels: row {row} ({ids[row]}) is {labels[row]}, expected "
                f"{self.required_labels[row]}"
            )

    def record(self, models: Iterable[str] = ()) -> "Origin":
        """Return the trace that the file of a cascade of some models stores."""
        names = tuple(models)
        if self.trace:
            is_same = {*names} == {*self.models}
            return self if is_same else Origin.from_trace(replace(self.trace, rows=None), names)
        columns = self.columns(names) if names else None
        if columns is not None and len(self) > MOST_ROWS:
            chosen = np.random.default_rng(0).choice(len(self), MOST_ROWS, replace=False)
            columns = columns[:, chosen]
        keys = None if self.keys is None else np.unique(self.keys)[:MOST_KEYS]
        trace = Trace(
            len(self),
            self.dataset,
            self.split,
            self.fingerprint,
            None if keys is None or not names else keys.tobytes(),
            None if columns is None else columns.tobytes(),
            self.draw,
        )
        return Origin.from_trace(trace, names)


# One or several sets of samples, such as those of a fit and of a search. None is an unknown set.
Origins = Origin | tuple[Origin | None, ...] | None


def origin_of(source: Any) -> Origin:
    """Return the :class:`Origin` of a data set, read from its attributes of the same names.

    Ids 0, 1, … do not identify samples.
    """
    names = ("labels", "sample_ids", "classes", "dataset", "split")
    origin = Origin.from_labels(*(getattr(source, name) for name in names))
    numbers = np.arange(len(origin)).astype(str)
    return replace(origin, has_ids=not np.array_equal(origin.sample_ids, numbers))


def parts_of(origins: Origins) -> tuple[Origin | None, ...]:
    """Return the sets of samples as a tuple."""
    return origins if isinstance(origins, tuple) else (origins,)


def join_origins(*origins: Origins) -> Origins:
    """Return the sets of samples of all origins, each set once."""
    parts = tuple(dict.fromkeys(part for each in origins for part in parts_of(each)))
    return parts[0] if len(parts) == 1 else parts


def samples_in_common(origins: Origins, here: Origin) -> int | None:
    """Return the number of samples of ``here`` whose ids are in ``origins``, or None if unknown.

    The number is unknown if no shared sample was found and at least one set cannot be compared.
    """
    known_rows = rows_by_part(origins, here)
    count = int(np.any(known_rows, axis=0).sum()) if known_rows else 0
    return count if count or len(known_rows) == len(parts_of(origins)) else None


def rows_among(origins: Origins, here: Origin) -> Array:
    """Return which samples of ``here`` are known to be in ``origins``, bool [k]."""
    return np.any([np.zeros(len(here), bool), *rows_by_part(origins, here)], axis=0)


def rows_by_part(origins: Origins, here: Origin) -> list[Array]:
    """Return which samples of ``here`` are in each set that can be compared, bool [k] each.

    A full split with a name is recognized without ids by its row numbers and labels.
    """
    known_rows = []
    for part in parts_of(origins):
        if part is None:
            continue
        if part.shares_ids(here):
            known_rows.append(np.isin(here.sample_ids, part.sample_ids))
        elif part.keys is not None and here.keys is not None:
            known_rows.append(np.isin(here.keys, part.keys))
        elif part.full_name and part.full_name == here.full_name:
            known_rows.append(np.ones(len(here), bool))
    return known_rows


def digests_of(texts: Array) -> list[bytes]:
    """Return the SHA-256 of each text [k]."""
    return [hashlib.sha256(text.encode()).digest() for text in texts.tolist()]


def as_numbers(values: Array) -> Array:
    """Return one output of a model [k] as ``NUMBER``. A text becomes a number from 0 to 1."""
    if values.dtype.kind == "U":
        texts, place = np.unique(values, return_inverse=True)
        codes = [int.from_bytes(digest[:4]) % TEXTS for digest in digests_of(texts)]
        values = np.array(codes)[place] / TEXTS
    with np.errstate(over="ignore"):  # numbers beyond float32 are compared as infinite
        return values.astype(NUMBER)
