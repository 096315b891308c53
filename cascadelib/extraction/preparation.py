"""Check the arguments of an extraction, and select the models that the store lacks."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from ..checks import POSITIVE, brief, check_count, check_number, error_context, validate_choice
from ..datasets.images import Photographs
from ..datasets.samples import Samples
from ..files import find_leftovers
from ..origin import Origin, origin_of
from ..store.formats import Folder
from ..store.logit_store import LogitStore
from ..store.manifest import MANIFEST, create
from ..zoo.forward import AMP, select_device
from ..zoo.loaders import Source, list_sources
from ..zoo.model import Model, update_digest
from .feeding import read_batch
from .limits import count_usable_cores, find_device, find_memory
from .planning import GIGABYTE, Options, Settings
from .shards import Shards


def prepare(models: Any, dataset: Any, path: Path | str, options: Options) -> Settings:
    """Check the arguments of :func:`extract` without loading models.

    Raises ValueError if an argument is invalid, or if the store has other samples.
    """
    is_pair = isinstance(dataset, tuple) and len(dataset) == 2
    samples = Samples(*dataset) if is_pair else dataset
    if not hasattr(samples, "batch"):
        raise ValueError(
            "dataset must be a data set of cascadelib.datasets or (inputs, labels), not "
            f"{type(dataset).__name__}. Of a DataLoader, pass (torch.cat([x for x, _ in loader]), "
            "torch.cat([y for _, y in loader]))"
        )
    workers = options.workers
    if workers is None:
        workers = min(16, count_usable_cores()) if isinstance(samples, Photographs) else 0
    check_count(options.batch_size, "batch_size")
    check_count(workers, "workers", 0)
    validate_choice(options.amp, AMP, "amp")
    sources = list_sources(models)
    names = [source.name for source in sources]
    for name, value in options.macs.items():
        validate_choice(name, names, "model in macs")
        check_number(value, f"model {name!r}: macs", "a positive number", *POSITIVE)
    labels = origin_of(samples)
    store = open_existing(path, labels)
    device = select_device(options.device or find_device(), options.amp)
    memory = find_memory(device.torch) if options.memory is None else options.memory
    check_number(memory, "memory", "a positive number of GB", *POSITIVE)
    return Settings(
        options,
        sources,
        samples,
        labels,
        digest_inputs(samples),
        store,
        Shards(path),
        device,
        workers,
        memory * GIGABYTE,
    )


def select_pending(settings: Settings) -> list[Source]:
    """Return the models that have no intact file of logits in the store, or all with ``replace``.

    Raises ValueError if the store has a model with other inputs or settings.
    """
    store = settings.store
    if store is None or settings.options.replace:
        return settings.sources
    pending = []
    for source in settings.sources:
        if source.name not in store.models.index:
            pending.append(source)
        else:
            check_stored_model(source, settings, source.load() if source.is_loaded else None)
    return pending


def check_stored_model(source: Source, settings: Settings, model: Model | None) -> None:
    """Raise ValueError if a stored model has other inputs or settings, or is not this model.

    model: the loaded model, or None if its weights and transform are not compared.
    """
    metadata = settings.store.metadata(source.name)  # type: ignore[union-attr]
    current = settings.describe_run(model) if model else settings.run
    # Accept what the store does not record.
    stored = current | metadata | (metadata.get("extraction") or {})
    compared = ["weights_sha256", "transform", "inputs", "image_size"]
    if settings.options.amp is not None:  # by default either setting in the store is accepted
        compared.append("amp")
    differing = [
        f"{key}: {brief(stored[key])} stored, {brief(current[key])} requested"
        for key in compared
        if key in current and stored[key] != current[key]
    ]
    if differing:
        raise ValueError(
            f"the store {settings.shards.store_path} has another {source.name!r} "
            f"({'; '.join(differing)}). Pass replace=True to extract it again, or rename this model"
        )


def remove_finished(settings: Settings, pending: list[Source]) -> None:
    """Remove the files of finished models that a killed process left."""
    shards = settings.shards
    if find_leftovers(shards.store_path) or shards.path.exists():
        if settings.store is not None:
            Folder(shards.store_path).settle()
        with shards.locks.shared():
            for source in settings.sources:
                if source not in pending:
                    shards.remove(source.name)


def open_existing(path: Path | str, labels: Origin) -> LogitStore | None:
    """Open the store at a path, or return None. Raise ValueError if its samples differ."""
    if not (Path(path) / MANIFEST).exists():
        return None
    store = LogitStore(path)
    with error_context(f"the store {path} is of another split; choose another path"):
        store.origin.check_same(labels.sample_ids, labels.values)
        if store.classes and labels.classes and store.classes != labels.classes:
            raise ValueError(f"its classes are {store.classes}, not {labels.classes}")
    return store


def open_or_create(path: Path, labels: Origin) -> LogitStore:
    """Open the store at a path, or create it."""
    store = open_existing(path, labels)
    if store is None:
        create(path, labels)
        store = LogitStore(path)
    return store


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
