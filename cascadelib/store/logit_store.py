"""LogitStore: the logits of many models on one labelled split, on disk or in memory."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from numpy.typing import ArrayLike

from ..checks import error_context, items_of, validate_choice
from ..figures.cost_kinds import COSTS
from ..files import file_name, find_folder, short_path
from ..labels import select_rows
from ..origin import Origin
from ..stages import accuracies, log_of, ranks_of
from .formats import Folder, Memory, Output, describe_duplicate
from .manifest import create
from .model_checks import (
    check_logits,
    check_metadata,
    check_probabilities,
    compute_accuracies,
    group_costs_by_model,
)
from .model_table import RESERVED, StoreOfOutputs, find_cost_names, make_model_table

ADD_LOCK = Lock()  # held while a model gets its order and is stored


class LogitStore(StoreOfOutputs):
    """Hold the logits of many models on one labelled split, on disk or in memory.

    ``LogitStore(path)`` opens a folder. It reads one header per model and skips broken files with a
    warning. The headers contain top-1 and top-5 accuracies.

    Parameters
    ----------
    path : str or Path
        The folder, relative to the current folder or to the root of the repository.

    Attributes
    ----------
    labels : int64 array of shape (n_samples,) or None
        Class of each sample.
    sample_ids : str array of shape (n_samples,)
        Ids of the samples.
    classes : tuple of str or None
        Names of the classes.
    dataset, split : str
        Names of data set and split.
    origin : Origin
        Labels, ids, classes, data set and split.
    path : Path or None
        The folder, or None in memory.

    Raises
    ------
    FileNotFoundError
        If there is no store in the folder.
    ValueError
        If its manifest or labels are damaged.

    See Also
    --------
    ScoreTable : Answers and confidences without logits.
    extract : Fill a store by running models.

    Examples
    --------
    >>> import cascadelib as cl
    >>> logits = {"small": [[2.0, 1.0], [0.0, 0.5]], "large": [[3.0, 0.0], [1.0, 0.0]]}
    >>> store = cl.LogitStore.from_arrays([0, 0], logits, macs={"small": 10, "large": 100})
    >>> store.models[["top1", "macs"]].values.tolist()
    [[0.5, 10.0], [1.0, 100.0]]
    """

    has_predictions = True

    def __init__(self, path: str | Path):
        self.path: Path | None = find_folder(path)
        self._use(Folder(self.path))

    def _use(
        self,
        source: Folder | Memory,
        rows: Array | None = None,
        models: dict[str, Any] | None = None,
    ) -> "LogitStore":
        """Set the source of outputs, the rows and the models.

        None means all rows, or all models, including models that are added later.
        """
        self._source = source
        self._rows = rows
        self._models = models
        origin = source.labels if rows is None else source.labels.take(rows)
        self.origin = origin
        self.labels = self.origin.values
        self.sample_ids = self.origin.sample_ids
        self.classes = self.origin.classes
        self.dataset = self.origin.dataset
        self.split = self.origin.split
        self._table: Any = (None, None)  # outputs by model, and the table of these models
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
        """Create an empty store in a folder.

        Parameters
        ----------
        path : str or Path
            The folder. It is created if it does not exist.
        labels : int or str array of shape (n_samples,), Series, dict or None
            Class of each sample. Text is looked up in `classes`. None creates a store without
            labels, which needs `sample_ids`.
        sample_ids : array of shape (n_samples,), optional
            Distinct ids. Defaults to row numbers.
        classes : iterable of str, optional
            Names of the classes. Defaults to the sorted distinct labels if these are text.
        dataset, split : str, default=""
            Names of data set and split.

        Returns
        -------
        LogitStore
            The empty store. Fill it with :meth:`add`.

        Raises
        ------
        ValueError
            If the folder already has a store, if the split is empty, if ids repeat, or if a label
            is outside the classes.
        """
        create(path, Origin.from_labels(labels, sample_ids, classes, dataset, split))
        return cls(path)

    @classmethod
    def merge(cls, stores: Iterable["LogitStore | str | Path"], path: str | Path) -> "LogitStore":
        """Create a store in a folder with the models of several stores of the same samples.

        Parameters
        ----------
        stores : iterable of LogitStore, str or Path
            The stores or their folders. The classes, data set and split are those of the first.
        path : str or Path
            Folder of the new store. It is created if it does not exist.

        Returns
        -------
        LogitStore
            The new store.

        Raises
        ------
        ValueError
            If there is no store, if the folder already has a store, if samples or classes differ,
            or if two stores have a model of the same name.

        See Also
        --------
        extract : Fill a store by running models.

        Examples
        --------
        >>> import tempfile
        >>> import cascadelib as cl
        >>> parts = [cl.LogitStore.from_arrays([0, 1], {name: [[2, 1], [0, 1]]}) for name in "ab"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     list(cl.LogitStore.merge(parts, folder).models.index)
        ['a', 'b']
        """
        parts = [cls(store) if isinstance(store, str | Path) else store for store in stores]
        if not parts:
            raise ValueError("no stores to merge")
        owners: dict[str, LogitStore] = {}
        for part in parts:
            with error_context(f"{part!r} is of another split than {parts[0]!r}"):
                parts[0].origin.check_same(part.sample_ids, part.labels)
                if part.classes != parts[0].classes:
                    raise ValueError(f"its classes are {part.classes}, not {parts[0].classes}")
            for name in part.models.index:
                if name in owners:
                    raise ValueError(f"model {name!r} is in {owners[name]!r} and in {part!r}")
                owners[name] = part
        create(path, parts[0].origin)
        merged = cls(path)
        for name, part in owners.items():
            metadata = part.metadata(name)
            merged.add(
                name,
                part.output(name),
                dtype=part.output(name).dtype.name,
                probabilities=part.holds_probabilities(name),
                **{key: value for key, value in metadata.items() if key not in RESERVED},
            )
        return merged

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
        """Create a store in memory, with the checks of :meth:`add`.

        Parameters
        ----------
        labels, sample_ids, classes, dataset, split
            As for :meth:`create`.
        logits : dict
            Logits of shape (n_samples, n_classes) by model.
        macs, seconds, **costs : dict, optional
            Positive cost per sample by model. Any other keyword is another kind of cost, such as
            ``joules={…}``.
        dtype : {"float16", "float32", "float64"}, default="float32"
            Type of the stored arrays.
        probabilities, normalise : bool, default=False
            As for :meth:`add`.

        Returns
        -------
        LogitStore
            The store.

        Raises
        ------
        ValueError
            If a cost belongs to no model or is not positive, or if :meth:`add` refuses a model.
        """
        store = cls.__new__(cls)
        store.path = None
        count = len(next(iter(logits.values()), ()))
        store._use(Memory(Origin.from_labels(labels, sample_ids, classes, dataset, split, count)))
        by_model = group_costs_by_model({"macs": macs, "seconds": seconds} | costs, logits)
        for name, values in logits.items():
            store.add(
                name,
                values,
                dtype=dtype,
                probabilities=probabilities,
                normalise=normalise,
                **by_model[name],
            )
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
        """Create a store in memory from probabilities of shape (n_samples, n_classes) by model.

        Confidences are computed from the probabilities themselves. A method that needs logits uses
        the logarithms of the probabilities. Zeros are first replaced by the smallest positive
        float. ``normalise=True`` divides each row by its sum, for example if a service returns only
        the best classes. The other arguments are those of :meth:`from_arrays`.

        Returns
        -------
        LogitStore
            The store.

        Raises
        ------
        ValueError
            If a value is outside [0, 1], if the sum of a row differs from 1 by more than 0.001, or
            for the reasons of :meth:`from_arrays`.
        """
        return cls.from_arrays(
            labels, probabilities, *args, dtype=dtype, probabilities=True, **kwargs
        )  # type: ignore[misc]

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 over sample ids and labels, in their order."""
        return self.origin.fingerprint

    def __len__(self) -> int:
        return len(self.origin)

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else short_path(self.path)
        size = f"{len(self)} samples, {len(self._outputs())} models"
        return f"<LogitStore {where}: {self.dataset} {self.split}, {size}>"

    def _outputs(self) -> dict[str, Output]:
        """Return the outputs by model. Other threads do not add to this dict."""
        return self._source.models.copy() if self._models is None else self._models

    @property
    def class_count(self) -> int | None:
        """Return the number of classes, or None if there are neither class names nor models."""
        if self.classes:
            return len(self.classes)
        return next((output.shape[1] for output in self._outputs().values()), None)

    @property
    def models(self) -> pd.DataFrame:
        """Return a table with one row per model, cheapest first.

        The columns are top1, top5, macs, seconds, parameters and other metadata. top1 and top5 are
        fractions. top5 is nan if there are at most five classes. The rows are sorted by MACs if all
        models have them, or else by seconds. Another kind of cost is used if it is the only kind
        (:attr:`cost_names`). Otherwise the models keep the order in which they were added.
        """
        outputs = self._outputs()
        cached_outputs, table = self._table
        if cached_outputs != outputs:
            table = make_model_table({name: output.metadata for name, output in outputs.items()})
            if self._rows is not None and self.labels is not None:
                scores = {
                    name: accuracies(self.ranks(name), outputs[name].shape[1])
                    for name in table.index
                }
                table = table.assign(**pd.DataFrame.from_dict(scores, orient="index"))
            self._table = (outputs, table)
        return table.copy()

    @property
    def cost_names(self) -> list[str]:
        """Return the kinds of cost that some model has, those of :data:`COSTS` first."""
        return find_cost_names(output.metadata for output in self._outputs().values())

    @property
    def default_cost(self) -> str:
        """Return the default kind of cost.

        It is the first kind of :data:`COSTS` that some model has. If no model has one of these, it
        is the only other kind. If there is no other kind, or several, it is "macs".
        """
        kinds = self.cost_names
        is_clear = len(kinds) == 1 or kinds and kinds[0] in COSTS
        return kinds[0] if is_clear else "macs"

    def metadata(self, name: str) -> dict:
        """Return the metadata in the header of a model, including nested values."""
        return copy.deepcopy(self._model(name).metadata)

    @property
    def cache_owner(self) -> Any:
        """Return the object whose caches hold results of these samples.

        Stores of all samples share them, whatever their models.
        """
        return self._source if self._rows is None else self

    def version(self, name: str) -> int:
        """Return a number that changes when a model is replaced."""
        return self._model(name).metadata["order"]

    def _model(self, name: str) -> Output:
        """Return the output of a model, or raise ValueError if it is unknown or broken."""
        outputs = self._outputs()
        broken = self._source.broken
        if validate_choice(name, [*outputs, *broken], "model") in broken:
            raise ValueError(f"model {name!r} cannot be read: {broken[name]}")
        return outputs[name]

    def logits(self, name: str) -> Array:
        """Return the logits of a model, float array of shape (n_samples, n_classes).

        If the output of the model is probabilities, their logarithms are returned.
        """
        output = self.output(name)
        return log_of(output) if self.holds_probabilities(name) else output

    def output(self, name: str) -> Array:
        """Return the added output of a model, shape (n_samples, n_classes).

        The array is read-only, and memory-mapped unless :meth:`take` selected rows. The first read
        checks the SHA-256 of the tensor (up to 256 MB; :meth:`verify` checks larger files).
        """
        tensor = self._model(name).tensor
        return tensor if self._rows is None else tensor[self._rows]

    def read(self, name: str, rows: slice) -> Array:
        """Return a copy of the output of a model on some samples."""
        tensor = np.asarray(self._model(name).tensor)  # indexing a memmap is slow
        return np.array(tensor[rows if self._rows is None else self._rows[rows]])

    def release_memory(self, name: str) -> None:
        """Free the pages of a mapped file, see :meth:`Output.release_memory`."""
        self._model(name).release_memory()

    def holds_probabilities(self, name: str) -> bool:
        """Return whether the :meth:`output` of a model is probabilities."""
        return self._model(name).kind == "probabilities"

    def ranks(self, name: str) -> Array:
        """Return the rank of each sample's true class, int64 array of shape (n_samples,).

        Rank 0 is top-1 correct, and a rank below 5 is top-5 correct. Equal outputs rank by class
        index, so ``ranks == 0`` is ``argmax == label``.
        """
        labels = self._source.labels.required_labels
        return self.compute_once(name, "ranks", lambda tensor: ranks_of(tensor, labels))

    def predicted(self, name: str) -> Array:
        """Return the predicted classes, int64 [n_samples]. Ties give the first class."""
        return self.compute_once(
            name, "predicted", lambda tensor: np.asarray(tensor).argmax(axis=1)
        )

    def compute_once(self, name: str, what: Any, compute: Callable[[Array], Array]) -> Array:
        """Return `compute(output)`, array [k, …], for these samples.

        It is computed for all samples of the full store and cached, since bootstraps and halvings
        take many views.
        """
        output = self._model(name)
        if what not in output.cache:
            output.cache[what] = compute(output.tensor)
            self.release_memory(name)
        values = output.cache[what]
        return values.copy() if self._rows is None else values[self._rows]

    def costs(self, cost: str) -> Array:
        """Return the cost per sample of each model.

        Parameters
        ----------
        cost : str
            A kind of cost: a key of :data:`COSTS`, or one of :attr:`cost_names`.

        Returns
        -------
        float64 array of shape (n_models,)
            Costs in the order of :attr:`models`.

        Raises
        ------
        ValueError
            If the kind is unknown, or if a model's cost is missing, nan, zero or negative.
        """
        table = self.models
        kinds = dict.fromkeys([*filter(table.__contains__, COSTS), *self.cost_names])
        column = pd.to_numeric(table[validate_choice(cost, kinds, "cost")], errors="coerce")
        costs = column.to_numpy(np.float64, na_value=np.nan)
        wrong = ~((costs > 0) & (costs < np.inf))
        if wrong.any():
            bad = [f"{name!r} ({value:g})" for name, value in zip(table.index[wrong], costs[wrong])]
            others = [kind for kind in self.cost_names if kind != cost]
            raise ValueError(
                f"{cost} must be positive numbers. It is missing (nan) or wrong for "
                f"{', '.join(bad)}. Pass {cost}= when the logits are added (count_macs(module, "
                "input) counts MACs), or select the other models with select(names)"
                + (f", or pass cost=, one of {others}" if others else "")
            )
        return costs

    sample_costs = costs

    def positives(self) -> Array:
        """Return which samples are of class 1, bool array of shape (n_samples,).

        F1 needs two classes. With another number of classes, a ValueError is raised.
        """
        classes = self.class_count
        if classes not in (None, 2):
            raise ValueError(
                f"F1 needs two classes, and this store has {classes}. Use score='top1'"
            )
        return self.origin.required_labels == 1

    def take(self, indices: Any) -> "LogitStore":
        """Return the store with its current models on some samples.

        indices : array of int (repeats allowed), array of bool of shape (n_samples,), or slice
        """
        rows = select_rows(indices, len(self), self.sample_ids)
        rows = rows if self._rows is None else self._rows[rows]
        return copy.copy(self)._use(self._source, rows, self._outputs())

    def select(self, names: str | Iterable[str]) -> "LogitStore":
        """Return the store with some of its models."""
        models = {name: self._model(name) for name in items_of(names)}
        return copy.copy(self)._use(self._source, self._rows, models)

    def to_scores(self, path: str | Path, temperatures: Mapping[str, float] | None = None) -> None:
        """Write what the notebooks of the paper need of a study, without logits, into one file.

        The file has predictions, ranks of the labels, four confidence metrics and costs: 20 bytes
        per sample and model, 36 with temperatures. :class:`cascadelib.store.ScoreFile` reads it.

        Parameters
        ----------
        path : str or Path
            The parquet file.
        temperatures : dict, optional
            Fitted temperature of each model, for methods with temperature scaling:
            ``cl.METHODS["entropy_most_confident_ts"].fit(store).temperatures``.

        Raises
        ------
        ValueError
            If the store has no labels.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import cascadelib as cl
        >>> logits = {"small": [[2.0, 1.0], [0.0, 0.5]], "large": [[3.0, 0.0], [1.0, 0.0]]}
        >>> store = cl.LogitStore.from_arrays([0, 0], logits, macs={"small": 10, "large": 100})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store.to_scores(Path(folder, "val.parquet"))
        ...     scores = cl.store.ScoreFile(Path(folder, "val.parquet"))
        >>> cl.search(scores, 2).table["accuracy"].tolist()
        [0.5, 1.0]
        """
        from .score_file import write_scores  # loads pyarrow

        write_scores(self, path, temperatures)

    def labelled(self, labels: ArrayLike) -> "LogitStore":
        """Return the store with its current models and other labels, in memory."""
        origin = Origin.from_labels(labels, self.sample_ids, self.classes)
        source = Memory(replace(self.origin, values=origin.values, classes=origin.classes))
        for name, output in self._outputs().items():
            tensor = self.output(name)
            metadata = output.metadata | compute_accuracies(tensor, origin)
            source.models[name] = Output.from_tensor(tensor, metadata, output.kind)
        return copy.copy(self)._use(source)

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
        """Add the output of one model on all samples, atomically.

        Parameters
        ----------
        name : str
            Name of the model.
        logits : array or tensor of shape (n_samples, n_classes)
            Output in the order of the store's samples.
        sample_ids : array of shape (n_samples,), optional
            Ids to compare with those of the store.
        macs, seconds : float, optional
            Positive cost per sample.
        replace : bool, default=False
            Whether a model of the same name may be replaced.
        dtype : {"float16", "float32", "float64"}, default="float32"
            Type of the stored tensor.
        probabilities : bool or array of shape (n_samples, n_classes), default=False
            True if `logits` contains probabilities. Alternatively, the array of probabilities
            itself, without `logits`.
        normalise : bool, default=False
            Whether rows of probabilities are divided by their sums.
        **metadata
            Stored in the header. A number can serve as a kind of cost, such as ``joules=…``.

        Raises
        ------
        ValueError
            If the name, a cost, the metadata or the output is invalid. The message names the model
            and the first invalid row. The store does not change.
        """
        if self._models is not None:
            raise ValueError(
                f"model {name!r} cannot be added to a view of a store; add it to the full store"
            )
        file_name(name)  # raises for a name that a file cannot have
        header = check_metadata(name, metadata, {"macs": macs, "seconds": seconds})
        if not isinstance(probabilities, bool):
            if logits is not None:
                raise ValueError(f"model {name!r}: give logits or probabilities, not both")
            logits = probabilities
            probabilities = True
        output = check_logits(name, logits, sample_ids, self.origin, dtype)
        if probabilities:
            output = check_probabilities(name, output, normalise, self.origin)
        scores = compute_accuracies(output, self.origin)
        kind = "probabilities" if probabilities else "logits"
        with ADD_LOCK:
            models = self._source.models
            if not replace and (name in models or name in self._source.broken):
                raise ValueError(describe_duplicate(name))
            self._check_class_count(name, output.shape[1])
            last = max((stored.metadata["order"] for stored in models.values()), default=-1)
            entry = {"model": name, "order": last + 1} | scores | header
            self._source.put(name, Output.from_tensor(output, entry, kind), replace)

    def _check_class_count(self, name: str, found: int) -> None:
        """Raise ValueError if a new model has another number of classes than the store."""
        models = self._source.models
        others = (stored.shape[1] for other, stored in models.items() if other != name)
        expected = len(self.classes) if self.classes else next(others, found)
        if found != expected:
            raise ValueError(
                f"model {name!r}: logits for {found} classes, but the store has {expected}"
            )

    def verify(self) -> None:
        """Read all files and check their digests.

        Raises
        ------
        ValueError
            If a file is broken. The message lists each broken file and the failed check.
        """
        failures = list(self._source.broken.values())
        for output in self._outputs().values():
            try:
                output.open()
            except (ValueError, OSError) as error:
                failures.append(str(error))
        if failures:
            raise ValueError("the store is damaged:\n" + "\n".join(failures))
