"""Faults of a table: one per kind, with the number of cells and examples."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

SHOWN = 10  # examples of each kind
Place = Callable[[int, int], str]  # converts the numbers of a model and a sample to words


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Parameters
    ----------
    what : str
        The cells, rows or samples that are wrong, in the plural.
    count : int
        Their number.
    examples : tuple of str
        The first ones, with sample id and line.
    remedy : str
        What to do.
    """

    what: str
    count: int
    examples: tuple[str, ...]
    remedy: str = ""

    def __str__(self) -> str:
        more = self.count - len(self.examples)
        shown = "; ".join(self.examples) + (f"; and {more:,} more" if more > 0 else "")
        return f"{self.what}: {self.count:,}" + (f" ({shown})" if self.examples else "")


def find_cell_faults(
    what: str, wrong: Array, place: Place, remedy: str = "", shown: Array | None = None
) -> list[Fault]:
    """Return the fault of the cells in ``wrong``, bool [models, samples], or an empty list.

    The examples quote the values ``shown`` [models, samples].
    """
    examples = []
    for sample, model in np.argwhere(wrong.T)[:SHOWN].tolist():
        quoted = "" if shown is None else f"{shown[model, sample].item()!r} at "
        examples.append(quoted + place(model, sample))
    count = int(np.count_nonzero(wrong))
    return [Fault(what, count, tuple(examples), remedy)] if count else []


def describe_faults(faults: Iterable[Fault]) -> str:
    """Return one line per fault. Each remedy follows the last fault that it corrects."""
    by_remedy: dict[str, list[str]] = {}
    for fault in faults:
        by_remedy.setdefault(fault.remedy, []).append(str(fault))
    return "\n".join(
        "\n".join(texts) + (f". {remedy}" if remedy else "") for remedy, texts in by_remedy.items()
    )


def refuse(faults: Iterable[Fault]) -> None:
    """Raise a ValueError that lists all faults, if there are any."""
    if text := describe_faults(faults):
        raise ValueError(text)
