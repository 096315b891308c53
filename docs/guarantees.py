"""Fill the tables of docs/guarantees.md: ``python docs/guarantees.py`` (hours, or
``python docs/guarantees.py NAME`` for one table).

The text between ``<!-- name -->`` and ``<!-- /name -->`` is computed here. Cascades are selected on
samples of ``val``. They are evaluated on all of ``test``, which never selects.
"""

import functools
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.evaluation.intervals import anytime_lower
from cascadelib.guarantees.p_values import paired_p_value

PAGE = Path(__file__).resolve().parent / "guarantees.md"
SIZES = (250, 500, 1000, 2000, 5000, 10_000)  # images that choose
SEEDS = range(10)
EPSILON = 0.01
EPSILONS = (0.01, 0.02, 0.05)
DELTA = 0.05
SIZES_TRIED = np.geomspace(30, 100_000, 86).round().astype(int).tolist()  # 10% apart
DRAWS = 400
OFTEN = 0.8  # of the draws certify
LOST = 0.5  # times ε: only the reference is right
GAINED = 0.25  # only the cascade
NEITHER = 0.5  # both are wrong, in different ways
TABLES = ("sst2", "arxiv", "boolq")
CALL_SEEDS = 10


def images(split: str) -> cl.LogitStore:
    """Return the store of a split of the bundled images."""
    return cl.LogitStore(f"data/fashion-mnist/{split}")


def points(values: Iterable[float]) -> list[str]:
    """Format shares as percentage points with their sign."""
    texts = [f"{100 * value:+.1f}".replace("-", "−") for value in values]
    return [text.replace("−0.0", "0.0").replace("+0.0", "0.0") for text in texts]


def one_choice(store: Any, test: cl.LogitStore, seed: int) -> dict[str, Any]:
    """Return a row of pairs selected on a store: expected accuracy and ``test`` accuracy."""
    front = cl.search(store, 2)
    best = cl.pick(front, "max_improvement")
    reference = front.singles["accuracy"].idxmax()
    matching = cl.pick(front, "match_best", caution=0)
    row = {"promised": best.improvement, "kept": cl.evaluate(test, best).improvement}
    row["promised_accuracy"] = matching.accuracy - front.baseline.best
    row["kept_accuracy"] = cl.evaluate(test, matching).accuracy - test.models.loc[reference, "top1"]
    order = np.random.default_rng(seed).permutation(len(store))
    half = len(order) // 2
    tune = store.take(order[:half])
    check = store.take(order[half:])
    certificate = cl.certify(check, cl.search(tune, 2), EPSILON)
    row["certified"] = certificate.guarantee is not None
    if row["certified"]:
        alone = test.models.loc[certificate.reference]
        result = cl.evaluate(test, certificate.point)
        row["certified_loss"] = alone["top1"] - result.accuracy
        row["certified_cost"] = result.cost / alone["macs"]
    return row


def choosing() -> str:
    """Select on k images: expected and held-out accuracy, medians of ten draws."""
    val = images("val")
    test = images("test")
    lines = []
    for k in SIZES:
        choices = []
        for seed in SEEDS:
            drawn = np.random.default_rng(seed).permutation(len(val))[:k]
            choices.append(one_choice(val.take(drawn), test, seed))
        rows = pd.DataFrame(choices)
        middle = rows.drop(columns="certified").astype(float).median()
        certified = rows[rows["certified"]]
        cells = [f"{k:,}"]
        cells += [f"{middle[name]:.1f}" for name in ("promised", "kept")]
        cells += points([middle["promised_accuracy"], middle["kept_accuracy"]])
        cells += points([rows["kept_accuracy"].min()])
        cells.append(f"{len(certified)} of {len(rows)}")
        if len(certified):
            cells.append(f"{middle['certified_cost']:.0%}")
            cells += points([certified["certified_loss"].max()])
        else:
            cells += ["–", "–"]
        lines.append(cells)
    head = ["images", "× promised", "× kept", "points promised", "points kept"]
    head += ["worst of ten", "certified", "cost ÷ reference's", "largest loss, points"]
    return markdown(head, lines)


def ideal() -> str:
    """Return the ECE of a perfectly calibrated model, a mean over the bundled models on k
    images."""
    test = images("test")
    claims = [cl.analysis.claims_of(test, name) for name in test.models.index]
    rows = []
    for k in SIZES:
        found = [
            cl.analysis.expected_calibration_error(confidence[:k], correct[:k])
            for confidence, correct in claims
        ]
        null = [cl.analysis.ideal_calibration_error(confidence[:k]) for confidence, _ in claims]
        rows.append([f"{k:,}", f"{np.mean(found):.4f}", f"{np.mean(null):.4f}"])
    return markdown(["images", "ECE", "of a perfectly calibrated model"], rows)


@functools.cache
def p_value(lost: int, gained: int, samples: int, epsilon: float) -> float:
    """Return the exact paired p-value, cached because draws repeat their counts."""
    return paired_p_value(lost, gained, samples, epsilon, DELTA)


def counts_of(rng: np.random.Generator, samples: int, epsilon: float) -> list[int]:
    """Count the lost, gained and unchanged samples."""
    shares = [LOST * epsilon, GAINED * epsilon]
    return rng.multinomial(samples, [*shares, 1 - sum(shares)]).tolist()


def paired(rng: np.random.Generator, samples: int, epsilon: float) -> bool:
    """Return whether a draw of labelled samples certifies the cascade."""
    lost, gained, _ = counts_of(rng, samples, epsilon)
    return p_value(lost, gained, samples, epsilon) <= DELTA


def audited(rng: np.random.Generator, inputs: int, epsilon: float) -> bool:
    """Return whether the anytime bound is below ε after a number of audited inputs."""
    lost, gained, same = counts_of(rng, inputs, epsilon)
    return -anytime_lower(gained, same, lost, DELTA / 2) <= epsilon


def fewest(certifies: Callable, epsilon: float) -> int:
    """Return the fewest samples of SIZES_TRIED with which a share OFTEN of the draws certifies."""

    def share(samples: int) -> float:
        rng = np.random.default_rng(samples)
        return float(np.mean([certifies(rng, samples, epsilon) for _ in range(DRAWS)]))

    return SIZES_TRIED[bisect_left(SIZES_TRIED, OFTEN, key=share)]


def rounded(count: float) -> str:
    """Round a count to two digits."""
    return f"{float(f'{count:.2g}'):,.0f}"


def counted(what: str, *counts: Sequence[float]) -> list[str]:
    """Return a row of counts, one per ε."""
    return [what, *(", ".join(map(rounded, values)) for values in zip(*counts))]


@functools.cache
def labels_needed() -> dict[Callable, list[int]]:
    """Return the fewest samples that certify, for each kind of draw and each of EPSILONS."""
    return {one: [fewest(one, e) for e in EPSILONS] for one in (paired, audited)}


def disagreements(counts: Sequence[int]) -> list[float]:
    """Return the expected disagreements among numbers of samples, one per ε."""
    share = LOST + GAINED + NEITHER
    return [share * e * count for e, count in zip(EPSILONS, counts)]


def needed() -> str:
    """Return the labels until a certificate, for three losses."""
    several = labels_needed()
    rows = [
        counted("`certify`, a labelled split: labels", several[paired]),
        counted("`certify` of a `ladder`: labels, none of which choose", several[paired]),
        counted(
            "`certify(…, labels=)`: samples, of which labelled",
            several[paired],
            disagreements(several[paired]),
        ),
        counted("`certify(…, groups=)`: labels in each group", several[paired]),
        counted(
            "`monitor.loss`: audited inputs, of which labelled",
            several[audited],
            disagreements(several[audited]),
        ),
    ]
    return markdown(["", *(f"ε = {epsilon:.0%}" for epsilon in EPSILONS)], rows)


def costs() -> str:
    """Return a row per guarantee: its words, the call, its cost at ε = 2%, and its limits."""
    at = EPSILONS.index(0.02)
    several = {one: counts[at] for one, counts in labels_needed().items()}
    few = disagreements([several[paired]] * len(EPSILONS))[at]
    watched = disagreements([several[audited]] * len(EPSILONS))[at]
    labels = rounded(several[paired])
    rows = [
        [
            "a table: at most ε of its answers differ from the reference's",
            "[`answer_table(table, ask, ε)`](#a-table-and-a-reference-to-call)",
            f"{span(EPSILONS[1])} of the rows are calls",
            "that the reference is correct; a single class",
        ],
        [
            "a cascade loses at most ε of accuracy (of F1, of a mean score) against the reference",
            "[`certify(split, front, ε)`](#certificates)",
            f"{labels} labels that chose nothing",
            "a gain; a cascade that is not in the certificate",
        ],
        [
            "the same, for cascades that no label chose",
            "[`certify(store, ladder(store, models), ε)`](#all-labels-certify-a-ladder)",
            f"{labels} labels in all",
            "that it is the cheapest cascade",
        ],
        [
            "the same, with labels of disagreements only",
            "[`to_label`, `certify(…, labels=)`](#by-few-labels)",
            f"{labels} samples, {rounded(few)} labels",
            "scores other than top-1",
        ],
        [
            "the same in each group or class",
            "`certify(…, groups=)`",
            f"{labels} labels in each group",
            "groups that do not occur",
        ],
        [
            "the mean cost is within the budget",
            "[`certify(…, budget=)`](#prices)",
            "no labels",
            "inputs that cost more than any sample",
        ],
        [
            "a stream: the mean loss so far, at all times",
            "[`cl.monitor(log, policy, labels, epsilon=ε)`](monitoring.md)",
            f"{rounded(several[audited])} audited inputs, {rounded(watched)} labels",
            "the current loss if it changes",
        ],
    ]
    return markdown(["guaranteed", "call", "cost", "not guaranteed"], rows, "---")


def span(epsilon: float) -> str:
    """Return the smallest and the largest share of calls of the bundled tables."""
    shares = [share_of_calls(name, epsilon) for name in TABLES]
    return f"{min(shares):.0%} to {max(shares):.0%}"


@functools.cache
def share_of_calls(name: str, epsilon: float) -> float:
    """Return the mean share of calls of answer_table on a bundled table."""
    frame = pd.read_parquet(f"data/semantic-sql/{name}.parquet")
    p = frame["proxy_pred_true_prob"].to_numpy()
    said = (p >= 0.5).astype(str)
    ids = np.arange(len(p)).astype(str)
    small = cl.ScoreTable(None, [np.maximum(p, 1 - p)], [1], ["small"], ids, predictions=[said])
    answers = pd.Series(frame["oracle_pred"].to_numpy().astype(bool).astype(str), ids).to_dict()
    calls = []
    for seed in range(CALL_SEEDS):
        result = cl.answer_table(small, list, epsilon, seed=seed, bought=dict(answers))
        calls.append(result.asked.mean())
    return float(np.mean(calls))


def calls() -> str:
    """Return the calls of answer_table on the bundled tables."""
    rows = []
    for epsilon in EPSILONS:
        shares = [share_of_calls(name, epsilon) for name in TABLES]
        rows.append([f"ε = {epsilon:.0%}", *(f"{share:.1%}" for share in shares)])
    return markdown(["calls ÷ rows", *TABLES], rows)


def markdown(head: list[str], lines: list[list[str]], rule: str = "---:") -> str:
    """Return a Markdown table from its head and rows of text.

    All columns but the first are right-aligned, or as ``rule`` says.
    """
    rows = [head, ["---", *[rule] * (len(head) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


BLOCKS = {
    "costs": costs,
    "needed": needed,
    "calls": calls,
    "choosing": choosing,
    "ideal": ideal,
}


def filled(text: str, names: Iterable[str] = BLOCKS) -> str:
    """Return the page with the blocks ``names`` computed."""
    for name in names:
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        parts = re.split(pattern, text, flags=re.DOTALL)
        found = len(parts) // 3
        if found != 1:
            raise ValueError(
                f"{PAGE} has {found} blocks <!-- {name} --> … <!-- /{name} -->; it needs one"
            )
        before, start, end, after = parts
        text = f"{before}{start}{BLOCKS[name]()}{end}{after}"
    return text


if __name__ == "__main__":
    names = [name for name in BLOCKS if name in sys.argv[1:] or len(sys.argv) == 1]
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), names), encoding="utf-8")
