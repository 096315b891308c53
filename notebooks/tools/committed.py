"""Executed notebooks → the outputs that are committed: text, tables and PNGs, no plotly JSON, no widgets, no paths."""

import asyncio
import base64
import io
import re
import sys
from pathlib import Path

import kaleido
import nbformat
import numpy as np
from kaleido.errors import ChromeNotFoundError
from nbval.plugin import get_sanitize_patterns
from PIL import Image, ImageColor

from cascadelib.figures.style import BLACK, GREY, PALETTE, PLOTLY_JSON
from tools.report import WIDGET, last_of_each_line, title_of

SANITIZE = Path(__file__).with_name("sanitize.cfg")
CHECK = "nbval-check-output"
MEASURED = ("01", "08")  # notebooks that measure time on the machine that runs them
TEXT = {"text/plain", "text/html", "text/markdown", "stdout"}
SIZE = {"width": 900, "height": 500}  # pixels, where a figure does not say


def check_browser() -> None:
    """Exit with kaleido's advice where it finds no Chrome or Chromium: before the notebooks run, not after."""
    try:
        kaleido.Kaleido(mathjax=False)
    except ChromeNotFoundError as error:
        raise SystemExit(
            f"the committed figures are drawn by Chrome or Chromium: {error}"
        ) from error


async def draw(figures: list[dict]) -> list[bytes]:
    """PNGs of plotly figures (as dicts), all from one headless Chrome or Chromium that reaches no network."""
    pictures = []
    # plotly.js comes from the package; MathJax would come from a CDN, and Chrome itself phones home: a proxy at a
    # closed port keeps both in.
    async with kaleido.Kaleido(mathjax=False, proxy_server="127.0.0.1:9") as browser:
        for figure in figures:
            size = {side: figure["layout"].get(side) or default for side, default in SIZE.items()}
            bare = {"data": figure["data"], "layout": figure["layout"]}
            pictures.append(await browser.calc_fig(bare, {"format": "png", "scale": 1, **size}))
    return pictures


def with_palette(png: bytes) -> bytes:
    """The same picture in at most 256 colours, white and the style's among them: about a third of the bytes, no visible
    difference in a chart."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    colours = np.array([ImageColor.getrgb(colour) for colour in ("white", *PALETTE, GREY, BLACK)])
    others = picture.quantize(
        256 - len(colours), Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    ).getpalette()
    colours = np.concatenate([colours, np.reshape(others, (-1, 3))])[:256]
    pixels, places = np.unique(np.asarray(picture) @ (1 << 16, 1 << 8, 1), return_inverse=True)
    distances = (
        np.stack([pixels >> 16, pixels >> 8 & 255, pixels & 255], 1)[:, None] - colours
    ) ** 2
    nearest = distances.sum(axis=2).argmin(axis=1).astype(np.uint8)
    few, small = Image.fromarray(nearest[places].reshape(picture.size[::-1]), "P"), io.BytesIO()
    few.putpalette(colours.astype(np.uint8).tobytes())
    few.save(small, "PNG", optimize=True)
    return min(png, small.getvalue(), key=len)


def without_paths(text: str) -> str:
    """Text without this machine's folders: the clone's, the Python installation's, the kernel's in warnings."""
    for folder in {str(Path(__file__).resolve().parents[2]), sys.prefix}:
        text = text.replace(folder + "/", "")
    return re.sub(r"\S*/ipykernel_\d+/\d+\.py", "cell", text)


def committed_output(output, picture: bytes | None):
    """One output as it is committed, or None where nothing of it is (sliders)."""
    data = output.get("data", {})
    if picture is not None:
        png = base64.b64encode(with_palette(picture)).decode()
        about = {"image/png": {"alt": title_of(data[PLOTLY_JSON])}}
        return nbformat.v4.new_output("display_data", {"image/png": png}, metadata=about)
    if WIDGET in data:
        return None
    if "text" in output:
        output.text = without_paths(last_of_each_line(output.text))
    for mime, content in data.items():
        if mime.startswith("text/"):
            data[mime] = without_paths(content)
    return output


def compared(cell) -> list | None:
    """A cell's outputs as nbval compares them, sanitised; None where they are none, or not text alone."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {"stdout": output.get("text", "")})
        if output.get("name") == "stderr" or output.output_type == "error" or not set(data) <= TEXT:
            return None
        for pattern, replacement in get_sanitize_patterns(SANITIZE.read_text(encoding="utf-8")):
            data = {mime: re.sub(pattern, replacement, text) for mime, text in data.items()}
        found.append(data)
    return found or None


def mark(executed: dict[Path, Path]) -> int:
    """Tag for nbval's check of outputs the cells below a source's (key) second last heading whose committed outputs its
    run at quick parameters (value) repeats; returns how many."""
    count = 0
    for path, result in executed.items():
        nb, quick = (nbformat.read(p, as_version=4) for p in (path, result))
        headings = [i for i, cell in enumerate(nb.cells) if re.match("## ", cell.source)]
        start = headings[-2:][0] if headings and path.name[:2] not in MEASURED else len(nb.cells)
        for i, (cell, again) in enumerate(zip(nb.cells, quick.cells, strict=True)):
            tags = [tag for tag in cell.metadata.get("tags", []) if tag != CHECK]
            same = i > start and (there := compared(cell)) is not None and there == compared(again)
            count += same
            cell.metadata["tags"] = tags + [CHECK] * same
            if not cell.metadata["tags"]:
                del cell.metadata["tags"]
        nbformat.write(nb, path)
    return count


def rewrite(executed: dict[Path, Path]) -> None:
    """Put the outputs of each executed notebook (value) into its source (key); cells and their ids stay as they are."""
    sources = {path: nbformat.read(path, as_version=4) for path in executed}
    results = {path: nbformat.read(result, as_version=4) for path, result in executed.items()}
    outputs = [o for nb in results.values() for cell in nb.cells for o in cell.get("outputs", [])]
    drawable = [output for output in outputs if PLOTLY_JSON in output.get("data", {})]
    pictures = (
        asyncio.run(draw([output.data[PLOTLY_JSON] for output in drawable])) if drawable else []
    )
    picture_of = {id(output): picture for output, picture in zip(drawable, pictures, strict=True)}
    for path, nb in sources.items():
        for cell, result in zip(nb.cells, results[path].cells, strict=True):
            if cell.cell_type == "code":
                kept = [
                    committed_output(output, picture_of.get(id(output)))
                    for output in result.outputs
                ]
                cell.outputs = [output for output in kept if output is not None]
                cell.execution_count = result.execution_count
                cell.metadata.pop("execution", None)
        nb.metadata.pop("widgets", None)
        nb.metadata.pop("papermill", None)
        nbformat.write(nb, path)
