"""Make the gallery of the site's first page: a thumbnail of one figure per notebook.

The figures are those committed in the notebooks, cropped to the part that is readable when small.
"""

import base64
import html
import io
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))
from tools import report  # noqa: E402 - scripts next to the notebooks, not a package

NOTEBOOKS = ROOT / "notebooks"
CROPS = {  # notebook: (number of its figure, shares of the picture: left, top, right, bottom)
    "01": (0, (0, 0.07, 0.79, 1)),
    "02": (0, (0, 0.1, 0.48, 0.77)),
    "03": (0, (0.48, 0.1, 1, 0.87)),
    "04": (4, (0, 0.05, 1, 0.92)),
    "05": (0, (0, 0, 1, 1)),
    "06": (1, (0, 0.07, 0.8, 1)),
    "07": (0, (0, 0.075, 0.51, 0.48)),
    "08": (3, (0, 0.07, 0.8, 1)),
    "09": (0, (0, 0.07, 0.79, 1)),
}
CARD = """<a href="notebooks/{stem}.html"><img src="gallery/{number}.png" alt="{alt}">
<span>{text}</span></a>"""


def figures_of(nb: NotebookNode) -> list[NotebookNode]:
    """Return the outputs of a notebook that are pictures, in their order."""
    outputs = [output for cell in nb.cells for output in cell.get("outputs", [])]
    return [output for output in outputs if "image/png" in output.get("data", {})]


def cropped(png: bytes, shares: tuple[float, float, float, float]) -> bytes:
    """Return the part of a picture within these shares of its width and height."""
    picture = Image.open(io.BytesIO(png))
    width, height = picture.size
    x0, y0, x1, y1 = shares
    box = (int(x0 * width), int(y0 * height), int(x1 * width), int(y1 * height))
    file = io.BytesIO()
    picture.crop(box).save(file, "PNG", optimize=True)
    return file.getvalue()


def gallery() -> tuple[str, dict[str, bytes]]:
    """Return the gallery as HTML, and its pictures: {path on the site: PNG}."""
    cards = []
    pictures = {}
    for number, (place, shares) in CROPS.items():
        (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
        nb = nbformat.read(path, as_version=4)
        figure = figures_of(nb)[place]
        pictures[f"gallery/{number}.png"] = cropped(
            base64.b64decode(figure.data["image/png"]), shares
        )
        alt = html.escape(figure.metadata["image/png"]["alt"], quote=True)
        text = html.escape(report.finding_of(nb) or report.question_of(nb))
        cards.append(CARD.format(stem=path.stem, number=number, alt=alt, text=text))
    return "\n".join(['<div class="gallery">', *cards, "</div>"]), pictures
