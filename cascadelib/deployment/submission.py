"""Images without labels for a fixed cascade, and the file that ImageNet's test server takes (paper, table 1).

The paper checks three cascades against overfitting to the validation set this way: labels of the test set are not
public, so neither a store nor ``evaluate`` can.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ..checks import check_count
from ..datasets.images import existing, files_in, images_in
from ..files import replacing


def image_batches(folder: str | Path, batch_size: int = 64, workers: int = 0) -> Iterator[list[Image.Image]]:
    """All images of a flat folder, sorted by name, as batches for :meth:`Cascade.run`.

    Each is decoded once, by ``workers`` threads, when its batch is asked for. Raises FileNotFoundError, and ValueError
    for an empty folder and, by name, for an image that cannot be read.
    """
    root = existing(folder, "a flat folder of images")
    images = files_in(root, images_in(root))
    batch_size, workers = check_count(batch_size, "batch_size"), check_count(workers, "workers", 0)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for start in range(0, len(images), batch_size):
            yield list(pool.map(lambda image: image(), images[start : start + batch_size]))


def write_submission(path: str | Path, guesses: np.ndarray, order: np.ndarray | None = None) -> None:
    """One line an image: its guesses, best first, separated by spaces; the order of the lines is that of the images.

    guesses: int [k, g], such as ``cascade.run(batches, guesses=g).guesses``. order: int [classes], from
    :func:`ilsvrc_order`: then the numbers are the challenge's, 1 … 1000, as the test server wants them; without it,
    labels as in the stores. Raises ValueError for a class that order lacks.
    """
    guesses = np.asarray(guesses)
    if order is not None:
        numbers = np.full(max(int(guesses.max()), int(np.max(order))) + 2, -1)  # the last: of no class (−1)
        numbers[np.asarray(order)] = np.arange(1, len(order) + 1)
        guesses = numbers[guesses]
        strange = np.flatnonzero((guesses < 0).any(axis=1))
        if len(strange):
            raise ValueError(f"order names {len(order)} classes, but image {strange[0]} has another")
    with replacing(Path(path)) as temporary:
        temporary.write_text("".join(" ".join(map(str, row)) + "\n" for row in guesses.tolist()), encoding="utf-8")
