"""Fill the figures of README.md and of docs/ on the bundled data: ``python docs/readme_numbers.py``
(``--check`` only compares).

The text between ``<!--name-->`` and ``<!--/name-->`` is computed here, with the library's public
calls and the defaults of the notebooks. Or it is taken from committed files: the notebooks'
outputs and benchmarks/results.parquet. A test fails while a page
differs. Selection is always on ``val``, and held-out figures come first.
"""

import argparse
import contextlib
import difflib
import functools
import io
import json
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.figures.tables import arrow, fraction, number

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs"), str(ROOT / "notebooks")]
sys.path.append(str(ROOT / "data" / "fashion-mnist"))
import drawing  # noqa: E402 - a script beside this one, not a package
import measured  # noqa: E402 - so is this
from corruptions import SHIFTED  # noqa: E402 - so is this

import setup  # noqa: E402 - so is this
from tools.report import expected, rendering  # noqa: E402 - scripts beside the notebooks

NOTEBOOKS = ROOT / "notebooks"
WORDS = "none one two three four five six seven eight nine ten eleven twelve".split()
DOMAINS = ("products", "editorials", "tweets")


def word(n: int) -> str:
    """Return a small number in words."""
    return WORDS[n] if n < len(WORDS) else str(n)


def signed(points: float) -> str:
    """Format a difference in points with its sign."""
    return f"{100 * points:+.2f}".replace("-", "−")


def wrapped(*sentences: str, bullet: str = "") -> str:
    """Wrap prose at the README's line length."""
    text = bullet + " ".join(sentences)
    return textwrap.fill(
        text,
        125,
        subsequent_indent=" " * len(bullet),
        break_on_hyphens=False,
        break_long_words=False,
    )


@functools.cache
def cells(start: str) -> list:
    """Return the cells of the committed notebook of that number."""
    (path,) = NOTEBOOKS.glob(f"{start}_*.ipynb")
    return nbformat.read(path, as_version=4).cells


def notebooks() -> str:
    """Return the list of lessons, each by its question."""
    rows = []
    for path in sorted(NOTEBOOKS.glob("0[0-9]_*.ipynb")):
        question = rendering.question_of(nbformat.read(path, as_version=4))
        rows.append(f"- [{question}](notebooks/{path.name})")
    return "\n".join(rows)


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


PURPOSE = {
    "numpy alone": "deciding by a policy file",
    "the core": "tables and stores: searching, certifying, evaluating; policies that run",
    "[explore]": "figures, and the explorer as a widget and as a page",
    "[sklearn]": "`CascadeClassifier`",
    "[vision]": "torch models: images, extraction, `cl.Cascade`",
    "[text]": "texts, with transformers",
    "[notebooks]": "the notebooks, with `[explore]`",
    "[all]": "all of these",
}


def extras() -> str:
    """Return the sizes of the core and each extra, from benchmarks/extras.py."""
    found = json.loads((ROOT / "benchmarks" / "extras.json").read_text(encoding="utf-8"))
    lines = ["| install | for | packages | MB |", "|---|---|---:|---:|"]
    for name, (packages, megabytes) in found["sizes"].items():
        more = "+" if name.startswith("[") else ""
        lines.append(f"| {name} | {PURPOSE[name]} | {more}{packages} | {more}{megabytes:,} |")
    remark = wrapped(
        "The figures of an extra are its additions to the core. Extras share packages, so the sums",
        "are larger than the totals. Counted by `python benchmarks/extras.py` on Linux, with",
        f"torch {found['torch']}.",
        "The default torch for Linux includes CUDA and needs several GB more.",
    )
    return "\n".join([*lines, "", remark])


def live() -> str:
    """Return the link to the live explorer if the site has an address, else the command."""
    if address := site():
        page = f"{address.rstrip('/')}/notebooks/{rendering.LIVE}"
        return f"[**Drag its thresholds in your browser**]({page})."
    return "```console\n$ cascadelib demo    # drag thresholds in your browser\n```"


def ledger_table(cell_id: str) -> str:
    """Return a table of the committed notebook 11 in Markdown."""
    (cell,) = [cell for cell in cells("11") if cell.id == cell_id]
    (output,) = cell.outputs
    columns, index, *rows = expected.rows_of_table(output.data["text/html"])
    columns[0] = index[0]  # the name of the index has a row of its own
    lines = []
    for row in [columns, ["---"] * len(columns), *rows]:
        escaped = [text.replace("|", "\\|") for text in row]
        lines.append(f"|{'|'.join(escaped)}|")
    return "\n".join(lines)


def ledger_answer() -> str:
    """Return which main claims are supported, and the number of claims by verdict."""
    (cell,) = [cell for cell in cells("11") if cell.id == "answer"]
    return wrapped(rendering.printed(cell))


@functools.cache
def images(split: str) -> cl.LogitStore:
    """Return the bundled logits on images."""
    return cl.LogitStore(f"data/fashion-mnist/{split}")


@functools.cache
def chosen() -> tuple:
    """Return (front of pairs on val, the point that matches the best single model there)."""
    front = cl.search(images("val"), 2)
    return front, cl.pick(front, "match_best", caution=0)


@functools.cache
def evaluated(split: str) -> pd.Series:
    """Return the evaluation of the chosen cascade on a split of the images."""
    return cl.analysis.holds({split: images(split)}, chosen()[1], resamples=50).iloc[0]


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
    with contextlib.redirect_stdout(io.StringIO()) as said, tempfile.TemporaryDirectory() as folder:
        exec(code.replace("policy.json", f"{folder}/policy.json"), space)
    return textwrap.indent(wrapped(said.getvalue().strip()), "> ")


def zoo() -> str:
    """Describe the zoo and the largest gaps of its hull."""
    models = images("val").models
    front = chosen()[0]
    hull = front.singles.iloc[front.baseline.hull]
    above = [front.baseline.cost_at(0.9), *hull["cost"][hull["accuracy"] > 0.9]]
    return wrapped(
        f"{len(models)} classifiers of {word(models['family'].nunique())} families, trained here "
        "on Fashion-MNIST,",
        f"from {number(models['macs'].min())} to {number(models['macs'].max())} MACs.",
        f"On the validation images {front.singles['on_front'].sum()} are on the single-model "
        "front. Above 90% accuracy each model on the hull costs at most "
        f"{max(np.divide(above[1:], above[:-1])):.1f}× as much as the previous one.",
    )


def factor(value: float, low: float, high: float) -> str:
    """Format a factor and its 95% interval."""
    return f"{value:.2f}× [{low:.2f}–{high:.2f}]"


def mean_factor(store: cl.LogitStore, front: cl.Front) -> str:
    """Return the mean improvement of fixed cascades on a split, with its interval."""
    mean = front.mean_improvement()
    drawn = cl.bootstrap(store, front, 500).mean_improvement()
    low, high = cl.analysis.interval(drawn)  # too high: of many cascades, only the best counts
    return factor(mean, 2 * mean - high, 2 * mean - low)


def matched() -> str:
    """Compare with the best single model: on test, then on the selection split."""
    front, point = chosen()
    rows = [
        "| | best single model | pair that matches it | cost of its large model ÷ cost of the pair "
        "| improvement factor |",
        "|---|---:|---:|---:|---:|",
    ]
    test = images("test")
    for label, store in (("test", test), ("validation (selection split)", images("val"))):
        found = cl.evaluate(store, point)
        best = store.models.loc[store.models["top1"].idxmax()]
        alone = f"{fraction(best.top1)} at {number(best.macs)} MACs"
        cascade = f"{fraction(found.accuracy)} at {number(found.cost)}"
        row = cl.analysis.holds({label: store}, point, resamples=50).iloc[0]
        large = factor(row.saving, row.saving_low, row.saving_high)
        drawn = cl.bootstrap(store, point).improvement[:, 0]
        hull = factor(found.improvement, *cl.analysis.interval(drawn))
        rows.append(f"| {label} | {alone} | {cascade} | **{large}** | {hull} |")
    largest = cl.pick(front, "max_improvement")
    there = cl.evaluate(test, largest)
    moved = cl.analysis.front_on(test, front)
    text = wrapped(
        f"The cascade is `{arrow(point.models)}` at a max-softmax threshold of "
        f"{point.thresholds[0]:.4f}. Intervals have 95% confidence. Near the best single model "
        "the hull is steep, so the improvement factor is uncertain. The pair",
        f"with the largest factor on the selection split, {largest.improvement:.2f}×, has "
        f"{there.improvement:.2f}× on",
        f"the test images (`{arrow(largest.models)}`, {fraction(there.accuracy)}). Over the full "
        "range of",
        f"accuracies the mean improvement factor of pairs is {mean_factor(test, moved)} on the",
        f"test images and {mean_factor(images('val'), front)} on the selection split.",
    )
    return "\n".join([*rows, "", text])


@functools.cache
def shifts() -> tuple:
    """Return (splits, a row each of the point on them, a row per shift at a joint level for all
    ten)."""
    moved = {name: images(f"shift/{name}") for name in SHIFTED}
    splits = {"test": images("test"), **moved, "val": images("val")}
    jointly = cl.analysis.holds(moved, chosen()[1], resamples=5000, level=1 - 0.05 / len(moved))
    return splits, cl.analysis.holds(splits, chosen()[1], resamples=50), jointly


def in_words(name: str) -> str:
    """Format a split's name: blur-2 → strong blur."""
    kind, _, strength = name.partition("-")
    if not strength:
        return name
    return f"mild {kind}" if strength == "1" else f"strong {kind}"


def held() -> str:
    """Evaluate one cascade on the test images and the ten shifts, a row per split."""
    splits, table, _ = shifts()
    columns = (
        "split, large model, cascade − large model (points), exit early, cost of the large model ÷ "
        "cost of the cascade, best single model on the split"
    )
    rows = ["| " + columns.replace(", ", " | ") + " |", "|---|---:|---:|---:|---:|---|"]
    for name, row in table.iterrows():
        alone = splits[name].models["top1"]
        best = (
            "the same"
            if alone.idxmax() == chosen()[1].models[-1]
            else f"`{alone.idxmax()}`, {fraction(alone.max())}"
        )
        shown = (
            "val (selection split)" if name == "val" else in_words(name),
            fraction(row.last_model_accuracy),
            (
                f"{signed(row.difference)} ({signed(row.difference_low)} … "
                f"{signed(row.difference_high)})"
            ),
            f"{row.exit_rate:.1%}",
            f"{row.saving:.2f}×",
            best,
        )
        rows.append(f"| {' | '.join(shown)} |")
    return "\n".join(rows)


def listed(names: pd.Series) -> str:
    """Return " (strong blur +4.05, … points)" of a column of differences, "" of an empty one."""
    if not len(names):
        return ""
    parts = [f"{in_words(name)} {signed(value)}" for name, value in names.items()]
    return f" ({', '.join(parts)} points)"


@functools.cache
def shift_bullets() -> list[tuple[str, str]]:
    """Describe the cascade on the ten shifts: (in short, further details)."""
    splits, table, jointly = shifts()
    worse = jointly["difference"][jointly["difference_high"] < 0]
    surpassed = jointly["difference"][jointly["difference_low"] > 0]
    better = int((jointly["improvement_low"] > 1).sum())
    ahead = pd.Series(
        {name: splits[name].models["top1"].max() - row.accuracy for name, row in jointly.iterrows()}
    )
    far = ahead.idxmax()
    macs = images("val").models["macs"]
    saved = table["saving"][list(jointly.index)]
    best = splits[far].models["top1"].idxmax()
    return [
        (
            f"**Compared with its large model**: significantly worse on {word(len(worse))} of "
            f"ten shifts{listed(worse)}, significantly better on "
            f"{word(len(surpassed))}{listed(surpassed)}, with {saved.min():.1f}× to "
            f"{saved.max():.1f}× fewer MACs.",
            "Fewer of the harder inputs exit early.",
        ),
        (
            "**Compared with every single model**: significantly better on"
            f" {word(better)} of ten shifts.",
            f"If the large model fails, another model may be better. On {in_words(far)}, "
            f"`{best}` has {fraction(ahead[far] + jointly.accuracy[far])} accuracy at "
            f"{number(macs[best])} MACs, the cascade {fraction(jointly.accuracy[far])} at "
            f"{number(jointly.cost[far])}.",
        ),
    ]


def in_bullets() -> str:
    """Describe the shifts at length."""
    return "\n".join(wrapped(*parts, bullet="- ") for parts in shift_bullets())


def texts() -> str:
    """Evaluate pairs of text classifiers on other domains, with and without the bag of words.

    The pairs match the best model on val.
    """
    stores = {split: cl.LogitStore(f"data/reviews/{split}") for split in ("val", *DOMAINS)}
    everything = list(stores["val"].models.index)
    below = []
    for names in ([m for m in everything if m != "bag_of_words"], everything):
        front = cl.search(stores["val"].select(names), 2)
        point = cl.pick(front, "near_best", caution=0)
        parts = [stores[split].select(names) for split in DOMAINS]
        below.append(
            max(part.models["top1"].max() - cl.evaluate(part, point).accuracy for part in parts)
        )
    return wrapped(
        "The pair that matches the best single model on film reviews ([notebook "
        "06](../notebooks/06_glue.ipynb))",
        f"is at most {100 * below[0]:.1f} points below the best single model of each other domain "
        "(product reviews,",
        f"editorials, tweets), or {100 * below[1]:.1f} points with a bag of words among the",
        "candidates.",
    )


def measured_conditions() -> str:
    """Return which jobs were measured on a busy machine."""
    return wrapped(measured.conditions())


def cascade_svg() -> str:
    """Draw the first screen's picture with the figures of the headline's cascade on the test
    images."""
    point = certified().point
    result = cl.evaluate(images("test"), point)
    macs = images("test").models["macs"]
    small, large = point.models
    first, later = (f"{rate:.0%}" for rate in result.exit_rates)
    return drawing.cascade_svg(
        title=(
            f"A cascade: {small} answers {first} of the test images, those on which it is "
            f"confident. {large} answers the others."
        ),
        **{
            "small": small,
            "large": large,
            "small_cost": number(macs[small]),
            "large_cost": number(macs[large]),
        },
        **{
            "threshold": f"{point.thresholds[0]:.2f}",
            "first": first,
            "later": later,
            "cost": number(result.cost),
        },
    )


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "headline": headline, "live": live, "install": install, "answers": answers,
        "notebooks": notebooks,
    },
    "docs/shift.md": {
        "zoo": zoo, "matched": matched, "held": held, "in-bullets": in_bullets, "texts": texts,
    },
    "docs/index.md": {"headline": headline, "install": install},
    "docs/first-steps.md": {"install": install, "extras": extras, "deciding": deciding},
    "docs/scale.md": {
        "workers": functools.partial(measured.rows_of, measured.WORKERS),
        "executors": functools.partial(measured.rows_under_load, measured.EXECUTORS),
        "memory": functools.partial(measured.rows_of, measured.MEMORY),
    },
    "docs/ledger.md": {
        "answer": ledger_answer,
        **{name: functools.partial(ledger_table, name) for name in ("held", "not", "needs", "all")},
    },
    "docs/speed.md": {
        name: functools.partial(measured.rows_of, entries)
        for name, entries in (
            ("searching", measured.SEARCHING), ("extracting", measured.EXTRACTING),
            ("running", measured.RUNNING),
        )
    } | {
        "quiet": measured_conditions,
        **{kind: functools.partial(measured.peers, kind) for kind in ("pairs", "triples")},
        "anytime": measured.anytime,
        "graded": measured.graded,
        "limits": measured.limits,
        "many": functools.partial(measured.rows_under_load, measured.MANY_MODELS),
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


def computed() -> dict[str, tuple[str, str]]:
    """Return {page, or the drawing: (current text, computed text)}."""
    texts = {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in (*PAGES, DRAWING)
        if (ROOT / name).is_file()
    }
    return {page: (texts[page], filled(texts[page], page)) for page in PAGES} | {
        DRAWING: (texts.get(DRAWING, ""), cascade_svg())
    }


def main() -> int:
    """Fill the pages or compare them. Return 1 if one differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing, and exit with 1 if a page differs",
    )
    check = parser.parse_args().check
    differ = False
    for page, (before, after) in computed().items():
        differ |= before != after
        print(
            *difflib.unified_diff(
                before.splitlines(), after.splitlines(), page, "computed", lineterm=""
            ),
            sep="\n",
        )
        if not check:
            (ROOT / page).write_text(after, encoding="utf-8")
    return int(check and differ)


if __name__ == "__main__":
    sys.exit(main())
