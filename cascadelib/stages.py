"""Define stage functions: the outcome of a cascade after each of its models."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray as Array

Outcome = tuple[Array, Array]
"""Outcome of k samples after some models: correctness (k,), and confidence float64 (k,), higher =
more confident."""
StageFunction = Callable[[tuple[int, ...]], Outcome]
"""Function from a prefix of a cascade (positions of models) to its :data:`Outcome`."""


def prefixes_of(cascade: tuple) -> list[tuple]:
    """Return the prefixes of a cascade, the shortest first. The last is the whole cascade."""
    return [cascade[: i + 1] for i in range(len(cascade))]


class Stage:
    """Wrap a stage function.

    A subclass that can compute many prefixes together overrides :meth:`prepare`. If the correctness
    is cheaper without the confidence, it is a :class:`DelayingStage`.
    """

    def __init__(self, function: StageFunction) -> None:
        self.function = function

    def __call__(self, prefix: tuple[int, ...]) -> Outcome:
        """Return the outcome after `prefix`."""
        return self.function(prefix)

    def correct(self, prefix: tuple[int, ...]) -> Array:
        """Return only the correctness. The last stage of a cascade needs no confidence."""
        return self(prefix)[0]

    def last(self, prefix: tuple[int, ...]) -> Outcome:
        """Return the outcome after a whole cascade."""
        return self(prefix)

    def prepare(self, correct: Iterable[tuple], confidence: Iterable[tuple]) -> None:
        """Announce the prefixes whose correctness, and those whose confidence, is needed later."""


@dataclass(frozen=True, eq=False)
class DelayedConfidence:
    """Hold the confidence (k,) after a prefix. It is computed when it is read as an array."""

    stage: Stage
    prefix: tuple

    def __len__(self) -> int:
        return len(self.stage.correct(self.prefix))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.stage(self.prefix)[1], dtype)


class DelayingStage(Stage):
    """Delay the confidence after a whole cascade, which decides nothing.

    Subclasses define ``correct`` without computing the confidence.
    """

    def last(self, prefix: tuple[int, ...]) -> Outcome:
        """Return the correctness, and a confidence that is computed when it is read."""
        return self.correct(prefix), DelayedConfidence(self, prefix)  # type: ignore[return-value]


def stage_of(function: StageFunction) -> Stage:
    """Return a stage function as a :class:`Stage`."""
    return function if isinstance(function, Stage) else Stage(function)
