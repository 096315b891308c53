"""Make a stand-in for ImageNet, to try everything without it: look-alikes in its layout, and timm
checkpoints.

    python data/imagenet-1k/stand_in.py FOLDER      → FOLDER/val/n01440764/….JPEG …,
    FOLDER/checkpoints/*.safetensors

The images are noise with the spectrum of photographs over a pattern of their class; the networks
have seeded random weights and a head fitted to their own features of other such images (ridge
regression). The heads of cheap networks read few features, so that accuracy rises with cost, as it
does where networks are trained. Accuracies on them mean nothing for ImageNet: what can be tried is
the path from folder and checkpoints to figures.
"""

import argparse
import functools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from cascadelib.datasets.imagenet_1k import synsets
from cascadelib.datasets.images import Photographs, list_files
from cascadelib.zoo.timm_models import build_photo_transform, build_timm_model
from cascadelib.zoo.transforms import Photos

FEATURES = {
    "tinynet_e": 32,
    "lcnet_050": 1280,
    "tinynet_d": 96,
    "tinynet_b": 512,
}  # that each network's head reads
RIDGE = 0.1
Size = tuple[int, int]  # (width, height)
SIZE = (500, 375)
SEED = 2012


def look_alike(label: int, number: int, size: Size = SIZE, pattern: float = 1.0) -> Image.Image:
    """An image of ImageNet's usual size: noise whose amplitude falls with frequency, over its
    class's colours.

    Deterministic in (label, number); ``pattern`` weighs what the images of a class share.
    """
    own = np.random.default_rng((SEED, label, 1 + number))
    shared = np.random.default_rng((SEED, label))
    image = np.stack([_rolled(own, size) for _ in range(3)], -1)
    coarse = shared.normal(0, 1, (4, 5, 3))
    shape = [
        np.linspace(0, n - 1e-6, m).astype(int) for n, m in zip(coarse.shape, (size[1], size[0]))
    ]
    image = image + pattern * coarse[shape[0]][:, shape[1]]
    return Image.fromarray(np.clip(128 + 45 * image, 0, 255).astype(np.uint8))


def _rolled(rng: np.random.Generator, size: Size) -> np.ndarray:
    """One of 32 fields of noise, moved by a random distance (noise from the FFT goes round)."""
    moved = rng.integers(0, (size[1], size[0]))
    return np.roll(_noise(int(rng.integers(32)), size), moved, (0, 1))


@functools.cache
def _noise(number: int, size: Size) -> np.ndarray:
    """Grey noise [height, width] with the 1 / f amplitude of photographs, standard deviation 1."""
    rng = np.random.default_rng((SEED, number))
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(
        np.fft.rfft2(rng.normal(size=(height, width))) / frequency, s=(height, width)
    )
    return noise / noise.std()


def write_images(
    folder: Path, per_class: int, first: int = 0, size: Size = SIZE, classes: int = 1000
) -> None:
    """``per_class`` JPEGs in each of the first ``classes`` class folders; those that are there
    already are kept."""
    for label, synset in enumerate(synsets()[:classes]):
        (folder / synset).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + per_class):
            path = folder / synset / f"{synset}_{number}.JPEG"
            if not path.exists():
                look_alike(label, number, size).save(path, quality=92)


@torch.inference_mode()
def features(
    module: torch.nn.Module, transform: Photos, photographs: Photographs, batch: int = 50
) -> torch.Tensor:
    """The inputs of the head, float64 [k, width]."""
    parts = []
    for start in range(0, len(photographs), batch):
        inputs = transform(photographs.batch(start, min(start + batch, len(photographs))))
        parts.append(module.forward_head(module.forward_features(inputs), pre_logits=True).double())
    return torch.cat(parts)


def write_checkpoint(path: Path, name: str, photographs: Photographs) -> None:
    """A network of seeded random weights with a fitted head, saved as timm would."""
    torch.manual_seed(SEED)
    module = build_timm_model(name)
    x = features(module, build_photo_transform(module, "test"), photographs)
    mean = x.mean(0)
    scale = x.std(0) + 1e-6
    read = FEATURES[name]
    x = ((x - mean) / scale)[:, :read]
    targets = torch.nn.functional.one_hot(
        torch.as_tensor(photographs.labels), len(synsets())
    ).double()
    gram = x.T @ x + RIDGE * len(x) * torch.eye(read, dtype=torch.float64)
    weights = torch.zeros(len(synsets()), len(mean), dtype=torch.float64)
    weights[:, :read] = torch.linalg.solve(gram, x.T @ (targets - targets.mean(0))).T * 200
    head = module.get_classifier()
    head.weight.data = (weights / scale).float()
    head.bias.data = -(weights @ (mean / scale)).float()
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-class", type=int, default=1, help="images a class to evaluate on")
    options = parser.parse_args()
    write_images(options.folder / "val", options.per_class)
    write_images(options.folder / "fitting", 2, first=1000, size=(250, 188))
    (options.folder / "checkpoints").mkdir(exist_ok=True)
    root = options.folder / "fitting"
    paths = [f"{s}/{s}_{n}.JPEG" for s in synsets() for n in (1000, 1001)]
    photographs = Photographs(list_files(root, paths), np.repeat(np.arange(1000), 2), paths)
    for name in FEATURES:
        path = options.folder / "checkpoints" / f"{name}.safetensors"
        if not path.exists():
            write_checkpoint(path, name, photographs)
            print(path)


if __name__ == "__main__":
    main()
