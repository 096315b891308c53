"""The ledger: every claim of the paper, its values, and a verdict for each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Baseline
from cascadelib import published as timm
from cascadelib.checks import validate_choice
from tools.claims import calibration, methods, pairs, published, shift, texts
from tools.claims.evidence import Evidence, EvidenceByClaim, is_known, known_draws
from tools.claims.verdicts import (
    CONTRADICTED,
    ROUNDING,
    SUPPORTED,
    UNDETERMINED,
    UNTESTABLE,
    Verdict,
    Verdicts,
    contrasts_by_rule,
    contrasts_of,
    evaluate_claims,
    half_widths,
    sides_of,
)
from tools.paper import Paper
from tools.published_models import singles
from tools.ranges import BEST, LOW

CLAIMS = Path(__file__).with_name("claims.csv")
REAL = Path(__file__).with_name("imagenet-x.csv")  # of data/imagenet-1k/imagenet_x.py
FAMILIES = (pairs, methods, shift, texts, calibration)
MOST_PARTS = 4  # parts of a value that are listed
DIFFERENCES = ("rises", "falls", "peaks", "first", "last", "most")  # rules on parts together
LIMITS = {  # of shares and correlations, by "show"
    ".0%": (0, 1),
    ".1%": (0, 1),
    "+z.2f": (-1, 1),
}
NO_LIMITS = (-np.inf, np.inf)
DECIDED = (SUPPORTED, CONTRADICTED, UNDETERMINED)
NOT_MET = "not reproduced"


@cache
def paper_claims() -> pd.DataFrame:
    """Return the paper's claims, a row each, by id.

    Columns: topic, section, claim (in our words) and paper (its value). printed: the paper's
    numbers, with their precision. show: the format of a number. family: claims with simultaneous
    tests. cost: "macs" or "time". over: the population of the interval ("samples", "models",
    "nothing"). rule (of :mod:`tools.claims.verdicts`). other_rule: the same rule with another
    bound, if the paper states none and the bound is ours. better, worse: patterns of methods.
    scope: the first letters of the names of data sets that can test it. why: the reason if they
    can't.
    """
    return pd.read_csv(CLAIMS, dtype=str, keep_default_na=False).set_index("id")


def evidence_of(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of a study on all claims, on held-out samples."""
    found: EvidenceByClaim = {}
    for family in FAMILIES:
        found |= family.evidence(paper)
    return found


def table(
    evidence: Mapping[str, Evidence],
    dataset: str = "",
    published_time: bool = True,
    has_papers_design: bool = True,
) -> pd.DataFrame:
    """Return the ledger, a row per claim.

    Columns: topic, section, claim, paper. family: claims with simultaneous tests. rule: what must
    be positive, with both bounds. timm: the result from timm's published tables. held out: the
    value with its 95% interval, and the deciding numbers. real ImageNet: the committed results on
    ImageNet-X. verdict: a sentence, about the column *held out*.

    Parameters
    ----------
    evidence : dict of str to Evidence
        Of :func:`evidence_of`. Unknown values are omitted.
    dataset : str
        The name of the data set of the study.
    published_time : bool, default=True
        Whether claims in time were evaluated with published times. Otherwise they are not tested.
    has_papers_design : bool, default=True
        Whether verdicts state how values differ from the numbers that the paper prints.

    Raises
    ------
    ValueError
        If an id is not that of a claim.
    """
    claims = paper_claims()
    known = known_values(evidence, claims)
    if not published_time:  # the seconds of one machine decide no claim
        known = {name: each for name, each in known.items() if claims.loc[name, "cost"] != "time"}
    compared = claims if has_papers_design else claims.assign(printed="")
    verdicts = with_reasons(compared, known, dataset)
    rows = claims[["topic", "section", "claim", "paper", "family"]].copy()
    rows["rule"] = [rule_in_words(claim) for _, claim in claims.iterrows()]
    from_timm = known_values(published.evidence(), claims)
    rows["timm"] = pd.Series(words_of(claims, from_timm, is_published=True))
    held_out = {}
    for name, found in known.items():
        if verdicts[name].word != UNTESTABLE:
            held_out[name] = in_words(found, claims.loc[name])
    rows["held out"] = pd.Series(held_out, dtype=str)
    rows["real ImageNet"] = real_imagenet()
    rows["verdict"] = pd.Series(verdicts).map(str)
    return rows.fillna("")


@cache
def real_imagenet() -> pd.Series:
    """Return the committed results on real ImageNet predictions by claim."""
    rows = pd.read_csv(REAL, keep_default_na=False, comment="#").set_index("id")
    return rows["value"] + ": " + rows["verdict"].map(inside_a_sentence)


def inside_a_sentence(verdict: str) -> str:
    """Return a verdict without its capital and its full stop."""
    return verdict[0].lower() + verdict[1:].removesuffix(".")


def known_values(values: Mapping[str, Any], claims: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence without missing parts. Refuse ids of other claims."""
    known = {}
    for name, found in values.items():
        validate_choice(name, claims.index, "claim")
        if is_known(found.value):
            known[name] = found
    return known


def words_of(
    claims: pd.DataFrame, values: EvidenceByClaim, is_published: bool = False
) -> dict[str, str]:
    """Return {id: value and verdict as text}, "" without a value.

    A value without resamples is compared as if it were exact. A number that the paper prints and
    published tables contradict is not reproduced by them.
    """
    drawn = [name for name, value in values.items() if len(value.draws)]
    over = claims["over"].where(claims.index.isin(drawn), "nothing")
    verdicts = judge(claims.assign(over=over), values)
    found = dict.fromkeys(claims.index, "")
    for name, value in values.items():
        claim = claims.loc[name]
        found[name] = in_words(value, claim)
        if verdict := verdicts.get(name):
            if is_published and verdict.word == CONTRADICTED and claim["printed"]:
                verdict = replace(verdict, word=NOT_MET)
            found[name] += f": {inside_a_sentence(str(verdict))}"
    return found


def verdicts_of(claims: pd.DataFrame, evidence: EvidenceByClaim) -> Verdicts:
    """Return {id: verdict} of the claims with a rule and a number, by family."""
    found: Verdicts = {}
    for _, family in claims[claims["rule"] != ""].groupby("family"):
        found |= evaluate_claims(family, evidence)
    return found


def judge(claims: pd.DataFrame, evidence: EvidenceByClaim) -> Verdicts:
    """Return :func:`verdicts_of`, with the other bounds and the differences from the paper.

    A claim with a bound of ours is also tested with another bound. It is undetermined if these
    verdicts are opposite. A decided claim states by how much it differs from the printed number.
    """
    decided = verdicts_of(claims, evidence)
    rules = claims["other_rule"].where(claims["other_rule"] != "", claims["rule"])
    others = verdicts_of(claims.assign(rule=rules), evidence)  # families keep their size
    found = {}
    for name, verdict in decided.items():
        claim = claims.loc[name]
        if claim["other_rule"]:
            verdict = with_other_bound(claim, verdict, others[name])
        elif verdict.word in (SUPPORTED, CONTRADICTED):
            verdict = replace(verdict, reason=difference_in_words(evidence[name], claim))
        found[name] = verdict
    return found


def with_reasons(claims: pd.DataFrame, evidence: EvidenceByClaim, dataset: str) -> Verdicts:
    """Return {id: verdict} of all claims. A claim that a study cannot test has the reason."""
    in_scope = claims.apply(is_in_scope, axis=1, dataset=dataset)
    decided = judge(claims[in_scope], evidence)
    found = {}
    for name, claim in claims.iterrows():
        reason = why_not(claim, evidence.get(name), dataset)
        found[name] = Verdict(UNTESTABLE, reason=reason) if reason else decided[name]
    return found


def with_other_bound(claim: pd.Series, verdict: Verdict, other: Verdict) -> Verdict:
    """Add the verdict with another bound. If both are opposite, only the bound decides."""
    ours, theirs = different_bounds(claim)
    if {verdict.word, other.word} == {SUPPORTED, CONTRADICTED}:
        return Verdict(
            UNDETERMINED,
            reason=f"{verdict.word} with bound {ours}, {other.word} with bound {theirs}",
        )
    if verdict.word == UNTESTABLE:
        return verdict
    return replace(verdict, other_bound=f"{other.word} with bound {theirs}")


def different_bounds(claim: pd.Series) -> tuple[str, str]:
    """Return the bounds that differ between a claim's two rules, as text."""
    _, *ours = claim["rule"].split()
    _, *theirs = claim["other_rule"].split()
    changed = [pair for pair in zip(ours, theirs) if len(set(pair)) > 1]
    one, other = (" and ".join(each).replace("-", "−") for each in zip(*changed))
    return one, other


def rule_in_words(claim: pd.Series) -> str:
    """Return a claim's rule, with the other bound if it has one."""
    text = claim["rule"].replace("-", "−")
    return f"{text} (or {different_bounds(claim)[1]})" if claim["other_rule"] else text


def is_in_scope(claim: pd.Series, dataset: str) -> bool:
    """Return whether a data set can test a claim."""
    return claim["scope"] == "any" or dataset.startswith(claim["scope"])


def why_not(claim: pd.Series, found: Evidence | None, dataset: str) -> str:
    """Return the reason that a study can't test a claim, "" if it can."""
    if claim["rule"] and is_in_scope(claim, dataset) and found is not None:
        return ""
    return claim["why"] or "needs outputs or models that this study lacks"


def difference_in_words(found: Evidence, claim: pd.Series) -> str:
    """Return by how much a value differs from the paper's number, "" within its precision."""
    printed = claim["printed"].split()
    if not printed:
        return ""
    parts = np.atleast_1d(np.asarray(found.value, float))
    texts = []
    is_different = len(parts) != len(printed)
    for part, text in zip(parts, printed):
        digits = len(text.partition(".")[2])
        difference = part - float(text)
        is_different |= abs(difference) > 0.5 * 10**-digits + 1e-12
        show = claim["show"].lstrip("+z")
        texts.append(f"{difference:+{show}}".replace("-", "−"))
    return f"differs by {' and '.join(texts)}" if is_different else ""


def in_words(found: Evidence, claim: pd.Series) -> str:
    """Return a value with its 95% interval, and the numbers that decide the claim, as text.

    A few parts are listed. Of more parts the least and
    the largest are shown, and the number that obeys a rule which not all must obey. Of methods the
    deciding lead is shown, and of an order or of most parts the deciding difference.
    """
    if isinstance(found.value, pd.Series):
        return methods_in_words(found, claim)
    parts = list(np.atleast_1d(np.asarray(found.value, object)))
    draws = known_draws(found, lambda draw: np.atleast_1d(np.asarray(draw, float)))
    errors = np.zeros(len(parts))  # half the width of each part's interval
    is_counted = claim["rule"] == "more"  # by an exact test
    if draws and not is_counted and {len(draw) for draw in draws} == {len(parts)}:
        errors = half_widths(draws, found, claim["over"])
    limits = LIMITS.get(claim["show"], NO_LIMITS)
    texts = []
    for part, error in zip(parts, errors):
        texts.append(with_interval(part, error, claim["show"], limits))
    text = ", ".join(texts)
    if len(parts) > MOST_PARTS:
        least = texts[int(np.argmin(parts))]
        largest = texts[int(np.argmax(parts))]
        text = f"{least} to {largest}{count_obeying(parts, claim['rule'])}"
    if claim["rule"].startswith(DIFFERENCES) and errors.any():
        _, difference, half = deciding_contrast(found, claim)
        show = "+z" + claim["show"].lstrip("+z")
        text += f"; deciding difference {with_interval(difference, half, show)}"
    return text


def deciding_contrast(found: Evidence, claim: pd.Series) -> tuple[int, float, float]:
    """Return the contrast that decides a claim: its place, its value and half its 95% interval.

    It has the least value ÷ standard error.
    """
    contrasts = contrasts_of(claim, found.value)
    values = contrasts(found.value)
    draws = known_draws(found, contrasts)
    errors = np.zeros(len(values))
    if draws:
        errors = half_widths(draws, found, claim["over"])
    place = int(np.argmin(values / np.fmax(errors, ROUNDING)))
    return place, float(values[place]), float(errors[place])


def methods_in_words(found: Evidence, claim: pd.Series) -> str:
    """Return the lead that decides a claim on methods: names, values, and its 95% interval.

    The lead with the least estimate ÷ standard error decides. It is in percent of the mean of all
    methods. For "only", it is the distance of one method from the bound.
    """
    value = found.value.astype(float)
    place, contrast, half = deciding_contrast(found, claim)
    names = [name.replace("_", " ") for name in value.index]
    show = claim["show"] or ".3f"
    of_lead = "+z" + (claim["show"] or ".1%")
    if claim["rule"].startswith("only"):
        return f"{names[place]} {with_interval(value.iloc[place], half, show)}"
    better, worse = map(np.flatnonzero, sides_of(claim, value.index))
    one = better[place // len(worse)]
    other = worse[place % len(worse)]
    lead = with_interval(contrast, half, of_lead)
    values = f"{value.iloc[one]:{show}} and {value.iloc[other]:{show}}"
    return f"{names[one]} over {names[other]}: {lead} ({values})"


def with_interval(
    part: Any, error: float, show: str, limits: tuple[float, float] = NO_LIMITS
) -> str:
    """Return a part as text, with its interval if it has one. limits: of a part, but not of a
    difference of parts."""
    text = format(part, show)
    if not error > 0:
        return text
    low, high = limits
    of_ends = ",.1f" if show == "," else show
    return f"{text} [{max(low, part - error):{of_ends}}, {min(high, part + error):{of_ends}}]"


def count_obeying(parts: Sequence[float], rule: str) -> str:
    """Return the number of parts that obey a rule for "most" or "any" of them, "" for another
    rule."""
    if not rule.startswith(("most", "any")):
        return ""
    obeying = contrasts_by_rule(rule.replace("most", "any"), parts) > 0
    return f" ({np.count_nonzero(obeying)} of {len(parts)})"


def word_of(verdicts: pd.Series) -> pd.Series:
    """Return the first words of verdicts, such as "not testable"."""
    return verdicts.str.extract(r"^([^.:;]*)", expand=False).str.lower()


def count_verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the claims by verdict: a row per verdict, a column per topic and for all."""
    words = word_of(rows["verdict"]).rename("verdict")
    topics = rows["topic"]
    counts = pd.crosstab(words, topics)[topics.unique()]
    return counts.assign(all=counts.sum(axis=1))


def with_verdict(rows: pd.DataFrame, word: str) -> pd.DataFrame:
    """Return the claims with a verdict, in short."""
    chosen = rows[word_of(rows["verdict"]) == word]
    return chosen[["topic", "claim", "paper", "held out", "verdict"]]


def answer(rows: pd.DataFrame, dataset: str) -> str:
    """Summarize all verdicts in a few sentences."""
    words = word_of(rows["verdict"])
    counts = words.value_counts().reindex(DECIDED, fill_value=0)
    tested = int(counts.sum())
    by_timm = word_of(rows["timm"].str.partition(": ")[2]).value_counts()
    met, refuted, missed = (by_timm.get(word, 0) for word in (SUPPORTED, CONTRADICTED, NOT_MET))
    return (
        f"Of {tested} testable claims, {counts[SUPPORTED]} are supported, {counts[CONTRADICTED]} "
        f"are contradicted, and {counts[UNDETERMINED]} are undetermined.\nOf the "
        f"paper's {len(rows)} claims, {len(rows) - tested} are not testable on {dataset}. timm's "
        f"published tables support {met}, contradict {refuted} and do not reproduce {missed}."
    )


def choices() -> pd.DataFrame:
    """Return choices that the paper leaves open, and their effect on its figures."""
    models = timm.models()
    known = models.dropna(subset=["macs"])
    unrounded = Baseline(known["macs"], known["top1"])
    rounded = int(singles(models)["on_front"].sum())
    rows = {
        "costs are compared at four significant digits, as Table 1 is printed": (
            f"{rounded} models are on the front in MACs; unrounded, {len(unrounded.front)}"
        ),
        "Table 1's points are local maxima of the factor of at least some prominence": (
            "0.3 (`data/imagenet-1k/paper.yml`) finds the paper's three; 1.0 on the bundled data"
        ),
        "where the paper speaks of an accuracy, a study is measured at that share of its range": (
            f"from {LOW:.2%} to {BEST:.2%} on the paper's front"
        ),
    }
    return pd.DataFrame({"effect on the paper's figures": rows}).rename_axis("choice")
