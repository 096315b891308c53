"""Time of a cascade that runs, piece by piece."""

import numpy as np
import pytest
from bundled_cascade import IMAGES, POINT, SMALL, VAL

from cascadelib import Cascade
from cascadelib.policy import pieces_of
from tools.deployed import time_cascade


def test_measured_time_and_savings():
    cascade = Cascade.from_point(POINT, store=VAL)
    table = time_cascade(cascade, IMAGES[:64], 32, 1, others=["linear@28"])
    assert list(table.index[:5]) == [*SMALL, "linear@28", "cascade", "cascade, stream"]
    reach = table["share_run"].dropna()
    assert list(reach.index) == SMALL and reach.iloc[0] == 1 and 0 <= reach.iloc[1] <= 1
    assert table.loc["ideal", "seconds"] == pytest.approx((table["seconds"][SMALL] * reach).sum())
    ratio = table.loc["ideal", "seconds"] / table.loc["cascade", "seconds"]
    assert table.loc["cascade", "throughput_to_ideal"] == pytest.approx(ratio)


def test_pieces_of_all_forms():
    assert [len(p) for p in pieces_of(list("abcde"), 2)] == [2, 2, 1]
    assert [p["x"].tolist() for p in pieces_of({"x": np.arange(3)}, 2)] == [[0, 1], [2]]
