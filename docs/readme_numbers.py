"""Fill README.md's figures on the bundled data: ``python docs/readme_numbers.py`` (``--check`` only compares).

What stands between ``<!-- name -->`` and ``<!-- /name -->`` is computed here, with the library's public calls and the
defaults of the notebooks, or is in the notebooks' committed outputs (their answers, the ranking of methods); a test
fails while the README differs. Chosen is always on ``val``; what is held out comes first. No figure of the machine's
speed is made here: those are the benchmarks' (benchmarks/results.md).
"""

import argparse
import difflib
import functools
import re
import sys
import textwrap
from pathlib import Path

import nbformat
import numpy as np

import cascadelib as cl
from cascadelib.tables import arrow, fraction, number

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))
import report  # noqa: E402 - a script beside the notebooks, not a package

README = ROOT / "README.md"
NOTEBOOKS = ROOT / "notebooks"
PAPER = {  # what of the paper a notebook redraws
    "01": "baseline fronts (27 and 25 of 668)",
    "02": "Fig. 1, 2, 5, 10, Table 1",
    "03": "Fig. 4, §4.1",
    "04": "Fig. 3, 8, 9, 11",
    "05": "Fig. 6, 12",
    "06": "Fig. 7",
    "07": "Fig. 13, 14",
}
WORDS = "none one two three four five six seven eight nine ten eleven twelve".split()
DOMAINS = ("products", "editorials", "tweets")


def word(n: int) -> str:
    """A small number in words."""
    return WORDS[n] if n < len(WORDS) else str(n)


def signed(points: float) -> str:
    """A difference in points, its sign shown."""
    return f"{100 * points:+.2f}".replace("-", "−")


def wrapped(*sentences: str, bullet: str = "") -> str:
    """Prose in lines as long as the README's."""
    text = bullet + " ".join(sentences)
    return textwrap.fill(text, 125, subsequent_indent=" " * len(bullet), break_on_hyphens=False, break_long_words=False)


def notebooks() -> str:
    """The table of notebooks: question, figures of the paper, and the answer, from their committed cells."""
    rows = ["| notebook | question | paper | answer on the bundled data |", "|---|---|---|---|"]
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        cells = report.question_of(nb), PAPER.get(path.name[:2], "beyond the paper"), report.answer_of(nb) or "–"
        link = f"[{path.stem}](notebooks/{path.name})"
        rows.append(f"| {' | '.join([link, *(text.replace('|', chr(92) + '|') for text in cells)])} |")
    return "\n".join(rows)


def ranking() -> str:
    """The sentence of notebook 04 on what the paper says of the ranking."""
    cells = nbformat.read(NOTEBOOKS / "04_metrics_comparison.ipynb", as_version=4).cells
    said = [text for cell in cells if "statements of the paper on its ranking" in (text := report.printed(cell))]
    if len(said) != 1:
        raise ValueError(
            f"notebook 04 has {len(said)} printed sentences on the paper's ranking, not one: make notebooks"
        )
    return wrapped(*said)


@functools.cache
def images(split: str) -> cl.LogitStore:
    """The bundled logits on images."""
    return cl.LogitStore(f"data/fashion-mnist/{split}")


@functools.cache
def chosen() -> tuple:
    """(front of pairs on val, the point that matches the best single model there)."""
    front = cl.search(images("val"), 2)
    return front, cl.pick(front, "match_best")


def zoo() -> str:
    """What the zoo is, and how wide the gaps of its hull are."""
    models, front = images("val").models, chosen()[0]
    hull = front.singles.iloc[front.baseline.hull]
    above = [front.baseline.cost_at(0.9), *hull["cost"][hull["accuracy"] > 0.9]]
    return wrapped(
        f"{len(models)} classifiers of {word(models['family'].nunique())} families, trained here on Fashion-MNIST,",
        f"from {number(models['macs'].min())} to {number(models['macs'].max())} MACs.",
        f"{front.singles['on_front'].sum()} are on the single-model front. Above 90% of accuracy each model",
        f"on its hull costs at most {max(np.divide(above[1:], above[:-1])):.1f} times the one before.",
    )


def matched() -> str:
    """Match the best single model: on test, then where it was chosen."""
    front, point = chosen()
    rows = ["| | best single model | cascade of two that matches it | at equal accuracy |", "|---|---:|---:|---:|"]
    test = images("test")
    for label, store, found in (
        ("test", test, cl.evaluate(test, point)),
        ("validation, which chose it", images("val"), point),
    ):
        best = store.models.loc[store.models["top1"].idxmax()]
        alone = f"{fraction(best.top1)} at {number(best.macs)} MACs"
        cascade = f"{fraction(found.accuracy)} at {number(found.cost)}"
        rows.append(f"| {label} | {alone} | {cascade} | **{found.improvement:.2f} ×** less |")
    largest = cl.pick(front, "max_improvement")
    there = cl.evaluate(test, largest)
    text = wrapped(
        f"The cascade is `{arrow(point.models)}` at a max-softmax threshold of {point.thresholds[0]:.4f}. The pair",
        f"with the largest factor where it was chosen, {largest.improvement:.2f} ×, has {there.improvement:.2f} × on",
        f"the test images (`{arrow(largest.models)}`, {fraction(there.accuracy)}). Over the whole range of",
        f"accuracies the pairs save a factor of {cl.mean_improvement_moved(test, front):.2f} on average on the",
        f"test images ({front.mean_improvement():.2f} where chosen).",
    )
    return "\n".join([*rows, "", text])


def held() -> str:
    """One cascade on the test images and the ten shifts, and in words what became of it."""
    _, point = chosen()
    shifts = {name: images(f"shift/{name}") for name in cl.datasets.SHIFTED}
    splits = {"test": images("test"), **shifts, "val": images("val")}
    table = cl.analysis.holds(point, splits, resamples=50)
    jointly = cl.analysis.holds(point, shifts, resamples=5000, level=1 - 0.05 / len(shifts))
    columns = (
        "split, its large model alone, cascade − large model (95%), leave early, costs less than it by, best single"
    )
    rows = ["| " + columns.replace(", ", " | ") + " model there |", "|---|---:|---:|---:|---:|---|"]
    for name, row in table.iterrows():
        best = splits[name].models["top1"].idxmax()
        cells = (
            name.replace("-1", ", mild").replace("-2", ", strong").replace("val", "val (chosen here)"),
            fraction(row.last_model_accuracy),
            f"{signed(row.difference)} ({signed(row.difference_low)} … {signed(row.difference_high)})",
            f"{row.exit_rate:.1%}",
            f"{row.cost_ratio:.2f} ×",
            "the large one" if best == point.models[-1] else f"`{best}`",
        )
        rows.append(f"| {' | '.join(cells)} |")
    worse, better = jointly.index[jointly["difference_high"] < 0], int((jointly["improvement_low"] > 1).sum())
    most = f" ({', '.join(worse)}: {signed(table['difference'][worse].min())} points at worst)" if len(worse) else ""
    bias = cl.analysis.selection_bias(images("val"), repeats=50).mean()
    stands_in = wrapped(
        f"**As a stand-in for its large model** it is certainly worse on {word(len(worse))} of ten shifts{most}.",
        "Harder inputs leave less often: the cascade pays with cost before it pays with accuracy.",
        bullet="- ",
    )
    best_choice = wrapped(
        "**As the best choice** it is certainly better than the single models of the new split on",
        f"{word(better)} of ten. Where the large model itself fails, a far cheaper one is better, and no threshold",
        "repairs that.",
        bullet="- ",
    )
    flatters = wrapped(
        "**Choosing flatters.** Chosen on one half of the validation images and measured on the other, the point with",
        f"the largest improvement has {bias.best_improvement_measured:.1f} × where it promised",
        f"{bias.best_improvement_chosen:.1f} ×; the front has a mean of {bias.mean_improvement_measured:.2f} × where",
        f"it promised {bias.mean_improvement_chosen:.2f} × (means of 50 draws).",
        bullet="- ",
    )
    certain = (
        "Certain: for all ten shifts at once at 95% (Bonferroni; paired intervals, and the bootstrap for improvements)."
    )
    return "\n".join([*rows, "", stands_in, best_choice, flatters, "", certain])


def texts() -> str:
    """The pairs of text classifiers that match the best on val, with and without the bag of words, on other domains."""
    stores = {split: cl.LogitStore(f"data/reviews/{split}") for split in ("val", *DOMAINS)}
    everything, below = list(stores["val"].models.index), []
    for names in ([m for m in everything if m != "bag_of_words"], everything):
        front = cl.search(stores["val"].select(names), 2)
        point = cl.pick(front, accuracy=min(front.baseline.best, front.table["accuracy"].iloc[-1]))
        parts = [stores[split].select(names) for split in DOMAINS]
        below.append(max(part.models["top1"].max() - cl.evaluate(part, point).accuracy for part in parts))
    return wrapped(
        "On text ([notebook 06](notebooks/06_glue.ipynb)): the pair that matches the best single model on film reviews",
        f"is at most {100 * below[0]:.1f} points below the best single model of each other domain (product reviews,",
        f"editorials, tweets); with a bag of words among the candidates, {100 * below[1]:.1f}.",
    )


BLOCKS = {"notebooks": notebooks, "zoo": zoo, "matched": matched, "ranking": ranking, "held": held, "texts": texts}


def filled(text: str, names=BLOCKS) -> str:
    """The README's text with the blocks ``names`` computed."""
    for name in names:
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        text, found = re.subn(pattern, lambda m, name=name: m[1] + BLOCKS[name]() + m[2], text, flags=re.DOTALL)
        if found != 1:
            raise ValueError(f"{README} has {found} blocks <!-- {name} --> … <!-- /{name} -->; it needs one")
    return text


def main() -> int:
    """Fill the README or compare it; 1 where it says something else."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where the README says something else"
    )
    check = parser.parse_args().check
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    print(
        *difflib.unified_diff(before.splitlines(), after.splitlines(), "README.md", "computed", lineterm=""), sep="\n"
    )
    if not check:
        README.write_text(after, encoding="utf-8")
    return int(check and before != after)


if __name__ == "__main__":
    sys.exit(main())
