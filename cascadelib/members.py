"""The models of a running cascade: found by name or handed over, told apart by their weights, called on batches."""

from dataclasses import dataclass

import numpy as np
import torch

from . import candidates, zoo
from .batches import as_inputs, size_of
from .names import known


class Called(torch.nn.Module):
    """Any callable as a module: an API, another framework, a compiled function. It gets batches as they are."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, batch):
        return self.function(batch)


@dataclass(eq=False)
class Member:
    """One model of a cascade; ``classes`` is learnt from its first output."""

    name: str
    module: torch.nn.Module
    transform: object
    classes: int | None = None

    def logits(self, batch):
        """Logits of a raw batch of N samples, numpy [N, classes], float64 where the model's are, else float32.

        The batch is on the device of the model's weights, and cast to their dtype, when the module sees it; a transform
        gets it on that device as well. ValueError, naming the model, for outputs that are no logits.
        """
        weight = next(self.module.parameters(), None)
        device, dtype = (weight.device, weight.dtype) if weight is not None else (None, None)
        if isinstance(self.module, Called):
            output = self.module(batch if self.transform is None else self.transform(batch))
        else:
            raw = as_inputs(batch, device, None)
            inputs = as_inputs(candidates.prepared(self.transform, raw), device, dtype)
            output = self._output(inputs)
        return self._checked(getattr(output, "logits", output), size_of(batch))

    def _output(self, inputs):
        if isinstance(inputs, dict):
            return self.module(**inputs)
        return self.module(*inputs) if isinstance(inputs, tuple) else self.module(inputs)

    def _checked(self, logits, samples):
        if isinstance(logits, torch.Tensor):
            wide = torch.float64 if logits.dtype == torch.float64 else torch.float32  # numpy knows no bfloat16
            logits = logits.detach().to("cpu", wide).numpy()
        logits = np.asarray(logits)
        if logits.ndim != 2 or len(logits) != samples or logits.dtype.kind not in "fiu":
            raise ValueError(
                f"model {self.name!r} gave {logits.dtype} {list(logits.shape)} for {samples} samples; expected logits "
                "[samples, classes]"
            )
        if self.classes not in (None, logits.shape[1]):
            raise ValueError(f"model {self.name!r} gave {logits.shape[1]} classes, {self.classes} before")
        self.classes = logits.shape[1]
        return logits
