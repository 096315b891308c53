"""Inputs as the page shows them: thumbnails and texts, of the samples on which models disagree."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT = 64  # pixels of a thumbnail; page.css has both
WIDTH = 92
MOST = 400  # inputs that a page holds
MOST_TEXT = 240  # characters


def shown_rows(correct: list[np.ndarray], most: int = MOST) -> np.ndarray:
    """Samples to show, int64 [at most ``most``], rising: those on which the first model of a cascade
    and a later one are not both correct, or incorrect, then others; each kind evenly spread.
    correct: [k] of each stage."""
    first, *later = correct
    differs = (
        np.any([one != first for one in later], axis=0) if later else np.zeros(len(first), bool)
    )
    rows: list[np.ndarray] = []
    for kind, count in ((differs, most * 3 // 4), (~differs, most)):
        there = np.flatnonzero(kind)
        left = most - sum(len(some) for some in rows)
        count = min(count, left, len(there))
        spread = np.linspace(0, len(there) - 1, count).astype(np.int64)
        rows.append(there[spread])
    return np.sort(np.concatenate(rows))


def picture(image: Any) -> Any:
    """An image as a PIL image: an array [h, w], [h, w, 3] or [3, h, w] (also torch), a PIL image,
    or a path."""
    from PIL import Image  # only those who show images need it

    from ..datasets.images import as_image

    if not isinstance(image, Image.Image | Path):
        image = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
        if image.dtype != np.uint8:
            low = float(image.min())
            high = float(image.max())
            image = np.round(255 * (image - low) / (high - low or 1)).astype(np.uint8)
    return as_image(image)


def example_of(item: Any) -> dict[str, str]:
    """One input: {"image": address of a thumbnail}, or {"text": the beginning of a text} (str, or a
    tuple)."""
    if isinstance(item, str | tuple):
        text = item if isinstance(item, str) else " / ".join(map(str, item))
        more = "…" if len(text) > MOST_TEXT else ""
        return {"text": text[:MOST_TEXT] + more}
    small = picture(item)
    small.thumbnail((2 * WIDTH, 2 * HEIGHT))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=75)
    content = base64.b64encode(file.getvalue()).decode()
    return {"image": f"data:image/webp;base64,{content}"}


def examples_of(store: Any, images: Any, rows: np.ndarray) -> list[dict[str, Any]]:
    """Some inputs of a store: their row and label, where it has labels, and how they look."""
    shown = []
    for row in rows.tolist():
        item = images.batch(row, row + 1)[0] if hasattr(images, "batch") else images[row]
        label = None if store.class_count is None else class_name(store, int(store.labels[row]))
        shown.append({"row": row, "label": label} | example_of(item))
    return shown


def class_name(store: Any, number: int) -> str:
    """A class by its name, where classes have names."""
    if store.classes is None:
        return str(number)
    return str(store.classes[number])
