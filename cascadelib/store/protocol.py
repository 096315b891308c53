"""The Protocol of stores. Functions that take a store use these members only."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..origin import Origin
from ..stages import StageFunction


@runtime_checkable
class Store(Protocol):
    """Scores of M models on k samples: a LogitStore, a ScoreTable, or another class.

    A class with these members works in every public function that takes a store.

    Attributes
    ----------
    has_predictions : bool
        Whether the store has predictions.
    path : pathlib.Path or None
        The folder on disk.
    """

    path: Any

    @property
    def has_predictions(self) -> bool:
        """Return whether the store has predictions."""

    @property
    def origin(self) -> Origin:
        """Return the ids, labels and origin of the samples."""

    @property
    def models(self) -> pd.DataFrame:
        """Return a row per model, cheapest first: top1, costs, and more."""

    @property
    def class_count(self) -> int | None:
        """Return the number of classes of the outputs, or None without outputs."""

    @property
    def cost_names(self) -> list[str]:
        """Return the kinds of cost that some model has."""

    @property
    def default_cost(self) -> str:
        """Return the default kind of cost."""

    def __len__(self) -> int: ...

    def resolve_options(
        self, method: Any, score: str | None, cost: str | None
    ) -> tuple[Any, str, str]:
        """Return (method, score, kind of cost) of a search, with defaults instead of None.

        The method is a :class:`cascadelib.Method`, its name, or None if the store has confidences.
        Unsupported options raise a ValueError.
        """

    def outcome(self, names: list[str], method: Any, score: str) -> StageFunction:
        """Return the stage function of models, for a Method (or None) and a score.

        For F1, a stage returns which predictions are correct, as for top-1.
        """

    def predicted(self, name: str) -> Array:
        """Return the predictions of a model [k], or raise a ValueError if they are unknown."""

    def labelled(self, labels: Any) -> "Store":
        """Return the store with other labels [k], of the type of :meth:`predicted`."""

    def positives(self) -> Array:
        """Return which samples are of class 1, bool [k], for F1.

        Raises a ValueError unless there are two classes.
        """

    def metadata(self, name: str) -> dict:
        """Return the metadata of a model as JSON values: checkpoint, preprocessing …"""

    def costs(self, cost: str) -> Array:
        """Return the mean costs per sample, float64 [M], in the order of ``models``."""

    def sample_costs(self, cost: str) -> Array:
        """Return costs [M], or [M, k] if they differ by sample."""

    def take(self, indices: Any) -> "Store":
        """Return the store of some samples."""

    def select(self, names: str | Iterable[str]) -> "Store":
        """Return the store of some models."""


def answered_by_models(store: Any, models: list[str]) -> Array:
    """Return which samples each model answered, bool [M, k]. A store of logits has all answers."""
    answered = getattr(store, "answered", None)
    if answered is None:
        return np.ones((len(models), len(store)), bool)
    return answered[[store.row(name) for name in models]]
