"""Verdicts: rules, intervals that hold together, and how often methods that are equal are told
apart."""

import numpy as np
import pandas as pd
import pytest
from equal_methods import decided_families

from tools import verdicts
from tools.evidence import Evidence
from tools.verdicts import CONTRADICTED, SUPPORTED, UNDETERMINED


def claims_with(*rules, over="samples", **columns):
    """Rows of claims with these rules."""
    rows = [
        {"rule": rule, "over": over, "better": "", "worse": "", "family": "f"} | columns
        for rule in rules
    ]
    return pd.DataFrame(rows, [f"c{i}" for i in range(len(rows))])


def certain(value, error=1e-6, samples=100):
    """Evidence with a small normal error."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((50, *np.shape(value)))
    draws = np.asarray(value, float) + error * noise
    if isinstance(value, pd.Series):
        return Evidence(value, [pd.Series(draw, value.index) for draw in draws], samples)
    return Evidence(value, list(draws), samples)


@pytest.mark.parametrize(
    ("rule", "obeys", "breaks"),
    [
        ("> 1", [1.1, 2], [1.1, 0.9]),
        ("< 0", -0.1, 0.1),
        ("in 2.5 3", [2.6, 2.9], [2.6, 3.1]),
        ("near 1 2 0.5", [1.1, 1.9], [1.1, 2.6]),
        ("rises", [1, 2, 3], [1, 2, 1.5]),
        ("falls", [3, 1], [1, 3]),
        ("peaks", [1, 3, 2], [1, 2, 3]),
        ("half", [3, 5], [2, 5]),
        ("most 0.5", [0.6, 0.7, 0.2], [0.6, 0.2]),
        ("any 0", [-1, 0.1], [-1, -0.1]),
    ],
)
def test_rules(rule, obeys, breaks):
    claims = claims_with(rule)
    for value, word in ((obeys, SUPPORTED), (breaks, CONTRADICTED)):
        assert verdicts.evaluate_claims(claims, {"c0": certain(value)})["c0"].word == word
        given = verdicts.evaluate_claims(claims_with(rule, over="nothing"), {"c0": Evidence(value)})
        assert given["c0"].word == word
    unsure = verdicts.evaluate_claims(claims, {"c0": certain(obeys, 100.0)})["c0"]
    assert unsure.word == UNDETERMINED
    assert verdicts.evaluate_claims(claims, {"c0": Evidence(obeys)})["c0"].reason == "no interval"


def test_a_different_number_of_parts_is_not_near():
    claims = claims_with("near 1 2 0.5", over="nothing")
    assert verdicts.evaluate_claims(claims, {"c0": Evidence([1.0])})["c0"].word == CONTRADICTED


MEANS = pd.Series({"a": 1.0, "b": 1.1, "a_ts": 0.9, "b_ts": 1.2})


@pytest.mark.parametrize(
    ("rule", "better", "worse", "word"),
    [
        ("leads", "b_ts", "*", SUPPORTED),
        ("leads", "b", "*", CONTRADICTED),
        ("leads", "b", "* !*_ts", SUPPORTED),
        ("leads", "* !a_ts", "a_ts", SUPPORTED),
        ("leads -0.15", "a", "b", SUPPORTED),
        ("leads", "a", "b", CONTRADICTED),
        ("best", "*_ts", "*", SUPPORTED),
        ("only 1.15", "b_ts", "*", SUPPORTED),
        ("only 1.05", "b_ts", "*", CONTRADICTED),
    ],
)
def test_leads_by_pattern_of_names(rule, better, worse, word):
    claims = claims_with(rule, better=better, worse=worse)
    assert verdicts.evaluate_claims(claims, {"c0": certain(MEANS)})["c0"].word == word


def test_leads_are_those_of_all_pairs():
    found = verdicts.leads(MEANS, "* !*_ts", "*_ts", 0.1)
    expected = [MEANS[a] - 1.1 * MEANS[b] for a in ("a", "b") for b in ("a_ts", "b_ts")]
    assert found == pytest.approx(np.divide(expected, MEANS.mean()))


def test_simultaneous_intervals_have_their_nominal_coverage():
    """Ten independent contrasts of truth 0: each family's intervals hold all of them in 95%."""
    rng = np.random.default_rng(1)
    missed = 0
    for seed in range(400):
        truth = rng.standard_normal(10)
        draws = truth + rng.standard_normal((60, 10))
        (width,) = verdicts.half_widths([draws], seed)
        missed += bool(np.any(np.abs(truth) > width))
    assert 0.025 < missed / 400 < 0.08  # of 5%, two standard errors and the spread of 60 resamples


def test_equal_contrasts_share_one_interval():
    """Ten copies of one contrast are as certain as one of them."""
    draws = np.random.default_rng(0).standard_normal((100, 1))
    (one,) = verdicts.half_widths([draws])
    ten = verdicts.half_widths([draws] * 10)
    assert np.concatenate(ten) == pytest.approx(np.repeat(one, 10), rel=0.05)


def test_the_number_of_samples_to_decide_is_sufficient():
    """With four times the samples the interval is half as wide, and excludes 0."""
    found = verdicts.verdict_of(np.array([1.0]), np.array([2.0]), 1000)
    assert (found.word, found.samples) == (UNDETERMINED, 4000)
    assert str(found) == "undetermined: about 4,000 samples would decide"
    assert np.isnan(verdicts.verdict_of(np.array([0.0]), np.array([2.0]), 1000).samples)
    assert str(verdicts.verdict_of(np.array([1.0]), np.array([2.0]), 0)) == UNDETERMINED
    either = verdicts.verdict_of(np.array([1.0, -1.0]), np.array([9.0, 2.0]), 1000)
    assert either.samples == 4000  # to contradict, one contrast is enough


def test_directions_must_agree_for_a_verdict():
    yes, no, maybe = (verdicts.Verdict(word) for word in (SUPPORTED, CONTRADICTED, UNDETERMINED))
    assert [verdicts.together(pair).word for pair in ([yes, yes], [no, no])] == [
        SUPPORTED,
        CONTRADICTED,
    ]
    assert verdicts.together([yes, maybe]).word == UNDETERMINED
    assert "contradict each other" in str(verdicts.together([yes, no]))


def test_equal_methods_are_distinguished_in_at_most_5_percent_of_families():
    """Quick; the benchmark ``ledger`` has a thousand families."""
    decided, families = decided_families(40)
    assert families == 40
    assert decided <= 5  # of 40 at 5%: more in 1.4% of such tests
