"""The paper's claims next to the results of these notebooks, with a verdict per claim."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Baseline, published
from cascadelib.checks import validate_choice
from cascadelib.files import ROOT, replace_atomically
from tools import study
from tools.evidence import Evidence, EvidenceByClaim, is_known
from tools.published_claims import published_evidence
from tools.ranges import BEST, LOW
from tools.verdicts import (
    CONTRADICTED,
    DEPENDS,
    RULES,
    SUPPORTED,
    UNDETERMINED,
    UNTESTABLE,
    Verdict,
    combined,
    evaluate_claims,
)

CLAIMS = Path(__file__).with_name("claims.csv")
FOLDER = ROOT / "build" / "ledger"  # the notebooks' claims, unless CASCADELIB_LEDGER is set
MOST_PARTS = 4  # parts of a value that are listed
ELSEWHERE = ("06", "08")  # notebooks with separate data
KINDS_OF_COST = {
    "macs": "macs",
    "seconds": "published_seconds",
    "own seconds": "seconds",
}  # by axis
LIMITS = {".0%": (0, 1), ".1%": (0, 1), "+.2f": (-1, 1)}  # of shares and correlations, by format
COLUMNS = ["section", "claim", "paper", "published", "held out", "this run", "verdict"]
SHORT = ["claim", "paper", "this run", "verdict"]  # columns in a notebook


@cache
def paper_claims() -> pd.DataFrame:
    """Return the paper's claims, a row each, by id.

    Columns: notebook ("01" … "08"), section, claim in our words, paper (its value). show: the
    format of a number. family: claims with simultaneous intervals. axis: the kind of cost of the
    claim ("macs"; "seconds": the paper's published times; "own seconds": measured here). split: the
    data of the claim ("given": nothing sampled; "chosen": the selection split; "held": other
    samples of the same distribution; "methods": both directions, held out; "shift": shifted splits;
    "any"). over: the population of its interval ("samples", "models", "nothing"). rule (of
    :mod:`tools.verdicts`). other_rule: the same rule with another bound, if the paper states none
    and the bound is ours. better, worse: patterns of methods. scope: the first letters of the
    names of data sets that can test it. why: the reason if they can't. unpublished: why published
    figures can't.
    """
    return pd.read_csv(CLAIMS, dtype=str, keep_default_na=False).set_index("id")


def table(
    values: Mapping[str, Any],
    notebook: str | None = None,
    dataset: str = "",
    held_out: Mapping[str, Any] | None = None,
    other_way: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Compare a run with the paper's claims (of one notebook), a row each, and store them for
    notebook 11.

    Columns: section, claim, paper. published: the result from timm's figures, with its verdict.
    held out: the same cascades on other samples of the same distribution, with their verdict. this
    run, and the verdict (:mod:`tools.verdicts`) on the split of the claim.

    Parameters
    ----------
    values : {id: Evidence, number, text or sequence}
        On the selection split, as in the paper. None or nan: this run has no value.
    notebook : str, optional
    dataset : str
        The name in the run's store.
    held_out, other_way : mapping, optional
        Held-out values, selected on the first split and evaluated on the second, and with both
        splits exchanged. Values of other data are ignored.

    Raises
    ------
    ValueError
        If the notebook is unknown, or if an id is not one of these claims.
    """
    claims = paper_claims()
    if notebook is not None:
        validate_choice(notebook, sorted(set(claims["notebook"])), "notebook")
        claims = claims[claims["notebook"] == notebook]
    run, held, back = (known_values(side or {}, claims) for side in (values, held_out, other_way))
    held, back = (of_dataset(side, dataset) for side in (held, back))
    found = verdicts_on_run(claims, run, held, back, dataset)
    in_scope = claims[is_in_scope(claims, dataset)]
    on_held = {
        name: verdict
        for name, verdict in verdicts_of(in_scope, in_all(held)).items()
        if found[name].word != UNTESTABLE
    }
    from_timm = known_values(published_evidence(), paper_claims())
    published_words = texts(claims, from_timm, verdicts_of(claims, in_all(from_timm)))
    unpublished = claims["unpublished"].replace("", "needs the models' outputs")
    rows = claims[["section", "claim", "paper"]].copy()
    rows["published"] = published_words.where(published_words != "", unpublished)
    rows["held out"] = texts(claims, held, on_held).replace("", "–")
    rows["this run"] = texts(claims, run, {}).replace("", "–")
    rows["verdict"] = [str(found[name]) for name in claims.index]
    if notebook is not None and dataset:
        store_claims(rows, notebook, dataset, run)
    return rows


def known_values(values: Mapping[str, Any], claims: pd.DataFrame) -> EvidenceByClaim:
    """Return the values without missing parts as Evidence. Refuse ids of other claims."""
    known = {}
    for name, value in values.items():
        validate_choice(name, claims.index, "claim")
        found = value if isinstance(value, Evidence) else Evidence(value)
        if is_known(found.value):
            known[name] = found
    return known


def is_in_scope(claims: pd.DataFrame, dataset: str) -> list[bool]:
    """Return for each claim whether a data set can test it."""
    return [scope == "any" or dataset.startswith(scope) for scope in claims["scope"]]


def texts(
    claims: pd.DataFrame, values: EvidenceByClaim, verdicts: Mapping[str, Verdict]
) -> pd.Series:
    """Return each claim's value and verdict as text, "" without a value."""
    found = {}
    for name, claim in claims.iterrows():
        each = values.get(name)
        verdict = verdicts.get(name)
        found[name] = "" if each is None else in_words(each, claim)
        if each is None or verdict is None or isinstance(each.value, str):
            continue
        word = verdict.word
        if word == UNDETERMINED and verdict.reason == "no interval":  # as if the value were exact
            exact = pd.DataFrame([claim.replace({claim["over"]: "nothing"})], [name])
            word = f"{evaluate_claims(exact, {name: [each]})[name].word} (no interval published)"
        found[name] += f": {word}"
    return pd.Series(found, claims.index, dtype=object)


def of_dataset(values: EvidenceByClaim, dataset: str) -> EvidenceByClaim:
    """Return the evidence of one data set. A shifted split has no vote on other claims."""
    return {name: each for name, each in values.items() if each.dataset in ("", dataset)}


def in_all(*directions: EvidenceByClaim) -> dict[str, list[Evidence]]:
    """Return {id of a claim: its evidence in all directions} of the claims that all of them
    have."""
    first, *others = directions
    return {
        name: [values[name] for values in directions]
        for name in first
        if all(name in values for values in others)
    }


def by_kind(parts: Sequence[Evidence]) -> dict[str, list[Evidence]]:
    """Return {kind of training: evidence of a claim in all directions}, {} if a number is missing.

    Evidence that is not by kind has the kind "".
    """
    are_numbers = [is_known(part.value) and not isinstance(part.value, str) for part in parts]
    if not parts or not all(are_numbers):
        return {}
    return {kind: [part] for kind, part in parts[0].kinds.items()} or {"": list(parts)}


def verdicts_of(
    claims: pd.DataFrame, evidence: Mapping[str, Sequence[Evidence]]
) -> dict[str, Verdict]:
    """Return {id: verdict} of the claims with a rule and a number, by family.

    evidence: {id of a claim: its evidence in each direction}, see :func:`in_all`. A claim with
    evidence by kind of training has one test for each kind.
    """
    found: dict[str, Verdict] = {}
    for _, family in claims[claims["rule"] != ""].groupby("family"):
        tests = {name: by_kind(evidence.get(name, ())) for name in family.index}
        keys = [(name, kind) for name, kinds in tests.items() for kind in kinds]
        labels = [f"{name} {kind}" for name, kind in keys]
        table = family.loc[[name for name, _ in keys]].set_axis(labels, axis=0)
        parts = {label: tests[name][kind] for label, (name, kind) in zip(labels, keys)}
        verdicts = evaluate_claims(table, parts)
        for name, kinds in tests.items():
            if kinds:
                found[name] = combined({kind: verdicts[f"{name} {kind}"] for kind in kinds})
    return found


def verdicts_on_run(
    claims: pd.DataFrame,
    run: EvidenceByClaim,
    held: EvidenceByClaim,
    back: EvidenceByClaim,
    dataset: str,
) -> dict[str, Verdict]:
    """Return {id: verdict} of a run.

    A claim on methods is tested held out, in both directions together, if the run has them. Other
    claims are tested on their evidence in ``run``. A claim with a bound of ours is also tested with
    another bound.
    """
    in_scope = claims[is_in_scope(claims, dataset)]
    of_methods = in_scope.index[in_scope["split"] == "methods"]
    both = in_all(held, back)
    evidence = in_all(run) | {name: both[name] for name in of_methods if name in both}
    decided = verdicts_of(in_scope, evidence)
    is_ours = in_scope["other_rule"] != ""
    rules = in_scope["other_rule"].where(is_ours, in_scope["rule"])
    others = verdicts_of(in_scope.assign(rule=rules), evidence)  # families keep their size
    found = {}
    for name, claim in claims.iterrows():
        found[name] = decided.get(name, Verdict(UNDETERMINED, reason="no interval"))
        if name in others and claim["other_rule"]:
            _, *bounds = claim["other_rule"].replace("-", "−").split()
            text = f"{others[name].word} with the bound {' and '.join(bounds)}"
            found[name] = replace(found[name], other_bound=text)
        if reason := why_not(claim, run.get(name), dataset):
            found[name] = Verdict(UNTESTABLE, reason=reason)
    return found


def why_not(claim: pd.Series, found: Evidence | None, dataset: str) -> str:
    """Return the reason that this run can't test a claim, "" if it can."""
    if not claim["rule"]:
        return claim["why"] or "the paper has no number to test"
    if claim["scope"] != "any" and not dataset.startswith(claim["scope"]):
        return claim["why"]
    if found is None and claim["scope"] == "any" and claim["why"]:
        return claim["why"]
    if found is None and claim["axis"] == "seconds":
        return "no published times of these models"
    if found is None:
        return "this run has no value"
    if claim["split"] == "held" and found.dataset not in ("", dataset):
        return f"{found.dataset} is another distribution than {dataset}"
    if claim["axis"] and found.cost not in ("", KINDS_OF_COST[claim["axis"]]):
        return f"measured in {found.cost.replace('_', ' ')}, claimed of {claim['axis']}"
    return ""


def in_words(found: Evidence, claim: pd.Series) -> str:
    """Return a value with its 95% interval as text.

    A few parts are listed. Of more parts the least and the largest are shown, and the number that
    obeys a rule which not all must obey. Of methods the first two are shown.
    """
    if isinstance(found.value, str):
        return found.value
    if isinstance(found.value, pd.Series):
        show = claim["show"] or ".3f"
        first = found.value.astype(float).sort_values(ascending=False).iloc[:2]
        return ", ".join(f"{name.replace('_', ' ')} {part:{show}}" for name, part in first.items())
    parts = list(np.atleast_1d(np.asarray(found.value, object)))
    draws = [np.atleast_1d(np.asarray(draw, float)) for draw in found.draws if is_known(draw)]
    errors = np.zeros(len(parts))  # half the width of each part's interval
    if len(draws) > 1 and {len(draw) for draw in draws} == {len(parts)}:
        errors = 1.96 * np.std(draws, axis=0, ddof=1)
    texts = [with_interval(*pair, claim["show"]) for pair in zip(parts, errors)]
    if len(parts) <= MOST_PARTS:
        return ", ".join(texts)
    least = texts[int(np.argmin(parts))]
    largest = texts[int(np.argmax(parts))]
    return f"{least} to {largest}{count_obeying(parts, claim['rule'])}"


def with_interval(part: Any, error: float, show: str) -> str:
    """Return a part as text, with its interval if it has one."""
    if isinstance(part, str):
        return part
    text = format(part, show)
    if not error > 0:
        return text
    low, high = LIMITS.get(show, (-np.inf, np.inf))
    of_ends = ",.1f" if show == "," else show
    return f"{text} [{max(low, part - error):{of_ends}}, {min(high, part + error):{of_ends}}]"


def count_obeying(parts: Sequence[float], rule: str) -> str:
    """Return the number of parts that obey a rule for "most" or "any" of them, "" for another
    rule."""
    kind, *bounds = rule.split() or [""]
    if kind not in ("most", "any", "any<"):
        return ""
    each = RULES["any" if kind == "most" else kind]
    obeying = each(np.asarray(parts, float), *bounds) > 0
    return f" ({np.count_nonzero(obeying)} of {len(parts)})"


def folder() -> Path:
    """Return the folder of the notebooks' claims: CASCADELIB_LEDGER if it is set, else in
    build/."""
    return Path(os.environ.get("CASCADELIB_LEDGER") or FOLDER)


def store_claims(rows: pd.DataFrame, notebook: str, dataset: str, run: EvidenceByClaim) -> None:
    """Store a notebook's claims for notebook 11. A run in another cost than MACs gets a separate
    file."""
    in_macs = paper_claims()["axis"] == "macs"
    costs = {each.cost for name, each in run.items() if in_macs[name]} - {"", "macs"}
    kind = f"-{'-'.join(sorted(costs))}" if costs else ""
    folder().mkdir(parents=True, exist_ok=True)
    with replace_atomically(folder() / f"{notebook}{kind}.parquet") as temporary:
        rows.assign(dataset=dataset).to_parquet(temporary)


def gather_claims(dataset: str) -> pd.DataFrame:
    """Return all claims of the paper by id, with the stored results of a data set, and those of the
    notebooks with separate data.

    Columns: notebook and those of :func:`table`. If two runs tested a claim in different costs, the
    testable row is returned. A claim without a stored result is *not testable here*, with the
    notebook to run.
    """
    claims = paper_claims()
    claims_table = table({})
    claims_table["verdict"] = [
        f"{UNTESTABLE}: notebook {number} has not run on {dataset}" for number in claims["notebook"]
    ]
    for path in sorted(folder().glob("*.parquet")):
        rows = pd.read_parquet(path)
        if not path.name.startswith(ELSEWHERE) and (rows["dataset"] != dataset).any():
            continue
        rows = rows.loc[rows.index.intersection(claims_table.index)]
        before = claims_table.loc[rows.index, "verdict"]
        better = before.str.contains("has not run") | ~rows["verdict"].str.startswith(UNTESTABLE)
        claims_table.loc[rows.index[better], COLUMNS] = rows.loc[better, COLUMNS]
    claims_table.insert(0, "notebook", claims["notebook"])
    return claims_table


def without_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the claims without the copies of claims on time for the seconds of this machine."""
    return rows[~rows.index.str.startswith("own-")]


def count_verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the claims by verdict: a row per verdict, a column per notebook and for all.

    Copies for other seconds do not count.
    """
    rows = without_copies(rows)
    words = rows["verdict"].str.split(":").str[0].rename("verdict")
    return pd.crosstab(words, rows["notebook"], margins=True, margins_name="all").drop("all")


def missing_notebooks(rows: pd.DataFrame) -> pd.DataFrame:
    """Return which notebooks stored their claims, a column per notebook."""
    left = ~rows["verdict"].str.contains("has not run")
    words = left.groupby(rows["notebook"]).any().map({True: "ran", False: "has not run"})
    return words.rename("on these data").to_frame().T


def claims_with_verdict(rows: pd.DataFrame, word: str) -> pd.DataFrame:
    """Return the claims with a verdict, in short."""
    chosen = rows[rows["verdict"].str.startswith(word)]
    return chosen[["notebook", *SHORT[:-1], "held out", "verdict"]]


def from_published(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the claims that published figures decide or test, contradicted ones first."""
    verdicts = published_words(rows)
    order = verdicts.map({CONTRADICTED: 0, UNDETERMINED: 1, SUPPORTED: 2}).sort_values(
        kind="stable"
    )
    return rows.loc[order.index, ["notebook", "claim", "paper", "published"]]


def published_words(rows: pd.DataFrame) -> pd.Series:
    """Return the verdicts of published figures by id, for the claims that have one."""
    words = "|".join([SUPPORTED, CONTRADICTED, UNDETERMINED])
    return rows["published"].str.extract(rf": ({words})\b", expand=False).dropna()


def choices() -> pd.DataFrame:
    """Return choices that the paper leaves open, and their effect on its figures."""
    table = published.models()
    unrounded = Baseline(table["macs"].dropna(), table.loc[table["macs"].notna(), "top1"])
    rounded = int(study.singles(table)["on_front"].sum())
    rows = {
        "costs are compared at four significant digits, as Table 1 is printed": (
            f"{rounded} models are on the front in MACs; unrounded, {len(unrounded.front)}"
        ),
        "Table 1 and figures 5, 6, 12 and 14 are searched over all models of the store": (
            "the paper's preset (data/imagenet-1k/paper.yml) searches those on the front"
        ),
        "Table 1's points are local maxima of the factor of at least some prominence": (
            "1.0 in notebooks 02 and 07; the preset's 0.3 finds the paper's three"
        ),
        "where the paper speaks of an accuracy, a run is measured at that share of its own range": (
            f"from {LOW:.2%} to {BEST:.2%} on the paper's front"
        ),
    }
    return pd.DataFrame({"what it makes of the paper's figures": rows}).rename_axis("choice")


def answer(rows: pd.DataFrame, dataset: str) -> str:
    """Summarize all verdicts in one sentence, without copies for other seconds."""
    rows = without_copies(rows)
    words = rows["verdict"].str.split(":").str[0].value_counts()
    on_published = published_words(rows)
    decided = (SUPPORTED, CONTRADICTED, UNDETERMINED, DEPENDS)
    tested = sum(words.get(word, 0) for word in decided)
    by_training = ""
    if dependent := words.get(DEPENDS, 0):
        by_training = f"The verdict of {dependent} depends on the training of the models. "
    return (
        f"Of {tested} testable claims, {words.get(SUPPORTED, 0)} hold, "
        f"{words.get(CONTRADICTED, 0)} are contradicted, and {words.get(UNDETERMINED, 0)} are "
        f"undetermined. {by_training}Of the paper's {len(rows)} claims, {len(rows) - tested} are "
        f"not testable on {dataset}. On published figures {(on_published == SUPPORTED).sum()} are supported and "
        f"{(on_published == CONTRADICTED).sum()} contradicted."
    )
