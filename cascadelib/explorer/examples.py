"""Examples behind a cascade's numbers: who exits, who is passed on and repaired, and where the
cascade errs although its last model would not."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from ..datasets.images import as_image
from ..store.protocol import Store
from .state import CascadeOnSplit, Reading

HEIGHT = 64  # pixels of a thumbnail; page.css has both
WIDTH = 92
SHOWN = 10  # examples of each kind
MOST_TEXT = 240  # characters


def kinds_of(cascade: CascadeOnSplit, reading: Reading) -> dict[str, np.ndarray]:
    """{kind: bool [k]} of the samples: exit at once: leave at the first stage; repaired: passed on,
    incorrect at the first stage, correct in the end; broken: the cascade is incorrect where its
    last stage would have been correct."""
    exits = reading.exit_stage == 0
    return {
        "exit at once": exits,
        "passed on and repaired": ~exits & (reading.correct > cascade.correct[0]),
        "broken by the cascade": cascade.correct[-1] > reading.correct,
    }


def nearest(cascade: CascadeOnSplit, reading: Reading, here: np.ndarray) -> np.ndarray:
    """At most SHOWN of the samples ``here`` (bool [k]): int64, by confidence nearest to the first
    threshold, nearest first."""
    order = cascade.order[0]
    position = np.flatnonzero(here[order])
    distance = np.abs(position + 0.5 - reading.exits[0])
    return order[position[np.argsort(distance, kind="stable")[:SHOWN]]]


def picture(image: Any) -> Image.Image:
    """An image as a PIL image: an array [h, w], [h, w, 3] or [3, h, w] (also torch), a PIL image,
    or a path."""
    if not isinstance(image, Image.Image | Path):
        image = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
        if image.dtype != np.uint8:
            low = float(image.min())
            high = float(image.max())
            image = np.round(255 * (image - low) / (high - low or 1)).astype(np.uint8)
    return as_image(image)


def example_html(item: Any, row: int) -> str:
    """One input as HTML: a thumbnail of an image, or the beginning of a text (str, or a tuple)."""
    if isinstance(item, str | tuple):
        text = item if isinstance(item, str) else " / ".join(map(str, item))
        more = "…" if len(text) > MOST_TEXT else ""
        return f"<div>{escape(text[:MOST_TEXT])}{more}</div>"
    small = picture(item)
    small.thumbnail((2 * WIDTH, 2 * HEIGHT))
    kind = "PNG" if max(small.size) <= HEIGHT else "JPEG"
    file = io.BytesIO()
    small.save(file, kind, quality=80)
    source = f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<img src="{source}" alt="sample {row}">'


class ExampleStrip(widgets.HTML):
    """Inputs of the first split that exit, are repaired, are broken; each drawn once and kept.
    store, images: as :func:`cascadelib.explore` takes them; ValueError where their numbers
    differ."""

    def __init__(self, store: Store, images: Any) -> None:
        if len(images) != len(store):
            raise ValueError(f"{len(images)} images for the {len(store)} samples of the store")
        super().__init__()
        self.store = store
        self.images = images
        self.drawn: dict[int, str] = {}

    def show(self, models: Sequence[str], cascade: CascadeOnSplit, reading: Reading) -> None:
        """Show examples of a cascade of ``models``; none of a single model, which has no
        threshold."""
        parts = []
        kinds = kinds_of(cascade, reading) if cascade.stages > 1 else {}
        for kind, here in kinds.items():
            rows = nearest(cascade, reading, here).tolist()
            figures = "".join(self.figure(row, models) for row in rows)
            head = f"<div><b>{kind}</b><br>{np.count_nonzero(here):,}</div>"
            body = f"<div>{figures or 'none'}</div>"
            parts.append(f'<div class="cascadelib-examples">{head}{body}</div>')
        self.value = "".join(parts)

    def figure(self, row: int, models: Sequence[str]) -> str:
        """One input as HTML, with its label and what each of the models alone answers."""
        if row not in self.drawn:
            batched = hasattr(self.images, "batch")
            item = self.images.batch(row, row + 1)[0] if batched else self.images[row]
            self.drawn[row] = example_html(item, row)
        caption = self.caption(row, models)
        return f"<figure>{self.drawn[row]}<figcaption>{caption}</figcaption></figure>"

    def caption(self, row: int, models: Sequence[str]) -> str:
        """An input's label and what each of the models alone answers; its number where the store
        does not have them."""
        store: Any = self.store
        if store.class_count is None:
            return f"sample {row}"
        answers = [store.logits(model)[row].argmax() for model in models]
        label, *texts = (self.named(number) for number in (store.labels[row], *answers))
        return f"<b>{label}</b><br>" + " → ".join(texts)

    def named(self, number: int) -> str:
        """A class by its name, where classes have names, as HTML."""
        classes = self.store.classes  # type: ignore[attr-defined]
        return escape(str(number if classes is None else classes[number]))
