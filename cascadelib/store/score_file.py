"""A file of scores: what the paper's notebooks need of a study, without its logits."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy import ndarray as Array

from ..checks import error_context, items_of, validate_choice
from ..figures.cost_kinds import COSTS
from ..files import replace_atomically
from ..labels import select_rows
from ..origin import Origin
from ..stages import log_of, sums_of_block
from .model_table import StoreOfOutputs

FORMAT = b"cascadelib scores 1"
SUMS = ("largest", "second", "rest", "weighted")  # from which four confidence metrics follow
LARGEST_RANK = 2**16 - 1
ROWS = 5000  # samples whose logits are in memory at a time


class ScoreFile(StoreOfOutputs):
    """Hold predictions, ranks of the labels and confidences of many models, without logits.

    The four confidence metrics of single models are computed as from logits, at temperature 1 and
    at the fitted temperatures, if the file has them. Mean ensembles and other temperatures need the
    logits. Sums over the logits are stored as float32: confidences have a relative error of 1e-7.

    Parameters
    ----------
    path : str or Path
        A file of :meth:`LogitStore.to_scores`.

    Raises
    ------
    ValueError
        If the file is not such a file.

    See Also
    --------
    LogitStore.to_scores : Write the file.
    """

    has_predictions = True

    def __init__(self, path: str | Path):
        self.path: Path | None = Path(path)
        with error_context(str(path)):
            table = pq.read_table(self.path)
            about = table.schema.metadata or {}
            if not is_score_file(self.path):
                raise ValueError(f"not a file of {FORMAT.decode()}: write it with to_scores")
            head = json.loads(about[b"study"])
        columns = {name: table[name].to_numpy() for name in table.column_names}
        self._classes = int(head["class_count"])
        self._about: dict[str, dict] = head["models"]
        self._columns: dict[str, dict[str, Array]] = {
            name: {what: columns[f"{name}/{what}"] for what in model["columns"]}
            for name, model in self._about.items()
        }
        self.origin = Origin.from_labels(
            columns["label"], columns["sample"].astype(str), head["classes"], *head["named"]
        )

    def __len__(self) -> int:
        return len(self.origin)

    def __repr__(self) -> str:
        return f"<ScoreFile: {len(self)} samples, {len(self._about)} models>"

    @property
    def labels(self) -> Array | None:
        """Return the labels, int64 [n_samples]."""
        return self.origin.values

    @property
    def class_count(self) -> int:
        """Return the number of classes."""
        return self._classes

    @property
    def models(self) -> pd.DataFrame:
        """Return a row per model, cheapest first: top1, top5, costs, family."""
        table = pd.DataFrame.from_dict(
            {name: model["metadata"] for name, model in self._about.items()}, orient="index"
        )
        table.index.name = "model"
        for rank, column in ((1, "top1"), (5, "top5")):
            table[column] = [(self.ranks(name) < rank).mean() for name in table.index]
        return table.sort_values(self.default_cost, kind="stable")

    @property
    def cost_names(self) -> list[str]:
        """Return the kinds of cost that all models have, those of :data:`COSTS` first."""
        kinds = [*COSTS, "published_seconds"]
        models = [model["metadata"] for model in self._about.values()]
        return [kind for kind in kinds if all(kind in model for model in models)]

    @property
    def default_cost(self) -> str:
        """Return the first kind of cost."""
        return self.cost_names[0]

    def costs(self, cost: str) -> Array:
        """Return the costs of the models, float64 [n_models], in the order of :attr:`models`."""
        validate_choice(cost, self.cost_names, "cost")
        return self.models[cost].to_numpy(np.float64)

    sample_costs = costs

    def metadata(self, name: str) -> dict:
        """Return the metadata of a model."""
        return dict(self._model(name)["metadata"])

    def _model(self, name: str) -> dict:
        return self._about[validate_choice(name, self._about, "model")]

    def ranks(self, name: str) -> Array:
        """Return the rank of each sample's label, int64 [n_samples]. Rank 0 is correct."""
        self._model(name)
        return self._columns[name]["rank"].astype(np.int64)

    def predicted(self, name: str) -> Array:
        """Return the predicted classes, int64 [n_samples]."""
        self._model(name)
        return self._columns[name]["prediction"].astype(np.int64)

    @property
    def has_temperatures(self) -> bool:
        """Return whether the file has the scores at fitted temperatures."""
        return all(model["temperature"] is not None for model in self._about.values())

    def temperature(self, name: str) -> float:
        """Return the fitted temperature of a model."""
        found = self._model(name)["temperature"]
        if found is None:
            raise ValueError(
                "this needs temperatures, which the file lacks: write it with temperatures="
            )
        return float(found)

    def compute_once(self, name: str, what: Any, compute: Any) -> Array:
        """Return stored sums of the outputs, float64 [n_samples, 4]. Others need the logits."""
        kind, temperature = what
        stored = {self._model(name)["temperature"]: "_scaled", 1.0: ""}
        suffix = stored.get(temperature)
        if kind != "sums" or suffix is None:
            return self.logits(name)
        columns = self._columns[name]
        return np.stack([columns[f"{part}{suffix}"].astype(np.float64) for part in SUMS], axis=1)

    def holds_probabilities(self, name: str) -> bool:
        """Return False: sums are those of logits."""
        return False

    def version(self, name: str) -> int:
        """Return 0, since a file does not change."""
        return 0

    @property
    def cache_owner(self) -> "ScoreFile":
        """Return the object whose caches hold results of these samples."""
        return self

    def release_memory(self, name: str) -> None:
        """Do nothing: all columns are in memory."""

    def logits(self, name: str) -> Array:
        """Raise a ValueError: a file of scores has no logits."""
        raise ValueError(
            f"this needs the logits of model {name!r}, which a file of scores lacks. Use the "
            "LogitStore"
        )

    output = logits

    def read(self, name: str, rows: slice) -> Array:
        """Raise the error of :meth:`logits`."""
        return self.logits(name)

    def positives(self) -> Array:
        """Return which samples are of class 1, bool [n_samples], for F1."""
        if self._classes != 2:
            raise ValueError(f"F1 needs two classes, and this file has {self._classes}")
        return self.origin.required_labels == 1

    def labelled(self, labels: Any) -> "ScoreFile":
        """Raise a ValueError: ranks belong to the labels of the file."""
        raise ValueError("a file of scores keeps its labels: use LogitStore.labelled")

    def _view(self, about: dict, columns: dict, origin: Origin) -> "ScoreFile":
        other = object.__new__(ScoreFile)
        vars(other).update(vars(self), _about=about, _columns=columns, origin=origin)
        return other

    def take(self, indices: Any) -> "ScoreFile":
        """Return the scores of some samples."""
        rows = select_rows(indices, len(self), self.origin.sample_ids)
        columns = {
            name: {what: values[rows] for what, values in of_model.items()}
            for name, of_model in self._columns.items()
        }
        return self._view(self._about, columns, self.origin.take(rows))

    def select(self, names: str | Iterable[str]) -> "ScoreFile":
        """Return the scores of some models."""
        about = {name: self._model(name) for name in items_of(names)}
        columns = {name: self._columns[name] for name in about}
        return self._view(about, columns, self.origin)


def is_score_file(path: str | Path) -> bool:
    """Return whether a parquet file was written by :meth:`LogitStore.to_scores`."""
    return (pq.read_schema(path).metadata or {}).get(b"format") == FORMAT


def write_scores(
    store: Any, path: str | Path, temperatures: Mapping[str, float] | None = None
) -> None:
    """Write the scores of a labelled LogitStore, see :meth:`LogitStore.to_scores`."""
    columns: dict[str, Any] = {
        "sample": store.sample_ids,
        "label": store.origin.required_labels,
    }
    models = {}
    for name in store.models.index:
        of_model = {
            "prediction": store.predicted(name).astype(np.uint16),
            "rank": np.minimum(store.ranks(name), LARGEST_RANK).astype(np.uint16),
        }
        scales = {"": 1.0}
        if temperatures is not None:
            scales["_scaled"] = float(temperatures[name])
        for suffix, scale in scales.items():
            sums = sums_of_model(store, name, scale)
            of_model |= {f"{part}{suffix}": row for part, row in zip(SUMS, sums)}
        metadata = {
            key: value
            for key, value in store.metadata(name).items()
            if isinstance(value, int | float) or key == "family"
        }
        models[name] = {
            "metadata": metadata,
            "temperature": scales.get("_scaled"),
            "columns": list(of_model),
        }
        columns |= {f"{name}/{what}": values for what, values in of_model.items()}
        store.release_memory(name)
    head = {
        "models": models,
        "classes": store.classes,
        "class_count": store.class_count,
        "named": [store.dataset, store.split],
    }
    about = {b"format": FORMAT, b"study": json.dumps(head).encode()}
    table = pa.table(columns).replace_schema_metadata(about)
    with replace_atomically(Path(path)) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def sums_of_model(store: Any, name: str, temperature: float) -> Array:
    """Return the :class:`Sums` of a model's logits ÷ temperature, float32 [4, n_samples]."""
    parts = []
    for start in range(0, len(store), ROWS):
        output = store.read(name, slice(start, start + ROWS))
        logits = log_of(output) if store.holds_probabilities(name) else output
        parts.append(sums_of_block(logits, temperature)[0].astype(np.float32))
    return np.concatenate(parts, axis=1)
