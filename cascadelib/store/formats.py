"""Read and write the models of a store: one safetensors file per model, or arrays in memory.

A file is written atomically. Its digests are checked when it is read, and it is memory-mapped."""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

import numpy as np
from numpy import ndarray as Array
from safetensors.numpy import save

from ..files import (
    LARGEST_JSON,
    SUFFIX,
    UNUSABLE,
    digest_of,
    file_name,
    ignores_case,
    opened,
    parsed,
    replacing,
    usable,
)
from ..origin import Origin
from .manifest import MANIFEST, Manifest, lock_store, read_labels, read_manifest

DIGEST = "metadata_sha256"
# Raised by the header of another kind of file.
NOT_A_HEADER = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
)
DTYPES = {f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)}


def encoded_metadata(key: str, value: Any) -> str:
    """Return metadata as the text of a header: JSON, or a string unchanged if it is not JSON."""
    try:
        key.encode()
        text = json.dumps(value, default=_plain)
        given = value if isinstance(value, str) else text
        return given if decoded_metadata(given) is given else text
    except (TypeError, AttributeError, ValueError, RecursionError):
        raise ValueError(
            f"metadata {key!r} must be text, a number, or a list or table of these; or {UNUSABLE}"
        ) from None


def _plain(value: Any) -> Any:
    """Convert a NumPy number or array to Python numbers or lists."""
    return value.item() if isinstance(value, np.generic) else value.tolist()


def decoded_metadata(text: str) -> Any:
    """Invert :func:`encoded_metadata`."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if not (isinstance(value, float) or usable(value)):  # a single nan is a missing value
        raise ValueError(f"metadata {text[:40]!r}: {UNUSABLE}")
    return value


def already_there(model: str) -> str:
    """Return the error message for a model that is added a second time."""
    return f"model {model!r} is in the store already; pass replace=True to replace it"


def sha256(array: Array) -> str:
    """Compute the SHA-256 of the bytes of an array, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def encoded(logits: Array, metadata: dict, kind: str = "logits") -> bytes:
    """Return a safetensors file of a tensor and metadata, with SHA-256 of the tensor and the
    header."""
    logits = np.ascontiguousarray(logits)
    stated = metadata | {"sha256": sha256(logits)}
    texts = {key: encoded_metadata(key, value) for key, value in stated.items()}
    dtype = next(name for name, own in DTYPES.items() if own == logits.dtype)
    digest = digest_of([kind, dtype, list(logits.shape), texts])
    return save({kind: logits}, texts | {DIGEST: digest})


@dataclass(frozen=True)
class LogitFile:
    """The checked header of a model's file."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, int]
    offset: int
    metadata: dict
    kind: str
    digest: str
    kept: dict = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, path: Path) -> "LogitFile":
        """Read the header of a file. A ValueError names the file and the failed check."""
        with opened(path) as file:
            return cls.of(file, path)

    @classmethod
    def of(cls, file: BinaryIO, path: Path) -> "LogitFile":
        """Read the header of an open file."""
        size = os.fstat(file.fileno()).st_size
        start = file.read(8) or b""
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8 or length > LARGEST_JSON:
            raise ValueError(
                f"{path}: not a whole safetensors file ({size} bytes, its header needs "
                f"{8 + length})"
            )
        header = parsed(file.read(length), path)
        kind = "probabilities" if "probabilities" in header else "logits"
        try:
            texts = header["__metadata__"]
            entry = header[kind]
            rows, classes = entry["shape"]
            dtype = DTYPES[entry["dtype"]]
            stated = texts.pop(DIGEST, None)  # missing in the oldest files
            digest = digest_of([kind, entry["dtype"], entry["shape"], texts])
            metadata = {key: decoded_metadata(text) for key, text in texts.items()}
        except NOT_A_HEADER as error:
            raise ValueError(
                f"{path}: its header is not that of a file of logits ({error!r:.200})"
            ) from None
        if stated not in (None, digest):
            raise ValueError(
                f"{path}: its header is not the one that was written (SHA-256): edited or damaged"
            )
        expected = 8 + length + dtype.itemsize * rows * classes
        if size != expected:
            raise ValueError(
                f"{path}: has {size} bytes instead of {expected} (truncated or appended to)"
            )
        return cls(path, dtype, (rows, classes), 8 + length, metadata, kind, digest)

    def open(self, hashed: bool = True) -> Array:
        """Map the tensor [k, classes], read-only.

        Raises a ValueError if the file was replaced, or if the SHA-256 is wrong and ``hashed``.
        """
        # Header and tensor are read from one open file, which another process may replace.
        with opened(self.path) as file:
            if LogitFile.of(file, self.path).digest != self.digest:
                raise ValueError(
                    f"{self.path}: it was replaced since this store was opened; open the store "
                    "again"
                )
            tensor = np.memmap(file, self.dtype, "r", self.offset, self.shape)
        if hashed and sha256(tensor) != self.metadata["sha256"]:
            raise ValueError(
                f"{self.path}: the tensor's SHA-256 is not the one in its header (edited or "
                "damaged)"
            )
        return tensor

    @property
    def tensor(self) -> Array:
        """Map the tensor once, so that it is unchanged when another process replaces the file.

        The SHA-256 of small files is checked first. If the address space of this process is
        limited, the file is mapped again for each use: a store may be larger than the limit.
        """
        if "tensor" in self.kept:
            return self.kept["tensor"]
        size = self.dtype.itemsize * math.prod(self.shape)
        tensor = self.open(size <= QUICKLY_HASHED and "hashed" not in self.kept)
        self.kept["hashed"] = None
        if not memory_is_limited():
            self.kept["tensor"] = tensor
        return tensor


def memory_is_limited() -> bool:
    """Return whether the address space of this process is limited (``ulimit -v``)."""
    try:
        import resource  # POSIX only
    except ImportError:
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


QUICKLY_HASHED = 256 * 2**20  # bytes; only verify() hashes larger tensors


@dataclass(frozen=True, eq=False)
class LogitArray:
    """A model in memory, with the members of a :class:`LogitFile`."""

    tensor: Array
    metadata: dict
    kind: str
    kept: dict = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (samples, classes)."""
        return self.tensor.shape

    def open(self) -> Array:
        """Return the tensor."""
        return self.tensor


class Memory:
    """The models of a store in memory."""

    def __init__(self, labels: Origin):
        self.labels = labels
        self.models: dict[str, LogitArray] = {}
        self.broken: dict[str, str] = {}

    def put(
        self,
        model: str,
        tensor: Array,
        metadata: dict,
        kind: str,
        replace_it: bool,
    ) -> None:
        """Add or replace a model. The kind is "logits" or "probabilities"."""
        tensor = tensor.copy()
        tensor.flags.writeable = False
        self.models[model] = LogitArray(tensor, metadata, kind)


class Folder:
    """The models of a store on disk; see docs/architecture.md, *On disk*.

    A broken or lost file is skipped with a warning.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self.labels = read_labels(self.path, self.manifest)
        before = None
        while self.manifest != before:
            self.models: dict[str, LogitFile] = {}
            self.broken: dict[str, str] = {}
            files = self.path.glob("[!.]*" + SUFFIX)
            there = {unquote(path.name.removesuffix(SUFFIX)) for path in files}
            for model in sorted(there | set(self.manifest.models)):
                self._read(model)
            before = self.manifest
            if self.broken:
                self.manifest = self.now()  # a writer may have changed it
        for failure in self.broken.values():
            warnings.warn(f"left out of the store: {failure}", stacklevel=3)

    def now(self) -> Manifest:
        """Read the current manifest. Raises a ValueError if the folder has another store."""
        now = read_manifest(self.path)
        origin = attrgetter("dataset", "split", "classes", "fingerprint")
        if origin(now) != origin(self.manifest):
            raise ValueError(
                f"{self.path}: another store replaced the one that was opened; open it again"
            )
        return now

    def _read(self, model: str) -> None:
        """Read the header of a model into ``models``, or the error message into ``broken``."""
        digests = self.manifest.models.get(model, [])
        try:
            path = self.path / file_name(model)
            file = LogitFile.read(path)
            name = file.metadata.get("model")
            own_samples = file.metadata.get("samples") == self.manifest.fingerprint
            checks = {
                f"it holds {name!r}, not {model!r}": name == model,
                "it belongs to other samples (fingerprint)": own_samples,
                f"it is not the file that {MANIFEST} lists": file.digest in digests,
            }
            for failure, passed in checks.items():
                if not passed:
                    raise ValueError(f"{path}: {failure}")
            self.models[model] = file
        except FileNotFoundError:
            if digests and None not in digests:
                self.broken[model] = f"{path}: lost, though {MANIFEST} lists it"
        except (ValueError, OSError) as error:
            self.broken[model] = str(error)

    def put(
        self,
        model: str,
        tensor: Array,
        metadata: dict,
        kind: str,
        replace_it: bool,
    ) -> None:
        """Add or replace a model atomically. Other processes may add models simultaneously.

        Raises a ValueError if another process has added it and ``replace_it`` is false, or if its
        name differs from another one in case only and the disk ignores case.
        """
        path = self.path / file_name(model)
        content = encoded(tensor, metadata | {"samples": self.labels.fingerprint}, kind)
        with lock_store(self.path):
            before = self.now()
            check_spellings(self.path / MANIFEST, {model, *before.models, *self.models})
            if path.exists() and not replace_it:
                raise ValueError(already_there(model))
            with replacing(path) as temporary:
                temporary.write_bytes(content)
                file = replace(LogitFile.read(temporary), path=path)
                digests = [*before.models.get(model, [None]), file.digest]
                before.with_digests(model, *digests).write(self.path)
            self.manifest = before.with_digests(model, file.digest)
            self.manifest.write(self.path)
        self.models[model] = file
        self.broken.pop(model, None)

    def settle(self) -> None:
        """Remove the files of killed writers, and list the existing files only."""
        with lock_store(self.path):
            now = self.now()
            settled = dict(now.models)
            for model, file in self.models.items():
                if file.digest in now.models.get(model, []):
                    settled[model] = [file.digest]
            if settled != now.models:
                replace(now, models=settled).write(self.path)


def check_spellings(there: Path, models: Iterable[str]) -> None:
    """Raise a ValueError if names differ in case only and the disk of a file ignores case."""
    if not ignores_case(there):
        return
    spelt: dict[str, str] = {}
    for name in sorted(models):
        other = spelt.setdefault(file_name(name).lower(), name)
        if other != name:
            raise ValueError(
                f"{there.parent}: the names of models {other!r} and {name!r} differ in case alone, "
                "and this disk ignores case; give one of them another name"
            )


def some_outputs(models: Mapping, rows: Array | None, name: str) -> Array:
    """Return the outputs of a model for some rows (None: all), and at most 32 classes.

    They are enough to distinguish samples.
    """
    tensor = models[name].tensor
    classes = np.unique(np.linspace(0, tensor.shape[1] - 1, 32).astype(int))
    outputs = tensor[:, classes].T
    return outputs if rows is None else outputs[:, rows]
