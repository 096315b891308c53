"""Measure ``extract`` relative to timm's loop over JPEGs.

Compared runs alternate, so other load on the machine affects both. Ratios count, not times.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RUNS, module_at, row
from timm.data import create_dataset, create_loader, resolve_data_config

from cascadelib.datasets.images import image_folder
from cascadelib.extraction.extraction import extract
from cascadelib.extraction.feeding import feed
from cascadelib.files import ROOT
from cascadelib.zoo.forward import Device
from cascadelib.zoo.timm_models import build_photo_transform, build_timm_model

BATCH = 64
WORKERS = 1
THREADS = 1
# timm's smallest, at 96 pixels: cheaper together than decoding; and four that are dearer than it.
SMALL = {"test_vit": 96, "test_efficientnet": 96, "test_byobnet": 96, "test_convnext": 96}
LARGE = {
    "mobilenetv2_100": 224,
    "mobilenetv3_large_100": 224,
    "regnetx_004": 224,
    "regnetx_002": 224,
}
CPU = torch.device("cpu")


def imagenet(quick: bool = False) -> list[dict]:
    """Rows of the table: four timm models over ImageNet-sized JPEGs, ``extract`` against four runs
    of timm's own loop.

    With D the time to decode and preprocess all images once, F_i the bare forward time of model i,
    reading once for all models can win (4 D + ΣF) / (D + ΣF) over reading once a model, as timm's
    ``validate.py`` does; what is reported is how much of that ``extract`` gets. Two sets of models:
    small ones that wait for images, and larger ones that images wait for; the models of a set share
    their preprocessing, as the formula has it.
    One thread computes and one process decodes, in timm's loop as in ours: more would share two
    cores and measure how they do that. Ratios are given in elapsed time and in processor time (of
    all processes), which other people's work on the machine disturbs less; the ideal, which adds
    up, is one of processor time.
    """
    torch.set_num_threads(THREADS)
    count, repeats, rows = (100, 1, []) if quick else (1000, RUNS, [])
    for label, sizes, wins, keeps in (
        ("small models", SMALL, "≥ 2.5", ""),
        ("large models", LARGE, "", "≥ 0.85"),
    ):
        t = measured(sizes, count, repeats)
        faster, faster_cpu = t["timm"] / t["ours"]
        bare, bare_cpu = t["forward"] / t["ours"]
        read = t["read"][1]
        forwards = t["forward"][1]
        figures = {
            "times faster than four runs of timm's loop": (faster, "×", wins),
            "times less processor time than they take": (faster_cpu, "×", ""),
            "part of the ideal (4 D + ΣF) / (D + ΣF)": (
                faster_cpu * (read + forwards) / (4 * read + forwards),
                "ratio",
                "≥ 0.85",
            ),
            "bare forward throughput kept, elapsed": (bare, "ratio", keeps),
            "bare forward ÷ whole extraction, processor time": (bare_cpu, "ratio", ""),
            "D, decode and preprocess once, processor": (read / count, "s an image", ""),
            "ΣF, bare forward of four models, processor": (forwards / count, "s an image", ""),
        }
        rows += [row(f"{label}: {what}", *values, runs=repeats) for what, values in figures.items()]
    return rows


def measured(sizes: Any, count: int, repeats: int) -> dict[str, np.ndarray]:
    """Median (elapsed, processor) seconds of: timm (four runs), ours (one extraction), read (D)
    and forward (ΣF).
    """
    torch.manual_seed(0)
    folder = tree(count)
    modules = {name: build_timm_model(name, size) for name, size in sizes.items()}
    samples = image_folder(folder)
    models = {
        name: (module, build_photo_transform(module, sizes[name]))
        for name, module in modules.items()
    }
    transforms = [transform for _, transform in models.values()]
    batches = count / BATCH
    times: dict[str, list] = {
        "timm": [],
        "ours": [],
        "read": [],
        "forward": [],
    }
    with tempfile.TemporaryDirectory() as out:
        for i in range(repeats):
            path = Path(out) / str(i)
            settings = {"batch_size": BATCH, "workers": WORKERS, "progress": False, "amp": False}
            times["ours"].append(
                timed(
                    lambda path=path, s=settings: extract(wide(models, count), samples, path, **s)
                )
            )
            four_runs = [(timm_loop, modules[name], size, folder) for name, size in sizes.items()]
            times["timm"].append(sum(timed(*one) for one in four_runs))
            times["read"].append(timed(reading, samples, transforms))
            some = max(1, round(batches / 4))
            forwards = [
                timed(forward, modules[name], size, some) / some for name, size in sizes.items()
            ]
            times["forward"].append(sum(forwards) * batches)
    return {key: np.median(values, axis=0) for key, values in times.items()}


def wide(models: dict, count: int) -> dict:
    """The same models with as many classes as there are folders, where fewer than 1,000."""
    return models if count == 1000 else {n: (_First(m, count), t) for n, (m, t) in models.items()}


class _First(torch.nn.Module):
    """The first ``count`` logits of a module."""

    def __init__(self, module: Any, count: int) -> None:
        super().__init__()
        self.module = module
        self.count = count

    def forward(self, x: Any) -> Any:
        return self.module(x)[:, : self.count]


def tree(count: int, per_class: int = 1) -> Path:
    """Make a folder of look-alikes (500 × 375 JPEG) of ``count`` classes, below build/."""
    path = ROOT / "data" / "imagenet-1k" / "stand_in.py"
    stand_in = module_at(path)
    folder = ROOT / "build" / f"look-alikes-{count * per_class}"
    stand_in.write_images(folder, per_class, classes=count)
    return folder


def timed(call: Callable, *args: Any) -> np.ndarray:
    """Return (elapsed, processor) seconds of a call, with those of its worker processes."""
    before = _clocks()
    call(*args)
    return _clocks() - before


def _clocks() -> np.ndarray:
    own, workers = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return np.array([time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in (own, workers))])


@torch.inference_mode()
def timm_loop(module: Any, size: Any, folder: Path) -> None:
    """One model over all images in the manner of validate.py: its loader, normalised there, and
    top-1 counted.
    """
    config = resolve_data_config({"img_size": size}, model=module)
    data = create_dataset("", root=str(folder))
    loader = create_loader(data, batch_size=BATCH, num_workers=WORKERS, device=CPU, **config)
    module.to(memory_format=torch.channels_last)
    correct = 0
    for inputs, labels in loader:
        logits = module(inputs.contiguous(memory_format=torch.channels_last))
        correct += int((logits.argmax(1) == labels).sum())


def reading(samples: Any, transforms: list) -> None:
    """Decode and preprocess once for all models, and do nothing with it."""
    for _, prepare in feed(samples, spans(samples), transforms, Device(CPU), WORKERS):
        for transform in set(transforms):
            prepare(transform)


def spans(samples: Any) -> list[tuple[int, int]]:
    return [(a, min(a + BATCH, len(samples))) for a in range(0, len(samples), BATCH)]


@torch.inference_mode()
def forward(module: Any, size: Any, batches: int) -> None:
    """Run forward passes only, on random input in memory."""
    inputs = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    module.to(memory_format=torch.channels_last)
    for _ in range(batches):
        module(inputs)


JOBS = {"imagenet": imagenet}
