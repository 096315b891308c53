"""What a model wants to see: grey uint8 images to normalised float tensors at the model's own size."""

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class GreyImages:
    """Transform of a batch: uint8 [N, H, W] → float32 [N, 1, size, size], (x / 255 − mean) / std.

    Resized bilinearly, antialiased when shrinking. Equal transforms compare equal, so that
    :func:`cascadelib.extract` runs each distinct one once a batch.
    """

    size: int
    mean: float
    std: float

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.as_tensor(images).unsqueeze(1).float().div_(255).sub_(self.mean).div_(self.std)
        if x.shape[-2:] != (self.size, self.size):
            x = functional.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=True)
        return x
