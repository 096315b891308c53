"""Apply graded corruptions to the bundled images, reproducibly.

The stores in data/fashion-mnist/shift contain these images. The kinds follow common image
corruptions (Hendrycks and Dietterich, 2019), adapted to 28 pixels.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from cascadelib.checks import validate_choice
from cascadelib.datasets import Samples, fashion_mnist

SEED = 2023
COUNT = 2000


def sensor_noise(
    x: torch.Tensor, rng: np.random.Generator, photons: int, read: float
) -> torch.Tensor:
    """Add shot noise of ``photons`` for white, then read noise of standard deviation ``read``."""
    counted = torch.from_numpy(rng.poisson(x.numpy() * photons)).float() / photons
    return counted + read * torch.from_numpy(rng.standard_normal(x.shape, np.float32))


def blur(x: torch.Tensor, _rng: np.random.Generator, sigma: float) -> torch.Tensor:
    """Apply a Gaussian blur of ``sigma`` pixels."""
    return tv.gaussian_blur(x, [7, 7], [sigma, sigma])


def exposure(x: torch.Tensor, rng: np.random.Generator, stops: float) -> torch.Tensor:
    """Darken or brighten each image by ``stops``, at random. Bright pixels saturate."""
    dark = torch.from_numpy(rng.random(len(x)) < 0.5)[:, None, None, None]
    darker = tv.adjust_brightness(x, 2.0**-stops)
    brighter = tv.adjust_brightness(x, 2.0**stops)
    return torch.where(dark, darker, brighter)


def movement(
    x: torch.Tensor, rng: np.random.Generator, degrees: float, pixels: float
) -> torch.Tensor:
    """Rotate by up to ± ``degrees`` and shift by up to ± ``pixels`` along each axis, uniformly."""
    angles = rng.uniform(-degrees, degrees, len(x))
    shifts = rng.uniform(-pixels, pixels, (len(x), 2))
    moved = [
        tv.affine(image, float(angle), shift.tolist(), 1.0, [0.0, 0.0], InterpolationMode.BILINEAR)
        for image, angle, shift in zip(x, angles, shifts)
    ]
    return torch.stack(moved)


def occlusion(x: torch.Tensor, rng: np.random.Generator, side: int) -> torch.Tensor:
    """Put a mid-grey square of ``side`` pixels at a random place of each image."""
    corners = rng.integers(0, x.shape[-1] - side + 1, (len(x), 2))
    grey = torch.tensor(0.5)
    return torch.stack(
        [tv.erase(image, int(i), int(j), side, side, grey) for image, (i, j) in zip(x, corners)]
    )


SEVERITIES: dict[str, tuple] = {  # kind: (operation, options at severity 1, at severity 2)
    "noise": (sensor_noise, {"photons": 200, "read": 0.02}, {"photons": 30, "read": 0.05}),
    "blur": (blur, {"sigma": 0.5}, {"sigma": 0.9}),
    "exposure": (exposure, {"stops": 0.5}, {"stops": 1.2}),
    "movement": (movement, {"degrees": 5, "pixels": 1}, {"degrees": 12, "pixels": 2}),
    "occlusion": (occlusion, {"side": 5}, {"side": 10}),
}
SHIFTED = tuple(f"{kind}-{severity}" for kind in SEVERITIES for severity in (1, 2))
"""Names of the shifted splits: kind and severity (1 mild, 2 strong)."""


def corrupted(images: np.ndarray, name: str) -> np.ndarray:
    """Return images uint8 [k, height, width] under the shift ``name`` (of SHIFTED), as uint8."""
    kind, severity = validate_choice(name, SHIFTED, "shifted split").split("-")
    operation, *options = SEVERITIES[kind]
    rng = np.random.default_rng([SEED, SHIFTED.index(name)])
    x = torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1).float() / 255
    out = operation(x, rng, **options[int(severity) - 1])
    return (out.clamp(0, 1) * 255).round().to(torch.uint8).squeeze(1).numpy()


def fashion_mnist_shifted(name: str, folder: Path | str = "data/fashion-mnist") -> Samples:
    """Return the same 2,000 bundled *test* images under a shift, with their ids and labels."""
    test = fashion_mnist("test", folder)
    rows = np.sort(np.random.default_rng(SEED).permutation(len(test))[:COUNT])
    part = test.take(rows)
    inputs = corrupted(part.inputs, name)
    return replace(part, inputs=inputs, dataset="shifted fashion-mnist", split=name)
