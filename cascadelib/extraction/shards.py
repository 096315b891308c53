"""Shards of an extraction: files of logits in a folder, which processes fill simultaneously."""

import contextlib
from pathlib import Path

import numpy as np

from ..files import SUFFIX, digest_of, file_name, replace_atomically
from ..store.formats import Output, encode_tensor
from .locks import Locks

PARTIAL = ".partial"  # folder of the shards, in the store. Folders of models never begin with a dot
SHARD_SAMPLES = 2048


def shard_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Return (start, stop) of each shard of ``count`` samples.

    A shard has as many batches as fit into :data:`SHARD_SAMPLES`, at least one. Batches then begin
    at the same rows in every run, so a resumed extraction gives the same tensors as an
    uninterrupted one.
    """
    return split_range(0, count, max(1, SHARD_SAMPLES // batch_size) * batch_size)


def split_range(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Split rows start … stop − 1 into (start, stop) of ``size`` rows each, or fewer at the end."""
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


class Shards:
    """Folder with one file per model, run and shard.

    A process claims a shard by a lock before it computes it. If two processes compute the same
    shard, only time is lost.
    """

    def __init__(self, store_path: Path | str):
        self.store_path = Path(store_path)
        self.path = self.store_path / PARTIAL
        self.locks = Locks(self.path)

    def _folder(self, model: str) -> Path:
        return self.path / file_name(model).removesuffix(SUFFIX)

    def _shard(self, model: str, run: dict, span: tuple[int, int]) -> Path:
        return self._folder(model) / f"{digest_of(run)[:16]}-{span[0]}-{span[1]}{SUFFIX}"

    def read(self, model: str, run: dict, span: tuple[int, int]) -> tuple[np.ndarray, list] | None:
        """Return (logits [stop − start, classes], seconds per sample of each batch) of a shard.

        Returns None if the shard is missing or damaged. A damaged one is removed.
        """
        path = self._shard(model, run, span)
        with contextlib.suppress(FileNotFoundError):
            try:
                shard = Output.read(path)
                return shard.open(), shard.metadata["batch_seconds"]
            except (ValueError, KeyError):
                path.unlink(missing_ok=True)
        return None

    def is_missing(self, model: str, run: dict, span: tuple[int, int]) -> bool:
        """Return whether a shard must be computed."""
        return not (self._shard(model, run, span).exists() or self.is_stored(model, run))

    def write(
        self, model: str, run: dict, span: tuple[int, int], logits: np.ndarray, seconds: list
    ) -> None:
        """Write a finished shard atomically. seconds: per sample, of each batch.

        No fsync is needed: if a shard is damaged, its SHA-256 fails and it is computed again.
        """
        path = self._shard(model, run, span)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path, durable=False) as temporary:
            temporary.write_bytes(encode_tensor(logits, {"batch_seconds": seconds}))

    def is_stored(self, model: str, run: dict) -> bool:
        """Return whether the store has the model with the settings ``run``."""
        return self.read_stored_run(model) == digest_of(run)

    def read_stored_run(self, model: str) -> str | None:
        """Return the digest of the settings of a stored model, or "" if it is of no extraction.

        Returns None if the store has no intact file of the model.
        """
        try:
            metadata = Output.read(self.store_path / file_name(model)).metadata
        except (ValueError, OSError):
            return None
        return metadata.get("extraction", {}).get("run", "")

    def remove(self, model: str) -> None:
        """Remove the shards of a stored model."""
        for path in self._folder(model).glob(f"*{SUFFIX}"):
            path.unlink(missing_ok=True)
