"""Read and write the models of a store: one safetensors file per model, or arrays in memory.

A file is written atomically. It is memory-mapped, and its digests are checked when it is read.
"""

import hashlib
import json
import math
import mmap
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy import ndarray as Array
from safetensors import safe_open
from safetensors.numpy import save

from ..files import (
    SUFFIX,
    UNUSABLE,
    digest_of,
    file_name,
    ignores_case,
    is_usable_json,
    open_regular_file,
    replace_atomically,
)
from ..origin import Origin
from .manifest import MANIFEST, Manifest, lock_store, read_labels, read_manifest

DIGEST = "metadata_sha256"
DTYPES = {f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)}


def encode_metadata(key: str, value: Any) -> str:
    """Return metadata as text for a header: a string unchanged if it is not JSON, else JSON."""
    try:
        key.encode()
        text = json.dumps(value, default=lambda value: value.tolist())  # for NumPy arrays
        if isinstance(value, str) and decode_metadata(value) is value:
            return value
        decode_metadata(text)
        return text
    except (TypeError, AttributeError, ValueError, RecursionError):
        raise ValueError(
            f"metadata {key!r} must be text, a number, a list or a dict of these. Maybe {UNUSABLE}"
        ) from None


def decode_metadata(text: str) -> Any:
    """Invert :func:`encode_metadata`."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if not (isinstance(value, float) or is_usable_json(value)):  # a single nan is a missing value
        raise ValueError(f"metadata {text[:40]!r}: {UNUSABLE}")
    return value


def describe_duplicate(model: str) -> str:
    """Return the error message for a model that is added a second time."""
    return f"the store already has model {model!r}. Pass replace=True to replace it"


def sha256(array: Array) -> str:
    """Compute the SHA-256 of the bytes of an array, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def encode_tensor(tensor: Array, metadata: dict, kind: str = "logits") -> bytes:
    """Return the bytes of a safetensors file of a tensor and its metadata.

    The header also stores the SHA-256 of the tensor and a digest of the other header fields.
    """
    tensor = np.ascontiguousarray(tensor)
    fields = metadata | {"sha256": sha256(tensor)}
    texts = {key: encode_metadata(key, value) for key, value in fields.items()}
    digest = digest_of([kind, f"F{8 * tensor.itemsize}", list(tensor.shape), texts])
    return save({kind: tensor}, texts | {DIGEST: digest})


@dataclass(frozen=True, eq=False)
class Output:
    """The output of a model on all samples: a tensor in memory, or the checked header of a file.

    Parameters
    ----------
    metadata : dict
    kind : {"logits", "probabilities"}
    shape : tuple
        (samples, classes).
    cache : dict
        The mapped tensor, and results that were computed from it.
    path, dtype, offset, digest
        The file, the type of its tensor, the byte at which the tensor starts, and the digest of the
        header. A tensor in memory has none of these.
    """

    metadata: dict
    kind: str
    shape: tuple[int, int]
    cache: dict = field(default_factory=dict, repr=False)
    path: Path | None = None
    dtype: Any = None
    offset: int = 0
    digest: str = ""

    @classmethod
    def from_tensor(cls, tensor: Array, metadata: dict, kind: str) -> "Output":
        """Return the output of a tensor in memory."""
        return cls(metadata, kind, tensor.shape, {"tensor": tensor})

    @classmethod
    def read(cls, path: Path) -> "Output":
        """Read the header of a file. Raises a ValueError that names the file and the fault."""
        with open_regular_file(path) as file:
            size = os.fstat(file.fileno()).st_size
        try:
            with safe_open(path, "np") as file:
                [kind] = file.keys()
                shape = file.get_slice(kind).get_shape()
                dtype = file.get_slice(kind).get_dtype()
                texts = dict(sorted(file.metadata().items()))
            stored_digest = texts.pop(DIGEST, None)  # the oldest files have none
            digest = digest_of([kind, dtype, shape, texts])
            metadata = {key: decode_metadata(text) for key, text in texts.items()}
            offset = size - DTYPES[dtype].itemsize * math.prod(shape)  # the tensor is at the end
            rows, classes = shape
        except Exception as error:  # a file of another kind can raise any exception
            raise ValueError(
                f"{path}: its header cannot be read. It is not a complete safetensors file of "
                f"logits. It was truncated, appended to, or has another format ({error!s:.200})"
            ) from None
        if stored_digest not in (None, digest):
            raise ValueError(
                f"{path}: the header does not match its SHA-256. The file was edited or is damaged"
            )
        return cls(metadata, kind, (rows, classes), {}, path, DTYPES[dtype], offset, digest)

    def open(self, hashed: bool = True) -> Array:
        """Return the read-only tensor, array [k, classes]. The tensor of a file is memory-mapped.

        Raises a ValueError if the file was replaced, or if ``hashed`` is true and the tensor does
        not match its SHA-256.
        """
        if self.path is None and "tensor" in self.cache:
            return self.cache["tensor"]
        if self.path is None:
            raise ValueError(
                f"this needs the logits of model {self.metadata['model']!r}, which a file of "
                "scores lacks. Use the LogitStore"
            )
        with open_regular_file(self.path) as file:
            # Another process may replace the file, even between these two checks.
            is_same = Output.read(self.path).digest == self.digest
            if not is_same or not os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                raise ValueError(
                    f"{self.path}: it was replaced since this store was opened. Open the store "
                    "again"
                )
            tensor = np.memmap(file, self.dtype, "r", self.offset, self.shape)
        if hashed and sha256(tensor) != self.metadata["sha256"]:
            raise ValueError(
                f"{self.path}: the tensor does not match its SHA-256. The file was edited or is "
                "damaged"
            )
        return tensor

    @property
    def tensor(self) -> Array:
        """Map the tensor once, so that it stays the same if another process replaces the file.

        The SHA-256 of small files is checked first. If the address space of this process is
        limited, the file is mapped again for each use, because a store may be larger than the
        limit.
        """
        tensor = self.cache.get("tensor")
        if tensor is None:
            tensor = self.open(math.prod(self.shape) <= QUICKLY_HASHED)
            if not memory_is_limited():
                self.cache["tensor"] = tensor
        return tensor

    def release_memory(self) -> None:
        """Free the pages of a mapped file, which count as memory of this process."""
        tensor = self.cache.get("tensor")
        if isinstance(tensor, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
            tensor._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def memory_is_limited() -> bool:
    """Return whether the address space of this process is limited (``ulimit -v``)."""
    try:
        import resource  # POSIX only
    except ImportError:
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


QUICKLY_HASHED = 2**26  # values of a tensor. Only verify() hashes larger tensors


class Memory:
    """The models of a store in memory."""

    def __init__(self, labels: Origin):
        self.labels = labels
        self.models: dict[str, Output] = {}
        self.broken: dict[str, str] = {}

    def put(self, model: str, output: Output, replace_it: bool) -> None:
        """Add or replace a model."""
        tensor = output.tensor.copy()
        tensor.flags.writeable = False
        self.models[model] = Output.from_tensor(tensor, output.metadata, output.kind)


class Folder(Memory):
    """The models of a store on disk, see *On disk* in docs/architecture.md.

    A damaged or missing file is skipped with a warning.
    """

    def __init__(self, path: Path):
        self.path = path
        self.manifest = read_manifest(self.path)
        super().__init__(read_labels(self.path, self.manifest))
        previous = None
        while self.manifest != previous:
            self.models.clear()
            self.broken.clear()
            files = self.path.glob("[!.]*" + SUFFIX)
            names = {unquote(path.name.removesuffix(SUFFIX)) for path in files}
            for model in sorted(names | set(self.manifest.models)):
                self._read(model)
            previous = self.manifest
            if self.broken:
                self.manifest = self.read_manifest()  # a writer may have changed it
        for failure in self.broken.values():
            warnings.warn(f"a model of the store is skipped: {failure}", stacklevel=3)

    def read_manifest(self) -> Manifest:
        """Read the current manifest. Raises a ValueError if another store has replaced this one."""
        manifest = read_manifest(self.path)
        origin = attrgetter("dataset", "split", "classes", "fingerprint")
        if origin(manifest) != origin(self.manifest):
            raise ValueError(
                f"{self.path}: another store replaced the one that was opened. Open it again"
            )
        return manifest

    def _read(self, model: str) -> None:
        """Read the header of a model into ``models``, or store the error message in ``broken``."""
        digests = self.manifest.models.get(model, [])
        try:
            path = self.path / file_name(model)
            output = Output.read(path)
            name = output.metadata.get("model")
            if name != model:
                raise ValueError(f"{path}: it holds {name!r}, not {model!r}")
            if output.metadata.get("samples") != self.manifest.fingerprint:
                raise ValueError(f"{path}: it belongs to other samples (fingerprint)")
            if output.digest not in digests:
                raise ValueError(f"{path}: it is not the file that {MANIFEST} lists")
            self.models[model] = output
        except FileNotFoundError:
            if digests and None not in digests:
                self.broken[model] = f"{path}: {MANIFEST} lists it, but the file is missing"
        except (ValueError, OSError) as error:
            self.broken[model] = str(error)

    def put(self, model: str, output: Output, replace_it: bool) -> None:
        """Add or replace a model atomically. Other processes may add models simultaneously.

        Raises a ValueError if another process has added the model and ``replace_it`` is false, or
        if the disk ignores case and the model's name differs from an existing name only in case.
        """
        path = self.path / file_name(model)
        metadata = output.metadata | {"samples": self.labels.fingerprint}
        content = encode_tensor(output.tensor, metadata, output.kind)
        with lock_store(self.path):
            manifest = self.read_manifest()
            check_spellings(self.path / MANIFEST, {model, *manifest.models, *self.models})
            if path.exists() and not replace_it:
                raise ValueError(describe_duplicate(model))
            with replace_atomically(path) as temporary:
                temporary.write_bytes(content)
                written = replace(Output.read(temporary), path=path)
                # Until the file is replaced, readers accept the old digest and the new one.
                digests = [*manifest.models.get(model, [None]), written.digest]
                manifest.with_digests(model, *digests).write(self.path)
            self.manifest = manifest.with_digests(model, written.digest)
            self.manifest.write(self.path)
        self.models[model] = written
        self.broken.pop(model, None)

    def settle(self) -> None:
        """Remove the files of killed writers, and list only the digests of existing files."""
        with lock_store(self.path):
            manifest = self.read_manifest()
            settled = manifest
            for model, output in self.models.items():
                if output.digest in manifest.models.get(model, []):
                    settled = settled.with_digests(model, output.digest)
            if settled != manifest:
                settled.write(self.path)


def check_spellings(existing_file: Path, models: Iterable[str]) -> None:
    """Raise a ValueError if names differ only in case, on a disk that ignores case.

    existing_file: a file in the folder of the models, with a lower-case name.
    """
    names: dict[str, str] = {}
    for name in sorted(models):
        other = names.setdefault(file_name(name).lower(), name)
        if other != name and ignores_case(existing_file):
            raise ValueError(
                f"{existing_file.parent}: the names of models {other!r} and {name!r} differ only "
                "in case, and this disk ignores case. Give one of them another name"
            )
