"""Inputs that wait for a model, and leave in batches."""

from collections import deque
from typing import Any


def push(waiting: deque, batch: Any, size: int) -> None:
    """Let a batch wait, in parts of at most ``size`` inputs."""
    if len(batch) <= size:
        waiting.append(batch)
    else:
        starts = range(0, len(batch), size)
        waiting.extend(batch.take(slice(start, start + size)) for start in starts)


def next_batch(waiting: deque, size: int) -> Any:
    """Take at most ``size`` inputs of one kind from the head of what waits."""
    whole = waiting.popleft()
    others = []
    room = size - len(whole)
    while waiting and room > 0 and waiting[0].kind == whole.kind:
        others.append(waiting.popleft())
        room -= len(others[-1])
    if others:
        whole = whole.joined(others)
    if room < 0:
        waiting.appendleft(whole.take(slice(size, None)))
        whole = whole.take(slice(size))
    return whole
