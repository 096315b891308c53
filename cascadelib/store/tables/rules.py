"""The rules that concern cells of a table, as data: what is wrong, or what is read instead."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

SHOWN = 10  # examples of each rule
Place = Callable[[int, int], str]  # converts the numbers of a model and a sample to words


@dataclass(frozen=True)
class Rule:
    """A rule that concerns some cells, rows or samples of a table.

    Parameters
    ----------
    name : str
        What these cells, rows or samples are, in the plural.
    count : int
        Their number.
    examples : tuple of str
        The first ones, with sample id and line.
    remedy : str
        What to do.
    read : str
        What is read instead. "" means that they cannot be read, so that the rule is a fault.
    """

    name: str
    count: int
    examples: tuple[str, ...] = ()
    remedy: str = ""
    read: str = ""

    def __str__(self) -> str:
        more = self.count - len(self.examples)
        shown = "; ".join(self.examples) + (f"; and {more:,} more" if more > 0 else "")
        instead = f", read {self.read}" if self.read else ""
        return f"{self.name}: {self.count:,}{instead}" + (f" ({shown})" if self.examples else "")


def find_cells(
    name: str, chosen: Array, place: Place, remedy: str = "", shown: Array | None = None
) -> list[Rule]:
    """Return the fault of the chosen cells, bool [models, samples], or an empty list.

    The examples quote the values ``shown`` [models, samples].
    """
    examples = []
    for sample, model in np.argwhere(chosen.T)[:SHOWN].tolist():
        quoted = "" if shown is None else f"{shown[model, sample].item()!r} at "
        examples.append(quoted + place(model, sample))
    count = int(np.count_nonzero(chosen))
    return [Rule(name, count, tuple(examples), remedy)] if count else []


def describe_rules(rules: Iterable[Rule]) -> str:
    """Return one line per rule. Each remedy follows the last rule that it concerns."""
    by_remedy: dict[str, list[str]] = {}
    for rule in rules:
        by_remedy.setdefault(rule.remedy, []).append(str(rule))
    return "\n".join(
        "\n".join(texts) + (f". {remedy}" if remedy else "") for remedy, texts in by_remedy.items()
    )


def has_faults(rules: Iterable[Rule]) -> bool:
    """Return whether the cells of a rule have no reading."""
    return not all(rule.read for rule in rules)


def refuse(rules: Iterable[Rule]) -> None:
    """Raise a ValueError that lists all faults among the rules, if there are any."""
    if text := describe_rules(rule for rule in rules if not rule.read):
        raise ValueError(text)
