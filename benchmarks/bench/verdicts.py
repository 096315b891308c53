"""Turn records, a row per draw and rule, into tests and comparisons, by the criteria of
README.md."""

import numpy as np
import pandas as pd
from bench.task import DELTA
from scipy.stats import binom, false_discovery_control, t, ttest_1samp

from cascadelib.evaluation.intervals import share_interval

CELL = ["file", "labels", "epsilon"]
GUARANTEE = "guarantee"  # the league of rules with a guarantee of ε; others estimate
DOCUMENTED = "as documented"  # inputs of a peer
FITTED = "fitted"  # the same inputs as our rules
SELECTING = 2  # every second draw selects the rules that the others compare
LEVEL = 0.05  # of all tests of a family
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


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """Return the 95% interval of a mean (Student's t)."""
    if len(values) < 2:
        return -np.inf, np.inf
    half = t.isf(LEVEL / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def mean_p_value(values: pd.Series, bound: float, side: str) -> float:
    """Return the p-value of Student's t test that a mean is ``bound``, for one or both sides."""
    if len(values) < 2:
        return 1.0
    if values.std(ddof=1) < 1e-12:
        excess = values.mean() - bound
        return float(abs(excess) < 1e-12 or side == "greater" and excess < 0)
    return float(ttest_1samp(values, bound, alternative=side).pvalue)


def holm(p_values: pd.Series) -> pd.Series:
    """Return p-values that are adjusted for all tests of their family (Holm)."""
    rising = p_values.sort_values()
    left = np.arange(len(rising), 0, -1)
    return np.minimum(1, (rising * left).cummax()).reindex(p_values.index)


def cells_of(records: pd.DataFrame) -> pd.DataFrame:
    """Return a row per file, number of labels, ε and rule.

    Columns: mean cost and loss, the share of broken draws with its 95% interval, the p-value of the
    rule's bound, the same adjusted over all rows of the league's family, breaks, seconds, labels.
    """
    rows = []
    for (file, labels, epsilon, rule), own in records.groupby([*CELL, "rule"], sort=False):
        is_broken = (own["loss"] > epsilon + 1e-12).to_numpy()
        broken = int(is_broken.sum())
        low, high = share_interval(is_broken, kind="exact")
        league = own["league"].iloc[0]
        p_value = float(binom.sf(broken - 1, len(own), DELTA))
        if league != GUARANTEE:
            p_value = mean_p_value(own.groupby("unit")["loss"].mean(), epsilon, "greater")
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
                "p_value": p_value,
                "seconds": own["seconds"].median(),
                "bought": own["bought"].mean(),
            }
        )
    cells = pd.DataFrame(rows)
    family = cells["league"] == GUARANTEE
    cells["adjusted"] = cells.groupby(family)["p_value"].transform(holm)
    cells["breaks"] = cells["adjusted"] <= LEVEL
    return cells


def pooled(records: pd.DataFrame) -> pd.DataFrame:
    """Return a row per rule with a guarantee: counted, exceeded, p_value, adjusted.

    Cells of one draw are dependent, so each draw of a file counts in one cell only: draw d in cell
    d modulo the number of the rule's cells. The counted draws are independent.
    """
    rows = {}
    of_guarantees = records[records["league"] == GUARANTEE]
    for rule, own in of_guarantees.groupby("rule", sort=False):
        counted = exceeded = 0
        for _, of_file in own.groupby("file"):
            cell = of_file.groupby(["labels", "epsilon"]).ngroup()
            rows_of_turn = of_file[cell == of_file["draw"] % (cell.max() + 1)]
            counted += len(rows_of_turn)
            exceeded += int((rows_of_turn["loss"] > rows_of_turn["epsilon"] + 1e-12).sum())
        p_value = float(binom.sf(exceeded - 1, counted, DELTA))
        rows[rule] = {"counted": counted, "exceeded": exceeded, "pooled_p_value": p_value}
    columns = ["counted", "exceeded", "pooled_p_value"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.assign(pooled_adjusted=holm(table["pooled_p_value"]))


def compared(records: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell, league and inputs of the peers, lost ones first.

    The even draws select the rules, the odd draws compare them.
    """
    cells = cells_of(records).set_index([*CELL, "rule"])
    breaking = set(cells.index[cells["breaks"]])
    rows = []
    for (league, *cell), own in records.groupby(["league", *CELL], sort=False):
        held = own[[(*cell, rule) not in breaking for rule in own["rule"]]]
        for inputs in own.loc[~own["ours"], "inputs"].unique():
            if own["ours"].any():
                theirs = held[~held["ours"] & (held["inputs"] == inputs)]
                row = compare(held[held["ours"]], theirs)
                rows.append(dict(zip(CELL, cell)) | {"league": league, "inputs": inputs} | row)
    table = pd.DataFrame(
        rows, columns=list(rows[0]) if rows else [*CELL, "inputs", "verdict", "mean"]
    )
    if not rows:
        return table
    tested = table["p_value"].notna()
    table["adjusted"] = np.nan
    table.loc[tested, "adjusted"] = false_discovery_control(table.loc[tested, "p_value"])
    table["verdict"] = [verdict(row) for _, row in table.iterrows()]
    order = table["verdict"].map({LOST: 0, EVEN: 1, WON: 2})
    table = table.assign(order=order).sort_values(["order", "mean"], ascending=[True, False])
    return table.drop(columns="order").reset_index(drop=True)


def compare(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict:
    """Compare the cheapest rules of two sides in one cell, on the draws that did not select them.

    The difference of costs is ours − theirs, paired by draw. Draws of one unit count as one.
    """
    row: dict = dict.fromkeys(("mean", "low", "high", "p_value"), np.nan)
    sides = {}
    for side, records in (("ours", ours), ("theirs", theirs)):
        selects = records["draw"] % SELECTING == 0
        costs = records[selects].groupby("rule")["cost"].mean()
        rule = None if costs.empty else str(costs.idxmin())
        sides[side] = records[~selects & (records["rule"] == rule)].set_index("draw")
        row[side] = rule
        row[f"{side}_cost"] = sides[side]["cost"].mean()
        row[f"{side}_loss"] = sides[side]["loss"].mean()
    difference = (sides["ours"]["cost"] - sides["theirs"]["cost"]).dropna()
    if len(difference):
        units = sides["theirs"]["unit"].reindex(difference.index)
        difference = difference.groupby(units).mean()
        row["mean"] = float(difference.mean())
        row["low"], row["high"] = mean_interval(difference)
        row["p_value"] = mean_p_value(difference, 0.0, "two-sided")
    return row


def verdict(row: pd.Series) -> str:
    """Return the verdict on one comparison, by the criteria."""
    if pd.isna(row["ours"]) or pd.isna(row["theirs"]):
        if pd.isna(row["ours"]) and pd.isna(row["theirs"]):
            return EVEN
        return LOST if pd.isna(row["ours"]) else WON
    if row["adjusted"] > LEVEL:
        return EVEN
    return LOST if row["mean"] > 0 else WON


def why(row: pd.Series) -> str:
    """Explain the verdict on a comparison by its numbers."""
    if pd.isna(row["theirs"]):
        return "all of theirs break"
    if pd.isna(row["ours"]):
        return "all of ours break"
    shares = [row[f"{side}_loss"] / row["epsilon"] for side in ("ours", "theirs")]
    return "of the allowed loss ours uses {:.0%}, theirs {:.0%}".format(*shares)


def ratios(records: pd.DataFrame, rule: str, peer: str) -> pd.Series:
    """Return the mean cost of a rule ÷ that of a peer in each cell, indexed by file."""
    costs = records.groupby([*CELL, "rule"])["cost"].mean().unstack()
    if not {rule, peer} <= set(costs):
        return pd.Series(dtype=float)
    return (costs[rule] / costs[peer]).dropna().droplevel(["labels", "epsilon"])


def summary_of(records: pd.DataFrame, rules: pd.DataFrame) -> pd.DataFrame:
    """Return a row per rule that ran.

    Columns: cells, the number of cells in which it breaks, its mean cost and share of broken draws
    over cells, seconds, the columns of :func:`pooled` and those of ``rules``.
    """
    groups = cells_of(records).groupby("rule", sort=False)
    found = groups.agg(
        cells=("breaks", "size"),
        breaks=("breaks", "sum"),
        cost=("cost", "mean"),
        broken=("broken", "mean"),
        seconds=("seconds", "median"),
    )
    found = found.join(pooled(records)).join(rules).rename_axis("rule").reset_index()
    order = ["league", "ours", "inputs", "cost"]
    return found.sort_values(order, ascending=[False, False, True, True])
