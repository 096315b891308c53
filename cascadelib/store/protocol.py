"""What every store of scores offers, so that nobody asks which kind it is."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import pandas as pd
from numpy import ndarray as Array

from ..labels import Labels
from ..stages import StageFunction


@runtime_checkable
class Store(Protocol):
    """Scores of M models on k samples: a :class:`LogitStore`, a :class:`ScoreTable`, or a class of
    your own.

    A class with these members works in every public function that takes a store;
    :func:`cascadelib.store.conformance.check_conformance` tells whether it keeps what they promise.

    Attributes
    ----------
    has_predictions : bool
        Whether :meth:`predicted` knows what the models predict.
    path : pathlib.Path or None
        The folder on disk.
    """

    path: Any

    @property
    def has_predictions(self) -> bool:
        """Whether :meth:`predicted` knows what the models predict."""

    @property
    def origin(self) -> Labels:
        """Where the samples come from."""

    @property
    def models(self) -> pd.DataFrame:
        """A row per model, cheapest first: top1, costs, and more."""

    @property
    def class_count(self) -> int | None:
        """How many classes the models' outputs have; None where there are no outputs."""

    @property
    def cost_names(self) -> list[str]:
        """Kinds of cost that some model has."""

    @property
    def default_cost(self) -> str:
        """The kind of cost that counts where none is asked for."""

    def __len__(self) -> int: ...

    def asked(self, method: Any, score: str | None, cost: str | None) -> tuple[Any, str, str]:
        """What a search of this store means: (a :class:`cascadelib.Method`, the name of one, or
        None where confidences are given; score; kind of cost).

        None stands for what was not asked for; ValueError for what this store cannot honour.
        """

    def outcome(self, names: list[str], method: Any, score: str) -> StageFunction:
        """The stage function of models ``names`` under a method as :meth:`asked` gives it (a
        Method, or None) and a score.

        Under F1 a stage says which predictions are correct, as under top-1.
        """

    def column(self, name: str, what: str) -> Array | None:
        """What a fitted confidence reads of a model under the name ``what``, float64 or text [k].

        None: it is a metric of the model's outputs, to be computed. ValueError where there is no
        such column.
        """

    def predicted(self, name: str) -> Array:
        """Prediction of a model for each sample, [k]; ValueError where predictions are unknown."""

    def labelled(self, labels: Any) -> "Store":
        """The same with other labels [k], of the kind that :meth:`predicted` gives."""

    def positives(self) -> Array:
        """Bool [k]: the samples of class 1, whose F1 is asked for; ValueError where there are not
        two classes."""

    def metadata(self, name: str) -> dict:
        """What is recorded of a model, as plain JSON: checkpoint, preprocessing …; {}: nothing."""

    def costs(self, cost: str) -> Array:
        """Mean cost per sample of each model, float64 [M], in the order of ``models``; cost: the
        kind."""

    def sample_costs(self, cost: str) -> Array:
        """The same, [M], or [M, k] where costs differ by sample."""

    def take(self, indices: Any) -> "Store":
        """The same on some of its samples."""

    def select(self, names: str | Iterable[str]) -> "Store":
        """The same with some of its models."""
