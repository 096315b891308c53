"""Tables of scores, long or wide, as arrays [models, samples]: what :meth:`ScoreTable.from_frame`
reads."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from pandas.api.types import infer_dtype, is_complex_dtype, is_numeric_dtype

from ..checks import about, brief, known
from .table_files import read_table

MISSING = -1  # the code of a cell that is empty
EXACT_IN_FLOATS = 2**53  # above it a float no longer tells whole numbers apart
LARGEST_TEXT = 2**33  # bytes of one array of text, in which every cell is as wide as the longest
SPARSE = 64  # cells per row of the table, above which sample= and model= must be mistaken
TEXT_ROLES = ("sample", "model", "label", "prediction")
NUMBERS = ("integer", "floating", "mixed-integer-float")  # what pandas calls columns of objects
UNREADABLE = (
    ValueError,
    OverflowError,
    NotImplementedError,
)  # what a cell raises that is no number
KINDS = {
    "string": "text",
    "integer": "numbers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "boolean": "truth values",
    "empty": "nothing",
}


@dataclass(frozen=True)
class Coded:
    """A column of text as codes int64 [rows] into its distinct texts (:data:`MISSING`: an empty
    cell)."""

    codes: np.ndarray
    texts: list[str]
    kind: str

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The text of ``rows`` (an index or a mask), "" where it is missing."""
        return np.array([*self.texts, ""], dtype=str)[self.codes[rows]]


@dataclass(frozen=True)
class Cells:
    """Where rows of a long table lie in an array [models, samples].

    ``kept``: codes of the samples, of all in the table; ``rows``: those that count; ``model``,
    ``sample``: the place of each.
    """

    models: list[str]
    samples: list[str]
    kept: np.ndarray
    rows: np.ndarray
    model: np.ndarray
    sample: np.ndarray

    def grid(self, values: np.ndarray, empty: Any) -> np.ndarray:
        """Values [rows] as [models, samples], ``empty`` where there is no row."""
        full = np.full((len(self.models), len(self.samples)), empty, values.dtype)
        full[self.model, self.sample] = values[self.rows]
        return full


def scores_of(
    frame: pd.DataFrame,
    roles: Mapping[str, str],
    cost: str | Mapping[str, float],
    missing: str,
    models: Iterable[str] | None,
) -> dict[str, Any]:
    """Arguments of a :class:`ScoreTable`, as :meth:`ScoreTable.from_frame` documents them.

    ``roles``: {"sample", "model", "label" … or "column <name>": the frame's column, or a template
    of columns}.
    """
    priced = isinstance(cost, Mapping)
    asked = dict(roles) if priced else {**roles, "cost": str(cost)}
    columns = columns_of(frame, asked, models)
    text = {role: coded(columns[role]) for role in TEXT_ROLES if role in columns}
    numbers = {}
    for role, found in columns.items():
        if role not in TEXT_ROLES:
            words = role == "correct" or role.startswith("column ")
            numbers[role] = np.concatenate([as_numbers(part, words) for part in found])
    return _arguments(text, numbers, asked, cost, missing)


def _arguments(
    text: dict[str, Coded],
    numbers: dict[str, np.ndarray],
    roles: Mapping[str, str],
    cost: str | Mapping[str, float],
    missing: str,
) -> dict[str, Any]:
    """The arrays of a :class:`ScoreTable` from its columns [rows], by role."""
    if "label" in text and (text["label"].codes == MISSING).all():
        del text["label"]
    if "correct" in numbers and np.isnan(numbers["correct"]).all():
        del numbers["correct"]
    _refuse_mixed_kinds(text)
    refuse_repeats(text["sample"], text["model"])
    labels = labels_by_sample(text) if "label" in text else None
    cells = placed(text, numbers, labels, missing)

    confidence = numbers.get("confidence", np.full(len(text["sample"].codes), np.nan))
    given: dict[str, Any] = {
        "correct": None,
        "confidence": cells.grid(confidence, np.nan),
        "names": cells.models,
        "sample_ids": np.array(cells.samples, dtype=str),
        "columns": {
            roles[role]: cells.grid(values, np.nan)
            for role, values in numbers.items()
            if role.startswith("column ")
        },
    }
    if "prediction" in text:
        given["predictions"] = cells.grid(text["prediction"][:], "")
    if labels is not None:
        given["labels"] = labels[cells.kept]
        _refuse_other_spelling(text, given)
    if "correct" in numbers:
        given["correct"] = as_correctness(cells.grid(numbers["correct"], 0.0))
    if isinstance(cost, Mapping):
        given["cost"] = listed_prices(cost, cells.models)
    else:
        given["cost"] = prices_of(cells, numbers, text)
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
                "other libraries "
                "need narwhals: pip install narwhals"
            ) from None
        source = narwhals.from_native(source).lazy().collect().to_pandas()
    if not len(source):
        raise ValueError("the table has no rows: one row per sample and model is needed")
    return source.reset_index(drop=True)


def columns_of(
    frame: pd.DataFrame, roles: Mapping[str, str], models: Iterable[str] | None
) -> dict[str, list[pd.Series]]:
    """{role: the columns that hold it, one after another in the rows of a long table}; in a wide
    one, one per model."""
    if isinstance(models, str):
        models = [models]
    wanted = None if models is None else list(models)
    templates = [name for name in roles.values() if "{}" in name]
    if not templates:
        there = {
            role: [_column(frame, name)]
            for role, name in roles.items()
            if _is_there(role, name, frame)
        }
        return there if wanted is None else _of_models(there, wanted)

    if wanted is None:
        wanted = models_named(frame, templates[0])
    columns: dict[str, list[pd.Series]] = {role: [] for role in roles}
    for model in wanted:
        for role, template in roles.items():
            if role == "model":
                part = pd.Series([model], dtype=object).repeat(len(frame))
            elif _is_there(role, name := template.replace("{}", model), frame, wide=True):
                with about(f"model {model!r} (models=[…] says which columns are those of models)"):
                    part = _column(frame, name)
            else:
                part = pd.Series(np.nan, frame.index)
            columns[role].append(part)
    return columns


def _is_there(role: str, name: str, frame: pd.DataFrame, wide: bool = False) -> bool:
    """Whether a role has its column; only a confidence may lack one, of the usual name or of a
    model."""
    optional = role == "confidence" and (wide or name == "confidence")
    return not optional or name in frame.columns


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


def _of_models(
    columns: dict[str, list[pd.Series]], wanted: list[str]
) -> dict[str, list[pd.Series]]:
    """The rows of a long table that belong to the models asked for, one model after another."""
    models = coded(columns["model"])
    parts: list[np.ndarray] = []
    for name in wanted:
        code = models.texts.index(known(name, models.texts, "model"))
        parts.append(np.flatnonzero(models.codes == code))
    rows = np.concatenate(parts)
    return {role: [column.iloc[rows] for column in found] for role, found in columns.items()}


def coded(parts: list[pd.Series]) -> Coded:
    """Columns of ids, models, labels or predictions, one below the other, as codes in order of
    first appearance.

    Text stays as it is. Numbers must be whole, and are written alike whatever their dtype: pandas
    makes floats of whole numbers beside a missing one. ValueError, by the column's name, for a
    mixture of text and numbers.
    """
    name = str(parts[0].name)
    column = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    # Of objects all are looked at, and before they are told apart: True equals 1, and lists have no
    # hash.
    kind = infer_dtype(column, skipna=True) if column.dtype == object else ""
    if kind and kind not in KINDS:
        raise ValueError(_mixed(name, kind))
    codes, found = pd.factorize(column)
    if isinstance(found.dtype, pd.CategoricalDtype):
        found = found.astype(found.categories.dtype)
    kind = kind or infer_dtype(found, skipna=True)
    if kind not in KINDS:
        raise ValueError(_mixed(name, kind))
    values = found.tolist()
    if KINDS[kind] == "numbers":
        values = [whole_number(value, name) for value in values]
    texts = [str(value) for value in values]
    if any("\x00" in text for text in texts):
        raise ValueError(f"column {name!r} holds a NUL character, which no text has")
    if 4 * len(column) * max(map(len, texts), default=0) > LARGEST_TEXT:
        raise ValueError(f"column {name!r} holds texts too long for ids or classes: give codes")
    if "" in texts:
        codes = np.where(codes == texts.index(""), MISSING, codes)
    return Coded(codes, texts, KINDS[kind] if texts else "nothing")


def _mixed(name: str, kind: str) -> str:
    """What to say of a column that is neither text nor whole numbers."""
    return (
        f"column {name!r} holds {kind} values; ids, models, labels and predictions must be all "
        "text or all whole "
        "numbers: read the file by its path, or with dtype=str"
    )


def whole_number(value: Any, name: str) -> int:
    """An integer, or a float that is one; ValueError for any other, by the column's name."""
    if abs(value) > EXACT_IN_FLOATS and isinstance(value, float):
        raise ValueError(f"column {name!r} holds {value!r}, a float too large for an id: use text")
    if value != value // 1:
        raise ValueError(
            f"column {name!r} holds {value!r}, which is no whole number: give ids, labels and "
            "predictions as text"
        )
    return int(value)


def as_numbers(column: pd.Series, words: bool) -> np.ndarray:
    """A column of numbers, or of text that states them, as float64 [rows]; nan where a cell is
    missing or empty.

    ``words``: "true" and "false" are 1 and 0. ValueError names the column, the row and the cell
    that is no number.
    """
    if is_numeric_dtype(column.dtype) and not is_complex_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    try:
        if column.dtype == object and infer_dtype(column, skipna=True) in NUMBERS:
            return column.to_numpy(np.float64, na_value=np.nan)
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.cat.remove_unused_categories()
            of_category = _parsed(column.cat.categories, words)
            return np.append(of_category, np.nan)[column.cat.codes]
        return _parsed(column, words)
    except UNREADABLE:
        row, cell = _first_unreadable(column, words)
        raise ValueError(
            f"column {column.name!r}, row {row}: {brief(cell)} is no number, and this column must "
            "hold numbers: of "
            "categories make a column of 0 and 1 for each"
        ) from None


def _parsed(cells: Any, words: bool) -> np.ndarray:
    """Cells as float64, exactly as they are written; pyarrow.ArrowInvalid (a ValueError) for one
    that is no number."""
    if not isinstance(cells.dtype, pd.StringDtype | pd.ArrowDtype):
        cells = pd.Series(cells).map(str, na_action="ignore")
    text = pa.array(cells, from_pandas=True).cast(pa.large_string())
    text = pa.compute.utf8_trim_whitespace(text)
    text = pa.compute.if_else(pa.compute.equal(text, ""), None, text)
    if words:
        lower = pa.compute.utf8_lower(text)
        text = pa.compute.if_else(pa.compute.equal(lower, "true"), "1", text)
        text = pa.compute.if_else(pa.compute.equal(lower, "false"), "0", text)
    return np.array(text.cast(pa.float64()), dtype=np.float64)


def _first_unreadable(column: pd.Series, words: bool) -> tuple[Any, Any]:
    """(row, cell) of the first cell that is no number."""
    for row, cell in column.items():
        try:
            _parsed(pd.Series([cell], dtype=object), words)
        except UNREADABLE:
            return row, cell
    raise ValueError(f"column {column.name!r} can't be read as numbers")


def _refuse_mixed_kinds(text: dict[str, Coded]) -> None:
    """ValueError where labels are text and predictions numbers, or the other way round: 01 and 1
    would be two classes."""
    kinds = {role: text[role].kind for role in ("label", "prediction") if role in text}
    held = set(kinds.values()) - {"nothing"}
    if len(held) > 1:
        raise ValueError(
            f"the labels are {kinds['label']} and the predictions {kinds['prediction']}: give both "
            "as text, or both as "
            "whole numbers (a CSV file by its path, or read with dtype=str)"
        )


def refuse_repeats(sample: Coded, model: Coded) -> None:
    """ValueError for a row without sample or model, and for rows that have both in common."""
    for role, column in (("sample", sample), ("model", model)):
        empty = column.codes == MISSING
        if empty.any():
            raise ValueError(f"the {role} of row {np.argmax(empty)} is missing")
    places = sample.codes * len(model.texts) + model.codes
    repeated = pd.Series(places).duplicated().to_numpy()
    if repeated.any():
        row = np.argmax(repeated)
        raise ValueError(
            f"{repeated.sum()} rows repeat a sample and model, first sample "
            f"{sample.texts[sample.codes[row]]!r}, "
            f"model {model.texts[model.codes[row]]!r}"
        )


def labels_by_sample(text: dict[str, Coded]) -> np.ndarray:
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
    return np.array([*label.texts, ""], dtype=str)[code_of]


def placed(
    text: dict[str, Coded],
    numbers: dict[str, np.ndarray],
    labels: np.ndarray | None,
    missing: str,
) -> Cells:
    """The rows that count, samples and models in the order in which they first come.

    Rows without label or correctness count as missing. They are refused, or their samples dropped,
    or filled as abstentions, as ``missing`` says.
    """
    sample = text["sample"]
    model = text["model"]
    counts = np.ones(len(sample.codes), bool)
    if labels is not None:
        counts &= (labels != "")[sample.codes]
    if "correct" in numbers:
        counts &= ~np.isnan(numbers["correct"])
    rows = np.flatnonzero(counts)
    absent = len(sample.texts) * len(model.texts) - len(rows)
    if absent and missing == "refuse":
        raise ValueError(_absent(sample, model, rows, absent))
    if absent and missing == "abstain" and absent > SPARSE * len(counts):
        raise ValueError(
            f"only {len(rows)} of {len(rows) + absent} rows are there: do sample= and model= name "
            "the right columns?"
        )
    present = np.ones(len(sample.texts), bool)
    if missing == "drop":
        present = np.bincount(sample.codes[rows], minlength=len(present)) == len(model.texts)
    if not present.any():
        raise ValueError(
            f"missing='drop' leaves no sample: none has a row of each of the {len(model.texts)} "
            "models; models=[…] "
            "chooses fewer"
        )
    rows = rows[present[sample.codes[rows]]]
    kept = np.flatnonzero(present)
    return Cells(
        models=model.texts,
        samples=[sample.texts[code] for code in kept],
        kept=kept,
        rows=rows,
        model=model.codes[rows],
        sample=(np.cumsum(present) - 1)[sample.codes[rows]],
    )


def _absent(sample: Coded, model: Coded, rows: np.ndarray, absent: int) -> str:
    """What to say of rows that are missing: how many, the first, and what can be done."""
    places = np.sort(sample.codes[rows] * len(model.texts) + model.codes[rows])
    gaps = places != np.arange(len(places))
    first = int(np.argmax(gaps)) if gaps.any() else len(places)
    row, column = divmod(first, len(model.texts))
    return (
        f"{absent} of {absent + len(rows)} rows, their labels or correctness are missing, first "
        "sample "
        f"{sample.texts[row]!r}, model {model.texts[column]!r}: missing='drop' leaves out such "
        "samples, 'abstain' has "
        "them as abstentions"
    )


def _refuse_other_spelling(text: dict[str, Coded], given: dict[str, Any]) -> None:
    """ValueError where no prediction of any model is one of the labels."""
    if "prediction" not in text:
        return
    in_common = set(text["label"].texts) & set(text["prediction"].texts)
    if in_common - {""}:
        return
    raise ValueError(
        f"no label is among the predictions (the first are {str(given['labels'][0])!r}, "
        f"{str(given['predictions'][0, 0])!r}): write both alike"
    )


def as_correctness(values: np.ndarray) -> np.ndarray:
    """Correctness as bool where all of it is 0 or 1, else the grades as they are."""
    binary = (values == 0) | (values == 1)
    return values.astype(bool) if binary.all() else values


def listed_prices(cost: Mapping[str, float], models: list[str]) -> list[float]:
    """The prices of the models, in their order; ValueError for a model without, and for a price of
    no model."""
    for name in cost:
        known(name, models, "model of the table, in cost")
    return [cost[known(name, cost, "model in cost")] for name in models]


def prices_of(cells: Cells, numbers: dict[str, np.ndarray], text: dict[str, Coded]) -> np.ndarray:
    """Prices [models, samples], or [models] where no model has two; the usual one of the model
    where a row is missing."""
    stated = np.zeros(len(text["sample"].codes), bool)
    for values in numbers.values():
        stated |= ~np.isnan(values)
    for role in ("label", "prediction"):
        if role in text:
            stated |= text[role].codes != MISSING
    prices = cells.grid(numbers["cost"], np.nan)
    there = cells.grid(stated, False)
    for row, own in zip(prices, there, strict=True):
        if not np.isnan(row).all():
            row[~own] = np.nanmedian(row)
    differing = prices != prices[:, :1]
    return prices if differing.any() else prices[:, 0]
