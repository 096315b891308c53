"""The loop that runs models over a data set: each is probed first, every distinct input is made
once a batch."""

import contextlib
import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.backends import cudnn
from tqdm import tqdm

from ..checks import POSITIVE, is_number
from ..datasets.images import Photographs
from ..front_end import is_watched
from ..labels import Labels, labels_of
from ..zoo.batches import count_inputs, take_rows
from ..zoo.forward import Device, compute_timed_logits, place_module, upload_batch
from ..zoo.macs import count_macs
from ..zoo.model import Model, describe_identity, record_failure
from ..zoo.transforms import find_distinct, prepare_batch
from .shards import Processes, Shards, split_range

# Samples, on the CPU; a GPU needs a full batch to show its speed, a compiled model is for one size.
PROBE_SAMPLES = 32
MEMORY_FORMATS = (torch.channels_last, torch.contiguous_format)
MIN_LAYOUT_BATCHES = 64  # full batches; of fewer, the measurement would be more than a quarter
TIMED_BATCHES = 4  # batches, the first of which takes memory and searches
MAX_TIME_RATIO = (
    0.95  # of the usual layout's time: one that is nearer is not worth another rounding
)


@dataclass(frozen=True)
class Pass:
    """How samples are run: which ``samples``, with their ``labels``, into which ``shards`` of which
    ``bounds``, shared with which processes (``mine`` is this one), on which device and how,
    ``batch_size``, dtype of the logits, ``workers`` that decode.

    order: the rows in the order in which they run, or None where that is their own. ``most``
    {model: samples at once} fills in where the memory is too small for a batch, ``failed`` {model:
    its error} where a model is left out.
    """

    samples: Any
    labels: Labels
    shards: Shards
    mine: Processes
    device: Device
    batch_size: int
    bounds: list[tuple[int, int]]
    dtype: np.dtype
    order: np.ndarray | None
    workers: int
    progress: bool
    compile: bool
    batch_limits: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)

    @property
    def full(self) -> int:
        """Samples of each batch, the last one too, where another size would be compiled or searched
        anew; else 0."""
        fixed = self.compile or self.device.measures_layouts
        return min(len(self.samples), self.batch_size) if fixed else 0

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self.shards.path.parent

    def remaining(self, candidates: Iterable["Candidate"]) -> list["Candidate"]:
        """Those that have not failed."""
        return [candidate for candidate in candidates if candidate.model.name not in self.failed]

    def agreed(self, candidates: Iterable["Candidate"]) -> list["Candidate"]:
        """Those that have failed in none of the processes, once all have come here."""
        self.mine.gather(self.failed)
        return self.remaining(candidates)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to extract, and what a probe on a few samples showed.

    ``run`` is all that decides its logits, as text and numbers; ``macs`` and ``seconds`` are per
    sample.
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
    """Count the MACs of each model (unless given) and time it on the first samples, once they have
    warmed it up. It is ready to run until ``stack`` ends; one that fails is left out and noted in
    ``settings.failed``."""
    if not models:
        return []
    few = settings.full or min(len(settings.samples), PROBE_SAMPLES)
    transforms = [model.transform for model in models]
    prepare = next(feed(settings.samples, [(0, few)], transforms, settings.device))
    candidates = []
    for model in models:
        name = model.name
        with record_failure(settings.failed, name), contextlib.ExitStack() as own:
            own.enter_context(place_module(model.module, settings.device.torch))
            inputs = prepare(model.transform)
            counted = macs.get(name) or count_macs(model.module, inputs)
            runs = _prepare_to_run(model, inputs, settings)
            with torch.inference_mode():
                for _ in range(2):
                    logits, seconds = compute_timed_logits(
                        runs, inputs, settings.device, settings.batch_limits
                    )
            if not is_number(counted, *POSITIVE):
                raise ValueError(
                    f"model {name!r}: fvcore counts {counted} MACs; pass macs={{{name!r}: …}}"
                )
            own_run = run | describe_identity(model)
            candidates.append(Candidate(runs, own_run, counted, logits.shape[1], seconds()))
            stack.enter_context(own.pop_all())
    return candidates


def _prepare_to_run(model: Model, inputs: Any, settings: Pass) -> Model:
    """A model compiled, or in its fastest layout; its metadata say at which image size and how."""
    images = isinstance(inputs, torch.Tensor) and inputs.ndim == 4
    record = {"image_size": inputs.shape[-1]} if images else {}
    if settings.compile:
        module: Any = torch.compile(model.module)
        model = replace(model, module=module)
    elif (
        images
        and settings.device.measures_layouts
        and len(settings.samples) >= MIN_LAYOUT_BATCHES * len(inputs)
    ):
        model = select_fastest_layout(model, inputs, settings.device)
    return replace(model, metadata=record | model.metadata)


def set_layout(
    model: Any, memory_format: torch.memory_format, searched: bool, **record: Any
) -> Model:
    """A model of images as it runs with them and its weights in a memory format, under cuDNN's
    search for the fastest algorithm (``torch.backends.cudnn.benchmark``) or its guess."""
    model.module.to(memory_format=memory_format)

    def run(images: torch.Tensor) -> Any:
        before = cudnn.benchmark
        cudnn.benchmark = searched
        try:
            return model.module(images.contiguous(memory_format=memory_format))
        finally:
            cudnn.benchmark = before

    record |= {"memory_format": str(memory_format), "cudnn_benchmark": searched}
    return replace(model, module=run, metadata=record | model.metadata)


def select_fastest_layout(model: Model, images: torch.Tensor, device: Device) -> Model:
    """A model in the layout in which a batch of images runs fastest; its metadata say which, and
    how many times as fast as usual.

    Usual is channels_last as cuDNN's flag was found; another one must be faster by 5%. Where cuDNN
    is to be deterministic, it does not search; else, where its flag is set, it always does.
    """
    fixed = cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    found = cudnn.benchmark and not fixed
    seconds = {}
    for layout in itertools.product(MEMORY_FORMATS, {found, not fixed}):
        # cuDNN's plans are kept per thread and shape, whatever the flag was when they were made:
        # a thread of its own has none.
        with ThreadPoolExecutor(1) as thread:
            timed = thread.submit(_time_batches, set_layout(model, *layout), images, device)
        seconds[layout] = timed.result()
    usual = (MEMORY_FORMATS[0], found)
    chosen = min(seconds, key=seconds.__getitem__)
    if seconds[chosen] > MAX_TIME_RATIO * seconds[usual]:
        chosen = usual
    return set_layout(model, *chosen, layout_gain=seconds[usual] / seconds[chosen])


def _time_batches(model: Model, images: torch.Tensor, device: Device) -> float:
    """Seconds per sample of the fastest of a few batches."""
    with torch.inference_mode(), torch.cuda.stream(device.computing):
        return min(
            compute_timed_logits(model, images, device, {})[1]() for _ in range(TIMED_BATCHES)
        )


CHUNK = 16  # photographs that a worker makes at once
PREFETCHED_CHUNKS = 4  # chunks that each worker is asked for beforehand


def feed(
    samples: Any, bounds: Iterable, transforms: Iterable, device: Device, workers: int = 0
) -> Generator:
    """Yield ``prepare`` for each of ``bounds``; ``prepare(transform)`` gives a model's input.

    transforms: all that will be asked for. Of photographs, ``workers`` processes read and decode
    each once and make every distinct cut of it; other data sets give their raw batch, which the
    transforms turn into inputs on ``device``. Raises ValueError naming a sample that cannot be
    read.
    """
    if isinstance(samples, Photographs):
        yield from _feed_photographs(samples, list(bounds), transforms, device, workers)
        return
    for start, stop in bounds:
        raw = upload_batch(read_batch(samples, start, stop), device.upload)
        yield lambda transform, raw=raw: upload_batch(prepare_batch(transform, raw), device.upload)


def read_batch(samples: Any, start: int, stop: int) -> Any:
    """``samples.batch(start, stop)``; ValueError naming the first sample for which that raises."""
    try:
        return samples.batch(start, stop)
    except Exception as error:
        for row in range(start, stop) if stop > start + 1 else ():
            read_batch(samples, row, row + 1)
        raise ValueError(
            f"the data set has no sample for row {start} ({labels_of(samples).sample_ids[start]}): "
            f"{error!r}"
        ) from error


class _CutPhotographs:
    """(turn, start, rows) → None once the buffers of that turn hold the rows' photographs,
    ``start`` being their first; or the ValueError that says why not (workers would make a
    traceback).

    source: the photographs; cuts: what each becomes; ring: for each turn one buffer per cut; made
    {row: its cuts}.
    """

    def __init__(self, source: Any, cuts: list[Callable], row: int):
        self.source = source
        self.cuts = cuts
        self.ring: list[list[torch.Tensor]] = []
        self.made: dict[int, list[torch.Tensor]] = {}
        self.made[row] = self.of(row)  # its cuts have the shapes of all

    def reserve(self, size: int, shared: bool) -> None:
        """One more turn of buffers for ``size`` photographs, in memory that workers share."""
        (first,) = self.made.values()
        buffers = [torch.empty((size, *cut.shape), dtype=cut.dtype) for cut in first]
        self.ring.append([one.share_memory_() if shared else one for one in buffers])

    def of(self, row: int) -> list[torch.Tensor]:
        """All cuts of one photograph."""
        if row in self.made:
            return self.made[row]
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
                for whole, cut in zip(buffers, self.of(row)):
                    if (cut.shape, cut.dtype) != (whole.shape[1:], whole.dtype):
                        raise ValueError(
                            f"the photograph of row {row} becomes {cut.dtype} {[*cut.shape]}, the "
                            f"first {whole.dtype} {[*whole.shape[1:]]}; transform all into one "
                            "shape"
                        )
                    whole[row - start] = cut
        except ValueError as error:
            return error
        return None


def _feed_photographs(
    samples: Any, bounds: list, transforms: Iterable, device: Device, workers: int
) -> Generator:
    """Workers fill a ring of buffers, one per batch, in memory that they share. They are asked for
    ``AHEAD`` chunks each before the batch that these belong to comes: that many buffers, and one to
    fill while models read another."""
    made = _CutPhotographs(samples.inputs, find_distinct(map(_find_cut, transforms)), bounds[0][0])
    size = max(stop - start for start, stop in bounds)
    chunks = len(split_range(0, size, CHUNK))
    workers = min(workers, len(bounds) * chunks)
    ahead = math.ceil(PREFETCHED_CHUNKS * workers / chunks)  # batches
    tasks = []
    for turn, (start, stop) in enumerate(bounds):
        tasks += [(turn, start, range(*span)) for span in split_range(start, stop, CHUNK)]
        if turn < 2 + ahead:
            made.reserve(size, workers > 0)
    loader: Any = torch.utils.data.DataLoader(
        made,  # type: ignore[arg-type]
        batch_size=None,
        sampler=tasks,
        num_workers=workers,
        prefetch_factor=PREFETCHED_CHUNKS if workers else None,
    )
    arriving = iter(loader)
    for (start, stop), buffers in zip(bounds, itertools.cycle(made.ring)):
        for error in itertools.islice(arriving, len(split_range(start, stop, CHUNK))):
            if error is not None:
                raise error
        uploaded = [device.upload(buffer[: stop - start]) for buffer in buffers]
        yield functools.partial(_finish_input, made.cuts, uploaded, device)


def _finish_input(
    cuts: list[Callable], uploaded: list[torch.Tensor], device: Device, transform: Any
) -> Any:
    """The input that a transform makes of a batch whose cuts lie on the device."""
    cut = uploaded[cuts.index(_find_cut(transform))]
    if hasattr(transform, "finished"):
        cut = transform.finished(cut)
    return upload_batch(cut, device.upload)


def _find_cut(transform: Any) -> Callable:
    """What a worker does to one photograph: a transform's ``cut``, or the whole of a plain function
    (PIL → tensor)."""
    if transform is None:
        raise ValueError(
            "a model of photographs needs a transform: (module, transform), or a model of the zoo"
        )
    return getattr(transform, "cut", transform)


def run_pass(missing: dict, settings: Pass) -> None:
    """Fill in the ``missing`` shards {(start, stop): the candidates that lack it}, batch by batch:
    one's logits are looked at once as many more as the device's ``delay`` have been asked for, so
    that a GPU always has something to do."""
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
        for coming, finished in delay_items(
            _start_batches(missing, fed, settings), settings.device.delay
        ):
            for candidate, start, logits, arrived, seconds, times in coming:
                with record_failure(settings.failed, candidate.model.name):
                    arrived()
                    _check_finite(candidate, logits, start, settings)
                    times.append(seconds())
                    bar.update(len(logits))
            for candidate, *shard in finished:
                if candidate.model.name not in settings.failed:
                    settings.shards.write(candidate.model.name, candidate.run, *shard)


def delay_items(items: Iterator, delay: int) -> Iterator:
    """Each of ``items`` once ``delay`` more have come, or none will, be it that the next one
    raises."""
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
    """Yield (what is coming, the shards that are whole with it) of each batch, until all models
    have failed."""
    dtype = getattr(torch, settings.dtype.name)
    for (first, last), found in missing.items():
        whole: dict[Candidate, tuple] = {}
        for candidate in settings.remaining(found):
            shape = (last - first, candidate.classes)
            logits = torch.empty(shape, dtype=dtype, pin_memory=settings.device.pins_memory)
            whole[candidate] = (logits, [])
        batches = split_range(first, last, settings.batch_size) if whole else []
        for start, stop in batches:
            rows = slice(start - first, stop - first)
            prepare = next(fed)
            coming = list(_start_outputs(whole, start, rows, prepare, settings))
            finished = []
            if stop == last:
                for candidate, (logits, times) in whole.items():
                    finished.append((candidate, first, last, logits.numpy(), times))
            yield coming, finished


def _start_outputs(
    whole: dict[Candidate, tuple], start: int, rows: slice, prepare: Callable, settings: Pass
) -> Iterator[tuple]:
    """(candidate, first row, logits, wait for them, wait for their seconds, all seconds) of each
    that does not fail; each distinct transform runs once.

    whole {candidate: (logits of the shard, all seconds)}; the batch, from row ``start`` on, is
    ``rows`` of the shard.
    """
    remaining = settings.remaining(whole)
    for transform in find_distinct(candidate.model.transform for candidate in remaining):
        inputs = None
        for candidate in remaining:
            model = candidate.model
            if model.transform != transform:
                continue
            shard, times = whole[candidate]
            logits = shard[rows]
            with record_failure(settings.failed, model.name):
                inputs = prepare(transform) if inputs is None else inputs
                given = pad_inputs(inputs, settings.full)
                output, seconds = compute_timed_logits(
                    model, given, settings.device, settings.batch_limits
                )
                output = output[: count_inputs(inputs)]
                if output.shape != logits.shape:
                    raise ValueError(
                        f"model {model.name!r} gave {tuple(output.shape)} for rows {start} … "
                        f"{start + len(logits) - 1}, not {tuple(logits.shape)}"
                    )
                arrived = settings.device.download(output, logits)
                yield candidate, start, logits.numpy(), arrived, seconds, times


def pad_inputs(inputs: Any, size: int) -> Any:
    """A module's input with its last sample repeated up to so many."""
    samples = count_inputs(inputs)
    if samples >= size:
        return inputs
    whole = take_rows(inputs, np.minimum(np.arange(size), samples - 1), samples)
    return upload_batch(whole, lambda part: part)  # else rows lie in another format


def _check_finite(candidate: Candidate, logits: np.ndarray, start: int, settings: Pass) -> None:
    """ValueError, naming the model and the row, where logits [n, classes] from row ``start`` on
    hold nan or inf."""
    bad = start + np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        row = bad[0] if settings.order is None else settings.order[bad[0]]
        raise ValueError(
            f"model {candidate.model.name!r}: nan or inf in the logits of row {row} (as "
            f"{logits.dtype}); if this is half precision, try amp=False or dtype='float32'"
        )
