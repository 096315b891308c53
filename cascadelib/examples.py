"""Examples behind a cascade's numbers: who exits, who is passed on and repaired, whom the cascade breaks."""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from .photographs import as_image, decoded

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
        return decoded(image)
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
