"""Claims on methods: the ranking with its intervals, and triples at every tenth threshold."""

import numpy as np
import pandas as pd
import pytest
from paper_stores import write_split

from tools.claims import methods
from tools.claims.evidence import Evidence
from tools.paper import Paper


def test_methods_are_ranked_by_their_mean_with_the_interval_of_the_lead():
    paper = Paper(write_split("toy", "val", 200, 1), write_split("toy", "test", 200, 2))
    table = methods.rank_methods(paper)
    assert len(table) == 12 and table["mean factor"].is_monotonic_decreasing
    leads = -np.diff(table["mean factor"])
    assert table["lead"].to_numpy()[:-1] == pytest.approx(leads)
    assert (table["lead_low"][:-1] <= table["lead"][:-1]).all() and np.isnan(table["lead"].iloc[-1])


MEANS = pd.Series({"entropy": 1.2, "max_softmax": 1.5, "softmax_margin": 1.5, "logits_margin": 1.5})


def evidence(ensemble, error):
    """The mean factors of the metrics and of one ensemble, with independent errors."""
    means = pd.concat([MEANS, pd.Series({"max_softmax_mean_logits": ensemble})])
    rng = np.random.default_rng(0)
    draws = [means + error * rng.normal(size=len(means)) for _ in range(40)]
    return {"first": Evidence(means, draws)}


@pytest.mark.parametrize(
    ("ensemble", "error", "finding"),
    [
        (1.4, 0.5, "No method is"),
        (1.4, 0.01, "No method is"),
        (1.9, 0.01, "Max softmax, mean logits is"),
    ],
)
def test_a_best_method_must_exceed_every_other_one(ensemble, error, finding):
    exceeding = "max softmax, mean logits" if ensemble > 1.5 else "no ensemble"
    assert methods.methods_finding(evidence(ensemble, error)) == (
        f"{finding} significantly best; {exceeding} significantly exceeds max softmax."
    )


@pytest.mark.nightly
def test_the_best_of_equal_methods_is_rarely_significant():
    """The data choose the best, so all pairs are compared. Of 100 draws at 5%: more in 1% of
    tests."""
    names = [*MEANS.index, *(f"max_softmax_mean_{number}" for number in range(8))]
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(100):
        draws = [pd.Series(rng.normal(size=12), names) for _ in range(41)]
        text = methods.methods_finding({"first": Evidence(draws[0], draws[1:])})
        false += not text.startswith("No method is significantly best; no ensemble")
    assert false <= 11
