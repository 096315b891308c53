"""LogitStore: the logits of many models on one labelled split, checked before they are believed."""

import copy
import mmap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from numpy.typing import ArrayLike

from ..checks import POSITIVE, check_number, items_of, known
from ..cost_kinds import COSTS
from ..files import file_name, folder_of, short_path
from ..labels import Contents, Labels, chosen_rows
from ..scoring import accuracies, log_of, ranks_of
from ..stages import StageFunction
from .formats import Folder, LogitArray, LogitFile, Memory, already_there, some_outputs
from .manifest import create
from .model_checks import (
    DTYPES,
    accuracies_of,
    check_accuracies,
    check_probabilities,
    checked_logits,
    checked_metadata,
    normalised,
)
from .model_table import cost_names_of, model_table

ADDING = Lock()


class LogitStore:
    """The logits of many models on one labelled split: ``LogitStore(path)`` opens a folder.

    Opening reads one header per model; broken files are left out with a warning. Top-1 and top-5
    accuracies are those of the headers, and compared with the logits when these are first read.

    Parameters
    ----------
    path
        The folder, which is looked for from here, then from the root of the repository.

    Attributes
    ----------
    labels : int64 [k], the class of each sample, or None.
    sample_ids : str [k].
    classes : names of the classes where they are known, or None.
    dataset, split : names.
    origin : all of these, as :class:`Labels`.
    path : the folder, or None in memory.

    Raises
    ------
    FileNotFoundError
        There is no store.
    ValueError
        Its manifest or labels are damaged.
    """

    has_predictions = True

    def __init__(self, path: str | Path):
        self.path: Path | None = folder_of(path)
        self._use(Folder(self.path))

    def _use(
        self,
        shelf: Folder | Memory,
        rows: Array | None = None,
        models: dict[str, Any] | None = None,
    ) -> "LogitStore":
        """Show what lies on a shelf: rows int64 [n] of its samples, or all; these models, or all
        that come."""
        self._shelf = shelf
        self._rows = rows
        self._models = models
        origin = shelf.labels if rows is None else shelf.labels.take(rows)
        held = shelf.models if models is None else models
        self.origin = replace(origin, contents=Contents(held, partial(some_outputs, held, rows)))
        self.labels = self.origin.values
        self.sample_ids = self.origin.sample_ids
        self.classes = self.origin.classes
        self.dataset = self.origin.dataset
        self.split = self.origin.split
        self._table: tuple[dict | None, pd.DataFrame | None] = (None, None)
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
        """Make a new, empty store in a folder.

        Parameters
        ----------
        path
            The folder; it is made where it does not exist.
        labels
            int or text [k], or None: what needs them is refused then, and ids are needed. Text is
            placed among ``classes``, by default its sorted distinct values, as scikit-learn has it.
        sample_ids
            [k], distinct; row numbers by default.
        classes
            Names of the classes.
        dataset, split
            Names of data set and split.

        Raises
        ------
        ValueError
            The folder holds a store already, the split is empty, ids repeat, or a label lies
            outside the classes.
        """
        create(path, Labels.checked(labels, sample_ids, classes, dataset, split))
        return cls(path)

    @classmethod
    def from_arrays(
        cls,
        labels: ArrayLike | None,
        logits: Mapping[str, Any],
        macs: Mapping[str, float] | None = None,
        seconds: Mapping[str, float] | None = None,
        sample_ids: ArrayLike | None = None,
        classes: Iterable[str] | None = None,
        dataset: str = "",
        split: str = "",
        dtype: str = "float32",
        probabilities: bool = False,
        normalise: bool = False,
        **costs: Mapping[str, float],
    ) -> "LogitStore":
        """A store in memory, checked as by :meth:`add`.

        Parameters
        ----------
        labels, sample_ids, classes, dataset, split
            As in :meth:`create`.
        logits
            {model: [k, classes]}.
        macs, seconds, **costs
            {model: cost per sample}, positive; a kind of your own goes by its keyword, as
            ``joules={…}``.
        dtype
            Of the arrays that are kept: "float16", "float32" or "float64".
        probabilities, normalise
            As in :meth:`add`.

        Raises
        ------
        ValueError
            A cost is of no model or no positive number, or :meth:`add` refuses a model.
        """
        store = cls.__new__(cls)
        store.path = None
        count = len(next(iter(logits.values()), ()))
        store._use(Memory(Labels.checked(labels, sample_ids, classes, dataset, split, count)))
        kinds: dict[str, Any] = {"macs": macs, "seconds": seconds} | costs
        for kind, given in kinds.items():
            given = {} if given is None else given
            if not hasattr(given, "keys"):
                raise ValueError(f"{kind} must be {{model: cost per sample}}, not {given!r:.200}")
            kinds[kind] = dict(given)
            for name, cost in given.items():
                known(name, logits, f"model in {kind}")
                if cost is not None:
                    check_number(cost, f"model {name!r}: {kind}", "a positive number", *POSITIVE)
        for name, values in logits.items():
            own: dict[str, Any] = {k: given[name] for k, given in kinds.items() if name in given}
            own |= {"dtype": dtype, "probabilities": probabilities, "normalise": normalise}
            store.add(name, values, **own)
        return store

    @classmethod
    def from_probabilities(
        cls,
        labels: ArrayLike | None,
        probabilities: Mapping[str, Any],
        *args: Any,
        dtype: str = "float64",
        **kwargs: Any,
    ) -> "LogitStore":
        """As :meth:`from_arrays` for {model: probabilities [k, classes]}.

        Confidences are read from the probabilities themselves, and from their logarithms (zeros
        count as the smallest positive float) where a method needs logits. ``normalise=True``
        divides rows of positive sum by it first, as those of an API that gives the best classes
        alone.

        Raises
        ------
        ValueError
            A row leaves [0, 1] or its sum is further than 0.001 from 1, or as in
            :meth:`from_arrays`.
        """
        return cls.from_arrays(
            labels, probabilities, *args, dtype=dtype, probabilities=True, **kwargs
        )  # type: ignore[misc]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sample ids and labels, in their order."""
        return self.origin.fingerprint

    def __len__(self) -> int:
        return len(self.origin)

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else short_path(self.path)
        held = f"{len(self)} samples, {len(self._present())} models"
        return f"<LogitStore {where}: {self.dataset} {self.split}, {held}>"

    def _present(self) -> dict[str, Any]:
        """{name: LogitFile or LogitArray} as they are now, or were when this part was taken:
        another dict, and other objects, than those to which other threads add."""
        return self._shelf.models.copy() if self._models is None else self._models

    @property
    def class_count(self) -> int | None:
        """How many classes there are; None where they have no names and there is no model yet."""
        if self.classes:
            return len(self.classes)
        return next((own.shape[1] for own in self._present().values()), None)

    @property
    def models(self) -> pd.DataFrame:
        """A row per model, cheapest first: top1, top5 (fractions; nan with five classes or fewer),
        macs and seconds per sample, parameters, and more.

        The order is by MACs if all models have them, else by seconds, else by the only kind of cost
        that there is (:attr:`cost_names`), else as the models were added.
        """
        present = self._present()
        held, table = self._table
        if table is None or held != present:
            table = model_table({name: own.metadata for name, own in present.items()})
            if self._rows is not None and self.labels is not None:
                for name in table.index:
                    scores = accuracies(self.ranks(name), present[name].shape[1])
                    table.loc[name, ["top1", "top5"]] = scores
            self._table = (present, table)
        return table.copy()

    @property
    def cost_names(self) -> list[str]:
        """Kinds of cost that some model has: those of :data:`COSTS`, then others that were given as
        numbers."""
        return cost_names_of(own.metadata for own in self._present().values())

    @property
    def default_cost(self) -> str:
        """The kind of cost that counts where none is asked for: MACs, else the first of
        :data:`COSTS` that is there, else the only other one; MACs, which are then asked for, where
        there are several others or none."""
        there = self.cost_names
        is_clear = len(there) == 1 or there and there[0] in COSTS
        return there[0] if is_clear else "macs"

    def metadata(self, name: str) -> dict:
        """All that the header of ``name`` records, nested values included."""
        return copy.deepcopy(self._model(name).metadata)

    def version(self, name: str) -> int:
        """Another number whenever a model is replaced."""
        return self._model(name).metadata["order"]

    def _model(self, name: str) -> Any:
        """A model's LogitFile or LogitArray; ValueError, naming the nearest, where there is
        none."""
        present = self._present()
        broken = self._shelf.broken
        if known(name, [*present, *broken], "model") in broken:
            raise ValueError(f"model {name!r} cannot be read: {broken[name]}")
        return present[name]

    def logits(self, name: str) -> Array:
        """Float [k, classes]: the :meth:`output` of a model, or its logarithm where that is
        probabilities."""
        own = self._model(name)
        return log_of(self._output(own)) if own.kind == "probabilities" else self._output(own)

    def output(self, name: str) -> Array:
        """Float [k, classes] as it was added, read-only; memory-mapped from disk unless
        :meth:`take` chose rows. The first read checks the tensor's SHA-256 (up to 256 MB; larger
        files: :meth:`verify`)."""
        return self._output(self._model(name))

    def _output(self, own: LogitFile | LogitArray) -> Array:
        """Output [k, classes] of a model on these samples."""
        return own.tensor if self._rows is None else own.tensor[self._rows]

    def let_go(self, name: str) -> None:
        """Free the memory that reading a model's file took: what is mapped counts as held by this
        process."""
        tensor = self._model(name).kept.get("tensor")
        if isinstance(tensor, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
            tensor._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]

    def holds_probabilities(self, name: str) -> bool:
        """Whether the :meth:`output` of a model is probabilities, not logits."""
        return self._model(name).kind == "probabilities"

    def ranks(self, name: str) -> Array:
        """Place of the right class in each sample's output, int64 [k]; 0 = top-1 correct, < 5 =
        top-5. Equal ones rank by class index, so that ``ranks == 0`` is ``argmax == label``."""

        def checked_ranks(tensor: Array) -> Array:
            ranks = ranks_of(tensor, self._shelf.labels.needed)
            check_accuracies(name, self._model(name), accuracies(ranks, tensor.shape[1]))
            return ranks

        return self._kept(name, "ranks", checked_ranks)

    def predicted(self, name: str) -> Array:
        """Class with the largest output of each sample, int64 [k], the first of equal ones."""
        return self._kept(name, "predicted", lambda tensor: np.asarray(tensor).argmax(axis=1))

    def _kept(self, name: str, what: str, compute: Callable[[Array], Array]) -> Array:
        """What ``compute`` makes of a model's output: [k], computed once for all samples, since
        bootstraps take many views of them."""
        own = self._model(name)
        if what not in own.kept:
            own.kept[what] = compute(own.tensor)
            self.let_go(name)
        return own.kept[what].copy() if self._rows is None else own.kept[what][self._rows]

    def costs(self, cost: str) -> Array:
        """Cost per sample of each model.

        Parameters
        ----------
        cost
            A kind of cost: a key of :data:`COSTS`, or one of :attr:`cost_names`.

        Returns
        -------
        Array
            float64 [M], in the order of :attr:`models`.

        Raises
        ------
        ValueError
            The kind is unknown, or the cost of a model is missing, nan, zero or negative.
        """
        table = self.models
        kinds = [kind for kind in COSTS if kind in table]
        kinds += [kind for kind in self.cost_names if kind not in COSTS]
        column = pd.to_numeric(table[known(cost, kinds, "cost")], errors="coerce")
        costs = column.to_numpy(np.float64, na_value=np.nan)
        wrong = ~((costs > 0) & (costs < np.inf))
        if wrong.any():
            bad = [f"{name!r} ({value:g})" for name, value in zip(table.index[wrong], costs[wrong])]
            others = [kind for kind in self.cost_names if kind != cost]
            raise ValueError(
                f"{cost} must be positive numbers; missing (nan) or wrong for {', '.join(bad)}: "
                f"give {cost}= where the logits are added, count_macs(module, input) counts MACs, "
                "select(names) leaves those models out"
                + (f"; or pass cost=, one of {others}" if others else "")
            )
        return costs

    sample_costs = costs

    def asked(
        self, method: Any = None, score: str | None = None, cost: str | None = None
    ) -> tuple[Any, str, str]:
        """What a search of this store means, as asked for or by default: (max softmax, top-1,
        :attr:`default_cost`)."""
        return (
            "max_softmax" if method is None else method,
            "top1" if score is None else score,
            self.default_cost if cost is None else cost,
        )

    def column(self, name: str, what: str) -> None:
        """None: whatever a fitted confidence reads is a metric of the outputs."""

    def outcome(self, names: list[str], method: Any, score: str = "top1") -> StageFunction:
        """The stage function of models ``names`` under a Method:
        :meth:`cascadelib.Method.stage`."""
        return method.stage(self, names, score)

    def positives(self) -> Array:
        """Bool [k]: the samples of class 1. ValueError where there are other than two classes, and
        F1 is undefined."""
        classes = self.class_count
        if classes not in (None, 2):
            raise ValueError(
                f"F1 is that of class 1 of two; this store has {classes} classes: use score='top1'"
            )
        return self.origin.needed == 1

    def take(self, indices: Any) -> "LogitStore":
        """The store as it is now, on some samples: row indices (repeats allowed), a bool mask [k]
        or a slice."""
        rows = chosen_rows(indices, len(self), self.sample_ids)
        return self._view(rows if self._rows is None else self._rows[rows], self._present())

    def select(self, names: str | Iterable[str]) -> "LogitStore":
        """The same store with some of its models, as they are now."""
        return self._view(self._rows, {name: self._model(name) for name in items_of(names)})

    def labelled(self, labels: ArrayLike) -> "LogitStore":
        """The same samples and models as they are now, in memory, with other labels [k]."""
        given = Labels.checked(labels, self.sample_ids, self.classes)
        shelf = Memory(replace(self.origin, values=given.values, classes=given.classes))
        store = self._view(None, None)._use(shelf)
        for name, own in self._present().items():
            output = self._output(own)
            scores = dict(zip(("top1", "top5"), accuracies_of(output, given)))
            shelf.models[name] = LogitArray(output, own.metadata | scores, own.kind)
        return store

    def _view(self, rows: Array | None, models: dict[str, Any] | None) -> "LogitStore":
        """Another store on the same shelf: rows int64 [n] or None for all, models or None for all
        that come."""
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
        **metadata: Any,
    ) -> None:
        """Add the output of one model on all samples, or leave the store as it was.

        Parameters
        ----------
        name
            Of the model.
        logits
            [k, classes], numpy or torch, in the order of the store's samples.
        sample_ids
            [k]: if given, they must be the store's.
        macs, seconds
            Cost per sample, positive.
        replace
            Whether a model of this name may be replaced.
        dtype
            That is stored: "float16", "float32" or "float64".
        probabilities
            [k, classes], in place of logits; or True where ``logits`` are probabilities.
        normalise
            Whether rows of probabilities are divided by their sums.
        **metadata
            Kept in the header; a number may be asked for as a kind of cost, as ``joules=…``.

        Raises
        ------
        ValueError
            Something is wrong with the name, a cost, the metadata or the output: the model and the
            first bad row are named.
        """
        if self._models is not None:
            raise ValueError(
                f"model {name!r} cannot be added to a part of a store; add it to the whole"
            )
        file_name(name)  # a name that no file can have is refused in memory as well
        header = checked_metadata(name, metadata, {"macs": macs, "seconds": seconds})
        if not isinstance(probabilities, bool):
            if logits is not None:
                raise ValueError(f"model {name!r}: give logits or probabilities, not both")
            logits = probabilities
            probabilities = True
        stored_as = np.dtype(known(dtype, DTYPES, "dtype"))
        output = checked_logits(name, logits, sample_ids, self.origin, stored_as)
        if probabilities and normalise:
            output = normalised(output)
        if probabilities:
            check_probabilities(name, output)
        top1, top5 = accuracies_of(output, self.origin)
        kind = "probabilities" if probabilities else "logits"
        with ADDING:
            order = self._place_for(name, output.shape[1], replace)
            entry = {"model": name, "order": order, "top1": top1, "top5": top5} | header
            self._shelf.put(name, output, entry, kind, replace)

    def _place_for(self, name: str, classes: int, replace: bool) -> int:
        """The number of the next model that is added; ValueError where this one is there, or has
        other classes."""
        models = self._shelf.models
        if not replace and (name in models or name in self._shelf.broken):
            raise ValueError(already_there(name))
        others = (own.shape[1] for other, own in models.items() if other != name)
        expected = len(self.classes) if self.classes else next(others, classes)
        if classes != expected:
            raise ValueError(
                f"model {name!r}: logits for {classes} classes, but the store has {expected}"
            )
        return 1 + max((own.metadata["order"] for own in models.values()), default=-1)

    def verify(self) -> None:
        """Read everything; raise ValueError that lists each broken file and the check that it
        failed."""
        failures = list(self._shelf.broken.values())
        for name, own in self._present().items():
            try:
                tensor = own.open()
                checked_logits(name, tensor, None, self._shelf.labels, tensor.dtype)
                if own.kind == "probabilities":
                    check_probabilities(name, tensor)
                check_accuracies(name, own, accuracies_of(tensor, self._shelf.labels))
            except (ValueError, OSError) as error:
                failures.append(str(error))
        if failures:
            raise ValueError("the store is damaged:\n" + "\n".join(failures))
