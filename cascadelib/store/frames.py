"""Tables of scores, long or wide, as arrays [models, samples]: what :meth:`ScoreTable.from_frame`
reads."""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy import ndarray as Array
from pandas.api.types import is_complex_dtype, is_numeric_dtype

from ..checks import about, brief, items_of, known
from .table_files import read_table

MISSING = -1  # the code of a cell that is empty
EXACT_IN_FLOATS = 2**53  # above it a float no longer tells whole numbers apart
LARGEST_TEXT = 2**33  # bytes of one array of text, in which every cell is as wide as the longest
SPARSE = 64  # cells per row of the table, above which sample= and model= must be mistaken
TEXT_ROLES = ("sample", "model", "label", "prediction")
KINDS: dict[type, str] = {str: "text", int: "numbers", float: "numbers", bool: "truth values"}
NOTHING = "nothing"  # the kind of a column whose cells are all empty
# What pyarrow raises for cells that it can't read as one kind, or not as numbers.
UNREADABLE = (pa.ArrowException, ValueError, TypeError, OverflowError)


@dataclass(frozen=True)
class Coded:
    """A column of text as codes int64 [rows] into its distinct texts (:data:`MISSING`: an empty
    cell), and the kind of its cells before they were text."""

    codes: Array
    texts: list[str]
    kind: str

    def text(self, codes: Array) -> Array:
        """The text of some codes, of any shape, "" for what is missing."""
        return np.array([*self.texts, ""], dtype=str)[codes]


def scores_of(
    frame: pd.DataFrame,
    roles: Mapping[str, str],
    cost: str | Mapping[str, float],
    missing: str,
    models: Iterable[str] | None,
) -> dict[str, Any]:
    """Arguments of a :class:`ScoreTable`, as :meth:`ScoreTable.from_frame` documents them.

    ``roles``: {"sample", "model", "label" …, "column <name>" or, of text, "category <name>": the
    frame's column, or a template of columns}.
    """
    text = {}
    numbers = {}
    columns = columns_of(frame, roles, models)
    rows = len(columns["model"][0])
    for role, parts in columns.items():
        repeats = rows // sum(map(len, parts))  # of what is the same for all models
        if role in TEXT_ROLES or role.startswith("category "):
            found = coded(parts)
            if found.texts or role != "label":
                text[role] = replace(found, codes=np.tile(found.codes, repeats))
            continue
        words = role == "correct" or role.startswith("column ")
        values = np.concatenate([parsed_numbers(part, words) for part in parts])
        if role != "correct" or not np.isnan(values).all():
            numbers[role] = np.tile(values, repeats)
    given = _arguments(text, numbers, roles, missing)
    if isinstance(cost, Mapping):
        given["cost"] = listed_prices(cost, given["names"])
    return given


def listed_prices(cost: Mapping[str, float], models: list[str]) -> list[float]:
    """The prices of the models, in their order; ValueError for a model without, and for a price of
    no model."""
    for name in cost:
        known(name, models, "model of the table, in cost")
    return [cost[known(name, cost, "model in cost")] for name in models]


def _arguments(
    text: dict[str, Coded],
    numbers: dict[str, Array],
    roles: Mapping[str, str],
    missing: str,
) -> dict[str, Any]:
    """The arrays of a :class:`ScoreTable` from its columns [rows], by role."""
    sample = text["sample"]
    model = text["model"]
    _refuse_mixed_kinds(text)
    refuse_repeats(sample, model)
    counts = np.ones(len(sample.codes), bool)  # rows without label or correctness are missing
    if "label" in text:
        labels = labels_by_sample(text)
        counts &= (labels != "")[sample.codes]
    if "correct" in numbers:
        counts &= ~np.isnan(numbers["correct"])
    place = (model.codes[counts], sample.codes[counts])
    there = np.zeros((len(model.texts), len(sample.texts)), bool)
    there[place] = True
    kept = kept_samples(there, missing, sample, model)

    def grid(values: Array, empty: Any = np.nan) -> Array:
        """Values [rows] as [models, samples that stay], ``empty`` where there is no row."""
        full = np.full(there.shape, empty, values.dtype)
        full[place] = values[counts]
        return full[:, kept]

    def read(role: str) -> Array:
        """Text or numbers in that form."""
        if role in text:
            return text[role].text(grid(text[role].codes, MISSING))
        return grid(numbers[role])

    given: dict[str, Any] = {
        "correct": None,
        "confidence": read("confidence"),
        "names": model.texts,
        "sample_ids": sample.text(kept),
        "columns": {name: read(role) for role, name in roles.items() if " " in role},
    }
    if "prediction" in text:
        given["predictions"] = read("prediction")
    if "label" in text:
        given["labels"] = labels[kept]
    if "correct" in numbers:
        correct = grid(numbers["correct"], 0.0)
        is_graded = ((correct != 0) & (correct != 1)).any()
        given["correct"] = correct if is_graded else correct.astype(bool)
    _refuse_contradiction(given)
    if "cost" in numbers:
        stated = [~np.isnan(values) for values in numbers.values()]
        stated += [text[role].codes != MISSING for role in text.keys() & {"label", "prediction"}]
        given["cost"] = prices_of(read("cost"), grid(np.any(stated, axis=0), False))
    return given


def frame_of(source: Any, largest: int) -> pd.DataFrame:
    """A DataFrame as it is, a file's (:func:`read_table`), or any other frame through narwhals;
    rows numbered from 0.

    TypeError for what is none of these, ValueError for one without rows.
    """
    if isinstance(source, str | os.PathLike):
        return read_table(source, largest)
    if not isinstance(source, pd.DataFrame):
        try:
            import narwhals
        except ImportError:
            raise TypeError(
                f"a pandas DataFrame or a path is needed, not a {type(source).__name__}; frames of "
                "other libraries need narwhals: pip install narwhals"
            ) from None
        table = narwhals.from_native(source).lazy().collect().to_arrow()
        source = table.to_pandas(types_mapper=pd.ArrowDtype)
    if not len(source):
        raise ValueError("the table has no rows: one row per sample and model is needed")
    return source.reset_index(drop=True)


def columns_of(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str] | None
) -> dict[str, list[pd.Series]]:
    """{role: the columns that hold it, one below the other in the rows of a long table}: one, or of
    a wide table one per model, where the role has a template."""
    wanted = [] if models is None else items_of(models)
    if models is not None and not wanted:
        raise ValueError("models=[] names no model; leave it out to take all")
    template = next((name for name in roles.values() if "{}" in name), None)
    columns: dict[str, list[pd.Series]] = {}
    if template:
        wanted = wanted or models_named(frame, template)
        names = pd.Categorical(wanted, wanted)
        columns["model"] = [pd.Series(names.repeat(len(frame)))]
    elif wanted:
        frame = frame.iloc[_rows_of(coded([_column(frame, roles["model"])]), wanted)]
    if roles.get("confidence") == "confidence":
        _refuse_near(frame, "confidence", set(roles.values()))
    for role in [role for role in roles if role not in columns]:
        columns[role] = _columns_named(frame, roles[role], wanted, role == "confidence")
    columns.setdefault("confidence", [pd.Series(np.nan, frame.index)])
    return columns


def _rows_of(models: Coded, wanted: list[str]) -> Array:
    """The rows of the models asked for, one model after another."""
    codes = [models.texts.index(known(name, models.texts, "model")) for name in wanted]
    return np.concatenate([np.flatnonzero(models.codes == code) for code in codes])


def _columns_named(
    frame: pd.DataFrame,
    name: str,
    models: list[str],
    is_confidence: bool,
) -> list[pd.Series]:
    """The column of a name, or one per model where it is a template. Of confidences the usual
    column may be left out, and those of some models, for which nan stands; a template that names
    none is mistaken."""
    names = {"": name}
    if "{}" in name:
        names = {model: name.replace("{}", model) for model in models}
        if is_confidence and not frame.columns.isin([*names.values()]).any():
            raise ValueError(
                f"confidence={name!r} names no column of any of the {len(models)} models: the "
                f"columns are {brief(list(frame.columns))}; confidence=None reads none"
            )
    optional = is_confidence and ("{}" in name or name == "confidence")
    found = []
    for model, column in names.items():
        if optional and column not in frame.columns:
            found.append(pd.Series(np.nan, frame.index))
            continue
        where = f"model {model!r} (models=[…] says which columns are those of models)"
        with about(where) if model else contextlib.nullcontext():
            found.append(_column(frame, column))
    return found


def _refuse_near(frame: pd.DataFrame, name: str, used: set[str]) -> None:
    """ValueError where there is no column of the usual ``name``, but one that nobody asked for and
    that is written nearly so."""
    if name in frame.columns:
        return
    spare = {str(column).casefold().strip(): column for column in frame.columns}
    spare = {written: column for written, column in spare.items() if column not in used}
    near = [spare[written] for written in get_close_matches(name, spare, n=3, cutoff=0.7)]
    if near:
        raise ValueError(
            f"no column is called {name!r}, but there is {', '.join(map(repr, near))}: name the "
            "column with confidence=, or say confidence=None where there is none"
        )


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    """The one column of a name; ValueError where there is none, or several."""
    found = frame[known(name, frame.columns, "column")]
    if not isinstance(found, pd.Series):
        raise ValueError(f"{found.shape[1]} columns are called {name!r}: rename all but one")
    return found


def models_named(frame: pd.DataFrame, template: str) -> list[str]:
    """What stands in the place of {} in the names of a frame's columns."""
    before, *after = map(re.escape, template.split("{}"))
    pattern = f"{before}(?P<model>.+){'(?P=model)'.join(after)}"
    matches = [re.fullmatch(pattern, str(name), re.DOTALL) for name in frame.columns]
    models = [match["model"] for match in matches if match]
    if not models:
        raise ValueError(f"no column is named like {template!r}")
    return models


def coded(parts: list[pd.Series]) -> Coded:
    """Columns of ids, models, labels or predictions, one below the other, as codes in order of
    first appearance.

    Text stays as it is. Numbers must be whole, and are written alike whatever their dtype: pandas
    makes floats of whole numbers beside a missing one. ValueError, by the column's name, for a
    mixture of text and numbers.
    """
    name = parts[0].name
    found = [distinct_texts(part) for part in parts]
    kinds = {kind for _, texts, kind in found if texts}
    if len(kinds) > 1:
        raise ValueError(_mixed(name, f"holds {' and '.join(sorted(kinds))}"))
    code_of = {"": MISSING}
    for _, texts, _ in found:
        for text in texts:
            code_of.setdefault(text, len(code_of) - 1)
    codes = [np.array([*map(code_of.get, texts), MISSING])[own] for own, texts, _ in found]
    texts = list(code_of)[1:]
    if "\x00" in "".join(texts):
        raise ValueError(f"column {name!r} holds a NUL character, which no text has")
    if 4 * sum(map(len, parts)) * max(map(len, texts), default=0) > LARGEST_TEXT:
        raise ValueError(f"column {name!r} holds texts too long for ids or classes: give codes")
    return Coded(np.concatenate(codes), texts, next(iter(kinds), NOTHING))


def distinct_texts(column: pd.Series) -> tuple[Array, list[str], str]:
    """(codes [rows], the distinct cells as text, their kind) of one column."""
    name = column.name
    try:
        codes, distinct = _distinct(_cells(column))
    except UNREADABLE as error:
        raise ValueError(_mixed(name, f"can't be read ({error!s:.100})")) from None
    values = distinct.to_pylist()
    kind = type(next(iter(values), ""))
    if kind not in KINDS:
        raise ValueError(_mixed(name, f"holds {kind.__name__}"))
    if KINDS[kind] == "numbers":
        values = [whole_number(value, name) for value in values]
    return codes, list(map(str, values)), KINDS[kind]


def _mixed(name: Any, what: str) -> str:
    """What to say of a column that is neither text nor whole numbers."""
    return (
        f"column {name!r} {what}; ids, models, labels and predictions must be all text or all "
        "whole numbers: read the file by its path, or with dtype=str"
    )


def _cells(column: pd.Series) -> pa.ChunkedArray:
    """A column as Arrow has it, missing cells as null; one of :data:`UNREADABLE` for a mixture."""
    return pa.Table.from_pandas(column.to_frame("cells"), preserve_index=False).column(0)


def _distinct(cells: pa.ChunkedArray) -> tuple[Array, pa.Array]:
    """(codes [rows], distinct values in order of first appearance); :data:`MISSING` for null."""
    encoded = cells.unify_dictionaries().combine_chunks().dictionary_encode()
    # Dictionaries that came with the table have another order, and values that no cell has.
    used = encoded.indices.dictionary_encode()
    codes = used.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
    return codes, encoded.dictionary.take(used.dictionary)


def whole_number(value: Any, name: Any) -> int:
    """An integer, or a float that is one; ValueError for any other, by the column's name."""
    if abs(value) > EXACT_IN_FLOATS and isinstance(value, float):
        raise ValueError(f"column {name!r} holds {value!r}, a float too large for an id: use text")
    if value != value // 1:
        raise ValueError(
            f"column {name!r} holds {value!r}, which is no whole number: give ids, labels and "
            "predictions as text"
        )
    return int(value)


def parsed_numbers(column: pd.Series, words: bool) -> Array:
    """A column of numbers, or of text that states them, as float64 [rows]; nan where a cell is
    missing or empty.

    ``words``: "true" and "false" are 1 and 0. ValueError names the column, the row and the cell
    that is no number.
    """
    try:
        return _read(column, words)
    except UNREADABLE:
        left = column
    # Halve what is left of it until the first cell that is no number is alone.
    while len(left) > 1:
        half = len(left) // 2
        try:
            _read(left.iloc[:half], words)
            left = left.iloc[half:]
        except UNREADABLE:
            left = left.iloc[:half]
    raise ValueError(
        f"column {column.name!r}, row {left.index[0]}: {brief(left.iloc[0])} is no number, and "
        "this column must hold numbers: of categories make a column of 0 and 1 for each"
    )


def _read(column: pd.Series, words: bool) -> Array:
    """Cells as float64, exactly as they are written; one of :data:`UNREADABLE` for one that is no
    number."""
    if is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    try:
        cells = _cells(column)
    except UNREADABLE:  # text and numbers in one column
        cells = _cells(column.map(str, na_action="ignore"))
    if pa.types.is_dictionary(cells.type):
        codes, values = _distinct(cells)
        return np.append(_parsed(values, words), np.nan)[codes]
    return _parsed(cells, words)


def _parsed(cells: Any, words: bool) -> Array:
    """Arrow's numbers, or text that states them, as float64; TypeError for values that are only
    kept as numbers, such as periods of time."""
    if isinstance(cells.type, pa.BaseExtensionType):
        raise TypeError(f"{cells.type} is no kind of numbers")
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        cells = pa.compute.utf8_trim_whitespace(cells)
        cells = pa.compute.if_else(pa.compute.equal(cells, ""), None, cells)
        if words:
            lower = pa.compute.utf8_lower(cells)
            cells = pa.compute.if_else(pa.compute.equal(lower, "true"), "1", cells)
            cells = pa.compute.if_else(pa.compute.equal(lower, "false"), "0", cells)
    return np.array(cells.cast(pa.float64(), safe=False), dtype=np.float64)


def _refuse_mixed_kinds(text: dict[str, Coded]) -> None:
    """ValueError where labels are text and predictions numbers, or the other way round: 01 and 1
    would be two classes."""
    kinds = {role: text[role].kind for role in ("label", "prediction") if role in text}
    held = set(kinds.values()) - {NOTHING}
    if len(held) > 1:
        raise ValueError(
            f"the labels are {kinds['label']} and the predictions {kinds['prediction']}: give both "
            "as text, or both as whole numbers (a CSV file by its path, or read with dtype=str)"
        )


def refuse_repeats(sample: Coded, model: Coded) -> None:
    """ValueError for a row without sample or model, for rows that have both in common, and where
    nearly all pairs of both have no row."""
    for role, column in (("sample", sample), ("model", model)):
        empty = column.codes == MISSING
        if empty.any():
            raise ValueError(f"the {role} of row {np.argmax(empty)} is missing")
    places = np.sort(sample.codes * len(model.texts) + model.codes)
    repeated = places[1:][places[1:] == places[:-1]]
    if len(repeated):
        raise ValueError(
            f"{len(repeated)} rows repeat a sample and model, first "
            f"{_named(repeated[0], sample, model)}"
        )
    rows = len(places)
    total = len(sample.texts) * len(model.texts)
    if total > (SPARSE + 1) * rows:
        raise ValueError(
            f"only {rows} of {total} rows are there: do sample= and model= name the right columns? "
            "models=[…] chooses fewer models"
        )


def _named(place: int, sample: Coded, model: Coded) -> str:
    """A cell of the array [samples, models] in words."""
    row, column = divmod(place, len(model.texts))
    return f"sample {sample.texts[row]!r}, model {model.texts[column]!r}"


def labels_by_sample(text: dict[str, Coded]) -> Array:
    """The label of every sample as text, "" where no row has one; ValueError where rows state
    different ones."""
    sample = text["sample"]
    label = text["label"]
    stated = np.flatnonzero(label.codes != MISSING)
    code_of = np.full(len(sample.texts), MISSING)
    code_of[sample.codes[stated]] = label.codes[stated]
    differing = label.codes[stated] != code_of[sample.codes[stated]]
    if differing.any():
        row = stated[np.argmax(differing)]
        raise ValueError(f"sample {sample.texts[sample.codes[row]]!r} has more than one label")
    return label.text(code_of)


def kept_samples(there: Array, missing: str, sample: Coded, model: Coded) -> Array:
    """Codes of the samples that stay, given which rows are there, bool [models, samples]: where
    rows are missing, none (ValueError), those that have all, or all samples, as ``missing``
    says."""
    absent = np.flatnonzero(~there.T)
    if missing == "refuse" and len(absent):
        raise ValueError(
            f"{len(absent)} of {there.size} rows, their labels or correctness are missing, first "
            f"{_named(absent[0], sample, model)}: missing='drop' leaves out such samples, "
            "'abstain' has them as abstentions"
        )
    if missing == "abstain":
        return np.arange(there.shape[1])
    complete = np.flatnonzero(there.all(axis=0))
    if not len(complete):
        raise ValueError(
            f"missing='drop' leaves no sample: none has a row of each of the {len(there)} "
            "models; models=[…] chooses fewer"
        )
    return complete


def refuse_other_spelling(labels: Array, predictions: Array) -> None:
    """ValueError where no prediction [M, k] of any model is one of the labels [k]."""
    if (predictions == labels).any():
        return
    if set(labels.tolist()).isdisjoint(predictions.ravel().tolist()):
        raise ValueError(
            f"no label is among the predictions (the first are {str(labels[0])!r}, "
            f"{str(predictions[0, 0])!r}): write both alike"
        )


def _refuse_contradiction(given: dict[str, Any]) -> None:
    """ValueError where predictions and labels are spelled differently, and where correctness is
    another than whether a prediction that is there is the label; grades may be."""
    if "labels" not in given or "predictions" not in given:
        return
    predictions = given["predictions"]
    refuse_other_spelling(given["labels"], predictions)
    correct = given["correct"]
    if correct is None or correct.dtype != bool:
        return
    differing = (correct != (predictions == given["labels"])) & (predictions != "")
    if differing.any():
        model, sample = np.argwhere(differing)[0]
        raise ValueError(
            f"{np.count_nonzero(differing)} rows have a correctness that contradicts their label "
            f"and prediction, first sample {str(given['sample_ids'][sample])!r}, model "
            f"{given['names'][model]!r} (label {str(given['labels'][sample])!r}, prediction "
            f"{str(predictions[model, sample])!r}, correct {bool(correct[model, sample])}): leave "
            "out correct=, or label= and prediction="
        )


def prices_of(prices: Array, stated: Array) -> Array:
    """Prices [models, samples], or [models] where no model has two; the usual one of the model
    where nothing is stated."""
    for row, own in zip(prices, stated, strict=True):
        if not own.all() and not np.isnan(row).all():
            row[~own] = np.nanmedian(row)
    differing = prices != prices[:, :1]
    return prices if differing.any() else prices[:, 0]
