"""A store on disk: its manifest and labels, and one model's logits in one safetensors file, written
whole or not at all, checked and memory-mapped on reading."""

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

from ..checks import POSITIVE, fits
from ..cost_kinds import COSTS
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
from ..labels import Labels
from .manifest import (
    MANIFEST,
    OLD_FORMAT,
    Manifest,
    alone,
    read_labels,
    read_manifest,
    with_digests,
)

DIGEST = "metadata_sha256"
# Forms of what a header may say, as fits() reads them; (): nothing, as these are arguments of
# LogitStore.add.
METADATA: dict = {
    "order": range(2**53),
    "extraction": (dict, None),
    "image_size": (slice(0, 2**31), None),
}
METADATA |= dict.fromkeys(("checkpoint", "revision"), (str, dict, list, float, None))
METADATA |= dict.fromkeys(COSTS, (slice(*POSITIVE), None))
METADATA |= dict.fromkeys(
    "self name logits sample_ids replace dtype probabilities normalise".split(), ()
)
# What reading a header of another kind can raise.
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
    """Metadata value → the header's text: strings as they are unless they read as JSON, all else as
    JSON."""
    try:
        key.encode()
        text = json.dumps(value, default=_plain)
        given = value if isinstance(value, str) else text
        return given if decoded_metadata(given) is given else text
    except (TypeError, AttributeError, ValueError, RecursionError):
        raise ValueError(
            f"metadata {key!r} is no text, number, list or table of those, or {UNUSABLE}"
        ) from None


def _plain(value: Any) -> Any:
    """A number of numpy as Python's own, an array as lists."""
    return value.item() if isinstance(value, np.generic) else value.tolist()


def decoded_metadata(text: str) -> Any:
    """The inverse of :func:`encoded_metadata`."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if not (isinstance(value, float) or usable(value)):  # one nan is a value that is missing
        raise ValueError(f"metadata {text[:40]!r}: {UNUSABLE}")
    return value


def already_there(model: str) -> str:
    """Why a model is not added a second time."""
    return f"model {model!r} is in the store already; pass replace=True to replace it"


def unfit(metadata: dict) -> list[str]:
    """Keys of a model's metadata that have other forms than :data:`METADATA`."""
    return [
        key for key, form in METADATA.items() if key in metadata and not fits(metadata[key], form)
    ]


def sha256(array: Array) -> str:
    """SHA-256 of the array's bytes, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def encoded(logits: Array, metadata: dict, kind: str = "logits") -> bytes:
    """A safetensors file of ``logits`` [k, classes] (or another ``kind`` of tensor) and
    ``metadata``, with the SHA-256 of the tensor and that of all the header says. (Its own save_file
    would hide it from other users.)"""
    logits = np.ascontiguousarray(logits)
    stated = metadata | {"sha256": sha256(logits)}
    texts = {key: encoded_metadata(key, value) for key, value in stated.items()}
    dtype = next(name for name, own in DTYPES.items() if own == logits.dtype)
    digest = digest_of([kind, dtype, list(logits.shape), texts])
    return save({kind: logits}, texts | {DIGEST: digest})


@dataclass(frozen=True)
class LogitFile:
    """The checked header of a file of logits: what :meth:`open` maps, its metadata, and the SHA-256
    of all of it."""

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
        """Raises ValueError naming the file and the check that failed: length, header, tensor,
        metadata."""
        with opened(path) as file:
            return cls.of(file, path)

    @classmethod
    def of(cls, file: BinaryIO, path: Path) -> "LogitFile":
        """:meth:`read` of a file that is open."""
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
            texts = header.pop("__metadata__")
            entry = header.pop(kind)
            shape = (int(entry["shape"][0]), int(entry["shape"][1]))
            begin, end = entry["data_offsets"]
            dtype = DTYPES[entry["dtype"]]
            stated = texts.pop(DIGEST, None)  # none in files of format 1
            metadata = {key: decoded_metadata(text) for key, text in texts.items()}
        except NOT_A_HEADER as error:
            raise ValueError(
                f"{path}: its header is not that of a file of logits ({error!r:.200})"
            ) from None
        if header or entry.keys() != {"dtype", "shape", "data_offsets"} or len(entry["shape"]) != 2:
            raise ValueError(f"{path}: its header is not that of a file of one table of logits")
        digest = digest_of([kind, entry["dtype"], entry["shape"], texts])
        if stated not in (None, digest):
            raise ValueError(
                f"{path}: its header is not the one that was written (SHA-256): edited or damaged"
            )
        found = cls(path, dtype, shape, 8 + length, metadata, kind, digest)
        found.check_size(begin, end, size)
        return found

    def check_size(self, begin: int, end: int, size: int) -> None:
        """ValueError unless the tensor fills the bytes ``begin`` … ``end`` of the data, and those
        the ``size`` bytes of the file; or where its SHA-256 is not stated."""
        rows, classes = self.shape
        if min(self.shape) < 1 or begin != 0 or end != self.dtype.itemsize * rows * classes:
            raise ValueError(
                f"{self.path}: tensor {self.kind!r} of shape {self.shape} and {self.dtype} does "
                f"not fill its {end} bytes"
            )
        if size != self.offset + end:
            raise ValueError(
                f"{self.path}: has {size} bytes, its header says {self.offset + end} (truncated or "
                "appended to)"
            )
        if "sha256" not in self.metadata:
            raise ValueError(f"{self.path}: its header lacks the tensor's SHA-256")

    def open(self, hashed: bool = True) -> Array:
        """Logits [k, classes], memory-mapped, read-only; ValueError where another file lies there
        by now, and, where it is ``hashed``, unless the tensor's bytes have the SHA-256 that the
        header names."""
        # Header and tensor of one file, whatever others put in its place meanwhile.
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
        """What :meth:`open` maps, mapped once, so that it stays whole when another process replaces
        the file; small files are hashed first.

        Where this process may have only so much memory, maps included, it is mapped anew for each
        use: a store may be larger than that."""
        if "tensor" in self.kept:
            return self.kept["tensor"]
        size = self.dtype.itemsize * math.prod(self.shape)
        tensor = self.open(size <= QUICKLY_HASHED and "hashed" not in self.kept)
        self.kept["hashed"] = None
        if not memory_is_limited():
            self.kept["tensor"] = tensor
        return tensor


def memory_is_limited() -> bool:
    """Whether the system bounds this process's address space (``ulimit -v``, some queues of
    clusters)."""
    try:
        import resource  # of POSIX
    except ImportError:
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


QUICKLY_HASHED = 256 * 2**20  # bytes; larger tensors are hashed by verify() only


@dataclass(frozen=True, eq=False)
class LogitArray:
    """What a :class:`LogitFile` offers, of an array in memory."""

    tensor: Array
    metadata: dict
    kind: str
    kept: dict = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the tensor: (samples, classes)."""
        return self.tensor.shape

    def open(self) -> Array:
        """The tensor."""
        return self.tensor


class Memory:
    """Models held as arrays."""

    def __init__(self, labels: Labels):
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
        """Add or, where that is asked for, replace a model; kind: "logits" or "probabilities"."""
        tensor = tensor.copy()
        tensor.flags.writeable = False
        self.models[model] = LogitArray(tensor, metadata, kind)


class Folder:
    """Models held as files beside ``manifest.json`` and ``labels.npz``; see docs/architecture.md,
    *On disk*. A broken or lost file is left out with a warning and does not hide the others."""

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
                self.manifest = self.now()  # another one where a writer was at work
        for failure in self.broken.values():
            warnings.warn(f"left out of the store: {failure}", stacklevel=3)

    def now(self) -> Manifest:
        """The manifest as it is by now; ValueError where that is another store's than the one that
        was opened."""
        now = read_manifest(self.path)
        origin = attrgetter("dataset", "split", "classes", "fingerprint")
        if origin(now) != origin(self.manifest):
            raise ValueError(
                f"{self.path}: another store lies here since this one was opened; open it again"
            )
        return now

    def _read(self, model: str) -> None:
        """Read a model's header into ``models``, or say in ``broken`` why it cannot be read."""
        try:
            self.models[model] = self._checked(LogitFile.read(self.path / file_name(model)), model)
        except FileNotFoundError:
            if None not in self.manifest.models.get(model, [None]):
                self.broken[model] = (
                    f"{self.path / file_name(model)}: lost, though {MANIFEST} lists it"
                )
        except (ValueError, OSError) as error:
            self.broken[model] = str(error)

    def _checked(self, file: LogitFile, model: str) -> LogitFile:
        """The file if it is this model's in this store; else ValueError that names the check."""
        given = file.metadata
        rows, columns = file.shape
        labels = self.labels.values
        least = 1 if labels is None else 1 + labels.max()
        classes = len(self.labels.classes or range(least))
        fitting = columns == classes if self.labels.classes else columns >= classes
        wrong = unfit(given)
        numbers = {type(given.get(key)) for key in ("top1", "top5", "order")}
        own_name = given.get("model") == model
        own_samples = given.get("samples") == self.manifest.fingerprint
        checks = {
            f"it says that it holds {given.get('model')!r}, not {model!r}": own_name,
            "it belongs to other samples (fingerprint)": own_samples,
            f"it has {rows} rows for {len(self.labels)} samples": rows == len(self.labels),
            f"it has {columns} columns for {classes} classes": fitting,
            f"no model can have this {' and '.join(wrong)} in its header": not wrong,
            "top1, top5 or order is missing from its header, or no number": numbers <= {int, float},
            f"it is not the file that {MANIFEST} lists": self.manifest.lists(model, file.digest),
        }
        for failure, passed in checks.items():
            if not passed:
                raise ValueError(f"{file.path}: {failure}")
        return file

    def put(
        self,
        model: str,
        tensor: Array,
        metadata: dict,
        kind: str,
        replace_it: bool,
    ) -> None:
        """Add or replace a model: its file appears whole or not at all, beside those that others
        add. ValueError where another process has added it meanwhile and ``replace_it`` is false, or
        where its name is another's on a disk that ignores case."""
        path = self.path / file_name(model)
        content = encoded(tensor, metadata | {"samples": self.labels.fingerprint}, kind)
        with alone(self.path):
            before = self.now()
            check_spellings(self.path / MANIFEST, {model, *before.models, *self.models})
            if path.exists() and not replace_it:
                raise ValueError(already_there(model))
            if before.format == OLD_FORMAT:  # that has no digests: those of what its files hold now
                held = {own: [file.digest] for own, file in self.models.items()}
                before = with_digests(before, self.path, self.labels, held)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
                file = replace(LogitFile.read(temporary), path=path)
                digests = [*before.models.get(model, [None]), file.digest]
                before.listing(model, *digests).write(self.path)
            self.manifest = before.listing(model, file.digest)
            self.manifest.write(self.path)
        self.models[model] = file
        self.broken.pop(model, None)

    def settle(self) -> None:
        """Remove what killed writers left, and list the files that there are as the only ones."""
        with alone(self.path):
            now = self.now()
            settled = dict(now.models)
            for model, file in self.models.items():
                if file.digest in now.models.get(model, []):
                    settled[model] = [file.digest]
            if settled != now.models:
                replace(now, models=settled).write(self.path)


def check_spellings(there: Path, models: Iterable[str]) -> None:
    """Refuse names that differ in case alone, where the disk of the file ``there`` ignores case."""
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
    """Outputs of a model for int64 ``rows`` (None: all), an array of at most 32 classes: enough to
    tell samples apart."""
    tensor = models[name].tensor
    classes = np.unique(np.linspace(0, tensor.shape[1] - 1, 32).astype(int))
    outputs = tensor[:, classes].T
    return outputs if rows is None else outputs[:, rows]
