"""One model's logits in one safetensors file: written whole or not at all, checked and memory-mapped on reading."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from safetensors.numpy import save

SUFFIX = ".safetensors"
DTYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def file_name(model: str) -> str:
    """A model's name → its file's name, percent-encoded so that '/', ':' and a leading '.' are safe; reversible.

    Raises ValueError for names that are empty, not text, or too long for a file system.
    """
    if not isinstance(model, str) or not model:
        raise ValueError(f"a model's name must be a non-empty string, not {model!r}")
    try:
        name = quote(model, safe="@") + SUFFIX
    except UnicodeEncodeError:
        raise ValueError(f"the model's name {model!r} is not valid text") from None
    if len(name) > 200:  # file systems stop at 255; the temporary name is longer
        raise ValueError(f"the model's name {model[:40]!r}… makes a file name of {len(name)} characters; 200 at most")
    return "%2E" + name[1:] if name.startswith(".") else name


def model_name(path: Path) -> str:
    """The inverse of :func:`file_name`."""
    return unquote(path.name.removesuffix(SUFFIX))


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path``; what is written there appears under ``path`` at the end, whole, or never.

    ``durable``: also after a power cut (fsync).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a folder be opened
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_leftovers(path: Path) -> None:
    """Delete temporaries for ``path`` that a killed process left behind (an encoded name holds no wildcards)."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def encoded(key: str, value) -> str:
    """Metadata value → the header's text: strings as they are unless they read as JSON, all else as JSON."""
    try:
        text = json.dumps(value, default=lambda v: v.item() if isinstance(v, np.generic) else v.tolist())
    except (TypeError, AttributeError, ValueError):
        raise ValueError(f"metadata {key!r} is not text, a number, or lists and tables of those: {value!r}") from None
    return value if isinstance(value, str) and decoded(value) is value else text


def decoded(text: str):
    """The inverse of :func:`encoded`."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def sha256(array: np.ndarray) -> str:
    """SHA-256 of the array's bytes, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8)).hexdigest()


def write(path: Path, logits: np.ndarray, metadata: dict, durable: bool = True, kind: str = "logits") -> None:
    """Write ``logits`` [k, classes] (or another ``kind`` of tensor) and ``metadata`` to ``path``, atomically, with the
    tensor's SHA-256."""
    logits = np.ascontiguousarray(logits)
    texts = {key: encoded(key, value) for key, value in (metadata | {"sha256": sha256(logits)}).items()}
    with replacing(path, durable) as temporary:
        temporary.write_bytes(save({kind: logits}, texts))  # its save_file would hide the file from other users


@dataclass(frozen=True)
class LogitFile:
    """The checked header of a file of logits: what :meth:`open` maps, and its metadata."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, int]
    offset: int
    metadata: dict
    kind: str = "logits"

    @classmethod
    def read(cls, path: Path) -> "LogitFile":
        """Raises ValueError naming the file and the check that failed: length, header, tensor, metadata."""
        with open(path, "rb") as file:
            size, start = os.fstat(file.fileno()).st_size, file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > size - 8:
                raise ValueError(f"{path}: not a whole safetensors file ({size} bytes, its header needs {8 + length})")
            try:
                header = json.loads(file.read(length))
                kind = "probabilities" if "probabilities" in header else "logits"
                metadata, entry = header["__metadata__"], header[kind]
                dtype, shape, (begin, end) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
                metadata = {key: decoded(text) for key, text in metadata.items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}: its header is not that of a file of logits ({error!r})") from None
        if len(shape) != 2 or begin != 0 or end != dtype.itemsize * shape[0] * shape[1]:
            raise ValueError(f"{path}: tensor {kind!r} of shape {shape} and {dtype} does not fill its {end} bytes")
        if size != 8 + length + end:
            raise ValueError(f"{path}: has {size} bytes, its header says {8 + length + end} (truncated or appended to)")
        if "sha256" not in metadata:
            raise ValueError(f"{path}: its header lacks the tensor's SHA-256")
        return cls(path, dtype, shape, 8 + length, metadata, kind)

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * self.shape[0] * self.shape[1]

    def open(self) -> np.ndarray:
        """Logits [k, classes], memory-mapped, read-only."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)

    def check_tensor(self) -> None:
        """Raise ValueError unless the tensor's bytes have the SHA-256 that the header names."""
        if sha256(self.open()) != self.metadata["sha256"]:
            raise ValueError(f"{self.path}: the tensor's SHA-256 is not the one in its header (edited or damaged)")
