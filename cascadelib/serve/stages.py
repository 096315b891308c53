"""The queue of each model in a service: batches, a circuit breaker and a budget of retries."""

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ..evaluation.point import Point
from .monitor import Monitor
from .records import Record

FAILURE_WEIGHT = 0.05  # weight of the last call in the moving average of failed calls
OPEN_SHARE = 0.6  # share of failed calls at which calls stop
PROBE_SECONDS = 1.0  # seconds between test calls of a model whose calls have stopped
RETRY_SHARE = 0.1  # retries that each input adds to the budget
MAX_RETRY_TOKENS = 10.0  # largest budget of retries
MAX_LOGGED = 100  # largest number of distinct failures of a model that are logged
RETRY_SECONDS = 0.05  # mean pause before the first retry, which doubles with each retry
LOG = logging.getLogger("cascadelib.serve")


class Overloaded(Exception):
    """The number of undecided inputs would exceed ``queue=`` of a :class:`Service`.

    See Also
    --------
    DeadlineExceeded : An input was not decided in time.

    Examples
    --------
    >>> from cascadelib.serve import Overloaded
    >>> issubclass(Overloaded, Exception)
    True
    """


class DeadlineExceeded(TimeoutError):
    """An input was not decided within ``deadline=`` of a :class:`Service`.

    See Also
    --------
    Overloaded : The queue is full.

    Examples
    --------
    >>> from cascadelib.serve import DeadlineExceeded
    >>> issubclass(DeadlineExceeded, TimeoutError)
    True
    """


@dataclass(frozen=True, eq=False)
class Rules:
    """The policy in use, its monitor, and the start of the policy's checksum."""

    point: Point
    monitor: Monitor
    checksum: str


@dataclass(eq=False, slots=True)
class QueuedInput:
    """An input that waits for a model or for its answer, or an input of the audit.

    `decided` receives the record, or the error. Nobody waits for that of the audit.
    """

    record: Record
    rules: Rules
    kind: Any
    source: Any
    arrived: float
    until: float
    decided: asyncio.Future
    stage: int = 0
    retries: int = 0  # at this stage
    is_called: bool = False
    is_done: bool = False


@dataclass(eq=False, slots=True)
class Slots:
    """The number of calls that may still start. Several queues may share it."""

    free: int


@dataclass(eq=False)
class ModelQueue:
    """The inputs that wait for a model.

    Parameters
    ----------
    name : str
    size : int
        Maximum number of inputs per call.
    slots : Slots
    timeout : float
        Seconds that a call may take.
    retries : int
        Maximum number of retries of an input.
    """

    name: str
    size: int
    slots: Slots
    timeout: float
    retries: int
    waiting: deque[QueuedInput] = field(default_factory=deque)
    retry_tokens: float = MAX_RETRY_TOKENS
    failed_share: float = 0.0
    next_probe: float = 0.0
    last_fault: str = ""
    logged: set[str] = field(default_factory=set)

    def take_batch(self) -> list[QueuedInput]:
        """Remove and return the inputs of the next call. They have one kind and one policy."""
        items: list[QueuedInput] = []
        while self.waiting and len(items) < self.size:
            item = self.waiting[0]
            if items:
                first = items[0]
                is_alike = item.rules is first.rules and item.kind == first.kind
                if not is_alike or item.retries or first.retries:  # a retry has a call to itself
                    break
            self.waiting.popleft()
            if not item.is_done:
                item.is_called = True
                items.append(item)
        tokens = self.retry_tokens + RETRY_SHARE * len(items)
        self.retry_tokens = min(tokens, MAX_RETRY_TOKENS)
        return items

    @property
    def is_open(self) -> bool:
        """Whether calls have stopped because too many failed (an open circuit breaker)."""
        return self.failed_share >= OPEN_SHARE

    def may_call(self, now: float) -> bool:
        """Return whether a call may start. If calls have stopped, one call per second may start."""
        if self.is_open and (now < self.next_probe or not self.slots.free):
            return False
        self.next_probe = now + PROBE_SECONDS
        return True

    def update(self, has_failed: bool) -> None:
        """Record the end of a call. If calls have stopped, one success resumes them."""
        was_open = self.is_open
        self.failed_share += FAILURE_WEIGHT * (has_failed - self.failed_share)
        if was_open and not has_failed:
            self.failed_share = 0.0
            self.logged.clear()
        if self.is_open != was_open:
            state = "is not called" if self.is_open else "is called again"
            LOG.warning("model %r %s; last failure: %s", self.name, state, self.last_fault)

    def log(self, fault: BaseException, inputs: int) -> None:
        """Log each distinct failure once. Failures are logged again after stopped calls resume."""
        text = self.last_fault = f"{type(fault).__name__}: {fault}"
        if text not in self.logged and len(self.logged) < MAX_LOGGED:
            self.logged.add(text)
            LOG.warning("model %r failed for %d inputs: %s", self.name, inputs, text)

    def retry_delay(self, item: QueuedInput) -> float | None:
        """Return seconds until a failed input is retried, or None if it is not retried."""
        delay = RETRY_SECONDS * 2**item.retries * random.uniform(0.5, 1.5)
        is_allowed = item.retries < self.retries and self.retry_tokens >= 1 and not self.is_open
        if not is_allowed or asyncio.get_running_loop().time() + delay >= item.until:
            return None
        self.retry_tokens -= 1
        item.retries += 1
        return delay
