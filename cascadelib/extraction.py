"""From models and a data set to a store of logits: many models in one pass, resumable, at most one shard lost."""

import contextlib
import os
import platform
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from tqdm import tqdm

from . import datasets, logit_files
from .candidates import Candidate, finished, inputs_digest, prepared, probed, resolved
from .forwarding import Precision, on_device, ready, timed_logits
from .labels import labels_of
from .logit_arrays import DTYPES, is_cost
from .names import known
from .shards import Shards, shard_bounds
from .store import LogitStore


@dataclass(frozen=True)
class Estimate:
    """What an extraction will take: seconds of computing and bytes on disk, for so many models and samples."""

    models: int
    samples: int
    seconds: float
    bytes: int

    def __str__(self):
        minutes, seconds = divmod(round(self.seconds), 60)
        hours, minutes = divmod(minutes, 60)
        time = (
            f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
        )
        return f"{self.models} models × {self.samples} samples: about {time}, {self.bytes / 1e6:.1f} MB on disk"


def extract(
    models,
    dataset,
    path,
    device=None,
    batch_size: int = 256,
    amp: bool | None = None,
    shard_size: int = 2048,
    progress: bool = True,
    dtype: str = "float32",
    macs: dict | None = None,
    replace: bool = False,
) -> LogitStore:
    """Run ``models`` over ``dataset`` and keep their logits, MACs and measured seconds in the store at ``path``.

    models: names of the bundled zoo, or {name: module}, {name: (module, transform)} or {name: zoo.Model}. A transform
        turns a batch of raw inputs (a tensor, already on the device) into the module's input: a tensor, a tuple of
        arguments or a dict of keywords; equal transforms run once a batch. None stands for ``float()``.
    dataset: :class:`cascadelib.datasets.Samples` or (inputs, labels), arrays or tensors [k, …] and int [k].
    device: CUDA where there is one. amp: mixed precision, by default on CUDA only. dtype: of the stored logits.
    macs: {name: MACs a sample} for models that fvcore cannot count. progress: print the estimate of time and disk
        before the start, and draw a bar where somebody watches.

    Interrupted, it resumes: the same call skips what is finished and loses at most one shard of ``shard_size``
    samples (rounded to whole batches); with the same shard and batch sizes the tensors are those of an uninterrupted
    run. A model that the store holds already is skipped if weights and transform are the same; ``replace=True``
    extracts it anew. All models are in memory at once.

    Raises ValueError, before the long run, for unknown names, a store with other samples, another number of classes
    than the data set's, outputs that are no logits, MACs that cannot be counted, too little space on the disk.
    """
    if not hasattr(dataset, "batch") and not (isinstance(dataset, tuple) and len(dataset) == 2):
        raise ValueError(
            f"dataset must be a cascadelib.datasets.Samples or (inputs, labels), not {type(dataset).__name__}"
        )
    samples = dataset if hasattr(dataset, "batch") else datasets.from_arrays(*dataset)
    found, macs, labels = resolved(models), macs or {}, labels_of(samples)
    _check_arguments(found, batch_size, shard_size, macs, dtype)
    precision = Precision.chosen(device, amp)
    settings = {"batch_size": batch_size, "dtype": dtype, "amp": precision.amp, "device": precision.device.type}
    bounds = shard_bounds(len(samples), shard_size, batch_size)
    with Shards(path) as shards:
        store = _existing(path, labels)
        inputs = inputs_digest(samples)
        pending = [m for m in found if replace or not finished(store, m, inputs)]
        run = settings | {"samples": labels.fingerprint, "inputs": inputs}
        pending = [probed(m, samples, precision, run, macs.get(m.name)) for m in pending]
        _check_classes(pending, labels, store)
        missing = {(a, b): [c for c in pending if shards.read(c.model.name, c.run, a, b) is None] for a, b in bounds}
        _announce(path, pending, missing, np.dtype(dtype).itemsize, progress)
        _run_pass(samples, missing, shards, precision, batch_size, np.dtype(dtype), progress)
        store = store or _created(path, labels)
        for candidate in pending:
            _assemble(candidate, store, shards, bounds, settings | _circumstances(precision))
    return LogitStore(path)


def _check_arguments(models, batch_size, shard_size, macs, dtype):
    for kind, value in (("batch_size", batch_size), ("shard_size", shard_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{kind} must be a positive whole number, not {value!r}")
    known(dtype, DTYPES, "dtype")
    for name, value in macs.items():
        known(name, [m.name for m in models], "model in macs")
        if not is_cost(value):
            raise ValueError(f"model {name!r}: macs must be a positive number, not {value!r}")


def _existing(path, labels) -> LogitStore | None:
    """The store at ``path``, refused if it is of other samples; None where there is none yet."""
    if not (Path(path) / "manifest.json").exists():
        return None
    store = LogitStore(path)
    try:
        labels_of(store).check_same(labels.sample_ids, labels.values)
        if store.classes and labels.classes and store.classes != labels.classes:
            raise ValueError(f"its classes are {store.classes}, not {labels.classes}")
    except ValueError as error:
        raise ValueError(f"the store {path} is of another split: {error}; choose another path") from None
    return store


def _created(path, labels):
    return LogitStore.create(path, labels.values, labels.sample_ids, labels.classes, labels.dataset, labels.split)


def _check_classes(candidates, labels, store):
    """All models must have the data set's classes; where those have no names, the classes that the others have."""
    expected, source = len(labels.classes or ()), "the data set"
    if not expected and store is not None and len(store.models):
        name = store.models.index[0]
        expected, source = store.logits(name).shape[1], f"model {name!r} in the store"
    for candidate in candidates:
        name, count = candidate.model.name, candidate.classes
        expected, source = (expected, source) if expected else (count, f"model {name!r}")
        if count != expected:
            raise ValueError(f"model {name!r} gives {count} classes, {source} has {expected}")
        if labels.values.max() >= count:
            raise ValueError(f"model {name!r} gives {count} classes, but a label is {labels.values.max()}")


def _announce(path, pending, missing, itemsize, progress):
    """Print the estimate of what is left to do; refuse a disk with too little space for it."""
    left = [(candidate, stop - start) for (start, stop), found in missing.items() for candidate in found]
    samples = max((stop for _, stop in missing), default=0)
    final = [candidate.classes * samples * itemsize for candidate in pending]
    seconds = sum(candidate.seconds * count for candidate, count in left)
    # Shards stay until their model is in the store: for a moment the largest model is there twice.
    needed = sum(c.classes * count * itemsize for c, count in left) + max(final, default=0)
    free = shutil.disk_usage(path).free
    if needed > free:
        raise ValueError(f"{path}: {needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB free")
    if progress and pending:
        print(Estimate(len(pending), samples, seconds, sum(final)), flush=True)


def _watched() -> bool:
    """Whether somebody sees a bar: a terminal, or a notebook in a browser (not papermill, nbval or a log)."""
    return (
        sys.stderr.isatty()
        or "ipykernel" in sys.modules
        and bool({"JPY_SESSION_NAME", "VSCODE_PID"} & os.environ.keys())
    )


def _run_pass(samples, missing, shards, precision, batch_size, dtype, progress):
    """Fill in the ``missing`` shards {(start, stop): candidates}, batch by batch, all candidates of a batch at once."""
    candidates = {c.model.name: c for found in missing.values() for c in found}.values()
    total = sum((stop - start) * len(found) for (start, stop), found in missing.items())
    bar = tqdm(total=total, unit="sample", leave=False, disable=not (progress and _watched()), mininterval=0.5)
    with contextlib.ExitStack() as stack, bar, torch.inference_mode():
        for candidate in candidates:
            stack.enter_context(ready(candidate.model.module, precision.device))
        for (start, stop), found in missing.items():
            if found:
                _run_shard(samples, start, stop, found, shards, precision, batch_size, dtype, bar)


def _run_shard(samples, start, stop, candidates, shards, precision, batch_size, dtype, bar):
    logits = {c.model.name: np.empty((stop - start, c.classes), dtype) for c in candidates}
    seconds = {c.model.name: [] for c in candidates}
    wide = torch.float64 if dtype == np.float64 else torch.float32  # numpy knows no bfloat16
    for first in range(start, stop, batch_size):
        last = min(first + batch_size, stop)
        raw = on_device(samples.batch(first, last), precision.device)
        for candidate, output, time in _outputs(candidates, raw, precision):
            logits[candidate.model.name][first - start : last - start] = output.to("cpu", wide).numpy()
            seconds[candidate.model.name].append(time)
            bar.update(last - first)
    for candidate in candidates:
        name = candidate.model.name
        _check_finite(name, logits[name], start)
        shards.write(name, candidate.run, start, stop, logits[name], seconds[name])


def _outputs(candidates, raw, precision):
    """(candidate, logits, seconds a sample) of each candidate for a raw batch; each distinct transform runs once."""
    groups = []
    for candidate in candidates:
        transform = candidate.model.transform
        same = next((g for t, g in groups if t is transform or type(t) is type(transform) and t == transform), None)
        groups.append((transform, [candidate])) if same is None else same.append(candidate)
    for transform, group in groups:
        inputs = on_device(prepared(transform, raw), precision.device)
        for candidate in group:
            yield candidate, *timed_logits(candidate.model.name, candidate.model.module, inputs, precision)


def _check_finite(name, logits, start):
    bad = np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        raise ValueError(
            f"model {name!r}: nan or inf in the logits of row {start + bad[0]} (as {logits.dtype}); "
            "if this is half precision, try amp=False or dtype='float32'"
        )


def _circumstances(precision) -> dict:
    """What the header records beside the settings: device in words, library versions."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__}
    return {"device_name": precision.device_name, "versions": versions | {"numpy": np.__version__}}


def _assemble(candidate: Candidate, store, shards, bounds, extraction):
    """Put a model whose shards are all there into the store, and forget the shards."""
    model, run = candidate.model, candidate.run
    parts = [shards.read(model.name, run, start, stop) for start, stop in bounds]
    logits = np.concatenate([part for part, _ in parts])
    times = [time for _, batch_seconds in parts for time in batch_seconds]
    full = times[: len(logits) // run["batch_size"]]  # a last, smaller batch is less efficient
    logit_files.remove_leftovers(store.path / logit_files.file_name(model.name))
    identity = {key: run[key] for key in ("weights_sha256", "transform", "inputs")}
    size = {"image_size": candidate.image_size} if candidate.image_size else {}
    store.add(
        model.name,
        logits,
        macs=candidate.macs,
        seconds=statistics.median(full or times),
        replace=True,
        dtype=run["dtype"],
        **size | model.metadata | {"extraction": identity | extraction},
    )
    shards.remove(model.name)
