"""Labels, ids and class names of the samples of one split, checked once for data sets and
stores."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np
from numpy import ndarray as Array

from .checks import known, unmasked
from .contents import (
    CONFIDENCE,
    CONTENT,
    KEY,
    MOST_CONTENTS,
    Contents,
    digests_of,
    forms_of,
    kept_in_file,
)
from .files import digest_of

WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,30})(\.0*)?")
BY_ID = (
    "give values by id (a dict, or a Series whose index is the ids), or, for values in the order "
    "of the store, an array (.to_numpy())"
)


def aligned(values: Any, what: str, *axes: Sequence | Array | None) -> Any:
    """Return values in the order of the ids of each axis.

    This is the one rule for one value per sample or model. A mapping is read by its keys. A pandas
    object is read by its index (:func:`positions`). Lists and arrays are returned unchanged, except
    that the items of a list along the first axis are aligned along the other axes.

    Parameters
    ----------
    values : mapping, pandas.Series, pandas.DataFrame, array_like or scalar
    what : str
        The name of the values in messages.
    *axes : sequence of str, or None
        The sample ids or model names along each axis, or None for an axis without names.

    Raises
    ------
    ValueError
        If the ids of a pandas object or mapping are not those of the axis.

    Examples
    --------
    >>> aligned({"b": 2, "a": 1}, "groups", ["a", "b"])
    [1, 2]
    """
    if isinstance(values, Mapping) and axes:
        items = list(values.values())
        values = [items[row] for row in positions(values, axes[0], what).tolist()]
    elif hasattr(values, "reindex"):  # pandas, without importing it
        array = values.to_numpy()
        for axis, (index, ids) in enumerate(zip(values.axes, axes)):
            array = array.take(positions(index, ids, what), axis)
        return array
    if len(axes) > 1 and isinstance(values, list | tuple):
        return [aligned(item, what, *axes[1:]) for item in values]
    return values


def positions(keys: Any, ids: Sequence | Array | None, what: str) -> Array:
    """Return the place of each id among the keys of a mapping or the labels of a pandas index.

    Keys are compared as text. Keys that are not among the ids are skipped. pandas' default index,
    0 … k − 1, means the order of the ids, unless the ids are the same numbers.

    Raises
    ------
    ValueError
        If a key repeats, an id is not among the keys, or a default index has two meanings.
    """
    texts = texts_of_keys(keys)
    is_default = getattr(keys, "step", None) == 1 and keys.start == 0  # pandas' RangeIndex
    names = np.arange(len(texts)).astype(str) if ids is None else as_text(ids)
    if np.array_equal(texts, names):
        return np.arange(len(names))
    check_distinct(texts, what)
    row_of = dict(zip(texts.tolist(), range(len(texts))))
    rows = np.array([row_of.get(name, -1) for name in names.tolist()], np.int64)
    is_default &= len(texts) == len(names)
    if is_default and (rows < 0).any():
        return np.arange(len(names))
    there = f"{examples(texts)} here, {'no ids' if ids is None else examples(names)} in the store"
    if is_default:
        raise ValueError(f"{what}: the default index can mean an order or ids ({there}): {BY_ID}")
    if ids is None:
        raise ValueError(
            f"{what}: an index, but no sample_ids=, names= or classes= ({there}): {BY_ID}"
        )
    if (rows < 0).any():
        raise ValueError(
            f"{what}: no value for {np.count_nonzero(rows < 0)} of {len(names)} ids, such as "
            f"{examples(names[rows < 0])} ({there}): {BY_ID}"
        )
    return rows


def texts_of_keys(keys: Any) -> Array:
    """Return the keys of a mapping, or the labels of a pandas index, as text."""
    return as_text(keys if hasattr(keys, "take") else np.fromiter(keys, object, len(keys)))


def check_distinct(keys: Array, what: str) -> None:
    """Raise ValueError if two keys, as text, are equal."""
    if len(set(keys.tolist())) < len(keys):
        unique, times = np.unique(keys, return_counts=True)
        raise ValueError(f"{what}: the index repeats {examples(unique[times > 1])}: {BY_ID}")


def examples(texts: Array) -> str:
    """Write the first two of some texts for a message."""
    return " and ".join(repr(text) for text in texts[:2].tolist()) or "none"


def chosen_rows(indices: Any, count: int, sample_ids: Array | None = None) -> Array:
    """Return the int64 rows that indices, a bool mask [count] or a slice select, in their order.

    Rows may repeat, as in a bootstrap. A mask by sample id is aligned.

    Raises
    ------
    ValueError
        If a row is outside 0 … count − 1, a mask has another length, or no row is selected.
    """
    index = indices
    if not isinstance(indices, slice):
        index = _checked_index(indices, count, sample_ids)
    try:
        rows = np.arange(count)[index]
    except IndexError as error:
        raise ValueError(f"there are {count} samples: {error}") from None
    if not len(rows):
        raise ValueError("no sample is selected: a split must have at least one")
    return rows


def _checked_index(indices: Any, count: int, sample_ids: Array | None) -> Array:
    """Return rows as integers, or a mask as bool [count]."""
    kind = getattr(getattr(indices, "dtype", None), "kind", None)
    is_mask = isinstance(indices, Mapping) or kind == "b"
    if is_mask:
        indices = aligned(indices, "the mask", sample_ids)
    index = np.asarray(unmasked(indices, "indices"))
    if is_mask and index.dtype != bool:
        raise ValueError(f"the mask must be True or False for each sample, not {index.dtype}")
    if index.size and (index.ndim != 1 or index.dtype.kind not in "biu"):
        raise ValueError(
            f"indices must be a list of rows, a bool mask or a slice, not {index.dtype} "
            f"{index.shape}"
        )
    if index.dtype.kind == "b" and len(index) != count:
        raise ValueError(f"the mask has {len(index)} entries for {count} samples")
    return index if index.size else index.astype(np.int64)


def _checked_values(labels: Any, classes: tuple[str, ...] | None) -> Array:
    """Return labels as int64 [k], or raise ValueError if one of them is not a class."""
    values = np.asarray(unmasked(labels, "labels"))
    if values.ndim != 1 or values.dtype.kind not in "iu" and values.size:
        raise ValueError(
            f"labels must be integers, one per sample, not {values.dtype} of shape {values.shape}"
        )
    if not len(values):
        raise ValueError("the split is empty: labels has no entries")
    top = np.iinfo(np.int64).max if classes is None else len(classes) - 1
    outside = np.flatnonzero((values < 0) | (values > top))
    if len(outside):
        bound = "below 0" if classes is None else f"outside 0 … {top} ({len(classes)} classes)"
        raise ValueError(
            f"label {values[outside[0]]} of sample {outside[0]} is {bound} "
            f"({len(outside)} such labels)"
        )
    return values.astype(np.int64)


def as_text(values: Any) -> Array:
    """Return ids, labels or predictions as text, an array of str of the same shape.

    Whole floats are written as integers, since pandas stores integers as floats if one is missing.
    Missing values (None, nan) are written as "".
    """
    values = np.asarray(unmasked(values, "ids, labels or predictions"))
    if values.dtype.kind in "fO":
        written = [str(as_written(value)) for value in values.ravel().tolist()]
        values = np.array(written, str).reshape(values.shape)
    if values.dtype.kind in "iu" and values.size:  # numpy would reserve 21 characters for each
        width = max(len(str(end)) for end in (values.min(), values.max()))
        return values.astype(f"U{width}")
    return values.astype(str)


def normalized(text: str) -> str:
    """Return the form that all spellings of a text share.

    The form is Unicode NFKC without invisible format characters. Spaces are trimmed and collapsed,
    and case is folded. Whole numbers have no plus sign, leading zeros or decimals.

    Examples
    --------
    >>> normalized(" Yes "), normalized("３.0"), normalized("New  York")
    ('yes', '3', 'new york')
    """
    if not text.isascii():
        text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = " ".join(text.casefold().split())
    number = WHOLE_NUMBER.fullmatch(text)
    return str(int(number[1])) if number else text


def as_written(value: Any) -> Any:
    """Return a value whose ``str`` is the text of the input: "" if missing, 3 for 3.0."""
    if value is None or type(value).__name__ == "NAType" or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _checked_ids(sample_ids: Any, count: int) -> Array:
    """Return distinct ids as text [count], by default the row numbers."""
    ids = np.asarray(range(count) if sample_ids is None else unmasked(sample_ids, "sample_ids"))
    if ids.shape != (count,):
        raise ValueError(f"sample_ids has shape {ids.shape} for {count} labels")
    ids = as_text(ids)
    unique, times = np.unique(ids, return_counts=True)
    if len(unique) < count:
        raise ValueError(
            f"sample id {str(unique[times > 1][0])!r} occurs twice or more: give each sample an id "
            "of its own"
        )
    return ids


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels, ids and origin of k samples.

    Parameters
    ----------
    values : int64 array of shape (k,), or None
    sample_ids : str array of shape (k,)
    classes : tuple of str, or None
        Class names.
    dataset, split : str
    given : bool
        Whether the ids identify samples beyond this split. Row numbers do not.
    source : str
        Identifier of the full split. All parts that are taken from a split share it.
    contents : Contents, or None
        Digests of the outputs of the store's models, if there is a store.
    """

    values: Array | None = field(repr=False)
    sample_ids: Array = field(repr=False)
    classes: tuple[str, ...] | None = field(default=None, repr=False)
    dataset: str = ""
    split: str = ""
    given: bool = True
    source: str = field(default_factory=lambda: uuid4().hex)
    contents: Contents | None = field(default=None, repr=False)

    @classmethod
    def checked(
        cls,
        labels: Any,
        sample_ids: Any = None,
        classes: Any = None,
        dataset: str = "",
        split: str = "",
        k: int = 0,
    ) -> "Labels":
        """Return the labels of user input, or raise ValueError for the first fault.

        Labels are int [k] or text. Text becomes the position among the classes, by default the
        sorted distinct texts. If labels are None, the ids or ``k`` give the number of samples. Ids
        default to row numbers.
        """
        classes = None if classes is None else tuple(str(c) for c in classes)
        labels = aligned(labels, "labels", sample_ids)
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError(f"class names repeat: {classes}")
        listed = [] if labels is None else np.asarray(labels).tolist()
        if listed and all(isinstance(label, str) for label in listed):
            classes = classes or tuple(filter(None, sorted({*listed})))
            labels = [classes.index(known(label, classes, "label")) for label in listed]
        values = None if labels is None else _checked_values(labels, classes)
        if values is not None:
            k = len(values)
        elif sample_ids is not None:
            k = len(sample_ids)
        if not k:
            raise ValueError("without labels the number of samples is unknown: give sample_ids")
        ids = _checked_ids(sample_ids, k)
        return cls(values, ids, classes, str(dataset), str(split), sample_ids is not None)

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def needed(self) -> Array:
        """The values. Raises ValueError if there are none."""
        if self.values is None:
            raise ValueError(
                f"this needs labels, and the {len(self)} samples of {self.split or 'this split'!r} "
                "have none: give certify the labels of to_label as labels=, or label all samples "
                "with store.labelled(labels)"
            )
        return self.values

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the sample ids and labels, in their order."""
        digest = hashlib.sha256(json.dumps(self.sample_ids.tolist()).encode())
        digest.update(b"unlabelled" if self.values is None else self.values.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def digest(self) -> str | None:
        """SHA-256 over the sorted distinct ids.

        If the ids are row numbers, it is over the names of data set and split, the rows and the
        labels. Without these names it is None.
        """
        if self.given:
            return digest_of(np.unique(self.sample_ids).tolist())
        if not (self.dataset and self.split):
            return None
        named = f"{self.dataset}/{self.split} {self.fingerprint}"
        return hashlib.sha256(named.encode()).hexdigest()

    @property
    def keys(self) -> Array:
        """The first six bytes of the SHA-256 of each id, ``KEY`` [k].

        Between 65,536 and 50,000 ids, two are equal by chance with a probability of 1 in 80,000.
        """
        begins = b"".join(digest[:6] for digest in digests_of(self.sample_ids))
        return np.frombuffer(begins, KEY)

    def take(self, rows: Array | slice) -> "Labels":
        """Return the labels of int64 ``rows``, or of a slice."""
        values = None if self.values is None else self.values[rows]
        return replace(self, values=values, sample_ids=self.sample_ids[rows], contents=None)

    def check_same(self, sample_ids: Any, labels: Any = None) -> None:
        """Raise ValueError for the first row with another id or label than in these samples."""
        ids = as_text(sample_ids)
        if ids.shape != self.sample_ids.shape:
            raise ValueError(
                f"{len(ids)} sample ids for {len(self)} samples of split {self.split!r}"
            )
        differs = ids != self.sample_ids
        if differs.any():
            row = np.argmax(differs)
            kind = "another order" if set(ids) == set(self.sample_ids) else "other samples"
            raise ValueError(
                f"{kind}: row {row} is {str(ids[row])!r}, expected {str(self.sample_ids[row])!r}"
            )
        if labels is not None and not np.array_equal(self.needed, labels):
            row = np.argmax(self.needed != labels)
            raise ValueError(
                f"other labels: row {row} ({ids[row]}) is {labels[row]}, expected "
                f"{self.needed[row]}"
            )


@dataclass(frozen=True)
class Recorded:
    """The part of :class:`Labels` that the file of a cascade stores.

    Parameters
    ----------
    dataset, split : str, or None
    samples : int
        The number of samples.
    digest : str, or None
        :attr:`Labels.digest`.
    keys : bytes, or None
        The sorted distinct :attr:`Labels.keys`. None if ids are row numbers, or too many.
    contents : bytes, or None
        Digests of the outputs of ``models`` (:func:`kept_in_file`), sorted. None if unknown.
    models : tuple of str
    confidences : bytes, or None
        Numbers that ``models`` computed for at most MOST_CONTENTS random samples,
        :data:`CONFIDENCE`, one column after another.
    forms : bytes, or None
        The forms of the ids (:func:`forms_of`).
    fingerprint : str, or None
        Fingerprint of the store.
    """

    dataset: str | None
    split: str | None
    samples: int
    digest: str | None
    keys: bytes | None = field(default=None, repr=False)
    contents: bytes | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    confidences: bytes | None = field(default=None, repr=False)
    forms: bytes | None = None
    fingerprint: str | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return self.samples


@dataclass(frozen=True)
class Seen:
    """Several sets of samples whose labels were read, such as those of a fit and of a search.

    None stands for an unknown set.
    """

    parts: tuple["Labels | Recorded | None", ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts if part is not None)


Origin = Labels | Recorded | Seen | None


def parts_of(selected_on: Origin) -> tuple[Labels | Recorded | None, ...]:
    """Return the sets of samples of an origin."""
    return selected_on.parts if isinstance(selected_on, Seen) else (selected_on,)


def together(*origins: Origin) -> Origin:
    """Return one origin with the sets of samples of all origins, each set once."""
    parts = tuple(dict.fromkeys(part for origin in origins for part in parts_of(origin)))
    return parts[0] if len(parts) == 1 else Seen(parts)


def samples_in_common(selected_on: Origin, here: Labels) -> int | None:
    """Return the number of samples of ``here`` that are in ``selected_on``, or None if unknown.

    It is unknown if no shared sample was found and at least one part cannot be compared. If both
    splits have ids, these are compared, whatever the names of the splits, since shifted copies of a
    split have its ids. If both are parts of one split, rows are compared. Otherwise only a full
    split of the same name is recognised, by its row numbers and labels. Names alone cannot
    distinguish two splits.
    """
    shared = [_rows_in_common(part, here) for part in parts_of(selected_on)]
    known_rows = [rows for rows in shared if rows is not None]
    count = int(np.any(known_rows, axis=0).sum()) if known_rows else 0
    return count if count or len(known_rows) == len(shared) else None


def _rows_in_common(part: Labels | Recorded | None, here: Labels) -> Array | None:
    """Return which samples of ``here`` are in one set of samples, bool [k], or None if unknown."""
    if part is None:
        return None
    if isinstance(part, Labels) and (part.source == here.source or part.given and here.given):
        return np.isin(here.sample_ids, part.sample_ids)
    if isinstance(part, Recorded) and part.keys is not None and here.given:
        return np.isin(here.keys, np.frombuffer(part.keys, KEY))
    same = part.digest is not None and part.digest == here.digest
    return np.ones(len(here), bool) if same else None


def kept_confidences(part: Labels | Recorded | None, models: Iterable[str]) -> Array | None:
    """Return numbers that models computed for at most MOST_CONTENTS random samples of a set.

    The shape is [columns, rows]. None if they are not available.
    """
    names = set(models)
    rows = 0 if part is None else min(len(part), MOST_CONTENTS)
    if isinstance(part, Recorded):
        if part.confidences is None or set(part.models) != names:
            return None
        return np.frombuffer(part.confidences, CONFIDENCE).reshape(-1, rows)
    columns = None if part is None or part.contents is None else part.contents.columns(names)
    if columns is None or columns.shape[1] == rows:
        return columns
    return columns[:, np.random.default_rng(0).choice(columns.shape[1], rows, replace=False)]


def ids_could_meet(part: Labels | Recorded | None, here: Labels) -> bool:
    """Return whether ids can show that two splits share samples.

    Both splits must have ids of a common form. Ids such as a_1 and b_1 name samples within a split,
    so no two of them are ever equal.
    """
    if isinstance(part, Labels) and part.source == here.source:
        return True
    has_ids = isinstance(part, Labels) and part.given or getattr(part, "keys", None) is not None
    if part is None or not has_ids or not here.given:
        return False
    forms = forms_of(part.sample_ids) if isinstance(part, Labels) else part.forms or b""
    here_forms = np.frombuffer(forms_of(here.sample_ids), KEY)
    return bool(np.isin(here_forms, np.frombuffer(forms, KEY)).any())


def recorded(part: Labels | Recorded, models: tuple[str, ...]) -> Recorded:
    """Return one set of samples as the file of a cascade of some models stores it."""
    numbers = kept_confidences(part, models)
    confidences = None if numbers is None else numbers.tobytes()
    if isinstance(part, Recorded):
        contents = part.contents if set(part.models) == set(models) else None
        return replace(part, contents=contents, models=models, confidences=confidences)
    digests = None if part.contents is None else part.contents.of(models)
    return Recorded(
        part.dataset,
        part.split,
        len(part),
        part.digest,
        keys=b"".join(sorted({*part.keys.tolist()})) if part.given else None,
        contents=(
            None if digests is None else np.sort(kept_in_file(digests, len(digests))).tobytes()
        ),
        models=models,
        confidences=confidences,
        forms=forms_of(part.sample_ids) if part.given else None,
    )


def comparable_contents(
    part: Labels | Recorded | None, here: Labels, models: Iterable[str]
) -> tuple[Array, Array] | None:
    """Return digests of the samples of two sets, which are equal if all compared answers are.

    The answers are those of the ``models`` that both sets have. A part of a file is compared by the
    models of that file. None if nothing can be compared.
    """
    if part is None or part.contents is None or here.contents is None:
        return None
    if isinstance(part, Recorded):
        digests = here.contents.of(part.models)
        known_digests = np.frombuffer(part.contents, CONTENT)
        return None if digests is None else (known_digests, kept_in_file(digests, len(part)))
    both = set(models) & set(part.contents.models) & set(here.contents.models)
    seen = part.contents.of(both)
    digests = here.contents.of(both)
    return None if not both or seen is None or digests is None else (seen, digests)


def labels_of(source: Any) -> Labels:
    """Return the :class:`Labels` of a data set, read from its attributes of the same names."""
    return Labels.checked(
        source.labels, source.sample_ids, source.classes, source.dataset, source.split
    )
