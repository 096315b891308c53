"""Examples behind a cascade's numbers: who exits, who is passed on and repaired, whom the cascade breaks."""

import base64
import io
from html import escape
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from PIL import Image

from ..datasets.images import as_image, decoded_image

KINDS = ("exit at once", "passed on and repaired", "broken by the cascade")
HEIGHT, WIDTH, TEXT_WIDTH = 64, 92, 190  # pixels of a thumbnail, of an example, of one that is a text
SHOWN = 10  # examples of each kind
MOST_TEXT, LINES = 240, 6  # characters, lines
HEAD = "display:inline-block;width:120px;white-space:normal;vertical-align:top;font-size:12px;line-height:1.3"
FIGURE = (
    f"margin:0 4px 4px 0;display:inline-block;width:min-content;min-width:{WIDTH}px;vertical-align:top;"
    "white-space:normal;font-size:10px;line-height:1.2;text-align:center"
)
TEXT = (
    f"width:{TEXT_WIDTH}px;height:{12 * LINES}px;text-align:left;background:#f4f4f4;overflow:hidden;"
    f"display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:{LINES}"
)


def kinds_of(cascade, reading):
    """A bool [k] for each of KINDS.

    Exit at once: leave at the first stage. Repaired: passed on, wrong at the first stage, right in the end. Broken: the
    cascade is wrong where its last stage would have been right.
    """
    exits, correct = reading.exit_stage == 0, reading.correct
    return exits, ~exits & (correct > cascade.right[0]), cascade.right[-1] > correct


def example_rows(cascade, reading, most=SHOWN):
    """{kind: rows int [≤ most]}: of each kind the samples nearest to the threshold of the first stage, nearest first.

    Nothing of a single model, which has no threshold.
    """
    if cascade.stages == 1:
        return {}
    kinds, exits = kinds_of(cascade, reading), np.count_nonzero(reading.exit_stage == 0)
    return {kind: nearest(cascade.order[0], here, exits, most) for kind, here in zip(KINDS, kinds)}


def nearest(order, here, exits, most):
    """Of the samples ``here`` at most ``most``, those nearest in ``order`` (surest first) to where ``exits`` end."""
    position = np.flatnonzero(here[order])
    distance = np.abs(position + 0.5 - exits)
    return order[position[np.argsort(distance, kind="stable")[:most]]]


def counts_of(cascade, reading):
    """{kind: how many samples of that kind there are}."""
    return {kind: int(np.count_nonzero(here)) for kind, here in zip(KINDS, kinds_of(cascade, reading))}


def picture(image):
    """An image as a PIL image: an array [h, w], [h, w, 3] or [3, h, w] (also torch), a PIL image, or a path."""
    if isinstance(image, Path):
        return decoded_image(image)
    if isinstance(image, Image.Image):
        return as_image(image)
    pixels = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        pixels = np.round(255 * (pixels - low) / (high - low or 1)).astype(np.uint8)
    return as_image(pixels)


def example_html(item, row):
    """One input as HTML: a thumbnail of an image, or the beginning of a text (str, or a tuple of them)."""
    if isinstance(item, (str, tuple)):
        text = item if isinstance(item, str) else " / ".join(map(str, item))
        return f'<div style="{TEXT}">{escape(text[:MOST_TEXT])}{"…" if len(text) > MOST_TEXT else ""}</div>'
    small, file = picture(item), io.BytesIO()
    small.thumbnail((2 * WIDTH, 2 * HEIGHT))
    kind = "PNG" if max(small.size) <= HEIGHT else "JPEG"
    small.save(file, kind, quality=80)
    source = f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<img src="{source}" alt="sample {row}" style="height:{HEIGHT}px;max-width:100%">'


def strip_html(rows, counts, drawn, captions):
    """Examples as HTML. rows: {kind: rows}; counts: {kind: how many}; drawn, captions: {row: HTML}."""
    parts = []
    for kind, chosen in rows.items():
        figures = "".join(
            f'<figure style="{FIGURE}">{drawn[row]}<figcaption>{captions[row]}</figcaption></figure>'
            for row in chosen.tolist()
        )
        head = f'<div style="{HEAD}"><b>{kind}</b><br>{counts[kind]:,}</div>'
        parts.append(f'<div style="white-space:nowrap;overflow-x:auto">{head}{figures or "none"}</div>')
    return "".join(parts)


class ExampleStrip(widgets.HTML):
    """Inputs of the first split that exit, are repaired, are broken; each drawn once and kept.

    store: LogitStore or ScoreTable with k samples; images: a sequence of k inputs, see :func:`examples.example_html`,
    or a data set of :mod:`cascadelib.datasets`. Raises ValueError where their number is not k.
    """

    def __init__(self, store, images):
        if len(images) != len(store):
            raise ValueError(f"{len(images)} images for the {len(store)} samples of the store")
        super().__init__()
        self.store, self.images, self.drawn = store, images, {}

    def show(self, models, cascade, reading):
        """Show examples of a cascade of ``models``."""
        rows = example_rows(cascade, reading)
        every = sorted({row for chosen in rows.values() for row in chosen.tolist()})
        for row in every:
            if row not in self.drawn:
                self.drawn[row] = example_html(self.item(row), row)
        captions = {row: self.caption(models, row) for row in every}
        self.value = strip_html(rows, counts_of(cascade, reading), self.drawn, captions)

    def item(self, row):
        """One input: of a data set, or of a sequence."""
        return self.images.batch(row, row + 1)[0] if hasattr(self.images, "batch") else self.images[row]

    def caption(self, models, row):
        """The label, and what each of the models alone answers."""
        if not self.store.has_outputs:
            return f"sample {row}"
        answers = [self.named(self.store.logits(model)[row].argmax()) for model in models]
        return f"<b>{escape(self.named(self.store.labels[row]))}</b><br>" + " → ".join(map(escape, answers))

    def named(self, number):
        """A class by its name where the store knows it."""
        return str(number) if self.store.classes is None else str(self.store.classes[number])
