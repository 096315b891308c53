"""Extract the logits of many models in one resumable pass over a data set."""

import contextlib
import hashlib
import platform
import shutil
import statistics
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from ..checks import POSITIVE, check_count, check_number, error_context, validate_choice
from ..datasets.images import Photographs
from ..datasets.samples import Samples
from ..datasets.texts import Texts
from ..files import find_leftovers
from ..origin import Origin, origin_of
from ..store.formats import Folder, check_spellings
from ..store.logit_store import LogitStore
from ..store.manifest import create
from ..store.model_checks import DTYPES
from ..zoo.forward import AMP, retain_freed_memory, select_device
from ..zoo.loaders import resolve_models
from ..zoo.macs import add_text_costs
from ..zoo.model import Model, describe_identity, record_failure, update_digest
from .class_order import check_names, check_order
from .estimators import extract_estimators
from .inference import Candidate, Pass, probe_models, read_batch, run_pass
from .shards import (
    LOCK,
    PARTIAL,
    Shards,
    count_usable_cores,
    join_processes,
    split_range,
)


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
    """Run models on a data set and store their logits, MACs and measured seconds.

    An interrupted call resumes when it is repeated, and loses at most one shard. With equal shard
    and batch sizes the tensors equal those of an uninterrupted run (on a GPU, up to rounding). A
    model that the store has is skipped if its weights, transform and settings are the same.

    Parameters
    ----------
    models : list of str, or dict
        Names that :func:`load` accepts, or a dict from names to a module, a (module, transform)
        pair, a :class:`Model`, or a trained scikit-learn classifier. A transform maps a batch of
        raw inputs (a tensor on the device) to the module's input: a tensor, a tuple of arguments or
        a dict of keywords. None means ``float()``. Equal transforms run once per batch. Classifiers
        predict all inputs in one call, and their probabilities are stored in a new store. Of the
        options, only `macs` applies to them.
    dataset : data set of :mod:`cascadelib.datasets`, or tuple
        Labelled inputs, or (inputs, labels): arrays or tensors of shapes (n_samples, …) and
        (n_samples,). A DataLoader is refused: concatenate its batches. ``Photographs`` are decoded
        once for all models, and a transform is then a :class:`Photos` or a function of one PIL
        image. ``Texts`` run in the order of their lengths, in batches padded to the longest text.
        Their MACs are the mean over the lengths without padding. Truncated texts cause a warning
        and are counted (``truncated`` in ``store.models``).
    path : str or Path
        Folder of the store. It is created if it does not exist.
    device : torch.device or str, optional
        Defaults to CUDA if available. Image models run in channels_last.
    batch_size : int, default=256
        Samples per batch. If memory does not suffice, it is halved for that model, with a warning.
    amp : {"float16", "bfloat16"} or bool, optional
        Mixed precision. True means float16 on CUDA and bfloat16 elsewhere. By default it is used
        only on CUDA, and a stored model with either setting is kept. The setting is recorded.
    shard_size : int, default=2048
        Samples per shard, rounded down to full batches.
    progress : bool, default=True
        Whether to print an estimate of time and disk space, and to show a progress bar in a
        terminal or notebook.
    dtype : {"float16", "float32", "float64"}, default="float32"
        Type of the stored logits.
    macs : dict, optional
        MACs per sample by name, for models that fvcore cannot count.
    replace : bool, default=False
        Whether stored models are extracted again.
    workers : int, optional
        Processes that decode photographs. Defaults to one per available core, at most 16.
    compile : bool, default=False
        Whether models run compiled by ``torch.compile``. Logits then differ in the last digits. The
        setting is recorded.

    Returns
    -------
    LogitStore
        The store at `path`.

    Raises
    ------
    ValueError
        Before the run: if a name is unknown, if the store has other samples, another number of
        classes or the same model with other settings, or if disk space is insufficient. During the
        run: if a sample cannot be read. After the run: if a model raised, returned nan or no
        logits, has uncountable MACs, or has its classes in another order. One error names all
        failed models. The others are stored.

    See Also
    --------
    LogitStore : The result.
    count_macs : Count the MACs of one module.

    Notes
    -----
    All models are in memory simultaneously. With ``torchrun`` the processes (one per GPU) share the
    samples and fill one store. Another number of processes may resume it.

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
    macs = macs or {}
    if isinstance(models, dict) and any(hasattr(m, "predict_proba") for m in models.values()):
        return extract_estimators(models, dataset, path, macs)
    is_pair = isinstance(dataset, tuple) and len(dataset) == 2
    samples = Samples(*dataset) if is_pair else dataset
    if not hasattr(samples, "batch"):
        raise ValueError(
            "dataset must be a data set of cascadelib.datasets or (inputs, labels), not "
            f"{type(dataset).__name__}. Of a DataLoader, pass (torch.cat([x for x, _ in loader]), "
            "torch.cat([y for _, y in loader]))"
        )
    found = resolve_models(models)
    labels = origin_of(samples)
    if workers is None:
        workers = min(16, count_usable_cores()) if isinstance(samples, Photographs) else 0
    check_count(batch_size, "batch_size")
    check_count(shard_size, "shard_size")
    check_count(workers, "workers", 0)
    validate_choice(dtype, DTYPES, "dtype")
    validate_choice(amp, AMP, "amp")
    for name, value in macs.items():
        validate_choice(name, [model.name for model in found], "model in macs")
        check_number(value, f"model {name!r}: macs", "a positive number", *POSITIVE)
    check_names(found, labels)
    store = _open_existing(path, labels)
    logit_options = {"inputs": digest_inputs(samples), "dtype": dtype, "compile": compile}
    if amp is not None:  # by default either setting in the store is accepted
        logit_options["amp"] = select_device(device, amp).amp
    pending = _select_unfinished(found, store, logit_options, replace)
    folder = Path(path)
    if find_leftovers(folder) or (folder / PARTIAL).exists():
        # Remove the files of finished models that a killed run left.
        with contextlib.suppress(OSError, ValueError), Shards(path) as shards:
            Folder(folder).settle()
            for name in {model.name for model in found} - {model.name for model in pending}:
                shards.remove(name)
    if not pending:
        return LogitStore(path)
    with (
        join_processes() as processes,
        Shards(path, locked=processes.first) as shards,
        retain_freed_memory(),
    ):
        settings = Pass(
            samples,
            labels,
            shards,
            processes,
            select_device(device or processes.device(), amp),
            batch_size,
            shard_size,
            np.dtype(dtype),
            getattr(samples, "order", None),
            workers,
            progress and processes.first,
            compile,
        )
        _extract_pending(pending, store, logit_options, macs, settings)
    if settings.failed:
        texts = "\n".join(map(str, settings.failed.values()))
        raise ValueError(
            f"{path}: {len(settings.failed)} of {len(found)} models failed:\n{texts}"
        ) from ExceptionGroup("failed models", [*settings.failed.values()])
    return LogitStore(path)


def _extract_pending(
    models: list[Model], store: LogitStore | None, logit_options: dict, macs: dict, settings: Pass
) -> None:
    """Probe models, compute their missing shards and store the complete models.

    logit_options: as in :func:`_select_unfinished`.
    """
    labels = settings.labels
    stored = [] if store is None else store.models.index
    check_spellings(settings.shards.path / LOCK, [*stored, *(model.name for model in models)])
    if isinstance(settings.samples, Texts):
        models, macs = add_text_costs(models, settings.samples.inputs, macs, settings.failed)
    run = logit_options | {
        "batch_size": settings.batch_size,
        "amp": settings.device.amp,
        "device": settings.device.torch.type,
        "samples": labels.fingerprint,
    }
    with contextlib.ExitStack() as ready_models:
        candidates = settings.agree(probe_models(models, settings, run, macs, ready_models))
        _check_classes(candidates, labels, store)
        shards = settings.shards
        missing = {}
        for span in settings.bounds:
            missing[span] = [
                candidate
                for candidate in candidates
                if shards.read(candidate.model.name, candidate.run, *span) is None
            ]
        _announce(candidates, missing, settings)
        settings.processes.gather({})  # wait until all processes have listed the missing shards
        pending = [(shard, needed) for shard, needed in missing.items() if needed]
        run_pass(dict(pending[settings.processes.rank :: settings.processes.count]), settings)
        candidates = settings.agree(candidates)
        if settings.processes.first and candidates:
            # Another process may have created the store or changed it since the start.
            store = _open_existing(settings.path, labels)
            if store is None:
                create(settings.path, labels)
                store = LogitStore(settings.path)
            for candidate in candidates:
                with record_failure(settings.failed, candidate.model.name, ValueError):
                    _assemble(candidate, store, settings)
        settings.processes.gather(settings.failed)


def _select_unfinished(
    models: list[Model], store: LogitStore | None, logit_options: dict, replace: bool
) -> list[Model]:
    """Return the models that have no intact file of logits in the store.

    logit_options: entries of the header that determine the logits. Raises ValueError if the store
    has another model of the same name, or the same model with other inputs or settings.
    """
    if store is None or replace:
        return models
    unfinished = []
    for model in models:
        if model.name not in store.models.index:
            unfinished.append(model)
            continue
        metadata = store.metadata(model.name)
        recorded = metadata.get("extraction") or {}
        identity = describe_identity(model)
        differing = [f"other {key}" for key in identity if recorded.get(key) != identity[key]]
        if recorded.get("inputs", logit_options["inputs"]) != logit_options["inputs"]:
            differing.append("other inputs")
        stored = recorded | metadata
        current = logit_options | model.metadata
        for key in ("dtype", "amp", "compile", "image_size"):
            if key in current and stored.get(key, current[key]) != current[key]:
                differing.append(f"other {key}: {stored[key]} stored, {current[key]} requested")
        if differing:
            raise ValueError(
                f"the store {store.path} has another {model.name!r} ({' and '.join(differing)}). "
                "Pass replace=True to extract it again, or rename this model."
            )
    return unfinished


def _open_existing(path: Path | str, labels: Origin) -> LogitStore | None:
    """Open the store at a path, or return None. Raise ValueError if its samples differ."""
    if not (Path(path) / "manifest.json").exists():
        return None
    store = LogitStore(path)
    with error_context(f"the store {path} is of another split; choose another path"):
        store.origin.check_same(labels.sample_ids, labels.values)
        if store.classes and labels.classes and store.classes != labels.classes:
            raise ValueError(f"its classes are {store.classes}, not {labels.classes}")
    return store


def _check_classes(candidates: list[Candidate], labels: Origin, store: LogitStore | None) -> None:
    """Raise ValueError if models do not have the data set's number of classes.

    If the data set has no class names, all models must have the same number.
    """
    expected = len(labels.classes or ())
    source = "the data set"
    if not expected and store is not None and len(store.models):
        expected = store.class_count or 0
        source = f"model {store.models.index[0]!r} in the store"
    for candidate in candidates:
        found = candidate.classes
        name = candidate.model.name
        if found != (expected or found):
            raise ValueError(f"model {name!r} gives {found} classes, {source} has {expected}")
        highest = labels.required_labels.max()
        if highest >= found:
            raise ValueError(f"model {name!r} gives {found} classes, but a label is {highest}")
        if not expected:
            expected = found
            source = f"model {name!r}"


def _announce(pending: list[Candidate], missing: dict, settings: Pass) -> None:
    """Print an estimate of time and disk space, and raise ValueError if space is insufficient.

    missing: as for :func:`run_pass`.
    """
    samples = len(settings.samples)
    final = [candidate.classes * samples * settings.dtype.itemsize for candidate in pending]
    seconds = 0.0
    needed = max(final, default=0)  # shards and logits of one model exist simultaneously
    for (start, stop), candidates in missing.items():
        for candidate in candidates:
            seconds += candidate.seconds * (stop - start)
            needed += candidate.classes * (stop - start) * settings.dtype.itemsize
    path = settings.path
    free = shutil.disk_usage(path).free
    if needed > free:
        raise ValueError(
            f"{path}: {needed / 1e6:.1f} MB are needed, {free / 1e6:.1f} are free: use another disk"
        )
    if settings.progress and pending:
        duration = format_duration(seconds / settings.processes.count)
        print(
            *settings.failed.values(),
            f"{len(pending)} models × {samples} samples: {duration}, "
            f"{sum(final) / 1e6:.1f} MB on disk",
            sep="\n",
            flush=True,
        )


def format_duration(seconds: float) -> str:
    """Format a duration, such as "about 40 s", "about 3 min" or "about 2.5 h"."""
    units = ((3600, "h", 1), (60, "min", 0), (1, "s", 0))
    size, unit, digits = next((unit for unit in units if seconds >= 2 * unit[0]), units[-1])
    return f"about {seconds / size:.{digits}f} {unit}" if seconds >= 1 else "less than 1 s"


def _assemble(candidate: Candidate, store: LogitStore, settings: Pass) -> None:
    """Store the logits of a model from its shards, and remove the shards."""
    model = candidate.model
    shards = settings.shards
    parts = []
    for start, stop in settings.bounds:
        part = shards.read(model.name, candidate.run, start, stop)
        if part is None:
            raise ValueError(
                f"model {model.name!r}: the shard of samples {start} … {stop - 1} is missing or "
                "damaged. Repeat the call, which computes it again."
            )
        parts.append(part)
    tensors, batch_seconds = zip(*parts)
    logits = np.concatenate(tensors)
    times = [*chain(*batch_seconds)]
    if settings.order is not None:
        logits = logits[np.argsort(settings.order)]
        # Texts are sorted by length, so all batches count.
        sizes = [stop - start for start, stop in split_range(0, len(logits), settings.batch_size)]
        seconds = float(np.average(times, weights=sizes))
    elif settings.workers and settings.device.torch.type == "cpu":
        # Workers decode on the same processor, so the time of the probe is more accurate.
        seconds = candidate.seconds
    else:  # only full batches count, since a smaller last batch is less efficient
        seconds = statistics.median(times[: len(logits) // settings.batch_size] or times)
    check_order(model, logits, settings.labels)
    extraction = candidate.run | {
        "device_name": settings.device.name,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "numpy": np.__version__,
        },
    }
    extraction.pop("samples")
    if model.name in settings.batch_limits:
        extraction["largest_batch_in_memory"] = settings.batch_limits[model.name]
    metadata = {key: value for key, value in model.metadata.items() if key != "classes"}
    store.add(
        model.name,
        logits,
        macs=candidate.macs,
        seconds=seconds,
        replace=True,
        dtype=candidate.run["dtype"],
        extraction=extraction,
        **metadata,
    )
    shards.remove(model.name)


def digest_inputs(samples: Any) -> str:
    """Compute a SHA-256 of up to 64 evenly spaced inputs, to detect changed inputs.

    Data sets without tensors have a method ``raw(row) -> bytes``.
    """
    digest = hashlib.sha256()
    for row in sorted({round(i * (len(samples) - 1) / 63) for i in range(64)}):
        if hasattr(samples, "raw"):
            digest.update(hashlib.sha256(samples.raw(row)).digest())
            continue
        batch = read_batch(samples, row, row + 1)
        if isinstance(batch, torch.Tensor):
            update_digest(digest, batch)
    return digest.hexdigest()
