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
KINDS = ("logits", "probabilities")
DTYPES = {f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)}


def encoded_metadata(key: str, value: Any) -> str:
    """Return metadata as text for a header: JSON, or a string that is not JSON as it is."""
    try:
        key.encode()
        text = json.dumps(value, default=lambda value: value.tolist())  # for NumPy arrays
        unchanged = value if isinstance(value, str) else text
        return unchanged if decoded_metadata(unchanged) is unchanged else text
    except (TypeError, AttributeError, ValueError, RecursionError):
        raise ValueError(
            f"metadata {key!r} must be text, a number, or a list or dict of these, or {UNUSABLE}"
        ) from None


def decoded_metadata(text: str) -> Any:
    """Invert :func:`encoded_metadata`."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if not (isinstance(value, float) or is_usable_json(value)):  # a single nan is a missing value
        raise ValueError(f"metadata {text[:40]!r}: {UNUSABLE}")
    return value


def already_there(model: str) -> str:
    """Return the error message for a model that is added a second time."""
    return f"model {model!r} is in the store already; pass replace=True to replace it"


def sha256(array: Array) -> str:
    """Compute the SHA-256 of the bytes of an array, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def encoded(logits: Array, metadata: dict, kind: str = "logits") -> bytes:
    """Return the bytes of a safetensors file of a tensor and its metadata.

    The header also stores the SHA-256 of the tensor and a digest of the other header fields.
    """
    logits = np.ascontiguousarray(logits)
    stated = metadata | {"sha256": sha256(logits)}
    texts = {key: encoded_metadata(key, value) for key, value in stated.items()}
    digest = digest_of([kind, f"F{8 * logits.itemsize}", list(logits.shape), texts])
    return save({kind: logits}, texts | {DIGEST: digest})


@dataclass(frozen=True, eq=False)
class Output:
    """The output of a model on all samples: a tensor in memory, or the checked header of a file.

    Parameters
    ----------
    metadata : dict
    kind : {"logits", "probabilities"}
    shape : tuple
        (samples, classes).
    kept : dict
        A cache: the mapped tensor, and results that were computed from it.
    path, dtype, offset, digest
        The file, the type of its tensor, the byte at which the tensor starts, and the digest of the
        header. A tensor in memory has none of these.
    """

    metadata: dict
    kind: str
    shape: tuple[int, int]
    kept: dict = field(default_factory=dict, repr=False)
    path: Path | None = None
    dtype: Any = None
    offset: int = 0
    digest: str = ""

    @classmethod
    def of(cls, tensor: Array, metadata: dict, kind: str) -> "Output":
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
            stated = texts.pop(DIGEST, None)  # missing in the oldest files
            digest = digest_of([kind, dtype, shape, texts])
            metadata = {key: decoded_metadata(text) for key, text in texts.items()}
            offset = size - DTYPES[dtype].itemsize * math.prod(shape)  # the tensor is at the end
            rows, classes = shape
        except Exception as error:  # a file of another kind can raise any exception
            raise ValueError(
                f"{path}: its header cannot be read. It is not a complete safetensors file of "
                f"logits: it was truncated, appended to, or has another format ({error!s:.200})"
            ) from None
        if stated not in (None, digest) or kind not in KINDS:
            raise ValueError(
                f"{path}: the header does not match its SHA-256. The file was edited or is damaged"
            )
        return cls(metadata, kind, (rows, classes), {}, path, DTYPES[dtype], offset, digest)

    def open(self, hashed: bool = True) -> Array:
        """Return the read-only tensor, array [k, classes]. The tensor of a file is memory-mapped.

        Raises a ValueError if the file was replaced, or if ``hashed`` is true and the tensor does
        not match its SHA-256.
        """
        if self.path is None:
            return self.kept["tensor"]
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
        self.models[model] = Output.of(tensor, output.metadata, output.kind)


class Folder(Memory):
    """The models of a store on disk; see docs/architecture.md, *On disk*.

    A damaged or missing file is skipped with a warning.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        super().__init__(read_labels(self.path, self.manifest))
        before = None
        while self.manifest != before:
            self.models.clear()
            self.broken.clear()
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
        """Read the current manifest. Raises a ValueError if another store has replaced this one."""
        now = read_manifest(self.path)
        origin = attrgetter("dataset", "split", "classes", "fingerprint")
        if origin(now) != origin(self.manifest):
            raise ValueError(
                f"{self.path}: another store replaced the one that was opened. Open it again"
            )
        return now

    def _read(self, model: str) -> None:
        """Read the header of a model into ``models``, or store the error message in ``broken``."""
        digests = self.manifest.models.get(model, [])
        try:
            path = self.path / file_name(model)
            file = Output.read(path)
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

    def put(self, model: str, output: Output, replace_it: bool) -> None:
        """Add or replace a model atomically. Other processes may add models simultaneously.

        Raises a ValueError if another process has added the model and ``replace_it`` is false.
        Raises one as well if the model's name differs from an existing name only in case, on a disk
        that ignores case.
        """
        path = self.path / file_name(model)
        metadata = output.metadata | {"samples": self.labels.fingerprint}
        content = encoded(output.tensor, metadata, output.kind)
        with lock_store(self.path):
            before = self.now()
            check_spellings(self.path / MANIFEST, {model, *before.models, *self.models})
            if path.exists() and not replace_it:
                raise ValueError(already_there(model))
            with replace_atomically(path) as temporary:
                temporary.write_bytes(content)
                file = replace(Output.read(temporary), path=path)
                digests = [*before.models.get(model, [None]), file.digest]
                before.with_digests(model, *digests).write(self.path)
            self.manifest = before.with_digests(model, file.digest)
            self.manifest.write(self.path)
        self.models[model] = file
        self.broken.pop(model, None)

    def settle(self) -> None:
        """Remove the files of killed writers, and list only the digests of existing files."""
        with lock_store(self.path):
            now = self.now()
            settled = now
            for model, file in self.models.items():
                if file.digest in now.models.get(model, []):
                    settled = settled.with_digests(model, file.digest)
            if settled != now:
                settled.write(self.path)


def check_spellings(there: Path, models: Iterable[str]) -> None:
    """Raise a ValueError if names differ only in case and the disk of ``there`` ignores case."""
    spelt: dict[str, str] = {}
    for name in sorted(models):
        other = spelt.setdefault(file_name(name).lower(), name)
        if other != name and ignores_case(there):
            raise ValueError(
                f"{there.parent}: the names of models {other!r} and {name!r} differ only in case, "
                "and this disk ignores case. Give one of them another name"
            )


def some_outputs(models: Mapping, rows: Array | None, name: str) -> Array:
    """Return outputs of a model for at most 32 classes, array [n_classes, n_rows].

    These classes are enough to distinguish samples. If ``rows`` is None, all rows are returned.
    """
    tensor = models[name].tensor
    classes = np.unique(np.linspace(0, tensor.shape[1] - 1, 32).astype(int))
    return tensor[:, classes].T[:, slice(None) if rows is None else rows]
