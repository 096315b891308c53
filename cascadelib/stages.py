"""What a cascade puts out after each of its models, as a function of the models run so far."""

from collections.abc import Callable, Iterable

from numpy import ndarray as Array

Outcome = tuple[Array, Array]
"""Of a cascade's output after some models: (correct [k], confidence float64 [k], higher = more
confident)."""
StageFunction = Callable[[tuple[int, ...]], Outcome]
"""Prefix of a cascade (its models' positions) → :data:`Outcome`."""


class Stage:
    """A stage function, and what one that computes many prefixes together does better by itself.

    A subclass for which :meth:`prepare` or :meth:`correct` is cheaper than calls overrides them.
    """

    def __init__(self, function: StageFunction) -> None:
        self.function = function

    def __call__(self, prefix: tuple[int, ...]) -> Outcome:
        """The outcome after ``prefix``."""
        return self.function(prefix)

    def correct(self, prefix: tuple[int, ...]) -> Array:
        """Correctness alone, [k]: the last stage of a cascade needs no confidence."""
        return self(prefix)[0]

    def prepare(self, correct: Iterable[tuple], confidence: Iterable[tuple]) -> None:
        """Say which prefixes' correctness, and which ones' confidence, will be asked for."""


def stage_of(function: StageFunction) -> Stage:
    """A stage function as a :class:`Stage`."""
    return function if isinstance(function, Stage) else Stage(function)
