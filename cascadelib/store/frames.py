"""Tables of scores, long or wide, as arrays [models, samples]: what :meth:`ScoreTable.from_frame` reads."""

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..checks import about, known
from ..labels import as_text

PAIR = ["sample", "model"]
AS_TEXT: dict = {
    "keep_default_na": False,
    "na_values": [""],
}  # of a CSV file: only an empty cell is missing


def scores_of(frame: Any, roles: dict, cost: Any, missing: str) -> dict:
    """Arguments of a :class:`ScoreTable`. roles: {"sample", "model", "label" … or "column <name>": the frame's column};
    cost: its column, or {model: cost}; missing: as :meth:`ScoreTable.from_frame` takes it."""
    named = {} if isinstance(cost, Mapping) else {"cost": cost}
    full = complete(long_rows(frame_of(frame), roles | named), missing)
    samples, models = (full.index.unique(level).tolist() for level in PAIR)

    def grid(values):
        return np.reshape(values, (len(samples), len(models))).T

    def numbers(role):
        with about(f"column {roles.get(role, cost)!r}"):
            return grid(pd.to_numeric(full[role]).to_numpy(np.float64, na_value=np.nan))

    given = {"names": models, "sample_ids": samples, "correct": None}
    given["confidence"] = (
        numbers("confidence") if "confidence" in full else grid([np.nan] * len(full))
    )
    given["columns"] = {roles[role]: numbers(role) for role in full if role.startswith("column ")}
    if "prediction" in full:
        given["predictions"] = grid(full["prediction"].fillna("").to_numpy())
    if "label" in full:
        given["labels"] = full["label"].groupby("sample", sort=False).first().to_numpy()
        if "predictions" in given and not np.isin(given["labels"], given["predictions"]).any():
            alike = f"{given['labels'][0]!r}, {given['predictions'][0, 0]!r}"
            raise ValueError(
                f"no label is among the predictions (the first are {alike}): write both alike"
            )
    if "correct" in full:
        words = full["correct"].astype(str).str.lower().map({"true": 1, "false": 0})
        full["correct"] = full["correct"].astype(object).where(words.isna(), words)
        correct = np.nan_to_num(numbers("correct"))
        given["correct"] = correct.astype(bool) if np.isin(correct, (0, 1)).all() else correct
    if not named:
        for name in cost:
            known(name, models, "model of the table, in cost")
        return given | {"cost": [cost[known(name, cost, "model in cost")] for name in models]}
    prices, gone = numbers("cost"), grid(full.isna().all(axis=1).to_numpy())
    prices = np.where(gone, np.nanmedian(prices, axis=1, keepdims=True), prices)
    return given | {"cost": prices if (prices != prices[:, :1]).any() else prices[:, 0]}


def complete(rows, missing):
    """The rows of every (sample, model), in the order in which they first come, those that are missing filled with nan;
    ids, labels and predictions as text. Raises as :meth:`ScoreTable.from_frame`."""
    rows = rows.drop(
        columns=[role for role in ("label", "correct") if role in rows and rows[role].isna().all()]
    )
    for role in rows.columns.intersection([*PAIR, "label", "prediction"]):
        text = as_text(rows[role].astype(object).where(rows[role].notna(), None).to_numpy())
        rows[role] = pd.Series(text, rows.index, object).where(rows[role].notna())
    for role in PAIR:
        if (unknown := rows[role].isna()).any():
            raise ValueError(f"the {role} of row {np.argmax(unknown)} is missing")
    if (twice := rows.duplicated(PAIR)).any():
        first = rows.loc[twice, PAIR].to_numpy()[0]
        raise ValueError(
            f"{twice.sum()} rows repeat a sample and model, first sample {first[0]!r}, model {first[1]!r}"
        )
    if "label" in rows:
        labels = rows.groupby("sample", sort=False)["label"]
        if (count := labels.nunique()).max() > 1:
            raise ValueError(f"sample {count.idxmax()!r} has more than one label")
        rows["label"] = labels.transform("first")
    samples, models = (rows[role].unique() for role in PAIR)
    rows = rows.dropna(subset=rows.columns.intersection(["label", "correct"])).set_index(PAIR)
    absent = pd.MultiIndex.from_product([samples, models]).difference(rows.index, sort=False)
    if len(absent) and missing == "refuse":
        raise ValueError(
            f"{len(absent)} of {len(samples) * len(models)} rows, their labels or correctness are missing, first "
            f"sample {absent[0][0]!r}, model {absent[0][1]!r}: missing='drop' leaves out such samples, 'abstain' has "
            "them as abstentions"
        )
    if missing == "drop":
        samples = samples[~np.isin(samples, absent.get_level_values(0))]
    return rows.reindex(pd.MultiIndex.from_product([samples, models], names=PAIR))


def frame_of(source: Any) -> pd.DataFrame:
    """A DataFrame as it is, the parquet or CSV file at a path (where only an empty cell is missing), or any other
    frame through narwhals. TypeError for what is none of these."""
    if isinstance(source, pd.DataFrame):
        return source
    if isinstance(source, str | os.PathLike):
        read = (
            pd.read_parquet
            if Path(source).suffix in (".parquet", ".pq")
            else partial(pd.read_csv, **AS_TEXT)
        )
        try:
            table = read(source)
        except ValueError as error:
            raise ValueError(
                f"{source}: not a table in {Path(source).suffix or 'CSV'}: {error}"
            ) from None
        if not len(table):
            raise ValueError(f"{source}: a table without rows")
        return table
    try:
        import narwhals
    except ImportError:
        raise TypeError(
            f"a DataFrame of pandas or a path is needed; for a {type(source)} narwhals as well"
        ) from None
    return narwhals.from_native(source).lazy().collect().to_pandas()


def long_rows(frame, roles):
    """A row a (sample, model), with a column a role. Wide where names of columns hold {} in a model's place."""
    templates = [name for name in roles.values() if "{}" in name]
    if not templates:
        return pd.DataFrame(
            {role: frame[known(name, frame.columns, "column")] for role, name in roles.items()}
        )
    pattern = re.escape(templates[0]).replace(r"\{\}", "(.+)")
    models = [match[1] for name in frame.columns if (match := re.fullmatch(pattern, str(name)))]
    if not models:
        raise ValueError(f"no column is named like {templates[0]!r}")
    parts = {}
    for model in models:
        names = {role: name.replace("{}", model) for role, name in roles.items() if role != "model"}
        there = {
            role: name for role, name in names.items() if role != "confidence" or name in frame
        }
        parts[model] = long_rows(frame, there)
    return pd.concat(parts, names=["model"]).reset_index("model")
