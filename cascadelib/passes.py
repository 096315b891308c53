"""One pass over the samples for all models at once: batch by batch, shard by shard."""

import contextlib
import errno
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm

from .feeding import distinct, feed, place_of
from .forwarding import Precision, ready, timed_logits
from .progress import is_watched


@dataclass(frozen=True)
class Pass:
    """How samples are run: precision, ``batch_size``, dtype of the logits, ``workers`` that read and decode.

    ``most`` {model: samples at once} fills in where the memory is too small for a batch.
    """

    precision: Precision
    batch_size: int
    dtype: np.dtype
    workers: int = 0
    progress: bool = True
    most: dict = field(default_factory=dict)


def run_pass(samples, missing, shards, settings: Pass) -> None:
    """Fill in the ``missing`` shards {(start, stop): candidates}, batch by batch, all candidates of a batch at once.

    Every shard has candidates.
    """
    candidates = {c.model.name: c for found in missing.values() for c in found}.values()
    total = sum((stop - start) * len(found) for (start, stop), found in missing.items())
    shown = settings.progress and is_watched()
    bar = tqdm(total=total, unit="sample", leave=False, disable=not shown, mininterval=0.5)
    batches = {bounds: _batches(*bounds, settings.batch_size) for bounds in missing}
    transforms = [c.model.transform for c in candidates]
    device = settings.precision.device
    with contextlib.ExitStack() as stack, bar, torch.inference_mode():
        for candidate in candidates:
            stack.enter_context(ready(candidate.model.module, device))
        spans = [span for shard in batches.values() for span in shard]
        fed = stack.enter_context(contextlib.closing(feed(samples, spans, transforms, device, settings.workers)))
        for bounds, found in missing.items():
            _run_shard(*bounds, found, fed, len(batches[bounds]), shards, settings, bar)


def _batches(start, stop, size):
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


def _run_shard(start, stop, candidates, fed, count, shards, settings, bar):
    logits = {c.model.name: np.empty((stop - start, c.classes), settings.dtype) for c in candidates}
    seconds = {c.model.name: [] for c in candidates}
    wide = torch.float64 if settings.dtype == np.float64 else torch.float32  # numpy knows no bfloat16
    for _ in range(count):
        (first, last), prepare = next(fed)
        for candidate, output, time in _outputs(candidates, prepare, settings):
            logits[candidate.model.name][first - start : last - start] = output.to("cpu", wide).numpy()
            seconds[candidate.model.name].append(time)
            bar.update(last - first)
    for candidate in candidates:
        name = candidate.model.name
        _check_finite(name, logits[name], start)
        with explained_when_full(shards.path):
            shards.write(name, candidate.run, start, stop, logits[name], seconds[name])


def _outputs(candidates, prepare, settings):
    """(candidate, logits, seconds a sample) of each candidate for a batch; each distinct transform runs once."""
    transforms = distinct(c.model.transform for c in candidates)
    for transform in transforms:
        inputs = prepare(transform)
        for candidate in candidates:
            if transforms[place_of(candidate.model.transform, transforms)] is transform:
                name, module = candidate.model.name, candidate.model.module
                yield candidate, *timed_logits(name, module, inputs, settings.precision, settings.most)


def _check_finite(name, logits, start):
    bad = np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        raise ValueError(
            f"model {name!r}: nan or inf in the logits of row {start + bad[0]} (as {logits.dtype}); "
            "if this is half precision, try amp=False or dtype='float32'"
        )


@contextlib.contextmanager
def explained_when_full(path):
    """A full disk is reported with the folder and what to do; nothing that was finished is lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno, f"no space is left for {path}; free some and repeat the call: finished shards are kept"
        ) from None
