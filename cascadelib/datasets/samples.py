"""Labelled inputs.

Extraction asks a data set for its length, labels, ids, class names, origin, and batches of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from ..labels import chosen_rows, labels_of


@dataclass(frozen=True, eq=False)
class Labelled:
    """k inputs of any kind with labels int [k]; ids, kept as str [k], default to row numbers.

    Raises ValueError naming what is wrong: lengths, labels, repeated ids.
    """

    inputs: Any
    labels: Any
    sample_ids: Any = None
    classes: Sequence[str] | None = None
    dataset: str = ""
    split: str = ""
    word: ClassVar[str] = "inputs"

    def __post_init__(self) -> None:
        checked = labels_of(self)
        if len(self.inputs) != len(checked):
            raise ValueError(f"{len(self.inputs)} {self.word} for {len(checked)} labels")
        settled = {
            "labels": checked.needed,
            "sample_ids": checked.sample_ids,
            "classes": checked.classes,
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Any) -> Self:
        """Some of the samples: distinct row indices, a bool mask [k] or a slice."""
        rows = chosen_rows(indices, len(self))
        inputs = (
            tuple(self.inputs[row] for row in rows)
            if isinstance(self.inputs, tuple)
            else self.inputs[rows]
        )
        return replace(
            self, inputs=inputs, labels=self.labels[rows], sample_ids=self.sample_ids[rows]
        )


class Samples(Labelled):
    """k :class:`Labelled` inputs, in memory or memory-mapped: numbers [k, …] as numpy or torch, or
    nested lists.
    """

    def __post_init__(self) -> None:
        inputs = (
            self.inputs if isinstance(self.inputs, torch.Tensor) else np.asanyarray(self.inputs)
        )
        if not isinstance(inputs, torch.Tensor) and inputs.dtype.kind not in "biuf":
            raise ValueError("inputs must be a numeric numpy array or a torch tensor [samples, …]")
        object.__setattr__(self, "inputs", inputs)
        if isinstance(self.labels, torch.Tensor):
            object.__setattr__(self, "labels", self.labels.cpu().numpy())
        super().__post_init__()

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Inputs of rows start … stop − 1, [stop − start, …]."""
        inputs = self.inputs[start:stop]
        # A read-only map is copied: torch would warn that it could be written through.
        return (
            inputs
            if isinstance(inputs, torch.Tensor)
            else torch.from_numpy(np.require(inputs, None, ["C", "W"]))
        )
