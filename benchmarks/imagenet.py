"""Four timm models over a tree of ImageNet-sized JPEGs: ``extract`` against four runs of timm's own loader and loop.

``python benchmarks/run.py imagenet [--quick]``. With D the time to decode and preprocess all images once, F_i the bare
forward time of model i, reading once for all models can win (4 D + ΣF) / (D + ΣF) over reading once a model, as timm's
``validate.py`` does; what is reported is how much of that ``extract`` gets. Two sets of models: small ones that wait
for images, and larger ones that images wait for; the models of a set share their preprocessing, as the formula has it.
All passes are measured in one run, one after another.

One thread computes and one process decodes, in timm's loop as in ours: more would share two cores and measure how they
do that. Ratios are given in elapsed time and in processor time (of all processes), which other people's work on the
machine disturbs less; the ideal, which adds up, is one of processor time.

``extract`` also keeps freed memory between batches (:mod:`cascadelib.memory`). All passes are measured under that
setting, so that it is not taken for the gain of reading once; a last row has timm's loop as it runs by itself.
"""

import importlib.util
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from search import row
from timm.data import create_dataset, create_loader, resolve_data_config

from cascadelib.datasets.images import image_folder
from cascadelib.extraction.extraction import extract
from cascadelib.extraction.inference import feed
from cascadelib.files import ROOT
from cascadelib.zoo.forward import kept_memory
from cascadelib.zoo.timm_models import build_timm_model, photos

BATCH, WORKERS, THREADS = 64, 1, 1
# timm's smallest, at 96 pixels: cheaper together than decoding; and four that are dearer than it.
SMALL = {"test_vit": 96, "test_efficientnet": 96, "test_byobnet": 96, "test_convnext": 96}
LARGE = {"mobilenetv2_100": 224, "mobilenetv3_large_100": 224, "regnetx_004": 224, "regnetx_002": 224}
CPU = torch.device("cpu")


def tree(count: int) -> Path:
    """A folder with one look-alike (500 × 375 JPEG) for each of ``count`` classes, below build/; made where missing."""
    path = ROOT / "data" / "imagenet-1k" / "stand_in.py"
    spec = importlib.util.spec_from_file_location("stand_in", path)
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    folder = ROOT / "build" / f"look-alikes-{count}"
    stand_in.write_images(folder, 1, classes=count)
    return folder


def timed(call, *args) -> np.ndarray:
    """(elapsed, processor) seconds of a call, those of its worker processes included."""
    before = _clocks()
    call(*args)
    return _clocks() - before


def _clocks():
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return np.array([time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in (own, workers))])


@torch.inference_mode()
def timm_loop(module, size, folder) -> None:
    """One model over all images in the manner of validate.py: its loader, normalised there, and top-1 counted."""
    config = resolve_data_config({"img_size": size}, model=module)
    data = create_dataset("", root=str(folder))
    loader = create_loader(data, batch_size=BATCH, num_workers=WORKERS, device=CPU, **config)
    module.to(memory_format=torch.channels_last)
    right = 0
    for inputs, labels in loader:
        logits = module(inputs.contiguous(memory_format=torch.channels_last))
        right += int((logits.argmax(1) == labels).sum())


def reading(samples, transforms) -> None:
    """Decode and preprocess once for all models, and do nothing with it."""
    for _, prepare in feed(samples, spans(samples), transforms, CPU, WORKERS):
        for transform in set(transforms):
            prepare(transform)


def spans(samples) -> list[tuple[int, int]]:
    return [(a, min(a + BATCH, len(samples))) for a in range(0, len(samples), BATCH)]


@torch.inference_mode()
def forward(module, size, batches: int) -> None:
    """Nothing but forward passes, on random input that is there."""
    inputs = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    module.to(memory_format=torch.channels_last)
    for _ in range(batches):
        module(inputs)


def measured(sizes, count: int, repeats: int) -> dict[str, np.ndarray]:
    """Median (elapsed, processor) seconds of: timm (four runs; "as it is": in memory as malloc has it), ours (one
    extraction), read (D) and forward (ΣF)."""
    torch.manual_seed(0)
    folder, modules = tree(count), {name: build_timm_model(name, size) for name, size in sizes.items()}
    samples = image_folder(folder)
    models = {name: (module, photos(module, sizes[name])) for name, module in modules.items()}
    transforms, batches = [transform for _, transform in models.values()], count / BATCH
    times = {"timm": [], "timm as it is": [], "ours": [], "read": [], "forward": []}
    with tempfile.TemporaryDirectory() as out:
        for i in range(repeats):
            path = Path(out) / str(i)
            settings = {"batch_size": BATCH, "workers": WORKERS, "progress": False, "amp": False}
            times["ours"].append(timed(lambda path=path, s=settings: extract(wide(models, count), samples, path, **s)))
            four_runs = [(timm_loop, modules[name], size, folder) for name, size in sizes.items()]
            times["timm as it is"].append(sum(timed(*one) for one in four_runs))
            with kept_memory():
                times["timm"].append(sum(timed(*one) for one in four_runs))
                times["read"].append(timed(reading, samples, transforms))
                some = max(1, round(batches / 4))
                forwards = [timed(forward, modules[name], size, some) / some for name, size in sizes.items()]
            times["forward"].append(sum(forwards) * batches)
    return {key: np.median(values, axis=0) for key, values in times.items()}


def wide(models, count):
    """The same models with as many classes as there are folders, where those are fewer than 1,000."""
    return models if count == 1000 else {n: (_First(m, count), t) for n, (m, t) in models.items()}


class _First(torch.nn.Module):
    """The first ``count`` logits of a module."""

    def __init__(self, module, count):
        super().__init__()
        self.module, self.count = module, count

    def forward(self, x):
        return self.module(x)[:, : self.count]


def run(quick=False) -> list[dict]:
    """Rows {benchmark, measured, unit, target} for both sets of models."""
    torch.set_num_threads(THREADS)
    count, repeats, rows = (100, 1, []) if quick else (1000, 2, [])
    for label, sizes, wins, keeps in (("small models", SMALL, "≥ 2.5", ""), ("large models", LARGE, "", "≥ 0.85")):
        t = measured(sizes, count, repeats)
        (faster, faster_cpu), (bare, bare_cpu) = t["timm"] / t["ours"], t["forward"] / t["ours"]
        read, forwards = t["read"][1], t["forward"][1]
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
            "times faster than timm's loop as it is": (t["timm as it is"][0] / t["ours"][0], "×", ""),
        }
        rows += [row(f"{label}: {what}", *values) for what, values in figures.items()]
    return rows
