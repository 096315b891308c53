"""Read and write ``manifest.json`` and ``labels.npz``, which describe the samples of a store."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import error_context
from ..files import (
    UNUSABLE,
    digest_of,
    file_digest,
    from_json,
    is_usable_json,
    lock_file,
    open_regular_file,
    read_json,
    remove_leftovers,
    replace_atomically,
    write_text,
)
from ..origin import Origin

FORMAT = "cascadelib logits 2"
MANIFEST = "manifest.json"
LABELS = "labels.npz"
BYTES_PER_SAMPLE = 2**14  # largest number of bytes in labels.npz for each sample


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``.

    ``models`` maps each model to a list of digests. The header of the model's file has one of them.
    A None in the list means that the file may not exist yet.
    """

    dataset: str
    split: str
    samples: int
    classes: list[str] | None
    fingerprint: str
    labels_sha256: str
    ids_given: bool
    models: dict[str, list[str | None]] = field(default_factory=dict)
    format: str = FORMAT
    labels: str = LABELS

    def with_digests(self, model: str, *digests: str | None) -> "Manifest":
        """Return a copy of the manifest with new digests of a model."""
        return replace(self, models=self.models | {model: list(dict.fromkeys(digests))})

    def write(self, folder: Path) -> None:
        """Write the manifest and its digest."""
        content = asdict(self)
        if not is_usable_json(content):
            raise ValueError(f"{folder / MANIFEST}: {UNUSABLE}")
        text = json.dumps(content | {"sha256": digest_of(content)}, indent=1, ensure_ascii=False)
        write_text(folder / MANIFEST, text + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store.

    Raises FileNotFoundError if there is none, and ValueError if it is damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        paths = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
        stores = ", ".join(f"{folder.name}/{name}" for name in paths)
        remedy = f"Open one of {stores}" if stores else "Make one with LogitStore.create"
        raise FileNotFoundError(f"{folder} is not a store: it has no {MANIFEST}. {remedy}")
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path}: not the manifest of a store: its format is {content.get('format')!r}, not "
            f"{FORMAT!r}. If an older cascadelib wrote it, extract the logits again"
        )
    stored_digest = content.pop("sha256", None)
    with error_context(f"{path}: not the manifest of a store"):
        manifest = from_json(Manifest, {"classes": None} | content)
    if stored_digest != digest_of(content):
        raise ValueError(
            f"{path}: the manifest does not match its SHA-256. It was edited or is damaged"
        )
    return manifest


@contextlib.contextmanager
def lock_store(folder: Path) -> Iterator[None]:
    """Wait for other writers of a store, lock it, and remove the files of killed writers."""
    with open(folder / LABELS, "rb+") as file:  # never replaced: writers lock the same file
        lock_file(file)
        remove_leftovers(folder)
        yield


def create(path: str | Path, labels: Origin) -> None:
    """Create an empty store.

    The manifest is written last: a folder without one is not a store yet.
    """
    path = Path(path)
    if (path / MANIFEST).exists():
        raise ValueError(
            f"{path} already has a store. Open it with LogitStore(path) or choose another folder"
        )
    path.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path / LABELS) as temporary, open(temporary, "wb") as file:
        values: dict[str, Any] = {} if labels.values is None else {"labels": labels.values}
        np.savez_compressed(file, **values, sample_ids=labels.sample_ids)
    Manifest(
        labels.dataset,
        labels.split,
        len(labels),
        None if labels.classes is None else [*labels.classes],
        labels.fingerprint,
        file_digest(path / LABELS),
        labels.has_ids,
    ).write(path)


def read_labels(folder: Path, manifest: Manifest) -> Origin:
    """Read the labels of a store, and compare them with its manifest."""
    path = folder / LABELS
    try:
        with open_regular_file(path, BYTES_PER_SAMPLE * (64 + manifest.samples)) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest.labels_sha256:
                raise ValueError(f"it is not the file that {MANIFEST} lists (SHA-256)")
            file.seek(0)
            arrays = np.load(file, allow_pickle=False)
            labels = Origin.from_labels(
                arrays.get("labels"),
                arrays["sample_ids"],
                manifest.classes,
                manifest.dataset,
                manifest.split,
            )
        if labels.fingerprint != manifest.fingerprint:
            raise ValueError(f"labels and sample ids are not those of {MANIFEST} (fingerprint)")
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
        raise ValueError(f"{path}: the store's labels cannot be read ({error!s:.300})") from None
    source = f"{folder.resolve()} {manifest.fingerprint}"
    return replace(labels, has_ids=manifest.ids_given, source=source)
