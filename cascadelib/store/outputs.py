"""Read the outputs of models on the samples of a store, and what follows from them."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from numpy.typing import ArrayLike

from ..checks import items_of, validate_choice
from ..figures.cost_kinds import COSTS
from ..labels import select_rows
from ..origin import Origin
from ..stages import StageFunction, accuracies, log_of, ranks_of
from .formats import Folder, Memory, Output
from .model_checks import compute_accuracies
from .model_table import find_cost_names, make_model_table


class Outputs:
    """The outputs of some models on some samples of a folder, or of a store in memory."""

    origin: Origin
    labels: Array | None
    classes: tuple[str, ...] | None
    _source: Folder | Memory
    _rows: Array | None  # None for all samples
    _models: dict[str, Output] | None  # None for all models, and those that are added later
    _table: Any  # outputs by model, and the table of these models
    has_predictions = True

    def _use(
        self,
        source: Folder | Memory,
        rows: Array | None = None,
        models: dict[str, Any] | None = None,
    ) -> Self:
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

    def __len__(self) -> int:
        return len(self.origin)

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
        checks the SHA-256 of the tensor (:meth:`verify` also checks files above 64 million values).
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

    def take(self, indices: Any) -> Self:
        """Return the store with its current models on some samples.

        indices : array of int (repeats allowed), array of bool of shape (n_samples,), or slice
        """
        rows = select_rows(indices, len(self), self.sample_ids)
        rows = rows if self._rows is None else self._rows[rows]
        return copy.copy(self)._use(self._source, rows, self._outputs())

    def select(self, names: str | Iterable[str]) -> Self:
        """Return the store with some of its models."""
        models = {name: self._model(name) for name in items_of(names)}
        return copy.copy(self)._use(self._source, self._rows, models)

    def labelled(self, labels: ArrayLike) -> Self:
        """Return the store with its current models and other labels, in memory."""
        origin = Origin.from_labels(labels, self.sample_ids, self.classes)
        source = Memory(replace(self.origin, values=origin.values, classes=origin.classes))
        for name, output in self._outputs().items():
            tensor = self.output(name)
            metadata = output.metadata | compute_accuracies(tensor, origin)
            source.models[name] = Output.from_tensor(tensor, metadata, output.kind)
        return copy.copy(self)._use(source)

    def resolve_options(
        self, method: Any = None, score: str | None = None, cost: str | None = None
    ) -> tuple[Any, str, str]:
        """Return (method, score, kind of cost) of a search, with the defaults filled in."""
        return (
            "max_softmax" if method is None else method,
            "top1" if score is None else score,
            self.default_cost if cost is None else cost,
        )

    def temperature(self, name: str) -> float | None:
        """Return the temperature of a model, or None if it is to be fitted on these samples."""
        return None

    def outcome(self, names: list[str], method: Any, score: str = "top1") -> StageFunction:
        """Return the stage function of models under a Method (:meth:`cascadelib.Method.stage`)."""
        return method.stage(self, names, score)
