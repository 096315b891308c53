"""The traces of samples that a file stores, so that they are recognised under other names.

These are digests of ids, digests of model outputs, and some of the numbers that models computed.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy import ndarray as Array

KEY = np.dtype("V6")  # an id in a file: six bytes of its digest
CONTENT = np.dtype("<u4")  # the digest of a row's model outputs in a file
MOST_CONTENTS = 4096  # rows that a file stores, about, for a split of any size
CONFIDENCE = np.dtype("<f4")  # a confidence in a file
MOST_COLUMNS = 4  # columns of confidences in a file
MOST_FORMS = 16  # distinct forms of ids, such as img_0.png, beyond which ids count as text
IDS_READ = 4096  # ids whose forms are read


def mixed(numbers: Array) -> Array:
    """Map uint64 [k] one to one to well scattered numbers (the finalizer of SplitMix64)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def digests_of(texts: Array) -> list[bytes]:
    """Return the SHA-256 of each text [k]."""
    return [hashlib.sha256(text.encode()).digest() for text in texts.tolist()]


def as_integers(values: Array) -> Array:
    """Return uint64 [k], equal for equal values [k].

    Text becomes its digest. Numbers become their bits as float32, so that tables of float32 and
    float64 give the same result.
    """
    if values.dtype.kind == "U":
        unique, place = np.unique(values, return_inverse=True)
        begins = b"".join(digest[:8] for digest in digests_of(unique))
        return np.frombuffer(begins, "<u8")[place]
    with np.errstate(over="ignore"):
        single = values.astype(np.float32) + np.float32(0)  # −0 is 0
    return single.view(np.uint32).astype(np.uint64)


@dataclass(eq=False)
class Contents:
    """Digests of the outputs of models on k samples, computed on first use.

    Parameters
    ----------
    models : collection of str
    read : callable, or None
        Function from a model's name to the columns [k] of its outputs.
    digests : dict of {str: uint64 array of shape (k,)}
    """

    models: Collection[str]
    read: Callable[[str], Iterable[Array]] | None
    digests: dict[str, Array] = field(default_factory=dict)

    def of_model(self, name: str) -> Array:
        """Return the digests of the outputs of one model, uint64 [k]."""
        if name not in self.digests and self.read is not None:
            total = np.zeros(1, np.uint64)
            for column in self.read(name):
                total = mixed(total ^ as_integers(column))
            self.digests[name] = total
        return self.digests[name]

    def of(self, names: Iterable[str]) -> Array | None:
        """Return the digests of the outputs of several models together, uint64 [k].

        None if a model or its file is missing.
        """
        total = np.zeros(1, np.uint64)
        try:
            for name in sorted(names):
                total = mixed(total ^ self.of_model(name))
        except (KeyError, OSError, ValueError):
            return None
        return total

    def columns(self, names: Iterable[str]) -> Array | None:
        """Return columns of numbers that models computed, float32 [at most MOST_COLUMNS, k].

        Each model gives the same number of columns. None if they are not available.
        """
        names = sorted(names)
        if self.read is None or not names:
            return None
        each = -(-MOST_COLUMNS // len(names))
        found: list[Array] = []
        try:
            for name in names:
                numbers = (column for column in self.read(name) if column.dtype.kind == "f")
                found += islice(numbers, each)
        except (KeyError, OSError, ValueError):
            return None
        return np.array(found[:MOST_COLUMNS], CONFIDENCE) if found else None

    def __getstate__(self) -> dict:
        """Return the digests of all models without ``read``, since a copy has no store."""
        for name in list(self.models):
            self.of([name])
        return {"models": tuple(self.digests), "read": None, "digests": self.digests}


def kept_in_file(digests: Array, samples: int) -> Array:
    """Return the digests, of uint64 [k], that a file stores for a split of this size, ``CONTENT``.

    About MOST_CONTENTS of them are chosen by the digest itself, so that two splits store the same
    digests of equal rows.
    """
    halvings = max(0, int(np.ceil(np.log2(max(samples, 1) / MOST_CONTENTS))))
    chosen = digests[digests % np.uint64(2**halvings) == 0]
    return (chosen >> np.uint64(32)).astype(CONTENT)


def forms_of(ids: Array) -> bytes:
    """Return the distinct forms of ids, each as :data:`KEY`: img_17.png has the form img_0.png.

    Ids of more than MOST_FORMS forms, such as sentences, all have the form "text".
    """
    some = ids[:: max(1, len(ids) // IDS_READ)].tolist()
    named = (re.sub(r"\b(?=\w*\d)[0-9a-fA-F]{8,}\b", "h", each) for each in some)
    forms = {re.sub(r"\d+", "0", each) for each in named}
    forms = forms if len(forms) <= MOST_FORMS else {"text"}
    return b"".join(sorted(digest[:6] for digest in digests_of(np.array([*forms]))))
