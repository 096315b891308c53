"""The ledger: published values against slow code, verdicts by their rules, the bundled run's beside
docs/ledger.md."""

import ast
import csv
import math
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from bundled_claims import NOTEBOOKS, PAGE, ROOT, fresh_ledger, needed

from cascadelib import METHODS, published
from cascadelib.evaluation.pareto import Baseline
from tools import ledger

TOLD = ledger.published_values()


def rows(column: Any) -> list:
    """The published models as [(cost at four digits, top-1, row)], those with that cost, cheapest
    first."""
    with open(published.TABLE, encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if row[column]]
    return sorted(
        ((float(f"{float(r[column]):.3e}"), float(r["top1"]), r) for r in table),
        key=lambda r: r[:2],
    )


def front(column: Any) -> list:
    """Those that no other undercuts: all pairs are compared."""
    table = rows(column)

    def is_undercut(a: Any) -> bool:
        return any((b[0] <= a[0] and b[1] > a[1]) or (b[0] < a[0] and b[1] == a[1]) for b in table)

    return [a for a in table if not is_undercut(a)]


def hull_cost(points: Any, accuracy: Any) -> Any:
    """The least cost of random routing between any two of the points."""
    mixed = [min(c for c, a, _ in points if a >= accuracy)]
    for low_cost, low, _ in points:
        mixed += [
            low_cost + (accuracy - low) / (high - low) * (high_cost - low_cost)
            for high_cost, high, _ in points
            if low <= accuracy <= high and low < high
        ]
    return min(mixed)


def test_fronts_as_the_paper_counts_them() -> None:
    macs = front("macs")
    seconds = front("seconds")
    names = {r["model"] for _, _, r in macs}, {r["model"] for _, _, r in seconds}
    counted = len(names[0]), len(names[1]), len(names[0] | names[1])
    assert (
        (TOLD["front-models"], TOLD["time-front-models"], TOLD["models"]) == counted == (27, 25, 43)
    )
    assert (TOLD["pairs"], TOLD["triples"]) == (351, 2925)
    assert TOLD["time-overlap"] == (len(names[0] & names[1]), 43)
    spans = [math.log10(points[-1][0] / points[0][0]) for points in (macs, seconds)]
    assert TOLD["time-orders"] == pytest.approx(spans)
    assert TOLD["time-orders"] == pytest.approx([4.15, 3.32], abs=0.01)
    ends = ledger.LOW, ledger.BEST, ledger.CHEAPEST, ledger.DEAREST
    assert ends == (macs[0][1], macs[-1][1], macs[0][0], macs[-1][0])


def test_table_1_and_the_costs_that_it_implies() -> None:
    macs = front("macs")
    costs = {r["model"]: cost for cost, _, r in macs}
    table = [  # the paper's accuracy, cost, and models
        (0.7588, 136.2e6, "tf_mobilenetv3_small_075", "mobilenetv3_large_100_miil"),
        (0.8339, 732.4e6, "mobilenetv3_large_100_miil", "tf_efficientnet_b3_ns"),
        (0.8732, 14.39e9, "tf_efficientnet_b4_ns", "beit_large_patch16_224"),
    ]
    factors = [hull_cost(macs, accuracy) / cost for accuracy, cost, *_ in table]
    assert TOLD["table1"] == pytest.approx(factors)
    assert TOLD["table1"] == pytest.approx([1.36, 2.10, 3.835], abs=0.005)
    for (_, cost, first, second), exits in zip(table, TOLD["table1-exits"], strict=True):
        assert costs[first] + (1 - exits) * costs[second] == pytest.approx(cost)
    assert TOLD["triple-factor"] == pytest.approx(hull_cost(macs, 0.8794) / (26.32e9 / 1.011))
    accuracy = float(TOLD["resnet-cut"].split()[-1].rstrip("%")) / 100
    assert (
        hull_cost(macs, accuracy) == pytest.approx(4.111e9, rel=2e-3)
        and "1.686G" in TOLD["resnet-cut"]
    )
    share, logs = TOLD["margin-shares"]
    assert share == pytest.approx((0.78 - macs[0][1]) / (macs[-1][1] - macs[0][1]))
    assert share == pytest.approx(2 / 3, abs=0.04)
    assert logs == pytest.approx(
        math.log(hull_cost(macs, 0.78) / macs[0][0], macs[-1][0] / macs[0][0])
    )
    assert logs == pytest.approx(1 / 4, abs=0.02)


def test_what_imagenet_v2_takes() -> None:
    models = [row for *_, row in front("macs")]
    top1 = [float(row["top1"]) for row in models]
    v2 = [float(row["imagenetv2_top1"]) for row in models]
    top5 = [float(row["top5"]) for row in models]
    drops = [a - b for a, b in zip(top1, v2, strict=True)]
    assert list(TOLD["shift-drops"]) == pytest.approx([min(drops), max(drops)])
    assert min(drops) == pytest.approx(0.072, abs=0.006) and max(drops) == pytest.approx(
        0.138, abs=0.003
    )
    assert TOLD["shift-range"] == pytest.approx((max(v2) - min(v2)) - (max(top1) - min(top1)))
    assert TOLD["shift-range"] == pytest.approx(0.057, abs=0.008)
    assert TOLD["shift-order"] == sum(b < a for a, b in zip(v2, v2[1:])) == 4
    assert TOLD["topk-difference"] == pytest.approx([max(top1) - min(top1), max(top5) - min(top5)])


def test_families_are_counted_by_their_names() -> None:
    names = [r["model"] for *_, r in front("macs")]
    noisy = sum("efficientnet" in name and "_ns" in name for name in names)
    assert (
        f"efficientnet {noisy}," in TOLD["pairs-families"] and "levit 1" in TOLD["pairs-families"]
    )
    assert "in time levit 5" in TOLD["time-families"]


@pytest.mark.parametrize(
    "rule, yes, no",
    [
        ("> 1", [1.1, 2], [1.1, 1]),
        ("< 0", [-0.1], [0]),
        ("in 2.5 3", [2.5, 3], [2.5, 3.1]),
        ("is entropy", ["entropy"], ["entropy_most_confident_ts"]),
        ("has _mean_", ["max_softmax_mean_logits"], ["max_softmax"]),
        ("rises", [1, 2, 3], [1, 2, 2]),
        ("falls", [3, 1], [1, 1]),
        ("peaks", [1, 3, 2], [1, 2, 3]),
    ],
)
def test_rules(rule: str, yes: Any, no: Any) -> None:
    claim = pd.Series({"rule": rule, "scope": "any", "why": ""})
    assert (ledger.verdict(yes, claim, ""), ledger.verdict(no, claim, "")) == ("agrees", "differs")
    assert ledger.verdict([], claim, "") == "not comparable: this run has no value"
    there = claim.replace({"any": "imagenet", "": "figures of ImageNet"})
    assert ledger.verdict(yes, there, "imagenet-1k") == "agrees"
    assert ledger.verdict(yes, there, "fashion-mnist") == "not comparable: figures of ImageNet"


def test_what_a_run_has_is_shown_and_judged_and_what_not_is_said() -> None:
    values = {
        "pairs-improve": 0.9,
        "pairs-top": float("nan"),
        "pairs-most": np.float64(3.8),
        "pair-size": None,
    }
    shown = ledger.table(values, "02", "imagenet-1k")
    assert set(shown.columns) == {
        "section",
        "claim",
        "paper",
        "published",
        "held out",
        "this run",
        "verdict",
    }
    assert shown.loc["pairs-improve", ["this run", "verdict"]].tolist() == ["90.0%", "agrees"]
    assert shown.loc["pairs-most", ["published", "this run", "verdict"]].tolist() == [
        "3.83",
        "3.80",
        "agrees",
    ]
    for name in ("pairs-top", "pair-size", "plateau-kept"):
        assert shown.loc[name, ["this run", "verdict"]].tolist() == [
            "–",
            "not comparable: this run has no value",
        ]
    assert shown.loc["pairs-86", "published"] == "needs the models' outputs"
    many = ledger.table({"shift-order": [3, 1, 4, 1, 5, 9]}).loc["shift-order"]
    assert (many["this run"], many["verdict"]) == ("1 to 9 (6 of 6)", "agrees")


def test_what_most_splits_have_to_obey_is_counted() -> None:
    claim = ledger.paper_claims().loc["shift-improve"]  # most > 0.5
    assert [ledger.verdict(v, claim, "") for v in ([0.6, 0.7, 0.2], [0.6, 0.2])] == [
        "agrees",
        "differs",
    ]
    row = ledger.table({"shift-improve": [0.9, 0.8, 0.1, 0.7, 0.6, 0.5]}).loc["shift-improve"]
    assert (row["this run"], row["verdict"]) == ("10% to 90% (4 of 6)", "agrees")


def curve(*rows: Any) -> Any:
    """As ``pair_curve``: threshold, exit_rate, accuracy."""
    return pd.DataFrame(rows, columns=["threshold", "exit_rate", "accuracy"])


def test_pairs_exceed_elsewhere_at_the_threshold_that_was_chosen() -> None:
    here = {
        "up": curve((np.inf, 0, 0.8), (0.9, 0.3, 0.9), (0.4, 0.8, 0.85)),
        "flat": curve((np.inf, 0, 0.8), (0.5, 0.5, 0.7)),
    }
    there = {
        "up": curve((np.inf, 0, 0.7), (0.95, 0.2, 0.75), (0.5, 0.6, 0.6)),
        "flat": curve((np.inf, 0, 0.7), (0.5, 1, 0.9)),
    }
    assert ledger.share_exceeding(here, here) == 0.5
    assert (
        ledger.share_exceeding(here, there) == 0.5
    )  # up at 0.95, the surest that 0.9 lets leave; flat stays with its second
    there["up"].loc[1, "accuracy"] = 0.7
    assert ledger.share_exceeding(here, there) == 0


def test_what_is_held_out_can_leave_a_claim_open() -> None:
    claim = ledger.paper_claims().loc["pairs-top"]  # > 0
    assert [ledger.verdict([0.1], claim, "", held) for held in ([], [0.2], [-0.2])] == [
        "agrees",
        "agrees",
        "open",
    ]
    assert [ledger.verdict([-0.1], claim, "", held) for held in ([], [0.2], [-0.2])] == [
        "differs",
        "open",
        "differs",
    ]
    row = ledger.table({"pairs-top": 0.001}, "02", held_out={"pairs-top": -0.002}).loc["pairs-top"]
    assert row[["held out", "this run", "verdict"]].tolist() == ["-0.200%", "+0.100%", "open"]
    with pytest.raises(ValueError, match="unknown claim"):
        ledger.table({}, held_out={"pairs-mots": 1})


def test_unknown_claims_and_notebooks_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown claim 'pairs-mots'"):
        ledger.table({"pairs-mots": 1})
    with pytest.raises(ValueError, match="unknown claim 'triples'"):
        ledger.table({"triples": 1}, "02")
    with pytest.raises(ValueError, match="unknown notebook '2'"):
        ledger.table({}, "2")


def test_the_table_of_claims() -> None:
    table = ledger.paper_claims()
    assert table.index.is_unique and set(table["notebook"]) == {*NOTEBOOKS, "08"}
    assert {rule.removeprefix("most ").split()[0] for rule in table["rule"] if rule} <= set(
        ledger.RULES
    )
    assert (table[["section", "claim", "paper"]] != "").all(axis=None)
    unjudged = (table["rule"] == "") | (table["scope"] != "any")
    assert (table.loc[unjudged, "why"] != "").all()
    assert set(TOLD) <= set(table.index)


def test_ranges_are_shares_of_the_runs_own() -> None:
    asked = SimpleNamespace(
        baseline=Baseline([1, 2], [ledger.LOW, ledger.BEST]), mean_improvement=lambda *ends: ends
    )
    assert ledger.mean_in(asked, 0.8, 0.86) == pytest.approx((0.8, 0.86))
    asked.baseline = Baseline([1, 2], [0.2, 0.7])
    assert ledger.mean_in(asked, None, (ledger.LOW + ledger.BEST) / 2) == (
        None,
        pytest.approx(0.45),
    )


def test_what_is_cut_out_of_a_notebook() -> None:
    lines = [
        "a = [x for x in 'b']",
        "x = 1",
        "b = {}",
        "b['k'] = a",
        "c = b",
        "c.pop('k')",
        "c.update(a)",
        "print(c)",
    ]
    body = ast.parse("\n".join([*lines, "b |= a"])).body
    assert [ast.unparse(s) for s in needed(body, ["c"])] == [lines[i] for i in (0, 2, 3, 4, 5, 6)]


def stated() -> Any:
    """The rows of docs/ledger.md by id."""
    lines = [
        line.strip("| ").split(" | ")
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line[:1] == "|"
    ]
    head, _, *rows = lines
    return pd.DataFrame(rows, columns=head).set_index("id")


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_the_page_has_the_verdicts_of_the_notebooks_outputs(number: str) -> None:
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    (cell,) = [c for c in nbformat.read(path, as_version=4).cells if "ledger.table(" in c.source]
    rows = BeautifulSoup(cell.outputs[0]["data"]["text/html"], "html.parser").select("tbody tr")
    shown = {row.th.text: row.find_all("td")[-1].text for row in rows}
    page = stated()
    assert shown == page.loc[page["notebook"] == number, "verdict"].to_dict()


def test_how_a_ranking_moves() -> None:
    keys = [(t, f, m) for t in ("x", "y") for f in (0, 1) for m in ("a", "b", "c")]
    table = pd.DataFrame(keys, columns=["task", "fold", "method"])
    table["classes"] = table["task"].map({"x": 5, "y": 2})
    table["accuracy_of_best_model"] = 0.5 + table["fold"] / 10
    table["place"] = [1, 2, 3, 1, 2, 3, 2, 2, 2, 2, 2, 2]
    said = pd.DataFrame(
        {"x": ["holds", "fails", "open"], "y": ["holds", "holds", np.nan]}, index=["s", "t", "u"]
    )
    moves = ledger.ranking_moves(table, said)
    assert moves.loc["x"].drop("accuracy_of_best_model").tolist() == [5, 1, 1, 0, 1.0, "a", "c"]
    assert moves.loc["y", ["classes", "holds", "fails", "open", "first", "last"]].tolist() == [
        2,
        2,
        0,
        0,
        "–",
        "–",
    ]
    assert moves["accuracy_of_best_model"].tolist() == pytest.approx([0.55, 0.55])
    level = table.assign(place=[1.5, 1.5, 3] * 4)
    assert ledger.ranking_moves(level, said)["first"].tolist() == ["a, b", "a, b"]


def made_up(rng: np.random.Generator, tasks: tuple[str, ...] = ("x", "y")) -> Any:
    """A table like that of ``ranking``, with numbers that tie, nearly tie and differ."""
    kinds = [(2, "macs"), (3, "macs"), (2, "seconds")]
    keys = [(t, n, c, f, m) for t in tasks for n, c in kinds for f in (0, 1) for m in METHODS]
    table = pd.DataFrame(keys, columns=["task", "n_models", "cost", "fold", "method"])
    for column in ("mean_improvement", "upper_improvement", "top_accuracy"):
        table[column] = rng.choice([1, 1.0005, 2], len(table)) + 0.1 * table["method"].str.contains(
            "_ts"
        )
    return table


def said_of(table: Any, said: Any, task: Any) -> Any:
    """One statement pair by pair."""
    counted = []
    for fold in (0, 1):
        rows = table[(table.task == task) & (table.fold == fold)]
        rows = rows[(rows.n_models == said.n_models) & (rows.cost == said.cost)].set_index(
            "method"
        )[said.measured]
        leads = [rows[a] / rows[b] - 1 for a in said.better.split() for b in said.worse.split()]
        if all(lead > said.margin for lead in leads):
            counted.append("holds")
        else:
            counted.append("fails" if any(lead < -abs(said.margin) for lead in leads) else "open")
    return counted[0] if counted[0] == counted[1] else "open"


def test_verdicts_are_those_of_all_pairs() -> None:
    statements = pd.read_csv(ledger.STATEMENTS)
    seen = set()
    for seed in range(20):
        table = made_up(np.random.default_rng(seed))
        if seed % 2:  # the two directions agree
            half = table["fold"] == 1
            table.loc[half, table.columns[5:]] = table.loc[~half, table.columns[5:]].to_numpy()
        found = ledger.verdicts(table)
        assert list(found.index) == list(statements["statement"]) and list(found) == ["x", "y"]
        for said in statements.itertuples():
            for task in found:
                assert found.loc[said.statement, task] == said_of(table, said, task)
        seen |= set(found.to_numpy().ravel())
    assert seen == {"holds", "fails", "open"}


def test_verdicts_speak_of_what_was_searched() -> None:
    table = made_up(np.random.default_rng(0))
    pairs = table[(table["n_models"] == 2) & (table["cost"] == "macs")]
    alone = pd.concat([pairs, table[(table["n_models"] == 3) & (table["task"] == "y")]])
    assert ledger.verdicts(pairs).notna().all(axis=None) and len(ledger.verdicts(pairs)) < len(
        ledger.verdicts(alone)
    ) < len(ledger.verdicts(table))
    assert (
        set(ledger.verdicts(alone).isna().loc[:, "x"]) == {True, False}
        and ledger.verdicts(alone)["y"].notna().all()
    )


def test_statements_name_methods_and_numbers_that_there_are() -> None:
    statements = pd.read_csv(ledger.STATEMENTS)
    assert statements["statement"].is_unique
    for said in statements.itertuples():
        better = said.better.split()
        worse = said.worse.split()
        assert {*better, *worse} <= METHODS.keys() and not {*better} & {*worse}
        assert said.measured in ("mean_improvement", "upper_improvement", "top_accuracy")


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
def test_no_verdict_of_the_bundled_run_changes_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one is meant to: ``python tests/bundled_claims.py`` rewrites the page."""
    monkeypatch.delenv("CASCADELIB_QUICK", raising=False)
    monkeypatch.chdir(".")  # and back
    kept = stated()
    fresh = fresh_ledger().astype(str).set_index("id")
    assert list(kept.index) == list(fresh.index)
    changed = fresh["verdict"][fresh["verdict"] != kept["verdict"]]
    assert changed.empty, f"verdicts that docs/ledger.md has otherwise: {changed.to_dict()}"
    assert (fresh["published"] == kept["published"]).all()
