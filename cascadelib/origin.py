"""Labels and ids of the samples of one split, and traces that recognize these samples later."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np
from numpy import ndarray as Array

from .files import digest_of, object_from_json
from .labels import read_samples

KEY = np.dtype("V6")  # an id in a file: six bytes of its digest
CONTENT = np.dtype("<u4")  # the digest of a row's model outputs in a file
CONFIDENCE = np.dtype("<f4")  # a confidence in a file
TRACES = {"keys": KEY, "contents": CONTENT, "confidences": CONFIDENCE, "forms": KEY}
MOST_CONTENTS = 4096  # approximate largest number of rows whose traces a file stores
MOST_KEYS = 2**16  # largest number of ids per set of samples whose digests a file stores
MOST_COLUMNS = 4  # largest number of columns of confidences in a file
MOST_FORMS = 16  # largest number of forms of ids, such as img_0.png. Others count as text
IDS_READ = 4096  # approximate number of ids whose forms are found


@dataclass(frozen=True, eq=False)
class Origin:
    """The labels and ids of k samples, or the traces of them that a file of a cascade stores.

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
    traces : SampleSets, optional
        What a file stores of the samples, if they were read from one.
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
    traces: "SampleSets | None" = field(default=None, repr=False)
    digests: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

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
    def from_traces(cls, traces: "SampleSets", models: Iterable[str] = ()) -> "Origin":
        """Return the origin of the first set of samples that a file stores."""
        traces = replace(traces, also=())
        names = (traces.dataset or "", traces.split or "")
        return cls(None, np.array([], str), None, *names, False, "", tuple(models), None, traces)

    @classmethod
    def from_json(cls, value: dict, place: str = "") -> "Origin":
        """Return the origin that a file stores as :class:`SampleSets`."""
        return cls.from_traces(object_from_json(SampleSets, value, place))

    def __len__(self) -> int:
        return self.traces.samples if self.traces else len(self.sample_ids)

    def __eq__(self, other: object) -> bool:
        if self is other or not (isinstance(other, Origin) and self.traces):
            return self is other
        return (self.models, self.traces) == (other.models, other.traces)

    def __hash__(self) -> int:
        return hash((self.source, len(self)))

    def __getstate__(self) -> dict:
        """Return the attributes with all digests but without ``read``, which needs the store."""
        for name in self.models:
            self.contents([name])
        return vars(self) | {"models": tuple(self.models), "read": None}

    def is_same_distribution(self, other: "Origin") -> bool:
        """Return whether two splits are of one data set. Shifted data have another name."""
        return self.dataset == other.dataset

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
        if self.traces:
            return self.traces.fingerprint or ""
        digest = hashlib.sha256(json.dumps(self.sample_ids.tolist()).encode())
        digest.update(b"unlabelled" if self.values is None else self.values.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def digest(self) -> str | None:
        """SHA-256 over the sorted distinct ids.

        If the ids are row numbers, the digest is over the names of data set and split, the rows and
        the labels. Without these names it is None.
        """
        if self.traces:
            return self.traces.ids
        if self.has_ids:
            return digest_of(np.unique(self.sample_ids).tolist())
        if not (self.dataset and self.split):
            return None
        named = f"{self.dataset}/{self.split} {self.fingerprint}"
        return hashlib.sha256(named.encode()).hexdigest()

    @property
    def keys(self) -> Array | None:
        """The first six bytes of the SHA-256 of each id, ``KEY`` [k], or None without ids.

        Two splits of 65,536 and 50,000 ids share a key by chance with a probability of 1 in 80,000.
        """
        if not self.has_ids:
            return self._trace("keys")
        return np.frombuffer(b"".join(digest[:6] for digest in digests_of(self.sample_ids)), KEY)

    @property
    def forms(self) -> Array | None:
        """The distinct forms of the ids, each as ``KEY``, or None without ids.

        img_17.png has the form img_0.png. Ids of more than MOST_FORMS forms, such as sentences, all
        have the form "text".
        """
        if not self.has_ids:
            return self._trace("forms")
        examples = self.sample_ids[:: max(1, len(self) // IDS_READ)].tolist()
        without_hashes = (re.sub(r"\b(?=\w*\d)[0-9a-fA-F]{8,}\b", "h", each) for each in examples)
        forms = {re.sub(r"\d+", "0", each) for each in without_hashes}
        forms = forms if len(forms) <= MOST_FORMS else {"text"}
        digests = sorted(digest[:6] for digest in digests_of(np.array([*forms])))
        return np.frombuffer(b"".join(digests), KEY)

    def _trace(self, name: str) -> Array | None:
        """Return a trace of a file as an array, or None if the file lacks it."""
        trace = getattr(self.traces, name, None)
        return None if trace is None else np.frombuffer(trace, TRACES[name])

    def outputs(self, model: str) -> list[Array]:
        """Return columns [k] of the outputs of a model, or [] if they cannot be read."""
        try:
            return [] if self.read is None else list(self.read(model))
        except (KeyError, OSError, ValueError):
            return []

    def contents(self, models: Iterable[str]) -> Array | None:
        """Return joint digests of the outputs of models, uint64 [k], or None if one is unknown."""
        names = sorted(models)
        total = np.zeros(1, np.uint64)
        for name in names:
            if name not in self.digests:
                digest = np.zeros(1, np.uint64)
                columns = self.outputs(name)
                for column in columns:
                    digest = scatter(digest ^ as_integers(column))
                if not columns:
                    return None
                self.digests[name] = digest
            total = scatter(total ^ self.digests[name])
        return total if names else None

    def columns(self, models: Iterable[str]) -> Array | None:
        """Return columns of numbers that models computed, float32 [at most MOST_COLUMNS, k].

        Each model contributes the same number of columns. Returns None if a model's outputs are
        unknown.
        """
        names = sorted(models)
        numbers = []
        for name in names:
            columns = self.outputs(name)
            if not columns:
                return None
            floats = [column for column in columns if column.dtype.kind == "f"]
            numbers += floats[: -(-MOST_COLUMNS // len(names))]
        with np.errstate(over="ignore"):  # numbers beyond float32 are compared as infinite
            return np.array(numbers[:MOST_COLUMNS], CONFIDENCE) if numbers else None

    def confidences(self, models: Iterable[str]) -> Array | None:
        """Return :meth:`columns` of at most MOST_CONTENTS random samples, or those of a file."""
        rows = min(len(self), MOST_CONTENTS)
        if self.traces:
            trace = self._trace("confidences")
            is_known = trace is not None and {*models} == {*self.models}
            return trace.reshape(-1, rows) if is_known else None  # type: ignore[union-attr]
        columns = self.columns(models)
        if columns is None or len(self) == rows:
            return columns
        return columns[:, np.random.default_rng(0).choice(len(self), rows, replace=False)]

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

    def record(self, models: Iterable[str] | None = None) -> "Origin":
        """Return the traces that the file of a cascade of some models stores.

        Without models, these are the number of samples, the digest and the fingerprint.
        """
        names = () if models is None else tuple(models)
        traces = self.traces or SampleSets(
            len(self), self.dataset, self.split, self.fingerprint, self.digest
        )
        if self.traces and {*names} != {*self.models}:
            traces = replace(traces, contents=None, confidences=None)
        if models is not None and not self.traces:
            keys = self.keys
            contents = self.contents(names)
            arrays = {
                "keys": None if keys is None else np.unique(keys),
                "contents": None if contents is None else select_contents(contents, len(self)),
                "confidences": self.confidences(names),
                "forms": self.forms,
            }
            known: dict[str, Any] = {
                name: trace.tobytes() for name, trace in arrays.items() if trace is not None
            }
            traces = replace(traces, **known)
        return Origin.from_traces(traces, names)


@dataclass(frozen=True)
class SampleSets:
    """What a file stores of sets of samples, to recognize them.

    Parameters
    ----------
    samples : int
        The number of samples of the first set, which all fields but ``also`` describe.
    dataset, split : str or None
    fingerprint : str or None
    ids : str or None
        Its :attr:`Origin.digest`.
    keys : bytes or None
        The sorted distinct :attr:`Origin.keys`.
    contents : bytes or None
        Sorted digests of the outputs of the models (:func:`select_contents`).
    confidences : bytes or None
        Numbers that the models computed for at most MOST_CONTENTS random samples, one column after
        another.
    forms : bytes or None
        The :attr:`Origin.forms` of the ids.
    also : tuple of SampleSets or None
        The further sets. An unknown set is None.

    Raises
    ------
    ValueError
        If the number of bytes is not that of :data:`TRACES`.
    """

    samples: int
    dataset: str | None = None
    split: str | None = None
    fingerprint: str | None = None
    ids: str | None = None
    keys: bytes | None = None
    contents: bytes | None = None
    confidences: bytes | None = None
    forms: bytes | None = None
    also: "tuple[SampleSets | None, ...]" = ()

    def __post_init__(self) -> None:
        rows = max(1, min(self.samples, MOST_CONTENTS))
        for name, kind in TRACES.items():
            size = kind.itemsize * (rows if name == "confidences" else 1)
            if len(getattr(self, name) or b"") % size:
                raise ValueError(f"'chosen_on': its {name} are not base64 of {size} bytes each")

    @classmethod
    def of(cls, origin: Origin, models: Iterable[str] | None = None) -> Any:
        """Return one set of samples as the file of a cascade of ``models`` stores it."""
        traces: Any = origin.record(models).traces
        return replace(traces, keys=None) if traces.samples > MOST_KEYS else traces


# One or several sets of samples, such as those of a fit and of a search. None is an unknown set.
Origins = Origin | tuple[Origin | None, ...] | None


def origin_of(source: Any) -> Origin:
    """Return the :class:`Origin` of a data set, read from its attributes of the same names.

    Ids 0, 1, … are row numbers, which do not identify samples of other data sets.
    """
    origin = Origin.from_labels(
        source.labels, source.sample_ids, source.classes, source.dataset, source.split
    )
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
    """Return the number of samples of ``here`` that are in ``origins``, or None if unknown.

    The number is unknown if no shared sample was found and at least one set cannot be compared. Ids
    are compared if both splits have ids, whatever the names of the splits, since shifted copies of
    a split have its ids. Rows are compared if both are parts of one split. Otherwise only a full
    split of the same name is recognised, by its row numbers and labels. Names alone cannot
    distinguish two splits.
    """
    parts = parts_of(origins)
    known_rows = []  # whether samples of ``here`` are in one set, bool [k]
    for part in parts:
        if part is None:
            continue
        if part.shares_ids(here):
            known_rows.append(np.isin(here.sample_ids, part.sample_ids))
        elif part.keys is not None and here.keys is not None:
            known_rows.append(np.isin(here.keys, part.keys))
        elif part.digest is not None and part.digest == here.digest:
            known_rows.append(np.ones(len(here), bool))
    count = int(np.any(known_rows, axis=0).sum()) if known_rows else 0
    return count if count or len(known_rows) == len(parts) else None


def ids_could_meet(part: Origin | None, here: Origin) -> bool:
    """Return whether ids can show that two splits share samples.

    Both splits must have ids of a common form. Ids such as a_1 and b_1 name samples within their
    split, so they are never equal.
    """
    if part is None or part.source == here.source:
        return part is not None
    if part.forms is None or here.forms is None:
        return False
    return bool(np.isin(here.forms, part.forms).any())


def models_compared(part: Origin, here: Origin, models: Iterable[str]) -> set[str]:
    """Return the models by whose outputs two sets of samples are compared.

    These are the members of ``models`` that both sets have. If ``part`` was read from a file, they
    are all models of the file.
    """
    if part.traces:
        return set(part.models)
    return {*models} & {*part.models} & {*here.models}


def comparable_contents(
    part: Origin | None, here: Origin, models: Iterable[str]
) -> tuple[Array, Array] | None:
    """Return digests of the samples of two sets.

    Two digests are equal if all compared outputs of the samples are equal. Returns None if no
    outputs can be compared.
    """
    if part is None:
        return None
    names = models_compared(part, here, models)
    stored = part.contents(names)
    digests = here.contents(names)
    if part.traces:
        stored = part._trace("contents")
        digests = None if digests is None else select_contents(digests, len(part))
    return None if stored is None or digests is None else (stored, digests)


def scatter(numbers: Array) -> Array:
    """Map uint64 [k] one to one to scattered numbers (the finalizer of SplitMix64)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def digests_of(texts: Array) -> list[bytes]:
    """Return the SHA-256 of each text [k]."""
    return [hashlib.sha256(text.encode()).digest() for text in texts.tolist()]


def as_integers(values: Array) -> Array:
    """Convert values [k] to uint64 [k], such that equal values become equal integers.

    Text becomes its digest. Numbers become their bits as float32, so that tables of float32 and
    float64 give the same result.
    """
    if values.dtype.kind == "U":
        unique, place = np.unique(values, return_inverse=True)
        prefixes = b"".join(digest[:8] for digest in digests_of(unique))
        return np.frombuffer(prefixes, "<u8")[place]
    with np.errstate(over="ignore"):
        single = values.astype(np.float32) + np.float32(0)  # −0 is 0
    return single.view(np.uint32).astype(np.uint64)


def select_contents(digests: Array, samples: int) -> Array:
    """Select about MOST_CONTENTS of digests, uint64 [k], and return their sorted ``CONTENT``.

    ``samples`` is the size of the split, which determines the selected share. A digest is selected
    by its own value, so that two splits store the same digests of equal rows.
    """
    halvings = max(0, int(np.ceil(np.log2(max(samples, 1) / MOST_CONTENTS))))
    chosen = digests[digests % np.uint64(2**halvings) == 0]
    return np.sort((chosen >> np.uint64(32)).astype(CONTENT))
