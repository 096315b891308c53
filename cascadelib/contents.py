"""What a file keeps of samples, whatever they are called: digests of their ids and of what models
said of them, and some of the numbers that models computed."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy import ndarray as Array

KEY = np.dtype("V6")  # what a file keeps of an id: six bytes of its digest
CONTENT = np.dtype("<u4")  # what a file keeps of a row's contents
MOST_CONTENTS = 4096  # rows of which it keeps that, about, of however many
CONFIDENCE = np.dtype("<f4")  # what a file keeps of a confidence
MOST_COLUMNS = 4  # columns of confidences of which it keeps MOST_CONTENTS rows
MOST_FORMS = 16  # forms of ids, such as img_0.png; ids of more forms are text
IDS = 4096  # of which the forms are read


def mixed(numbers: Array) -> Array:
    """Well scattered numbers in place of others, uint64 [k], one to one (the finalizer of
    SplitMix64)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def digests_of(texts: Array) -> list[bytes]:
    """SHA-256 of each of some texts [k]."""
    return [hashlib.sha256(text.encode()).digest() for text in texts.tolist()]


def as_integers(values: Array) -> Array:
    """The same number for equal values [k], uint64 [k]: of text its digest, of numbers their bits
    as float32, so that a table is the same whether float32 or float64 held it."""
    if values.dtype.kind == "U":
        unique, place = np.unique(values, return_inverse=True)
        begins = b"".join(digest[:8] for digest in digests_of(unique))
        return np.frombuffer(begins, "<u8")[place]
    with np.errstate(over="ignore"):
        single = values.astype(np.float32) + np.float32(0)  # −0 is 0
    return single.view(np.uint32).astype(np.uint64)


@dataclass(eq=False)
class Contents:
    """Digests of what models said of k samples, whatever these are called, computed when they are
    first asked for.

    models: names; read: model → columns [k] of its answers.
    """

    models: Collection[str]
    read: Callable[[str], Iterable[Array]] | None
    digests: dict[str, Array] = field(default_factory=dict)

    def of_model(self, name: str) -> Array:
        """Of what one model said, uint64 [k]."""
        if name not in self.digests and self.read is not None:
            total = np.zeros(1, np.uint64)
            for column in self.read(name):
                total = mixed(total ^ as_integers(column))
            self.digests[name] = total
        return self.digests[name]

    def of(self, names: Iterable[str]) -> Array | None:
        """Of what all of some models said, uint64 [k]; None where one of them, or its file, is not
        there."""
        total = np.zeros(1, np.uint64)
        try:
            for name in sorted(names):
                total = mixed(total ^ self.of_model(name))
        except (KeyError, OSError, ValueError):
            return None
        return total

    def columns(self, names: Iterable[str]) -> Array | None:
        """Return numbers that some models computed, float32 [at most MOST_COLUMNS, k], the same
        number of each model, or None if they are not at hand."""
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
        """The digests, without what they are of: a copy holds no store."""
        for name in list(self.models):
            self.of([name])
        return {"models": tuple(self.digests), "read": None, "digests": self.digests}


def kept_in_file(digests: Array, samples: int) -> Array:
    """Of digests of rows, uint64 [k], those that a file keeps of a split of so many samples,
    ``CONTENT``: about MOST_CONTENTS, chosen by the digest itself, so that two splits keep the same
    of equal rows."""
    halvings = max(0, int(np.ceil(np.log2(max(samples, 1) / MOST_CONTENTS))))
    chosen = digests[digests % np.uint64(2**halvings) == 0]
    return (chosen >> np.uint64(32)).astype(CONTENT)


def forms_of(ids: Array) -> bytes:
    """Return the distinct forms of ids, each as :data:`KEY`: img_17.png has the form img_0.png.

    Ids of more than MOST_FORMS forms, such as sentences, all have the form "text".
    """
    some = ids[:: max(1, len(ids) // IDS)].tolist()
    named = (re.sub(r"\b(?=\w*\d)[0-9a-fA-F]{8,}\b", "h", each) for each in some)
    forms = {re.sub(r"\d+", "0", each) for each in named}
    forms = forms if len(forms) <= MOST_FORMS else {"text"}
    return b"".join(sorted(digest[:6] for digest in digests_of(np.array([*forms]))))
