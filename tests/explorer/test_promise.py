"""Bands of certified thresholds: rows of a second threshold, each tested in sequence along the
first."""

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
    """Samples on which every cascade that never stops at "a" loses exactly EPSILON against "c",
    whatever its second threshold: "b" is incorrect on a quarter of those of a confidence from 0.8
    on; below, "b" repairs half of the samples and breaks the others."""
    rng = np.random.default_rng(seed)
    confidence = rng.random((3, k))
    luck = rng.random(k)
    is_high = confidence[1] >= ROWS[0]
    correct = np.ones((3, k), bool)
    correct[1] = luck >= np.where(is_high, 0.25, 0.5)
    correct[2] = is_high | (luck < 0.5)
    return cl.ScoreTable(correct, confidence, [1.0, 2.0, 9.0], NAMES)


def rows_of(seconds, firsts):
    """A sequence of cascades per second threshold, the most cautious first threshold first."""
    return [
        [cl.Point(NAMES, (first, second), cost_kind="cost") for first in firsts]
        for second in seconds
    ]


def test_a_band_of_rows_keeps_delta():
    """Rows at δ divided by their number break the promise in at most δ of the draws at the very
    boundary; each at the whole δ they break it more often."""
    draws = 100
    kept_apart = 0
    looked_at_all = 0
    for seed in range(draws):
        table = at_the_boundary(seed)
        certificates = [
            cl.certify(table, row, EPSILON, DELTA / len(ROWS), "c", accept=["rows aligned"])
            for row in rows_of(ROWS, (np.inf, 0.9))
        ]
        kept_apart += any(certificate.certified for certificate in certificates)
        looked_at_all += any(each.table["p_value"][0] <= DELTA for each in certificates)
    most = binom.ppf(0.999, draws, DELTA)
    assert kept_apart <= most < looked_at_all


def test_the_page_gets_every_row_that_holds():
    """What is certified of each row, and the sum of their δ."""
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
    told = explorer.certified()
    held = [point.thresholds for each in certificates for point in each.certified]
    assert len({second for _, second in held}) > 1
    assert [tuple(row[1]) for row in told["rows"]] == held
    assert sum(told["deltas"]) == pytest.approx(0.1) and told["samples"] == 1000
    first = cl.Point(names, (firsts[0], seconds[0]), method=method)
    foreign = cl.certify(certify, first, 0.3, 0.01, "m2")
    with pytest.raises(ValueError, match="do not promise the same"):
        cl.explore(choose, certificate=[certificates[0], foreign])
