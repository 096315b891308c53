"""The README's pictures of the explorer: the page of `make app`, at rest and under a hand."""

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
from conftest import BROWSER_FLAGS, find_browser  # noqa: E402 - the tests' helpers are no package
from jupyter_pages import DRAWN, PATIENCE, serving  # noqa: E402

SIZE = {"width": 1130, "height": 1260}
SMALL = (760, 505)  # pixels of the animation
SHARES = [*np.linspace(0.27, 0.75, 8), *np.linspace(0.65, 0.05, 9), *np.linspace(0.1, 0.27, 3)]


def shot(page: Page, clip: FloatRect) -> Image.Image:
    """A picture of a part of the page."""
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")


def dragged(page: Page, clip: FloatRect) -> Iterator[Image.Image]:
    """A picture for each share of the first slider's way that a hand drags it to."""
    slider = page.locator("input[type=range]:visible").first
    track = slider.bounding_box()
    at = slider.evaluate("s => (s.valueAsNumber - s.min) / (s.max - s.min)")
    y = track["y"] + track["height"] / 2
    page.mouse.move(track["x"] + at * track["width"], y)
    page.mouse.down()
    for share in SHARES:
        page.mouse.move(track["x"] + share * track["width"], y)
        page.wait_for_timeout(700)
        yield shot(page, clip)
    page.mouse.up()


def main() -> None:
    """Write explorer.png and explorer.gif beside this file."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        shutil.copy(HERE.parent / "app" / "explorer.ipynb", folder)
        with serving(Path(folder)) as (address, _):
            browser = driver.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
            page = browser.new_page(viewport=SIZE)
            page.goto(f"{address}/voila/render/explorer.ipynb", timeout=PATIENCE)
            page.wait_for_selector(DRAWN, timeout=PATIENCE)
            page.get_by_role("button", name="match the best single model").click()
            page.wait_for_timeout(4000)
            top = page.locator(".widget-toggle-buttons").bounding_box()["y"] - 6
            whole = shot(page, {"x": 0, "y": top, "width": 1130, "height": SIZE["height"] - top})
            upper = {"x": 0, "y": top, "width": 1130, "height": 751}
            frames = [
                frame.resize(SMALL, Image.Resampling.LANCZOS) for frame in dragged(page, upper)
            ]
    whole.quantize(256, dither=Image.Dither.NONE).save(HERE / "explorer.png", optimize=True)
    palette = frames[0].quantize(128, dither=Image.Dither.NONE)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    frames[0].save(
        HERE / "explorer.gif",
        save_all=True,
        append_images=frames[1:],
        duration=350,
        loop=0,
        optimize=True,
    )


if __name__ == "__main__":
    main()
