"""Check the arguments of an extraction, and select the models that the store lacks."""

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checks import POSITIVE, check_count, check_number, error_context, validate_choice
from ..datasets.images import Photographs
from ..datasets.samples import Samples
from ..files import file_name, find_leftovers
from ..origin import Origin, origin_of
from ..store.formats import Folder
from ..store.logit_store import LogitStore
from ..store.manifest import MANIFEST
from ..store.model_checks import DTYPES
from ..zoo.forward import AMP, select_device
from ..zoo.loaders import Source, list_sources
from ..zoo.model import Model, describe_identity, update_digest
from .feeding import read_batch
from .limits import count_usable_cores, find_device, find_memory, read_host_memory
from .planning import Candidate, Settings, check_memory
from .shards import Shards, shard_bounds


@dataclass(frozen=True)
class Options:
    """Options of :func:`extract`."""

    device: Any = None
    batch_size: int = 256
    amp: str | bool | None = None
    shard_size: int = 2048
    progress: bool = True
    dtype: str = "float32"
    macs: dict = field(default_factory=dict)
    replace: bool = False
    workers: int | None = None
    compile: bool = False
    memory: float | None = None
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class Call:
    """Checked call of :func:`extract`.

    sources: the requested models. store: the existing store. inputs: digest of the inputs.
    """

    options: Options
    settings: Settings
    sources: list[Source]
    store: LogitStore | None
    inputs: str

    @property
    def run(self) -> dict:
        """Settings that determine the logits, except the identity of the model."""
        return {
            "inputs": self.inputs,
            "dtype": self.options.dtype,
            "compile": self.options.compile,
            "amp": self.settings.device.amp,
            "batch_size": self.options.batch_size,
            "device": self.settings.device.torch.type,
            "samples": self.settings.labels.fingerprint,
        }

    @property
    def shared_settings(self) -> dict:
        """Settings that all processes which fill the store must have."""
        return self.run | {
            "models": [source.name for source in self.sources],
            "shard_size": self.options.shard_size,
            "memory": self.settings.memory / 1e9,
            "macs": self.options.macs,
            "replace": self.options.replace,
        }

    def select_pending(self) -> list[Source]:
        """Return the models that have no intact file of logits in the store.

        Raises ValueError if the store has another model of the same name, or the same model with
        other inputs or settings.
        """
        if self.store is None or self.options.replace:
            return self.sources
        pending = []
        for source in self.sources:
            if source.name in self.store.models.index:
                self._check_same(source.load(), self.store.metadata(source.name))
            else:
                pending.append(source)
        return pending

    def _check_same(self, model: Model, metadata: dict) -> None:
        """Raise ValueError if a stored model has other weights, inputs or settings."""
        recorded = metadata.get("extraction") or {}
        identity = describe_identity(model)
        differing = [f"other {key}" for key in identity if recorded.get(key) != identity[key]]
        if recorded.get("inputs", self.inputs) != self.inputs:
            differing.append("other inputs")
        stored = recorded | metadata
        current = self.run | model.metadata
        for key in ("dtype", "amp", "compile", "image_size"):
            if key == "amp" and self.options.amp is None:
                continue  # by default either setting in the store is accepted
            if key in current and stored.get(key, current[key]) != current[key]:
                differing.append(f"other {key}: {stored[key]} stored, {current[key]} requested")
        if differing:
            raise ValueError(
                f"the store {self.settings.shards.store_path} has another {model.name!r} "
                f"({' and '.join(differing)}). Pass replace=True to extract it again, or rename "
                "this model."
            )

    def find_replaced(self, pending: list[Source]) -> dict[str, str]:
        """Return {model: digest of the stored logits that a new extraction replaces}."""
        stored = [] if self.store is None else self.store.models.index
        return {
            source.name: self.store.metadata(source.name)["sha256"]  # type: ignore[union-attr]
            for source in pending
            if source.name in stored
        }

    def remove_finished(self, pending: list[Source]) -> None:
        """Remove the files of finished models that a killed process left."""
        shards = self.settings.shards
        if not find_leftovers(shards.store_path) and not shards.path.exists():
            return
        if self.store is not None:
            Folder(shards.store_path).settle()
        for name in {one.name for one in self.sources} - {one.name for one in pending}:
            shards.remove(name)
        shards.clean()


def prepare_call(models: Any, dataset: Any, path: Path | str, options: Options) -> Call:
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
    check_count(options.shard_size, "shard_size")
    check_count(workers, "workers", 0)
    validate_choice(options.dtype, DTYPES, "dtype")
    validate_choice(options.amp, AMP, "amp")
    sources = _select_part(list_sources(models), options.part)
    for name, value in options.macs.items():
        validate_choice(name, [source.name for source in sources], "model in macs")
        check_number(value, f"model {name!r}: macs", "a positive number", *POSITIVE)
    labels = origin_of(samples)
    store = open_existing(path, labels)
    stored = [] if store is None else store.models.index
    _check_spellings([*stored, *(source.name for source in sources)])
    device = select_device(options.device or find_device(), options.amp)
    gigabytes = find_memory(device.torch) if options.memory is None else options.memory
    memory = 1e9 * check_number(gigabytes, "memory", "a positive number of GB", *POSITIVE)
    check_memory(sources, memory)
    settings = Settings(
        samples,
        labels,
        Shards(path),
        device,
        options.batch_size,
        shard_bounds(len(samples), options.shard_size, options.batch_size),
        np.dtype(options.dtype),
        workers,
        options.progress,
        options.compile,
        memory,
        read_host_memory() / 2 if device.torch.type == "cuda" else memory,
    )
    return Call(options, settings, sources, store, digest_inputs(samples))


def _select_part(sources: list[Source], part: tuple[int, int] | None) -> list[Source]:
    """Return every count-th model from a number on. part: (number, count), or None for all."""
    if part is None:
        return sources
    number, count = part
    check_count(count, "count of part", 1, len(sources))
    check_count(number, "number of part", 0, count - 1)
    return sources[number::count]


def _check_spellings(names: Iterable[str]) -> None:
    """Raise ValueError if names differ only in case, since many disks ignore case."""
    spelled: dict[str, str] = {}
    for name in names:
        other = spelled.setdefault(file_name(name).lower(), name)
        if other != name:
            raise ValueError(
                f"the names of models {other!r} and {name!r} differ only in case. Give one of "
                "them another name"
            )


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


def check_classes(candidates: list[Candidate], labels: Origin, store: LogitStore | None) -> None:
    """Raise ValueError if models do not have the data set's number of classes.

    If the data set has no class names, all models must have the same number.
    """
    expected = len(labels.classes or ())
    source = "the data set"
    if not expected and store is not None and len(store.models):
        expected = store.class_count or 0
        source = f"model {store.models.index[0]!r} in the store"
    highest = labels.required_labels.max()
    for candidate in candidates:
        found = candidate.classes
        name = candidate.name
        if found != (expected or found):
            raise ValueError(f"model {name!r} gives {found} classes, {source} has {expected}")
        if highest >= found:
            raise ValueError(f"model {name!r} gives {found} classes, but a label is {highest}")
        if not expected:
            expected = found
            source = f"model {name!r}"


def check_disk(candidates: list[Candidate], settings: Settings) -> None:
    """Raise ValueError if the disk has no space for the logits.

    Shards and logits of one model exist simultaneously.
    """
    classes = [candidate.classes for candidate in candidates]
    rows = len(settings.samples) * settings.dtype.itemsize
    needed = rows * (sum(classes) + max(classes, default=0))
    path = settings.shards.store_path
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ValueError(
            f"{path}: {needed / 1e6:.1f} MB are needed, {free / 1e6:.1f} are free: use another disk"
        )


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
