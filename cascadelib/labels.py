"""Read values of samples and models: aligned by id, as numbers, as text, or as labels."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from .checks import validate_choice

# Signs around an answer: spaces, quotes, Markdown, brackets, and punctuation after it.
BEFORE = " \t\r\n\u00a0\u200b\ufeff\"'`´“”„‘’‚«»‹›*_~#>([{"
AFTER = " \t\r\n\u00a0\u200b\ufeff\"'`´“”„‘’‚«»‹›*_~.,;:!?…。．，！？)]}"
WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,30})(\.0*)?")
BY_ID = (
    "give values by id (a dict, or a Series whose index is the ids), or, for values in the order "
    "of the store, an array (.to_numpy())"
)


def align_values(values: Any, what: str, *axes: Sequence | Array | None) -> Any:
    """Return values in the order of the ids of each axis.

    All values per sample or model are aligned by this rule. A mapping is read by its keys. A pandas
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
    >>> align_values({"b": 2, "a": 1}, "groups", ["a", "b"])
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
        return [align_values(item, what, *axes[1:]) for item in values]
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
    stored = "no ids" if ids is None else quote_examples(names)
    examples = f"{quote_examples(texts)} here, {stored} in the store"
    if is_default:
        raise ValueError(
            f"{what}: the default index can mean an order or ids ({examples}): {BY_ID}"
        )
    if ids is None:
        raise ValueError(
            f"{what}: an index needs sample_ids=, names= or classes= ({examples}): {BY_ID}"
        )
    if (rows < 0).any():
        raise ValueError(
            f"{what}: no value for {np.count_nonzero(rows < 0)} of {len(names)} ids, such as "
            f"{quote_examples(names[rows < 0])} ({examples}): {BY_ID}"
        )
    return rows


def texts_of_keys(keys: Any) -> Array:
    """Return the keys of a mapping, or the labels of a pandas index, as text."""
    return as_text(keys if hasattr(keys, "take") else np.fromiter(keys, object, len(keys)))


def check_distinct(keys: Array, what: str) -> None:
    """Raise ValueError if two keys, as text, are equal."""
    if len(set(keys.tolist())) < len(keys):
        unique, times = np.unique(keys, return_counts=True)
        raise ValueError(f"{what}: the index repeats {quote_examples(unique[times > 1])}: {BY_ID}")


def quote_examples(texts: Array) -> str:
    """Quote the first two texts for a message."""
    return " and ".join(repr(text) for text in texts[:2].tolist()) or "none"


def select_rows(indices: Any, count: int, sample_ids: Array | None = None) -> Array:
    """Return the int64 rows that indices, a bool mask [count] or a slice select, in their order.

    Rows may repeat, as in a bootstrap. A mask by sample id is aligned.

    Raises
    ------
    ValueError
        If a row is outside 0 … count − 1, a mask has another length, or no row is selected.
    """
    index = indices
    if not isinstance(indices, slice):
        index = read_index(indices, count, sample_ids)
    try:
        rows = np.arange(count)[index]
    except IndexError as error:
        raise ValueError(f"there are {count} samples: {error}") from None
    if not len(rows):
        raise ValueError("no sample is selected: a split must have at least one")
    return rows


def read_index(indices: Any, count: int, sample_ids: Array | None) -> Array:
    """Return indices or a mask as an array of int or bool, as :func:`select_rows` checks them."""
    kind = getattr(getattr(indices, "dtype", None), "kind", None)
    is_mask = isinstance(indices, Mapping) or kind == "b"
    if is_mask:
        indices = align_values(indices, "the mask", sample_ids)
    index = np.asarray(refuse_masked(indices, "indices"))
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


def refuse_masked(values: Any, what: str) -> Any:
    """Return `values` unchanged, or raise a ValueError if some are masked.

    NumPy would otherwise drop the mask, and the masked values would be used.
    """
    parts = values if isinstance(values, list | tuple) else [values]
    masked = [part for part in parts if isinstance(part, np.ma.MaskedArray)]
    hidden = sum(np.ma.count_masked(part) for part in masked)
    if hidden:
        raise ValueError(
            f"{what}: {hidden} values are masked. Remove those samples or fill the values"
        )
    return values


def as_real_array(values: Any, what: str) -> Array:
    """Return `values` as float64.

    Raises
    ------
    ValueError
        If values are masked, complex, text, or not an array of numbers.
    """
    try:
        array = np.asarray(refuse_masked(values, what))
        return array.astype(np.float64, casting="same_kind", copy=False)
    # NumPy raises these errors if it cannot convert the values to float64 without loss.
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} must be real numbers: {error}") from None


def check_costs(cost: Any) -> Array:
    """Return costs as float64, or raise a ValueError that names the first invalid model.

    A cost must be finite and not negative. 0 means free.
    """
    cost = np.atleast_1d(as_real_array(cost, "cost"))
    bad = np.flatnonzero(~(np.isfinite(cost) & (cost >= 0)).reshape(len(cost), -1).all(axis=1))
    if len(bad):
        raise ValueError(
            f"cost of model {bad[0]} is {cost[bad[0]]}: costs must be finite, and not negative"
        )
    return cost


def read_samples(
    labels: Any, sample_ids: Any, classes: Any, count: int = 0
) -> tuple[Array | None, Array, tuple[str, ...] | None]:
    """Return labels as int64 [k], ids as text [k], and the classes, from the input of a user.

    Labels are int [k] or text. Text is replaced by its position among the classes. Classes default
    to the sorted distinct texts. If labels are None, the number of samples is that of the ids, or
    `count`. Ids default to row numbers.

    Raises
    ------
    ValueError
        For the first fault.
    """
    classes = None if classes is None else tuple(str(c) for c in classes)
    if classes is not None and len(set(classes)) < len(classes):
        raise ValueError(f"class names repeat: {classes}")
    labels = align_values(labels, "labels", sample_ids)
    if labels is not None:
        labels, classes = parse_labels(labels, classes)
    count = count if sample_ids is None else len(sample_ids)
    count = count if labels is None else len(labels)
    if not count:
        raise ValueError("without labels, the number of samples is unknown. Pass sample_ids=")
    return labels, parse_ids(sample_ids, count), classes


def parse_labels(
    labels: Any, classes: tuple[str, ...] | None
) -> tuple[Array, tuple[str, ...] | None]:
    """Return labels as int64 [k], and the classes, as :func:`read_samples` does."""
    values = np.asarray(refuse_masked(labels, "labels"))
    if not values.size:
        raise ValueError("the split is empty: labels has no entries")
    listed = values.tolist()
    if all(isinstance(label, str) for label in listed):
        classes = classes or tuple(filter(None, sorted({*listed})))
        numbers = [classes.index(validate_choice(label, classes, "label")) for label in listed]
        values = np.array(numbers)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be integers, one per sample, not {values.dtype} of shape {values.shape}"
        )
    most = np.iinfo(np.int64).max if classes is None else len(classes) - 1
    outside = np.flatnonzero((values < 0) | (values > most))
    if len(outside):
        bound = "below 0" if classes is None else f"outside 0 … {most} ({most + 1} classes)"
        raise ValueError(
            f"label {values[outside[0]]} of sample {outside[0]} is {bound} "
            f"({len(outside)} such labels)"
        )
    return values.astype(np.int64), classes


def parse_ids(sample_ids: Any, count: int) -> Array:
    """Return distinct ids as text [k], by default the row numbers."""
    ids = as_text(range(count) if sample_ids is None else sample_ids)
    if ids.shape != (count,):
        raise ValueError(f"sample_ids has shape {ids.shape} for {count} labels")
    unique, times = np.unique(ids, return_counts=True)
    if len(unique) < count:
        raise ValueError(
            f"sample id {str(unique[times > 1][0])!r} occurs more than once. Ids must be distinct"
        )
    return ids


def as_text(values: Any) -> Array:
    """Return ids, labels or predictions as text, an array of str of the same shape.

    Whole floats are written as integers, since pandas stores integers as floats if one is missing.
    Missing values (None, nan) are written as "".
    """
    values = np.asarray(refuse_masked(values, "ids, labels or predictions"))
    if values.dtype.kind in "fO":
        written = [str(written_value(value)) for value in values.ravel().tolist()]
        values = np.array(written, str).reshape(values.shape)
    if values.dtype.kind in "iu" and values.size:  # numpy would reserve 21 characters for each
        width = max(len(str(end)) for end in (values.min(), values.max()))
        return values.astype(f"U{width}")
    return values.astype(str)


def normalize_text(text: str) -> str:
    """Return the form that all spellings of a text share.

    The form is Unicode NFKC without invisible format characters. Spaces are trimmed and collapsed,
    and case is folded. Whole numbers have no plus sign, leading zeros or decimals.

    Examples
    --------
    >>> normalize_text(" Yes "), normalize_text("３.0"), normalize_text("New  York")
    ('yes', '3', 'new york')
    """
    if not text.isascii():
        text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = " ".join(text.casefold().split())
    number = WHOLE_NUMBER.fullmatch(text)
    return str(int(number[1])) if number else text


def strip_marks(text: str) -> str:
    """Return a text without outer spaces, quotes, brackets, Markdown and final punctuation.

    Examples
    --------
    >>> strip_marks('**"Yes."**'), strip_marks("C++"), strip_marks("-1.5")
    ('Yes', 'C++', '-1.5')
    """
    return text.lstrip(BEFORE).rstrip(AFTER)


def fold(text: str) -> str:
    """Return a text without such marks, case and Unicode forms, and with plain whole numbers."""
    return normalize_text(strip_marks(normalize_text(text)))


def written_value(value: Any) -> Any:
    """Return a value whose ``str`` is the text of the input: "" if missing, 3 for 3.0."""
    if value is None or type(value).__name__ == "NAType" or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
