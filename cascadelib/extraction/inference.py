"""Run models on the batches of a data set, after a probe of each model on the first batch."""

import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..checks import POSITIVE, is_number
from ..datasets.images import Photographs
from ..front_end import is_watched
from ..origin import Origin, origin_of
from ..zoo.batches import count_inputs, take_rows
from ..zoo.forward import Device, compute_timed_logits, place_module, upload_batch
from ..zoo.macs import count_macs
from ..zoo.model import Model, describe_identity, record_failure
from ..zoo.transforms import find_distinct, prepare_batch
from .shards import Processes, Shards, shard_bounds, split_range

PROBE_SAMPLES = 32  # samples of a probe, except that compiled models probe a full batch
CHUNK = 16  # photographs per task of a worker
PREFETCHED_CHUNKS = 4  # chunks that each worker prefetches


@dataclass(frozen=True)
class Pass:
    """Inputs, outputs and options of a pass over a data set.

    shard_size: number of samples of a shard, rounded to full batches. order: rows in the order in
    which they run, or None for the order of the data set. workers: number of processes that decode
    images. batch_limits: {model: largest batch that fits into memory} of models for which a full
    batch does not fit. failed: {model: error} of skipped models.
    """

    samples: Any
    labels: Origin
    shards: Shards
    processes: Processes
    device: Device
    batch_size: int
    shard_size: int
    dtype: np.dtype
    order: np.ndarray | None
    workers: int
    progress: bool
    compile: bool
    batch_limits: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)

    @property
    def full_batch(self) -> int:
        """Size of every batch of compiled models, else 0. A new size would compile them again."""
        return min(len(self.samples), self.batch_size) if self.compile else 0

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """(start, stop) of each shard."""
        return shard_bounds(len(self.samples), self.shard_size, self.batch_size)

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self.shards.path.parent

    def remaining(self, candidates: Iterable["Candidate"]) -> list["Candidate"]:
        """Return the candidates that have not failed."""
        return [candidate for candidate in candidates if candidate.model.name not in self.failed]

    def agree(self, candidates: Iterable["Candidate"]) -> list["Candidate"]:
        """Wait for all processes and return the candidates that failed in none of them."""
        self.processes.gather(self.failed)
        return self.remaining(candidates)


@dataclass(frozen=True, eq=False)
class Candidate:
    """Model to extract, with the results of a probe.

    run: all settings that determine the logits. macs, seconds: means per sample.
    """

    model: Model
    run: dict
    macs: float
    classes: int
    seconds: float


def probe_models(
    models: list[Model],
    settings: Pass,
    run: dict,
    macs: dict[str, float],
    stack: contextlib.ExitStack,
) -> list[Candidate]:
    """Count the MACs of each model unless `macs` has them, and time it on the first samples.

    Each model is called twice, and the second call is timed. Models stay on the device until
    `stack` is closed. Failing models are recorded in ``settings.failed`` and skipped.
    """
    if not models:
        return []
    count = settings.full_batch or min(len(settings.samples), PROBE_SAMPLES)
    transforms = [model.transform for model in models]
    prepare = next(feed(settings.samples, [(0, count)], transforms, settings.device))
    candidates = []
    for model in models:
        name = model.name
        with record_failure(settings.failed, name), contextlib.ExitStack() as placed:
            placed.enter_context(place_module(model.module, settings.device.torch))
            inputs = prepare(model.transform)
            counted = macs.get(name) or count_macs(model.module, inputs)
            if not is_number(counted, *POSITIVE):
                raise ValueError(
                    f"model {name!r}: fvcore counts {counted} MACs. Pass macs={{{name!r}: …}}"
                )
            identity = describe_identity(model)
            if isinstance(inputs, torch.Tensor) and inputs.ndim == 4:
                size = {"image_size": inputs.shape[-1]}
                model = replace(model, metadata=size | model.metadata)
            if settings.compile:
                model = replace(model, module=torch.compile(model.module))
            with torch.inference_mode():
                for _ in range(2):
                    logits, seconds = compute_timed_logits(
                        model, inputs, settings.device, settings.batch_limits
                    )
            candidates.append(Candidate(model, run | identity, counted, logits.shape[1], seconds()))
            stack.enter_context(placed.pop_all())
    return candidates


def feed(
    samples: Any, bounds: Iterable, transforms: Iterable, device: Device, workers: int = 0
) -> Generator:
    """Yield a function for each batch. It maps a transform to the transformed batch.

    bounds: (start, stop) of the batches. transforms: all transforms with which these functions will
    be called. Worker processes decode each photograph once, and compute the crop and size (*cut*)
    of every distinct transform. Batches of other data sets are transformed on the device. Raises
    ValueError if a sample cannot be read.
    """
    if isinstance(samples, Photographs):
        yield from _feed_photographs(samples, list(bounds), transforms, device, workers)
        return
    for start, stop in bounds:
        raw = upload_batch(read_batch(samples, start, stop), device.upload)
        yield lambda transform, raw=raw: upload_batch(prepare_batch(transform, raw), device.upload)


def read_batch(samples: Any, start: int, stop: int) -> Any:
    """Return ``samples.batch(start, stop)``, or raise ValueError that names the failing sample."""
    try:
        return samples.batch(start, stop)
    except Exception as error:
        for row in range(start, stop) if stop > start + 1 else ():
            read_batch(samples, row, row + 1)
        raise ValueError(
            f"the data set has no sample for row {start} ({origin_of(samples).sample_ids[start]}): "
            f"{error!r}"
        ) from error


class _CutPhotographs:
    """Data set of tasks (turn, start, rows). Each task writes cut photographs into shared buffers.

    A task fills the buffers of batch number `turn`, whose first row is row `start` of the data set.
    The task returns a ValueError instead of raising it, because a worker would raise it with a
    traceback as its message. Otherwise it returns None.

    source: the photographs. cuts: functions of one photograph. ring: lists with one buffer per cut.
    Batches use these lists in turn. first_cut: {row: cut photographs} of the first row, which
    determine the shapes of the buffers.
    """

    def __init__(self, source: Any, cuts: list[Callable], row: int):
        self.source = source
        self.cuts = cuts
        self.ring: list[list[torch.Tensor]] = []
        self.first_cut: dict[int, list[torch.Tensor]] = {}
        self.first_cut[row] = self.cut_row(row)

    def reserve(self, size: int, shared: bool) -> None:
        """Add one more set of buffers for ``size`` photographs, in shared memory if ``shared``."""
        (first,) = self.first_cut.values()
        buffers = [torch.empty((size, *cut.shape), dtype=cut.dtype) for cut in first]
        self.ring.append([one.share_memory_() if shared else one for one in buffers])

    def cut_row(self, row: int) -> list[torch.Tensor]:
        """Compute all cuts of one photograph."""
        if row in self.first_cut:
            return self.first_cut[row]
        try:
            image = self.source[row]()
            return [torch.as_tensor(cut(image)) for cut in self.cuts]
        except Exception as error:
            if type(error) is ValueError:
                raise error from None
            raise ValueError(f"the photograph of row {row}: {error!r}") from None

    def __getitem__(self, task: tuple[int, int, range]) -> ValueError | None:
        turn, start, rows = task
        buffers = self.ring[turn % len(self.ring)]
        try:
            for row in rows:
                for buffer, cut in zip(buffers, self.cut_row(row)):
                    if (cut.shape, cut.dtype) != (buffer.shape[1:], buffer.dtype):
                        raise ValueError(
                            f"the photograph of row {row} becomes {cut.dtype} {[*cut.shape]}, the "
                            f"first {buffer.dtype} {[*buffer.shape[1:]]}. Transform all to one "
                            "shape."
                        )
                    buffer[row - start] = cut
        except ValueError as error:
            return error
        return None


def _feed_photographs(
    samples: Any, bounds: list, transforms: Iterable, device: Device, workers: int
) -> Generator:
    """Yield batches of photographs that workers decode into a ring of shared buffers.

    Each worker prefetches ``PREFETCHED_CHUNKS`` chunks. The ring has buffers for these batches, for
    one that is being filled, and for one that models read.
    """
    photographs = _CutPhotographs(
        samples.inputs, find_distinct(map(_find_cut, transforms)), bounds[0][0]
    )
    size = max(stop - start for start, stop in bounds)
    chunks = len(split_range(0, size, CHUNK))
    workers = min(workers, len(bounds) * chunks)
    ahead = math.ceil(PREFETCHED_CHUNKS * workers / chunks)  # batches
    tasks = []
    for turn, (start, stop) in enumerate(bounds):
        tasks += [(turn, start, range(*span)) for span in split_range(start, stop, CHUNK)]
        if turn < 2 + ahead:
            photographs.reserve(size, workers > 0)
    loader = torch.utils.data.DataLoader(
        photographs,  # type: ignore[arg-type]
        batch_size=None,
        sampler=tasks,
        num_workers=workers,
        prefetch_factor=PREFETCHED_CHUNKS if workers else None,
    )
    arriving = iter(loader)
    for (start, stop), buffers in zip(bounds, itertools.cycle(photographs.ring)):
        for error in itertools.islice(arriving, len(split_range(start, stop, CHUNK))):
            if error is not None:
                raise error
        uploaded = [device.upload(buffer[: stop - start]) for buffer in buffers]

        def finish(transform: Any, uploaded: list = uploaded) -> Any:
            cut = uploaded[photographs.cuts.index(_find_cut(transform))]
            if hasattr(transform, "normalize"):
                cut = transform.normalize(cut)
            return upload_batch(cut, device.upload)

        yield finish


def _find_cut(transform: Any) -> Callable:
    """Return the function of one photograph that workers call: ``cut``, or the transform itself."""
    if transform is None:
        raise ValueError(
            "a model of photographs needs a transform: (module, transform), or a model of the zoo"
        )
    return getattr(transform, "cut", transform)


def run_pass(missing: dict, settings: Pass) -> None:
    """Compute missing shards, batch by batch.

    missing: {(start, stop) of a shard: candidates that lack it}. The host reads the logits of a
    batch only after it has started ``device.delay`` more batches, so that a GPU is never idle.
    """
    samples = settings.samples
    ordered = samples if settings.order is None else samples.take(settings.order)
    candidates = dict.fromkeys(itertools.chain.from_iterable(missing.values()))
    transforms = [candidate.model.transform for candidate in candidates]
    total = sum((stop - start) * len(found) for (start, stop), found in missing.items())
    shown = settings.progress and is_watched()
    bar = tqdm(total=total, unit="sample", leave=False, disable=not shown, mininterval=0.5)
    batches = (
        span for start, stop in missing for span in split_range(start, stop, settings.batch_size)
    )
    fed = feed(ordered, batches, transforms, settings.device, settings.workers)
    with contextlib.closing(fed), bar, torch.inference_mode():
        for outputs, finished in delay_items(
            _start_batches(missing, fed, settings), settings.device.delay
        ):
            for candidate, start, logits, wait, seconds, times in outputs:
                with record_failure(settings.failed, candidate.model.name):
                    wait()
                    _check_finite(candidate, logits, start, settings)
                    times.append(seconds())
                    bar.update(len(logits))
            for candidate, *shard in finished:
                if candidate.model.name not in settings.failed:
                    settings.shards.write(candidate.model.name, candidate.run, *shard)


def delay_items(items: Iterator, delay: int) -> Iterator:
    """Yield each item ``delay`` items later, and the rest at the end or before an exception."""
    waiting: deque = deque()
    try:
        for item in items:
            waiting.append(item)
            if len(waiting) > delay:
                yield waiting.popleft()
    except (Exception, KeyboardInterrupt):
        yield from waiting
        raise
    yield from waiting


def _start_batches(missing: dict, fed: Iterator, settings: Pass) -> Iterator[tuple[list, list]]:
    """Start each batch and yield (its pending outputs, the shards that it completes).

    Stops if all models have failed.
    """
    dtype = getattr(torch, settings.dtype.name)
    for (first, last), found in missing.items():
        buffers: dict[Candidate, tuple] = {}
        for candidate in settings.remaining(found):
            shape = (last - first, candidate.classes)
            logits = torch.empty(shape, dtype=dtype, pin_memory=settings.device.pins_memory)
            buffers[candidate] = (logits, [])
        batches = split_range(first, last, settings.batch_size) if buffers else []
        for start, stop in batches:
            rows = slice(start - first, stop - first)
            prepare = next(fed)
            outputs = list(_start_outputs(buffers, start, rows, prepare, settings))
            finished = []
            if stop == last:
                for candidate, (logits, times) in buffers.items():
                    finished.append((candidate, first, last, logits.numpy(), times))
            yield outputs, finished


def _start_outputs(
    buffers: dict[Candidate, tuple], start: int, rows: slice, prepare: Callable, settings: Pass
) -> Iterator[tuple]:
    """Start the models on a batch, with one call per distinct transform.

    buffers: {candidate: (logits of the shard, seconds of its batches)}. rows: rows of the batch in
    the shard, the first of which is row `start` of the data set. Yields (candidate, start, logits,
    function that waits for them, function that returns their seconds, seconds of all batches).
    """
    remaining = settings.remaining(buffers)
    for transform in find_distinct(candidate.model.transform for candidate in remaining):
        inputs = None
        for candidate in remaining:
            model = candidate.model
            if model.transform != transform:
                continue
            shard, times = buffers[candidate]
            logits = shard[rows]
            with record_failure(settings.failed, model.name):
                inputs = prepare(transform) if inputs is None else inputs
                padded = pad_inputs(inputs, settings.full_batch)
                output, seconds = compute_timed_logits(
                    model, padded, settings.device, settings.batch_limits
                )
                output = output[: count_inputs(inputs)]
                if output.shape != logits.shape:
                    raise ValueError(
                        f"model {model.name!r} returned {tuple(output.shape)} for rows {start} … "
                        f"{start + len(logits) - 1}, not {tuple(logits.shape)}"
                    )
                wait = settings.device.download(output, logits)
                yield candidate, start, logits.numpy(), wait, seconds, times


def pad_inputs(inputs: Any, size: int) -> Any:
    """Repeat the last sample of a module's input until it has ``size`` samples."""
    samples = count_inputs(inputs)
    if samples >= size:
        return inputs
    padded = take_rows(inputs, np.minimum(np.arange(size), samples - 1), samples)
    return upload_batch(padded, lambda part: part)  # restores the memory format


def _check_finite(candidate: Candidate, logits: np.ndarray, start: int, settings: Pass) -> None:
    """Raise ValueError if the logits [n, classes] from row `start` on are not finite."""
    bad = start + np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        row = bad[0] if settings.order is None else settings.order[bad[0]]
        raise ValueError(
            f"model {candidate.model.name!r}: nan or inf in the logits of row {row} (as "
            f"{logits.dtype}). For half precision, try amp=False or dtype='float32'."
        )
