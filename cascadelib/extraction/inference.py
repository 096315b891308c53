"""Run groups of models on the shards that no other process computes."""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from ..figures.front_end import is_watched
from ..zoo.forward import compute_timed_logits
from ..zoo.model import Model, record_failure
from ..zoo.transforms import find_distinct
from .feeding import feed
from .planning import Candidate, Residents, Settings, lacked_memory
from .shards import split_range


@dataclass(frozen=True, eq=False)
class Claim:
    """Shard that this process computes.

    parts: {model: (logits, seconds per sample of each batch)} of the models that lack it, whose
    locks this process has. They are filled batch by batch.
    """

    span: tuple[int, int]
    parts: dict[Candidate, tuple[torch.Tensor, list]]


def run_group(group: list[Candidate], residents: Residents, title: str) -> None:
    """Compute the shards of a group that are missing and that no other process computes.

    Models that run out of memory next to others run again without them.

    title: text next to the progress bar.
    """
    settings = residents.settings
    claims = _claim_shards(group, settings)
    try:
        first = next(claims, None)
        if first is None:
            return
        models = _load_models(group, residents)
        _run_claims(itertools.chain([first], claims), models, settings, title)
    finally:
        settings.shards.locks.release_all()
    short = [candidate for candidate in group if lacked_memory(settings.failed.get(candidate.name))]
    if not short or len(group) == 1:
        return
    for candidate in short:
        del settings.failed[candidate.name]
    half = (len(short) + 1) // 2
    for part in filter(None, (short[:half], short[half:])):
        run_group(part, residents, title)


def _claim_shards(group: list[Candidate], settings: Settings) -> Iterator[Claim]:
    """Claim the shards that models of the group lack, one span after the other."""
    shards = settings.shards
    for span in settings.bounds:
        parts: dict[Candidate, tuple[torch.Tensor, list]] = {}
        for candidate in group:
            name = candidate.name
            if (
                name not in settings.failed
                and shards.is_missing(name, candidate.run, span)
                and shards.locks.claim(name, span)
                # Another process may just have computed it.
                and shards.is_missing(name, candidate.run, span)
            ):
                parts[candidate] = _allocate_logits(candidate, span, settings), []
        if parts:
            yield Claim(span, parts)


def _load_models(group: list[Candidate], residents: Residents) -> dict[Candidate, Model]:
    """Return the models of a group on the device, without those that fail to load."""
    failed = residents.settings.failed
    residents.keep(group)
    models = {}
    for candidate in group:
        if candidate.name not in failed:
            with record_failure(failed, candidate.name):
                models[candidate] = residents.load(candidate.source, candidate.run)
    return models


def _run_claims(
    claims: Iterator[Claim], models: dict[Candidate, Model], settings: Settings, title: str
) -> None:
    """Compute and write claimed shards, batch by batch.

    The host reads the logits of a batch only after it has started ``device.delay`` more batches, so
    that a GPU is never idle.
    """
    bar = tqdm(
        total=len(settings.samples) * len(models),
        leave=False,
        disable=not (settings.options.progress and is_watched()),
        desc=title,
    )
    started = _start_batches(claims, models, settings)
    with contextlib.closing(started), bar, torch.inference_mode():
        for claim, stop, outputs in delay_items(started, settings.device.delay):
            for output in outputs:
                with record_failure(settings.failed, output.candidate.name):
                    output.wait()
                    _check_finite(output, settings)
                    claim.parts[output.candidate][1].append(output.seconds())
                    bar.update(len(output.logits))
            if stop == claim.span[1]:
                _write_shard(claim, settings)


def _write_shard(claim: Claim, settings: Settings) -> None:
    """Write a complete shard of the models that have not failed."""
    for candidate, (logits, seconds) in claim.parts.items():
        if candidate.name not in settings.failed:
            shard = logits.numpy(), seconds
            settings.shards.write(candidate.name, candidate.run, claim.span, *shard)


def delay_items(items: Iterator, delay: int) -> Iterator:
    """Yield each item ``delay`` items later."""
    waiting: deque = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > delay:
            yield waiting.popleft()
    yield from waiting


def _start_batches(
    claims: Iterator[Claim], models: dict[Candidate, Model], settings: Settings
) -> Generator[tuple[Claim, int, list["BatchLogits"]]]:
    """Start each batch and yield (its claim, the end of its rows, its pending outputs).

    Stops if all models have failed.
    """
    samples = settings.samples
    ordered = samples if settings.order is None else samples.take(settings.order)
    batches = (
        (claim, *rows)
        for claim in claims
        for rows in split_range(*claim.span, settings.options.batch_size)
    )
    transforms = [model.transform for model in models.values()]
    fed = feed(ordered, batches, transforms, settings.device, settings.workers)
    with contextlib.closing(fed):
        for (claim, start, stop), prepare in fed:
            if settings.failed.keys() >= {candidate.name for candidate in models}:
                return
            yield claim, stop, [*_start_outputs(claim, start, stop, prepare, models, settings)]


@dataclass(frozen=True)
class BatchLogits:
    """Logits [n, classes] of a batch, from row ``start`` of the run on, that may be pending.

    wait: function that waits for the logits. seconds: function that returns the time per sample.
    """

    candidate: Candidate
    start: int
    logits: np.ndarray
    wait: Callable[[], None]
    seconds: Callable[[], float]


def _start_outputs(
    claim: Claim,
    start: int,
    stop: int,
    prepare: Callable,
    models: dict[Candidate, Model],
    settings: Settings,
) -> Iterator[BatchLogits]:
    """Start the models on the rows start … stop − 1, with one call per distinct transform.

    prepare: maps a transform to the inputs. A batch is halved only if the model is alone on the
    device.
    """
    failed = settings.failed
    remaining = [one for one in claim.parts if one.name not in failed]
    rows = slice(start - claim.span[0], stop - claim.span[0])
    for transform in find_distinct(models[candidate].transform for candidate in remaining):
        inputs = None
        for candidate in remaining:
            model = models[candidate]
            if model.transform != transform:
                continue
            with record_failure(failed, candidate.name):
                inputs = prepare(transform) if inputs is None else inputs
                output, seconds = compute_timed_logits(
                    model, inputs, settings.device, settings.batch_limits, halve=len(models) == 1
                )
                logits = claim.parts[candidate][0][rows]
                if output.shape != logits.shape:
                    raise ValueError(
                        f"model {model.name!r} returned {tuple(output.shape)} for rows {start} … "
                        f"{stop - 1}, not {tuple(logits.shape)}"
                    )
                wait = settings.device.download(output, logits)
                yield BatchLogits(candidate, start, logits.numpy(), wait, seconds)


def _allocate_logits(
    candidate: Candidate, span: tuple[int, int], settings: Settings
) -> torch.Tensor:
    """Return a tensor for the logits of a shard."""
    shape = (span[1] - span[0], candidate.classes)
    return torch.empty(shape, dtype=torch.float32, pin_memory=settings.device.pins_memory)


def _check_finite(output: BatchLogits, settings: Settings) -> None:
    """Raise ValueError if logits are not finite."""
    bad = output.start + np.flatnonzero(~np.isfinite(output.logits).all(1))
    if len(bad):
        row = bad[0] if settings.order is None else settings.order[bad[0]]
        raise ValueError(
            f"model {output.candidate.name!r}: nan or inf in the logits of row {row}. For mixed "
            "precision, try amp=False"
        )
