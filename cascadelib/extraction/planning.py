"""Load and measure models one after the other, in groups that fit into memory."""

import contextlib
import errno
import gc
import shutil
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..checks import POSITIVE, is_number
from ..datasets.images import Photographs
from ..datasets.texts import Texts
from ..origin import Origin
from ..store.logit_store import LogitStore
from ..zoo.batches import count_inputs, map_parts
from ..zoo.forward import (
    Device,
    compute_timed_logits,
    is_out_of_memory,
    place_module,
)
from ..zoo.loaders import Source
from ..zoo.macs import add_text_costs, count_macs
from ..zoo.model import (
    Model,
    count_weight_bytes,
    describe_identity,
    record_failure,
    unwrap_compiled,
)
from .class_order import check_names
from .feeding import feed
from .shards import Shards, shard_bounds

MEASURED_SAMPLES = 32
# Seconds in which a group is loaded, which an interruption loses: the first ones, and the most.
FIRST_LOADING = 2.0
LONGEST_LOADING = 60.0
GIGABYTE = 1e9  # bytes
LOGIT_BYTES = 4  # of a stored logit, in float32


@dataclass(frozen=True)
class Options:
    """Options of :func:`extract`."""

    device: Any = None
    batch_size: int = 256
    amp: str | bool | None = None
    progress: bool = True
    macs: dict[str, float] = field(default_factory=dict)
    replace: bool = False
    workers: int | None = None
    memory: float | None = None
    verify: bool = False


@dataclass(frozen=True)
class Settings:
    """Checked arguments of an extraction, its store, and what fails during the run.

    sources: the requested models. store: the existing store. inputs: digest of the inputs. workers:
    number of processes that decode images. memory: bytes for models on the device. batch_limits:
    {model: largest batch that fits into memory} of models for which a full batch does not fit.
    failed: {model: error} of skipped models.
    """

    options: Options
    sources: list[Source]
    samples: Any
    labels: Origin
    inputs: str
    store: LogitStore | None
    shards: Shards
    device: Device
    workers: int
    memory: float
    batch_limits: dict[str, int] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)

    @property
    def run(self) -> dict:
        """Settings that determine the logits, except the identity of the model."""
        return {
            "inputs": self.inputs,
            "amp": self.device.amp,
            "batch_size": int(self.options.batch_size),  # it may be a number of NumPy
            "device": self.device.torch.type,
            "samples": self.labels.fingerprint,
        } | self.device.arithmetic

    def describe_run(self, model: Model) -> dict:
        """Return the settings that determine the logits of a model."""
        size = {key: model.metadata[key] for key in ("image_size",) if key in model.metadata}
        return self.run | describe_identity(model) | size

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """(start, stop) of each shard."""
        return shard_bounds(len(self.samples), self.options.batch_size)

    @property
    def order(self) -> np.ndarray | None:
        """Rows in the order in which they run, or None for the order of the data set."""
        return getattr(self.samples, "order", None)


@dataclass(frozen=True, eq=False)
class Candidate:
    """Model to extract, with what was measured.

    run: all settings that determine the logits. macs, seconds: means per sample. weights: bytes of
    the weights. working: bytes per sample of the input and of a forward pass.
    """

    source: Source
    run: dict
    macs: float
    classes: int
    seconds: float
    metadata: dict
    weights: int
    working: int

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.source.name


class Residents:
    """Models on the device, and the store that this process fills.

    A model is loaded when it is first needed, and freed by ``keep``.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.store: LogitStore | None = None  # opened when the first model is complete
        self._models: dict[str, Model] = {}
        self._placed: dict[str, contextlib.ExitStack] = {}  # restore what the caller has loaded

    def load(self, source: Source, run: dict | None = None) -> Model:
        """Return a model on the device.

        run: settings with the identity of the model. Raises ValueError if the model has other
        weights or another transform, or if its weights exceed the memory of the device.
        """
        if source.name not in self._models:
            check_weights(source.name, source.weights, self.settings.memory)
            model = source.load()
            if run is not None and not describe_identity(model).items() <= run.items():
                raise ValueError(
                    f"model {source.name!r} is not the one that was measured: its weights or its "
                    "transform differ"
                )
            check_weights(source.name, count_weight_bytes(model.module), self.settings.memory)
            device = self.settings.device.torch
            if source.is_loaded:
                stack = contextlib.ExitStack()
                stack.enter_context(place_module(model.module, device))
                self._placed[source.name] = stack
            else:
                model.module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._models[source.name] = model
        return self._models[source.name]

    def keep(self, group: Collection[Candidate]) -> None:
        """Free all models but these."""
        freed = self._models.keys() - {candidate.name for candidate in group}
        for name in freed:
            del self._models[name]
            if name in self._placed:
                self._placed.pop(name).close()
        if freed:
            gc.collect()  # a module may refer to itself
            torch.cuda.empty_cache()


def check_weights(name: str, weights: int, memory: float) -> None:
    """Raise ValueError if the weights of a model exceed the memory of a device, in bytes."""
    if weights > memory:
        raise ValueError(
            f"memory={memory / GIGABYTE:g} GB is too small for model {name!r}, whose weights have "
            f"{weights / GIGABYTE:.4g} GB. Pass a larger memory= or leave it out"
        )


def lacked_memory(failure: Exception | None) -> bool:
    """Return whether a model failed because memory was exhausted."""
    return is_out_of_memory(getattr(failure, "__cause__", None))


class Queue:
    """Models that have not run yet, the largest first, of which each group takes the next ones.

    Processes may form other groups, since they claim shards model by model.
    """

    def __init__(self, sources: list[Source], residents: Residents):
        self.rest = deque(sorted(sources, key=lambda source: source.weights, reverse=True))
        self.residents = residents
        self.settings = residents.settings
        self._seconds = FIRST_LOADING
        self._measured: dict[str, Candidate] = {}
        self._lengths: dict = {}
        self._first: Any = None
        self._prepared: tuple = ()

    def form_group(self) -> list[Candidate]:
        """Load and measure models until memory or time is used up, and return them.

        The time is short at first and doubles with each group. So a process that is soon killed
        stores models, and one that runs for long decodes photographs few times. Models that fail or
        that another process has stored are left out.
        """
        settings = self.settings
        group: list[Candidate] = []
        self.residents.keep(group)
        until = time.monotonic() + self._seconds
        self._seconds = min(2 * self._seconds, LONGEST_LOADING)
        while self.rest and (not group or self._has_time_and_memory(group, until)):
            source = self.rest[0]
            candidate = None
            with record_failure(settings.failed, source.name):
                candidate = self._measure(source, is_alone=not group)
            if group and lacked_memory(settings.failed.get(source.name)):
                del settings.failed[source.name]  # it begins the next group
                break
            if candidate is not None:
                if group and compute_need([*group, candidate], settings) > settings.memory:
                    break
                check_disk([*group, candidate], settings)
                group.append(candidate)
            self.rest.popleft()
            self.residents.keep(group)
        return group

    def _has_time_and_memory(self, group: list[Candidate], until: float) -> bool:
        """Return whether the next model can be loaded, for which it is held twice."""
        held = sum(candidate.weights for candidate in group) + 2 * self.rest[0].weights
        return held <= self.settings.memory and time.monotonic() < until

    def _measure(self, source: Source, is_alone: bool) -> Candidate | None:
        """Return a measured model, or None if another process has stored it.

        If the model is alone on the device, its batch is halved until it fits into memory. Raises
        ValueError if it fits at no batch size.
        """
        if source.name not in self._measured:
            model = self.residents.load(source)
            run = self.settings.describe_run(model)
            if self.settings.shards.is_stored(source.name, run):
                return None
            candidate = self._call(source, model, run, is_alone)
            check_names(candidate.name, candidate.metadata, self.settings.labels)
            self._check_classes(candidate)
            self._measured[source.name] = candidate
        if is_alone:
            halve_batch(self._measured[source.name], self.settings)
        return self._measured[source.name]

    def _check_classes(self, candidate: Candidate) -> None:
        """Raise ValueError if a model has another number of classes than the data set.

        If the data set has no class names, the number is that of the store.
        """
        labels = self.settings.labels
        store = self.settings.store
        found = candidate.classes
        expected = len(labels.classes or ()) or (store and store.class_count) or found
        if found != expected or found <= labels.required_labels.max():
            raise ValueError(
                f"model {candidate.name!r} gives {found} classes. The data set has {expected}, and "
                f"labels up to {labels.required_labels.max()}"
            )

    def _call(self, source: Source, model: Model, run: dict, is_alone: bool) -> Candidate:
        """Count the MACs of a model unless they are passed, and time it on the first samples.

        The model is called twice, and the second call is timed. A compiled model is first called
        as the original module, and a further call compiles it.

        is_alone: whether no other model is on the device, so that a batch that exceeds memory is
        halved.
        """
        settings = self.settings
        device = settings.device
        name = source.name
        macs = settings.options.macs.get(name)
        if isinstance(settings.samples, Texts):
            model, macs = add_text_costs(model, settings.samples.inputs, macs, self._lengths)
        inputs = self._prepare(model.transform)
        macs = macs or count_macs(model.module, inputs)
        if not is_number(macs, *POSITIVE):
            raise ValueError(
                f"model {name!r}: fvcore counts {macs} MACs. Pass macs={{{name!r}: …}}"
            )
        metadata = model.metadata
        if isinstance(inputs, torch.Tensor) and inputs.ndim == 4:
            metadata = {"image_size": inputs.shape[-1]} | metadata

        def call(called: Model) -> tuple:
            return compute_timed_logits(
                called, inputs, device, settings.batch_limits, halve=is_alone
            )

        plain = replace(model, module=unwrap_compiled(model.module))
        with torch.inference_mode():
            working = device.measure_memory(lambda: call(plain))
            if plain.module is not model.module:
                call(model)
            logits, seconds = call(model)
        sizes: list[int] = []
        map_parts(lambda part: sizes.append(part.nbytes), inputs)
        return Candidate(
            source,
            run,
            macs,
            classes=logits.shape[1],
            seconds=seconds(),
            metadata=metadata,
            weights=count_weight_bytes(model.module),
            working=(sum(sizes) + working) // count_inputs(inputs),
        )

    def _prepare(self, transform: Any) -> Any:
        """Return the transformed first samples. Photographs are decoded once for all models."""
        settings = self.settings
        if self._first is None:
            self._first = settings.samples.take(slice(0, MEASURED_SAMPLES))
            if isinstance(self._first, Photographs):
                images = tuple(image().copy for image in self._first.inputs)
                self._first = replace(self._first, inputs=images)
        if not self._prepared or self._prepared[0] != transform:
            batch = [(0, len(self._first))]
            _, prepare = next(feed(self._first, batch, [transform], settings.device))
            self._prepared = transform, prepare(transform)
        return self._prepared[1]


def compute_need(group: list[Candidate], settings: Settings) -> float:
    """Return the bytes that a group of models needs on the device.

    These are all weights, and the input and intermediate results of a batch. A CPU also holds the
    logits of a shard, and a second copy of the weights of a model while it is loaded.
    """
    batches = []
    for candidate in group:
        size = settings.batch_limits.get(candidate.name, settings.options.batch_size)
        batches.append(min(size, len(settings.samples)) * candidate.working)
    need = sum(candidate.weights for candidate in group) + max(batches)
    if settings.device.torch.type == "cuda":
        return need
    loading = [one.weights for one in group if not one.source.is_loaded]
    shard = settings.bounds[0][1] * LOGIT_BYTES
    return need + shard * sum(one.classes for one in group) + max(loading, default=0)


def halve_batch(candidate: Candidate, settings: Settings) -> None:
    """Halve the batch of a model until it fits into memory, or raise ValueError."""
    limits = settings.batch_limits
    size = limits.get(candidate.name, settings.options.batch_size)
    while (need := compute_need([candidate], settings)) > settings.memory:
        if size == 1:
            raise ValueError(
                f"model {candidate.name!r} needs {need / GIGABYTE:.4g} GB for a batch of one "
                f"sample, and the limit is {settings.memory / GIGABYTE:g} GB. Pass a larger memory="
            )
        limits[candidate.name] = size = (size + 1) // 2


def check_disk(group: list[Candidate], settings: Settings) -> None:
    """Raise OSError if the disk has no space for the missing shards of a group.

    Shards and logits of one model exist simultaneously.
    """
    values = max(candidate.classes for candidate in group) * len(settings.samples)
    for candidate in group:
        for start, stop in settings.bounds:
            if settings.shards.is_missing(candidate.name, candidate.run, (start, stop)):
                values += candidate.classes * (stop - start)
    needed = values * LOGIT_BYTES
    free = shutil.disk_usage(settings.shards.store_path).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{needed / GIGABYTE:.4g} GB are needed, {free / GIGABYTE:.4g} GB are free",
        )
