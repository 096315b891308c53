"""Faults of the cells of a table, as data: what is wrong, where, and what to do."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray as Array

SHOWN = 3  # examples of each fault
Place = Callable[[int, int], str]  # describes a cell by the numbers of its model and sample


@dataclass(frozen=True)
class Fault:
    """Cells, rows or samples that cannot be read.

    Parameters
    ----------
    name : str
        What they are, in the plural.
    count : int
        Their number.
    examples : tuple of str
        The first ones.
    remedy : str
        What to do.
    lines : tuple of str
        Lines of pandas, each of which repairs a column.
    """

    name: str
    count: int
    examples: tuple[str, ...] = ()
    remedy: str = ""
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = self.count - len(self.examples)
        shown = "; ".join(self.examples) + (f"; and {more:,} more" if more > 0 else "")
        text = f"{self.name}: {self.count:,}" + (f" ({shown})" if self.examples else "")
        text += f". {self.remedy}" if self.remedy else ""
        return "".join([text, *(f"\n    {line}" for line in self.lines)])


def find_cells(
    name: str, chosen: Array, place: Place, quote: Place | None = None, **remedies: Any
) -> list[Fault]:
    """Return the fault of the chosen cells, bool [models, samples], or an empty list.

    ``quote`` returns what the examples quote of a cell.
    """
    examples = []
    for sample, model in np.argwhere(chosen.T)[:SHOWN].tolist():
        quoted = f"{quote(model, sample)} at " if quote else ""
        examples.append(quoted + place(model, sample))
    count = int(np.count_nonzero(chosen))
    return [Fault(name, count, tuple(examples), **remedies)] if count else []


def quoting(values: Array) -> Place:
    """Return the function that quotes a value [models, samples]."""
    return lambda model, sample: repr(values[model, sample].item())


def refuse(faults: Iterable[Fault], closing: str = "") -> None:
    """Raise a ValueError that lists all faults, if there are any, and ends with a sentence."""
    lines = [*map(str, faults)]
    if lines:
        raise ValueError("\n".join([*lines, closing]).strip())
