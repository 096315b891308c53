"""Measure the calls of a reference for a guarantee, relative to other methods, and its violations.

``data/semantic-sql``, 20 draws. The numbers of others are not bundled. The environment variable
``SEMANTIC_SQL_PEERS`` is a folder with ``peers.csv``. It has the columns file, epsilon, labels,
rule ("mapie", "bargain") and oracle_calls, the share of the rows that they call for.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from measuring import row

from cascadelib.guarantees import peeling
from cascadelib.guarantees.peeling import Peel, peel_table

DATA = Path(__file__).resolve().parents[1] / "data" / "semantic-sql"
FILES = ("sst2", "arxiv", "boolq")
LABELS = (500, 1_000, 4_000)
EPSILONS = (0.05, 0.02)
DELTA = 0.05
BEST = "the best of the fixed numbers"
BARS = {  # of the ratios, (what, to whom, whether the number of labels is chosen): mean, largest
    ("table", "MAPIE", False): ("≤ 0.82", "≤ 1.02"),
    ("source", "MAPIE", False): ("≤ 0.84", "≤ 1.02"),
    ("table", "MAPIE", True): ("≤ 0.84", ""),
    ("source", "MAPIE", True): ("≤ 0.84", ""),
    ("table", "BARGAIN", True): ("≤ 1", "≤ 1"),
    ("source", "BARGAIN", True): ("≤ 1", "≤ 1"),
    ("table", BEST, True): ("≤ 1.03", "≤ 1.08"),
    ("source", BEST, True): ("≤ 1.03", "≤ 1.08"),
}
ORDERS = ("as it is", "adversarial", "looks inside")


def labels(quick: bool = False) -> list[dict]:
    """Return rows of calls on bundled tables, and of guarantees broken on pure noise."""
    return [*calls(quick), *broken(quick)]


def calls(quick: bool) -> list[dict]:
    """Return shares of rows that are called for the guarantee about the table and about its source.

    The second counts the policy and the draw together.
    """
    draws = 1 if quick else 20
    folder = os.environ.get("SEMANTIC_SQL_PEERS")
    peers = pd.read_csv(Path(folder) / "peers.csv") if folder else None
    rows = []
    ratios = defaultdict(list)
    for file in FILES:
        for epsilon in EPSILONS:
            fewest = np.ones(2)
            for count in (*LABELS, None):
                drawn = [shares(file, epsilon, count, seed) for seed in range(draws)]
                asked = np.mean(drawn, axis=0)
                at = f"{file}, ε = {epsilon:.0%}, {count or 'chosen'} labels"
                theirs = others(peers, file, epsilon, count)
                for what, share, least in zip(("table", "source"), asked, fewest):
                    rows.append(row(f"{at}: rows asked, {what}", share, "share", runs=draws))
                    for rule, value in theirs.items():
                        ratios[what, rule, count is None].append(share / value)
                        name = f"{at}: {what} ÷ {rule}"
                        rows.append(row(name, share / value, "ratio", runs=draws))
                    if count is None:
                        ratios[what, BEST, True].append(share / least)
                fewest = np.minimum(fewest, asked)
    return rows + summaries(ratios, quick)


def summaries(ratios: Mapping[tuple[str, str, bool], Sequence[float]], quick: bool) -> list[dict]:
    """Return the mean and the largest of the ratios of :func:`calls` by (what, rule, chosen)."""
    rows = []
    for (what, rule, chosen), values in ratios.items():
        at = f"{'chosen' if chosen else 'fixed'} labels, {what} ÷ {rule}"
        wanted, most = BARS[what, rule, chosen]
        mean = np.exp(np.mean(np.log(values)))
        rows.append(row(f"{at}: geometric mean", mean, "ratio", "" if quick else wanted))
        rows.append(row(f"{at}: largest", max(values), "ratio", "" if quick else most))
    return rows


def others(
    peers: pd.DataFrame | None, file: str, epsilon: float, count: int | None
) -> dict[str, float]:
    """Return {rule: its share of calls}. If labels are selected, MAPIE has its best number."""
    if peers is None:
        return {}
    here = peers[(peers.file == file) & (peers.epsilon == epsilon)]
    mapie = here[here.rule == "mapie"]
    if count is not None:
        mapie = mapie[mapie.labels == count]
    found = {"MAPIE": float(mapie.oracle_calls.min())}
    if count is None:
        found["BARGAIN"] = float(here[here.rule == "bargain"].oracle_calls.min())
    return found


def shares(file: str, epsilon: float, count: int | None, seed: int) -> tuple[float, float]:
    """Return (share of the rows called for the table, for its source)."""
    frame = pd.read_parquet(DATA / f"{file}.parquet")
    p = frame["proxy_pred_true_prob"].to_numpy()
    said = p >= 0.5
    wrong = said != frame["oracle_pred"].to_numpy()
    confidence = np.maximum(p, 1 - p)
    bought = np.zeros(len(p), bool)

    def wrong_at(rows: np.ndarray) -> np.ndarray:
        bought[rows] = True
        return wrong[rows]

    found = peel_table(confidence, said.astype(str), wrong_at, epsilon, DELTA, count, seed=seed)
    border = dict(zip(found.classes, found.borders))
    borders = np.array([border.get(name, found.borders[-1]) for name in ("False", "True")])
    policy = confidence <= borders[said.astype(int)]
    return float(np.mean(~found.kept)), float(np.mean(policy | bought))


def broken(quick: bool) -> list[dict]:
    """Shares of draws in which more than ε is kept wrong, where confidences say nothing and twice
    as many rows are wrong: in the order that is used, in one that keeps the classes whose opened
    labels look worst, and in one that reads labels that are hidden, which must fail."""
    draws = 20 if quick else 2_000
    usual = peeling.STEPS
    least = peeling.LEAST_COMMON
    peeling.STEPS = 40  # or it would take a day
    peeling.LEAST_COMMON = 0.01  # each of 16 classes has a border of its own
    rows = []
    for count in (120, None):
        for order in ORDERS if count else ORDERS[:1]:
            lost = np.mean([broken_by(order, count, seed) for seed in range(draws)], axis=0)
            for what, share in zip(("table", "source"), lost):
                target = "≥ 0.4" if order == "looks inside" else "≤ 0.0665"  # 0.05 + 3.4 errors
                name = f"order {order}, {count or 'chosen'} labels: promises broken, {what}"
                rows.append(row(name, share, "share", "" if quick else target, runs=draws))
    peeling.STEPS = usual
    peeling.LEAST_COMMON = least
    return rows


def broken_by(order: str, count: int | None, seed: int) -> tuple[bool, bool]:
    """Return whether one draw breaks the guarantee about the table, and the one about its
    source."""
    size = 600
    epsilon = 0.1
    rng = np.random.default_rng(10_000 + seed)
    confidence = rng.random(size)
    said = rng.integers(0, 16, size).astype(str)
    wrong = rng.random(size) < 2 * epsilon
    drawn = np.random.default_rng(seed).permutation(size)[:count]
    with mock.patch.object(Peel, "border_risks", risks_of(order, wrong, drawn)):
        found = peel_table(
            confidence, said, lambda rows: wrong[rows], epsilon, DELTA, count, seed=seed
        )
    border = dict(zip(found.classes, found.borders))
    borders = [border.get(str(one), found.borders[-1]) for one in range(16)]
    mass = np.mean(1 - np.clip(borders, 0, 1))
    return bool(np.sum(wrong & found.kept) > epsilon * size), bool(2 * epsilon * mass > epsilon)


def risks_of(order: str, wrong: np.ndarray, drawn: np.ndarray) -> Callable[[Peel], np.ndarray]:
    """Replace :meth:`Peel.border_risks`."""

    def adversarial(peel: Peel) -> np.ndarray:
        said = 1 - 2.0 * peel.wrong[peel.is_open]
        return np.bincount(peel.group[peel.is_open], said, len(peel.queues))

    def looks_inside(peel: Peel) -> np.ndarray:
        hidden = np.setdiff1d(drawn, peel.removed)
        return np.bincount(peel.group[hidden], wrong[hidden], len(peel.queues))

    return {"adversarial": adversarial, "looks inside": looks_inside}.get(order, Peel.border_risks)
