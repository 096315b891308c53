"""Define stage functions: the outcome of a cascade after each of its models."""

from collections.abc import Callable, Iterable

from numpy import ndarray as Array

Outcome = tuple[Array, Array]
"""Of a cascade's output after some models: (correct [k], confidence float64 [k], higher = more
confident)."""
StageFunction = Callable[[tuple[int, ...]], Outcome]
"""Prefix of a cascade (its models' positions) → :data:`Outcome`."""


class Stage:
    """Wrap a stage function. A subclass may compute many prefixes together.

    It overrides :meth:`prepare` or :meth:`correct` if that is cheaper than separate calls.
    """

    def __init__(self, function: StageFunction) -> None:
        self.function = function

    def __call__(self, prefix: tuple[int, ...]) -> Outcome:
        """Return the outcome after `prefix`."""
        return self.function(prefix)

    def correct(self, prefix: tuple[int, ...]) -> Array:
        """Return only the correctness, since the last stage of a cascade needs no confidence."""
        return self(prefix)[0]

    def prepare(self, correct: Iterable[tuple], confidence: Iterable[tuple]) -> None:
        """Announce the prefixes whose correctness and whose confidence will be requested."""


def stage_of(function: StageFunction) -> Stage:
    """Return a stage function as a :class:`Stage`."""
    return function if isinstance(function, Stage) else Stage(function)
