"""Run groups of models on the shards that no other process computes."""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from ..files import digest_of
from ..front_end import is_watched
from ..zoo.batches import count_inputs, take_rows
from ..zoo.forward import compute_timed_logits, upload_batch
from ..zoo.model import Model, record_failure
from ..zoo.transforms import find_distinct
from .feeding import feed
from .planning import Candidate, Residents, Settings, lacked_memory
from .shards import split_range


@dataclass(frozen=True)
class Claim:
    """Shard that this process computes. missing: models that lack it. lock: excludes others."""

    span: tuple[int, int]
    missing: list[Candidate]
    lock: FileLock


def run_group(
    group: list[Candidate], residents: Residents, settings: Settings, wait: bool, title: str = ""
) -> None:
    """Compute the shards of a group that are missing and that no other process computes.

    Models that run out of memory next to others run again without them.

    wait: whether to wait for the shards that other processes compute. title: text next to the
    progress bar.
    """
    with contextlib.ExitStack() as stack:
        claims = _claim_shards(group, settings, wait, stack)
        first = next(claims, None)
        if first is None:
            return
        models = _load_models(group, residents, settings)
        _run_claims(itertools.chain([first], claims), models, settings, title)
    short = [candidate for candidate in group if lacked_memory(settings.failed.get(candidate.name))]
    if not short or len(group) == 1:
        return
    for candidate in short:
        del settings.failed[candidate.name]
    half = len(short) if len(short) < len(group) else len(short) // 2
    for part in filter(None, (short[:half], short[half:])):
        run_group(part, residents, settings, wait, title)


def _load_models(
    group: list[Candidate], residents: Residents, settings: Settings
) -> dict[Candidate, Model]:
    """Return the models of a group on the device, without those that fail to load."""
    residents.keep({candidate.name for candidate in group})
    models = {}
    for candidate in group:
        if candidate.name not in settings.failed:
            with record_failure(settings.failed, candidate.name):
                models[candidate] = residents.load(candidate.source, candidate.run)
    return models


def is_missing(candidate: Candidate, span: tuple[int, int], settings: Settings) -> bool:
    """Return whether a shard of a model must be computed."""
    shards = settings.shards
    return (
        candidate.name not in settings.failed
        and shards.read_shard(candidate.name, candidate.run, *span) is None
        and not shards.is_stored(candidate.name, candidate.run)
    )


def _claim_shards(
    group: list[Candidate], settings: Settings, wait: bool, stack: contextlib.ExitStack
) -> Iterator[Claim]:
    """Claim the shards that models of the group lack, one after the other.

    stack: releases the claims that are not released before.
    """
    names = digest_of([candidate.name for candidate in group])[:16]
    for span in settings.bounds:
        if any(is_missing(candidate, span, settings) for candidate in group):
            lock = settings.shards.claim(f"{names}-{span[0]}", wait)
            if lock is not None:
                stack.callback(lock.release)
                # Another process may just have computed it.
                missing = [one for one in group if is_missing(one, span, settings)]
                yield Claim(span, missing, lock)


def _run_claims(
    claims: Iterator[Claim], models: dict[Candidate, Model], settings: Settings, title: str
) -> None:
    """Compute and write claimed shards, batch by batch.

    The host reads the logits of a batch only after it has started ``device.delay`` more batches, so
    that a GPU is never idle.
    """
    shown = settings.options.progress and is_watched()
    total = len(settings.samples) * len(models)
    bar = tqdm(
        total=total, unit="sample", leave=False, disable=not shown, mininterval=0.5, desc=title
    )
    started = _start_batches(claims, models, settings)
    reported = set(settings.failed)
    with contextlib.closing(started), bar, torch.inference_mode():
        for outputs, claim, finished in delay_items(started, settings.device.delay):
            for candidate, start, logits, wait, seconds, times in outputs:
                with record_failure(settings.failed, candidate.name):
                    wait()
                    _check_finite(candidate, logits, start, settings)
                    times.append(seconds())
                    bar.update(len(logits))
            for candidate, logits, times in finished:
                if candidate.name not in settings.failed:
                    header = {"run": digest_of(candidate.run), "batch_seconds": times}
                    settings.shards.write(candidate.name, claim.span, logits, header)
            if finished:
                claim.lock.release()
            for name in settings.failed.keys() - reported if settings.options.progress else ():
                reported.add(name)
                tqdm.write(str(settings.failed[name]))


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


def _start_batches(
    claims: Iterator[Claim], models: dict[Candidate, Model], settings: Settings
) -> Generator[tuple]:
    """Start each batch and yield (its pending outputs, its claim, the models that it completes).

    Stops if all models have failed.
    """
    samples = settings.samples
    ordered = samples if settings.order is None else samples.take(settings.order)
    transforms = [model.transform for model in models.values()]
    ahead, claims = itertools.tee(claims)
    batches = (
        batch for claim in ahead for batch in split_range(*claim.span, settings.options.batch_size)
    )
    fed = feed(ordered, batches, transforms, settings.device, settings.workers)
    dtype = getattr(torch, settings.options.dtype)
    with contextlib.closing(fed):
        for claim in claims:
            first, last = claim.span
            buffers: dict[Candidate, tuple] = {}
            for candidate in _remaining(claim.missing, models, settings):
                shape = (last - first, candidate.classes)
                logits = torch.empty(shape, dtype=dtype, pin_memory=settings.device.pins_memory)
                buffers[candidate] = (logits, [])
            for start, stop in split_range(first, last, settings.options.batch_size):
                if not _remaining(models, models, settings):
                    return
                rows = slice(start - first, stop - first)
                prepare = next(fed)  # also if no model of this shard remains
                outputs = list(_start_outputs(buffers, start, rows, prepare, models, settings))
                finished = []
                if stop == last:
                    for candidate, (logits, times) in buffers.items():
                        finished.append((candidate, logits.numpy(), times))
                yield outputs, claim, finished


def _remaining(candidates: Any, models: dict[Candidate, Model], settings: Settings) -> list:
    """Return the candidates that have been loaded and have not failed."""
    return [one for one in candidates if one in models and one.name not in settings.failed]


def _start_outputs(
    buffers: dict[Candidate, tuple],
    start: int,
    rows: slice,
    prepare: Callable,
    models: dict[Candidate, Model],
    settings: Settings,
) -> Iterator[tuple]:
    """Start the models on a batch, with one call per distinct transform.

    buffers: {candidate: (logits of the shard, seconds of its batches)}. rows: rows of the batch in
    the shard, the first of which is row `start` of the data set. Yields (candidate, start, logits,
    function that waits for them, function that returns their seconds, seconds of all batches). A
    batch is halved only if the model is alone on the device.
    """
    remaining = _remaining(buffers, models, settings)
    for transform in find_distinct(models[candidate].transform for candidate in remaining):
        inputs = None
        for candidate in remaining:
            model = models[candidate]
            if model.transform != transform:
                continue
            shard, times = buffers[candidate]
            logits = shard[rows]
            with record_failure(settings.failed, model.name):
                inputs = prepare(transform) if inputs is None else inputs
                padded = pad_inputs(inputs, settings.full_batch)
                output, seconds = compute_timed_logits(
                    model, padded, settings.device, settings.batch_limits, halve=len(models) == 1
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


def _check_finite(candidate: Candidate, logits: np.ndarray, start: int, settings: Settings) -> None:
    """Raise ValueError if the logits [n, classes] from row `start` on are not finite."""
    bad = start + np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        row = bad[0] if settings.order is None else settings.order[bad[0]]
        raise ValueError(
            f"model {candidate.name!r}: nan or inf in the logits of row {row} (as "
            f"{logits.dtype}). For half precision, try amp=False or dtype='float32'."
        )
