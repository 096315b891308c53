"""Claims on methods: the ranking with its intervals, and triples at every tenth threshold."""

import numpy as np
import pandas as pd
import pytest
from paper_stores import write_split
from tiny_stores import three_models

from cascadelib import search
from cascadelib.analysis import mean_cost_ratio
from tools.claims import methods
from tools.claims.evidence import Evidence
from tools.paper import Paper


def test_every_tenth_threshold_costs_at_least_as_much_as_all():
    three = search(three_models(k=400), 3)
    assert mean_cost_ratio(three, methods.thinned(three)) >= 1


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
        (1.4, 0.5, "The metric hardly matters; no ensemble helps."),
        (1.4, 0.01, "Max softmax exceeds entropy; no ensemble helps."),
        (1.9, 0.01, "Max softmax exceeds entropy; max softmax, mean logits help."),
    ],
)
def test_a_ranking_is_stated_if_an_interval_excludes_zero(ensemble, error, finding):
    assert methods.methods_finding(evidence(ensemble, error)) == finding
