"""The loop that runs models over a data set: each is probed first, every distinct input is made once a batch."""

import contextlib
import itertools
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..checks import POSITIVE, is_number
from ..datasets.images import Photographs
from ..front_end import is_watched
from ..labels import labels_of
from ..zoo.forward import Device, on_device, ready, timed_logits
from ..zoo.macs import count_macs
from ..zoo.model import Model, identity, noted
from ..zoo.transforms import distinct, prepared
from .shards import Shards, spans

PROBED = 32  # samples, on the CPU; a GPU needs a full batch to show its speed


@dataclass(frozen=True)
class Pass:
    """How samples are run: on which device and how, ``batch_size``, dtype of the logits, ``workers`` that decode.

    order: the rows in the order in which they run, or None where that is their own. ``most`` {model: samples at once}
    fills in where the memory is too small for a batch, ``failed`` {model: its error} where a model is left out.
    """

    device: Device
    batch_size: int
    dtype: np.dtype
    order: np.ndarray | None = None
    workers: int = 0
    progress: bool = True
    compile: bool = False
    most: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)

    def remaining(self, candidates: Iterable["Candidate"]) -> list["Candidate"]:
        """Those that have not failed."""
        return [candidate for candidate in candidates if candidate.model.name not in self.failed]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to extract, and what a probe on a few samples showed.

    ``run`` is all that decides its logits, as text and numbers; ``macs`` and ``seconds`` are per sample.
    """

    model: Model
    run: dict
    macs: float
    classes: int
    seconds: float
    image_size: int | None


def probed(
    models: list[Model],
    samples: Any,
    settings: Pass,
    run: dict,
    macs: dict[str, float],
    stack: contextlib.ExitStack,
) -> list[Candidate]:
    """Count the MACs of each model (unless given) and time it on the first samples, once they have warmed it up. It is
    ready to run until ``stack`` ends; one that fails is left out and noted in ``settings.failed``."""
    if not models:
        return []
    few = min(len(samples), settings.batch_size if settings.device.torch.type == "cuda" else PROBED)
    _, prepare = next(feed(samples, [(0, few)], [m.transform for m in models], settings.device))
    candidates = []
    for model in models:
        name = model.name
        with noted(settings.failed, name), contextlib.ExitStack() as own:
            own.enter_context(ready(model.module, settings.device.torch))
            inputs = prepare(model.transform)
            counted = macs.get(name) or count_macs(model.module, inputs)
            module: Any = torch.compile(model.module) if settings.compile else model.module
            runs = replace(model, module=module)
            with torch.inference_mode():
                for _ in range(2):
                    logits, seconds = timed_logits(runs, inputs, settings.device, settings.most)
            if not is_number(counted, *POSITIVE):
                raise ValueError(
                    f"model {name!r}: fvcore counts {counted} MACs; pass macs={{{name!r}: …}}"
                )
            size = (
                inputs.shape[-1] if isinstance(inputs, torch.Tensor) and inputs.ndim == 4 else None
            )
            candidates.append(
                Candidate(runs, run | identity(model), counted, logits.shape[1], seconds(), size)
            )
            stack.enter_context(own.pop_all())
    return candidates


CHUNK, AHEAD = (
    16,
    4,
)  # photographs that a worker makes at once; how many such chunks each is asked for beforehand


def feed(
    samples: Any, bounds: Iterable, transforms: Iterable, device: Device, workers: int = 0
) -> Generator:
    """Yield ((start, stop), prepare) for each of ``bounds``; ``prepare(transform)`` gives a model's input.

    transforms: all that will be asked for. Of photographs, ``workers`` processes read and decode each once and make
    every distinct cut of it; other data sets give their raw batch, which the transforms turn into inputs on ``device``.
    Raises ValueError naming a sample that cannot be read.
    """
    if isinstance(samples, Photographs):
        yield from _photographs(samples, list(bounds), transforms, device, workers)
        return
    for start, stop in bounds:
        raw = on_device(read(samples, start, stop), device.upload)
        yield (
            (start, stop),
            lambda transform, raw=raw: on_device(prepared(transform, raw), device.upload),
        )


def read(samples: Any, start: int, stop: int) -> Any:
    """``samples.batch(start, stop)``; ValueError naming the first sample for which that raises."""
    try:
        return samples.batch(start, stop)
    except Exception as error:
        for row in range(start, stop) if stop > start + 1 else ():
            read(samples, row, row + 1)
        raise ValueError(
            f"the data set has no sample for row {start} ({labels_of(samples).sample_ids[start]}): {error!r}"
        ) from error


class _Cuts:
    """(ring's buffers by cut, start, rows) → None once they hold the rows' photographs, ``start`` being their first; or
    the ValueError that says why not (workers would make a traceback)."""

    def __init__(self, source, cuts):
        self.source, self.cuts, self.ring, self.made = source, cuts, [], {}

    def of(self, row):
        if row in self.made:
            return self.made[row]
        try:
            image = self.source[row]()
            return [torch.as_tensor(cut(image)) for cut in self.cuts]
        except Exception as error:
            own = type(error) is ValueError
            raise (
                error if own else ValueError(f"the photograph of row {row}: {error!r}")
            ) from None

    def __getitem__(self, task):
        turn, start, rows = task
        try:
            for row in rows:
                for whole, cut in zip(self.ring[turn % len(self.ring)], self.of(row)):
                    if (cut.shape, cut.dtype) != (whole.shape[1:], whole.dtype):
                        form = f"{cut.dtype} {[*cut.shape]}, the first {whole.dtype} {[*whole.shape[1:]]}"
                        raise ValueError(
                            f"the photograph of row {row} becomes {form}; transform all into one shape"
                        )
                    whole[row - start] = cut
        except ValueError as error:
            return error


def _photographs(samples, bounds, transforms, device, workers):
    """Workers fill a ring of buffers, one a batch, in memory that they share. They are asked for ``AHEAD`` chunks each
    before the batch that these belong to comes: that many buffers, and one to fill while another is copied."""
    made = _Cuts(samples.inputs, distinct(map(_cut_of, transforms)))
    size, row = max(stop - start for start, stop in bounds), bounds[0][0]
    first = made.made[row] = made.of(row)  # its cuts have the shapes of all
    workers = min(workers, len(bounds) * len(spans(0, size, CHUNK)))
    for _ in range(min(len(bounds), 2 + -(-AHEAD * workers // len(spans(0, size, CHUNK))))):
        whole = [torch.empty((size, *cut.shape), dtype=cut.dtype) for cut in first]
        made.ring.append([buffer.share_memory_() for buffer in whole] if workers else whole)
    free = [device.uploaded()] * len(made.ring)

    def tasks():
        for turn, (start, stop) in enumerate(bounds):
            free[turn % len(free)]()
            yield from ((turn, start, range(*span)) for span in spans(start, stop, CHUNK))

    ahead = AHEAD if workers else None
    loader = torch.utils.data.DataLoader(
        made, batch_size=None, sampler=tasks(), num_workers=workers, prefetch_factor=ahead
    )
    with device.pinned([buffer for whole in made.ring for buffer in whole]):
        arriving = iter(loader)
        for turn, (start, stop) in enumerate(bounds):
            for error in itertools.islice(arriving, len(spans(start, stop, CHUNK))):
                if error is not None:
                    raise error
            cuts = [device.upload(whole[: stop - start]) for whole in made.ring[turn % len(free)]]
            free[turn % len(free)] = device.uploaded()

            def prepare(transform, cuts=cuts):
                cut = cuts[made.cuts.index(_cut_of(transform))]
                return on_device(
                    transform.finished(cut) if hasattr(transform, "finished") else cut,
                    device.upload,
                )

            yield (start, stop), prepare


def _cut_of(transform):
    """What a worker does to one photograph: a transform's ``cut``, or the whole of a plain function (PIL → tensor)."""
    if transform is None:
        raise ValueError(
            "a model of photographs needs a transform: (module, transform), or a model of the zoo"
        )
    return getattr(transform, "cut", transform)


def run_pass(
    samples: Any, missing: dict[tuple[int, int], list], shards: Shards, settings: Pass
) -> None:
    """Fill in the ``missing`` shards {(start, stop): candidates, one or more}, batch by batch: one's logits are looked
    at once as many more as the device's ``delay`` have been asked for, so that a GPU always has something to do."""
    candidates = {c.model.name: c for found in missing.values() for c in found}.values()
    total = sum((stop - start) * len(found) for (start, stop), found in missing.items())
    shown = settings.progress and is_watched()
    bar = tqdm(total=total, unit="sample", leave=False, disable=not shown, mininterval=0.5)
    batches = (span for bounds in missing for span in spans(*bounds, settings.batch_size))
    fed = feed(
        samples, batches, [c.model.transform for c in candidates], settings.device, settings.workers
    )
    with contextlib.closing(fed), bar, torch.inference_mode():
        for coming, finished in delayed(_asked_for(missing, fed, settings), settings.device.delay):
            for candidate, start, logits, arrived, seconds, times in coming:
                with noted(settings.failed, candidate.model.name):
                    arrived()
                    _check(candidate, logits, start, settings)
                    times.append(seconds())
                    bar.update(len(logits))
            for candidate, *shard in finished:
                if candidate.model.name not in settings.failed:
                    shards.write(candidate.model.name, candidate.run, *shard)


def delayed(items: Iterator, delay: int) -> Iterator:
    """Each of ``items`` once ``delay`` more have come, or none will, be it that the next one raises."""
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


def _asked_for(missing, fed, settings):
    """Yield (what is coming, the shards that are whole with it) of each batch, until all models have failed."""
    options = {"dtype": getattr(torch, settings.dtype.name), "pin_memory": settings.device.pins}
    for (first, last), found in missing.items():
        whole = [
            (c, torch.empty((last - first, c.classes), **options), [])
            for c in settings.remaining(found)
        ]
        for start, stop in spans(first, last, settings.batch_size) if whole else ():
            parts = {
                c: (start, logits[start - first : stop - first], times)
                for c, logits, times in whole
            }
            coming = list(_outputs(parts, next(fed)[1], settings))
            yield (
                coming,
                [
                    (c, first, last, logits.numpy(), times)
                    for c, logits, times in whole
                    if stop == last
                ],
            )


def _outputs(parts, prepare, settings):
    """(candidate, first row, logits, wait for them, wait for their seconds, all seconds) of each that does not fail, of
    ``parts`` {candidate: (first row, logits, all seconds)}; each distinct transform runs once."""
    remaining = settings.remaining(parts)
    for transform in distinct(c.model.transform for c in remaining):
        inputs = None
        for candidate in (c for c in remaining if c.model.transform == transform):
            start, logits, times = parts[candidate]
            with noted(settings.failed, candidate.model.name):
                inputs = prepare(transform) if inputs is None else inputs
                output, seconds = timed_logits(
                    candidate.model, inputs, settings.device, settings.most
                )
                if output.shape != logits.shape:
                    given, rows = tuple(output.shape), f"rows {start} … {start + len(logits) - 1}"
                    raise ValueError(
                        f"model {candidate.model.name!r} gave {given} for {rows}, not {tuple(logits.shape)}"
                    )
                arrived = settings.device.download(output, logits)
                yield candidate, start, logits.numpy(), arrived, seconds, times


def _check(candidate, logits, start, settings):
    bad = start + np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        row = bad[0] if settings.order is None else settings.order[bad[0]]
        raise ValueError(
            f"model {candidate.model.name!r}: nan or inf in the logits of row {row} (as {logits.dtype}); "
            "if this is half precision, try amp=False or dtype='float32'"
        )
