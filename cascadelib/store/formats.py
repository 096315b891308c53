"""A store on disk: its manifest and labels, and one model's logits in one safetensors file, written whole or not at
all, checked and memory-mapped on reading."""

import hashlib
import json
import os
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from safetensors.numpy import save

from ..files import SUFFIX, file_name, replacing
from ..labels import Labels

DTYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def model_name(path: Path) -> str:
    """The inverse of :func:`file_name`."""
    return unquote(path.name.removesuffix(SUFFIX))


def encoded_metadata(key: str, value) -> str:
    """Metadata value → the header's text: strings as they are unless they read as JSON, all else as JSON."""
    try:
        text = json.dumps(value, default=lambda v: v.item() if isinstance(v, np.generic) else v.tolist())
    except (TypeError, AttributeError, ValueError):
        raise ValueError(f"metadata {key!r} is not text, a number, or lists and tables of those: {value!r}") from None
    return value if isinstance(value, str) and decoded_metadata(value) is value else text


def decoded_metadata(text: str):
    """The inverse of :func:`encoded_metadata`."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def sha256(array: np.ndarray) -> str:
    """SHA-256 of the array's bytes, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8)).hexdigest()


def write_logits(path: Path, logits: np.ndarray, metadata: dict, durable: bool = True, kind: str = "logits") -> None:
    """Write ``logits`` [k, classes] (or another ``kind`` of tensor) and ``metadata`` to ``path``, atomically, with the
    tensor's SHA-256."""
    logits = np.ascontiguousarray(logits)
    texts = {key: encoded_metadata(key, value) for key, value in (metadata | {"sha256": sha256(logits)}).items()}
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
                metadata = {key: decoded_metadata(text) for key, text in metadata.items()}
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
        """Size of the tensor in bytes."""
        return self.dtype.itemsize * self.shape[0] * self.shape[1]

    def open(self) -> np.ndarray:
        """Logits [k, classes], memory-mapped, read-only."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)

    def check_tensor(self) -> None:
        """Raise ValueError unless the tensor's bytes have the SHA-256 that the header names."""
        if sha256(self.open()) != self.metadata["sha256"]:
            raise ValueError(f"{self.path}: the tensor's SHA-256 is not the one in its header (edited or damaged)")


FORMAT = "cascadelib logits 1"
QUICKLY_HASHED = 256 * 2**20  # bytes; larger tensors are hashed by verify() only


class Memory:
    """Models held as arrays."""

    def __init__(self, labels: Labels):
        self.labels, self.entries, self.broken, self.ranks = labels, {}, {}, {}
        self.kinds, self._tensors = {}, {}

    def tensor(self, model: str) -> np.ndarray:
        """What is stored of a model, [k, classes], read-only."""
        view = self._tensors[model].view()
        view.flags.writeable = False
        return view

    def put(self, model: str, tensor: np.ndarray, metadata: dict, kind: str) -> None:
        """Add or replace a model; kind: "logits" or "probabilities"."""
        self._tensors[model], self.entries[model], self.kinds[model] = tensor.copy(), metadata, kind
        self.ranks.pop(model, None)

    def verify(self, model: str) -> None:
        """Nothing can change in between."""


class Folder:
    """Models held as files beside ``manifest.json`` and ``labels.npz``; see docs/architecture.md, *On disk*."""

    def __init__(self, path):
        self.path = Path(path)
        self.labels = read_labels(self.path)
        self.ranks, self._maps = {}, {}
        self.scan()

    @property
    def entries(self) -> dict:
        """Metadata of each model whose file is whole."""
        return {model: file.metadata for model, file in self._files.items()}

    @property
    def kinds(self) -> dict:
        """Whether each model's file holds "logits" or "probabilities"."""
        return {model: file.kind for model, file in self._files.items()}

    def scan(self) -> None:
        """Read every header; a broken file is left out with a warning and does not hide the others."""
        fingerprint = self.labels.fingerprint
        self._files, self.broken = {}, {}
        for path in sorted(self.path.glob("[!.]*" + SUFFIX)):
            model = model_name(path)
            try:
                self._files[model] = self._checked(LogitFile.read(path), model, fingerprint)
            except (ValueError, OSError) as error:
                self.broken[model] = str(error)
                warnings.warn(f"left out of the store: {error}", stacklevel=4)

    def _checked(self, file, model, fingerprint):
        given = file.metadata
        checks = {
            f"it says that it holds {given.get('model')!r}, not {model!r}": given.get("model") == model,
            "it belongs to other samples (fingerprint)": given.get("samples") == fingerprint,
            f"it has {file.shape[0]} rows for {len(self.labels)} samples": file.shape[0] == len(self.labels),
            "top1, top5 or order is missing from its header": {"top1", "top5", "order"} <= given.keys(),
        }
        for failure, passed in checks.items():
            if not passed:
                raise ValueError(f"{file.path}: {failure}")
        return file

    def tensor(self, model: str) -> np.ndarray:
        """What is stored of a model, [k, classes], memory-mapped; small files are hashed first."""
        if model not in self._maps:
            file = self._unchanged(model)
            if file.nbytes <= QUICKLY_HASHED:
                file.check_tensor()
            self._maps[model] = file.open()  # kept: it stays whole when another process replaces the file
        return self._maps[model]

    def _unchanged(self, model):
        known, now = self._files[model], LogitFile.read(self._files[model].path)
        if now.metadata["sha256"] != known.metadata["sha256"]:
            raise ValueError(f"{now.path}: it was replaced since this store was opened; open the store again")
        return now

    def verify(self, model: str) -> None:
        """Raise ValueError unless the model's file is the one that was opened, and whole."""
        self._unchanged(model).check_tensor()

    def put(self, model: str, tensor: np.ndarray, metadata: dict, kind: str) -> None:
        """Add or replace a model: its file appears whole or not at all."""
        path = self.path / file_name(model)
        write_logits(path, tensor, metadata | {"samples": self.labels.fingerprint}, kind=kind)
        self._files[model] = LogitFile.read(path)
        self._maps.pop(model, None)
        self.ranks.pop(model, None)
        self.broken.pop(model, None)


def create(path, labels: Labels) -> None:
    """Make ``path`` an empty store; the manifest comes last, so a folder without one is no store yet."""
    path = Path(path)
    if (path / "manifest.json").exists():
        raise ValueError(f"{path} already holds a store; open it with LogitStore(path) or choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    with replacing(path / "labels.npz") as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, labels=labels.values, sample_ids=labels.sample_ids)
    manifest = {
        "format": FORMAT,
        "dataset": labels.dataset,
        "split": labels.split,
        "samples": len(labels),
        "classes": labels.classes,
        "fingerprint": labels.fingerprint,
        "ids_given": labels.given,
        "labels": "labels.npz",
    }
    with replacing(path / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_labels(path: Path) -> Labels:
    """The labels that ``manifest.json`` in ``path`` names, checked against its fingerprint."""
    manifest_path = path / "manifest.json"
    if not manifest_path.exists():
        inside = sorted(f"{path.name}/{found.parent.name}" for found in path.glob("*/manifest.json"))
        there = f"open one of {', '.join(inside)}" if inside else "make one with LogitStore.create"
        raise FileNotFoundError(f"{path} is not a store: it has no manifest.json; {there}")
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}, expected {FORMAT!r}")
        origin = [manifest[key] for key in ("classes", "dataset", "split")]
        labels_path, fingerprint = path / Path(manifest["labels"]).name, manifest["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{manifest_path}: not the manifest of a store ({error})") from None
    try:
        with np.load(labels_path, allow_pickle=False) as arrays:
            labels = Labels.checked(arrays["labels"], arrays["sample_ids"], *origin)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{labels_path}: the store's labels cannot be read ({error})") from None
    if labels.fingerprint != fingerprint:
        raise ValueError(f"{labels_path}: labels and sample ids are not those of {manifest_path} (fingerprint)")
    numbered = np.array_equal(labels.sample_ids, np.arange(len(labels)).astype(str))
    given = manifest.get("ids_given", not numbered)
    return replace(labels, given=bool(given), source=f"{path.resolve()} {fingerprint}")
