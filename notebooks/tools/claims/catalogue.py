"""The paper's claims, and those that a study can test."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from tools.paper import Paper

CLAIMS = Path(__file__).with_name("claims.csv")
BUNDLED = ("fashion-mnist",)  # too small for claims of the scope "larger"


@cache
def paper_claims() -> pd.DataFrame:
    """Return the paper's claims, a row each, by id.

    Columns: topic, section, claim (in our words) and paper (its value). printed: the paper's
    numbers, with their precision. show: the format of a number. part: the number of a value whose
    interval is shown, "" for the one that decides. family: claims with simultaneous tests. cost:
    "macs" or "time". over: the population of the interval ("samples", "models", "nothing"). rule
    (of :mod:`tools.claims.verdicts`). better, worse: patterns of methods. scope: "any" study, a
    "larger" one than the bundled images, which decided nothing, or the first letters of the names
    of data sets. why: the reason if no other study can test it. decides: the number of bundled
    samples or models that would decide it, if their estimates were exact. place, headline: the
    place and the words of a claim on the first screen.
    """
    return pd.read_csv(CLAIMS, dtype=str, keep_default_na=False).set_index("id")


def claims_in_scope(dataset: str, published_time: bool = True) -> pd.DataFrame:
    """Return the claims with a rule that a data set can test.

    published_time: claims in time need published times. The seconds of one machine decide none.
    """
    claims = paper_claims()
    by_name = [bool(scope) and dataset.startswith(scope) for scope in claims["scope"]]
    scopes = ["any"] if dataset in BUNDLED else ["any", "larger"]
    is_tested = claims["scope"].isin(scopes) | np.array(by_name)
    if not published_time:
        is_tested &= claims["cost"] != "time"
    return claims[is_tested & (claims["rule"] != "")]


def ids_in_scope(paper: Paper) -> frozenset[str]:
    """Return the ids of the claims that a study can test."""
    claims = claims_in_scope(paper.selection.origin.dataset, paper.time != "seconds")
    return frozenset(claims.index)
