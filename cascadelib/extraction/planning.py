"""Load and probe models, and divide them into groups that fit into memory."""

import contextlib
import gc
import weakref
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..checks import POSITIVE, is_number
from ..datasets.images import Photographs
from ..datasets.texts import Texts
from ..files import digest_of
from ..origin import Origin
from ..store.formats import decode_metadata, encode_metadata
from ..store.logit_store import LogitStore
from ..tables import number
from ..zoo.batches import count_inputs, map_parts
from ..zoo.forward import (
    Device,
    compute_timed_logits,
    is_out_of_memory,
    place_module,
    return_freed_memory,
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
from .feeding import feed
from .shards import Shards, shard_bounds

PROBE_SAMPLES = 32
GIGABYTE = 1e9  # bytes


@dataclass(frozen=True)
class Options:
    """Options of :func:`extract`."""

    device: Any = None
    batch_size: int = 256
    amp: str | bool | None = None
    shard_size: int = 2048
    progress: bool = True
    dtype: str = "float32"
    macs: dict[str, float] = field(default_factory=dict)
    replace: bool = False
    workers: int | None = None
    memory: float | None = None
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class Settings:
    """Checked arguments of an extraction, its store, and what fails during the run.

    sources: the requested models. store: the existing store. inputs: digest of the inputs. workers:
    number of processes that decode images. memory, host_memory: bytes for models on the device and
    on the host, which are the same on a CPU. batch_limits: {model: largest batch that fits into
    memory} of models for which a full batch does not fit. failed: {model: error} of skipped models.
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
    host_memory: float
    batch_limits: dict[str, int] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)

    @property
    def run(self) -> dict:
        """Settings that determine the logits, except the identity of the model."""
        return {
            "inputs": self.inputs,
            "dtype": self.options.dtype,
            "amp": self.device.amp,
            "batch_size": int(self.options.batch_size),  # it may be a number of NumPy
            "device": self.device.torch.type,
            "samples": self.labels.fingerprint,
        }

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """(start, stop) of each shard."""
        return shard_bounds(len(self.samples), self.options.shard_size, self.options.batch_size)

    @property
    def order(self) -> np.ndarray | None:
        """Rows in the order in which they run, or None for the order of the data set."""
        return getattr(self.samples, "order", None)

    @property
    def value_bytes(self) -> int:
        """Bytes of a stored number."""
        return np.dtype(self.options.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Candidate:
    """Model to extract, with the results of a probe.

    run: all settings that determine the logits. macs, seconds: means per sample. weights: bytes of
    the weights. inputs, working: bytes per sample of the input, and of a forward pass.
    """

    source: Source
    run: dict
    macs: float
    classes: int
    seconds: float
    metadata: dict
    weights: int
    inputs: int
    working: int

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.source.name


class Residents:
    """Models on the device. A model is loaded when it is first needed, and freed by ``keep``."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._models: dict[str, Model] = {}
        self._placed: dict[str, contextlib.ExitStack] = {}  # restore what the caller has loaded

    def load(self, source: Source, run: dict | None = None) -> Model:
        """Return a model on the device.

        run: settings with the identity of the model. Raises ValueError if a model that is loaded
        now has other weights or another transform.
        """
        if source.name not in self._models:
            model = source.load()
            if run is not None and not describe_identity(model).items() <= run.items():
                raise ValueError(
                    f"model {source.name!r} is not the one that was probed: its weights or its "
                    "transform differ. All processes must pass the same models"
                )
            device = self.settings.device.torch
            if source.is_loaded:
                stack = contextlib.ExitStack()
                stack.enter_context(place_module(model.module, device))
                self._placed[source.name] = stack
            else:
                model.module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._models[source.name] = model
        return self._models[source.name]

    def make_space(self, source: Source) -> None:
        """Free all models if there is no space for another one, and for loading it."""
        held = sum(count_weight_bytes(model.module) for model in self._models.values())
        if held + 2 * source.weights > self.settings.memory:
            self.keep(())

    def keep(self, names: Collection[str]) -> None:
        """Free all models but these."""
        freed = self._models.keys() - names
        loaded = [weakref.ref(self._models[name].module) for name in freed - self._placed.keys()]
        for name in freed:
            del self._models[name]
            if name in self._placed:
                self._placed.pop(name).close()
        if any(module() is not None for module in loaded):  # it refers to itself
            gc.collect()
        if freed:
            return_freed_memory()


def lacked_memory(failure: Exception | None) -> bool:
    """Return whether a model failed because memory was exhausted."""
    return is_out_of_memory(getattr(failure, "__cause__", None))


class Probes:
    """Results of calling each model on the first samples, which processes share as files."""

    def __init__(self, residents: Residents):
        self.residents = residents
        self.settings = residents.settings
        self._lengths: dict = {}
        self._first: Any = None
        self._prepared: tuple = ()

    def run_all(self, sources: list[Source]) -> list[Candidate]:
        """Return the results of all models that do not fail. Processes share the models."""
        found: dict[str, Candidate] = {}
        # First probe what no other process does, then wait for the rest.
        for wait in (False, True):
            for source in sources:
                if source.name in found or source.name in self.settings.failed:
                    continue
                with self.settings.shards.locked(f"probe-{digest_of(source.name)}", wait) as ours:
                    candidate = self.find(source) if ours else None
                if candidate is not None:
                    found[source.name] = candidate
        return [found[source.name] for source in sources if source.name in found]

    def find(self, source: Source) -> Candidate | None:
        """Return the result that this or another process has written, or probe the model.

        A model that runs out of memory next to others is probed again without them. Returns None if
        it fails.
        """
        shards = self.settings.shards
        result = shards.read_probe(source.name)
        if result is None:
            self.residents.make_space(source)
            result = self._try(source, alone=False)
            if result is None and lacked_memory(self.settings.failed[source.name]):
                del self.settings.failed[source.name]
                self.residents.keep(())
                result = self._try(source, alone=True)
            if result is not None:
                shards.write_probe(source.name, result)
        if result is None:
            return None
        metadata = {key: decode_metadata(text) for key, text in result["metadata"].items()}
        return Candidate(source, **result | {"metadata": metadata})

    def _try(self, source: Source, alone: bool) -> dict | None:
        """Return the result of a probe, or None if it fails, which is recorded."""
        with record_failure(self.settings.failed, source.name):
            return self._probe(source, alone)
        return None

    def _probe(self, source: Source, alone: bool) -> dict:
        """Count the MACs of a model unless they are passed, and time it on the first samples.

        The model is called twice, and the second call is timed. A compiled model is first called
        as the original module, and a further call compiles it. Returns the fields of a
        :class:`Candidate`, except its source.

        alone: whether no other model is on the device, so that a batch that exceeds memory is
        halved.
        """
        settings = self.settings
        device = settings.device
        name = source.name
        model = self.residents.load(source)
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
        run = settings.run | describe_identity(model)
        if settings.store is not None and name in settings.store.models.index:
            run["replaces"] = settings.store.metadata(name)["sha256"]

        def call(called: Model) -> tuple:
            return compute_timed_logits(called, inputs, device, settings.batch_limits, halve=alone)

        plain = replace(model, module=unwrap_compiled(model.module))
        with torch.inference_mode():
            working = device.measure_memory(lambda: call(plain))
            if plain.module is not model.module:
                call(model)
            logits, seconds = call(model)
        count = count_inputs(inputs)
        sizes: list[int] = []
        map_parts(lambda part: sizes.append(part.nbytes), inputs)
        return {
            "run": run,
            "macs": macs,
            "classes": logits.shape[1],
            "seconds": seconds(),
            "metadata": {key: encode_metadata(key, value) for key, value in metadata.items()},
            "weights": count_weight_bytes(model.module),
            "inputs": sum(sizes) // count,
            "working": working // count,
        }

    def _prepare(self, transform: Any) -> Any:
        """Return the transformed first samples. Photographs are decoded once for all models."""
        settings = self.settings
        if self._first is None:
            self._first = settings.samples.take(slice(0, PROBE_SAMPLES))
            if isinstance(self._first, Photographs):
                images = tuple(image().copy for image in self._first.inputs)
                self._first = replace(self._first, inputs=images)
        if not self._prepared or self._prepared[0] != transform:
            batch = [(0, len(self._first))]
            _, prepare = next(feed(self._first, batch, [transform], settings.device))
            self._prepared = transform, prepare(transform)
        return self._prepared[1]


def compute_needs(group: list[Candidate], settings: Settings) -> tuple[float, float]:
    """Return the bytes that a group of models needs on the device and on the host.

    The device holds all weights, and the inputs and intermediate results of a batch. The host holds
    the logits of a shard, and a second copy of the weights of a model while it is loaded. On a CPU,
    both are the host.
    """
    batches = []
    for candidate in group:
        size = settings.batch_limits.get(candidate.name, settings.options.batch_size)
        batches.append(min(size, len(settings.samples)) * candidate.working)
    inputs = {candidate.run["transform"]: candidate.inputs for candidate in group}
    batch = min(settings.options.batch_size, len(settings.samples)) * sum(inputs.values())
    device = sum(candidate.weights for candidate in group) + max(batches) + batch
    loading = [one.weights for one in group if not one.source.is_loaded]
    rows = settings.bounds[0][1] * settings.value_bytes
    host = rows * sum(candidate.classes for candidate in group) + max(loading, default=0)
    return (device, host) if settings.device.torch.type == "cuda" else (device + host,) * 2


def fits(group: list[Candidate], settings: Settings) -> bool:
    """Return whether a group of models fits into the memory of the device and of the host."""
    device, host = compute_needs(group, settings)
    return device <= settings.memory and host <= settings.host_memory


def describe_need(candidate: Candidate, settings: Settings) -> str:
    """Return the message for a model that does not fit into memory at any batch size."""
    need = max(compute_needs([candidate], settings))
    return (
        f"model {candidate.name!r} needs {number(need, 'B')} for a batch of one sample, and the "
        f"limit is {number(settings.memory, 'B')}. Pass a larger memory="
    )


def pack(candidates: list[Candidate], settings: Settings) -> list[list[Candidate]]:
    """Divide models into groups that fit into memory, the largest models first.

    The batch of a model that does not fit alone is halved until it does. A model that fits at no
    batch size fails.
    """
    groups: list[list[Candidate]] = []
    for candidate in sorted(candidates, key=lambda one: one.weights, reverse=True):
        size = settings.batch_limits.get(candidate.name, settings.options.batch_size)
        while size > 1 and not fits([candidate], settings):
            size = (size + 1) // 2
            settings.batch_limits[candidate.name] = size
        if not fits([candidate], settings):
            settings.failed[candidate.name] = ValueError(describe_need(candidate, settings))
            continue
        for group in groups:
            if fits([*group, candidate], settings):
                group.append(candidate)
                break
        else:
            groups.append([candidate])
    return groups
