"""Fill the figures of README.md and docs/: ``python docs/readme_numbers.py``.

The text between ``<!--name-->`` and ``<!--/name-->`` is computed here with the library's public
calls, or it is taken from committed files: the notebooks' outputs and benchmarks/results.parquet. A
test fails while a page differs. Selection is always on ``val``.
"""

import contextlib
import functools
import io
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import nbformat

import cascadelib as cl
from cascadelib.figures.tables import fraction, number

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs"), str(ROOT / "notebooks")]
import drawing  # noqa: E402 - a script beside this one, not a package
import measured  # noqa: E402 - so is this

import setup  # noqa: E402 - so is this
from tools.report import expected, rendering  # noqa: E402 - scripts beside the notebooks

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def wrapped(*sentences: str) -> str:
    """Wrap prose at the README's line length."""
    text = " ".join(sentences)
    return textwrap.fill(text, 125, break_on_hyphens=False, break_long_words=False)


@functools.cache
def notebook(number: int) -> Any:
    """Return the committed notebook of a number."""
    return nbformat.read(NOTEBOOKS[number - 1], as_version=4)


def cell_of(number: int, name: str) -> Any:
    """Return a cell of a committed notebook."""
    return next(cell for cell in notebook(number).cells if cell.id == name)


def notebooks() -> str:
    """Return the list of lessons, each by its question."""
    lessons = [(rendering.question_of(notebook(number)), number) for number in range(1, 10)]
    return "\n".join(
        f"- [{question}](notebooks/{NOTEBOOKS[number - 1].name})" for question, number in lessons
    )


def site() -> str | None:
    """Return the address of the site if pyproject.toml has that of the repository."""
    return setup.urls(setup.about(ROOT)["repository"]).get("Documentation")


def install() -> str:
    """Return how to install the package: from this checkout, or from a registry once published."""
    remark = "    # in this checkout" if source() == "." else ""
    return f"```console\n$ pip install '{source()}[explore]'{remark}\n```"


def source() -> str:
    """Return the argument of pip install."""
    return "cascadelib" if setup.about(ROOT)["published"] else "."


def deciding() -> str:
    """Return how to install only the code that decides by a policy file."""
    return f"```console\n$ pip install --no-deps {source()}\n$ pip install numpy\n```"


def live() -> str:
    """Return the link to the live explorer if the site has an address, else the command."""
    if address := site():
        page = f"{address.rstrip('/')}/notebooks/{rendering.LIVE}"
        return f"[**Drag its thresholds in your browser**]({page})."
    return "```console\n$ cascadelib demo    # drag thresholds in your browser\n```"


def table_of(number: int, name: str) -> str:
    """Return a table of a committed notebook in Markdown."""
    (output,) = cell_of(number, name).outputs
    columns, index, *rows = expected.rows_of_table(output.data["text/html"])
    columns[0] = index[0]  # the name of the index has a row of its own
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"|{'|'.join(text.replace('|', chr(92) + '|') for text in line)}|" for line in lines
    )


def printed_by(number: int, name: str) -> str:
    """Return what a cell of a committed notebook printed."""
    return wrapped(rendering.printed(cell_of(number, name)))


def finding(number: int) -> str:
    """Return the finding of a committed notebook."""
    return wrapped(rendering.finding_of(notebook(number)))


@functools.cache
def images(split: str) -> cl.LogitStore:
    """Return the bundled logits on images."""
    return cl.LogitStore(f"data/fashion-mnist/{split}")


@functools.cache
def certified() -> cl.guarantees.Certificate:
    """Return the certificate of lesson 08: half of val selects, the other half certifies."""
    val = images("val")
    front = cl.search(val.take(slice(0, None, 2)), 2)
    return cl.certify(val.take(slice(1, None, 2)), front, epsilon=0.005)


def headline() -> str:
    """Return the first screen's sentence: the certified cascade on held-out images."""
    certificate = certified()
    row = cl.analysis.holds({"test": images("test")}, certificate.point, resamples=50).iloc[0]
    terms = certificate.terms
    return wrapped(
        "A small image classifier, and a large one where the small one is not confident, need",
        f"**{row.saving:.1f}× fewer multiply-accumulates** (95% CI",
        f"{row.saving_low:.1f}–{row.saving_high:.1f}) than the large one alone, and with",
        f"{1 - terms.delta:.0%} confidence they are **at most {100 * terms.epsilon:g} points less",
        f"accurate**. On {row.samples:,} held-out images they are right on",
        f"{fraction(row.accuracy)}, the large one on {fraction(row.last_model_accuracy)}.",
    )


def answers() -> str:
    """Return the output of README's first lines."""
    text = (ROOT / "README.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    space: dict = {}
    printed = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), printed as said:
        exec(code, space)
    return textwrap.indent(wrapped(said.getvalue().strip()), "> ")


def cascade_svg() -> str:
    """Draw the first screen's picture with the figures of the headline's cascade on the test
    images."""
    point = certified().point
    result = cl.evaluate(images("test"), point)
    small, large = point.models
    costs = images("test").models["macs"]
    first, later = (f"{rate:.0%}" for rate in result.exit_rates)
    return drawing.PARTS.format(
        small=small,
        large=large,
        small_cost=number(costs[small]),
        large_cost=number(costs[large]),
        threshold=f"{point.thresholds[0]:.2f}",
        first=first,
        later=later,
        cost=number(result.cost),
    )


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "headline": headline, "live": live, "install": install, "answers": answers,
        "notebooks": notebooks,
    },
    "docs/shift.md": {
        "held-out": partial(finding, 2), "finding": partial(finding, 5),
        "held": partial(table_of, 5, "c07"),
        "texts": partial(table_of, 6, "c12"),
    },
    "docs/index.md": {"headline": headline, "install": install},
    "docs/first-steps.md": {"install": install, "deciding": deciding},
    "docs/ledger.md": {
        "answer": partial(printed_by, 11, "answer"),
        **{name: partial(table_of, 11, name) for name in ("held", "not", "needs", "all")},
    },
    "docs/speed.md": {
        "searching": partial(measured.rows_of, measured.SEARCHING), "load": measured.load,
        "anytime": measured.anytime, "peers": measured.peers,
        "extracting": partial(measured.rows_of, measured.EXTRACTING),
    },
}  # fmt: skip
DRAWING = ".github/cascade.svg"
BLOCKS = [(page, name) for page, blocks in PAGES.items() for name in blocks]


def filled(text: str, page: str, names: Iterable[str] | None = None) -> str:
    """Return the text of a page with its blocks computed, all or those of ``names``."""
    for name in PAGES[page] if names is None else names:
        pattern = rf"(<!--{name}-->\n).*?(<!--/{name}-->)"
        parts = re.split(pattern, text, flags=re.DOTALL)
        found = len(parts) // 3
        if found == 1:
            before, start, end, after = parts
            text = f"{before}{start}{PAGES[page][name]()}\n{end}{after}"
        if found != 1:
            raise ValueError(
                f"{page} has {found} blocks <!--{name}--> … <!--/{name}-->; it needs one"
            )
    return text


if __name__ == "__main__":
    for page in PAGES:
        before = (ROOT / page).read_text(encoding="utf-8")
        (ROOT / page).write_text(filled(before, page), encoding="utf-8")
    (ROOT / DRAWING).write_text(cascade_svg(), encoding="utf-8")
