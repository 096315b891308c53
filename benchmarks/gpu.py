"""Measure GPU extraction: images per second relative to a bare loop, idle share and decoding speed.

The job is ``gpu`` of ``extraction``. Without a GPU it has no rows. The bare loop runs the same
models in the same precision over one batch on the GPU. It reads, copies and stores nothing, so it
is an upper bound.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from measuring import RUNS, row, seconds

from cascadelib.datasets.images import Photographs, image_folder
from cascadelib.extraction.extraction import extract
from cascadelib.extraction.feeding import feed
from cascadelib.extraction.limits import count_usable_cores
from cascadelib.extraction.shards import split_range
from cascadelib.zoo.forward import Device, select_device
from cascadelib.zoo.timm_models import build_photo_transform

MODELS = (
    "resnet50",
    "mobilenetv3_large_100",
    "convnext_tiny",
)  # untrained: time does not depend on the weights
BATCH = 256
SIZE = 224
AMP = "float16"


def measured(folder: Path, times: int, repeats: int = RUNS, on: str = "cuda") -> list[dict]:
    """Return the rows of a folder of photographs that are read ``times`` times."""
    found = image_folder(folder)
    device = select_device(on)
    workers = count_usable_cores()
    samples = Photographs(found.inputs * times, np.tile(found.labels, times), None, found.classes)
    torch.manual_seed(0)
    modules = {
        name: timm.create_model(name, num_classes=len(found.classes or ())).eval()
        for name in MODELS
    }
    models = {
        name: (module, build_photo_transform(module, SIZE)) for name, module in modules.items()
    }
    transforms = [transform for _, transform in models.values()]
    count = len(samples)
    settings: dict[str, Any] = {
        "batch_size": BATCH,
        "workers": workers,
        "progress": False,
        "device": on,
        "amp": AMP,
    }
    bare = []
    whole = []
    decode = []
    busy = []
    with tempfile.TemporaryDirectory() as out:
        for i in range(repeats):
            bare.append(seconds(lambda: bare_loop(modules.values(), count, device.torch))[0])
            spent, store = seconds(
                lambda i=i: extract(models, samples, Path(out) / str(i), **settings)
            )
            whole.append(spent)
            busy.append(store.models["seconds"].sum() * count / spent)
            decode.append(seconds(lambda: decoded(samples, transforms, workers))[0])
    b, w, d = (statistics.median(times) for times in (bare, whole, decode))
    return [
        row(f"gpu: decode rate, {workers} workers", count / d, "images/s", runs=repeats),
        row(
            f"gpu: bare loop over {len(MODELS)} models, {device.name}",
            count / b,
            "images/s",
            runs=repeats,
        ),
        row("gpu: extract, its fixed costs included", count / w, "images/s", runs=repeats),
        row("gpu: extract ÷ the slower of the two", max(b, d) / w, "ratio", "≥ 0.9", runs=repeats),
        row(
            "gpu: idle share of the GPU in extract",
            1 - statistics.median(busy),
            "ratio",
            runs=repeats,
        ),
    ]


@torch.inference_mode()
def bare_loop(modules: Any, count: int, device: Any) -> None:
    """Run only forward passes in mixed precision, on a batch on the GPU."""
    batch = torch.randn(BATCH, 3, SIZE, SIZE, device=device).contiguous(
        memory_format=torch.channels_last
    )
    for module in modules:
        module.to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, getattr(torch, AMP)):
        for start, stop in split_range(0, count, BATCH):
            for module in modules:
                module(batch[: stop - start])
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def decoded(samples: Any, transforms: list, workers: int) -> None:
    """Read, decode and crop all photographs, without the GPU."""
    for _ in feed(
        samples,
        split_range(0, len(samples), BATCH),
        transforms,
        Device(torch.device("cpu")),
        workers,
    ):
        pass
