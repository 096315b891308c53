"""Transforms from raw inputs to what a model takes: grey images, photographs, texts."""

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

    They become (x / 255 − mean) / std, resized bilinearly, antialiased when shrinking.
    """

    size: int
    mean: float
    std: float

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Input [n, 1, size, size] from grey images uint8 [n, height, width]."""
        x = real_floats(torch.as_tensor(images).unsqueeze(1))
        x = x.div(255).sub_(self.mean).div_(self.std)
        shape = (self.size, self.size)
        if x.shape[-2:] == shape:
            return x
        return functional.interpolate(x, shape, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Cut:
    """One photograph (PIL) → uint8 [3, height, width], resized and cropped by timm.

    size: (height, width); crop: the part of the resized image's shorter side that is kept; mode:
    timm's ``crop_mode`` ("center", "squash", "border").
    """

    size: tuple[int, int]
    interpolation: str
    crop: float
    mode: str = "center"

    def __call__(self, image: Any) -> torch.Tensor:
        """Return the pixels of one image as RGB, cut by timm's rules."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        return torch.as_tensor(_timm_transform(self)(image))


@functools.lru_cache(maxsize=256)
def _timm_transform(cut: Cut) -> Callable:
    """timm's own transform of one photograph, as uint8."""
    from timm.data import create_transform  # seconds, which tensors and texts do without

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

    Extraction cuts where it decodes, once for all models with an equal ``cut``, and normalises on
    the device; called with PIL images, it does both.
    """

    cut: Cut
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Iterable) -> torch.Tensor:
        """Input [n, 3, height, width] from n PIL images."""
        return self.finished(torch.stack([self.cut(image) for image in images]))

    def finished(self, cut: torch.Tensor) -> torch.Tensor:
        """uint8 [N, 3, H, W], on any device → float32, in timm's own order of operations."""
        mean, std = _scale(self, cut.device)
        return cut.to(torch.float32).sub_(mean).div_(std)


@functools.lru_cache(maxsize=256)
def _scale(photos: Photos, device: torch.device) -> torch.Tensor:
    """Mean and standard deviation of pixels, float32 [2, 1, 3, 1, 1], kept on the device: a copy
    from the host would hold up each batch."""
    scale = [[value * 255 for value in values] for values in (photos.mean, photos.std)]
    return torch.tensor(scale, device=device).view(2, 1, -1, 1, 1)


BLOCK = 4096  # texts that are tokenized at once where only lengths are asked for


@dataclass(frozen=True)
class Tokenized:
    """Transform of a batch of texts or pairs: {key: int64 tensor [N, L]}, padded to the longest.

    Texts of more than ``max_length`` tokens are cut there. ``keys``: what the model takes
    (input_ids, attention_mask, …). Models with equal settings share the tokens. Raises ValueError
    for a tokenizer without a padding token.
    """

    tokenizer: Any = field(compare=False)
    max_length: int
    keys: tuple[str, ...] = ("input_ids", "attention_mask")
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if self.tokenizer.pad_token is None:
            raise ValueError(
                "the tokenizer has no padding token, so texts of different lengths make no batch; "
                "set tokenizer.pad_token and the model's config.pad_token_id, and save both "
                "(save_pretrained)"
            )
        object.__setattr__(self, "digest", _digest(self.tokenizer))

    def __call__(self, texts: Sequence) -> dict[str, torch.Tensor]:
        """Token ids and masks [n, length] of n texts or pairs of texts."""
        encoded = self.tokenizer(
            *_columns(texts),
            padding="longest",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        return {key: encoded[key] for key in self.keys}

    def lengths(self, texts: Sequence) -> np.ndarray:
        """Tokens of each text with its special ones, uncut, int64 [k]."""
        counted: list[int] = []
        for start in range(0, len(texts), BLOCK):
            columns = _columns(texts[start : start + BLOCK])
            encoded = self.tokenizer(*columns, truncation=False, verbose=False)
            counted += map(len, encoded["input_ids"])
        return np.array(counted, np.int64)

    def __repr__(self) -> str:
        return f"Tokenized({self.digest}, max_length={self.max_length}, keys={self.keys})"


def _columns(texts: Sequence) -> list[list[str]]:
    """Texts → one list; pairs → two."""
    parts = zip(*texts) if isinstance(texts[0], tuple | list) else [texts]
    return [list(part) for part in parts]


def _digest(tokenizer: Any) -> str:
    """Part of a SHA-256 over the vocabulary and rules, which distinguishes tokenizers."""
    if hasattr(tokenizer, "backend_tokenizer"):
        whole = json.loads(tokenizer.backend_tokenizer.to_str())
    else:
        whole = {"vocab": tokenizer.get_vocab(), "class": type(tokenizer).__name__}
    # How it padded and cut last time is kept in the tokenizer, too.
    kept = {key: value for key, value in whole.items() if key not in ("truncation", "padding")}
    kept["pad"] = tokenizer.pad_token
    kept["side"] = [tokenizer.padding_side, tokenizer.truncation_side]
    return digest_of(kept)[:16]


def distinct(transforms: Iterable) -> list:
    """The transforms that differ; equal ones, and the same function again, are there once."""
    found = list(transforms)
    return [transform for i, transform in enumerate(found) if transform not in found[:i]]


def real_floats(raw: Any) -> torch.Tensor:
    """A tensor as float32; ValueError for complex numbers, which would lose a part."""
    if isinstance(raw, torch.Tensor) and raw.is_complex():
        raise ValueError(
            "a model takes real numbers, not complex ones: give their magnitudes or parts"
        )
    return raw.float()


def prepared(transform: Callable | None, raw: Any) -> Any:
    """A raw batch → the module's input; a plain function gets photographs (PIL) one by one, as in
    extraction."""
    if transform is None:
        return real_floats(raw)
    if isinstance(raw, list) and hasattr(raw[0], "convert") and not hasattr(transform, "cut"):
        return torch.stack([torch.as_tensor(transform(image)) for image in raw])
    return transform(raw)
