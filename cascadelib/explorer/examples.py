"""Examples behind a cascade's numbers: who exits, who is passed on and repaired, whom the cascade breaks."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from ..datasets.images import File, as_image
from ..store.protocol import Store
from .state import CascadeOnSplit, Reading

HEIGHT, WIDTH = 64, 92  # pixels of a thumbnail; page.css has them too
SHOWN = 10  # examples of each kind
MOST_TEXT = 240  # characters


def kinds_of(cascade: CascadeOnSplit, reading: Reading) -> dict[str, np.ndarray]:
    """{kind: bool [k]} of the samples: exit at once: leave at the first stage; repaired: passed on, wrong at the first
    stage, right in the end; broken: the cascade is wrong where its last stage would have been right."""
    exits = reading.exit_stage == 0
    return {
        "exit at once": exits,
        "passed on and repaired": ~exits & (reading.correct > cascade.right[0]),
        "broken by the cascade": cascade.right[-1] > reading.correct,
    }


def nearest(cascade: CascadeOnSplit, reading: Reading, here: np.ndarray) -> np.ndarray:
    """At most SHOWN of the samples ``here`` (bool [k]): by confidence nearest to the first threshold, nearest first."""
    order = cascade.order[0]
    position = np.flatnonzero(here[order])
    distance = np.abs(position + 0.5 - reading.exits[0])
    return order[position[np.argsort(distance, kind="stable")[:SHOWN]]]


def picture(image: Any) -> Image.Image:
    """An image as a PIL image: an array [h, w], [h, w, 3] or [3, h, w] (also torch), a PIL image, or a path."""
    if isinstance(image, Path):
        return File(image)()
    if not isinstance(image, Image.Image):
        image = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
        if image.dtype != np.uint8:
            low, high = float(image.min()), float(image.max())
            image = np.round(255 * (image - low) / (high - low or 1)).astype(np.uint8)
    return as_image(image)


def example_html(item: Any, row: int) -> str:
    """One input as HTML: a thumbnail of an image, or the beginning of a text (str, or a tuple of them)."""
    if isinstance(item, (str, tuple)):
        text = item if isinstance(item, str) else " / ".join(map(str, item))
        return f"<div>{escape(text[:MOST_TEXT])}{'…' if len(text) > MOST_TEXT else ''}</div>"
    small, file = picture(item), io.BytesIO()
    small.thumbnail((2 * WIDTH, 2 * HEIGHT))
    kind = "PNG" if max(small.size) <= HEIGHT else "JPEG"
    small.save(file, kind, quality=80)
    source = f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<img src="{source}" alt="sample {row}">'


class ExampleStrip(widgets.HTML):
    """Inputs of the first split that exit, are repaired, are broken; each drawn once and kept. store, images: as
    :func:`cascadelib.explore` has them; ValueError where their numbers differ."""

    def __init__(self, store: Store, images: Any) -> None:
        if len(images) != len(store):
            raise ValueError(f"{len(images)} images for the {len(store)} samples of the store")
        super().__init__()
        self.store, self.images = store, images
        self.drawn: dict[int, str] = {}

    def show(self, models: Sequence[str], cascade: CascadeOnSplit, reading: Reading) -> None:
        """Show examples of a cascade of ``models``; none of a single model, which has no threshold."""
        parts = []
        for kind, here in kinds_of(cascade, reading).items() if cascade.stages > 1 else ():
            figures = "".join(
                self.figure(row, models) for row in nearest(cascade, reading, here).tolist()
            )
            head = f"<div><b>{kind}</b><br>{np.count_nonzero(here):,}</div>"
            parts.append(
                f'<div class="cascadelib-examples">{head}<div>{figures or "none"}</div></div>'
            )
        self.value = "".join(parts)

    def figure(self, row: int, models: Sequence[str]) -> str:
        """One input as HTML, with its label and what each of the models alone answers."""
        if row not in self.drawn:
            item = (
                self.images.batch(row, row + 1)[0]
                if hasattr(self.images, "batch")
                else self.images[row]
            )
            self.drawn[row] = example_html(item, row)
        store: Any = self.store
        caption = f"sample {row}"
        if store.has_outputs:
            classes = [store.labels[row], *(store.logits(model)[row].argmax() for model in models)]
            label, *answers = (
                escape(str(c if store.classes is None else store.classes[c])) for c in classes
            )
            caption = f"<b>{label}</b><br>" + " → ".join(answers)
        return f"<figure>{self.drawn[row]}<figcaption>{caption}</figcaption></figure>"
