"""Fixtures of the tests of stores."""

import numpy as np
import pytest
from toy_store import IDS, LABELS, C

from cascadelib.store.logit_store import LogitStore
from cascadelib.store.score_table import ScoreTable


@pytest.fixture
def store(tmp_path):
    return LogitStore.create(
        tmp_path / "val",
        LABELS,
        IDS,
        classes=[f"c{i}" for i in range(C)],
        dataset="toy",
        split="val",
    )


@pytest.fixture
def table():
    rng = np.random.default_rng(5)
    return ScoreTable(
        rng.random((3, 400)) < [[0.6], [0.7], [0.9]], rng.random((3, 400)).round(2), [1, 4, 20]
    )
