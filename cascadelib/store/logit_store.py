"""LogitStore: the logits of many models on one labelled split, checked before they are believed."""

import copy
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ..checks import POSITIVE, about, check_number, known, unmasked
from ..cost_kinds import COSTS
from ..files import file_name, folder_of, short_path
from ..labels import Labels, chosen_rows
from ..scoring import accuracies, log_of, ranks_of
from .formats import (
    Folder,
    LogitArray,
    Memory,
    already_there,
    decoded_metadata,
    encoded_metadata,
    unfit,
)
from .manifest import create
from .protocol import Stage

DTYPES = ("float16", "float32", "float64")


def checked_logits(name, logits, sample_ids, labels: Labels, dtype) -> np.ndarray:
    """Logits as a finite array [k, classes] of ``dtype``, or ValueError naming the model and the first bad row."""
    if hasattr(logits, "detach"):  # torch, without importing it
        logits = logits.detach().cpu()
        logits = (logits if logits.dtype.itemsize > 4 else logits.float()).numpy()
    what = f"model {name!r}"
    logits = np.asarray(unmasked(logits, what))
    if logits.ndim != 2 or not logits.shape[1] or logits.dtype.kind not in "fiu":
        raise ValueError(
            f"{what}: logits must be numbers [k, classes], not {logits.dtype} {logits.shape}"
        )
    if len(logits) != len(labels):
        raise ValueError(f"{what}: {len(logits)} rows of logits for {len(labels)} samples")
    if sample_ids is not None:
        with about(what):
            labels.check_same(sample_ids)
    values = np.zeros(0) if labels.values is None else labels.values
    outside = np.flatnonzero(values >= logits.shape[1])
    if len(outside):
        label, sample = values[outside[0]], labels.sample_ids[outside[0]]
        raise ValueError(
            f"{what}: {logits.shape[1]} classes, but row {outside[0]} ({sample}) has the label {label}"
        )
    with np.errstate(over="ignore"):  # what overflows is inf, and refused below
        logits = logits.astype(dtype, copy=False)
    bad = np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        row = bad[0]
        raise ValueError(
            f"{what}: row {row} ({labels.sample_ids[row]}) holds nan or inf as {dtype}; {len(bad)} in all"
        )
    return logits


def check_probabilities(name, p) -> None:
    """ValueError, naming the model and the first bad row of p [k, classes], where a row does not sum to 1."""
    p = np.asarray(p, np.float64)
    bad = np.flatnonzero(~((p >= 0).all(1) & (p <= 1 + 1e-6).all(1) & (abs(p.sum(1) - 1) <= 1e-3)))
    if len(bad):
        what = f"row {bad[0]} does not hold probabilities that sum to 1 (sum {p[bad[0]].sum():g}); {len(bad)} such rows"
        remedy = "normalise=True, in add(probabilities=…) and in from_probabilities, divides rows by their sums"
        raise ValueError(f"model {name!r}: {what}; {remedy}")


def check_accuracies(name: str, own: Any, found: tuple[float, float]) -> None:
    """ValueError where the header of a model states another (top1, top5) than ``found`` in its output."""
    for key, value in zip(("top1", "top5"), found):
        stated = own.metadata[key]
        if not np.array_equal(value, stated, equal_nan=True):
            raise ValueError(
                f"model {name!r}: {key} in its header ({stated}) is not that of its logits ({value}): "
                "add it anew with replace=True"
            )


FIRST_COLUMNS = ["top1", "top5", "macs", "seconds", "parameters"]
NEXT_COLUMNS = ["family", "architecture", "image_size"]
RESERVED = {"model", "samples", "sha256", "order", "top1", "top5"}
ADDING = Lock()


class LogitStore:
    """The logits of many models on one labelled split: ``LogitStore(path)`` opens the folder ``path``, which is looked
    for from here, then from the root of the repository.

    labels int64 [k], the class of each sample, or None; sample_ids str [k]; classes: their names where known; dataset,
    split: names; origin: all of these as :class:`Labels`; path: the folder, or None in memory. Opening costs a header a
    model; broken files are left out with a warning. FileNotFoundError where there is no store, ValueError where its
    manifest or labels are damaged.
    """

    has_outputs = True

    def __init__(self, path):
        self.path = folder_of(path)
        self._use(Folder(self.path))

    def _use(self, shelf, rows=None, models=None):
        self._shelf, self._rows, self._models = shelf, rows, models
        self.origin = shelf.labels if rows is None else shelf.labels.take(rows)
        self.labels, self.sample_ids, self.classes = (
            self.origin.values,
            self.origin.sample_ids,
            self.origin.classes,
        )
        self.dataset, self.split = self.origin.dataset, self.origin.split
        self._table = None, None
        return self

    @classmethod
    def create(
        cls,
        path: str | Path,
        labels: ArrayLike | None,
        sample_ids: ArrayLike | None = None,
        classes: Iterable[str] | None = None,
        dataset: str = "",
        split: str = "",
    ) -> "LogitStore":
        """A new, empty store in the folder ``path`` for labels int [k]; ids default to row numbers. Without labels
        (None; ids are needed) what needs them is refused. ValueError for an existing store, an empty split, repeated
        ids, labels outside the classes."""
        create(path, Labels.checked(labels, sample_ids, classes, dataset, split))
        return cls(path)

    @classmethod
    def from_arrays(
        cls,
        labels: ArrayLike | None,
        logits: Mapping[str, Any],
        macs: Mapping | None = None,
        seconds: Mapping | None = None,
        sample_ids: ArrayLike | None = None,
        classes: Iterable[str] | None = None,
        dataset: str = "",
        split: str = "",
        dtype: str = "float32",
        probabilities: bool = False,
        normalise: bool = False,
    ) -> "LogitStore":
        """In memory: ``logits`` {model: [k, classes]}, costs {model: number} or None; checked as by :meth:`add`."""
        store = cls.__new__(cls)
        store.path = None
        count = len(next(iter(logits.values()), ()))
        store._use(Memory(Labels.checked(labels, sample_ids, classes, dataset, split, count)))
        for kind, given in (("macs", macs or {}), ("seconds", seconds or {})):
            for name in given:
                known(name, logits, f"model in {kind}")
        for name, values in logits.items():
            costs = (macs or {}).get(name), (seconds or {}).get(name)
            store.add(
                name,
                values,
                None,
                *costs,
                dtype=dtype,
                probabilities=probabilities,
                normalise=normalise,
            )
        return store

    @classmethod
    def from_probabilities(
        cls,
        labels: ArrayLike | None,
        probabilities: Mapping[str, Any],
        *args,
        dtype: str = "float64",
        **kwargs,
    ) -> "LogitStore":
        """As :meth:`from_arrays` for {model: probabilities [k, classes]}: confidences are read from these themselves,
        and from their logarithms (zeros count as the smallest positive float) where a method needs logits. ValueError
        where a row leaves [0, 1] or its sum is further than 0.001 from 1; normalise: rows of positive sum are divided
        by it first, as those of an API that gives the best classes alone."""
        return cls.from_arrays(
            labels, probabilities, *args, dtype=dtype, probabilities=True, **kwargs
        )  # type: ignore[misc]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sample ids and labels, in their order."""
        return self.origin.fingerprint

    def __len__(self):
        return len(self.origin)

    def __repr__(self):
        where = "in memory" if self.path is None else short_path(self.path)
        return f"<LogitStore {where}: {self.dataset} {self.split}, {len(self)} samples, {len(self._present())} models>"

    def _present(self):
        """{name: LogitFile or LogitArray} as they are now, or were when this part was taken: another dict, and other
        objects, than those to which other threads add."""
        return self._shelf.models.copy() if self._models is None else self._models

    @property
    def class_count(self) -> int | None:
        """How many classes there are; None where they have no names and there is no model yet."""
        if self.classes:
            return len(self.classes)
        return next((own.shape[1] for own in self._present().values()), None)

    @property
    def models(self) -> pd.DataFrame:
        """A row a model, cheapest first (by MACs if all have them, else by seconds if all have those, else as they
        were added): top1, top5 (fractions; nan with five classes or fewer), macs and seconds a sample,
        parameters, and more."""
        present, (held, table) = self._present(), self._table
        if table is None or held != present:
            table = _table({name: own.metadata for name, own in present.items()})
            for name in table.index if self._rows is not None and self.labels is not None else ():
                table.loc[name, ["top1", "top5"]] = accuracies(
                    self.ranks(name), present[name].tensor.shape[1]
                )
            self._table = present, table
        return table.copy()

    def metadata(self, name: str) -> dict:
        """All that the header of ``name`` records, nested values included."""
        return copy.deepcopy(self._model(name).metadata)

    def version(self, name: str) -> int:
        """Another number whenever a model is replaced."""
        return self._model(name).metadata["order"]

    def _model(self, name):
        if failure := self._shelf.broken.get(name):
            raise ValueError(f"model {name!r} cannot be read: {failure}")
        present = self._present()
        return present[known(name, present, "model")]

    def logits(self, name: str) -> np.ndarray:
        """Float [k, classes]: the :meth:`output` of a model, or its logarithm where that is probabilities."""
        own = self._model(name)
        return log_of(self._output(own)) if own.kind == "probabilities" else self._output(own)

    def output(self, name: str) -> np.ndarray:
        """Float [k, classes] as it was added, read-only; memory-mapped from disk unless :meth:`take` chose rows. The
        first read checks the tensor's SHA-256 (up to 256 MB; larger files: :meth:`verify`)."""
        return self._output(self._model(name))

    def _output(self, own):
        return own.tensor if self._rows is None else own.tensor[self._rows]

    def let_go(self, name: str) -> None:
        """Free the memory that reading a model's file took: what is mapped counts as held by this process."""
        tensor = self._model(name).tensor
        if isinstance(tensor, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
            tensor._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]

    def holds_probabilities(self, name: str) -> bool:
        """Whether the :meth:`output` of a model is probabilities, not logits."""
        return self._model(name).kind == "probabilities"

    def ranks(self, name: str) -> np.ndarray:
        """Place of the right class in each sample's output, int64 [k]; 0 = top-1 correct, < 5 = top-5. Equal ones rank
        by class index, so that ``ranks == 0`` is ``argmax == label``."""

        def checked_ranks(tensor):
            ranks = ranks_of(tensor, self._shelf.labels.needed)
            check_accuracies(name, self._model(name), accuracies(ranks, tensor.shape[1]))
            return ranks

        return self._kept(name, "ranks", checked_ranks)

    def predicted(self, name: str) -> np.ndarray:
        """Class with the largest output of each sample, int64 [k], the first of equal ones."""
        return self._kept(name, "predicted", lambda tensor: np.asarray(tensor).argmax(axis=1))

    def _kept(self, name, what, compute):
        own = self._model(name)
        if what not in own.kept:  # of all samples, once: bootstraps take many views
            own.kept[what] = compute(own.tensor)
            self.let_go(name)
        return own.kept[what].copy() if self._rows is None else own.kept[what][self._rows]

    def costs(self, kind: str) -> np.ndarray:
        """Cost a sample of each model, float64 [M], in the order of :attr:`models`; kind: a key of COSTS. ValueError
        for an unknown kind, and naming the models whose cost is missing, nan, zero or negative."""
        table = self.models
        costs = table[known(kind, [c for c in COSTS if c in table], "cost")].to_numpy(
            np.float64, na_value=np.nan
        )
        bad = [
            f"{name!r} ({cost:g})"
            for name, cost in zip(table.index, costs, strict=True)
            if not 0 < cost < np.inf
        ]
        if bad:
            raise ValueError(
                f"{kind} must be positive numbers; missing (nan) or wrong for {', '.join(bad)}: give {kind}= where the "
                "logits are added, count_macs(module, input) counts MACs, select(names) leaves those models out"
            )
        return costs

    sample_costs = costs

    def outcome(self, names: list[str], method: Any, score: str = "top1") -> Stage:
        """The stage function of models ``names`` under a Method: :meth:`cascadelib.Method.stage`."""
        return method.stage(self, names, score)

    def positives(self) -> np.ndarray:
        """Bool [k]: the samples of class 1. ValueError where there are other than two classes, and F1 is undefined."""
        classes = self.class_count
        if classes not in (None, 2):
            raise ValueError(
                f"F1 is that of class 1 of two; this store has {classes} classes: use score='top1'"
            )
        return self.origin.needed == 1

    def take(self, indices: Any) -> "LogitStore":
        """The store as it is now, on some samples: row indices (repeats allowed), a bool mask [k] or a slice."""
        rows = chosen_rows(indices, len(self))
        return self._view(rows if self._rows is None else self._rows[rows], self._present())

    def select(self, names: str | Iterable[str]) -> "LogitStore":
        """The same store with some of its models, as they are now."""
        names = [names] if isinstance(names, str) else names
        return self._view(self._rows, {name: self._model(name) for name in names})

    def labelled(self, labels: ArrayLike) -> "LogitStore":
        """The same samples and models as they are now, in memory, with other labels int [k]."""
        given, origin = Labels.checked(labels, self.sample_ids, self.classes), self.origin
        store = self._view(None, None)._use(Memory(replace(origin, values=given.values)))
        for name, own in self._present().items():
            output = self._output(own)
            scores = dict(zip(("top1", "top5"), _accuracies(output, given)))
            store._shelf.models[name] = LogitArray(output, own.metadata | scores, own.kind)
        return store

    def _view(self, rows, models):
        view = type(self).__new__(type(self))
        view.path = self.path
        return view._use(self._shelf, rows, models)

    def add(
        self,
        name: str,
        logits: Any = None,
        sample_ids: ArrayLike | None = None,
        macs: float | None = None,
        seconds: float | None = None,
        *,
        replace: bool = False,
        dtype: str = "float32",
        probabilities: Any = False,
        normalise: bool = False,
        **metadata,
    ) -> None:
        """Add one model's logits, or probabilities=p, [k, classes] (numpy or torch), in the order of the store's
        samples. normalise: rows of p are divided by their sums. ``sample_ids``, if given, must be the store's. Costs
        are per sample. Further keywords are kept as metadata. ValueError, naming the model and the first bad row,
        leaves the store as it was."""
        if self._models is not None:
            raise ValueError(
                f"model {name!r} cannot be added to a part of a store; add it to the whole"
            )
        file_name(name)  # a name that no file can have is refused in memory as well
        metadata = {
            key: decoded_metadata(encoded_metadata(key, value)) for key, value in metadata.items()
        }
        costs = {"macs": macs, "seconds": seconds} | {
            kind: metadata[kind] for kind in COSTS if kind in metadata
        }
        for kind, cost in costs.items():
            if cost is not None:
                check_number(cost, f"model {name!r}: {kind}", "a positive number", *POSITIVE)
            metadata[kind] = cost.item() if isinstance(cost, np.generic) else cost
        if wrong := sorted(RESERVED & metadata.keys()) or unfit(metadata):
            raise ValueError(f"model {name!r}: metadata may not have this {' and '.join(wrong)}")
        if not isinstance(probabilities, bool):
            if logits is not None:
                raise ValueError(f"model {name!r}: give logits or probabilities, not both")
            logits, probabilities = probabilities, True
        checked = checked_logits(
            name, logits, sample_ids, self.origin, np.dtype(known(dtype, DTYPES, "dtype"))
        )
        if probabilities:
            if normalise and (checked.sum(1) > 0).all() and (checked >= 0).all():
                checked = (checked / checked.sum(1, keepdims=True, dtype=np.float64)).astype(
                    checked.dtype
                )
            check_probabilities(name, checked)
        top1, top5 = _accuracies(checked, self.origin)
        with ADDING:
            if not replace and (name in self._shelf.models or name in self._shelf.broken):
                raise ValueError(already_there(name))
            others = [own for other, own in self._shelf.models.items() if other != name]
            expected = (
                len(self.classes)
                if self.classes
                else others[0].shape[1]
                if others
                else checked.shape[1]
            )
            if checked.shape[1] != expected:
                raise ValueError(
                    f"model {name!r}: logits for {checked.shape[1]} classes, but the store has {expected}"
                )
            order = 1 + max(
                (own.metadata["order"] for own in self._shelf.models.values()), default=-1
            )
            entry = {"model": name, "order": order, "top1": top1, "top5": top5} | metadata
            kind = "probabilities" if probabilities else "logits"
            self._shelf.put(name, checked, entry, kind, replace)

    def verify(self) -> None:
        """Read everything; raise ValueError that lists each broken file and the check that it failed."""
        failures = list(self._shelf.broken.values())
        for name, own in self._present().items():
            try:
                tensor = own.open()
                checked_logits(name, tensor, None, self._shelf.labels, tensor.dtype)
                if own.kind == "probabilities":
                    check_probabilities(name, tensor)
                check_accuracies(name, own, _accuracies(tensor, self._shelf.labels))
            except (ValueError, OSError) as error:
                failures.append(str(error))
        if failures:
            raise ValueError("the store is damaged:\n" + "\n".join(failures))


def _accuracies(tensor, labels: Labels) -> tuple[float, float]:
    """(top1, top5) of a model's output [k, classes]; nan without labels."""
    if labels.values is None:
        return np.nan, np.nan
    return accuracies(ranks_of(tensor, labels.values), tensor.shape[1])


def _table(entries: dict) -> pd.DataFrame:
    """{model: metadata} → the table of models, cheapest first; nested metadata stays in the headers."""
    by_age = sorted(entries, key=lambda name: (entries[name]["order"], name))
    hidden = RESERVED - set(FIRST_COLUMNS)
    rows = [
        {k: v for k, v in entries[n].items() if k not in hidden and not isinstance(v, (dict, list))}
        for n in by_age
    ]
    table = pd.DataFrame(rows, index=pd.Index(by_age, name="model", dtype=object))
    others = [c for c in NEXT_COLUMNS if c in table] + sorted(
        set(table) - {*FIRST_COLUMNS, *NEXT_COLUMNS}
    )
    table = table.reindex(columns=FIRST_COLUMNS + others)
    table[FIRST_COLUMNS] = (
        table[FIRST_COLUMNS].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    )
    for kind in ("macs", "seconds"):
        if table[kind].notna().all():
            return table.sort_values(kind, kind="stable")
    return table
