"""Bands of certified thresholds: one row per second threshold, tested along the first."""

import numpy as np
import pytest
from explorer_stores import made
from scipy.stats import binom

import cascadelib as cl

EPSILON = 0.05
DELTA = 0.2
ROWS = (0.8, 0.65, 0.5, 0.35, 0.2, 0.05)  # second thresholds
NAMES = ("a", "b", "c")


def at_the_boundary(seed, k=300):
    """Samples on which every cascade that never exits at "a" loses exactly EPSILON against "c".

    "b" is incorrect on a quarter of its samples with a confidence of at least 0.8. Below, it is
    correct on half of the samples, and "c" on the others.
    """
    rng = np.random.default_rng(seed)
    confidence = rng.random((3, k))
    luck = rng.random(k)
    is_high = confidence[1] >= ROWS[0]
    correct = np.ones((3, k), bool)
    correct[1] = luck >= np.where(is_high, 0.25, 0.5)
    correct[2] = is_high | (luck < 0.5)
    return cl.ScoreTable(correct, confidence, [1.0, 2.0, 9.0], NAMES)


def rows_of(seconds, firsts):
    """Cascades by second threshold, the most cautious first threshold first."""
    return [
        [cl.Point(NAMES, (first, second), cost_kind="cost") for first in firsts]
        for second in seconds
    ]


def test_rows_at_a_share_of_delta_fail_at_most_in_delta():
    """At the boundary, rows at the full δ fail more often."""
    draws = 40
    failed_shares = 0
    failed_full = 0
    for seed in range(draws):
        table = at_the_boundary(seed)
        certificates = [
            cl.certify(table, row, EPSILON, DELTA / len(ROWS), "c", accept=["rows aligned"])
            for row in rows_of(ROWS, (np.inf, 0.9))
        ]
        failed_shares += any(certificate.certified for certificate in certificates)
        failed_full += any(each.table["p_value"][0] <= DELTA for each in certificates)
    most = binom.ppf(0.999, draws, DELTA)
    assert failed_shares <= most < failed_full


def test_the_page_gets_every_certified_row():
    choose, certify, held_out = (made(k=3000, models=3).take(slice(i, None, 3)) for i in range(3))
    seconds = np.quantile(cl.confidence(choose.logits("m1"), "max_softmax"), [0.7, 0.4, 0.1])
    firsts = np.quantile(cl.confidence(choose.logits("m0"), "max_softmax"), [0.9, 0.6, 0.3])
    method = cl.METHODS["max_softmax"].fit(choose)
    names = ("m0", "m1", "m2")
    certificates = [
        cl.certify(
            certify,
            [cl.Point(names, (first, second), method=method) for first in firsts],
            0.15,
            0.1 / len(seconds),
            "m2",
        )
        for second in seconds
    ]
    explorer = cl.explore(choose, held_out, certificate=certificates)
    details = explorer.describe_certificates()
    certified = [point.thresholds for each in certificates for point in each.certified]
    assert len({second for _, second in certified}) > 1
    assert [tuple(row[1]) for row in details["rows"]] == certified
    assert sum(details["deltas"]) == pytest.approx(0.1) and details["samples"] == 1000
    first = cl.Point(names, (firsts[0], seconds[0]), method=method)
    foreign = cl.certify(certify, first, 0.3, 0.01, "m2")
    with pytest.raises(ValueError, match="have different guarantees"):
        cl.explore(choose, certificate=[certificates[0], foreign])
