"""What a store's folder says of itself, ``manifest.json`` and ``labels.npz``: written whole, read
as bytes that nobody has checked."""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import TEXT, fits
from ..files import (
    UNUSABLE,
    digest_of,
    file_digest,
    hold,
    opened,
    read_json,
    remove_leftovers,
    replacing,
    usable,
)
from ..labels import Labels

FORMAT = "cascadelib logits 2"
OLD_FORMAT = "cascadelib logits 1"
MANIFEST = "manifest.json"
LABELS = "labels.npz"
PER_SAMPLE = 2**14  # bytes of labels.npz, and for 64 samples more


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says: origin of the samples, their number and
    :attr:`Labels.fingerprint`, SHA-256 of labels.npz, and of each model the digests of headers that
    its file may have (None: it may not be there yet).

    Of format 1 (cascadelib 0.1), which keeps no digests, models and labels_sha256 are empty.
    """

    dataset: str
    split: str
    samples: int
    classes: tuple[str, ...] | None
    fingerprint: str
    ids_given: bool | None = None
    labels_sha256: str | None = None
    models: dict[str, list] = field(default_factory=dict)
    format: str = FORMAT

    def lists(self, model: str, digest: str) -> bool:
        """Whether a file with this digest is a model's; all that say so are, in format 1."""
        return self.format == OLD_FORMAT or digest in self.models.get(model, [])

    def listing(self, model: str, *digests: str | None) -> "Manifest":
        """The same with another list of digests for a model."""
        return replace(self, models=self.models | {model: list(dict.fromkeys(digests))})

    def write(self, folder: Path) -> None:
        """Write it, with a digest of its own."""
        content = {"format": self.format} | asdict(self) | {"labels": LABELS}
        if not usable(content | {"classes": list(self.classes or ())}):
            raise ValueError(f"{folder / MANIFEST}: {UNUSABLE}")
        text = json.dumps(content | {"sha256": digest_of(content)}, indent=1, ensure_ascii=False)
        with replacing(folder / MANIFEST) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


KEYS: dict = {  # forms of its keys, as fits() reads them
    "format": str,
    "dataset": str,
    "split": str,
    "samples": range(2**63),
    "fingerprint": str,
    "labels": str,
    "classes": ([str], None),
    "ids_given": (bool, None),
}
NEW_KEYS = KEYS | {"labels_sha256": str, "models": {str: [TEXT]}, "sha256": str}


def read_manifest(folder: Path) -> Manifest:
    """What ``manifest.json`` in a folder says; FileNotFoundError without one, ValueError where it
    is damaged."""
    path = folder / MANIFEST
    if not path.exists():
        inside = sorted(f"{folder.name}/{own.parent.name}" for own in folder.glob(f"*/{MANIFEST}"))
        there = f"open one of {', '.join(inside)}" if inside else "make one with LogitStore.create"
        raise FileNotFoundError(f"{folder} is not a store: it has no {MANIFEST}; {there}")
    content = read_json(path)
    if content.get("format") not in (FORMAT, OLD_FORMAT):
        raise ValueError(
            f"{path}: not the manifest of a store: format {content.get('format')!r}, expected "
            f"{FORMAT!r}"
        )
    keys = NEW_KEYS if content["format"] == FORMAT else KEYS
    wrong = [key for key, form in keys.items() if not fits(content.get(key), form)]
    wrong += sorted(content.keys() - keys.keys())
    if wrong:
        raise ValueError(
            f"{path}: no manifest of a store: {', '.join(map(repr, wrong))} wrong, missing or "
            "unknown"
        )
    stated = content.pop("sha256", None)
    intact = stated in (None, digest_of(content))
    if content.pop("labels") != LABELS or not intact:
        raise ValueError(
            f"{path}: it is not the manifest that was written (SHA-256): edited or damaged"
        )
    classes = content.get("classes")
    return Manifest(**content | {"classes": classes and tuple(classes)})


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait for other writers of a store, keep them out, and sweep what killed ones left."""
    with open(folder / LABELS, "rb+") as file:  # never replaced, so that all lock the same file
        hold(file)
        remove_leftovers(folder)
        yield


def create(path: str | Path, labels: Labels) -> None:
    """Make ``path`` an empty store; the manifest comes last, so a folder without one is no store
    yet."""
    path = Path(path)
    if (path / MANIFEST).exists():
        raise ValueError(
            f"{path} already holds a store; open it with LogitStore(path) or choose another folder"
        )
    path.mkdir(parents=True, exist_ok=True)
    with replacing(path / LABELS) as temporary, open(temporary, "wb") as file:
        values: dict[str, Any] = {} if labels.values is None else {"labels": labels.values}
        np.savez_compressed(file, **values, sample_ids=labels.sample_ids)
    manifest = Manifest(
        labels.dataset, labels.split, len(labels), labels.classes, labels.fingerprint
    )
    with_digests(manifest, path, labels, {}).write(path)


def with_digests(
    manifest: Manifest,
    folder: Path,
    labels: Labels,
    models: dict[str, list],
) -> Manifest:
    """A manifest of the present format: with the SHA-256 of labels.npz as it stands, and those of
    the models' files."""
    labels_sha256 = file_digest(folder / LABELS)
    return replace(
        manifest, format=FORMAT, ids_given=labels.given, labels_sha256=labels_sha256, models=models
    )


def read_labels(folder: Path, manifest: Manifest) -> Labels:
    """The labels of a store, checked against its manifest; ValueError, naming the file, where they
    are others."""
    path = folder / LABELS
    try:
        with opened(path, PER_SAMPLE * (64 + manifest.samples)) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if manifest.labels_sha256 not in (None, found):
                raise ValueError(f"not the file that {MANIFEST} lists (SHA-256)")
            archive = zipfile.ZipFile(file)
            there = "labels.npy" in archive.namelist()
            values = read_column(archive, "labels", manifest.samples) if there else None
            ids = read_column(archive, "sample_ids", manifest.samples)
        labels = Labels.checked(values, ids, manifest.classes, manifest.dataset, manifest.split)
        if labels.fingerprint != manifest.fingerprint:
            raise ValueError(f"labels and sample ids are not those of {MANIFEST} (fingerprint)")
    except (
        Exception
    ) as error:  # zipfile, zlib and numpy raise anything for bytes that are no npz file
        raise ValueError(f"{path}: the store's labels cannot be read ({error!s:.300})") from None
    numbered = np.array_equal(labels.sample_ids, np.arange(len(labels)).astype(str))
    given = not numbered if manifest.ids_given is None else manifest.ids_given
    return replace(labels, given=given, source=f"{folder.resolve()} {manifest.fingerprint}")


def read_column(archive: zipfile.ZipFile, name: str, count: int) -> np.ndarray:
    """An array [count] of whole numbers or text from an npz file that nobody has checked: no more
    is unpacked than so many samples need."""
    info = archive.getinfo(f"{name}.npy")
    # Other ways of packing unpack all of it at once.
    piecewise = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not piecewise or info.file_size > PER_SAMPLE * (64 + count):
        raise ValueError(
            f"{info.filename}: {info.file_size} bytes, or packed otherwise than by deflate"
        )
    with archive.open(info) as file:
        values = np.lib.format.read_array(file, allow_pickle=False)
    if values.shape != (count,) or values.dtype.kind not in "iuU":
        raise ValueError(
            f"{name} is {values.dtype} {values.shape}, expected one a sample, of {count}"
        )
    return values
