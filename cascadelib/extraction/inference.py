"""The loop that runs models over a data set: each is probed first, every distinct input is made once a batch."""

import contextlib
import itertools
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..checks import POSITIVE, is_number
from ..datasets.images import Photographs
from ..front_end import is_watched
from ..labels import labels_of
from ..zoo.forward import Precision, on_device, ready, timed_logits
from ..zoo.macs import count_macs
from ..zoo.model import Model, identity, noted
from ..zoo.transforms import distinct, prepared
from .shards import Shards, spans

PROBED = 32  # samples, on the CPU; a GPU needs a full batch to show its speed


@dataclass(frozen=True)
class Pass:
    """How samples are run: precision, ``batch_size``, dtype of the logits, ``workers`` that read and decode.

    order: the rows in the order in which they run, or None where that is their own. ``most`` {model: samples at once}
    fills in where the memory is too small for a batch, ``failed`` {model: its error} where a model is left out.
    """

    precision: Precision
    batch_size: int
    dtype: np.dtype
    order: np.ndarray | None = None
    workers: int = 0
    progress: bool = True
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


def probed(models: list[Model], samples: Any, settings: Pass, run: dict, macs: dict[str, float]) -> list[Candidate]:
    """Count the MACs of each model (unless given) and time it on the first samples, once they have warmed it up. A
    model that fails is left out and noted in ``settings.failed``."""
    if not models:
        return []
    few = min(len(samples), settings.batch_size if settings.precision.device.type == "cuda" else PROBED)
    _, prepare = next(feed(samples, [(0, few)], [m.transform for m in models], settings.precision.device))
    candidates = []
    for model in models:
        name = model.name
        with noted(settings.failed, name), ready(model.module, settings.precision.device):
            inputs = prepare(model.transform)
            counted = macs.get(name) or count_macs(model.module, inputs)
            with torch.inference_mode():
                for _ in range(2):
                    logits, seconds = timed_logits(model, inputs, settings.precision, settings.most)
            if not is_number(counted, *POSITIVE):
                raise ValueError(f"model {name!r}: fvcore counts {counted} MACs; pass macs={{{name!r}: …}}")
            size = inputs.shape[-1] if isinstance(inputs, torch.Tensor) and inputs.ndim == 4 else None
            candidates.append(Candidate(model, run | identity(model), counted, logits.shape[1], seconds, size))
    return candidates


CHUNK = 16  # photographs that a worker hands over at once; bounds what waits in shared memory


def feed(samples: Any, bounds: Iterable, transforms: Iterable, device: torch.device, workers: int = 0) -> Generator:
    """Yield ((start, stop), prepare) for each of ``bounds``; ``prepare(transform)`` gives a model's input.

    transforms: all that will be asked for. Of photographs, ``workers`` processes read and decode each once and make
    every distinct cut of it; other data sets give their raw batch, which the transforms turn into inputs on ``device``.
    Raises ValueError naming a sample that cannot be read.
    """
    if isinstance(samples, Photographs):
        yield from _photographs(samples, list(bounds), transforms, device, workers)
        return
    for start, stop in bounds:
        raw = on_device(read(samples, start, stop), device)
        yield (start, stop), lambda transform, raw=raw: on_device(prepared(transform, raw), device)


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
    """Rows → their photographs in each cut, or the ValueError that says why not (workers would make a traceback)."""

    def __init__(self, source, cuts):
        self.source, self.cuts = source, cuts

    def __getitem__(self, rows):
        found = []
        for row in rows:
            try:
                image = self.source[row]()
                found.append([torch.as_tensor(cut(image)) for cut in self.cuts])
            except Exception as error:
                return error if type(error) is ValueError else ValueError(f"the photograph of row {row}: {error!r}")
        return [torch.stack(cut) for cut in zip(*found)]


def _photographs(samples, bounds, transforms, device, workers):
    cuts = distinct(map(_cut_of, transforms))
    chunks = [range(*span) for start, stop in bounds for span in spans(start, stop, CHUNK)]
    loader = torch.utils.data.DataLoader(
        _Cuts(samples.inputs, cuts),
        batch_size=None,
        sampler=chunks,
        num_workers=min(workers, len(chunks)),
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers and chunks else None,
    )

    def finished(transform, cut):
        cut = cut.to(device, non_blocking=True)
        return on_device(transform.finished(cut) if hasattr(transform, "finished") else cut, device)

    arriving = iter(loader)
    for start, stop in bounds:
        parts = []
        for part in itertools.islice(arriving, len(spans(start, stop, CHUNK))):
            if isinstance(part, ValueError):
                raise part
            parts.append(part)
        whole = [torch.cat(cut) for cut in zip(*parts)]
        yield (start, stop), lambda transform, whole=whole: finished(transform, whole[cuts.index(_cut_of(transform))])


def _cut_of(transform):
    """What a worker does to one photograph: a transform's ``cut``, or the whole of a plain function (PIL → tensor)."""
    if transform is None:
        raise ValueError("a model of photographs needs a transform: (module, transform), or a model of the zoo")
    return getattr(transform, "cut", transform)


def run_pass(samples: Any, missing: dict[tuple[int, int], list], shards: Shards, settings: Pass) -> None:
    """Fill in the ``missing`` shards {(start, stop): candidates, one or more}, batch by batch."""
    candidates = {c.model.name: c for found in missing.values() for c in found}.values()
    total = sum((stop - start) * len(found) for (start, stop), found in missing.items())
    shown = settings.progress and is_watched()
    bar = tqdm(total=total, unit="sample", leave=False, disable=not shown, mininterval=0.5)
    batches = {bounds: spans(*bounds, settings.batch_size) for bounds in missing}
    transforms = [c.model.transform for c in candidates]
    device = settings.precision.device
    with contextlib.ExitStack() as stack, bar, torch.inference_mode():
        for candidate in candidates:
            stack.enter_context(ready(candidate.model.module, device))
        fed = feed(samples, itertools.chain(*batches.values()), transforms, device, settings.workers)
        stack.enter_context(contextlib.closing(fed))
        for bounds, found in missing.items():
            if not settings.remaining(candidates):
                break
            _run_shard(*bounds, found, itertools.islice(fed, len(batches[bounds])), shards, settings, bar)


def _run_shard(start, stop, candidates, fed, shards, settings, bar):
    logits = {c.model.name: np.empty((stop - start, c.classes), settings.dtype) for c in candidates}
    seconds = {c.model.name: [] for c in candidates}
    for span, prepare in fed:
        for candidate, output, time in _outputs(settings.remaining(candidates), span, prepare, settings):
            logits[candidate.model.name][span[0] - start : span[1] - start] = output
            seconds[candidate.model.name].append(time)
            bar.update(len(output))
    for candidate in settings.remaining(candidates):
        name = candidate.model.name
        shards.write(name, candidate.run, start, stop, logits[name], seconds[name])


def _outputs(candidates, span, prepare, settings):
    """(candidate, logits, seconds a sample) of each candidate that does not fail; each distinct transform runs once."""
    wide = torch.float64 if settings.dtype == np.float64 else torch.float32  # numpy knows no bfloat16
    for transform in distinct(c.model.transform for c in candidates):
        inputs = None
        for candidate in (c for c in candidates if c.model.transform == transform):
            with noted(settings.failed, candidate.model.name):
                inputs = prepare(transform) if inputs is None else inputs
                output, time = timed_logits(candidate.model, inputs, settings.precision, settings.most)
                logits = output.to("cpu", wide).numpy().astype(settings.dtype, copy=False)
                _check(candidate, logits, span, settings)
                yield candidate, logits, time


def _check(candidate, logits, span, settings):
    name, expected = candidate.model.name, (span[1] - span[0], candidate.classes)
    if logits.shape != expected:
        raise ValueError(f"model {name!r} gave {logits.shape} for rows {span[0]} … {span[1] - 1}, not {expected}")
    bad = span[0] + np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        row = bad[0] if settings.order is None else settings.order[bad[0]]
        raise ValueError(
            f"model {name!r}: nan or inf in the logits of row {row} (as {logits.dtype}); "
            "if this is half precision, try amp=False or dtype='float32'"
        )
