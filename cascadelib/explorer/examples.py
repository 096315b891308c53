"""Select samples on which models disagree, and convert them to thumbnails or short texts."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT = 64  # height of a thumbnail in pixels, as in page.css
WIDTH = 92  # width of a thumbnail in pixels
MAX_EXAMPLES = 160
MAX_CHARACTERS = 240  # largest length of a shown text


def select_examples(correct: list[np.ndarray], most: int = MAX_EXAMPLES) -> np.ndarray:
    """Return the rows of at most ``most`` samples, int64, rising and evenly spread.

    ``correct`` has the correctness [k] at each stage of a cascade. The stages differ in correctness
    on three of four selected samples, if there are enough.
    """
    differs = np.any([one != correct[0] for one in correct], axis=0)
    rows = np.zeros(0, np.int64)
    for kind, count in ((differs, most * 3 // 4), (~differs, most)):
        found = np.flatnonzero(kind)
        count = min(count, most - len(rows), len(found))
        spread = np.linspace(0, len(found) - 1, count).astype(np.int64)
        rows = np.append(rows, found[spread])
    return np.sort(rows)


def to_pil(image: Any) -> Any:
    """Convert an array or tensor [h, w], [h, w, 3] or [3, h, w], or a path, to a PIL image."""
    from PIL import Image  # needed only for images

    from ..datasets.images import as_image

    if not isinstance(image, Image.Image | Path):
        image = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
        if image.dtype != np.uint8:
            span = float(np.ptp(image)) or 1
            image = np.round(255 * (image - image.min()) / span).astype(np.uint8)
    return as_image(image)


def describe_example(item: Any) -> dict[str, str]:
    """Return {"image": data URL of a thumbnail}, or {"text": its beginning} for a str or tuple."""
    if isinstance(item, tuple):
        item = " / ".join(map(str, item))
    if isinstance(item, str):
        more = "…" if len(item) > MAX_CHARACTERS else ""
        return {"text": item[:MAX_CHARACTERS] + more}
    small = to_pil(item)
    small.thumbnail((2 * WIDTH, 2 * HEIGHT))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=75)
    content = base64.b64encode(file.getvalue()).decode()
    return {"image": f"data:image/webp;base64,{content}"}


def describe_examples(store: Any, images: Any, rows: np.ndarray) -> list[dict[str, Any]]:
    """Return the row, the label and the thumbnail or text of some inputs of a store."""
    shown = []
    for row in rows.tolist():
        item = images.batch(row, row + 1)[0] if hasattr(images, "batch") else images[row]
        label = None
        if store.class_count is not None:
            number = int(store.labels[row])
            label = str(number if store.classes is None else store.classes[number])
        shown.append({"row": row, "label": label} | describe_example(item))
    return shown
