"""Where a store keeps its models: in a folder (one file each) or in memory. Both offer the same few calls.

A shelf has ``labels``, ``entries`` {model: metadata}, ``kinds`` {model: "logits" or "probabilities"}, ``broken``
{model: what is wrong with its file}, ``tensor(model)``, ``put(model, tensor, metadata, kind)``, ``verify(model)`` and a
cache ``ranks`` {model: int [k]}.
What is put is checked by the store, not here.
"""

import json
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import logit_files
from .labels import Labels

FORMAT = "cascadelib logits 1"
QUICKLY_HASHED = 256 * 2**20  # bytes; larger tensors are hashed by verify() only


class Memory:
    """Models held as arrays."""

    def __init__(self, labels: Labels):
        self.labels, self.entries, self.broken, self.ranks = labels, {}, {}, {}
        self.kinds, self._tensors = {}, {}

    def tensor(self, model: str) -> np.ndarray:
        view = self._tensors[model].view()
        view.flags.writeable = False
        return view

    def put(self, model: str, tensor: np.ndarray, metadata: dict, kind: str) -> None:
        self._tensors[model], self.entries[model], self.kinds[model] = tensor.copy(), metadata, kind
        self.ranks.pop(model, None)

    def verify(self, model: str) -> None:
        """Nothing can change in between."""


class Folder:
    """Models held as files beside ``manifest.json`` and ``labels.npz``; see DESIGN §6."""

    def __init__(self, path):
        self.path = Path(path)
        self.labels = read_labels(self.path)
        self.ranks, self._maps = {}, {}
        self.scan()

    @property
    def entries(self) -> dict:
        return {model: file.metadata for model, file in self._files.items()}

    @property
    def kinds(self) -> dict:
        return {model: file.kind for model, file in self._files.items()}

    def scan(self) -> None:
        """Read every header; a broken file is left out with a warning and does not hide the others."""
        fingerprint = self.labels.fingerprint
        self._files, self.broken = {}, {}
        for path in sorted(self.path.glob("[!.]*" + logit_files.SUFFIX)):
            model = logit_files.model_name(path)
            try:
                self._files[model] = self._checked(logit_files.LogitFile.read(path), model, fingerprint)
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
        if model not in self._maps:
            file = self._unchanged(model)
            if file.nbytes <= QUICKLY_HASHED:
                file.check_tensor()
            self._maps[model] = file.open()  # kept: it stays whole when another process replaces the file
        return self._maps[model]

    def _unchanged(self, model):
        known, now = self._files[model], logit_files.LogitFile.read(self._files[model].path)
        if now.metadata["sha256"] != known.metadata["sha256"]:
            raise ValueError(f"{now.path}: it was replaced since this store was opened; open the store again")
        return now

    def verify(self, model: str) -> None:
        self._unchanged(model).check_tensor()

    def put(self, model: str, tensor: np.ndarray, metadata: dict, kind: str) -> None:
        path = self.path / logit_files.file_name(model)
        logit_files.write(path, tensor, metadata | {"samples": self.labels.fingerprint}, kind=kind)
        self._files[model] = logit_files.LogitFile.read(path)
        self._maps.pop(model, None)
        self.ranks.pop(model, None)
        self.broken.pop(model, None)


def create(path, labels: Labels) -> None:
    """Make ``path`` an empty store; the manifest comes last, so a folder without one is no store yet."""
    path = Path(path)
    if (path / "manifest.json").exists():
        raise ValueError(f"{path} already holds a store; open it with LogitStore(path) or choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    with logit_files.replacing(path / "labels.npz") as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, labels=labels.values, sample_ids=labels.sample_ids)
    manifest = {
        "format": FORMAT,
        "dataset": labels.dataset,
        "split": labels.split,
        "samples": len(labels),
        "classes": labels.classes,
        "fingerprint": labels.fingerprint,
        "labels": "labels.npz",
    }
    with logit_files.replacing(path / "manifest.json") as temporary:
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
    return replace(labels, given=not numbered, source=fingerprint)
