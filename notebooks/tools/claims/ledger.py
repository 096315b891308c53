"""The ledger: every claim of the paper, the best evidence here, and a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from cascadelib.checks import validate_choice
from tools.claims import calibration, methods, pairs, published, shift, texts
from tools.claims.catalogue import BUNDLED, claims_in_scope, paper_claims
from tools.claims.evidence import Evidence, EvidenceByClaim, is_known
from tools.claims.verdicts import (
    CONTRADICTED,
    SUPPORTED,
    UNTESTABLE,
    Verdict,
    Verdicts,
    evaluate_claims,
)
from tools.claims.words import in_words
from tools.paper import Paper

REAL = Path(__file__).with_name("imagenet-x.csv")  # of data/imagenet-1k/imagenet_x.py
FAMILIES = (pairs, methods, shift, texts, calibration)
NOT_MET = "not reproduced"
NEEDS = {"glue": "needs GLUE"}  # by scope
NEEDS_IMAGENET = "needs ImageNet"
DECIDED = (SUPPORTED, CONTRADICTED, NOT_MET)
LACKING = "needs outputs or models that this study lacks"
MOST_LINES = 12  # of the first screen


@dataclass(frozen=True)
class Result:
    """The value of a claim on some data as text, and the verdict."""

    here: str
    data: str
    verdict: Verdict


Results = dict[str, Result]  # by the claim's id


def evidence_of(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of a study on the claims that it can test, on held-out samples."""
    found: EvidenceByClaim = {}
    for family in FAMILIES:
        found |= family.evidence(paper)
    return found


def table(
    evidence: Mapping[str, Evidence], dataset: str = "", published_time: bool = True
) -> pd.DataFrame:
    """Return the ledger, a row per claim.

    Columns: topic, claim, paper (its value), here (the value with its 95% interval, and the data),
    verdict. place, headline: of the first screen. If several data test a claim, the first of them
    that decides it is shown. timm's tables and ImageNet-X come before the bundled data, and a
    study of other data comes first.

    Parameters
    ----------
    evidence : dict of str to Evidence
        Of :func:`evidence_of`. Unknown values are omitted.
    dataset : str
        The name of the data set of the study.
    published_time : bool, default=True
        Whether claims in time were evaluated with published times. Otherwise they are not tested.

    Raises
    ------
    ValueError
        If an id is not that of a claim.
    """
    claims = paper_claims()
    scope = claims_in_scope(dataset, published_time)
    of_study = results_of(scope, known_values(evidence), dataset)
    sources = [results_from_timm(), results_on_real_images()]
    sources.insert(2 if dataset in BUNDLED else 0, of_study)
    rows = {}
    for name, claim in claims.iterrows():
        found = [source[str(name)] for source in sources if name in source]
        decided = [result for result in found if result.verdict.word in DECIDED]
        needed = Result("", "", untested(claim, name in scope.index))
        result = next(iter(decided), of_study.get(str(name), needed))
        here = f"{result.here}, {result.data}" if result.here else ""
        rows[name] = {"here": here, "verdict": str(result.verdict)}
    shown = claims[["topic", "claim", "paper", "place", "headline"]]
    return shown.join(pd.DataFrame.from_dict(rows, orient="index"))


def untested(claim: pd.Series, is_in_scope: bool) -> Verdict:
    """Return the verdict on a claim without a result: what it needs, or why it is not tested."""
    if is_in_scope or claim["why"]:
        return Verdict(UNTESTABLE, claim["why"] or LACKING)
    return Verdict(NEEDS.get(claim["scope"], NEEDS_IMAGENET), claim["decides"])


def known_values(values: Mapping[str, Any]) -> EvidenceByClaim:
    """Return the evidence without missing parts. Refuse ids of other claims."""
    known = {}
    for name, found in values.items():
        validate_choice(name, paper_claims().index, "claim")
        if is_known(found.value):
            known[name] = found
    return known


def results_of(claims: pd.DataFrame, evidence: EvidenceByClaim, data: str) -> Results:
    """Return the results of some claims."""
    verdicts = verdicts_of(claims, evidence)
    found = {}
    for name, verdict in verdicts.items():
        text = "" if verdict.word == UNTESTABLE else in_words(evidence[name], claims.loc[name])
        found[name] = Result(text, evidence[name].data or data, verdict)
    return found


def verdicts_of(claims: pd.DataFrame, evidence: EvidenceByClaim) -> Verdicts:
    """Return {id: verdict} of the claims with a rule and a value, by family."""
    found: Verdicts = {}
    for _, family in claims[claims["rule"] != ""].groupby("family"):
        found |= evaluate_claims(family, evidence)
    return found


@cache
def results_from_timm() -> Results:
    """Return the results from timm's published tables.

    A value without draws is compared as if it were exact. A number that the paper prints and the
    tables contradict is not reproduced.
    """
    evidence = published.evidence()
    claims = paper_claims()
    drawn = [name for name, value in evidence.items() if len(value.draws)]
    exact = claims.assign(over=claims["over"].where(claims.index.isin(drawn), "nothing"))
    found = results_of(exact, evidence, "timm")
    for name, result in found.items():
        if result.verdict.word == CONTRADICTED and claims.loc[name, "printed"]:
            found[name] = replace(result, verdict=replace(result.verdict, word=NOT_MET))
    return found


@cache
def results_on_real_images() -> Results:
    """Return the committed results on real ImageNet predictions."""
    rows = pd.read_csv(REAL, keep_default_na=False, comment="#").set_index("id")
    return {
        str(name): Result(row["value"], "ImageNet-X", Verdict(row["verdict"]))
        for name, row in rows.iterrows()
    }


def word_of(verdicts: pd.Series) -> pd.Series:
    """Return the first words of verdicts, such as "not tested here"."""
    return verdicts.str.partition(":")[0]


def what_held(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the first screen: the supported claims with a place on it, the main ones first."""
    return on_first_screen(rows, SUPPORTED)


def what_did_not(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the claims that are contradicted or not reproduced."""
    return full_table(rows[word_of(rows["verdict"]).isin([CONTRADICTED, NOT_MET])])


def what_needs_imagenet(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the main claims that need ImageNet. The others are in the full table."""
    return on_first_screen(rows, NEEDS_IMAGENET)[["paper"]]


def on_first_screen(rows: pd.DataFrame, word: str) -> pd.DataFrame:
    """Return the claims with a verdict and a place, in plain words, with both values."""
    placed = rows[(rows["place"] != "") & (word_of(rows["verdict"]) == word)]
    placed = placed.sort_values("place", key=pd.to_numeric).head(MOST_LINES)
    return placed.set_index("headline")[["here", "paper"]].rename_axis("claim")


def full_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the claims with their columns claim (the index), paper, here and verdict."""
    return rows.set_index("claim")[["paper", "here", "verdict"]]


def answer(rows: pd.DataFrame) -> str:
    """Return which main claims are supported, and count all verdicts."""
    words = word_of(rows["verdict"])
    main = rows["headline"].str.extract(r"^Main claim (\d)", expand=False)
    held = ", ".join(sorted(main[words == SUPPORTED].dropna().unique()))
    listed = ", ".join(f"{word} {count}" for word, count in words.value_counts().items())
    return (
        f"Of the paper's five main claims, supported here: {held or 'none'}. "
        f"All {len(rows)} claims: {listed}."
    )
