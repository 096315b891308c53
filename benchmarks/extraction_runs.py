"""Measure extraction of many models in little memory, by several processes, and next to other code.

Each run is a process of its own, which prints one line of JSON: ``python
benchmarks/extraction_runs.py memory 200 2``. The jobs ``memory``, ``processes``, ``zoo`` and
``decoding`` of ``extraction`` start them.
"""

import contextlib
import hashlib
import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import cascadelib as cl
from cascadelib.datasets.images import Photographs
from cascadelib.zoo import loaders
from cascadelib.zoo.model import Model, count_parameters
from cascadelib.zoo.transforms import Cut, Photos

CUTS = [Photos(Cut((s, s), "bilinear", 0.9), (0.5,) * 3, (0.2,) * 3) for s in (28, 32, 24)]
PHOTOGRAPHS = 600
DECODED: list[int] = []


class Drawn:
    """Photograph that is drawn when it is decoded, which is recorded."""

    def __init__(self, row: int):
        self.row = row

    def raw(self) -> bytes:
        """Return bytes that identify the photograph."""
        return b"%d" % self.row

    def __call__(self) -> Image.Image:
        DECODED.append(self.row)
        pixels = np.random.default_rng(self.row).integers(0, 256, (40, 50, 3), np.uint8)
        return Image.fromarray(pixels)


def widths(number: int) -> tuple[int, int]:
    """Return the numbers of inputs and of hidden units of a model."""
    return 3 * CUTS[number % 3].cut.size[0] ** 2, 1500 + 20 * (number % 50)


def load_model(name: str) -> Model:
    """Build the model of a number: about 20 MB of weights."""
    number = int(name)
    inputs, hidden = widths(number)
    torch.manual_seed(number)
    first = torch.nn.Linear(inputs, hidden, bias=False)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), first, torch.nn.ReLU(), torch.nn.Linear(hidden, 10)
    )
    return Model(name, module, CUTS[number % 3], {"parameters": count_parameters(module)})


def measure_model(name: str) -> int:
    """Return the bytes of the weights of a model."""
    inputs, hidden = widths(int(name))
    return 4 * hidden * (inputs + 10)


def digest(store: Any, names: list[str]) -> str:
    """Return a SHA-256 over the logits of models."""
    found = hashlib.sha256()
    for name in names:
        found.update(np.ascontiguousarray(store.logits(name)).tobytes())
    return found.hexdigest()


def resident_bytes() -> int:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@contextlib.contextmanager
def highest_memory(found: dict) -> Any:
    """Store the highest memory above that at the start, in GB."""
    base = resident_bytes()
    stop = threading.Event()
    peaks = [0]

    def watch() -> None:
        while not stop.wait(0.005):
            peaks.append(resident_bytes() - base)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    stop.set()
    thread.join()
    found["peak"] = max(peaks) / 1e9


def memory(models: int, gigabytes: float) -> dict:
    """Extract models by name within a limit of memory, after a small extraction."""
    torch.set_num_threads(1)
    loaders.find_loader = lambda name, folder=None: (load_model, measure_model)  # type: ignore
    labels = np.arange(PHOTOGRAPHS) % 10
    samples = Photographs(tuple(map(Drawn, range(PHOTOGRAPHS))), labels)  # type: ignore[arg-type]
    names = [str(number) for number in range(models)]
    options: dict[str, Any] = {"batch_size": 64, "shard_size": 128, "workers": 0, "device": "cpu"}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        first = samples.take(slice(0, 40))
        cl.extract(names[:3], first, f"{folder}/warm", progress=False, **options)
        DECODED.clear()
        began = time.process_time()
        with highest_memory(found):
            limit = {"memory": gigabytes} if gigabytes else {}
            store = cl.extract(
                names, samples, f"{folder}/store", progress=False, **options, **limit
            )
        found["seconds"] = time.process_time() - began
        found["models"] = len(store.models)
        found["decoded"] = len(DECODED) / PHOTOGRAPHS
        found["digest"] = digest(store, names)
    return found


class Slow(torch.nn.Module):
    """Small model that takes 20 ms per batch."""

    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return self.linear(x)


def share(folder: str) -> dict:
    """Take part in an extraction of eight models in four groups."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = torch.randn(400, 8), torch.arange(400) % 3
    models = {f"m{seed}": Slow(seed) for seed in range(8)}
    options = {"batch_size": 10, "shard_size": 20, "progress": False, "device": "cpu"}
    store = cl.extract(models, data, folder, memory=1.6e-6, **options)
    return {"models": len(store.models), "digest": digest(store, list(models))}


def start(*arguments: Any, code: Path | None = None) -> subprocess.Popen:
    """Start a run of this file in another process, with the package of a checkout."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if code is not None:
        environment["PYTHONPATH"] = str(code)
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment)


def read_result(process: subprocess.Popen) -> dict | None:
    """Wait for a run and return its result, or None if it was killed."""
    out, errors = process.communicate()
    if process.returncode == -signal.SIGKILL:
        return None
    if process.returncode:
        raise RuntimeError(errors)
    return json.loads(out.splitlines()[-1])


def killed_processes(trials: int) -> tuple[int, int]:
    """Return (number of equal stores, number of kills) of trials.

    In each, three processes start together, and two of them are killed at random moments.
    """
    moments = random.Random(0)
    equal = 0
    kills = 0
    with tempfile.TemporaryDirectory() as folder:
        alone = read_result(start("share", f"{folder}/alone"))
        for trial in range(trials):
            path = Path(folder, str(trial))
            processes = [start("share", path) for _ in range(3)]
            while not any(path.glob(".partial/*/[0-9]*")):
                time.sleep(0.01)
            for process in processes[:2]:
                time.sleep(moments.uniform(0, 1.5))
                process.kill()
            results = [read_result(process) for process in processes]
            kills += results.count(None)
            leftovers = [*path.glob(".*")]
            equal += results[2] == alone and not leftovers
            cl.LogitStore(path).verify()
    return equal, kills


def zoo(samples: int) -> dict:
    """Extract the bundled image models, and measure the processor time."""
    torch.set_num_threads(1)
    table = cl.zoo.bundled_models()
    names = [*table[table.trained].index]
    data = cl.datasets.fashion_mnist("val").take(slice(0, samples))
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        store = cl.extract(names, data, folder, progress=False, device="cpu")
        seconds = time.process_time() - began
        return {"seconds": seconds, "digest": digest(store, names), "models": len(names)}


def decoding(loader: str, cuts: int, jpegs: str) -> dict:
    """Decode photographs in two processes, by the package's ring or by a plain DataLoader.

    loader: "ring", "plain", or "plain, timm imported first". jpegs: file with pickled JPEGs.
    """
    import io

    from cascadelib.extraction.feeding import feed
    from cascadelib.zoo.forward import select_device

    torch.set_num_threads(1)
    contents = pickle.loads(Path(jpegs).read_bytes())
    count = 512

    class Jpeg:
        def __init__(self, row: int):
            self.content = contents[row % len(contents)]

        def __call__(self) -> Image.Image:
            return Image.open(io.BytesIO(self.content)).convert("RGB")

    transforms = [
        Photos(Cut((size, size), "bilinear", 0.9), (0.5,) * 3, (0.2,) * 3)
        for size in np.linspace(224, 512, cuts, dtype=int).tolist()
    ]
    samples = Photographs(tuple(map(Jpeg, range(count))), np.zeros(count, int))  # type: ignore[arg-type]

    class Plain(torch.utils.data.Dataset):
        def __getitem__(self, row: int) -> list:
            image = samples.inputs[row]()
            return [transform.cut(image) for transform in transforms]

        def __len__(self) -> int:
            return count

    def run() -> None:
        if loader == "ring":
            bounds = [(start, start + 128) for start in range(0, count, 128)]
            for _ in feed(samples, bounds, transforms, select_device("cpu"), 2):
                pass
        else:
            for _ in torch.utils.data.DataLoader(Plain(), batch_size=16, num_workers=2):
                pass

    if loader != "plain":
        import timm.data  # noqa: F401
    usage = resource.getrusage
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = sum(usage(one).ru_utime + usage(one).ru_stime for one in who)
    run()
    after = sum(usage(one).ru_utime + usage(one).ru_stime for one in who)
    return {"milliseconds": 1000 * (after - before) / count}


if __name__ == "__main__":
    kinds: dict[str, tuple] = {
        "memory": (memory, int, float),
        "share": (share, str),
        "zoo": (zoo, int),
        "decoding": (decoding, str, int, str),
    }
    call, *types = kinds[sys.argv[1]]
    print(json.dumps(call(*(kind(text) for kind, text in zip(types, sys.argv[2:])))))
