"""Read and transform the batches of a data set, each sample once for all models."""

import itertools
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any

import torch

from ..datasets.images import Photographs
from ..origin import origin_of
from ..zoo.forward import Device, upload_batch
from ..zoo.transforms import find_distinct, prepare_batch
from .limits import SHARED_MEMORY, find_shared_memory
from .shards import split_range

CHUNK = 16  # photographs per task of a worker
PREFETCHED_CHUNKS = 4  # chunks that each worker prefetches


def feed(
    samples: Any, batches: Iterable, transforms: Iterable, device: Device, workers: int = 0
) -> Generator:
    """Yield each batch with a function that maps a transform to the transformed samples.

    batches: tuples that end with (start, stop). They are taken when their samples are read, in
    workers before the batch is due. transforms: all transforms with which these functions will be
    called. Worker processes decode each photograph once, and compute the crop and size (*cut*) of
    every distinct transform. Batches of other data sets are transformed on the device. Raises
    ValueError if a sample cannot be read.
    """
    if isinstance(samples, Photographs):
        cuts = find_distinct(map(_find_cut, transforms))
        yield from _feed_photographs(samples, iter(batches), cuts, device, workers)
        return
    for batch in batches:
        raw = upload_batch(read_batch(samples, *batch[-2:]), device.upload)
        yield (
            batch,
            lambda transform, raw=raw: upload_batch(prepare_batch(transform, raw), device.upload),
        )


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
    """Data set of tasks (number, rows). Each task writes cut photographs into shared buffers.

    Task number n fills the buffers n mod the length of the ring. It returns a ValueError instead of
    raising it, because a worker would raise it with a traceback as its message. Otherwise it
    returns None.

    source: the photographs. cuts: functions of one photograph. ring: lists with one buffer per cut.
    first: a cut photograph of the first row, which determines the shapes of the buffers.

    The main process computes the first row before it starts workers. So timm is imported once. If
    each worker imported it, a photograph would cost 10 ms of processor time instead of 4.
    """

    def __init__(self, source: Any, cuts: list[Callable], row: int):
        self.source = source
        self.cuts = cuts
        self.ring: list[list[torch.Tensor]] = []
        self.first = self.cut_row(row)

    def create_buffers(self, size: int, is_shared: bool = False) -> list[torch.Tensor]:
        """Create one buffer per cut for ``size`` photographs."""
        buffers = [torch.empty((size, *cut.shape), dtype=cut.dtype) for cut in self.first]
        return [one.share_memory_() if is_shared else one for one in buffers]

    def cut_row(self, row: int) -> list[torch.Tensor]:
        """Compute all cuts of one photograph."""
        try:
            image = self.source[row]()
            return [torch.as_tensor(cut(image)) for cut in self.cuts]
        except Exception as error:
            if type(error) is ValueError:
                raise error from None
            raise ValueError(f"the photograph of row {row}: {error!r}") from None

    def __getitem__(self, task: tuple[int, range]) -> ValueError | None:
        number, rows = task
        buffers = self.ring[number % len(self.ring)]
        try:
            for place, row in enumerate(rows):
                for buffer, cut in zip(buffers, self.cut_row(row)):
                    if (cut.shape, cut.dtype) != (buffer.shape[1:], buffer.dtype):
                        raise ValueError(
                            f"the photograph of row {row} becomes {cut.dtype} {[*cut.shape]}, the "
                            f"first {buffer.dtype} {[*buffer.shape[1:]]}. Transform all to one "
                            "shape."
                        )
                    buffer[place] = cut
        except ValueError as error:
            return error
        return None


def size_ring(photograph_bytes: int, workers: int) -> tuple[int, int]:
    """Return (workers, chunks that each worker prefetches), which depend on the shared memory.

    There is a buffer for each prefetched chunk, and one for the chunk that is read.
    """
    chunks = find_shared_memory() // (CHUNK * photograph_bytes)
    usable = max(0, min(workers, chunks - 1))
    if usable < workers:
        warnings.warn(
            f"{SHARED_MEMORY} has little free memory, so {usable} of {workers} processes decode "
            "photographs. Enlarge it, for example with docker run --shm-size=4g",
            stacklevel=2,
        )
    return usable, min(PREFETCHED_CHUNKS, (chunks - 1) // usable) if usable else 0


def _feed_photographs(
    samples: Any, batches: Iterator, cuts: list[Callable], device: Device, workers: int
) -> Generator:
    """Yield batches of photographs that workers decode into a ring of shared buffers."""
    first = next(batches, None)
    if first is None:
        return
    photographs = _CutPhotographs(samples.inputs, cuts, first[-2])
    workers = min(workers, -(-len(samples) // CHUNK))
    workers, prefetched = size_ring(sum(cut.nbytes for cut in photographs.first), workers)
    for _ in range(1 + workers * prefetched):
        photographs.ring.append(photographs.create_buffers(CHUNK, workers > 0))
    ahead, due = itertools.tee(itertools.chain([first], batches))
    chunks = (range(*rows) for *_, start, stop in ahead for rows in split_range(start, stop, CHUNK))
    loader = torch.utils.data.DataLoader(
        photographs,  # type: ignore[arg-type]
        batch_size=None,
        sampler=enumerate(chunks),  # type: ignore[arg-type]
        num_workers=workers,
        prefetch_factor=prefetched or None,
    )
    arriving = zip(itertools.cycle(photographs.ring), loader)
    for batch in due:
        *_, start, stop = batch
        whole = photographs.create_buffers(stop - start)
        for begin, end in split_range(0, stop - start, CHUNK):
            buffers, error = next(arriving)
            if error is not None:
                raise error
            for rows, part in zip(whole, buffers):
                rows[begin:end] = part[: end - begin]
        uploaded = [device.upload(cut) for cut in whole]
        yield batch, partial(_finish_photographs, cuts, uploaded, device)


def _finish_photographs(
    cuts: list[Callable], uploaded: list, device: Device, transform: Any
) -> Any:
    """Return the inputs of a model from the uploaded photographs of each cut."""
    cut = uploaded[cuts.index(_find_cut(transform))]
    if hasattr(transform, "normalize"):
        cut = transform.normalize(cut)
    return upload_batch(cut, device.upload)


def _find_cut(transform: Any) -> Callable:
    """Return the function of one photograph that workers call: ``cut``, or the transform itself."""
    if transform is None:
        raise ValueError(
            "a model of photographs needs a transform: (module, transform), or a model of the zoo"
        )
    return getattr(transform, "cut", transform)
