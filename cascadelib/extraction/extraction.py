"""Extract the logits of many models, in groups that fit into memory, by any number of processes."""

import contextlib
import dataclasses
import platform
import statistics
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..files import digest_of
from ..store.logit_store import LogitStore
from ..store.manifest import create
from ..tables import number
from ..zoo.forward import retain_freed_memory
from ..zoo.loaders import Source
from ..zoo.model import record_failure
from .class_order import check_names, check_order
from .inference import is_missing, run_group
from .planning import Candidate, Options, Probes, Residents, Settings, compute_needs, pack
from .preparation import (
    check_classes,
    check_disk,
    list_shared_settings,
    open_existing,
    prepare,
    remove_finished,
    select_pending,
)
from .shards import Shards, split_range

VERSIONED = ("torch", "timm", "numpy")  # packages whose versions are recorded


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
    memory: float | None = None,
    part: tuple[int, int] | None = None,
) -> LogitStore:
    """Run models on a data set and store their logits, MACs and measured seconds.

    Models run in groups that fit into memory. Any number of processes may make the same call: they
    share the work and fill one store. An interrupted call resumes when it is repeated, and loses at
    most one shard. With equal shard and batch sizes the tensors equal those of an uninterrupted run
    (on a GPU, up to rounding). A model that the store has is skipped if its weights, transform and
    settings are the same.

    Parameters
    ----------
    models : list of str or Source, or dict
        Names that :func:`load` accepts, sources that load your models when they are needed, or a
        dict from names to a module, a (module, transform) pair or a :class:`Model`. A transform
        maps a batch of raw inputs (a tensor on the device) to the module's input: a tensor, a tuple
        of arguments or a dict of keywords. None means ``float()``. Equal transforms run once per
        batch.
    dataset : data set of :mod:`cascadelib.datasets`, or tuple
        Labelled inputs, or (inputs, labels): arrays or tensors of shapes (n_samples, …) and
        (n_samples,). A DataLoader is refused: concatenate its batches. ``Photographs`` are decoded
        once per group of models, and a transform is then a :class:`Photos` or a function of one PIL
        image. ``Texts`` run in the order of their lengths, in batches padded to the longest text.
        Their MACs are the mean over the lengths without padding. Truncated texts cause a warning
        and are counted (``truncated`` in ``store.models``).
    path : str or Path
        Folder of the store. It is created if it does not exist.
    device : torch.device or str, optional
        Defaults to CUDA if available. Image models run in channels_last.
    batch_size : int, default=256
        Samples per batch. If memory does not suffice for one model, it is halved for that model,
        with a warning.
    amp : {"float16", "bfloat16"} or bool, optional
        Mixed precision. True means float16 on CUDA and bfloat16 elsewhere. By default it is used
        only on CUDA, and a stored model with either setting is kept. The setting is recorded.
    shard_size : int, default=2048
        Samples per shard, rounded down to full batches.
    progress : bool, default=True
        Whether to print the groups with an estimate of time and disk space, and to show a progress
        bar per group in a terminal or notebook.
    dtype : {"float16", "float32", "float64"}, default="float32"
        Type of the stored logits.
    macs : dict, optional
        MACs per sample by name, for models that fvcore cannot count.
    replace : bool, default=False
        Whether stored models are extracted again.
    workers : int, optional
        Processes that decode photographs. Defaults to one per available core, at most 16.
    memory : float, optional
        Gigabytes (10⁹ bytes) for the models of this process on its device: weights, intermediate
        results of a batch and, on a CPU, the logits of a shard. Models that do not fit together run
        in groups. Defaults to 90% of a GPU, or to half of the memory of the machine, or of its
        container or job if that has less. ``torchrun`` and Slurm's processes on one machine divide
        that half.
    part : tuple of int, optional
        (number, count): only every count-th model, beginning with this number (from 0). For
        machines without a shared folder: give each its part and a store, and join the stores with
        :meth:`LogitStore.merge`.

    Returns
    -------
    LogitStore
        The store at `path`.

    Raises
    ------
    ValueError
        Before the run: if a name is unknown, if names differ only in case, if the store has other
        samples, another number of classes or the same model with other settings, if another process
        fills the store with other settings, if its disk holds no locks, if `memory` is smaller than
        a model, or if disk space is insufficient. During the run: if a sample cannot be read. After
        the run: if a model could not be loaded, raised, fits into memory at no batch size, returned
        nan or no logits, has uncountable MACs, or has its classes in another order. One error names
        all failed models. The others are stored.

    See Also
    --------
    LogitStore : The result.
    count_macs : Count the MACs of one module.

    Notes
    -----
    Processes share the work through locks in the store's folder, by group and shard. Start them by
    hand, ``torchrun`` (one per GPU), Slurm or Kubernetes, at any time. If one is killed, the others
    compute its shard. On several machines, the folder must be on a disk that holds locks across
    machines, which is checked. A model that runs out of memory next to others is set aside and runs
    with fewer.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> import cascadelib as cl
    >>> inputs, labels = torch.randn(100, 8), torch.arange(100) % 3
    >>> models = {"small": torch.nn.Linear(8, 3), "large": torch.nn.Linear(8, 3, bias=False)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = cl.extract(models, (inputs, labels), f"{folder}/store", progress=False)
    ...     sorted(store.models.index)
    ['large', 'small']
    """
    options = Options(
        device,
        batch_size,
        amp,
        shard_size,
        progress,
        dtype,
        macs or {},
        replace,
        workers,
        memory,
        part,
    )
    settings = prepare(models, dataset, path, options)
    pending = select_pending(settings)
    with contextlib.suppress(OSError):  # the store may be read-only
        remove_finished(settings, pending)
    if pending:
        shared = list_shared_settings(settings)
        with retain_freed_memory(), settings.shards.join(shared) as others:
            _extract_pending(pending, settings, others)
    if settings.failed:
        texts = "\n".join(map(str, settings.failed.values()))
        raise ValueError(
            f"{path}: {len(settings.failed)} of {len(settings.sources)} models failed:\n{texts}"
        ) from ExceptionGroup("failed models", [*settings.failed.values()])
    return LogitStore(path)


def plan_extraction(models: Any, dataset: Any, path: Path | str, **options: Any) -> str:
    """Return the groups of a call of :func:`extract`, with estimates of time and disk space.

    The parameters are those of :func:`extract`. Each model is loaded and called on a few samples.
    Nothing is stored. The text also has the models that fail.
    """
    settings = prepare(models, dataset, path, Options(**options))
    pending = select_pending(settings)
    if not pending:
        return f"{path} has all {_count(settings.sources)}"
    with retain_freed_memory(), tempfile.TemporaryDirectory() as folder:
        residents = Residents(dataclasses.replace(settings, shards=Shards(folder)))
        groups = _form_groups(pending, residents)
        residents.keep(())
    return describe_plan(groups, settings)


def _extract_pending(pending: list[Source], settings: Settings, others: int) -> None:
    """Probe models, compute their missing shards group by group, and store the complete models.

    others: number of other processes that share the work. Each begins with another group.
    """
    residents = Residents(settings)
    try:
        groups = _form_groups(pending, residents)
        if settings.options.progress and groups:
            print(describe_plan(groups, settings, 1 + others), flush=True)
        turns = [(group, f"group {turn} of {len(groups)}") for turn, group in enumerate(groups, 1)]
        first = others % max(1, len(groups))
        # First compute what no other process does, then wait for the rest.
        for wait in (False, True):
            for group, title in turns[first:] + turns[:first]:
                run_group(group, residents, wait, title)
                for candidate in group:
                    if candidate.name not in settings.failed:
                        with record_failure(settings.failed, candidate.name, ValueError):
                            _assemble(candidate, settings, is_last=wait)
    finally:
        residents.keep(())


def _form_groups(pending: list[Source], residents: Residents) -> list[list[Candidate]]:
    """Probe models and divide them into groups.

    Raises ValueError if classes do not match, or if disk space is insufficient.
    """
    settings = residents.settings
    candidates = Probes(residents).run_all(pending)
    check_names(candidates, settings.labels)
    check_classes(candidates, settings.labels, settings.store)
    check_disk(candidates, settings)
    return pack(candidates, settings)


def describe_plan(groups: list[list[Candidate]], settings: Settings, processes: int = 1) -> str:
    """Return the failed models, and lines with the size, memory and time of all groups and of each.

    The work is divided by the number of processes.
    """
    lines = [*map(str, settings.failed.values())]
    seconds = [_estimate_seconds(group, settings) / processes for group in groups]
    models = [*chain(*groups)]
    if models:
        size = sum(one.classes for one in models) * len(settings.samples) * settings.value_bytes
        lines.append(
            f"{_count(models)} × {len(settings.samples)} samples: {format_duration(sum(seconds))}, "
            f"{number(size, 'B')} on disk"
        )
    if len(groups) > 1:
        lines[-1] += f", {len(groups)} groups within {number(settings.memory, 'B')}"
        for turn, group in enumerate(groups):
            need = float(f"{compute_needs(group, settings)[0]:.2g}")
            lines.append(
                f"  group {turn + 1}: {_count(group)}, {number(need, 'B')} of memory, "
                f"{format_duration(seconds[turn])}"
            )
    return "\n".join(lines)


def _estimate_seconds(group: list[Candidate], settings: Settings) -> float:
    """Return the time of a group in one process. Shards that exist cost no time."""
    return sum(
        candidate.seconds * (span[1] - span[0])
        for span in settings.bounds
        for candidate in group
        if is_missing(candidate, span, settings)
    )


def _count(models: list) -> str:
    return f"{len(models)} {'model' if len(models) == 1 else 'models'}"


def format_duration(seconds: float) -> str:
    """Format a duration, such as "about 40 s", "about 3 min" or "about 2.5 h"."""
    units = ((3600, "h", 1), (60, "min", 0), (1, "s", 0))
    size, unit, digits = next((unit for unit in units if seconds >= 2 * unit[0]), units[-1])
    return f"about {seconds / size:.{digits}f} {unit}" if seconds >= 1 else "less than 1 s"


def _assemble(candidate: Candidate, settings: Settings, is_last: bool) -> None:
    """Store a model if its shards are complete and no other process has stored it.

    is_last: whether a missing shard is an error, since no other process computes it.
    """
    shards = settings.shards
    with shards.locked(f"store-{digest_of(candidate.name)}"):
        if not shards.is_stored(candidate.name, candidate.run):
            parts = [shards.read(candidate.name, candidate.run, span) for span in settings.bounds]
            if None in parts and is_last:
                raise ValueError(
                    f"model {candidate.name!r}: a shard is missing or damaged. Repeat the call, "
                    "which computes it again"
                )
            if None in parts:
                return
            _store(candidate, parts, settings)
        shards.remove(candidate.name)


def _store(candidate: Candidate, parts: list, settings: Settings) -> None:
    """Store the logits and measured seconds of a model.

    parts: (logits, seconds per sample of each batch) of its shards.
    """
    tensors, batch_seconds = zip(*parts)
    logits = np.concatenate(tensors)
    times = [*chain(*batch_seconds)]
    if settings.order is not None:
        logits = logits[np.argsort(settings.order)]
        # Texts are sorted by length, so all batches count.
        sizes = [
            stop - start for start, stop in split_range(0, len(logits), settings.options.batch_size)
        ]
        seconds = float(np.average(times, weights=sizes))
    elif settings.workers and settings.device.torch.type == "cpu":
        # Workers decode on the same processor, so the time of the probe is more accurate.
        seconds = candidate.seconds
    else:  # only full batches count, since a smaller last batch is less efficient
        seconds = statistics.median(times[: len(logits) // settings.options.batch_size] or times)
    check_order(candidate, logits, settings.labels)
    installed = {name: version(name) for name in VERSIONED if find_spec(name)}
    extraction = candidate.run | {
        "run": digest_of(candidate.run),
        "device_name": settings.device.name,
        "versions": {"python": platform.python_version()} | installed,
    }
    extraction.pop("samples")
    if candidate.name in settings.batch_limits:
        extraction["largest_batch_in_memory"] = settings.batch_limits[candidate.name]
    metadata = {key: value for key, value in candidate.metadata.items() if key != "classes"}
    # Another process may have created the store or changed it since the start.
    path = settings.shards.store_path
    with settings.shards.locked("create"):
        store = open_existing(path, settings.labels)
        if store is None:
            create(path, settings.labels)
            store = LogitStore(path)
    store.add(
        candidate.name,
        logits,
        macs=candidate.macs,
        seconds=seconds,
        replace=True,
        dtype=candidate.run["dtype"],
        extraction=extraction,
        **metadata,
    )
