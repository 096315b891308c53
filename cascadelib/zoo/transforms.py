"""Transforms, from raw inputs to what a model takes: grey images, photographs cut by timm's rules,
texts as tokens.
"""

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
    """Transform of a batch: uint8 [N, H, W] → float32 [N, 1, size, size], (x / 255 − mean) / std,
    resized bilinearly, antialiased when shrinking.
    """

    size: int
    mean: float
    std: float

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Input [n, 1, size, size] from grey images uint8 [n, height, width]."""
        x = real_floats(torch.as_tensor(images).unsqueeze(1))
        x = x.div(255).sub_(self.mean).div_(self.std)
        if x.shape[-2:] != (self.size, self.size):
            x = functional.interpolate(
                x, size=(self.size, self.size), mode="bilinear", antialias=True
            )
        return x


@dataclass(frozen=True)
class Cut:
    """One photograph (PIL, RGB) → uint8 [3, height, width]: resized and cropped by timm's own
    transform.

    size: (height, width); crop: the part of the resized image's shorter side that is kept; mode: as
    timm's ``crop_mode`` ("center", "squash", "border").
    """

    size: tuple[int, int]
    interpolation: str
    crop: float
    mode: str = "center"

    def __call__(self, image: Any) -> torch.Tensor:
        """Pixels of one RGB image, cut by timm's rules."""
        return torch.as_tensor(_timm_transform(self)(image))


@functools.lru_cache(maxsize=256)
def _timm_transform(cut: Cut) -> Callable:
    """timm's own transform of one photograph, as uint8."""
    settings: dict[str, Any] = {
        "interpolation": cut.interpolation,
        "crop_pct": cut.crop,
        "crop_mode": cut.mode,
    }
    from timm.data import create_transform  # seconds, which tensors and texts do without

    return create_transform((3, *cut.size), use_prefetcher=True, **settings)


@dataclass(frozen=True)
class Photos:
    """Transform of photographs: ``cut`` each into uint8 [3, H, W], stack, then (x − 255 mean) /
    (255 std) per channel.

    Extraction cuts in the workers that decode, once for all models with an equal ``cut``, and
    normalises on the device; called with a list of PIL images, it does both.
    """

    cut: Cut
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Iterable) -> torch.Tensor:
        """Input [n, 3, height, width] from n PIL images."""
        return self.finished(torch.stack([self.cut(image.convert("RGB")) for image in images]))

    def finished(self, cut: torch.Tensor) -> torch.Tensor:
        """uint8 [N, 3, H, W], on any device → float32, in timm's own order of operations."""
        mean = [value * 255 for value in self.mean]
        std = [value * 255 for value in self.std]
        mean, std = torch.tensor([mean, std], device=cut.device).view(2, 1, -1, 1, 1)
        return cut.to(torch.float32).sub_(mean).div_(std)


BLOCK = 4096  # texts that are tokenized at once where only lengths are asked for


@dataclass(frozen=True)
class Tokenized:
    """Transform of a batch of texts, or of pairs: {key: int64 tensor [N, L]}, padded to the longest
    of the batch.

    ``keys``: what the model takes (input_ids, attention_mask …). Texts of more than ``max_length``
    tokens are cut there. Models that share the settings share the tokens. Raises ValueError for a
    tokenizer without a padding token.
    """

    tokenizer: Any = field(compare=False)
    max_length: int
    keys: tuple[str, ...] = ("input_ids", "attention_mask")
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if self.tokenizer.pad_token is None:
            raise ValueError(
                "the tokenizer has no padding token, so texts of different lengths make no batch; set "
                "tokenizer.pad_token and the model's config.pad_token_id, and save both (save_pretrained)"
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
            counted += map(
                len, self.tokenizer(*columns, truncation=False, verbose=False)["input_ids"]
            )
        return np.array(counted, np.int64)

    def __repr__(self) -> str:
        return f"Tokenized({self.digest}, max_length={self.max_length}, keys={self.keys})"


def _columns(texts: Sequence) -> list[list[str]]:
    """Texts → one list; pairs → two."""
    return (
        [list(part) for part in zip(*texts)]
        if isinstance(texts[0], (tuple, list))
        else [list(texts)]
    )


def _digest(tokenizer: Any) -> str:
    """Part of a SHA-256 over the vocabulary and rules: tells tokenizers apart."""
    rules = (
        tokenizer.backend_tokenizer.to_str() if hasattr(tokenizer, "backend_tokenizer") else None
    )
    whole = (
        json.loads(rules)
        if rules
        else {"vocab": tokenizer.get_vocab(), "class": type(tokenizer).__name__}
    )
    # How it padded and cut last time is kept in the tokenizer, too.
    kept = {key: value for key, value in whole.items() if key not in ("truncation", "padding")}
    kept |= {
        "pad": tokenizer.pad_token,
        "side": [tokenizer.padding_side, tokenizer.truncation_side],
    }
    return digest_of(kept)[:16]


def distinct(transforms: Iterable) -> list:
    """The transforms that differ; equal ones, and the same function again, are there once."""
    found = list(transforms)
    return [transform for i, transform in enumerate(found) if transform not in found[:i]]


def real_floats(raw: Any) -> torch.Tensor:
    """A tensor as float32; ValueError for complex numbers, whose imaginary part would be dropped."""
    if isinstance(raw, torch.Tensor) and raw.is_complex():
        raise ValueError(
            "a model takes real numbers, not complex ones: give their magnitudes or parts"
        )
    return raw.float()


def prepared(transform: Callable | None, raw: Any) -> Any:
    """A raw batch → the module's input."""
    return real_floats(raw) if transform is None else transform(raw)
