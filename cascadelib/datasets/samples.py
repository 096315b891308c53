"""Labelled inputs.

Extraction asks a data set for its length, labels, ids, class names, origin, and batches of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from ..labels import aligned, chosen_rows, labels_of


@dataclass(frozen=True, eq=False, repr=False)
class Labelled:
    """k inputs of any kind, with their labels.

    Parameters
    ----------
    inputs
        k of them.
    labels : array_like
        int [k].
    sample_ids : array_like, optional
        Kept as str [k]; by default the row numbers.
    classes : sequence of str, optional
        Names of the classes, in the order of the labels.
    dataset, split : str
        Where the samples come from.

    Raises
    ------
    ValueError
        For lengths that differ, labels outside the classes, and ids that repeat.
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
        vars(self).update(
            labels=checked.needed,
            sample_ids=checked.sample_ids,
            classes=checked.classes,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        origin = " ".join(filter(None, (type(self).__name__, self.dataset, self.split)))
        return f"<{origin}: {len(self)} {self.word}{classes}>"

    def take(self, indices: Any) -> Self:
        """Select some of the samples.

        Parameters
        ----------
        indices : array_like or slice
            Row numbers that do not repeat, or a bool mask [k].

        Returns
        -------
        The same kind of data set.
        """
        rows = chosen_rows(indices, len(self), self.sample_ids)
        if isinstance(self.inputs, tuple):
            inputs = tuple(self.inputs[row] for row in rows)
        else:
            inputs = self.inputs[rows]
        return replace(
            self,
            inputs=inputs,
            labels=self.labels[rows],
            sample_ids=self.sample_ids[rows],
        )


class Samples(Labelled):
    """k labelled inputs in memory, or memory-mapped.

    Parameters
    ----------
    inputs : array_like
        Numbers [k, …]: a numpy array, a torch tensor, or nested lists.
    labels, sample_ids, classes, dataset, split
        int [k], the names of the k samples and of the classes, and where they come from.

    Raises
    ------
    ValueError
        For inputs that are no numbers; for lengths that differ, labels outside the classes, and ids
        that repeat.
    """

    def __post_init__(self) -> None:
        ids = self.sample_ids
        if ids is None:
            ids = getattr(self.inputs, "index", None) if hasattr(self.inputs, "axes") else None
        inputs = aligned(self.inputs, "inputs", ids)
        if not isinstance(inputs, torch.Tensor):
            inputs = np.asanyarray(inputs)
            if inputs.dtype.kind not in "biuf":
                raise ValueError(
                    "inputs must be a numeric numpy array or a torch tensor [samples, …]"
                )
        labels = aligned(self.labels, "labels", ids)
        if isinstance(labels, torch.Tensor):
            labels = labels.cpu().numpy()
        vars(self).update(inputs=inputs, labels=labels)
        super().__post_init__()

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Inputs of rows start … stop − 1, [stop − start, …]."""
        inputs = self.inputs[start:stop]
        if isinstance(inputs, torch.Tensor):
            return inputs
        # A read-only map is copied: torch would warn that it could be written through.
        return torch.from_numpy(np.require(inputs, None, ["C", "W"]))
