"""Draw the README's animation of the explorer: the first slider of `make app` is dragged."""

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "notebooks")]
from conftest import BROWSER_FLAGS, find_browser  # noqa: E402 - the tests' helpers are no package

from tools.report.app import write_page  # noqa: E402

SIZE = {"width": 1000, "height": 640}
SMALL = (760, 486)  # pixels of the animation
SHARES = [*np.linspace(0.16, 0.6, 8), *np.linspace(0.5, 0.03, 9), *np.linspace(0.06, 0.16, 3)]


def take_picture(page: Page) -> Image.Image:
    """Return a picture of the page."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def drag_slider(page: Page) -> Iterator[Image.Image]:
    """Yield a picture for each position of the first slider, as shares of its range."""
    slider = page.locator(".cl-slider").first
    for share in SHARES:
        slider.evaluate(
            "(s, share) => { s.value = share * s.max; s.dispatchEvent(new Event('input')) }", share
        )
        page.wait_for_timeout(80)
        yield take_picture(page)


def main() -> None:
    """Write explorer.gif next to this file."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = write_page(Path(folder, "explorer.html"))
        browser = driver.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        page = browser.new_page(viewport=SIZE)
        page.goto(path.as_uri())
        page.wait_for_selector(".cl-sentence b")
        frames = [frame.resize(SMALL, Image.Resampling.LANCZOS) for frame in drag_slider(page)]
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
