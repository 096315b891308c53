"""From a data set to the inputs of many models: each sample read once, each distinct preprocessing done once."""

import re

import torch

from .forwarding import on_device

CHUNK = 16  # photographs that a worker hands over at once; bounds what waits in shared memory


def distinct(transforms) -> list:
    """The transforms that differ; equal ones, and the same function again, are there once."""
    found = []
    for transform in transforms:
        if not any(transform is other or type(transform) is type(other) and transform == other for other in found):
            found.append(transform)
    return found


def place_of(transform, transforms) -> int:
    """Where ``transform`` or one equal to it is in a list of distinct ones."""
    return next(i for i, t in enumerate(transforms) if t is transform or type(t) is type(transform) and t == transform)


def described(transform) -> str:
    """A transform as text that is the same in every run: its repr without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(transform))


def feed(samples, spans, transforms, device, workers: int = 0):
    """Yield (span, prepare) for each (start, stop) of ``spans``; ``prepare(transform)`` gives a model's input.

    transforms: all that will be asked for. Of photographs (anything with a ``source`` that decodes a row), ``workers``
    processes read and decode each once and make every distinct cut of it; other data sets give their raw batch, which
    the transforms turn into inputs on ``device``.
    Raises ValueError naming a photograph that cannot be read.
    """
    if hasattr(samples, "source"):
        yield from _photographs(samples, spans, distinct(transforms), device, workers)
        return
    for start, stop in spans:
        raw = on_device(samples.batch(start, stop), device)
        yield (start, stop), lambda transform, raw=raw: on_device(prepared(transform, raw), device)


def prepared(transform, raw):
    """A raw batch → the module's input."""
    return raw.float() if transform is None else transform(raw)


def cut_of(transform):
    """What a worker does to one photograph: a transform's ``cut``, or the whole of a plain function (PIL → tensor)."""
    if transform is None:
        raise ValueError("a model of photographs needs a transform: (module, transform), or a model of the zoo")
    return getattr(transform, "cut", transform)


class _Cuts(torch.utils.data.Dataset):
    """Row → the photograph in each cut, or the ValueError that says why not (workers would wrap it in a traceback)."""

    def __init__(self, source, cuts):
        self.source, self.cuts = source, cuts

    def __getitem__(self, row):
        try:
            image = self.source(row)
            return [torch.as_tensor(cut(image)) for cut in self.cuts]
        except ValueError as error:
            return error


def _stacked(items):
    failed = next((item for item in items if isinstance(item, ValueError)), None)
    return failed or [torch.stack(cut) for cut in zip(*items)]


def _photographs(samples, spans, transforms, device, workers):
    spans = list(spans)
    cuts = distinct(cut_of(t) for t in transforms)
    chunks = [range(a, min(a + CHUNK, stop)) for start, stop in spans for a in range(start, stop, CHUNK)]
    loader = torch.utils.data.DataLoader(
        _Cuts(samples.source, cuts),
        batch_sampler=chunks,
        collate_fn=_stacked,
        num_workers=min(workers, len(chunks)),
        pin_memory=device.type == "cuda",
        **({"prefetch_factor": 4} if workers and chunks else {}),
    )
    arriving = iter(loader)
    for start, stop in spans:
        parts = [_checked(next(arriving)) for _ in range(start, stop, CHUNK)]
        whole = [torch.cat(cut) for cut in zip(*parts)]
        yield (start, stop), lambda transform, whole=whole: _finished(transform, cuts, whole, device)


def _checked(chunk):
    if isinstance(chunk, ValueError):
        raise chunk
    return chunk


def _finished(transform, cuts, whole, device):
    cut = whole[place_of(cut_of(transform), cuts)].to(device, non_blocking=True)
    return on_device(transform.finished(cut) if hasattr(transform, "finished") else cut, device)
