"""Queue inputs for a model and take them in batches."""

from collections import deque
from typing import Any


def enqueue(waiting: deque, batch: Any, size: int) -> None:
    """Append a batch to a queue, in parts of at most ``size`` inputs."""
    if len(batch) <= size:
        waiting.append(batch)
    else:
        starts = range(0, len(batch), size)
        waiting.extend(batch.take(slice(start, start + size)) for start in starts)


def next_batch(waiting: deque, size: int) -> Any:
    """Take at most ``size`` inputs of one kind from the head of a queue."""
    batch = waiting.popleft()
    others = []
    count = len(batch)
    while waiting and count < size and waiting[0].kind == batch.kind:
        others.append(waiting.popleft())
        count += len(others[-1])
    if others:
        batch = batch.joined(others)
    if count > size:
        waiting.appendleft(batch.take(slice(size, None)))
        batch = batch.take(slice(size))
    return batch
