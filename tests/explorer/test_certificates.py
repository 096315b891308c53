"""Bands of certified thresholds: one row per second threshold, tested along the first."""

import numpy as np
import pytest
from explorer_stores import made

import cascadelib as cl


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
