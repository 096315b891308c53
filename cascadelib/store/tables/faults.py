"""Faults of a table: one per kind, with the number of cells and examples."""

from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 10  # examples of each kind


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


def describe_faults(faults: Iterable[Fault]) -> str:
    """Return a line per fault, and each remedy once, after its last fault."""
    by_remedy: dict[str, list[str]] = {}
    for fault in faults:
        by_remedy.setdefault(fault.remedy, []).append(str(fault))
    return "\n".join(
        "\n".join(texts) + (f". {remedy}" if remedy else "") for remedy, texts in by_remedy.items()
    )


def refuse(faults: Iterable[Fault]) -> None:
    """Raise a ValueError that lists all faults, if there are any."""
    text = describe_faults(faults)
    if text:
        raise ValueError(text)
