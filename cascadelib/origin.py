"""Labels and ids of the samples of one split, and sketches that recognize them later."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any
from uuid import uuid4

import numpy as np
from numpy import ndarray as Array

from .labels import read_samples

KEY = np.dtype("V6")  # an id in a file: six bytes of its digest
MOST_KEYS = 512  # largest number of ids whose digests a file stores


@dataclass(frozen=True)
class Sketch:
    """What a file stores of samples, to recognize them.

    Parameters
    ----------
    samples : int
    keys : bytes or None
        The MOST_KEYS smallest digests of the ids, or None without ids. If a share p of the samples
        is in another set, none of them is found there with a probability of (1 − p)⁵¹².
    dataset, split, fingerprint : str
        :attr:`Origin.full_name` of a split without ids.
    """

    samples: int
    keys: bytes | None = None
    dataset: str = ""
    split: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if len(self.keys or b"") % KEY.itemsize:
            raise ValueError(f"'chosen_on': its keys are not base64 of {KEY.itemsize} bytes each")


@dataclass(frozen=True, eq=False)
class Origin:
    """The labels and ids of k samples, or the sketch of them that a file of a cascade stores.

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
    sketch : Sketch, optional
        What a file stores of the samples, if they were read from one.
    """

    values: Array | None = field(repr=False)
    sample_ids: Array = field(repr=False)
    classes: tuple[str, ...] | None = field(default=None, repr=False)
    dataset: str = ""
    split: str = ""
    has_ids: bool = True
    source: str = field(default_factory=lambda: uuid4().hex)
    sketch: Sketch | None = field(default=None, repr=False)

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
    def from_sketch(cls, sketch: Sketch) -> "Origin":
        """Return the origin of samples of which only a sketch is known."""
        named = (sketch.dataset, sketch.split, False, "")
        return cls(None, np.array([], str), None, *named, sketch=sketch)

    def __len__(self) -> int:
        return self.sketch.samples if self.sketch else len(self.sample_ids)

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
        if self.sketch:
            return self.sketch.fingerprint
        digest = hashlib.sha256(json.dumps(self.sample_ids.tolist()).encode())
        digest.update(b"unlabelled" if self.values is None else self.values.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def full_name(self) -> tuple[str, ...]:
        """Data set, split and fingerprint, which identify a labelled split without ids, or ()."""
        is_labelled = self.values is not None or self.sketch is not None
        name = (self.dataset, self.split, self.fingerprint)
        return name if is_labelled and all(name) else ()

    @cached_property
    def keys(self) -> Array | None:
        """Digests of the ids, ``KEY`` [k], those that a file stores, or None without ids."""
        if self.has_ids:
            digests = b"".join(each[: KEY.itemsize] for each in digests_of(self.sample_ids))
            return np.frombuffer(digests, KEY)
        stored = None if self.sketch is None else self.sketch.keys
        return None if stored is None else np.frombuffer(stored, KEY)

    def take(self, rows: Array | slice) -> "Origin":
        """Return the origin of int64 ``rows``, or of a slice."""
        values = None if self.values is None else self.values[rows]
        ids = self.sample_ids[rows]
        return replace(self, values=values, sample_ids=ids)

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

    @property
    def sketch_without_ids(self) -> Sketch:
        """What a file stores of a split without its ids."""
        return Sketch(len(self), None, self.dataset, self.split, self.fingerprint)


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


@lru_cache(maxsize=8)
def sketches_of(origins: Origins) -> tuple[Sketch | None, ...]:
    """Return what a file stores of sets of samples: one sketch of all ids, and one per other set.

    The sketch has the number of different ids. Of sets from files, repeats are not known.
    """
    keys = []
    others: list[Sketch | None] = []
    unstored = 0
    for part in parts_of(origins):
        if part is None or part.keys is None:
            others.append(None if part is None else part.sketch_without_ids)
        else:
            keys.append(part.keys)
            unstored += len(part) - len(part.keys)
    if not keys:
        return tuple(others)
    distinct = np.unique(np.concatenate(keys))
    return (Sketch(len(distinct) + unstored, distinct[:MOST_KEYS].tobytes()), *others)


def samples_in_common(origins: Origins, here: Origin) -> int | None:
    """Return the number of samples of ``here`` whose ids are in ``origins``, or None if unknown.

    It is a lower bound for samples of which a file has a sketch. The number is unknown if no shared
    sample was found and at least one set cannot be compared.
    """
    known_rows = rows_by_part(origins, here)
    count = int(np.any(known_rows, axis=0).sum()) if known_rows else 0
    return count if count or len(known_rows) == len(parts_of(origins)) else None


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
