"""Tables of scores, long or wide, as arrays [models, samples]: what :meth:`ScoreTable.from_frame` reads."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..checks import about, known
from ..labels import as_text


def scores_of(frame: Any, roles: dict, prices: Any, missing: str) -> dict:
    """Arguments of a :class:`ScoreTable`. roles: {"sample", "model", "label" … or "column <name>": the frame's column};
    prices: {model: cost} or None; missing: as :meth:`ScoreTable.from_frame` takes it."""
    rows = long_rows(frame_of(frame), roles)
    rows = rows.drop(columns=[role for role in ("label", "correct") if role in rows and rows[role].isna().all()])
    for role in ("sample", "model", "label", "prediction"):
        if role in rows:
            rows[role] = as_text(rows[role].astype(object).where(rows[role].notna(), None).to_numpy()).astype(object)
    for role in ("sample", "model"):
        if (rows[role] == "").any():
            raise ValueError(f"the {role} of row {np.argmax(rows[role] == '')} is missing")
    twice = rows.duplicated(["sample", "model"])
    if twice.any():
        raise ValueError(
            f"{twice.sum()} rows repeat a sample and model, first {pair(rows.loc[twice, ['sample', 'model']].to_numpy()[0])}"
        )
    samples, models = rows["sample"].unique(), rows["model"].unique()
    if "label" in rows:
        labels = rows[rows["label"] != ""].groupby("sample", sort=False)["label"]
        if (labels.nunique() > 1).any():
            raise ValueError(f"sample {labels.nunique().idxmax()!r} has more than one label")
        rows["label"] = rows["sample"].map(labels.first())
    judged = rows.dropna(subset=[role for role in ("label", "correct") if role in rows]).set_index(["sample", "model"])
    absent = pd.MultiIndex.from_product([samples, models]).difference(judged.index, sort=False)
    if len(absent) and missing == "refuse":
        raise ValueError(
            f"{len(absent)} of {len(samples) * len(models)} rows, their labels or correctness are missing, first "
            f"{pair(absent[0])}: missing='drop' leaves out such samples, missing='abstain' counts them as wrong"
        )
    if missing == "drop":
        samples = samples[~np.isin(samples, absent.get_level_values(0))]
    full = judged.reindex(pd.MultiIndex.from_product([samples, models], names=["sample", "model"]))

    def grid(values):
        return np.reshape(values, (len(samples), len(models))).T

    given = {"names": models, "sample_ids": samples, "confidence": np.full((len(models), len(samples)), np.nan)}
    given |= {"correct": None, "columns": {}, "cost": prices_of(full, models, prices)}
    if "confidence" in full:
        given["confidence"] = grid(numbers(full["confidence"], roles["confidence"]))
    if "prediction" in full:
        given["predictions"] = grid(full["prediction"].fillna("").to_numpy())
    if "label" in full:
        labels = full["label"].groupby("sample", sort=False).first()
        given["labels"] = labels.to_numpy()
    if "correct" in full:
        words = full["correct"].astype(str).str.lower().map({"true": 1.0, "false": 0.0})
        correct = grid(numbers(full["correct"].astype(object).where(words.isna(), words), roles["correct"]))
        correct = np.nan_to_num(correct)
        given["correct"] = correct.astype(bool) if np.isin(correct, (0, 1)).all() else correct
    for role in full:
        if role.startswith("column "):
            given["columns"][roles[role]] = grid(numbers(full[role], roles[role]))
    return given


def frame_of(source: Any) -> pd.DataFrame:
    """A DataFrame as it is, the parquet or CSV file at a path (where only an empty cell is missing), or any other
    frame through narwhals. TypeError for what is none of these."""
    if isinstance(source, pd.DataFrame):
        return source
    if isinstance(source, str | os.PathLike):
        if Path(source).suffix in (".parquet", ".pq"):
            return pd.read_parquet(source)
        return pd.read_csv(source, keep_default_na=False, na_values=[""])
    try:
        import narwhals
    except ImportError:
        raise TypeError(f"a pandas DataFrame or a path; narwhals, to read a {type(source)}, is not there") from None
    return narwhals.from_native(source).lazy().collect().to_pandas()


def long_rows(frame, roles):
    """A row a (sample, model), with a column a role. Wide where names of columns hold {} in a model's place."""
    wide = {role: name for role, name in roles.items() if "{}" in name}
    if not wide:
        return pd.DataFrame({role: frame[known(name, frame.columns, "column")] for role, name in roles.items()})
    template = next(iter(wide.values()))
    pattern = re.escape(template).replace(r"\{\}", "(.+)")
    models = [match[1] for name in frame.columns if (match := re.fullmatch(pattern, str(name)))]
    if not models:
        raise ValueError(f"no column is named like {template!r}")
    parts = []
    for model in models:
        names = {role: name.replace("{}", model) for role, name in roles.items() if role != "model"}
        if names.get("confidence") not in frame:
            names.pop("confidence", None)
        parts.append(frame[[known(n, frame.columns, "column") for n in names.values()]].set_axis(list(names), axis=1))
    return pd.concat(parts, keys=models, names=["model"]).reset_index("model")


def prices_of(full, models, prices):
    """Costs [M], or [M, k] where those of a model differ; of rows that are missing, the model's median."""
    if prices is not None:
        for name in prices:
            known(name, models, "model of the table, in cost")
        return np.array([prices[known(name, prices, "model in cost")] for name in models])
    cost = pd.Series(numbers(full["cost"], "cost"), full.index)
    cost = cost.fillna(cost.groupby("model").transform("median")).unstack("model", sort=False)[models]
    return cost.iloc[0].to_numpy() if (cost.nunique() == 1).all() else cost.to_numpy().T


def numbers(column, name):
    """A column as float64; ValueError naming it where it holds anything else."""
    with about(f"column {name!r}"):
        return pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)


def pair(row):
    """What tells a row, in a message."""
    return f"of sample {row[0]!r} and model {row[1]!r}"
