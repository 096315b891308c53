"""Several processes (``torchrun``) on one extraction: who am I, what is my share, and when are the others done."""

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import distributed

FOREVER = datetime.timedelta(days=30)  # a slow process is waited for; torchrun itself ends the others when one dies


@dataclass(frozen=True)
class Processes:
    """``count`` processes, of which this is number ``rank``; alone: rank 0 of 1."""

    rank: int = 0
    count: int = 1
    group: object = None

    @property
    def first(self) -> bool:
        """Whether this process does what only one may: locks, prints, puts models into the store."""
        return self.rank == 0

    def share(self, items) -> list:
        """Every ``count``-th of the items, from the ``rank``-th on."""
        return list(items)[self.rank :: self.count]

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.count > 1:
            distributed.monitored_barrier(self.group, timeout=FOREVER)

    def device(self) -> torch.device | None:
        """This process's own GPU; None where there is one process or no GPU."""
        if self.count == 1 or not torch.cuda.is_available():
            return None
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank)) % torch.cuda.device_count())


@contextlib.contextmanager
def started() -> Iterator[Processes]:
    """The processes of ``torchrun``, or of a group that the caller has started, over gloo; else this one alone."""
    if distributed.is_available() and distributed.is_initialized():
        group = distributed.new_group(backend="gloo", timeout=FOREVER)
        yield Processes(distributed.get_rank(), distributed.get_world_size(), group)
    elif int(os.environ.get("WORLD_SIZE", 1)) > 1:
        distributed.init_process_group("gloo", timeout=FOREVER)
        try:
            yield Processes(distributed.get_rank(), distributed.get_world_size())
        finally:
            distributed.destroy_process_group()
    else:
        yield Processes()
