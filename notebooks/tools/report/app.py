"""Write the explorer of the bundled images as one page (`make app`) and open it.

python notebooks/tools/report/app.py --out build/explorer.html --no-browser
"""

import argparse
import webbrowser
from pathlib import Path

import cascadelib as cl

ROOT = Path(__file__).resolve().parents[3]
DATA = "data/fashion-mnist"


def write_page(out: Path) -> Path:
    """Write the page. Cascades are selected on val and checked on test. The images are those of
    val."""
    store = cl.LogitStore(f"{DATA}/val")
    held_out = cl.LogitStore(f"{DATA}/test")
    images = cl.datasets.fashion_mnist("val", DATA)
    out.parent.mkdir(parents=True, exist_ok=True)
    return cl.explore(store, held_out, images).save_html(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "explorer.html")
    parser.add_argument("--no-browser", action="store_true", help="write the page, open nothing")
    args = parser.parse_args()
    page = write_page(args.out)
    print(page)
    if not args.no_browser:
        webbrowser.open(page.resolve().as_uri())


if __name__ == "__main__":
    main()
