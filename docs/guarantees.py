"""Fill the tables of docs/guarantees.md on the bundled data: ``python docs/guarantees.py`` (a few minutes).

What stands between ``<!-- name -->`` and ``<!-- /name -->`` is computed here. Chosen is on samples of ``val``; what is
kept is measured on all of ``test``, which never chooses.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl

PAGE = Path(__file__).resolve().parent / "guarantees.md"
sys.path.insert(0, str(PAGE.parents[1] / "notebooks"))
from tools.corruptions import SHIFTED  # noqa: E402 - beside the notebooks
from tools.elsewhere import selection_bias  # noqa: E402 - so is this

SIZES, SEEDS, EPSILON = (250, 500, 1000, 2000, 5000, 10_000), range(10), 0.01
DOMAINS = ("test", "products", "editorials", "tweets")


def images(split):
    """The store of a split of the bundled images."""
    return cl.LogitStore(f"data/fashion-mnist/{split}")


def points(values):
    """Shares as percentage points with their sign."""
    return [
        f"{100 * value:+.1f}".replace("-", "−").replace("−0.0", "0.0").replace("+0.0", "0.0")
        for value in values
    ]


def one_choice(store, test, seed):
    """A row: what pairs that are chosen on a store promise, what halves of it tell, and what ``test`` keeps."""
    front = cl.search(store, 2)
    best, reference = cl.pick(front, "max_improvement"), front.singles["accuracy"].idxmax()
    matching = cl.pick(front, "match_best")
    bias = selection_bias(store, 2, repeats=5, seed=seed).mean()
    row = {"promised": best.improvement, "halves": bias["best_improvement_measured"]}
    row["kept"] = cl.evaluate(test, best).improvement
    row["promised_accuracy"] = matching.accuracy - front.baseline.best
    row["kept_accuracy"] = cl.evaluate(test, matching).accuracy - test.models.loc[reference, "top1"]
    order = np.random.default_rng(seed).permutation(len(store))
    tune, check = store.take(order[: len(order) // 2]), store.take(order[len(order) // 2 :])
    certificate = cl.certify(cl.search(tune, 2), check, EPSILON)
    row["certified"] = certificate.point is not None
    if row["certified"]:
        alone = test.models.loc[certificate.reference]
        result = cl.evaluate(test, certificate.point)
        row |= {
            "certified_loss": alone["top1"] - result.accuracy,
            "certified_cost": result.cost / alone["macs"],
        }
    return row


def choosing():
    """What is chosen on k images: promised and kept, medians of ten draws."""
    val, test, lines = images("val"), images("test"), []
    for k in SIZES:
        drawn = [val.take(np.random.default_rng(seed).permutation(len(val))[:k]) for seed in SEEDS]
        rows = pd.DataFrame([one_choice(store, test, seed) for seed, store in zip(SEEDS, drawn)])
        middle, found = (
            rows.drop(columns="certified").astype(float).median(),
            rows[rows["certified"]],
        )
        kept = points(
            [middle["promised_accuracy"], middle["kept_accuracy"], rows["kept_accuracy"].min()]
        )
        cells = [
            f"{k:,}",
            *(f"{middle[name]:.1f}" for name in ("promised", "halves", "kept")),
            *kept,
        ]
        cells += [f"{len(found)} of {len(rows)}"]
        if len(found):
            cells += [f"{middle['certified_cost']:.0%}", points([found["certified_loss"].max()])[0]]
        lines.append(cells + ["–"] * (10 - len(cells)))
    head = [
        "images",
        "× promised",
        "× in halves",
        "× kept",
        "points promised",
        "points kept",
        "worst of ten",
    ]
    return markdown([*head, "certified", "cost ÷ reference's", "largest loss, points"], lines)


def estimates():
    """Accuracy without labels: the error of each estimate, in points, for the cascade and its last model."""
    shifts = {name: images(f"shift/{name}") for name in SHIFTED}
    domains = {name: cl.LogitStore(f"data/reviews/{name}") for name in DOMAINS}
    tables = [
        (images("val"), {"test": images("test")} | shifts),
        (cl.LogitStore("data/reviews/val"), domains),
    ]
    lines, columns = [], ["thresholded_error", "difference_error", "unchanged_error"]
    for (store, splits), kind in zip(tables, ("images", "reviews")):
        tune, check = store.take(slice(0, None, 2)), store.take(slice(1, None, 2))
        found = cl.analysis.accuracy_estimates(
            cl.pick(cl.search(tune, 2), "near_best"), check, splits
        )
        for split in splits:
            both = found.loc[split]
            cells = [
                cell
                for _, row in both.iterrows()
                for cell in (f"{row['accuracy']:.1%}", *points(row[columns]))
            ]
            lines.append([f"{kind}: {split}", *cells])
        worst = [
            points([rows.abs().max()])[0].lstrip("+")
            for _, one in found.groupby("models", sort=False)
            for rows in [one[column] for column in columns]
        ]
        lines.append([f"{kind}: largest error", "", *worst[:3], "", *worst[3:]])
    head = ["data", "cascade", "thresholded", "difference", "unchanged"]
    return markdown([*head, "large model", *head[2:]], lines)


def ideal():
    """The ECE of a perfectly calibrated model: means over the bundled models' confidences on the first k images."""
    test = images("test")
    claims = [cl.analysis.claims_of(test, name) for name in test.models.index]
    rows = []
    for k in SIZES:
        found = [
            cl.analysis.expected_calibration_error(sure[:k], right[:k]) for sure, right in claims
        ]
        null = [cl.analysis.ideal_calibration_error(sure[:k]) for sure, _ in claims]
        rows.append([f"{k:,}", f"{np.mean(found):.4f}", f"{np.mean(null):.4f}"])
    return markdown(["images", "ECE", "of a perfectly calibrated model"], rows)


def markdown(head, lines):
    """A table in Markdown from its head and rows of text; all columns but the first to the right."""
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


BLOCKS = {"choosing": choosing, "estimates": estimates, "ideal": ideal}


def filled(text, names=BLOCKS):
    """The page with the blocks ``names`` computed."""
    for name in names:
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        text, found = re.subn(
            pattern, lambda m, name=name: m[1] + BLOCKS[name]() + m[2], text, flags=re.DOTALL
        )
        if found != 1:
            raise ValueError(
                f"{PAGE} has {found} blocks <!-- {name} --> … <!-- /{name} -->; it needs one"
            )
    return text


if __name__ == "__main__":
    PAGE.write_text(
        filled(PAGE.read_text(encoding="utf-8"), sys.argv[1:] or BLOCKS), encoding="utf-8"
    )
