"""Transforms of grey images, photographs and texts to model inputs."""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ..files import digest_of


@dataclass(frozen=True)
class GreyImages:
    """Transform of grey images: uint8 [N, H, W] → float32 [N, 1, size, size].

    Pixels become (x / 255 − mean) / std. Images are resized bilinearly, with antialiasing.
    """

    size: int
    mean: float
    std: float

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Transform grey images uint8 [n, height, width] to float32 [n, 1, size, size]."""
        x = convert_to_float32(torch.as_tensor(images).unsqueeze(1))
        x = x.div(255).sub_(self.mean).div_(self.std)
        shape = (self.size, self.size)
        if x.shape[-2:] == shape:
            return x
        return functional.interpolate(x, shape, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Cut:
    """Transform of one photograph (PIL) → uint8 [3, height, width], resized and cropped by timm.

    size: (height, width). crop: cropped fraction of the resized image's shorter side. mode: timm's
    ``crop_mode`` ("center", "squash", "border").
    """

    size: tuple[int, int]
    interpolation: str
    crop: float
    mode: str = "center"

    def __call__(self, image: Any) -> torch.Tensor:
        """Return the RGB pixels of one image after timm's resizing and cropping."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        return torch.as_tensor(_timm_transform(self)(image))


@functools.cache
def _timm_transform(cut: Cut) -> Callable:
    """Return timm's transform of one photograph to uint8."""
    from timm.data import create_transform  # takes seconds, and only photographs need it

    return create_transform(
        (3, *cut.size),
        use_prefetcher=True,
        interpolation=cut.interpolation,
        crop_pct=cut.crop,
        crop_mode=cut.mode,
    )


@dataclass(frozen=True)
class Photos:
    """Transform of photographs: ``cut`` each, stack, then (x − 255 mean) / (255 std) per channel.

    During extraction, the decoding processes cut each photograph once for all models with an equal
    ``cut``. The result is normalized on the device. A call with PIL images does both.
    """

    cut: Cut
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Iterable) -> torch.Tensor:
        """Transform n PIL images to float32 [n, 3, height, width]."""
        return self.normalize(torch.stack([self.cut(image) for image in images]))

    def normalize(self, cut: torch.Tensor) -> torch.Tensor:
        """Normalize uint8 [N, 3, H, W] on any device to float32, in timm's order of operations."""
        mean, std = _normalization_scale(self, cut.device)
        return cut.to(torch.float32).sub_(mean).div_(std)


@functools.cache
def _normalization_scale(photos: Photos, device: torch.device) -> torch.Tensor:
    """Return mean and standard deviation of pixels, float32 [2, 1, 3, 1, 1].

    They are cached on the device, since a copy from the host would delay each batch.
    """
    scale = [[value * 255 for value in values] for values in (photos.mean, photos.std)]
    return torch.tensor(scale, device=device).view(2, 1, -1, 1, 1)


TOKENIZE_BLOCK = 4096  # texts per call of the tokenizer if only lengths are needed


@dataclass(frozen=True)
class Tokenized:
    """Transform of a batch of texts or pairs → {key: int64 tensor [N, L]}, padded to the longest.

    Texts are truncated to ``max_length`` tokens. keys: keywords of the model (input_ids,
    attention_mask, …). Models with equal settings share the tokens. Raises ValueError if the
    tokenizer has no padding token.
    """

    tokenizer: Any = field(compare=False)
    max_length: int
    keys: tuple[str, ...] = ("input_ids", "attention_mask")
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if self.tokenizer.pad_token is None:
            raise ValueError(
                "the tokenizer has no padding token, so texts of different lengths cannot form a "
                "batch. Set tokenizer.pad_token and the model's config.pad_token_id, and save both "
                "(save_pretrained)."
            )
        tokenizer = self.tokenizer
        if hasattr(tokenizer, "backend_tokenizer"):
            rules = json.loads(tokenizer.backend_tokenizer.to_str())
        else:
            rules = {"vocab": tokenizer.get_vocab(), "class": type(tokenizer).__name__}
        for last_call in ("truncation", "padding"):  # settings of the tokenizer's last call
            rules.pop(last_call, None)
        rules["pad"] = tokenizer.pad_token
        rules["side"] = [tokenizer.padding_side, tokenizer.truncation_side]
        object.__setattr__(self, "digest", digest_of(rules)[:16])

    def __call__(self, texts: Sequence) -> dict[str, torch.Tensor]:
        """Tokenize n texts or pairs of texts to ids and masks [n, length]."""
        encoded = self.tokenizer(
            *_split_pairs(texts),
            padding="longest",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        return {key: encoded[key] for key in self.keys}

    def lengths(self, texts: Sequence) -> np.ndarray:
        """Count the tokens of each text with special tokens before truncation, int64 [k]."""
        counted: list[int] = []
        for start in range(0, len(texts), TOKENIZE_BLOCK):
            columns = _split_pairs(texts[start : start + TOKENIZE_BLOCK])
            encoded = self.tokenizer(*columns, truncation=False, verbose=False)
            counted += map(len, encoded["input_ids"])
        return np.array(counted, np.int64)

    def __repr__(self) -> str:
        return f"Tokenized({self.digest}, max_length={self.max_length}, keys={self.keys})"


def _split_pairs(texts: Sequence) -> list[list[str]]:
    """Return one list of texts, or two for pairs."""
    parts = zip(*texts) if isinstance(texts[0], tuple | list) else [texts]
    return [list(part) for part in parts]


def find_distinct(transforms: Iterable) -> list:
    """Return the transforms without repetitions."""
    found = list(transforms)
    return [transform for i, transform in enumerate(found) if transform not in found[:i]]


def convert_to_float32(raw: Any) -> torch.Tensor:
    """Convert a tensor to float32, or raise ValueError if it is complex."""
    if isinstance(raw, torch.Tensor) and raw.is_complex():
        raise ValueError(
            "a model takes real numbers, not complex ones: pass their magnitudes or parts"
        )
    return raw.float()


def prepare_batch(transform: Callable | None, raw: Any) -> Any:
    """Transform a raw batch to the module's input.

    A plain function receives photographs (PIL) one by one, as in extraction.
    """
    if transform is None:
        return convert_to_float32(raw)
    if isinstance(raw, list) and hasattr(raw[0], "convert") and not hasattr(transform, "cut"):
        return torch.stack([torch.as_tensor(transform(image)) for image in raw])
    return transform(raw)
