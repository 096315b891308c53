"""Images a second of ``extract`` beside those of a bare forward loop over the same models: what the store costs.

``python benchmarks/run.py extraction [--quick]``. The two alternate in one run, so that whatever else the machine does
weighs on both; the ratio of the medians counts, not the times. Both keep freed memory (:mod:`cascadelib.memory`).
"""

import statistics
import tempfile
import time
from pathlib import Path

import timm
import torch
from search import row

from cascadelib.extraction.extraction import extract
from cascadelib.zoo.forward import kept_memory
from cascadelib.zoo.transforms import GreyImages

TARGET = 0.85
BATCH = 256
ARCHITECTURES = {  # a cheap, a middling and an expensive one of the bundled zoo's kinds
    "lcnet": ("lcnet_035", {}, 28),
    "resnet_w16": ("resnet18", {"channels": [16, 32, 64, 128]}, 28),
    "resnet_w32": ("resnet18", {"channels": [32, 64, 128, 256]}, 42),
}


def build():
    """{name: (module, transform)}, untrained: time does not depend on the weights."""
    torch.manual_seed(0)
    return {
        name: (timm.create_model(a, in_chans=1, num_classes=10, **options).eval(), GreyImages(size, 0.286, 0.353))
        for name, (a, options, size) in ARCHITECTURES.items()
    }


@torch.inference_mode()
def bare_loop(models, images):
    """Nothing but transform and forward, in channels_last, each transform once a batch."""
    for module, _ in models.values():
        module.to(memory_format=torch.channels_last)
    for batch in images.split(BATCH):
        inputs = {}
        for module, transform in models.values():
            if transform not in inputs:
                inputs[transform] = transform(batch).contiguous(memory_format=torch.channels_last)
            module(inputs[transform])


def seconds(call, *args):
    start = time.perf_counter()
    call(*args)
    return time.perf_counter() - start


def run(quick=False) -> list[dict]:
    """Rows {benchmark, measured, unit, target}: the ratio of images a second, extract ÷ bare loop."""
    count, repeats = (2_000, 2) if quick else (10_000, 3)
    images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8)
    labels, models, times = torch.arange(count) % 10, build(), {"bare": [], "extract": []}
    bare_loop(models, images[:BATCH])
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats):
            with kept_memory():
                times["bare"].append(seconds(bare_loop, models, images))
            path = Path(folder) / str(i)
            times["extract"].append(
                seconds(lambda path=path: extract(models, (images, labels), path, batch_size=BATCH, progress=False))
            )
    bare, ours = (statistics.median(times[key]) for key in ("bare", "extract"))
    rate = count * len(models) / ours
    return [
        row("extract ÷ bare forward loop", bare / ours, "ratio", f"≥ {TARGET}"),
        row("extract, images × models", rate, "1/s"),
    ]
