"""Cut Fashion-MNIST: 10,000 validation images out of the 60,000 training images; the other 50,000
train.

``python data/fashion-mnist/split.py --raw FOLDER`` writes ``val.npz`` and ``test.npz`` (images
uint8 [k, 28, 28], labels uint8 [k], sample_ids: file and row of the original).
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SEED = 2023


def read_idx(folder: Path | str, stem: str) -> np.ndarray:
    """One IDX file of unsigned bytes, plain or gzipped, as an array of its own shape."""
    for path, opener in ((Path(folder) / f"{stem}.gz", gzip.open), (Path(folder) / stem, open)):
        if path.exists():
            with opener(path, "rb") as file:
                data = file.read()
            if data[:3] != b"\x00\x00\x08":
                raise ValueError(f"{path} is not an IDX file of unsigned bytes")
            shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
            return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
    raise FileNotFoundError(
        f"neither {stem} nor {stem}.gz in {folder}; expected the four IDX files of Fashion-MNIST"
    )


def rows_of(split: str, total: int = 60_000, held_out: int = 10_000) -> np.ndarray:
    """Rows of the original file that make up ``train`` or ``val``, in rising order."""
    order = np.random.default_rng(SEED).permutation(total)
    return np.sort(order[:held_out] if split == "val" else order[held_out:])


def read_split(folder: Path | str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [k, 28, 28], labels uint8 [k]) of ``train``, ``val`` or ``test``."""
    stem = "t10k" if split == "test" else "train"
    images = read_idx(folder, f"{stem}-images-idx3-ubyte")
    labels = read_idx(folder, f"{stem}-labels-idx1-ubyte")
    if split == "test":
        return images, labels
    rows = rows_of(split, len(images))
    return images[rows], labels[rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--raw", required=True, help="folder with the four IDX files of Fashion-MNIST"
    )
    raw = parser.parse_args().raw
    for split in ("val", "test"):
        images, labels = read_split(raw, split)
        stem, rows = ("train", rows_of("val")) if split == "val" else ("t10k", range(len(labels)))
        ids = np.array([f"{stem}/{row:05d}" for row in rows])
        np.savez_compressed(HERE / f"{split}.npz", images=images, labels=labels, sample_ids=ids)


if __name__ == "__main__":
    main()
