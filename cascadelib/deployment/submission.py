"""Predictions of a fixed cascade on unlabelled images, and the file that ImageNet's test server takes (paper, table 1).

The paper checks three cascades against overfitting to the validation set this way: labels of the test set are not
public, so neither a store nor ``evaluate`` can.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.images import Files, existing, images_in
from ..files import replacing
from ..zoo.forward import Precision
from ..zoo.loaders import resolved
from .cascade import Cascade


@dataclass(frozen=True)
class Unlabelled:
    """Images without labels, by name: ILSVRC2012_test_00000001.JPEG, …"""

    source: Files

    def __len__(self):
        return len(self.source)


def unlabelled(folder) -> Unlabelled:
    """All images of a flat folder, sorted by name. Raises FileNotFoundError, or ValueError for an empty one."""
    root = existing(folder, "a flat folder of images")
    return Unlabelled(Files(root, tuple(images_in(root))))


def predictions(point, models, images, guesses=5, batch_size=64, device=None, amp=False, workers=0):
    """(classes int [k, guesses], best first; exit_stage int [k]) of the cascade ``point`` on images without labels.

    models: as for :func:`cascadelib.extract`, all those of the point, with transforms that take a list of PIL images;
    images: :func:`unlabelled`. Each image is decoded once, by ``workers`` threads, and a later model sees only the
    images that have not left. Raises ValueError naming a model of the point that is not given, or an image that cannot
    be read; and for more than one guess of a vote.
    """
    given = {model.name: model for model in resolved(models)}
    missing = [name for name in point.models if name not in given]
    if missing:
        raise ValueError(f"the cascade needs model {missing[0]!r}; given are {', '.join(map(repr, given))}")
    precision = Precision.chosen(device, amp)
    cascade = Cascade.from_point(point, {name: given[name] for name in point.models}).to(precision.device)
    spans = [range(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size)]
    with ThreadPoolExecutor(max(1, workers)) as pool, precision.autocast():
        decisions = cascade.run((list(pool.map(images.source, span)) for span in spans), batch_size, guesses)
    return decisions.guesses, decisions.exit_stage


def write(path, classes, order=None) -> None:
    """One line an image: its guesses, best first, separated by spaces; the order of the lines is that of the images.

    order: int [classes], from :func:`imagenet.ilsvrc_order`: then the numbers are the challenge's, 1 … 1000, as the
    test server wants them; without it, labels as in the stores. Raises ValueError for a class that order lacks.
    """
    classes = np.asarray(classes)
    if order is not None:
        numbers = np.full(max(int(classes.max()), int(np.max(order))) + 1, -1)
        numbers[np.asarray(order)] = np.arange(1, len(order) + 1)
        classes = numbers[classes]
        if (classes < 0).any():
            raise ValueError(
                f"order names {len(order)} classes, but image {int((classes < 0).any(1).argmax())} has another"
            )
    with replacing(Path(path)) as temporary:
        temporary.write_text("".join(" ".join(map(str, row)) + "\n" for row in classes.tolist()), encoding="utf-8")
