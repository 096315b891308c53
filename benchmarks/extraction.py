"""Measure the cost and the gain of ``extract``.

It is compared with a bare forward loop, with timm's loop over JPEGs, and, on texts sorted by
length, with fixed padding. The faster memory format of a processor is measured as well. Compared
runs alternate, so other load on the machine affects both. Ratios count, not times. The job ``tiny``
(``python benchmarks/run.py tiny``) measures many models within little memory.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from measuring import RUNS, module_at, row, seconds
from timm.data import create_dataset, create_loader, resolve_data_config

import cascadelib as cl
from cascadelib.datasets.images import image_folder
from cascadelib.extraction.extraction import extract
from cascadelib.extraction.feeding import feed
from cascadelib.files import ROOT
from cascadelib.zoo.bundled import (
    TEXT_ZOO,
    build_text_classifier,
    load_bundled_text_model,
    read_zoo,
)
from cascadelib.zoo.forward import Device
from cascadelib.zoo.loaders import Source
from cascadelib.zoo.model import Model
from cascadelib.zoo.timm_models import build_photo_transform, build_timm_model
from cascadelib.zoo.transforms import GreyImages, Tokenized

GREY_BATCH = 256
ARCHITECTURES = {  # a cheap, a middling and an expensive one of the bundled zoo's kinds
    "lcnet": ("lcnet_035", {}, 28),
    "resnet_w16": ("resnet18", {"channels": [16, 32, 64, 128]}, 28),
    "resnet_w32": ("resnet18", {"channels": [32, 64, 128, 256]}, 42),
}
BATCH = 64
FORMAT_BATCH = 16
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
TINY = ("test_vit", "test_efficientnet", "test_byobnet", "test_convnext", "test_resnet")
TINY_SIZE = 160
CPU = torch.device("cpu")
LENGTH = 128
TEXT_MODEL = "minilm_l2"  # untrained: time does not depend on the weights
# as many as the paper's SST-2 has, at the size of QQP's validation split
MODELS = 18
SAMPLES = 40_430


def extraction(quick: bool = False) -> list[dict]:
    """Return the ratio of images per second, extract ÷ bare loop, of small grey images in
    memory."""
    count, repeats = (2_000, 2) if quick else (10_000, RUNS)
    images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8)
    labels = torch.arange(count) % 10
    models = small_models()
    times: dict[str, list] = {"bare": [], "extract": []}
    bare_loop(models, images[:GREY_BATCH])
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats):
            times["bare"].append(seconds(lambda: bare_loop(models, images))[0])
            settings = {"path": Path(folder) / str(i), "batch_size": GREY_BATCH, "progress": False}
            times["extract"].append(
                seconds(lambda s=settings: extract(models, (images, labels), **s))[0]
            )
    bare, ours = (statistics.median(times[key]) for key in ("bare", "extract"))
    rate = count * len(models) / ours
    return [
        row("extract ÷ bare forward loop", bare / ours, "ratio", "≥ 0.95", runs=repeats),
        row("extract, images × models", rate, "1/s", runs=repeats),
        *memory_formats(1 if quick else RUNS),
    ]


@torch.inference_mode()
def memory_formats(repeats: int) -> list[dict]:
    """A row per architecture: its processor time in contiguous memory ÷ that in channels_last,
    which is what ``extract`` always takes on a processor.
    """
    torch.manual_seed(0)
    modules: dict[str, tuple] = {
        name: (timm.create_model(a, in_chans=1, num_classes=10, **options).eval(), 1, size)
        for name, (a, options, size) in ARCHITECTURES.items()
    }
    for name, size in (SMALL | LARGE).items():
        modules[name] = (build_timm_model(name, size), 3, size)
    rows = []
    for name, (module, channels, size) in modules.items():
        images = torch.randn(FORMAT_BATCH, channels, size, size)
        times: dict[Any, list] = {torch.contiguous_format: [], torch.channels_last: []}
        for _ in range(repeats):
            for memory_format, spent in times.items():
                module.to(memory_format=memory_format)
                laid = images.contiguous(memory_format=memory_format)
                module(laid)
                spent.append(timed(module, laid)[1])
        contiguous, last = map(statistics.median, times.values())
        what = f"{name}: processor time, contiguous ÷ channels_last"
        rows.append(row(what, contiguous / last, "ratio", runs=repeats))
    return rows


def small_models() -> dict:
    """Return {name: (module, transform)}, untrained, because time does not depend on the
    weights."""
    torch.manual_seed(0)
    return {
        name: (
            timm.create_model(a, in_chans=1, num_classes=10, **options).eval(),
            GreyImages(size, 0.286, 0.353),
        )
        for name, (a, options, size) in ARCHITECTURES.items()
    }


@torch.inference_mode()
def bare_loop(models: dict, images: torch.Tensor) -> None:
    """Run only transform and forward, in channels_last, each transform once per batch."""
    for module, _ in models.values():
        module.to(memory_format=torch.channels_last)
    for batch in images.split(GREY_BATCH):
        inputs = {}
        for module, transform in models.values():
            if transform not in inputs:
                inputs[transform] = transform(batch).contiguous(memory_format=torch.channels_last)
            module(inputs[transform])


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


def texts(quick: bool = False) -> list[dict]:
    """Rows of the table: extraction sorted by length against fixed padding, and searches at the
    size of QQP.
    """
    return text_extraction(quick) + text_searches(quick)


def text_extraction(quick: bool) -> list[dict]:
    """Texts a second of `extract` (store, MACs and checks included) ÷ those of the fixed loop."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads of several processes wait for each other by spinning
    samples = cl.datasets.reviews("val")
    zoo = read_zoo("data/reviews", TEXT_ZOO)
    samples = samples.take(slice(0, 256)) if quick else samples
    module = build_text_classifier(zoo["models"][TEXT_MODEL], zoo).eval()
    sorted_by_length: Any = load_bundled_text_model("bag_of_words").transform
    one = {"m": (module, sorted_by_length)}
    times: dict[str, list] = {"fixed": [], "sorted": []}
    fixed = Fixed(sorted_by_length.tokenizer, LENGTH)
    fixed_loop(module, fixed, samples.inputs[:BATCH])
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats := 1 if quick else RUNS):
            times["fixed"].append(seconds(lambda: fixed_loop(module, fixed, samples.inputs))[0])
            options = {
                "path": Path(folder) / str(i),
                "batch_size": BATCH,
                "progress": False,
                "amp": False,
            }
            times["sorted"].append(
                seconds(lambda o=options: extract(one, samples, device="cpu", **o))[0]
            )
    torch.set_num_threads(threads)
    slow, fast = (statistics.median(times[key]) for key in ("fixed", "sorted"))
    what = f"texts: extract sorted by length ÷ fixed padding at {LENGTH}, texts a second"
    return [
        row(what, slow / fast, "ratio", "≥ 1.8", runs=repeats),
        row(f"texts: extract, {TEXT_MODEL}", len(samples) / fast, "texts/s", runs=repeats),
    ]


@dataclass(frozen=True, eq=False)
class Fixed(Tokenized):
    """Every text padded to ``max_length``, as most evaluation scripts do."""

    def __call__(self, texts: Sequence) -> Any:
        options = {
            "padding": "max_length",
            "truncation": True,
            "max_length": self.max_length,
            "return_tensors": "pt",
        }
        return {
            key: value
            for key, value in self.tokenizer(list(texts), **options).items()
            if key in self.keys
        }


@torch.inference_mode()
def fixed_loop(module: Any, transform: Any, texts: list[str]) -> None:
    """Run only tokenizer and forward, in the order of the texts."""
    for start in range(0, len(texts), BATCH):
        module(**transform(texts[start : start + BATCH]))


def text_searches(quick: bool) -> list[dict]:
    """Return seconds of exact searches of pairs (accuracy and F1) and triples, compiled before."""
    k = 4_000 if quick else SAMPLES
    logits, labels, macs = two_class_models(k)
    store = cl.LogitStore.from_arrays(labels, logits, macs=macs)
    small = store.take(slice(0, 300))
    rows = []
    for n, score in ((2, "top1"), (2, "f1"), (3, "top1")):
        cl.search(small, n, score=score)
        spent, _ = seconds(lambda n=n, score=score: cl.search(store, n, score=score), RUNS)
        tuples = "pairs" if n == 2 else "triples"
        measure = "F1" if score == "f1" else "accuracy"
        what = f"{tuples} of {MODELS}, k = {k}, {measure}"
        rows.append(row(f"texts: {what}", spent, "s", "≤ 2" if n == 2 else "≤ 10"))
    return rows


def two_class_models(k: int) -> tuple[dict, np.ndarray, dict]:
    """(logits {name: [k, 2]}, labels, costs) of models that rise in accuracy and cost, as
    fine-tuned checkpoints do.
    """
    rng = np.random.default_rng(0)
    labels = (rng.random(k) < 0.37).astype(np.int64)
    hard = rng.normal(0, 1, k)
    cost = np.geomspace(5e7, 4e10, MODELS)
    logits = {}
    for i, strength in enumerate(np.linspace(1.0, 1.7, MODELS)):
        margin = (2 * labels - 1) * (strength + 0.8 * hard + 0.6 * rng.normal(0, 1, k)) * 2
        logits[f"m{i:02}"] = np.stack([-margin, margin], axis=1).astype(np.float32)
    return logits, labels, dict(zip(logits, cost))


PLAIN = "plain loop"
WITHIN: dict[str, Any] = {
    "memory": 0.5,
    "batch_size": BATCH,
    "workers": 0,
    "progress": False,
    "device": "cpu",
}


def load_tiny(number: int, classes: int) -> Model:
    """Build one of timm's tiny networks with the weights of a seed."""
    torch.manual_seed(number)
    module = timm.create_model(TINY[number % len(TINY)], num_classes=classes).eval()
    return Model(f"m{number}", module, build_photo_transform(module, TINY_SIZE))


@torch.inference_mode()
def loop_over_tiny(samples: Any, count: int) -> None:
    """Run all models in memory, and decode each photograph once."""
    models = [load_tiny(number, len(samples.classes)) for number in range(count)]
    for start in range(0, len(samples), BATCH):
        images = samples.batch(start, min(start + BATCH, len(samples)))
        inputs = models[0].transform(images)  # type: ignore[misc]
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        for model in models:
            model.module(inputs)


def run_tiny(how: str, count: int, folder: str, out: str) -> None:
    """Run the models on a folder of photographs: the process of :func:`start_tiny`."""
    torch.set_num_threads(THREADS)
    samples = image_folder(folder)
    if how == PLAIN:
        loop_over_tiny(samples, count)
        return
    sources = [
        Source(f"m{i}", partial(load_tiny, i, len(samples.classes or ()))) for i in range(count)
    ]
    extract(sources, samples, out, **WITHIN)


def start_tiny(processes: int, *arguments: Any) -> tuple[float, float]:
    """Return (processor seconds, GB of the largest process) of processes with equal arguments."""
    command = [sys.executable, __file__, *map(str, arguments)]
    started = [subprocess.Popen(command) for _ in range(processes)]
    used = [os.wait4(one.pid, 0) for one in started]
    assert not any(status for _, status, _ in used), "a process failed"
    spent = sum(usage.ru_utime + usage.ru_stime for _, _, usage in used)
    return spent, max(usage.ru_maxrss for _, _, usage in used) / 1e6


def tiny(quick: bool = False) -> list[dict]:
    """Rows of 60 tiny models on 3,000 photographs within 0.5 GB: processor time and memory.

    The processor time is divided by that of a plain loop, which holds all models and decodes once.
    Both run in turns.
    """
    count, per_class, repeats = (6, 1, 1) if quick else (60, 3, RUNS)
    folder = tree(100 if quick else 1000, per_class)
    ratios = []
    peaks: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as out:
        for turn in range(repeats):
            plain, _ = start_tiny(1, PLAIN, count, folder, out)
            ours, peaks[1] = start_tiny(1, "extract", count, folder, f"{out}/{turn}")
            ratios.append(ours / plain)
        _, peaks[2] = start_tiny(2, "extract", count, folder, f"{out}/two")
    what = f"{count} tiny models × {len(image_folder(folder))} photographs"
    time_ratio = f"{what}: processor time ÷ that of a loop that decodes once"
    peak_of = f"{what}: peak memory at memory=0.5, processes: "
    return [
        row(time_ratio, statistics.median(ratios), "ratio", "≤ 1.25", runs=repeats),
        *(row(peak_of + str(number), peak, "GB", "≤ 1.0") for number, peak in peaks.items()),
    ]


JOBS = {"extraction": extraction, "imagenet": imagenet, "texts": texts, "tiny": tiny}

if __name__ == "__main__":
    run_tiny(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
