"""Turn records, a row per draw and rule, into cells and comparisons, by the criteria of
docs/bench.md."""

import numpy as np
import pandas as pd
from bench.task import DELTA
from scipy.stats import beta, t

CELL = ["file", "labels", "epsilon"]
PROMISE = "guarantee"  # the league of rules with a guarantee of ε; others estimate
CHOOSES = 2  # every second draw chooses the rules that the others compare
LEVEL = 0.95
LOST = "lost"
WON = "won"
EVEN = "level"


def placed(records: pd.DataFrame, labels: dict[str, list[int]]) -> pd.DataFrame:
    """Assign rules that decide how many labels they buy to a number of labels of the file.

    It is the smallest number that covers their mean purchase, else the largest. labels: the numbers
    of each file.
    """
    records = records.copy()
    own = records[records["own_labels"]]
    for (file, _, _), rows in own.groupby(["file", "epsilon", "rule"]):
        enough = [count for count in labels[file] if count >= rows["bought"].mean()]
        records.loc[rows.index, "labels"] = min(enough, default=labels[file][-1])
    return records


def share_interval(count: int, draws: int) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper and Pearson)."""
    tail = (1 - LEVEL) / 2
    low = beta.ppf(tail, count, draws - count + 1) if count else 0.0
    high = beta.isf(tail, count + 1, draws - count) if count < draws else 1.0
    return float(low), float(high)


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """Return the interval of a mean (Student's t)."""
    if len(values) < 2:
        return -np.inf, np.inf
    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def cells_of(records: pd.DataFrame) -> pd.DataFrame:
    """Return a row per file, number of labels, ε and rule.

    Columns: mean cost and loss, the share of broken guarantees, seconds and labels.
    """
    rows = []
    for (file, labels, epsilon, rule), own in records.groupby([*CELL, "rule"], sort=False):
        broken = int((own["loss"] > epsilon).sum())
        low, high = share_interval(broken, len(own))
        league = own["league"].iloc[0]
        least, _ = mean_interval(own["loss"])
        rows.append(
            {
                "file": file,
                "labels": labels,
                "epsilon": epsilon,
                "rule": rule,
                "ours": bool(own["ours"].iloc[0]),
                "league": league,
                "draws": len(own),
                "cost": own["cost"].mean(),
                "loss": own["loss"].mean(),
                "broken": broken / len(own),
                "broken_low": low,
                "broken_high": high,
                "keeps": low <= DELTA if league == PROMISE else least <= epsilon,
                "seconds": own["seconds"].median(),
                "bought": own["bought"].mean(),
            }
        )
    return pd.DataFrame(rows)


def cheapest(cells: pd.DataFrame, ours: bool) -> str | None:
    """Return the cheapest rule of one side that keeps its guarantee, None if none does."""
    side = cells[(cells["ours"] == ours) & cells["keeps"]]
    return None if side.empty else str(side.loc[side["cost"].idxmin(), "rule"])


def difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[float, float, float]:
    """Return the cost of ours − theirs, paired by draw: mean and interval."""
    paired = ours.set_index("draw")["cost"] - theirs.set_index("draw")["cost"]
    paired = paired.dropna()
    return float(paired.mean()), *mean_interval(paired)


def verdict(row: dict) -> str:
    """Return the verdict on one comparison, by the criteria."""
    ours = row["ours"] is not None and row["ours_keeps"]
    theirs = row["theirs"] is not None and row["theirs_keeps"]
    if ours != theirs:
        return WON if ours else LOST
    if not ours:
        return EVEN
    if row["low"] > 0:
        return LOST
    return WON if row["high"] < 0 else EVEN


def compared(records: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell and league in which both sides have rules, lost ones first.

    The even draws select the rules, the odd draws evaluate them.
    """
    chooses = records["draw"] % CHOOSES == 0
    rows = []
    for (league, *cell), own in records.groupby(["league", *CELL], sort=False):
        if own["ours"].nunique() == 2:
            rows.append(dict(zip(CELL, cell)) | {"league": league} | one(own, chooses[own.index]))
    if not rows:
        return pd.DataFrame(columns=["league", *CELL, "verdict", "ours", "theirs", "mean"])
    table = pd.DataFrame(rows)
    order = table["verdict"].map({LOST: 0, EVEN: 1, WON: 2})
    table = table.assign(order=order).sort_values(["order", "mean"], ascending=[True, False])
    return table.drop(columns="order").reset_index(drop=True)


def one(records: pd.DataFrame, chooses: pd.Series) -> dict:
    """The comparison of one cell."""
    cells = cells_of(records[chooses])
    reported = records[~chooses]
    row: dict = {"mean": np.nan, "low": np.nan, "high": np.nan}
    sides = {}
    for side, ours in (("ours", True), ("theirs", False)):
        rule = cheapest(cells, ours)
        own = reported[reported["rule"] == rule]
        row[side] = rule
        if rule is None:
            empty = dict.fromkeys(("cost", "loss", "broken"), np.nan) | {"keeps": False}
            row |= {f"{side}_{what}": value for what, value in empty.items()}
            continue
        sides[side] = own
        found = cells_of(own).iloc[0]
        for what in ("cost", "loss", "broken", "keeps"):
            row[f"{side}_{what}"] = found[what]
    if len(sides) == 2:
        row["mean"], row["low"], row["high"] = difference(**sides)
    row["verdict"] = verdict(row)
    return row


def why(row: pd.Series) -> str:
    """Explain the verdict on a comparison by its numbers."""
    if row["theirs"] is None:
        return "none of theirs keeps on the even draws"
    if row["ours"] is None:
        return "none of ours keeps on the even draws"
    if row["ours_keeps"] != row["theirs_keeps"]:
        side = "theirs" if row["ours_keeps"] else "ours"
        return f"{side} loses more than ε in {row[f'{side}_broken']:.0%} of the odd draws"
    shares = [row[f"{side}_loss"] / row["epsilon"] for side in ("ours", "theirs")]
    return "of the loss that is allowed ours uses {:.0%}, theirs {:.0%}".format(*shares)


def summary_of(cells: pd.DataFrame, rules: pd.DataFrame) -> pd.DataFrame:
    """Return a row per rule that ran.

    Columns: cells, the number of cells in which it keeps its guarantee, its mean cost over all
    cells, the share of broken draws, seconds, and the columns of ``rules``.
    """
    groups = cells.groupby("rule", sort=False)
    found = groups.agg(
        cells=("keeps", "size"),
        kept=("keeps", "sum"),
        cost=("cost", "mean"),
        broken=("broken", "mean"),
        seconds=("seconds", "median"),
    )
    found = found.join(rules).reset_index()
    return found.sort_values(["league", "ours", "cost"], ascending=[False, False, True])
