"""What a model wants to see: images to normalised float tensors at the model's own size."""

import functools
from dataclasses import asdict, dataclass

import torch
from timm.data import create_transform
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


@dataclass(frozen=True)
class Cut:
    """One photograph (PIL, RGB) → uint8 [3, height, width]: resized and cropped by timm's own transform.

    size: (height, width); crop: the part of the resized image's shorter side that is kept; mode: as timm's
    ``crop_mode`` ("center", "squash", "border").
    """

    size: tuple[int, int]
    interpolation: str
    crop: float
    mode: str = "center"

    def __call__(self, image) -> torch.Tensor:
        return torch.as_tensor(_timm_transform(self)(image))


@functools.lru_cache(maxsize=256)
def _timm_transform(cut):
    settings = {"interpolation": cut.interpolation, "crop_pct": cut.crop, "crop_mode": cut.mode}
    return create_transform((3, *cut.size), use_prefetcher=True, **settings)


@dataclass(frozen=True)
class Photos:
    """Transform of photographs: ``cut`` each into uint8 [3, H, W], stack, then (x − 255 mean) / (255 std) per channel.

    Extraction cuts in the workers that decode, once for all models with an equal ``cut``, and normalises on the device;
    called with a list of PIL images, it does both.
    """

    cut: Cut
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images) -> torch.Tensor:
        return self.finished(torch.stack([self.cut(image.convert("RGB")) for image in images]))

    def finished(self, cut: torch.Tensor) -> torch.Tensor:
        """uint8 [N, 3, H, W], on any device → float32, in timm's own order of operations."""
        mean, std = (
            torch.tensor([v * 255 for v in values], device=cut.device).view(1, -1, 1, 1)
            for values in (self.mean, self.std)
        )
        return cut.to(torch.float32).sub_(mean).div_(std)

    def record(self) -> dict:
        """What the header of a model's logits says about its preprocessing."""
        return asdict(self.cut) | {"mean": self.mean, "std": self.std}
