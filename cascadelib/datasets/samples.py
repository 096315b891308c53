"""Labelled inputs with ids, class names, origin and batches of rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from ..labels import align_values, select_rows
from ..origin import origin_of


@dataclass(frozen=True, eq=False, repr=False)
class Labelled:
    """Base class of labelled inputs of any type.

    Parameters
    ----------
    inputs : sequence
        Inputs of the samples.
    labels : array-like of int, shape (n_samples,)
        Class numbers.
    sample_ids : array-like of shape (n_samples,), optional
        Ids of the samples, stored as str. Defaults to the row numbers, which do not identify
        samples of other data sets.
    classes : sequence of str, optional
        Names of the classes in the order of the labels.
    dataset, split : str, default=""
        Origin of the samples.

    Raises
    ------
    ValueError
        If lengths differ, if labels are not in the classes, or if ids repeat.
    """

    inputs: Any
    labels: Any
    sample_ids: Any = None
    classes: Sequence[str] | None = None
    dataset: str = ""
    split: str = ""
    noun: ClassVar[str] = "inputs"

    def __post_init__(self) -> None:
        checked = origin_of(self)
        if len(self.inputs) != len(checked):
            raise ValueError(f"{len(self.inputs)} {self.noun} for {len(checked)} labels")
        vars(self).update(
            labels=checked.required_labels,
            sample_ids=checked.sample_ids,
            classes=checked.classes,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        origin = " ".join(filter(None, (type(self).__name__, self.dataset, self.split)))
        return f"<{origin}: {len(self)} {self.noun}{classes}>"

    def take(self, indices: Any) -> Self:
        """Select samples.

        Parameters
        ----------
        indices : array-like or slice
            Row numbers without repetitions, or a bool mask of shape (n_samples,).

        Returns
        -------
        Samples, Texts or Photographs
            Data set of the same type.
        """
        rows = select_rows(indices, len(self), self.sample_ids)
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
    """Store labelled arrays in memory or memory-mapped.

    Parameters
    ----------
    inputs : array-like of shape (n_samples, …)
        Numbers in a NumPy array, a torch tensor or nested lists.
    labels : array-like of int, shape (n_samples,)
        Class numbers.
    sample_ids : array-like of shape (n_samples,), optional
        Ids of the samples. Defaults to the row numbers, which do not identify samples of other data
        sets.
    classes : sequence of str, optional
        Names of the classes in the order of the labels.
    dataset, split : str, default=""
        Origin of the samples.

    Raises
    ------
    ValueError
        If inputs are not numbers, if lengths differ, if labels are not in the classes, or if ids
        repeat.

    See Also
    --------
    extract : Run models on a data set.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> samples = cl.datasets.Samples(np.zeros((4, 8)), [0, 1, 1, 0], classes=["a", "b"])
    >>> samples.take([1, 2])
    <Samples: 2 inputs, 2 classes>
    """

    def __post_init__(self) -> None:
        ids = self.sample_ids
        if ids is None:
            ids = getattr(self.inputs, "index", None) if hasattr(self.inputs, "axes") else None
        inputs = align_values(self.inputs, "inputs", ids)
        if not isinstance(inputs, torch.Tensor):
            inputs = np.asanyarray(inputs)
            if inputs.dtype.kind not in "biuf":
                raise ValueError(
                    "inputs must be a numeric numpy array or a torch tensor [samples, …]"
                )
        labels = align_values(self.labels, "labels", ids)
        if isinstance(labels, torch.Tensor):
            labels = labels.cpu().numpy()
        vars(self).update(inputs=inputs, labels=labels)
        super().__post_init__()

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Return the inputs of rows start … stop − 1, [stop − start, …]."""
        inputs = self.inputs[start:stop]
        if isinstance(inputs, torch.Tensor):
            return inputs
        # A read-only map is copied, since torch would warn that it could be overwritten.
        return torch.from_numpy(np.require(inputs, None, ["C", "W"]))
