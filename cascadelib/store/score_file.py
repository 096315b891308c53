"""A file of scores: what the paper's notebooks need of a study, without its logits."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy import ndarray as Array

from ..checks import error_context
from ..files import replace_atomically
from ..origin import Origin
from ..stages import accuracies, log_of, sums_of_block
from .formats import Memory, Output
from .outputs import Outputs

FORMAT = b"cascadelib scores 1"
SUMS = ("largest", "second", "rest", "weighted")  # from which four confidence metrics follow
LARGEST_RANK = 2**16 - 1
ROWS = 5000  # samples whose logits are in memory at a time


class ScoreFile(Outputs):
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

    def __init__(self, path: str | Path):
        self.path: Path | None = Path(path)
        with error_context(str(path)):
            table = pq.read_table(self.path)
            about = table.schema.metadata or {}
            if not is_score_file(self.path):
                raise ValueError(f"not a file of {FORMAT.decode()}: write it with to_scores")
            head = json.loads(about[b"study"])
        columns = {name: table[name].to_numpy() for name in table.column_names}
        ids = columns["sample"].astype(str)
        source = Memory(Origin.from_labels(columns["label"], ids, head["classes"], *head["named"]))
        count = int(head["class_count"])
        for order, (name, model) in enumerate(head["models"].items()):
            kept = {what: columns[f"{name}/{what}"] for what in model["columns"]}
            ranks = kept["rank"].astype(np.int64)
            results: dict[Any, Array] = {
                "ranks": ranks,
                "predicted": kept["prediction"].astype(np.int64),
            }
            for suffix, temperature in (("", 1.0), ("_scaled", model["temperature"])):
                if temperature is not None:
                    sums = [kept[f"{part}{suffix}"].astype(np.float64) for part in SUMS]
                    results["sums", temperature] = np.stack(sums, axis=1)
            header = {"order": order, "model": name} | accuracies(ranks, count) | model["metadata"]
            source.models[name] = Output(header, "logits", (len(ids), count), results)
        self.temperatures = {name: model["temperature"] for name, model in head["models"].items()}
        self._use(source)

    def __repr__(self) -> str:
        return f"<ScoreFile: {len(self)} samples, {len(self._outputs())} models>"

    @property
    def has_temperatures(self) -> bool:
        """Return whether the file has the scores at fitted temperatures."""
        return None not in self.temperatures.values()

    def temperature(self, name: str) -> float:
        """Return the fitted temperature of a model."""
        found = self.temperatures[name]
        if found is None:
            raise ValueError(
                "this needs temperatures, which the file lacks: write it with temperatures="
            )
        return float(found)


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
