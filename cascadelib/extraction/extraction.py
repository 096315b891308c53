"""From models and a data set to a store of logits: many models in one pass, resumable, at most one shard lost."""

import contextlib
import hashlib
import platform
import shutil
import statistics
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from ..checks import POSITIVE, about, check_count, check_number, known
from ..datasets.images import Photographs
from ..datasets.samples import Samples
from ..datasets.texts import Texts
from ..files import file_name, ignores_case, leftovers
from ..labels import labels_of
from ..store.formats import Folder
from ..store.logit_store import DTYPES, LogitStore
from ..zoo.forward import AMP, device_of, kept_memory
from ..zoo.loaders import resolved
from ..zoo.macs import with_text_costs
from ..zoo.model import identity, noted
from .class_order import check_names, check_order
from .inference import Candidate, Pass, probed, read, run_pass
from .shards import LOCK, Shards, shard_bounds, started, usable_cores


def extract(
    models: Any,
    dataset: Any,
    path: Path | str,
    device: Any = None,
    batch_size: int = 256,
    amp: str | bool | None = None,
    shard_size: int = 2048,
    progress: bool = True,
    dtype: str = "float32",
    macs: dict | None = None,
    replace: bool = False,
    workers: int | None = None,
    compile: bool = False,
) -> LogitStore:
    """Run ``models`` over ``dataset`` and keep their logits, MACs and measured seconds in the store at ``path``.

    models: names that :func:`load` knows, or {name: module}, {name: (module, transform)} or {name: :class:`Model`}. A
        transform turns a batch of raw inputs (a tensor on the device) into the module's input: a tensor, a tuple of
        arguments or a dict of keywords; equal transforms run once a batch. None stands for ``float()``.
    dataset: one of :mod:`cascadelib.datasets` or (inputs, labels), arrays or tensors [k, …] and int [k].
        ``Photographs`` are read and decoded once for all models, by ``workers`` processes (default: one a core that
        this one may use, 16 at most); there a transform is a :class:`Photos` or a function of one PIL image. ``Texts``
        run in the order of their lengths, in batches padded to their longest; MACs are the mean at those lengths
        without padding, and texts that a model cuts are counted (``truncated`` in ``store.models``) and warned of.
    device: CUDA where there is one. amp: mixed precision: "float16", "bfloat16", False, True (float16 on CUDA, else
        bfloat16), by default on CUDA only. compile: run the models as ``torch.compile`` makes them; it takes a while,
        and the logits differ in the last digits. Both are recorded. dtype: of the stored logits.
    macs: {name: MACs a sample} for models that fvcore cannot count. progress: print the estimate of time and disk
        before the start, and draw a bar where somebody watches.

    Interrupted, the same call resumes, and loses at most one shard of ``shard_size`` samples (rounded to whole
    batches); with the same shard and batch sizes the tensors are those of an uninterrupted run. A model that the store
    holds is skipped if weights and transform are the same; ``replace=True`` extracts it anew. All models are in memory
    at once; a batch without room there is halved, for the model concerned, until it fits, with a warning. Under
    ``torchrun`` the processes (one a GPU) share the samples and fill one store; another number of them may resume it.

    Raises ValueError, before the long run, for unknown names, a store with other samples, another number of classes
    than the data set's, too little space on the disk; then for a sample that cannot be read. A model that raises, gives
    nan or no logits, whose MACs cannot be counted or whose classes are in another order (see :mod:`class_order`) takes
    no other down: one ValueError at the end names each that failed, and the others are in the store.
    """
    samples = Samples(*dataset) if isinstance(dataset, tuple) and len(dataset) == 2 else dataset
    if not hasattr(samples, "batch"):
        raise ValueError(
            f"dataset: one of cascadelib.datasets or (inputs, labels), not {type(dataset).__name__}"
        )
    found, macs, labels = resolved(models), macs or {}, labels_of(samples)
    if workers is None:
        workers = min(16, usable_cores()) if isinstance(samples, Photographs) else 0
    _check_arguments(found, batch_size, shard_size, workers, macs, dtype, amp)
    check_names(found, labels)
    bounds = shard_bounds(len(samples), shard_size, batch_size)
    order = (
        samples.order if isinstance(samples, Texts) else None
    )  # by length, so that batches hold little padding
    store = _existing(path, labels)
    wanted = {"inputs": inputs_digest(samples), "dtype": dtype, "compile": compile}
    if amp is not None:  # by default the store's own will do, whatever device it came from
        wanted["amp"] = device_of(device, amp).amp
    pending = [model for model in found if replace or not _is_finished(store, model, wanted)]
    if store is not None:
        _sweep(store.path, [model.name for model in found if model not in pending])
    if not pending:
        return LogitStore(path)
    with (
        started() as mine,
        Shards(path, locked=mine.first) as shards,
        kept_memory(),
        contextlib.ExitStack() as stack,
    ):
        on, progress = device_of(device or mine.device(), amp), progress and mine.first
        settings = Pass(on, batch_size, np.dtype(dtype), order, workers, progress, compile)
        store, failed = (
            _existing(path, labels),
            settings.failed,
        )  # others may have been at work until it was locked
        pending = [model for model in pending if replace or not _is_finished(store, model, wanted)]
        _check_spellings(path, [model.name for model in found], store)
        if isinstance(samples, Texts):
            pending, macs = with_text_costs(pending, samples.inputs, macs, failed)
        run = {
            "batch_size": batch_size,
            "dtype": settings.dtype.name,
            "amp": on.amp,
            "compile": compile,
        }
        run |= {"device": on.torch.type, "samples": labels.fingerprint, "inputs": wanted["inputs"]}
        candidates = probed(pending, samples, settings, run, macs, stack)
        mine.gather(failed)
        candidates = settings.remaining(candidates)
        _check_classes(candidates, labels, store)
        missing = {
            (a, b): [c for c in candidates if shards.read(c.model.name, c.run, a, b) is None]
            for a, b in bounds
        }
        _announce(path, candidates, missing, settings, mine.count)
        mine.gather({})  # until all have seen what is missing
        samples = samples if order is None else samples.take(order)
        left = [shard for shard in missing.items() if shard[1]]
        run_pass(samples, dict(left[mine.rank :: mine.count]), shards, settings)
        mine.gather(failed)
        candidates = settings.remaining(candidates)
        if mine.first and candidates:
            origin = labels.values, labels.sample_ids, labels.classes, labels.dataset, labels.split
            store = store or LogitStore.create(path, *origin)
            for candidate in candidates:
                with noted(failed, candidate.model.name, ValueError):
                    _assemble(candidate, store, shards, bounds, settings)
        mine.gather(failed)
    if failed:
        texts, causes = (
            "\n".join(map(str, failed.values())),
            ExceptionGroup("failed models", [*failed.values()]),
        )
        raise ValueError(
            f"{path}: {len(failed)} of {len(found)} models failed:\n{texts}"
        ) from causes
    return LogitStore(path)


def _sweep(path, finished):
    """Remove what a kill left of ``finished`` models, where there is something and it can be; else write nothing."""
    if leftovers(path) or (path / ".partial").exists():
        with contextlib.suppress(OSError, ValueError), Shards(path) as shards:
            Folder(path).settle()
            for name in finished:
                shards.remove(name)


def _check_arguments(models, batch_size, shard_size, workers, macs, dtype, amp):
    check_count(batch_size, "batch_size")
    check_count(shard_size, "shard_size")
    check_count(workers, "workers", 0)
    known(dtype, DTYPES, "dtype")
    known(amp, AMP, "amp")
    for name, value in macs.items():
        known(name, [m.name for m in models], "model in macs")
        check_number(value, f"model {name!r}: macs", "a positive number", *POSITIVE)


def _existing(path, labels) -> LogitStore | None:
    """The store at ``path``, refused if it is of other samples; None where there is none yet."""
    if not (Path(path) / "manifest.json").exists():
        return None
    store = LogitStore(path)
    with about(f"the store {path} is of another split; choose another path"):
        labels_of(store).check_same(labels.sample_ids, labels.values)
        if store.classes and labels.classes and store.classes != labels.classes:
            raise ValueError(f"its classes are {store.classes}, not {labels.classes}")
    return store


def _check_classes(candidates, labels, store):
    """All models must have the data set's classes; where those have no names, the classes that the others have."""
    expected, source = len(labels.classes or ()), "the data set"
    if not expected and store is not None and len(store.models):
        expected = store.class_count
        source = f"model {store.models.index[0]!r} in the store"
    for candidate in candidates:
        name, count = candidate.model.name, candidate.classes
        expected, source = (expected, source) if expected else (count, f"model {name!r}")
        if count != expected:
            raise ValueError(f"model {name!r} gives {count} classes, {source} has {expected}")
        if labels.needed.max() >= count:
            raise ValueError(
                f"model {name!r} gives {count} classes, but a label is {labels.needed.max()}"
            )


def _announce(path, pending, missing, settings, processes):
    """Print the estimate of what is left to do; refuse a disk with too little space for it."""
    left = [
        (candidate, stop - start) for (start, stop), found in missing.items() for candidate in found
    ]
    samples = max((stop for _, stop in missing), default=0)
    itemsize = settings.dtype.itemsize
    final = [candidate.classes * samples * itemsize for candidate in pending]
    seconds = sum(candidate.seconds * count for candidate, count in left) / processes
    # Shards stay until their model is in the store: for a moment the largest model is there twice.
    needed = sum(c.classes * count * itemsize for c, count in left) + max(final, default=0)
    free = shutil.disk_usage(path).free
    if needed > free:
        raise ValueError(f"{path}: {needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB free")
    if settings.progress and pending:
        needs = f"about {timedelta(seconds=round(seconds))} h, {sum(final) / 1e6:.1f} MB on disk"
        print(
            *settings.failed.values(),
            f"{len(pending)} models × {samples} samples: {needs}",
            sep="\n",
            flush=True,
        )


def _assemble(candidate: Candidate, store, shards, bounds, settings: Pass):
    """Put a model whose shards are all there into the store, and forget the shards."""
    model, run = candidate.model, candidate.run
    parts = [shards.read(model.name, run, start, stop) for start, stop in bounds]
    logits = np.concatenate([part for part, _ in parts])
    if settings.order is not None:
        logits = logits[np.argsort(settings.order)]
    check_order(model, logits, labels_of(store))
    times = [time for _, times in parts for time in times]
    extraction = {key: value for key, value in run.items() if key != "samples"}
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    extraction |= {
        "device_name": settings.device.name,
        "versions": versions | {"numpy": np.__version__},
    }
    if model.name in settings.most:
        extraction["largest_batch_in_memory"] = settings.most[model.name]
    size = {"image_size": candidate.image_size} if candidate.image_size else {}
    metadata = {key: value for key, value in model.metadata.items() if key != "classes"}
    store.add(
        model.name,
        logits,
        macs=candidate.macs,
        seconds=_seconds(candidate, times, len(logits), settings),
        replace=True,
        dtype=run["dtype"],
        **size | metadata | {"extraction": extraction},
    )
    shards.remove(model.name)


def _seconds(candidate, times, count, settings):
    """Median seconds a sample over the full batches (a last, smaller one is less efficient); of texts sorted by length
    the mean. Where workers decode on the same processor, the probe before them is the better measurement."""
    if settings.order is not None:
        sizes = [
            min(settings.batch_size, count - start)
            for start in range(0, count, settings.batch_size)
        ]
        return float(np.average(times, weights=sizes))
    if settings.workers and settings.device.torch.type == "cpu":
        return candidate.seconds
    return statistics.median(times[: count // settings.batch_size] or times)


def inputs_digest(samples: Any) -> str:
    """SHA-256 of up to 64 evenly spread inputs: tells changed inputs from the same without reading all of them. A data
    set of other things than tensors has ``raw(row) -> bytes`` for it."""
    digest = hashlib.sha256()
    for row in sorted({round(i * (len(samples) - 1) / 63) for i in range(64)}):
        if hasattr(samples, "raw"):
            digest.update(hashlib.sha256(samples.raw(row)).digest())
            continue
        one = read(samples, row, row + 1)
        if isinstance(one, torch.Tensor):
            one = one.detach().cpu().contiguous()
            digest.update(f"{one.dtype} {tuple(one.shape)}".encode())
            digest.update(one.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_spellings(path, names, store):
    """Refuse models whose names differ in case alone, where the disk ignores case."""
    if not ignores_case(Path(path) / ".partial" / LOCK):
        return
    spelt: dict[str, str] = {}
    for name in sorted({*names, *(() if store is None else store.models.index)}):
        other = spelt.setdefault(file_name(name).lower(), name)
        if other != name:
            raise ValueError(
                f"{path}: the names of models {other!r} and {name!r} differ in case alone, and this disk ignores "
                "case; give one of them another name"
            )


def _is_finished(store, model, wanted) -> bool:
    """Whether ``store`` (or None) holds this very model's logits; a broken file counts as none. ValueError where it
    holds another model of that name, or the same one on other inputs or under other settings than ``wanted``, the
    entries of its header that decide the numbers."""
    if store is None or model.name not in store.models.index:
        return False
    metadata = store.metadata(model.name)
    recorded = metadata.get("extraction") or {}
    differing = [f"other {key}" for key, own in identity(model).items() if recorded.get(key) != own]
    if recorded.get("inputs", wanted["inputs"]) != wanted["inputs"]:
        differing.append("other inputs")
    recorded, wanted = recorded | metadata, wanted | model.metadata
    for key in ("dtype", "amp", "compile", "image_size"):
        if key in wanted and recorded.get(key, wanted[key]) != wanted[key]:
            differing.append(f"other {key}: {recorded[key]} there, {wanted[key]} here")
    if differing:
        raise ValueError(
            f"the store {store.path} holds another {model.name!r} ({' and '.join(differing)}); "
            "pass replace=True to extract it anew, or give this one another name"
        )
    return True
