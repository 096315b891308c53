"""From executed notebooks to the committed outputs: text, tables and PNGs.

Plotly's JSON, widgets and paths are removed.
"""

import asyncio
import base64
import io
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import kaleido
import nbformat
from kaleido.errors import ChromeNotFoundError
from nbformat import NotebookNode
from PIL import Image

from cascadelib.figures.style import PLOTLY_JSON
from tools.report.rendering import ROOT, WIDGET, last_of_each_line, outputs_of, title_of

MEASURED = ("01", "08")  # notebooks that measure time
SIZE = {"width": 640, "height": 420}  # pixels, of a figure without a size, legible on a phone


def check_browser() -> None:
    """Exit with kaleido's advice if it finds no Chrome or Chromium, before the notebooks run."""
    try:
        kaleido.Kaleido(mathjax=False)
    except ChromeNotFoundError as error:
        raise SystemExit(
            f"the committed figures are drawn by Chrome or Chromium: {error}"
        ) from error


async def draw(figures: list[dict]) -> list[bytes]:
    """Return PNGs of plotly figures (dicts), from one headless browser without network access."""
    pictures = []
    # MathJax would come from a CDN, and Chrome reports to its vendor. A proxy at a closed port
    # blocks both. plotly.js comes from the package.
    async with kaleido.Kaleido(mathjax=False, proxy_server="127.0.0.1:9") as browser:
        for figure in figures:
            layout = figure["layout"]
            size = {side: layout.get(side) or default for side, default in SIZE.items()}
            bare = {"data": figure["data"], "layout": layout}
            options = {"format": "png", "scale": 1, **size}
            pictures.append(await browser.calc_fig(bare, options))
    return pictures


def reduce_palette(png: bytes) -> bytes:
    """Return the picture in at most 256 colours, which takes about a third of the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    file = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return min(png, file.getvalue(), key=len)


def without_paths(text: str) -> str:
    """Remove this machine's folders from a text: the clone, the Python installation, the kernel."""
    for folder in (sys.prefix, ROOT):
        text = text.replace(f"{folder}/", "")
    return re.sub(r"\S*/ipykernel_\d+/\d+\.py", "cell", text)


def committed_output(
    output: NotebookNode, picture: bytes | None, before: NotebookNode | None
) -> NotebookNode | None:
    """Return one output as committed, or None if nothing of it is committed (sliders).

    picture: of a figure, as PNG. before: the previous output of the cell.
    """
    data = output.get("data", {})
    if picture is not None:
        png = base64.b64encode(reduce_palette(picture)).decode()
        about = {"image/png": {"alt": title_of(data[PLOTLY_JSON], before)}}
        return nbformat.v4.new_output("display_data", {"image/png": png}, metadata=about)
    if WIDGET in data:
        return None
    if "text" in output:
        output.text = without_paths(last_of_each_line(output.text))
    for mime, content in data.items():
        if mime.startswith("text/"):
            data[mime] = without_paths(content)
    return output


def drawn_figures(notebooks: Iterable[NotebookNode]) -> dict[int, bytes]:
    """Return the figures of notebooks as PNG, by the id of the output."""
    figures: list[Any] = []
    for nb in notebooks:
        outputs = outputs_of(*nb.cells)
        figures += [output for _, output in outputs if PLOTLY_JSON in output.get("data", {})]
    if not figures:
        return {}
    drawn = [figure.data[PLOTLY_JSON] for figure in figures]
    pictures = asyncio.run(draw(drawn))
    return dict(zip(map(id, figures), pictures, strict=True))


def rewrite_cell(cell: NotebookNode, result: NotebookNode, picture_of: dict[int, bytes]) -> None:
    """Put the outputs of an executed code cell into the cell."""
    outputs = [
        committed_output(output, picture_of.get(id(output)), before)
        for before, output in outputs_of(result)
    ]
    cell.outputs = [output for output in outputs if output is not None]
    cell.execution_count = result.execution_count
    cell.metadata.pop("execution", None)


def rewrite_outputs(executed: Mapping[Path, Path]) -> None:
    """Put the outputs of each executed notebook (value) into its source (key). Cells and ids are
    unchanged."""
    results = [nbformat.read(result, as_version=4) for result in executed.values()]
    picture_of = drawn_figures(results)
    for path, notebook in zip(executed, results):
        nb = nbformat.read(path, as_version=4)
        for cell, result in zip(nb.cells, notebook.cells, strict=True):
            if cell.cell_type == "code":
                rewrite_cell(cell, result, picture_of)
        nb.metadata.pop("widgets", None)
        nb.metadata.pop("papermill", None)
        nbformat.write(nb, path)
