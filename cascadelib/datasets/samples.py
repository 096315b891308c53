"""Labelled inputs. Extraction asks a data set for its length, labels, ids, class names, origin, and batches of rows."""

from dataclasses import dataclass

import numpy as np
import torch

from ..labels import chosen_rows, settle


@dataclass(frozen=True, eq=False)
class Samples:
    """k labelled inputs in memory (or a memory-mapped array): inputs numpy or torch [k, …], labels int [k].

    Ids default to row numbers. Raises ValueError naming what is wrong: lengths, labels, repeated ids.
    """

    inputs: np.ndarray | torch.Tensor
    labels: np.ndarray
    sample_ids: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    dataset: str = ""
    split: str = ""

    def __post_init__(self):
        if (
            not isinstance(self.inputs, torch.Tensor)
            and getattr(self.inputs, "dtype", np.dtype("O")).kind not in "biuf"
        ):
            raise ValueError("inputs must be a numeric numpy array or a torch tensor [samples, …]")
        settle(self, len(self.inputs), "inputs")

    def __len__(self):
        return len(self.labels)

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Inputs of rows start … stop − 1, [stop − start, …]."""
        inputs = self.inputs[start:stop]
        # A read-only map is copied: torch would warn that it could be written through.
        return inputs if isinstance(inputs, torch.Tensor) else torch.from_numpy(np.require(inputs, requirements="CW"))

    def take(self, indices) -> "Samples":
        """Some of the samples: distinct row indices, a bool mask [k] or a slice."""
        rows = chosen_rows(indices, len(self))
        return Samples(
            self.inputs[rows], self.labels[rows], self.sample_ids[rows], self.classes, self.dataset, self.split
        )


def from_arrays(inputs, labels, sample_ids=None, classes=None, dataset="", split="") -> Samples:
    """:class:`Samples` from arrays or nested lists of numbers."""
    inputs = inputs if isinstance(inputs, torch.Tensor) else np.asanyarray(inputs)
    labels = labels.cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    return Samples(inputs, labels, sample_ids, classes, dataset, split)
