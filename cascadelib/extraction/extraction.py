"""Extract the logits of many models, in groups that fit into memory, by any number of processes."""

import contextlib
import errno
import platform
import statistics
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..files import digest_of, file_name
from ..store.logit_store import LogitStore
from ..zoo.loaders import Source
from ..zoo.model import record_failure
from .class_order import check_order
from .inference import run_group
from .planning import Candidate, Options, Queue, Residents, Settings
from .preparation import (
    check_stored_model,
    open_or_create,
    prepare,
    remove_finished,
    select_pending,
)

POLL_SECONDS = 0.5


def extract(
    models: Any,
    dataset: Any,
    path: Path | str,
    device: Any = None,
    batch_size: int = 256,
    amp: str | bool | None = None,
    *,
    progress: bool = True,
    macs: dict | None = None,
    replace: bool = False,
    workers: int | None = None,
    memory: float | None = None,
    verify: bool = False,
) -> LogitStore:
    """Run models on a data set and store their logits, MACs and measured seconds.

    Models run in groups that fit into memory. Any number of processes may make the same call: they
    share the work and fill one store. An interrupted call resumes when it is repeated: it loses the
    loading of a group and at most one shard of each of its models. With equal batch sizes the
    tensors equal those of an uninterrupted run (on a GPU, up to rounding). A model that the store
    has with the same settings is skipped.

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
    progress : bool, default=True
        Whether to print the number of models after each group, and to show a progress bar per group
        in a terminal or notebook.
    macs : dict, optional
        MACs per sample by name, for models that fvcore cannot count.
    replace : bool, default=False
        Whether stored models with other weights, transform or settings are replaced. Models that
        are stored with the same ones are kept, so an interrupted call continues.
    workers : int, optional
        Processes that decode photographs. Defaults to one per available core, at most 16.
    memory : float, optional
        Gigabytes (10⁹ bytes) for the models of this process on its device: weights, intermediate
        results of a batch and, on a CPU, the logits of a shard. Models that do not fit together run
        in groups. Defaults to 90% of a GPU, or to half of the memory of the machine, or of its
        container or job if that has less. The processes of ``torchrun`` on one machine divide that
        half.
    verify : bool, default=False
        Whether stored models that are loaded by name or source are loaded at the end, to compare
        their weights with the stored ones. Modules that are passed are always compared.

    Returns
    -------
    LogitStore
        The store at `path`.

    Raises
    ------
    ValueError
        Before the run: if a name is unknown, if names differ only in case, if torch cannot use the
        device, if the store has other samples or the same model with other settings, if `memory` is
        smaller than a model, or if the disk has no locks and another process fills the store.
        During the run: if a sample cannot be read. After the run: if a model could not be loaded,
        raised, fits into memory at no batch size, returned nan or no logits, has another number of
        classes, has uncountable MACs, has its classes in another order, or was stored by another
        process with other settings. One error names all failed models. The others are stored.
    OSError
        If the disk is full. The models that are complete are stored, and the same call continues.

    See Also
    --------
    LogitStore : The result.
    count_macs : Count the MACs of one module.

    Notes
    -----
    Processes share the work through locks in the store's folder, by model and shard. Start them by
    hand, ``torchrun`` (one per GPU), Slurm or Kubernetes, at any time. If one is killed, the others
    compute its shards. On several machines, the folder must be on a disk whose locks all machines
    see. On a disk without locks, and on Windows, only one process at a time can extract. A model
    that runs out of memory next to others is set aside and runs with fewer.

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
        device, batch_size, amp, progress, macs or {}, replace, workers, memory, verify
    )
    settings = prepare(models, dataset, path, options)
    pending = select_pending(settings)
    with contextlib.suppress(OSError):  # the store may be read-only
        remove_finished(settings, pending)
    if pending:
        with _explain_full_disk(settings), settings.shards.locks.shared():
            _extract_pending(pending, settings)
    if verify:
        for source in settings.sources:
            if source not in pending and not source.is_loaded:
                with record_failure(settings.failed, source.name):
                    check_stored_model(source, settings, source.load())
    if settings.failed:
        texts = "\n".join(map(str, settings.failed.values()))
        raise ValueError(
            f"{path}: {len(settings.failed)} of {len(settings.sources)} models failed:\n{texts}"
        ) from ExceptionGroup("failed models", [*settings.failed.values()])
    return LogitStore(path)


@contextlib.contextmanager
def _explain_full_disk(settings: Settings) -> Iterator[None]:
    """Make the error of a full disk name the folder, what is stored and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        path = settings.shards.store_path
        stored = [source for source in settings.sources if (path / file_name(source.name)).exists()]
        raise OSError(
            error.errno,
            f"the disk of {path} is full ({error.strerror}): {len(stored)} of "
            f"{len(settings.sources)} models are stored, and the same call continues after you "
            "free some space",
        ) from error


def _extract_pending(pending: list[Source], settings: Settings) -> None:
    """Compute the missing shards of models group by group, and store the complete models."""
    began = time.perf_counter()
    residents = Residents(settings)
    queue = Queue(pending, residents)
    unfinished = []
    try:
        while queue.rest:
            group = queue.form_group()
            done = f"{len(pending) - len(queue.rest)} of {len(pending)} models"
            title = f"{done} after {time.perf_counter() - began:.0f} s"
            if not _run_and_store(group, residents, title):
                unfinished.append(group)
            if settings.options.progress:
                print(f"{done} after {time.perf_counter() - began:.0f} s", flush=True)
        while unfinished:  # other processes compute the rest, or have ended
            time.sleep(POLL_SECONDS)
            unfinished = [
                group
                for group in unfinished
                if not _run_and_store(group, residents, "shards of other processes")
            ]
    finally:
        residents.keep(())


def _run_and_store(group: list[Candidate], residents: Residents, title: str) -> bool:
    """Compute the missing shards of a group, store complete models, and return whether all are."""
    failed = residents.settings.failed
    run_group(group, residents, title)
    complete = True
    for candidate in group:
        if candidate.name not in failed:
            with record_failure(failed, candidate.name, ValueError):
                complete &= _store_if_complete(candidate, residents)
    return complete


def _store_if_complete(candidate: Candidate, residents: Residents) -> bool:
    """Store a model if its shards are complete, and return whether it is stored.

    Raises ValueError if another process has stored it with other settings.
    """
    settings = residents.settings
    shards = settings.shards
    name = candidate.name
    if any(shards.is_missing(name, candidate.run, span) for span in settings.bounds):
        return False
    with shards.locks.held("store"):
        if not shards.is_stored(name, candidate.run):
            if not settings.options.replace and shards.read_stored_run(name) is not None:
                raise ValueError(
                    f"the store {shards.store_path} has another {name!r}, which another process "
                    "stored with other settings. Pass replace=True to extract it again"
                )
            parts = [shards.read(name, candidate.run, span) for span in settings.bounds]
            if None in parts:
                return False
            _store(candidate, parts, residents)
    shards.remove(name)
    return True


def _store(candidate: Candidate, parts: list, residents: Residents) -> None:
    """Store the logits and measured seconds of a model.

    parts: (logits, seconds per sample of each batch) of its shards.
    """
    settings = residents.settings
    tensors, batch_seconds = zip(*parts)
    logits = np.concatenate(tensors)
    times = [*chain(*batch_seconds)]
    if settings.order is not None:
        logits = logits[np.argsort(settings.order)]
        seconds = statistics.fmean(times)  # texts are sorted by length, so all batches count
    elif settings.workers and settings.device.torch.type == "cpu":
        # Workers decode on the same processor, so the time of the first samples is more accurate.
        seconds = candidate.seconds
    else:  # only full batches count, since a smaller last batch is less efficient
        seconds = statistics.median(times[: len(logits) // settings.options.batch_size] or times)
    check_order(candidate.name, candidate.metadata, logits, settings.labels)
    extraction = candidate.run | {
        "run": digest_of(candidate.run),
        "device_name": settings.device.name,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    extraction.pop("samples")
    if candidate.name in settings.batch_limits:
        extraction["largest_batch_in_memory"] = settings.batch_limits[candidate.name]
    metadata = {key: value for key, value in candidate.metadata.items() if key != "classes"}
    if residents.store is None:
        residents.store = open_or_create(settings.shards.store_path, settings.labels)
    residents.store.add(
        candidate.name,
        logits,
        macs=candidate.macs,
        seconds=seconds,
        replace=True,
        extraction=extraction,
        **metadata,
    )
